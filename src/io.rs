//! What passes through a node's door: inputs, outputs, and the actions a scenario may ask for. A node
//! sees nothing else of the world: no socket, no clock, no task.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    spec::{Format, RefPoint, Worth},
    time::At,
    wire::frame::{Frame, Identity, LinkId, Security},
};

/// A timer, as the node that armed it numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u64);

/// Something that happens to a node.
#[derive(Debug)]
pub enum Input<'a> {
    /// Once, before anything else.
    Start,
    /// A message arrived, framed by its format; or leftover octets, `framed` false.
    Frame(&'a Frame),
    Link(LinkId, LinkEvent),
    Timer(TimerId),
    /// A scenario asks this node to do something of its own accord.
    Act(&'a Action),
}

/// What happened to a stream connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkEvent {
    /// The connection this node asked for stands.
    Opened,
    /// Somebody connected to the listener at `local`.
    Accepted {
        on: RefPoint,
        format: Format,
        from: SocketAddr,
        local: SocketAddr,
        security: Security,
    },
    /// Nobody listens there.
    Refused,
    /// The other end closed in order.
    Closed,
    /// The other end aborted.
    Reset,
    /// The connection could not be made in time.
    TimedOut,
    /// It stood, but not its protection: no TLS that both speak, or a certificate that proves nothing here.
    NotSecured { why: String },
}

/// Something a node wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Sends one datagram from this node's listener on `on`.
    Datagram {
        on: RefPoint,
        to: SocketAddr,
        bytes: Bytes,
    },
    /// Opens a stream connection; what is sent on it before it stands is kept.
    Open {
        link: LinkId,
        on: RefPoint,
        format: Format,
        to: SocketAddr,
        security: OpenSecurity,
    },
    Send {
        link: LinkId,
        bytes: Bytes,
    },
    /// Ends a connection: in order, after what was sent; or at once.
    Close {
        link: LinkId,
        abort: bool,
    },
    /// Asks to be woken at `at`; arming an armed timer moves it.
    Arm {
        timer: TimerId,
        at: At,
    },
    Disarm(TimerId),
    Note(Note),
}

/// How a connection that a node opens is to be protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenSecurity {
    Plain,
    /// TLS, with the client certificate of `client` if it has one, to a server whose certificate is worth
    /// the standings in `trusts`.
    Tls {
        client: Option<Identity>,
        trusts: &'static [Worth],
    },
}

/// A remark of a node about itself: drawn beside the ladder, never the ground of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// One word: `assembled`, `refused`, `gave-up`.
    pub topic: String,
    pub text: String,
}

/// Collects what a node wants done and numbers its links and timers. One per node, for its life.
#[derive(Debug, Default)]
pub struct Outbox {
    outputs: Vec<Output>,
    next_link: u64,
    next_timer: u64,
}

impl Outbox {
    pub fn push(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// A fresh number for a link this node opens: even, so that it never meets one that a transport
    /// gives to an accepted link.
    pub fn fresh_link(&mut self) -> LinkId {
        self.next_link += 2;
        LinkId(self.next_link)
    }

    pub fn fresh_timer(&mut self) -> TimerId {
        self.next_timer += 1;
        TimerId(self.next_timer)
    }

    pub fn datagram(&mut self, on: RefPoint, to: SocketAddr, bytes: Bytes) {
        self.push(Output::Datagram { on, to, bytes });
    }

    /// Opens a connection and gives its number.
    pub fn open(
        &mut self,
        on: RefPoint,
        format: Format,
        to: SocketAddr,
        security: OpenSecurity,
    ) -> LinkId {
        let link = self.fresh_link();
        self.push(Output::Open {
            link,
            on,
            format,
            to,
            security,
        });
        link
    }

    pub fn send(&mut self, link: LinkId, bytes: Bytes) {
        self.push(Output::Send { link, bytes });
    }

    pub fn close(&mut self, link: LinkId) {
        self.push(Output::Close { link, abort: false });
    }

    /// Arms a fresh timer.
    pub fn wake_at(&mut self, at: At) -> TimerId {
        let timer = self.fresh_timer();
        self.push(Output::Arm { timer, at });
        timer
    }

    pub fn arm(&mut self, timer: TimerId, at: At) {
        self.push(Output::Arm { timer, at });
    }

    pub fn disarm(&mut self, timer: TimerId) {
        self.push(Output::Disarm(timer));
    }

    pub fn note(&mut self, topic: &str, text: impl Into<String>) {
        self.push(Output::Note(Note {
            topic: topic.to_owned(),
            text: text.into(),
        }));
    }

    /// Everything pushed since the last call, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Output> {
        self.outputs.drain(..)
    }

    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }
}

/// How a UE asks one peer for several pieces; both shapes are lawful (RFC 5547 8.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// One request a piece.
    #[default]
    Separate,
    /// One INVITE a peer, one media line a piece.
    Joint,
}

/// What a scenario's `do` step asks of a node. `content` is a fixture's name; the node's set-up says
/// under which swarm id it goes in this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Registers with IMS.
    Register,
    /// Ends the registration.
    Deregister,
    /// Becomes a holder of `pieces` (1-based) and tells the tracker, on the path its role and the
    /// options give.
    Announce { content: String, pieces: Vec<u32> },
    /// Loses `pieces` and tells the tracker.
    Drop { content: String, pieces: Vec<u32> },
    /// Asks for a peer list and does no more: steps 1 and 2.
    Ask { content: String },
    /// The whole journey: asks for peers, requests every piece, verifies, assembles, reports.
    Fetch { content: String, shape: Shape },
    /// Reports its status now.
    Report { content: String },
    /// Leaves the swarm.
    Leave { content: String },
    /// Goes silent, as if its power were cut: answers nothing, sends nothing, refuses nothing.
    Stop,
    /// Its process ends: connections break, new ones are refused.
    Crash,
    /// The HSS takes the service out of a subscriber's profile and tells the S-CSCF.
    Revoke { user: String },
    /// The HSS ends a subscriber's registration and tells the S-CSCF.
    Withdraw { user: String },
}
