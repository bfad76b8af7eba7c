//! A guest's process: started behind a guard that ends it, and everything it started, when its input closes. So it
//! never outlives us, however we end. What it prints goes into the log of the scenario that is being played.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;

/// A running guest.
#[derive(Debug)]
pub struct Process {
    guard: Child,
    /// Its end is the order to stop.
    orders: Option<ChildStdin>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    ready: Option<Result<ReadyLine, String>>,
    log: Option<File>,
    written: u64,
}

/// What stands behind `ready` in the line a guest prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ReadyLine {
    /// Where it listens, by the names of the contract: `{"ISC": "127.0.0.1:5072"}`.
    #[serde(default)]
    pub listen: BTreeMap<String, String>,
    /// Where it takes orders: an address that [`Order`](super::trigger::Order)s are posted to.
    #[serde(default)]
    pub control: Option<String>,
}

/// How a guest ended, in words, and with which status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub status: i32,
}

impl Ending {
    /// The guest says that it does not do this case.
    pub fn is_unsupported(&self) -> bool {
        self.status == 127
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            // The guard reports signals as shells do.
            status @ 129..=192 => write!(f, "ended by signal {}", status - 128),
            status => write!(f, "ended with status {status}"),
        }
    }
}

/// Longer logs are cut.
const LONGEST_LOG: u64 = 16 << 20;
/// Longer lines are no ready lines.
const LONGEST_LINE: u64 = 64 << 10;
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
        let shared = Arc::new(Mutex::new(Shared::default()));
        if let Some(out) = guard.stdout.take() {
            let shared = shared.clone();
            thread::spawn(move || read_lines(out, &shared));
        }
        if let Some(errors) = guard.stderr.take() {
            let shared = shared.clone();
            thread::spawn(move || copy(errors, &shared));
        }
        let orders = guard.stdin.take();
        Ok(Process {
            guard,
            orders,
            shared,
        })
    }

    /// From now on what it prints goes into the file at `path`.
    pub fn log_to(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        let mut shared = lock(&self.shared);
        shared.log = Some(file);
        shared.written = 0;
        Ok(())
    }

    /// What its ready line said, once it printed one; an error if that could not be read.
    pub fn ready(&self) -> Option<Result<ReadyLine, String>> {
        lock(&self.shared).ready.clone()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Ending> {
        let status = self.guard.try_wait().ok()??;
        Some(Ending {
            status: status.code().unwrap_or(137),
        })
    }

    /// Stops it where it stands, as if its power were cut: it answers nothing and refuses nothing.
    pub fn freeze(&mut self) -> io::Result<()> {
        self.order("freeze")
    }

    /// Ends it at once.
    pub fn kill(&mut self) -> io::Result<()> {
        self.order("kill")
    }

    fn order(&mut self, word: &str) -> io::Result<()> {
        match &mut self.orders {
            Some(orders) => writeln!(orders, "{word}"),
            None => Ok(()),
        }
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

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn log(&mut self, bytes: &[u8]) {
        let Some(log) = &mut self.log else {
            return;
        };
        let room = LONGEST_LOG.saturating_sub(self.written);
        let part = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        self.written += part.len() as u64;
        let mut wrote = log.write_all(part);
        if wrote.is_ok() && part.len() < bytes.len() {
            self.written = u64::MAX;
            wrote = log.write_all(b"\n[more was printed, and is not kept]\n");
        }
        // A log that cannot be written does not change what the guest is found to do.
        if wrote.is_err() {
            self.log = None;
        }
    }
}

/// Looks for the ready line, and copies everything.
fn read_lines(out: impl Read, shared: &Mutex<Shared>) {
    let mut out = BufReader::new(out);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut out).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let mut shared = lock(shared);
        shared.log(&line);
        if shared.ready.is_none() {
            shared.ready = ready_line(&String::from_utf8_lossy(&line));
        }
    }
}

fn ready_line(line: &str) -> Option<Result<ReadyLine, String>> {
    let rest = line.trim_end().strip_prefix("ready")?;
    if rest.is_empty() {
        return Some(Ok(ReadyLine::default()));
    }
    let json = rest.strip_prefix(' ')?;
    let read = serde_json::from_str(json);
    Some(read.map_err(|error| {
        format!(
            "found the line \"{}\", expected JSON after ready: {error}",
            line.trim_end()
        )
    }))
}

fn copy(mut errors: impl Read, shared: &Mutex<Shared>) {
    let mut buffer = [0; 8192];
    while let Ok(length) = errors.read(&mut buffer) {
        if length == 0 {
            return;
        }
        lock(shared).log(&buffer[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_is_told_from_others() {
        assert_eq!(None, ready_line("already\n"));
        assert_eq!(None, ready_line("readiness\n"));
        assert_eq!(Some(Ok(ReadyLine::default())), ready_line("ready\n"));
        assert!(matches!(ready_line("ready {\n"), Some(Err(_))));
        let line = ready_line("ready {\"listen\": {\"ISC\": \"127.0.0.1:1\"}, \"more\": 1}\r\n");
        let listen = BTreeMap::from([("ISC".to_owned(), "127.0.0.1:1".to_owned())]);
        let expected = ReadyLine {
            listen,
            control: None,
        };
        assert_eq!(Some(Ok(expected)), line);
    }
}
