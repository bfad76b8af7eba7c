//! The octets that travel are those of the content, where the ranges say (ours: the digests of the
//! provisioned manifest).

use crate::{
    judge::{Case, Finding, transfers::delivered},
    spec::RefPoint,
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in delivered(case.evidence) {
        let Some(content) = case.content(&part.swarm) else {
            continue;
        };
        let first = usize::try_from(part.first).unwrap_or(usize::MAX);
        let right = first
            .checked_add(part.octets.len())
            .and_then(|end| content.bytes.get(first..end))
            .is_some_and(|octets| octets == part.octets);
        if !right {
            findings.extend(case.breach(
                &part.from,
                "PEER-012",
                format!(
                    "octets {}-{} of {} as its manifest has them",
                    part.first + 1,
                    part.first + part.octets.len() as u64,
                    part.swarm
                ),
                "other octets",
                part.index..part.index + 1,
            ));
        }
    }
    findings.extend(misplaced(case));
    findings
}

/// Data never crosses the hosts of the core ("Data traffic path is not shown"; ours).
fn misplaced(case: &Case<'_>) -> Vec<Finding> {
    use crate::spec::Role::{ICscf, PCscf, SCscf};
    case.evidence
        .crossed
        .iter()
        .filter(|seen| seen.frame.on == RefPoint::Data)
        .filter(|seen| {
            matches!(
                case.evidence.role(&seen.frame.to),
                Some(PCscf | ICscf | SCscf)
            )
        })
        .filter_map(|seen| {
            case.breach(
                &seen.frame.from,
                "DATA-007",
                "data straight between the UE and who serves it",
                format!("data sent to {}", seen.frame.to),
                seen.index..seen.index + 1,
            )
        })
        .collect()
}
