//! Moving frames between nodes. A transport carries out what nodes ask for, tells what happens next, and
//! records both; it knows neither nodes' insides nor scenarios. Start at [`Transport`].

pub mod fault;
pub mod memory;
pub mod sockets;
mod tap;
pub mod tls;

use std::future::Future;

use crate::{
    io::{LinkEvent, Output, TimerId},
    time::At,
    trace::Event,
    wire::frame::{Frame, LinkId, NodeName},
};

pub use fault::Faults;
pub use memory::Memory;
pub use sockets::{Claim, Sockets, has_ipv6, is_free, pause};
pub use tap::{Map, Tap};
pub use tls::{Tls, TlsError};

/// What carries frames: in memory on virtual time, or sockets.
pub trait Transport {
    fn now(&self) -> At;

    /// Does what `from` asks.
    fn perform(&mut self, from: &NodeName, output: Output) -> Result<(), NetError>;

    /// The next thing that happens, or `until`. Memory jumps its clock; sockets wait.
    fn next(&mut self, until: At) -> impl Future<Output = Result<Wake, NetError>>;

    /// Lets time pass to `until` where nothing is left to happen. Real time passes by itself.
    fn pass(&mut self, until: At);

    /// Cuts a node off: as if its power were gone (`Stillness::Silent`), or as if its process had ended
    /// (`Stillness::Gone`: connections break, new ones are refused).
    fn still(&mut self, node: &NodeName, how: Stillness);

    /// The events recorded since the last call.
    fn drain(&mut self) -> Vec<Event>;

    /// Whether frames or link events are still on their way; timers do not count.
    fn is_busy(&self) -> bool;
}

/// How a node goes still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stillness {
    Silent,
    Gone,
}

/// What happens next.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one is alive at a time, and handed on at once"
)]
pub enum Wake {
    Arrived {
        at: NodeName,
        what: Arrival,
    },
    /// `until` came first.
    Until,
    /// Nothing will ever happen again: no frame, no timer.
    Quiet,
}

/// Something for a node.
#[derive(Debug)]
pub enum Arrival {
    Frame(Frame),
    Link(LinkId, LinkEvent),
    Timer(TimerId),
}

/// What a transport could not do: a fault of the harness or of its environment.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("{node} is not in the topology")]
    UnknownNode { node: NodeName },
    #[error("{node} sends on link {link}, which it does not have")]
    UnknownLink { node: NodeName, link: u64 },
    #[error("{node} has no datagram listener on {on}")]
    NoListener {
        node: NodeName,
        on: crate::spec::RefPoint,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{what} at {addr}: {why}")]
    Socket {
        what: &'static str,
        addr: std::net::SocketAddr,
        why: std::io::Error,
    },
}
