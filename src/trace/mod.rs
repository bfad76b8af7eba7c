//! What happened, in order: every frame verbatim, every link event, every note, every step mark. Knows
//! nothing of how a frame is decoded.

pub mod jsonl;
pub mod pcapng;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use serde::{Deserialize, Serialize};

use crate::{
    io::{LinkEvent, Note},
    spec::{Architecture, Delivery, Options, RefPoint, Role, Worth},
    time::At,
    wire::frame::{Frame, LinkId, NodeName, Party},
};

/// The record of one run of one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub meta: Meta,
    pub events: Vec<Event>,
}

impl Trace {
    /// For each event, the event at which its frame was sent; its own number where there is none.
    pub fn sendings(&self) -> Vec<usize> {
        let mut flying: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
        let events = self.events.iter().enumerate();
        events
            .map(|(number, event)| {
                let Some(frame) = event.frame() else {
                    return number;
                };
                let waiting = flying
                    .entry((&frame.from, &frame.to, frame.on, &frame.bytes))
                    .or_default();
                match &event.kind {
                    EventKind::Sent(_) => {
                        waiting.insert(number);
                        number
                    }
                    _ => waiting.pop_first().unwrap_or(number),
                }
            })
            .collect()
    }
}

/// What must be known to read the events again tomorrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// `registered/step-3-piece-request/asks-through-the-p-cscf@ut.ims.ims#41`.
    pub instance: String,
    pub seed: u64,
    pub architecture: Architecture,
    pub options: Options,
    pub delivery: Delivery,
    /// "memory" or "sockets".
    pub transport: String,
    pub nodes: Vec<CastNode>,
    /// Contents by fixture name, under the swarm ids of this run.
    pub contents: Vec<ContentName>,
    /// When the first step could be given: guests take a while to get ready.
    #[serde(default, skip_serializing_if = "At::is_zero")]
    pub began: At,
    /// Guests that had never sent anything before: nothing shows yet that they are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheard: Vec<NodeName>,
    /// Guests that were there before and were not made to forget it: what they do may follow from that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreset: Vec<NodeName>,
}

impl Meta {
    /// Whether what arrives at a party is recorded: it is a node, and not a guest.
    pub fn sees_arrivals_at(&self, party: &Party) -> bool {
        party
            .node()
            .and_then(|name| self.nodes.iter().find(|node| node.name == *name))
            .is_some_and(|node| node.cast != Cast::Sut)
    }
}

/// A node and who played it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CastNode {
    pub name: NodeName,
    pub role: Role,
    pub cast: Cast,
    /// Where its own connections leave from; `None` for a guest whose address is not ours to give.
    pub ip: Option<std::net::IpAddr>,
    /// The ports that are its own, the first and the last, where it shares its address with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<(u16, u16)>,
    pub listeners: Vec<Listener>,
    /// IMPU, if it is a subscriber.
    pub impu: Option<String>,
    /// What the certificate it shows as a server is worth.
    #[serde(default = "proven", skip_serializing_if = "is_proven")]
    pub certificate: Worth,
}

fn proven() -> Worth {
    Worth::Good
}

fn is_proven(worth: &Worth) -> bool {
    *worth == Worth::Good
}

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub on: RefPoint,
    pub format: crate::spec::Format,
    pub transport: ListenTransport,
    pub addr: SocketAddr,
}

/// Datagrams, streams, or both on one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenTransport {
    Udp,
    Tcp,
    Tls,
}

/// A content under the name it has in one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentName {
    /// The fixture: `three-pieces`.
    pub fixture: String,
    /// The swarm id in this run.
    pub swarm: String,
}

/// Who plays a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cast {
    /// Ours.
    #[default]
    Reference,
    /// The system under test.
    Sut,
    /// Sends only what the steps say.
    Script,
    /// Ours, and under test alone.
    Tested,
    /// Ours, breaking one named rule, and under test for it.
    Deviant,
    /// Ours, breaking one named rule so that others can show what they do about it; not judged.
    Foil,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: At,
    pub kind: EventKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A node of ours handed a frame to the transport.
    Sent(Frame),
    /// A frame arrived at a node of ours.
    Received(Frame),
    /// A node asks for a connection; what comes of it is a link event.
    Opening {
        node: NodeName,
        on: RefPoint,
        to: Party,
    },
    /// The network lost it on the way.
    Lost(Frame),
    Link {
        node: NodeName,
        link: LinkId,
        on: RefPoint,
        event: LinkEvent,
    },
    Noted {
        node: NodeName,
        note: Note,
    },
    /// Something became of a guest that no frame shows.
    Guest {
        node: NodeName,
        trouble: Trouble,
    },
    /// The scenario reached a step.
    Step {
        index: usize,
        mark: StepMark,
    },
    /// The trace hit its limit: what follows is missing, so nothing may pass.
    Truncated,
}

/// What became of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// Its process ended, and nobody had asked it to: how, in words.
    Ended(String),
    /// It could not be made to act: why.
    NotPushed(String),
}

/// What became of a step when it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepMark {
    /// A `do` or `send` was carried out, a `wait` is over.
    Done,
    /// The party could not be made to do it.
    Impossible,
}

impl Event {
    /// The frame, if it is about one.
    pub fn frame(&self) -> Option<&Frame> {
        match &self.kind {
            EventKind::Sent(frame) | EventKind::Received(frame) | EventKind::Lost(frame) => {
                Some(frame)
            }
            _ => None,
        }
    }
}
