//! What was expected and never came, and where in the trace it belongs: so that a ladder can be drawn with it. It makes
//! no verdicts.

use std::time::Duration;

use super::{
    Missing,
    steps::{Followed, met_by},
};
use crate::{
    suite::{Expect, Near, Pattern, Step, StepOutcome, StepState, Verb, View},
    time::At,
    trace::{Event, EventKind, Trace},
    wire::frame::{Frame, Party},
};

impl Followed {
    /// The messages that were expected and never came, in the order of the steps.
    pub fn missing(&self, trace: &Trace) -> Vec<Missing> {
        let root = self.root().map(|(_, outcome)| outcome.index);
        let pairs = self.steps.iter().zip(&self.outcomes);
        let missing = pairs.filter_map(|(step, outcome)| {
            let Verb::Expect(expect) = &step.verb else {
                return None;
            };
            let is_missing = match outcome.state {
                StepState::Unmet => true,
                // What was not due yet is not missing, unless that is all there is to say.
                StepState::NotReached => root == Some(outcome.index),
                _ => false,
            };
            if !is_missing {
                return None;
            }
            let pattern = &expect.pattern;
            Some(Missing {
                step: outcome.index,
                from: only(&pattern.from),
                to: only(&pattern.to),
                on: pattern.on.first().copied(),
                words: outcome.words.clone(),
                lacks: outcome
                    .nearest
                    .as_ref()
                    .and_then(|near| lacks(pattern, near)),
                is_wrong: self.instead(trace, expect, outcome).is_some(),
                before: self.belongs_before(trace, outcome, expect),
                due: outcome.due,
            })
        });
        missing.collect()
    }

    /// The message that came instead; else where it was due: what is due at once, behind the last that was said to or
    /// by whom it was due from, and before what the steps have behind it; what a timer brings, where its time was over.
    fn belongs_before(&self, trace: &Trace, outcome: &StepOutcome, expect: &Expect) -> usize {
        if let Some(event) = self.instead(trace, expect, outcome) {
            return event;
        }
        let end = trace.events.len();
        let Some((since, due)) = outcome.since.zip(outcome.due) else {
            return end;
        };
        // A series goes on where it broke off: after the time that was between the last two, doubled as timers may do.
        let due = match next_of_series(trace, expect, outcome) {
            Some(next) => due.min(next),
            None => due,
        };
        let is_late = |event: &Event| event.at > due;
        let over = trace.events.iter().position(is_late).unwrap_or(end);
        if expect.within >= BY_A_TIMER || !outcome.met.is_empty() {
            return over;
        }
        let pattern = &expect.pattern;
        let among = |party: &Party, names: &[String]| names.iter().any(|name| party.is(name));
        let has =
            |frame: &Frame, names: &[String]| among(&frame.from, names) || among(&frame.to, names);
        // An answer is due to who asked; a request when whatever brings it about has happened.
        let both = pattern.is_of_an_answer() && !pattern.to.is_empty();
        let is_between = |frame: &Frame| match pattern.from.is_empty() {
            false => has(frame, &pattern.from) && (!both || has(frame, &pattern.to)),
            true => has(frame, &pattern.to),
        };
        let mut in_time = trace.events[..over].iter();
        let last =
            in_time.rposition(|event| event.at >= since && event.frame().is_some_and(is_between));
        // Whatever the receiver says of it belongs to it.
        let behind = |last: usize| {
            let behind = trace.events[last + 1..].iter();
            last + 1
                + behind
                    .take_while(|e| matches!(e.kind, EventKind::Noted { .. }))
                    .count()
        };
        let place = last.map_or(over, behind);
        self.next_met(trace, outcome, expect, since)
            .map_or(place, |next| place.min(next))
    }

    /// Where the first of the steps behind it that came all the same was sent: those up to the next stimulus.
    fn next_met(
        &self,
        trace: &Trace,
        outcome: &StepOutcome,
        missing: &Expect,
        since: At,
    ) -> Option<usize> {
        let sendings = trace.sendings();
        let behind = self
            .steps
            .iter()
            .zip(&self.outcomes)
            .skip(outcome.index + 1);
        behind
            .take_while(|(step, _)| matches!(step.verb, Verb::Expect(_) | Verb::Never(_)))
            .filter_map(
                |(step, outcome)| match (met_by(step, outcome), &outcome.met[..]) {
                    (Some(met), _) => Some(met),
                    (None, []) => self.would_meet(trace, step, missing, since),
                    (None, _) => None,
                },
            )
            .filter(|met| trace.events[*met].at >= since)
            .filter_map(|met| sendings.get(met).copied())
            .min()
    }

    /// What would have met a step that waits for what is missing.
    fn would_meet(&self, trace: &Trace, step: &Step, missing: &Expect, since: At) -> Option<usize> {
        let Verb::Expect(expect) = &step.verb else {
            return None;
        };
        if expect.after.is_none() || expect.after != missing.name {
            return None;
        }
        trace.events.iter().position(|event| {
            event.at >= since
                && matches!(event.kind, EventKind::Received(_))
                && event.frame().is_some_and(|frame| {
                    let view = View::new(frame);
                    expect.pattern.matches(frame, &view, &self.context)
                })
        })
    }
}

/// The name, if there is just one.
fn only(names: &[String]) -> Option<String> {
    match names {
        [one] => Some(one.clone()),
        _ => None,
    }
}

/// What the nearest message has not, if that is not its kind.
fn lacks(pattern: &Pattern, near: &Near) -> Option<String> {
    let d = &near.difference;
    if d.is_of_outcomes {
        return Some(d.expected.clone());
    }
    let field = pattern
        .fields
        .iter()
        .find(|field| field.name() == d.field)?;
    (!field.is_title()).then(|| format!("{} {}", d.field, d.expected))
}

/// When the next of several was due at the latest, if some came: they need not come at equal times.
fn next_of_series(trace: &Trace, expect: &Expect, outcome: &StepOutcome) -> Option<At> {
    let at = |event: &usize| trace.events.get(*event).map(|event| event.at);
    match &outcome.met[..] {
        [] => None,
        [.., before, last] => Some(at(last)? + at(last)?.since(at(before)?) * 2),
        [one] => {
            let share = u32::try_from(expect.times.min)
                .ok()
                .filter(|times| *times > 0)?;
            Some(at(one)? + expect.within / share)
        }
    }
}

/// From here on a window is a timer's, not a reaction's.
const BY_A_TIMER: Duration = Duration::from_secs(10);
