//! The program as it is typed: exit codes, messages, and what it leaves behind.

mod folder;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command as Process, Stdio},
};

use assert_cmd::Command;
use folder::Folder;
use peerproof::proto::digest::{Algorithm, Secret};
use serde_json::Value;

#[test]
fn help_names_every_exit_code() {
    let help = said(peerproof().arg("--help").assert().code(0));
    for code in ["130", "70", "2", "1", "7", "8", "6", "5", "3", "4", "0"] {
        let is_named = help
            .lines()
            .any(|line| line.trim_start().starts_with(&format!("{code}  ")));
        assert!(is_named, "{code} in\n{help}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    peerproof().arg("rnu").assert().code(2);
    peerproof()
        .args(["run", "--transport", "pigeon"])
        .assert()
        .code(2);
    peerproof()
        .args(["list", "--option", "request=pigeon"])
        .assert()
        .code(2);
    peerproof().args(["report", "no-such-run"]).assert().code(2);
    peerproof()
        .args(["explain", "no-such-word"])
        .assert()
        .code(2);
}

#[test]
fn a_selector_that_matches_nothing_exits_with_4_and_names_the_nearest() {
    let id = first_scenario();
    let typo = format!("{id}x");
    let error = complained(peerproof().args(["run", &typo]).assert().code(4));
    assert!(error.contains(&id), "{error}");
    let far = peerproof().args(["run", "nothing-like-this"]).assert();
    let error = complained(far.code(4));
    assert!(error.contains("the nearest are "), "{error}");
    assert_eq!(3, error.matches('/').count().min(3), "{error}");
}

#[test]
fn the_suites_within_have_no_mistakes() {
    let said = said(peerproof().arg("lint").assert().code(0));
    assert!(said.starts_with("no mistakes"), "{said}");
}

#[test]
fn a_mistake_in_a_suite_exits_with_2_and_is_drawn_with_a_caret() {
    let folder = Folder::new("mistake");
    let file = folder.path().join("registered/wrong.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "section = 7\nclaus = \"TR 23.844 6.2.1\"\n").unwrap();
    for command in ["lint", "run", "list"] {
        let assert = peerproof()
            .arg(command)
            .arg("--suites")
            .arg(folder.path())
            .assert();
        let error = complained(assert.code(2));
        assert!(error.contains("registered/wrong.toml"), "{error}");
        assert!(error.contains('^') || error.contains('━'), "{error}");
    }
    let assert = peerproof()
        .args(["lint", "--format", "json", "--suites"])
        .arg(folder.path())
        .assert();
    let mistakes: Value = serde_json::from_str(&said(assert.code(2))).unwrap();
    assert!(mistakes.as_array().is_some_and(|all| !all.is_empty()));
}

#[test]
fn a_suite_of_ones_own_is_held_to_the_whole_only_if_asked() {
    let folder = Folder::new("own");
    let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites");
    let ledger = "requirements.toml";
    let file = "registered/step-4-core-routes-to-peers.toml";
    fs::create_dir_all(folder.path().join("registered")).unwrap();
    for path in [ledger, file] {
        fs::copy(suites.join(path), folder.path().join(path)).unwrap();
    }
    let lint = |extra: &[&str]| {
        let mut command = peerproof();
        command.args(["lint", "--suites"]).arg(folder.path());
        command.args(extra).assert()
    };
    lint(&[]).code(0);
    let error = complained(lint(&["--whole"]).code(2));
    assert!(error.contains("no scenario cites"), "{error}");
    assert!(error.contains("no scenario uses"), "{error}");
}

/// Who is blamed for nothing is no fault of the harness when it is judged again.
#[test]
fn what_was_inconclusive_is_so_again() {
    let folder = Folder::new("inconclusive");
    let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites");
    fs::create_dir_all(folder.path().join("registered")).unwrap();
    let ledger = "requirements.toml";
    fs::copy(suites.join(ledger), folder.path().join(ledger)).unwrap();
    let text = r#"
        section = "own"
        clause = "TR 23.844 6.2.1"
        [[scenario]]
        name = "own"
        purpose = "What is given does not come about."
        requires = ["UE-001"]
        options = { request = "ims", status = "ut" }
        given = { content = "three-pieces", registered = ["es-1"], announced = ["es-1"], script = ["tracker"] }
        [[scenario.step]]
        expect = { from = "ue-a", to = "p-cscf", on = "Gm", sip = { method = "INVITE" } }
    "#;
    fs::write(folder.path().join("registered/own.toml"), text).unwrap();
    let run = folder.path().join("run");
    let suites = |command: &str| {
        let mut peerproof = peerproof();
        peerproof.args([command, "--suites"]).arg(folder.path());
        peerproof
    };
    suites("run").arg("--out").arg(&run).assert().code(3);
    let again = said(suites("judge").arg(&run).assert().code(3));
    assert!(again.contains("verdicts  as recorded"), "{again}");
}

/// An edge closes the connection on which it was asked to; what a script sends it next goes on another.
#[test]
fn a_script_writes_on_no_connection_that_was_closed() {
    let folder = Folder::new("closed");
    let ledger = "[[requirement]]\nid = \"CLOSE-001\"\ntitle = \"It closes.\"\nclause = \"RFC 9112 9.6\"\n\
                  basis = \"ours\"\nstrength = \"must\"\nrole = \"edge-server\"\nobserved = [\"Data\"]\n";
    let step = |text: &str| format!("[[scenario.step]]\n{text}\n");
    let get = |more: &str| {
        let request = format!("GET /content/nothing HTTP/1.1\nHost: es-1\n{more}");
        step(&format!(
            "send = {{ from = \"ue-a\", to = \"es-1\", on = \"Data\", text = '''\n{request}''' }}"
        ))
    };
    let refused =
        step("expect = { from = \"es-1\", to = \"ue-a\", on = \"Data\", http = { status = 403 } }");
    let scenario = format!(
        "section = \"Closed\"\nclause = \"RFC 9112 9.6\"\n[[scenario]]\nname = \"answers-again\"\n\
         purpose = \"It answers on a new connection.\"\nrequires = [\"CLOSE-001\"]\n\
         given = {{ content = \"tiny\", registered = [], announced = [] }}\n{}{refused}{}{}{refused}",
        get("Connection: close\n"),
        step("wait = \"200ms\""),
        get(""),
    );
    fs::create_dir_all(folder.path().join("suites/unregistered")).unwrap();
    fs::write(folder.path().join("suites/requirements.toml"), ledger).unwrap();
    let file = folder.path().join("suites/unregistered/closed.toml");
    fs::write(file, scenario).unwrap();
    for transport in ["memory", "sockets"] {
        peerproof()
            .current_dir(folder.path())
            .args(["run", "--suites", "suites", "--transport", transport])
            .args(["--out", transport])
            .assert()
            .code(0);
    }
}

#[test]
fn a_dry_run_names_instances_and_plays_nothing() {
    let folder = Folder::new("dry");
    let id = first_scenario();
    let assert = peerproof()
        .current_dir(folder.path())
        .args(["run", "--dry-run", &id])
        .assert();
    let said = said(assert.code(0));
    assert!(said.starts_with(&format!("{id}@")), "{said}");
    assert_eq!(0, fs::read_dir(folder.path()).unwrap().count());
}

#[test]
fn a_dry_run_refuses_what_a_run_refuses() {
    let folder = Folder::new("dry-refused");
    fs::create_dir_all(folder.path().join("taken")).unwrap();
    fs::write(folder.path().join("taken/results.json"), "{}").unwrap();
    for (flags, why) in [
        (
            &["--sut", "tracker=cmd:true", "--sut", "tracker=cmd:false"][..],
            "has a guest already",
        ),
        (
            &["--transport", "sockets", "--network", "7", "--jobs", "2"],
            "found --jobs in one network",
        ),
        (&["--network", "7"], "in memory"),
        (&["--out", "taken"], "found files there"),
    ] {
        let refused = |extra: &[&str]| {
            let mut command = peerproof();
            command.current_dir(folder.path());
            command.args(["run", "common/registration/*"]).args(flags);
            complained(command.args(extra).assert().code(2))
        };
        let error = refused(&["--dry-run"]);
        assert!(error.contains(why), "{error}");
        assert_eq!(refused(&[]), error);
    }
}

#[test]
fn a_profile_begun_for_a_node_names_the_role_it_has() {
    let folder = Folder::new("init-node");
    let mut command = peerproof();
    command.current_dir(folder.path());
    let error = complained(command.args(["init", "--sut", "es-1"]).assert().code(2));
    for words in ["tracker", "ims-core", "--sut edge-server"] {
        assert!(error.contains(words), "{words} in {error}");
    }
    for (role, order) in [("ue", "| fetch | `{"), ("p-cscf", "No scenario tells it")] {
        let mut command = peerproof();
        command.current_dir(folder.path());
        let file = format!("{role}.toml");
        command
            .args(["init", "--sut", role, &file])
            .assert()
            .code(0);
        let sheet = fs::read_to_string(folder.path().join(format!("{role}.md"))).unwrap();
        assert!(sheet.contains(order), "{order} in {sheet}");
    }
}

#[test]
fn a_run_leaves_everything_that_reports_are_drawn_from() {
    let folder = Folder::new("leaves");
    let id = first_instance();
    peerproof()
        .current_dir(folder.path())
        .args(["run", &id, "--report", "junit,text,html,markdown,ctrf"])
        .assert()
        .code(0);
    let run = folder.path().join("peerproof-out/latest");
    for file in [
        "results.json",
        "junit.xml",
        "report.txt",
        "report.html",
        "report.md",
        "ctrf.json",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    for file in ["trace.jsonl", "ladder.txt"] {
        assert!(run.join(&id).join(file).is_file(), "{file}");
    }

    // Without the suites, from the folder alone.
    let before = fs::read(run.join("junit.xml")).unwrap();
    fs::remove_file(run.join("junit.xml")).unwrap();
    peerproof()
        .current_dir(folder.path())
        .args(["report", "--report", "junit"])
        .assert()
        .code(0);
    assert_eq!(before, fs::read(run.join("junit.xml")).unwrap());

    let judged = said(
        peerproof()
            .current_dir(folder.path())
            .args(["judge", "latest"])
            .assert()
            .code(0),
    );
    assert!(judged.contains("as recorded"), "{judged}");

    let replay = format!("latest/{id}");
    let replayed = said(
        peerproof()
            .current_dir(folder.path())
            .args(["replay", &replay])
            .assert()
            .code(0),
    );
    assert!(
        replayed.contains("identical, octet for octet"),
        "{replayed}"
    );
    assert!(
        replayed.contains("──▶") || replayed.contains("▶│"),
        "{replayed}"
    );
}

#[test]
fn every_report_is_drawn_again_as_the_run_wrote_it() {
    let folder = Folder::new("again");
    let all = "junit,text,html,markdown,ctrf";
    peerproof()
        .current_dir(folder.path())
        .args([
            "run",
            "registered/step-3-piece-request/asks-through-the-p-cscf",
        ])
        .args([
            "--deviation",
            "ue-skips-p-cscf",
            "--pcap",
            "always",
            "--report",
            all,
        ])
        .assert()
        .code(1);
    let run = folder.path().join("peerproof-out/latest");
    let before = files(&run);
    let drawn = |path: &str| !path.starts_with("contents/") && !path.ends_with("trace.jsonl");
    for path in before
        .keys()
        .filter(|path| drawn(path) && *path != "results.json")
    {
        fs::remove_file(run.join(path)).unwrap();
    }
    peerproof()
        .current_dir(folder.path())
        .args([
            "report",
            "--report",
            &format!("{all},ladder"),
            "--pcap",
            "always",
        ])
        .assert()
        .code(1);
    let after = files(&run);
    assert!(before.len() > 9, "{:?}", before.keys());
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (path, bytes) in &before {
        assert!(bytes == &after[path], "{path} is drawn otherwise");
    }
}

#[test]
fn captures_are_left_where_they_are_wanted() {
    let folder = Folder::new("captures");
    let id = first_instance();
    let has_capture = |name: &str, arguments: &[&str]| {
        let out = folder.path().join(name);
        let mut run = peerproof();
        run.args(["run", &id, "--out"]).arg(&out).args(arguments);
        run.assert().code(0);
        out.join(&id).join("evidence.pcapng").is_file()
    };
    assert!(!has_capture("usual", &[]), "nothing failed");
    assert!(has_capture("always", &["--pcap", "always"]));
    assert!(!has_capture("never", &["--pcap", "never"]));
}

#[test]
fn a_redacted_run_holds_no_secret_in_any_file() {
    let folder = Folder::new("redacted");
    let (run, shared) = (folder.path().join("run"), folder.path().join("shared"));
    let all = [
        "--pcap",
        "always",
        "--report",
        "junit,text,html,markdown,ctrf",
    ];
    let mut played = peerproof();
    played.args(["run", "common/registration/*", "common/security/*"]);
    played.args([
        "unregistered/step-5-controller-asks-edges/*",
        "registered/step-5-status-update/*",
    ]);
    played
        .args(["--ladder", "*", "--out"])
        .arg(&run)
        .args(all)
        .assert()
        .code(0);
    let mut redact = peerproof();
    redact
        .arg("report")
        .arg(&run)
        .args(["--redact", "--out"])
        .arg(&shared);
    redact.args(["--ladder", "*"]).args(all).assert().code(0);

    let secrets = secrets(&run);
    assert!(secrets.len() > 100, "{}", secrets.len());
    let original = files(&run);
    let redacted = files(&shared);
    assert_eq!(
        original.keys().collect::<Vec<_>>(),
        redacted.keys().collect::<Vec<_>>()
    );
    let pattern = any_of(&secrets);
    let holding = |files: &BTreeMap<String, Vec<u8>>| -> Vec<String> {
        let holding = files.iter().filter(|(_, bytes)| pattern.is_match(bytes));
        holding.map(|(path, _)| path.clone()).collect()
    };
    assert!(
        holding(&original).len() > 100,
        "the run itself holds what is looked for"
    );
    assert_eq!(Vec::<String>::new(), holding(&redacted));

    // It can be read, and says that it cannot be judged.
    let error = complained(peerproof().arg("judge").arg(&shared).assert().code(2));
    assert!(error.contains("without its secrets"), "{error}");
}

#[test]
fn annotations_are_written_for_a_workflow() {
    let folder = Folder::new("github");
    let out = folder.path().join("run");
    let mut run = peerproof();
    run.args([
        "run",
        "registered/step-3-piece-request/asks-through-the-p-cscf",
    ]);
    run.args([
        "--deviation",
        "ue-skips-p-cscf",
        "--format",
        "github",
        "--out",
    ])
    .arg(&out);
    let said = said(run.assert().code(1));
    let annotations: Vec<&str> = said.lines().filter(|line| line.starts_with("::")).collect();
    assert_eq!(1, annotations.len(), "{said}");
    assert!(
        annotations[0].starts_with("::error title=fail%3A UE-023"),
        "{said}"
    );
    assert!(!said.contains('\x1b'), "no colours in a pipe: {said}");
}

#[test]
fn a_terminal_without_unicode_gets_the_same_in_ascii() {
    let folder = Folder::new("ascii");
    let mut run = peerproof();
    run.args([
        "run",
        "registered/step-3-piece-request/asks-through-the-p-cscf",
    ]);
    run.args(["--deviation", "ue-skips-p-cscf", "--out"])
        .arg(folder.path().join("run"));
    let said = said(run.env("LC_ALL", "C").assert().code(1));
    assert!(said.is_ascii(), "{said}");
    assert!(said.contains("|--INVITE-"), "{said}");
}

#[test]
fn shells_and_manuals_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let said = said(peerproof().args(["completions", shell]).assert().code(0));
        assert!(said.contains("replay"), "{shell}");
    }
    let page = said(peerproof().arg("man").assert().code(0));
    assert!(page.contains(".TH peerproof 1"), "{page}");
    let folder = Folder::new("man");
    peerproof()
        .args(["man", "--out"])
        .arg(folder.path())
        .assert()
        .code(0);
    for page in ["peerproof.1", "peerproof-run.1", "peerproof-report.1"] {
        assert!(folder.path().join(page).is_file(), "{page}");
    }
}

#[test]
fn a_profile_is_begun_once_and_runs() {
    let folder = Folder::new("init");
    let init = |code| {
        let mut command = peerproof();
        command
            .current_dir(folder.path())
            .args(["init", "--sut", "edge-server"]);
        command.assert().code(code)
    };
    init(0);
    assert!(complained(init(2)).contains("sut.toml"));
    let sheet = fs::read_to_string(folder.path().join("sut.md")).unwrap();
    for told in [
        "**es-1**",
        "secret-of-ue-a",
        "<InitialFilterCriteria>",
        "three-pieces",
    ] {
        assert!(sheet.contains(told), "{told}");
    }
    let mut lint = peerproof();
    lint.current_dir(folder.path())
        .args(["lint", "sut.toml"])
        .assert()
        .code(0);
}

#[test]
fn a_trace_changed_after_the_run_is_refused() {
    let folder = Folder::new("changed");
    let id = first_instance();
    let run = folder.path().join("run");
    peerproof()
        .arg("run")
        .arg(&id)
        .arg("--out")
        .arg(&run)
        .assert()
        .code(0);
    let trace = run.join(&id).join("trace.jsonl");
    let mut text = fs::read_to_string(&trace).unwrap();
    text.push('\n');
    fs::write(&trace, text).unwrap();
    let error = complained(peerproof().arg("judge").arg(&run).assert().code(2));
    assert!(error.contains("it was changed after the run"), "{error}");
}

#[test]
fn a_run_folder_is_never_mixed_with_another() {
    let folder = Folder::new("taken");
    fs::write(folder.path().join("something"), "").unwrap();
    peerproof()
        .args(["run", "--out"])
        .arg(folder.path())
        .assert()
        .code(2);
}

#[test]
fn a_signal_ends_a_run_with_a_partial_report() {
    let folder = Folder::new("signal");
    let run = folder.path().join("run");
    let mut child = Process::new(env!("CARGO_BIN_EXE_peerproof"))
        .args(["run", &first_scenario(), "--repeat", "2000", "--out"])
        .arg(&run)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let killed = Process::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    while output.read_line(&mut line).unwrap() > 0 {}
    assert_eq!(Some(130), child.wait().unwrap().code());
    let results: Value =
        serde_json::from_slice(&fs::read(run.join("results.json")).unwrap()).unwrap();
    assert_eq!(Some(true), results["run"]["interrupted"].as_bool());
    let played = results["instances"].as_array().unwrap().len();
    assert!((1..2000).contains(&played), "{played}");
}

#[test]
fn runs_over_sockets_at_the_same_time_leave_each_other_alone() {
    let folder = Folder::new("beside");
    let started: Vec<_> = ["one", "other"]
        .into_iter()
        .map(|name| {
            Process::new(env!("CARGO_BIN_EXE_peerproof"))
                .args(["run", "common/registration/*", "--transport", "sockets"])
                .arg("--out")
                .arg(folder.path().join(name))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for process in started {
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(Some(0), output.status.code(), "{said}");
    }
}

#[test]
fn several_rules_are_broken_each_where_it_is_seen() {
    let folder = Folder::new("several");
    let run = folder.path().join("run");
    let (ue, edge) = ("ue-skips-p-cscf", "edge-looks-at-no-token");
    let both = ["--deviation", ue, "--deviation", edge];
    let mut command = peerproof();
    command.arg("run").args(both).args(["--report", "html"]);
    command.arg("--out").arg(&run).assert().code(1);
    let results = fs::read_to_string(run.join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let instances = results["instances"].as_array().unwrap();
    let broken: BTreeSet<&str> = instances
        .iter()
        .map(|instance| instance["deviation"].as_str().unwrap())
        .collect();
    assert_eq!(BTreeSet::from([ue, edge]), broken);
    assert!(
        instances
            .iter()
            .all(|instance| instance["outcome"] == "fail")
    );
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("<dt>rule broken</dt><dd><code>edge-looks-at-no-token</code>"));

    // Played again, each breaks its own.
    for instance in instances {
        let again = format!("{}/{}", run.display(), instance["id"].as_str().unwrap());
        peerproof().args(["replay", &again]).assert().code(1);
    }

    let mut command = peerproof();
    command.args(["run", "common/registration/*"]).args(both);
    let error = complained(command.assert().code(2));
    assert!(error.contains("that sees ue-skips-p-cscf"), "{error}");
}

#[test]
fn a_rule_that_nothing_selected_sees_is_named() {
    let folder = Folder::new("unseen");
    let run = |selector: &str| {
        let mut command = peerproof();
        command.args(["run", selector, "--deviation", "ue-skips-p-cscf", "--out"]);
        let out = folder.path().join(selector.replace('/', "-"));
        String::from_utf8(command.arg(out).output().unwrap().stderr).unwrap()
    };
    let warned = "no scenario selected claims to see ue-skips-p-cscf";
    let unseen = run("common/registration/refuses-a-wrong-answer");
    assert!(unseen.contains(warned), "{unseen}");
    let seen = run("registered/step-3-piece-request/asks-through-the-p-cscf");
    assert!(!seen.contains(warned), "{seen}");
}

#[test]
fn a_measurement_is_not_taken_for_a_run() {
    let folder = Folder::new("measurement");
    fs::write(folder.path().join("bench.json"), "{}").unwrap();
    let error = complained(
        peerproof()
            .arg("report")
            .arg(folder.path())
            .assert()
            .code(2),
    );
    assert!(error.contains("found a measurement"), "{error}");
}

#[test]
fn runs_that_share_nothing_are_not_compared() {
    let folder = Folder::new("compared");
    let play = |name: &str, selector: &str, deviation: &[&str]| {
        let out = folder.path().join(name);
        let mut command = peerproof();
        command.args(["run", selector]).args(deviation);
        command.arg("--out").arg(&out).output().unwrap();
        out
    };
    let broken = ["--deviation", "ue-skips-p-cscf"];
    let failing = "registered/step-3-piece-request/asks-through-the-p-cscf";
    let one = play("one", "common/registration/refuses-a-wrong-answer", &[]);
    let other = play("other", failing, &broken);
    let whole = play("whole", failing, &[]);
    let compare = |before: &Path, after: &Path, code: i32| {
        said(
            peerproof()
                .arg("compare")
                .args([before, after])
                .assert()
                .code(code),
        )
    };
    let told = compare(&one, &other, 2);
    assert!(told.contains("no instance in common"), "{told}");
    assert!(!told.contains("newly failing"), "{told}");
    assert!(compare(&whole, &other, 1).contains("1 newly failing"));
}

#[test]
fn what_was_meant_is_said_where_something_near_was_typed() {
    let folder = Folder::new("near");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let complaint = |args: &[&str]| {
        let assert = peerproof().current_dir(folder.path()).args(args).assert();
        complained(assert.code(2))
    };
    let id = first_scenario();
    let last = id.rsplit('/').next().unwrap();
    let error = complaint(&["explain", last]);
    assert!(error.contains(&format!("did you mean {id}?")), "{error}");

    fs::write(
        path("scenarios.toml"),
        "section = \"t\"\n[[scenario]]\nname = \"a\"\n",
    )
    .unwrap();
    let error = complaint(&["lint", "scenarios.toml"]);
    assert!(error.contains("found a file of scenarios"), "{error}");
    assert!(error.contains("--suites DIR"), "{error}");

    fs::create_dir(path("registered")).unwrap();
    let error = complaint(&["lint", "--suites", &path("registered")]);
    assert!(error.contains("found one folder of a suite"), "{error}");

    let error = complaint(&["run", &id, "--out", "scenarios.toml/run"]);
    assert!(error.contains("as --out names it"), "{error}");

    let both = [
        "tracker-refuses-with-code-0",
        "tracker-writes-the-type-in-quotes",
    ];
    let several = ["run", "--deviation", both[0], "--deviation", both[1]];
    let error = complaint(&several);
    let taken = format!(
        "common/tracker-documents/answers-with-numbers-and-version-1 is played against {}; run {} by itself",
        both[0], both[1]
    );
    assert!(error.contains(&taken), "{error}");
}

#[test]
fn a_clause_holds_those_below_it_and_no_others() {
    let listed = |clause: &str| {
        let mut list = peerproof();
        list.args(["list", "--clause", clause]);
        list.assert()
    };
    let whole = said(listed("RFC 7846").code(0)).lines().count();
    let below = said(listed("RFC 7846 3.2").code(0)).lines().count();
    assert!(0 < below && below < whole, "{below} of {whole}");
    complained(listed("RFC 784").code(4));
    complained(listed("RFC 7846 3.").code(4));
}

#[test]
fn deviations_are_listed_by_what_sees_them() {
    let seen = "common/tracker-documents/answers-with-numbers-and-version-1";
    let list = said(
        peerproof()
            .args(["list", "--deviations", seen])
            .assert()
            .code(0),
    );
    assert_eq!(3, list.lines().count(), "{list}");
    assert!(list.contains("tracker-answers-in-version-2 "), "{list}");
}

#[test]
fn a_part_of_a_run_is_played_again_by_as_much_of_its_name_as_only_it_has() {
    let folder = Folder::new("part");
    let run = |args: &[&str]| peerproof().current_dir(folder.path()).args(args).assert();
    let scenario = "common/tracker-peers/answers-each-request-once";
    let broken = "tracker-answers-twice";
    run(&["run", scenario, "--deviation", broken, "--out", "my run"]).code(1);
    let error = complained(run(&["replay", "my run"]).code(2));
    let id = format!("my run/{scenario}@ut.ims.ims#0");
    assert!(
        error.contains("found a whole run, expected RUN/INSTANCE"),
        "{error}"
    );
    assert!(error.contains(&id), "{error}");
    for less in [&id[..id.len() - 2], &format!("my run/{scenario}")] {
        let text = said(run(&["replay", less]).code(1));
        assert!(text.contains("identical, octet for octet"), "{text}");
        assert!(text.contains("peerproof replay 'my run/"), "{text}");
        assert!(text.contains("tracker-answers-twice: "), "{text}");
    }
    run(&["run", scenario, "--repeat", "2", "--out", "twice"]).code(0);
    let error = complained(run(&["replay", &format!("twice/{scenario}")]).code(2));
    assert!(error.contains("found 2 instances"), "{error}");
}

#[test]
fn lists_are_read_by_machines() {
    let list = said(
        peerproof()
            .args(["list", "--format", "json"])
            .assert()
            .code(0),
    );
    let rows: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(Some(first_scenario().as_str()), rows[0]["id"].as_str());
}

#[test]
fn a_profile_says_what_is_tested_and_what_is_known() {
    let folder = Folder::new("profile");
    let flow = "registered/step-1-2-peer-list/*";
    let play = |name: &str, profile: &str, more: &[&str]| {
        let file = folder.path().join(format!("{name}.toml"));
        fs::write(&file, profile).unwrap();
        let out = folder.path().join(name);
        let mut command = peerproof();
        command.args(["run", flow, "--sut"]).arg(&file).args(more);
        let code = command.arg("--out").arg(&out).output().unwrap();
        let results = fs::read_to_string(out.join("results.json")).unwrap();
        let results: Value = serde_json::from_str(&results).unwrap();
        (code.status.code().unwrap(), results["counts"].clone())
    };
    let tracker = include_str!("../../fixtures/profiles/tracker.toml");
    let (code, counts) = play("all", tracker, &[]);
    assert_eq!(0, code);
    assert!(counts["pass"].as_u64() > Some(0));

    let (code, counts) = play(
        "other",
        &tracker.replace("[\"registered\", \"unregistered\"]", "[\"unregistered\"]"),
        &[],
    );
    assert_eq!((4, Some(0)), (code, counts["pass"].as_u64()));
    assert!(counts["unsupported"].as_u64() > Some(0));

    let undeclared = tracker.replace("peer-list     = [\"ut\", \"ims\"]\n", "");
    let (code, counts) = play("open", &undeclared, &[]);
    assert_eq!(0, code);
    assert!(counts["info"].as_u64() > Some(0));

    let waiver = format!("{tracker}\n[[waiver]]\nscenario = \"{flow}\"\nreason = \"known\"\n");
    let (code, _) = play("stale", &waiver, &[]);
    assert_eq!(8, code);
    let broken = ["--deviation", "tracker-keeps-the-silent"];
    let (code, _) = play("broken", tracker, &broken);
    assert_eq!(0, code, "nothing in the first step shows it");

    let file = folder.path().join("wrong.toml");
    let wrong = tracker.replace("AMB-05", "AMB-99").replace("ut", "pigeon");
    fs::write(&file, wrong).unwrap();
    let said = complained(peerproof().arg("lint").arg(&file).assert().code(2));
    assert!(said.contains("AMB-99") && said.contains("pigeon"), "{said}");
}

#[test]
fn every_word_of_ours_is_explained() {
    for word in [
        "pass",
        "inconclusive",
        "fail",
        "error",
        "130",
        "0",
        &first_scenario(),
    ] {
        let said = said(peerproof().args(["explain", word]).assert().code(0));
        assert!(said.len() > 40, "{said}");
    }
}

/// The command that shows a broken recommendation fails: without --strict it would pass.
#[test]
fn the_command_that_shows_a_rule_broken_fails() {
    let ledger = fs::read_to_string("suites/requirements.toml").unwrap();
    let should: Vec<&str> = ledger
        .split("[[requirement]]")
        .filter(|row| row.contains("\"should\""))
        .filter_map(|row| row.split("id       = \"").nth(1)?.split('"').next())
        .collect();
    assert!(should.len() > 1, "{should:?}");
    let listed = said(peerproof().args(["list", "--deviations"]).assert().code(0));
    let advised = listed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        words.next().filter(|row| should.contains(row))?;
        Some(name).filter(|_| line.contains("killed by"))
    });
    let folder = Folder::new("advised");
    let mut shown = 0;
    for name in advised {
        let told = said(peerproof().args(["explain", name]).assert().code(0));
        let command = told.split("see it").nth(1).unwrap().trim();
        assert!(command.ends_with(" --strict"), "{command}");
        let words = command.split_whitespace().skip(1);
        let mut run = peerproof();
        run.current_dir(folder.path())
            .args(words)
            .args(["--out", name]);
        run.assert().code(1);
        shown += 1;
    }
    assert!(shown > 1);
}

/// Every file below `folder`, by its path.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![fs::canonicalize(folder).unwrap()];
    let root = open[0].clone();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// What a run must keep to itself: passwords and keys of the fixture, the HA1 of every realm, and every digest
/// response and token that crossed, read from the captures.
fn secrets(run: &Path) -> BTreeSet<Vec<u8>> {
    let fixture: toml::Table =
        toml::from_str(include_str!("../../fixtures/subscribers.toml")).unwrap();
    let mut secrets = BTreeSet::new();
    let mut realms = BTreeSet::new();
    for (path, bytes) in files(run) {
        if !path.ends_with(".pcapng") {
            continue;
        }
        for value in values(&bytes, b"realm=\"", b'"') {
            realms.insert(String::from_utf8(value).unwrap());
        }
        secrets.extend(values(&bytes, b"response=\"", b'"'));
        secrets.extend(values(&bytes, b"token=", b' '));
        secrets.extend(values(&bytes, b"\"token\":\"", b'"'));
    }
    for subscriber in fixture["subscriber"].as_array().unwrap() {
        let text = |key: &str| subscriber[key].as_str().unwrap().to_owned();
        for key in ["k", "opc"] {
            let hex = text(key);
            let pairs = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
            secrets.insert(pairs.collect::<Result<Vec<u8>, _>>().unwrap());
            secrets.insert(hex.into_bytes());
        }
        secrets.insert(text("password").into_bytes());
        for realm in &realms {
            for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
                let password = Secret::Password(text("password"));
                secrets.insert(password.ha1(algorithm, &text("impi"), realm).into_bytes());
            }
        }
    }
    // The words of steps hold patterns of responses, which are no secret.
    secrets.retain(|secret| secret.len() >= 8 && !secret.contains(&b'['));
    secrets
}

/// What stands between `before` and `end`.
fn values(bytes: &[u8], before: &[u8], end: u8) -> Vec<Vec<u8>> {
    let places = bytes
        .windows(before.len())
        .enumerate()
        .filter(|(_, window)| *window == before);
    let values = places.filter_map(|(at, _)| {
        let rest = &bytes[at + before.len()..];
        let length = rest.iter().position(|octet| *octet == end)?;
        (length < 200).then(|| rest[..length].to_vec())
    });
    values.collect()
}

fn any_of(secrets: &BTreeSet<Vec<u8>>) -> regex::bytes::Regex {
    let escaped = |secret: &Vec<u8>| {
        secret
            .iter()
            .map(|octet| format!("\\x{octet:02x}"))
            .collect()
    };
    let alternatives: Vec<String> = secrets.iter().map(escaped).collect();
    let pattern = format!("(?-u:{})", alternatives.join("|"));
    let mut builder = regex::bytes::RegexBuilder::new(&pattern);
    builder.size_limit(1 << 30).build().unwrap()
}

fn peerproof() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerproof"));
    command.env("LC_ALL", "C.UTF-8");
    command
}

fn said(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn complained(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn first_scenario() -> String {
    let list = said(peerproof().arg("list").assert().code(0));
    list.split_whitespace().next().unwrap().to_owned()
}

fn first_instance() -> String {
    let list = said(peerproof().args(["list", "--instances"]).assert().code(0));
    list.split_whitespace().next().unwrap().to_owned()
}
