//! Reading TOML with every mistake noted in its place. A [`Table`] is taken apart key by key; what is
//! left at the end is an unknown key.

use std::{
    cell::RefCell, collections::BTreeSet, fmt::Display, ops::Range, str::FromStr, time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::diagnostic::{Diagnostics, Source, did_you_mean, least_far};
use crate::spec::UnknownWord;

/// Where the mistakes of one file go.
pub(crate) struct Notes {
    pub source: Source,
    found: RefCell<Diagnostics>,
}

impl Notes {
    pub fn new(source: Source) -> Notes {
        Notes {
            source,
            found: RefCell::default(),
        }
    }

    pub fn note(&self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        self.found
            .borrow_mut()
            .push(&self.source, span, message, hint);
    }

    /// Notes a name that is not among `known`.
    pub fn unknown(&self, kind: &str, found: &str, span: Range<usize>, known: &[&str]) {
        let expected = match known.len() {
            0 => "expected none".to_owned(),
            _ if kind == KEY || known.len() <= 12 => {
                format!("expected one of {}", known.join(", "))
            }
            n => format!(
                "not among the {n} known, the nearest of which are {}",
                least_far(found, known.iter().map(|name| (*name, *name))).join(", ")
            ),
        };
        self.note(
            span,
            format!("unknown {kind} \"{found}\", {expected}"),
            did_you_mean(found, known.iter().copied()),
        );
    }

    pub fn finish(self) -> Diagnostics {
        self.found.into_inner()
    }
}

/// Of an unknown key all that are known are told, however many there are.
const KEY: &str = "key";

/// Parses a whole file. Of syntax errors the first is noted: what a parser finds behind it follows from it.
pub(crate) fn parse(notes: &Notes, text: &str, read: impl FnOnce(Table<'_>)) {
    let (root, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().replace('\n', ", ");
        let is_open = ["inline table", "array", "comma"];
        let hint = match is_open.iter().any(|word| message.contains(word)) {
            true => "perhaps a bracket before it was left open; the file was not read beyond this",
            false => "the file was not read beyond this",
        };
        notes.note(span, message, hint);
    }
    if errors.is_empty() {
        let span = root.span();
        read(Table::new(notes, root.get_ref(), span));
    }
}

/// Reads a file that stands alone; all its mistakes come together.
pub(crate) fn read_file<T: Default>(
    path: &str,
    text: &str,
    read: impl FnOnce(Table<'_>) -> T,
) -> Result<T, Diagnostics> {
    let notes = Notes::new(Source::new(path, text));
    let mut value = T::default();
    parse(&notes, text, |root| value = read(root));
    let found = notes.finish();
    match found.is_empty() {
        true => Ok(value),
        false => Err(found),
    }
}

/// A table, and which of its keys were asked for.
pub(crate) struct Table<'a> {
    pub notes: &'a Notes,
    pub span: Range<usize>,
    entries: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    fn new(notes: &'a Notes, entries: &'a DeTable<'a>, span: Range<usize>) -> Table<'a> {
        Table {
            notes,
            span,
            entries,
            known: RefCell::default(),
        }
    }

    /// The value under `key`, if there is one. Asking makes the key known.
    pub fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().push(key);
        self.entries.get(key).map(|value| Value {
            notes: self.notes,
            inner: value,
        })
    }

    /// The value under `key`; its absence is a mistake.
    pub fn need(&self, key: &'static str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.notes.note(
                self.span.clone(),
                format!("\"{key}\" is missing"),
                format!("add {key} = …"),
            );
        }
        value
    }

    /// Every key with its place and value, in file order; none of them is then unknown.
    pub fn entries(&self) -> Vec<(&'a str, Range<usize>, Value<'a>)> {
        let mut all: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| {
                let value = Value {
                    notes: self.notes,
                    inner: value,
                };
                (key.get_ref().as_ref(), key.span(), value)
            })
            .collect();
        all.sort_by_key(|(_, span, _)| span.start);
        all
    }

    /// Notes every key nobody asked for.
    pub fn refuse_unknown(self) {
        let mut known = self.known.take();
        let mut seen = BTreeSet::new();
        known.retain(|key| seen.insert(*key));
        for (key, span, _) in self.entries() {
            if !known.contains(&key) {
                self.notes.unknown(KEY, key, span, &known);
            }
        }
    }
}

/// A value in its place.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    pub notes: &'a Notes,
    inner: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub fn span(&self) -> Range<usize> {
        self.inner.span()
    }

    pub fn note(&self, message: impl Into<String>) {
        self.notes.note(self.span(), message, "");
    }

    pub fn is_table(&self) -> bool {
        self.inner.get_ref().is_table()
    }

    pub fn as_str(&self) -> Option<&'a str> {
        self.inner.get_ref().as_str()
    }

    pub fn as_integer(&self) -> Option<i64> {
        let integer = self.inner.get_ref().as_integer()?;
        i64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
    }

    /// A number from 0 to 1.
    pub fn share(&self) -> Option<f64> {
        self.number_up_to(1.0, "a share from 0 to 1")
    }

    /// A number from 0 to 100.
    pub fn factor(&self) -> Option<f64> {
        self.number_up_to(100.0, "a factor from 0 to 100")
    }

    /// A number from 0 to `most`, both included.
    pub fn number_up_to(&self, most: f64, expected: &str) -> Option<f64> {
        let number = match self.as_integer() {
            Some(integer) => Some(integer as f64),
            None => self
                .inner
                .get_ref()
                .as_float()
                .and_then(|f| f.as_str().parse().ok()),
        };
        match number {
            Some(number) if (0.0..=most).contains(&number) => Some(number),
            _ => self.wrong(expected),
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        self.inner.get_ref().as_bool()
    }

    pub fn as_array(&self) -> Option<Vec<Value<'a>>> {
        let notes = self.notes;
        Some(
            self.inner
                .get_ref()
                .as_array()?
                .iter()
                .map(|inner| Value { notes, inner })
                .collect(),
        )
    }

    pub fn str(&self) -> Option<&'a str> {
        self.as_str().or_else(|| self.wrong("a string"))
    }

    pub fn bool(&self) -> Option<bool> {
        self.as_bool().or_else(|| self.wrong("true or false"))
    }

    /// What is said by being there: `true` and nothing else.
    pub fn said(&self) -> bool {
        match self.as_bool() {
            Some(true) => true,
            Some(false) => {
                self.note("found false, expected true, or no such key");
                false
            }
            None => self.wrong::<()>("true").is_some(),
        }
    }

    /// A whole number that fits.
    pub fn number<T: TryFrom<i64>>(&self) -> Option<T> {
        match self.as_integer().map(T::try_from) {
            Some(Ok(number)) => Some(number),
            Some(Err(_)) => self.wrong("a number in range"),
            None => self.wrong("a whole number"),
        }
    }

    pub fn table(&self) -> Option<Table<'a>> {
        match self.inner.get_ref().as_table() {
            Some(table) => Some(Table::new(self.notes, table, self.span())),
            None => self.wrong("a table"),
        }
    }

    pub fn array(&self) -> Option<Vec<Value<'a>>> {
        self.as_array().or_else(|| self.wrong("an array"))
    }

    /// One string, or an array of them, each with its place.
    pub fn strings(&self) -> Vec<(&'a str, Range<usize>)> {
        if let Some(one) = self.as_str() {
            return vec![(one, self.span())];
        }
        let Some(values) = self.array() else {
            return Vec::new();
        };
        values
            .iter()
            .filter_map(|value| Some((value.str()?, value.span())))
            .collect()
    }

    /// A word of a closed vocabulary.
    pub fn word<T: FromStr<Err = UnknownWord>>(&self) -> Option<T> {
        let text = self.str()?;
        match text.parse() {
            Ok(word) => Some(word),
            Err(unknown) => {
                let UnknownWord {
                    kind,
                    found,
                    expected,
                } = unknown;
                self.notes.unknown(kind, &found, self.span(), &expected);
                None
            }
        }
    }

    /// Words of a closed vocabulary, one or several.
    pub fn words<T: FromStr<Err = UnknownWord>>(&self) -> Vec<T> {
        match self.as_array() {
            Some(values) => values.iter().filter_map(Value::word).collect(),
            None => self.word().into_iter().collect(),
        }
    }

    /// Anything that parses from a string; its error is the mistake.
    pub fn parsed<T: FromStr<Err: Display>>(&self) -> Option<T> {
        match self.str()?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(error.to_string());
                None
            }
        }
    }

    /// `"250ms"`, `"2s"`, `"3min"`.
    pub fn duration(&self) -> Option<Duration> {
        let text = self.str()?;
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let each = match unit {
            "ms" => 1,
            "s" => 1000,
            "min" => 60_000,
            _ => return self.wrong("a time such as \"250ms\", \"2s\" or \"3min\""),
        };
        match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(each)) {
            Some(millis) => Some(Duration::from_millis(millis)),
            None => self.wrong("a time such as \"250ms\", \"2s\" or \"3min\""),
        }
    }

    /// Notes that something else was expected here.
    pub fn wrong<T>(&self, expected: &str) -> Option<T> {
        let kind = self.inner.get_ref().type_str();
        let found = match self.as_str() {
            Some(text) => format!("\"{text}\""),
            None => format!("a value of type {kind}"),
        };
        self.note(format!("found {found}, expected {expected}"));
        None
    }
}
