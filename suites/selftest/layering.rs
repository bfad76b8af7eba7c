//! The layers of `src/README.md`, held to: each module imports only from lower ones, and what touches the
//! world outside stands only where it may.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Modules from the lowest layer to the highest; those of one line do not know each other.
const LAYERS: &[&[&str]] = &[
    &["spec", "time", "random"],
    &["wire"],
    &["io"],
    &["proto", "trace"],
    &["suite"],
    &["node", "net", "judge"],
    &["drive"],
    &["sut"],
    &["run"],
    &["prove", "load"],
    &["report"],
    &["cli"],
];

/// Where sockets, processes, the environment, wall clocks and the randomness of the system may be used.
const WORLDLY: &[&str] = &[
    "net/sockets.rs",
    "net/tls.rs",
    "sut/",
    "sut.rs",
    "load/engine/",
    "cli/",
    "main.rs",
];

/// What only they may name.
const WORLD: &[&str] = &[
    "tokio",
    "rustix",
    "std::process",
    "process::",
    "std::env",
    "env::",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "Instant",
    "SystemTime",
    "OsRng",
    "getrandom",
    "thread_rng",
];

/// What makes a map whose order differs from run to run; one with a seeded hasher does not.
const UNORDERED: &[&str] = &[
    "HashMap::new",
    "HashMap::from",
    "HashMap::default",
    "HashSet::new",
    "HashSet::from",
    "HashSet::default",
    "RandomState",
];

#[test]
fn modules_import_only_from_lower_layers() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module(&path);
        let Some(own) = layer(&module) else {
            continue;
        };
        for imported in imports(&text) {
            let lower = layer(&imported).is_some_and(|other| other < own);
            if imported != module && !lower {
                wrong.push(format!("src/{path} imports {imported}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not from a lower layer:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_module_has_its_layer() {
    let known: BTreeSet<&str> = LAYERS
        .iter()
        .flat_map(|layer| layer.iter().copied())
        .collect();
    let unknown: BTreeSet<String> = sources()
        .iter()
        .map(|(path, _)| module(path))
        .filter(|module| !["lib", "main"].contains(&module.as_str()))
        .filter(|module| !known.contains(module.as_str()))
        .collect();
    assert!(unknown.is_empty(), "give them a layer: {unknown:?}");
}

#[test]
fn a_trace_knows_frames_and_no_messages() {
    for (path, text) in sources() {
        if module(&path) != "trace" {
            continue;
        }
        for name in ["sip", "http", "msrp", "diameter", "ppstp", "sdp"] {
            assert!(!has_word(&text, &format!("wire::{name}")), "src/{path}");
        }
    }
}

#[test]
fn the_world_is_touched_only_where_it_may_be() {
    let wrong = uses(WORLD, |path| {
        !WORLDLY.iter().any(|may| path.starts_with(may))
    });
    assert!(
        wrong.is_empty(),
        "only in {WORLDLY:?}:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_map_below_the_driver_has_an_order_of_its_own() {
    let driver = layer("drive");
    let wrong = uses(UNORDERED, |path| layer(&module(path)) < driver);
    assert!(
        wrong.is_empty(),
        "use BTreeMap, or seed it:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn imports_are_found_in_every_notation() {
    let text = "use crate::{spec::{Role, RefPoint}, time::At};\nfn f() { crate::wire::x() }\n\
                // crate::cli\nuse crate::io;\n";
    assert_eq!(vec!["spec", "time", "wire", "io"], imports(&strip(text)));
}

/// Lines of sources that use one of `words`, where `held` says the path is held to it.
fn uses(words: &[&str], held: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources() {
        if !held(&path) {
            continue;
        }
        for line in text.lines() {
            for word in words.iter().filter(|word| has_word(line, word)) {
                found.push(format!("src/{path} uses {word}: {}", line.trim()));
            }
        }
    }
    found
}

/// Whether `word` stands in `text` and is not a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        !inside(text[..at].chars().next_back())
            && (word.ends_with(':') || !inside(text[at + word.len()..].chars().next()))
    })
}

/// The modules named after `crate::`, in order.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, word) in text.match_indices("crate::") {
        let rest = &text[at + word.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_names(group)),
            None => found.push(name(rest)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The names that begin the members of a group `{a::b, c::{d, e}}`, given what follows its `{`.
fn first_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(name(group[start..at].trim_start()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name(group[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// `wire/sip/mod.rs` → `wire`, `time.rs` → `time`.
fn module(path: &str) -> String {
    let first = path.split('/').next().unwrap_or(path);
    first.trim_end_matches(".rs").to_owned()
}

/// Every source file: its path below `src/`, and its text without comments and unit tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    assert!(files.len() > 20, "the sources were not found");
    files
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .map(|path| {
            let text = strip(&fs::read_to_string(&path).unwrap());
            let below = path.strip_prefix(&root).unwrap();
            (below.to_str().unwrap().to_owned(), text)
        })
        .collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn strip(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code = code
        .split("#[cfg(test)]\npub(crate) mod tests")
        .next()
        .unwrap();
    let lines = code.lines().map(|line| match line.find("//") {
        Some(0) => "",
        Some(at) if line[..at].trim().is_empty() || line[..at].ends_with(' ') => &line[..at],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}
