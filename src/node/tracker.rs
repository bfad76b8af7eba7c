//! The Tracker AS (TR 23.844 6.2): one Tracking List behind three doors. On Ut and on the dedicated
//! interface it speaks PPSTP over HTTP, on ISC SIP, as the terminating user agent of what the S-CSCF
//! brings. What is answered is decided by `tracking_list`; here is who may ask, and how it is carried.
//!
//! Start at [`Tracker::handle`]; a door each in `http_door` and `isc_door`.

mod desk;
mod http_door;
mod isc_door;
mod people;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use self::{http_door::HttpDoor, isc_door::IscDoor, people::People};
use super::{
    Node, Setup,
    policy::TrackerPolicy,
    setup::Directory,
    tracking_list::{Hidden, Rules, TrackingList},
};
use crate::{
    io::{Action, Input, Outbox, TimerId},
    random::derive,
    spec::{Architecture, Role},
    time::At,
    wire::ppstp::Manifest,
};

pub use desk::{Desk, IscDesk};
pub use isc_door::{PEERS, STATUS};

pub fn build(setup: Setup) -> Box<dyn Node> {
    Box::new(Tracker::new(setup))
}

/// The list of a tracker that is set up like this, with every content provisioned.
pub fn tracking_list(setup: &Setup) -> TrackingList {
    let mut list = TrackingList::new(rules(setup), derive(setup.seed, &["tracking-list"]));
    for content in setup.contents.iter() {
        // A fixture that does not cover itself is refused where fixtures are read; here it stays
        // unknown, and nobody can join it.
        let _ = list.provision(&content.swarm, Manifest::from(content));
    }
    list
}

struct Tracker {
    list: TrackingList,
    http: HttpDoor,
    isc: IscDoor,
    timer: Option<TimerId>,
    armed: Option<At>,
    is_stopped: bool,
}

impl Tracker {
    fn new(setup: Setup) -> Tracker {
        let people = Arc::new(People::new(&setup));
        Tracker {
            list: tracking_list(&setup),
            http: HttpDoor::new(&setup, people.clone()),
            isc: IscDoor::new(&setup, people),
            timer: None,
            armed: None,
            is_stopped: false,
        }
    }

    /// What time alone brings about: peers, publications and registrations that ran out.
    fn sweep(&mut self, at: At, out: &mut Outbox) {
        for removed in self.list.expire(at) {
            out.note("expired", format!("{} went silent", removed.peer_id));
        }
        self.isc.expire(at, &mut self.list, out);
    }

    fn rearm(&mut self, out: &mut Outbox) {
        let due = [self.list.next_expiry(), self.isc.next_due()];
        let Some(due) = due.into_iter().flatten().min() else {
            return;
        };
        if self.armed == Some(due) {
            return;
        }
        let timer = *self.timer.get_or_insert_with(|| out.fresh_timer());
        out.arm(timer, due);
        self.armed = Some(due);
    }
}

impl Node for Tracker {
    fn role(&self) -> Role {
        Role::Tracker
    }

    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        if self.is_stopped {
            return;
        }
        match input {
            Input::Act(Action::Stop) => {
                self.is_stopped = true;
                return;
            }
            Input::Timer(timer) if Some(timer) == self.timer => self.armed = None,
            _ => {}
        }
        self.sweep(at, out);
        if !self.http.take(at, &input, &mut self.list, out) {
            self.isc.take(at, &input, &mut self.list, out);
        }
        self.isc.tell(at, &mut self.list, out);
        self.rearm(out);
    }
}

/// The list's rules: the policy's, and in 6.2.2 the addresses that only the Controller may know.
fn rules(setup: &Setup) -> Rules {
    let policy: &TrackerPolicy = &setup.policy.tracker;
    Rules {
        track_timeout: Duration::from_secs(policy.track_timeout.into()),
        order: policy.order,
        invalid_action: policy.invalid_action,
        excess: policy.excess,
        reuse: policy.reuse,
        empty: policy.empty,
        unregistered: policy.unregistered,
        taken: policy.taken,
        reflexive: policy.reflexive,
        leech_opens_swarm: policy.leech_opens_swarm,
        binds_peer_ids: policy.binds_peer_ids,
        binds_reports: policy.binds_reports,
        covers: policy.covers,
        unqualified: policy.unqualified,
        kept_alive_by: policy.kept_alive_by,
        leaving_ends: policy.leaving_ends,
        most_listed: policy.most_listed,
        registers_whoever_errs: policy.registers_whoever_errs,
        remembers_transactions: policy.remembers_transactions,
        hidden: match setup.architecture {
            Architecture::Registered => Hidden::default(),
            Architecture::Unregistered => hidden(&setup.directory),
        },
        ..Rules::default()
    }
}

/// Addresses and names of Edge and Origin Servers, but none that another node shares with them.
fn hidden(directory: &Directory) -> Hidden {
    let is_server = |role| matches!(role, Role::EdgeServer | Role::OriginServer);
    let ips_of = |servers: bool| -> BTreeSet<IpAddr> {
        let nodes = directory.nodes.values();
        let fitting = nodes.filter(|node| is_server(node.role) == servers);
        fitting.map(|node| node.ip).collect()
    };
    let servers = directory.nodes.values().filter(|node| is_server(node.role));
    Hidden {
        ips: &ips_of(true) - &ips_of(false),
        hosts: servers.map(|node| node.host.to_ascii_lowercase()).collect(),
    }
}

#[cfg(test)]
mod tests;
