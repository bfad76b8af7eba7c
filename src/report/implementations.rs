//! Implementations beside each other: a row a scenario, a column an implementation, each cell with what its
//! configurations came to. What did not run, what was not asked for and what showed nothing stay apart from what
//! failed. As text, JSON and a page.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::{
    Counts, Outcome, Report,
    html::{STYLE, badge, escape},
    terminal::number,
};

/// The whole table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Grid {
    pub implementations: Vec<Column>,
    /// In the order of the suites.
    pub scenarios: Vec<Row>,
}

/// An implementation, and what it came to in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Column {
    pub name: String,
    /// What was under test; empty where every node is ours.
    pub roles: Vec<String>,
    pub transport: String,
    /// The name of its run folder.
    pub run: String,
    pub counts: Counts,
}

/// A scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    pub scenario: String,
    /// One for each implementation; `None`: its run does not have the scenario.
    pub cells: Vec<Option<Cell>>,
}

/// What the configurations of a scenario came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cell {
    /// The worst of them.
    pub outcome: Outcome,
    /// How many came to each outcome, the worst first.
    pub outcomes: Vec<(Outcome, usize)>,
    /// What stands between the worst and a pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Grid {
    /// Of each implementation, its name and its run.
    pub fn new(runs: &[(String, Report)]) -> Grid {
        let mut places: Vec<&str> = Vec::new();
        for (_, report) in runs {
            for instance in &report.instances {
                if !places.contains(&instance.scenario.as_str()) {
                    places.push(&instance.scenario);
                }
            }
        }
        let cells: Vec<BTreeMap<&str, Cell>> =
            runs.iter().map(|(_, report)| cells(report)).collect();
        Grid {
            implementations: runs
                .iter()
                .map(|(name, report)| column(name, report))
                .collect(),
            scenarios: places
                .into_iter()
                .map(|scenario| Row {
                    scenario: scenario.to_owned(),
                    cells: cells.iter().map(|of| of.get(scenario).cloned()).collect(),
                })
                .collect(),
        }
    }

    /// What each came to, and every scenario that does not pass wherever it applies.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let names = self
            .implementations
            .iter()
            .map(|column| column.name.chars().count());
        let width = names.max().unwrap_or_default();
        for column in &self.implementations {
            let _ = writeln!(text, "{:<width$}  {}", column.name, summed(&column.counts));
        }
        let rows = self.scenarios.iter().filter(|row| !row.is_plain());
        let rows: Vec<&Row> = rows.collect();
        let plain = self.scenarios.len() - rows.len();
        for row in rows {
            let _ = writeln!(text, "\n{}", row.scenario);
            for (column, cell) in self.implementations.iter().zip(&row.cells) {
                let words = cell.as_ref().map_or("not there".to_owned(), Cell::words);
                let _ = writeln!(text, "  {:<width$}  {words}", column.name);
                if let Some(why) = cell.as_ref().and_then(|cell| cell.why.as_ref()) {
                    let _ = writeln!(text, "  {:<width$}    {why}", "");
                }
            }
        }
        let _ = writeln!(
            text,
            "\n{} that pass wherever they apply",
            number(plain, "scenario")
        );
        text
    }

    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("a grid holds only words");
        format!("{text}\n")
    }

    /// A page that needs nothing else.
    pub fn page(&self) -> String {
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\"><title>Implementations – peerproof</title>\n\
             <style>{STYLE}</style></head>\n<body>\n<header><h1>{}, {}</h1></header>\n\
             <main id=\"main\">\n<section><h2>What each came to</h2>\n<div class=\"wide\" tabindex=\"0\"><table><thead><tr>\
             <th scope=\"col\">implementation</th><th scope=\"col\">under test</th><th scope=\"col\">over</th>\
             <th scope=\"col\">outcomes</th></tr></thead><tbody>\n",
            number(self.implementations.len(), "implementation"),
            number(self.scenarios.len(), "scenario")
        );
        for column in &self.implementations {
            let tested = match column.roles.is_empty() {
                true => "every node".to_owned(),
                false => column.roles.join(", "),
            };
            let _ = writeln!(
                page,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&column.name),
                escape(&tested),
                escape(&column.transport),
                summed(&column.counts)
            );
        }
        page.push_str(
            "</tbody></table></div></section>\n<section><h2>Scenario by scenario</h2>\n<div class=\"wide\" tabindex=\"0\">\
             <table class=\"grid lineup\"><thead><tr><th scope=\"col\">scenario</th>",
        );
        for column in &self.implementations {
            let _ = write!(page, "<th scope=\"col\">{}</th>", escape(&column.name));
        }
        page.push_str("</tr></thead><tbody>\n");
        for row in &self.scenarios {
            let _ = write!(page, "<tr><th scope=\"row\">{}</th>", escape(&row.scenario));
            row.cells
                .iter()
                .for_each(|cell| page.push_str(&drawn(cell.as_ref())));
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody></table></div></section>\n</main>\n</body></html>\n");
        page
    }
}

impl Row {
    /// Whether it passes wherever it applies.
    fn is_plain(&self) -> bool {
        let mut cells = self.cells.iter();
        cells.all(|cell| {
            let outcome = cell.as_ref().map(|cell| cell.outcome);
            matches!(outcome, Some(Outcome::Pass | Outcome::NotApplicable))
        })
    }
}

impl Cell {
    /// `pass`, or `3 pass · 1 fail`.
    fn words(&self) -> String {
        match self.outcomes[..] {
            [(outcome, _)] => outcome.to_string(),
            _ => {
                let words = self.outcomes.iter();
                let words: Vec<String> = words
                    .map(|(outcome, count)| format!("{count} {outcome}"))
                    .collect();
                words.join(" · ")
            }
        }
    }
}

fn drawn(cell: Option<&Cell>) -> String {
    let Some(cell) = cell else {
        return "<td class=\"untested\">not there</td>".to_owned();
    };
    let mut text = format!("<td>{}", badge(cell.outcome));
    if cell.outcomes.len() > 1 {
        let _ = write!(text, "<br>{}", cell.words());
    }
    if let Some(why) = &cell.why {
        let _ = write!(
            text,
            "<details><summary>why</summary><p>{}</p></details>",
            escape(why)
        );
    }
    text + "</td>"
}

/// The worst of an implementation's instances of each scenario.
fn cells(report: &Report) -> BTreeMap<&str, Cell> {
    let mut cells: BTreeMap<&str, Cell> = BTreeMap::new();
    for instance in &report.instances {
        let why = instance.why();
        let cell = cells.entry(&instance.scenario).or_insert_with(|| Cell {
            outcome: instance.outcome,
            outcomes: Vec::new(),
            why: why.clone(),
        });
        if instance.outcome.gravity() > cell.outcome.gravity() {
            cell.outcome = instance.outcome;
            cell.why = why;
        }
        match cell
            .outcomes
            .iter_mut()
            .find(|(outcome, _)| *outcome == instance.outcome)
        {
            Some((_, count)) => *count += 1,
            None => cell.outcomes.push((instance.outcome, 1)),
        }
    }
    for cell in cells.values_mut() {
        let worst_first = |(outcome, _): &(Outcome, usize)| std::cmp::Reverse(outcome.gravity());
        cell.outcomes.sort_by_key(worst_first);
    }
    cells
}

fn column(name: &str, report: &Report) -> Column {
    let sut = report.run.sut.as_ref();
    let roles = sut.map_or(&[][..], |sut| &sut.roles);
    Column {
        name: name.to_owned(),
        roles: roles.iter().map(|role| role.to_string()).collect(),
        transport: report.run.transport.clone(),
        run: report.run.id.clone(),
        counts: report.counts.clone(),
    }
}

/// `12 pass · 1 fail`.
fn summed(counts: &Counts) -> String {
    let all = Outcome::ALL
        .iter()
        .map(|&outcome| (outcome, counts.get(outcome)));
    let words: Vec<String> = all
        .filter(|(_, count)| *count > 0)
        .map(|(outcome, count)| format!("{count} {outcome}"))
        .collect();
    words.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn what_is_not_there_and_what_differs_is_told_apart() {
        let whole = sample();
        let mut part = sample();
        part.instances.truncate(1);
        part.count();
        let grid = Grid::new(&[("whole".to_owned(), whole), ("part".to_owned(), part)]);
        let text = grid.text();
        assert!(text.contains("not there"), "{text}");
        assert!(grid.page().contains("not there"));
        for row in &grid.scenarios {
            assert_eq!(2, row.cells.len());
        }
    }
}
