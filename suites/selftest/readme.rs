//! What the README promises: its commands work, its tables say what the program says.

mod folder;

use std::{fs, path::Path, process::Command};

use folder::Folder;

#[test]
fn every_command_of_the_front_door_works() {
    assert!(obey("README.md") > 8);
}

#[test]
fn every_command_about_suites_works() {
    assert!(obey("suites/README.md") > 3);
}

#[test]
fn every_command_about_fixtures_works() {
    assert!(obey("fixtures/README.md") > 2);
}

#[test]
fn every_command_about_reports_works() {
    assert!(obey("reports/README.md") > 4);
}

#[test]
fn every_command_about_pipelines_works() {
    assert!(obey("ci/README.md") > 2);
}

#[test]
fn every_command_about_the_sources_works() {
    obey("src/README.md");
}

/// Types the commands of a README in an empty folder, one after the other, and says how many. What its comment says
/// is held to: `exit 1` is the exit code, `tested as: …` a shorter form, `needs X` a tool that may be missing, `not run
/// by a test: …` a reason. Before that, files that the README shows are written: blocks that begin with their path.
fn obey(file: &str) -> usize {
    let name = file.replace('/', "-");
    let folder = Folder::new(&name);
    let text = read(file);
    for (path, content) in shown_files(&text) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_peerproof"));
    let places = format!("{}:{}", program.parent().unwrap().display(), env!("PATH"));
    let mut typed = 0;
    for line in commands(&text) {
        let Some(command) = line.typed() else {
            println!("SKIPPED: {} ({})", line.command, line.comment);
            continue;
        };
        let output = Command::new("sh")
            .args([
                "-c",
                &command.replace("ci/", &format!("{}/ci/", root().display())),
            ])
            .env("PATH", &places)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        assert_eq!(
            Some(line.exit()),
            code,
            "{file}: {command}\n{said}\n{complained}"
        );
        typed += 1;
    }
    typed
}

/// The blocks that begin with a comment naming a file, and that file.
fn shown_files(text: &str) -> Vec<(&str, &str)> {
    let blocks = text.split("```toml\n# ").skip(1);
    blocks
        .filter_map(|block| block.split("```").next()?.split_once('\n'))
        .filter(|(path, _)| path.ends_with(".toml") && !path.contains(' '))
        .collect()
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
        "src/README.md",
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

/// A line of a `sh` block.
struct Line<'a> {
    command: &'a str,
    comment: &'a str,
}

impl Line<'_> {
    /// What is typed for it; `None` if it cannot be here, and its comment says why.
    fn typed(&self) -> Option<String> {
        if let Some((_, shorter)) = self.comment.split_once("tested as: ") {
            return Some(shorter.to_owned());
        }
        let missing = self.comment.strip_prefix("needs ").filter(|tool| {
            let found = Command::new("sh")
                .args(["-c", &format!("{tool} version")])
                .output();
            !found.is_ok_and(|output| output.status.success())
        });
        if missing.is_some() || self.comment.starts_with("not run by a test: ") {
            return None;
        }
        Some(
            self.command
                .replace("cargo run --release -- ", "peerproof "),
        )
    }

    fn exit(&self) -> i32 {
        let exit = self.comment.strip_prefix("exit ");
        exit.map_or(0, |code| code.split(':').next().unwrap().parse().unwrap())
    }
}

/// The lines of `sh` blocks.
fn commands(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.split("```sh\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .flat_map(str::lines)
        .map(|line| match line.split_once("  #") {
            Some((command, comment)) => Line {
                command: command.trim(),
                comment: comment.trim(),
            },
            None => Line {
                command: line.trim(),
                comment: "",
            },
        })
        .filter(|line| !line.command.is_empty())
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
