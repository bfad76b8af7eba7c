//! `serve`: a tracker or contents at full speed, from loops that share a port. The functions that answer are
//! those of the reference nodes; what is around them here is as little as can be.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{
    Exit, Failure, node::input_closes, print, run::deviation, selection::Suites, signal::Stop,
    sut::take_authority,
};
pub use crate::load::units::time;
use crate::{
    load::{
        chunks::Library,
        engine::{
            clock::Clock,
            machine::{self, Usage},
            serve::{self, Counters, Listeners, Loops, Stall},
            served::{ContentService, SharedList, TrackerService, shelf_of},
        },
        population::Population,
        trial::Stopped,
        units::size,
    },
    net::tls::{Card, Tls, TlsError, authority},
    node::{Setup, deviation::Deviation},
    run::parts,
    spec::{Options, Role, Worth},
    suite::{Ground, Instance},
    wire::frame::NodeName,
};

#[derive(Debug, Args)]
pub struct Serve {
    /// What to serve
    #[arg(value_enum, value_name = "ROLE")]
    role: Served,

    /// Where to listen; port 0 takes a free one, which the ready line tells
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Cores to run on, one loop each [default: all]
    #[arg(long, value_name = "CORE,…", value_delimiter = ',')]
    cores: Vec<usize>,

    #[command(flatten)]
    filled: Filled,

    #[command(flatten)]
    library: LibraryArgs,

    /// Seconds after which a tracker forgets a visitor that is silent
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u32).range(1..))]
    track_timer: u32,

    /// The seed of everything that is made up
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Speak TLS, with a certificate of an authority made now, which the ready line tells
    #[arg(long)]
    tls: bool,

    /// Keep that authority in this folder (authority.pem, authority.key), or take the one that is kept there
    #[arg(long, value_name = "DIR", requires = "tls")]
    authority: Option<PathBuf>,

    /// Break this rule: of those only that are a matter of set-up or policy
    #[arg(long, value_name = "NAME", value_parser = deviation)]
    deviation: Option<&'static Deviation>,

    /// Stop for so long again and again, as a server does that collects garbage
    #[arg(long, value_name = "TIME", value_parser = time)]
    stall: Option<Duration>,

    /// How often it stops
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time, requires = "stall")]
    stall_every: Duration,

    #[command(flatten)]
    suites: Suites,
}

/// What can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Served {
    /// The Tracker AS on Ut: PPSTP over HTTP/1.1, behind an authentication proxy
    Tracker,
    /// An Edge Server: ranges and whole objects
    EdgeServer,
    /// An Origin Server: the same
    OriginServer,
}

/// Who a tracker knows from the beginning.
#[derive(Clone, Copy, Debug, Args)]
pub struct Filled {
    /// Peers a tracker knows from the beginning, and never forgets
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub peers: u32,

    /// Swarms they are spread over [default: one for every 200 peers]
    #[arg(long, value_name = "N")]
    pub swarms: Option<u32>,
}

impl Filled {
    pub fn population(&self, seed: u64) -> Population {
        Population {
            peers: self.peers,
            swarms: self.swarms.unwrap_or(self.peers.div_ceil(200)).max(1),
            seed,
        }
    }
}

/// Which contents there are.
#[derive(Clone, Copy, Debug, Args)]
pub struct LibraryArgs {
    /// Contents that are served
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub contents: u32,

    /// Octets of each: 16MiB, 1MiB, 65536
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size)]
    pub size: u64,

    /// Octets asked for at a time; as much as a content has: whole objects, without a range
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size)]
    pub piece: u64,
}

impl LibraryArgs {
    pub fn library(&self, seed: u64) -> Library {
        Library {
            contents: self.contents,
            size: self.size,
            piece: self.piece.min(self.size),
            seed,
        }
    }
}

impl Serve {
    pub fn run(self) -> Result<Exit, Failure> {
        let cores = match self.cores.is_empty() {
            true => machine::cores(),
            false => self.cores.clone(),
        };
        let unavailable = |error: std::io::Error| {
            Failure::new(Exit::Unavailable, format!("{}: {error}", self.listen))
        };
        // As many connections as the machine lets us have.
        machine::open_files();
        let listeners = Listeners::bind(self.listen, cores.len()).map_err(unavailable)?;
        let addr = listeners.addr()?;
        let secured = self.secured(addr)?;
        let authority = secured.as_ref().map(|(_, authority)| authority.as_str());
        let loops = Loops {
            cores,
            clock: Clock::start(),
            stall: self.stall.map(|pause| Stall {
                pause,
                every: self.stall_every,
            }),
            tls: secured.as_ref().map(|(config, _)| config.clone()),
            stop: Arc::new(AtomicBool::new(false)),
            counters: Arc::new(Counters::default()),
        };
        let setup = self.setup()?;
        let mut stopped = Stopped::default();
        match self.role {
            Served::Tracker => {
                let population = self.filled.population(self.seed);
                let before = Usage::own().unwrap_or_default().memory;
                let list = Arc::new(SharedList::filled(&setup, &population));
                let taken = Usage::own()
                    .unwrap_or_default()
                    .memory
                    .saturating_sub(before);
                let each = taken / u64::from(population.peers.max(1));
                let ready = json!({
                    "role": "tracker", "listen": {"UT": addr.to_string()},
                    "peers": list.tracked(), "swarms": population.swarms, "octets-per-peer": each,
                    "authentication": "asserted", "loops": loops.cores.len(), "authority": authority,
                });
                print(&format!("ready {ready}\n"))?;
                watch(&loops);
                let clock = loops.clock;
                let service =
                    || TrackerService::new(&setup, addr, list.clone(), move || clock.now());
                serve::run(listeners, &loops, service)?;
                stopped.tracked = Some(list.tracked());
                stopped.expired = Some(list.expired());
                stopped.longest_sweep = Some(list.longest_sweep().as_secs_f64() * 1e6);
            }
            Served::EdgeServer | Served::OriginServer => {
                let library = self.library.library(self.seed);
                let shelf = Arc::new(shelf_of(&setup.contents));
                let ready = json!({
                    "role": self.role.role().word(), "listen": {"DATA_HTTP": addr.to_string()},
                    "contents": library.contents, "size": library.size, "piece": library.piece,
                    "authentication": "none", "loops": loops.cores.len(), "authority": authority,
                });
                print(&format!("ready {ready}\n"))?;
                watch(&loops);
                let service = || ContentService::new(shelf.clone(), setup.policy.serving.clone());
                serve::run(listeners, &loops, service)?;
            }
        }
        stopped.counted = loops.counters.counted();
        print(&format!("stopped {}\n", json!(stopped)))?;
        Ok(Exit::Good)
    }

    /// What makes connections secure, and the authority that vouches for us as PEM; `None` without TLS.
    fn secured(
        &self,
        addr: SocketAddr,
    ) -> Result<Option<(Arc<rustls::ServerConfig>, String)>, Failure> {
        if !self.tls {
            return Ok(None);
        }
        if let Some(folder) = &self.authority {
            take_authority(folder)?;
        }
        let node = NodeName::from("serve");
        let card = Card {
            host: "localhost".to_owned(),
            ip: addr.ip(),
            worth: Worth::Good,
        };
        let fault = |error: TlsError| Failure::new(Exit::Fault, format!("--tls: {error}"));
        let (authority, _) = authority().map_err(fault)?;
        let tls = Tls::issued([(node.clone(), card)].into()).map_err(fault)?;
        let config = tls.acceptor(&node).map_err(fault)?.config().clone();
        Ok(Some((config, authority)))
    }

    /// What the reference node of that role is told.
    fn setup(&self) -> Result<Setup, Failure> {
        let suite = self.suites.load()?;
        let role = self.role.role();
        let topology = suite.topology("registered").or(suite.topologies.first());
        let topology = topology.ok_or_else(|| Failure::usage("found no topology, expected one"))?;
        let instance = Instance::bare(topology, Options::default(), 0);
        let parts = parts(&suite, &instance, Ground::Loopback { network: 0 });
        let part = parts.into_iter().find(|part| part.place.role == role);
        let part = part.ok_or_else(|| {
            let (name, role) = (&topology.name, role.word());
            Failure::usage(format!("topology {name}: found no {role}, expected one"))
        })?;
        let mut setup = part.setup;
        setup.seed = self.seed;
        setup.policy.tracker.track_timeout = self.track_timer;
        setup.contents = Arc::new(match self.role {
            Served::Tracker => Vec::new(),
            Served::EdgeServer | Served::OriginServer => {
                self.library.library(self.seed).contents().collect()
            }
        });
        if let Some(deviation) = self.deviation
            && !(deviation.roles.contains(&role) && deviation.set_up(&mut setup))
        {
            return Err(Failure::usage(format!(
                "--deviation: found {}, expected one of {} that is a matter of set-up; peerproof node {} takes every other",
                deviation.name,
                role.word(),
                role.word()
            )));
        }
        Ok(setup)
    }
}

impl Served {
    fn role(self) -> Role {
        match self {
            Served::Tracker => Role::Tracker,
            Served::EdgeServer => Role::EdgeServer,
            Served::OriginServer => Role::OriginServer,
        }
    }
}

/// Stops the loops on a signal, or when whoever started us is gone.
fn watch(loops: &Loops) {
    let (signals, stop) = (Stop::on_signals(), loops.stop.clone());
    let mut closed = input_closes();
    thread::spawn(move || {
        while !signals.is_asked() && closed.try_recv().is_err() {
            thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
    });
}
