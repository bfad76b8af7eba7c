//! The ledger: every requirement a scenario may cite, with its clause, how well we know it, how strong it
//! is, whom it binds and where it shows.

use super::document::{Table, Value};
use crate::spec::{Clause, RefPoint, Requirement};

/// All requirements, in file order.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub rows: Vec<Row>,
}

/// One requirement and where it is observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub requirement: Requirement,
    /// The reference points at which keeping or breaking it shows.
    pub observed: Vec<RefPoint>,
}

impl Ledger {
    pub fn get(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.requirement.id == id)
    }

    pub fn ids(&self) -> Vec<&str> {
        self.rows
            .iter()
            .map(|r| r.requirement.id.as_str())
            .collect()
    }

    pub(crate) fn read(root: Table<'_>) -> Ledger {
        let list = root.need("requirement").and_then(|list| list.array());
        root.refuse_unknown();
        let mut ledger = Ledger::default();
        for value in list.unwrap_or_default() {
            let Some(row) = Row::read(&value) else {
                continue;
            };
            let id = &row.requirement.id;
            if ledger.get(id).is_some() {
                value.note(format!("requirement \"{id}\" stands here a second time"));
            } else {
                ledger.rows.push(row);
            }
        }
        ledger
    }
}

impl Row {
    fn read(value: &Value<'_>) -> Option<Row> {
        let table = value.table()?;
        let id = table.need("id").and_then(|v| v.str());
        let title = table.need("title").and_then(|v| v.str());
        let clause = table.need("clause").and_then(|v| v.parsed::<Clause>());
        let basis = table.need("basis").and_then(|v| v.word());
        let strength = table.need("strength").and_then(|v| v.word());
        let role = table.need("role").and_then(|v| v.word());
        let observed: Option<Vec<RefPoint>> = table
            .need("observed")
            .and_then(|v| v.array())
            .map(|points| points.iter().filter_map(|point| point.word()).collect());
        table.refuse_unknown();
        Some(Row {
            requirement: Requirement {
                id: id?.to_owned(),
                title: title?.to_owned(),
                clause: clause?,
                basis: basis?,
                strength: strength?,
                role: role?,
            },
            observed: observed?,
        })
    }
}
