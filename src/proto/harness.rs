//! For tests: a few parties joined by a network on virtual time, which may lose datagrams. Streams lose
//! nothing; a connection to nobody is refused.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use crate::{
    io::{Input, LinkEvent, Outbox, Output, TimerId},
    random::Random,
    spec::{Format, RefPoint},
    time::At,
    wire::frame::{Frame, LinkId, Party, Security},
};

/// One party: whatever takes inputs and pushes outputs.
pub trait Actor {
    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox);
}

pub struct World<A> {
    pub at: At,
    pub actors: Vec<A>,
    /// Frames that arrived, in order.
    pub seen: Vec<Frame>,
    places: Vec<Place>,
    queue: BTreeMap<(At, u64), (usize, Happening)>,
    sequence: u64,
    random: Random,
    /// The share of datagrams that is lost.
    pub loss: f64,
}

struct Place {
    addrs: Vec<SocketAddr>,
    streams: bool,
    out: Outbox,
    timers: BTreeMap<TimerId, (At, u64)>,
    links: BTreeMap<LinkId, Wire>,
    accepted: u64,
}

/// The other end of a connection.
#[derive(Clone, Copy)]
struct Wire {
    peer: usize,
    theirs: LinkId,
    on: RefPoint,
    format: Format,
    /// Where this end is seen from.
    here: SocketAddr,
}

enum Happening {
    Frame(Frame),
    Link(LinkId, LinkEvent),
    Timer(TimerId),
}

impl<A: Actor> World<A> {
    pub fn new(seed: u64) -> World<A> {
        World {
            at: At::ZERO,
            actors: Vec::new(),
            seen: Vec::new(),
            places: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            random: Random::new(seed),
            loss: 0.0,
        }
    }

    /// Adds a party that listens at these addresses, with commas between; for streams too if `streams`.
    /// Datagrams leave from the first.
    pub fn add(&mut self, addrs: &str, streams: bool, actor: A) -> usize {
        self.actors.push(actor);
        let addrs = addrs.split(',');
        self.places.push(Place {
            addrs: addrs
                .map(|addr| addr.parse().expect("an address in a test"))
                .collect(),
            streams,
            out: Outbox::default(),
            timers: BTreeMap::new(),
            links: BTreeMap::new(),
            accepted: 1,
        });
        self.actors.len() - 1
    }

    /// Lets a party act by itself.
    pub fn act(&mut self, who: usize, act: impl FnOnce(&mut A, At, &mut Outbox)) {
        let mut out = std::mem::take(&mut self.places[who].out);
        act(&mut self.actors[who], self.at, &mut out);
        self.places[who].out = out;
        self.carry(who);
    }

    /// Runs until nothing is left to happen, or `limit`.
    pub fn run(&mut self, limit: Duration) {
        let end = At::ZERO + limit;
        while let Some((&(at, _), _)) = self.queue.first_key_value()
            && at <= end
        {
            let ((at, sequence), (who, happening)) = self.queue.pop_first().expect("seen above");
            if let Happening::Timer(timer) = happening
                && self.places[who].timers.get(&timer) != Some(&(at, sequence))
            {
                continue; // disarmed or moved meanwhile
            }
            self.at = at;
            self.happen(who, happening);
        }
    }

    fn happen(&mut self, who: usize, happening: Happening) {
        let at = self.at;
        match happening {
            Happening::Frame(frame) => {
                self.act(who, |actor, at, out| {
                    actor.handle(at, Input::Frame(&frame), out);
                });
                self.seen.push(frame);
            }
            Happening::Link(link, event) => {
                self.act(who, |actor, _, out| {
                    actor.handle(at, Input::Link(link, event), out);
                });
            }
            Happening::Timer(timer) => {
                self.places[who].timers.remove(&timer);
                self.act(who, |actor, _, out| {
                    actor.handle(at, Input::Timer(timer), out);
                });
            }
        }
    }

    fn carry(&mut self, who: usize) {
        let outputs: Vec<Output> = self.places[who].out.drain().collect();
        for output in outputs {
            match output {
                Output::Datagram { on, to, bytes } => {
                    let lost = self.random.chance(self.loss);
                    if let Some(other) = self.at_address(to)
                        && !lost
                    {
                        let src = self.places[who].addrs[0];
                        let frame = self.frame((who, src), (other, to), on, Format::Sip, bytes);
                        self.schedule(other, LATENCY, Happening::Frame(frame));
                    }
                }
                Output::Open {
                    link,
                    on,
                    format,
                    to,
                    ..
                } => self.open(who, link, (on, format), to),
                Output::Send { link, bytes } => {
                    if let Some(&wire) = self.places[who].links.get(&link)
                        && let Some(back) = self.places[wire.peer].links.get(&wire.theirs)
                    {
                        let ends = ((who, wire.here), (wire.peer, back.here));
                        let mut frame = self.frame(ends.0, ends.1, wire.on, wire.format, bytes);
                        frame.link = Some(wire.theirs);
                        self.schedule(wire.peer, LATENCY, Happening::Frame(frame));
                    }
                }
                Output::Close { link, .. } => self.cut(who, link, LinkEvent::Closed),
                Output::Arm { timer, at } => {
                    let wait = at.since(self.at);
                    let key = self.schedule(who, wait, Happening::Timer(timer));
                    self.places[who].timers.insert(timer, key);
                }
                Output::Disarm(timer) => {
                    self.places[who].timers.remove(&timer);
                }
                Output::Note(_) => {}
            }
        }
    }

    fn open(&mut self, who: usize, link: LinkId, kind: (RefPoint, Format), to: SocketAddr) {
        let Some(other) = self.at_address(to).filter(|&o| self.places[o].streams) else {
            self.schedule(who, LATENCY, Happening::Link(link, LinkEvent::Refused));
            return;
        };
        let (on, format) = kind;
        let from = SocketAddr::new(self.places[who].addrs[0].ip(), 40000 + link.0 as u16);
        let place = &mut self.places[other];
        place.accepted += 2;
        let theirs = LinkId(place.accepted);
        let wire = |peer, theirs, here| Wire {
            peer,
            theirs,
            on,
            format,
            here,
        };
        place.links.insert(theirs, wire(who, link, to));
        self.places[who]
            .links
            .insert(link, wire(other, theirs, from));
        let event = LinkEvent::Accepted {
            on,
            format,
            from,
            local: to,
            security: Security::Plain,
        };
        self.schedule(other, LATENCY, Happening::Link(theirs, event));
        self.schedule(who, LATENCY, Happening::Link(link, LinkEvent::Opened));
    }

    /// Breaks a connection as seen from the other end.
    pub fn cut(&mut self, who: usize, link: LinkId, event: LinkEvent) {
        if let Some(wire) = self.places[who].links.remove(&link) {
            self.places[wire.peer].links.remove(&wire.theirs);
            self.schedule(wire.peer, LATENCY, Happening::Link(wire.theirs, event));
        }
    }

    /// Breaks every connection of a party, at both ends.
    pub fn reset_all(&mut self, who: usize) {
        let links: Vec<LinkId> = self.places[who].links.keys().copied().collect();
        for link in links {
            self.schedule(who, LATENCY, Happening::Link(link, LinkEvent::Reset));
            self.cut(who, link, LinkEvent::Reset);
        }
    }

    fn frame(
        &self,
        (from, src): (usize, SocketAddr),
        (to, dst): (usize, SocketAddr),
        on: RefPoint,
        format: Format,
        bytes: bytes::Bytes,
    ) -> Frame {
        Frame {
            from: Party::Unknown(self.places[from].addrs[0]),
            to: Party::Unknown(self.places[to].addrs[0]),
            src,
            dst,
            on,
            format,
            link: None,
            security: Security::Plain,
            bytes,
            framed: true,
        }
    }

    fn at_address(&self, addr: SocketAddr) -> Option<usize> {
        self.places
            .iter()
            .position(|place| place.addrs.contains(&addr))
    }

    fn schedule(&mut self, who: usize, wait: Duration, happening: Happening) -> (At, u64) {
        self.sequence += 1;
        let key = (self.at + wait, self.sequence);
        self.queue.insert(key, (who, happening));
        key
    }
}

/// One way.
const LATENCY: Duration = Duration::from_millis(5);
