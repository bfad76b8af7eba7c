//! Load profiles from files: what they say is done, what is typed comes before it, and a mistake has its place.

mod folder;
mod load_tools;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use folder::Folder;
use load_tools::{PATIENT, trial};
use peerproof::load::{
    file::{self, LoadFile},
    profile::Shape,
    trial::Outcome,
};

fn peerproof(folder: &Folder, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerproof"));
    let command = command.args(args).current_dir(folder.path());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let all = [&output.stdout, &output.stderr];
    all.map(|octets| String::from_utf8_lossy(octets).into_owned())
        .concat()
}

/// Short.
const SHORT: &[&str] = &["--duration", "1s", "--warm-up", "300ms"];

#[test]
fn every_sample_is_read_and_can_be_measured() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/load");
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(samples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let sample = LoadFile::parse(&name, &fs::read_to_string(&path).unwrap()).unwrap();
        assert!(sample.goal.is_some() && sample.duration.is_some(), "{name}");
        let folder = Folder::new(&format!("sample-{name}"));
        let load = sample.path.unwrap().word();
        let rate = match sample.shape.unwrap_or_default() {
            Shape::Constant | Shape::Soak => "50",
            _ => "20..60",
        };
        let args = ["bench", load, "--profile", path.to_str().unwrap()];
        let typed = ["--rate", rate, "--out", "out", "--p99", "20000"];
        let output = peerproof(&folder, &[&args[..], &typed, SHORT, PATIENT].concat());
        let plan = trial(&folder.path().join("out")).plan;
        assert!(
            matches!(output.status.code(), Some(0 | 6)),
            "{name}: {}",
            said(&output)
        );
        assert_eq!(sample.shape.unwrap_or_default(), plan.profile.shape);
        assert!(plan.profile.peak() < 61.0 && plan.profile.duration().as_secs_f64() < 1.5);
        let goal = plan.goal.unwrap();
        assert_eq!(Some(20000.0), goal.p99);
        assert_eq!(sample.goal.unwrap().inadequate, goal.inadequate);
        if let Some(mix) = sample.mix {
            assert_eq!(Some(mix), plan.mix);
        }
        if let Some(contents) = sample.contents {
            assert_eq!(contents, plan.library.unwrap().contents);
        }
        seen.insert(load);
    }
    assert_eq!(BTreeSet::from(["chunks", "tracker"]), seen);
}

#[test]
fn what_is_typed_comes_before_what_the_file_says() {
    let folder = Folder::new("typed");
    let text = "path = \"tracker\"\nrate = 40\nseed = 7\nconnections = 3\nlaw = \"constant\"\n\
                [population]\npeers = 3000\nswarms = 3\nmix = { report = 0, join = 0, leave = 0 }\n\
                [thresholds]\np99 = \"1us\"\np50 = \"20s\"\n";
    fs::write(folder.path().join("p.toml"), text).unwrap();
    let args = ["bench", "tracker", "--profile", "p.toml", "--out"];
    let from_file = [&args[..], &["file"], SHORT, PATIENT].concat();
    let output = peerproof(&folder, &from_file);
    let measured = trial(&folder.path().join("file"));
    let plan = &measured.plan;
    assert_eq!((7, 3), (plan.seed, plan.connections));
    assert_eq!(3000, plan.population.unwrap().peers);
    assert_eq!(40.0, plan.profile.peak());
    // Nothing but peer lists, evenly: forty in a second.
    if let Some(figures) = &measured.figures {
        assert_eq!(40, figures.kinds["peer-list"].offered);
        assert_eq!(40, figures.counts.offered);
        assert_eq!(Some(5), output.status.code(), "{}", said(&output));
        assert!(said(&output).contains("missed           p99"));
    } else {
        assert_eq!(Some(6), output.status.code(), "{}", said(&output));
    }
    let typed = ["typed", "--seed", "0", "--peers", "2000", "--connections"];
    let more = [
        "5",
        "--questions",
        "report=50",
        "--p99",
        "20000",
        "--swarms",
        "10",
    ];
    let output = peerproof(
        &folder,
        &[&args[..], &typed, &more, SHORT, PATIENT].concat(),
    );
    let plan = trial(&folder.path().join("typed")).plan;
    // 0 is what it is by default: typed, it is meant.
    assert_eq!((0, 5), (plan.seed, plan.connections));
    assert_eq!(2000, plan.population.unwrap().peers);
    assert_eq!(50, plan.mix.unwrap().report);
    let goal = plan.goal.unwrap();
    assert_eq!((Some(20000.0), Some(20000.0)), (goal.p50, goal.p99));
    assert!(
        matches!(output.status.code(), Some(0 | 6)),
        "{}",
        said(&output)
    );
}

#[test]
fn a_mistake_is_shown_with_its_place() {
    let folder = Folder::new("mistakes");
    let text = "path = \"tracker\"\nrate = 40\ndurration = \"30s\"\nshape = \"rampp\"\n";
    fs::write(folder.path().join("p.toml"), text).unwrap();
    let output = peerproof(&folder, &["bench", "tracker", "--profile", "p.toml"]);
    let told = said(&output);
    assert_eq!(Some(2), output.status.code(), "{told}");
    for part in [
        "p.toml:3:1",
        "did you mean \"duration\"?",
        "p.toml:4:9",
        "did you mean \"ramp\"?",
        "2 mistakes",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let output = peerproof(&folder, &["bench", "tracker", "--profile", "none.toml"]);
    assert_eq!(Some(2), output.status.code());
    assert!(said(&output).contains("none.toml: "), "{}", said(&output));
    fs::write(
        folder.path().join("q.toml"),
        "path = \"chunks\"\nrate = 40\n",
    )
    .unwrap();
    let output = peerproof(&folder, &["bench", "tracker", "--profile", "q.toml"]);
    assert_eq!(Some(2), output.status.code());
    assert!(said(&output).contains("peerproof bench chunks"));
    assert!(!folder.path().join("peerproof-out").exists());
}

#[test]
fn a_gate_holds_measurements_to_their_own_thresholds() {
    let folder = Folder::new("gate-thresholds");
    let args = ["bench", "tracker", "--rate", "40", "--peers", "2000"];
    let held = ["--p99", "20000", "--out", "m"];
    peerproof(&folder, &[&args[..], &held, SHORT, PATIENT].concat());
    let mut measured = trial(&folder.path().join("m"));
    if measured.outcome != Outcome::Measured {
        return;
    }
    let gate = ["gate", "base.json", "m", "m", "m", "m"];
    let output = peerproof(&folder, &[&gate[..], &["--record"]].concat());
    assert_eq!(Some(0), output.status.code(), "{}", said(&output));
    // Other thresholds are the same load.
    measured.plan.goal.as_mut().unwrap().p99 = Some(0.001);
    let text = serde_json::to_string(&measured).unwrap();
    fs::write(folder.path().join("m/bench.json"), text).unwrap();
    let output = peerproof(&folder, &gate);
    assert_eq!(Some(5), output.status.code(), "{}", said(&output));
    assert!(said(&output).contains("measurement 1: missed p99"));
}

#[test]
fn the_reader_knows_the_keys_of_the_schema() {
    let schema = file::schema();
    let text = "path = \"tracker\"\nrate = { from = 1, to = 1, nobody-knows-this = 1 }\nnobody-knows-this = 1\n\
                [population]\nnobody-knows-this = 1\nmix = { nobody-knows-this = 1 }\n\
                [library]\nnobody-knows-this = 1\n[thresholds]\nnobody-knows-this = 1\n";
    let mistakes = LoadFile::parse("p.toml", text).unwrap_err();
    let told = mistakes.items().iter().filter_map(|mistake| {
        let start = "unknown key \"nobody-knows-this\", expected one of ";
        let keys = mistake.message.strip_prefix(start)?;
        Some(keys.split(", ").map(str::to_owned).collect())
    });
    let told: BTreeSet<BTreeSet<String>> = told.collect();
    let places = [
        "",
        "/properties/rate/anyOf/1",
        "/properties/population",
        "/properties/population/properties/mix",
        "/properties/library",
        "/properties/thresholds",
    ];
    let known = places.map(|place| {
        let table = schema.pointer(place).unwrap();
        let keys = table["properties"].as_object().unwrap();
        keys.keys().cloned().collect::<BTreeSet<String>>()
    });
    assert_eq!(BTreeSet::from(known), told);
}
