//! One measurement: lanes ask, their seconds are collected, both sides are watched.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    child::Server,
    clock::Clock,
    generate::{LaneReport, Manner, Part},
    machine::{self, Pauses, Usage, Used},
};
use crate::{
    load::{
        log,
        record::{Counts, Interval, Record},
        trial::{
            Kind, Machine, Outcome, Percentiles, Plan, SCHEMA, Second, Stopped, Trial, figures,
            outcome,
        },
        validity::Evidence,
    },
    time::At,
};

/// What to measure.
pub struct Bench<P: Part> {
    pub plan: Plan,
    /// One for each core.
    pub lanes: Vec<P>,
    pub manner: Manner,
    /// A server of our own, if it is one.
    pub server: Option<Server>,
    /// Of a server that somebody else started here.
    pub server_pid: Option<u32>,
    /// When to begin, so that several generators begin together; as soon as may be without it.
    pub at: Option<SystemTime>,
}

/// What is told while it runs.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Seconds since the schedule began, the warm-up included.
    pub elapsed: f64,
    /// So far, of the measured time.
    pub total: Counts,
    /// The newest whole second.
    pub second: Option<Second>,
    /// Response times and send lag so far.
    pub response: Percentiles,
    pub lag: Percentiles,
}

/// Measures. `live` is called about once a second; intervals go to `log` if the measurement turns out to be one.
pub fn run<P: Part>(
    bench: Bench<P>,
    log_to: Option<&Path>,
    mut live: impl FnMut(&Live) + Send,
) -> io::Result<(Trial, Option<Stopped>)> {
    let Bench {
        plan,
        lanes,
        mut manner,
        server,
        server_pid,
        at,
    } = bench;
    let stop = manner.stop.clone();
    let clock = manner.clock;
    let pid = server.as_ref().map(|server| server.pid).or(server_pid);
    let duration = plan.profile.duration();
    // Time to connect before the first is due.
    manner.begin = clock.now() + Duration::from_millis(200);
    if manner.tls.is_some() {
        // Handshakes take longer than connecting does.
        manner.begin += Duration::from_millis(5) * plan.connections as u32;
    }
    if let Some(at) = at {
        let begin = At::ZERO + at.duration_since(clock.calendar).unwrap_or_default();
        if begin < manner.begin {
            let late = manner.begin.since(begin).as_secs_f64();
            return Err(io::Error::other(format!(
                "--at: found a time {late:.1} s too early, expected one that leaves time to prepare"
            )));
        }
        manner.begin = begin;
    }
    let began = clock.calendar + Duration::from_nanos(manner.begin.as_nanos()) + manner.warm_up;
    let began = began
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64;
    let mut watched = Watched::begin(pid);
    let measuring = [manner.begin + manner.warm_up, manner.begin + duration];
    let mut collected = Collected::new(log_to, began)?;
    let (reports, kinds) = thread::scope(|scope| {
        let (send, receive) = mpsc::channel::<Record>();
        let manner = &manner;
        let threads: Vec<_> = lanes
            .into_iter()
            .map(|lane| {
                let send = send.clone();
                scope.spawn(move || lane.run(manner, &send))
            })
            .collect();
        drop(send);
        let (watched, collected, live) = (&mut watched, &mut collected, &mut live);
        let collecting = scope.spawn(move || -> io::Result<()> {
            // Merging and writing takes milliseconds, and a lane may share its core.
            machine::stand_back();
            let mut told = clock.now();
            loop {
                match receive.recv_timeout(Duration::from_millis(200)) {
                    Ok(record) => collected.take(&record),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                let now = clock.now();
                watched.look(now, measuring);
                if now.since(told) >= Duration::from_secs(1) {
                    told = now;
                    let since = now.since(manner.begin + manner.warm_up);
                    let done = since.saturating_sub(manner.patience).as_secs() as u32;
                    collected.close(done)?;
                    live(&collected.live(now.since(manner.begin)));
                }
            }
            Ok(())
        });
        let reports: io::Result<Vec<LaneReport>> = threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a lane panicked")))
            })
            .collect();
        collecting
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("what collects panicked")))?;
        reports.map(|reports| {
            let kinds = kinds_of::<P>(&reports);
            (reports, kinds)
        })
    })?;
    collected.close(u32::MAX)?;
    let (mut generator, served) = watched.end(pid);
    generator.waited = reports.iter().map(|report| report.waited).sum();
    let clock_step = clock.step().as_secs_f64();
    let measured = (duration.as_secs_f64() - plan.warm_up).max(1e-9);
    let own_loops = server.as_ref().map(|server| server.loops.max(1));
    let stopped = server.map(Server::stop).transpose()?;
    let mut all = Counts::default();
    reports.iter().for_each(|report| all.add(&report.all));
    let most = |of: fn(&LaneReport) -> f64| reports.iter().map(of).fold(0.0, f64::max);
    let mut evidence = Evidence {
        lag: collected.total.lag.value_at_quantile(0.999) as f64 / 1e9,
        busy: most(|report| report.busy),
        starved: most(|report| report.starved),
        server_starved: match (&served, own_loops) {
            (Some(served), Some(loops)) => served.waited / measured / loops as f64,
            _ => 0.0,
        },
        counts: all.clone(),
        served: stopped.as_ref().map(|stopped| stopped.counted),
        drops: watched.drops(),
        clock_step,
        is_cut_short: stop.load(Ordering::Relaxed) || reports.iter().any(|r| r.is_cut_short),
        pauses: None,
    };
    evidence.pauses = pauses(&evidence, &plan);
    let broken = evidence.broken(&plan.allowed);
    let outcome = outcome(&broken, &all);
    let figures = (outcome == Outcome::Measured).then(|| {
        let timeline = std::mem::take(&mut collected.timeline);
        figures(measured, &collected.total, timeline, kinds)
    });
    collected.finish(outcome)?;
    let trial = Trial {
        schema: SCHEMA,
        program: format!("peerproof {}", env!("CARGO_PKG_VERSION")),
        began,
        plan,
        outcome,
        broken,
        evidence,
        examples: reports
            .into_iter()
            .flat_map(|report| report.examples)
            .collect(),
        figures,
        generator,
        server: served,
        machine: this_machine(),
    };
    Ok((trial, stopped))
}

/// What the generator's core loses by itself, if questions left too late: after a run, when nothing else is done.
pub(super) fn pauses(evidence: &Evidence, plan: &Plan) -> Option<Pauses> {
    let look = || Pauses::of(plan.cores.first().copied(), Duration::from_millis(500));
    evidence.is_late(&plan.allowed).then(look)
}

fn kinds_of<P: Part>(reports: &[LaneReport]) -> BTreeMap<String, Kind> {
    let mut kinds = BTreeMap::new();
    for (index, name) in P::KINDS.iter().enumerate() {
        let mut kind = Kind::default();
        for report in reports {
            kind.offered += report.kinds[index].0;
            kind.inadequate += report.kinds[index].1;
        }
        kinds.insert((*name).to_owned(), kind);
    }
    kinds
}

/// What both sides had, from the end of the warm-up on.
pub(super) struct Watched {
    own: Usage,
    server: Option<Usage>,
    pid: Option<u32>,
    drops: BTreeMap<String, u64>,
    is_warm: bool,
    /// Memory of both in the middle.
    halfway: Option<(u64, Option<u64>)>,
}

impl Watched {
    pub(super) fn begin(pid: Option<u32>) -> Watched {
        Watched {
            own: Usage::own().unwrap_or_default(),
            server: pid.and_then(Usage::of),
            pid,
            drops: machine::drops(),
            is_warm: false,
            halfway: None,
        }
    }

    /// Begins anew once the warm-up is over, since memory that is taken once is no growth, and looks once more
    /// in the middle of what is measured.
    pub(super) fn look(&mut self, now: At, [from, until]: [At; 2]) {
        if now < from {
            return;
        }
        let own = || Usage::own().unwrap_or_default();
        let server = || self.pid.and_then(Usage::of);
        if !self.is_warm {
            (self.own, self.server, self.is_warm) = (own(), server(), true);
        } else if self.halfway.is_none() && now >= from + until.since(from) / 2 {
            self.halfway = Some((own().memory, server().map(|usage| usage.memory)));
        }
    }

    pub(super) fn end(&self, pid: Option<u32>) -> (Used, Option<Used>) {
        let mut own = Usage::own().unwrap_or_default().since(&self.own);
        own.memory_halfway = self.halfway.map(|(own, _)| own);
        let server = pid.and_then(Usage::of);
        let server = server.zip(self.server).map(|(now, then)| Used {
            memory_halfway: self.halfway.and_then(|(_, server)| server),
            ..now.since(&then)
        });
        (own, server)
    }

    pub(super) fn drops(&self) -> BTreeMap<String, u64> {
        let now = machine::drops();
        let grown = now.into_iter().map(|(name, count)| {
            let before = self.drops.get(&name).copied().unwrap_or(0);
            (name, count.saturating_sub(before))
        });
        grown.filter(|(_, count)| *count > 0).collect()
    }
}

/// The interval log cannot be written: no fault of whoever is asked.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", .path.display())]
pub struct LogFailed {
    path: PathBuf,
    error: io::Error,
}

impl LogFailed {
    fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + use<> {
        let path = path.to_owned();
        move |error| {
            io::Error::other(LogFailed {
                path: path.clone(),
                error,
            })
        }
    }
}

/// The seconds of all lanes. Those that nothing can come to any more are written and forgotten, so that a long
/// run needs no more memory than a short one.
pub(super) struct Collected {
    open: Record,
    pub(super) total: Interval,
    pub(super) timeline: Vec<Second>,
    log: Option<(fs::File, PathBuf)>,
    to: Option<PathBuf>,
}

impl Collected {
    pub(super) fn new(log_to: Option<&Path>, began: u64) -> io::Result<Collected> {
        let log = match log_to {
            Some(path) => {
                let partial = path.with_extension("partial");
                let failed = LogFailed::at(&partial);
                let mut file = fs::File::create(&partial).map_err(&failed)?;
                file.write_all(log::head(began).as_bytes())
                    .map_err(&failed)?;
                Some((file, partial))
            }
            None => None,
        };
        Ok(Collected {
            open: Record::default(),
            total: Interval::default(),
            timeline: Vec::new(),
            log,
            to: log_to.map(Path::to_owned),
        })
    }

    pub(super) fn take(&mut self, record: &Record) {
        self.open.add(record);
        for interval in record.0.values() {
            self.total.add(interval);
        }
    }

    /// Writes and forgets every second before `until`.
    pub(super) fn close(&mut self, until: u32) -> io::Result<()> {
        while let Some(entry) = self.open.0.first_entry() {
            if *entry.key() >= until {
                break;
            }
            let (second, interval) = entry.remove_entry();
            self.timeline.push(Second::of(second, &interval));
            if let Some((file, path)) = &mut self.log {
                file.write_all(log::lines(second, &interval).as_bytes())
                    .map_err(LogFailed::at(path))?;
            }
        }
        Ok(())
    }

    pub(super) fn live(&self, elapsed: Duration) -> Live {
        // The last second may still be running, and the one before is as whole as can be known yet.
        let newest = self.open.0.iter().rev().nth(1);
        Live {
            elapsed: elapsed.as_secs_f64(),
            total: self.total.counts.clone(),
            second: newest.map(|(second, interval)| Second::of(*second, interval)),
            response: Percentiles::of(&self.total.response),
            lag: Percentiles::of(&self.total.lag),
        }
    }

    /// Keeps the log of a measurement, and throws away that of anything else.
    pub(super) fn finish(self, outcome: Outcome) -> io::Result<()> {
        let (Some((_, partial)), Some(to)) = (self.log, self.to) else {
            return Ok(());
        };
        match outcome {
            Outcome::Measured => fs::rename(&partial, to),
            Outcome::Invalid | Outcome::Wrong => fs::remove_file(&partial),
        }
        .map_err(LogFailed::at(&partial))
    }
}

/// What this machine is.
pub fn this_machine() -> Machine {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let cpu = cpu.map(|line| line.trim_start_matches([' ', '\t', ':']).trim());
    let cpu = cpu.unwrap_or("unknown").to_owned();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = machine::cores().len();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let words = [host.trim(), &cpu, &cores.to_string()].join("-");
    let id: String = words
        .to_ascii_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    Machine {
        id,
        cpu,
        cores,
        kernel: kernel.trim().to_owned(),
    }
}

/// A manner that begins nowhere yet.
pub fn clock_and_stop() -> (Clock, Arc<AtomicBool>) {
    (Clock::start(), Arc::new(AtomicBool::new(false)))
}
