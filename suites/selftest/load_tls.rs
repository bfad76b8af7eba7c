//! Load under TLS: what is measured is right, and a target that nobody vouches for is refused, with the reason.

mod folder;

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

use folder::Folder;
use peerproof::load::trial::{Outcome, Trial};

/// Measures, on a machine that may be busy.
fn bench(folder: &Folder, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peerproof"))
        .arg("bench")
        .args(args)
        .args([
            "--duration",
            "1s",
            "--warm-up",
            "500ms",
            "--connections",
            "8",
        ])
        .args(["--allowed-lag", "20s", "--allowed-starvation", "100"])
        .args(["--limit", "20s", "--patience", "20s"])
        .current_dir(folder.path())
        .output()
        .unwrap()
}

fn trial(folder: &Folder, out: &str) -> Trial {
    let text = fs::read_to_string(folder.path().join(out).join("bench.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A server that stops when it is dropped, and where it listens.
struct Serving(Child, String);

impl Serving {
    fn start(folder: &Folder, args: &[&str]) -> Serving {
        let mut child = Command::new(env!("CARGO_BIN_EXE_peerproof"))
            .arg("serve")
            .args(args)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::with_capacity(1, child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = line.strip_prefix("ready ").unwrap();
        let ready: serde_json::Value = serde_json::from_str(ready).unwrap();
        let listen = ready["listen"].as_object().unwrap();
        let addr = listen.values().next().unwrap().as_str().unwrap().to_owned();
        Serving(child, addr)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn both_paths_are_measured_under_tls() {
    let folder = Folder::new("tls-paths");
    let tracker = ["tracker", "--rate", "200", "--peers", "2000"];
    // Whole objects are many records, and several are on their way at a time.
    let chunks = [
        "chunks",
        "--rate",
        "15",
        "--contents",
        "2",
        "--size",
        "1MiB",
    ];
    let whole = ["--piece", "1MiB", "--pipeline", "4", "--read-whole", "1"];
    let chunks = [&chunks[..], &whole].concat();
    for (out, args) in [("t", &tracker[..]), ("c", &chunks[..])] {
        let more = ["--tls", "--report", "html", "--out", out];
        let output = bench(&folder, &[args, &more].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let trial = trial(&folder, out);
        let counts = &trial.evidence.counts;
        assert!(trial.plan.tls && said.contains("; over TLS"), "{said}");
        let page = fs::read_to_string(folder.path().join(out).join("report.html")).unwrap();
        assert!(page.contains("over TLS"));
        assert_eq!((0, 0), (counts.wrong(), counts.unanswered), "{said}");
        assert!(counts.answered > 10, "{said}");
        let served = trial.evidence.served.unwrap();
        assert_eq!(
            (counts.sent, counts.answered),
            (served.requests, served.answers)
        );
        match trial.outcome {
            Outcome::Measured => assert_eq!(Some(0), output.status.code(), "{said}"),
            _ => assert_eq!(Some(6), output.status.code(), "{said}"),
        }
    }
}

#[test]
fn a_target_that_nobody_vouches_for_is_refused() {
    let folder = Folder::new("tls-strangers");
    let args = ["tracker", "--peers", "2000", "--tls", "--authority"];
    let serving = Serving::start(&folder, &[&args[..], &["right"]].concat());
    let _other = Serving::start(&folder, &[&args[..], &["wrong-one"]].concat());
    let ask = |out: &str, more: &[&str]| {
        let args = ["tracker", "--rate", "100", "--peers", "2000", "--target"];
        let output = bench(
            &folder,
            &[&args[..], &[&serving.1, "--out", out], more].concat(),
        );
        let said = [output.stdout, output.stderr].map(|octets| {
            let text = String::from_utf8_lossy(&octets).into_owned();
            // As wide as it may be shown, it is one sentence.
            text.replace('\n', " ")
        });
        (output.status.code(), said.concat())
    };
    let (code, said) = ask("wrong", &["--tls", "--authority", "wrong-one"]);
    assert_eq!(Some(7), code, "{said}");
    assert!(
        said.contains("invalid peer certificate") && said.contains("--authority"),
        "{said}"
    );
    let (code, said) = ask("none", &["--tls"]);
    assert_eq!(Some(2), code, "{said}");
    assert!(said.contains("expected --authority FILE"), "{said}");
    let elsewhere = ["--tls", "--authority", "right", "--tls-name", "elsewhere"];
    let (code, said) = ask("elsewhere", &elsewhere);
    assert_eq!(Some(7), code, "{said}");
    assert!(said.contains("elsewhere"), "{said}");
    // Who speaks no TLS is not understood.
    let (code, said) = ask("plain", &[]);
    assert_eq!(Some(7), code, "{said}");
    for (out, name) in [("by-address", None), ("by-name", Some("localhost"))] {
        let mut more = vec!["--tls", "--authority", "right/authority.pem"];
        more.extend(name.iter().flat_map(|name| ["--tls-name", *name]));
        let (code, said) = ask(out, &more);
        assert!(matches!(code, Some(0 | 6)), "{code:?} {said}");
        assert!(trial(&folder, out).evidence.counts.right > 50, "{said}");
    }
}
