//! What the README promises: its commands work, its tables say what the program says.

mod folder;

use std::{fs, path::Path, process::Command};

use folder::Folder;

#[test]
fn every_command_in_the_readme_works() {
    let folder = Folder::new("readme");
    let readme = read("README.md");
    let commands: Vec<&str> = commands(&readme).collect();
    assert!(commands.len() > 8, "{commands:?}");
    for command in commands {
        let output = Command::new("sh")
            .args(["-c", &format!("\"$PEERPROOF\" {command}")])
            .env("PEERPROOF", env!("CARGO_BIN_EXE_peerproof"))
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{said}\n{complained}");
    }
}

#[test]
fn exit_codes_are_those_of_the_program() {
    let help = Command::new(env!("CARGO_BIN_EXE_peerproof"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, codes) = help.split_once("Exit codes").unwrap();
    let rows: Vec<&str> = codes
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(11, rows.len());
    let readme = read("README.md");
    for row in rows {
        let (code, meaning) = row.trim().split_once("  ").unwrap();
        let line = format!("| {code} | {meaning} |");
        assert!(readme.contains(&line), "{line}");
    }
}

#[test]
fn every_path_in_the_readmes_is_there() {
    for file in [
        "README.md",
        "suites/README.md",
        "fixtures/README.md",
        "reports/README.md",
        "ci/README.md",
    ] {
        let folder = Path::new(file).parent().unwrap();
        for path in paths(&read(file)) {
            let is_there = [root().join(folder).join(&path), root().join(&path)]
                .iter()
                .any(|path| path.exists());
            assert!(is_there, "{file} names {path}");
        }
    }
}

#[test]
fn the_layers_of_the_readme_are_those_of_the_test() {
    let readme = read("src/README.md");
    let test = read("suites/selftest/layering.rs");
    let table = test
        .split("const LAYERS")
        .nth(1)
        .unwrap()
        .split("];")
        .next()
        .unwrap();
    let mut last = 0;
    let mut modules = 0;
    for line in readme.lines() {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let (Some(layer), Some(names)) = (cells.next(), cells.next()) else {
            continue;
        };
        if layer.parse::<u8>().is_err() {
            continue;
        }
        for name in names.split(',').map(|name| name.trim().trim_matches('`')) {
            let place = table.find(&format!("\"{name}\""));
            let line = table[..place.unwrap_or_else(|| panic!("no layer for {name}"))]
                .lines()
                .count();
            assert!(
                line >= last,
                "{name} is lower in the test than in src/README.md"
            );
            last = line;
            modules += 1;
        }
    }
    assert!(modules > 10);
}

/// The lines of `sh` blocks, without comments; those for cargo are typed as they are in the checkout.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.split("```sh\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .flat_map(str::lines)
        .filter_map(|line| line.split("  #").next())
        .map(|line| line.trim().trim_start_matches("cargo run --release -- "))
        .map(|line| line.trim_start_matches("peerproof "))
        .filter(|line| !line.is_empty())
}

/// What stands in backquotes and looks like a path of ours.
fn paths(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| !word.contains([' ', '<', '*', '…', '#', '\n']))
        .filter(|word| {
            let begins = ["src/", "suites/", "fixtures/", "ci/", ".ci/", ".github/"];
            begins.iter().any(|begin| word.starts_with(begin))
        })
        .map(str::to_owned)
        .collect()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
