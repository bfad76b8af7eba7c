//! In `unregistered`, no address of the CDN's servers reaches a UE, except as the data address of a
//! session (`delegate`) or as Location (`redirect`).

use crate::{
    judge::{Case, Finding, evidence::Seen},
    spec::{Architecture, Delivery, RefPoint, Role},
    trace::CastNode,
    wire::{frame::Party, message::Decoded},
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let meta = &case.evidence.trace.meta;
    if meta.architecture != Architecture::Unregistered {
        return Vec::new();
    }
    let hidden: Vec<&CastNode> = meta
        .nodes
        .iter()
        .filter(|node| matches!(node.role, Role::EdgeServer | Role::OriginServer))
        .collect();
    let mut findings = Vec::new();
    for seen in &case.evidence.crossed {
        let to_ue = matches!(
            case.evidence.role(&seen.frame.to),
            Some(Role::Ue | Role::UserPeer)
        );
        let from_hidden = hidden
            .iter()
            .any(|node| seen.frame.from.is(node.name.as_str()));
        if !to_ue || from_hidden {
            continue;
        }
        let text = visible(seen, meta.delivery);
        for node in &hidden {
            let written = names(node, case);
            let Some(shown) = written.iter().find(|name| text.contains(name.as_str())) else {
                continue;
            };
            let requirement = match seen.frame.on {
                RefPoint::Ut => "TRK-029",
                _ if seen.message.ppstp().is_some() => "TRK-029",
                _ if delegates(seen, meta.delivery) => "CTRL-009",
                _ => "CTRL-008",
            };
            // The core only carries what the Controller or the tracker said.
            let speaker = speaker(case, requirement).unwrap_or(&seen.frame.from);
            findings.extend(case.breach(
                speaker,
                requirement,
                format!(
                    "no address of {} in what reaches {}",
                    node.name, seen.frame.to
                ),
                format!("\"{shown}\" in a message on {}", seen.frame.on),
                seen.index..seen.index + 1,
            ));
        }
    }
    findings
}

/// Whether an edge serves the UE itself in what this message is about. What a Controller redirects came over
/// HTTP; a piece request through IMS is delegated there as well.
fn delegates(seen: &Seen<'_>, delivery: Delivery) -> bool {
    match delivery {
        Delivery::Delegate => true,
        Delivery::Redirect => matches!(seen.message, Decoded::Sip(_)),
        Delivery::Relay => false,
    }
}

/// What a UE reads, less the places where an edge's address may stand.
fn visible(seen: &Seen<'_>, delivery: Delivery) -> String {
    let whole = String::from_utf8_lossy(&seen.frame.bytes).into_owned();
    let drop_lines = |allowed: &[&str]| {
        whole
            .lines()
            .filter(|line| {
                let line = line.to_ascii_lowercase();
                !allowed.iter().any(|start| line.starts_with(start))
            })
            .collect::<Vec<_>>()
            .join("\n")
    };
    match (&seen.message, delivery) {
        (Decoded::Sip(_), delivery) if delivery != Delivery::Relay => {
            drop_lines(&["c=", "m=", "a=path:"])
        }
        (Decoded::HttpResponse(response), Delivery::Redirect)
            if seen.frame.on == RefPoint::Data && response.status() / 100 == 3 =>
        {
            drop_lines(&["location:"])
        }
        _ => whole,
    }
}

/// The ways a node's address can be written.
fn names(node: &CastNode, case: &Case<'_>) -> Vec<String> {
    let listeners = node.listeners.iter().map(|listener| listener.addr);
    let mut names: Vec<String> = match node.ports {
        // Where nodes share an address, a port goes with it: after it, or in a peer list beside it.
        Some(_) => listeners
            .flat_map(|addr| [addr.to_string(), format!("\"port\":{}", addr.port())])
            .collect(),
        None => {
            let ips = listeners.map(|addr| addr.ip()).chain(node.ip);
            ips.map(|ip| ip.to_string()).collect()
        }
    };
    names.extend(case.host_of(node.name.as_str()));
    names.sort();
    names.dedup();
    names
}

fn speaker<'a>(case: &'a Case<'_>, requirement: &str) -> Option<&'a Party> {
    let role = if requirement == "TRK-029" {
        Role::Tracker
    } else {
        Role::Controller
    };
    case.evidence
        .crossed
        .iter()
        .map(|seen| &seen.frame.from)
        .find(|party| case.evidence.role(party) == Some(role))
}
