//! What only holds where a guest takes part: whether it is there at all, whether it lives through what it is sent,
//! and what the tap cannot see of it.

use super::{Blame, Case, Finding, Verdict, evidence::Seen};
use crate::{
    io::LinkEvent,
    spec::{RefPoint, Role, Strength},
    suite::{Context, Pattern, Verb, fill_known},
    trace::{Cast, CastNode, Event, EventKind, Trouble},
    wire::frame::{Frame, Party},
};

/// Whether nothing shows that the guests under test are there: none has sent anything, now or before.
pub fn are_unheard(case: &Case<'_>) -> bool {
    let meta = &case.evidence.trace.meta;
    let mut guests = guests(case).peekable();
    let mut events = case.evidence.trace.events.iter();
    let has_ended = events.any(|event| {
        let kind = &event.kind;
        matches!(
            kind,
            EventKind::Guest {
                trouble: Trouble::Ended(_),
                ..
            }
        )
    });
    // Who dies of a message was there to get it.
    guests.peek().is_some()
        && !has_ended
        && guests.all(|guest| meta.unheard.contains(&guest.name) && !has_sent(case, guest))
}

/// What a guest does that was there before, and was not made to forget it, may follow from what we did to it then: that
/// lays nothing to it.
pub fn doubt(case: &Case<'_>, findings: &mut [Finding]) {
    let trace = case.evidence.trace;
    let has_ended = |event: &Event| {
        let EventKind::Guest { trouble, .. } = &event.kind else {
            return false;
        };
        matches!(trouble, Trouble::Ended(_))
    };
    if trace.meta.unreset.is_empty() || trace.events.iter().any(has_ended) {
        return;
    }
    for finding in findings {
        let node = finding.node.as_deref();
        let is_unreset = trace
            .meta
            .unreset
            .iter()
            .any(|name| Some(name.as_str()) == node);
        if finding.blame == Blame::Sut && finding.verdict == Verdict::Fail && is_unreset {
            finding.verdict = Verdict::Inconclusive;
            finding.blame = Blame::Harness;
            finding.actual.push_str(UNRESET);
        }
    }
}

const UNRESET: &str = " (it was there before and was not made to forget that: there is no reset hook, and no trigger \
                       or one that refuses the order \"reset\", by 501 or, of a command, by 127)";

/// Why a play says nothing of the guests: they were sent nothing, sent nothing, and no step asks anything of one.
pub fn uninvolved(case: &Case<'_>) -> Option<String> {
    let names: Vec<&str> = guests(case).map(|guest| guest.name.as_str()).collect();
    let is_idle = !names.is_empty() && !guests(case).any(|guest| has_part(case, guest));
    is_idle.then(|| {
        format!(
            "{} has no part in it: nobody sends it anything",
            names.join(", ")
        )
    })
}

/// Whether a guest sent something, was sent something, or is asked for something by a step.
fn has_part(case: &Case<'_>, guest: &CastNode) -> bool {
    let name = guest.name.as_str();
    let mut crossed = case.evidence.crossed.iter();
    case.instance.asks(case.suite, name)
        || crossed.any(|seen| seen.frame.from.is(name) || seen.frame.to.is(name))
}

/// What became of guests beside the steps.
pub fn findings(case: &Case<'_>) -> Vec<Finding> {
    let trace = case.evidence.trace;
    let mut found = Vec::new();
    for (index, event) in trace.events.iter().enumerate() {
        if let EventKind::Guest { node, trouble } = &event.kind {
            found.push(match trouble {
                Trouble::Ended(how) => ended(case, &Party::Node(node.clone()), how, index),
                Trouble::NotPushed(why) => inconclusive(
                    case,
                    Some(node.to_string()),
                    format!("{node} to be pushed"),
                    format!("it could not be: {why}"),
                    index,
                ),
            });
        }
    }
    if case.instance.scenario.given.faults.is_empty() {
        found.extend(guests(case).filter_map(|guest| no_message(case, guest)));
    }
    // Of several, one that nobody speaks to has nothing to say.
    let is_alone = guests(case).count() == 1;
    let asked = guests(case).filter(|guest| is_alone || has_part(case, guest));
    found.extend(asked.filter_map(|guest| silent(case, guest)));
    found
}

/// Whether a guest could not be pushed: what did not come is then no fault of its own.
pub fn were_pushed(case: &Case<'_>) -> bool {
    let mut events = case.evidence.trace.events.iter();
    !events.any(|event| {
        let kind = &event.kind;
        matches!(
            kind,
            EventKind::Guest {
                trouble: Trouble::NotPushed(_),
                ..
            }
        )
    })
}

/// A step about what two guests say to each other: nobody sees that, so that the steps come to nothing.
pub fn unseen(case: &Case<'_>) -> Option<Finding> {
    let guests: Vec<&CastNode> = guests(case).collect();
    let is_named =
        |names: &[String], guest: &CastNode| names.iter().any(|n| guest.name.as_str() == n);
    let may = |names: &[String], guest: &CastNode| names.is_empty() || is_named(names, guest);
    let between = |pattern: &Pattern| {
        let pairs = guests
            .iter()
            .flat_map(|one| guests.iter().map(move |other| (one, other)));
        let mut pairs = pairs.filter(|(one, other)| one.name != other.name);
        pairs.any(|(sender, other)| {
            // Whom a step does not name it means only if they meet there.
            let is_meant = is_named(&pattern.from, sender) && is_named(&pattern.to, other);
            let on: &[RefPoint] = match pattern.on.is_empty() {
                true => RefPoint::ALL,
                false => &pattern.on,
            };
            let meet = on.iter().any(|on| on.joins(sender.role, other.role));
            may(&pattern.from, sender) && may(&pattern.to, other) && (is_meant || meet)
        })
    };
    let steps = case.instance.steps(case.suite);
    let step = steps.iter().find(|step| match &step.verb {
        Verb::Expect(expect) => between(&expect.pattern),
        Verb::Never(never) => between(&never.pattern),
        Verb::Do(_) | Verb::Send(_) | Verb::Wait(_) => false,
    })?;
    let context = Context::new(case.suite, case.instance, &case.evidence.trace.meta);
    let expected = fill_known(&step.to_string(), &context);
    let end = case.evidence.trace.events.len();
    let actual = "guests talk to each other directly, where the tap sees nothing".to_owned();
    Some(inconclusive(case, None, expected, actual, end))
}

/// The other guest on whose words, which nobody sees, it may depend what a guest does; none where an answer is due to
/// what was seen. The CSCFs of one core are taken for one.
pub fn unseen_neighbour<'a>(
    case: &'a Case<'_>,
    party: &Party,
    due: &Pattern,
) -> Option<&'a CastNode> {
    let is_of_the_core = |role| matches!(role, Role::PCscf | Role::ICscf | Role::SCscf);
    let role = case.evidence.role(party)?;
    let is_guest = guests(case).any(|guest| party.is(guest.name.as_str()));
    if !is_guest || due.is_of_an_answer() {
        return None;
    }
    let mut others = guests(case).filter(|guest| !party.is(guest.name.as_str()));
    others.find(|other| {
        let are_one = is_of_the_core(role) && is_of_the_core(other.role);
        !are_one && RefPoint::ALL.iter().any(|on| on.joins(role, other.role))
    })
}

/// The guest that filled a trace to its limit, if one did.
pub fn flood(case: &Case<'_>, at: usize) -> Option<Finding> {
    let events = &case.evidence.trace.events;
    let size = |frame: &Frame| FRAME + frame.bytes.len();
    let all: usize = events
        .iter()
        .filter_map(|event| event.frame())
        .map(size)
        .sum();
    let of = |guest: &CastNode| -> (usize, usize) {
        let frames = events.iter().filter_map(|event| event.frame());
        let own = frames.filter(|frame| frame.from.is(guest.name.as_str()));
        own.fold((0, 0), |(count, sum), frame| (count + 1, sum + size(frame)))
    };
    let guest = guests(case).find(|guest| of(guest).1 > all / 2)?;
    let (frames, octets) = of(guest);
    let party = Party::Node(guest.name.clone());
    let expected = "the messages of the scenario, and an end to them";
    let actual = format!("{frames} messages of {octets} octets: the trace is full");
    case.breach(
        &party,
        &requirement(case, guest),
        expected,
        actual,
        at..at + 1,
    )
}

/// What a frame counts for beyond its octets.
const FRAME: usize = 64;

fn guests<'a>(case: &'a Case<'_>) -> impl Iterator<Item = &'a CastNode> {
    let nodes = case.evidence.trace.meta.nodes.iter();
    nodes.filter(|node| node.cast == Cast::Sut)
}

fn has_sent(case: &Case<'_>, guest: &CastNode) -> bool {
    let mut crossed = case.evidence.crossed.iter();
    crossed.any(|seen| seen.frame.from.is(guest.name.as_str()))
}

/// A guest that ends after it was sent something has not lived through that; one that ends before was not there.
fn ended(case: &Case<'_>, party: &Party, how: &str, index: usize) -> Finding {
    let name = party.to_string();
    let before = case.evidence.crossed.iter().rev();
    let mut before = before.filter(|seen| seen.index < index);
    let last = before.find(|seen| seen.frame.to.is(&name) && has_reached(case, seen));
    let expected = "it goes on after what it was sent".to_owned();
    let (Some(last), Some(node)) = (last, case.evidence.node(party)) else {
        let actual = format!("it {how} before anybody had sent it anything");
        return inconclusive(case, Some(name), expected, actual, index);
    };
    let start = last
        .frame
        .bytes
        .split(|octet| matches!(octet, b'\r' | b'\n'))
        .next();
    let start = String::from_utf8_lossy(start.unwrap_or_default());
    let start: String = start.chars().take(80).collect();
    let actual = format!("it {how} after {} had sent it \"{start}\"", last.frame.from);
    let row = requirement(case, node);
    let broken = case.breach(
        party,
        &row,
        expected.clone(),
        actual.clone(),
        index..index + 1,
    );
    broken.unwrap_or_else(|| inconclusive(case, Some(name), expected, actual, index))
}

/// Whether what somebody sent can have arrived: not on a connection that never stood.
fn has_reached(case: &Case<'_>, seen: &Seen<'_>) -> bool {
    let mut events = case.evidence.trace.events.iter();
    !events.any(|event| match &event.kind {
        EventKind::Link {
            node, link, event, ..
        } => {
            seen.frame.from.is(node.as_str())
                && seen.frame.link == Some(*link)
                && matches!(
                    event,
                    LinkEvent::Refused | LinkEvent::TimedOut | LinkEvent::NotSecured { .. }
                )
        }
        _ => false,
    })
}

/// Octets that never became a message.
fn no_message(case: &Case<'_>, guest: &CastNode) -> Option<Finding> {
    let mut crossed = case.evidence.crossed.iter();
    let seen = crossed.find(|s| !s.frame.framed && s.frame.from.is(guest.name.as_str()))?;
    let octets = &seen.frame.bytes;
    let shown = String::from_utf8_lossy(&octets[..octets.len().min(40)]);
    let expected = format!(
        "whole messages of {} on {}",
        seen.frame.format, seen.frame.on
    );
    let actual = format!(
        "{} octets that are none, beginning with {shown:?}",
        octets.len()
    );
    let row = requirement(case, guest);
    case.breach(
        &seen.frame.from,
        &row,
        expected,
        actual,
        seen.index..seen.index + 1,
    )
}

/// A guest that was there before, is sent something, and says nothing at all.
fn silent(case: &Case<'_>, guest: &CastNode) -> Option<Finding> {
    if has_sent(case, guest) {
        return None;
    }
    let name = guest.name.to_string();
    let trace = case.evidence.trace;
    let end = trace.events.len();
    let mut crossed = case.evidence.crossed.iter();
    let asked = crossed.find(|seen| seen.frame.to.is(&name));
    let expected = format!("something of {name}");
    let actual = "nothing at all".to_owned();
    let broken = asked
        .filter(|_| !trace.meta.unheard.contains(&guest.name))
        .and_then(|seen| {
            let row = requirement(case, guest);
            let party = Party::Node(guest.name.clone());
            case.breach(
                &party,
                &row,
                expected.clone(),
                actual.clone(),
                seen.index..seen.index + 1,
            )
        });
    Some(broken.unwrap_or_else(|| inconclusive(case, Some(name), expected, actual, end)))
}

/// The first row of the scenario's that binds a node's role, else the first.
fn requirement(case: &Case<'_>, node: &CastNode) -> String {
    let requires = &case.instance.scenario.requires;
    let binds = |id: &&String| {
        case.requirement(id)
            .is_some_and(|row| row.role == node.role)
    };
    let row = requires.iter().find(binds).or_else(|| requires.first());
    row.cloned().unwrap_or_default()
}

pub fn inconclusive(
    case: &Case<'_>,
    node: Option<String>,
    expected: String,
    actual: String,
    at: usize,
) -> Finding {
    let requires = &case.instance.scenario.requires;
    Finding {
        verdict: Verdict::Inconclusive,
        strength: Strength::Must,
        requirement: requires.first().cloned().unwrap_or_default(),
        blame: Blame::Harness,
        node,
        expected,
        actual,
        events: at..at,
        likewise: Vec::new(),
    }
}
