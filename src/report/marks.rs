//! What of a run is red: the messages that a finding points at, if who is blamed sent them, and what never came.

use std::collections::BTreeSet;

use super::{
    FindingRow, InstanceResult, MissingRow,
    ladder::{Caption, Ladder, Part},
};
use crate::{
    trace::{Event, Trace},
    wire::frame::Frame,
};

/// The picture of an instance whose trace is at hand.
pub fn ladder(trace: &Trace, instance: &InstanceResult) -> Ladder {
    let marks = Marks::new(trace, instance);
    let steps = marks.steps();
    let red: BTreeSet<usize> = (0..trace.events.len())
        .filter(|event| marks.is_red(*event))
        .collect();
    Ladder::of(trace, &steps, &|event| red.contains(&event))
}

struct Marks<'a> {
    trace: &'a Trace,
    instance: &'a InstanceResult,
    /// The findings that are told.
    told: &'a [FindingRow],
    /// The one that the verdict rests on.
    decisive: Option<&'a FindingRow>,
    is_somebody_blamed: bool,
}

impl<'a> Marks<'a> {
    fn new(trace: &'a Trace, instance: &'a InstanceResult) -> Marks<'a> {
        // Where nothing else went wrong, what is advised is what there is to see.
        let told: &[FindingRow] = match instance.findings[..] {
            [] => &instance.advice,
            _ => &instance.findings,
        };
        Marks {
            trace,
            instance,
            told,
            decisive: instance.decisive().or(told.first()),
            is_somebody_blamed: told.iter().any(|finding| finding.node.is_some()),
        }
    }

    fn frame(&self, event: usize) -> Option<&'a Frame> {
        self.trace.events.get(event).and_then(Event::frame)
    }

    /// Whether a finding points at what happened there. A message is red only if who is blamed sent it, and if it is
    /// not merely near to one that never came.
    fn is_red(&self, event: usize) -> bool {
        let points = |f: &&FindingRow| f.events.contains(&event) || f.likewise.contains(&event);
        let mut pointing = self.told.iter().filter(points);
        pointing.any(|finding| {
            let is_theirs = match (&finding.node, self.frame(event)) {
                (Some(node), Some(frame)) => frame.from.is(node),
                (None, Some(_)) => !self.is_somebody_blamed,
                (_, None) => true,
            };
            is_theirs && missing(self.instance, finding).is_none_or(|missing| missing.is_wrong)
        })
    }

    /// The steps with what of them never came, and what else ought to have been said.
    fn steps(&self) -> Vec<Caption> {
        let all = self.instance.steps.iter();
        // Steps may read alike: the first that was not met is the one.
        let rests_on = |missing: &MissingRow| self.decisive.is_some_and(|f| is_about(f, missing));
        let failing = all
            .clone()
            .position(|s| s.missing.as_ref().is_some_and(rests_on));
        let captions = all.enumerate().map(|(number, step)| {
            let failing = failing == Some(number);
            let mut missing = step.missing.clone();
            if let Some(missing) = &mut missing
                && failing
                && missing.from.is_none()
            {
                missing.from = self.decisive.and_then(|finding| finding.node.clone());
            }
            Caption {
                missing,
                failing,
                text: step.text.clone(),
                part: match step.given {
                    true => Part::Given,
                    false => Part::Scenario,
                },
            }
        });
        captions.chain(self.silences()).collect()
    }

    /// What was not said to what a finding points at: who is blamed for it did not send it.
    fn silences(&self) -> Vec<Caption> {
        let mut known = BTreeSet::new();
        let mut silences = Vec::new();
        for finding in self.told {
            let event = finding.events.start;
            let (Some(node), Some(frame)) = (&finding.node, self.frame(event)) else {
                continue;
            };
            let is_said = frame.from.is(node) || missing(self.instance, finding).is_some();
            if is_said || !known.insert((node, &finding.expected, event)) || known.len() > SILENCES
            {
                continue;
            }
            let asker = frame.to.is(node).then(|| frame.from.to_string());
            silences.push(Caption {
                text: String::new(),
                part: Part::Scenario,
                missing: Some(MissingRow {
                    from: Some(node.clone()),
                    to: asker,
                    on: Some(frame.on),
                    words: finding.expected.clone(),
                    before: event + 1,
                    ..MissingRow::default()
                }),
                failing: true,
            });
        }
        silences
    }
}

/// More silences are not drawn: one of them says what the others do.
const SILENCES: usize = 4;

/// What never came and a finding is about; of steps that read alike it is the first.
fn missing<'a>(instance: &'a InstanceResult, finding: &FindingRow) -> Option<&'a MissingRow> {
    let mut missing = instance
        .steps
        .iter()
        .filter_map(|step| step.missing.as_ref());
    missing.find(|missing| is_about(finding, missing))
}

fn is_about(finding: &FindingRow, missing: &MissingRow) -> bool {
    finding.expected.ends_with(&missing.words)
}
