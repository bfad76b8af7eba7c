//! A lineup: several implementations that play the same scenarios, to be seen beside each other.

use std::{fs, path::Path};

use crate::suite::{
    Diagnostics,
    document::{Table, Value, read_file},
};

/// Who plays what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineup {
    /// Globs over scenarios, as `run` takes them; none: everything.
    pub scenarios: Vec<String>,
    /// As `--transport` takes it; `None`: as `run` chooses.
    pub transport: Option<String>,
    pub implementations: Vec<Implementation>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Implementation {
    /// As the table calls it; also the name of its run folder.
    pub name: String,
    pub way: Played,
}

/// Where its results come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Played {
    /// It is played now, with these after `--sut`; none: reference nodes, all of them under test.
    Now(Vec<String>),
    /// From a run that is there already: a folder, or a run's name.
    Before(String),
}

impl Lineup {
    /// Reads a file; all its mistakes come at once. Paths in it are beside it.
    pub fn read(path: &Path) -> std::io::Result<Result<Lineup, Diagnostics>> {
        let text = fs::read_to_string(path)?;
        let beside = path.parent().unwrap_or(Path::new(""));
        let name = path.display().to_string();
        Ok(read_file(&name, &text, |root| {
            Lineup::from_table(root, beside)
        }))
    }

    fn from_table(root: Table<'_>, beside: &Path) -> Lineup {
        let scenarios = root.get("scenarios").map(|v| v.strings());
        let scenarios = scenarios.unwrap_or_default().into_iter();
        let transport = root.get("transport").and_then(|v| {
            let word = v.str()?;
            let is_known = ["memory", "sockets", "sockets-ipv6"].contains(&word);
            match is_known {
                true => Some(word.to_owned()),
                false => v.wrong("memory, sockets or sockets-ipv6"),
            }
        });
        let list = root.need("implementation");
        let mut implementations: Vec<Implementation> = Vec::new();
        for value in list.and_then(|v| v.array()).unwrap_or_default() {
            let Some(read) = Implementation::read(&value, beside) else {
                continue;
            };
            match implementations.iter().any(|known| known.name == read.name) {
                true => value.note(format!("found a second implementation \"{}\"", read.name)),
                false => implementations.push(read),
            }
        }
        root.refuse_unknown();
        Lineup {
            scenarios: scenarios.map(|(glob, _)| glob.to_owned()).collect(),
            transport,
            implementations,
        }
    }
}

impl Implementation {
    fn read(value: &Value<'_>, beside: &Path) -> Option<Implementation> {
        let table = value.table()?;
        let place = table.need("name");
        let name = place.as_ref().and_then(|v| v.str());
        if let (Some(place), Some(name)) = (&place, name)
            && (name.trim().is_empty() || name.starts_with('.') || name.contains(['/', '\0']))
        {
            place.note(
                "found a name that no folder can have, expected one such as \"Acme tracker\"",
            );
        }
        let sut = table.get("sut").map(|v| v.strings());
        let run = table.get("run").and_then(|v| v.str());
        let way = match (sut, run) {
            (Some(_), Some(_)) => {
                value.note("found both sut and run, expected one: it is played, or was");
                return None;
            }
            (None, Some(run)) => Played::Before(resolved(run, beside)),
            (sut, None) => {
                let words = sut.unwrap_or_default().into_iter();
                let binding = |word: &str| match word.contains('=') {
                    true => word.to_owned(),
                    false => resolved(word, beside),
                };
                Played::Now(words.map(|(word, _)| binding(word)).collect())
            }
        };
        table.refuse_unknown();
        Some(Implementation {
            name: name?.to_owned(),
            way,
        })
    }
}

/// A path beside the file, where there is something; else as it stands.
fn resolved(path: &str, beside: &Path) -> String {
    let there = beside.join(path);
    match there.exists() {
        true => there.display().to_string(),
        false => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lineup_says_who_plays_now_and_who_did_before() {
        let text = "scenarios = [\"common/*\"]\n\
            [[implementation]]\nname = \"ours\"\n\
            [[implementation]]\nname = \"theirs\"\nsut = [\"tracker=cmd:./t\"]\n\
            [[implementation]]\nname = \"last year\"\nrun = \"2025\"\n";
        let read = read_file("lineup.toml", text, |root| {
            Lineup::from_table(root, Path::new("nowhere"))
        });
        let ways: Vec<Played> = read
            .unwrap()
            .implementations
            .into_iter()
            .map(|implementation| implementation.way)
            .collect();
        let bindings = vec!["tracker=cmd:./t".to_owned()];
        let expected = [
            Played::Now(Vec::new()),
            Played::Now(bindings),
            Played::Before("2025".to_owned()),
        ];
        assert_eq!(expected[..], ways);
    }

    #[test]
    fn mistakes_come_together() {
        let text = "transport = \"air\"\nspeed = 1\n\
            [[implementation]]\nname = \"a/b\"\n\
            [[implementation]]\nname = \"a\"\nsut = []\nrun = \"x\"\n";
        let read = read_file("lineup.toml", text, |root| {
            Lineup::from_table(root, Path::new("nowhere"))
        });
        assert_eq!(4, read.unwrap_err().items().len());
    }
}
