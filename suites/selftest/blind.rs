//! What the tap cannot see of guests is laid to nobody. Every instance is played by reference nodes, then made what
//! it would be if one of them, or two, were guests: what they do is not recorded, only what reaches the others.

mod whole;

use std::collections::BTreeMap;

use peerproof::{
    judge::{self, Rigour, Verdict},
    run::{self, Casting},
    trace::{Cast, Event, EventKind, Trace},
    wire::frame::{NodeName, Party},
};
use whole::{all, suite};

/// One guest: everything it says reaches somebody who is ours, so the verdict is the same.
#[test]
fn one_guest_is_judged_as_if_it_were_ours() {
    let suite = suite();
    let mut wrong = Vec::new();
    for instance in all(&suite, 0) {
        let trace = run::play(&suite, &instance, Casting::default()).trace;
        for node in guests_of(&trace) {
            // Who does nothing here shows nothing.
            if !trace.events.iter().any(|event| is_sent_by(event, &node)) {
                continue;
            }
            let blinded = blinded(&trace, &[&node]);
            let judged = judge::judge(&suite, &instance, &blinded, None, Rigour::Usual);
            if judged.verdict != Verdict::Pass {
                wrong.push(format!("{instance} with {node}: {}", said(&judged)));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} judged otherwise:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Two guests may talk to each other unseen: what nobody saw is no failure.
#[test]
fn two_guests_fail_for_nothing_that_was_not_seen() {
    let suite = suite();
    let mut wrong = Vec::new();
    let mut outcomes: BTreeMap<Verdict, usize> = BTreeMap::new();
    for (number, instance) in all(&suite, 0).into_iter().enumerate() {
        let trace = run::play(&suite, &instance, Casting::default()).trace;
        let guests = guests_of(&trace);
        let pairs = guests.iter().enumerate();
        let pairs = pairs.flat_map(|(at, one)| guests[at + 1..].iter().map(move |two| [one, two]));
        // Each pair in a part of the instances, all of them over the whole suite.
        for (place, pair) in pairs.enumerate() {
            if !is_whole() && (number + place) % PART != 0 {
                continue;
            }
            let blinded = blinded(&trace, &pair);
            let judged = judge::judge(&suite, &instance, &blinded, None, Rigour::Usual);
            *outcomes.entry(judged.verdict).or_default() += 1;
            if judged.verdict == Verdict::Fail {
                let [one, two] = pair;
                wrong.push(format!(
                    "{instance} with {one} and {two}: {}",
                    said(&judged)
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} fail:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(outcomes.contains_key(&Verdict::Pass), "{outcomes:?}");
}

/// One in so many pairs is looked at; all with PEERPROOF_WHOLE in the environment.
const PART: usize = 12;

fn is_whole() -> bool {
    std::env::var_os("PEERPROOF_WHOLE").is_some()
}

/// The trace as it would be with guests in the place of these nodes.
fn blinded(trace: &Trace, guests: &[&NodeName]) -> Trace {
    let mut trace = trace.clone();
    for node in &mut trace.meta.nodes {
        if guests.contains(&&node.name) {
            node.cast = Cast::Sut;
        }
    }
    let is_guest = |party: &Party| party.node().is_some_and(|name| guests.contains(&name));
    let is_seen = |event: &Event| match &event.kind {
        EventKind::Sent(frame) | EventKind::Lost(frame) => !is_guest(&frame.from),
        EventKind::Received(frame) => !is_guest(&frame.to),
        EventKind::Opening { node, .. }
        | EventKind::Link { node, .. }
        | EventKind::Noted { node, .. }
        | EventKind::Guest { node, .. } => !guests.contains(&node),
        EventKind::Step { .. } | EventKind::Truncated => true,
    };
    trace.events.retain(is_seen);
    trace
}

fn is_sent_by(event: &Event, node: &NodeName) -> bool {
    matches!(&event.kind, EventKind::Sent(frame) if frame.from.is(node.as_str()))
}

/// Nodes that a guest could play.
fn guests_of(trace: &Trace) -> Vec<NodeName> {
    let nodes = trace.meta.nodes.iter();
    nodes
        .filter(|node| node.cast == Cast::Reference)
        .map(|node| node.name.clone())
        .collect()
}

fn said(judged: &judge::Judgement) -> String {
    let first = judged.findings.first();
    first.map_or(format!("{:?}", judged.verdict), |finding| {
        format!(
            "{:?} {}: expected {}, found {}",
            judged.verdict, finding.requirement, finding.expected, finding.actual
        )
    })
}
