//! Every failure's ladder shows the right hop: over each scenario and each rule that it says it sees broken, what is
//! red was sent by who is blamed, or ought to have been.

mod drawn;
mod whole;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use peerproof::{
    judge::{Blame, Rigour},
    prove::{self, Duel},
    report::{
        InstanceResult,
        ladder::{Ladder, Row},
    },
    suite::Suite,
};
use whole::{all, suite};

#[test]
fn what_is_red_was_sent_by_who_is_blamed_or_ought_to_have_been() {
    let suite = suite();
    let duels = prove::claims(&suite, &all(&suite, 0));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some(duel) = duels.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong.extend(what_is_wrong(&suite, duel));
        }
        wrong
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().unwrap())
            .collect()
    });
    let mut wrong = wrong;
    wrong.sort();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        duels.len(),
        wrong.join("\n")
    );
}

fn what_is_wrong(suite: &Suite, duel: &Duel) -> Option<String> {
    let (result, ladder, parted) = played(suite, duel);
    let guilty: BTreeSet<&str> = result
        .findings
        .iter()
        .filter(|finding| finding.blame == Blame::Sut)
        .filter_map(|finding| finding.node.as_deref())
        .collect();
    if guilty.is_empty() {
        return Some(format!(
            "{} × {}: nobody is blamed",
            duel.instance.id(),
            duel.deviation.name
        ));
    }
    let red = red(&ladder);
    let mut wrong = Vec::new();
    if red.is_empty() {
        wrong.push("nothing is red".to_owned());
    }
    for row in &red {
        if row
            .from
            .as_deref()
            .is_some_and(|from| !guilty.contains(from))
        {
            wrong.push(format!("innocent: {}", row.words));
        }
        if row.last_before < parted {
            wrong.push(format!("before it went wrong: {}", row.words));
        }
    }
    if wrong.is_empty() {
        return None;
    }
    let first = &result.findings[0];
    Some(format!(
        "{} × {}: parted at {parted}\n    {}\n    {guilty:?}: {} | {} @{:?}",
        duel.instance.id(),
        duel.deviation.name,
        wrong.join("\n    "),
        first.expected,
        first.actual,
        first.events,
    ))
}

/// The result, its ladder, and the event from which on the run is another than with nobody deviating.
fn played(suite: &Suite, duel: &Duel) -> (InstanceResult, Ladder, usize) {
    let trace = drawn::played(suite, &duel.instance, Some(duel.deviation));
    let usual = drawn::played(suite, &duel.instance, None);
    let both = trace.events.iter().zip(&usual.events);
    let parted = both.take_while(|(a, b)| a == b).count();
    let (result, ladder) = drawn::drawn(suite, &duel.instance, &trace, Rigour::Strict);
    (result, ladder, parted)
}

/// A row that is red.
struct Red {
    /// Who sent it or ought to have, if it is known.
    from: Option<String>,
    words: String,
    /// The last event of the rows from this one on: one that is red before it went wrong is followed by such events.
    last_before: usize,
}

fn red(ladder: &Ladder) -> Vec<Red> {
    let name = |lane: Option<usize>| lane.map(|lane| ladder.lanes[lane].clone());
    let words = |from: &Option<String>, to: &Option<String>, label: &str| {
        let name = |lane: &Option<String>| lane.clone().unwrap_or("…".to_owned());
        format!("{} → {}: {label}", name(from), name(to))
    };
    let mut found = Vec::new();
    for (place, row) in ladder.rows.iter().enumerate() {
        match row {
            Row::Arrow(arrow) if arrow.failing => {
                let (from, to) = (name(Some(arrow.from)), name(Some(arrow.to)));
                found.push(Red {
                    words: words(&from, &to, &arrow.label) + &format!(" @{}", arrow.event),
                    from,
                    last_before: arrow.event,
                });
            }
            Row::Ghost(ghost) if ghost.failing => {
                let (from, to) = (name(ghost.from), name(ghost.to));
                // What others say meanwhile has no order with it.
                let own = |lane: usize| ghost.from.or(ghost.to) == Some(lane);
                let next = ladder.rows[place..].iter().find_map(|row| match row {
                    Row::Arrow(arrow) if own(arrow.from) || own(arrow.to) => Some(arrow.event),
                    Row::Remark { event, lane, .. } if own(*lane) => Some(*event),
                    _ => None,
                });
                found.push(Red {
                    words: words(&from, &to, &format!("expected {}", ghost.label))
                        + &format!(" before {next:?}"),
                    from,
                    last_before: next.unwrap_or(usize::MAX),
                });
            }
            _ => {}
        }
    }
    found
}
