//! Who the Tracker AS knows: subscribers, as it is provisioned with them, and the CDN nodes that may use
//! the dedicated interface. One asker has one owner, whichever door it comes through.

use std::{borrow::Cow, collections::BTreeMap, net::SocketAddr, sync::Arc};

use super::super::{
    Setup,
    setup::{Directory, Neighbour, Subscriber},
    tracking_list::Asker,
};
use crate::{
    spec::{Architecture, Role, Worth},
    wire::{
        frame::{NodeName, Security},
        ppstp::PeerRole,
        sip::Uri,
    },
};

/// A subscriber of the IMS.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub asker: Asker,
    pub password: String,
    /// May use the P2P content distribution service.
    pub is_served: bool,
}

impl Person {
    /// Whether a public identity is this person's.
    pub fn is(&self, identity: &str) -> bool {
        let identity = bare(identity);
        self.asker
            .identities
            .iter()
            .any(|own| bare(own) == identity)
    }

    /// The asker, with where its request came from.
    pub fn seen_at(&self, seen: SocketAddr) -> Asker {
        Asker {
            seen: Some(seen),
            ..self.asker.clone()
        }
    }
}

#[derive(Debug)]
pub(super) struct People {
    /// By private identity.
    persons: BTreeMap<String, Person>,
    /// Public identity without parameters, to private identity.
    private: BTreeMap<String, String>,
    directory: Arc<Directory>,
    architecture: Architecture,
    has_tls: bool,
    trusts: &'static [Worth],
    /// Whether whoever is asserted is a subscriber.
    is_open: bool,
}

impl People {
    /// No list of subscribers: whoever an authentication proxy asserts is a user of the service.
    pub fn whoever_is_asserted(setup: &Setup) -> People {
        People {
            is_open: true,
            ..People::new(setup)
        }
    }

    pub fn new(setup: &Setup) -> People {
        let mut persons = BTreeMap::new();
        let mut private = BTreeMap::new();
        for subscriber in setup.subscribers.iter() {
            for impu in &subscriber.impus {
                private.insert(bare(impu), subscriber.impi.clone());
            }
            let person = person(subscriber, &setup.directory);
            persons.insert(subscriber.impi.clone(), person);
        }
        People {
            persons,
            private,
            directory: setup.directory.clone(),
            architecture: setup.architecture,
            has_tls: setup.tls,
            trusts: setup.trusts,
            is_open: false,
        }
    }

    /// By private identity: the user name of HTTP Digest.
    pub fn by_private(&self, impi: &str) -> Option<&Person> {
        self.persons.get(impi)
    }

    /// By public identity: what the IMS core asserts.
    pub fn by_public(&self, identity: &str) -> Option<Cow<'_, Person>> {
        if self.is_open {
            return Some(Cow::Owned(whoever(identity)));
        }
        let person = self.persons.get(self.private.get(&bare(identity))?)?;
        Some(Cow::Borrowed(person))
    }

    /// By what [`Asker::owner`] says.
    pub fn by_owner(&self, owner: &str) -> Option<Cow<'_, Person>> {
        match self.is_open {
            true => Some(Cow::Owned(whoever(owner))),
            false => self.by_private(owner).map(Cow::Borrowed),
        }
    }

    /// Whom an authentication proxy asserts by a public identity.
    pub fn asserted(&self, identity: &str, from: SocketAddr) -> Option<Asker> {
        Some(self.by_public(identity)?.seen_at(from))
    }

    /// Whether a request for somebody comes straight from a node that is no part of the IMS core, so
    /// that what it asserts means nothing (RFC 3325 5).
    pub fn is_outsider(&self, from: SocketAddr) -> bool {
        let mut nodes = self.directory.all_at(from).peekable();
        let is_core =
            |node: &Neighbour| matches!(node.role, Role::PCscf | Role::ICscf | Role::SCscf);
        nodes.peek().is_some() && !nodes.any(|(_, node)| is_core(node))
    }

    /// Who is at the other end of the dedicated interface: the client identity of the link or, without
    /// TLS, the node that has the address. `None` for anybody who has no business there.
    pub fn on_dedicated(&self, from: SocketAddr, security: &Security) -> Option<Asker> {
        let (name, node) = match security {
            Security::Tls {
                client: Some(identity),
            } => self.named(identity.proves_to(self.trusts)?)?,
            Security::Tls { client: None } => return None,
            Security::Plain if self.has_tls => return None,
            Security::Plain => self.directory.at(from)?,
        };
        let role = match (role_of(node.role), self.architecture) {
            (PeerRole::User, _) => return None,
            // In 6.2.2 the Controller alone speaks to the Tracker AS.
            (PeerRole::Edge | PeerRole::Origin, Architecture::Unregistered) => return None,
            (role, _) => role,
        };
        Some(self.asker(name, node, role, from))
    }

    /// Who has an address, whatever it proved.
    pub fn at_address(&self, from: SocketAddr) -> Option<Asker> {
        let (name, node) = self.directory.at(from)?;
        Some(self.asker(name, node, role_of(node.role), from))
    }

    fn asker(&self, name: &NodeName, node: &Neighbour, role: PeerRole, from: SocketAddr) -> Asker {
        let impi = node
            .impu
            .as_ref()
            .and_then(|impu| self.private.get(&bare(impu)));
        Asker {
            owner: impi.map_or(name.as_str(), |impi| impi).into(),
            role,
            is_qualified: true,
            identities: node.impu.iter().cloned().collect(),
            seen: Some(from),
        }
    }

    /// A node by its name, host name or public identity.
    fn named(&self, identity: &str) -> Option<(&NodeName, &Neighbour)> {
        let is_meant = |(name, node): &(&NodeName, &Neighbour)| {
            name.as_str() == identity
                || node.host.eq_ignore_ascii_case(identity)
                || node.impu.as_deref() == Some(identity)
        };
        self.directory.nodes.iter().find(is_meant)
    }
}

/// Somebody who is known by nothing but a public identity.
fn whoever(identity: &str) -> Person {
    Person {
        asker: Asker {
            owner: identity.into(),
            role: PeerRole::User,
            is_qualified: true,
            identities: vec![identity.to_owned()],
            seen: None,
        },
        password: String::new(),
        is_served: true,
    }
}

fn person(subscriber: &Subscriber, directory: &Directory) -> Person {
    let is_its = |node: &&Neighbour| {
        let impu = node.impu.as_ref();
        impu.is_some_and(|impu| subscriber.impus.contains(impu))
    };
    let node = directory.nodes.values().find(is_its);
    Person {
        asker: Asker {
            owner: subscriber.impi.as_str().into(),
            role: node.map_or(PeerRole::User, |node| role_of(node.role)),
            is_qualified: subscriber.qualified,
            identities: subscriber.impus.clone(),
            seen: None,
        },
        password: subscriber.password.clone(),
        is_served: subscriber.service && !subscriber.barred,
    }
}

fn role_of(role: Role) -> PeerRole {
    match role {
        Role::EdgeServer => PeerRole::Edge,
        Role::OriginServer => PeerRole::Origin,
        Role::Controller => PeerRole::Controller,
        _ => PeerRole::User,
    }
}

/// A public identity without parameters, its scheme and host in lower case (RFC 3261 19.1.4).
fn bare(identity: &str) -> String {
    match Uri::parse(identity) {
        Ok(uri) => {
            let user = uri.user.map(|user| format!("{user}@")).unwrap_or_default();
            let scheme = uri.scheme.to_ascii_lowercase();
            format!("{scheme}:{user}{}", uri.host.to_ascii_lowercase())
        }
        Err(_) => identity.to_owned(),
    }
}
