//! One conformance run of one instance: cast the parts, drive, follow the steps, return the trace. Makes
//! no verdicts. Start at [`play`].

mod cast;
mod compose;
mod differences;
mod stimulate;

use std::{
    future::Future,
    net::Ipv6Addr,
    pin::pin,
    sync::atomic::{AtomicU8, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    drive::{Drive, DriveError, Progress},
    io::LinkEvent,
    net::{Claim, Faults, Map, Memory, NetError, Sockets, Tls, Transport, is_free, pause},
    node::{Node, Setup, deviation::Deviation, variation::Variation},
    random::derive,
    suite::{Context as Values, Follower, Ground, Instance, Stimulus, Suite, Topology, Verb},
    sut::{Absence, Guests, News},
    time::At,
    trace::{Cast, CastNode, Event, EventKind, Meta, Trace, Trouble},
    wire::frame::NodeName,
};

pub use differences::{Difference, differences};

pub use cast::Casting;

use cast::{Company, build};
use stimulate::Stimulator;

/// Where an instance is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field {
    /// In memory, on virtual time.
    #[default]
    Memory,
    /// On loopback sockets, in real time.
    Sockets,
    /// The same on `[::1]`.
    SocketsV6,
}

impl Field {
    pub const ALL: &'static [Field] = &[Field::Memory, Field::Sockets, Field::SocketsV6];

    /// As in flags and reports.
    pub fn word(self) -> &'static str {
        match self {
            Field::Memory => "memory",
            Field::Sockets => "sockets",
            Field::SocketsV6 => "sockets-ipv6",
        }
    }

    /// Whether time passes by itself.
    fn is_real(self) -> bool {
        self != Field::Memory
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Played {
    pub trace: Trace,
    /// A fault of ours that ended the run early; the verdict is `error`.
    pub fault: Option<Fault>,
    /// Why it could not be played with the guests there are.
    pub absence: Option<Absence>,
    /// The lawful decisions that each node takes otherwise than canonically, by name.
    pub decisions: Vec<(NodeName, Vec<&'static str>)>,
}

/// Why the harness could not play an instance to its end.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the scenario's topology is not there")]
    NoTopology,
    #[error(transparent)]
    Drive(#[from] DriveError),
    #[error("step {step}: {why}")]
    Step { step: usize, why: String },
}

/// More octets of trace than this are not kept, and nothing may pass.
const TRACE_LIMIT: usize = 16 << 20;
/// What an event counts for beyond the octets of its frame.
const EVENT_SIZE: usize = 64;
/// Real networks go quiet without saying so: after the last step, wait this long for what must not come.
const SETTLE: Duration = Duration::from_millis(250);

/// Plays an instance in memory.
pub fn play(suite: &Suite, instance: &Instance, casting: Casting<'_>) -> Played {
    let Some(topology) = instance.topology(suite) else {
        return no_topology(instance);
    };
    let casting = Casting {
        guests: None,
        ..casting
    };
    let company = cast::cast(suite, instance, casting, topology, Ground::Memory);
    let seed = derive(instance.seed, &[&instance.path(), "network"]);
    let faults = Faults::new(cast::faults(instance), derive(seed, &["faults"]));
    let transport = Memory::new(Map::new(&company.nodes), faults, seed);
    at_once(run(
        suite,
        instance,
        topology,
        casting,
        company,
        transport,
        Field::Memory,
    ))
}

/// What each node of an instance is told before it starts, as in memory: for who drives nodes without a run.
pub fn setups(suite: &Suite, instance: &Instance) -> Vec<Setup> {
    let parts = parts(suite, instance, Ground::Memory).into_iter();
    parts.map(|part| part.setup).collect()
}

/// One node of an instance, for who drives it without a run.
#[derive(Clone, Debug)]
pub struct Part {
    pub place: CastNode,
    pub setup: Setup,
    variation: Variation,
}

impl Part {
    /// The node itself, breaking a rule if one is given.
    pub fn play(self, deviation: Option<Deviation>) -> Option<Box<dyn Node>> {
        build(self.setup, deviation, self.variation)
    }
}

/// Every node of an instance, at the addresses of a ground.
pub fn parts(suite: &Suite, instance: &Instance, ground: Ground) -> Vec<Part> {
    let Some(topology) = instance.topology(suite) else {
        return Vec::new();
    };
    let company = cast::cast(suite, instance, Casting::default(), topology, ground);
    let nodes = company.nodes.into_iter().zip(company.setups);
    nodes
        .zip(company.variations)
        .map(|((place, setup), variation)| Part {
            place,
            setup,
            variation,
        })
        .collect()
}

/// Plays an instance over loopback sockets. Must be called inside a tokio runtime.
pub async fn play_on_sockets(
    suite: &Suite,
    instance: &Instance,
    casting: Casting<'_>,
    field: Field,
) -> Played {
    let Some(topology) = instance.topology(suite) else {
        return no_topology(instance);
    };
    let played = match bind(suite, instance, casting, topology, field) {
        Ok(bound) => {
            let Bound {
                ground,
                claim: _claim,
                company,
                transport,
            } = bound;
            match find_guests(suite, instance, casting, topology, ground, company).await {
                Ok(company) => {
                    let transport = match casting.guests {
                        Some(_) => transport.with_map(Map::new(&company.nodes)),
                        None => transport,
                    };
                    run(
                        suite, instance, topology, casting, company, transport, field,
                    )
                    .await
                }
                Err(absence) => absent(instance, field, absence),
            }
        }
        Err(error) => {
            let ground = next_ground(field);
            let company = cast::cast(suite, instance, casting, topology, ground);
            Played {
                trace: Trace {
                    meta: meta(instance, &company, field),
                    events: Vec::new(),
                },
                fault: Some(DriveError::from(error).into()),
                absence: None,
                decisions: Vec::new(),
            }
        }
    };
    if let Some(guests) = casting.guests {
        guests.scenario_is_over();
    }
    played
}

/// Our nodes' sockets, and who is where.
struct Bound {
    ground: Ground,
    claim: Option<Claim>,
    company: Company,
    transport: Sockets,
}

/// Binds the listeners of all nodes that are ours, in a network that nobody else plays in.
fn bind(
    suite: &Suite,
    instance: &Instance,
    casting: Casting<'_>,
    topology: &Topology,
    field: Field,
) -> Result<Bound, NetError> {
    let seed = derive(instance.seed, &[&instance.path(), "network"]);
    let kept = casting.guests.and_then(Guests::network);
    let at = |ground: Ground| {
        let claim = match kept {
            Some(_) => None,
            None => ground.claim().map(Claim::stake).transpose()?,
        };
        let company = cast::cast(suite, instance, casting, topology, ground);
        let faults = Faults::new(cast::faults(instance), derive(seed, &["faults"]));
        let ours = |node: &CastNode| node.cast != Cast::Sut;
        let tls = Tls::issued(company.cards())?;
        let transport = Sockets::bind(&company.nodes, ours, faults, Some(tls))?;
        Ok(Bound {
            ground,
            claim,
            company,
            transport,
        })
    };
    if let Some(ground) = kept {
        return at(ground);
    }
    let keep = |mut bound: Bound| {
        if let Some(guests) = casting.guests {
            bound.claim = guests.stay_in(bound.ground, bound.claim);
        }
        bound
    };
    if let Some(ground) = casting.ground {
        return at(ground).map(keep);
    }
    // A guest that is still to be started finds nobody in its place either.
    let starts = |node: &CastNode| {
        let guests = casting.guests;
        node.cast == Cast::Sut && guests.is_some_and(|guests| guests.starts(node.name.as_str()))
    };
    let at = |ground: Ground| -> Result<Bound, NetError> {
        let bound = at(ground)?;
        let places = bound.company.nodes.iter().filter(|node| starts(node));
        let places = places.flat_map(|node| &node.listeners);
        places.into_iter().try_for_each(is_free)?;
        Ok(bound)
    };
    let mut bound = at(next_ground(field));
    for _ in 1..NETWORKS_TRIED {
        // Somebody else plays there: another run, or another program.
        if bound.is_err() {
            bound = at(next_ground(field));
        }
    }
    bound.map(keep)
}

/// Starts the guests; where one says itself where it is, everybody else is told once it has.
async fn find_guests(
    suite: &Suite,
    instance: &Instance,
    casting: Casting<'_>,
    topology: &Topology,
    ground: Ground,
    company: Company,
) -> Result<Company, Absence> {
    let Some(guests) = casting.guests else {
        return Ok(company);
    };
    guests.start(instance, topology, &company.setups)?;
    if !guests.choose_their_addresses(topology) {
        return Ok(company);
    }
    loop {
        match guests.are_ready(topology)? {
            true => return Ok(cast::cast(suite, instance, casting, topology, ground)),
            false => pause(LOOK_AGAIN).await,
        }
    }
}

fn absent(instance: &Instance, field: Field, absence: Absence) -> Played {
    Played {
        trace: Trace {
            meta: meta(instance, &Company::default(), field),
            events: Vec::new(),
        },
        fault: None,
        absence: Some(absence),
        decisions: Vec::new(),
    }
}

/// How often guests are looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// The same while a scenario goes on.
const LOOK_AFTER: Duration = Duration::from_millis(50);

/// How long a scripted answer to a challenge takes where guests take part.
const ANSWERING: Duration = Duration::from_millis(30);

/// The longest that a stimulus waits for a guest to be told the one before.
const TELLING: Duration = Duration::from_secs(1);

/// How many networks of the loopback range are tried before giving up.
const NETWORKS_TRIED: usize = 32;

/// Runs that go on at the same time each take a network of their own: one that somebody has claimed is
/// passed over.
fn next_ground(field: Field) -> Ground {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let network = NEXT.fetch_add(1, Ordering::Relaxed);
    match field {
        Field::Memory => Ground::Memory,
        Field::Sockets => Ground::Loopback { network },
        Field::SocketsV6 => Ground::OneAddress {
            ip: Ipv6Addr::LOCALHOST.into(),
            network: network % Ground::NETWORKS_AT_ONE,
        },
    }
}

fn no_topology(instance: &Instance) -> Played {
    let company = Company::default();
    Played {
        trace: Trace {
            meta: meta(instance, &company, Field::Memory),
            events: Vec::new(),
        },
        fault: Some(Fault::NoTopology),
        absence: None,
        decisions: Vec::new(),
    }
}

fn meta(instance: &Instance, company: &Company, field: Field) -> Meta {
    Meta {
        instance: instance.id(),
        seed: instance.seed,
        architecture: instance.architecture,
        options: instance.options,
        delivery: instance.delivery,
        transport: field.word().to_owned(),
        nodes: company.nodes.clone(),
        contents: company.contents.clone(),
        began: At::ZERO,
        unheard: Vec::new(),
        unreset: Vec::new(),
    }
}

async fn run<T: Transport>(
    suite: &Suite,
    instance: &Instance,
    topology: &Topology,
    casting: Casting<'_>,
    mut company: Company,
    transport: T,
    field: Field,
) -> Played {
    let mut meta = meta(instance, &company, field);
    let setups = std::mem::take(&mut company.setups);
    // Whom the scenario speaks for, and who comes from outside, decides nothing here.
    let is_ours = |part: &CastNode| !matches!(part.cast, Cast::Script | Cast::Sut);
    let decisions = setups
        .iter()
        .zip(&company.variations)
        .zip(&company.nodes)
        .filter(|(_, part)| is_ours(part))
        .map(|((setup, variation), _)| {
            let mut decisions = setup.policy.differing(setup.role);
            decisions.extend(variation.names());
            (setup.name.clone(), decisions)
        })
        .collect();
    let deviations = std::mem::take(&mut company.deviations);
    let variations = std::mem::take(&mut company.variations);
    let nodes = setups
        .into_iter()
        .zip(deviations.into_iter().zip(variations))
        .zip(&company.nodes)
        .filter(|(_, part)| is_ours(part))
        .filter_map(|((setup, (deviation, variation)), part)| {
            Some((part.name.clone(), build(setup, deviation, variation)?))
        })
        .collect();
    let mut drive = Drive::new(transport, nodes);
    let mut before = Vec::new();
    let ready = get_ready(&mut drive, casting.guests, topology, &mut before).await;
    let fault = match ready {
        Ok(None) => None,
        Ok(Some(absence)) => return absent(instance, field, absence),
        Err(fault) => Some(fault),
    };
    if let Some(guests) = casting.guests {
        if let Some(absence) = guests.cannot_push(suite, instance) {
            return absent(instance, field, absence);
        }
        meta.began = drive.now();
        meta.unheard = guests.unheard();
        meta.unreset = guests.unreset();
    }
    let values = Values::new(suite, instance, &meta);
    let steps = instance.steps(suite);
    let mut performance = Performance {
        drive,
        follower: Follower::new(&steps, &values),
        stimulator: Stimulator::new(suite, topology, casting.guests, &meta),
        guests: casting.guests,
        absence: None,
        answering: None,
        stimulated: At::ZERO,
        trace: Trace {
            meta,
            events: Vec::new(),
        },
        octets: 0,
        field,
    };
    for event in before {
        performance.push(event);
    }
    let fault = match fault {
        Some(fault) => Some(fault),
        None => performance.go().await.err(),
    };
    if let Some(guests) = casting.guests {
        let events = &performance.trace.events;
        guests.took_part(topology, |node| {
            let mut frames = events.iter().filter_map(|event| event.frame());
            instance.asks(suite, node) || frames.any(|frame| frame.to.is(node))
        });
        for event in &performance.trace.events {
            let sender = event.frame().and_then(|frame| frame.from.node());
            if let Some(node) = sender.filter(|node| guests.plays(node.as_str())) {
                guests.hear(node);
            }
        }
    }
    Played {
        trace: performance.trace,
        fault,
        absence: performance.absence,
        decisions,
    }
}

/// Starts our nodes, and lets them answer until every guest is ready.
async fn get_ready<T: Transport>(
    drive: &mut Drive<T>,
    guests: Option<&Guests>,
    topology: &Topology,
    before: &mut Vec<Event>,
) -> Result<Option<Absence>, Fault> {
    drive.start()?;
    before.extend(drive.drain());
    let Some(guests) = guests else {
        return Ok(None);
    };
    loop {
        match guests.are_ready(topology) {
            Ok(true) => return Ok(None),
            Ok(false) => {}
            Err(absence) => return Ok(Some(absence)),
        }
        drive.step(drive.now() + LOOK_AGAIN).await?;
        before.extend(drive.drain());
        if before.len() > MOST_BEFORE {
            let why = format!("a guest sent {MOST_BEFORE} frames before it was ready");
            return Ok(Some(Absence::Unavailable(why)));
        }
    }
}

/// More events than this before the first step are a flood.
const MOST_BEFORE: usize = 10_000;

/// A run while it goes on.
struct Performance<'a, T> {
    drive: Drive<T>,
    follower: Follower<'a>,
    stimulator: Stimulator<'a>,
    guests: Option<&'a Guests>,
    absence: Option<Absence>,
    /// The answer to a challenge that is being thought about, and when it is ready.
    answering: Option<(usize, At)>,
    /// When the last stimulus went out.
    stimulated: At,
    trace: Trace,
    octets: usize,
    field: Field,
}

impl<'a, T: Transport> Performance<'a, T> {
    async fn go(&mut self) -> Result<(), Fault> {
        while !self.is_over() {
            if self.look_after_guests() {
                break;
            }
            let now = self.drive.now();
            if let Some(stimulus) = self.follower.next_stimulus()
                && stimulus.due.is_none_or(|due| due <= now)
            {
                let ready = self.has_answer_ready(&stimulus).max(self.has_been_told());
                match ready <= now {
                    true => self.stimulate(stimulus)?,
                    false => {
                        self.drive.step(ready).await?;
                        self.record();
                    }
                }
                continue;
            }
            // A real network has nothing more to show once all was seen; what must not come gets the settle.
            if self.field.is_real() && self.follower.all_met() {
                break;
            }
            let Some(until) = self.follower.deadline() else {
                break;
            };
            let progress = self.drive.step(self.soon(until)).await?;
            self.record();
            if progress == Progress::Quiet {
                // Nothing that is waited for can come any more.
                self.drive.pass(until);
            }
        }
        self.settle().await
    }

    /// Whether nothing more is to be seen, or the trace is full: nothing may pass then, so nothing need go on.
    fn is_over(&self) -> bool {
        self.is_full() || self.follower.is_finished(self.drive.now())
    }

    /// Lets what is on its way arrive: frames in memory until none is left, a real network for a while.
    async fn settle(&mut self) -> Result<(), Fault> {
        let patience = match self.field {
            Field::Memory => self.drive.now() + Duration::from_secs(1),
            Field::Sockets | Field::SocketsV6 => self.drive.now() + SETTLE,
        };
        while self.field.is_real() || self.drive.is_busy() {
            let progress = self.drive.step(patience).await?;
            self.record();
            // Somebody may go on for ever.
            if progress != Progress::Moved || self.drive.now() >= patience || self.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// When a stimulus may go out. A guest may send its challenge a moment before it puts down that it did, and
    /// challenge again whoever answers faster than any user; where guests take part, answers take their time.
    fn has_answer_ready(&mut self, stimulus: &Stimulus<'_>) -> At {
        let is_answer = match &stimulus.step.verb {
            Verb::Send(send) => send.authorize.is_some(),
            _ => false,
        };
        if !is_answer || self.guests.is_none() {
            return At::ZERO;
        }
        match self.answering {
            Some((index, ready)) if index == stimulus.index => ready,
            _ => {
                let ready = self.drive.now() + ANSWERING;
                self.answering = Some((stimulus.index, ready));
                ready
            }
        }
    }

    /// When the next stimulus may go out after one that a guest is still being told: steps happen in order, but who
    /// answers only once all is done is not waited for.
    fn has_been_told(&self) -> At {
        let is_being_told = self.guests.is_some_and(Guests::is_being_told);
        let now = self.drive.now();
        match is_being_told && now < self.stimulated + TELLING {
            true => now + LOOK_AGAIN,
            false => At::ZERO,
        }
    }

    /// `until`, or earlier where guests have to be looked after.
    fn soon(&self, until: At) -> At {
        match self.guests {
            Some(_) => until.min(self.drive.now() + LOOK_AFTER),
            None => until,
        }
    }

    /// Takes down what became of guests; whether that ends the run.
    fn look_after_guests(&mut self) -> bool {
        let news = self.guests.map(Guests::news).unwrap_or_default();
        let is_any = !news.is_empty();
        for one in news {
            let (node, trouble) = match one {
                News::Ended { node, ending } => {
                    if ending.is_unsupported() {
                        let why = format!(
                            "{node} says so: it ended with status 127 (a shell does too that does not find the command: see its log)"
                        );
                        self.absence = Some(Absence::Unsupported(why));
                    }
                    (node, Trouble::Ended(ending.to_string()))
                }
                News::NotPushed { node, why } => (node, Trouble::NotPushed(why)),
            };
            let kind = EventKind::Guest { node, trouble };
            let at = self.drive.now();
            self.push(Event { at, kind });
        }
        is_any
    }

    fn is_full(&self) -> bool {
        self.octets > TRACE_LIMIT
    }

    fn stimulate(&mut self, stimulus: Stimulus<'a>) -> Result<(), Fault> {
        let index = stimulus.index;
        self.stimulated = self.drive.now();
        let done = self
            .stimulator
            .carry_out(&mut self.drive, &self.follower, stimulus.step);
        let mark = done.map_err(|why| Fault::Step { step: index, why })?;
        // The mark comes first: what the stimulus causes comes after it.
        self.push(Event {
            at: self.drive.now(),
            kind: EventKind::Step { index, mark },
        });
        self.record();
        Ok(())
    }

    /// Takes over what the transport recorded.
    fn record(&mut self) {
        for event in self.drive.drain() {
            self.push(event);
        }
    }

    fn push(&mut self, event: Event) {
        if self.octets > TRACE_LIMIT {
            return;
        }
        self.octets += EVENT_SIZE + event.frame().map_or(0, |frame| frame.bytes.len());
        let event = if self.octets > TRACE_LIMIT {
            Event {
                at: event.at,
                kind: EventKind::Truncated,
            }
        } else {
            event
        };
        if let EventKind::Link {
            link,
            event: LinkEvent::Closed | LinkEvent::Reset,
            ..
        } = &event.kind
        {
            self.stimulator.forget(*link);
        }
        self.follower.feed(self.trace.events.len(), &event);
        self.trace.events.push(event);
    }
}

/// Runs a future that never waits: the memory network has nothing to wait for.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the memory network never waits"),
    }
}
