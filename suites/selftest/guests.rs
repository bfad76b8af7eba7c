//! Guests: our own nodes in processes of their own come to the verdicts they come to within; guests that misbehave
//! end a run in time, with the right verdict; and none outlives its run. The misbehaving ones are this very program
//! again, see [`guest`].

mod folder;

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command as Process, Stdio},
    thread,
    time::{Duration, Instant},
};

use assert_cmd::Command;
use folder::Folder;
use serde_json::Value;

const TRACKER: &str =
    "registered/step-1-2-peer-list/asks-on-ut-and-not-through-the-core@ut.ims.ims#0";
const FETCH: &str = "registered/step-3-piece-request/asks-through-the-p-cscf@ut.ims.ims#0";

#[test]
fn our_own_nodes_pass_as_guests() {
    for (node, instance) in [
        ("tracker", TRACKER),
        ("ue-a", FETCH),
        (
            "ue-b",
            "registered/step-4-core-routes-to-peers/*@ut.ims.ims#0",
        ),
        ("p-cscf", "common/registration/registers-with-sip-digest"),
        ("hss", "common/registration/refuses-an-unknown-user"),
        (
            "ctrl",
            "unregistered/step-5-controller-asks-edges/redirects-with-302@ut.direct.ims#0",
        ),
    ] {
        let results = played(&format!("own-{node}"), instance, &own(node, ""), 0);
        let outcomes = outcomes(&results);
        assert!(
            outcomes.contains(&"pass".to_owned()),
            "{node}: {outcomes:?}"
        );
    }
}

#[test]
fn broken_rules_are_laid_to_the_guest() {
    for (node, deviation, instance) in BROKEN {
        let command = own(node, &format!(" --deviation {deviation}"));
        let results = played(&format!("broken-{deviation}"), instance, &command, 1);
        let failed = instances(&results).find(|i| i["outcome"] == "fail");
        let failed = failed.unwrap_or_else(|| panic!("{deviation}: nothing failed"));
        assert_eq!("sut", failed["findings"][0]["blame"], "{deviation}");
        assert_eq!(*node, failed["findings"][0]["node"], "{deviation}");
    }
}

#[test]
fn a_guest_that_never_answers_is_not_there() {
    let results = played("hangs", TRACKER, &misbehaving("hang"), 7);
    assert_eq!(vec!["inconclusive"], outcomes(&results));
    assert!(
        results["run"]["unavailable"]
            .as_str()
            .is_some_and(|why| why.contains("never sent"))
    );
}

#[test]
fn a_guest_that_does_not_get_ready_is_not_there() {
    let results = played("unready", TRACKER, "tracker=cmd:exit 3", 7);
    let why = results["run"]["unavailable"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(why.contains("status 3"), "{why}");
}

#[test]
fn status_127_says_that_it_does_not_do_this() {
    let results = played("unsupported", TRACKER, "tracker=cmd:exit 127", 4);
    assert_eq!(vec!["unsupported"], outcomes(&results));
}

#[test]
fn a_command_that_is_not_found_is_not_there() {
    let results = played("mistyped", TRACKER, "tracker=cmd:./my-trakcer", 7);
    let why = results["run"]["unavailable"].as_str().unwrap();
    assert!(why.contains("\"./my-trakcer\" was not found"), "{why}");
    assert_eq!(vec!["inconclusive"], outcomes(&results));
}

#[test]
fn a_guest_that_answers_garbage_fails() {
    let results = played("garbage", TRACKER, &misbehaving("garbage"), 1);
    let finding = &instances(&results).next().unwrap()["findings"][0];
    assert_eq!("tracker", finding["node"], "{finding}");
    assert!(
        finding["actual"]
            .as_str()
            .unwrap()
            .contains("that are none"),
        "{finding}"
    );
}

#[test]
fn a_guest_that_dies_of_a_message_fails() {
    let results = played("dies", TRACKER, &misbehaving("die"), 1);
    let finding = &instances(&results).next().unwrap()["findings"][0];
    assert!(
        finding["actual"].as_str().unwrap().contains("signal 6"),
        "{finding}"
    );
}

/// Two scenarios each, the second with swarm ids that it was not started with: with a trigger and without, started by the
/// run and running already, in loopback's networks and at one address of this machine.
#[test]
fn a_guest_that_outlives_a_scenario_is_told_anew() {
    let program = env!("CARGO_BIN_EXE_peerproof");
    let started = format!("command = 'exec {program} node tracker'\nlifetime = \"run\"\n");
    let first = two_scenarios("lives-on", &started, &[]);
    assert_eq!(vec!["pass", "pass"], outcomes(&first));
    for (name, place, at, control) in [
        (
            "runs-already",
            &["--network", "201"][..],
            "127.201.113.40",
            "127.201.9.9:9000",
        ),
        (
            "runs-at-one-address",
            &["--address", "127.202.0.1"],
            "{ isc = \"127.202.0.1:10560\", ut = \"127.202.0.1:10561\", dedicated = \"127.202.0.1:10562\" }",
            "127.202.9.9:9000",
        ),
    ] {
        let folder = Folder::new(&format!("{name}-node"));
        let authority = folder.path().join("tls");
        let authority = authority.to_str().unwrap();
        let own = ["--control", control, "--authority", authority];
        let node = Node::start("tracker", &[&own[..], place].concat());
        // What it cannot be told changes nothing.
        let wrong = "{\"action\":\"reset\",\"variables\":{\"PEERPROOF_TOPOLOGY\":\"none\"}}";
        let refused = posted(control, wrong);
        assert!(
            refused.contains(" 409 ") && refused.contains("PEERPROOF_TOPOLOGY"),
            "{refused}"
        );
        let at = match at.starts_with('{') {
            true => at.to_owned(),
            false => format!("\"{at}\""),
        };
        let guest = format!("address = {at}\ntrigger = {{ post = \"http://{control}/\" }}\n");
        let place: Vec<&str> = place
            .iter()
            .copied()
            .chain(["--authority", authority])
            .collect();
        let results = two_scenarios(name, &guest, &place);
        assert_eq!(
            vec!["pass", "pass"],
            outcomes(&results),
            "{name}: {results}"
        );
        node.stop();
    }
}

/// As where a pipeline starts it in the background and goes on.
#[test]
fn a_guest_that_runs_already_may_be_still_starting() {
    let (control, folder) = ("127.204.9.9:9000", Folder::new("still-starting"));
    let place = ["--network", "204"];
    let guest = format!(
        "name = \"late\"\nroles = [\"tracker\"]\n[claims]\narchitectures = [\"registered\"]\n\
         features = [\"tls\"]\n[[guest]]\nname = \"tracker\"\naddress = \"127.204.113.40\"\ntrigger = {{ post = \"http://{control}/\" }}\n"
    );
    fs::write(folder.path().join("sut.toml"), guest).unwrap();
    let there_is_nobody_yet = TcpListener::bind(control).unwrap();
    let run = Process::new(env!("CARGO_BIN_EXE_peerproof"))
        .current_dir(folder.path())
        .args([
            "run",
            "common/tracker-protocol/answers-error-2-to-another-version@ut.ims.ims#0",
        ])
        .args(["--sut", "sut.toml", "--out", "run"])
        .args(place)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let run = thread::spawn(move || {
        let run = run.wait_with_output().unwrap();
        // Nobody is waited for who will not come.
        let _ = TcpStream::connect(control);
        run
    });
    drop(there_is_nobody_yet.accept().unwrap());
    drop(there_is_nobody_yet);
    let node = Node::start("tracker", &[&place[..], &["--control", control]].concat());
    let run = run.join().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(Some(0), run.status.code(), "{said}");
    node.stop();
}

/// An HSS that nothing can reset remembers who registered in an earlier run, and is right to.
#[test]
fn what_was_left_in_a_guest_is_not_laid_to_it() {
    let node = Node::start("hss", &["--network", "203"]);
    for (run, code) in [("first", 0), ("second", 3)] {
        let folder = Folder::new(&format!("left-{run}"));
        peerproof(folder.path())
            .args(["run", "common/registration/asks-the-hss*", "--out", "run"])
            .args(["--sut", "hss=127.203.2.4", "--network", "203"])
            .assert()
            .code(code);
        let results = fs::read_to_string(folder.path().join("run/results.json")).unwrap();
        assert_eq!(
            code == 3,
            results.contains("not made to forget"),
            "{results}"
        );
    }
    node.stop();
}

/// `node`, running and ready; killed when it is dropped.
struct Node(std::process::Child);

impl Node {
    fn start(role: &str, args: &[&str]) -> Node {
        let mut child = Process::new(env!("CARGO_BIN_EXE_peerproof"))
            .args(["node", role])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "), "{line}");
        Node(child)
    }

    /// The end of its input ends it.
    fn stop(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The answer to an order.
fn posted(control: &str, order: &str) -> String {
    let mut stream = std::net::TcpStream::connect(control).unwrap();
    let length = order.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {control}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{order}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What comes of two scenarios on the peer list, with a tracker that is reached so.
fn two_scenarios(name: &str, guest: &str, flags: &[&str]) -> Value {
    let folder = Folder::new(name);
    let profile = format!(
        "name = \"{name}\"\nroles = [\"tracker\"]\n[claims]\narchitectures = [\"registered\"]\n\
         peer-list = [\"ut\"]\nrequest = [\"ims\"]\nstatus = [\"ims\"]\nfeatures = [\"tls\"]\n\
         [[guest]]\nname = \"tracker\"\n{guest}"
    );
    fs::write(folder.path().join("sut.toml"), profile).unwrap();
    let lists = "registered/step-1-2-peer-list/lists-every-holder-with-its-pieces@ut.ims.ims#0";
    peerproof(folder.path())
        .args(["run", TRACKER, lists, "--sut", "sut.toml", "--out", "run"])
        .args(flags)
        .assert()
        .success();
    let results = fs::read_to_string(folder.path().join("run/results.json")).unwrap();
    serde_json::from_str(&results).unwrap()
}

/// Soon after our own tracker has challenged somebody it stands still, or its plug is pulled. It lives for the whole
/// run, so that it was heard before.
#[test]
fn a_guest_that_stops_in_the_middle_fails() {
    for how in ["stand-still", "unplug"] {
        let began = Instant::now();
        let folder = Folder::new(how);
        let guest = misbehaving(how);
        let (_, command) = guest.split_once("cmd:").unwrap();
        let profile = format!(
            "name = \"stops\"\nroles = [\"tracker\"]\n[claims]\narchitectures = [\"registered\"]\n\
             peer-list = [\"ut\"]\nrequest = [\"ims\"]\nstatus = [\"ims\"]\nfeatures = [\"tls\"]\n\
             [[guest]]\nname = \"tracker\"\ncommand = '{command}'\nlifetime = \"run\"\n"
        );
        fs::write(folder.path().join("sut.toml"), profile).unwrap();
        let asked = "common/tracker-on-ut/registers-nobody-it-cannot-authenticate";
        peerproof(folder.path())
            .args(["run", asked, TRACKER, "--sut", "sut.toml", "--out", "run"])
            .assert()
            .code(1);
        let results = fs::read_to_string(folder.path().join("run/results.json")).unwrap();
        let results: Value = serde_json::from_str(&results).unwrap();
        let last = instances(&results).last().unwrap();
        assert_eq!("fail", last["outcome"], "{how}: {last}");
        let finding = &last["findings"][0];
        assert_eq!("tracker", finding["node"], "{how}: {finding}");
        assert_eq!("sut", finding["blame"], "{how}: {finding}");
        assert!(began.elapsed() < Duration::from_secs(60), "{how}");
    }
}

#[test]
fn a_guest_that_floods_fails_within_a_gibibyte_and_a_minute() {
    let began = Instant::now();
    let folder = Folder::new("floods");
    let run = "ulimit -v 1048576; exec \"$0\" run \"$1\" --sut \"$2\" --out run";
    let status = Process::new("/bin/sh")
        .current_dir(folder.path())
        .args([
            "-c",
            run,
            env!("CARGO_BIN_EXE_peerproof"),
            TRACKER,
            &misbehaving("flood"),
        ])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(Some(1), status.code());
    let results = fs::read_to_string(folder.path().join("run/results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let finding = instances(&results)
        .flat_map(|i| i["findings"].as_array().cloned().unwrap_or_default())
        .find(|finding| {
            finding["actual"]
                .as_str()
                .unwrap_or_default()
                .contains("the trace is full")
        });
    assert!(finding.is_some(), "{results}");
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_guest_that_has_to_be_pushed_and_cannot_be_is_unsupported() {
    let results = played(
        "unpushed",
        FETCH,
        &format!("ue-a={}", own_command("ue-a", " --no-control")),
        4,
    );
    let reason = instances(&results).next().unwrap()["reason"].to_string();
    assert!(reason.contains("there is no trigger"), "{reason}");
}

/// Two edges of ours. A scenario may ask one of them alone, or have a script in the place of the other.
#[test]
fn several_guests_are_judged_by_what_each_was_asked() {
    let results = edges("alone", "", "gives-nothing-without-a-token", 0);
    assert_eq!(vec!["pass"], outcomes(&results));
    assert_eq!(Value::Null, results["run"]["unavailable"]);
    let results = edges("scripted", "", "opens-sessions-for-its-controller-alone", 0);
    assert_eq!(vec!["pass"], outcomes(&results));
}

/// An edge that speaks HTTP alone can be relayed and redirected to. Where nothing else is asked for it is played so.
#[test]
fn an_edge_is_used_for_the_deliveries_it_claims() {
    let claims = "delivery = [\"relay\", \"redirect\"]";
    let cold = "fills-a-cold-edge-from-the-origin@ut.ims.ims#0";
    let results = edges("relayed", claims, cold, 0);
    assert_eq!(vec!["pass"], outcomes(&results));
    let delegated = "gives-away-nothing-wrong-that-an-origin-gave";
    let results = edges("delegated", claims, delegated, 4);
    assert_eq!(vec!["unsupported"], outcomes(&results));
    let reason = instances(&results).next().unwrap()["reason"].to_string();
    assert!(reason.contains("delivery delegate"), "{reason}");
}

/// Nobody of an edge's profile makes tokens, but the Controller it meets goes by the time that it says they last.
#[test]
fn whoever_keeps_a_timer_goes_by_the_profile() {
    let folder = Folder::new("timers");
    let profile = "name = \"edge\"\nroles = [\"edge-server\"]\n[claims]\narchitectures = [\"unregistered\"]\n\
                   peer-list = [\"ut\"]\nrequest = [\"direct\"]\nstatus = [\"ims\"]\n[timers]\ntoken = \"20s\"\n";
    fs::write(folder.path().join("sut.toml"), profile).unwrap();
    let scenario = "unregistered/step-5-controller-asks-edges/takes-no-token-whose-time-is-up";
    peerproof(folder.path())
        .args(["run", scenario, "--sut", "sut.toml", "--out", "run"])
        .assert()
        .code(0);
}

fn edges(name: &str, claims: &str, scenario: &str, code: i32) -> Value {
    let folder = Folder::new(name);
    let guest = |node: &str| {
        let command = own_command(node, "");
        let command = command.trim_start_matches("cmd:");
        format!("[[guest]]\nname = \"{node}\"\ncommand = '{command}'\n")
    };
    let (one, other) = (guest("es-1"), guest("es-2"));
    let profile = format!(
        "name = \"edges\"\nroles = [\"edge-server\"]\n[claims]\narchitectures = [\"unregistered\"]\n\
         peer-list = [\"ut\"]\nrequest = [\"ims\", \"direct\"]\nstatus = [\"ims\"]\n\
         features = [\"tls\"]\n{claims}\n{one}{other}"
    );
    fs::write(folder.path().join("sut.toml"), profile).unwrap();
    let scenario = format!("unregistered/step-5-controller-asks-edges/{scenario}");
    peerproof(folder.path())
        .args(["run", &scenario, "--sut", "sut.toml", "--out", "run"])
        .assert()
        .code(code);
    let results = fs::read_to_string(folder.path().join("run/results.json")).unwrap();
    serde_json::from_str(&results).unwrap()
}

/// The tracker's list cannot be read, and the UE asks nobody: what they said to each other went from guest to guest.
#[test]
fn what_two_guests_said_to_each_other_is_laid_to_neither() {
    let results = two_guests(
        "unseen",
        "registered/step-3-piece-request/asks-through-the-p-cscf@ut.ims.ims#0",
        [
            ("tracker", " --deviation tracker-lists-without-ids"),
            ("ue-a", ""),
        ],
        3,
    );
    assert_eq!(vec!["inconclusive"], outcomes(&results));
    let told = results["instances"][0]["findings"][0]["actual"].to_string();
    assert!(told.contains("said to each other nobody saw"), "{told}");
}

/// A P-CSCF and a tracker never meet: what is seen of each is judged as ever.
#[test]
fn guests_that_never_meet_are_judged() {
    let results = two_guests(
        "apart",
        "common/peer-list-subscription/answers-a-subscription-and-notifies-at-once@ut.ims.ims#0",
        [
            ("p-cscf", ""),
            ("tracker", " --deviation tracker-notifies-of-changes-only"),
        ],
        1,
    );
    assert_eq!(vec!["fail"], outcomes(&results));
    assert_eq!("tracker", results["instances"][0]["findings"][0]["node"]);
}

fn two_guests(name: &str, instance: &str, guests: [(&str, &str); 2], code: i32) -> Value {
    let folder = Folder::new(name);
    let guests = guests.map(|(node, flags)| format!("{node}={}", own_command(node, flags)));
    peerproof(folder.path())
        .args([
            "run", instance, "--sut", &guests[0], "--sut", &guests[1], "--out", "run",
        ])
        .assert()
        .code(code);
    let results = fs::read_to_string(folder.path().join("run/results.json")).unwrap();
    serde_json::from_str(&results).unwrap()
}

#[test]
fn a_role_with_several_nodes_is_refused_by_their_names() {
    let folder = Folder::new("ambiguous");
    let assert = peerproof(folder.path())
        .args(["run", "--sut", "ue=cmd:true"])
        .assert()
        .code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        said.contains("ue-a") && said.contains("ue-c") && said.contains("ue-d"),
        "{said}"
    );
}

#[cfg(not(feature = "containers"))]
#[test]
fn a_container_names_the_feature_it_needs() {
    let folder = Folder::new("image");
    let assert = peerproof(folder.path())
        .args(["run", TRACKER, "--sut", "tracker=image:acme/tracker"])
        .assert()
        .code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("--features containers"), "{said}");
}

#[test]
fn nobody_waits_for_a_guest_once_interrupted() {
    let folder = Folder::new("interrupted");
    let mark = folder.path().join("guest.pid");
    let guest = format!("tracker=cmd:echo $$ > {}; exec sleep 60", mark.display());
    let mut run = Process::new(env!("CARGO_BIN_EXE_peerproof"))
        .current_dir(folder.path())
        .args(["run", TRACKER, "--sut", &guest, "--out", "run"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the guest to start", || mark.exists().then_some(()));
    let began = Instant::now();
    let pid = run.id().to_string();
    let sent = Process::new("kill").args(["-INT", &pid]).status();
    assert!(sent.unwrap().success());
    assert_eq!(Some(130), run.wait().unwrap().code());
    // It has 10 s to get ready.
    assert!(began.elapsed() < Duration::from_secs(8));
    let report = fs::read_to_string(folder.path().join("run/results.json")).unwrap();
    assert!(
        report.contains("interrupted before it was ready"),
        "{report}"
    );
}

#[test]
fn no_guest_outlives_a_killed_run() {
    let folder = Folder::new("killed");
    let mark = folder.path().join("guest.pid");
    let command = format!(
        "echo $$ > {}; {}",
        mark.display(),
        misbehaving("hang").split_once(':').unwrap().1
    );
    let mut run = Process::new(env!("CARGO_BIN_EXE_peerproof"))
        .current_dir(folder.path())
        .args(["run", TRACKER, "--sut", &format!("tracker=cmd:{command}")])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = eventually("the guest to start", || {
        let text = fs::read_to_string(&mark).ok()?;
        text.trim().parse::<u32>().ok()
    });
    let process = format!("/proc/{pid}");
    assert!(Path::new(&process).exists());
    run.kill().unwrap();
    run.wait().unwrap();
    eventually("the guest to end", || {
        (!Path::new(&process).exists()).then_some(())
    });
}

/// Node, what it is made to break, and what shows it.
const BROKEN: &[(&str, &str, &str)] = &[
    (
        "tracker",
        "tracker-takes-any-version",
        "common/tracker-protocol/answers-error-2-to-an-earlier-version",
    ),
    (
        "ue-a",
        "ue-preloads-no-service-route",
        "registered/step-3-piece-request/routes-by-p-cscf-and-service-route",
    ),
    (
        "p-cscf",
        "p-cscf-adds-no-path",
        "common/registration/registers-with-sip-digest",
    ),
    (
        "s-cscf",
        "s-cscf-takes-any-response",
        "common/registration/refuses-a-wrong-answer",
    ),
    (
        "hss",
        "hss-lets-the-unknown-register",
        "common/registration/refuses-an-unknown-user",
    ),
    (
        "ctrl",
        "controller-asks-two-edges",
        "unregistered/step-5-controller-asks-edges/asks-one-edge-for-each-piece",
    ),
];

/// Not a test: what a misbehaving guest does, told by a variable.
#[test]
#[ignore = "is a guest of other tests"]
fn guest() {
    let how = env::var("MISBEHAVE").expect("is a guest of other tests");
    if let "stand-still" | "unplug" = how.as_str() {
        return stop_after_the_challenge(&how);
    }
    let listeners: Vec<TcpListener> = env::vars()
        .filter(|(name, _)| name.starts_with("PEERPROOF_LISTEN_") && !name.ends_with("TRANSPORT"))
        .map(|(_, addr)| TcpListener::bind(addr).unwrap())
        .collect();
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let how = how.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let how = how.clone();
                    thread::spawn(move || misbehave(&how, stream));
                }
            })
        })
        .collect();
    // A line of its own, whatever the test harness has written before.
    std::io::stdout().write_all(b"\nready\n").unwrap();
    std::io::stdout().flush().unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Plays the tracker by our own node until it has challenged somebody.
fn stop_after_the_challenge(how: &str) {
    let mut node = Process::new(env!("CARGO_BIN_EXE_peerproof"))
        .args(["node", "tracker"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its log is the one way to know when; what it is ready for it says itself.
    let lines = BufReader::new(node.stderr.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        eprintln!("{line}");
        if !line.contains("HTTP/1.1 401") {
            continue;
        }
        let signal = if how == "unplug" { "-KILL" } else { "-STOP" };
        let pid = node.id().to_string();
        let sent = Process::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
        break;
    }
    // Whoever started us ends us, and the node with us.
    let _ = node.wait();
    loop {
        thread::park();
    }
}

fn misbehave(how: &str, mut stream: std::net::TcpStream) {
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer).unwrap_or(0);
    if length == 0 {
        return;
    }
    match how {
        "hang" => loop {
            thread::park();
        },
        "garbage" => {
            let _ = stream.write_all(b"\x00\x01 this is no message\r\n\r\n\r\n");
            let _ = stream.read(&mut buffer);
        }
        "die" => std::process::abort(),
        "flood" => {
            let answer = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK-flood\r\n\
                          From: <sip:a@ims.example>;tag=a\r\nTo: <sip:b@ims.example>;tag=b\r\n\
                          Call-ID: flood\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n";
            let answers = answer.repeat(1000);
            while stream.write_all(answers.as_bytes()).is_ok() {}
        }
        other => panic!("unknown: {other}"),
    }
}

fn misbehaving(how: &str) -> String {
    let program = env::current_exe().unwrap();
    let program = program.display();
    format!("tracker=cmd:MISBEHAVE={how} exec {program} --exact guest --ignored --nocapture")
}

fn own(node: &str, flags: &str) -> String {
    format!("{node}={}", own_command(node, flags))
}

fn own_command(node: &str, flags: &str) -> String {
    format!(
        "cmd:exec {} node {node}{flags}",
        env!("CARGO_BIN_EXE_peerproof")
    )
}

/// Plays instances with a guest, and reads the results; the exit code is held to.
fn played(name: &str, instance: &str, guest: &str, code: i32) -> Value {
    let folder = Folder::new(name);
    let out = folder.path().join("run");
    let assert = peerproof(folder.path())
        .args(["run", instance, "--sut", guest, "--out"])
        .arg(&out)
        .assert()
        .code(code);
    drop(assert);
    serde_json::from_str(&fs::read_to_string(out.join("results.json")).unwrap()).unwrap()
}

fn peerproof(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("peerproof").unwrap();
    command
        .current_dir(folder)
        .timeout(Duration::from_secs(120));
    command
}

fn instances(results: &Value) -> impl Iterator<Item = &Value> {
    results["instances"].as_array().unwrap().iter()
}

fn outcomes(results: &Value) -> Vec<String> {
    let all = instances(results).map(|i| i["outcome"].as_str().unwrap().to_owned());
    all.filter(|outcome| outcome != "not-applicable").collect()
}

/// Waits for something another process does.
fn eventually<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if let Some(found) = look() {
            return found;
        }
        thread::yield_now();
    }
    panic!("waited in vain for {what}");
}
