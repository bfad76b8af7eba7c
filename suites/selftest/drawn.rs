//! An instance played against a deviation, judged and drawn.

use peerproof::{
    judge::{self, Rigour},
    node::deviation::Deviation,
    report::{InstanceResult, StoredFile, gather, ladder::Ladder, marks},
    run::{self, Casting},
    suite::{Instance, Suite},
    trace::Trace,
};

pub fn played(suite: &Suite, instance: &Instance, deviation: Option<&Deviation>) -> Trace {
    let casting = Casting {
        deviation,
        ..Casting::default()
    };
    run::play(suite, instance, casting).trace
}

pub fn drawn(
    suite: &Suite,
    instance: &Instance,
    trace: &Trace,
    rigour: Rigour,
) -> (InstanceResult, Ladder) {
    let judgement = judge::judge(suite, instance, trace, None, rigour);
    let stored = StoredFile {
        file: "trace.jsonl".to_owned(),
        sha256: String::new(),
    };
    let result = gather::played(suite, instance, trace, stored, &judgement);
    let ladder = marks::ladder(trace, &result);
    (result, ladder)
}
