//! The octets that travel are those of the content, where the ranges say (ours: the digests of the
//! provisioned manifest).

use crate::{
    judge::{
        Case, Finding,
        transfers::{Assembly, Delivered, delivered, swarm_of},
    },
    spec::{Format, RefPoint, Role},
    suite::Content,
    trace::EventKind,
    wire::{frame::Party, http::Ranges},
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let parts = delivered(case.evidence);
    for (place, part) in parts.iter().enumerate() {
        let Some(content) = case.content(&part.swarm) else {
            continue;
        };
        let is_at = |first: u64| is_at(&content.bytes, first, &part.octets);
        let end = part.first + part.octets.len() as u64;
        let mut report = |requirement, expected, actual: String| {
            let events = part.index..part.index + 1;
            findings.extend(case.breach(&part.from, requirement, expected, actual, events));
        };
        if !is_at(part.first) {
            let (requirement, actual) = match misnumbered(part, is_at) {
                Some((requirement, actual)) => (requirement, actual.to_owned()),
                None => (row(case, part, content), other_octets(&content.bytes, part)),
            };
            let expected = format!(
                "octets {}-{end} of {} as its manifest has them",
                part.first + 1,
                part.swarm
            );
            report(requirement, expected, actual);
        } else if part.by == Format::Msrp && part.is_last {
            let so_far = &parts[..=place];
            if !is_whole(part, so_far, content.bytes.len()) {
                let (first, length) = part.asked;
                let expected = format!("octets {}-{} of {}", first + 1, first + length, part.swarm);
                let actual = "some of them left out".to_owned();
                report(row(case, part, content), expected, actual);
            }
        }
    }
    findings.extend(misplaced(case));
    findings.extend(given_with_a_refusal(case));
    findings
}

fn is_at(content: &[u8], first: u64, octets: &[u8]) -> bool {
    let first = usize::try_from(first).unwrap_or(usize::MAX);
    let there = first
        .checked_add(octets.len())
        .and_then(|end| content.get(first..end));
    there.is_some_and(|there| there == octets)
}

/// How octets differ from those that the content has at their numbers: anybody can look them up in the trace.
fn other_octets(content: &[u8], part: &Delivered) -> String {
    let first = usize::try_from(part.first).unwrap_or(usize::MAX);
    let there = content.get(first..).unwrap_or_default();
    let differ = |pair: &(usize, (&u8, &u8))| pair.1.0 != pair.1.1;
    let pairs = || part.octets.iter().zip(there).enumerate();
    match pairs().find(differ) {
        Some((place, (found, expected))) => format!(
            "other octets: {} is 0x{found:02x}, not 0x{expected:02x}; {} of {} differ",
            first + place + 1,
            pairs().filter(differ).count(),
            part.octets.len()
        ),
        None => format!("octets beyond its end, which is {}", content.len()),
    }
}

/// Where octets that are not those of their number are the right ones under a wrong number: the row, and what is
/// wrong.
fn misnumbered(
    part: &Delivered,
    is_at: impl Fn(u64) -> bool,
) -> Option<(&'static str, &'static str)> {
    let asked = part.asked.0;
    match part.by {
        Format::Http if is_at(asked) => {
            let actual = "the octets asked for, said to be others";
            Some(("DATA-010", actual))
        }
        Format::Msrp if asked > 0 && part.first.checked_sub(asked).is_some_and(is_at) => {
            let actual = "octets counted from the beginning of the file, not of the piece";
            Some(("PEER-011", actual))
        }
        _ => None,
    }
}

/// Whether all that was asked for has come when the last of it comes.
fn is_whole(last: &Delivered, so_far: &[Delivered], size: usize) -> bool {
    let mut assembly = Assembly::of(size);
    let same = so_far
        .iter()
        .filter(|part| part.from == last.from && part.to == last.to && part.swarm == last.swarm);
    same.for_each(|part| assembly.add(part));
    let (first, length) = last.asked;
    assembly.range(first, length).is_some()
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

/// Data never crosses the hosts of the core ("Data traffic path is not shown"; ours): nobody sends data there,
/// and nobody looks for it there.
fn misplaced(case: &Case<'_>) -> Vec<Finding> {
    let is_core = |party: &Party| {
        let role = case.evidence.role(party);
        matches!(role, Some(Role::PCscf | Role::ICscf | Role::SCscf))
    };
    let expected = "data straight between the UE and who serves it";
    let crossed = case.evidence.crossed.iter();
    let sent = crossed
        .filter(|seen| seen.frame.on == RefPoint::Data && is_core(&seen.frame.to))
        .filter_map(|seen| {
            let actual = format!("data sent to {}", seen.frame.to);
            let events = seen.index..seen.index + 1;
            case.breach(&seen.frame.from, "DATA-007", expected, actual, events)
        });
    let events = case.evidence.trace.events.iter().enumerate();
    let opened = events.filter_map(|(index, event)| match &event.kind {
        EventKind::Opening { node, on, to } if *on == RefPoint::Data && is_core(to) => {
            let actual = format!("a connection to {to} for data");
            let node = Party::Node(node.clone());
            case.breach(&node, "DATA-007", expected, actual, index..index + 1)
        }
        _ => None,
    });
    sent.chain(opened).collect()
}

/// So many octets in a row are not in a text by chance.
const TELLING: usize = 32;
