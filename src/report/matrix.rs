//! The kill matrix: which scenario sees which rule broken. As text, JSON and a page.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize, de::Error as _};

use super::terminal::number;
use crate::{node::deviation::Deviation, prove::Seen};

/// One scenario against one deviation, in one of its configurations.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cell {
    pub scenario: String,
    pub deviation: &'static str,
    /// The scenario says that it kills the deviation.
    pub claimed: bool,
    pub seen: Seen,
}

/// A cell as it is read: its deviation may be one of another version.
#[derive(Deserialize)]
struct Written {
    scenario: String,
    deviation: String,
    claimed: bool,
    seen: Seen,
}

impl Written {
    fn known(self) -> Result<Cell, serde_json::Error> {
        let Some(deviation) = Deviation::named(&self.deviation) else {
            return Err(serde_json::Error::custom(format!(
                "found the deviation \"{}\", expected one of this version: see peerproof list --deviations",
                self.deviation
            )));
        };
        Ok(Cell {
            scenario: self.scenario,
            deviation: deviation.name,
            claimed: self.claimed,
            seen: self.seen,
        })
    }
}

/// All cells, the configurations of a scenario folded into one: what was seen best.
#[derive(Clone, Debug)]
pub struct Matrix {
    cells: BTreeMap<(&'static str, String), Cell>,
}

impl Matrix {
    pub fn new(cells: impl IntoIterator<Item = Cell>) -> Matrix {
        let mut folded: BTreeMap<(&'static str, String), Cell> = BTreeMap::new();
        for cell in cells {
            let key = (cell.deviation, cell.scenario.clone());
            match folded.get(&key) {
                Some(known) if rank(&known.seen) <= rank(&cell.seen) => {}
                _ => {
                    folded.insert(key, cell);
                }
            }
        }
        Matrix { cells: folded }
    }

    /// The deviations that no scenario kills.
    pub fn unkilled(&self) -> Vec<&'static str> {
        let mut killed: BTreeMap<&'static str, bool> = BTreeMap::new();
        for cell in self.cells.values() {
            *killed.entry(cell.deviation).or_default() |= cell.seen == Seen::Killed;
        }
        killed
            .into_iter()
            .filter(|(_, killed)| !killed)
            .map(|(name, _)| name)
            .collect()
    }

    pub fn store(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("matrix.txt"), self.text())?;
        fs::write(folder.join(JSON), self.json())?;
        fs::write(folder.join("matrix.html"), self.page())
    }

    /// Reads what [`Matrix::json`] wrote.
    pub fn read(text: &str) -> Result<Matrix, serde_json::Error> {
        let cells: Vec<Written> = serde_json::from_str(text)?;
        let cells: Result<Vec<Cell>, _> = cells.into_iter().map(Written::known).collect();
        cells.map(Matrix::new)
    }

    /// The cells of each deviation, by their scenarios.
    pub fn by_deviation(&self) -> BTreeMap<&'static str, Vec<&Cell>> {
        let mut rows: BTreeMap<_, Vec<&Cell>> = BTreeMap::new();
        for cell in self.cells.values() {
            rows.entry(cell.deviation).or_default().push(cell);
        }
        rows
    }

    pub fn json(&self) -> String {
        let cells: Vec<&Cell> = self.cells.values().collect();
        let text = serde_json::to_string_pretty(&cells).expect("cells hold only words");
        format!("{text}\n")
    }

    /// Totals, and who survives.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for name in self.unkilled() {
            text.push_str(&format!("no scenario kills {name}\n"));
        }
        let count = |word: &str| {
            let cells = self.cells.values();
            cells.filter(|cell| cell.seen.word() == word).count()
        };
        text.push_str(&format!(
            "{} of {} and {}: {} killed, {} failed for another row first, {} blamed \
             another party first, {} inconclusive, {} passed\n",
            number(self.cells.len(), "pair"),
            number(self.deviations().len(), "deviation"),
            number(self.scenarios().len(), "scenario"),
            count("killed"),
            count("other-row"),
            count("other-party"),
            count("inconclusive"),
            count("survived"),
        ));
        text
    }

    /// For each deviation, who kills it and who sees it otherwise.
    pub fn text(&self) -> String {
        let mut text = self.summary();
        for deviation in self.deviations() {
            text.push_str(&format!("\n{deviation}\n"));
            let cells = self.cells.values();
            for cell in
                cells.filter(|cell| cell.deviation == deviation && cell.seen != Seen::Survived)
            {
                let claimed = if cell.claimed { " (claimed)" } else { "" };
                text.push_str(&format!("  {}: {}{claimed}\n", cell.scenario, cell.seen));
            }
        }
        text
    }

    fn deviations(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.cells.keys().map(|(name, _)| *name).collect();
        names.dedup();
        names
    }

    fn scenarios(&self) -> Vec<&str> {
        let mut ids: Vec<_> = self.cells.keys().map(|(_, id)| id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// A table: a row a deviation, a column a scenario; every cell says in words what it is.
    pub fn page(&self) -> String {
        let scenarios = self.scenarios();
        let mut head = String::new();
        for (number, id) in scenarios.iter().enumerate() {
            head.push_str(&format!(
                "<th scope=\"col\" title=\"{id}\">{}</th>",
                number + 1
            ));
        }
        let mut rows = String::new();
        for deviation in self.deviations() {
            rows.push_str(&format!("<tr><th scope=\"row\">{deviation}</th>"));
            for id in &scenarios {
                rows.push_str(&match self.cells.get(&(deviation, (*id).to_owned())) {
                    Some(cell) => drawn(cell),
                    None => "<td>".to_owned(),
                });
            }
            rows.push_str("</tr>\n");
        }
        let legend: String = scenarios
            .iter()
            .map(|id| format!("<li>{id}</li>\n"))
            .collect();
        PAGE.replace("{summary}", &self.summary().replace('\n', "<br>"))
            .replace("{head}", &head)
            .replace("{rows}", &rows)
            .replace("{legend}", &legend)
    }
}

/// Short, as there are very many; end tags may be left out in HTML.
fn drawn(cell: &Cell) -> String {
    match (&cell.seen, cell.claimed) {
        (Seen::Killed, true) => "<td class=k>◆".to_owned(),
        (Seen::Killed, false) => "<td class=k>◇".to_owned(),
        (seen @ Seen::OtherRow { .. }, _) => format!("<td class=r title=\"{seen}\">r"),
        (seen @ Seen::OtherParty { .. }, _) => format!("<td class=p title=\"{seen}\">p"),
        (Seen::Inconclusive, _) => "<td class=r>?".to_owned(),
        (Seen::Survived | Seen::NotCast, _) => "<td>·".to_owned(),
    }
}

/// What tells more stands first.
fn rank(seen: &Seen) -> usize {
    match seen {
        Seen::Killed => 0,
        Seen::OtherRow { .. } => 1,
        Seen::OtherParty { .. } => 2,
        Seen::Inconclusive => 3,
        Seen::Survived => 4,
        Seen::NotCast => 5,
    }
}

/// The file of all cells.
pub const JSON: &str = "matrix.json";

const PAGE: &str = include_str!("matrix.html");
