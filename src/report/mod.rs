//! Drawing. [`Report`] is the only model: what `results.json` holds. Every format is a function of the
//! run folder, that is of `results.json` and the traces it names by digest; none needs a rerun, and no
//! verdict is made here. Start at [`Report`]; one module per format, [`FORMATS`] lists them.

pub mod bench;
pub mod compare;
pub mod ctrf;
pub mod decode;
pub mod evidence;
pub mod flow;
pub mod folder;
pub mod gather;
pub mod github;
pub mod html;
pub mod implementations;
pub mod junit;
pub mod label;
pub mod ladder;
pub mod markdown;
pub mod marks;
pub mod matrix;
pub mod moment;
pub mod redact;
pub mod terminal;

use std::{io, ops::Range};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    judge::Blame,
    spec::{Architecture, Basis, RefPoint, Role, Strength, words},
};

pub use folder::Folder;

/// What a results file of this kind calls itself.
pub const SCHEMA: &str = "peerproof-results/1";

/// A way to draw a report into the run folder.
pub struct Format {
    /// What `--report` calls it.
    pub name: &'static str,
    /// The file it is written to, in the run folder.
    pub file: &'static str,
    pub summary: &'static str,
    pub draw: fn(&Report, &Folder, &Wish<'_>) -> io::Result<String>,
}

/// What of a report is left to who asks for it.
pub struct Wish<'a> {
    /// Which instances are drawn in full on the page although they passed.
    pub ladders: &'a dyn Fn(&InstanceResult) -> bool,
}

/// Every format that `--report` takes; `results.json` itself is always written.
pub const FORMATS: &[Format] = &[
    Format {
        name: "ctrf",
        file: "ctrf.json",
        summary: "CTRF JSON, the common test report format",
        draw: |report, _, _| Ok(ctrf::draw(report)),
    },
    Format {
        name: "html",
        file: "report.html",
        summary: "one self-contained page, with ladders and messages",
        draw: |report, folder, wish| Ok(html::draw(report, folder, wish.ladders)),
    },
    Format {
        name: "junit",
        file: "junit.xml",
        summary: "JUnit XML, as build servers read it",
        draw: |report, _, _| junit::draw(report).map_err(io::Error::other),
    },
    Format {
        name: "markdown",
        file: "report.md",
        summary: "a summary for pull requests and job pages",
        draw: |report, folder, _| Ok(markdown::draw(report, folder)),
    },
    Format {
        name: "text",
        file: "report.txt",
        summary: "what the terminal shows, without colours",
        draw: |report, folder, _| Ok(terminal::text(report, folder)),
    },
];

/// The results of one run: `results.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// `peerproof-results/1`.
    pub schema: String,
    pub run: Run,
    pub counts: Counts,
    /// Every selected instance, in the order of the suites.
    pub instances: Vec<InstanceResult>,
    /// The whole ledger, so that what no instance tests can be told from what passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ledger: Vec<LedgerRow>,
}

/// What was run, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    /// The name of the run folder.
    pub id: String,
    /// The version of peerproof.
    pub version: String,
    pub seed: u64,
    /// The selectors and filters, as they were given; empty for everything.
    pub selection: Vec<String>,
    /// "memory", "sockets" or "sockets-ipv6".
    pub transport: String,
    /// A broken SHOULD was to fail.
    pub strict: bool,
    /// The rules that reference nodes were made to break, by their deviations' names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<String>,
    /// The system under test, by its profile; absent where every node is ours and all are judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sut: Option<Sut>,
    /// Why a guest was not there, or that it never sent anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
    /// Waivers that excuse nothing any more, with their reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale_waivers: Vec<String>,
    /// Secrets were taken out of everything here: traces no longer hold what was sent, so nothing can be judged
    /// or compared with them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
    /// The run was stopped by a signal: what is missing was not played.
    pub interrupted: bool,
    /// When it began, in seconds since 1970-01-01 UTC.
    pub started: u64,
    /// How long it took on the clock on the wall, in milliseconds.
    pub elapsed: u64,
    /// The contents that traces refer to, as stored in the run folder.
    pub contents: Vec<StoredFile>,
}

impl Run {
    /// What was selected, in words.
    pub fn selected(&self) -> String {
        match self.selection.is_empty() {
            true => "everything".to_owned(),
            false => self.selection.join(" "),
        }
    }
}

/// Who is under test, as its profile says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Sut {
    pub name: String,
    pub roles: Vec<Role>,
    /// The file of the profile, as it was given; empty if there was none.
    pub profile: String,
    /// The guests, as they were given beside a profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<String>,
}

/// A file of the run folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredFile {
    /// Its path, relative to the run folder.
    pub file: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

words! {
    /// What became of an instance, best first. The first four are the verdicts of the TTCN-3 lattice;
    /// the others stand beside it.
    Outcome, "outcome", {
        Pass = "pass",
        Inconclusive = "inconclusive",
        Fail = "fail",
        Error = "error",
        /// An open point: what was seen.
        Info = "info",
        /// The system under test declares that it does not do this.
        Unsupported = "unsupported",
        /// Known to fail, with a reason.
        Waived = "waived",
        /// Tests nobody who is under test, or cannot be played over this transport.
        NotApplicable = "not-applicable",
    }
}

/// How many instances came to each outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    pub pass: usize,
    pub inconclusive: usize,
    pub fail: usize,
    pub error: usize,
    pub info: usize,
    pub unsupported: usize,
    pub waived: usize,
    pub not_applicable: usize,
    /// Broken recommendations, over all instances.
    pub advice: usize,
}

/// One instance: a scenario under one configuration and seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct InstanceResult {
    /// `registered/step-3-piece-request/asks-through-the-p-cscf@ut.ims.ims#41`.
    pub id: String,
    /// The id without configuration and seed.
    pub scenario: String,
    pub architecture: Architecture,
    /// Peer list, request, status: `ut.ims.ims`.
    pub options: String,
    pub seed: u64,
    /// The title of the section of the text the scenario belongs to.
    pub section: String,
    /// The clause of that section.
    pub clause: String,
    pub purpose: String,
    pub requirements: Vec<RequirementRow>,
    /// The strength of the strongest requirement.
    pub level: Strength,
    pub tags: Vec<String>,
    pub outcome: Outcome,
    /// Why it is unsupported, waived or not applicable, or what went wrong with us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rule that reference nodes were made to break in this instance, by its deviation's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<String>,
    /// The nodes under test; empty where every node is ours, and all of them are.
    pub under_test: Vec<String>,
    /// What stands between this instance and a pass, the worst first.
    pub findings: Vec<FindingRow>,
    /// Broken recommendations: shown and counted, without influence on the outcome unless `--strict`.
    pub advice: Vec<FindingRow>,
    /// Which lawful outcome was taken where there are several.
    pub observations: Vec<String>,
    pub steps: Vec<StepRow>,
    /// The command that plays this instance again.
    pub replay: String,
    /// The trace, if it was played.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<StoredFile>,
    /// How long it took on the clock of the run, in nanoseconds.
    pub duration: u64,
    /// Frames in the trace, sendings and arrivals counted once.
    pub frames: usize,
    /// Frames the network lost.
    #[serde(default)]
    pub lost: usize,
    /// Datagrams sent again, octet for octet.
    #[serde(default)]
    pub repeated: usize,
    /// Where the nodes were told to differ from what they do canonically.
    pub differences: Vec<String>,
}

/// A row of the ledger, as the report shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RequirementRow {
    pub id: String,
    pub title: String,
    pub clause: String,
    pub basis: Basis,
    pub strength: Strength,
    pub role: Role,
}

/// A row of the ledger, whether or not an instance cites it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LedgerRow {
    #[serde(flatten)]
    pub row: RequirementRow,
    /// The row it says again, with which it counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<String>,
    /// Why no scenario cites it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncovered: Option<String>,
}

/// What was expected, what was seen, and who is to blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct FindingRow {
    /// The outcome this finding alone would give.
    pub outcome: Outcome,
    /// The ledger row; empty for a fault of the harness.
    pub requirement: String,
    /// Where it is written; the document alone where nobody has read the clause.
    pub clause: String,
    /// The source binds nobody: a finding about the profile, not a violation of a specification.
    pub profile: bool,
    /// The clause was never read: verify it before this is sent to anyone.
    pub not_verified: bool,
    #[schemars(with = "BlameWord")]
    pub blame: Blame,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub expected: String,
    pub actual: String,
    /// The trace events that show it, counted from 0; the end is not included.
    pub events: Range<usize>,
    /// The message that shows it, by its hop and its name, with the number that it has in the ladder: that of the event
    /// at which it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Other trace events that show the same: answers that are wrong in the same way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub likewise: Vec<usize>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct StepRow {
    /// The step in words: "ue-a → p-cscf on Gm: INVITE within 2 s".
    pub text: String,
    /// A part of what is given rather than of what is tested.
    pub given: bool,
    /// The event that met it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<usize>,
    /// The message that it expected and that never came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<MissingRow>,
}

/// A message that was expected and never came: drawn where it was expected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MissingRow {
    /// Who ought to have sent it, if the step names just one; several stand in the words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<RefPoint>,
    /// The step in words, with every place filled whose value is known.
    pub words: String,
    /// What was not so in the message that came in its place, if that says more than what kind it was to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
    /// The message that came in its place is of the kind that was due, so it is wrong; not one beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_wrong: bool,
    /// The message that came in its place, which is wrong; otherwise the trace event before which it belongs, or the
    /// number of events if it belongs behind them all.
    pub before: usize,
    /// When its time was over, in nanoseconds of the run's clock, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
}

/// The words of [`Blame`], for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "stands in the schema only")]
enum BlameWord {
    Sut,
    Reference,
    Harness,
    Network,
}

impl Report {
    /// Counts again what the instances say.
    pub fn count(&mut self) {
        self.counts = Counts::of(&self.instances);
    }

    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("a report holds only words, numbers and lists");
        text.push('\n');
        text
    }

    /// The JSON schema of `results.json`.
    pub fn schema() -> String {
        let mut text = serde_json::to_string_pretty(&schemars::schema_for!(Report))
            .expect("a schema is plain JSON");
        text.push('\n');
        text
    }

    /// The instances that somebody has to look at, in order.
    pub fn troubles(&self) -> impl Iterator<Item = &InstanceResult> {
        self.instances.iter().filter(|i| i.outcome.is_trouble())
    }
}

impl Outcome {
    /// Whether somebody has to look at it.
    pub fn is_trouble(self) -> bool {
        matches!(self, Outcome::Inconclusive | Outcome::Fail | Outcome::Error)
    }
}

impl Counts {
    pub fn of(instances: &[InstanceResult]) -> Counts {
        let mut counts = Counts::default();
        for instance in instances {
            counts.add(instance.outcome);
            counts.advice += instance.advice.len();
        }
        counts
    }

    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome) {
        *self.slot(outcome) += 1;
    }

    pub fn get(&self, outcome: Outcome) -> usize {
        *self.clone().slot(outcome)
    }

    fn slot(&mut self, outcome: Outcome) -> &mut usize {
        match outcome {
            Outcome::Pass => &mut self.pass,
            Outcome::Inconclusive => &mut self.inconclusive,
            Outcome::Fail => &mut self.fail,
            Outcome::Error => &mut self.error,
            Outcome::Info => &mut self.info,
            Outcome::Unsupported => &mut self.unsupported,
            Outcome::Waived => &mut self.waived,
            Outcome::NotApplicable => &mut self.not_applicable,
        }
    }
}

impl FindingRow {
    /// The message that shows it, where what was seen does not name it.
    pub fn unnamed_message(&self) -> Option<&str> {
        let message = self.message.as_deref();
        message.filter(|_| !self.actual.contains(" → "))
    }

    /// The node to blame, or what else it is.
    pub fn party(&self) -> String {
        match &self.node {
            Some(node) if self.outcome == Outcome::Inconclusive => {
                format!("nobody, though it points at {node}")
            }
            Some(node) => node.clone(),
            // Our own fault is an error; that a purpose was not reached is nobody's.
            None if self.outcome == Outcome::Inconclusive => "nobody".to_owned(),
            None => self.blame.to_string(),
        }
    }

    /// The clause, and whether nobody has read it.
    pub fn cited(&self) -> String {
        match self.not_verified {
            true => format!("{}, clause not verified", self.clause),
            false => self.clause.clone(),
        }
    }
}

impl Outcome {
    /// The graver of two is what both come to.
    pub fn gravity(self) -> usize {
        match self {
            Outcome::NotApplicable => 0,
            Outcome::Unsupported => 1,
            Outcome::Pass => 2,
            Outcome::Info => 3,
            Outcome::Waived => 4,
            Outcome::Inconclusive => 5,
            Outcome::Fail => 6,
            Outcome::Error => 7,
        }
    }
}

impl InstanceResult {
    /// What stands between it and a pass, in words: requirement, expected, found; else why it stands as it does.
    pub fn why(&self) -> Option<String> {
        let is_good = matches!(self.outcome, Outcome::Pass | Outcome::Info);
        let finding = self.decisive().filter(|_| !is_good);
        let found = finding.map(|finding| {
            format!(
                "{}: expected {}, found {}",
                finding.requirement, finding.expected, finding.actual
            )
        });
        found.or_else(|| self.reason.clone())
    }

    /// The id without its seed.
    pub fn path(&self) -> &str {
        self.id.rsplit_once('#').map_or(&*self.id, |(path, _)| path)
    }

    /// The finding that decided the outcome.
    pub fn decisive(&self) -> Option<&FindingRow> {
        self.findings
            .iter()
            .find(|finding| finding.outcome == self.outcome)
            .or(self.findings.first())
    }

    /// `@ut.ims.ims#41`: what the id adds to the scenario's.
    pub fn suffix(&self) -> &str {
        self.id.strip_prefix(&self.scenario).unwrap_or(&self.id)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_that_of_the_types() {
        let committed = include_str!("../../reports/results.schema.json");
        assert!(
            committed == Report::schema(),
            "write it anew: peerproof schema results > reports/results.schema.json"
        );
    }

    #[test]
    fn a_report_reads_as_it_was_written() {
        let report = sample();
        assert_eq!(
            report,
            serde_json::from_str::<Report>(&report.to_json()).unwrap()
        );
    }

    #[test]
    fn counts_are_those_of_the_instances() {
        let report = sample();
        assert_eq!(
            (1, 1, 1),
            (
                report.counts.pass,
                report.counts.fail,
                report.counts.unsupported
            )
        );
        assert_eq!(1, report.counts.advice);
    }

    /// One pass with advice, one failure, one unsupported.
    pub(crate) fn sample() -> Report {
        let failing = InstanceResult {
            id: "registered/step-3-piece-request/asks-through-the-p-cscf@ut.ims.ims#41".to_owned(),
            scenario: "registered/step-3-piece-request/asks-through-the-p-cscf".to_owned(),
            architecture: Architecture::Registered,
            options: "ut.ims.ims".to_owned(),
            seed: 41,
            section: "Piece request through the IMS core".to_owned(),
            clause: "TR 23.844 6.2.1 step 3".to_owned(),
            purpose: "The UE sends its piece request to the P-CSCF, not straight to the peer."
                .to_owned(),
            requirements: vec![RequirementRow {
                id: "UE-001".to_owned(),
                title: "The UE asks for pieces through the P-CSCF.".to_owned(),
                clause: "TR 23.844 6.2.1 step 3".to_owned(),
                basis: Basis::SourceText,
                strength: Strength::Must,
                role: Role::Ue,
            }],
            level: Strength::Must,
            tags: vec!["smoke".to_owned()],
            outcome: Outcome::Fail,
            reason: None,
            deviation: None,
            under_test: vec!["ue-a".to_owned()],
            findings: vec![finding(Outcome::Fail, "UE-001")],
            advice: Vec::new(),
            observations: Vec::new(),
            steps: vec![StepRow {
                text: "ue-a → p-cscf on Gm: INVITE within 2 s".to_owned(),
                given: false,
                met: None,
                missing: None,
            }],
            replay: "peerproof replay \
                     latest/registered/step-3-piece-request/asks-through-the-p-cscf@ut.ims.ims#41"
                .to_owned(),
            trace: None,
            duration: 41_000_000,
            frames: 3,
            lost: 0,
            repeated: 0,
            differences: Vec::new(),
        };
        let passing = InstanceResult {
            id: "registered/step-1-2-peer-list/lists-peers@ut.ims.ims#41".to_owned(),
            scenario: "registered/step-1-2-peer-list/lists-peers".to_owned(),
            outcome: Outcome::Pass,
            findings: Vec::new(),
            advice: vec![finding(Outcome::Pass, "UE-002")],
            ..failing.clone()
        };
        let unsupported = InstanceResult {
            id: "registered/step-5-status-update/reports-at-once@ut.ims.ims#41".to_owned(),
            scenario: "registered/step-5-status-update/reports-at-once".to_owned(),
            outcome: Outcome::Unsupported,
            reason: Some("no upper tester".to_owned()),
            findings: Vec::new(),
            ..failing.clone()
        };
        let mut report = Report {
            schema: SCHEMA.to_owned(),
            run: Run {
                id: "sample".to_owned(),
                version: "0.1.0".to_owned(),
                seed: 41,
                selection: Vec::new(),
                transport: "memory".to_owned(),
                strict: false,
                deviation: None,
                sut: None,
                unavailable: None,
                stale_waivers: Vec::new(),
                redacted: false,
                interrupted: false,
                started: 0,
                elapsed: 12,
                contents: Vec::new(),
            },
            counts: Counts::default(),
            instances: vec![passing, failing, unsupported],
            ledger: Vec::new(),
        };
        report.count();
        report
    }

    fn finding(outcome: Outcome, requirement: &str) -> FindingRow {
        FindingRow {
            outcome,
            requirement: requirement.to_owned(),
            clause: "TR 23.844 6.2.1 step 3".to_owned(),
            profile: true,
            not_verified: false,
            blame: Blame::Sut,
            node: Some("ue-a".to_owned()),
            expected: "ue-a → p-cscf on Gm: INVITE within 2 s".to_owned(),
            actual: "ue-a → es-1 on Gm: INVITE after 0.041 s".to_owned(),
            events: 2..3,
            message: None,
            likewise: Vec::new(),
        }
    }
}
