//! `serve`: a tracker, contents or call flows at full speed, from loops that share a port. The functions that answer are
//! those of the reference nodes; what is around them here is as little as can be.

use std::{
    io,
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
            speak::{self, SipPorts, Speaker},
            spoken::CallFlowSpeaker,
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
    trace::ListenTransport,
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

    /// Where to answer SIP too: a tracker on ISC, of the same list; an Edge or Origin Server on Gm
    #[arg(long, value_name = "ADDR")]
    sip: Option<SocketAddr>,

    /// T1 of SIP: how soon what is not answered over UDP is said again, and a 64th of how long it is remembered
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = time)]
    t1: Duration,

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

    /// Break this rule: of those only that are a matter of set-up or policy; of holders in call flows, any
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
    /// An Edge Server and the Tracker AS by SIP, over UDP and TCP on one port, as a CSCF shows them
    #[value(name = "callflow")]
    CallFlow,
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
        // As many connections as the machine lets us have.
        machine::open_files();
        if self.tls && (self.role == Served::CallFlow || self.sip.is_some()) {
            return Err(Failure::usage(
                "found --tls and SIP, expected one of them: SIP is said over UDP and TCP here",
            ));
        }
        let secured = self.secured(self.listen)?;
        let authority = secured.as_ref().map(|(_, authority)| authority.as_str());
        let unavailable =
            |error: io::Error| Failure::new(Exit::Unavailable, format!("{}: {error}", self.listen));
        let sip_unavailable =
            |error: io::Error| Failure::new(Exit::Unavailable, format!("--sip: {error}"));
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
        let mut stopped = Stopped::default();
        if self.role == Served::CallFlow {
            let ports = SipPorts::bind(self.listen, loops.cores.len()).map_err(unavailable)?;
            self.call_flow(ports, &loops, &mut stopped)?;
            stopped.counted = loops.counters.counted();
            print(&format!("stopped {}\n", json!(stopped)))?;
            return Ok(Exit::Good);
        }
        let listeners = Listeners::bind(self.listen, loops.cores.len()).map_err(unavailable)?;
        let addr = listeners.addr()?;
        let sip = self
            .sip
            .map(|addr| SipPorts::bind(addr, loops.cores.len()))
            .transpose()
            .map_err(sip_unavailable)?;
        let sip_addr = sip.as_ref().map(SipPorts::addr).transpose()?;
        // What is said by SIP is counted by itself.
        let sip_loops = Loops {
            counters: Arc::new(Counters::default()),
            ..loops.clone()
        };
        let setup = self.setup(self.role.role(), self.deviation)?;
        match self.role {
            // Call flows are served above.
            Served::Tracker | Served::CallFlow => {
                let population = self.filled.population(self.seed);
                let before = Usage::own().unwrap_or_default().memory;
                let list = Arc::new(SharedList::filled(&setup, &population));
                let taken = Usage::own()
                    .unwrap_or_default()
                    .memory
                    .saturating_sub(before);
                let each = taken / u64::from(population.peers.max(1));
                let ready = json!({
                    "role": "tracker", "listen": {"UT": addr.to_string()}, "sip": sip_addr,
                    "peers": list.tracked(), "swarms": population.swarms, "octets-per-peer": each,
                    "authentication": "asserted", "loops": loops.cores.len(), "authority": authority,
                });
                print(&format!("ready {ready}\n"))?;
                watch(&loops);
                let clock = loops.clock;
                let service =
                    || TrackerService::new(&setup, addr, list.clone(), move || clock.now());
                let speaker = |local: SocketAddr, transport| {
                    CallFlowSpeaker::new(local, transport, None, Some((&setup, &list)), clock)
                };
                beside(sip, &sip_loops, speaker, || {
                    serve::run(listeners, &loops, service)
                })?;
                stopped.tracked = Some(list.tracked());
                stopped.expired = Some(list.expired());
                stopped.longest_sweep = Some(list.longest_sweep().as_secs_f64() * 1e6);
            }
            Served::EdgeServer | Served::OriginServer => {
                let library = self.library.library(self.seed);
                let shelf = Arc::new(shelf_of(&setup.contents));
                let ready = json!({
                    "role": self.role.role().word(), "listen": {"DATA_HTTP": addr.to_string()},
                    "sip": sip_addr, "contents": library.contents, "size": library.size,
                    "piece": library.piece, "authentication": "none", "loops": loops.cores.len(),
                    "authority": authority,
                });
                print(&format!("ready {ready}\n"))?;
                watch(&loops);
                let service = || ContentService::new(shelf.clone(), setup.policy.serving.clone());
                let speaker = |local: SocketAddr, transport| {
                    CallFlowSpeaker::new(local, transport, Some((&setup, None)), None, loops.clock)
                };
                beside(sip, &sip_loops, speaker, || {
                    serve::run(listeners, &loops, service)
                })?;
            }
        }
        stopped.sip = self.sip.map(|_| sip_loops.counters.counted());
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

    /// An Edge Server and the Tracker AS behind one port.
    fn call_flow(
        &self,
        ports: SipPorts,
        loops: &Loops,
        stopped: &mut Stopped,
    ) -> Result<(), Failure> {
        let addr = ports.addr()?;
        // A holder here is a node, and may break any rule of a holder; the tracker's door only what is a matter of
        // set-up.
        let of_holders = |deviation: &&Deviation| deviation.roles.contains(&Role::EdgeServer);
        let bent = self.deviation.filter(of_holders);
        let of_trackers = self.deviation.filter(|_| bent.is_none());
        let edge = self.setup(Role::EdgeServer, None)?;
        let tracker = self.setup(Role::Tracker, of_trackers)?;
        let population = self.filled.population(self.seed);
        let library = self.library.library(self.seed);
        let list = Arc::new(SharedList::filled(&tracker, &population));
        let ready = json!({
            "role": "callflow", "listen": {"SIP": addr.to_string()},
            "peers": list.tracked(), "swarms": population.swarms, "contents": library.contents,
            "t1": self.t1.as_secs_f64(), "authentication": "asserted", "loops": loops.cores.len(),
        });
        print(&format!("ready {ready}\n"))?;
        watch(loops);
        speak::run(ports, loops, |transport| {
            CallFlowSpeaker::new(
                addr,
                transport,
                Some((&edge, bent)),
                Some((&tracker, &list)),
                loops.clock,
            )
        })?;
        stopped.tracked = Some(list.tracked());
        stopped.expired = Some(list.expired());
        stopped.longest_sweep = Some(list.longest_sweep().as_secs_f64() * 1e6);
        Ok(())
    }

    /// What the reference node of that role is told.
    fn setup(&self, role: Role, deviation: Option<&Deviation>) -> Result<Setup, Failure> {
        let suite = self.suites.load()?;
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
        let t1 = u32::try_from(self.t1.as_millis())
            .unwrap_or(u32::MAX)
            .max(1);
        (setup.policy.ua.t1_millis, setup.policy.tracker.t1_millis) = (t1, t1);
        setup.contents = Arc::new(match role {
            Role::Tracker => Vec::new(),
            _ => self.library.library(self.seed).contents().collect(),
        });
        let holds = setup.contents.iter().map(|content| {
            let all = content.pieces.iter().map(|piece| piece.n).collect();
            (content.fixture.clone(), all)
        });
        setup.holds = holds.collect();
        if let Some(deviation) = deviation
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
            Served::CallFlow => Role::EdgeServer,
        }
    }
}

/// Serves, and beside it speaks SIP on its own ports, if there are any.
fn beside<S: Speaker>(
    ports: Option<SipPorts>,
    loops: &Loops,
    speaker: impl Fn(SocketAddr, ListenTransport) -> S + Sync,
    serve: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let Some(ports) = ports else {
        return serve();
    };
    let addr = ports.addr()?;
    thread::scope(|scope| {
        let speaking =
            scope.spawn(|| speak::run(ports, loops, |transport| speaker(addr, transport)));
        serve()?;
        let spoken = speaking.join();
        spoken.unwrap_or_else(|_| Err(io::Error::other("a loop panicked")))
    })
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
