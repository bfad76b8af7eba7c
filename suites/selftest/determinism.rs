//! The same seed gives the same octets: in another process, with more jobs, alone or among others.

mod folder;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use folder::Folder;

#[test]
fn traces_do_not_depend_on_the_process_or_on_the_jobs() {
    let folder = Folder::new("jobs");
    let one = traces(&run(&folder, "one", &["--jobs", "1", "--repeat", "2"]));
    let four = traces(&run(&folder, "four", &["--jobs", "4", "--repeat", "2"]));
    assert!(!one.is_empty());
    same(&one, &four);
}

#[test]
fn an_instance_plays_alone_as_it_plays_among_others() {
    let folder = Folder::new("alone");
    let all = traces(&run(&folder, "all", &[]));
    let ids: Vec<&String> = all.keys().collect();
    // The first, the last, and some between.
    for number in (0..ids.len())
        .step_by(ids.len().div_ceil(5))
        .chain([ids.len() - 1])
    {
        let id = ids[number];
        let alone = traces(&run(&folder, &format!("alone-{number}"), &[id]));
        assert_eq!(1, alone.len());
        assert_eq!(all[id], alone[id], "{id}");
    }
}

#[test]
fn another_seed_gives_other_octets() {
    let folder = Folder::new("seed");
    let zero = traces(&run(&folder, "zero", &["--seed", "0"]));
    let seven = traces(&run(&folder, "seven", &["--seed", "7"]));
    let differing = zero.iter().filter(|(id, trace)| {
        let other = id.replace("#0", "#7");
        seven.get(&other).is_some_and(|seven| seven != *trace)
    });
    assert_eq!(zero.len(), differing.count());
}

fn same(one: &BTreeMap<String, Vec<u8>>, other: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(
        one.keys().collect::<Vec<_>>(),
        other.keys().collect::<Vec<_>>()
    );
    for (id, trace) in one {
        assert!(trace == &other[id], "{id} differs");
    }
}

/// Every trace of a run folder by its instance.
fn traces(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![run.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.ends_with("trace.jsonl") {
                let instance = path.parent().unwrap().strip_prefix(run).unwrap();
                found.insert(
                    instance.to_str().unwrap().to_owned(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

/// Runs what `arguments` select, the smoke scenarios if they select nothing, and gives the run folder.
fn run(folder: &Folder, name: &str, arguments: &[&str]) -> PathBuf {
    let run = folder.path().join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerproof"));
    command.arg("run").args(arguments).arg("--out").arg(&run);
    if !arguments.iter().any(|argument| argument.contains('/')) {
        command.args(["--tag", "smoke"]);
    }
    let output = command.output().unwrap();
    assert!(run.join("results.json").is_file(), "{output:?}");
    run
}
