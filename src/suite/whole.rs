//! Rules about a suite as a whole: each row of the ledger is proved or says why not, and each fixture is
//! there for somebody. Only who has all files before them can break them, so a suite of one's own is not
//! held to them unless its owner wants it.

use std::collections::BTreeSet;

use super::{
    Files, Suite,
    diagnostic::{Diagnostics, Source},
    document::{Notes, Table, Value, parse},
    stem,
};

/// All that hangs loose, in the order of files.
pub(super) fn loose_ends(suite: &Suite, files: &Files) -> Diagnostics {
    let mut found = Diagnostics::default();
    for (path, text) in &files.suites {
        if path == "requirements.toml" {
            found.append(each(
                &format!("{}/{path}", files.folders.suites),
                text,
                "requirement",
                |row| {
                    uncovered(suite, row);
                    shown_by(files, row);
                },
            ));
        }
    }
    for (path, text) in &files.fixtures {
        found.append(unused(suite, &files.folders.fixtures, path, text));
    }
    found
}

/// A row is cited, or says why not; never both. An alias is covered with the row it says again.
fn uncovered(suite: &Suite, row: &Table<'_>) {
    let Some(place) = row.get("id") else {
        return;
    };
    let Some(known) = place.as_str().and_then(|id| suite.ledger.get(id)) else {
        return;
    };
    let id = &known.requirement.id;
    let by = suite.citing(id).next();
    let shown = row.get("shown-by");
    match (by, row.get("uncovered")) {
        (Some(scenario), None) if let Some(shown) = &shown => row.notes.note(
            shown.span(),
            format!(
                "\"{id}\" is shown by a test of ours, but {} cites it",
                scenario.id
            ),
            "take this line out",
        ),
        (None, Some(reason)) if shown.is_some() => row.notes.note(
            reason.span(),
            format!("\"{id}\" is uncovered, but shown by a test of ours"),
            "take one of the lines out",
        ),
        (None, None) if shown.is_some() => {}
        (None, None) if known.alias_of.is_none() => row.notes.note(
            place.span(),
            format!("no scenario cites \"{id}\""),
            "add uncovered = \"why\", or a scenario",
        ),
        (Some(scenario), Some(reason)) => row.notes.note(
            reason.span(),
            format!("\"{id}\" is uncovered, but {} cites it", scenario.id),
            "take this line out",
        ),
        _ => {}
    }
}

/// A test that shows a row is there, and is a test.
fn shown_by(files: &Files, row: &Table<'_>) {
    let Some(place) = row.get("shown-by") else {
        return;
    };
    let Some((file, test)) = place.as_str().and_then(|text| text.split_once(": ")) else {
        return;
    };
    let Some((_, text)) = files.suites.iter().find(|(path, _)| path == file) else {
        return place.note(format!("there is no {}/{file}", files.folders.suites));
    };
    let mut lines = text.lines().map(str::trim);
    let mut is_marked = false;
    let is_there = lines.any(|line| {
        let is_it = line
            .strip_prefix("fn ")
            .and_then(|rest| rest.strip_prefix(test));
        let found = is_it.is_some_and(|rest| rest.starts_with('(')) && is_marked;
        is_marked = line == "#[test]" || (is_marked && line.starts_with('#'));
        found
    });
    if !is_there {
        place.note(format!(
            "{}/{file} has no test \"{test}\"",
            files.folders.suites
        ));
    }
}

/// Fixtures that nothing names. A subscriber is used by being somebody in a topology that is.
fn unused(suite: &Suite, folder: &str, path: &str, text: &str) -> Diagnostics {
    let uses = &suite.uses;
    let file = format!("{folder}/{path}");
    let whole = |kind: &str, name: &str, used: &BTreeSet<String>| {
        let mut found = Diagnostics::default();
        if !used.contains(name) {
            let source = Source::new(&file, text);
            found.push(
                &source,
                0..0,
                format!("no scenario uses {kind} \"{name}\""),
                "",
            );
        }
        found
    };
    let among = |table: &Table<'_>, key, kind: &str, used: &BTreeSet<String>| {
        let name: Option<Value<'_>> = table.get(key);
        if let Some(place) = name
            && let Some(name) = place.as_str()
            && !used.contains(name)
        {
            place.note(format!("no scenario uses {kind} \"{name}\""));
        }
    };
    if path == "contents.toml" {
        return each(&file, text, "content", |content| {
            among(content, "name", "content", &uses.contents);
        });
    }
    if path == "subscribers.toml" {
        let played = suite.topologies.iter();
        let played = played.filter(|topology| uses.topologies.contains(&topology.name));
        let users = played.flat_map(|topology| &topology.nodes);
        let users = users.filter_map(|node| node.user.clone());
        let used: BTreeSet<String> = users.chain(uses.subscribers.iter().cloned()).collect();
        return each(&file, text, "subscriber", |subscriber| {
            among(subscriber, "id", "subscriber", &used);
        });
    }
    let message = path.strip_prefix("messages/");
    if let Some(name) = message.and_then(|path| path.strip_suffix(".txt")) {
        return whole("message", name, &uses.messages);
    }
    match stem(path, "topologies/") {
        Some(name) => whole("topology", name, &uses.topologies),
        None => Diagnostics::default(),
    }
}

/// Looks at each table of a list once more; what is wrong with the file itself was told when it was read.
fn each(path: &str, text: &str, list: &'static str, look: impl Fn(&Table<'_>)) -> Diagnostics {
    let notes = Notes::new(Source::new(path, text));
    parse(&notes, text, |root| {
        let values = root.get(list).and_then(|list| list.as_array());
        for value in values.unwrap_or_default() {
            value.table().iter().for_each(&look);
        }
    });
    notes.finish()
}
