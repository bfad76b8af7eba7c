//! Users in a closed loop: their journeys are right or found wrong, their figures are marked, and enter nothing that
//! was measured in an open loop.

mod folder;
#[cfg(feature = "users")]
mod load_tools;

use std::process::Command;

use folder::Folder;

fn users(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerproof"));
    command.arg("users").args(args).current_dir(folder.path());
    command
}

#[cfg(not(feature = "users"))]
#[test]
fn without_the_feature_it_is_said_how_to_get_it() {
    let folder = Folder::new("no-users");
    let output = users(&folder, &[]).output().unwrap();
    assert_eq!(Some(2), output.status.code());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--features users"), "{said}");
}

#[cfg(feature = "users")]
mod driven {
    use std::{
        collections::BTreeSet,
        fs,
        process::{Output, Stdio},
        thread,
        time::{Duration, Instant},
    };

    use peerproof::load::{
        log,
        trial::{Outcome, Trial},
    };

    use super::{
        load_tools::{PATIENT, trial},
        *,
    };

    /// Ten users who think little; the machine may be busy.
    const FEW: &[&str] = &[
        "--users",
        "10",
        "--think",
        "5ms..50ms",
        "--peers",
        "2000",
        "--warm-up",
        "300ms",
        "--out",
        "out",
    ];

    fn measured(folder: &Folder, args: &[&str]) -> (Output, Trial) {
        let output = users(folder, &[FEW, PATIENT, args].concat())
            .output()
            .unwrap();
        (output, trial(&folder.path().join("out")))
    }

    #[test]
    fn journeys_are_right_marked_and_enter_no_baseline() {
        let folder = Folder::new("journeys");
        let (output, trial) = measured(&folder, &["--duration", "3s", "--report", "html"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let crowd = trial.plan.closed_loop.as_ref().unwrap();
        assert_eq!((10, 4), (crowd.users, crowd.fetches));
        assert!(crowd.caveat.contains("coordinated omission"));
        let names = |folder: &str| -> BTreeSet<String> {
            let entries = fs::read_dir(folder).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        };
        // The driver leaves nothing behind.
        let root = folder.path().to_str().unwrap();
        assert_eq!(BTreeSet::from(["out".to_owned()]), names(root));
        let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
        assert!(page.contains("coordinated omission") && page.contains("closed loop"));
        if trial.outcome == Outcome::Invalid {
            // No room for a measurement on this machine: then that is what has to be said.
            assert_eq!(Some(6), output.status.code(), "{said}");
            return;
        }
        assert_eq!(Some(0), output.status.code(), "{said}");
        let figures = trial.figures.as_ref().unwrap();
        let counts = &figures.counts;
        assert_eq!(counts.offered, counts.right, "{said}");
        // Every answer was read whole, and both sides have counted the same.
        assert_eq!(counts.answered, counts.read_whole);
        let served = trial.evidence.served.unwrap();
        assert_eq!(trial.evidence.counts.sent, served.requests);
        let kinds = &figures.kinds;
        assert_eq!(
            counts.offered,
            kinds.values().map(|kind| kind.offered).sum::<u64>()
        );
        assert!(kinds["fetch"].offered > 2 * kinds["join"].offered, "{said}");
        // Everybody has left again.
        assert!(said.contains("tracked          2000 peers"), "{said}");
        let text = fs::read_to_string(folder.path().join("out/intervals.hlog")).unwrap();
        let total = log::read(&text).unwrap().total();
        assert_eq!(
            (counts.right, counts.offered),
            (total.response.len(), total.lag.len())
        );
        let refused = |args: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_peerproof"))
                .args(args)
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert_eq!(Some(2), output.status.code(), "{args:?}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("found a closed loop"), "{said}");
        };
        refused(&["report", "merge", "out", "--out", "merged"]);
        refused(&["gate", "base.json", "out", "out", "out", "out", "--record"]);
        assert!(!folder.path().join("base.json").exists());
    }

    #[test]
    fn wrong_pieces_win_nothing() {
        let folder = Folder::new("users-polluted");
        let args = [
            "--duration",
            "1s",
            "--serve-edge=--deviation=holder-pollutes-a-piece",
        ];
        let (output, trial) = measured(&folder, &args);
        assert_eq!(Some(1), output.status.code());
        assert_eq!((Outcome::Wrong, None), (trial.outcome, trial.figures));
        assert!(trial.evidence.counts.wrong_content > 10);
        assert!(!folder.path().join("out/intervals.hlog").exists());
    }

    #[test]
    fn a_tracker_that_lists_nobody_is_found_wrong() {
        let folder = Folder::new("users-nobody");
        let args = [
            "--duration",
            "1s",
            "--serve-tracker=--deviation=tracker-lists-nobody",
        ];
        let (output, trial) = measured(&folder, &args);
        assert_eq!(Some(1), output.status.code());
        assert_eq!(Outcome::Wrong, trial.outcome);
    }

    #[test]
    fn limits_and_lateness_end_as_everywhere() {
        let folder = Folder::new("users-limits");
        let (output, trial) = measured(&folder, &["--duration", "1s", "--p99", "0.000001"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match trial.outcome {
            Outcome::Measured => {
                assert_eq!(Some(5), output.status.code(), "{said}");
                assert!(said.contains("missed           p99"), "{said}");
            }
            _ => assert_eq!(Some(6), output.status.code(), "{said}"),
        }
        let folder = Folder::new("users-late");
        // The first of twenty seconds is what is allowed of ourselves: no timer is that exact.
        let mut late = [FEW, PATIENT].concat();
        let allowed = late.iter().position(|arg| *arg == "20s").unwrap();
        late[allowed] = "1us";
        let args = [&late[..], &["--duration", "1s"]].concat();
        let output = users(&folder, &args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(Some(6), output.status.code(), "{said}");
        let is_told = ["fewer --users", "the users' cores"].map(|what| said.contains(what));
        assert!(is_told.contains(&true), "{said}");
        assert!(!said.contains("p99 "), "{said}");
    }

    #[test]
    fn more_users_than_may_be_connected_are_refused_before_anything_begins() {
        let folder = Folder::new("users-files");
        let program = env!("CARGO_BIN_EXE_peerproof");
        let script = format!("ulimit -n 100 && exec {program} users --users 50 --out out");
        let output = Command::new("sh")
            .args(["-c", &script])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(Some(7), output.status.code());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("found at most 100 open files"), "{said}");
        assert!(!folder.path().join("out").exists());
    }

    #[test]
    fn whoever_is_not_there_is_not_available() {
        let folder = Folder::new("users-nowhere");
        let nobody = ["--tracker", "127.0.0.1:1", "--edge", "127.0.0.1:1"];
        let (output, _) = measured(&folder, &[&nobody[..], &["--duration", "1s"]].concat());
        assert_eq!(Some(7), output.status.code());
    }

    #[test]
    fn ctrl_c_ends_it_with_what_there_is() {
        let folder = Folder::new("users-interrupted");
        let mut child = users(&folder, &[FEW, PATIENT, &["--duration", "60s"]].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_secs(2));
        let asked = Instant::now();
        let pid = child.id().to_string();
        let killed = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(killed.success());
        let code = child.wait().unwrap().code();
        assert_eq!(Some(130), code);
        assert!(
            asked.elapsed() < Duration::from_secs(10),
            "{:?}",
            asked.elapsed()
        );
        let text = fs::read_to_string(folder.path().join("out/bench.json")).unwrap();
        let trial: Trial = serde_json::from_str(&text).unwrap();
        assert_eq!((Outcome::Invalid, None), (trial.outcome, trial.figures));
        assert!(trial.evidence.is_cut_short);
    }
}
