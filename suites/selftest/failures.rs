//! What a person sees of a failure: which rows of the ladder are red, and what the findings say.

mod whole;

use peerproof::{
    judge::{self, Rigour},
    node::deviation::Deviation,
    report::{
        InstanceResult, Outcome, StoredFile, folder, gather,
        ladder::{Ladder, Row},
    },
    run::{self, Casting},
    suite::Instance,
};
use whole::{all, suite};

/// A never that is broken several times: each message is red, and the one that was sent first is told first.
#[test]
fn every_message_that_must_not_be_seen_is_red_and_the_first_is_told_first() {
    let (result, ladder) = failed(
        "registered/step-3-piece-request/asks-through-the-p-cscf",
        "ue-skips-p-cscf",
    );
    let red = [
        "ue-a → ue-b: INVITE",
        "ue-a → es-1: INVITE",
        "ue-a → os-1: INVITE",
    ];
    assert_eq!(red[..], red_arrows(&ladder)[..]);
    let first = result.findings.first().unwrap();
    assert_eq!("ue-a → ue-b on Gm: INVITE", first.actual);
    assert_eq!(Some("ue-a"), first.node.as_deref());
}

/// One NOTIFY is due and five come: the four that are too many are red.
#[test]
fn every_message_too_many_is_red() {
    let (_, ladder) = failed(
        "common/peer-list-subscription/sends-one-notify-for-one-subscription",
        "tracker-notifies-five-times",
    );
    assert_eq!(
        ["tracker → s-cscf: NOTIFY, 3 peers"; 4][..],
        red_arrows(&ladder)[..]
    );
}

/// What came of the first instance of a scenario in which a rule is broken.
fn failed(scenario: &str, deviation: &str) -> (InstanceResult, Ladder) {
    let suite = suite();
    let mut instances = all(&suite, 0).into_iter();
    let of_it = |instance: &Instance| instance.scenario.id == scenario;
    let instance = instances.find(of_it).unwrap();
    let casting = Casting {
        deviation: Deviation::named(deviation),
        ..Casting::default()
    };
    let trace = run::play(&suite, &instance, casting).trace;
    let judgement = judge::judge(&suite, &instance, &trace, None, Rigour::Usual);
    let stored = StoredFile {
        file: "trace.jsonl".to_owned(),
        sha256: String::new(),
    };
    let result = gather::played(&suite, &instance, &trace, stored, &judgement);
    assert_eq!(Outcome::Fail, result.outcome, "{:?}", result.findings);
    let ladder = folder::instance_ladder(&trace, &result);
    (result, ladder)
}

fn red_arrows(ladder: &Ladder) -> Vec<String> {
    let rows = ladder.rows.iter().filter_map(|row| match row {
        Row::Arrow(arrow) if arrow.failing => {
            let (from, to) = (&ladder.lanes[arrow.from], &ladder.lanes[arrow.to]);
            Some(format!("{from} → {to}: {}", arrow.label))
        }
        _ => None,
    });
    rows.collect()
}
