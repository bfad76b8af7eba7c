//! Reference nodes: pure state machines, one file a role. A node is a function of its inputs: same seed,
//! same inputs, same outputs, octet for octet. Start at [`Node`] and [`TABLE`].

pub mod deviation;
pub mod door;
pub mod policy;
pub mod setup;
pub mod tracking_list;
pub mod variation;

mod announcer;
mod cdn_cache;
mod cdn_controller;
mod cdn_peer;
mod edge_server;
pub mod hss;
mod i_cscf;
mod ims_user;
mod media_policy;
mod origin_server;
mod p_cscf;
mod s_cscf;
mod serving;
#[cfg(test)]
mod testbed;
mod tracker;
mod ue;

use crate::{
    io::{Input, Outbox},
    spec::Role,
    time::At,
};

pub use serving::{CONTENT_PATH, Shelf, content_answer};
pub use setup::Setup;
pub use tracker::{
    Desk as TrackerDesk, IscDesk as TrackerIscDesk, PEERS as PEER_LIST_PACKAGE,
    STATUS as STATUS_PACKAGE, tracking_list as tracking_list_of,
};

/// A reference node.
pub trait Node: Send {
    fn role(&self) -> Role;

    /// The only door. Pushes what it wants done into `out`; never blocks, never reads a clock.
    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox);
}

/// Builds a node from its set-up.
pub type Constructor = fn(Setup) -> Box<dyn Node>;

/// The reference node that a set-up describes, if there is one of its role.
pub fn build(setup: Setup) -> Option<Box<dyn Node>> {
    let (_, constructor) = TABLE.iter().find(|(role, _)| *role == setup.role)?;
    Some(constructor(setup))
}

/// Role to constructor.
pub const TABLE: &[(Role, Constructor)] = &[
    (Role::Ue, ue::build),
    (Role::UserPeer, ue::build),
    (Role::PCscf, p_cscf::build),
    (Role::ICscf, i_cscf::build),
    (Role::SCscf, s_cscf::build),
    (Role::Hss, hss::build),
    (Role::Tracker, tracker::build),
    (Role::EdgeServer, edge_server::build),
    (Role::OriginServer, origin_server::build),
    (Role::Controller, cdn_controller::build),
];
