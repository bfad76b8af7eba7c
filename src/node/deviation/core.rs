//! What the nodes of the IMS core can do wrong: P-CSCF, I-CSCF, S-CSCF, HSS.

use super::{Deviation, How, Passing, Said};
use crate::spec::{RefPoint, Role};

const P_CSCF: &[Role] = &[Role::PCscf];

pub(super) const TABLE: &[Deviation] = &[Deviation {
    name: "p-cscf-adds-no-path",
    roles: P_CSCF,
    requirement: "REG-006",
    summary: "forwards a REGISTER without Path",
    how: How::Says(without_path),
}];

fn without_path(passing: &Passing<'_>) -> Said {
    match passing.request("REGISTER") {
        Some(register) if passing.on == RefPoint::Mw => {
            Said::as_one(register.edit().remove("Path").finish().bytes().clone())
        }
        _ => Said::AsWritten,
    }
}
