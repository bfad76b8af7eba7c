//! Who is there and where each is reached: nodes, their host names, addresses and listeners. Memory uses
//! the documentation addresses as written; sockets one loopback address a node, or ports of one address, by rule.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use super::{
    contents::Contents,
    document::{Table, Value},
    subscribers::Subscribers,
};
use crate::{
    spec::{Architecture, Format, RefPoint, Role},
    trace::{ListenTransport, Listener},
    wire::frame::NodeName,
};

/// A network of nodes.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The file's name: `registered`.
    pub name: String,
    pub summary: String,
    pub architecture: Architecture,
    /// The home domain: `ims.example`.
    pub domain: String,
    /// The tracker's public service identity.
    pub tracker_psi: String,
    /// Octets, where the path MTU is known (RFC 3261 18.1.1); else unknown.
    pub path_mtu: BTreeMap<RefPoint, usize>,
    /// In the order of columns in a ladder.
    pub nodes: Vec<Node>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: NodeName,
    pub role: Role,
    /// How it writes itself in Via, Route and URLs.
    pub host: String,
    /// In memory; from the ranges for documentation.
    pub ip: Ipv4Addr,
    /// Its place among the nodes of the topology.
    number: u16,
    pub listen: Vec<Listen>,
    /// Its subscriber, if it registers with IMS.
    pub user: Option<String>,
    /// The CDN it belongs to.
    pub cdn: Option<String>,
    /// Pieces it holds at the start: content, numbers from 1.
    pub holds: Vec<(String, Vec<u32>)>,
}

/// A port a node listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    pub on: RefPoint,
    pub port: u16,
    pub format: Format,
    pub transport: ListenTransport,
}

/// Which addresses a topology is laid out on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The documentation addresses of the file.
    Memory,
    /// 127.n.c.d for a.b.c.d: several runs at once need an n each.
    Loopback { network: u8 },
    /// One address of this machine for all: each node has ports of its own. Several runs at once need a network each,
    /// below [`Ground::NETWORKS_AT_ONE`].
    OneAddress { ip: IpAddr, network: u8 },
}

impl Ground {
    /// As many networks as there are ports for at one address, below those that a system gives out.
    pub const NETWORKS_AT_ONE: u8 = ((32_768 - FIRST_PORT) / NETWORK_PORTS) as u8;

    /// A datagram port of no node's: who holds it has the network for itself.
    pub fn claim(self) -> Option<SocketAddr> {
        match self {
            Ground::Memory => None,
            Ground::Loopback { network } => {
                let ip = Ipv4Addr::new(127, network, 255, 254);
                Some(SocketAddr::new(ip.into(), FIRST_PORT))
            }
            Ground::OneAddress { ip, network } => {
                let last = first_port(network) + NODE_PORTS * MOST_NODES as u16;
                Some(SocketAddr::new(ip, last))
            }
        }
    }
}

/// Of a network at one address.
fn first_port(network: u8) -> u16 {
    FIRST_PORT + u16::from(network % Ground::NETWORKS_AT_ONE) * NETWORK_PORTS
}

const FIRST_PORT: u16 = 10_240;
/// Of one node that shares its address.
const NODE_PORTS: u16 = 64;
/// Of those, for listeners; the rest is for connections of its own.
pub(super) const LISTENER_PORTS: u16 = 8;
/// Of one network at one address, those beside the nodes' included.
const NETWORK_PORTS: u16 = NODE_PORTS * (MOST_NODES as u16 + 1);
/// Nodes of a topology.
pub(super) const MOST_NODES: usize = 15;

/// The first network of the loopback range.
const LOOPBACK: Ground = Ground::Loopback { network: 0 };

impl Topology {
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }

    /// Whether somebody can be reached by datagram at a reference point.
    pub fn speaks_udp(&self, on: RefPoint) -> bool {
        let listens = self.nodes.iter().flat_map(|node| &node.listen);
        listens
            .into_iter()
            .any(|listen| listen.on == on && listen.transport == ListenTransport::Udp)
    }

    pub fn names(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.name.as_str()).collect()
    }

    pub(crate) fn read(
        name: &str,
        root: Table<'_>,
        subscribers: &Subscribers,
        contents: &Contents,
    ) -> Option<Topology> {
        let summary = root.need("summary").and_then(|v| v.str());
        let architecture = root.need("architecture").and_then(|v| v.word());
        let domain = root.need("domain").and_then(|v| v.str());
        let tracker_psi = root.need("tracker-psi").and_then(|v| v.str());
        let path_mtu = root
            .get("path-mtu")
            .and_then(|v| v.table())
            .map(|table| read_mtus(&table))
            .unwrap_or_default();
        let list = root.need("node").and_then(|v| v.array());
        root.refuse_unknown();

        let mut nodes: Vec<Node> = Vec::new();
        for value in list.unwrap_or_default() {
            let number = nodes.len() as u16;
            let Some(node) = Node::read(&value, number, subscribers, contents) else {
                continue;
            };
            if nodes.len() == MOST_NODES {
                value.note(format!("expected at most {MOST_NODES} nodes"));
                break;
            }
            let loopback = node.ip_on(LOOPBACK);
            match nodes
                .iter()
                .find(|other| other.name == node.name || other.ip_on(LOOPBACK) == loopback)
            {
                Some(other) => value.note(format!(
                    "node \"{}\" has the name or the last two octets of the address of \"{}\"",
                    node.name, other.name
                )),
                None => nodes.push(node),
            }
        }
        Some(Topology {
            name: name.to_owned(),
            summary: summary?.to_owned(),
            architecture: architecture?,
            domain: domain?.to_owned(),
            tracker_psi: tracker_psi?.to_owned(),
            path_mtu,
            nodes,
        })
    }
}

impl Node {
    pub fn ip_on(&self, ground: Ground) -> IpAddr {
        let [.., c, d] = self.ip.octets();
        match ground {
            Ground::Memory => self.ip.into(),
            Ground::Loopback { network } => Ipv4Addr::new(127, network, c, d).into(),
            Ground::OneAddress { ip, .. } => ip,
        }
    }

    /// The ports that are its own, the first and the last, where all nodes share one address.
    pub fn ports_on(&self, ground: Ground) -> Option<(u16, u16)> {
        match ground {
            Ground::Memory | Ground::Loopback { .. } => None,
            Ground::OneAddress { network, .. } => {
                let first = first_port(network) + self.number * NODE_PORTS;
                Some((first, first + NODE_PORTS - 1))
            }
        }
    }

    /// The port of its listeners on `port` at the addresses of a ground.
    fn port_on(&self, ground: Ground, port: u16) -> u16 {
        let Some((first, _)) = self.ports_on(ground) else {
            return port;
        };
        let mut ports: Vec<u16> = self.listen.iter().map(|listen| listen.port).collect();
        ports.sort_unstable();
        ports.dedup();
        let place = ports.binary_search(&port).unwrap_or_default();
        first + place as u16
    }

    /// Its listeners at the addresses of a ground.
    pub fn listeners(&self, ground: Ground) -> Vec<Listener> {
        self.listen
            .iter()
            .map(|listen| Listener {
                on: listen.on,
                format: listen.format,
                transport: listen.transport,
                addr: SocketAddr::new(self.ip_on(ground), self.port_on(ground, listen.port)),
            })
            .collect()
    }

    fn read(
        value: &Value<'_>,
        number: u16,
        subscribers: &Subscribers,
        contents: &Contents,
    ) -> Option<Node> {
        let table = value.table()?;
        let name = table.need("name").and_then(|v| v.str());
        let role = table.need("role").and_then(|v| v.word());
        let host = table.need("host").and_then(|v| v.str());
        let ip = table.need("ip").and_then(|v| v.parsed());
        let listen = table
            .get("listen")
            .and_then(|v| v.array())
            .unwrap_or_default();
        if listen.len() > usize::from(LISTENER_PORTS) {
            value.note(format!("expected at most {LISTENER_PORTS} listeners"));
        }
        let listen = listen.iter().filter_map(Listen::read).collect();
        let user = table.get("user").and_then(|v| {
            let id = v.str()?;
            if subscribers.get(id).is_none() {
                v.notes
                    .unknown("subscriber", id, v.span(), &subscribers.ids());
            }
            Some(id.to_owned())
        });
        let cdn = table.get("cdn").and_then(|v| v.str()).map(str::to_owned);
        let holds = table
            .get("holds")
            .and_then(|v| v.table())
            .map(|table| read_holdings(&table, contents))
            .unwrap_or_default();
        table.refuse_unknown();
        Some(Node {
            name: NodeName::new(name?),
            role: role?,
            host: host?.to_owned(),
            ip: ip?,
            number,
            listen,
            user,
            cdn,
            holds,
        })
    }
}

impl Listen {
    /// `Gm:5070/tcp`, `Data:2855/msrp`: reference point, port, and transport or wire format.
    fn read(value: &Value<'_>) -> Option<Listen> {
        const SHAPE: &str = "a listener such as \"Gm:5070/tcp\" or \"Data:2855/msrp\"";
        let text = value.str()?;
        let Some((on, rest)) = text.split_once(':') else {
            return value.wrong(SHAPE);
        };
        let Some((port, kind)) = rest.split_once('/') else {
            return value.wrong(SHAPE);
        };
        let on = match on.parse::<RefPoint>() {
            Ok(on) => on,
            Err(unknown) => {
                value.note(unknown.to_string());
                return None;
            }
        };
        let Ok(port) = port.parse() else {
            return value.wrong(SHAPE);
        };
        let (transport, format) = match kind {
            "udp" => (ListenTransport::Udp, usual_format(on)),
            "tcp" => (ListenTransport::Tcp, usual_format(on)),
            "tls" => (ListenTransport::Tls, usual_format(on)),
            "msrp" => (ListenTransport::Tcp, Some(Format::Msrp)),
            "http" => (ListenTransport::Tcp, Some(Format::Http)),
            _ => return value.wrong(SHAPE),
        };
        let Some(format) = format else {
            return value.wrong("msrp or http after the port: Data carries both");
        };
        Some(Listen {
            on,
            port,
            format,
            transport,
        })
    }
}

/// The one wire format spoken on a reference point, if there is only one.
fn usual_format(on: RefPoint) -> Option<Format> {
    match on {
        RefPoint::Gm | RefPoint::Mw | RefPoint::Isc => Some(Format::Sip),
        RefPoint::Cx => Some(Format::Diameter),
        RefPoint::Ut | RefPoint::Dedicated | RefPoint::Cdn => Some(Format::Http),
        RefPoint::Data => None,
    }
}

/// `{ three-pieces = [1, 2] }`, checked against the contents.
pub(crate) fn read_holdings(table: &Table<'_>, contents: &Contents) -> Vec<(String, Vec<u32>)> {
    let mut holdings = Vec::new();
    for (name, span, value) in table.entries() {
        let Some(content) = contents.get(name) else {
            let names = contents.names();
            table.notes.unknown("content", name, span, &names);
            continue;
        };
        let count = content.pieces.len() as u32;
        let pieces = value.array().unwrap_or_default();
        let pieces: Vec<u32> = pieces
            .iter()
            .filter_map(|piece| match piece.number::<u32>()? {
                n if (1..=count).contains(&n) => Some(n),
                _ => piece.wrong(&format!("a piece from 1 to {count}")),
            })
            .collect();
        holdings.push((name.to_owned(), pieces));
    }
    holdings
}

fn read_mtus(table: &Table<'_>) -> BTreeMap<RefPoint, usize> {
    let mut mtus = BTreeMap::new();
    for (name, span, value) in table.entries() {
        match name.parse::<RefPoint>() {
            Ok(on) => {
                mtus.extend(value.number::<u32>().map(|mtu| (on, mtu as usize)));
            }
            Err(unknown) => table.notes.note(span, unknown.to_string(), ""),
        }
    }
    mtus
}
