//! Tests over whole files: what is embedded reads without a mistake, and each kind of mistake is found
//! where it stands.

use super::*;

/// The embedded fixtures with a ledger row and one scenario file of the test's own.
fn read(scenarios: &str) -> Result<Suite, Diagnostics> {
    let mut files = Files::embedded();
    files.suites = vec![
        (
            "registered/step-9-test.toml".to_owned(),
            scenarios.to_owned(),
        ),
        ("requirements.toml".to_owned(), LEDGER.to_owned()),
    ];
    let names = Names {
        deviations: Some(&["ue-skips-p-cscf"]),
        checks: Some(&["content-hash"]),
    };
    Suite::read(&files, names)
}

/// A file of one scenario: `extra` keys, then `steps`.
fn scenario(extra: &str, steps: &str) -> String {
    format!("{HEAD}{extra}\n{steps}")
}

/// The one mistake in a file, as a line without its path.
fn mistake(text: &str) -> String {
    let found = read(text).expect_err("there is a mistake");
    let lines: Vec<_> = found.items().iter().map(Diagnostic::line).collect();
    assert_eq!(1, lines.len(), "one mistake expected: {lines:#?}");
    let line = &lines[0];
    let path = "suites/registered/step-9-test.toml:";
    line.strip_prefix(path).unwrap_or(line).to_owned()
}

/// What is said of one mistake, wherever it stands.
fn message(text: &str) -> String {
    let line = mistake(text);
    line.splitn(3, ':')
        .nth(2)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[test]
fn what_is_embedded_reads_without_a_mistake() {
    if let Err(found) = Suite::embedded(Names::default()) {
        panic!("{found}");
    }
}

#[test]
fn a_right_file_has_no_mistakes() {
    let suite = read(&scenario("kills = [\"ue-skips-p-cscf\"]", STEPS)).unwrap();
    let scenario = &suite.scenarios[0];
    assert_eq!("registered/step-9-test/asks", scenario.id);
    assert_eq!(Strength::Must, scenario.level);
    assert_eq!(3, scenario.steps.len());
    assert_eq!(
        "ue-a → p-cscf on Gm: INVITE within 2 s",
        scenario.steps[1].to_string()
    );
}

#[test]
fn all_mistakes_of_all_files_come_at_once() {
    let mut files = Files::embedded();
    let text = scenario("purpos = 1", STEPS);
    files.suites = vec![
        ("registered/a.toml".to_owned(), text.clone()),
        ("registered/b.toml".to_owned(), text),
        (
            "requirements.toml".to_owned(),
            LEDGER.replace("\"must\"", "\"most\""),
        ),
    ];
    let found = Suite::read(&files, Names::default()).unwrap_err();
    let mut paths: Vec<_> = found.items().iter().map(|d| &*d.source.path).collect();
    paths.dedup();
    assert_eq!(
        [
            "suites/requirements.toml",
            "suites/registered/a.toml",
            "suites/registered/b.toml"
        ],
        paths[..]
    );
}

#[test]
fn unknown_keys_are_refused() {
    assert_eq!(
        "9:1: unknown key \"purpos\", expected one of name, purpose, clause, topology, \
         architectures, requires, options, delivery, over, needs, kills, checks, tags, limit, given, step (did you mean \"purpose\"?)",
        mistake(&scenario("purpos = 1", STEPS))
    );
}

#[test]
fn unknown_reference_points_are_refused() {
    let text = scenario("", &STEPS.replace("\"Gm\", sip", "\"Gn\", sip"));
    assert_eq!(
        "unknown reference point \"Gn\", expected one of Gm, Mw, Isc, Cx, Ut, Dedicated, Cdn, Data \
         (did you mean \"Gm\"?)",
        message(&text)
    );
}

/// What nobody could ever meet is found before it is laid to somebody.
#[test]
fn what_is_expected_where_its_sender_never_speaks_is_refused() {
    let steps = STEPS.replacen("on = \"Gm\"", "on = \"Mw\"", 1);
    assert_eq!(
        "\"ue-a\" (ue) never speaks there, expected Gm or Ut or Data",
        message(&scenario("", &steps))
    );
    let either = STEPS.replacen("on = \"Gm\"", "on = [\"Gm\", \"Mw\"]", 1);
    assert!(read(&scenario("", &either)).is_ok());
}

#[test]
fn unknown_nodes_are_refused() {
    let text = scenario("", &STEPS.replace("\"p-cscf\"", "\"p-csfc\""));
    let said = message(&text);
    assert!(said.starts_with("unknown node \"p-csfc\""), "{said}");
    assert!(said.ends_with("(did you mean \"p-cscf\"?)"), "{said}");
}

#[test]
fn unknown_requirements_are_refused() {
    let text = scenario("", STEPS).replace("[\"UE-001\"]", "[\"UE-001\", \"UE-01\"]");
    assert_eq!(
        "unknown requirement \"UE-01\", expected one of UE-001 (did you mean \"UE-001\"?)",
        message(&text)
    );
}

#[test]
fn unknown_deviations_and_checks_are_refused() {
    let said = message(&scenario("kills = [\"ue-skips-p-cscff\"]", STEPS));
    assert!(said.starts_with("unknown deviation"), "{said}");
    let said = message(&scenario("checks = [\"content-has\"]", STEPS));
    assert!(said.starts_with("unknown check"), "{said}");
}

#[test]
fn unknown_contents_topologies_and_subscribers_are_refused() {
    let said = message(&scenario("given = { content = \"three-piece\" }", STEPS));
    assert!(said.starts_with("unknown content"), "{said}");
    let said = message(&scenario("topology = \"registerd\"", STEPS));
    assert!(said.starts_with("unknown topology"), "{said}");
    let said = message(&scenario("given = { users = { ue-d = \"ue-e\" } }", STEPS));
    assert!(said.starts_with("unknown subscriber"), "{said}");
}

#[test]
fn unknown_captures_are_refused() {
    let after = STEPS.replace("within = \"2s\"", "after = \"ask\"");
    let said = message(&scenario("", &after));
    assert!(
        said.starts_with("unknown captured message \"ask\""),
        "{said}"
    );
    let until = STEPS.replace("never = { ", "never = { until = \"nothing\", ");
    let said = message(&scenario("", &until));
    assert!(
        said.starts_with("unknown captured message \"nothing\""),
        "{said}"
    );
    let place = STEPS.replace("\"INVITE\"", "\"INVITE\", Route = \"${aks.route}\"");
    let said = message(&scenario("", &place));
    assert!(
        said.starts_with("unknown name in a template \"aks\""),
        "{said}"
    );
}

#[test]
fn unknown_fields_are_refused() {
    let said = message(&scenario("", &STEPS.replace("method =", "methd =")));
    assert!(said.starts_with("unknown sip field \"methd\""), "{said}");
    assert!(said.ends_with("(did you mean \"method\"?)"), "{said}");
    let text = STEPS.replace("\"INVITE\"", "\"INVITE\", uri = \"${es-1.impi-}\"");
    let said = message(&scenario("", &text));
    assert!(said.starts_with("unknown field of node es-1"), "{said}");
}

#[test]
fn what_a_field_can_never_hold_is_refused() {
    let said = |fields: &str| {
        let step = format!("[[scenario.step]]\nexpect = {{ from = \"ue-a\", {fields} }}\n");
        message(&scenario("", &step))
    };
    for (fields, expected) in [
        ("sip = { method = \"INVTE\" }", "(did you mean \"INVITE\"?)"),
        (
            "sip = { method = [\"INVITE\", \"ACKK\"] }",
            "(did you mean \"ACK\"?)",
        ),
        (
            "sip = { for = \"invite\", status = 200 }",
            "unknown SIP method \"invite\"",
        ),
        (
            "sip = { status = 20 }",
            "found 20, expected a SIP status from 100 to 699",
        ),
        (
            "sip = { status = { min = 400, max = 4999 } }",
            "found 4999, expected a SIP status",
        ),
        ("sip = { transport = \"UPD\" }", "(did you mean \"UDP\"?)"),
        ("http = { method = \"PSOT\" }", "(did you mean \"POST\"?)"),
        (
            "http = { status = 600 }",
            "expected an HTTP status from 100 to 599",
        ),
        ("msrp = { method = \"SENT\" }", "(did you mean \"SEND\"?)"),
        (
            "ppstp = { request = \"FINDS\" }",
            "(did you mean \"FIND\"?)",
        ),
        (
            "diameter = { command = \"UAB\" }",
            "unknown Diameter command \"UAB\"",
        ),
    ] {
        let said = said(fields);
        assert!(said.contains(expected), "{fields}: {said}");
    }
}

#[test]
fn what_nobody_knows_can_be_asked_for_on_purpose() {
    for fields in [
        "sip = { method = { matches = \"^FOO$\" } }",
        "sip = { for = { has = \"FOO\" }, status = { min = 400, max = 699 } }",
        "http = { status = [200, 599] }",
    ] {
        let step = format!("[[scenario.step]]\nexpect = {{ from = \"ue-a\", {fields} }}\n");
        if let Err(mistakes) = read(&scenario("", &step)) {
            panic!("{fields}: {mistakes:?}");
        }
    }
}

#[test]
fn empty_steps_are_refused() {
    assert_eq!(
        "a scenario without steps, expected one at least",
        message(&scenario("step = []", ""))
    );
    let said = message(&scenario("", &format!("{STEPS}\n[[scenario.step]]\n")));
    assert!(said.starts_with("a step with 0 verbs"), "{said}");
    let said = message(&scenario("", &STEPS.replace("fetch = \"tiny\"", "")));
    assert!(said.starts_with("0 actions in one do"), "{said}");
}

#[test]
fn a_scenario_whose_every_step_is_optional_is_refused() {
    let nothing = |extra: &str, steps: &str| {
        let said = message(&scenario(extra, steps));
        assert!(said.contains("has to be met"), "{said}");
        said
    };
    nothing("", "[[scenario.step]]\nwait = \"2s\"\n");
    nothing("", "[[scenario.step]]\nnever = { from = \"ue-a\" }\n");
    let optional = STEPS.replace("within", "times = { max = 2 }, within");
    nothing("", &optional);

    let pinned = STEPS.replace("expect", "when = { status = \"ims\" }\nexpect");
    let said = nothing("over = [\"status\"]", &pinned);
    assert!(
        said.starts_with("no step of registered/step-9-test/asks@ut.ims.ut"),
        "{said}"
    );

    let given = "given = { content = \"tiny\", assembles = \"ue-a\" }";
    assert!(read(&scenario(given, &optional)).is_ok());
}

#[test]
fn a_scenario_without_requirement_or_clause_is_refused() {
    let text = scenario("", STEPS).replace("[\"UE-001\"]", "[]");
    let said = message(&text);
    assert!(
        said.starts_with("a scenario that cites no requirement"),
        "{said}"
    );
    let text = scenario("", STEPS).replace("clause = \"TR 23.844 6.2.1 step 3\"\n", "");
    assert_eq!("\"clause\" is missing (add clause = …)", message(&text));
}

#[test]
fn the_embedded_suite_has_no_loose_ends() {
    let files = Files::embedded();
    let suite = Suite::read(&files, Names::default()).unwrap();
    let loose = suite.loose_ends(&files);
    assert!(loose.is_empty(), "{loose}");
}

/// The mistakes of a ledger that has `rows` beside the one row that is cited.
fn ledger_mistakes(rows: &str) -> Vec<String> {
    let files = with_ledger(rows);
    let lines = |found: &Diagnostics| found.items().iter().map(Diagnostic::line).collect();
    match Suite::read(&files, Names::default()) {
        Ok(suite) => {
            let loose = suite.loose_ends(&files);
            let items = loose.items().iter();
            let ours = items.filter(|item| item.source.path.ends_with("requirements.toml"));
            ours.map(Diagnostic::line).collect()
        }
        Err(found) => lines(&found),
    }
}

fn with_ledger(rows: &str) -> Files {
    let mut files = Files::embedded();
    files.suites = vec![
        (
            "registered/step-9-test.toml".to_owned(),
            scenario("", STEPS),
        ),
        ("requirements.toml".to_owned(), format!("{LEDGER}{rows}")),
    ];
    files
}

/// A second row of the ledger, with `extra` keys.
fn row(id: &str, extra: &str) -> String {
    format!("{}{extra}\n", LEDGER.replace("UE-001", id))
}

#[test]
fn a_row_that_nobody_cites_says_why() {
    let said = ledger_mistakes(&row("UE-002", ""));
    assert_eq!(
        [
            "suites/requirements.toml:12:12: no scenario cites \"UE-002\" (add uncovered = \"why\", or \
             a scenario)"
        ],
        said[..]
    );
    assert!(ledger_mistakes(&row("UE-002", "uncovered = \"no time\"")).is_empty());
}

#[test]
fn a_test_that_shows_a_row_is_there() {
    let said = |rows: &str| {
        let mut files = with_ledger(rows);
        let tests = "#[test]\nfn it_is_so() {}\n\nfn helper() {}\n";
        files
            .suites
            .push(("selftest/proof.rs".to_owned(), tests.to_owned()));
        let suite = Suite::read(&files, Names::default()).unwrap();
        let found = suite.loose_ends(&files);
        let said = found.items().iter().map(|d| d.line());
        let said: Vec<String> = said.filter(|line| line.starts_with("suites/")).collect();
        said.join("\n")
    };
    let shown = |by: &str| said(&row("UE-002", &format!("shown-by = \"selftest/{by}\"")));
    assert_eq!("", shown("proof.rs: it_is_so"));
    assert!(shown("proof.rs: helper").contains("suites/selftest/proof.rs has no test \"helper\""));
    assert!(shown("prof.rs: it_is_so").contains("there is no suites/selftest/prof.rs"));
    let twice = "uncovered = \"no time\"\nshown-by = \"selftest/proof.rs: it_is_so\"";
    assert!(said(&row("UE-002", twice)).contains("is uncovered, but shown by a test of ours"));
}

#[test]
fn a_row_that_is_cited_has_no_reason_why_not() {
    let cited = |ledger: &str| {
        let mut files = with_ledger("");
        files.suites[1].1 = ledger.to_owned();
        let suite = Suite::read(&files, Names::default()).unwrap();
        suite.loose_ends(&files).items()[0].line()
    };
    let excused = format!("{LEDGER}uncovered = \"no time\"\n");
    assert_eq!(
        "suites/requirements.toml:10:13: \"UE-001\" is uncovered, but registered/step-9-test/asks cites \
         it (take this line out)",
        cited(&excused)
    );
    let under_an_alias = format!(
        "{}{}",
        row("UE-002", "uncovered = \"no time\""),
        row("UE-001", "alias-of = \"UE-002\"")
    );
    let said = cited(&under_an_alias);
    assert!(
        said.contains("\"UE-002\" is uncovered, but registered"),
        "{said}"
    );
}

#[test]
fn an_alias_stands_for_a_row_that_asks_the_same() {
    let said = |rows: &str| {
        let said = ledger_mistakes(rows);
        assert_eq!(1, said.len(), "{said:#?}");
        said[0].clone()
    };
    let alias = |id: &str, of: &str| row(id, &format!("alias-of = \"{of}\""));
    assert!(ledger_mistakes(&alias("UE-002", "UE-001")).is_empty());

    let unknown = said(&alias("UE-002", "UE-01"));
    assert!(
        unknown.contains("unknown requirement in alias-of \"UE-01\""),
        "{unknown}"
    );
    assert!(unknown.ends_with("(did you mean \"UE-001\"?)"), "{unknown}");
    let chain = said(&format!(
        "{}{}",
        alias("UE-002", "UE-001"),
        alias("UE-003", "UE-002")
    ));
    assert!(chain.contains("\"UE-002\" is an alias itself"), "{chain}");
    let weaker = said(&alias("UE-002", "UE-001").replace("\"must\"", "\"should\""));
    assert!(
        weaker.contains("expected what \"UE-001\" is: must for ue"),
        "{weaker}"
    );
    let excused = said(&row(
        "UE-002",
        "alias-of = \"UE-001\"\nuncovered = \"no time\"",
    ));
    assert!(excused.contains("expected it at \"UE-001\""), "{excused}");
}

#[test]
fn reasons_and_tags_of_rows_are_checked() {
    let said = ledger_mistakes(&row("UE-002", "uncovered = \" \"\ntags = [\"bulky\"]"));
    assert!(
        said[0].contains("expected one line that says why"),
        "{said:#?}"
    );
    assert!(said[1].contains("unknown tag \"bulky\""), "{said:#?}");
}

#[test]
fn a_fixture_that_nobody_uses_is_refused() {
    let mut files = Files::embedded();
    let mut topology = None;
    for (path, text) in &mut files.fixtures {
        match path.as_str() {
            "contents.toml" => text.push_str(SPARE_CONTENT),
            "subscribers.toml" => text.push_str(SPARE_SUBSCRIBER),
            "topologies/registered.toml" => topology = Some(text.clone()),
            _ => {}
        }
    }
    let spare = [
        ("topologies/spare.toml", topology.unwrap()),
        ("messages/spare.txt", "BYE".to_owned()),
    ];
    files
        .fixtures
        .extend(spare.map(|(path, text)| (path.to_owned(), text)));
    let suite = Suite::read(&files, Names::default()).unwrap();
    let loose = suite.loose_ends(&files);
    let said: Vec<_> = loose
        .items()
        .iter()
        .map(|item| item.message.as_str())
        .collect();
    assert_eq!(
        [
            "no scenario uses content \"spare\"",
            "no scenario uses subscriber \"ue-spare\"",
            "no scenario uses topology \"spare\"",
            "no scenario uses message \"spare\"",
        ],
        said[..]
    );
}

#[test]
fn a_selection_by_alias_finds_what_the_row_does() {
    let suite = Suite::read(
        &with_ledger(&row("UE-002", "alias-of = \"UE-001\"")),
        Names::default(),
    )
    .unwrap();
    let by_alias = Selection {
        requirements: vec!["UE-002".to_owned()],
        ..Selection::default()
    };
    assert_eq!(1, by_alias.instances(&suite, 7).unwrap().len());
    assert_eq!(1, suite.citing("UE-002").count());
}

#[test]
fn lawful_outcomes_without_source_are_refused() {
    let one_of = "one-of = [{ sip = { status = 403 } }], within";
    let said = message(&scenario("", &STEPS.replace("within", one_of)));
    assert!(
        said.starts_with("a lawful outcome without source"),
        "{said}"
    );
    let one_of = "one-of = [{ sip = { status = 403 }, source = \"RFC 3261 21.4.4\" }], within";
    assert!(read(&scenario("", &STEPS.replace("within", one_of))).is_ok());
}

#[test]
fn wrong_types_times_and_names_are_refused() {
    let said = message(&scenario("", &STEPS.replace("\"2s\"", "\"2 sec\"")));
    assert!(
        said.starts_with("found \"2 sec\", expected a time"),
        "{said}"
    );
    let said = message(&scenario("", &STEPS.replace("\"2s\"", "2")));
    assert!(said.starts_with("found a value of type integer"), "{said}");
    let said = message(&scenario("", STEPS).replace("\"asks\"", "\"Asks it\""));
    assert!(said.contains("a fact in kebab case"), "{said}");
    let said = message(&scenario("over = [\"reqest\"]", STEPS));
    assert!(said.starts_with("unknown option"), "{said}");
    let said = message(&scenario(
        "over = [\"request\"]\noptions = { request = \"ims\" }",
        STEPS,
    ));
    assert!(said.contains("is pinned and cannot be varied"), "{said}");
}

#[test]
fn broken_toml_is_told_with_its_place() {
    let line = mistake("section = \n");
    assert!(line.starts_with("1:"), "{line}");
}

/// Whatever a parser makes of the lines behind it is the same mistake.
#[test]
fn a_bracket_that_is_left_open_is_one_mistake() {
    let text = scenario("", &format!("{STEPS}{STEPS}{STEPS}"));
    let open = text.replacen(" }", "", 1);
    assert_ne!(text, open);
    let said = message(&open);
    assert!(said.contains("a bracket before it"), "{said}");
}

#[test]
fn a_missing_key_is_told() {
    let text = scenario("", STEPS).replace("purpose = \"It asks.\"\n", "");
    assert_eq!("\"purpose\" is missing (add purpose = …)", message(&text));
}

#[test]
fn piece_numbers_and_holdings_are_checked() {
    let given = "given = { holds = { es-1 = { tiny = [4] } } }";
    let said = message(&scenario(given, STEPS));
    assert!(said.contains("expected a piece from 1 to 3"), "{said}");
}

#[test]
fn a_content_with_an_empty_piece_is_refused() {
    let mut files = Files::embedded();
    let (_, contents) = &mut files
        .fixtures
        .iter_mut()
        .find(|f| f.0 == "contents.toml")
        .unwrap();
    contents.push_str("\n[[content]]\nname = \"empty-last\"\nrule = \"x\"\npieces = [1, 1, 0]\n");
    let found = Suite::read(&files, Names::default()).unwrap_err();
    assert!(found.items()[0].message.contains("no piece may be empty"));
}

#[test]
fn a_wrong_digest_is_refused() {
    let mut files = Files::embedded();
    let (_, contents) = &mut files
        .fixtures
        .iter_mut()
        .find(|f| f.0 == "contents.toml")
        .unwrap();
    *contents = contents.replace("54ca1bbc", "54ca1bbd");
    let found = Suite::read(&files, Names::default()).unwrap_err();
    assert!(found.items()[0].message.contains("digest is 54ca1bbc"));
}

#[test]
fn the_three_pieces_are_those_of_the_rule() {
    let suite = Suite::embedded(Names::default()).unwrap();
    let content = suite.contents.get("three-pieces").unwrap();
    assert_eq!(196_613, content.bytes.len());
    assert_eq!(0xda56_485f_u32.to_be_bytes(), content.bytes[..4]);
    let value = |field| content.value(field).unwrap();
    assert_eq!("131073-196613", value("piece-3.file-range"));
    assert_eq!("bytes=65536-131071", value("piece-2.range"));
    assert_eq!(
        "sha-1:94:18:BD:DB:73:76:B2:56:76:DD:CB:7D:83:F5:29:42:15:33:15:00",
        value("hash")
    );
    assert_eq!(
        "aeb355689d0d9194349231a5dacf8f20127d3444f4e9be30873ce65b1656fd85",
        value("piece-3.sha256")
    );
}

#[test]
fn sockets_give_each_node_its_own_loopback_address() {
    let suite = Suite::embedded(Names::default()).unwrap();
    for topology in &suite.topologies {
        let ips = topology
            .nodes
            .iter()
            .map(|n| n.ip_on(Ground::Loopback { network: 1 }));
        let distinct: std::collections::BTreeSet<_> = ips.collect();
        assert_eq!(topology.nodes.len(), distinct.len(), "{}", topology.name);
        assert!(distinct.iter().all(|ip| ip.is_loopback()));
    }
}

#[test]
fn sockets_on_one_address_give_each_node_its_own_ports() {
    let suite = Suite::embedded(Names::default()).unwrap();
    for topology in &suite.topologies {
        let mut taken = std::collections::BTreeSet::new();
        for network in [0, Ground::NETWORKS_AT_ONE - 1] {
            let ip = std::net::Ipv6Addr::LOCALHOST.into();
            let ground = Ground::OneAddress { ip, network };
            assert!(taken.insert(ground.claim().unwrap().port()));
            for node in &topology.nodes {
                assert!(node.ip_on(ground).is_loopback() && node.ip_on(ground).is_ipv6());
                let (first, last) = node.ports_on(ground).unwrap();
                let listeners = node.listeners(ground);
                let is_own = |port| (first..=last).contains(&port);
                assert!(listeners.iter().all(|l| is_own(l.addr.port())));
                let apart = listeners.iter().map(|l| (l.addr, l.transport as u8));
                let apart: std::collections::BTreeSet<_> = apart.collect();
                assert_eq!(listeners.len(), apart.len(), "{}", node.name);
                assert!((first..=last).all(|port| taken.insert(port)));
            }
        }
        assert!(taken.last().is_some_and(|port| *port < 32_768));
    }
}

#[test]
fn a_scenario_is_repeated_over_what_it_says() {
    let suite = read(&scenario("over = [\"peer-list\", \"status\"]", STEPS)).unwrap();
    let paths: Vec<_> = Instance::of(&suite.scenarios[0], 41)
        .iter()
        .map(Instance::id)
        .collect();
    assert_eq!(
        [
            "registered/step-9-test/asks@ut.ims.ims#41",
            "registered/step-9-test/asks@ut.ims.ut#41",
            "registered/step-9-test/asks@ims.ims.ims#41",
            "registered/step-9-test/asks@ims.ims.ut#41",
        ],
        paths[..]
    );
    let again = suite.instance(&paths[2]).unwrap();
    assert_eq!(paths[2], again.to_string());
}

#[test]
fn a_step_stands_only_where_its_choice_was_made() {
    let step = |status: &str| {
        format!(
            "\n[[scenario.step]]\nwhen = {{ status = \"{status}\" }}\n\
             expect = {{ from = \"ue-a\", sip = {{ Event = \"{status}\" }}, as = \"report\" }}\n"
        )
    };
    let steps = format!("{STEPS}{}{}", step("ims"), step("ut"));
    let suite = read(&scenario("over = [\"status\"]", &steps)).unwrap();
    for instance in Instance::of(&suite.scenarios[0], 1) {
        let steps = instance.steps(&suite);
        let own: Vec<_> = steps.iter().filter(|step| !step.setup).collect();
        assert_eq!(4, own.len());
        let expected = format!(": {}", instance.options.status);
        assert!(own[3].to_string().contains(&expected), "{}", own[3]);
    }
    let twice = format!("{STEPS}{}{}", step("ims"), step("ims"));
    assert_eq!(
        "the name \"report\" is taken",
        message(&scenario("", &twice))
    );
}

#[test]
fn the_scenario_speaks_for_whom_it_sends_for() {
    let send = "\n[[scenario.step]]\n\
                send = { from = \"ue-d\", to = \"p-cscf\", on = \"Gm\", octets = 'x\\r\\n' }\n";
    let suite = read(&scenario("", &format!("{send}{STEPS}"))).unwrap();
    let instance = &Instance::of(&suite.scenarios[0], 1)[0];
    assert!(instance.speaks_for("ue-d"));
    assert!(!instance.speaks_for("ue-a"));
}

#[test]
fn what_to_send_has_to_be_clear() {
    let send = |rest: &str| {
        let head = "[[scenario.step]]\nsend = { from = \"ue-d\", to = \"p-cscf\", on = \"Gm\"";
        message(&scenario("", &format!("{head}{rest} }}\n{STEPS}")))
    };
    assert!(send("").starts_with("what to send is not clear"));
    assert!(send(", text = 'a', octets = 'b'").starts_with("what to send is not clear"));
    assert!(send(", message = \"registr\"").starts_with("unknown message file"));
    assert!(send(", text = '${ue-d.gm'").contains("without \"}\""));
}

#[test]
fn each_instance_has_swarm_ids_of_its_own() {
    let suite = read(&scenario("over = [\"status\"]", STEPS)).unwrap();
    let instances = Instance::of(&suite.scenarios[0], 1);
    let swarms: Vec<_> = instances.iter().map(|i| i.swarm("tiny")).collect();
    assert_ne!(swarms[0], swarms[1]);
    assert_eq!(swarms[0], instances[0].swarm("tiny"));
}

#[test]
fn a_selection_that_matches_nothing_names_the_nearest() {
    let suite = read(&scenario("tags = [\"smoke\"]", STEPS)).unwrap();
    let select = |glob: &str| Selection {
        globs: vec![glob.to_owned()],
        ..Selection::default()
    };
    for glob in [
        "registered",
        "*/step-9*",
        "registered/step-9-test/asks",
        "registered/step-9-test/asks@ut.ims.ims#7",
        "*asks",
    ] {
        assert_eq!(
            1,
            select(glob).instances(&suite, 7).unwrap().len(),
            "{glob}"
        );
    }
    let nothing = select("registered/step-9-test/akss").instances(&suite, 7);
    assert_eq!(
        "no scenario matches registered/step-9-test/akss, did you mean registered/step-9-test/asks?",
        nothing.unwrap_err().to_string()
    );
    let direct = Selection {
        options: Pins {
            request: Some(RequestPath::Direct),
            ..Pins::default()
        },
        ..select("*asks")
    };
    assert_eq!(
        "no scenario matches *asks with the options asked for; it is played with ut.ims.ims",
        direct.instances(&suite, 7).unwrap_err().to_string()
    );
    let nothing = select("").instances(&suite, 7).unwrap_err().to_string();
    assert!(
        nothing.starts_with("no scenario matches \"\", "),
        "{nothing}"
    );
    let tagged = Selection {
        tags: vec!["smoek".to_owned()],
        ..Selection::default()
    };
    assert_eq!(["smoke"], tagged.instances(&suite, 7).unwrap_err().near[..]);
    let by_role = |role| Selection {
        roles: vec![role],
        ..Selection::default()
    };
    assert!(by_role(Role::Ue).instances(&suite, 7).is_ok());
    assert!(by_role(Role::Hss).instances(&suite, 7).is_err());
}

#[test]
fn everybody_who_registers_is_registered_before_the_first_step() {
    let given = "given = { content = \"three-pieces\" }";
    let suite = read(&scenario(given, STEPS)).unwrap();
    let instance = &Instance::of(&suite.scenarios[0], 1)[0];
    let steps = instance.steps(&suite);
    let did = |action: &Action| -> Vec<&str> {
        let steps = steps.iter().filter_map(|step| match &step.verb {
            Verb::Do(step) if &step.action == action => Some(step.node.as_str()),
            _ => None,
        });
        steps.collect()
    };
    assert_eq!(
        ["ue-a", "ue-b", "es-1", "os-1", "ue-c", "ue-d"],
        did(&Action::Register)[..]
    );
    let announce = |piece| Action::Announce {
        content: "three-pieces".to_owned(),
        pieces: vec![piece],
    };
    assert_eq!(["ue-b"], did(&announce(1))[..]);
    assert_eq!(["es-1"], did(&announce(2))[..]);
    assert_eq!(["os-1"], did(&announce(3))[..]);
    assert!(steps.iter().take(18).all(|step| step.setup));
    assert_eq!(3, steps.iter().filter(|step| !step.setup).count());
}

use crate::{
    io::Action,
    spec::{RequestPath, Role, Strength},
};

const LEDGER: &str = r#"
[[requirement]]
id       = "UE-001"
title    = "The UE asks where the list says."
clause   = "TR 23.844 6.2.1 step 3"
basis    = "source-text"
strength = "must"
role     = "ue"
observed = ["Gm"]
"#;

const SPARE_CONTENT: &str = "\n[[content]]\nname = \"spare\"\nrule = \"x\"\npieces = [1]\n";

const SPARE_SUBSCRIBER: &str = r#"
[[subscriber]]
id       = "ue-spare"
impi     = "ue-spare@private.ims.example"
impus    = ["sip:ue-spare@ims.example"]
password = "x"
k        = "83c96b538ce206482fc94ba7e969a1e2"
opc      = "1858cdf1bfb8d29a3efeef98aa5d0216"
"#;

const HEAD: &str = r#"section = "Test"
clause = "TR 23.844 6.2.1 step 3"

[[scenario]]
name = "asks"
purpose = "It asks."
requires = ["UE-001"]

"#;

const STEPS: &str = r#"
[[scenario.step]]
do = { node = "ue-a", fetch = "tiny" }

[[scenario.step]]
expect = { from = "ue-a", to = "p-cscf", on = "Gm", sip = { method = "INVITE" }, within = "2s" }

[[scenario.step]]
never = { from = "ue-a", to = "es-1", on = "Gm" }
"#;

#[test]
fn a_row_that_binds_nobody_who_acts_is_a_mistake() {
    let steps = "[[scenario.step]]\nsend = { from = \"ue-a\", to = \"p-cscf\", on = \"Gm\", octets = \"x\" }\n\
                 [[scenario.step]]\nexpect = { from = \"p-cscf\", to = \"ue-a\", on = \"Gm\", sip = { status = 400 } }\n";
    let spoken_for = "given = { script = [\"ue-a\", \"ue-c\", \"ue-d\"] }";
    assert_eq!(
        "\"UE-001\" binds a ue, and the scenario plays none that acts of its own accord (cite a row of whoever is tested)",
        message(&scenario(spoken_for, steps))
    );
}
