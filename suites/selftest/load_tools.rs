//! What tests of load share: a server that runs while they do, and what a measurement left behind.
#![allow(dead_code, reason = "each test needs a part of it")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use peerproof::load::trial::{Stopped, Trial};

/// For machines that may be busy: lateness is allowed where a test is not about it.
pub const PATIENT: &[&str] = &[
    "--allowed-lag",
    "20s",
    "--allowed-starvation",
    "100",
    "--limit",
    "20s",
    "--patience",
    "20s",
];

/// What a measurement wrote into its folder, held to the schema.
pub fn trial(folder: &Path) -> Trial {
    let text = fs::read_to_string(folder.join("bench.json"));
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/bench.schema.json");
    let schema = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&serde_json::from_str(&text).unwrap())
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    serde_json::from_str(&text).unwrap()
}

/// `serve`, which is killed when this is dropped.
pub struct Serving {
    child: Child,
    /// Where its first path is.
    pub addr: SocketAddr,
    /// Where it speaks SIP beside that.
    pub sip: Option<SocketAddr>,
}

impl Serving {
    pub fn start(args: &[&str]) -> Serving {
        Serving::start_in(Path::new("."), args)
    }

    pub fn start_in(folder: &Path, args: &[&str]) -> Serving {
        let mut child = Command::new(env!("CARGO_BIN_EXE_peerproof"))
            .arg("serve")
            .args(args)
            .current_dir(folder)
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
        let addr = listen.values().next().unwrap().as_str().unwrap();
        let sip = ready["sip"].as_str().map(|addr| addr.parse().unwrap());
        Serving {
            child,
            addr: addr.parse().unwrap(),
            sip,
        }
    }

    /// Ends it as its input ends; what it counted.
    pub fn stop(mut self) -> Stopped {
        drop(self.child.stdin.take());
        let mut said = String::new();
        let mut out = self.child.stdout.take().unwrap();
        out.read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success());
        serde_json::from_str(said.strip_prefix("stopped ").unwrap()).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
