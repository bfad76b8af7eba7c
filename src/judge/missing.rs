//! What was expected and never came, and where in the trace it belongs: so that a ladder can be drawn with it. It makes
//! no verdicts.

use std::time::Duration;

use super::{
    Missing,
    steps::{Followed, met_by},
};
use crate::{
    spec::RefPoint,
    suite::{Expect, Layer, Near, Pattern, Step, StepOutcome, StepState, Verb, View},
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
        let cause = brought_about(trace, expect, since).filter(|cause| *cause < over);
        let place = match cause {
            Some(cause) => behind_answers(trace, &pattern.from[0], cause),
            None => last.map_or(over, behind),
        };
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

/// What brings a request about at who sends it, as far as the protocols say.
enum Cause {
    /// A SIP request of that method, that is handed on or asked about.
    Request(String),
    /// Any SIP request but REGISTER.
    OtherRequest,
    /// A final answer to INVITE (RFC 3261 13.2.2.4, 17.1.1.3).
    FinalAnswer,
    /// That command of Diameter.
    Command(&'static str),
}

impl Cause {
    fn of(pattern: &Pattern) -> Option<Cause> {
        let is_on = |on: RefPoint| pattern.on.contains(&on);
        let request = |method: &str| Some(Cause::Request(method.to_owned()));
        if let Some(command) = pattern.literal(Layer::Diameter, "command") {
            // TS 29.228 6.1.1, 6.1.4 and 6.3.
            return match command.as_str() {
                "UAR" | "MAR" => request("REGISTER"),
                "LIR" => Some(Cause::OtherRequest),
                _ => None,
            };
        }
        match pattern.literal(Layer::Sip, "method")?.as_str() {
            "ACK" if is_on(RefPoint::Gm) => Some(Cause::FinalAnswer),
            // Registered with the HSS, then with the application server (TS 23.218 6.3).
            "REGISTER" if is_on(RefPoint::Isc) => Some(Cause::Command("SAA")),
            "NOTIFY" => request("SUBSCRIBE"),
            method if is_on(RefPoint::Mw) || is_on(RefPoint::Isc) => request(method),
            _ => None,
        }
    }

    fn is(&self, view: &View) -> bool {
        let one = |layer, key| view.get(layer, key).and_then(|v| v.into_iter().next());
        let method = one(Layer::Sip, "method");
        match self {
            Cause::Request(wanted) => method.as_ref() == Some(wanted),
            Cause::OtherRequest => method.is_some_and(|method| method != "REGISTER"),
            Cause::FinalAnswer => {
                let status = one(Layer::Sip, "status");
                status.is_some_and(|status| !status.starts_with('1'))
                    && one(Layer::Sip, "for").is_some_and(|method| method == "INVITE")
            }
            Cause::Command(wanted) => {
                one(Layer::Diameter, "command").is_some_and(|command| command == *wanted)
            }
        }
    }
}

/// Where what is due was brought about: of as many causes as there may be, the one that comes after those whose
/// message came.
fn brought_about(trace: &Trace, expect: &Expect, since: At) -> Option<usize> {
    let [from] = &expect.pattern.from[..] else {
        return None;
    };
    let cause = Cause::of(&expect.pattern)?;
    let call = expect.pattern.literal(Layer::Sip, "call-id");
    let (mut came, mut causes) = (0, Vec::new());
    for (index, event) in trace.events.iter().enumerate() {
        let Some(frame) = event.frame().filter(|_| event.at >= since) else {
            continue;
        };
        let view = View::new(frame);
        let is_of_the_call = || match &call {
            Some(call) => view
                .get(Layer::Sip, "call-id")
                .is_some_and(|this| this == [call.as_str()]),
            None => true,
        };
        match &event.kind {
            EventKind::Sent(_) if frame.from.is(from) && expect.pattern.is_of_the_kind(&view) => {
                came += 1
            }
            EventKind::Received(_) if frame.to.is(from) && cause.is(&view) && is_of_the_call() => {
                causes.push(index);
            }
            _ => {}
        }
    }
    causes.get(came).copied()
}

/// Behind what a node says of a message and answers to it, and behind the greetings of a Diameter connection: what it
/// does because of the message comes after that.
fn behind_answers(trace: &Trace, node: &str, message: usize) -> usize {
    let mut place = message + 1;
    for (index, event) in trace.events.iter().enumerate().skip(place) {
        let goes_on = match (&event.kind, event.frame()) {
            (EventKind::Noted { node: noted, .. }, _) => noted.as_str() == node,
            (_, Some(frame)) if frame.from.is(node) || frame.to.is(node) => {
                let view = View::new(frame);
                let command = view.get(Layer::Diameter, "command").unwrap_or_default();
                let is_greeting = command.iter().any(|name| name.starts_with("CE"));
                let is_its_answer = frame.from.is(node) && view.is_answer();
                if !(is_greeting || is_its_answer) {
                    break;
                }
                true
            }
            _ => false,
        };
        if goes_on {
            place = index + 1;
        }
    }
    place
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
