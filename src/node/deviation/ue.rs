//! What UEs and others that serve pieces can do wrong.

use std::sync::Arc;

use bytes::BytesMut;

use super::{Deviation, How};
use crate::{node::Setup, spec::Role};

/// Whoever registers with IMS as a user.
const USERS: &[Role] = &[Role::Ue, Role::UserPeer];
/// Whoever serves pieces over IMS.
const HOLDERS: &[Role] = &[Role::UserPeer, Role::EdgeServer, Role::OriginServer];

pub(super) const TABLE: &[Deviation] = &[
    Deviation {
        name: "holder-pollutes-a-piece",
        roles: HOLDERS,
        requirement: "PEER-012",
        summary: "serves pieces with one octet changed",
        how: How::Setup(pollute),
    },
    Deviation {
        name: "ue-skips-p-cscf",
        roles: USERS,
        requirement: "UE-001",
        summary: "sends its INVITE straight to the peer",
        how: How::Setup(|setup| setup.policy.ua.skips_p_cscf = true),
    },
];

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
