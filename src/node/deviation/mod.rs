//! Named rule-breakings: reference nodes that break one rule and keep all others. A deviation is a set-up or
//! a [`Policy`](super::policy::Policy) outside the lawful sets, or something in the node's door that bends
//! what passes; no node's own source knows of them. A new one is one row in the table of its role.

mod apart;
mod bend;
mod cdn;
mod core;
mod stand_in;
mod tracker;
mod ue;

use super::{Node, Setup};
use crate::spec::Role;

pub use super::door::{Behind, Door, Heard, Passing, Said};

/// One rule broken on purpose, everything else kept.
#[derive(Clone, Copy)]
pub struct Deviation {
    pub name: &'static str,
    /// The roles that can break it; all nodes of these roles do.
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
    /// Some messages are lost on it, or reach it as others.
    Hears(fn(&Passing<'_>) -> Heard),
    /// Some messages it writes do not go out, or go out as others, or late.
    Says(fn(&Passing<'_>) -> Said),
    /// What bends its messages has a memory.
    Door(fn(&Setup) -> Box<dyn Door>),
    /// Somebody else stands in for it.
    StandIn(fn(Setup) -> Box<dyn Node>),
}

/// Every deviation, role by role.
const TABLES: &[&[Deviation]] = &[
    ue::registering::TABLE,
    ue::asking::TABLE,
    ue::fetching::TABLE,
    ue::transactions::TABLE,
    ue::holding::TABLE,
    core::P_CSCF,
    core::I_CSCF,
    core::S_CSCF,
    core::HSS,
    tracker::TABLE,
    cdn::controller::TABLE,
    cdn::server::TABLE,
];

/// Every deviation.
pub fn all() -> impl Iterator<Item = &'static Deviation> {
    TABLES.iter().copied().flatten()
}

/// Every deviation's name.
pub fn names() -> Vec<&'static str> {
    all().map(|deviation| deviation.name).collect()
}

/// Who does nothing right, as a whole node: with one of them in a role that a scenario tests, nothing may
/// pass.
pub fn stand_ins(role: Role) -> Vec<Deviation> {
    let stand_in = |name, summary, how| Deviation {
        name,
        roles: only(role),
        requirement: "",
        summary,
        how: How::StandIn(how),
    };
    vec![
        stand_in("silent", "says nothing", stand_in::silent),
        stand_in("says-yes", "answers every request 200", stand_in::says_yes),
        stand_in("says-no", "answers every request 500", stand_in::says_no),
    ]
}

fn only(role: Role) -> &'static [Role] {
    let place = Role::ALL.iter().position(|other| *other == role);
    place.map_or(&[], |place| &Role::ALL[place..=place])
}

impl Deviation {
    pub fn named(name: &str) -> Option<&'static Deviation> {
        all().find(|deviation| deviation.name == name)
    }

    /// Makes the node that this set-up describes deviate; `build` makes the node itself.
    pub fn play(
        &self,
        mut setup: Setup,
        build: impl FnOnce(Setup) -> Option<Box<dyn Node>>,
    ) -> Option<Box<dyn Node>> {
        let door: Box<dyn Door> = match self.how {
            How::Setup(change) => {
                change(&mut setup);
                return build(setup);
            }
            How::StandIn(stand_in) => return Some(stand_in(setup)),
            How::Hears(hears) => Box::new(Deaf(hears)),
            How::Says(says) => Box::new(Loose(says)),
            How::Door(door) => door(&setup),
        };
        let node = build(setup.clone())?;
        Some(Box::new(Behind::new(node, door, setup)))
    }
}

impl std::fmt::Debug for Deviation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A door that bends what is heard, without memory.
struct Deaf(fn(&Passing<'_>) -> Heard);

impl Door for Deaf {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        (self.0)(passing)
    }
}

/// A door that bends what is said, without memory.
struct Loose(fn(&Passing<'_>) -> Said);

impl Door for Loose {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        (self.0)(passing)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_deviation_has_a_name_of_its_own_and_somebody_to_play_it() {
        let mut names = BTreeSet::new();
        for deviation in all() {
            assert!(names.insert(deviation.name), "{}", deviation.name);
            assert!(!deviation.roles.is_empty(), "{}", deviation.name);
        }
    }
}
