//! A load profile as a file: what to offer, how, and what has to hold. Every mistake is told with its place. What the
//! command line says comes before what the file says.

use std::{fmt::Display, time::Duration};

use serde_json::{Value as Json, json};

use super::{
    profile::Shape,
    schedule::Law,
    search::Goal,
    tracker::Mix,
    units::{size, time},
};
use crate::suite::{
    Diagnostics,
    document::{Table, Value, read_file},
    schema::{document, may, need, table, word},
};

/// What a file says; `None`: nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadFile {
    pub path: Option<Path>,
    /// Arrivals a second at the beginning, and at the end or the peak.
    pub rate: Option<(f64, f64)>,
    pub shape: Option<Shape>,
    pub law: Option<Law>,
    pub duration: Option<Duration>,
    pub warm_up: Option<Duration>,
    pub seed: Option<u64>,
    pub connections: Option<u32>,
    pub pipeline: Option<u32>,
    pub limit: Option<Duration>,
    pub patience: Option<Duration>,
    pub read_whole: Option<u64>,
    /// How late questions may leave before there is no figure.
    pub allowed_lag: Option<Duration>,
    /// Of the tracker path, and of call flows but for the mix.
    pub peers: Option<u32>,
    pub swarms: Option<u32>,
    pub track_timer: Option<u32>,
    pub mix: Option<Mix>,
    /// Of the chunk path, and of call flows.
    pub contents: Option<u32>,
    pub size: Option<u64>,
    pub piece: Option<u64>,
    /// What fails the measurement with exit code 5.
    pub goal: Option<Goal>,
}

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    CallFlow,
    Chunks,
    Tracker,
}

impl Path {
    pub fn word(self) -> &'static str {
        match self {
            Path::CallFlow => "callflow",
            Path::Chunks => "chunks",
            Path::Tracker => "tracker",
        }
    }
}

const PATHS: &[(&str, Path)] = &[
    ("tracker", Path::Tracker),
    ("chunks", Path::Chunks),
    ("callflow", Path::CallFlow),
];

const SHAPES: &[(&str, Shape)] = &[
    ("constant", Shape::Constant),
    ("ramp", Shape::Ramp),
    ("steps", Shape::Steps),
    ("soak", Shape::Soak),
    ("flash-crowd", Shape::FlashCrowd),
];

const LAWS: &[(&str, Law)] = &[("poisson", Law::Poisson), ("constant", Law::Constant)];

/// The largest rate, arrivals a second.
const FASTEST: f64 = 1e8;

/// A shorter measurement says nothing.
const SHORTEST: Duration = Duration::from_secs(1);

impl LoadFile {
    /// Reads a file that is called `name`; all its mistakes come together.
    pub fn parse(name: &str, text: &str) -> Result<LoadFile, Diagnostics> {
        read_file(name, text, LoadFile::read)
    }

    fn read(root: Table<'_>) -> LoadFile {
        let mut file = LoadFile {
            path: root.need("path").and_then(|v| among(&v, "path", PATHS)),
            shape: root.get("shape").and_then(|v| among(&v, "shape", SHAPES)),
            law: root.get("law").and_then(|v| among(&v, "law", LAWS)),
            duration: root.get("duration").and_then(|v| parsed(&v, time)),
            warm_up: root.get("warm-up").and_then(|v| parsed(&v, time)),
            seed: root.get("seed").and_then(|v| within(&v, 0, i64::MAX)),
            connections: root.get("connections").and_then(|v| within(&v, 1, 60_000)),
            pipeline: root.get("pipeline").and_then(|v| within(&v, 1, 4096)),
            limit: root.get("limit").and_then(|v| parsed(&v, time)),
            patience: root.get("patience").and_then(|v| parsed(&v, time)),
            read_whole: root.get("read-whole").and_then(|v| within(&v, 1, i64::MAX)),
            allowed_lag: root.get("allowed-lag").and_then(|v| parsed(&v, time)),
            ..LoadFile::default()
        };
        if let Some(value) = root.get("duration")
            && file.duration.is_some_and(|duration| duration < SHORTEST)
        {
            value.note("found less than 1 s, expected one long enough to measure anything");
        }
        file.read_rate(&root);
        let population = root.get("population");
        let library = root.get("library");
        let foreign = match file.path {
            Some(Path::Tracker) => library.map(|v| (v, "library", "tracker")),
            Some(Path::Chunks) => population.map(|v| (v, "population", "chunks")),
            Some(Path::CallFlow) | None => None,
        };
        if let Some((value, key, path)) = foreign {
            value.note(format!("found {key}, which the path {path} has none of"));
        }
        if let Some(table) = population.and_then(|v| v.table()) {
            file.read_population(table);
        }
        if let Some(table) = library.and_then(|v| v.table()) {
            file.read_library(table);
        }
        if let Some(table) = root.get("thresholds").and_then(|v| v.table()) {
            file.goal = thresholds(table);
        }
        root.refuse_unknown();
        file
    }

    fn read_rate(&mut self, root: &Table<'_>) {
        let Some(value) = root.need("rate") else {
            return;
        };
        let is_even = matches!(self.shape, None | Some(Shape::Constant | Shape::Soak));
        self.rate = match value.is_table() {
            false => number(&value, FASTEST, "arrivals a second").map(|rate| (rate, rate)),
            true => value.table().and_then(|table| {
                let end = |key| {
                    let value = table.need(key)?;
                    number(&value, FASTEST, "arrivals a second")
                };
                let rates = (end("from"), end("to"));
                table.refuse_unknown();
                rates.0.zip(rates.1)
            }),
        };
        match self.rate {
            Some((from, to)) if from + to <= 0.0 => {
                value.note("found a rate of 0, expected some arrivals");
            }
            Some((from, to)) if is_even && from != to => {
                value.note(
                    "found two rates and a shape with one, expected shape = \"ramp\", \"steps\" or \"flash-crowd\"",
                );
            }
            _ => {}
        }
    }

    fn read_population(&mut self, table: Table<'_>) {
        let most = i64::from(u32::MAX);
        self.peers = table.get("peers").and_then(|v| within(&v, 1, most));
        self.swarms = table.get("swarms").and_then(|v| within(&v, 1, most));
        self.track_timer = table.get("track-timer").and_then(|v| {
            let timer = parsed(&v, time)?;
            if timer.subsec_nanos() > 0 || timer.is_zero() {
                v.note("found parts of a second, expected whole seconds, one at least");
            }
            u32::try_from(timer.as_secs()).ok()
        });
        if let Some(value) = table.get("mix")
            && let Some(mix) = value.table()
        {
            let usual = Mix::default();
            let share = |key| mix.get(key).and_then(|v| within(&v, 0, 100));
            let found = Mix {
                report: share("report").unwrap_or(usual.report),
                join: share("join").unwrap_or(usual.join),
                leave: share("leave").unwrap_or(usual.leave),
            };
            mix.refuse_unknown();
            let sum = found.report + found.join + found.leave;
            if self.path == Some(Path::CallFlow) {
                value.note("found mix, which is of the path tracker, expected none: the shares of call flows are typed (--mix)");
            }
            if sum > 100 {
                value.note(format!(
                    "found {sum} % together, expected at most 100: the rest are peer lists"
                ));
            }
            self.mix = Some(found);
        }
        table.refuse_unknown();
    }

    fn read_library(&mut self, table: Table<'_>) {
        self.contents = table
            .get("contents")
            .and_then(|v| within(&v, 1, i64::from(u32::MAX)));
        self.size = table.get("size").and_then(|v| parsed(&v, size));
        let piece = table.get("piece");
        self.piece = piece.and_then(|v| parsed(&v, size));
        if let Some(((value, piece), whole)) = piece.zip(self.piece).zip(self.size)
            && piece > whole
        {
            value.note("found a piece larger than its content, expected at most as much");
        }
        table.refuse_unknown();
    }
}

fn thresholds(table: Table<'_>) -> Option<Goal> {
    let objective = table.get("objective");
    let objective = objective.and_then(|v| number(&v, 100.0, "percent"));
    let millis = |key| {
        let limit = table.get(key).and_then(|v| parsed(&v, time))?;
        Some(limit.as_secs_f64() * 1e3)
    };
    let goal = Goal {
        inadequate: objective.map_or(1.0, |percent| percent / 100.0),
        p50: millis("p50"),
        p99: millis("p99"),
        p999: millis("p999"),
    };
    let is_empty = objective.is_none() && [goal.p50, goal.p99, goal.p999] == [None; 3];
    table.refuse_unknown();
    (!is_empty).then_some(goal)
}

/// One of some words.
fn among<T: Copy>(value: &Value<'_>, kind: &str, known: &[(&str, T)]) -> Option<T> {
    let found = value.str()?;
    let one = known.iter().find(|(word, _)| *word == found);
    if one.is_none() {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        value.notes.unknown(kind, found, value.span(), &words);
    }
    one.map(|(_, one)| *one)
}

/// What is written as a string with a unit.
fn parsed<T, E: Display>(value: &Value<'_>, read: fn(&str) -> Result<T, E>) -> Option<T> {
    match read(value.str()?) {
        Ok(read) => Some(read),
        Err(error) => {
            value.note(error.to_string());
            None
        }
    }
}

/// A whole number between two.
fn within<T: TryFrom<i64>>(value: &Value<'_>, least: i64, most: i64) -> Option<T> {
    let found = value.as_integer().filter(|n| (least..=most).contains(n));
    let found = found.and_then(|number| T::try_from(number).ok());
    found.or_else(|| match most {
        i64::MAX => value.wrong(&format!("a whole number of at least {least}")),
        _ => value.wrong(&format!("a whole number from {least} to {most}")),
    })
}

/// A number from 0 up.
fn number(value: &Value<'_>, most: f64, of: &str) -> Option<f64> {
    value.number_up_to(most, &format!("{of}, from 0 to {most}"))
}

/// The JSON schema of such a file, for editors.
pub fn schema() -> Json {
    let whole = |least: i64| json!({ "type": "integer", "minimum": least });
    let up_to =
        |least: i64, most: i64| json!({ "type": "integer", "minimum": least, "maximum": most });
    let rate = || json!({ "type": "number", "minimum": 0, "maximum": FASTEST });
    let time = || {
        json!({ "type": "string", "pattern": "^ *[0-9.eE+-]+ *(ms|us|µs|min|h|s)$",
                "description": "A time: 200ms, 30s, 10min" })
    };
    let size = || {
        json!({ "type": "string", "pattern": "^ *\\+?[0-9]+ *(KiB|MiB|GiB)?$",
                "description": "Octets: 64KiB, 16MiB, 1000" })
    };
    fn words<T>(known: &[(&'static str, T)]) -> Json {
        word(known.iter().map(|(word, _)| *word).collect())
    }
    let rates = table(&[need("from", rate()), need("to", rate())]);
    let share = || up_to(0, 100);
    let mix = table(&[
        may("report", share()),
        may("join", share()),
        may("leave", share()),
    ]);
    let most = i64::from(u32::MAX);
    let population = table(&[
        may("peers", up_to(1, most)),
        may("swarms", up_to(1, most)),
        may("track-timer", time()),
        may("mix", mix),
    ]);
    let library = table(&[
        may("contents", up_to(1, most)),
        may("size", size()),
        may("piece", size()),
    ]);
    let thresholds = table(&[
        may(
            "objective",
            json!({ "type": "number", "minimum": 0, "maximum": 100,
                    "description": "The largest share of arrivals that may be inadequately handled, in percent" }),
        ),
        may("p50", time()),
        may("p99", time()),
        may("p999", time()),
    ]);
    let root = table(&[
        need("path", words(PATHS)),
        need("rate", json!({ "anyOf": [rate(), rates] })),
        may("shape", words(SHAPES)),
        may("law", words(LAWS)),
        may("duration", time()),
        may("warm-up", time()),
        may("seed", whole(0)),
        may("connections", up_to(1, 60_000)),
        may("pipeline", up_to(1, 4096)),
        may("limit", time()),
        may("patience", time()),
        may("read-whole", whole(1)),
        may("allowed-lag", time()),
        may("population", population),
        may("library", library),
        may("thresholds", thresholds),
    ]);
    document("A load profile of peerproof", root, Default::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
path     = "tracker"
rate     = { from = 100, to = 2.5e3 }
shape    = "ramp"
duration = "20s"
seed     = 7

[population]
peers       = 5000
track-timer = "60s"
mix         = { report = 30 }

[thresholds]
objective = 0.1
p99       = "50ms"
p999      = "1.5s"
"#;

    #[test]
    fn a_file_says_what_is_offered_and_what_has_to_hold() {
        let file = LoadFile::parse("a.toml", FILE).unwrap();
        assert_eq!(Some((100.0, 2500.0)), file.rate);
        assert_eq!(
            (Some(Shape::Ramp), Some(Path::Tracker)),
            (file.shape, file.path)
        );
        assert_eq!((Some(5000), Some(60)), (file.peers, file.track_timer));
        let mix = Mix {
            report: 30,
            ..Mix::default()
        };
        assert_eq!(Some(mix), file.mix);
        let goal = Goal {
            inadequate: 0.001,
            p50: None,
            p99: Some(50.0),
            p999: Some(1500.0),
        };
        assert_eq!(Some(goal), file.goal);
        assert_eq!(None, file.law);
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        for (found, instead, told) in [
            ("path     = \"tracker\"", "", "\"path\" is missing"),
            ("\"tracker\"", "\"traker\"", "did you mean \"tracker\"?"),
            ("rate     =", "# rate =", "\"rate\" is missing"),
            ("to = 2.5e3", "to = -1", "3:31: "),
            ("to = 2.5e3", "two = 1", "did you mean \"to\"?"),
            ("shape    = \"ramp\"", "", "a shape with one"),
            ("\"ramp\"", "\"ramps\"", "did you mean \"ramp\"?"),
            ("\"20s\"", "\"20 seconds\"", "expected a time such as"),
            ("\"20s\"", "\"20ms\"", "expected one long enough"),
            ("seed     =", "sead     =", "did you mean \"seed\"?"),
            ("seed     = 7", "seed = -7", "at least 0"),
            ("[population]", "[library]", "the path tracker has none of"),
            ("peers       = 5000", "peers = 0", "a whole number from 1"),
            ("\"60s\"", "\"500ms\"", "whole seconds"),
            ("report = 30", "report = 95", "105 % together"),
            (
                "objective = 0.1",
                "objective = 101",
                "percent, from 0 to 100",
            ),
            ("p99       =", "p95 =", "unknown key \"p95\""),
        ] {
            let broken = FILE.replacen(found, instead, 1);
            assert_ne!(FILE, broken, "{found} is not in the file");
            let mistakes = LoadFile::parse("a.toml", &broken).unwrap_err();
            let lines = mistakes.items().iter().map(|mistake| mistake.line());
            let lines: Vec<String> = lines.collect();
            assert!(
                lines.iter().any(|line| line.contains(told)),
                "{instead}: {lines:#?}"
            );
            assert!(lines.iter().all(|line| line.starts_with("a.toml:")));
        }
        let chunks = "path = \"chunks\"\nrate = 1\n[library]\nsize = \"1KiB\"\npiece = \"2KiB\"\n";
        assert!(LoadFile::parse("a.toml", chunks).is_err());
    }
}
