//! What a node is told before it starts: its addresses, its neighbours, its users, its contents.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    io::OpenSecurity,
    spec::{Architecture, Delivery, Format, Options, RefPoint, Role, Worth},
    trace::{ListenTransport, Listener},
    wire::frame::{Identity, NodeName, Security},
};

/// Everything a node knows at the start.
#[derive(Clone, Debug)]
pub struct Setup {
    pub name: NodeName,
    pub role: Role,
    /// hash(run seed, instance id, node name): never shared between nodes.
    pub seed: u64,
    pub ip: IpAddr,
    pub listeners: Vec<Listener>,
    pub architecture: Architecture,
    pub options: Options,
    pub delivery: Delivery,
    pub directory: Arc<Directory>,
    /// Every subscriber of the fixture; HSS and Tracker AS use all, a UE its own (`user`).
    pub subscribers: Arc<Vec<Subscriber>>,
    /// The id of this node's own subscriber (`ue-a`), if it registers with IMS.
    pub user: Option<String>,
    pub contents: Arc<Vec<Content>>,
    /// What this node holds at the start: (fixture name, pieces, 1-based).
    pub holds: Vec<(String, Vec<u32>)>,
    /// Listeners that want TLS have it: memory asserts it, sockets make it. Without it all links are plain.
    pub tls: bool,
    /// What somebody else's certificate has to be worth.
    pub trusts: &'static [Worth],
    /// Octets, where the path MTU is known (RFC 3261 18.1.1).
    pub path_mtu: BTreeMap<RefPoint, usize>,
    /// How it decides what it may decide.
    pub policy: super::policy::Policy,
    /// Key between Controller and edges for data tokens.
    pub token_key: Vec<u8>,
}

/// Who proves who it is, and nobody else.
pub const PROVEN: &[Worth] = &[Worth::Good];

impl Setup {
    /// How a connection is opened that ought to be protected, showing the certificate of `client` if there is one.
    pub fn protected(&self, client: Option<Identity>) -> OpenSecurity {
        match self.tls {
            true => OpenSecurity::Tls {
                client,
                trusts: self.trusts,
            },
            false => OpenSecurity::Plain,
        }
    }

    /// How the listener at `to` wants to be met, showing this node's own certificate where it wants TLS.
    pub fn security_of(&self, to: SocketAddr) -> OpenSecurity {
        let own = self.directory.nodes.get(&self.name);
        let host = own.map_or(self.name.as_str(), |own| &own.host);
        match self.directory.is_under_tls(to) {
            true => self.protected(Some(Identity::proven(host))),
            false => OpenSecurity::Plain,
        }
    }

    /// The node at the other end: who its certificate proves it to be, or without TLS who has the address. `None` if it
    /// proves nothing.
    pub fn who_asks(
        &self,
        from: SocketAddr,
        security: &Security,
    ) -> Option<(&NodeName, &Neighbour)> {
        match security {
            Security::Plain => self.directory.at(from),
            Security::Tls { client: None } => None,
            Security::Tls {
                client: Some(identity),
            } => {
                let name = identity.proves_to(self.trusts)?;
                let mut nodes = self.directory.nodes.iter();
                nodes.find(|(_, node)| node.host.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// Names and addresses: there is no DNS.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Host name to node: `pcscf1.ims.example` → `p-cscf`.
    pub hosts: BTreeMap<String, NodeName>,
    pub nodes: BTreeMap<NodeName, Neighbour>,
    /// The home domain: `ims.example`.
    pub domain: String,
    /// The tracker's public service identity: `sip:tracker@p2pcds.ims.example`.
    pub tracker_psi: String,
}

/// Another node, as an address book has it.
#[derive(Clone, Debug)]
pub struct Neighbour {
    pub role: Role,
    /// Its host name, as it writes itself in Via, Route and URLs.
    pub host: String,
    pub ip: IpAddr,
    /// The ports that are its own, the first and the last, where it shares its address with others.
    pub ports: Option<(u16, u16)>,
    pub listeners: Vec<Listener>,
    /// Its public identity, if it registers.
    pub impu: Option<String>,
    /// For a CDN node: the id of its CDN; for a Controller too.
    pub cdn: Option<String>,
    /// For an edge or origin: (fixture, pieces) it holds at the start. The Controller is provisioned with it.
    pub holds: Vec<(String, Vec<u32>)>,
}

impl Neighbour {
    /// What a SIP URI of its listener on `on` says of the transport, behind the port: a port alone means UDP
    /// (RFC 3263 4.1).
    pub fn transport_parameter(&self, on: RefPoint) -> &'static str {
        let sip = self.listeners.iter();
        let mut sip = sip.filter(|l| l.on == on && l.format == Format::Sip);
        match sip.all(|listener| listener.transport != ListenTransport::Udp) {
            true => ";transport=tcp",
            false => "",
        }
    }

    /// Whether an address is this node's.
    fn is_at(&self, addr: SocketAddr) -> bool {
        let port = addr.port();
        let is_own = |(first, last): (u16, u16)| (first..=last).contains(&port);
        self.ip == addr.ip() && self.ports.is_none_or(is_own)
    }
}

impl Directory {
    /// Where `node` listens on `on` for `format`.
    pub fn listener(&self, node: &str, on: RefPoint, format: Format) -> Option<SocketAddr> {
        self.nodes
            .get(&NodeName::new(node))?
            .listeners
            .iter()
            .find(|l| l.on == on && l.format == format)
            .map(|l| l.addr)
    }

    /// The first node of `role`, in name order.
    pub fn first(&self, role: Role) -> Option<(&NodeName, &Neighbour)> {
        self.nodes.iter().find(|(_, n)| n.role == role)
    }

    /// Whether the listener at an address speaks TLS.
    pub fn is_under_tls(&self, addr: SocketAddr) -> bool {
        let listeners = self.nodes.values().flat_map(|node| &node.listeners);
        listeners
            .into_iter()
            .any(|listener| listener.addr == addr && listener.transport == ListenTransport::Tls)
    }

    /// The nodes a frame from `addr` may come from: those whose port it is, or else those that have the address to
    /// themselves, or share it and can be told apart by nothing.
    pub fn all_at(&self, addr: SocketAddr) -> impl Iterator<Item = (&NodeName, &Neighbour)> {
        let at = move |node: &Neighbour| node.is_at(addr);
        let has_port = |node: &Neighbour| node.ports.is_some();
        let by_port = self.nodes.values().any(|node| has_port(node) && at(node));
        let mut all = self.nodes.iter();
        std::iter::from_fn(move || all.find(|(_, node)| at(node) && has_port(node) == by_port))
    }

    /// The node a frame from `addr` comes from, if one has that address.
    pub fn at(&self, addr: SocketAddr) -> Option<(&NodeName, &Neighbour)> {
        self.all_at(addr).next()
    }

    /// The node that owns a host name or a literal address: of several at one address the one that listens on the
    /// port or has it for its own, or without one that does the first.
    pub fn owner(&self, host: &str, port: Option<u16>) -> Option<&NodeName> {
        if let Some(name) = self.hosts.get(host) {
            return Some(name);
        }
        let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
        let addr = port.map(|port| SocketAddr::new(ip, port));
        let listens = |node: &Neighbour| node.listeners.iter().any(|l| Some(l.addr) == addr);
        let by_listener = self.nodes.iter().find(|(_, node)| listens(node));
        let by_port = || self.all_at(addr?).next();
        let by_ip = || self.nodes.iter().find(|(_, node)| node.ip == ip);
        let owner = by_listener.or_else(by_port).or_else(by_ip);
        owner.map(|(name, _)| name)
    }

    /// Where a message for `host` (and port, if given) goes on `on`: a literal address with its port as is
    /// (default 5060), a name by the table.
    pub fn resolve(
        &self,
        host: &str,
        port: Option<u16>,
        on: RefPoint,
        format: Format,
    ) -> Option<SocketAddr> {
        if let (Ok(ip), Some(port)) = (host.trim_matches(['[', ']']).parse::<IpAddr>(), port) {
            return Some(SocketAddr::new(ip, port));
        }
        self.listener(self.owner(host, port)?.as_str(), on, format)
    }
}

/// A user of the IMS, as HSS and tracker are provisioned with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// `ue-a`.
    pub id: String,
    /// `ue-a@private.ims.example`.
    pub impi: String,
    /// Public identities, the default first: `sip:ue-a@ims.example`.
    pub impus: Vec<String>,
    pub password: String,
    /// 128-bit K and OPc for AKA.
    pub k: [u8; 16],
    pub opc: [u8; 16],
    /// May use the P2P content distribution service.
    pub service: bool,
    /// The network's policy finds it a qualified user peer (TR 23.844: the policy is preconfigured).
    pub qualified: bool,
    /// The first public identity is barred.
    pub barred: bool,
    /// Not authorised to register at all.
    pub may_register: bool,
    /// Has a USIM: authenticates by AKA, and agrees on security with its P-CSCF.
    pub aka: bool,
    /// The sequence number its USIM saw last (TS 33.102 6.3.3, clause not verified).
    pub usim_sqn: u64,
}

/// A content and its manifest.
#[derive(Clone, Debug)]
pub struct Content {
    /// The fixture: `three-pieces`.
    pub fixture: String,
    /// The swarm id in this run; also its file name.
    pub swarm: String,
    pub bytes: Bytes,
    pub sha1: [u8; 20],
    pub sha256: [u8; 32],
    pub pieces: Vec<PieceOf>,
}

/// One piece: 1-based number, 0-based offset in octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceOf {
    pub n: u32,
    pub first: u64,
    pub len: u64,
    pub sha256: [u8; 32],
}
