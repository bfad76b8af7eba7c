//! The samples of every report format: a stored run, and what is drawn from it, held to what was reviewed.

mod folder;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use folder::Folder;

/// Draws every format again from the stored results and traces. `WRITE_SAMPLES=1` keeps what was drawn, to be
/// reviewed like code.
#[test]
fn every_format_is_drawn_as_the_sample_shows() {
    let folder = Folder::new("samples");
    let run = folder.path().join("sample");
    copy(&samples(), &run);
    // Contents are generated from a rule, so that they need not be kept: any run leaves them.
    let any = folder.path().join("any");
    peerproof(
        &[
            "run",
            "registered/step-3-piece-request/asks-through-the-p-cscf",
            "--out",
        ],
        &any,
        0,
    );
    copy(&any.join("contents"), &run.join("contents"));
    for file in files(&run).into_iter().filter(|file| is_drawn(file)) {
        fs::remove_file(run.join(file)).unwrap();
    }

    let all = "--report=junit,ctrf,markdown,text,html,ladder";
    peerproof(&["report", all, "--pcap=on-fail"], &run, 1);

    let drawn: Vec<PathBuf> = files(&run)
        .into_iter()
        .filter(|file| is_drawn(file))
        .collect();
    assert!(drawn.len() >= 7, "{drawn:?}");
    if env::var_os("WRITE_SAMPLES").is_some() {
        for file in &drawn {
            fs::copy(run.join(file), samples().join(file)).unwrap();
        }
    }
    for file in &drawn {
        let reviewed = fs::read(samples().join(file)).unwrap_or_default();
        assert!(
            fs::read(run.join(file)).unwrap() == reviewed,
            "{} is drawn otherwise: WRITE_SAMPLES=1 cargo test --test samples, then review the change",
            file.display()
        );
    }
    let kept: Vec<PathBuf> = files(&samples())
        .into_iter()
        .filter(|file| is_drawn(file))
        .collect();
    assert_eq!(drawn, kept, "nothing is kept that is not drawn");
}

/// Drawn, rather than recorded.
fn is_drawn(file: &Path) -> bool {
    !file.ends_with("results.json")
        && !file.ends_with("trace.jsonl")
        && !file.starts_with("contents")
}

fn peerproof(arguments: &[&str], folder: &Path, code: i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_peerproof"))
        .args(arguments)
        .arg(folder)
        .output()
        .unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(Some(code), output.status.code(), "{complained}");
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(file), target).unwrap();
    }
}

/// Every file below `folder`, by its path in it, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(inside) = open.pop() {
        for entry in fs::read_dir(inside).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/samples/run")
}
