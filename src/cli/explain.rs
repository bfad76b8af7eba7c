//! `explain`: what a word of ours means.

use std::{
    fmt::{Display, Write},
    sync::Arc,
};

use clap::Args;

use super::{EXITS, Exit, Failure, exit, print, selection::Suites};
use crate::{
    node::deviation::{self, Deviation},
    report::Outcome,
    spec::{Basis, Requirement, Strength},
    suite::{Instance, Scenario, Suite, nearest},
};

#[derive(Debug, Args)]
pub struct Explain {
    /// A scenario, requirement, deviation, clause, verdict or exit code
    id: String,

    #[command(flatten)]
    suites: Suites,
}

impl Explain {
    pub fn run(self) -> Result<Exit, Failure> {
        let suite = self.suites.load()?;
        let id = self.id.as_str();
        let text = exit_code(id)
            .or_else(|| outcome(id))
            .or_else(|| scenario(&suite, id))
            .or_else(|| requirement(&suite, id))
            .or_else(|| deviation(&suite, id))
            .or_else(|| clause(&suite, id))
            .ok_or_else(|| unknown(&suite, id))?;
        print(&text)?;
        Ok(Exit::Good)
    }
}

fn unknown(suite: &Suite, id: &str) -> Failure {
    let scenarios = suite.scenarios.iter().map(|scenario| scenario.id.as_str());
    let outcomes = Outcome::ALL.iter().map(|outcome| outcome.word());
    let known = scenarios
        .chain(suite.ledger.ids())
        .chain(outcomes)
        .chain(deviation::names());
    // Often only the last part of a scenario's name is typed.
    let ends = |s: &&Arc<Scenario>| s.id.rsplit('/').next() == Some(id);
    let named = suite.scenarios.iter().find(ends).map(|s| s.id.as_str());
    let near = match named.or_else(|| nearest(id, known)) {
        Some(near) => format!(", did you mean {near}?"),
        None => String::new(),
    };
    Failure::usage(format!(
        "found \"{id}\", expected a scenario, requirement, deviation, clause, verdict or exit code{near}"
    ))
}

fn exit_code(id: &str) -> Option<String> {
    let code: u8 = id.parse().ok()?;
    let (_, _, meaning) = EXITS.iter().find(|(_, known, _)| *known == code)?;
    Some(format!("exit code {code}: {meaning}\n\n{}", exit::help()))
}

fn outcome(id: &str) -> Option<String> {
    let outcome: Outcome = id.to_lowercase().parse().ok()?;
    Some(format!("{outcome}: {}\n", meaning(outcome)))
}

fn meaning(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => {
            "every step was met, every check holds, and the party under test took part."
        }
        Outcome::Inconclusive => {
            "the purpose was not reached, and no party under test was shown to have broken a rule: \
             another party did not do its part, or the tap could not see it."
        }
        Outcome::Fail => {
            "a party under test did not send what it had to, sent it late, or sent something else. \
             The finding names clause, expected, actual and party."
        }
        Outcome::Error => {
            "our own fault: a bad file, no binding, a reference node that broke a rule beside a \
             guest, or a node that panicked. It says nothing about the party under test."
        }
        Outcome::Info => {
            "the text leaves this open and the profile declares nothing: what was seen is told."
        }
        Outcome::Unsupported => {
            "the profile says that the system under test does not do this. Never counted as pass."
        }
        Outcome::Waived => {
            "known to fail, with a reason. Never counted as pass; a waiver whose scenario passes is \
             stale."
        }
        Outcome::NotApplicable => {
            "tests nobody who is under test, or cannot be played over this transport. Never counted \
             as pass."
        }
    }
}

/// A scenario by its id, or by that of an instance.
fn scenario(suite: &Suite, id: &str) -> Option<String> {
    let scenario = suite.scenario(id.split(['@', '#']).next()?)?;
    let mut text = format!("{}\n", scenario.id);
    row(&mut text, "purpose", &scenario.purpose);
    row(&mut text, "section", &scenario.section);
    row(&mut text, "clause", &scenario.clause);
    row(&mut text, "level", scenario.level);
    for id in &scenario.requires {
        let title = suite.ledger.get(id).map(|row| &row.requirement);
        row(&mut text, "proves", title.map_or(id.clone(), in_short));
    }
    for name in &scenario.kills {
        let summary = Deviation::named(name).map_or("", |deviation| deviation.summary);
        row(&mut text, "kills", format!("{name}: {summary}"));
    }
    let needs: Vec<&str> = scenario.needs.iter().map(|need| need.word()).collect();
    row(&mut text, "needs", needs.join(" "));
    row(&mut text, "tags", scenario.tags.join(" "));
    row(
        &mut text,
        "written",
        format!("{}:{}", scenario.file, scenario.line),
    );
    let instances = Instance::of(scenario, 0);
    row(
        &mut text,
        "played as",
        instances
            .iter()
            .map(Instance::path)
            .collect::<Vec<_>>()
            .join("\n"),
    );
    if let Some(instance) = instances.first() {
        for (number, step) in instance.steps(suite).iter().enumerate() {
            let name = format!("step {}", number + 1);
            let given = if step.setup { "given: " } else { "" };
            row(&mut text, &name, format!("{given}{step}"));
        }
    }
    Some(text)
}

/// A row of the ledger by its id, with what proves it.
fn requirement(suite: &Suite, id: &str) -> Option<String> {
    let known = suite.ledger.get(id)?;
    let requirement = &known.requirement;
    let mut text = format!("{}\n", requirement.id);
    row(&mut text, "asks", &requirement.title);
    row(&mut text, "clause", &requirement.clause);
    row(&mut text, "basis", basis(requirement.basis));
    row(&mut text, "strength", requirement.strength);
    row(&mut text, "binds", requirement.role);
    row(&mut text, "tags", known.tags.join(" "));
    let counted = suite.ledger.counted(id);
    if let Some(meant) = known.alias_of.as_ref().and_then(|id| suite.ledger.get(id)) {
        row(&mut text, "alias of", in_short(&meant.requirement));
    }
    let rows = suite.ledger.rows.iter();
    let aliases = rows.filter(|row| row.alias_of.as_deref() == Some(id));
    let aliases: Vec<String> = aliases.map(|row| in_short(&row.requirement)).collect();
    row(&mut text, "also as", aliases.join("\n"));
    let citing: Vec<&str> = suite.citing(id).map(|s| s.id.as_str()).collect();
    row(&mut text, "proved by", citing.join("\n"));
    let reason = suite
        .ledger
        .get(counted)
        .and_then(|row| row.uncovered.as_ref());
    row(&mut text, "uncovered", reason.map_or("", String::as_str));
    let shown = known.shown_by.as_ref().map(ToString::to_string);
    row(&mut text, "shown by", shown.unwrap_or_default());
    let breaking = deviation::all().filter(|deviation| deviation.requirement == id);
    let breaking: Vec<&str> = breaking.map(|deviation| deviation.name).collect();
    row(&mut text, "broken by", breaking.join("\n"));
    Some(text)
}

/// A rule broken on purpose, and who sees it.
fn deviation(suite: &Suite, name: &str) -> Option<String> {
    let deviation = Deviation::named(name)?;
    let mut text = format!("{name}\n");
    row(&mut text, "does", deviation.summary);
    let roles: Vec<&str> = deviation.roles.iter().map(|role| role.word()).collect();
    row(&mut text, "played by", roles.join(" "));
    let broken = suite.ledger.get(deviation.requirement);
    row(
        &mut text,
        "breaks",
        broken.map_or(String::new(), |row| in_short(&row.requirement)),
    );
    let killing = suite.scenarios.iter();
    let killing: Vec<&str> = killing
        .filter(|scenario| scenario.kills.iter().any(|kill| kill == name))
        .map(|scenario| scenario.id.as_str())
        .collect();
    row(&mut text, "killed by", killing.join("\n"));
    let seen_by = killing.first().map_or(String::new(), |id| format!(" {id}"));
    // A recommendation that is broken fails only where that is asked for.
    let is_advice = broken.is_some_and(|row| row.requirement.strength != Strength::Must);
    let strict = if is_advice { " --strict" } else { "" };
    row(
        &mut text,
        "see it",
        format!("peerproof run{seen_by} --deviation {name}{strict}"),
    );
    Some(text)
}

/// A clause, or the beginning of several: what is asked there, and what proves it.
fn clause(suite: &Suite, id: &str) -> Option<String> {
    let is_there = |clause: &dyn Display| {
        let clause = clause.to_string();
        let rest = clause.strip_prefix(id);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    };
    let rows = suite.ledger.rows.iter().map(|row| &row.requirement);
    let rows: Vec<String> = rows
        .filter(|requirement| is_there(&requirement.clause))
        .map(|requirement| format!("{} ({})", in_short(requirement), requirement.clause))
        .collect();
    let proving = proving(suite, |scenario| is_there(&scenario.clause));
    if id.is_empty() || rows.is_empty() && proving.is_empty() {
        return None;
    }
    let mut text = format!("{id}\n");
    row(&mut text, "asks", rows.join("\n"));
    row(&mut text, "scenarios", proving);
    Some(text)
}

fn proving(suite: &Suite, is_meant: impl Fn(&Scenario) -> bool) -> String {
    let scenarios = suite.scenarios.iter();
    let ids: Vec<&str> = scenarios
        .filter(|scenario| is_meant(scenario))
        .map(|scenario| scenario.id.as_str())
        .collect();
    ids.join("\n")
}

fn in_short(requirement: &Requirement) -> String {
    format!("{}  {}", requirement.id, requirement.title)
}

fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Read => "the text of the clause was read",
        Basis::Derived => "follows from the grammar, a table or a figure of a clause that was read",
        Basis::NotVerified => {
            "clause not verified: nobody has read it; check the number before you cite it"
        }
        Basis::SourceText => {
            "the contribution to TR 23.844: a finding is about the profile, not a violation"
        }
        Basis::StudyScope => "the scope of the study item: a finding is about the profile",
        Basis::Ours => "a decision of this harness: a finding is about the profile",
    }
}

/// A name and what it stands for; nothing, if that is empty.
fn row(text: &mut String, name: &str, value: impl Display) {
    let value = value.to_string();
    for (number, line) in value.lines().enumerate() {
        let name = if number == 0 { name } else { "" };
        let _ = writeln!(text, "  {name:<9} {line}");
    }
}
