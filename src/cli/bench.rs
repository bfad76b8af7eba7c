//! `bench`: one measurement of the tracker path, the chunk path or call flows, along a profile.

use std::{
    io::{IsTerminal, Write},
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, ValueEnum};

use super::{
    Exit, Failure, runs, runs_folder,
    serve::{Filled, LibraryArgs, time},
    signal::Stop,
    tell,
};
use crate::{
    load::{
        call_flow::{self, CallFlow, Callees, Traffic},
        chunks::{self, ChunkJourney},
        engine::{
            bench::{Bench as Measurement, Live, clock_and_stop, run},
            child::Server,
            converse::Caller,
            generate::{Lane, Manner, Part},
            machine,
            metrics::Metrics,
        },
        journey::Journey,
        log,
        profile::{Profile, Shape},
        schedule::{Arrival, Law, Share, times},
        tracker::{self, Mix, TrackerJourney, Visitors},
        trial::{CallFlowPlan, Outcome, Over, Plan, Stopped, Trial},
        validity::Allowed,
    },
    proto::endpoint::{SipTransport, Timers},
    report::{bench as drawing, html, moment},
    time::At,
};

#[derive(Debug, Args)]
pub struct Bench {
    #[command(flatten)]
    pub load: LoadArgs,

    /// Arrivals a second; 500..5000 from one rate to another, for the shapes that change it
    #[arg(long, value_name = "RATE", default_value = "1000", value_parser = rates)]
    rate: Rates,

    /// How the rate runs over time
    #[arg(long, value_enum, default_value = "constant")]
    shape: ShapeWord,

    /// How long is measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    duration: Duration,

    /// The folder for bench.json and intervals.hlog [default: peerproof-out/bench-<time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Also write these reports, separated by commas
    #[arg(long, value_enum, value_name = "FORMAT,…", value_delimiter = ',')]
    report: Vec<Drawn>,

    /// Tell what was seen so far here, under /metrics, in the text format of Prometheus
    #[arg(long, value_name = "ADDR", value_parser = addr)]
    metrics: Option<SocketAddr>,

    /// Fail with exit code 5 if a larger share of arrivals than this is inadequately handled, in percent
    #[arg(long, value_name = "PERCENT")]
    objective: Option<f64>,
}

/// What can be drawn of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Drawn {
    /// report.html: one page, with times by percentile and second by second
    Html,
}

/// Draws what is wanted of the measurement in a folder.
pub fn draw(trial: &Trial, folder: &Path, wanted: &[Drawn]) -> Result<(), Failure> {
    if !wanted.contains(&Drawn::Html) {
        return Ok(());
    }
    let log = std::fs::read_to_string(folder.join("intervals.hlog"));
    let record = log.ok().and_then(|text| log::read(&text).ok());
    let page = html::load::page(trial, record.as_ref());
    std::fs::write(folder.join("report.html"), page)?;
    Ok(())
}

/// What every load is told.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// What to load
    #[arg(value_enum, value_name = "PATH")]
    pub path: LoadPath,

    /// Where to ask [default: a server of our own, started for it on other cores]
    #[arg(long, value_name = "ADDR", value_parser = addr)]
    target: Option<SocketAddr>,

    /// The target's process, where it runs here: its CPU and memory are told too
    #[arg(long, value_name = "PID", requires = "target")]
    target_pid: Option<u32>,

    /// Cores to ask from, one lane each [default: the second half]
    #[arg(long, value_name = "CORE,…", value_delimiter = ',')]
    cores: Vec<usize>,

    /// Cores for the server of our own [default: the first half]
    #[arg(
        long,
        value_name = "CORE,…",
        value_delimiter = ',',
        conflicts_with = "target"
    )]
    server_cores: Vec<usize>,

    /// More arguments for the server of our own: --serve=--stall=200ms
    #[arg(
        long = "serve",
        value_name = "ARG",
        conflicts_with = "target",
        allow_hyphen_values = true
    )]
    serve: Vec<String>,

    /// Connections of all lanes together
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,

    /// Questions that may be on their way on one connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pipeline: u32,

    /// How arrivals are spread
    #[arg(long, value_enum, default_value = "poisson")]
    law: LawWord,

    /// The seed of the schedule and of everything that is made up
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Draws the times of arrivals otherwise, and nothing else.
    #[arg(skip)]
    pub draw: u64,

    /// Take this part of the arrivals: several generators with the same arguments make up the whole
    #[arg(long, value_name = "K/N", default_value = "1/1")]
    share: Share,

    /// Ask for so long before anything is measured
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    warm_up: Duration,

    /// A right answer is late after this, from its intended start
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    limit: Duration,

    /// What is not answered after this is given up
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    patience: Duration,

    /// Read one answer in so many whole, and hold it to what is known to be true
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    read_whole: u64,

    /// How late questions may leave (99.9th percentile) before there is no figure
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = time)]
    allowed_lag: Duration,

    /// How much of the time a lane of ours may be on its core, in percent, before there is no figure
    #[arg(long, value_name = "PERCENT", default_value_t = 80.0)]
    allowed_busy: f64,

    /// How much of the time our own server may be without a core, in percent, before there is no figure
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    allowed_starvation: f64,

    #[command(flatten)]
    filled: Filled,

    #[command(flatten)]
    library: LibraryArgs,

    #[command(flatten)]
    call_flow: CallFlowArgs,

    /// Seconds after which the tracker forgets a visitor that is silent
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u32).range(1..))]
    track_timer: u32,
}

/// What can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadPath {
    /// The tracker path: peer lists, reports, joins and leaves on Ut
    Tracker,
    /// The chunk path: ranges or whole objects from an Edge Server
    Chunks,
    /// Call flows by SIP: piece requests, peer lists, status, registrations, and what is refused
    #[value(name = "callflow")]
    CallFlow,
}

/// How call flows are said, and with whom.
#[derive(Clone, Debug, Args)]
struct CallFlowArgs {
    /// What carries the SIP of call flows
    #[arg(long, value_enum, default_value = "udp")]
    over: OverWord,

    /// Shares of call flows in percent; the rest ask for pieces. peer-list=0: pieces alone
    #[arg(long, value_name = "KIND=SHARE,…", default_value_t = Traffic::default())]
    mix: Traffic,

    /// T1 of call flows: how soon what is not answered over UDP is said again
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = time)]
    t1: Duration,

    /// Whom call flows ask for pieces
    #[arg(long, value_name = "URI", default_value = "sip:es1@ims.example")]
    holder: String,

    /// Whom call flows ask for peers
    #[arg(
        long,
        value_name = "URI",
        default_value = "sip:tracker@p2pcds.ims.example"
    )]
    tracker: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OverWord {
    Udp,
    Tcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ShapeWord {
    /// One rate
    Constant,
    /// From one rate to another
    Ramp,
    /// From one rate to another in five steps
    Steps,
    /// One rate for long, to see whether anything grows
    Soak,
    /// A base rate, a sudden peak, the base rate
    FlashCrowd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LawWord {
    /// Independent of each other, as many users are
    Poisson,
    /// Evenly
    Constant,
}

/// Arrivals a second at the beginning, and at the end or the peak.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates(f64, f64);

impl Bench {
    pub fn run(self) -> Result<Exit, Failure> {
        let shape = match self.shape {
            ShapeWord::Constant => Shape::Constant,
            ShapeWord::Ramp => Shape::Ramp,
            ShapeWord::Steps => Shape::Steps,
            ShapeWord::Soak => Shape::Soak,
            ShapeWord::FlashCrowd => Shape::FlashCrowd,
        };
        if self.duration < SHORTEST {
            return Err(Failure::usage(
                "found a --duration of less than 1 s, expected one long enough to measure anything",
            ));
        }
        let is_even = matches!(self.shape, ShapeWord::Constant | ShapeWord::Soak);
        if is_even && self.rate.0 != self.rate.1 {
            return Err(Failure::usage(
                "found two rates and a --shape with one, expected --shape ramp, steps or flash-crowd",
            ));
        }
        self.load.check_cores()?;
        let profile = Profile::new(shape, self.rate.0, self.rate.1, self.duration);
        let out = self.folder()?;
        let stop = Stop::on_signals();
        let mut line = LiveLine::new();
        let metrics = self.metrics.map(Metrics::listen).transpose();
        let metrics = metrics
            .map_err(|error| Failure::new(Exit::Unavailable, format!("--metrics: {error}")))?;
        let log = out.join("intervals.hlog");
        let (trial, stopped) = self.load.trial(&profile, Some(&log), &stop, |live| {
            line.show(live);
            if let Some(metrics) = &metrics {
                metrics.set(drawing::exposition(live));
            }
        })?;
        line.clear();
        let text = serde_json::to_string_pretty(&trial).map_err(std::io::Error::from)?;
        std::fs::write(out.join("bench.json"), text + "\n")?;
        draw(&trial, &out, &self.report)?;
        tell(&drawing::text(&trial, stopped.as_ref()))?;
        tell(&format!("{}\n", out.join("bench.json").display()))?;
        if stop.is_asked() {
            return Ok(Exit::Interrupted);
        }
        Ok(exit_of(&trial, self.objective))
    }

    fn folder(&self) -> Result<PathBuf, Failure> {
        new_folder(self.out.as_ref(), "bench")
    }
}

/// The folder that was asked for, or one named for what it is and when; empty.
pub fn new_folder(out: Option<&PathBuf>, what: &str) -> Result<PathBuf, Failure> {
    let out = match out {
        Some(out) => out.clone(),
        None => runs_folder().join(format!("{what}-{}", moment::stamp(now_millis() / 1000))),
    };
    runs::refuse_taken(&out)?;
    std::fs::create_dir_all(&out)?;
    Ok(out)
}

/// Milliseconds since 1970.
fn now_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_millis() as u64
}

/// How a measurement ends; `objective` is in percent.
pub fn exit_of(trial: &Trial, objective: Option<f64>) -> Exit {
    match (trial.outcome, &trial.figures) {
        (Outcome::Wrong, _) => Exit::Failed,
        (Outcome::Measured, Some(figures)) => match objective {
            Some(objective) if figures.inadequate * 100.0 > objective => Exit::GateFailed,
            _ => Exit::Good,
        },
        _ if trial.evidence.counts.answered == 0 => Exit::Unavailable,
        _ => Exit::Invalid,
    }
}

impl LoadArgs {
    /// Measures once along a profile.
    pub fn trial(
        &self,
        profile: &Profile,
        log: Option<&Path>,
        stop: &Stop,
        live: impl FnMut(&Live),
    ) -> Result<(Trial, Option<Stopped>), Failure> {
        let cores = self.cores();
        let profile = self.warmed(profile);
        if profile.arrivals() > MOST_ARRIVALS {
            return Err(Failure::usage(format!(
                "found {:.0} arrivals, expected at most {MOST_ARRIVALS:.0}, as all are computed before: shorten the run, or share it among generators (--share)",
                profile.arrivals()
            )));
        }
        match self.path {
            LoadPath::Tracker => {
                let population = self.filled.population(self.seed);
                let mix = Mix::default();
                let due = times(&profile, self.law(), self.times_seed());
                let timer = Duration::from_secs(self.track_timer.into());
                let (lanes, visitors) = self.dealt(
                    tracker::plan(due, population, mix, timer),
                    cores.len(),
                    |ask| matches!(ask, tracker::Ask::Join(_)),
                );
                let server = self.server(&[
                    ("--peers", population.peers.to_string()),
                    ("--swarms", population.swarms.to_string()),
                    ("--track-timer", self.track_timer.to_string()),
                ])?;
                let target = self.target(server.as_ref());
                let plan = Plan {
                    population: Some(population),
                    mix: Some(mix),
                    ..self.plan(&profile, &cores, server.as_ref())
                };
                let visitors = Arc::new(Visitors::new(visitors));
                let (since, share) = (now_millis(), self.share.number);
                let run_id = format!("{since:x}-{share}");
                let journey = |_| {
                    let host = target.to_string();
                    TrackerJourney::new(population, &host, visitors.clone(), timer, &run_id)
                };
                let lanes = self.lanes(&cores, lanes, journey);
                self.measure(plan, lanes, target, server, log, stop, live)
            }
            LoadPath::Chunks => {
                let library = self.library.library(self.seed);
                let due = times(&profile, self.law(), self.times_seed());
                let (lanes, _) = self.dealt(chunks::plan(due, library), cores.len(), |_| false);
                let digests = Arc::new(ChunkJourney::digests(&library));
                let server = self.server(&[
                    ("--contents", library.contents.to_string()),
                    ("--size", library.size.to_string()),
                    ("--piece", library.piece.to_string()),
                ])?;
                let target = self.target(server.as_ref());
                let plan = Plan {
                    library: Some(library),
                    ..self.plan(&profile, &cores, server.as_ref())
                };
                let journey = |_| ChunkJourney::new(library, &target.to_string(), digests.clone());
                let lanes = self.lanes(&cores, lanes, journey);
                self.measure(plan, lanes, target, server, log, stop, live)
            }
            LoadPath::CallFlow => {
                let population = self.filled.population(self.seed);
                let library = self.library.library(self.seed);
                let traffic = self.call_flow.mix;
                let due = times(&profile, self.law(), self.times_seed());
                let (lanes, _) = self.dealt(
                    call_flow::plan(due, population, library, traffic),
                    cores.len(),
                    |_| false,
                );
                let server = self.server(&[
                    ("--peers", population.peers.to_string()),
                    ("--swarms", population.swarms.to_string()),
                    ("--contents", library.contents.to_string()),
                    ("--size", library.size.to_string()),
                    ("--piece", library.piece.to_string()),
                ])?;
                let target = self.target(server.as_ref());
                let (transport, over) = match self.call_flow.over {
                    OverWord::Udp => (SipTransport::Udp, Over::Udp),
                    OverWord::Tcp => (SipTransport::Tcp, Over::Tcp),
                };
                let plan = Plan {
                    population: Some(population),
                    library: Some(library),
                    call_flow: Some(CallFlowPlan {
                        over,
                        traffic,
                        t1: self.call_flow.t1.as_secs_f64(),
                    }),
                    ..self.plan(&profile, &cores, server.as_ref())
                };
                let run_id = format!("{:x}x{}", now_millis(), self.share.number);
                let stay_until = Arc::new(AtomicU64::new(u64::MAX));
                let callees = Callees {
                    holder: self.call_flow.holder.clone(),
                    tracker: self.call_flow.tracker.clone(),
                };
                let lanes = lanes.into_iter().enumerate();
                let lanes = lanes.map(|(index, arrivals)| Caller {
                    arrivals,
                    flow: CallFlow::new(
                        population,
                        library,
                        callees.clone(),
                        &run_id,
                        index as u64,
                        stay_until.clone(),
                    ),
                    core: cores.get(index % cores.len().max(1)).copied(),
                    transport,
                    timers: Timers::CORE.with_t1(self.call_flow.t1),
                });
                let lanes: Vec<Caller<CallFlow>> = lanes.collect();
                self.measure(plan, lanes, target, server, log, stop, live)
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is one part of a measurement"
    )]
    fn measure<P: Part>(
        &self,
        plan: Plan,
        lanes: Vec<P>,
        target: SocketAddr,
        server: Option<Server>,
        log: Option<&Path>,
        stop: &Stop,
        live: impl FnMut(&Live),
    ) -> Result<(Trial, Option<Stopped>), Failure> {
        let (clock, halt) = clock_and_stop();
        let manner = Manner {
            target,
            connections: (self.connections as usize).div_ceil(lanes.len().max(1)),
            pipeline: self.pipeline as usize,
            limit: self.limit,
            patience: self.patience,
            read_whole: self.read_whole,
            waiting_room: WAITING_ROOM,
            warm_up: self.warm_up,
            clock,
            begin: At::ZERO,
            stop: halt.clone(),
        };
        let bench = Measurement {
            plan,
            lanes,
            manner,
            server,
            server_pid: self.target_pid,
        };
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (asked, ended) = (stop.clone(), over.clone());
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                if asked.is_asked() {
                    halt.store(true, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let result = run(bench, log, live);
        over.store(true, Ordering::Relaxed);
        result.map_err(|error| Failure::new(Exit::Unavailable, format!("{target}: {error}")))
    }

    /// A lane for each core, with what it asks.
    fn lanes<J: Journey>(
        &self,
        cores: &[usize],
        arrivals: Vec<Vec<Arrival<J::Ask>>>,
        journey: impl Fn(usize) -> J,
    ) -> Vec<Lane<J>> {
        let lanes = arrivals.into_iter().enumerate();
        lanes
            .map(|(index, arrivals)| Lane {
                arrivals,
                journey: journey(index),
                core: cores.get(index % cores.len().max(1)).copied(),
            })
            .collect()
    }

    /// The same load, and before it the warm-up at its first rate.
    fn warmed(&self, profile: &Profile) -> Profile {
        let first = profile.segments.first().map_or(0.0, |segment| segment.from);
        let mut warmed = Profile::new(Shape::Constant, first, first, self.warm_up);
        warmed.shape = profile.shape;
        warmed.segments.retain(|segment| segment.seconds > 0.0);
        warmed.segments.extend_from_slice(&profile.segments);
        warmed
    }

    /// Own arrivals, lane by lane; and how many of all arrivals, others' included, are `counted`.
    fn dealt<A: Copy>(
        &self,
        plan: impl Iterator<Item = (Arrival<A>, u64)>,
        lanes: usize,
        counted: impl Fn(&A) -> bool,
    ) -> (Vec<Vec<Arrival<A>>>, u32) {
        let mut dealt = vec![Vec::new(); lanes.max(1)];
        let mut count = 0;
        for (arrival, journey) in plan {
            count += u32::from(counted(&arrival.ask));
            if let Some(lane) = self.share.lane(journey, lanes) {
                dealt[lane].push(arrival);
            }
        }
        (dealt, count)
    }

    fn plan(&self, profile: &Profile, cores: &[usize], server: Option<&Server>) -> Plan {
        Plan {
            load: match self.path {
                LoadPath::Tracker => "tracker".to_owned(),
                LoadPath::Chunks => "chunks".to_owned(),
                LoadPath::CallFlow => "callflow".to_owned(),
            },
            target: match self.target {
                Some(addr) => addr.to_string(),
                None => "serve".to_owned(),
            },
            served_as: server.map(|server| server.args.join(" ")),
            profile: profile.clone(),
            law: self.law(),
            seed: self.times_seed(),
            share: self.share,
            warm_up: self.warm_up.as_secs_f64(),
            lanes: cores.len(),
            cores: cores.to_vec(),
            connections: self.connections as usize,
            pipeline: self.pipeline as usize,
            limit: self.limit.as_secs_f64(),
            patience: self.patience.as_secs_f64(),
            read_whole: self.read_whole,
            allowed: Allowed {
                lag: self.allowed_lag.as_secs_f64(),
                busy: self.allowed_busy / 100.0,
                server_starved: self.allowed_starvation / 100.0,
                ..Allowed::default()
            },
            population: None,
            mix: None,
            library: None,
            call_flow: None,
        }
    }

    fn times_seed(&self) -> u64 {
        self.seed.wrapping_add(self.draw)
    }

    fn law(&self) -> Law {
        match self.law {
            LawWord::Poisson => Law::Poisson,
            LawWord::Constant => Law::Constant,
        }
    }

    /// Whether the machine has the cores that were named: where one works is part of what is measured.
    pub fn check_cores(&self) -> Result<(), Failure> {
        let all = machine::cores();
        let mut named = self.cores.iter().chain(&self.server_cores);
        match named.find(|core| !all.contains(core)) {
            None => Ok(()),
            Some(core) => Err(Failure::usage(format!(
                "found core {core}, expected some of this machine's: {all:?}"
            ))),
        }
    }

    /// The cores to ask from: beside a server of our own the second half, else all.
    fn cores(&self) -> Vec<usize> {
        if !self.cores.is_empty() {
            return self.cores.clone();
        }
        let all = machine::cores();
        match (self.target, all.len()) {
            (None, 2..) => all[all.len() / 2..].to_vec(),
            _ => all,
        }
    }

    /// Starts a server of our own, unless there is a target.
    fn server(&self, args: &[(&str, String)]) -> Result<Option<Server>, Failure> {
        if self.target.is_some() {
            return Ok(None);
        }
        let all = machine::cores();
        let cores = match (self.server_cores.is_empty(), all.len()) {
            (false, _) => self.server_cores.clone(),
            (true, 2..) => all[..all.len() / 2].to_vec(),
            (true, _) => all,
        };
        let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
        let role = match self.path {
            LoadPath::Tracker => "tracker",
            LoadPath::Chunks => "edge-server",
            LoadPath::CallFlow => "callflow",
        };
        let mut all = vec![role.to_owned()];
        let seed = [
            ("--seed", self.seed.to_string()),
            ("--cores", cores.join(",")),
        ];
        for (name, value) in args.iter().chain(&seed) {
            all.extend([(*name).to_owned(), value.clone()]);
        }
        all.extend(self.serve.iter().cloned());
        let server = Server::start(all);
        let server = server.map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
        Ok(Some(server))
    }

    fn target(&self, server: Option<&Server>) -> SocketAddr {
        let own = server.map(|server| server.addr);
        self.target
            .or(own)
            .expect("without a target there is a server")
    }
}

/// One line that is written over, on a terminal.
pub struct LiveLine {
    is_terminal: bool,
}

impl LiveLine {
    pub fn new() -> LiveLine {
        LiveLine {
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    pub fn show(&mut self, live: &Live) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K{}", drawing::live_line(live));
        }
    }

    pub fn clear(&mut self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// A shorter measurement says nothing.
const SHORTEST: Duration = Duration::from_secs(1);

/// All arrivals of a run are computed before it, in 24 octets or fewer each.
const MOST_ARRIVALS: f64 = 5e7;

/// Arrivals that may wait for a connection, in each lane.
const WAITING_ROOM: usize = 1 << 16;

fn addr(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("found \"{text}\", expected an address such as 127.0.0.1:8080");
    let mut found = text.to_socket_addrs().map_err(|_| wrong())?;
    found.next().ok_or_else(wrong)
}

fn rates(text: &str) -> Result<Rates, String> {
    let wrong =
        || format!("found \"{text}\", expected arrivals a second such as 2000, or 500..5000");
    let number = |text: &str| -> Option<f64> {
        let number: f64 = text.trim().parse().ok()?;
        (0.0..=1e8).contains(&number).then_some(number)
    };
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let rates = number(from)
        .zip(number(to))
        .filter(|(from, to)| from + to > 0.0);
    rates.map(|(from, to)| Rates(from, to)).ok_or_else(wrong)
}
