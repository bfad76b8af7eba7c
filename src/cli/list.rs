//! `list`: what there is to run.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;

use super::{
    Exit, Failure, Format, coverage, print,
    selection::{Selectors, Suites},
};
use crate::{
    node::deviation,
    suite::{Instance, Scenario, Suite},
};

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    selectors: Selectors,

    /// List every configuration that is played, not only scenarios
    #[arg(long)]
    instances: bool,

    /// List the requirements instead: how many are proved by scenarios, for each role and strength; in
    /// JSON every row and who cites it
    #[arg(long, conflicts_with_all = SELECTORS)]
    requirements: bool,

    /// List the deviations instead: rules that reference nodes can be made to break, and which scenarios
    /// see it; with a selection, those that what is selected sees
    #[arg(long, conflicts_with = "requirements")]
    deviations: bool,

    /// List the contents of every configuration instead: the swarm id each goes under, and who holds which pieces at
    /// the start, by their numbers. The same scenario with the same seed has the same ids
    #[arg(long, conflicts_with_all = ["instances", "requirements", "deviations"])]
    contents: bool,

    /// The seed of instances
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// For whom to write
    #[arg(long, value_enum, default_value = "human")]
    format: Format,

    #[command(flatten)]
    suites: Suites,
}

/// One line of the list.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    id: String,
    architectures: Vec<String>,
    clause: String,
    level: String,
    requires: Vec<String>,
    /// The options it is played over.
    over: Vec<String>,
    tags: Vec<String>,
    purpose: String,
}

/// One line of the list of deviations.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DeviationRow {
    name: &'static str,
    roles: Vec<&'static str>,
    requirement: &'static str,
    summary: &'static str,
    killed_by: Vec<String>,
}

/// One line of the list of contents.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ContentRow {
    id: String,
    content: String,
    swarm: String,
    /// Pieces by node, counted from 1.
    holders: BTreeMap<String, Vec<u32>>,
}

impl ContentRow {
    fn line(&self) -> String {
        let holders: Vec<String> = self
            .holders
            .iter()
            .map(|(node, pieces)| {
                let pieces: Vec<String> = pieces.iter().map(u32::to_string).collect();
                format!("{node}:{}", pieces.join(","))
            })
            .collect();
        let line = format!("{}  {}  {}", self.id, self.swarm, holders.join(" "));
        line.trim_end().to_owned() + "\n"
    }
}

impl DeviationRow {
    fn line(&self) -> String {
        format!(
            "{:<44}  {:<10}  {:<32}  killed by {}\n",
            self.name,
            self.requirement,
            self.roles.join(" "),
            self.killed_by.len()
        )
    }
}

fn deviations(suite: &Suite) -> Vec<DeviationRow> {
    let killed_by = |name: &str| {
        let scenarios = suite.scenarios.iter();
        let killing = scenarios.filter(|s| s.kills.iter().any(|kill| kill == name));
        killing.map(|scenario| scenario.id.clone()).collect()
    };
    deviation::all()
        .map(|deviation| DeviationRow {
            name: deviation.name,
            roles: deviation.roles.iter().map(|role| role.word()).collect(),
            requirement: deviation.requirement,
            summary: deviation.summary,
            killed_by: killed_by(deviation.name),
        })
        .collect()
}

impl List {
    pub fn run(self) -> Result<Exit, Failure> {
        let suite = self.suites.load()?;
        if self.requirements {
            print(&match self.format {
                Format::Human => coverage::human(&suite),
                Format::Json => coverage::json(&suite),
            })?;
            return Ok(Exit::Good);
        }
        if self.deviations {
            let mut rows = deviations(&suite);
            if !self.selectors.words().is_empty() {
                let instances = self.selectors.instances(&suite, self.seed)?;
                let selected: BTreeSet<&str> =
                    scenarios(&instances).map(|s| s.id.as_str()).collect();
                rows.retain(|row| {
                    row.killed_by
                        .iter()
                        .any(|id| selected.contains(id.as_str()))
                });
            }
            print(&match self.format {
                Format::Human => rows.iter().map(DeviationRow::line).collect(),
                Format::Json => json(&rows),
            })?;
            return Ok(Exit::Good);
        }
        let instances = self.selectors.instances(&suite, self.seed)?;
        if self.contents {
            let rows: Vec<ContentRow> = instances
                .iter()
                .flat_map(|instance| contents(&suite, instance))
                .collect();
            print(&match self.format {
                Format::Human => rows.iter().map(ContentRow::line).collect(),
                Format::Json => json(&rows),
            })?;
            return Ok(Exit::Good);
        }
        let rows: Vec<Row> = if self.instances {
            instances
                .iter()
                .map(|instance| row(instance.id(), &instance.scenario))
                .collect()
        } else {
            scenarios(&instances)
                .map(|scenario| row(scenario.id.clone(), scenario))
                .collect()
        };
        print(&match self.format {
            Format::Human => human(&rows),
            Format::Json => json(&rows),
        })?;
        Ok(Exit::Good)
    }
}

/// The contents of an instance.
fn contents(suite: &Suite, instance: &Instance) -> Vec<ContentRow> {
    let nodes = instance.topology(suite).map_or(&[][..], |t| &t.nodes);
    let all = suite.contents.all.iter();
    all.map(|content| ContentRow {
        id: instance.id(),
        content: content.name.clone(),
        swarm: instance.swarm(&content.name),
        holders: nodes
            .iter()
            .filter_map(|node| {
                let holds = instance.holds(node).into_iter();
                let (_, pieces) = holds.into_iter().find(|(name, _)| *name == content.name)?;
                Some((node.name.to_string(), pieces))
            })
            .collect(),
    })
    .collect()
}

/// The scenarios of instances, each once.
fn scenarios(instances: &[Instance]) -> impl Iterator<Item = &Scenario> {
    instances
        .chunk_by(|a, b| a.scenario.id == b.scenario.id)
        .map(|same| &*same[0].scenario)
}

fn row(id: String, scenario: &Scenario) -> Row {
    Row {
        id,
        architectures: scenario
            .architectures
            .iter()
            .map(|a| a.to_string())
            .collect(),
        clause: scenario.clause.to_string(),
        level: scenario.level.to_string(),
        requires: scenario.requires.clone(),
        over: scenario.over.iter().map(|c| c.word().to_owned()).collect(),
        tags: scenario.tags.clone(),
        purpose: scenario.purpose.clone(),
    }
}

fn human(rows: &[Row]) -> String {
    let width = rows
        .iter()
        .map(|row| row.id.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let over = match row.over.is_empty() {
            true => String::new(),
            false => format!("over {}  ", row.over.join(" ")),
        };
        let line = format!(
            "{:<width$}  {:<6}  {}  {over}{}",
            row.id,
            row.level,
            row.clause,
            row.tags.join(" ")
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn json<T: Serialize>(rows: &[T]) -> String {
    let mut text = serde_json::to_string_pretty(rows).expect("rows hold only words");
    text.push('\n');
    text
}

/// What chooses among scenarios says nothing about requirements.
const SELECTORS: [&str; 8] = [
    "globs",
    "requirement",
    "clause",
    "level",
    "role",
    "tag",
    "option",
    "instances",
];
