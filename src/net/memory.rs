//! A network in memory, on virtual time: a queue ordered by when things happen, and a clock that jumps to
//! the next of them. Latency is drawn from the seed; the same seed gives the same trace, octet for octet.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;

use super::{
    Arrival, Faults, Map, NetError, Stillness, Tap, Transport, Wake, fault::Fate, tap::Datagram,
};
use crate::{
    io::{LinkEvent, OpenSecurity, Output, TimerId},
    random::Random,
    spec::{Format, RefPoint},
    time::At,
    trace::{Event, EventKind, ListenTransport},
    wire::frame::{Frame, Framer, LinkId, NodeName, Security},
};

/// The network of one run.
#[derive(Debug)]
pub struct Memory {
    now: At,
    map: Map,
    tap: Tap,
    faults: Faults,
    random: Random,
    queue: BTreeMap<(At, u64), Item>,
    sequence: u64,
    traffic: usize,
    connections: Vec<Connection>,
    ends: BTreeMap<(NodeName, LinkId), (usize, Side)>,
    timers: BTreeMap<(NodeName, TimerId), (At, u64)>,
    ports: BTreeMap<NodeName, u16>,
    accepted: BTreeMap<NodeName, u64>,
    still: BTreeMap<NodeName, Stillness>,
    ready: std::collections::VecDeque<(NodeName, Arrival)>,
}

#[derive(Debug)]
enum Item {
    Datagram {
        to: NodeName,
        frame: Frame,
    },
    Octets {
        connection: usize,
        to: Side,
        bytes: Bytes,
    },
    Link {
        node: NodeName,
        link: LinkId,
        on: RefPoint,
        event: LinkEvent,
    },
    /// The connection ends for one side: everything sent before has arrived.
    End {
        connection: usize,
        to: Side,
        event: LinkEvent,
    },
    Timer {
        node: NodeName,
        timer: TimerId,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Opener = 0,
    Listener = 1,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Opener => Side::Listener,
            Side::Listener => Side::Opener,
        }
    }
}

#[derive(Debug)]
struct Connection {
    on: RefPoint,
    format: Format,
    security: Security,
    ends: [End; 2],
    open: bool,
}

/// One end of a connection, as a receiver.
#[derive(Debug)]
struct End {
    node: NodeName,
    link: LinkId,
    addr: SocketAddr,
    framer: Framer,
    /// Nothing arrives before this: order is kept.
    not_before: At,
    carried: usize,
}

/// How long a connection attempt to a node that is silent takes to fail.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const FIRST_EPHEMERAL_PORT: u16 = 32768;

impl Memory {
    pub fn new(map: Map, faults: Faults, seed: u64) -> Memory {
        Memory {
            now: At::ZERO,
            map,
            tap: Tap::default(),
            faults,
            random: Random::new(seed),
            queue: BTreeMap::new(),
            sequence: 0,
            traffic: 0,
            connections: Vec::new(),
            ends: BTreeMap::new(),
            timers: BTreeMap::new(),
            ports: BTreeMap::new(),
            accepted: BTreeMap::new(),
            still: BTreeMap::new(),
            ready: std::collections::VecDeque::new(),
        }
    }

    /// One way: 0.5 to 1.5 ms.
    fn latency(&mut self) -> Duration {
        Duration::from_nanos(500_000 + self.random.below(1_000_000))
    }

    fn push(&mut self, at: At, item: Item) -> (At, u64) {
        if !matches!(item, Item::Timer { .. }) {
            self.traffic += 1;
        }
        self.sequence += 1;
        let key = (at, self.sequence);
        self.queue.insert(key, item);
        key
    }

    fn datagram(
        &mut self,
        from: &NodeName,
        on: RefPoint,
        dst: SocketAddr,
        bytes: Bytes,
    ) -> Result<(), NetError> {
        let (src, format) =
            self.map
                .datagram_listener(from, on)
                .ok_or_else(|| NetError::NoListener {
                    node: from.clone(),
                    on,
                })?;
        let listening = self.map.listening(dst, Datagram::Yes).cloned();
        let frame = Frame {
            from: self.map.party(src),
            to: self.map.party(dst),
            src,
            dst,
            on: listening.as_ref().map_or(on, |l| l.on),
            format,
            link: None,
            security: Security::Plain,
            bytes,
            framed: true,
        };
        self.tap.record(self.now, EventKind::Sent(frame.clone()));
        let fate = self.faults.datagram(on, frame.bytes.len());
        match (fate, listening) {
            (Fate::Lost, _) | (_, None) => self.tap.record(self.now, EventKind::Lost(frame)),
            (Fate::Delivered { delays, corrupt }, Some(listening)) => {
                let mut arriving = frame;
                if let Some((octet, mask)) = corrupt {
                    let mut changed = arriving.bytes.to_vec();
                    changed[octet] ^= mask;
                    arriving.bytes = changed.into();
                }
                for delay in delays {
                    let at = self.now + self.latency() + delay;
                    let item = Item::Datagram {
                        to: listening.node.clone(),
                        frame: arriving.clone(),
                    };
                    self.push(at, item);
                }
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        from: &NodeName,
        link: LinkId,
        on: RefPoint,
        to: SocketAddr,
        asked: OpenSecurity,
    ) -> Result<(), NetError> {
        self.tap.opening(self.now, from, on, self.map.party(to));
        let there = self.now + self.latency();
        let back = there + self.latency();
        let link_event = |event| Item::Link {
            node: from.clone(),
            link,
            on,
            event,
        };
        let Some(listening) = self.map.listening(to, Datagram::No).cloned() else {
            self.push(back, link_event(LinkEvent::Refused));
            return Ok(());
        };
        match self.still.get(&listening.node) {
            Some(Stillness::Silent) => {
                self.push(self.now + CONNECT_TIMEOUT, link_event(LinkEvent::TimedOut));
                return Ok(());
            }
            Some(Stillness::Gone) => {
                self.push(back, link_event(LinkEvent::Refused));
                return Ok(());
            }
            None => {}
        }
        let security = match (listening.transport, asked) {
            (ListenTransport::Tls, OpenSecurity::Tls { client, trusts }) => {
                if !trusts.contains(&listening.certificate) {
                    let why = format!("a certificate that is {}", listening.certificate);
                    self.push(back, link_event(LinkEvent::NotSecured { why }));
                    return Ok(());
                }
                Security::Tls { client }
            }
            (ListenTransport::Tcp, OpenSecurity::Plain) => Security::Plain,
            // A handshake with somebody who speaks no TLS, or none with somebody who does.
            _ => {
                self.push(back, link_event(LinkEvent::Reset));
                return Ok(());
            }
        };
        let ip = self
            .map
            .ip(from)
            .ok_or_else(|| NetError::UnknownNode { node: from.clone() })?;
        let local = SocketAddr::new(ip, self.ephemeral_port(from));
        let accepted = self.accepted.entry(listening.node.clone()).or_insert(0);
        *accepted += 1;
        let accepted_link = LinkId(*accepted * 2 - 1);
        let end = |node: &NodeName, link, addr, not_before| End {
            node: node.clone(),
            link,
            addr,
            framer: Framer::new(listening.format),
            not_before,
            carried: 0,
        };
        let connection = self.connections.len();
        self.connections.push(Connection {
            on: listening.on,
            format: listening.format,
            security: security.clone(),
            ends: [
                end(from, link, local, back),
                end(&listening.node, accepted_link, to, there),
            ],
            open: true,
        });
        self.ends
            .insert((from.clone(), link), (connection, Side::Opener));
        self.ends.insert(
            (listening.node.clone(), accepted_link),
            (connection, Side::Listener),
        );
        let event = LinkEvent::Accepted {
            on: listening.on,
            format: listening.format,
            from: local,
            local: to,
            security,
        };
        self.push(
            there,
            Item::Link {
                node: listening.node,
                link: accepted_link,
                on: listening.on,
                event,
            },
        );
        self.push(
            back,
            Item::Link {
                node: from.clone(),
                link,
                on: listening.on,
                event: LinkEvent::Opened,
            },
        );
        Ok(())
    }

    fn ephemeral_port(&mut self, node: &NodeName) -> u16 {
        let port = self
            .ports
            .entry(node.clone())
            .or_insert(FIRST_EPHEMERAL_PORT);
        let given = *port;
        *port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
        given
    }

    /// Octets on a link that has ended, or never stood, go nowhere: a sender learns of it by the event
    /// that is on its way to it.
    fn send(&mut self, from: &NodeName, link: LinkId, bytes: Bytes) {
        let Some(&(connection, side)) = self.ends.get(&(from.clone(), link)) else {
            return;
        };
        if !self.connections[connection].open {
            return;
        }
        let frame = self.frame(connection, side, bytes.clone(), link, true);
        let on = frame.on;
        self.tap.record(self.now, EventKind::Sent(frame));
        let latency = self.latency();
        let to = side.other();
        let carried = self.connections[connection].ends[to as usize].carried;
        let fate = self.faults.stream(on, carried);
        let mut at = self.now + latency + fate.delay;
        let (mut rest, cut) = match fate.cut_after {
            Some(limit) if carried + bytes.len() > limit => {
                (bytes.slice(..limit.saturating_sub(carried)), true)
            }
            _ => (bytes.clone(), false),
        };
        self.connections[connection].ends[to as usize].carried += bytes.len();
        while !rest.is_empty() {
            let part = rest.split_to(fate.split.unwrap_or(rest.len()).clamp(1, rest.len()));
            at = self.in_order(connection, to, at);
            self.push(
                at,
                Item::Octets {
                    connection,
                    to,
                    bytes: part,
                },
            );
            at += Duration::from_micros(1);
        }
        if cut {
            self.finish(connection, at, [LinkEvent::Reset, LinkEvent::Reset]);
        }
    }

    /// The frame that octets from one side make, before the other side's codec has cut them.
    fn frame(
        &self,
        connection: usize,
        from: Side,
        bytes: Bytes,
        link: LinkId,
        framed: bool,
    ) -> Frame {
        let c = &self.connections[connection];
        let (sender, receiver) = (&c.ends[from as usize], &c.ends[from.other() as usize]);
        Frame {
            from: crate::wire::frame::Party::Node(sender.node.clone()),
            to: crate::wire::frame::Party::Node(receiver.node.clone()),
            src: sender.addr,
            dst: receiver.addr,
            on: c.on,
            format: c.format,
            link: Some(link),
            security: c.security.clone(),
            bytes,
            framed,
        }
    }

    fn in_order(&mut self, connection: usize, to: Side, at: At) -> At {
        let end = &mut self.connections[connection].ends[to as usize];
        let at = at.max(end.not_before);
        end.not_before = at;
        at
    }

    fn close(&mut self, from: &NodeName, link: LinkId, abort: bool) {
        let Some(&(connection, side)) = self.ends.get(&(from.clone(), link)) else {
            return;
        };
        if !self.connections[connection].open {
            return;
        }
        self.connections[connection].open = false;
        let latency = self.latency();
        let event = if abort {
            LinkEvent::Reset
        } else {
            LinkEvent::Closed
        };
        let at = self.in_order(connection, side.other(), self.now + latency);
        self.push(
            at,
            Item::End {
                connection,
                to: side.other(),
                event,
            },
        );
    }

    fn finish(&mut self, connection: usize, at: At, events: [LinkEvent; 2]) {
        self.connections[connection].open = false;
        for (side, event) in [Side::Opener, Side::Listener].into_iter().zip(events) {
            let at = self.in_order(connection, side, at);
            self.push(
                at,
                Item::End {
                    connection,
                    to: side,
                    event,
                },
            );
        }
    }

    fn is_still(&self, node: &NodeName) -> bool {
        self.still.contains_key(node)
    }

    /// Carries out one due item; what it means for a node goes to `ready`.
    fn happen(&mut self, item: Item) {
        match item {
            Item::Timer { node, timer } => {
                self.timers.remove(&(node.clone(), timer));
                self.hand(node, Arrival::Timer(timer));
            }
            Item::Datagram { to, frame } => self.receive(to, frame),
            Item::Link {
                node,
                link,
                on,
                event,
            } => {
                if !self.is_still(&node) {
                    let kind = EventKind::Link {
                        node: node.clone(),
                        link,
                        on,
                        event: event.clone(),
                    };
                    self.tap.record(self.now, kind);
                    self.hand(node, Arrival::Link(link, event));
                }
            }
            Item::Octets {
                connection,
                to,
                bytes,
            } => {
                self.connections[connection].ends[to as usize]
                    .framer
                    .feed(&bytes);
                self.deliver(connection, to);
            }
            Item::End {
                connection,
                to,
                event,
            } => {
                self.deliver_leftover(connection, to);
                let end = &self.connections[connection].ends[to as usize];
                let (node, link) = (end.node.clone(), end.link);
                let on = self.connections[connection].on;
                if !self.is_still(&node) {
                    let kind = EventKind::Link {
                        node: node.clone(),
                        link,
                        on,
                        event: event.clone(),
                    };
                    self.tap.record(self.now, kind);
                    self.hand(node, Arrival::Link(link, event));
                }
            }
        }
    }

    fn deliver(&mut self, connection: usize, to: Side) {
        loop {
            match self.connections[connection].ends[to as usize]
                .framer
                .next_message()
            {
                Ok(Some(bytes)) => self.receive_on(connection, to, bytes, true),
                Ok(None) => break,
                Err(_) => break,
            }
        }
        if self.connections[connection].ends[to as usize]
            .framer
            .is_broken()
        {
            self.deliver_leftover(connection, to);
        }
    }

    /// Octets that never framed, as one last frame marked so.
    fn deliver_leftover(&mut self, connection: usize, to: Side) {
        let rest = self.connections[connection].ends[to as usize]
            .framer
            .leftover();
        if !rest.is_empty() {
            self.receive_on(connection, to, rest, false);
        }
    }

    fn receive_on(&mut self, connection: usize, to: Side, bytes: Bytes, framed: bool) {
        let end = &self.connections[connection].ends[to as usize];
        let (node, link) = (end.node.clone(), end.link);
        let frame = self.frame(connection, to.other(), bytes, link, framed);
        self.receive(node, frame);
    }

    fn receive(&mut self, node: NodeName, frame: Frame) {
        if self.is_still(&node) {
            self.tap.record(self.now, EventKind::Lost(frame));
            return;
        }
        self.tap
            .record(self.now, EventKind::Received(frame.clone()));
        self.hand(node, Arrival::Frame(frame));
    }

    fn hand(&mut self, node: NodeName, what: Arrival) {
        if !self.is_still(&node) {
            self.ready.push_back((node, what));
        }
    }

    fn wake(&mut self, until: At) -> Wake {
        loop {
            if let Some((at, what)) = self.ready.pop_front() {
                return Wake::Arrived { at, what };
            }
            let Some((&(at, _), _)) = self.queue.first_key_value() else {
                return Wake::Quiet;
            };
            if at > until {
                self.now = self.now.max(until);
                return Wake::Until;
            }
            let (_, item) = self
                .queue
                .pop_first()
                .expect("queue is not empty: looked at above");
            if !matches!(item, Item::Timer { .. }) {
                self.traffic -= 1;
            }
            self.now = self.now.max(at);
            self.happen(item);
        }
    }
}

impl Transport for Memory {
    fn now(&self) -> At {
        self.now
    }

    fn perform(&mut self, from: &NodeName, output: Output) -> Result<(), NetError> {
        if self.is_still(from) {
            return Ok(());
        }
        match output {
            Output::Datagram { on, to, bytes } => self.datagram(from, on, to, bytes)?,
            Output::Open {
                link,
                on,
                format: _,
                to,
                security,
            } => self.open(from, link, on, to, security)?,
            Output::Send { link, bytes } => self.send(from, link, bytes),
            Output::Close { link, abort } => self.close(from, link, abort),
            Output::Arm { timer, at } => {
                let at = at.max(self.now);
                let key = self.push(
                    at,
                    Item::Timer {
                        node: from.clone(),
                        timer,
                    },
                );
                if let Some(old) = self.timers.insert((from.clone(), timer), key) {
                    self.queue.remove(&old);
                }
            }
            Output::Disarm(timer) => {
                if let Some(key) = self.timers.remove(&(from.clone(), timer)) {
                    self.queue.remove(&key);
                }
            }
            Output::Note(note) => self.tap.record(
                self.now,
                EventKind::Noted {
                    node: from.clone(),
                    note,
                },
            ),
        }
        Ok(())
    }

    async fn next(&mut self, until: At) -> Result<Wake, NetError> {
        Ok(self.wake(until))
    }

    fn pass(&mut self, until: At) {
        self.now = self.now.max(until);
    }

    fn still(&mut self, node: &NodeName, how: Stillness) {
        if how == Stillness::Gone {
            for connection in 0..self.connections.len() {
                let c = &self.connections[connection];
                if c.open && c.ends.iter().any(|end| end.node == *node) {
                    let at = self.now + Duration::from_millis(1);
                    self.finish(connection, at, [LinkEvent::Reset, LinkEvent::Reset]);
                }
            }
        }
        self.still.insert(node.clone(), how);
    }

    fn drain(&mut self) -> Vec<Event> {
        self.tap.drain()
    }

    fn is_busy(&self) -> bool {
        self.traffic > 0 || !self.ready.is_empty()
    }
}
