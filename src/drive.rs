//! Nodes × transport × time: feeds inputs, carries out outputs. Dumb on purpose: it knows neither
//! scenarios nor verdicts.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    io::{Action, Input, Outbox, Output},
    net::{Arrival, NetError, Stillness, Transport, Wake},
    node::Node,
    time::At,
    trace::Event,
    wire::frame::NodeName,
};

/// What can go wrong while driving: always our own fault, never a node's under test.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("the reference node {node} panicked: {why}")]
    Panicked { node: NodeName, why: String },
    #[error("{node} has no reference node behind it, so it cannot be told to act")]
    NobodyThere { node: NodeName },
    #[error("{node} went on without end at {at} s: {limit} inputs without time passing")]
    Endless {
        node: NodeName,
        at: At,
        limit: usize,
    },
}

/// What one step of driving did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something happened.
    Moved,
    /// `until` came first.
    Until,
    /// Nothing will ever happen again.
    Quiet,
}

/// Nodes on a transport.
pub struct Drive<T> {
    transport: T,
    nodes: BTreeMap<NodeName, Slot>,
    last: At,
    inputs_at_last: usize,
}

struct Slot {
    node: Box<dyn Node>,
    out: Outbox,
}

/// More inputs than this at one instant is a loop, not a protocol.
const INPUTS_AT_ONCE: usize = 1_000_000;

impl<T: Transport> Drive<T> {
    pub fn new(transport: T, nodes: Vec<(NodeName, Box<dyn Node>)>) -> Drive<T> {
        let nodes = nodes
            .into_iter()
            .map(|(name, node)| {
                (
                    name,
                    Slot {
                        node,
                        out: Outbox::default(),
                    },
                )
            })
            .collect();
        Drive {
            transport,
            nodes,
            last: At::ZERO,
            inputs_at_last: 0,
        }
    }

    pub fn now(&self) -> At {
        self.transport.now()
    }

    /// Gives every node its first input, in name order.
    pub fn start(&mut self) -> Result<(), DriveError> {
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        names
            .iter()
            .try_for_each(|name| self.feed(name, Input::Start))
    }

    /// Asks a node to do something of its own accord. A node that is to stop is cut off by the network.
    pub fn act(&mut self, name: &NodeName, action: &Action) -> Result<(), DriveError> {
        match action {
            Action::Stop => {
                self.transport.still(name, Stillness::Silent);
                Ok(())
            }
            Action::Crash => {
                self.transport.still(name, Stillness::Gone);
                Ok(())
            }
            _ if self.nodes.contains_key(name) => self.feed(name, Input::Act(action)),
            _ => Err(DriveError::NobodyThere { node: name.clone() }),
        }
    }

    /// Does something in a node's name, without the node.
    pub fn inject(&mut self, name: &NodeName, output: Output) -> Result<(), DriveError> {
        Ok(self.transport.perform(name, output)?)
    }

    /// Lets the next thing happen, unless `until` comes first.
    pub async fn step(&mut self, until: At) -> Result<Progress, DriveError> {
        match self.transport.next(until).await? {
            Wake::Until => Ok(Progress::Until),
            Wake::Quiet => Ok(Progress::Quiet),
            Wake::Arrived { at, what } => {
                let input = match &what {
                    Arrival::Frame(frame) => Input::Frame(frame),
                    Arrival::Link(link, event) => Input::Link(*link, event.clone()),
                    Arrival::Timer(timer) => Input::Timer(*timer),
                };
                if self.nodes.contains_key(&at) {
                    self.feed(&at, input)?;
                }
                Ok(Progress::Moved)
            }
        }
    }

    /// Lets time pass to `until`, where nothing is left to happen.
    pub fn pass(&mut self, until: At) {
        self.transport.pass(until);
    }

    /// Whether frames are still on their way.
    pub fn is_busy(&self) -> bool {
        self.transport.is_busy()
    }

    /// The events recorded since the last call.
    pub fn drain(&mut self) -> Vec<Event> {
        self.transport.drain()
    }

    fn feed(&mut self, name: &NodeName, input: Input<'_>) -> Result<(), DriveError> {
        let at = self.transport.now();
        self.inputs_at_last = if at == self.last {
            self.inputs_at_last + 1
        } else {
            0
        };
        self.last = at;
        if self.inputs_at_last > INPUTS_AT_ONCE {
            return Err(DriveError::Endless {
                node: name.clone(),
                at,
                limit: INPUTS_AT_ONCE,
            });
        }
        let slot = self
            .nodes
            .get_mut(name)
            .ok_or_else(|| DriveError::NobodyThere { node: name.clone() })?;
        catch_unwind(AssertUnwindSafe(|| {
            slot.node.handle(at, input, &mut slot.out)
        }))
        .map_err(|panic| DriveError::Panicked {
            node: name.clone(),
            why: words(&*panic),
        })?;
        for output in slot.out.drain() {
            self.transport.perform(name, output)?;
        }
        Ok(())
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    }
}
