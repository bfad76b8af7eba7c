//! What a guest that we start runs as, as far as the rest of us has to know: how it ended, what it printed, and how it
//! is stopped. A process is one, a container another.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Deserialize;

/// Something that runs and that we started. Dropped, it is stopped, with everything it started.
pub trait Body: fmt::Debug + Send {
    /// What it prints.
    fn log(&self) -> &Log;

    /// How it ended, if it has.
    fn ended(&mut self) -> Option<Ending>;

    /// Stops it where it stands, as if its power were cut: it answers nothing and refuses nothing.
    fn freeze(&mut self) -> io::Result<()>;

    /// Ends it at once.
    fn kill(&mut self) -> io::Result<()>;
}

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It could not be run, or not any longer; in words that follow "it".
    Failed(String),
    /// With this status; 128 and the number of the signal that ended it, as shells have it.
    Status(i32),
}

impl Ending {
    /// The guest says that it does not do this case.
    pub fn is_unsupported(&self) -> bool {
        *self == Ending::Status(127)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Failed(why) => f.write_str(why),
            Ending::Status(status @ 129..=192) => write!(f, "ended by signal {}", status - 128),
            Ending::Status(status) => write!(f, "ended with status {status}"),
        }
    }
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

/// What a guest prints: kept in the log of the scenario that is being played, and looked through for the ready line.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    ready: Option<Result<ReadyLine, String>>,
    /// The line of its output that is not complete yet, as far as it may be a ready line.
    line: Vec<u8>,
    file: Option<File>,
    /// Octets that may still be written.
    room: u64,
    of_run: Room,
    /// The shell's word that it did not find the command.
    not_found: Option<String>,
    /// The line of its error output that is not complete yet, as far as it may be that.
    complaint: Vec<u8>,
    /// Nothing more comes of its error output.
    is_told: bool,
}

/// What the logs of a run may still take, all together.
#[derive(Clone, Debug)]
pub struct Room(Arc<AtomicU64>);

impl Default for Room {
    fn default() -> Room {
        Room(Arc::new(AtomicU64::new(ALL_LOGS)))
    }
}

/// Longer logs of one scenario are cut.
const LONGEST_LOG: u64 = 4 << 20;
/// What all logs of a run take, but for what each may have in any case.
const ALL_LOGS: u64 = 256 << 20;
const SHORTEST_CUT: u64 = 64 << 10;
/// Longer lines are no ready lines.
const LONGEST_LINE: usize = 64 << 10;

impl Log {
    /// From now on what is printed goes into the file at `path`, as far as a run has room for it.
    pub fn keep_in(&self, path: &Path, of_run: &Room) -> io::Result<()> {
        let file = File::create(path)?;
        let mut kept = self.kept();
        kept.file = Some(file);
        kept.room = of_run
            .0
            .load(Ordering::Relaxed)
            .clamp(SHORTEST_CUT, LONGEST_LOG);
        kept.of_run = of_run.clone();
        Ok(())
    }

    /// What the ready line said, once one was printed; an error if that could not be read.
    pub fn ready(&self) -> Option<Result<ReadyLine, String>> {
        self.kept().ready.clone()
    }

    /// It wrote this to its output.
    pub fn printed(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        kept.write(bytes);
        if kept.ready.is_none() {
            kept.look_for_ready(bytes);
        }
    }

    /// It wrote this to its error output.
    pub fn complained(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        kept.write(bytes);
        kept.look_for_not_found(bytes);
    }

    /// Its error output has ended.
    pub fn has_complained(&self) {
        self.kept().is_told = true;
    }

    /// Whether its error output has ended, and the shell's word that it did not find the command, if there was one.
    pub fn not_found(&self) -> (bool, Option<String>) {
        let kept = self.kept();
        (kept.is_told, kept.not_found.clone())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn write(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else {
            return;
        };
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        let part = &bytes[..bytes.len().min(room)];
        let taken = part.len() as u64;
        self.room -= taken;
        let of_run = &self.of_run.0;
        let left = |room: u64| Some(room.saturating_sub(taken));
        let _ = of_run.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        let is_cut = part.len() < bytes.len();
        let mut wrote = file.write_all(part);
        if wrote.is_ok() && is_cut {
            wrote = file.write_all(b"\n[more was printed, and is not kept]\n");
        }
        // A log that cannot be written does not change what the guest is found to do.
        if wrote.is_err() || is_cut {
            self.file = None;
        }
    }

    fn look_for_not_found(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.complaint.len());
            self.complaint
                .extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&self.complaint).trim().to_owned();
                self.complaint.clear();
                if self.not_found.is_none() && is_not_found(&line) {
                    self.not_found = Some(line);
                }
            }
        }
    }

    fn look_for_ready(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.ready = ready_line(&String::from_utf8_lossy(&self.line));
                self.line.clear();
                if self.ready.is_some() {
                    return;
                }
            }
        }
    }
}

/// Whether the shell that starts guests says so; what a script says of commands of its own begins with its name.
fn is_not_found(line: &str) -> bool {
    let ends = ["not found", "No such file or directory"];
    line.starts_with("/bin/sh: ") && ends.iter().any(|end| line.ends_with(end))
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

    #[test]
    fn a_ready_line_may_come_in_pieces_and_behind_others() {
        let log = Log::default();
        log.printed(b"\x80 starting\nrea");
        assert_eq!(None, log.ready());
        log.complained(b"dy\n");
        assert_eq!(None, log.ready());
        log.printed(b"dy\nready {\n");
        assert_eq!(Some(Ok(ReadyLine::default())), log.ready());
    }

    #[test]
    fn logs_of_a_run_have_room_for_so_much_together() {
        let folder = std::env::temp_dir().join(format!("peerproof-logs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let run = Room(Arc::new(AtomicU64::new(SHORTEST_CUT + 100_000)));
        let lengths = [0, 1].map(|number: u8| {
            let path = folder.join(number.to_string());
            let log = Log::default();
            log.keep_in(&path, &run).unwrap();
            (0..100).for_each(|_| log.printed(&[b'x'; 8192]));
            std::fs::read(&path).unwrap().len() as u64
        });
        std::fs::remove_dir_all(&folder).unwrap();
        let said = b"\n[more was printed, and is not kept]\n".len() as u64;
        assert_eq!(
            [SHORTEST_CUT + 100_000 + said, SHORTEST_CUT + said],
            lengths
        );
    }

    #[test]
    fn the_shells_word_is_told_from_that_of_a_script() {
        let log = Log::default();
        log.complained(b"./mine.sh: 3: jq: not found\n/bin/sh: 1: ./my-");
        assert_eq!((false, None), log.not_found());
        log.complained(b"trakcer: not found\n");
        log.has_complained();
        let word = "/bin/sh: 1: ./my-trakcer: not found".to_owned();
        assert_eq!((true, Some(word)), log.not_found());
    }

    #[test]
    fn a_line_without_end_is_not_kept_whole() {
        let log = Log::default();
        for _ in 0..100 {
            log.printed(&[b'x'; 8192]);
        }
        assert_eq!(LONGEST_LINE, log.kept().line.len());
        log.printed(b"\nready\n");
        assert_eq!(Some(Ok(ReadyLine::default())), log.ready());
    }
}
