//! A UE claims a piece only once its last octet arrived, and only if they are the right ones
//! (TR 23.844 6.2.1 step 5, 6.2.2 step 6; the order is ours).

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::{
    judge::{
        Case, Finding,
        transfers::{Assembly, Delivered, delivered},
    },
    spec::Role,
    wire::ppstp,
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let parts = delivered(case.evidence);
    let mut findings = Vec::new();
    for (seen, message) in case.evidence.ppstp() {
        let from_ue = matches!(
            case.evidence.role(&seen.frame.from),
            Some(Role::Ue | Role::UserPeer)
        );
        let ppstp::Message::Request(request) = message else {
            continue;
        };
        let ppstp::Body::StatReport(report) = request.body else {
            continue;
        };
        if !from_ue {
            continue;
        }
        let Some(name) = seen.frame.from.node() else {
            continue;
        };
        for stat in &report.stat {
            let (Some(cds), Some(content)) = (&stat.cds, case.content(&stat.swarm_id)) else {
                continue;
            };
            let had = case.held_at_start(name.as_str(), &content.name);
            let mine: Vec<&Delivered> = parts
                .iter()
                .filter(|part| part.to == seen.frame.from && part.swarm == stat.swarm_id)
                .collect();
            let lacks = |facts: &&crate::suite::Piece| !cds.pieces.contains(facts.n);
            if let Some(missing) = content.pieces.iter().find(lacks).filter(|_| cds.complete) {
                let said: Vec<String> = cds.pieces.iter().map(|piece| piece.to_string()).collect();
                let actual = match said.is_empty() {
                    true => "complete with no piece".to_owned(),
                    false => format!("complete with {}, without {}", said.join(", "), missing.n),
                };
                findings.extend(case.breach(
                    &seen.frame.from,
                    "UE-014",
                    "complete only with every piece",
                    actual,
                    seen.index..seen.index + 1,
                ));
            }
            for piece in cds.pieces.iter() {
                if had.contains(&piece) {
                    continue;
                }
                let Some(facts) = content.pieces.iter().find(|p| p.n == piece) else {
                    findings.extend(case.breach(
                        &seen.frame.from,
                        "UE-014",
                        format!("pieces of {} that exist", stat.swarm_id),
                        format!("piece {piece} claimed"),
                        seen.index..seen.index + 1,
                    ));
                    continue;
                };
                let mut then = Assembly::of(content.bytes.len());
                let mut as_asked = Assembly::of(content.bytes.len());
                for part in mine.iter().filter(|part| part.index < seen.index) {
                    then.add(part);
                    as_asked.add_as_asked(part);
                }
                let (requirement, actual) = match then.range(facts.first, facts.len) {
                    None if as_asked.range(facts.first, facts.len).is_some() => {
                        ("UE-018", "claimed although Content-Range said other octets")
                    }
                    None => ("FLOW-001", "claimed before its last octet arrived"),
                    Some(octets) if Sha256::digest(octets).as_slice() != facts.sha256 => {
                        ("UE-009", "claimed although its digest is wrong")
                    }
                    Some(_) => continue,
                };
                findings.extend(case.lapse(
                    &seen.frame.from,
                    requirement,
                    format!("piece {piece} claimed once it has arrived whole and right"),
                    actual,
                    seen.index..seen.index + 1,
                ));
            }
        }
    }
    findings
}

/// The digest of what each party put together, by party and fixture, where it is whole.
pub fn assembled(case: &Case<'_>) -> BTreeMap<(String, String), [u8; 32]> {
    let mut assemblies: BTreeMap<(String, String), Assembly> = BTreeMap::new();
    for part in delivered(case.evidence) {
        let (Some(node), Some(content)) = (part.to.node(), case.content(&part.swarm)) else {
            continue;
        };
        assemblies
            .entry((node.to_string(), content.name.clone()))
            .or_insert_with(|| Assembly::of(content.bytes.len()))
            .add(&part);
    }
    assemblies
        .into_iter()
        .filter_map(|(key, assembly)| Some((key, Sha256::digest(assembly.whole()?).into())))
        .collect()
}
