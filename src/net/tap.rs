//! The record of what crosses: addresses become names here, and nowhere below.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use crate::{
    spec::{Format, RefPoint, Worth},
    time::At,
    trace::{CastNode, Event, EventKind, ListenTransport},
    wire::frame::{NodeName, Party},
};

/// Who is where: turns an address into a node, and a listener's address into its reference point.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// Who is at an address. Where several share it, each has ports of its own.
    homes: BTreeMap<IpAddr, Vec<Home>>,
    listeners: BTreeMap<(SocketAddr, Datagram), Listening>,
}

#[derive(Clone, Debug)]
struct Home {
    node: NodeName,
    ports: Option<(u16, u16)>,
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
    /// What the certificate is worth that it shows under TLS.
    pub certificate: Worth,
}

impl Map {
    pub fn new(nodes: &[CastNode]) -> Map {
        let mut map = Map::default();
        for node in nodes {
            for listener in &node.listeners {
                let datagram = match listener.transport {
                    ListenTransport::Udp => Datagram::Yes,
                    ListenTransport::Tcp | ListenTransport::Tls => Datagram::No,
                };
                let listening = Listening {
                    node: node.name.clone(),
                    on: listener.on,
                    format: listener.format,
                    transport: listener.transport,
                    certificate: node.certificate,
                };
                map.listeners.insert((listener.addr, datagram), listening);
            }
            let listening = node.listeners.iter().map(|listener| listener.addr.ip());
            for ip in node.ip.into_iter().chain(listening) {
                let homes = map.homes.entry(ip).or_default();
                if homes.iter().all(|home| home.node != node.name) {
                    let (node, ports) = (node.name.clone(), node.ports);
                    homes.push(Home { node, ports });
                }
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
        let homes = self.homes.get(&addr.ip()).map_or(&[][..], Vec::as_slice);
        let is_port_of = |home: &&Home| {
            home.ports
                .is_some_and(|(first, last)| (first..=last).contains(&addr.port()))
        };
        // Who shares its address with nodes that have ports of their own has all others.
        let its = homes.iter().find(is_port_of);
        let its = its.or_else(|| homes.iter().find(|home| home.ports.is_none()));
        its.map_or(Party::Unknown(addr), |home| Party::Node(home.node.clone()))
    }

    /// The address a node's own connections leave from.
    pub fn ip(&self, node: &NodeName) -> Option<IpAddr> {
        let mut homes = self.homes.iter();
        let is_its = |homes: &[Home]| homes.iter().any(|home| home.node == *node);
        homes.find(|(_, homes)| is_its(homes)).map(|(ip, _)| *ip)
    }

    /// The ports a node's own connections leave from, the first and the last; `None` if any will do.
    pub fn free_ports(&self, node: &NodeName) -> Option<(u16, u16)> {
        let mut homes = self.homes.values().flatten();
        let (first, last) = homes.find(|home| home.node == *node)?.ports?;
        let listening = self.listeners.iter().filter(|(_, l)| l.node == *node);
        let taken = listening.map(|((addr, _), _)| addr.port()).max();
        Some((taken.map_or(first, |port| port + 1), last))
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
