//! Which requirements scenarios prove: by role and strength, and row by row.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    spec::{Role, Strength},
    suite::{Row, Suite},
};

/// One row of the ledger and who cites it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line<'a> {
    id: &'a str,
    title: &'a str,
    clause: String,
    basis: String,
    strength: String,
    role: String,
    observed: Vec<String>,
    /// The row it says again, with which it counts once.
    alias_of: Option<&'a str>,
    /// Why no scenario cites it.
    uncovered: Option<&'a str>,
    /// The test of peerproof itself that shows it.
    shown_by: Option<String>,
    tags: &'a [String],
    /// The scenarios that cite it or a row that says the same.
    scenarios: Vec<&'a str>,
}

/// How many rows of one role and strength there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    /// Rows that stand for themselves.
    rows: usize,
    /// Rows that say another again.
    aliases: usize,
    /// Rows that a scenario cites, itself or under an alias.
    covered: usize,
    /// Rows that no scenario can show, and a test of peerproof itself does.
    shown: usize,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.rows += other.rows;
        self.aliases += other.aliases;
        self.covered += other.covered;
        self.shown += other.shown;
    }
}

/// A table: a line for each role and strength, and their sum.
pub fn human(suite: &Suite) -> String {
    let mut text = line([
        "role",
        "strength",
        "rows",
        "aliases",
        "covered",
        "by a test",
        "uncovered",
    ]);
    let mut sum = Count::default();
    for ((role, strength), count) in counts(suite) {
        sum.add(count);
        text += &figures(role.word(), strength.word(), count);
    }
    text + &figures("all", "", sum)
}

/// Every row, in file order.
pub fn json(suite: &Suite) -> String {
    let rows = suite.ledger.rows.iter();
    let lines: Vec<Line<'_>> = rows.map(|row| Line::of(suite, row)).collect();
    let mut text = serde_json::to_string_pretty(&lines).expect("rows hold only words");
    text.push('\n');
    text
}

fn counts(suite: &Suite) -> BTreeMap<(Role, Strength), Count> {
    let mut counts = BTreeMap::<_, Count>::new();
    for row in &suite.ledger.rows {
        let requirement = &row.requirement;
        let is_alias = row.alias_of.is_some();
        let is_cited = suite.citing(&requirement.id).next().is_some();
        let count = counts.entry((requirement.role, requirement.strength));
        count.or_default().add(Count {
            rows: usize::from(!is_alias),
            aliases: usize::from(is_alias),
            covered: usize::from(!is_alias && is_cited),
            shown: usize::from(!is_alias && row.shown_by.is_some()),
        });
    }
    counts
}

fn figures(role: &str, strength: &str, count: Count) -> String {
    let numbers = [
        count.rows,
        count.aliases,
        count.covered,
        count.shown,
        count.rows - count.covered - count.shown,
    ];
    let [rows, aliases, covered, shown, uncovered] = numbers.map(|number| number.to_string());
    line([
        role, strength, &rows, &aliases, &covered, &shown, &uncovered,
    ])
}

fn line([role, strength, rows, aliases, covered, shown, uncovered]: [&str; 7]) -> String {
    format!(
        "{role:<13}  {strength:<8}  {rows:>4}  {aliases:>7}  {covered:>7}  {shown:>9}  {uncovered:>9}\n"
    )
}

impl<'a> Line<'a> {
    fn of(suite: &'a Suite, row: &'a Row) -> Line<'a> {
        let requirement = &row.requirement;
        let citing = suite.citing(&requirement.id);
        Line {
            id: &requirement.id,
            title: &requirement.title,
            clause: requirement.clause.to_string(),
            basis: requirement.basis.to_string(),
            strength: requirement.strength.to_string(),
            role: requirement.role.to_string(),
            observed: row.observed.iter().map(|point| point.to_string()).collect(),
            alias_of: row.alias_of.as_deref(),
            uncovered: row.uncovered.as_deref(),
            shown_by: row.shown_by.as_ref().map(ToString::to_string),
            tags: &row.tags,
            scenarios: citing.map(|scenario| scenario.id.as_str()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Files, Names};

    #[test]
    fn every_row_counts_once_and_an_alias_with_the_row_it_says_again() {
        let mut files = Files::embedded();
        let row = |id: &str, extra: &str| {
            format!(
                "[[requirement]]\nid = \"{id}\"\ntitle = \"x\"\nclause = \"peerproof\"\n\
                 basis = \"ours\"\nstrength = \"must\"\nrole = \"ue\"\nobserved = [\"Gm\"]\n{extra}\n"
            )
        };
        let rows = [
            row("UE-001", ""),
            row("UE-002", "alias-of = \"UE-001\""),
            row("UE-003", "uncovered = \"no time\""),
            row("UE-004", "shown-by = \"selftest/proof.rs: it_is_so\""),
        ];
        let scenario = "section = \"x\"\nclause = \"peerproof\"\n[[scenario]]\nname = \"x\"\n\
                        purpose = \"x\"\nrequires = [\"UE-002\"]\n[[scenario.step]]\n\
                        expect = { from = \"ue-a\" }\n";
        files.suites = vec![
            ("registered/x.toml".into(), scenario.into()),
            ("requirements.toml".into(), rows.concat()),
        ];
        let suite = Suite::read(&files, Names::default()).unwrap();

        let expected = Count {
            rows: 3,
            aliases: 1,
            covered: 1,
            shown: 1,
        };
        assert_eq!(
            BTreeMap::from([((Role::Ue, Strength::Must), expected)]),
            counts(&suite)
        );
        assert!(human(&suite).ends_with("1        1          1          1\n"));
        let lines: serde_json::Value = serde_json::from_str(&json(&suite)).unwrap();
        assert_eq!("registered/x/x", lines[0]["scenarios"][0]);
        assert_eq!("no time", lines[2]["uncovered"]);
    }
}
