//! What is kept of each peer beside its place in a swarm, as small as it can be: there may be a million. The
//! usual case (one address without further members, one swarm) needs no memory of its own.

use std::net::IpAddr;

use super::{Counters, Membership};
use crate::wire::ppstp::{AddressKind, Connection, PeerAddr, PeerCds};

/// Addresses of one peer, the preferred first. Which priority the peer gave decides their order and is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Addresses {
    #[default]
    None,
    One {
        ip: IpAddr,
        port: u16,
        kind: AddressKind,
        connection: Option<Connection>,
    },
    Many(Box<[PeerAddr]>),
}

impl Addresses {
    pub fn len(&self) -> usize {
        match self {
            Addresses::None => 0,
            Addresses::One { .. } => 1,
            Addresses::Many(addrs) => addrs.len(),
        }
    }

    /// The address at a place, as it is listed.
    ///
    /// # Panics
    /// If there is none.
    pub fn listed(&self, place: usize, priority: i64) -> PeerAddr {
        match self {
            Addresses::None => panic!("no address has a place"),
            Addresses::One {
                ip,
                port,
                kind,
                connection,
            } => PeerAddr {
                ip: *ip,
                port: *port,
                priority,
                kind: *kind,
                connection: *connection,
                asn: None,
                peer_protocol: None,
            },
            Addresses::Many(addrs) => PeerAddr {
                priority,
                ..addrs[place].clone()
            },
        }
    }
}

impl From<Vec<PeerAddr>> for Addresses {
    fn from(addrs: Vec<PeerAddr>) -> Addresses {
        match &addrs[..] {
            [] => Addresses::None,
            [one] if one.asn.is_none() && one.peer_protocol.is_none() => Addresses::One {
                ip: one.ip,
                port: one.port,
                kind: one.kind,
                connection: one.connection,
            },
            _ => Addresses::Many(addrs.into()),
        }
    }
}

/// The swarms a peer is in.
#[derive(Debug, Default)]
pub(super) enum Memberships {
    #[default]
    None,
    One(Membership),
    Several(Box<Several>),
}

#[derive(Debug)]
pub(super) struct Several(Vec<Membership>);

impl Memberships {
    pub fn iter(&self) -> std::slice::Iter<'_, Membership> {
        match self {
            Memberships::None => [].iter(),
            Memberships::One(one) => std::slice::from_ref(one).iter(),
            Memberships::Several(several) => several.0.iter(),
        }
    }

    pub fn len(&self) -> usize {
        self.iter().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn last(&self) -> Option<Membership> {
        self.iter().last().copied()
    }

    pub fn push(&mut self, membership: Membership) {
        match self {
            Memberships::None => *self = Memberships::One(membership),
            Memberships::One(one) => {
                *self = Memberships::Several(Box::new(Several(vec![*one, membership])));
            }
            Memberships::Several(several) => several.0.push(membership),
        }
    }

    pub fn remove(&mut self, swarm: u32) {
        match self {
            Memberships::One(one) if one.swarm == swarm => *self = Memberships::None,
            Memberships::None | Memberships::One(_) => {}
            Memberships::Several(several) => {
                several.0.retain(|membership| membership.swarm != swarm);
                if let [one] = several.0[..] {
                    *self = Memberships::One(one);
                }
            }
        }
    }

    /// The peer has another place in a swarm now.
    pub fn moved(&mut self, to: Membership) {
        let memberships = match self {
            Memberships::None => return,
            Memberships::One(one) => std::slice::from_mut(one),
            Memberships::Several(several) => &mut several.0[..],
        };
        for membership in memberships.iter_mut().filter(|m| m.swarm == to.swarm) {
            *membership = to;
        }
    }
}

/// What others are told of a member, and what it reported.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The SIP URI, and behind it the URL.
    text: Option<Box<str>>,
    /// Where the URI ends and the URL begins.
    uri_end: u32,
    has_cds: bool,
    has_uri: bool,
    has_url: bool,
    /// The addresses it joined with, if its peer has others now.
    own_addrs: Option<Box<Addresses>>,
    pub counters: Counters,
}

impl Told {
    /// How a member is reached, as it is told; its pieces are kept elsewhere.
    pub fn of(cds: Option<&PeerCds>) -> Told {
        let uri = cds.and_then(|cds| cds.sip_uri.as_deref());
        let url = cds.and_then(|cds| cds.url.as_deref());
        let text = [uri.unwrap_or_default(), url.unwrap_or_default()].concat();
        Told {
            uri_end: uri.map_or(0, str::len) as u32,
            has_cds: cds.is_some(),
            has_uri: uri.is_some(),
            has_url: url.is_some(),
            text: (!text.is_empty()).then(|| text.into()),
            ..Told::default()
        }
    }

    pub fn has_cds(&self) -> bool {
        self.has_cds
    }

    pub fn sip_uri(&self) -> Option<&str> {
        self.has_uri.then(|| &self.text()[..self.uri_end as usize])
    }

    pub fn url(&self) -> Option<&str> {
        self.has_url.then(|| &self.text()[self.uri_end as usize..])
    }

    pub fn own_addrs(&self) -> Option<&Addresses> {
        self.own_addrs.as_deref()
    }

    /// Keeps the addresses it joined with, unless it has kept them before.
    pub fn keep_addrs(&mut self, addrs: &Addresses) {
        self.own_addrs
            .get_or_insert_with(|| Box::new(addrs.clone()));
    }

    fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}

/// Puts one more at the end; room grows by a quarter, as there are many lists that grow no further.
pub(super) fn push<T>(list: &mut Vec<T>, one: T) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 4).max(4));
    }
    list.push(one);
}
