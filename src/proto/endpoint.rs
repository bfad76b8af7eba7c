//! A node's SIP side: transactions, connections and timers behind one door.
//!
//! A node hands it every input first ([`SipEndpoint::take`]), gets events back, and sends through it. The
//! machines of RFC 3261 17 live in `transaction`; matching stands in `arrival`, transports and connections in
//! `departure`, Via in `identity`. It knows no role: what a proxy does with its transactions stands in `proxy`.

mod arrival;
mod departure;
mod identity;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;

use departure::transmit;
use identity::acknowledged_by;

use super::transaction::{
    Answerer, ClientStep, InviteClient, InviteServer, NonInviteClient, NonInviteServer, ServerStep,
};
use crate::{
    io::{Input, Outbox, TimerId},
    random::Random,
    spec::{Format, RefPoint},
    time::At,
    wire::{
        Malformed,
        frame::{LinkId, Security},
        sip::{self, Builder, Message},
    },
};

pub use super::transaction::{SipTransport, Timers};

/// Where this node speaks SIP. A reference point may have one port for each transport: the first is
/// preferred, the other takes what does not fit.
#[derive(Clone, Debug)]
pub struct SipPort {
    pub on: RefPoint,
    pub local: SocketAddr,
    pub transport: SipTransport,
    /// Octets; a request over UDP larger than this less 200 (1300 if unknown) goes over TCP (RFC 3261 18.1.1).
    pub path_mtu: Option<usize>,
    pub timers: Timers,
}

impl SipPort {
    /// The longest request that may go as a datagram (RFC 3261 18.1.1).
    fn longest_datagram(&self) -> usize {
        longest_datagram(self.path_mtu)
    }
}

/// The longest request, in octets, that may go as a datagram on a path of this MTU (RFC 3261 18.1.1).
pub fn longest_datagram(path_mtu: Option<usize>) -> usize {
    path_mtu.map_or(1300, |mtu| mtu.saturating_sub(200))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerTxn(pub u64);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientTxn(pub u64);

/// Where a message came from.
#[derive(Clone, Debug)]
pub struct Source {
    pub on: RefPoint,
    pub addr: SocketAddr,
    pub link: Option<LinkId>,
    pub security: Security,
}

#[derive(Clone, Debug)]
pub enum SipEvent {
    /// A new request (not ACK, not CANCEL, not a retransmission).
    Request {
        txn: ServerTxn,
        request: Message,
        source: Source,
    },
    /// An ACK that no INVITE server transaction absorbed: the ACK of a 2xx.
    Ack { request: Message, source: Source },
    /// A CANCEL (already answered 200) of a pending INVITE; the owner answers 487 or cancels downstream.
    Cancelled { txn: ServerTxn, cancel: Message },
    /// A response to a request sent with `send`. A 2xx to INVITE may come more than once.
    Response {
        txn: ClientTxn,
        response: Message,
        source: Source,
    },
    /// No final response will come.
    Failed { txn: ClientTxn, why: Failure },
    /// A 2xx this node sent to an INVITE was never acknowledged (64*T1).
    AckMissing { txn: ServerTxn },
    /// A response that matches no transaction.
    Stray { response: Message, source: Source },
    /// Octets that are no SIP message.
    Unreadable {
        malformed: Malformed,
        source: Source,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Timeout,
    Transport,
}

/// Transactions, connections and timers of one node.
#[derive(Debug)]
pub struct SipEndpoint {
    ports: Vec<SipPort>,
    random: Random,
    trying: Duration,
    next: u64,
    clients: BTreeMap<ClientTxn, Client>,
    branches: BTreeMap<(String, Kind), ClientTxn>,
    servers: BTreeMap<ServerTxn, Server>,
    keys: BTreeMap<String, ServerTxn>,
    /// Our 2xx waiting for ACK, by dialog and CSeq.
    unacknowledged: BTreeMap<String, ServerTxn>,
    connections: BTreeMap<LinkId, Connection>,
    /// Connections are shared within a reference point, never across.
    reusable: BTreeMap<(RefPoint, SocketAddr), LinkId>,
    due: BTreeSet<(At, Owner)>,
    alarm: Option<TimerId>,
    armed: Option<At>,
}

/// CANCEL shares its branch with the INVITE it cancels (RFC 3261 9.1), so a branch alone names two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Cancel,
    Invite,
    Other,
}

impl Kind {
    fn of(method: &str) -> Kind {
        match method {
            "CANCEL" => Kind::Cancel,
            "INVITE" | "ACK" => Kind::Invite,
            _ => Kind::Other,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Client(ClientTxn),
    Server(ServerTxn),
}

#[derive(Debug)]
struct Connection {
    on: RefPoint,
    remote: SocketAddr,
}

/// How a message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Datagram,
    Link(LinkId),
}

#[derive(Debug)]
struct Client {
    machine: ClientMachine,
    /// As the owner gave it, without our Via.
    bare: Message,
    /// As sent.
    request: Message,
    branch: String,
    kind: Kind,
    on: RefPoint,
    to: SocketAddr,
    way: Option<Way>,
    /// It went over TCP only for its size: a refusal sends it over UDP after all (RFC 3261 18.1.1).
    upsized: bool,
    cancel: Cancel,
    due: Option<At>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    No,
    /// Asked for, but no provisional response came yet.
    Wanted,
    Sent,
}

#[derive(Debug)]
enum ClientMachine {
    Invite(InviteClient),
    NonInvite(NonInviteClient),
    /// There is no way out: fails at the given time.
    Lost(At),
}

#[derive(Debug)]
struct Server {
    machine: ServerMachine,
    /// `None` once a user agent has answered it finally: what is still needed of it is the answer.
    request: Option<Message>,
    key: String,
    back: Back,
    last: Option<Bytes>,
    unacknowledged: Option<String>,
    due: Option<At>,
}

#[derive(Debug)]
enum ServerMachine {
    Invite(InviteServer),
    NonInvite(NonInviteServer),
}

/// Where responses go (RFC 3261 18.2.2, RFC 3581 4).
#[derive(Clone, Copy, Debug)]
struct Back {
    on: RefPoint,
    to: SocketAddr,
    /// The connection the request came on.
    link: Option<LinkId>,
    /// Where to connect if that is gone.
    reopen: SocketAddr,
}

impl SipEndpoint {
    /// `seed` feeds branches. They start with z9hG4bK.
    pub fn new(ports: Vec<SipPort>, seed: u64) -> SipEndpoint {
        SipEndpoint {
            ports,
            random: Random::new(seed),
            trying: TRYING,
            next: 0,
            clients: BTreeMap::new(),
            branches: BTreeMap::new(),
            servers: BTreeMap::new(),
            keys: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            connections: BTreeMap::new(),
            reusable: BTreeMap::new(),
            due: BTreeSet::new(),
            alarm: None,
            armed: None,
        }
    }

    /// How long the owner may take before an INVITE is answered 100; 200 ms unless told otherwise
    /// (RFC 3261 17.2.1). Zero answers at once, as a proxy does.
    pub fn trying_after(mut self, wait: Duration) -> SipEndpoint {
        self.trying = wait;
        self
    }

    /// Takes an input if it is SIP's: a frame of format SIP, an event of a SIP link, a timer of this endpoint.
    /// `None`: not ours.
    pub fn take(&mut self, at: At, input: &Input<'_>, out: &mut Outbox) -> Option<Vec<SipEvent>> {
        let mut events = Vec::new();
        match input {
            Input::Frame(frame) if frame.format == Format::Sip => {
                self.frame(at, frame, out, &mut events);
            }
            Input::Link(link, event) => {
                if !self.link(at, *link, event, out, &mut events) {
                    return None;
                }
            }
            Input::Timer(timer) if self.alarm == Some(*timer) => {
                self.armed = None;
                self.wake(at, out, &mut events);
            }
            _ => return None,
        }
        self.arm(out);
        Some(events)
    }

    /// Sends a request in a new client transaction: adds Via on top (sent-by = the port's local address),
    /// picks UDP or TCP, reuses or opens a connection. Not for ACK.
    pub fn send(
        &mut self,
        at: At,
        on: RefPoint,
        to: SocketAddr,
        request: Message,
        out: &mut Outbox,
    ) -> ClientTxn {
        let branch = self.branch();
        let txn = self.start(at, on, to, request, branch, out);
        self.arm(out);
        txn
    }

    /// The same, with a mark in the branch that is found again if the request comes back.
    pub fn send_marked(
        &mut self,
        at: At,
        on: RefPoint,
        to: SocketAddr,
        request: Message,
        mark: &str,
        out: &mut Outbox,
    ) -> ClientTxn {
        let branch = format!("{}.{mark}", self.branch());
        let txn = self.start(at, on, to, request, branch, out);
        self.arm(out);
        txn
    }

    /// Whether a request has a Via of ours with this mark: it was sent from here as it comes now.
    pub fn has_sent(&self, request: &Message, mark: &str) -> bool {
        let vias = request.values("Via");
        let mut vias = vias.iter().filter_map(|via| sip::Via::parse(via).ok());
        vias.any(|via| {
            let branch = via.branch().unwrap_or_default();
            let is_marked = branch
                .rsplit_once('.')
                .is_some_and(|(_, found)| found == mark);
            is_marked && self.is_ours(&via)
        })
    }

    /// Sends an ACK for a 2xx, or any request that wants no transaction.
    pub fn send_alone(
        &mut self,
        _at: At,
        on: RefPoint,
        to: SocketAddr,
        request: Message,
        out: &mut Outbox,
    ) {
        let branch = self.branch();
        if let Some(outgoing) = self.dress(on, &request, &branch) {
            let way = self.way(on, to, outgoing.transport, out);
            transmit(on, to, way, outgoing.request.bytes(), out);
        }
    }

    /// Answers. A 2xx to an INVITE sent by a UAS (`uas` true) is repeated until its ACK (RFC 3261 13.3.1.4).
    /// Once the transaction is over, or has its final response, this does nothing. A non-INVITE request that is
    /// never answered is forgotten after 64*T1, in silence (RFC 4320 4.2).
    pub fn respond(
        &mut self,
        at: At,
        txn: ServerTxn,
        response: Message,
        uas: bool,
        out: &mut Outbox,
    ) {
        let Some(status) = response.status() else {
            return;
        };
        let Some(server) = self.servers.get_mut(&txn) else {
            return;
        };
        let answerer = match uas {
            true => Answerer::Uas,
            false => Answerer::Proxy,
        };
        let may_go = match &mut server.machine {
            ServerMachine::Invite(machine) => machine.respond(at, status, answerer),
            ServerMachine::NonInvite(machine) => machine.respond(at, status),
        };
        if !may_go {
            return;
        }
        if uas && status >= 200 {
            // It may be remembered for long: no octet more than it has.
            server.last = Some(Bytes::copy_from_slice(response.bytes()));
            server.request = None;
        } else {
            server.last = Some(response.bytes().clone());
        }
        let awaits_ack = uas
            && (200..300).contains(&status)
            && matches!(server.machine, ServerMachine::Invite(_));
        if awaits_ack && let Some(dialog) = acknowledged_by(&response) {
            if let Some(old) = server.unacknowledged.replace(dialog.clone()) {
                self.unacknowledged.remove(&old);
            }
            self.unacknowledged.insert(dialog, txn);
        }
        let back = server.back;
        self.answer(back, response.bytes(), out);
        self.settle(Owner::Server(txn));
        self.arm(out);
    }

    /// Cancels a pending INVITE: at once after a provisional, else when one comes (RFC 3261 9.1).
    pub fn cancel(&mut self, at: At, txn: ClientTxn, out: &mut Outbox) {
        let Some(client) = self.clients.get_mut(&txn) else {
            return;
        };
        let ClientMachine::Invite(machine) = &client.machine else {
            return;
        };
        if !machine.is_pending() || client.cancel != Cancel::No {
            return;
        }
        client.cancel = Cancel::Wanted;
        if !machine.is_calling() {
            self.send_cancel(at, txn, out);
            self.arm(out);
        }
    }

    /// The request a client transaction sent, with its Via.
    pub fn request(&self, txn: ClientTxn) -> Option<&Message> {
        self.clients.get(&txn).map(|client| &client.request)
    }

    /// The request a server transaction holds: until a user agent has answered it finally.
    pub fn incoming(&self, txn: ServerTxn) -> Option<&Message> {
        self.servers
            .get(&txn)
            .and_then(|server| server.request.as_ref())
    }

    /// Whether no transaction is left.
    pub fn is_idle(&self) -> bool {
        self.clients.is_empty()
            && self.servers.is_empty()
            && self.branches.is_empty()
            && self.keys.is_empty()
            && self.unacknowledged.is_empty()
            && self.due.is_empty()
    }

    fn wake(&mut self, at: At, out: &mut Outbox, events: &mut Vec<SipEvent>) {
        while let Some(&(due, owner)) = self.due.first()
            && due <= at
        {
            match owner {
                Owner::Client(txn) => self.wake_client(at, txn, out, events),
                Owner::Server(txn) => self.wake_server(at, txn, out, events),
            }
        }
    }

    fn wake_client(
        &mut self,
        at: At,
        txn: ClientTxn,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) {
        let Some(client) = self.clients.get_mut(&txn) else {
            return;
        };
        let step = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.time(at),
            ClientMachine::NonInvite(machine) => machine.time(at),
            ClientMachine::Lost(_) => return self.fail(txn, Failure::Transport, events),
        };
        match step {
            ClientStep::Repeat => {
                if let Some(way) = client.way {
                    transmit(client.on, client.to, way, client.request.bytes(), out);
                }
            }
            ClientStep::TimedOut => return self.fail(txn, Failure::Timeout, events),
            _ => {}
        }
        self.settle(Owner::Client(txn));
    }

    fn wake_server(
        &mut self,
        at: At,
        txn: ServerTxn,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) {
        let Some(server) = self.servers.get_mut(&txn) else {
            return;
        };
        let step = match &mut server.machine {
            ServerMachine::Invite(machine) => machine.time(at),
            ServerMachine::NonInvite(machine) => machine.time(at),
        };
        self.step_server(txn, step, out, events);
        self.settle(Owner::Server(txn));
    }

    fn step_server(
        &mut self,
        txn: ServerTxn,
        step: ServerStep,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) {
        let Some(server) = self.servers.get_mut(&txn) else {
            return;
        };
        let back = server.back;
        match step {
            ServerStep::AckMissing => events.push(SipEvent::AckMissing { txn }),
            ServerStep::Nothing => {}
            ServerStep::Repeat => {
                if let Some(last) = server.last.clone() {
                    self.answer(back, &last, out);
                }
            }
            ServerStep::Trying => {
                let Some(request) = &server.request else {
                    return;
                };
                let trying = Builder::response(request, 100, sip::reason(100), None);
                let trying = trying.finish().bytes().clone();
                server.last = Some(trying.clone());
                self.answer(back, &trying, out);
            }
        }
    }

    /// Takes note of when a transaction is next due, or drops it if it is over.
    fn settle(&mut self, owner: Owner) {
        match owner {
            Owner::Client(txn) => {
                let Some(client) = self.clients.get_mut(&txn) else {
                    return;
                };
                if client.is_over() {
                    return self.drop_client(txn);
                }
                let due = client.machine.due();
                reschedule(&mut self.due, owner, &mut client.due, due);
            }
            Owner::Server(txn) => {
                let Some(server) = self.servers.get_mut(&txn) else {
                    return;
                };
                if server.is_over() {
                    return self.drop_server(txn);
                }
                let due = server.due();
                reschedule(&mut self.due, owner, &mut server.due, due);
            }
        }
    }

    fn drop_client(&mut self, txn: ClientTxn) {
        if let Some(client) = self.clients.remove(&txn) {
            self.branches.remove(&(client.branch, client.kind));
            if let Some(due) = client.due {
                self.due.remove(&(due, Owner::Client(txn)));
            }
        }
    }

    fn drop_server(&mut self, txn: ServerTxn) {
        if let Some(server) = self.servers.remove(&txn) {
            self.keys.remove(&server.key);
            if let Some(dialog) = server.unacknowledged {
                self.unacknowledged.remove(&dialog);
            }
            if let Some(due) = server.due {
                self.due.remove(&(due, Owner::Server(txn)));
            }
        }
    }

    /// One timer wakes the endpoint for all its transactions.
    fn arm(&mut self, out: &mut Outbox) {
        let next = self.due.first().map(|(due, _)| *due);
        if next == self.armed {
            return;
        }
        let alarm = *self.alarm.get_or_insert_with(|| out.fresh_timer());
        match next {
            Some(due) => out.arm(alarm, due),
            None => out.disarm(alarm),
        }
        self.armed = next;
    }

    fn port(&self, on: RefPoint, transport: SipTransport) -> Option<&SipPort> {
        self.ports
            .iter()
            .find(|port| port.on == on && port.transport == transport)
    }

    /// The timer values in force on a reference point.
    pub fn timers(&self, on: RefPoint) -> Timers {
        self.ports
            .iter()
            .find(|port| port.on == on)
            .map_or(Timers::on(on), |port| port.timers)
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn branch(&mut self) -> String {
        format!("{COOKIE}{}", self.random.token(16))
    }
}

impl Client {
    fn is_pending(&self) -> bool {
        match &self.machine {
            ClientMachine::Invite(machine) => machine.is_pending(),
            ClientMachine::NonInvite(machine) => machine.is_pending(),
            ClientMachine::Lost(_) => true,
        }
    }

    fn is_over(&self) -> bool {
        match &self.machine {
            ClientMachine::Invite(machine) => machine.is_over(),
            ClientMachine::NonInvite(machine) => machine.is_over(),
            ClientMachine::Lost(_) => false,
        }
    }
}

impl ClientMachine {
    fn new(at: At, kind: Kind, timers: Timers, transport: SipTransport) -> ClientMachine {
        match kind {
            Kind::Invite => ClientMachine::Invite(InviteClient::new(at, timers, transport)),
            _ => ClientMachine::NonInvite(NonInviteClient::new(at, timers, transport)),
        }
    }

    fn due(&self) -> Option<At> {
        match self {
            ClientMachine::Invite(machine) => machine.due(),
            ClientMachine::NonInvite(machine) => machine.due(),
            ClientMachine::Lost(at) => Some(*at),
        }
    }
}

impl Server {
    fn is_over(&self) -> bool {
        match &self.machine {
            ServerMachine::Invite(machine) => machine.is_over(),
            ServerMachine::NonInvite(machine) => machine.is_over(),
        }
    }

    fn due(&self) -> Option<At> {
        match &self.machine {
            ServerMachine::Invite(machine) => machine.due(),
            ServerMachine::NonInvite(machine) => machine.due(),
        }
    }
}

fn reschedule(
    queue: &mut BTreeSet<(At, Owner)>,
    owner: Owner,
    known: &mut Option<At>,
    due: Option<At>,
) {
    if *known == due {
        return;
    }
    if let Some(old) = known.take() {
        queue.remove(&(old, owner));
    }
    if let Some(new) = due {
        queue.insert((new, owner));
    }
    *known = due;
}

/// What marks a branch as unique by RFC 3261 8.1.1.7.
const COOKIE: &str = "z9hG4bK";

/// 100 is due within 200 ms (RFC 3261 17.2.1); on a real clock timers come late.
const TRYING: Duration = Duration::from_millis(150);

#[cfg(test)]
mod tests;
