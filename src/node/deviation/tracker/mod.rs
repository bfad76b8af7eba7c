//! What a Tracker AS can do wrong: with HTTP and the documents of its protocol (`documents`,
//! `addresses`, `answering`), with who may ask and what becomes of a peer (`peers`, `joining`), with lists (`lists`), and
//! inside the IMS (`isc`). `book` is
//! what their doors remember.

pub(super) mod addresses;
pub(super) mod answering;
mod book;
pub(super) mod documents;
pub(super) mod isc;
pub(super) mod joining;
pub(super) mod lists;
pub(super) mod peers;

use super::{Deviation, How};
use crate::spec::Role;

const TRACKER: &[Role] = &[Role::Tracker];

const fn row(
    name: &'static str,
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        name,
        roles: TRACKER,
        requirement,
        summary,
        how,
    }
}
