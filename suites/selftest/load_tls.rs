//! Load under TLS: what is measured is right, and a target that nobody vouches for is refused, with the reason.

mod folder;
mod load_tools;

use std::{
    fs,
    process::{Command, Output},
};

use folder::Folder;
use load_tools::{PATIENT, Serving, trial};
use peerproof::load::trial::Outcome;

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
        .args(PATIENT)
        .current_dir(folder.path())
        .output()
        .unwrap()
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
        let trial = trial(&folder.path().join(out));
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
    let serving = Serving::start_in(folder.path(), &[&args[..], &["right"]].concat());
    let _other = Serving::start_in(folder.path(), &[&args[..], &["wrong-one"]].concat());
    let ask = |out: &str, more: &[&str]| {
        let args = ["tracker", "--rate", "100", "--peers", "2000", "--target"];
        let output = bench(
            &folder,
            &[&args[..], &[&serving.addr.to_string(), "--out", out], more].concat(),
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
        assert!(
            trial(&folder.path().join(out)).evidence.counts.right > 50,
            "{said}"
        );
    }
}
