//! The guests of a run: started when a scenario needs them, told where everybody is, pushed, watched and stopped.
//! Nothing here waits but for a reset, so that our own nodes can answer a guest that is just starting.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

#[cfg(feature = "containers")]
use super::container::Engine;
use super::{
    body::{Body, Ending, ReadyLine, Room},
    contract::{Told, control_addr, lay_over_listeners, variable_name},
    guest::{Addresses, Guest, Lifetime, Ready, Way},
    process::Process,
    trigger::{Order, Pushed, Trigger, run_to_end},
};
use crate::{
    io::Action,
    net::Claim,
    node::Setup,
    suite::{Ground, Instance, Suite, Topology, Verb},
    trace::{ListenTransport, Listener},
    wire::frame::NodeName,
};

/// The guests of a run.
#[derive(Debug)]
pub struct Guests {
    all: Vec<Guest>,
    /// Where containers run, if a guest is one.
    #[cfg(feature = "containers")]
    engine: Option<Engine>,
    /// Where the files are written that guests are told of.
    scratch: PathBuf,
    /// What their logs may take.
    room: Room,
    /// Set when the run is to end: nothing is waited for then.
    stop: Arc<AtomicBool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<String, Running>,
    /// Where the logs of the scenario go that is being played.
    logs: PathBuf,
    /// Where everybody is, if a guest outlives a scenario: nobody may move then.
    network: Option<(Ground, Option<Claim>)>,
    /// Guests that have sent something at some time.
    heard: Vec<NodeName>,
    /// Guests that were ready and took part in a scenario.
    took_part: Vec<String>,
    /// Why a guest is given up, by its name.
    gone: BTreeMap<String, String>,
    /// One was no longer waited for.
    is_interrupted: bool,
    /// How often one did not become ready, in a row.
    misses: BTreeMap<String, u32>,
}

#[derive(Debug)]
struct Running {
    /// None if it ran already.
    body: Option<Box<dyn Body>>,
    told: Told,
    since: Instant,
    is_ready: bool,
    /// Somebody ended it or froze it for the scenario's sake.
    is_spent: bool,
    /// It knows nothing of what was before this scenario, as far as we can have it so.
    is_reset: bool,
    line: ReadyLine,
    listeners: Vec<Listener>,
    /// Pushes that went wrong.
    failed: Arc<Mutex<Vec<String>>>,
    /// Pushes that have not been answered yet.
    orders: Arc<AtomicUsize>,
}

/// Where a guest is, if not where the topology has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    pub ip: Option<IpAddr>,
    pub listeners: Vec<Listener>,
}

/// Why a scenario cannot be played with a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It says so itself, or nobody can push it.
    Unsupported(String),
    /// It does not start, or does not get ready.
    Unavailable(String),
}

/// Something about a guest that no frame shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Ended {
        node: NodeName,
        ending: Ending,
    },
    /// It could not be pushed.
    NotPushed {
        node: NodeName,
        why: String,
    },
}

/// How often in a row a guest that was ready before may fail to be.
const MISSES: u32 = 3;
const PROBE: Duration = Duration::from_millis(50);
/// How soon one that is not there yet is looked for again.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a reset hook may take.
const RESET: Duration = Duration::from_secs(30);

impl Guests {
    /// Guests of the run of this id; files are written into `scratch`, and nothing is waited for once `stop` is set. The
    /// error says what cannot be done, and how it could.
    pub fn new(
        all: Vec<Guest>,
        scratch: &Path,
        run: &str,
        stop: Arc<AtomicBool>,
    ) -> Result<Guests, String> {
        Guests::check(&all)?;
        let mut guests = Guests {
            all,
            #[cfg(feature = "containers")]
            engine: None,
            scratch: scratch.to_owned(),
            room: Room::default(),
            stop,
            state: Mutex::default(),
        };
        guests.find_engine(run);
        Ok(guests)
    }

    /// Whether these guests can play together here. The error says what cannot be done, and how it could.
    pub fn check(all: &[Guest]) -> Result<(), String> {
        for (number, guest) in all.iter().enumerate() {
            #[cfg(not(feature = "containers"))]
            if let Way::Image(image) = &guest.way {
                return Err(format!(
                    "{}: found image:{image}, but this peerproof was built without containers: build it with \
                     --features containers, or start the container yourself and give its address",
                    guest.name
                ));
            }
            let twice = all[..number]
                .iter()
                .find_map(|other| other.nodes.iter().find(|node| guest.plays(node.as_str())));
            if let Some(node) = twice {
                return Err(format!("{}: {node} has a guest already", guest.name));
            }
        }
        Ok(())
    }

    /// Without an engine, guests that need one are given up.
    #[cfg(feature = "containers")]
    fn find_engine(&mut self, run: &str) {
        let in_containers = |guest: &&Guest| matches!(guest.way, Way::Image(_));
        let mut in_containers = self.all.iter().filter(in_containers).peekable();
        if in_containers.peek().is_none() {
            return;
        }
        match Engine::find(run) {
            Ok(engine) => self.engine = Some(engine),
            Err(why) => {
                let mut state = self.state();
                for guest in in_containers {
                    let why = format!("{}: {why}", guest.name);
                    state.gone.insert(guest.name.clone(), why);
                }
            }
        }
    }

    #[cfg(not(feature = "containers"))]
    fn find_engine(&mut self, _run: &str) {}

    /// Whether a guest plays this node.
    pub fn plays(&self, node: &str) -> bool {
        self.all.iter().any(|guest| guest.plays(node))
    }

    /// Whether a node is played by a guest that is started and listens where it is told to.
    pub fn starts(&self, node: &str) -> bool {
        let mut guests = self.all.iter().filter(|guest| guest.plays(node));
        guests.any(|guest| {
            guest.addresses == Addresses::Assigned && !matches!(guest.way, Way::Address { .. })
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the logs of the next scenario go.
    pub fn log_in(&self, folder: &Path) {
        self.state().logs = folder.to_owned();
    }

    /// The network that all have to stay in, if a guest outlives a scenario or has an address of its own.
    pub fn network(&self) -> Option<Ground> {
        self.state().network.as_ref().map(|(ground, _)| *ground)
    }

    /// Stays in this network, if a guest outlives a scenario; else gives the claim back.
    pub fn stay_in(&self, ground: Ground, claim: Option<Claim>) -> Option<Claim> {
        let outlives = |guest: &Guest| {
            matches!(guest.way, Way::Address { .. }) || guest.lifetime != Lifetime::Scenario
        };
        match self.all.iter().any(outlives) {
            true => {
                self.state().network = Some((ground, claim));
                None
            }
            false => claim,
        }
    }

    /// Whether a guest has to say where it is before anybody else can be told.
    pub fn choose_their_addresses(&self, topology: &Topology) -> bool {
        let mut all = self.present(topology);
        all.any(|guest| guest.addresses == Addresses::Own)
    }

    fn present<'a>(&'a self, topology: &'a Topology) -> impl Iterator<Item = &'a Guest> {
        let there = |guest: &&Guest| {
            guest
                .nodes
                .iter()
                .any(|n| topology.node(n.as_str()).is_some())
        };
        self.all.iter().filter(there)
    }

    /// Where a guest's node listens, given where the topology has it.
    pub fn whereabouts(&self, node: &str, assigned: &[Listener]) -> Whereabouts {
        let mut listeners = assigned.to_vec();
        let unmoved = |listeners| Whereabouts {
            ip: None,
            listeners,
        };
        let Some(guest) = self.all.iter().find(|guest| guest.plays(node)) else {
            return unmoved(listeners);
        };
        match (&guest.way, guest.addresses) {
            (Way::Address { ip, listeners: at }, _) => {
                for listener in &mut listeners {
                    if let Some(ip) = ip {
                        listener.addr.set_ip(*ip);
                    }
                    let name = super::contract::suffix_of(listener.on, listener.format);
                    let of_node = format!("{}_{name}", variable_name(node));
                    let told = at
                        .iter()
                        .find(|(at, _)| at.is_empty() || *at == name || *at == of_node);
                    if let Some((_, addr)) = told {
                        listener.addr = *addr;
                    }
                }
                Whereabouts { ip: *ip, listeners }
            }
            (_, Addresses::Own) => {
                let state = self.state();
                let Some(running) = state.running.get(&guest.name) else {
                    return unmoved(listeners);
                };
                let of = prefix(guest, node);
                // What is no address was refused when the line came.
                let _ = lay_over_listeners(&running.line.listen, &of, &mut listeners);
                Whereabouts {
                    ip: listeners.first().map(|listener| listener.addr.ip()),
                    listeners,
                }
            }
            _ => unmoved(listeners),
        }
    }

    /// Starts what this instance needs and does not run yet, and ends what it has somebody else in the place of.
    /// `setups` say where everybody is.
    pub fn start(
        &self,
        instance: &Instance,
        topology: &Topology,
        setups: &[Setup],
    ) -> Result<(), Absence> {
        let mut state = self.state();
        for guest in self.present(topology) {
            if let Some(why) = state.gone.get(&guest.name) {
                return Err(Absence::Unavailable(why.clone()));
            }
            if guest.nodes.iter().any(|n| instance.replaces(n.as_str())) {
                state.running.remove(&guest.name);
                continue;
            }
            let started = self.start_one(&mut state, guest, instance, topology, setups);
            if let Err(error) = started {
                let what = match guest.way {
                    Way::Address { .. } => "it could not be told what is played",
                    Way::Command(_) | Way::Image(_) => "it could not be started",
                };
                let why = format!("{}: {what}: {error}", guest.name);
                if self.stop.load(Ordering::Relaxed) {
                    state.is_interrupted = true;
                    return Err(Absence::Unavailable(why));
                }
                state.gone.insert(guest.name.clone(), why.clone());
                return Err(Absence::Unavailable(why));
            }
        }
        Ok(())
    }

    fn start_one(
        &self,
        state: &mut State,
        guest: &Guest,
        instance: &Instance,
        topology: &Topology,
        setups: &[Setup],
    ) -> io::Result<()> {
        let own: Vec<&Setup> = setups
            .iter()
            .filter(|s| guest.plays(s.name.as_str()))
            .collect();
        let Some(first) = own.first() else {
            return Ok(());
        };
        let folder = emptied(&self.scratch.join(&guest.name))?;
        let mut told = Told::to(
            guest.role_word(),
            &own,
            &instance.id(),
            &topology.name,
            &folder,
        )?;
        let ports = first
            .directory
            .nodes
            .get(&first.name)
            .and_then(|node| node.ports);
        let control = control_addr(first.ip, ports);
        told.0.insert("CONTROL".to_owned(), control.to_string());
        let listeners: Vec<Listener> = own
            .iter()
            .flat_map(|setup| setup.listeners.clone())
            .collect();
        if let Some(running) = state.running.get_mut(&guest.name) {
            let is_alive = running.body.as_mut().is_none_or(|b| b.ended().is_none());
            if is_alive && !running.is_spent && !guest.must_restart(&running.told, &told) {
                running.is_reset =
                    reset(guest, running.trigger(guest).as_ref(), &told, &self.stop)?;
                if let Some(body) = &running.body {
                    body.log()
                        .keep_in(&log_file(&state.logs, guest)?, &self.room)?;
                }
                running.told = told;
                running.listeners = listeners;
                return Ok(());
            }
        }
        state.running.remove(&guest.name);
        let is_reset = match &guest.way {
            Way::Address { .. } => self.reset_in_time(guest, &told, &listeners)?,
            Way::Command(_) | Way::Image(_) => true,
        };
        let body: Option<Box<dyn Body>> = match &guest.way {
            Way::Address { .. } => None,
            Way::Command(command) => Some(Box::new(Process::start(command, &environment(&told))?)),
            #[cfg(feature = "containers")]
            Way::Image(image) => match &self.engine {
                Some(engine) => {
                    let variables = environment(&told);
                    Some(Box::new(engine.start(
                        &guest.name,
                        image,
                        variables,
                        &folder,
                    )))
                }
                None => return Err(io::Error::other("no container engine was looked for")),
            },
            #[cfg(not(feature = "containers"))]
            Way::Image(_) => return Err(io::Error::other("this peerproof has no containers")),
        };
        if let Some(body) = &body {
            body.log()
                .keep_in(&log_file(&state.logs, guest)?, &self.room)?;
        }
        let running = Running {
            body,
            told,
            since: Instant::now(),
            is_ready: false,
            is_spent: false,
            is_reset,
            line: ReadyLine::default(),
            listeners,
            failed: Arc::default(),
            orders: Arc::default(),
        };
        state.running.insert(guest.name.clone(), running);
        Ok(())
    }

    /// Resets a guest that runs already. It may have been started a moment ago, and then has as long to be there as one
    /// that we start.
    fn reset_in_time(
        &self,
        guest: &Guest,
        told: &Told,
        listeners: &[Listener],
    ) -> io::Result<bool> {
        let since = Instant::now();
        let is_early =
            || since.elapsed() < guest.ready_within && !self.stop.load(Ordering::Relaxed);
        loop {
            match reset(guest, guest.trigger.as_ref(), told, &self.stop) {
                Err(error)
                    if (error.kind() == ErrorKind::NotConnected || deaf(listeners).is_some())
                        && is_early() =>
                {
                    thread::sleep(AGAIN);
                }
                done => return done,
            }
        }
    }

    /// Whether all guests of a topology are ready; asked again and again.
    pub fn are_ready(&self, topology: &Topology) -> Result<bool, Absence> {
        let mut state = self.state();
        let state = &mut *state;
        let mut all = true;
        for guest in self.present(topology) {
            let Some(running) = state.running.get_mut(&guest.name) else {
                continue;
            };
            if running.is_ready {
                continue;
            }
            if self.stop.load(Ordering::Relaxed) {
                state.is_interrupted = true;
                return Err(Absence::Unavailable(format!(
                    "{}: interrupted before it was ready",
                    guest.name
                )));
            }
            match running.look(guest) {
                Ok(true) => {
                    running.is_ready = true;
                    state.misses.remove(&guest.name);
                }
                Ok(false) => all = false,
                Err(Absence::Unavailable(why)) => {
                    state.running.remove(&guest.name);
                    let was_ready = guest.nodes.iter().any(|node| state.heard.contains(node));
                    let misses = state.misses.entry(guest.name.clone()).or_insert(0);
                    *misses += 1;
                    if !was_ready || *misses >= MISSES {
                        state.gone.insert(guest.name.clone(), why.clone());
                    }
                    return Err(Absence::Unavailable(why));
                }
                Err(absence) => return Err(absence),
            }
        }
        Ok(all)
    }

    /// Why nobody can make a guest do what the steps ask of it; known once the guests are ready.
    pub fn cannot_push(&self, suite: &Suite, instance: &Instance) -> Option<Absence> {
        instance.steps(suite).iter().find_map(|step| {
            let Verb::Do(act) = &step.verb else {
                return None;
            };
            let guest = self.all.iter().find(|guest| guest.plays(&act.node))?;
            let state = self.state();
            let running = state.running.get(&guest.name)?;
            let order = Order::of(&act.node, &act.action, str::to_owned);
            let can = match &order {
                Some(order) => {
                    guest.does_by_itself(&order.action) || running.trigger(guest).is_some()
                }
                // What ends or freezes a guest is done to what it runs as.
                None => running.body.is_some(),
            };
            (!can).then(|| {
                let what = order.map_or("stop".to_owned(), |order| order.action);
                Absence::Unsupported(format!(
                    "{} has to be pushed (\"{what}\"), and there is no trigger: give it one in a profile, or in its \
                     ready line",
                    act.node
                ))
            })
        })
    }

    /// Makes a guest act; what goes wrong is told as news.
    pub fn push(&self, node: &str, action: &Action, swarm: impl Fn(&str) -> String) {
        let mut state = self.state();
        let Some(guest) = self.all.iter().find(|guest| guest.plays(node)) else {
            return;
        };
        let Some(running) = state.running.get_mut(&guest.name) else {
            return;
        };
        let Some(order) = Order::of(node, action, swarm) else {
            running.is_spent = true;
            if let Some(body) = &mut running.body {
                let done = match action {
                    Action::Crash => body.kill(),
                    _ => body.freeze(),
                };
                if let Err(error) = done {
                    failed(
                        &running.failed,
                        format!("its guard does not answer: {error}"),
                    );
                }
            }
            return;
        };
        if guest.does_by_itself(&order.action) {
            return;
        }
        let Some(trigger) = running.trigger(guest) else {
            return failed(&running.failed, "there is no trigger".to_owned());
        };
        let (told, failures) = (environment(&running.told), running.failed.clone());
        let orders = running.orders.clone();
        orders.fetch_add(1, Ordering::Relaxed);
        // It may answer only after it has done everything, and that takes our own nodes.
        thread::spawn(move || {
            match trigger.push(&order, &told) {
                Pushed::Done => {}
                Pushed::Unsupported => {
                    failed(&failures, format!("it does not do \"{}\"", order.action))
                }
                Pushed::Unanswered(why) | Pushed::Failed(why) => failed(&failures, why),
            }
            orders.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Whether a guest has an order that it has not answered yet.
    pub fn is_being_told(&self) -> bool {
        let state = self.state();
        let mut running = state.running.values();
        running.any(|running| running.orders.load(Ordering::Relaxed) > 0)
    }

    /// What became of guests since this was asked last.
    pub fn news(&self) -> Vec<News> {
        let mut state = self.state();
        let mut news = Vec::new();
        for guest in &self.all {
            let Some(running) = state.running.get_mut(&guest.name) else {
                continue;
            };
            let node = guest.nodes[0].clone();
            let mut failures = running
                .failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for why in failures.drain(..) {
                let node = node.clone();
                news.push(News::NotPushed { node, why });
            }
            drop(failures);
            let ended = running.body.as_mut().and_then(|body| body.ended());
            if let Some(ending) = ended.filter(|_| !running.is_spent) {
                running.is_spent = true;
                news.push(News::Ended { node, ending });
            }
        }
        news
    }

    /// A scenario is over: guests that live for one are stopped.
    pub fn scenario_is_over(&self) {
        let ended: Vec<Running> = {
            let mut state = self.state();
            let over = |guest: &&Guest| guest.lifetime == Lifetime::Scenario;
            let over = self.all.iter().filter(over);
            over.filter_map(|guest| state.running.remove(&guest.name))
                .collect()
        };
        drop(ended);
    }

    /// Guests that were there before this scenario, and could not be made to forget it.
    pub fn unreset(&self) -> Vec<NodeName> {
        let state = self.state();
        let is_unreset = |guest: &&Guest| {
            let running = state.running.get(&guest.name);
            running.is_some_and(|running| !running.is_reset)
        };
        let guests = self.all.iter().filter(is_unreset);
        guests.flat_map(|guest| guest.nodes.clone()).collect()
    }

    /// Guests that have never sent anything in this run.
    pub fn unheard(&self) -> Vec<NodeName> {
        let state = self.state();
        let nodes = self.all.iter().flat_map(|guest| &guest.nodes);
        nodes
            .filter(|node| !state.heard.contains(node))
            .cloned()
            .collect()
    }

    /// A scenario was played in a topology; of several guests those had a part in it of which this holds.
    pub fn took_part(&self, topology: &Topology, has_part: impl Fn(&str) -> bool) {
        let mut state = self.state();
        for guest in self.present(topology) {
            let had_part = guest.nodes.iter().any(|node| has_part(node.as_str()));
            if (had_part || self.all.len() == 1) && !state.took_part.contains(&guest.name) {
                state.took_part.push(guest.name.clone());
            }
        }
    }

    /// This guest has sent something.
    pub fn hear(&self, node: &NodeName) {
        let mut state = self.state();
        if !state.heard.contains(node) {
            state.heard.push(node.clone());
        }
    }

    /// Whether a guest was no longer waited for, as the run is to end.
    pub fn are_interrupted(&self) -> bool {
        self.state().is_interrupted
    }

    /// Why a guest is not there, or was never heard of although it was started.
    pub fn unavailable(&self) -> Option<String> {
        let state = self.state();
        if let Some(why) = state.gone.values().next() {
            return Some(why.clone());
        }
        let silent = self.all.iter().find(|guest| {
            let is_heard = guest.nodes.iter().any(|node| state.heard.contains(node));
            state.took_part.contains(&guest.name) && !is_heard
        });
        silent.map(|guest| format!("{}: it never sent anything", guest.name))
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.state().running.clear();
        // What cannot be removed stays beside the traces.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Makes a guest that is there already forget what it learnt, and tells it anew: by its hook, or else by an order. False
/// if there is no way to; an error that it is not connected if nobody answers.
fn reset(
    guest: &Guest,
    trigger: Option<&Trigger>,
    told: &Told,
    stop: &AtomicBool,
) -> io::Result<bool> {
    if let Some(hook) = &guest.reset {
        let ended = run_to_end(hook, &environment(told), RESET, stop);
        let ended =
            ended.map_err(|error| io::Error::other(format!("the reset hook {hook}: {error}")))?;
        return match ended {
            0 => Ok(true),
            ended => Err(io::Error::other(format!(
                "the reset hook ended with status {ended}: {hook}"
            ))),
        };
    }
    let Some(trigger) = trigger else {
        return Ok(false);
    };
    match trigger.push(&Order::to_reset(told), &environment(told)) {
        Pushed::Done => Ok(true),
        Pushed::Unsupported => Ok(false),
        // One that stands still or is gone shows it in the scenario, where it can be judged.
        Pushed::Unanswered(_) if !matches!(guest.way, Way::Address { .. }) => Ok(true),
        Pushed::Unanswered(why) => Err(io::Error::new(
            ErrorKind::NotConnected,
            format!("the order \"reset\": {why}"),
        )),
        Pushed::Failed(why) => Err(io::Error::other(format!(
            "the order \"reset\": {why} (501, or of a command 127, says that it does not do that)"
        ))),
    }
}

impl Guest {
    fn does_by_itself(&self, action: &str) -> bool {
        self.by_itself.iter().any(|own| own == action)
    }

    /// Whether what it was told and what it has to know differ in what its lifetime is bound to.
    fn must_restart(&self, before: &Told, now: &Told) -> bool {
        let bound = |name: &&String| match self.lifetime {
            Lifetime::Scenario => true,
            Lifetime::Configuration => name.as_str() != "INSTANCE",
            Lifetime::Run => ["ADDRESS", "LISTEN", "PEER", "PORTS"]
                .iter()
                .any(|what| name.starts_with(what)),
        };
        let part = |told: &Told| -> Vec<(String, String)> {
            let all = told.0.iter().filter(|(name, _)| bound(name));
            all.map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        self.lifetime == Lifetime::Scenario && !matches!(self.way, Way::Address { .. })
            || part(before) != part(now)
    }
}

impl Running {
    fn trigger(&self, guest: &Guest) -> Option<Trigger> {
        let told = self.line.control.as_ref();
        let told = told.map(|at| match at.starts_with("http://") {
            true => Trigger::Post(at.clone()),
            false => Trigger::Post(format!("http://{at}/")),
        });
        guest.trigger.clone().or(told)
    }

    /// Whether the guest is ready now.
    fn look(&mut self, guest: &Guest) -> Result<bool, Absence> {
        if let Some(ending) = self.body.as_mut().and_then(|body| body.ended()) {
            let name = &guest.name;
            if let Way::Command(command) = &guest.way
                && ending.is_unsupported()
                && let Some(body) = &self.body
            {
                match body.log().not_found() {
                    (_, Some(word)) => {
                        return Err(Absence::Unavailable(format!(
                            "{name}: the command \"{command}\" was not found: {word}"
                        )));
                    }
                    (false, None) if self.since.elapsed() < guest.ready_within => return Ok(false),
                    _ => {}
                }
            }
            return Err(match ending {
                ending if ending.is_unsupported() => {
                    Absence::Unsupported(format!("{name} says so: it ended with status 127"))
                }
                Ending::Failed(why) => Absence::Unavailable(format!("{name}: it {why}")),
                ending => Absence::Unavailable(format!(
                    "{name}: it {ending} before it was ready: see its log"
                )),
            });
        }
        if let Some(line) = self.body.as_ref().and_then(|body| body.log().ready()) {
            let line =
                line.map_err(|why| Absence::Unavailable(format!("{}: {why}", guest.name)))?;
            self.hold_to_assigned(guest, &line)?;
            self.line = line;
            return Ok(true);
        }
        let deaf = || deaf(&self.listeners);
        if guest.ready == Ready::Probe && deaf().is_none() {
            return Ok(true);
        }
        if self.since.elapsed() < guest.ready_within {
            return Ok(false);
        }
        let seconds = guest.ready_within.as_secs();
        let why = match guest.ready {
            Ready::Line if deaf().is_none() => format!(
                "it takes connections but printed no line that begins with \"ready\" within {seconds} s: print one, or \
                 say ready = \"probe\" in a profile"
            ),
            Ready::Line => {
                format!("it printed no line that begins with \"ready\" within {seconds} s")
            }
            Ready::Probe => {
                let which = deaf().map(|l| format!("{} at {}", l.on, l.addr));
                let which = which.unwrap_or_else(|| "one of its listeners".to_owned());
                format!("{which} took no connection within {seconds} s")
            }
        };
        Err(Absence::Unavailable(format!("{}: {why}", guest.name)))
    }

    /// A guest that was told where to listen must not listen elsewhere.
    fn hold_to_assigned(&self, guest: &Guest, line: &ReadyLine) -> Result<(), Absence> {
        for node in &guest.nodes {
            let mut moved = self.listeners.clone();
            let of = prefix(guest, node.as_str());
            let laid = lay_over_listeners(&line.listen, &of, &mut moved);
            laid.map_err(|why| {
                Absence::Unavailable(format!("{}: its ready line: {why}", guest.name))
            })?;
            if guest.nodes.len() == 1
                && guest.addresses == Addresses::Assigned
                && moved != self.listeners
            {
                return Err(Absence::Unavailable(format!(
                    "{}: its ready line names other addresses than it was told: let it heed PEERPROOF_LISTEN_…, or say \
                     addresses = \"own\" in a profile",
                    guest.name
                )));
            }
        }
        Ok(())
    }
}

/// What stands before a reference point in names of the contract.
fn prefix(guest: &Guest, node: &str) -> String {
    match guest.nodes.len() {
        1 => String::new(),
        _ => format!("{}_", variable_name(node)),
    }
}

/// A listener that ought to take connections and does not.
fn deaf(listeners: &[Listener]) -> Option<&Listener> {
    let mut streams = listeners
        .iter()
        .filter(|l| l.transport != ListenTransport::Udp);
    streams.find(|listener| !takes_connections(listener.addr))
}

fn takes_connections(addr: SocketAddr) -> bool {
    TcpStream::connect_timeout(&addr, PROBE).is_ok()
}

fn environment(told: &Told) -> BTreeMap<String, String> {
    let all = told.variables();
    all.map(|(name, value)| (name, value.to_owned())).collect()
}

/// The folder, in full, with nothing in it. It stays the same one: a container that lives on has it mounted.
fn emptied(folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    folder.canonicalize()
}

fn log_file(folder: &Path, guest: &Guest) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    Ok(folder.join(format!("guest-{}.log", guest.name)))
}

fn failed(failures: &Mutex<Vec<String>>, why: String) {
    failures
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(why);
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use super::*;
    use crate::spec::Role;

    /// What comes of a reset whose order is answered with this status.
    fn answered(status: u16) -> io::Result<bool> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"}") {
                let mut octets = [0; 1024];
                let read = stream.read(&mut octets).unwrap();
                asked.extend_from_slice(&octets[..read]);
            }
            write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").unwrap();
            String::from_utf8(asked).unwrap()
        });
        let trigger = Trigger::Post(url);
        let told = Told::default();
        let reset = reset(&guest(), Some(&trigger), &told, &AtomicBool::new(false));
        let asked = server.join().unwrap();
        assert!(asked.contains("\"action\":\"reset\""), "{asked}");
        reset
    }

    fn guest() -> Guest {
        Guest {
            name: "tracker".to_owned(),
            nodes: vec!["tracker".into()],
            roles: vec![Role::Tracker],
            way: Way::Address {
                ip: None,
                listeners: Vec::new(),
            },
            ready: Ready::Probe,
            ready_within: Duration::from_secs(1),
            lifetime: Lifetime::Run,
            addresses: Addresses::Assigned,
            reset: None,
            trigger: None,
            by_itself: Vec::new(),
        }
    }

    /// 501 says that it cannot be reset: no error, and what it remembers is not laid to it.
    #[test]
    fn a_guest_that_refuses_to_be_reset_is_not_reset_and_has_not_failed() {
        assert!(answered(200).unwrap());
        assert!(!answered(501).unwrap());
        let failed = answered(500).unwrap_err().to_string();
        assert!(failed.contains("the order \"reset\""), "{failed}");
        assert!(failed.contains("answered 500"), "{failed}");
    }
}
