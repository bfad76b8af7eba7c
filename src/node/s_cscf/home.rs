//! Where things are, as the S-CSCF sees it: its own URIs, its neighbours, and the way to a URI.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    node::setup::{Directory, Neighbour, Setup},
    spec::{Format, RefPoint, Role},
    wire::sip::{Message, NameAddr, Uri},
};

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    pub on: RefPoint,
    pub to: SocketAddr,
}

/// This S-CSCF's place in the network.
#[derive(Clone, Debug)]
pub struct Home {
    directory: Arc<Directory>,
    host: String,
    ip: IpAddr,
    ports: Vec<u16>,
    mw_port: u16,
    /// Behind the port in its URIs.
    transport: &'static str,
}

/// What our own URI on top of Route says about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// It stands there at all.
    pub ours: bool,
    pub origin: Origin,
    /// The original dialog identifier: the request comes back from an application server.
    pub dialog: Option<String>,
}

/// What says that a request is one of a served user (TS 24.229 5.4.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nothing: it is for him.
    #[default]
    None,
    /// The URI parameter `orig`: from the I-CSCF on behalf of an application server.
    Parameter,
    /// Our Service-Route, which only the P-CSCF and application servers use.
    ServiceRoute,
}

impl Home {
    pub fn new(setup: &Setup) -> Home {
        let sip: Vec<_> = setup
            .listeners
            .iter()
            .filter(|listener| listener.format == Format::Sip)
            .collect();
        let mw = sip.iter().find(|listener| listener.on == RefPoint::Mw);
        let own = setup.directory.nodes.get(&setup.name);
        Home {
            host: own.map_or_else(|| setup.ip.to_string(), |node| node.host.clone()),
            transport: own.map_or("", |node| node.transport_parameter(RefPoint::Mw)),
            directory: setup.directory.clone(),
            ip: setup.ip,
            ports: sip.iter().map(|listener| listener.addr.port()).collect(),
            mw_port: mw.map_or(5060, |listener| listener.addr.port()),
        }
    }

    pub fn domain(&self) -> &str {
        &self.directory.domain
    }

    /// Host, port and transport, as they stand in its URIs.
    fn place(&self) -> String {
        format!("{}:{}{}", self.host, self.mw_port, self.transport)
    }

    /// `sip:scscf1.ims.example:5068;transport=tcp`: Server-Name on Cx, Contact of third-party REGISTERs.
    pub fn uri(&self) -> String {
        format!("sip:{}", self.place())
    }

    /// `<sip:scscf1.ims.example:5068;transport=tcp;lr>`.
    pub fn record_route(&self) -> String {
        format!("<{};lr>", self.uri())
    }

    /// `<sip:orig@scscf1.ims.example:5068;transport=tcp;lr>`.
    pub fn service_route(&self) -> String {
        format!("<sip:{ORIGINATING}@{};lr>", self.place())
    }

    /// Our own URI with the original dialog identifier, as a parameter or as user part.
    pub fn return_route(&self, dialog: &str, in_user: bool) -> String {
        match in_user {
            true => format!("<sip:{ODI}-{dialog}@{};lr>", self.place()),
            false => format!("<{};lr;{ODI}={dialog}>", self.uri()),
        }
    }

    /// What the topmost of these routes says, if it is ours.
    pub fn mark(&self, routes: &[NameAddr]) -> Mark {
        let Some(uri) = routes
            .first()
            .and_then(|route| Uri::parse(&route.uri).ok())
            .filter(|uri| self.is_own(uri))
        else {
            return Mark::default();
        };
        let user = uri.user.as_deref().unwrap_or_default();
        let in_user = user
            .strip_prefix(ODI)
            .and_then(|rest| rest.strip_prefix('-'));
        Mark {
            ours: true,
            origin: match user == ORIGINATING {
                true => Origin::ServiceRoute,
                false if uri.params.has(ORIGINATING) => Origin::Parameter,
                false => Origin::None,
            },
            dialog: uri.params.get(ODI).or(in_user).map(str::to_owned),
        }
    }

    /// Whether a URI is this node: its host name or address, and one of its ports or none.
    pub fn is_own(&self, uri: &Uri) -> bool {
        let named =
            uri.host.eq_ignore_ascii_case(&self.host) || literal(&uri.host) == Some(self.ip);
        named && uri.port.is_none_or(|port| self.ports.contains(&port))
    }

    /// Where a request for this URI goes next: to the I-CSCF for the home domain and its subdomains, to the
    /// node that owns the host otherwise.
    pub fn way_to(&self, uri: &str) -> Option<Hop> {
        let uri = Uri::parse(uri).ok()?;
        match self.is_home(&uri) {
            true => self.interrogating(),
            false => self.way_to_node(&uri),
        }
    }

    /// Where a Route or an application server's name leads: to that node itself.
    pub fn way_to_node(&self, uri: &Uri) -> Option<Hop> {
        let owner = self.owner(&uri.host, uri.port);
        let on = match owner.map(|node| node.role) {
            Some(Role::Tracker) => RefPoint::Isc,
            _ => RefPoint::Mw,
        };
        let to = match owner {
            Some(node) => sip_listener(node, on, uri.port),
            None => literal(&uri.host).map(|ip| SocketAddr::new(ip, uri.port.unwrap_or(5060))),
        }?;
        Some(Hop { on, to })
    }

    /// The I-CSCF on Mw.
    fn interrogating(&self) -> Option<Hop> {
        let (_, node) = self.directory.first(Role::ICscf)?;
        let to = sip_listener(node, RefPoint::Mw, None)?;
        Some(Hop {
            on: RefPoint::Mw,
            to,
        })
    }

    /// Whether somebody in one of these roles has this address and speaks on this reference point. Several
    /// nodes may share an address, and the port a connection comes from may say nothing.
    pub fn is_one_of(&self, addr: SocketAddr, on: RefPoint, roles: &[Role]) -> bool {
        self.directory.all_at(addr).any(|(_, node)| {
            roles.contains(&node.role) && node.listeners.iter().any(|listener| listener.on == on)
        })
    }

    /// The role of whoever listens there.
    pub fn role_at(&self, hop: Hop) -> Option<Role> {
        let mut nodes = self.directory.nodes.values();
        nodes
            .find(|node| {
                node.listeners
                    .iter()
                    .any(|listener| listener.on == hop.on && listener.addr == hop.to)
            })
            .map(|node| node.role)
    }

    /// The role of the node a URI names.
    pub fn role_named(&self, uri: &Uri) -> Option<Role> {
        self.owner(&uri.host, uri.port).map(|node| node.role)
    }

    /// Whether the URI is one of the home domain rather than of one of its machines. The public service
    /// identities have hosts of their own below it.
    pub fn is_home(&self, uri: &Uri) -> bool {
        let host = uri.host.to_ascii_lowercase();
        let domain = self.directory.domain.to_ascii_lowercase();
        let is_below = host
            .strip_suffix(&domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let is_machine = self
            .directory
            .nodes
            .values()
            .any(|node| node.host.eq_ignore_ascii_case(&host));
        is_below && !is_machine
    }

    fn owner(&self, host: &str, port: Option<u16>) -> Option<&Neighbour> {
        let name = self.directory.owner(host, port)?;
        self.directory.nodes.get(name)
    }
}

/// Where a node listens for SIP on `on`: on that port if it does, else wherever it does.
fn sip_listener(node: &Neighbour, on: RefPoint, port: Option<u16>) -> Option<SocketAddr> {
    let mut there = node
        .listeners
        .iter()
        .filter(|listener| listener.on == on && listener.format == Format::Sip)
        .map(|listener| listener.addr);
    let first = there.clone().next();
    there.find(|addr| Some(addr.port()) == port).or(first)
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

/// An identity in the form in which identities are compared: scheme, user and host of a SIP URI, a tel
/// URI without parameters.
pub fn canonical(uri: &str) -> String {
    match Uri::parse(uri) {
        Ok(uri) => {
            let host = uri.host.to_ascii_lowercase();
            match &uri.user {
                Some(user) => format!("{}:{user}@{host}", uri.scheme),
                None => format!("{}:{host}", uri.scheme),
            }
        }
        Err(_) => uri.split(';').next().unwrap_or_default().to_owned(),
    }
}

/// Adds a header above those of its name, or below all others if there is none.
pub fn put_above(request: &Message, name: &str, values: &[String]) -> Message {
    if values.is_empty() {
        return request.clone();
    }
    let value = values.join(", ");
    let edit = request.edit();
    match request.has(name) {
        true => edit.prepend(name, &value),
        false => edit.append(name, &value),
    }
    .finish()
}

/// The user part of Service-Route, and the URI parameter of other networks.
const ORIGINATING: &str = "orig";

const ODI: &str = "odi";
