//! The commands of the pods, as they stand in the files of `ci/kubernetes/`: several generators begin together and
//! are merged, and nothing is lost or made up.

mod folder;
mod load_tools;

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use folder::Folder;
use load_tools::{Serving, trial};
use peerproof::load::{
    file::LoadFile,
    log,
    record::Record,
    schedule::Share,
    trial::{Outcome, Trial},
};

/// One load for all: short, on a machine that may be busy.
const LOAD: &str = "path = \"tracker\"\nrate = 120\nduration = \"2s\"\nwarm-up = \"500ms\"\nlimit = \"20s\"\n\
                    patience = \"20s\"\nallowed-lag = \"20s\"\nconnections = 8\n[population]\npeers = 2000\n\
                    [thresholds]\nobjective = 100\np99 = \"20s\"\n";

#[test]
fn the_pods_of_a_job_measure_one_load_together() {
    let folder = Folder::new("pods");
    let root = folder.path();
    fs::write(root.join("load.toml"), LOAD).unwrap();
    let generators = read("generators.yaml");
    let count: u32 = setting(&generators, "GENERATORS").parse().unwrap();
    assert_eq!(2, count);
    let serving = Serving::start(&["tracker", "--peers", "2000"]);
    let pod = |script: &str, index: u32| {
        let mut command = Command::new("/bin/sh");
        let program = Path::new(env!("CARGO_BIN_EXE_peerproof"));
        let places = format!("{}:{}", program.parent().unwrap().display(), env!("PATH"));
        command
            .args(["-euc", script])
            .current_dir(root)
            .env("PATH", places)
            .env("JOB_COMPLETION_INDEX", index.to_string())
            .env("RESULTS", root.join("results"))
            .env("PROFILE", root.join("load.toml"))
            .env("LOAD", setting(&generators, "LOAD"))
            .env("GENERATORS", count.to_string())
            .env("TARGET", serving.addr.to_string())
            .env("START_IN", "3")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let script = block(&generators, "args:", "- |");
    // The last comes first: it waits for the others.
    let children: Vec<Child> = (0..count)
        .rev()
        .map(|index| pod(&script, index).spawn().unwrap())
        .collect();
    let ended: Vec<Output> = children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    let merge = block(&read("merge.yaml"), "args:", "- |");
    let merged = pod(&merge, 0).output().unwrap();
    let said = String::from_utf8_lossy(&merged.stdout).into_owned();
    let whole: Trial = trial(&root.join("results/merged"));
    let shares = (1..=count).map(|n| trial(&root.join(format!("results/share-{n}"))));
    let shares: Vec<Trial> = shares.collect();
    let begun: Vec<u64> = shares.iter().map(|share| share.began).collect();
    assert!(begun[0].abs_diff(begun[1]) < 100, "{begun:?}");
    for (share, number) in shares.iter().zip(1..) {
        assert_eq!(Share { number, of: count }, share.plan.share);
    }
    if shares
        .iter()
        .any(|share| share.outcome != Outcome::Measured)
    {
        // No room for a measurement on this machine: then the whole is none.
        println!("no measurement: {said}");
        assert!(ended.iter().any(|output| output.status.code() == Some(6)));
        assert_eq!(Some(6), merged.status.code(), "{said}");
        return;
    }
    assert!(
        ended.iter().all(|output| output.status.code() == Some(0)),
        "{ended:?}"
    );
    assert_eq!(Some(0), merged.status.code(), "{said}");
    // The threshold of the profile is held to by the whole.
    assert!(said.contains("held             inadequate"), "{said}");
    assert_eq!(Share::ALL, whole.plan.share);
    let figures = whole.figures.unwrap();
    let offered = |trial: &Trial| trial.figures.as_ref().unwrap().counts.offered;
    assert_eq!(
        figures.counts.offered,
        shares.iter().map(offered).sum::<u64>()
    );
    let mut sum = Record::default();
    for n in 1..=count {
        sum.add(&record(&root.join(format!("results/share-{n}"))));
    }
    assert_eq!(sum, record(&root.join("results/merged")));
    assert!(root.join("results/merged/report.html").exists());
    // One generator has the same arrivals, second by second.
    let alone = format!(
        "peerproof bench tracker --profile \"$PROFILE\" --target {} --out alone",
        serving.addr
    );
    let output = pod(&alone, 0).output().unwrap();
    if output.status.code() == Some(0) {
        let alone = trial(&root.join("alone")).figures.unwrap();
        let seconds = |figures: &peerproof::load::trial::Figures| -> Vec<u64> {
            figures
                .timeline
                .iter()
                .map(|second| second.offered)
                .collect()
        };
        assert_eq!(seconds(&alone), seconds(&figures));
        assert_eq!(alone.kinds, figures.kinds);
    }
}

#[test]
fn what_the_files_say_of_the_load_is_one_thing() {
    let generators = read("generators.yaml");
    let text = block(&generators, "data:", "load.toml: |");
    let load = LoadFile::parse("load.toml", &text).unwrap();
    assert_eq!(setting(&generators, "LOAD"), load.path.unwrap().word());
    for key in ["completions", "parallelism", "GENERATORS"] {
        assert_eq!("2", setting(&generators, key), "{key}");
    }
    let images = [generators, read("merge.yaml")].map(|text| setting(&text, "image"));
    assert_eq!(images[0], images[1]);
}

fn read(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join("ci/kubernetes").join(file)).unwrap()
}

/// The value of a key that stands once in a file.
fn setting(text: &str, key: &str) -> String {
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.trim_start().split_once(':')?;
        (name == key).then(|| value.trim().trim_matches('"').to_owned())
    });
    let found: Vec<String> = lines.collect();
    assert_eq!(1, found.len(), "{key}");
    found[0].clone()
}

/// The text of a literal block that begins with `head`, behind a line `after`.
fn block(text: &str, after: &str, head: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut last = "";
    for line in lines.by_ref() {
        if line.trim() == head && last.trim() == after {
            break;
        }
        last = line;
    }
    let depth = |line: &str| line.len() - line.trim_start().len();
    let indent = depth(lines.peek().expect("a block begins there"));
    let own = lines.take_while(|line| line.is_empty() || depth(line) >= indent);
    own.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n")
        .collect()
}

fn record(folder: &Path) -> Record {
    log::read(&fs::read_to_string(folder.join("intervals.hlog")).unwrap()).unwrap()
}
