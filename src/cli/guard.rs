//! `guard`: stands between us and a guest. Runs a shell's command in a process group of its own; when our end of
//! its input closes, whatever the reason, the whole group is ended: SIGTERM, and SIGKILL a moment later.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use clap::Args;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};

use super::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Guard {
    /// A command for /bin/sh
    command: String,
}

/// How long a guest may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

impl Guard {
    /// Never returns once the command runs: ends with its status, or 128 and the signal that ended it.
    pub fn run(self) -> Result<Exit, Failure> {
        let started = Command::new("/bin/sh")
            .args(["-c", &self.command])
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn();
        let mut child = started
            .map_err(|error| Failure::new(Exit::Unavailable, format!("/bin/sh: {error}")))?;
        // Held open: its end tells the guest to stop.
        let input = child.stdin.take();
        let group = Pid::from_child(&child);
        thread::spawn(move || {
            for line in BufReader::new(std::io::stdin()).lines() {
                let signal = match line.as_deref() {
                    Ok("freeze") => Signal::STOP,
                    Ok("kill") => Signal::KILL,
                    Ok(_) => continue,
                    Err(_) => break,
                };
                let _ = kill_process_group(group, signal);
            }
            drop(input);
            let _ = kill_process_group(group, Signal::TERM);
            // One that was frozen could not heed it.
            let _ = kill_process_group(group, Signal::CONT);
            thread::sleep(GRACE);
            let _ = kill_process_group(group, Signal::KILL);
        });
        // The group keeps its number until its leader is waited for: what the guest left behind is ended first.
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(Errno::INTR) = waitid(WaitId::Pid(group), exited) {}
        let _ = kill_process_group(group, Signal::KILL);
        let status = child.wait()?;
        let signal = status.signal().map(|signal| 128 + signal);
        std::process::exit(status.code().or(signal).unwrap_or(1))
    }
}
