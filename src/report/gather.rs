//! From a judgement to a row of the report.

use super::{
    FindingRow, InstanceResult, LedgerRow, MissingRow, Outcome, RequirementRow, StepRow, StoredFile,
};
use crate::{
    judge::{Blame, Finding, Judgement, Missing, Verdict},
    spec::{Basis, Requirement, Strength},
    suite::{Instance, Suite, View},
    time::At,
    trace::{Cast, Event, EventKind, Trace},
};

/// What is said of an instance before it is played, or if it never is.
pub fn unplayed(
    suite: &Suite,
    instance: &Instance,
    outcome: Outcome,
    reason: impl Into<String>,
) -> InstanceResult {
    let scenario = &instance.scenario;
    let requirements = scenario.requires.iter();
    InstanceResult {
        id: instance.id(),
        scenario: scenario.id.clone(),
        architecture: instance.architecture,
        options: instance.options.to_string(),
        seed: instance.seed,
        section: scenario.section.clone(),
        clause: scenario.clause.to_string(),
        purpose: scenario.purpose.clone(),
        requirements: requirements
            .filter_map(|id| suite.ledger.get(id))
            .map(|row| requirement(&row.requirement))
            .collect(),
        level: scenario.level,
        tags: scenario.tags.clone(),
        outcome,
        reason: Some(reason.into()).filter(|reason| !reason.is_empty()),
        deviation: None,
        under_test: Vec::new(),
        findings: Vec::new(),
        advice: Vec::new(),
        observations: Vec::new(),
        steps: steps(suite, instance, &[], &[]),
        replay: String::new(),
        trace: None,
        duration: 0,
        frames: 0,
        lost: 0,
        repeated: 0,
        differences: differences(instance),
    }
}

/// The whole ledger.
pub fn ledger(suite: &Suite) -> Vec<LedgerRow> {
    let rows = suite.ledger.rows.iter();
    rows.map(|row| LedgerRow {
        row: requirement(&row.requirement),
        alias_of: row.alias_of.clone(),
        uncovered: row.uncovered.clone(),
    })
    .collect()
}

/// What is said of an instance that was played and judged.
pub fn played(
    suite: &Suite,
    instance: &Instance,
    trace: &Trace,
    stored: StoredFile,
    judgement: &Judgement,
) -> InstanceResult {
    let guests = trace.meta.nodes.iter();
    let guests =
        guests.filter(|node| matches!(node.cast, Cast::Sut | Cast::Tested | Cast::Deviant));
    if let Some(why) = &judgement.uninvolved {
        return InstanceResult {
            trace: Some(stored),
            ..unplayed(suite, instance, Outcome::NotApplicable, why.as_str())
        };
    }
    let sendings = trace.sendings();
    let message = |finding: &Finding| {
        let event = finding.events.start;
        let frame = trace.events.get(event).and_then(Event::frame)?;
        let title = View::new(frame).title();
        let (from, to, on, sent) = (&frame.from, &frame.to, frame.on, sendings[event]);
        Some(format!("{from} → {to} on {on}: {title}, event {sent}"))
    };
    let rows = |findings: &[Finding]| -> Vec<FindingRow> {
        let rows = findings.iter();
        rows.map(|f| finding(suite, f, message(f))).collect()
    };
    InstanceResult {
        under_test: guests.map(|node| node.name.to_string()).collect(),
        findings: rows(&judgement.findings),
        advice: rows(&judgement.advice),
        observations: judgement.leniencies.clone(),
        steps: steps(suite, instance, &judgement.steps, &judgement.missing),
        trace: Some(stored),
        duration: trace.events.last().map_or(0, |event| event.at.as_nanos()),
        frames: frames(trace),
        lost: judgement.lost,
        repeated: judgement.repeated,
        ..unplayed(suite, instance, outcome(judgement.verdict, instance), "")
    }
}

/// An open point of which the system under test declares nothing: what was seen is told, and fails nobody.
pub fn tell(result: &mut InstanceResult, why: &str) {
    if matches!(result.outcome, Outcome::Pass | Outcome::Fail) {
        result.reason = Some(format!("{why}; seen: {}", result.outcome));
        result.outcome = Outcome::Info;
    }
}

/// A known failure.
pub fn waive(result: &mut InstanceResult, reason: &str) {
    // What could not be played has not failed in the known way.
    let is_played = result.trace.is_some();
    if is_played && matches!(result.outcome, Outcome::Fail | Outcome::Inconclusive) {
        result.reason = Some(reason.to_owned());
        result.outcome = Outcome::Waived;
    }
}

/// What was forgiven although the profile does not ask for it is advice.
pub fn forgive_aloud(result: &mut InstanceResult, unasked: &[String]) {
    result.advice.extend(unasked.iter().map(|name| FindingRow {
        outcome: Outcome::Fail,
        requirement: String::new(),
        clause: String::new(),
        profile: true,
        not_verified: false,
        blame: Blame::Sut,
        node: None,
        expected: "only what the profile asks to be forgiven".to_owned(),
        actual: name.clone(),
        events: 0..0,
        message: None,
        likewise: Vec::new(),
    }));
}

/// A passing observation says what was seen; nothing can fail it.
fn outcome(verdict: Verdict, instance: &Instance) -> Outcome {
    match verdict {
        Verdict::Pass if instance.scenario.level == Strength::Info => Outcome::Info,
        verdict => Outcome::from(verdict),
    }
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Outcome {
        match verdict {
            Verdict::None | Verdict::Inconclusive => Outcome::Inconclusive,
            Verdict::Pass => Outcome::Pass,
            Verdict::Fail => Outcome::Fail,
            Verdict::Error => Outcome::Error,
        }
    }
}

fn requirement(row: &Requirement) -> RequirementRow {
    RequirementRow {
        id: row.id.clone(),
        title: row.title.clone(),
        clause: clause(row),
        basis: row.basis,
        strength: row.strength,
        role: row.role,
    }
}

/// A clause that nobody has read prints its document; its number only in `explain`.
fn clause(row: &Requirement) -> String {
    match row.basis {
        Basis::NotVerified => row.clause.document.clone(),
        _ => row.clause.to_string(),
    }
}

fn finding(suite: &Suite, finding: &Finding, message: Option<String>) -> FindingRow {
    let row = suite.ledger.get(&finding.requirement);
    let row = row.map(|row| &row.requirement);
    FindingRow {
        outcome: finding.verdict.into(),
        requirement: finding.requirement.clone(),
        clause: row.map(clause).unwrap_or_default(),
        profile: row.is_some_and(|row| row.basis.is_profile()),
        not_verified: row.is_some_and(|row| row.basis == Basis::NotVerified),
        blame: finding.blame,
        node: finding.node.clone(),
        expected: visible(&finding.expected),
        actual: match visible(&finding.actual) {
            actual if actual.is_empty() => "nothing".to_owned(),
            actual => actual,
        },
        events: finding.events.clone(),
        message: message.as_deref().map(visible),
        likewise: finding.likewise.clone(),
    }
}

fn steps(
    suite: &Suite,
    instance: &Instance,
    met: &[Option<usize>],
    missing: &[Missing],
) -> Vec<StepRow> {
    let steps = instance.steps(suite);
    let rows = steps.iter().enumerate();
    rows.map(|(number, step)| StepRow {
        text: visible(&step.to_string()),
        given: step.setup,
        met: met.get(number).copied().flatten(),
        missing: missing
            .iter()
            .find(|missing| missing.step == number)
            .map(missing_row),
    })
    .collect()
}

/// A text that may hold what a party said, with whatever a terminal would obey rather than show written out.
fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c.is_control() || turns {
            true => visible.extend(c.escape_default()),
            false => visible.push(c),
        }
    }
    visible
}

fn missing_row(missing: &Missing) -> MissingRow {
    MissingRow {
        from: missing.from.clone(),
        to: missing.to.clone(),
        on: missing.on,
        words: visible(&missing.words),
        lacks: missing.lacks.as_deref().map(visible),
        is_wrong: missing.is_wrong,
        before: missing.before,
        due: missing.due.map(At::as_nanos),
    }
}

/// Sendings and arrivals of the same frame count once.
fn frames(trace: &Trace) -> usize {
    let crossed = trace.events.iter().filter(|event| match &event.kind {
        EventKind::Received(_) => true,
        EventKind::Sent(frame) => !trace.meta.sees_arrivals_at(&frame.to),
        _ => false,
    });
    crossed.count()
}

fn differences(instance: &Instance) -> Vec<String> {
    let deviants = instance.scenario.given.deviant.iter();
    deviants
        .map(|(node, deviation)| format!("{node}: {deviation}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_party_said_moves_no_cursor() {
        assert_eq!("GET /ä → 200", visible("GET /ä → 200"));
        assert_eq!("\\u{1b}[31mred\\r\\n", visible("\u{1b}[31mred\r\n"));
        assert_eq!("a\\u{202e}b", visible("a\u{202e}b"));
    }
}
