//! The record of what crosses: addresses become names here, and nowhere below.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use crate::{
    spec::{Format, RefPoint},
    time::At,
    trace::{CastNode, Event, EventKind, ListenTransport},
    wire::frame::{NodeName, Party},
};

/// Who is where: turns an address into a node, and a listener's address into its reference point.
#[derive(Clone, Debug, Default)]
pub struct Map {
    ips: BTreeMap<IpAddr, NodeName>,
    listeners: BTreeMap<(SocketAddr, Datagram), Listening>,
}

/// Whether an address is meant for datagrams; a port may serve both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Datagram {
    Yes,
    No,
}

/// What listens at an address.
#[derive(Clone, Debug)]
pub struct Listening {
    pub node: NodeName,
    pub on: RefPoint,
    pub format: Format,
    pub transport: ListenTransport,
}

impl Map {
    pub fn new(nodes: &[CastNode]) -> Map {
        let mut map = Map::default();
        for node in nodes {
            for listener in &node.listeners {
                map.ips
                    .entry(listener.addr.ip())
                    .or_insert_with(|| node.name.clone());
                let datagram = match listener.transport {
                    ListenTransport::Udp => Datagram::Yes,
                    ListenTransport::Tcp | ListenTransport::Tls => Datagram::No,
                };
                let listening = Listening {
                    node: node.name.clone(),
                    on: listener.on,
                    format: listener.format,
                    transport: listener.transport,
                };
                map.listeners.insert((listener.addr, datagram), listening);
            }
            if let Some(ip) = node.ip {
                map.ips.entry(ip).or_insert_with(|| node.name.clone());
            }
        }
        map
    }

    pub fn listening(&self, addr: SocketAddr, datagram: Datagram) -> Option<&Listening> {
        self.listeners.get(&(addr, datagram))
    }

    /// The datagram listener a node has on a reference point.
    pub fn datagram_listener(&self, node: &NodeName, on: RefPoint) -> Option<(SocketAddr, Format)> {
        self.listeners
            .iter()
            .find(|((_, datagram), l)| *datagram == Datagram::Yes && l.node == *node && l.on == on)
            .map(|((addr, _), l)| (*addr, l.format))
    }

    pub fn party(&self, addr: SocketAddr) -> Party {
        for datagram in [Datagram::No, Datagram::Yes] {
            if let Some(listening) = self.listening(addr, datagram) {
                return Party::Node(listening.node.clone());
            }
        }
        self.ips
            .get(&addr.ip())
            .map_or(Party::Unknown(addr), |node| Party::Node(node.clone()))
    }

    /// The address a node's own connections leave from.
    pub fn ip(&self, node: &NodeName) -> Option<IpAddr> {
        self.ips
            .iter()
            .find(|(_, name)| *name == node)
            .map(|(ip, _)| *ip)
    }
}

/// Collects events in the order they happen.
#[derive(Debug, Default)]
pub struct Tap {
    events: Vec<Event>,
}

impl Tap {
    pub fn record(&mut self, at: At, kind: EventKind) {
        self.events.push(Event { at, kind });
    }

    pub fn opening(&mut self, at: At, node: &NodeName, on: RefPoint, to: Party) {
        let node = node.clone();
        self.record(at, EventKind::Opening { node, on, to });
    }

    pub fn drain(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
