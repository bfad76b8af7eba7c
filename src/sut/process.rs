//! A guest's process: started behind a guard that ends it, and everything it started, when its input closes. So it
//! never outlives us, however we end.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::body::{Body, Ending, Log};

/// A running guest.
#[derive(Debug)]
pub struct Process {
    guard: Child,
    /// Its end is the order to stop.
    orders: Option<ChildStdin>,
    log: Log,
}

/// How long a guard may take to end its guest: longer than it gives the guest.
const STOPPING: Duration = Duration::from_secs(5);

impl Process {
    /// Starts `command` with more variables in its environment.
    pub fn start(command: &str, variables: &BTreeMap<String, String>) -> io::Result<Process> {
        let mut guard = Command::new(env::current_exe()?);
        guard.args(["guard", "--", command]);
        guard.envs(variables);
        guard
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Signals to our group, as a terminal sends them, are ours to pass on.
        guard.process_group(0);
        let mut guard = guard.spawn()?;
        let log = Log::default();
        if let Some(out) = guard.stdout.take() {
            let log = log.clone();
            thread::spawn(move || copy(out, |bytes| log.printed(bytes)));
        }
        if let Some(errors) = guard.stderr.take() {
            let log = log.clone();
            thread::spawn(move || {
                copy(errors, |bytes| log.complained(bytes));
                log.has_complained();
            });
        }
        let orders = guard.stdin.take();
        Ok(Process { guard, orders, log })
    }

    fn order(&mut self, word: &str) -> io::Result<()> {
        match &mut self.orders {
            Some(orders) => writeln!(orders, "{word}"),
            None => Ok(()),
        }
    }
}

impl Body for Process {
    fn log(&self) -> &Log {
        &self.log
    }

    fn ended(&mut self) -> Option<Ending> {
        match self.guard.try_wait() {
            Ok(status) => Some(Ending::Status(status?.code().unwrap_or(137))),
            Err(error) => Some(Ending::Failed(format!("cannot be watched: {error}"))),
        }
    }

    fn freeze(&mut self) -> io::Result<()> {
        self.order("freeze")
    }

    fn kill(&mut self) -> io::Result<()> {
        self.order("kill")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.orders.take());
        let until = Instant::now() + STOPPING;
        while Instant::now() < until {
            if !matches!(self.guard.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        // A guard that does not do its work is ended; its guest sees its input close.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

fn copy(mut output: impl Read, keep: impl Fn(&[u8])) {
    let mut buffer = [0; 8192];
    while let Ok(length) = output.read(&mut buffer) {
        if length == 0 {
            return;
        }
        keep(&buffer[..length]);
    }
}
