//! Named rule-breakings. A deviation is a set-up or a [`Policy`](super::policy::Policy) outside the lawful
//! sets, or a rewriter around a node; no node's own source knows of them. A new one is one row in [`TABLE`].

use std::sync::Arc;

use bytes::BytesMut;

use super::Setup;
use crate::spec::Role;

/// One rule broken on purpose, everything else kept.
pub struct Deviation {
    pub name: &'static str,
    /// The roles that can break it.
    pub roles: &'static [Role],
    /// The ledger row it breaks.
    pub requirement: &'static str,
    pub summary: &'static str,
    pub how: How,
}

/// How a node is made to deviate.
#[derive(Clone, Copy)]
pub enum How {
    /// It is told something else than it should be, or decides as it must not.
    Setup(fn(&mut Setup)),
}

/// Every deviation.
pub const TABLE: &[Deviation] = &[Deviation {
    name: "holder-pollutes-a-piece",
    roles: &[Role::UserPeer, Role::EdgeServer, Role::OriginServer],
    requirement: "PEER-012",
    summary: "serves pieces with one octet changed",
    how: How::Setup(pollute),
}];

impl Deviation {
    pub fn named(name: &str) -> Option<&'static Deviation> {
        TABLE.iter().find(|deviation| deviation.name == name)
    }

    /// Makes the node that this set-up describes deviate.
    pub fn apply(&self, setup: &mut Setup) {
        match self.how {
            How::Setup(change) => change(setup),
        }
    }
}

/// Every deviation's name.
pub fn names() -> Vec<&'static str> {
    TABLE.iter().map(|deviation| deviation.name).collect()
}

fn pollute(setup: &mut Setup) {
    let mut contents = (*setup.contents).clone();
    for content in &mut contents {
        let mut octets = BytesMut::from(&content.bytes[..]);
        for piece in &content.pieces {
            let middle = usize::try_from(piece.first + piece.len / 2).unwrap_or(usize::MAX);
            if let Some(octet) = octets.get_mut(middle) {
                *octet ^= 0x01;
            }
        }
        content.bytes = octets.freeze();
    }
    setup.contents = Arc::new(contents);
}
