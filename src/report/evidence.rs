//! What an instance leaves beside its trace: the ladder, and the capture with the verdict written on its packets.

use std::{collections::BTreeMap, io};

use super::{
    FindingRow, Folder, InstanceResult, Outcome,
    flow::Flow,
    folder::{capture_file, ladder_file},
    ladder::Look,
    marks,
};
use crate::trace::{EventKind, Trace, pcapng};

/// Which instances leave a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Captures {
    /// Every one that was played
    Always,
    /// Those that somebody has to look at, whatever was made of it: a waived failure too
    OnFail,
    Never,
}

impl Captures {
    fn wants(self, instance: &InstanceResult) -> bool {
        match self {
            Captures::Always => true,
            Captures::OnFail => instance.outcome.is_trouble() || !instance.findings.is_empty(),
            Captures::Never => false,
        }
    }
}

/// Leaves the ladder of an instance in the run folder.
pub fn store_ladder(folder: &Folder, instance: &InstanceResult, trace: &Trace) -> io::Result<()> {
    let drawn = marks::ladder(trace, instance).text(Look::WIDE);
    let file = ladder_file(&instance.id);
    folder.store(&file, drawn.as_bytes()).map(|_| ())
}

/// Leaves the capture of an instance in the run folder, if it is one of those wanted, and says whether it did.
pub fn store_capture(
    folder: &Folder,
    instance: &InstanceResult,
    trace: &Trace,
    wanted: Captures,
) -> io::Result<bool> {
    if !wanted.wants(instance) {
        return Ok(false);
    }
    let file = capture_file(&instance.id);
    folder.store(&file, &capture(instance, trace))?;
    Ok(true)
}

/// The trace as a capture; a packet says which step of the call flow it is, which step of the scenario it met, for
/// which requirements, and what was found in it.
pub fn capture(instance: &InstanceResult, trace: &Trace) -> Vec<u8> {
    let about = format!(
        "{}: {}\n{}\nagain: {}",
        instance.id,
        instance.outcome.word().to_uppercase(),
        instance.purpose,
        instance.replay
    );
    let remarks = remarks(instance, trace);
    let sent = trace.sendings();
    pcapng::write(trace, &about, &|event| {
        let of_sending = sent.get(event).and_then(|sent| remarks.get(sent));
        of_sending.map(|lines| lines.join("\n")).unwrap_or_default()
    })
}

/// The remarks on frames, by the event of their sending.
fn remarks(instance: &InstanceResult, trace: &Trace) -> BTreeMap<usize, Vec<String>> {
    let sent = trace.sendings();
    let mut remarks: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut note = |event: usize, line: String| {
        if let Some(&sent) = sent.get(event) {
            let lines = remarks.entry(sent).or_default();
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    };
    for (event, step) in flow(instance, trace) {
        note(event, step);
    }
    let ids: Vec<&str> = instance
        .requirements
        .iter()
        .map(|row| row.id.as_str())
        .collect();
    for (number, step) in instance.steps.iter().enumerate() {
        if let Some(event) = step.met {
            let given = if step.given { "given: " } else { "" };
            note(event, format!("step {}: {given}{}", number + 1, step.text));
            if !step.given {
                note(event, format!("requirements: {}", ids.join(" ")));
            }
        }
    }
    for finding in instance.findings.iter().chain(&instance.advice) {
        for event in finding.events.clone() {
            note(event, found(finding));
        }
    }
    remarks
}

/// The steps of the call flow, once what is given is done.
fn flow(instance: &InstanceResult, trace: &Trace) -> Vec<(usize, String)> {
    let mut flow = Flow::new(trace);
    let mut given = true;
    let mut steps = Vec::new();
    for (event, what) in trace.events.iter().enumerate() {
        match &what.kind {
            EventKind::Step { index, .. } => {
                given = instance.steps.get(*index).is_some_and(|step| step.given);
            }
            EventKind::Sent(frame) => {
                let step = flow.step(frame).filter(|_| !given);
                steps.extend(step.map(|step| (event, format!("{step}: {}", step.title()))));
            }
            _ => {}
        }
    }
    steps
}

fn found(finding: &FindingRow) -> String {
    let verdict = match finding.outcome {
        Outcome::Pass => "ADVICE".to_owned(),
        outcome => outcome.word().to_uppercase(),
    };
    format!(
        "{verdict}: {} · {}: expected {}, found {}, blame {}",
        finding.requirement,
        finding.clause,
        finding.expected,
        finding.actual,
        finding.party()
    )
}
