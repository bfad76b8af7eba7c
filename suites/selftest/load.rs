//! Load is measured honestly: a generator that is starved measures nothing, a server that answers wrongly wins
//! nothing, and a server that stalls is seen to.

mod folder;
mod load_tools;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use folder::Folder;
use load_tools::{PATIENT, Serving, trial};
use peerproof::load::{
    engine::machine,
    flow::Delay,
    log,
    trial::{Figures, Outcome, Trial},
};

/// What a measurement left behind.
struct Measured {
    exit: Option<i32>,
    said: String,
    trial: Trial,
    log: Option<String>,
}

/// Measures in a folder of its own. The machine may be busy: lateness of the generator is allowed unless a test
/// is about it.
fn bench(name: &str, args: &[&str]) -> Measured {
    let folder = Folder::new(name);
    let out = folder.path().join("out");
    let output = Command::new(env!("CARGO_BIN_EXE_peerproof"))
        .arg("bench")
        .args(args)
        .args(["--warm-up", "500ms", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!out.join("intervals.partial").exists(), "{said}");
    assert!(out.join("bench.json").exists(), "{said}\n{complained}");
    Measured {
        exit: output.status.code(),
        said,
        trial: trial(&out),
        log: fs::read_to_string(out.join("intervals.hlog")).ok(),
    }
}

#[test]
fn a_measurement_has_figures_an_interval_log_and_equal_counts() {
    let args = [
        "tracker",
        "--rate",
        "200",
        "--duration",
        "3s",
        "--peers",
        "2000",
    ];
    let measured = bench("measured", &[&args[..], PATIENT].concat());
    let trial = &measured.trial;
    if trial.outcome == Outcome::Invalid {
        // The machine has no room for a measurement: then that is what has to be said.
        assert_eq!(Some(6), measured.exit, "{}", measured.said);
        return;
    }
    assert_eq!(Some(0), measured.exit, "{}", measured.said);
    let figures = trial.figures.as_ref().unwrap();
    let counts = &trial.evidence.counts;
    let served = trial.evidence.served.unwrap();
    assert_eq!(
        (counts.sent, counts.answered),
        (served.requests, served.answers)
    );
    assert!(
        (480..720).contains(&figures.counts.offered),
        "{}",
        figures.counts.offered
    );
    assert_eq!(figures.counts.offered, figures.counts.right);
    assert_eq!(
        figures.counts.offered,
        figures.kinds.values().map(|kind| kind.offered).sum::<u64>()
    );
    // Both sides were looked at when the measured time began, in its middle and at its end.
    for used in [trial.generator, trial.server.unwrap()] {
        let looked = [used.memory[0], used.memory_halfway.unwrap(), used.memory[1]];
        assert!(looked.iter().all(|memory| *memory > 0), "{used:?}");
    }
    let record = log::read(&measured.log.unwrap()).unwrap();
    let total = record.total();
    assert_eq!(figures.counts.right, total.response.len());
    assert_eq!(figures.counts.offered, total.lag.len());
    assert_eq!(
        figures.response.p99,
        total.response.value_at_quantile(0.99) as f64 / 1e3
    );
}

#[test]
fn a_tracker_that_lists_nobody_wins_nothing() {
    let deviation = "--serve=--deviation=tracker-lists-nobody";
    let args = [
        "tracker",
        "--rate",
        "200",
        "--duration",
        "2s",
        "--peers",
        "2000",
        deviation,
    ];
    let measured = bench("empty-lists", &[&args[..], PATIENT].concat());
    assert_eq!(Some(1), measured.exit, "{}", measured.said);
    let trial = measured.trial;
    assert_eq!((Outcome::Wrong, None), (trial.outcome, trial.figures));
    assert!(trial.evidence.counts.wrong_content > 100);
    assert!(measured.log.is_none());
    assert!(
        measured.said.contains("0 peers listed, expected 10 to 10"),
        "{}",
        measured.said
    );
    assert!(!measured.said.contains("p99"), "{}", measured.said);
}

#[test]
fn a_starved_generator_measures_nothing() {
    let cores = machine::cores();
    let core = *cores.last().unwrap();
    let stop = AtomicBool::new(false);
    let measured = thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                machine::stay_on(&[core]);
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let pinned = core.to_string();
        let args = [
            "tracker",
            "--rate",
            "500",
            "--duration",
            "3s",
            "--peers",
            "2000",
        ];
        let measured = bench("starved", &[&args[..], &["--cores", &pinned]].concat());
        stop.store(true, Ordering::Relaxed);
        measured
    });
    assert_eq!(Some(6), measured.exit, "{}", measured.said);
    let trial = measured.trial;
    assert_eq!((Outcome::Invalid, None), (trial.outcome, trial.figures));
    let lag = trial
        .broken
        .iter()
        .find(|broken| broken.what == "send lag")
        .unwrap();
    assert!(
        lag.change
            .contains("something else runs on the generator's core"),
        "{}",
        lag.change
    );
    assert!(measured.log.is_none());
    assert!(!measured.said.contains("p99 "), "{}", measured.said);
}

/// Of constant arrivals a fifth falls into the pause, and waits from 200 ms down to nothing: the slowest hundredth
/// of all is the slowest twentieth of these, which begins at 190 ms.
#[test]
fn a_server_that_stalls_a_fifth_of_the_time_has_a_99th_percentile_of_190_ms() {
    let stall = "--serve=--stall=200ms";
    let args = [
        "tracker",
        "--rate",
        "200",
        "--duration",
        "5s",
        "--peers",
        "2000",
        "--law",
        "constant",
        stall,
    ];
    let measured = bench("stalls", &[&args[..], PATIENT].concat());
    let Some(figures) = measured.trial.figures else {
        assert_eq!(Some(6), measured.exit, "{}", measured.said);
        return;
    };
    let (p50, p99) = (figures.response.p50 / 1e3, figures.response.p99 / 1e3);
    println!("expected a p99 of 190 ms, measured {p99:.1} ms; p50 {p50:.3} ms");
    // A busy machine makes it longer, nothing makes it shorter.
    assert!((185.0..400.0).contains(&p99), "{p99}");
    assert!(p50 < 100.0, "{p50}");
}

#[test]
fn every_piece_of_the_chunk_path_is_held_to_its_digest() {
    let args = [
        "chunks",
        "--rate",
        "100",
        "--duration",
        "2s",
        "--contents",
        "2",
        "--size",
        "1MiB",
        "--piece",
        "64KiB",
        "--read-whole",
        "1",
    ];
    let measured = bench("chunks", &[&args[..], PATIENT].concat());
    let counts = &measured.trial.evidence.counts;
    assert_eq!(
        (0, counts.answered),
        (counts.wrong(), counts.read_whole),
        "{}",
        measured.said
    );
    // One octet of each piece is another.
    let polluted = [
        &args[..],
        PATIENT,
        &["--serve=--deviation=holder-pollutes-a-piece"],
    ]
    .concat();
    let measured = bench("polluted-chunks", &polluted);
    assert_eq!(Some(1), measured.exit, "{}", measured.said);
    let counts = &measured.trial.evidence.counts;
    assert_eq!(
        (counts.answered, 0),
        (counts.wrong_content, counts.wrong_shape)
    );
}

/// A little of everything that call flows may be, of a population that is quickly made.
const CALL_FLOWS: &[&str] = &[
    "callflow",
    "--rate",
    "200",
    "--peers",
    "2000",
    "--contents",
    "2",
    "--size",
    "64KiB",
    "--piece",
    "16KiB",
    "--connections",
    "4",
    "--read-whole",
    "1",
];

#[test]
fn call_flows_of_every_kind_end_as_they_ought_to_over_udp_and_tcp() {
    for over in ["udp", "tcp"] {
        let mix = "peer-list=20,status=20,register=10,refused=10,not-held=10";
        let args = ["--over", over, "--mix", mix, "--duration", "2s"];
        let measured = bench(over, &[CALL_FLOWS, PATIENT, &args].concat());
        let trial = &measured.trial;
        let counts = &trial.evidence.counts;
        assert_eq!(0, counts.wrong(), "{}", measured.said);
        if trial.outcome == Outcome::Invalid {
            assert_eq!(Some(6), measured.exit, "{}", measured.said);
            continue;
        }
        assert_eq!(Some(0), measured.exit, "{}", measured.said);
        let (talked, served) = (counts.talked.as_ref().unwrap(), trial.evidence.served);
        let served = served.unwrap();
        assert_eq!(counts.offered, counts.right);
        assert_eq!(counts.answered, counts.read_whole);
        if talked.retransmissions == 0 {
            assert_eq!(
                (talked.said, talked.heard),
                (served.requests, served.answers)
            );
        }
        let figures = trial.figures.as_ref().unwrap();
        assert!(figures.kinds.values().all(|kind| kind.offered > 0));
        let of_kind = |name: &str| figures.kinds[name].offered;
        let talked = figures.counts.talked.as_ref().unwrap();
        let answered = |text: &str| talked.answers[&text.parse().unwrap()];
        assert_eq!(of_kind("piece"), answered("INVITE 200"));
        assert_eq!(of_kind("piece"), answered("BYE 200"));
        assert_eq!(of_kind("not-held"), answered("INVITE 488"));
        assert_eq!(of_kind("refused"), answered("SUBSCRIBE 403"));
        assert_eq!(of_kind("peer-list"), answered("SUBSCRIBE 200"));
        assert_eq!(of_kind("status"), answered("PUBLISH 200"));
        assert_eq!(of_kind("register"), answered("REGISTER 200"));
        let all = (of_kind("piece") + of_kind("not-held")) as f64;
        let ratio = figures.sessions.unwrap().session_establishment;
        assert!((ratio - of_kind("piece") as f64 / all).abs() < 1e-9);
        // The interval log has the delays as well.
        let record = log::read(measured.log.as_ref().unwrap()).unwrap();
        for (delay, times) in &figures.delays {
            assert_eq!(times.count, record.total().delays[delay].len());
        }
        let sessions = figures.delays[&Delay::SessionRequest].count;
        assert_eq!(of_kind("piece"), sessions);
    }
}

#[test]
fn call_flows_that_are_answered_wrongly_win_nothing() {
    let cases = [
        ("tracker-lists-nobody", "peer-list=100", "0 peers listed"),
        (
            "holder-refuses-with-404",
            "not-held=100",
            "status 404, expected 488",
        ),
        (
            "holder-answers-a-range-without-its-end",
            "piece=100",
            "piece ",
        ),
    ];
    for (deviation, mix, why) in cases {
        let deviation_arg = format!("--serve=--deviation={deviation}");
        let args = ["--mix", mix, "--duration", "1s", &deviation_arg];
        let measured = bench(deviation, &[CALL_FLOWS, PATIENT, &args].concat());
        assert_eq!(Some(1), measured.exit, "{}", measured.said);
        let trial = measured.trial;
        assert_eq!((Outcome::Wrong, None), (trial.outcome, trial.figures));
        let counts = &trial.evidence.counts;
        assert_eq!((0, counts.answered), (counts.right, counts.wrong()));
        assert!(measured.said.contains(why), "{}", measured.said);
        assert!(measured.log.is_none() && !measured.said.contains("p99"));
    }
}

/// Takes datagrams for a server, and loses every `lost`-th; answers go past it, to where the questions say.
fn lossy(server: SocketAddr, lost: u64) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    thread::spawn(move || {
        let (mut octets, mut count) = (vec![0; 1 << 16], 0u64);
        while let Ok(length) = socket.recv(&mut octets) {
            count += 1;
            if count % lost != 0 {
                let _ = socket.send_to(&octets[..length], server);
            }
        }
    });
    addr
}

#[test]
fn what_is_lost_is_said_again_and_silence_is_counted() {
    let serving = Serving::start(&[
        "callflow",
        "--peers",
        "2000",
        "--contents",
        "2",
        "--size",
        "64KiB",
        "--piece",
        "16KiB",
        "--t1",
        "50ms",
    ]);
    let run = |name: &str, lost: u64, more: &[&str]| {
        let target = lossy(serving.addr, lost).to_string();
        let args = [
            "--target",
            &target,
            "--t1",
            "50ms",
            "--duration",
            "2s",
            "--connections",
            "1",
        ];
        bench(
            name,
            &[&CALL_FLOWS[..11], &args[..], &["--read-whole", "1"], more].concat(),
        )
    };
    let measured = run("lossy", 7, &["--allowed-lag", "20s", "--limit", "5s"]);
    let counts = &measured.trial.evidence.counts;
    let talked = counts.talked.as_ref().unwrap();
    // A copy may come after all is over; nothing is wrong for it.
    assert_eq!(0, counts.wrong(), "{}", measured.said);
    assert!(talked.retransmissions > 50, "{}", measured.said);
    assert_eq!(counts.offered, counts.right + counts.unanswered);
    assert!(counts.right > counts.offered * 9 / 10, "{}", measured.said);
    // Whoever had to say it again was late: no answer comes before T1 is over. Which datagram of a call is lost goes by
    // the clock, so enough are lost that it is more than one call in ten by far.
    let measured = run("late", 4, &["--allowed-lag", "20s", "--limit", "49ms"]);
    if let Some(figures) = measured.trial.figures {
        let counts = figures.counts;
        assert!(counts.late > counts.offered / 10, "{}", measured.said);
        assert!(figures.inadequate > 0.1);
    }
    drop(serving);

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = silent.local_addr().unwrap().to_string();
    let args = [
        "--target",
        &target,
        "--t1",
        "50ms",
        "--patience",
        "400ms",
        "--duration",
        "1s",
    ];
    let measured = bench("silent", &[CALL_FLOWS, &args[..]].concat());
    assert_eq!(Some(7), measured.exit, "{}", measured.said);
    let counts = &measured.trial.evidence.counts;
    assert_eq!(
        (counts.offered, counts.offered, 0),
        (counts.sent, counts.unanswered, counts.answered)
    );
    assert!(counts.talked.as_ref().unwrap().retransmissions >= counts.offered);
}

#[test]
fn a_tracker_has_one_list_behind_its_door_on_ut_and_that_on_isc() {
    let mut serving = Serving::start(&["tracker", "--peers", "5", "--sip", "127.0.0.1:0"]);
    let listed = |addr| {
        let mut stream = TcpStream::connect(addr).unwrap();
        let question = find("u0000000", "t1").replace("Host: x", "Host: x\r\nConnection: close");
        stream.write_all(question.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said.matches("\"peer_id\"").count()
    };
    assert_eq!(4, listed(serving.addr));
    // The S-CSCF tells that u0000003 is not registered any more.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = socket.local_addr().unwrap();
    let register = format!(
        "REGISTER sip:tracker@p2pcds.ims.example SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKa\r\n\
         From: <sip:scscf1.ims.example>;tag=s\r\nTo: <sip:u0000003@ims.example>\r\nCall-ID: a\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:scscf1.ims.example>\r\nExpires: 0\r\nContent-Length: 0\r\n\r\n"
    );
    let sip = serving.sip.take().unwrap();
    let mut octets = [0; 2048];
    // The same request again is the same transaction: it is answered again, and done once.
    for _ in 0..2 {
        socket.send_to(register.as_bytes(), sip).unwrap();
        let length = socket.recv(&mut octets).unwrap();
        assert!(octets[..length].starts_with(b"SIP/2.0 200 "));
    }
    assert_eq!(3, listed(serving.addr));
    let stopped = serving.stop();
    let sip = stopped.sip.unwrap();
    assert_eq!((2, 2), (stopped.counted.requests, sip.requests));
    assert_eq!((2, Some(4)), (sip.answers, stopped.tracked));
}

#[test]
fn two_shares_of_call_flows_together_are_one() {
    let serving = Serving::start(&[
        "callflow",
        "--peers",
        "2000",
        "--contents",
        "2",
        "--size",
        "64KiB",
        "--piece",
        "16KiB",
    ]);
    let target = serving.addr.to_string();
    let folder = Folder::new("call-flow-shares");
    let run = |share: &str, out: &str| {
        let args = [
            "--target",
            &target,
            "--share",
            share,
            "--duration",
            "2s",
            "--warm-up",
            "500ms",
            "--out",
            out,
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_peerproof"));
        command
            .arg("bench")
            .args(CALL_FLOWS)
            .args(PATIENT)
            .args(args);
        let command = command.current_dir(folder.path());
        command.stdout(Stdio::null()).spawn().unwrap()
    };
    let mut halves = [run("1/2", "left"), run("2/2", "right")];
    let codes = halves.each_mut().map(|half| half.wait().unwrap().code());
    let code = run("1/1", "one").wait().unwrap().code();
    if codes != [Some(0), Some(0)] || code != Some(0) {
        // No room for a measurement on this machine.
        assert!([codes[0], codes[1], code].contains(&Some(6)));
        return;
    }
    let merge = Command::new(env!("CARGO_BIN_EXE_peerproof"))
        .args(["report", "merge", "right", "left", "--out", "merged"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(Some(0), merge.status.code());
    let one = read(&folder, "one/bench.json").figures.unwrap();
    let merged = read(&folder, "merged/bench.json").figures.unwrap();
    assert_eq!(one.kinds, merged.kinds);
    assert_eq!(one.sessions, merged.sessions);
    let (talked, both) = (one.counts.talked.unwrap(), merged.counts.talked.unwrap());
    assert_eq!(talked.answers, both.answers);
    assert_eq!(talked.requests, both.requests);
    for (delay, times) in &one.delays {
        // Whether the NOTIFY came before the 200 is chance.
        if *delay != Delay::Notification {
            assert_eq!(times.count, merged.delays[delay].count);
        }
    }
    let of =
        |name: &str| log::read(&fs::read_to_string(folder.path().join(name)).unwrap()).unwrap();
    let mut sum = of("left/intervals.hlog");
    sum.add(&of("right/intervals.hlog"));
    assert_eq!(sum, of("merged/intervals.hlog"));
}

#[test]
fn whoever_is_not_there_is_not_available() {
    let folder = Folder::new("nobody");
    let output = Command::new(env!("CARGO_BIN_EXE_peerproof"))
        .args([
            "bench",
            "tracker",
            "--target",
            "127.0.0.1:1",
            "--duration",
            "1s",
            "--out",
        ])
        .arg(folder.path().join("out"))
        .output()
        .unwrap();
    assert_eq!(Some(7), output.status.code());
}

fn find(peer: &str, transaction: &str) -> String {
    let body = format!(
        "{{\"PPSPTrackerProtocol\":{{\"version\":1,\"request_type\":\"FIND\",\"transaction_id\":\"{transaction}\",\
         \"peer_id\":\"{peer}\",\"find\":{{\"swarm_id\":\"s00000\",\"peer_num\":{{\"peer_count\":10}}}}}}}}"
    );
    format!(
        "POST /ppstp HTTP/1.1\r\nHost: x\r\nX-3GPP-Asserted-Identity: \"sip:u0000000@ims.example\"\r\n\
         Content-Type: application/ppsp-tracker+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn pipelined_questions_are_answered_in_order_as_the_node_answers() {
    let serving = Serving::start(&["tracker", "--peers", "400", "--swarms", "2"]);
    let mut stream = TcpStream::connect(serving.addr).unwrap();
    // Its own peer id, somebody else's, and a document that is none; then the end.
    let broken = "POST /ppstp HTTP/1.1\r\nHost: x\r\nX-3GPP-Asserted-Identity: \"sip:u0000000@ims.example\"\r\n\
                  Content-Type: application/ppsp-tracker+json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    let all = [
        find("u0000000", "t1"),
        find("u0000002", "t2"),
        broken.to_owned(),
    ]
    .concat();
    // Split where it hurts.
    for part in all.as_bytes().chunks(97) {
        stream.write_all(part).unwrap();
    }
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let answers: Vec<&str> = said.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(3, answers.len(), "{said}");
    assert!(
        answers[0].starts_with("200 ") && answers[0].contains("\"t1\""),
        "{said}"
    );
    assert_eq!(10, answers[0].matches("\"peer_id\"").count());
    assert!(
        answers[1].contains("\"error_code\":3,\"transaction_id\":\"t2\""),
        "{said}"
    );
    assert!(answers[2].contains("\"error_code\":1"), "{said}");
    // It says that it closes where it was asked to (RFC 9112 9.6), and only there.
    let says_close = |answer: &&str| answer.to_lowercase().contains("\r\nconnection: close\r\n");
    let closing: Vec<bool> = answers.iter().map(says_close).collect();
    assert_eq!(vec![false, false, true], closing, "{said}");

    let mut nonsense = TcpStream::connect(serving.addr).unwrap();
    nonsense.write_all(b"NONSENSE\n\n").unwrap();
    let mut said = String::new();
    nonsense.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");

    let counted = serving.stop().counted;
    assert_eq!(
        (3, 1, 2),
        (counted.requests, counted.unreadable, counted.connections)
    );
}

#[test]
fn whoever_is_silent_expires_while_others_are_answered() {
    let args = [
        "tracker",
        "--rate",
        "200",
        "--duration",
        "6s",
        "--peers",
        "2000",
        "--track-timer",
        "1",
    ];
    let measured = bench("expiry", &[&args[..], PATIENT].concat());
    // Visitors that expired are listed to nobody: every answer is held to that.
    assert_ne!(Some(1), measured.exit, "{}", measured.said);
    if measured.trial.outcome == Outcome::Measured {
        assert!(measured.said.contains(" expired"), "{}", measured.said);
        assert!(!measured.said.contains(" 0 expired"), "{}", measured.said);
    }
}

#[test]
fn two_shares_together_are_one() {
    let serving = Serving::start(&["tracker", "--peers", "2000"]);
    let target = serving.addr.to_string();
    let folder = Folder::new("shares");
    let run = |share: &str, out: &str| {
        let args = [
            "bench",
            "tracker",
            "--target",
            &target,
            "--rate",
            "150",
            "--duration",
            "3s",
            "--peers",
            "2000",
            "--warm-up",
            "500ms",
            "--share",
            share,
            "--out",
            out,
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_peerproof"));
        let command = command.args(args).args(PATIENT).current_dir(folder.path());
        command.stdout(Stdio::null()).spawn().unwrap()
    };
    let mut halves = [run("1/2", "left"), run("2/2", "right")];
    let codes = halves.each_mut().map(|half| half.wait().unwrap().code());
    let code = run("1/1", "one").wait().unwrap().code();
    let merge = Command::new(env!("CARGO_BIN_EXE_peerproof"))
        .args(["report", "merge", "right", "left", "--out", "merged"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let merged: Trial = read(&folder, "merged/bench.json");
    if codes != [Some(0), Some(0)] || code != Some(0) {
        // No room for a measurement on this machine: then the whole is none either.
        assert!([codes[0], codes[1], code].contains(&Some(6)));
        assert_eq!(merged.figures.is_some(), codes == [Some(0), Some(0)]);
        return;
    }
    assert_eq!(Some(0), merge.status.code());
    let one: Trial = read(&folder, "one/bench.json");
    let (one_figures, figures) = (one.figures.unwrap(), merged.figures.unwrap());
    let offered = |figures: &Figures| -> Vec<u64> {
        figures
            .timeline
            .iter()
            .map(|second| second.offered)
            .collect()
    };
    assert_eq!(offered(&one_figures), offered(&figures));
    assert_eq!(one_figures.kinds, figures.kinds);
    // How long each took is chance; how many there are in each second is the schedule's.
    let counted = |name: &str| -> Vec<(u64, u64, u64)> {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        let record = log::read(&text).unwrap();
        let intervals = record.0.values();
        intervals
            .map(|i| (i.response.len(), i.service.len(), i.lag.len()))
            .collect()
    };
    assert_eq!(
        counted("one/intervals.hlog"),
        counted("merged/intervals.hlog")
    );
    // Not a single count of the halves is lost or made up.
    let of =
        |name: &str| log::read(&fs::read_to_string(folder.path().join(name)).unwrap()).unwrap();
    let mut both = of("left/intervals.hlog");
    both.add(&of("right/intervals.hlog"));
    assert_eq!(both, of("merged/intervals.hlog"));
}

fn read(folder: &Folder, file: &str) -> Trial {
    let text = fs::read_to_string(folder.path().join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_search_ends_with_a_capacity_or_says_why_not() {
    let folder = Folder::new("search");
    let args = [
        "search",
        "tracker",
        "--from",
        "50",
        "--to",
        "100",
        "--short",
        "1s",
        "--long",
        "1s",
        "--trials",
        "2",
        "--warm-up",
        "300ms",
        "--peers",
        "2000",
        "--out",
        "out",
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_peerproof"))
        .args(args)
        .args(PATIENT)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => assert!(said.contains("at least 100/s"), "{said}"),
        Some(6) => assert!(said.contains("NOT FOUND"), "{said}"),
        other => panic!("{other:?}: {said}"),
    }
    let wrong = ["--serve=--deviation=tracker-lists-nobody", "--out", "wrong"];
    let output = Command::new(env!("CARGO_BIN_EXE_peerproof"))
        .args(&args[..args.len() - 2])
        .args(PATIENT)
        .args(wrong)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(Some(1), output.status.code());
    // A server that stalls a fifth of the time cannot answer 99 of 100 within 100 ms.
    let stalls = ["--serve=--stall=200ms", "--p99", "100", "--out", "stalls"];
    let output = Command::new(env!("CARGO_BIN_EXE_peerproof"))
        .args(&args[..args.len() - 2])
        .args(PATIENT)
        .args(stalls)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(matches!(output.status.code(), Some(5 | 6)), "{said}");
    assert!(
        said.contains("below 50/s, which missed by p99") || said.contains("NOT FOUND"),
        "{said}"
    );
}

#[test]
fn a_search_that_is_interrupted_keeps_its_trials() {
    let folder = Folder::new("search-interrupted");
    let args = [
        "search",
        "tracker",
        "--from",
        "20",
        "--to",
        "1000",
        "--short",
        "1s",
        "--warm-up",
        "100ms",
        "--peers",
        "2000",
        "--out",
        "out",
    ];
    let mut child = Command::new(env!("CARGO_BIN_EXE_peerproof"))
        .args(args)
        .args(PATIENT)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The first trial is told; then there is something to keep.
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    out.read_line(&mut said).unwrap();
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(killed.success());
    out.read_to_string(&mut said).unwrap();
    assert_eq!(Some(130), child.wait().unwrap().code(), "{said}");
    assert!(said.contains("INTERRUPTED: "), "{said}");
    let text = fs::read_to_string(folder.path().join("out/search.json")).unwrap();
    let searched: serde_json::Value = serde_json::from_str(&text).unwrap();
    let capacity = &searched["capacity"];
    assert!(
        capacity["end"]["interrupted"].is_object(),
        "{}",
        capacity["end"]
    );
    assert!(!capacity["trials"].as_array().unwrap().is_empty());
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let folder = Folder::new("unwritable");
    fs::write(folder.path().join("file"), "").unwrap();
    let args = ["tracker", "--out", "file/out"];
    for command in ["bench", "search"] {
        let output = Command::new(env!("CARGO_BIN_EXE_peerproof"))
            .arg(command)
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(Some(70), output.status.code(), "{command}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("file/out: "), "{said}");
    }
}

#[test]
fn what_was_seen_so_far_is_told_and_drawn() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap();
    drop(free);
    let folder = Folder::new("metrics");
    let args = [
        "bench",
        "tracker",
        "--rate",
        "100",
        "--duration",
        "4s",
        "--warm-up",
        "0s",
        "--peers",
        "2000",
        "--report",
        "html",
        "--out",
        "out",
        "--metrics",
        &port.to_string(),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerproof"));
    let command = command.args(args).args(PATIENT).current_dir(folder.path());
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let ask = |path: &str| -> std::io::Result<String> {
        let mut stream = TcpStream::connect(port)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let mut told = String::new();
    while child.try_wait().unwrap().is_none() {
        if let Ok(text) = ask("/metrics")
            && text.contains("peerproof_load_offered_total ")
        {
            told = text;
            // The run may end at any moment, and the port with it.
            if let Ok(other) = ask("/") {
                assert!(other.starts_with("HTTP/1.1 404 "), "{other}");
            }
        }
        thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(told.starts_with("HTTP/1.1 200 OK\r\n"), "{told}");
    let value = |name: &str| -> f64 {
        let line = told
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim().parse().unwrap()
    };
    let (offered, right) = (
        value("peerproof_load_offered_total "),
        value("peerproof_load_right_total "),
    );
    assert!(
        (1.0..1000.0).contains(&offered) && right <= offered,
        "{told}"
    );
    assert!(value("peerproof_load_response_seconds{quantile=\"0.99\"} ") < 20.0);
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
    let trial: Trial = read(&folder, "out/bench.json");
    let curves = page.matches("<figure>").count();
    assert_eq!(if trial.figures.is_some() { 3 } else { 0 }, curves);
}

#[test]
fn what_became_slower_fails_the_gate_and_other_machines_are_not_compared() {
    let folder = Folder::new("baseline");
    // Measured once, and told otherwise a few times: a gate is about numbers, not about this machine's mood.
    let args = [
        "bench",
        "tracker",
        "--rate",
        "100",
        "--duration",
        "1s",
        "--warm-up",
        "200ms",
        "--peers",
        "2000",
        "--out",
        "m",
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerproof"));
    let command = command.args(args).args(PATIENT).current_dir(folder.path());
    if command.output().unwrap().status.code() != Some(0) {
        return;
    }
    let trial: Trial = read(&folder, "m/bench.json");
    let told = |name: &str, times: f64, machine: &str| {
        let mut other = trial.clone();
        let response = &mut other.figures.as_mut().unwrap().response;
        (response.p50, response.p99) = (1000.0 * times, 5000.0 * times);
        other.machine.id = machine.to_owned();
        fs::create_dir_all(folder.path().join(name)).unwrap();
        let text = serde_json::to_string(&other).unwrap();
        fs::write(folder.path().join(name).join("bench.json"), text).unwrap();
    };
    for n in 0..4 {
        let drift = 1.0 + f64::from(n) / 100.0;
        told(&format!("before-{n}"), drift, "here");
        told(&format!("same-{n}"), drift * 1.01, "here");
        told(&format!("slow-{n}"), drift * 1.5, "here");
        told(&format!("there-{n}"), drift, "there");
    }
    let compare = |what: &str, more: &[&str]| {
        let folders = (0..4).map(|n| format!("{what}-{n}"));
        let output = Command::new(env!("CARGO_BIN_EXE_peerproof"))
            .args(["gate", "base/tracker.json"])
            .args(folders)
            .args(more)
            .current_dir(folder.path())
            .output()
            .unwrap();
        output.status.code()
    };
    assert_eq!(Some(0), compare("before", &["--record"]));
    assert_eq!(Some(0), compare("same", &[]));
    assert_eq!(Some(5), compare("slow", &[]));
    assert_eq!(Some(2), compare("there", &[]));
    // What is no measurement enters no baseline, and is held to none.
    let mut invalid = trial.clone();
    invalid.outcome = Outcome::Invalid;
    let text = serde_json::to_string(&invalid).unwrap();
    fs::write(folder.path().join("same-0/bench.json"), text).unwrap();
    assert_eq!(Some(6), compare("same", &[]));
    assert_eq!(Some(6), compare("same", &["--record"]));
}
