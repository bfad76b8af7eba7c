//! What a person sees of a failure: which rows of the ladder are red, and what the findings say.

mod drawn;
mod whole;

use peerproof::{
    judge::Rigour,
    node::deviation::Deviation,
    report::{
        InstanceResult, Outcome,
        ladder::{Ladder, Row},
    },
    suite::{Files, Instance, Names, Suite},
};
use whole::{all, suite};

/// A never that is broken several times: each message is red, and the one that was sent first is told first.
#[test]
fn every_message_that_must_not_be_seen_is_red_and_the_first_is_told_first() {
    let (result, ladder) = failed(
        "registered/step-3-piece-request/asks-through-the-p-cscf",
        "ue-skips-p-cscf",
    );
    let red = [
        "ue-a → ue-b: INVITE",
        "ue-a → es-1: INVITE",
        "ue-a → os-1: INVITE",
    ];
    assert_eq!(red[..], red_arrows(&ladder)[..]);
    let first = result.findings.first().unwrap();
    // What was due instead stands behind all that was sent at that moment.
    let mut rows = ladder.rows.iter();
    let last = rows.rposition(Row::is_failing).unwrap();
    let ghost = &ladder.rows[last + 1];
    assert!(matches!(ghost, Row::Ghost(_)), "{ghost:?}");
    assert_eq!("ue-a → ue-b on Gm: INVITE", first.actual);
    assert_eq!(Some("ue-a"), first.node.as_deref());
}

/// One NOTIFY is due and five come: the four that are too many are red.
#[test]
fn every_message_too_many_is_red() {
    let (_, ladder) = failed(
        "common/peer-list-subscription/sends-one-notify-for-one-subscription",
        "tracker-notifies-five-times",
    );
    assert_eq!(
        ["tracker → s-cscf: NOTIFY, 3 peers"; 4][..],
        red_arrows(&ladder)[..]
    );
}

/// What is due is known by its document alone: the answer that came instead is red, and the ghost behind it says what
/// that answer lacks.
#[test]
fn an_answer_with_the_wrong_document_is_red() {
    let (result, ladder) = failed(
        "common/tracker-documents/answers-with-numbers-and-version-1",
        "tracker-answers-in-version-2",
    );
    let actual = &result.findings[0].actual;
    assert_eq!(
        "tracker → es-1 on Dedicated: ppstp version 2, not 1",
        actual
    );
    assert_eq!(["tracker → es-1: 200, version 2"], red_arrows(&ladder)[..]);
    let ghost = "tracker → es-1: a message with ppstp version 1";
    assert_eq!([ghost], red_ghosts(&ladder)[..]);
}

/// An answer of another media type holds no document that is looked at; the finding says of which type it is.
#[test]
fn an_answer_of_another_type_is_red_and_its_type_is_told() {
    let (result, ladder) = failed(
        "common/tracker-protocol/answers-in-its-own-media-type",
        "tracker-answers-in-plain-json",
    );
    let actual = &result.findings[0].actual;
    assert!(actual.contains("application/json"), "{actual}");
    assert_eq!(1, red_arrows(&ladder).len(), "{:?}", red_arrows(&ladder));
    let ghost = "tracker → es-1: a message with http Content-Type containing \"application/ppsp-tracker+json\"";
    assert_eq!([ghost], red_ghosts(&ladder)[..]);
}

/// Octets that are not the content's are told where they begin to differ, and how many do.
#[test]
fn of_wrong_octets_the_first_is_told() {
    let (result, _) = failed(
        "common/data-transfer/serves-a-range-over-http",
        "holder-pollutes-a-piece",
    );
    let actual = &result.findings[0].actual;
    assert!(actual.starts_with("other octets: "), "{actual}");
    assert!(actual.ends_with("; 1 of 65536 differ"), "{actual}");
}

/// What came too late is named, and is never said to have taken no longer than it may.
#[test]
fn what_came_too_late_is_named() {
    let (result, _) = failed(
        "registered/step-5-status-update/refreshes-its-publication-in-time",
        "ue-refreshes-too-late",
    );
    let finding = &result.findings[0];
    assert!(
        finding.expected.ends_with(" within 180 s"),
        "{}",
        finding.expected
    );
    assert_eq!(
        "ue-a → p-cscf on Gm: PUBLISH after 180001 ms, counted from 0.175",
        finding.actual
    );
}

/// A CANCEL under another branch is the one that was due, and wrong.
#[test]
fn a_provisional_answer_that_came_too_late_is_red() {
    let (result, ladder) = failed(
        "unregistered/step-4-core-routes-to-controller/answers-trying-while-the-edge-is-slow",
        "p-cscf-tries-late",
    );
    let mut asked = ladder.rows.iter().filter_map(|row| match row {
        Row::Arrow(arrow) if arrow.label == "INVITE" => Some(arrow.event),
        _ => None,
    });
    let actual = &result.findings[0].actual;
    assert!(
        asked.any(|event| *actual == format!("the first after 500 ms (INVITE: event {event})")),
        "{actual}"
    );
    let red = red_arrows(&ladder);
    assert!(
        red.iter().all(|row| row.ends_with("100 (INVITE)")),
        "{red:?}"
    );
    assert_eq!(result.findings.len(), red.len());
}

/// A missing 100 is no wrong 200: what came in the end is not red, what never came is drawn.
#[test]
fn a_provisional_answer_that_never_came_is_drawn() {
    let (result, ladder) = failed(
        "unregistered/step-4-core-routes-to-controller/answers-trying-while-the-edge-is-slow",
        "p-cscf-never-says-trying",
    );
    assert!(result.findings[0].actual.starts_with("none for "));
    assert_eq!(0, red_arrows(&ladder).len());
    assert!(!red_ghosts(&ladder).is_empty());
}

/// A challenge that nobody takes up is what came instead; one that is taken up is on the way.
#[test]
fn a_challenge_in_the_place_of_an_answer_is_red() {
    let (result, ladder) = failed("common/security/challenges-on-ut", "tracker-knows-md5-only");
    let actual = "tracker → ue-d on Ut: http status 401, not 200";
    assert_eq!(actual, result.findings[0].actual);
    assert_eq!(1, red_arrows(&ladder).len());
    let (result, ladder) = failed(
        "registered/step-1-2-peer-list/asks-on-ut-and-not-through-the-core",
        "tracker-challenges-without-digest",
    );
    let told = &result.findings[0];
    assert_eq!(Some("tracker"), told.node.as_deref(), "{told:?}");
    assert!(red_arrows(&ladder).len() <= 1);
}

/// What a reference was led to do by what had gone wrong is not told as a finding of its own.
#[test]
fn what_follows_is_not_told() {
    let (result, _) = failed(
        "registered/step-3-piece-request/acknowledges-and-ends-each-session",
        "ue-acknowledges-nothing",
    );
    let nobody = result
        .findings
        .iter()
        .find(|finding| finding.node.is_none());
    assert_eq!(None, nobody);
}

/// One answer is due to one request: another answer that says the same may be right for another.
#[test]
fn an_answer_that_is_right_elsewhere_is_not_red() {
    let (_, ladder) = failed(
        "common/registration/asks-the-hss-at-each-step",
        "hss-calls-the-first-a-later-registration",
    );
    assert_eq!(["hss → i-cscf: UAA 2002"], red_arrows(&ladder)[..]);
}

/// What of a series never came is drawn where the next was due, not where the time of all was over.
#[test]
fn a_series_that_breaks_off_is_drawn_where_it_does() {
    let (_, ladder) = failed(
        "registered/step-5-status-update/reports-on-ut-in-time",
        "ue-reports-twice-and-no-more",
    );
    let place = ladder.rows.iter().position(Row::is_failing).unwrap();
    let next = ladder.rows[place..].iter().find_map(|row| match row {
        Row::Arrow(arrow) => Some(arrow.at.as_secs_f64()),
        _ => None,
    });
    assert!(next.is_some_and(|at| at < 400.0), "{next:?}");
}

/// What ought not to be there is told with what the rule left open: how many octets, which Contact.
#[test]
fn what_must_not_be_is_told_with_its_value() {
    let (result, _) = failed(
        "common/registration/renews-its-registration-in-time",
        "ue-registers-again-while-one-is-pending",
    );
    let actual = &result.findings[0].actual;
    assert!(actual.contains("REGISTER with sip "), "{actual}");
}

/// An ACK of another number is no ACK to the 200: it is red, and both numbers are told.
#[test]
fn an_ack_of_another_number_is_red() {
    let (result, ladder) = failed(
        "registered/step-3-piece-request/acknowledges-and-ends-each-session",
        "ue-acknowledges-another-number",
    );
    assert_eq!("CSeq 2 ACK, not 1 ACK", result.findings[0].actual);
    let red = red_arrows(&ladder);
    assert!(red.len() >= 3, "{red:?}");
    assert!(red.iter().all(|row| row == "ue-a → p-cscf: ACK"), "{red:?}");
    let nothing = "ue-acknowledges-nothing";
    let (result, _) = failed(&result.scenario, nothing);
    let mut actual = result.findings.iter().map(|finding| &finding.actual);
    assert!(actual.any(|actual| actual.starts_with("none to event ")));
}

/// Answers that are wrong in the same way are all red.
#[test]
fn each_of_several_answers_that_are_wrong_alike_is_red() {
    let (_, ladder) = failed(
        "unregistered/step-3-piece-request/asks-the-controllers-url-when-it-goes-direct",
        "controller-redirects-to-nowhere",
    );
    let all = ladder
        .rows
        .iter()
        .filter(|row| matches!(row, Row::Arrow(arrow) if arrow.label == "302"));
    let all = vec!["ctrl → ue-a: 302"; all.count()];
    assert!(all.len() > 1);
    assert_eq!(all, red_arrows(&ladder));
}

/// Who refuses what it ought to hand on is seen to do so.
#[test]
fn a_refusal_of_what_ought_to_be_handed_on_is_red() {
    let (result, ladder) = failed(
        "common/transactions/proxies-a-method-nobody-knows",
        "p-cscf-refuses-unknown-methods",
    );
    let actual = "nothing of the kind; p-cscf → ue-a on Gm: 501 to FOO";
    assert_eq!(actual, result.findings[0].actual);
    assert_eq!(["p-cscf → ue-a: 501 (FOO)"], red_arrows(&ladder)[..]);
    assert_eq!(["p-cscf → ue-b: FOO"], red_ghosts(&ladder)[..]);
}

/// A request that is like the one that is due may be right for something else: it is named, and not red.
#[test]
fn a_request_for_something_else_is_named() {
    let (result, ladder) = failed(
        "unregistered/step-1-2-peer-list/announces-what-its-edges-hold",
        "controller-announces-whole-contents",
    );
    let actual = "nothing of the kind; nearest is event 516, ctrl → tracker on Dedicated: ppstp pieces 1,2,3, not 2,3";
    assert_eq!(actual, result.findings[0].actual);
    assert_eq!(0, red_arrows(&ladder).len());
}

/// What came too seldom is told with its moments, and when the rest was due.
#[test]
fn what_came_too_seldom_is_told_with_its_moments() {
    let (result, ladder) = failed(
        "common/dialogs/repeats-its-refusal-until-it-is-acknowledged",
        "holder-doubles-beyond-t2",
    );
    let actual = &result.findings[0].actual;
    assert!(actual.starts_with("7 times, at "), "{actual}");
    let moments: Vec<String> = ladder
        .rows
        .iter()
        .filter_map(|row| match row {
            Row::Arrow(arrow) if arrow.label == "488 (INVITE)" => Some(arrow.at.to_string()),
            _ => None,
        })
        .collect();
    assert!(
        actual.contains(moments.first().unwrap()),
        "{actual} {moments:?}"
    );
    let due = ladder.rows.iter().find_map(|row| match row {
        Row::Ghost(ghost) if ghost.failing => ghost.due,
        _ => None,
    });
    assert!(due.is_some_and(|due| due.as_secs_f64() > 105.0), "{due:?}");
}

/// A request that a proxy hands on for somebody else is not the one that it ought to send of itself.
#[test]
fn what_is_handed_on_is_not_taken_for_ones_own() {
    let (result, ladder) = failed(
        "common/registration/is-watched-by-the-p-cscf",
        "p-cscf-watches-nobody-who-comes-back",
    );
    assert_eq!("nothing of the kind", result.findings[0].actual);
    assert_eq!(0, red_arrows(&ladder).len());
}

#[test]
fn a_request_under_another_branch_is_red() {
    let (result, ladder) = failed(
        "common/core/gives-a-peer-up-that-rings-for-ever",
        "p-cscf-cancels-under-another-branch",
    );
    assert!(
        result.findings[0].actual.contains("sip branch "),
        "{}",
        result.findings[0].actual
    );
    assert_eq!(["p-cscf → ue-d: CANCEL"], red_arrows(&ladder)[..]);
}

/// Who was never asked owes no answer, whatever it said to somebody else.
#[test]
fn an_answer_is_not_due_from_who_was_not_asked() {
    let result = played(
        "common/data-transfer/names-its-sessions-beyond-guessing",
        "ue-skips-p-cscf",
    );
    assert_eq!(Outcome::Inconclusive, result.0.outcome);
    assert_eq!(None, result.0.findings[0].node);
}

/// What binds the P-CSCF is not laid to a UE that does something else than the scenario has it do.
#[test]
fn a_rule_is_laid_to_nobody_whom_it_does_not_bind() {
    let result = played(
        "common/core/finds-the-way-of-a-dialog-again",
        "ue-skips-p-cscf",
    );
    assert_eq!(Outcome::Inconclusive, result.0.outcome);
    assert_eq!("PCSCF-012", result.0.findings[0].requirement);
    assert_eq!(None, result.0.findings[0].node);
}

/// A REGISTER is due and never comes: the ghost alone is red, none of the messages that came meanwhile.
#[test]
fn of_a_message_that_never_came_the_ghost_alone_is_red() {
    let (result, ladder) = failed(
        "common/registration/registers-the-user-with-the-tracker",
        "s-cscf-tells-the-tracker-of-nobody",
    );
    assert_eq!("nothing of the kind", result.findings[0].actual);
    assert!(red_arrows(&ladder).is_empty(), "{:?}", red_arrows(&ladder));
    assert_eq!(["s-cscf → tracker: REGISTER"], red_ghosts(&ladder)[..]);
}

/// The message nearest to what is due may be another one, with which nothing is wrong: it is not red.
#[test]
fn a_message_that_is_merely_near_is_not_red() {
    let (result, ladder) = failed(
        "common/registration/asks-the-hss-at-each-step",
        "i-cscf-registers-without-asking",
    );
    assert_eq!("nothing of the kind", result.findings[0].actual);
    assert!(red_arrows(&ladder).is_empty(), "{:?}", red_arrows(&ladder));
    assert_eq!(["i-cscf → hss: UAR"], red_ghosts(&ladder)[..]);
}

/// An answer that is the wrong one came in the place of the right one: both are red, whether or not the status is
/// named that was due.
#[test]
fn a_wrong_answer_is_red_with_the_one_that_was_due() {
    let (result, ladder) = failed(
        "common/data-transfer/refuses-a-file-with-another-digest",
        "holder-refuses-with-404",
    );
    let finding = &result.findings[0];
    assert_eq!(
        "ue-b → p-cscf on Gm: an answer to INVITE, with sip status 488, or sip status 200 and sdp port 0 within 5 s",
        finding.expected
    );
    assert_eq!(
        "ue-b → p-cscf on Gm: sip status 404, expected sip status 488, or sip status 200 and sdp port 0",
        finding.actual
    );
    assert_eq!(["ue-b → p-cscf: 404 (INVITE)"], red_arrows(&ladder)[..]);
    assert_eq!(
        [
            "ue-b → p-cscf: an answer to INVITE with sip status 488, or sip status 200 and sdp port 0"
        ],
        red_ghosts(&ladder)[..]
    );
}

/// One of two edge servers has to ask the origin: the ghost names both, and comes from the one that is blamed.
#[test]
fn what_one_of_several_ought_to_send_is_drawn_from_the_one_that_is_blamed() {
    let (result, ladder) = failed(
        "unregistered/step-5-controller-asks-edges/fills-a-cold-edge-from-the-origin",
        "edge-fetches-nothing",
    );
    assert_eq!(
        "nothing of the kind; es-1 → ctrl on Cdn: 404",
        result.findings[0].actual
    );
    assert_eq!(["es-1 → ctrl: 404"], red_arrows(&ladder)[..]);
    let ghost = "es-1 → os-1: GET from es-1 or es-2";
    assert_eq!([ghost], red_ghosts(&ladder)[..]);
}

#[test]
fn the_words_of_a_failure_are_those_of_the_protocol() {
    let told = |scenario: &str, deviation: &str| {
        let (result, _) = failed(scenario, deviation);
        let finding = &result.findings[0];
        (finding.expected.clone(), finding.actual.clone())
    };
    let (expected, actual) = told(
        "common/core/gives-authentication-data-for-the-scheme-asked-for",
        "hss-gives-a-digest-for-aka",
    );
    assert!(expected.contains("MAA with Result-Code 2001"), "{expected}");
    assert_eq!(
        "hss → s-cscf on Cx: Experimental-Result 5006 (vendor 10415), not Result-Code 2001",
        actual
    );
    let (expected, actual) = told(
        "common/registration/answers-no-network-that-lacks-the-key",
        "ue-answers-any-network",
    );
    assert_eq!(
        "never ue-d → p-cscf on Gm: REGISTER with sip Authorization matching /response=\"[0-9a-f]{32}\"/",
        expected
    );
    assert_eq!("ue-d → p-cscf on Gm: REGISTER", actual);
    let (expected, actual) = told(
        "common/peer-list-subscription/sends-one-notify-for-one-subscription",
        "tracker-notifies-five-times",
    );
    assert!(expected.ends_with(", once within 5 s"), "{expected}");
    assert!(
        actual.ends_with("NOTIFY (3 peers), one too many"),
        "{actual}"
    );
}

/// Who only follows is not charged with what did not reach it, however short its own time was.
#[test]
fn what_follows_from_something_else_is_laid_to_nobody() {
    let scenario = "unregistered/step-5-controller-asks-edges/frees-the-edge-when-the-session-ends";
    for silent in ["ue-ends-no-session", "ue-ends-its-first-session-only"] {
        let (result, _) = played(scenario, silent);
        let laid = result
            .findings
            .iter()
            .any(|f| f.node.as_deref() == Some("ctrl"));
        assert!(!laid, "{silent}: {:?}", result.findings);
    }
    // What is given comes first, too.
    let steps = r#"expect = { from = "ue-a", to = "p-cscf", on = "Gm", sip = { method = "INVITE" }, within = "2s" }"#;
    let given = r#"registered = ["es-1"], announced = ["es-1"], script = ["tracker"]"#;
    let (result, _) = own(given, &[steps]);
    assert_eq!(
        Outcome::Inconclusive,
        result.outcome,
        "{:?}",
        result.findings
    );
    assert!(result.findings[0].expected.starts_with("given: "));
}

/// Of a series that was not complete in time the one that was late is red, not the one that was in time.
#[test]
fn of_a_late_series_the_late_one_is_red() {
    let fetch = r#"do = { node = "ue-a", fetch = "three-pieces" }"#;
    let twice = r#"expect = { from = "ue-a", to = "p-cscf", on = "Gm", sip = { method = "PUBLISH" }, times = { min = 2 }, within = "50s" }"#;
    let (result, ladder) = own("", &[fetch, twice]);
    let actual = &result.findings[0].actual;
    assert!(actual.contains("PUBLISH after 60"), "{actual}");
    let red = ladder.rows.iter().filter_map(|row| match row {
        Row::Arrow(arrow) if arrow.failing => Some(arrow.at.as_secs_f64()),
        _ => None,
    });
    let red: Vec<f64> = red.collect();
    assert!(red.len() == 1 && red[0] > 50.0, "{red:?}");
}

/// Where one of several ought to send something, nobody is pointed at for something else that it did.
#[test]
fn of_several_nobody_is_blamed_for_something_else() {
    let fetch = r#"do = { node = "ue-a", fetch = "three-pieces" }"#;
    let cancel = r#"expect = { from = ["es-1", "os-1"], to = "p-cscf", on = "Gm", sip = { method = "CANCEL" } }"#;
    let (result, ladder) = own("", &[fetch, cancel]);
    assert_eq!("nothing of the kind", result.findings[0].actual);
    assert_eq!(None, result.findings[0].node);
    assert_eq!(0, red_arrows(&ladder).len());
}

/// Words stand for a regular expression only where they mean the same.
#[test]
fn what_a_finding_says_of_a_value_is_true_of_it() {
    let fetch = r#"do = { node = "ue-a", fetch = "three-pieces" }"#;
    for (header, regex, expected) in [
        (
            "Content-Type",
            "^application/sd(;|$)",
            "not \"application/sd\"",
        ),
        ("Contact", "^\\\\<sip:x", "not matching /^\\<sip:x/"),
        ("Content-Type", "^text/", "not beginning with \"text/\""),
    ] {
        let step = format!(
            r#"expect = {{ from = "ue-a", to = "p-cscf", on = "Gm", sip = {{ method = "INVITE", {header} = {{ matches = "{regex}" }} }} }}"#
        );
        let (result, _) = own("", &[fetch, &step]);
        let actual = &result.findings[0].actual;
        assert!(actual.ends_with(expected), "{actual}");
    }
}

/// What comes of steps of one's own, with more that is given.
fn own(given: &str, steps: &[&str]) -> (InstanceResult, Ladder) {
    let steps: Vec<String> = steps
        .iter()
        .map(|step| format!("[[scenario.step]]\n{step}\n"))
        .collect();
    let given = match given {
        "" => String::new(),
        given => format!(", {given}"),
    };
    let text = format!(
        "section = \"own\"\nclause = \"TR 23.844 6.2.1\"\n[[scenario]]\nname = \"own\"\npurpose = \"own\"\n\
         requires = [\"UE-001\"]\noptions = {{ request = \"ims\", status = \"ims\" }}\nlimit = \"900s\"\n\
         given = {{ content = \"three-pieces\"{given} }}\n{}",
        steps.concat()
    );
    let mut files = Files::embedded();
    files.suites.retain(|(path, _)| path == "requirements.toml");
    files.suites.push(("registered/own.toml".to_owned(), text));
    let suite = Suite::read(&files, Names::default()).unwrap_or_else(|found| panic!("{found}"));
    let instance = all(&suite, 0).remove(0);
    let trace = drawn::played(&suite, &instance, None);
    drawn::drawn(&suite, &instance, &trace, Rigour::Usual)
}

/// What came of the first instance of a scenario in which a rule is broken: it fails.
fn failed(scenario: &str, deviation: &str) -> (InstanceResult, Ladder) {
    let (result, ladder) = played(scenario, deviation);
    assert_eq!(Outcome::Fail, result.outcome, "{:?}", result.findings);
    (result, ladder)
}

fn played(scenario: &str, deviation: &str) -> (InstanceResult, Ladder) {
    let suite = suite();
    let mut instances = all(&suite, 0).into_iter();
    let of_it = |instance: &Instance| instance.scenario.id == scenario;
    let instance = instances.find(of_it).unwrap();
    let trace = drawn::played(&suite, &instance, Deviation::named(deviation));
    drawn::drawn(&suite, &instance, &trace, Rigour::Usual)
}

fn red_arrows(ladder: &Ladder) -> Vec<String> {
    let rows = ladder.rows.iter().filter_map(|row| match row {
        Row::Arrow(arrow) if arrow.failing => {
            let (from, to) = (&ladder.lanes[arrow.from], &ladder.lanes[arrow.to]);
            Some(format!("{from} → {to}: {}", arrow.label))
        }
        _ => None,
    });
    rows.collect()
}

fn red_ghosts(ladder: &Ladder) -> Vec<String> {
    let name = |lane: Option<usize>| lane.map_or("…", |lane| ladder.lanes[lane].as_str());
    let rows = ladder.rows.iter().filter_map(|row| match row {
        Row::Ghost(ghost) if ghost.failing => Some(format!(
            "{} → {}: {}",
            name(ghost.from),
            name(ghost.to),
            ghost.label
        )),
        _ => None,
    });
    rows.collect()
}
