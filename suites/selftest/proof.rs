//! The suite is held to its proof: nothing is claimed that is not played, and nothing broken goes unseen.

mod whole;

use std::collections::BTreeSet;

use peerproof::{
    judge::{self, Rigour, Verdict},
    node::deviation,
    prove::{self, Seen},
    run::{self, Casting},
    suite::{Instance, Suite},
    trace::{Event, EventKind},
};
use proptest::prelude::*;
use whole::{all, suite};

#[test]
fn every_deviation_is_claimed_by_a_scenario() {
    let unclaimed = prove::unclaimed(&suite());
    assert!(unclaimed.is_empty(), "nobody claims to kill {unclaimed:?}");
}

#[test]
fn every_covered_must_row_is_broken_by_a_deviation() {
    let unbroken = prove::unbroken(&suite());
    assert!(unbroken.is_empty(), "no deviation breaks {unbroken:?}");
}

#[test]
fn every_deviation_breaks_a_row_of_the_ledger() {
    let suite = suite();
    for deviation in deviation::all() {
        let row = suite.ledger.get(deviation.requirement);
        assert!(row.is_some(), "{} breaks no row", deviation.name);
    }
}

/// FLOW-006: a node that breaks one rule fails, first of all by the row that states it, and is blamed. Each rule is
/// broken in the first instance that claims to see it; `peerproof prove` plays all of them.
#[test]
fn a_broken_rule_fails_by_the_row_that_states_it() {
    let suite = suite();
    let mut played = BTreeSet::new();
    for duel in prove::claims(&suite, &all(&suite, 0)) {
        if played.insert(duel.deviation.name) {
            let seen = prove::kill(&suite, &duel);
            assert_eq!(
                Seen::Killed,
                seen,
                "{} × {}: {seen}",
                duel.instance,
                duel.deviation.name
            );
        }
    }
    assert_eq!(deviation::all().count(), played.len());
}

/// No verdict rests on what a node says of itself: without notes, the verdicts are the same.
#[test]
fn verdicts_do_not_rest_on_notes() {
    let suite = suite();
    for instance in some(&suite, 0) {
        let mut played = run::play(&suite, &instance, Casting::default());
        let judged = |trace: &_| judge::judge(&suite, &instance, trace, None, Rigour::Usual);
        let with = judged(&played.trace).verdict;
        let is_note = |event: &Event| matches!(event.kind, EventKind::Noted { .. });
        played.trace.events.retain(|event| !is_note(event));
        assert_eq!(with, judged(&played.trace).verdict, "{instance}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever lawful decisions a seed draws, nothing fails; and judging twice gives the same.
    #[test]
    fn no_lawful_variation_fails(pick in any::<prop::sample::Index>(), seed in 1..1_000_000u64) {
        let suite = suite();
        let all = all(&suite, seed);
        let instance = pick.get(&all);
        let played = run::play(&suite, instance, Casting::default());
        let judged = || judge::judge(&suite, instance, &played.trace, None, Rigour::Usual);
        let judgement = judged();
        prop_assert_eq!(Verdict::Pass, judgement.verdict, "{} {:?}", instance, judgement.findings);
        prop_assert_eq!(judged(), judgement);
    }

    /// Whatever is varied around it, a broken rule is never laid to somebody else.
    #[test]
    fn a_broken_rule_is_never_laid_to_somebody_else(pick in any::<prop::sample::Index>(), seed in 1..1_000_000u64) {
        let suite = suite();
        let duels = prove::claims(&suite, &all(&suite, seed));
        let duel = pick.get(&duels);
        let seen = prove::kill(&suite, duel);
        let is_wrong = matches!(seen, Seen::OtherParty { .. } | Seen::NotCast);
        prop_assert!(!is_wrong, "{} × {}: {seen}", duel.instance, duel.deviation.name);
    }

    /// Judging sternly never makes a verdict better.
    #[test]
    fn strictness_only_worsens(pick in any::<prop::sample::Index>(), seed in 0..1_000u64) {
        let suite = suite();
        let duels = prove::claims(&suite, &all(&suite, seed));
        let duel = pick.get(&duels);
        let casting = Casting { deviation: Some(duel.deviation), ..Casting::default() };
        let played = run::play(&suite, &duel.instance, casting);
        let judged = |rigour| judge::judge(&suite, &duel.instance, &played.trace, None, rigour).verdict;
        prop_assert!(judged(Rigour::Usual) <= judged(Rigour::Strict));
    }
}

/// One instance of each file.
fn some(suite: &Suite, seed: u64) -> Vec<Instance> {
    let mut files = BTreeSet::new();
    let first = |instance: &Instance| files.insert(instance.scenario.file.clone());
    all(suite, seed).into_iter().filter(first).collect()
}
