//! One conformance run of one instance: cast the parts, drive, follow the steps, return the trace. Makes
//! no verdicts. Start at [`play`].

mod cast;
mod compose;
mod differences;
mod stimulate;

use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicU8, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    drive::{Drive, DriveError, Progress},
    net::{Claim, Faults, Map, Memory, Sockets, Transport},
    node::Setup,
    random::derive,
    suite::{Context as Values, Follower, Ground, Instance, Stimulus, Suite, Topology},
    trace::{Cast, Event, EventKind, Meta, Trace},
    wire::frame::NodeName,
};

pub use differences::{Difference, differences};

pub use cast::Casting;

use cast::{Company, build};
use stimulate::Stimulator;

/// Where an instance is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field {
    /// In memory, on virtual time.
    #[default]
    Memory,
    /// On loopback sockets, in real time.
    Sockets,
    /// The same on `[::1]`.
    SocketsV6,
}

impl Field {
    pub const ALL: &'static [Field] = &[Field::Memory, Field::Sockets, Field::SocketsV6];

    /// As in flags and reports.
    pub fn word(self) -> &'static str {
        match self {
            Field::Memory => "memory",
            Field::Sockets => "sockets",
            Field::SocketsV6 => "sockets-ipv6",
        }
    }

    /// Whether time passes by itself.
    fn is_real(self) -> bool {
        self != Field::Memory
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Played {
    pub trace: Trace,
    /// A fault of ours that ended the run early; the verdict is `error`.
    pub fault: Option<Fault>,
    /// The lawful decisions that each node takes otherwise than canonically, by name.
    pub decisions: Vec<(NodeName, Vec<&'static str>)>,
}

/// Why the harness could not play an instance to its end.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the scenario's topology is not there")]
    NoTopology,
    #[error(transparent)]
    Drive(#[from] DriveError),
    #[error("step {step}: {why}")]
    Step { step: usize, why: String },
}

/// More octets of trace than this are not kept, and nothing may pass.
const TRACE_LIMIT: usize = 16 << 20;
/// Real networks go quiet without saying so: after the last step, wait this long for what must not come.
const SETTLE: Duration = Duration::from_millis(250);

/// Plays an instance in memory.
pub fn play(suite: &Suite, instance: &Instance, casting: Casting<'_>) -> Played {
    let Some(topology) = instance.topology(suite) else {
        return no_topology(instance);
    };
    let company = cast::cast(suite, instance, casting, topology, Ground::Memory);
    let seed = derive(instance.seed, &[&instance.path(), "network"]);
    let faults = Faults::new(cast::faults(instance), derive(seed, &["faults"]));
    let transport = Memory::new(Map::new(&company.nodes), faults, seed);
    at_once(run(
        suite,
        instance,
        topology,
        company,
        transport,
        Field::Memory,
    ))
}

/// What each node of an instance is told before it starts, as in memory: for who drives nodes without a run.
pub fn setups(suite: &Suite, instance: &Instance) -> Vec<Setup> {
    let topology = instance.topology(suite);
    let company = topology.map(|topology| {
        cast::cast(
            suite,
            instance,
            Casting::default(),
            topology,
            Ground::Memory,
        )
    });
    company.map(|company| company.setups).unwrap_or_default()
}

/// Plays an instance over loopback sockets. Must be called inside a tokio runtime.
pub async fn play_on_sockets(
    suite: &Suite,
    instance: &Instance,
    casting: Casting<'_>,
    field: Field,
) -> Played {
    let Some(topology) = instance.topology(suite) else {
        return no_topology(instance);
    };
    let seed = derive(instance.seed, &[&instance.path(), "network"]);
    let mut refused = None;
    for _ in 0..NETWORKS_TRIED {
        let ground = next_ground(field);
        let company = cast::cast(suite, instance, casting, topology, ground);
        let faults = Faults::new(cast::faults(instance), derive(seed, &["faults"]));
        let claim = ground.claim().map(Claim::stake).transpose();
        let bound = claim.and_then(|claim| {
            let transport = Sockets::bind(&company.nodes, |_| true, faults)?;
            Ok((claim, transport))
        });
        match bound {
            Ok((_claim, transport)) => {
                return run(suite, instance, topology, company, transport, field).await;
            }
            // Somebody else plays there: another run, or another program.
            Err(error) => refused = Some((company, error)),
        }
    }
    let (company, error) = refused.expect("at least one network was tried");
    Played {
        trace: Trace {
            meta: meta(instance, &company, field),
            events: Vec::new(),
        },
        fault: Some(DriveError::from(error).into()),
        decisions: Vec::new(),
    }
}

/// How many networks of the loopback range are tried before giving up.
const NETWORKS_TRIED: usize = 32;

/// Runs that go on at the same time each take a network of their own: one that somebody has claimed is
/// passed over.
fn next_ground(field: Field) -> Ground {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let network = NEXT.fetch_add(1, Ordering::Relaxed);
    match field {
        Field::Memory => Ground::Memory,
        Field::Sockets => Ground::Loopback { network },
        Field::SocketsV6 => Ground::LoopbackV6 {
            network: network % Ground::NETWORKS_V6,
        },
    }
}

fn no_topology(instance: &Instance) -> Played {
    let company = Company {
        nodes: Vec::new(),
        setups: Vec::new(),
        deviations: Vec::new(),
        variations: Vec::new(),
        contents: Vec::new(),
    };
    Played {
        trace: Trace {
            meta: meta(instance, &company, Field::Memory),
            events: Vec::new(),
        },
        fault: Some(Fault::NoTopology),
        decisions: Vec::new(),
    }
}

fn meta(instance: &Instance, company: &Company, field: Field) -> Meta {
    Meta {
        instance: instance.id(),
        seed: instance.seed,
        architecture: instance.architecture,
        options: instance.options,
        delivery: instance.delivery,
        transport: field.word().to_owned(),
        nodes: company.nodes.clone(),
        contents: company.contents.clone(),
    }
}

async fn run<T: Transport>(
    suite: &Suite,
    instance: &Instance,
    topology: &Topology,
    mut company: Company,
    transport: T,
    field: Field,
) -> Played {
    let meta = meta(instance, &company, field);
    let setups = std::mem::take(&mut company.setups);
    let decisions = setups
        .iter()
        .zip(&company.variations)
        .map(|(setup, variation)| {
            let mut decisions = setup.policy.differing(setup.role);
            decisions.extend(variation.names());
            (setup.name.clone(), decisions)
        })
        .collect();
    let deviations = std::mem::take(&mut company.deviations);
    let variations = std::mem::take(&mut company.variations);
    let nodes = setups
        .into_iter()
        .zip(deviations.into_iter().zip(variations))
        .zip(&company.nodes)
        .filter(|(_, part)| part.cast != Cast::Script)
        .filter_map(|((setup, (deviation, variation)), part)| {
            Some((part.name.clone(), build(setup, deviation, variation)?))
        })
        .collect();
    let values = Values::new(suite, instance, &meta);
    let steps = instance.steps(suite);
    let mut performance = Performance {
        drive: Drive::new(transport, nodes),
        follower: Follower::new(&steps, &values),
        stimulator: Stimulator::new(suite, topology, &meta),
        trace: Trace {
            meta,
            events: Vec::new(),
        },
        octets: 0,
        field,
    };
    let fault = performance.go().await.err();
    Played {
        trace: performance.trace,
        fault,
        decisions,
    }
}

/// A run while it goes on.
struct Performance<'a, T> {
    drive: Drive<T>,
    follower: Follower<'a>,
    stimulator: Stimulator<'a>,
    trace: Trace,
    octets: usize,
    field: Field,
}

impl<'a, T: Transport> Performance<'a, T> {
    async fn go(&mut self) -> Result<(), Fault> {
        self.drive.start()?;
        self.record();
        while !self.is_over() {
            let now = self.drive.now();
            if let Some(stimulus) = self.follower.next_stimulus()
                && stimulus.due.is_none_or(|due| due <= now)
            {
                self.stimulate(stimulus)?;
                continue;
            }
            // A real network has nothing more to show once all was seen; what must not come gets the settle.
            if self.field.is_real() && self.follower.all_met() {
                break;
            }
            let Some(until) = self.follower.deadline() else {
                break;
            };
            let progress = self.drive.step(until).await?;
            self.record();
            if progress == Progress::Quiet {
                // Nothing that is waited for can come any more.
                self.drive.pass(until);
            }
        }
        self.settle().await
    }

    /// Whether nothing more is to be seen, or the trace is full: nothing may pass then, so nothing need go on.
    fn is_over(&self) -> bool {
        self.octets > TRACE_LIMIT || self.follower.is_finished(self.drive.now())
    }

    /// Lets what is on its way arrive: frames in memory until none is left, a real network for a while.
    async fn settle(&mut self) -> Result<(), Fault> {
        let patience = match self.field {
            Field::Memory => self.drive.now() + Duration::from_secs(1),
            Field::Sockets | Field::SocketsV6 => self.drive.now() + SETTLE,
        };
        while self.field.is_real() || self.drive.is_busy() {
            let progress = self.drive.step(patience).await?;
            self.record();
            if progress != Progress::Moved {
                break;
            }
        }
        Ok(())
    }

    fn stimulate(&mut self, stimulus: Stimulus<'a>) -> Result<(), Fault> {
        let index = stimulus.index;
        let done = self
            .stimulator
            .carry_out(&mut self.drive, &self.follower, stimulus.step);
        let mark = done.map_err(|why| Fault::Step { step: index, why })?;
        // The mark comes first: what the stimulus causes comes after it.
        self.push(Event {
            at: self.drive.now(),
            kind: EventKind::Step { index, mark },
        });
        self.record();
        Ok(())
    }

    /// Takes over what the transport recorded.
    fn record(&mut self) {
        for event in self.drive.drain() {
            self.push(event);
        }
    }

    fn push(&mut self, event: Event) {
        if self.octets > TRACE_LIMIT {
            return;
        }
        if let EventKind::Sent(frame) | EventKind::Received(frame) | EventKind::Lost(frame) =
            &event.kind
        {
            self.octets += frame.bytes.len();
        }
        let event = if self.octets > TRACE_LIMIT {
            Event {
                at: event.at,
                kind: EventKind::Truncated,
            }
        } else {
            event
        };
        self.follower.feed(self.trace.events.len(), &event);
        self.trace.events.push(event);
    }
}

/// Runs a future that never waits: the memory network has nothing to wait for.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the memory network never waits"),
    }
}
