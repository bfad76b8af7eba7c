//! `node`: one reference node, or the IMS core, on real sockets: to develop against, and to be a guest of `run`.
//! What it is told by the variables of the contract goes before its flags' defaults.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read, Write},
    net::SocketAddr,
    os::unix::fs::FileTypeExt,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

use super::{Exit, Failure, print, selection::Suites, sut::PlaceArgs};
use crate::{
    drive::Drive,
    io::Action,
    net::{Faults, Sockets, Tls, pause},
    node::{Node as Reference, deviation::Deviation},
    run::{Field, Part, parts},
    spec::{Architecture, Format, Options, Role, Worth},
    suite::{Ground, Instance, Suite, Topology},
    sut::{Told, contract, guest_of, trigger::Order},
    trace::{CastNode, Event, EventKind, Trouble},
    wire::{
        frame::{Framer, NodeName, Party},
        http,
    },
};

#[derive(Debug, Args)]
pub struct Node {
    /// A role that has one node, a node's name, or ims-core [default: PEERPROOF_NODE or PEERPROOF_ROLE]
    #[arg(value_name = "ROLE")]
    role: Option<String>,

    /// The architecture it stands in [default: PEERPROOF_ARCHITECTURE, or the first that has it]
    #[arg(long, value_name = "WORD")]
    architecture: Option<Architecture>,

    /// Peer list, request and status [default: PEERPROOF_OPTIONS, or ut.ims.ims]
    #[arg(long, value_name = "A.B.C")]
    options: Option<String>,

    #[command(flatten)]
    place: PlaceArgs,

    /// The seed of its lawful decisions; 0 is canonical [default: that of PEERPROOF_INSTANCE, or 0]
    #[arg(long)]
    seed: Option<u64>,

    /// Take orders here, posted as JSON [default: PEERPROOF_CONTROL, or nowhere]
    #[arg(long, value_name = "ADDR")]
    control: Option<SocketAddr>,

    /// Take no orders, whatever PEERPROOF_CONTROL says
    #[arg(long, conflicts_with = "control")]
    no_control: bool,

    /// Break this rule
    #[arg(long, value_name = "NAME", value_parser = super::run::deviation)]
    deviation: Option<&'static Deviation>,

    #[command(flatten)]
    suites: Suites,
}

/// An order and where its answer goes: nothing, or why it cannot be carried out.
struct Asked {
    order: Order,
    answer: oneshot::Sender<Result<(), String>>,
}

impl Node {
    pub fn run(self) -> Result<Exit, Failure> {
        let suite = self.suites.load()?;
        self.place.take_authority()?;
        let told = Told::from_environment(env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }));
        let control = match (self.control, told.get("CONTROL")) {
            (Some(addr), _) => Some(addr),
            _ if self.no_control => None,
            (None, Some(text)) => Some(text.parse().map_err(|_| {
                let found = format!("PEERPROOF_CONTROL: found \"{text}\"");
                Failure::usage(format!(
                    "{found}, expected an address such as 127.0.0.1:9000"
                ))
            })?),
            (None, None) => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.serve(&suite, &told, control))
    }

    /// Which nodes it plays, and what they are called together.
    fn names(&self, suite: &Suite, told: &Told) -> Result<(String, Vec<NodeName>), Failure> {
        let asked = self.role.as_deref();
        if let Some(told) = told.get("NODE") {
            let names: Vec<NodeName> = told.split_whitespace().map(NodeName::new).collect();
            let word = asked.map_or_else(|| names[0].to_string(), str::to_owned);
            if let Some(asked) = asked {
                let wanted = guest_of(asked, suite).map_err(Failure::usage)?;
                if let Some(other) = names
                    .iter()
                    .find(|name| wanted.iter().all(|(n, _)| n != *name))
                {
                    return Err(Failure::usage(format!(
                        "found PEERPROOF_NODE = {other}, expected a node of the role {asked} that was asked for"
                    )));
                }
            }
            return Ok((word, names));
        }
        let Some(word) = asked.or_else(|| told.get("ROLE")) else {
            return Err(Failure::usage(
                "found no role, expected one such as tracker, a node, or ims-core",
            ));
        };
        let mut nodes = guest_of(word, suite).map_err(Failure::usage)?;
        if word == "ims-core" {
            nodes.extend(guest_of(Role::Hss.word(), suite).map_err(Failure::usage)?);
            // What only networks of single scenarios have is left to them.
            let usual = suite
                .topologies
                .iter()
                .filter(|t| t.name == t.architecture.word());
            nodes.retain(|(name, _)| usual.clone().all(|t| t.node(name.as_str()).is_some()));
        }
        Ok((
            word.to_owned(),
            nodes.into_iter().map(|(name, _)| name).collect(),
        ))
    }

    fn topology<'s>(
        &self,
        suite: &'s Suite,
        told: &Told,
        names: &[NodeName],
    ) -> Result<&'s Topology, Failure> {
        if let Some(name) = told.get("TOPOLOGY") {
            return suite.topology(name).ok_or_else(|| {
                Failure::usage(format!(
                    "PEERPROOF_TOPOLOGY: found \"{name}\", expected a topology"
                ))
            });
        }
        let asked = match (self.architecture, told.get("ARCHITECTURE")) {
            (Some(architecture), _) => Some(architecture),
            (None, Some(word)) => {
                let word = told.word("ARCHITECTURE", word, "registered or unregistered");
                Some(word.map_err(|error| Failure::usage(error.to_string()))?)
            }
            (None, None) => None,
        };
        let has = |topology: &&Topology| {
            names
                .iter()
                .all(|name| topology.node(name.as_str()).is_some())
        };
        let usual = suite
            .topologies
            .iter()
            .filter(|t| t.name == t.architecture.word());
        let mut fitting = usual
            .filter(|t| asked.is_none_or(|asked| t.architecture == asked))
            .filter(has);
        fitting.next().ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(NodeName::as_str).collect();
            Failure::usage(format!(
                "found no topology of that architecture with {}",
                names.join(", ")
            ))
        })
    }

    fn parts(
        &self,
        suite: &Suite,
        told: &Told,
        topology: &Topology,
        names: &[NodeName],
    ) -> Result<Vec<Part>, Failure> {
        let usage = |error: contract::ContractError| Failure::usage(error.to_string());
        let options = match &self.options {
            Some(text) => Told([("OPTIONS".to_owned(), text.clone())].into())
                .options()
                .map_err(|_| {
                    Failure::usage(format!(
                        "--options: found \"{text}\", expected for example ut.ims.ims"
                    ))
                })?,
            None => told.options().map_err(usage)?,
        };
        let recorded = told
            .get("INSTANCE")
            .and_then(|id| id.rsplit_once('#')?.1.parse().ok());
        let seed = self.seed.or(recorded).unwrap_or(0);
        let instance = Instance::bare(topology, options.unwrap_or_else(Options::default), seed);
        let ground = self.place.ground(Field::Sockets, true)?;
        let ground = ground.unwrap_or(Ground::Loopback { network: 0 });
        let mut own: Vec<Part> = parts(suite, &instance, ground);
        own.retain(|part| names.contains(&part.place.name));
        for part in &mut own {
            told.lay_over(&mut part.setup).map_err(usage)?;
        }
        Ok(own)
    }

    async fn serve(
        &self,
        suite: &Suite,
        told: &Told,
        control: Option<SocketAddr>,
    ) -> Result<Exit, Failure> {
        let (word, names) = self.names(suite, told)?;
        let parts = self.parts(suite, told, self.topology(suite, told, &names)?, &names)?;
        let mut ready = ready(&word, &parts);
        let mut drive = self.take_up(&word, told, parts)?;
        let (post, mut orders) = mpsc::unbounded_channel();
        if let Some(addr) = control {
            let listener = TcpListener::bind(addr).await;
            let listener = listener.map_err(|error| unavailable(&format!("{addr}: {error}")))?;
            ready["control"] = format!("http://{}/", listener.local_addr()?).into();
            tokio::spawn(take_orders(listener, post));
        }
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        drive.start().map_err(fault)?;
        log(drive.drain())?;
        print(&format!("ready {ready}\n"))?;
        let mut closed = input_closes();
        loop {
            let until = drive.now() + Duration::from_secs(1);
            tokio::select! {
                biased;
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = closed.recv() => break,
                Some(Asked { order, answer }) = orders.recv() => {
                    let done = match order.told().map(|told| self.prepared(suite, told, &names)) {
                        None => carry_out(&mut drive, &names, &order),
                        // What cannot be done changes nothing.
                        Some(Err(failure)) => Err(failure.message),
                        Some(Ok((told, parts))) => {
                            drop(drive);
                            drive = self.begin_anew(&word, &told, parts).await?;
                            Ok(())
                        }
                    };
                    // Who has hung up does not want to know.
                    let _ = answer.send(done);
                }
                progress = drive.step(until) => {
                    progress.map_err(fault)?;
                }
            }
            log(drive.drain())?;
        }
        say(&json!({"event": "stopped", "at": drive.now().as_secs_f64()}))?;
        Ok(Exit::Good)
    }

    /// The nodes at their sockets, not started yet.
    fn take_up(
        &self,
        word: &str,
        told: &Told,
        parts: Vec<Part>,
    ) -> Result<Drive<Sockets>, Failure> {
        let places = places(&parts);
        let names: Vec<NodeName> = parts.iter().map(|part| part.place.name.clone()).collect();
        let tls = tls(told, &parts)?;
        let ours = |place: &CastNode| names.contains(&place.name);
        let sockets = Sockets::bind(&places, ours, Faults::none(), Some(tls))
            .map_err(|error| unavailable(&error))?;
        let mut nodes: Vec<(NodeName, Box<dyn Reference>)> = Vec::new();
        for part in parts {
            let breaks = |d: &&Deviation| d.roles.contains(&part.place.role);
            let deviation = self.deviation.filter(breaks).copied();
            let name = part.place.name.clone();
            nodes.extend(part.play(deviation).map(|node| (name, node)));
        }
        if let Some(deviation) = self.deviation
            && !nodes
                .iter()
                .any(|(_, node)| deviation.roles.contains(&node.role()))
        {
            let what = format!(
                "{word} cannot break {}, which is a rule of others",
                deviation.name
            );
            return Err(Failure::usage(what));
        }
        Ok(Drive::new(sockets, nodes))
    }

    /// What the nodes are to be as they are told now. The error says what they are told wrongly.
    fn prepared(
        &self,
        suite: &Suite,
        told: Told,
        names: &[NodeName],
    ) -> Result<(Told, Vec<Part>), Failure> {
        let topology = self.topology(suite, &told, names)?;
        let parts = self.parts(suite, &told, topology, names)?;
        tls(&told, &parts)?;
        Ok((told, parts))
    }

    /// The same nodes, knowing nothing of what was; who had their sockets is gone.
    async fn begin_anew(
        &self,
        word: &str,
        told: &Told,
        parts: Vec<Part>,
    ) -> Result<Drive<Sockets>, Failure> {
        let until = Instant::now() + LETTING_GO;
        loop {
            match self.take_up(word, told, parts.clone()) {
                // The tasks that held the old sockets end when they are next looked at.
                Err(_) if Instant::now() < until => pause(Duration::from_millis(1)).await,
                taken => {
                    let mut drive = taken?;
                    drive.start().map_err(fault)?;
                    say(&json!({"event": "reset", "instance": told.get("INSTANCE")}))?;
                    return Ok(drive);
                }
            }
        }
    }
}

/// How long sockets may take to be free again.
const LETTING_GO: Duration = Duration::from_secs(2);

fn unavailable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Unavailable, error.to_string())
}

fn fault(error: crate::drive::DriveError) -> Failure {
    Failure::new(Exit::Fault, error.to_string())
}

/// The certificates that its nodes were given, or those of an authority of its own.
fn tls(told: &Told, parts: &[Part]) -> Result<Tls, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
    let mut pems = BTreeMap::new();
    let mut cards = BTreeMap::new();
    for part in parts {
        let card = contract::card(&part.setup, Worth::Good);
        let pem = told.pem(&part.place.name, parts.len());
        if let Some(pem) = pem.map_err(|error| usage(&error))? {
            pems.insert(card.host.clone(), pem);
        }
        cards.insert(part.place.name.clone(), card);
    }
    let tls = match pems.is_empty() {
        true => Tls::issued(cards),
        false => Tls::given(pems, cards),
    };
    tls.map_err(|error| usage(&error))
}

/// All nodes, at the addresses the first of them was told.
fn places(parts: &[Part]) -> Vec<CastNode> {
    let Some(first) = parts.first() else {
        return Vec::new();
    };
    let all = first.setup.directory.nodes.iter();
    all.map(|(name, neighbour)| CastNode {
        name: name.clone(),
        role: neighbour.role,
        cast: crate::trace::Cast::Reference,
        ip: Some(neighbour.ip),
        ports: neighbour.ports,
        listeners: neighbour.listeners.clone(),
        impu: neighbour.impu.clone(),
        certificate: Worth::Good,
    })
    .collect()
}

/// What stands in the ready line.
fn ready(word: &str, parts: &[Part]) -> Value {
    let mut listen = serde_json::Map::new();
    let mut hosts = serde_json::Map::new();
    for part in parts {
        let name = part.place.name.as_str();
        let of = match parts.len() {
            1 => String::new(),
            _ => format!("{}_", contract::variable_name(name)),
        };
        for (point, addr) in contract::listen_table(&of, &part.setup.listeners) {
            listen.insert(point, addr.into());
        }
        if let Some(own) = part.setup.directory.nodes.get(&part.place.name) {
            hosts.insert(name.to_owned(), own.host.clone().into());
        }
    }
    let mut ready = json!({"role": word, "listen": listen, "hosts": hosts});
    if let Some(first) = parts.first() {
        let setup = &first.setup;
        ready["domain"] = setup.directory.domain.clone().into();
        ready["tracker-psi"] = setup.directory.tracker_psi.clone().into();
        let contents = setup
            .contents
            .iter()
            .map(|c| (c.fixture.clone(), c.swarm.clone().into()));
        ready["contents"] = Value::Object(contents.collect());
    }
    ready
}

fn carry_out(drive: &mut Drive<Sockets>, names: &[NodeName], order: &Order) -> Result<(), String> {
    let node = match (&order.node, names) {
        (Some(node), _) => NodeName::new(node),
        (None, [one]) => one.clone(),
        (None, _) => {
            let names: Vec<&str> = names.iter().map(NodeName::as_str).collect();
            return Err(format!(
                "an order without \"node\", expected one of {}",
                names.join(", ")
            ));
        }
    };
    let action: Action = order.action()?;
    drive.act(&node, &action).map_err(|error| error.to_string())
}

/// Says when standard input ends, where it is a pipe: whoever started us is gone then.
pub(super) fn input_closes() -> mpsc::UnboundedReceiver<()> {
    let (post, closed) = mpsc::unbounded_channel();
    let is_pipe = fs::metadata("/dev/stdin").is_ok_and(|input| input.file_type().is_fifo());
    thread::spawn(move || {
        if is_pipe {
            let mut buffer = [0; 256];
            while io::stdin().read(&mut buffer).is_ok_and(|length| length > 0) {}
            let _ = post.send(());
        } else {
            // Nothing will ever come: the channel stays open as long as we run.
            thread::park();
            drop(post);
        }
    });
    closed
}

async fn take_orders(listener: TcpListener, post: mpsc::UnboundedSender<Asked>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(take_orders_on(stream, post.clone()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Orders on one connection, one after the other.
async fn take_orders_on(mut stream: TcpStream, post: mpsc::UnboundedSender<Asked>) {
    let mut framer = Framer::new(Format::Http);
    let mut buffer = [0; 8192];
    loop {
        let request = match framer.next_message() {
            Ok(Some(bytes)) => http::Request::parse(bytes),
            Ok(None) => match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    framer.feed(&buffer[..length]);
                    continue;
                }
            },
            Err(malformed) => Err(malformed),
        };
        let (status, why, closes) = match request {
            Ok(request) => {
                let closes = request.closes();
                let (status, why) = answer(&request, &post).await;
                (status, why, closes)
            }
            Err(malformed) => (400, malformed.to_string(), true),
        };
        let mut body = json!({});
        if !why.is_empty() {
            body["error"] = why.into();
        }
        let response = http::Response::build(status)
            .body("application/json", body.to_string())
            .finish();
        if stream.write_all(response.bytes()).await.is_err() || closes {
            return;
        }
    }
}

async fn answer(request: &http::Request, post: &mpsc::UnboundedSender<Asked>) -> (u16, String) {
    if request.method() != "POST" {
        return (405, "expected POST".to_owned());
    }
    let order: Order = match serde_json::from_slice(&request.body()) {
        Ok(order) => order,
        Err(error) => return (400, error.to_string()),
    };
    let (answer, done) = oneshot::channel();
    if post.send(Asked { order, answer }).is_err() {
        return (503, "stopping".to_owned());
    }
    match done.await {
        Ok(Ok(())) => (200, String::new()),
        Ok(Err(why)) => (409, why),
        Err(_) => (503, "stopping".to_owned()),
    }
}

/// One JSON line an event, on standard error.
fn log(events: Vec<Event>) -> Result<(), Failure> {
    for event in events {
        let at = event.at.as_secs_f64();
        let line = match &event.kind {
            EventKind::Sent(frame) | EventKind::Received(frame) | EventKind::Lost(frame) => {
                let first = frame
                    .bytes
                    .split(|octet| matches!(octet, b'\r' | b'\n'))
                    .next();
                let first = first
                    .map(|line| &line[..line.len().min(120)])
                    .unwrap_or_default();
                let word = match &event.kind {
                    EventKind::Sent(_) => "sent",
                    EventKind::Received(_) => "received",
                    _ => "lost",
                };
                json!({
                    "event": word, "at": at, "from": party(&frame.from), "to": party(&frame.to), "on": frame.on,
                    "octets": frame.bytes.len(), "begins": String::from_utf8_lossy(first),
                })
            }
            EventKind::Link {
                node, event, on, ..
            } => {
                json!({"event": "link", "at": at, "node": node.as_str(), "on": on, "what": event})
            }
            EventKind::Noted { node, note } => {
                json!({"event": "noted", "at": at, "node": node.as_str(), "topic": note.topic, "text": note.text})
            }
            EventKind::Guest { node, trouble } => {
                let (Trouble::Ended(what) | Trouble::NotPushed(what)) = trouble;
                json!({"event": "guest", "at": at, "node": node.as_str(), "what": what})
            }
            EventKind::Opening { .. } | EventKind::Step { .. } | EventKind::Truncated => continue,
        };
        say(&line)?;
    }
    Ok(())
}

fn party(party: &Party) -> String {
    party.to_string()
}

fn say(line: &Value) -> Result<(), Failure> {
    match writeln!(io::stderr(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
