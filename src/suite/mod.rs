//! What should happen: scenario, ledger and fixture files as types, and the one matcher of steps against
//! events. Knows neither nodes nor transports; names of deviations and checks are handed in, so that a
//! misspelt one is still found when the files are read. Start at [`Suite`], then [`Scenario`] and
//! [`Follower`].

mod contents;
mod context;
mod diagnostic;
pub(crate) mod document;
mod follow;
mod instance;
mod ledger;
mod pattern;
mod prologue;
mod reading;
mod scenario;
pub mod schema;
mod select;
mod subscribers;
mod template;
mod timers;
mod topology;
mod view;
mod whole;

use std::{cell::RefCell, fs, io, path::Path, sync::Arc};

use include_dir::{Dir, include_dir};

pub use contents::{Content, Contents, Piece};
pub use context::Context;
pub use diagnostic::{Diagnostic, Diagnostics, Source, nearest};
pub use follow::{Captures, Follower, Near, StepOutcome, StepState, Stimulus, Values};
pub use instance::{Instance, usual_delivery};
pub use ledger::{Ledger, Row, ShownBy};
pub use pattern::{Difference, FieldTest, Fit, Pattern, Protection, Test};
pub use scenario::{
    Authorize, BadNetwork, Choice, Do, Edit, Expect, Given, Never, Outcome, Pins, Scenario, Send,
    SendSource, Step, Times, Verb, When, seconds,
};
pub use select::{NothingSelected, Selection};
pub use subscribers::{Subscriber, Subscribers};
pub use template::{Lookup, Template, fill_known};
pub use timers::{Timer, Timers};
pub use topology::{Ground, Listen, Node, Topology};
pub use view::{Layer, View};

use crate::wire::ppstp;

use document::{Notes, parse};
use reading::{Uses, World};

/// Everything that can be run, and everything it refers to.
#[derive(Clone, Debug)]
pub struct Suite {
    pub ledger: Ledger,
    pub contents: Contents,
    pub subscribers: Subscribers,
    pub topologies: Vec<Topology>,
    /// Of the system under test; steps wait by them.
    pub timers: Timers,
    /// In the order of their files.
    pub scenarios: Vec<Arc<Scenario>>,
    /// Which fixtures the scenarios name.
    uses: Uses,
}

/// Names defined elsewhere that scenarios cite; `None` leaves them unchecked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    pub deviations: Option<&'a [&'a str]>,
    pub checks: Option<&'a [&'a str]>,
}

/// The files of a suite: path below `suites/` or `fixtures/`, and text.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub suites: Vec<(String, String)>,
    pub fixtures: Vec<(String, String)>,
    /// The folders that both were read from, as somebody named them: what mistakes are said to stand in.
    pub folders: Folders,
}

/// See [`Files::folders`].
#[derive(Clone, Debug)]
pub struct Folders {
    pub suites: String,
    pub fixtures: String,
}

impl Default for Folders {
    /// Those that the files within the program came from.
    fn default() -> Folders {
        Folders {
            suites: "suites".to_owned(),
            fixtures: "fixtures".to_owned(),
        }
    }
}

impl Suite {
    /// The suites and fixtures within the binary.
    pub fn embedded(names: Names<'_>) -> Result<Suite, Diagnostics> {
        Suite::read(&Files::embedded(), names)
    }

    /// Reads all files; the mistakes of all of them come together.
    pub fn read(files: &Files, names: Names<'_>) -> Result<Suite, Diagnostics> {
        Reader::default().read(files, names)
    }

    /// What no single file can be blamed for: rows nobody proves, fixtures nobody uses. `files` are those
    /// the suite was read from.
    pub fn loose_ends(&self, files: &Files) -> Diagnostics {
        whole::loose_ends(self, files)
    }

    /// The scenarios that cite a row or one that says the same, in suite order.
    pub fn citing<'s>(&'s self, id: &str) -> impl Iterator<Item = &'s Arc<Scenario>> {
        let counted = self.ledger.counted(id).to_owned();
        self.scenarios.iter().filter(move |scenario| {
            let mut cited = scenario.requires.iter();
            cited.any(|cited| self.ledger.counted(cited) == counted)
        })
    }

    pub fn topology(&self, name: &str) -> Option<&Topology> {
        self.topologies
            .iter()
            .find(|topology| topology.name == name)
    }

    pub fn scenario(&self, id: &str) -> Option<&Arc<Scenario>> {
        self.scenarios.iter().find(|scenario| scenario.id == id)
    }

    /// Every name by which a verdict may say that something was forgiven.
    pub fn leniencies(&self) -> Vec<&str> {
        let steps = self.scenarios.iter().flat_map(|scenario| &scenario.steps);
        let outcomes = steps.flat_map(|step| match &step.verb {
            Verb::Expect(expect) => &expect.outcomes[..],
            _ => &[],
        });
        let read = ppstp::Leniency::ALL.iter().map(|leniency| leniency.name());
        outcomes
            .filter_map(|outcome| outcome.leniency.as_deref())
            .chain(read)
            .collect()
    }

    /// The instance an id names: `registered/step-3-piece-request/x@ut.ims.ims#41`.
    pub fn instance(&self, id: &str) -> Option<Instance> {
        let (path, seed) = id.rsplit_once('#')?;
        let scenario = self.scenario(path.split('@').next()?)?;
        Instance::of(scenario, seed.parse().ok()?)
            .into_iter()
            .find(|instance| instance.path() == path)
    }
}

impl Files {
    pub fn embedded() -> Files {
        let texts = |dir: &Dir<'_>| {
            let mut texts = Vec::new();
            collect(dir, &mut texts);
            texts.sort();
            texts
        };
        Files {
            suites: texts(&SUITES),
            fixtures: texts(&FIXTURES),
            folders: Folders::default(),
        }
    }

    /// The embedded files, with those of a directory in the place of `suites/`; if it has a folder
    /// `fixtures`, that takes the place of the embedded fixtures. The one function here that reads disks.
    pub fn from_directory(directory: &Path) -> io::Result<Files> {
        let mut files = Files::embedded();
        let own = directory.join("fixtures");
        files.suites = read_texts(directory)?;
        files.folders.suites = named(directory);
        files
            .suites
            .retain(|(path, _)| !path.starts_with("fixtures/"));
        if own.is_dir() {
            files.fixtures = read_texts(&own)?;
            files.folders.fixtures = named(&own);
        }
        Ok(files)
    }
}

/// A folder as it was named, without the slash at its end.
fn named(folder: &Path) -> String {
    let name = folder.to_string_lossy();
    match name.trim_end_matches('/') {
        "" => name.into_owned(),
        name => name.to_owned(),
    }
}

/// Gathers diagnostics over all files.
#[derive(Default)]
struct Reader {
    found: Diagnostics,
}

impl Reader {
    fn read(mut self, files: &Files, names: Names<'_>) -> Result<Suite, Diagnostics> {
        let mut contents = Contents::default();
        self.one(files, "contents.toml", |root| {
            contents = Contents::read(root)
        });
        let mut subscribers = Subscribers::default();
        self.one(files, "subscribers.toml", |root| {
            subscribers = Subscribers::read(root);
        });
        let mut topologies = Vec::new();
        for (path, text) in &files.fixtures {
            if let Some(name) = stem(path, "topologies/") {
                self.file(&files.folders.fixtures, path, text, |root| {
                    topologies.extend(Topology::read(name, root, &subscribers, &contents));
                });
            }
        }
        let messages: Vec<(String, String)> = files
            .fixtures
            .iter()
            .filter_map(|(path, text)| {
                let name = path.strip_prefix("messages/")?.strip_suffix(".txt")?;
                Some((name.to_owned(), text.clone()))
            })
            .collect();
        let mut ledger = Ledger::default();
        for (path, text) in &files.suites {
            if path == "requirements.toml" {
                self.file(&files.folders.suites, path, text, |root| {
                    ledger = Ledger::read(root)
                });
            }
        }

        let world = World {
            ledger: &ledger,
            contents: &contents,
            subscribers: &subscribers,
            topologies: &topologies,
            messages: &messages,
            deviations: names.deviations,
            checks: names.checks,
            uses: RefCell::default(),
        };
        let mut scenarios = Vec::new();
        for (path, text) in &files.suites {
            let Some(id) = scenario_file(path) else {
                if path.ends_with(".toml") && path != "requirements.toml" {
                    let source = Source::new(&format!("{}/{path}", files.folders.suites), text);
                    let why =
                        "nobody reads this file, expected it in registered, unregistered or common";
                    self.found.push(&source, 0..0, why, "");
                }
                continue;
            };
            self.file(&files.folders.suites, path, text, |root| {
                scenarios.extend(reading::read_file(&world, id, root));
            });
        }
        if !self.found.is_empty() {
            return Err(self.found);
        }
        let uses = world.uses.into_inner();
        Ok(Suite {
            timers: Timers::default(),
            ledger,
            contents,
            subscribers,
            topologies,
            scenarios,
            uses,
        })
    }

    /// Reads a fixture file that has to be there.
    fn one(&mut self, files: &Files, path: &str, read: impl FnOnce(document::Table<'_>)) {
        match files.fixtures.iter().find(|(found, _)| found == path) {
            Some((path, text)) => self.file(&files.folders.fixtures, path, text, read),
            None => {
                let source = Source::new(&format!("{}/{path}", files.folders.fixtures), "");
                self.found.push(&source, 0..0, "this file is missing", "");
            }
        }
    }

    fn file(&mut self, root: &str, path: &str, text: &str, read: impl FnOnce(document::Table<'_>)) {
        let notes = Notes::new(Source::new(&format!("{root}/{path}"), text));
        parse(&notes, text, read);
        self.found.append(notes.finish());
    }
}

/// `registered` of `topologies/registered.toml`.
fn stem<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_suffix(".toml")
}

/// The id of a scenario file; other TOML files of `suites/` are not scenarios.
fn scenario_file(path: &str) -> Option<&str> {
    let id = path.strip_suffix(".toml")?;
    let (folder, _) = id.split_once('/')?;
    matches!(folder, "registered" | "unregistered" | "common").then_some(id)
}

fn collect(dir: &Dir<'_>, texts: &mut Vec<(String, String)>) {
    for file in dir.files() {
        if let (Some(path), Some(text)) = (file.path().to_str(), file.contents_utf8()) {
            texts.push((path.replace('\\', "/"), text.to_owned()));
        }
    }
    dir.dirs().for_each(|dir| collect(dir, texts));
}

/// Every TOML, text and Rust file below a directory, in path order.
fn read_texts(directory: &Path) -> io::Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let kind = path.extension();
            let is_text = kind.is_some_and(|e| e == "toml" || e == "txt" || e == "rs");
            // A link to a folder may lead in circles, so it is not followed.
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else if is_text && let Ok(below) = path.strip_prefix(directory) {
                let name = below.to_string_lossy().replace('\\', "/");
                let text = fs::read_to_string(&path);
                let text = text.map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })?;
                texts.push((name, text));
            }
        }
    }
    texts.sort();
    Ok(texts)
}

#[cfg(test)]
mod tests;

static SUITES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/suites");
static FIXTURES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/fixtures");
