//! `users`: a population in a closed loop, on one journey after the other over Ut and the chunk path.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use super::{
    Exit, Failure,
    bench::{Drawn, Limits, Terms, addr},
    serve::{Filled, time},
};

#[derive(Debug, Args)]
pub struct Users {
    /// Users that are there at a time
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    users: u32,

    /// Users that come a second, until all are there
    #[arg(long, value_name = "RATE", default_value_t = 50.0)]
    hatch_rate: f64,

    /// How long is measured, from when all are there
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    duration: Duration,

    /// How long a user thinks before each question; 100ms..500ms: drawn evenly between
    #[arg(long, value_name = "TIME", default_value = "100ms..500ms", value_parser = think)]
    think: Think,

    /// Pieces fetched on each journey
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    fetches: u32,

    /// Where Ut is spoken [default: a tracker of our own, started for it on other cores]
    #[arg(long, value_name = "ADDR", value_parser = addr, requires = "edge")]
    tracker: Option<SocketAddr>,

    /// Where the pieces are [default: an edge server of our own, likewise]
    #[arg(long, value_name = "ADDR", value_parser = addr, requires = "tracker")]
    edge: Option<SocketAddr>,

    /// Cores for the users, one thread each [default: the second half]
    #[arg(long, value_name = "CORE,…", value_delimiter = ',')]
    cores: Vec<usize>,

    /// Cores for the servers of our own [default: the first half]
    #[arg(
        long,
        value_name = "CORE,…",
        value_delimiter = ',',
        conflicts_with = "tracker"
    )]
    server_cores: Vec<usize>,

    /// More arguments for the tracker of our own: --serve-tracker=--stall=200ms
    #[arg(
        long,
        value_name = "ARG",
        conflicts_with = "tracker",
        allow_hyphen_values = true
    )]
    serve_tracker: Vec<String>,

    /// More arguments for the edge server of our own
    #[arg(
        long,
        value_name = "ARG",
        conflicts_with = "tracker",
        allow_hyphen_values = true
    )]
    serve_edge: Vec<String>,

    #[command(flatten)]
    filled: Filled,

    /// Contents that are served; each is the content of as many swarms
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    contents: u32,

    /// The seed of everything that is made up, think times included
    #[arg(long, default_value_t = 0)]
    seed: u64,

    #[command(flatten)]
    terms: Terms,

    /// Read one answer in so many whole, and hold it to what is known to be true; 1: every piece to its digest
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    read_whole: u64,

    /// How late users may ask (99.9th percentile) before there is no figure
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = time)]
    allowed_lag: Duration,

    #[command(flatten)]
    limits: Limits,

    /// The folder for bench.json and intervals.hlog [default: peerproof-out/users-<time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Also write these reports, separated by commas
    #[arg(long, value_enum, value_name = "FORMAT,…", value_delimiter = ',')]
    report: Vec<Drawn>,
}

/// From a time to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Think(Duration, Duration);

fn think(text: &str) -> Result<Think, String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let (least, most) = (time(least)?, time(most)?);
    match least <= most {
        true => Ok(Think(least, most)),
        false => Err(format!(
            "found \"{text}\", expected the shorter time before the longer, such as 100ms..500ms"
        )),
    }
}

#[cfg(not(feature = "users"))]
impl Users {
    pub fn run(self) -> Result<Exit, Failure> {
        Err(Failure::usage(
            "found users, but this peerproof was built without closed-loop populations: build it with --features users, \
             or measure in an open loop with peerproof bench",
        ))
    }
}

#[cfg(feature = "users")]
mod driven {
    use std::{
        sync::{Arc, atomic::Ordering},
        thread,
    };

    use super::*;
    use crate::{
        cli::{
            bench::{LiveLine, check_open_files, draw, judged, new_folder, not_measured},
            signal::Stop,
            tell, write_file,
        },
        load::{
            chunks::Library,
            engine::{bench::clock_and_stop, child::Server, machine, users},
            population::{PIECE, PIECES},
            profile::{Profile, Shape},
            schedule::{Law, Share},
            trial::Plan,
            users::{CAVEAT, ClosedLoop, allowed},
            validity::Allowed,
        },
        report::bench as drawing,
    };

    impl Users {
        pub fn run(self) -> Result<Exit, Failure> {
            self.check()?;
            let out = new_folder(self.out.as_ref(), "users")?;
            // Goose wants Ctrl-C for itself, once in a process: it does not get it.
            let _ = ctrlc::set_handler(|| {});
            let stop = Stop::on_signals();
            let library = Library {
                contents: self.contents,
                size: u64::from(PIECES) * PIECE,
                piece: PIECE,
                seed: self.seed,
            };
            let servers = self.servers(&library)?;
            let addr = |given: Option<SocketAddr>, index: usize| {
                let own = servers.get(index).map(|server| server.addr);
                given
                    .or(own)
                    .expect("without addresses there are servers: see above")
            };
            let (tracker, edge) = (addr(self.tracker, 0), addr(self.edge, 1));
            let crowd = ClosedLoop {
                users: self.users,
                hatch_rate: self.hatch_rate,
                think: [self.think.0.as_secs_f64(), self.think.1.as_secs_f64()],
                fetches: self.fetches,
                driver: "goose 0.19".to_owned(),
                caveat: CAVEAT.to_owned(),
            };
            let (_, halt) = clock_and_stop();
            let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let (asked, halted, ended) = (stop.clone(), halt.clone(), over.clone());
            thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    if asked.is_asked() {
                        halted.store(true, Ordering::Relaxed);
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let measured = users::Users {
                plan: self.plan(&crowd, &servers, library, tracker, edge),
                crowd,
                population: self.filled.population(self.seed),
                library,
                track_timer: Duration::from_secs(self.terms.track_timer.into()),
                tracker,
                edge,
                servers,
                duration: self.duration,
                stop: halt,
            };
            let log = out.join("intervals.hlog");
            let mut line = LiveLine::new();
            let result = users::run(measured, Some(&log), |live| line.show(live));
            over.store(true, Ordering::Relaxed);
            line.clear();
            let target = format!("{tracker}, {edge}");
            let (trial, stopped) = result.map_err(|error| not_measured(&target, &error))?;
            let text = serde_json::to_string_pretty(&trial).map_err(std::io::Error::from)?;
            write_file(&out.join("bench.json"), text + "\n")?;
            draw(&trial, &out, &self.report)?;
            tell(&drawing::text(&trial, stopped.first()))?;
            tell(&format!("{}\n", out.join("bench.json").display()))?;
            if stop.is_asked() {
                return Ok(Exit::Interrupted);
            }
            judged(&trial)
        }

        fn check(&self) -> Result<(), Failure> {
            if self.duration < Duration::from_secs(1) {
                return Err(Failure::usage(
                    "found a --duration of less than 1 s, expected one long enough to measure anything",
                ));
            }
            if !(self.hatch_rate.is_finite() && self.hatch_rate >= 0.1) {
                return Err(Failure::usage(format!(
                    "found --hatch-rate {}, expected at least 0.1 users a second",
                    self.hatch_rate
                )));
            }
            let silence = self.think.1 * (self.fetches + 1);
            if silence >= Duration::from_secs(self.terms.track_timer.into()) {
                return Err(Failure::usage(format!(
                    "found up to {:.0} s of silence towards the tracker ({} fetches, each after up to {:.1} s), expected less than its --track-timer of {} s: it would forget the user",
                    silence.as_secs_f64(),
                    self.fetches,
                    self.think.1.as_secs_f64(),
                    self.terms.track_timer
                )));
            }
            check_open_files(u64::from(self.users) * 2)?;
            let all = machine::cores();
            let mut named = self.cores.iter().chain(&self.server_cores);
            match named.find(|core| !all.contains(core)) {
                None => Ok(()),
                Some(core) => Err(Failure::usage(format!(
                    "found core {core}, expected some of this machine's: {all:?}"
                ))),
            }
        }

        /// A tracker and an edge server of our own, in this order; none if there are others.
        fn servers(&self, library: &Library) -> Result<Vec<Server>, Failure> {
            if self.tracker.is_some() {
                return Ok(Vec::new());
            }
            let all = machine::cores();
            let cores = match (self.server_cores.is_empty(), all.len()) {
                (false, _) => self.server_cores.clone(),
                (true, 2..) => all[..all.len() / 2].to_vec(),
                (true, _) => all,
            };
            let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
            let population = self.filled.population(self.seed);
            let common = |role: &str| {
                [
                    "--seed",
                    &self.seed.to_string(),
                    "--cores",
                    &cores.join(","),
                ]
                .iter()
                .fold(vec![role.to_owned()], |mut args, arg| {
                    args.push((*arg).to_owned());
                    args
                })
            };
            let mut tracker = common("tracker");
            let mut edge = common("edge-server");
            for (name, value) in [
                ("--peers", population.peers.to_string()),
                ("--swarms", population.swarms.to_string()),
                ("--track-timer", self.terms.track_timer.to_string()),
            ] {
                tracker.extend([name.to_owned(), value]);
            }
            for (name, value) in [
                ("--contents", library.contents.to_string()),
                ("--size", library.size.to_string()),
                ("--piece", library.piece.to_string()),
            ] {
                edge.extend([name.to_owned(), value]);
            }
            tracker.extend(self.serve_tracker.iter().cloned());
            edge.extend(self.serve_edge.iter().cloned());
            let start = |args| {
                let server = Server::start(args);
                server.map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))
            };
            Ok(vec![start(tracker)?, start(edge)?])
        }

        fn cores(&self) -> Vec<usize> {
            if !self.cores.is_empty() {
                return self.cores.clone();
            }
            let all = machine::cores();
            match (self.tracker, all.len()) {
                (None, 2..) => all[all.len() / 2..].to_vec(),
                _ => all,
            }
        }

        fn plan(
            &self,
            crowd: &ClosedLoop,
            servers: &[Server],
            library: Library,
            tracker: SocketAddr,
            edge: SocketAddr,
        ) -> Plan {
            let cores = self.cores();
            let served: Vec<String> = servers.iter().map(|s| s.args.join(" ")).collect();
            Plan {
                load: "users".to_owned(),
                target: match servers.is_empty() {
                    true => format!("{tracker} and {edge}"),
                    false => "serve".to_owned(),
                },
                served_as: (!served.is_empty()).then(|| served.join("; ")),
                profile: Profile::new(
                    Shape::Constant,
                    0.0,
                    0.0,
                    self.terms.warm_up + self.duration,
                ),
                law: Law::default(),
                seed: self.seed,
                share: Share::ALL,
                warm_up: self.terms.warm_up.as_secs_f64(),
                lanes: cores.len(),
                cores,
                connections: self.users as usize * 2,
                pipeline: 1,
                limit: self.terms.limit.as_secs_f64(),
                patience: self.terms.patience.as_secs_f64(),
                read_whole: self.read_whole,
                allowed: Allowed {
                    lag: self.allowed_lag.as_secs_f64(),
                    server_starved: self.terms.allowed_starvation / 100.0,
                    ..allowed()
                },
                population: Some(self.filled.population(self.seed)),
                mix: None,
                library: Some(library),
                call_flow: None,
                closed_loop: Some(crowd.clone()),
                goal: self.limits.goal(),
                tls: false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_think_is_one_or_two() {
        let millis = Duration::from_millis;
        assert_eq!(Ok(Think(millis(5), millis(5))), think("5ms"));
        assert_eq!(Ok(Think(millis(5), millis(2000))), think("5ms..2s"));
        assert!(think("2s..5ms").is_err() && think("5..6").is_err());
    }
}
