//! What UEs and others that serve pieces can do wrong: while registering, asking for peers, fetching
//! pieces, telling the tracker, and serving; and what their transaction layers can.

pub(super) mod asking;
pub(super) mod fetching;
pub(super) mod holding;
mod offers;
pub(super) mod registering;
pub(super) mod reporting;
pub(super) mod sending;
pub(super) mod transactions;

use super::{Deviation, How};
use crate::spec::Role;

/// Whoever registers with IMS as a user.
const USERS: &[Role] = &[Role::Ue, Role::UserPeer];

/// Whoever asks: a user peer that went wrong the same way would never come to hold anything.
const ASKERS: &[Role] = &[Role::Ue];

/// Whoever serves pieces over IMS.
const HOLDERS: &[Role] = &[Role::UserPeer, Role::EdgeServer, Role::OriginServer];

/// A deviation of whoever uses the service.
const fn of_users(
    name: &'static str,
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        name,
        roles: USERS,
        requirement,
        summary,
        how,
    }
}

/// A deviation of whoever asks.
const fn of_askers(
    name: &'static str,
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        roles: ASKERS,
        ..of_users(name, requirement, summary, how)
    }
}

/// A deviation of whoever serves pieces.
const fn of_holders(
    name: &'static str,
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        name,
        roles: HOLDERS,
        requirement,
        summary,
        how,
    }
}
