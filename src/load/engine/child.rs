//! A server of our own, in a process of its own: so that it has its own cores, and dies with us.

use std::{
    env,
    io::{self, BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde::Deserialize;

use crate::load::trial::Stopped;

/// A server that runs.
pub struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    pub addr: SocketAddr,
    pub pid: u32,
    /// Who vouches for it under TLS, as PEM.
    pub authority: Option<String>,
    /// Its loops, one a core.
    pub loops: usize,
    /// What it was started with.
    pub args: Vec<String>,
}

#[derive(Deserialize)]
struct ReadyLine {
    listen: std::collections::BTreeMap<String, SocketAddr>,
    loops: usize,
    authority: Option<String>,
}

/// How long it may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(10);

impl Server {
    /// Starts `peerproof serve` with these arguments and waits until it is ready.
    pub fn start(args: Vec<String>) -> io::Result<Server> {
        let mut child = Command::new(env::current_exe()?)
            .arg("serve")
            .args(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().expect("its output is piped: see above");
        let mut out = BufReader::new(out);
        let mut line = String::new();
        out.read_line(&mut line)?;
        let ready = line.strip_prefix("ready ");
        let ready: Option<ReadyLine> = ready.and_then(|text| serde_json::from_str(text).ok());
        let told = ready.and_then(|ready| {
            let addr = ready.listen.into_values().next()?;
            Some((addr, ready.loops, ready.authority))
        });
        let Some((addr, loops, authority)) = told else {
            let _ = child.kill();
            let status = child.wait()?;
            return Err(io::Error::other(format!(
                "peerproof serve {}: found {line:?} and {status}, expected a ready line",
                args.join(" ")
            )));
        };
        Ok(Server {
            pid: child.id(),
            loops,
            authority,
            child,
            out,
            addr,
            args,
        })
    }

    /// Stops it, and gives what it says of itself.
    pub fn stop(mut self) -> io::Result<Stopped> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        // It closes its output when it ends; whatever holds it up, it is killed by `Drop`.
        self.out.read_to_string(&mut text)?;
        let line = text.lines().find_map(|line| line.strip_prefix("stopped "));
        let stopped = line.and_then(|text| serde_json::from_str(text).ok());
        self.wait();
        stopped.ok_or_else(|| {
            io::Error::other(format!(
                "peerproof serve: found {text:?} at its end, expected a stopped line"
            ))
        })
    }

    fn wait(&mut self) {
        let step = Duration::from_millis(20);
        for _ in 0..GRACE.as_millis() / step.as_millis() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(step);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
