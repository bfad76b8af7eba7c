//! What the machine says of a run: how much CPU each side had, how long its threads waited for a core, what
//! the network threw away. Read from `/proc`.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a process had so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Time on a core, of all its threads, those included that have ended; exact to 10 ms.
    pub cpu: Duration,
    /// Time in which a thread that still runs could have run and had no core.
    pub waited: Duration,
    /// Octets in memory.
    pub memory: u64,
}

/// What a process had between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Used {
    /// Seconds on a core.
    pub cpu: f64,
    /// Seconds in which a thread could have run and had no core.
    pub waited: f64,
    /// Octets in memory at the beginning, and at the end.
    pub memory: [u64; 2],
    /// The same in the middle, where somebody looked: what only fills its caches grows no more after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_halfway: Option<u64>,
}

impl Used {
    /// Adds what another process had.
    pub fn add(&mut self, other: &Used) {
        self.cpu += other.cpu;
        self.waited += other.waited;
        self.memory[0] += other.memory[0];
        self.memory[1] += other.memory[1];
        let halves = self.memory_halfway.zip(other.memory_halfway);
        self.memory_halfway = halves.map(|(own, others)| own + others);
    }
}

impl Usage {
    /// Of a process; `None` where it cannot be read, as of one on another machine.
    pub fn of(pid: u32) -> Option<Usage> {
        let mut usage = Usage::default();
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).unwrap_or_default();
            let waited = text.split_whitespace().nth(1);
            let waited = waited.and_then(|field| field.parse().ok());
            usage.waited += Duration::from_nanos(waited.unwrap_or(0));
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a name and may hold anything; user and system time are the 14th and the 15th.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        usage.cpu = Duration::from_millis(ticks * 10);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilo = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        usage.memory = kilo.unwrap_or(0) * 1024;
        Some(usage)
    }

    /// Of this process.
    pub fn own() -> Option<Usage> {
        Usage::of(std::process::id())
    }

    /// What was used from then to now.
    pub fn since(&self, then: &Usage) -> Used {
        Used {
            cpu: self.cpu.saturating_sub(then.cpu).as_secs_f64(),
            waited: self.waited.saturating_sub(then.waited).as_secs_f64(),
            memory: [then.memory, self.memory],
            memory_halfway: None,
        }
    }
}

/// Lets this thread run where nobody else wants to: its priority among the threads of a core becomes the least.
pub fn stand_back() {
    // Linux takes it for the thread alone. Where it is refused, the thread is as it was.
    let _ = rustix::process::setpriority_process(None, 19);
}

/// Time this thread has been on a core.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

/// Time this thread could have run and had no core.
pub fn thread_waited() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = text.split_whitespace().nth(1);
    Duration::from_nanos(waited.and_then(|field| field.parse().ok()).unwrap_or(0))
}

/// Time that a core loses while nothing is done there but to read the clock: what the machine itself, or whoever
/// it is shared with, takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Pauses {
    /// Share of the time, from 0 to 1.
    pub share: f64,
    /// The longest, in seconds.
    pub longest: f64,
}

impl Pauses {
    /// What takes less is no pause: an interrupt.
    const SHORTEST: Duration = Duration::from_micros(50);

    /// Watches a core for so long, and keeps it busy meanwhile; without one, whichever this runs on.
    pub fn of(core: Option<usize>, during: Duration) -> Pauses {
        let watch = move || {
            stay_on(&core.into_iter().collect::<Vec<_>>());
            let begun = Instant::now();
            let (mut last, mut lost, mut longest) = (begun, Duration::ZERO, Duration::ZERO);
            while last - begun < during {
                let now = Instant::now();
                let gap = now - last;
                if gap > Pauses::SHORTEST {
                    lost += gap;
                    longest = longest.max(gap);
                }
                last = now;
            }
            Pauses {
                share: lost.as_secs_f64() / during.as_secs_f64().max(1e-9),
                longest: longest.as_secs_f64(),
            }
        };
        thread::spawn(watch).join().unwrap_or_default()
    }
}

/// What the network of this machine threw away so far, of whoever's: by the kernel's names.
pub fn drops() -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for file in ["/proc/net/netstat", "/proc/net/snmp"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks_exact(2) {
            let names = pair[0].split_whitespace().skip(1);
            let values = pair[1].split_whitespace().skip(1);
            for (name, value) in names.zip(values) {
                if let (true, Ok(value)) = (DROPS.contains(&name), value.parse::<u64>()) {
                    *found.entry(name.to_owned()).or_default() += value;
                }
            }
        }
    }
    found
}

/// Full accept queues, full receive buffers, full backlogs.
const DROPS: &[&str] = &[
    "ListenDrops",
    "ListenOverflows",
    "RcvbufErrors",
    "SndbufErrors",
    "TCPBacklogDrop",
    "TCPRcvQDrop",
];

/// Files that may be open here at a time, sockets included, once the limit is as high as it may be set.
pub fn open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // What cannot be had stays as it was.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The cores this process may run on.
pub fn cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU)
            .filter(|core| set.is_set(*core))
            .collect(),
        Err(_) => vec![0],
    }
}

/// Keeps this thread on these cores. What cannot be had is told by what is measured.
pub fn stay_on(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    if !cores.is_empty() {
        let _ = sched_setaffinity(None, &set);
    }
}
