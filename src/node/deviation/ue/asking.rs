//! What a UE can do wrong when it asks for peers and chooses among them.

use std::{collections::BTreeMap, sync::Arc};

use super::{of_askers, of_users};
use crate::{
    node::{
        Setup,
        deviation::{Deviation, Door, Heard, How, Passing, Said, bend, bend::Notes},
    },
    spec::{Path, Role, Worth},
    wire::{
        message::Decoded,
        ppstp::{self, Action, Body, Listed, PeerCds, PeerMode, Pieces, SwarmResult},
        sip::Builder,
    },
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    of_users(
        "ue-asks-whom-nobody-listed",
        "UE-001",
        "asks for pieces at an address it made up beside those listed",
        How::Hears(|passing| listed_as(passing, with_a_stranger)),
    ),
    of_users(
        "ue-takes-the-tracker-for-a-holder",
        "UE-001",
        "asks the tracker for pieces before those it lists",
        How::Hears(|passing| listed_as(passing, with_the_tracker)),
    ),
    of_users(
        "ue-asks-anybody",
        "UE-002",
        "takes every listed peer for a holder of every piece",
        How::Setup(|setup| setup.policy.ue.asks_anybody = true),
    ),
    of_users(
        "ue-counts-held-pieces-from-zero",
        "UE-002",
        "takes the holder of a piece for a holder of the next",
        How::Hears(|passing| {
            listed_as(passing, |_, result| each_map(result, |n, all| n % all + 1))
        }),
    ),
    of_users(
        "ue-forgets-the-last-piece",
        "UE-002",
        "never asks for the last piece, although it is listed",
        How::Hears(|passing| {
            listed_as(passing, |_, result| {
                each_map(result, |n, all| if n == all { 0 } else { n })
            })
        }),
    ),
    of_users(
        "ue-asks-whom-it-once-knew",
        "UE-019",
        "goes on asking whom a later list leaves out",
        How::Setup(|setup| setup.policy.ue.heeds_later_lists = false),
    ),
    of_users(
        "ue-reads-no-second-list",
        "UE-019",
        "accepts every NOTIFY and reads only the first list",
        How::Door(|_| Box::new(FirstList::default())),
    ),
    of_users(
        "ue-asks-itself",
        "UE-021",
        "asks itself before all others",
        How::Setup(|setup| setup.policy.ue.asks_itself = true),
    ),
    of_users(
        "ue-asks-itself-when-it-is-listed",
        "UE-021",
        "takes its own entry in a list for another peer",
        How::Hears(|passing| listed_as(passing, itself_as_another)),
    ),
    of_users(
        "ue-asks-for-peers-on-the-other-path",
        "FLOW-004",
        "asks for the peer list on the path that was not chosen",
        How::Setup(|setup| {
            setup.options.peer_list = match setup.options.peer_list {
                Path::Ims => Path::Ut,
                Path::Ut => Path::Ims,
            }
        }),
    ),
    of_askers(
        "ue-asks-in-the-clear",
        "PPSTP-011",
        "opens its connections to the tracker without TLS",
        How::Setup(|setup| setup.tls = false),
    ),
    of_askers(
        "ue-asks-a-tracker-whose-certificate-has-run-out",
        "SEC-026",
        "does not look at when the tracker's certificate runs out",
        How::Setup(|setup| setup.trusts = &[Worth::Good, Worth::Expired]),
    ),
    of_askers(
        "ue-asks-a-tracker-of-any-authority",
        "SEC-026",
        "does not look at who issued the tracker's certificate",
        How::Setup(|setup| setup.trusts = &[Worth::Good, Worth::Untrusted]),
    ),
    of_askers(
        "ue-asks-whoever-answers-for-the-tracker",
        "SEC-026",
        "does not look at whose certificate the tracker shows",
        How::Setup(|setup| setup.trusts = &[Worth::Good, Worth::Misnamed]),
    ),
    of_askers(
        "ue-joins-without-a-mode",
        "PPSTP-061",
        "leaves peer_mode out of its CONNECT",
        How::Says(|passing| unnamed(passing, "CONNECT", "peer_mode")),
    ),
    of_askers(
        "ue-joins-as-nobody",
        "PPSTP-061",
        "leaves peer_id out of its CONNECT",
        How::Says(|passing| unnamed(passing, "CONNECT", "peer_id")),
    ),
    of_users(
        "ue-joins-as-a-seeder",
        "PPSTP-063",
        "joins as seeder although it wants the content",
        How::Says(joins_as_seeder),
    ),
    of_users(
        "ue-claims-the-content-when-it-joins",
        "FLOW-001",
        "says in its first CONNECT that it holds three pieces",
        How::Says(joins_with_everything),
    ),
    of_users(
        "ue-counts-no-transactions",
        "PPSTP-090",
        "writes the same transaction id into every request",
        How::Door(|_| Box::new(OneTransaction::default())),
    ),
    of_users(
        "ue-counts-its-transactions-by-kind",
        "PPSTP-090",
        "numbers its CONNECTs, FINDs and reports each from 1",
        How::Door(|_| Box::<ByKind>::default()),
    ),
];

/// A peer list is heard as another; `change` is given the node's set-up and each list.
pub(super) fn listed_as(passing: &Passing<'_>, change: fn(&Setup, &mut SwarmResult)) -> Heard {
    bend::heard(bend::document(passing.message, |document| {
        let ppstp::Message::Response(response) = document else {
            return false;
        };
        let mut is_bent = false;
        for result in &mut response.swarm_result {
            if result.peers.as_ref().is_some_and(|peers| !peers.is_empty()) {
                change(passing.setup, result);
                is_bent = true;
            }
        }
        is_bent
    }))
}

/// A copy of the first entry that is preferred to all, under another name and at other addresses.
fn add(result: &mut SwarmResult, peer_id: &str, cds: PeerCds) {
    let pieces = result.manifest.as_ref().map(|manifest| manifest.numbers());
    let Some(peers) = &mut result.peers else {
        return;
    };
    let Some(mut peer) = peers.first().map(|first| ppstp::PeerInfo::clone(first)) else {
        return;
    };
    let best = peers.iter().map(|peer| peer.peer_addr.priority).max();
    peer.peer_addr.priority = best.unwrap_or_default().saturating_add(1);
    peer.peer_id = peer_id.to_owned();
    peer.cds = Some(PeerCds {
        pieces: pieces.unwrap_or_default(),
        ..cds
    });
    peers.insert(0, Listed::from(peer));
}

fn with_a_stranger(setup: &Setup, result: &mut SwarmResult) {
    let swarm = result.swarm_id.clone();
    let cds = PeerCds {
        sip_uri: Some(format!("sip:ue-z@{}", setup.directory.domain)),
        url: Some(format!("http://192.0.2.99:8080/content/{swarm}")),
        ..PeerCds::default()
    };
    add(result, "urn:uuid:00000000-0000-5000-8000-000000000001", cds);
}

fn with_the_tracker(setup: &Setup, result: &mut SwarmResult) {
    let Some((_, tracker)) = setup.directory.first(Role::Tracker) else {
        return;
    };
    let cds = PeerCds {
        sip_uri: Some(setup.directory.tracker_psi.clone()),
        url: Some(format!(
            "http://{}:8080/content/{}",
            tracker.ip, result.swarm_id
        )),
        ..PeerCds::default()
    };
    add(result, "urn:uuid:00000000-0000-5000-8000-000000000002", cds);
}

/// Every piece map with other numbers, made of each number and how many pieces there are; 0 is none.
fn each_map(result: &mut SwarmResult, change: fn(u32, u32) -> u32) {
    let manifest = result.manifest.as_ref();
    let all = manifest.map_or(0, |manifest| manifest.numbers().len() as u32);
    each_peer(result, |cds| {
        let numbers = cds.pieces.iter().filter(|_| all > 0);
        cds.pieces = numbers.map(|n| change(n, all)).filter(|&n| n > 0).collect();
    });
}

pub(super) fn each_peer(result: &mut SwarmResult, mut change: impl FnMut(&mut PeerCds)) {
    for listed in result.peers.iter_mut().flatten() {
        let mut peer = ppstp::PeerInfo::clone(listed);
        if let Some(cds) = &mut peer.cds {
            change(cds);
        }
        *listed = Listed::from(peer);
    }
}

fn itself_as_another(setup: &Setup, result: &mut SwarmResult) {
    let Some(own) = crate::node::ims_user::own_subscriber(setup) else {
        return;
    };
    let impu = own.impus.first().cloned().unwrap_or_default();
    for listed in result.peers.iter_mut().flatten() {
        let mut peer = ppstp::PeerInfo::clone(listed);
        let Some(cds) = peer
            .cds
            .as_mut()
            .filter(|cds| cds.sip_uri.as_ref() == Some(&impu))
        else {
            continue;
        };
        cds.sip_uri = Some(format!("{impu}:5060"));
        cds.url = cds.url.as_ref().map(|url| format!("{url}?"));
        peer.peer_id.push('0');
        *listed = Listed::from(peer);
    }
}

/// The body of a NOTIFY about peers.
fn list_in_notify(passing: &Passing<'_>) -> Option<Vec<u8>> {
    let notify = passing.request("NOTIFY")?;
    let event = notify.header("Event")?;
    (event.starts_with("p2pcds-peers") && !notify.body().is_empty()).then(|| notify.body().to_vec())
}

/// Hears the first list of each subscription, and no other.
#[derive(Default)]
struct FirstList(bend::Notes<()>);

impl Door for FirstList {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let notify = list_in_notify(passing).and(passing.message.sip());
        let Some((notify, call)) = notify.and_then(|n| Some((n, n.call_id().ok()?))) else {
            return Heard::AsItCame;
        };
        if self.0.get(&call).is_none() {
            self.0.put(&call, ());
            return Heard::AsItCame;
        }
        Heard::Answer(vec![
            Builder::response(notify, 200, "OK", None).finish().into(),
        ])
    }
}

/// A request of a type without the members of some name, wherever they stand.
pub(super) fn unnamed(passing: &Passing<'_>, request_type: &str, name: &str) -> Said {
    let Some(Ok(reading)) = passing.message.ppstp() else {
        return Said::AsWritten;
    };
    let ppstp::Message::Request(request) = &reading.message else {
        return Said::AsWritten;
    };
    if request.body.request_type() != request_type {
        return Said::AsWritten;
    }
    let Ok(mut json) = serde_json::from_str(&reading.message.to_json()) else {
        return Said::AsWritten;
    };
    remove(&mut json, name);
    bend::said(bend::with_body(passing.message, &json.to_string()))
}

fn remove(json: &mut serde_json::Value, name: &str) {
    match json {
        serde_json::Value::Object(members) => {
            members.shift_remove(name);
            members.values_mut().for_each(|member| remove(member, name));
        }
        serde_json::Value::Array(entries) => {
            entries.iter_mut().for_each(|entry| remove(entry, name));
        }
        _ => {}
    }
}

/// The first CONNECT of somebody who wants the content.
fn joining(
    decoded: &Decoded,
    change: impl FnOnce(&mut ppstp::SwarmAction),
) -> Option<bytes::Bytes> {
    bend::document(decoded, |document| {
        let ppstp::Message::Request(request) = document else {
            return false;
        };
        let Body::Connect(connect) = &mut request.body else {
            return false;
        };
        let mut actions = connect.swarm_action.iter_mut();
        let joins = |action: &&mut ppstp::SwarmAction| {
            action.action == Action::Join && action.peer_mode == PeerMode::Leech
        };
        match actions.find(joins) {
            Some(action) => {
                change(action);
                true
            }
            None => false,
        }
    })
}

fn joins_as_seeder(passing: &Passing<'_>) -> Said {
    bend::said(joining(passing.message, |action| {
        action.peer_mode = PeerMode::Seeder;
    }))
}

fn joins_with_everything(passing: &Passing<'_>) -> Said {
    bend::said(joining(passing.message, |action| {
        if let Some(cds) = &mut action.cds {
            cds.pieces = Pieces::first(3);
        }
    }))
}

/// Writes one transaction id into every request, and takes the answers for what they are.
#[derive(Default)]
struct OneTransaction(Option<Arc<str>>);

impl Door for OneTransaction {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let own = &mut self.0;
        bend::said(bend::document(passing.message, |document| {
            let ppstp::Message::Request(request) = document else {
                return false;
            };
            *own = Some(request.transaction_id.as_str().into());
            request.transaction_id = ONLY_TRANSACTION.to_owned();
            true
        }))
    }

    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let Some(own) = &self.0 else {
            return Heard::AsItCame;
        };
        bend::heard(bend::document(passing.message, |document| {
            let ppstp::Message::Response(response) = document else {
                return false;
            };
            response.transaction_id = own.to_string();
            true
        }))
    }
}

const ONLY_TRANSACTION: &str = "t-1";

/// Counts the transactions of each kind of request for itself.
#[derive(Default)]
struct ByKind {
    counts: BTreeMap<&'static str, u64>,
    /// What goes out in place of the node's own transaction ids.
    said: Notes<String>,
    /// The node's own transaction ids, by the call or connection they went out on.
    own: Notes<String>,
}

impl Door for ByKind {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let course = course(passing);
        bend::said(bend::document(passing.message, |document| {
            let ppstp::Message::Request(request) = document else {
                return false;
            };
            let own = std::mem::take(&mut request.transaction_id);
            let said = match self.said.get(&own) {
                Some(said) => said.clone(),
                None => {
                    let kind = match request.body {
                        Body::Connect(_) => "CONNECT",
                        Body::Find(_) => "FIND",
                        Body::StatReport(_) => "STAT_REPORT",
                    };
                    let count = self.counts.entry(kind).or_default();
                    *count += 1;
                    let said = count.to_string();
                    self.said.put(&own, said.clone());
                    said
                }
            };
            self.own.put(&course, own);
            request.transaction_id = said;
            true
        }))
    }

    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let Some(own) = self.own.get(&course(passing)) else {
            return Heard::AsItCame;
        };
        bend::heard(bend::document(passing.message, |document| {
            let ppstp::Message::Response(response) = document else {
                return false;
            };
            response.transaction_id.clone_from(own);
            true
        }))
    }
}

/// The call a message belongs to, or its connection.
fn course(passing: &Passing<'_>) -> String {
    let call = passing.message.sip().and_then(|sip| sip.call_id().ok());
    match (call, passing.link) {
        (Some(call), _) => call.to_string(),
        (None, link) => format!("{link:?}"),
    }
}
