//! Verdicts, from a scenario and a trace alone. Pure: never touches a socket, does not know how the
//! trace came about. Start at [`judge`].

mod case;
mod checks;
mod evidence;
mod guests;
mod missing;
mod steps;
mod transfers;

use std::{collections::BTreeSet, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    spec::{RefPoint, Strength},
    suite::{Instance, Suite},
    time::At,
    trace::{EventKind, Trace},
};

pub use case::Case;
pub use checks::{Check, TABLE as CHECKS};
pub use evidence::{Evidence, Seen};

/// The TTCN-3 lattice, in its order: combining is `max`, so a verdict only gets worse.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    #[default]
    None,
    Pass,
    Inconclusive,
    Fail,
    Error,
}

/// Who is to blame for a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The party under test.
    Sut,
    /// A reference node, while another party is under test.
    Reference,
    /// The harness itself.
    Harness,
    /// The network between.
    Network,
}

impl std::fmt::Display for Blame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Blame::Sut => "sut",
            Blame::Reference => "reference",
            Blame::Harness => "harness",
            Blame::Network => "network",
        })
    }
}

/// One thing seen that is not as it should be, or an observation on an open point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    /// Of the requirement: a broken SHOULD is advice.
    pub strength: Strength,
    /// The ledger row, or empty for a fault of the harness.
    pub requirement: String,
    pub blame: Blame,
    /// The node blamed, if one is.
    pub node: Option<String>,
    pub expected: String,
    pub actual: String,
    /// The trace events that show it.
    pub events: Range<usize>,
    /// Others that show the same.
    pub likewise: Vec<usize>,
}

/// What came of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// What made the verdict, in the order it happened: the first is the one to look at.
    pub findings: Vec<Finding>,
    /// Broken SHOULDs: shown, without influence unless the run is strict.
    pub advice: Vec<Finding>,
    /// Lawful outcomes that were taken, by name: which leniency, which of several codes.
    pub leniencies: Vec<String>,
    /// Contents that a UE put together, as the harness reads them from Data frames.
    pub assembled: Vec<Assembled>,
    /// Where each step was met, by step: the trace event.
    pub steps: Vec<Option<usize>>,
    /// The messages that were expected and never came.
    pub missing: Vec<Missing>,
    /// Frames the network lost.
    pub lost: usize,
    /// Datagrams sent again, octet for octet.
    pub repeated: usize,
    /// Why it says nothing of the guests, if they had no part in it: another node of the role had.
    pub uninvolved: Option<String>,
}

/// A message that was expected and never came, and where in the trace it ought to have stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The step that expected it.
    pub step: usize,
    /// Who ought to have sent it, if the step names just one; several stand in the words.
    pub from: Option<String>,
    pub to: Option<String>,
    pub on: Option<RefPoint>,
    /// The step in words, with every place filled whose value is known.
    pub words: String,
    /// What was not so in the message that came in its place, if that says more than what kind it was to be:
    /// `ppstp version 1`.
    pub lacks: Option<String>,
    /// The message that came in its place is of the kind that was due, so it is wrong; not one beside it.
    pub is_wrong: bool,
    /// The message that came in its place; otherwise the event before which it belongs, or the number of events if it
    /// belongs behind them all.
    pub before: usize,
    /// When its time was over.
    pub due: Option<At>,
}

/// A content that arrived whole somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    pub node: String,
    /// The fixture.
    pub content: String,
    /// Of the octets taken from Data frames.
    pub sha256: [u8; 32],
    pub is_right: bool,
}

/// How sternly to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rigour {
    #[default]
    Usual,
    /// A broken SHOULD fails.
    Strict,
}

/// Judges one run of one instance. `fault` is what kept the harness from playing it to its end.
pub fn judge(
    suite: &Suite,
    instance: &Instance,
    trace: &Trace,
    fault: Option<&str>,
    rigour: Rigour,
) -> Judgement {
    let evidence = Evidence::new(trace);
    let case = Case {
        suite,
        instance,
        evidence: &evidence,
    };
    let followed = steps::follow(&case);
    let mut findings: Vec<Finding> = checks::TABLE
        .iter()
        .flat_map(|check| (check.judge)(&case))
        .collect();
    findings.extend(guests::findings(&case));
    let broken_before = findings
        .iter()
        .filter(|finding| weighs(finding, rigour))
        .map(|finding| finding.events.start)
        .min();
    let unseen = guests::unseen(&case);
    if guests::were_pushed(&case) {
        let is_blind = unseen.is_some();
        findings.extend(steps::findings(&case, &followed, broken_before, is_blind));
    }
    findings.extend(unseen);
    let assembled = assembled(&case);
    findings.extend(missing_content(&case, &followed, &assembled, &findings));
    in_order(&mut findings, &case);
    drop_consequences(&mut findings, rigour);
    if guests::are_unheard(&case) {
        // Nothing shows that anybody is there to break a rule.
        findings.retain(|finding| finding.blame != Blame::Sut);
    }
    guests::doubt(&case, &mut findings);
    let (mut findings, advice): (Vec<_>, Vec<_>) = findings
        .into_iter()
        .partition(|finding| weighs(finding, rigour));
    if let Some(fault) = fault {
        findings.insert(
            0,
            harness_fault("the scenario played to its end", fault, trace.events.len()),
        );
    }
    if let Some(at) = trace
        .events
        .iter()
        .position(|e| matches!(e.kind, EventKind::Truncated))
    {
        let flood = guests::flood(&case, at);
        let full = || harness_fault("a whole trace", "the trace hit its limit", at);
        findings.push(flood.unwrap_or_else(full));
    }
    // A network that was to lose frames and lost none has shown nothing of recovery.
    let lossy = instance
        .scenario
        .given
        .faults
        .iter()
        .any(|fault| fault.lose > 0.0);
    if lossy && (lost(trace) == 0 || repeated(trace) == 0) {
        findings.push(Finding {
            verdict: Verdict::Inconclusive,
            strength: Strength::Must,
            requirement: instance
                .scenario
                .requires
                .first()
                .cloned()
                .unwrap_or_default(),
            blame: Blame::Network,
            node: None,
            expected: "at least one frame lost and sent again".to_owned(),
            actual: format!("{} lost, {} sent again", lost(trace), repeated(trace)),
            events: trace.events.len()..trace.events.len(),
            likewise: Vec::new(),
        });
    }
    let shown = if followed.all_met() {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    };
    let verdict = findings
        .iter()
        .map(|finding| finding.verdict)
        .fold(shown, Verdict::max);
    Judgement {
        verdict,
        findings,
        advice,
        leniencies: leniencies(&case, &followed),
        assembled,
        steps: followed.met_at(),
        missing: followed.missing(trace),
        lost: lost(trace),
        repeated: repeated(trace),
        uninvolved: guests::uninvolved(&case).filter(|_| verdict <= Verdict::Inconclusive),
    }
}

/// In the order it happened: of two messages in the air, what was sent first comes first; of what one message shows,
/// what the scenario is about.
fn in_order(findings: &mut [Finding], case: &Case<'_>) {
    if findings.len() > 1 {
        let sent = case.evidence.trace.sendings();
        let cited = &case.instance.scenario.requires;
        findings.sort_by_key(|finding| {
            let shown = finding.events.start;
            let is_beside = !cited.contains(&finding.requirement);
            (sent.get(shown).copied().unwrap_or(shown), is_beside)
        });
    }
}

/// What had to be forgiven whoever is under test: by the steps, and to read their PPSTP documents.
fn leniencies(case: &Case<'_>, followed: &steps::Followed) -> Vec<String> {
    let mut names = followed.leniencies();
    for seen in &case.evidence.crossed {
        let tested = case.evidence.node(&seen.frame.from);
        let is_tested = tested.is_some_and(|node| case.is_under_test(node));
        if let Some(Ok(reading)) = seen.message.ppstp().filter(|_| is_tested) {
            names.extend(reading.leniencies.iter().map(|one| one.name().to_owned()));
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Once the party under test broke a rule, what a reference does after it may be its consequence: it says nothing
/// of the reference.
fn drop_consequences(findings: &mut Vec<Finding>, rigour: Rigour) {
    let is_root = |finding: &Finding| {
        finding.blame == Blame::Sut && finding.verdict == Verdict::Fail && weighs(finding, rigour)
    };
    if let Some(root) = findings.iter().position(is_root) {
        let mut place = 0;
        findings.retain(|finding| {
            place += 1;
            // What nobody is blamed for because a reference was led off the way follows from it as well.
            let is_of_others = match finding.blame {
                Blame::Reference => true,
                Blame::Harness => {
                    finding.node.is_none() && finding.verdict == Verdict::Inconclusive
                }
                Blame::Sut | Blame::Network => false,
            };
            place <= root + 1 || !is_of_others
        });
    }
}

fn lost(trace: &Trace) -> usize {
    trace
        .events
        .iter()
        .filter(|e| matches!(e.kind, EventKind::Lost(_)))
        .count()
}

fn repeated(trace: &Trace) -> usize {
    let mut seen = BTreeSet::new();
    trace
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Sent(frame) if frame.link.is_none() => Some(frame),
            _ => None,
        })
        .filter(|frame| !seen.insert((frame.src, frame.dst, frame.bytes.clone())))
        .count()
}

/// Whether a finding makes the verdict, rather than being advice.
fn weighs(finding: &Finding, rigour: Rigour) -> bool {
    rigour == Rigour::Strict
        || finding.verdict != Verdict::Fail
        || finding.strength == Strength::Must
}

fn harness_fault(expected: &str, actual: &str, at: usize) -> Finding {
    Finding {
        verdict: Verdict::Error,
        strength: Strength::Must,
        requirement: String::new(),
        blame: Blame::Harness,
        node: None,
        expected: expected.to_owned(),
        actual: actual.to_owned(),
        events: at..at,
        likewise: Vec::new(),
    }
}

fn assembled(case: &Case<'_>) -> Vec<Assembled> {
    checks::assembled(case)
        .into_iter()
        .map(|((node, content), sha256)| {
            let is_right = case
                .suite
                .contents
                .get(&content)
                .is_some_and(|c| c.sha256 == sha256);
            Assembled {
                node,
                content,
                sha256,
                is_right,
            }
        })
        .collect()
}

/// A scenario that says "the whole content arrives" passes only if the harness saw it arrive.
fn missing_content(
    case: &Case<'_>,
    followed: &steps::Followed,
    assembled: &[Assembled],
    findings: &[Finding],
) -> Option<Finding> {
    let wanted = case.instance.scenario.given.assembles.as_ref()?;
    let content = case.instance.scenario.given.content.as_ref()?;
    let there = assembled
        .iter()
        .any(|a| a.is_right && a.node == *wanted && a.content == *content);
    if there || !followed.all_met() || !findings.is_empty() {
        return None;
    }
    let party = crate::wire::frame::Party::Node(wanted.as_str().into());
    let end = case.evidence.trace.events.len();
    let expected = format!("all of {content} at {wanted}, octet for octet");
    let missing = "something is missing";
    let lapse = case.lapse(&party, "UE-017", expected.clone(), missing, end..end);
    // Where the tap does not see all that came, nothing shows either way; and a reference gets what it is given.
    let lapse = lapse.filter(|finding| finding.blame != Blame::Reference);
    let unclear = || guests::inconclusive(case, None, expected, missing.to_owned(), end);
    Some(lapse.unwrap_or_else(unclear))
}
