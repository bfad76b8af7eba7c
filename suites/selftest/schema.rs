//! Editor schemas: what is committed is what the program writes, every file of ours is right by it, and a broken
//! one is not. `.taplo.toml` says which schema is for which files. That schemas and readers agree is shown beside
//! the schemas.

use std::{collections::BTreeSet, fs, path::Path};

use assert_cmd::Command;
use jsonschema::Validator;
use peerproof::{
    suite::{Names, Suite},
    sut::Profile,
};
use serde_json::Value;
use wildmatch::WildMatch;

/// What to ask the program for, and where it is committed.
const SCHEMAS: &[(&str, &str)] = &[
    ("bench", "reports/bench.schema.json"),
    ("contents", "fixtures/contents.schema.json"),
    ("load", "fixtures/load/schema.json"),
    ("profile", "fixtures/profiles/schema.json"),
    ("requirements", "suites/requirements.schema.json"),
    ("scenarios", "suites/schema.json"),
    ("subscribers", "fixtures/subscribers.schema.json"),
    ("topology", "fixtures/topologies/schema.json"),
];

#[test]
fn committed_schemas_are_those_of_the_program() {
    for (of, path) in SCHEMAS {
        let output = Command::new(env!("CARGO_BIN_EXE_peerproof"))
            .args(["schema", of])
            .output()
            .unwrap();
        assert!(output.status.success());
        let written = String::from_utf8(output.stdout).unwrap();
        let committed = read(path);
        assert!(
            written == committed,
            "{path} is old: write it again by `peerproof schema {of} > {path}`"
        );
    }
}

#[test]
fn every_file_of_ours_is_right_by_its_schema() {
    let mut seen = 0;
    for (schema, files) in rules() {
        let validator = validator(&schema);
        assert!(!files.is_empty(), "{schema} is for no file");
        for file in files {
            let errors: Vec<String> = validator
                .iter_errors(&json(&read(&file)))
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{file}: {errors:#?}");
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} files were seen");
}

#[test]
fn broken_scenario_files_are_not() {
    let validator = validator("suites/schema.json");
    assert!(validator.is_valid(&json(RIGHT)));
    for (found, instead) in [
        ("section  =", "sektion  ="),
        ("purpose  = \"", "# \""),
        ("[\"UE-001\"]", "[1]"),
        ("\"ims\"", "\"imss\""),
        ("\"ue-skips-p-cscf\"", "\"ue-skips-nobody\""),
        ("fetch", "fetsch"),
        ("on = \"Gm\"", "on = \"Gn\""),
        ("\"INVITE\"", "\"INVTE\""),
        ("status = 200", "status = 20"),
        ("status = 200", "status = { minimum = 200 }"),
        ("\"2s\"", "\"2 seconds\""),
        ("never  =", "expect = { from = \"ue-a\" }\n  never  ="),
    ] {
        let broken = RIGHT.replacen(found, instead, 1);
        assert_ne!(RIGHT, broken, "{found} is not in the file");
        assert!(!validator.is_valid(&json(&broken)), "{instead} is taken");
    }
}

#[test]
fn a_profile_is_read_by_the_keys_of_its_schema() {
    let suite = Suite::embedded(Names::default()).unwrap();
    let schema: Value = serde_json::from_str(&read("fixtures/profiles/schema.json")).unwrap();
    let validator = validator("fixtures/profiles/schema.json");
    assert!(validator.is_valid(&json(PROFILE)));
    Profile::parse("profile.toml", PROFILE, &suite).unwrap();
    for (place, pointer) in [
        ("name = \"", ""),
        ("[claims]", "/properties/claims"),
        ("[timers]", "/properties/timers"),
        ("[limits]", "/properties/limits"),
        ("[[waiver]]", "/properties/waiver/items"),
        ("[[guest]]", "/properties/guest/items"),
        (
            "[guest.trigger]",
            "/properties/guest/items/properties/trigger",
        ),
    ] {
        // In front of the first key of the table, or behind its head.
        let strange = match place.starts_with('[') {
            true => PROFILE.replacen(place, &format!("{place}\nnobody-knows-this = 1"), 1),
            false => PROFILE.replacen(place, &format!("nobody-knows-this = 1\n{place}"), 1),
        };
        assert!(!validator.is_valid(&json(&strange)), "{place}");
        let mistakes = Profile::parse("profile.toml", &strange, &suite).unwrap_err();
        let told = mistakes.items().iter().find_map(|mistake| {
            let (_, keys) = mistake
                .message
                .split_once("unknown key \"nobody-knows-this\", expected one of ")?;
            Some(
                keys.split(", ")
                    .map(str::to_owned)
                    .collect::<BTreeSet<String>>(),
            )
        });
        let properties = schema.pointer(pointer).unwrap()["properties"]
            .as_object()
            .unwrap();
        let properties: BTreeSet<String> = properties.keys().cloned().collect();
        assert_eq!(Some(properties), told, "{place}");
    }
}

/// Schemas and their files, as editors are told.
fn rules() -> Vec<(String, Vec<String>)> {
    let config = json(&read(".taplo.toml"));
    let rules = config["rule"].as_array().unwrap();
    rules
        .iter()
        .map(|rule| {
            let globs = rule["include"].as_array().unwrap();
            let globs = globs.iter().map(|glob| glob.as_str().unwrap());
            let files = globs.flat_map(matching).collect();
            (rule["schema"]["path"].as_str().unwrap().to_owned(), files)
        })
        .collect()
}

/// The files of a glob whose folder has no stars.
fn matching(glob: &str) -> Vec<String> {
    let (folder, name) = glob.rsplit_once('/').unwrap();
    let name = WildMatch::new(name);
    let entries = fs::read_dir(root().join(folder)).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|found| name.matches(found))
        .map(|found| format!("{folder}/{found}"))
        .collect()
}

fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(&read(schema)).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn json(text: &str) -> Value {
    let table: toml::Table = text.parse().unwrap();
    serde_json::to_value(table).unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const PROFILE: &str = r#"
name = "A tracker"
roles = ["tracker"]

[claims]
architectures = ["registered"]

[timers]
track = "240s"

[limits]
transfers = 3

[[waiver]]
scenario = "common/*"
reason = "known"

[[guest]]
name = "tracker"
command = "tracker --port 1"

[guest.trigger]
post = "http://127.0.0.1:1/"
"#;

const RIGHT: &str = r#"
section  = "Piece request through the IMS core"
clause   = "TR 23.844 6.2.1 step 3"

[[scenario]]
name     = "asks-through-the-p-cscf"
purpose  = "The UE sends its piece request to the P-CSCF."
requires = ["UE-001"]
options  = { request = "ims" }
given    = { content = "three-pieces" }
kills    = ["ue-skips-p-cscf"]

  [[scenario.step]]
  do     = { node = "ue-a", fetch = "three-pieces" }

  [[scenario.step]]
  expect = { from = "ue-a", to = "p-cscf", on = "Gm", sip = { method = "INVITE" }, within = "2s", as = "ask" }

  [[scenario.step]]
  expect = { from = "p-cscf", to = "ue-a", on = "Gm", sip = { status = 200, for = "INVITE" } }

  [[scenario.step]]
  never  = { from = "ue-a", to = "es-1", on = "Gm" }
"#;
