//! Which scenarios are meant: globs over ids and filters over everything else. What matches nothing is an
//! error, with the nearest names.

use wildmatch::WildMatch;

use super::{
    Suite,
    diagnostic::{self, nearest},
    instance::Instance,
    scenario::{Pins, Scenario},
};
use crate::spec::{Role, Strength};

/// A selection; empty lists select everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// `registered/*`, `*/step-3*/*`, `registered/step-3-piece-request`, an instance id.
    pub globs: Vec<String>,
    /// Rows of the ledger; an alias selects what the row it says again does.
    pub requirements: Vec<String>,
    /// A clause or its beginning: `TR 23.844 6.2.1`, `RFC 7846`.
    pub clauses: Vec<String>,
    pub levels: Vec<Strength>,
    pub roles: Vec<Role>,
    pub tags: Vec<String>,
    pub options: Pins,
}

impl Selection {
    /// The instances meant, in suite order.
    pub fn instances(&self, suite: &Suite, seed: u64) -> Result<Vec<Instance>, NothingSelected> {
        let mut selected = Vec::new();
        for scenario in &suite.scenarios {
            if !self.admits(suite, scenario) {
                continue;
            }
            for instance in Instance::of(scenario, seed) {
                if self.options.allow(instance.options) && self.names(scenario, Some(&instance)) {
                    selected.push(instance);
                }
            }
        }
        let idle: Vec<String> = self
            .globs
            .iter()
            .filter(|glob| !selected.iter().any(|i| names(glob, &i.scenario, Some(i))))
            .cloned()
            .collect();
        match (selected.is_empty(), idle.is_empty()) {
            (true, _) => Err(self.nothing(suite)),
            // A part of what was asked for, and not a word of the rest, would be taken for the whole.
            (false, false) => Err(Selection {
                globs: idle,
                ..self.clone()
            }
            .nothing(suite)),
            (false, true) => Ok(selected),
        }
    }

    /// Whether every filter but options and globs admits the scenario.
    fn admits(&self, suite: &Suite, scenario: &Scenario) -> bool {
        let rows = || {
            let ids = scenario.requires.iter();
            ids.filter_map(|id| suite.ledger.get(id))
        };
        let among = |list: &[String], found: &[String]| {
            list.is_empty() || list.iter().any(|wanted| found.contains(wanted))
        };
        let cites = |wanted: &String| {
            let counted = suite.ledger.counted(wanted);
            let mut cited = scenario.requires.iter();
            cited.any(|cited| suite.ledger.counted(cited) == counted)
        };
        let clause = |wanted: &String| {
            is_within(&scenario.clause.to_string(), wanted)
                || rows().any(|row| is_within(&row.requirement.clause.to_string(), wanted))
        };
        (self.requirements.is_empty() || self.requirements.iter().any(cites))
            && among(&self.tags, &scenario.tags)
            && (self.clauses.is_empty() || self.clauses.iter().any(clause))
            && (self.levels.is_empty() || self.levels.contains(&scenario.level))
            && (self.roles.is_empty()
                || rows().any(|row| self.roles.contains(&row.requirement.role)))
    }

    /// Whether a glob names the scenario, its file, its folder, or the instance.
    fn names(&self, scenario: &Scenario, instance: Option<&Instance>) -> bool {
        self.globs.is_empty()
            || self
                .globs
                .iter()
                .any(|glob| names(glob, scenario, instance))
    }

    /// The options that what is meant is played with, if there is anything but for the options asked for.
    fn played_with(&self, suite: &Suite) -> Vec<String> {
        if self.options == Pins::default() {
            return Vec::new();
        }
        let admitted = suite.scenarios.iter().filter(|s| self.admits(suite, s));
        let mut options: Vec<String> = admitted
            .flat_map(|scenario| Instance::of(scenario, 0))
            .filter(|instance| self.names(&instance.scenario, Some(instance)))
            .map(|instance| instance.options.to_string())
            .collect();
        options.sort();
        options.dedup();
        options
    }

    fn nothing(&self, suite: &Suite) -> NothingSelected {
        let ids: Vec<&str> = suite.scenarios.iter().map(|s| s.id.as_str()).collect();
        let mut near = Vec::new();
        for glob in &self.globs {
            let plain = glob.split(['@', '#']).next().unwrap_or_default();
            let last = plain.rsplit('/').next().unwrap_or_default();
            let names = ids
                .iter()
                .map(|id| id.rsplit('/').next().unwrap_or_default());
            let by_name = nearest(last, names).and_then(|name| {
                let mut ids = ids.iter();
                ids.find(|id| id.ends_with(&format!("/{name}")))
            });
            let folders = ids.iter().flat_map(|id| {
                id.match_indices('/')
                    .map(|(end, _)| &id[..end])
                    .collect::<Vec<_>>()
            });
            let whole = nearest(plain, ids.iter().copied().chain(folders));
            near.extend(whole.or(by_name.copied()).map(str::to_owned));
        }
        let known_ids = suite.ledger.ids();
        for id in &self.requirements {
            near.extend(nearest(id, known_ids.iter().copied()).map(str::to_owned));
        }
        let tags = suite.scenarios.iter().flat_map(|s| &s.tags);
        let tags: Vec<&str> = tags.map(String::as_str).collect();
        for tag in &self.tags {
            near.extend(nearest(tag, tags.iter().copied()).map(str::to_owned));
        }
        near.dedup();
        let least_far = match near.is_empty() {
            true => self
                .globs
                .iter()
                .flat_map(|glob| least_far(glob, &ids))
                .collect(),
            false => Vec::new(),
        };
        NothingSelected {
            selection: self.to_string(),
            played_with: self.played_with(suite),
            near,
            least_far,
        }
    }
}

/// The three scenarios, files or folders that are spelt least unlike a glob which is near none.
fn least_far(glob: &str, ids: &[&str]) -> Vec<String> {
    let glob = glob.split(['@', '#']).next().unwrap_or_default();
    let spellings = ids.iter().flat_map(|id| {
        let parents = id.match_indices('/').map(|(end, _)| &id[..end]);
        let name = id.rsplit('/').next().unwrap_or_default();
        let whole = parents.map(|parent| (parent, parent));
        whole.chain([(*id, *id), (name, *id)])
    });
    let least = diagnostic::least_far(glob, spellings).into_iter();
    least.map(str::to_owned).collect()
}

/// Whether a clause is the one that is wanted or one below it: 16.3 is below 16, and not below 1.
fn is_within(clause: &str, wanted: &str) -> bool {
    let below = clause.strip_prefix(wanted.trim_end());
    below.is_some_and(|below| below.is_empty() || below.starts_with([' ', '.']))
}

/// Whether a glob names a scenario, its file, its folder, or the instance.
fn names(glob: &str, scenario: &Scenario, instance: Option<&Instance>) -> bool {
    let glob = glob.trim_end_matches('/');
    let matches = |text: &str| WildMatch::new(glob).matches(text);
    let mut parents = scenario.id.match_indices('/');
    matches(&scenario.id)
        || parents.any(|(end, _)| matches(&scenario.id[..end]))
        || instance.is_some_and(|i| matches(&i.path()) || matches(&i.id()))
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quoted = |glob: &String| match glob.is_empty() {
            true => "\"\"".to_owned(),
            false => glob.clone(),
        };
        let mut words: Vec<String> = self.globs.iter().map(quoted).collect();
        words.extend(self.requirements.iter().map(|r| format!("requirement {r}")));
        words.extend(self.clauses.iter().map(|c| format!("clause {c}")));
        words.extend(self.levels.iter().map(|l| format!("level {l}")));
        words.extend(self.roles.iter().map(|r| format!("role {r}")));
        words.extend(self.tags.iter().map(|t| format!("tag {t}")));
        if self.options != Pins::default() {
            words.push("the options asked for".to_owned());
        }
        f.write_str(&words.join(" with "))
    }
}

/// No scenario is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NothingSelected {
    /// What was asked for; empty if that was everything.
    pub selection: String,
    /// Where only the options asked for rule everything out: those it is played with.
    pub played_with: Vec<String>,
    /// The nearest names, where some are near enough to be meant.
    pub near: Vec<String>,
    /// Else those that are least far.
    pub least_far: Vec<String>,
}

impl std::fmt::Display for NothingSelected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.selection.is_empty() {
            return f.write_str(
                "found no scenario there, expected some in registered/, unregistered/ or common/",
            );
        }
        write!(f, "no scenario matches {}", self.selection)?;
        if !self.played_with.is_empty() {
            return write!(f, "; it is played with {}", self.played_with.join(", "));
        }
        match (self.near.is_empty(), self.least_far.is_empty()) {
            (false, _) => write!(f, ", did you mean {}?", self.near.join(" or ")),
            (true, false) => {
                let names = self.least_far.join(", ");
                write!(f, ", the nearest are {names}; see peerproof list")
            }
            (true, true) => f.write_str(", see peerproof list"),
        }
    }
}

impl std::error::Error for NothingSelected {}
