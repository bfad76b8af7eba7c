//! `bench`: one measurement of the tracker path, the chunk path or call flows, along a profile.

use std::{
    collections::BTreeSet,
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

use clap::{ArgMatches, Args, Id, ValueEnum, parser::ValueSource};

use super::{
    Exit, Failure, make_folder, runs, runs_folder,
    serve::{Filled, LibraryArgs, time},
    signal::Stop,
    tell, write_file,
};
use crate::{
    load::{
        call_flow::{self, CallFlow, Callees, Traffic},
        chunks::{self, ChunkJourney},
        engine::{
            bench::{Bench as Measurement, Live, LogFailed, clock_and_stop, run},
            channel::Believed,
            child::Server,
            converse::Caller,
            generate::{Lane, Manner, Part},
            machine,
            metrics::Metrics,
        },
        file::LoadFile,
        journey::Journey,
        log,
        profile::{Profile, Shape},
        schedule::{Arrival, Law, Share, times},
        search::Goal,
        tracker::{self, Mix, TrackerJourney, Visitors},
        trial::{CallFlowPlan, Outcome, Over, Plan, Stopped, Trial},
        validity::Allowed,
    },
    net::tls,
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

    #[command(flatten)]
    limits: Limits,

    /// Take what is not given here from this file: rate, shape, duration, mix, thresholds and more
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,

    /// The arguments that were typed: they come before what the file says.
    #[arg(skip)]
    typed: BTreeSet<String>,
}

/// What fails a measurement with exit code 5.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Limits {
    /// Fail with exit code 5 if a larger share than this is inadequately handled, in percent
    #[arg(long, value_name = "PERCENT")]
    pub objective: Option<f64>,

    /// Fail with exit code 5 if the median response time is longer, in milliseconds
    #[arg(long, value_name = "MS")]
    pub p50: Option<f64>,

    /// Fail with exit code 5 if the 99th percentile is longer, in milliseconds
    #[arg(long, value_name = "MS")]
    pub p99: Option<f64>,

    /// Fail with exit code 5 if the 99.9th percentile is longer, in milliseconds
    #[arg(long, value_name = "MS")]
    pub p999: Option<f64>,
}

impl Limits {
    /// What is not limited may be anything; `None` if nothing is limited.
    pub fn goal(&self) -> Option<Goal> {
        let goal = Goal {
            inadequate: self.objective.map_or(1.0, |percent| percent / 100.0),
            p50: self.p50,
            p99: self.p99,
            p999: self.p999,
        };
        let limits = [self.objective, self.p50, self.p99, self.p999];
        (limits != [None; 4]).then_some(goal)
    }

    /// The same, and what a file says where nothing is said here.
    fn or(self, file: Option<Goal>) -> Limits {
        let of = |limit: fn(&Goal) -> Option<f64>| file.as_ref().and_then(limit);
        // A share of all is no limit.
        let objective = |goal: &Goal| (goal.inadequate < 1.0).then_some(goal.inadequate * 100.0);
        Limits {
            objective: self.objective.or(of(objective)),
            p50: self.p50.or(of(|goal| goal.p50)),
            p99: self.p99.or(of(|goal| goal.p99)),
            p999: self.p999.or(of(|goal| goal.p999)),
        }
    }
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
    write_file(&folder.join("report.html"), page)
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

    /// Speak TLS, and hold the target to the authority of --authority; a server of our own tells its own
    #[arg(long)]
    tls: bool,

    /// The certificate of who may vouch for the target, as PEM, or a folder with authority.pem
    #[arg(long, value_name = "FILE", requires = "tls")]
    authority: Option<PathBuf>,

    /// The name in the target's certificate [default: its address]
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Option<String>,

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

    /// What the measurement is held to.
    #[arg(skip)]
    goal: Option<Goal>,

    /// Which questions a tracker is asked, in percent; the rest are peer lists [default: report=25,join=6,leave=4]
    #[arg(long, value_name = "KIND=N,…", value_parser = questions)]
    questions: Option<Mix>,

    /// Take this part of the arrivals: several generators with the same arguments make up the whole
    #[arg(long, value_name = "K/N", default_value = "1/1")]
    share: Share,

    /// Begin when the calendar shows so many seconds since 1970: several generators begin together
    #[arg(long, value_name = "SECONDS")]
    at: Option<u64>,

    #[command(flatten)]
    terms: Terms,

    /// Read one answer in so many whole, and hold it to what is known to be true
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    read_whole: u64,

    /// How late questions may leave (99.9th percentile) before there is no figure
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = time)]
    allowed_lag: Duration,

    /// How much of the time a lane of ours may be on its core, in percent, before there is no figure
    #[arg(long, value_name = "PERCENT", default_value_t = 80.0)]
    allowed_busy: f64,

    #[command(flatten)]
    filled: Filled,

    #[command(flatten)]
    library: LibraryArgs,

    #[command(flatten)]
    call_flow: CallFlowArgs,
}

/// What every measurement is told of times and of what is allowed, whether arrivals wait for answers or not.
#[derive(Clone, Copy, Debug, Args)]
pub struct Terms {
    /// Ask for so long before anything is measured; of users: once all are there
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    pub warm_up: Duration,

    /// A right answer is late after this, from its intended start; of users: from when it was asked for
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub limit: Duration,

    /// What is not answered after this is given up
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub patience: Duration,

    /// How much of the time our own server may be without a core, in percent, before there is no figure
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    pub allowed_starvation: f64,

    /// Seconds after which the tracker forgets a visitor that is silent
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u32).range(1..))]
    pub track_timer: u32,
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
    /// Which arguments were typed.
    pub fn given(&mut self, matches: &ArgMatches) {
        let typed = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let ids = matches.ids().map(Id::as_str);
        self.typed = ids.filter(typed).map(str::to_owned).collect();
    }

    /// Takes over what a file says and nobody typed.
    fn take(&mut self, path: &Path) -> Result<(), Failure> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("{name}: {error}")))?;
        let file =
            LoadFile::parse(&name, &text).map_err(|mistakes| Failure::usage(mistakes.styled()))?;
        let own = match self.load.path {
            LoadPath::Tracker => "tracker",
            LoadPath::Chunks => "chunks",
            LoadPath::CallFlow => "callflow",
        };
        if let Some(path) = file.path.filter(|path| path.word() != own) {
            return Err(Failure::usage(format!(
                "{name}: found path = \"{}\", expected \"{own}\", which is to be measured: peerproof bench {} --profile {name}",
                path.word(),
                path.word()
            )));
        }
        let typed = std::mem::take(&mut self.typed);
        let take = |id: &str| !typed.contains(id);
        fn set<T>(is_free: bool, into: &mut T, value: Option<T>) {
            if let (true, Some(value)) = (is_free, value) {
                *into = value;
            }
        }
        let load = &mut self.load;
        let rates = file.rate.map(|(from, to)| Rates(from, to));
        let shape = file.shape.map(|shape| match shape {
            Shape::Constant => ShapeWord::Constant,
            Shape::Ramp => ShapeWord::Ramp,
            Shape::Steps => ShapeWord::Steps,
            Shape::Soak => ShapeWord::Soak,
            Shape::FlashCrowd => ShapeWord::FlashCrowd,
        });
        let law = file.law.map(|law| match law {
            Law::Poisson => LawWord::Poisson,
            Law::Constant => LawWord::Constant,
        });
        set(take("rate"), &mut self.rate, rates);
        set(take("shape"), &mut self.shape, shape);
        set(take("law"), &mut load.law, law);
        set(take("duration"), &mut self.duration, file.duration);
        set(take("warm_up"), &mut load.terms.warm_up, file.warm_up);
        set(take("seed"), &mut load.seed, file.seed);
        set(take("connections"), &mut load.connections, file.connections);
        set(take("pipeline"), &mut load.pipeline, file.pipeline);
        set(take("limit"), &mut load.terms.limit, file.limit);
        set(take("patience"), &mut load.terms.patience, file.patience);
        set(take("read_whole"), &mut load.read_whole, file.read_whole);
        set(take("allowed_lag"), &mut load.allowed_lag, file.allowed_lag);
        set(take("peers"), &mut load.filled.peers, file.peers);
        set(
            take("swarms"),
            &mut load.filled.swarms,
            file.swarms.map(Some),
        );
        set(
            take("track_timer"),
            &mut load.terms.track_timer,
            file.track_timer,
        );
        set(take("questions"), &mut load.questions, file.mix.map(Some));
        set(take("contents"), &mut load.library.contents, file.contents);
        set(take("size"), &mut load.library.size, file.size);
        set(take("piece"), &mut load.library.piece, file.piece);
        self.limits = self.limits.or(file.goal);
        Ok(())
    }

    pub fn run(mut self) -> Result<Exit, Failure> {
        if let Some(path) = self.profile.clone() {
            self.take(&path)?;
        }
        self.load.goal = self.limits.goal();
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
        if self.load.tls && self.load.path == LoadPath::CallFlow {
            return Err(Failure::usage(
                "found --tls and callflow, expected tracker or chunks: SIP is said over UDP and TCP here",
            ));
        }
        check_open_files(self.load.connections.into())?;
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
        write_file(&out.join("bench.json"), text + "\n")?;
        draw(&trial, &out, &self.report)?;
        tell(&drawing::text(&trial, stopped.as_ref()))?;
        tell(&format!("{}\n", out.join("bench.json").display()))?;
        if self.report.contains(&Drawn::Html) {
            tell(&format!("{}\n", out.join("report.html").display()))?;
        }
        if stop.is_asked() {
            return Ok(Exit::Interrupted);
        }
        judged(&trial)
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
    make_folder(&out)?;
    Ok(out)
}

/// Milliseconds since 1970.
fn now_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_millis() as u64
}

/// How a measurement ends that is held to no limit.
pub fn exit_of(trial: &Trial) -> Exit {
    match (trial.outcome, &trial.figures) {
        (Outcome::Wrong, _) => Exit::Failed,
        (Outcome::Measured, Some(_)) => Exit::Good,
        _ if trial.evidence.counts.answered == 0 => Exit::Unavailable,
        _ => Exit::Invalid,
    }
}

/// The same, held to the limits of its plan; whether they hold is told.
pub fn judged(trial: &Trial) -> Result<Exit, Failure> {
    let exit = exit_of(trial);
    let figures = trial.figures.as_ref().filter(|_| exit == Exit::Good);
    let Some((figures, goal)) = figures.zip(trial.plan.goal) else {
        return Ok(exit);
    };
    match goal.missed_by(figures) {
        None => {
            tell(&format!("held             {goal}\n"))?;
            Ok(exit)
        }
        Some(by) => {
            tell(&format!("missed           {by}; to hold: {goal}\n"))?;
            Ok(Exit::GateFailed)
        }
    }
}

/// Why nothing was measured: of our own log, or of the target.
pub fn not_measured(target: &dyn std::fmt::Display, error: &std::io::Error) -> Failure {
    match error.get_ref().is_some_and(|inner| inner.is::<LogFailed>()) {
        true => Failure::new(Exit::Fault, error.to_string()),
        false => Failure::new(Exit::Unavailable, format!("{target}: {error}")),
    }
}

impl LoadArgs {
    /// Measures once along a profile.
    pub fn trial(
        &self,
        profile: &Profile,
        log: Option<&Path>,
        stop: &Stop,
        live: impl FnMut(&Live) + Send,
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
                let mix = self.questions.unwrap_or_default();
                let due = times(&profile, self.law(), self.times_seed());
                let timer = Duration::from_secs(self.terms.track_timer.into());
                let (lanes, visitors) = self.dealt(
                    tracker::plan(due, population, mix, timer),
                    cores.len(),
                    |ask| matches!(ask, tracker::Ask::Join(_)),
                );
                let server = self.server(&[
                    ("--peers", population.peers.to_string()),
                    ("--swarms", population.swarms.to_string()),
                    ("--track-timer", self.terms.track_timer.to_string()),
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
                let tls = self.believed(target, server.as_ref())?;
                self.measure(plan, lanes, target, tls, server, log, stop, live)
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
                let tls = self.believed(target, server.as_ref())?;
                self.measure(plan, lanes, target, tls, server, log, stop, live)
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
                self.measure(plan, lanes, target, None, server, log, stop, live)
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
        tls: Option<Believed>,
        server: Option<Server>,
        log: Option<&Path>,
        stop: &Stop,
        live: impl FnMut(&Live) + Send,
    ) -> Result<(Trial, Option<Stopped>), Failure> {
        let (clock, halt) = clock_and_stop();
        let manner = Manner {
            target,
            tls,
            connections: (self.connections as usize).div_ceil(lanes.len().max(1)),
            pipeline: self.pipeline as usize,
            limit: self.terms.limit,
            patience: self.terms.patience,
            read_whole: self.read_whole,
            waiting_room: WAITING_ROOM,
            warm_up: self.terms.warm_up,
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
            at: self
                .at
                .map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds)),
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
        result.map_err(|error| not_measured(&target, &error))
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
        let mut warmed = Profile::new(Shape::Constant, first, first, self.terms.warm_up);
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
            warm_up: self.terms.warm_up.as_secs_f64(),
            lanes: cores.len(),
            cores: cores.to_vec(),
            connections: self.connections as usize,
            pipeline: self.pipeline as usize,
            limit: self.terms.limit.as_secs_f64(),
            patience: self.terms.patience.as_secs_f64(),
            read_whole: self.read_whole,
            allowed: Allowed {
                lag: self.allowed_lag.as_secs_f64(),
                busy: self.allowed_busy / 100.0,
                server_starved: self.terms.allowed_starvation / 100.0,
                ..Allowed::default()
            },
            population: None,
            mix: None,
            library: None,
            closed_loop: None,
            goal: self.goal,
            tls: self.tls,
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
        if self.tls {
            all.push("--tls".to_owned());
        }
        all.extend(self.serve.iter().cloned());
        let server = Server::start(all);
        let server = server.map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
        Ok(Some(server))
    }

    /// Whom to believe under TLS; `None` without it.
    fn believed(
        &self,
        target: SocketAddr,
        server: Option<&Server>,
    ) -> Result<Option<Believed>, Failure> {
        if !self.tls {
            return Ok(None);
        }
        let told = server.and_then(|server| server.authority.clone());
        let (from, pem) = match (&self.authority, told) {
            (Some(path), _) => {
                let path = match path.is_dir() {
                    true => path.join("authority.pem"),
                    false => path.clone(),
                };
                let from = path.display().to_string();
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|error| Failure::usage(format!("{from}: {error}")))?;
                (from, text)
            }
            (None, Some(pem)) => ("our own server".to_owned(), pem),
            (None, None) => {
                return Err(Failure::usage(
                    "found --tls and --target, expected --authority FILE too: the certificate of who vouches for the target",
                ));
            }
        };
        let config = tls::held_to(&pem)
            .map_err(|error| Failure::usage(format!("--authority: {from}: {error}")))?;
        let name = match &self.tls_name {
            None => tls::server_name(target),
            Some(name) => name.clone().try_into().map_err(|_| {
                Failure::usage(format!(
                    "--tls-name: found \"{name}\", expected a host name or an IP address"
                ))
            })?,
        };
        Ok(Some(Believed { config, name }))
    }

    fn target(&self, server: Option<&Server>) -> SocketAddr {
        let own = server.map(|server| server.addr);
        self.target
            .or(own)
            .expect("without a target there is a server")
    }
}

/// Whether so many connections may be open here, beside what else is.
pub fn check_open_files(connections: u64) -> Result<(), Failure> {
    let (allowed, needed) = (machine::open_files(), connections + OTHER_FILES);
    match allowed >= needed {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Unavailable,
            format!(
                "found at most {allowed} open files allowed, expected {needed} for {connections} connections: raise the limit (ulimit -Hn), or take fewer"
            ),
        )),
    }
}

/// Files that are open beside connections.
const OTHER_FILES: u64 = 64;

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

pub fn addr(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("found \"{text}\", expected an address such as 127.0.0.1:8080");
    let mut found = text.to_socket_addrs().map_err(|_| wrong())?;
    found.next().ok_or_else(wrong)
}

/// `report=25,join=6,leave=4`; what is not named stays as it is usual.
fn questions(text: &str) -> Result<Mix, String> {
    let wrong = || {
        format!(
            "found \"{text}\", expected percents such as report=25,join=6,leave=4, together at most 100"
        )
    };
    let mut mix = Mix::default();
    for part in text.split(',') {
        let (kind, percent) = part.split_once('=').ok_or_else(wrong)?;
        let into = match kind.trim() {
            "report" => &mut mix.report,
            "join" => &mut mix.join,
            "leave" => &mut mix.leave,
            _ => return Err(wrong()),
        };
        let percent: u8 = percent.trim().parse().map_err(|_| wrong())?;
        *into = percent.into();
    }
    match mix.report + mix.join + mix.leave {
        0..=100 => Ok(mix),
        _ => Err(wrong()),
    }
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
