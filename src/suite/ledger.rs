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
    /// The row it says again, with which it counts once.
    pub alias_of: Option<String>,
    /// Why no scenario cites it.
    pub uncovered: Option<String>,
    /// The test of the harness itself that shows it, where no scenario can: `selftest/proof.rs: its_name`.
    pub shown_by: Option<ShownBy>,
    /// `bulk`: its negative test takes ten thousand repetitions.
    pub tags: Vec<String>,
}

/// A test of peerproof itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownBy {
    /// Below `suites/`.
    pub file: String,
    pub test: String,
}

impl std::fmt::Display for ShownBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.test)
    }
}

impl Ledger {
    pub fn get(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.requirement.id == id)
    }

    /// The id under which a row counts: that of the row it says again, or its own.
    pub fn counted<'a>(&'a self, id: &'a str) -> &'a str {
        match self.get(id).and_then(|row| row.alias_of.as_deref()) {
            Some(other) => other,
            None => id,
        }
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
        let list = list.unwrap_or_default();
        let mut ledger = Ledger::default();
        for value in &list {
            let Some(row) = Row::read(value) else {
                continue;
            };
            let id = &row.requirement.id;
            if ledger.get(id).is_some() {
                value.note(format!("requirement \"{id}\" stands here a second time"));
            } else {
                ledger.rows.push(row);
            }
        }
        list.iter().for_each(|value| ledger.check_alias(value));
        ledger
    }

    /// An alias names a row that stands for itself and asks the same, so that both can count once.
    fn check_alias(&self, value: &Value<'_>) {
        let alias = || {
            let table = value.is_table().then(|| value.table())??;
            let row = self.get(table.get("id")?.as_str()?)?;
            Some((row, row.alias_of.as_deref()?, table.get("alias-of")?))
        };
        let Some((row, other, place)) = alias() else {
            return;
        };
        let Some(meant) = self.get(other) else {
            let known = self.ids();
            let kind = "requirement in alias-of";
            return place.notes.unknown(kind, other, place.span(), &known);
        };
        let (one, two) = (&row.requirement, &meant.requirement);
        if let Some(third) = &meant.alias_of {
            place.note(format!(
                "\"{other}\" is an alias itself, expected the row it stands for, \"{third}\""
            ));
        } else if (one.strength, one.role) != (two.strength, two.role) {
            place.note(format!(
                "an alias that is {} for {}, expected what \"{other}\" is: {} for {}",
                one.strength, one.role, two.strength, two.role
            ));
        } else if row.uncovered.is_some() {
            place.note(format!(
                "an alias with a reason for being uncovered, expected it at \"{other}\""
            ));
        }
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
        let alias_of = table.get("alias-of").and_then(|v| v.str());
        let uncovered = table.get("uncovered").and_then(|v| said(&v));
        let shown_by = table.get("shown-by").and_then(|v| test_named(&v));
        let tags = table.get("tags").map(|v| v.strings()).unwrap_or_default();
        for (tag, span) in &tags {
            if !TAGS.contains(tag) {
                table.notes.unknown("tag", tag, span.clone(), TAGS);
            }
        }
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
            alias_of: alias_of.map(str::to_owned),
            uncovered: uncovered.map(str::to_owned),
            shown_by,
            tags: tags.into_iter().map(|(tag, _)| tag.to_owned()).collect(),
        })
    }
}

fn test_named(value: &Value<'_>) -> Option<ShownBy> {
    let parts = value.str()?.split_once(": ");
    let is_one = |name: &str| {
        name.bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
    };
    match parts.filter(|(_, test)| !test.is_empty() && is_one(test)) {
        Some((file, test)) => Some(ShownBy {
            file: file.to_owned(),
            test: test.to_owned(),
        }),
        None => value.wrong("a file and a test in it, such as \"selftest/proof.rs: its_name\""),
    }
}

/// One line that says something.
fn said<'a>(value: &Value<'a>) -> Option<&'a str> {
    let text = value.str()?;
    match text.trim().is_empty() || text.contains('\n') {
        true => value.wrong("one line that says why"),
        false => Some(text),
    }
}

/// What a row may be tagged with.
pub(super) const TAGS: &[&str] = &["bulk"];
