//! The octets that travel are those of the content, where the ranges say (ours: the digests of the
//! provisioned manifest).

use crate::{
    judge::{
        Case, Finding,
        transfers::{Delivered, delivered, swarm_of},
    },
    spec::{RefPoint, Role},
    suite::Content,
    wire::http::Ranges,
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
                row(case, &part, content),
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
    findings.extend(given_with_a_refusal(case));
    findings
}

/// Whose rule wrong octets break: an edge's that had to fetch the piece, a Controller's that relays an answer
/// of another length than it asked for, else anybody's who serves.
fn row(case: &Case<'_>, part: &Delivered, content: &Content) -> &'static str {
    let (Some(role), Some(node)) = (case.evidence.role(&part.from), part.from.node()) else {
        return "PEER-012";
    };
    match role {
        Role::EdgeServer => {
            let held = case.held_at_start(node.as_str(), &content.name);
            let piece = content.pieces.iter().find(|piece| {
                (piece.first..piece.first.saturating_add(piece.len)).contains(&part.first)
            });
            match piece.is_some_and(|piece| !held.contains(&piece.n)) {
                true => "EDGE-001",
                false => "PEER-012",
            }
        }
        Role::Controller if took_another_length(case, part) => "CTRL-027",
        _ => "PEER-012",
    }
}

/// Whether the last answer with these octets that a Controller had of an edge is not as long as the range it asked
/// for.
fn took_another_length(case: &Case<'_>, part: &Delivered) -> bool {
    let asked = case.evidence.http_requests().filter(|(seen, request)| {
        seen.frame.from == part.from && seen.index < part.index && request.method() == "GET"
    });
    let answered = asked.filter_map(|(seen, request)| {
        let ranges = Ranges::parse(request.header("Range")?).ok()??;
        let octets = ranges.0.first()?.within(u64::MAX)?;
        let has_these =
            swarm_of(request)? == part.swarm && (octets.first..=octets.last).contains(&part.first);
        let (reply, response) = case.evidence.answer_to(seen)?;
        let is_source = has_these && reply.index < part.index && response.status() == 206;
        is_source.then(|| (reply.index, response.body().len() as u64 != octets.len()))
    });
    let last = answered.max_by_key(|(index, _)| *index);
    last.is_some_and(|(_, differs)| differs)
}

/// Who refuses a piece for want of a token gives none of its octets along with the refusal (ours).
fn given_with_a_refusal(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (seen, response) in case.evidence.http_responses() {
        if seen.frame.on != RefPoint::Data || !matches!(response.status(), 401 | 403) {
            continue;
        }
        let Some(request) = case.evidence.request_of(seen) else {
            continue;
        };
        let content = swarm_of(request).and_then(|swarm| case.content(&swarm));
        let Some(content) = content else { continue };
        let body = response.body();
        let given = content.pieces.iter().find(|piece| {
            let first = usize::try_from(piece.first).unwrap_or(usize::MAX);
            let octets = content.bytes.get(first..first.saturating_add(TELLING));
            octets.is_some_and(|octets| memchr::memmem::find(&body, octets).is_some())
        });
        if let Some(piece) = given {
            findings.extend(case.breach(
                &seen.frame.from,
                "EDGE-002",
                "a refusal without the octets",
                format!("octets of piece {} beside {}", piece.n, response.status()),
                seen.index..seen.index + 1,
            ));
        }
    }
    findings
}

/// So many octets in a row are not in a text by chance.
const TELLING: usize = 32;

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
