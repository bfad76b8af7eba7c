//! A node's SIP side: transactions, connections and timers behind one door.
//!
//! A node hands it every input first ([`SipEndpoint::take`]), gets events back, and sends through it. The
//! machines of RFC 3261 17 live in `transaction`; here are matching, Via, transports and connections. It
//! knows no role: what a proxy does with its transactions stands in `proxy`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;

use super::transaction::{
    Answerer, ClientStep, InviteClient, InviteServer, NonInviteClient, NonInviteServer, ServerStep,
};
use crate::{
    io::{Input, LinkEvent, OpenSecurity, Outbox, TimerId},
    random::Random,
    spec::{Format, RefPoint},
    time::At,
    wire::{
        Malformed,
        frame::{Frame, LinkId, Security},
        sip::{self, Builder, Message, Via},
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
        self.path_mtu.map_or(1300, |mtu| mtu.saturating_sub(200))
    }
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
    request: Message,
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
        server.last = Some(response.bytes().clone());
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

    /// The request a server transaction holds.
    pub fn incoming(&self, txn: ServerTxn) -> Option<&Message> {
        self.servers.get(&txn).map(|server| &server.request)
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

    // Arrivals.

    fn frame(&mut self, at: At, frame: &Frame, out: &mut Outbox, events: &mut Vec<SipEvent>) {
        let source = Source {
            on: frame.on,
            addr: frame.src,
            link: frame.link,
            security: frame.security.clone(),
        };
        if let Some(link) = frame.link {
            self.remember(link, frame.on, frame.src);
        }
        if frame
            .bytes
            .iter()
            .all(|octet| matches!(octet, b'\r' | b'\n'))
        {
            return; // a keep-alive, or empty lines between messages (RFC 3261 7.5)
        }
        let parsed = match frame.framed {
            true => Message::parse(frame.bytes.clone()),
            false => Err(Malformed::new(&frame.bytes, 0, "a whole SIP message")),
        };
        let read = parsed.and_then(|message| Ok((Essentials::of(&message)?, message)));
        match read {
            Ok((essentials, message)) if message.is_request() => {
                self.request_in(at, message, essentials, source, out, events);
            }
            Ok((essentials, message)) => {
                self.response_in(at, message, essentials, source, out, events);
            }
            Err(malformed) => {
                self.refuse_unreadable(frame, &source, out);
                events.push(SipEvent::Unreadable { malformed, source });
            }
        }
    }

    /// 400 for a request that can be answered although it cannot be served (RFC 3261 16.3 step 1, 21.4.1).
    fn refuse_unreadable(&mut self, frame: &Frame, source: &Source, out: &mut Outbox) {
        let Ok(request) = Message::parse(frame.bytes.clone()) else {
            return;
        };
        let answerable = ["Via", "From", "To", "Call-ID", "CSeq"];
        if !request.is_request()
            || request.method() == "ACK"
            || !answerable.iter().all(|name| request.has(name))
        {
            return;
        }
        let Ok(via) = request.top_via() else {
            return;
        };
        let tag = self.random.token(10);
        let request = stamped(&request, &via, source.addr);
        let response = Builder::response(&request, 400, sip::reason(400), Some(&tag));
        self.answer(back(&via, source), response.finish().bytes(), out);
    }

    fn request_in(
        &mut self,
        at: At,
        request: Message,
        essentials: Essentials,
        source: Source,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) {
        let request = stamped(&request, &essentials.via, source.addr);
        match request.method() {
            "ACK" => self.ack_in(at, request, &essentials, source, events),
            "CANCEL" => self.cancel_in(at, request, &essentials, &source, out, events),
            method => {
                let kind = Kind::of(method);
                let key = essentials.key(kind);
                if let Some(&txn) = self.keys.get(&key) {
                    return self.copy_in(txn, out);
                }
                let txn = self.serve(at, &request, &essentials, kind, &source);
                let at_once = kind == Kind::Invite && self.trying.is_zero();
                if at_once {
                    self.step_server(txn, ServerStep::Trying, out, events);
                }
                events.push(SipEvent::Request {
                    txn,
                    request,
                    source,
                });
            }
        }
    }

    fn serve(
        &mut self,
        at: At,
        request: &Message,
        essentials: &Essentials,
        kind: Kind,
        source: &Source,
    ) -> ServerTxn {
        let timers = self.timers(source.on);
        let transport = match source.link {
            Some(_) => SipTransport::Tcp,
            None => SipTransport::Udp,
        };
        let machine = match kind {
            Kind::Invite => {
                let mut machine = InviteServer::new(at, timers, transport, self.trying);
                if self.trying.is_zero() {
                    machine.respond(at, 100, Answerer::Proxy);
                }
                ServerMachine::Invite(machine)
            }
            _ => ServerMachine::NonInvite(NonInviteServer::new(at, timers, transport)),
        };
        let txn = ServerTxn(self.fresh());
        let key = essentials.key(kind);
        self.keys.insert(key.clone(), txn);
        self.servers.insert(
            txn,
            Server {
                machine,
                request: request.clone(),
                key,
                back: back(&essentials.via, source),
                last: None,
                unacknowledged: None,
                due: None,
            },
        );
        self.settle(Owner::Server(txn));
        txn
    }

    /// A copy of a request: the last response again, if there is one.
    fn copy_in(&mut self, txn: ServerTxn, out: &mut Outbox) {
        let Some(server) = self.servers.get(&txn) else {
            return;
        };
        let step = match &server.machine {
            ServerMachine::Invite(machine) => machine.request(),
            ServerMachine::NonInvite(machine) => machine.request(),
        };
        if step == ServerStep::Repeat
            && let Some(last) = server.last.clone()
        {
            let back = server.back;
            self.answer(back, &last, out);
        }
    }

    fn ack_in(
        &mut self,
        at: At,
        request: Message,
        essentials: &Essentials,
        source: Source,
        events: &mut Vec<SipEvent>,
    ) {
        let absorbing = self.keys.get(&essentials.key(Kind::Invite)).copied();
        if let Some(txn) = absorbing
            && let Some(server) = self.servers.get_mut(&txn)
            && let ServerMachine::Invite(machine) = &mut server.machine
            && machine.absorbs_ack()
        {
            machine.ack(at);
            return self.settle(Owner::Server(txn));
        }
        if let Some(dialog) = acknowledged_by(&request)
            && let Some(txn) = self.unacknowledged.remove(&dialog)
            && let Some(server) = self.servers.get_mut(&txn)
        {
            server.unacknowledged = None;
            if let ServerMachine::Invite(machine) = &mut server.machine {
                machine.ack_of_success();
            }
            self.settle(Owner::Server(txn));
        }
        events.push(SipEvent::Ack { request, source });
    }

    /// CANCEL is answered here, hop by hop (RFC 3261 9.2, 16.10): 200 if it names a transaction, else 481.
    fn cancel_in(
        &mut self,
        at: At,
        cancel: Message,
        essentials: &Essentials,
        source: &Source,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) {
        if let Some(&txn) = self.keys.get(&essentials.key(Kind::Cancel)) {
            return self.copy_in(txn, out);
        }
        let invite = self.keys.get(&essentials.key(Kind::Invite)).copied();
        let own = self.serve(at, &cancel, essentials, Kind::Cancel, source);
        let tag = self.random.token(10);
        let code = match invite {
            Some(_) => 200,
            None => 481,
        };
        let response = Builder::response(&cancel, code, sip::reason(code), Some(&tag)).finish();
        self.respond(at, own, response, true, out);
        if let Some(txn) = invite
            && let Some(server) = self.servers.get(&txn)
            && let ServerMachine::Invite(machine) = &server.machine
            && machine.is_pending()
        {
            events.push(SipEvent::Cancelled { txn, cancel });
        }
    }

    fn response_in(
        &mut self,
        at: At,
        response: Message,
        essentials: Essentials,
        source: Source,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) {
        let kind = Kind::of(&essentials.method);
        let found = essentials
            .via
            .branch()
            .and_then(|branch| self.branches.get(&(branch.to_owned(), kind)))
            .copied()
            .filter(|_| self.is_ours(&essentials.via));
        let Some(txn) = found else {
            return events.push(SipEvent::Stray { response, source });
        };
        let (Some(client), Some(status)) = (self.clients.get_mut(&txn), response.status()) else {
            return;
        };
        let step = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.response(at, status),
            ClientMachine::NonInvite(machine) => machine.response(at, status),
            ClientMachine::Lost(_) => ClientStep::Nothing,
        };
        let cancel_now = client.cancel == Cancel::Wanted && status < 200;
        let inner = client.kind == Kind::Cancel;
        if matches!(
            step,
            ClientStep::Acknowledge | ClientStep::AcknowledgeAndDeliver
        ) {
            self.acknowledge(txn, &response, out);
        }
        if cancel_now {
            self.send_cancel(at, txn, out);
        }
        self.settle(Owner::Client(txn));
        if !inner
            && matches!(
                step,
                ClientStep::Deliver | ClientStep::AcknowledgeAndDeliver
            )
        {
            events.push(SipEvent::Response {
                txn,
                response,
                source,
            });
        }
    }

    /// Whether the sent-by of a Via is one of ours; what is not is dropped (RFC 3261 18.1.2).
    fn is_ours(&self, via: &Via) -> bool {
        let host: Option<IpAddr> = via.host.trim_matches(['[', ']']).parse().ok();
        self.ports.iter().any(|port| {
            host == Some(port.local.ip()) && via.port.unwrap_or(5060) == port.local.port()
        })
    }

    // Connections.

    fn link(
        &mut self,
        at: At,
        link: LinkId,
        event: &LinkEvent,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) -> bool {
        match event {
            LinkEvent::Accepted {
                on,
                format: Format::Sip,
                from,
                ..
            } => self.remember(link, *on, *from),
            _ if !self.connections.contains_key(&link) => return false,
            LinkEvent::Refused | LinkEvent::Reset | LinkEvent::TimedOut => {
                self.forget(link);
                self.fail_over(at, link, out, events);
            }
            LinkEvent::Closed => self.forget(link),
            LinkEvent::Opened | LinkEvent::Accepted { .. } => {}
        }
        true
    }

    fn remember(&mut self, link: LinkId, on: RefPoint, remote: SocketAddr) {
        self.connections.entry(link).or_insert_with(|| {
            self.reusable.insert((on, remote), link);
            Connection { on, remote }
        });
    }

    fn forget(&mut self, link: LinkId) {
        if let Some(gone) = self.connections.remove(&link) {
            let key = (gone.on, gone.remote);
            if self.reusable.get(&key) == Some(&link) {
                self.reusable.remove(&key);
            }
        }
    }

    /// What waited for an answer on a broken connection fails, or goes over UDP if only its size had brought
    /// it to TCP.
    fn fail_over(&mut self, at: At, link: LinkId, out: &mut Outbox, events: &mut Vec<SipEvent>) {
        let waiting: Vec<ClientTxn> = self
            .clients
            .iter()
            .filter(|(_, client)| client.way == Some(Way::Link(link)) && client.is_pending())
            .map(|(txn, _)| *txn)
            .collect();
        for txn in waiting {
            if !self.retry_as_datagram(at, txn, out) {
                self.fail(txn, Failure::Transport, events);
            }
        }
    }

    fn retry_as_datagram(&mut self, at: At, txn: ClientTxn, out: &mut Outbox) -> bool {
        let Some(client) = self.clients.get(&txn) else {
            return false;
        };
        let (on, to) = (client.on, client.to);
        let port = self.port(on, SipTransport::Udp);
        let (true, Some(port)) = (client.upsized, port) else {
            return false;
        };
        let request = with_via(&client.bare, port, &client.branch);
        let machine = ClientMachine::new(at, client.kind, port.timers, SipTransport::Udp);
        transmit(on, to, Way::Datagram, request.bytes(), out);
        if let Some(client) = self.clients.get_mut(&txn) {
            client.request = request;
            client.machine = machine;
            client.way = Some(Way::Datagram);
            client.upsized = false;
        }
        self.settle(Owner::Client(txn));
        true
    }

    fn fail(&mut self, txn: ClientTxn, why: Failure, events: &mut Vec<SipEvent>) {
        let Some(client) = self.clients.get_mut(&txn) else {
            return;
        };
        match &mut client.machine {
            ClientMachine::Invite(machine) => machine.stop(),
            ClientMachine::NonInvite(machine) => machine.stop(),
            ClientMachine::Lost(_) => {}
        }
        let inner = client.kind == Kind::Cancel;
        self.drop_client(txn);
        if !inner {
            events.push(SipEvent::Failed { txn, why });
        }
    }

    // Departures.

    fn start(
        &mut self,
        at: At,
        on: RefPoint,
        to: SocketAddr,
        bare: Message,
        branch: String,
        out: &mut Outbox,
    ) -> ClientTxn {
        let kind = Kind::of(bare.method());
        let txn = ClientTxn(self.fresh());
        let client = match self.dress(on, &bare, &branch) {
            Some(outgoing) => {
                let way = self.way(on, to, outgoing.transport, out);
                transmit(on, to, way, outgoing.request.bytes(), out);
                Client {
                    machine: ClientMachine::new(at, kind, self.timers(on), outgoing.transport),
                    bare,
                    request: outgoing.request,
                    branch: branch.clone(),
                    kind,
                    on,
                    to,
                    way: Some(way),
                    upsized: outgoing.upsized,
                    cancel: Cancel::No,
                    due: None,
                }
            }
            None => Client {
                machine: ClientMachine::Lost(at),
                request: bare.clone(),
                bare,
                branch: branch.clone(),
                kind,
                on,
                to,
                way: None,
                upsized: false,
                cancel: Cancel::No,
                due: None,
            },
        };
        self.clients.insert(txn, client);
        self.branches.insert((branch, kind), txn);
        self.settle(Owner::Client(txn));
        txn
    }

    /// Adds our Via and picks the transport (RFC 3261 18.1.1). `None`: this node does not speak there.
    fn dress(&self, on: RefPoint, request: &Message, branch: &str) -> Option<Outgoing> {
        let preferred = self.ports.iter().find(|port| port.on == on)?;
        let dressed = with_via(request, preferred, branch);
        let fits = preferred.transport == SipTransport::Tcp
            || dressed.bytes().len() <= preferred.longest_datagram();
        match self.port(on, SipTransport::Tcp) {
            Some(stream) if !fits => Some(Outgoing {
                request: with_via(request, stream, branch),
                transport: SipTransport::Tcp,
                upsized: true,
            }),
            _ => Some(Outgoing {
                request: dressed,
                transport: preferred.transport,
                upsized: false,
            }),
        }
    }

    /// A connection that stands, or a new one.
    fn way(
        &mut self,
        on: RefPoint,
        to: SocketAddr,
        transport: SipTransport,
        out: &mut Outbox,
    ) -> Way {
        match transport {
            SipTransport::Udp => Way::Datagram,
            SipTransport::Tcp => Way::Link(self.connect(on, to, out)),
        }
    }

    /// Sends ACK or CANCEL the way of its INVITE, on a new connection if that one is gone.
    fn follow(
        &mut self,
        on: RefPoint,
        to: SocketAddr,
        way: Option<Way>,
        bytes: &Bytes,
        out: &mut Outbox,
    ) {
        let way = match way {
            Some(Way::Link(link)) if !self.connections.contains_key(&link) => {
                Way::Link(self.connect(on, to, out))
            }
            Some(way) => way,
            None => return,
        };
        transmit(on, to, way, bytes, out);
    }

    fn connect(&mut self, on: RefPoint, to: SocketAddr, out: &mut Outbox) -> LinkId {
        if let Some(&link) = self.reusable.get(&(on, to)) {
            return link;
        }
        let link = out.open(on, Format::Sip, to, OpenSecurity::Plain);
        self.remember(link, on, to);
        link
    }

    /// Sends a response where responses go.
    fn answer(&mut self, back: Back, response: &Bytes, out: &mut Outbox) {
        match back.link {
            None => out.datagram(back.on, back.to, response.clone()),
            Some(link) if self.connections.contains_key(&link) => out.send(link, response.clone()),
            Some(_) => {
                let link = self.connect(back.on, back.reopen, out);
                out.send(link, response.clone());
            }
        }
    }

    /// ACK of a non-2xx: in the transaction of its INVITE (RFC 3261 17.1.1.3).
    fn acknowledge(&mut self, txn: ClientTxn, response: &Message, out: &mut Outbox) {
        if let Some(client) = self.clients.get(&txn)
            && let Some(ack) = companion(&client.request, "ACK", response)
        {
            let (on, to, way) = (client.on, client.to, client.way);
            self.follow(on, to, way, ack.bytes(), out);
        }
    }

    /// CANCEL: in a transaction of its own with the branch of the INVITE (RFC 3261 9.1).
    fn send_cancel(&mut self, at: At, txn: ClientTxn, out: &mut Outbox) {
        let Some(client) = self.clients.get_mut(&txn) else {
            return;
        };
        let ClientMachine::Invite(machine) = &mut client.machine else {
            return;
        };
        if !machine.is_pending() {
            return;
        }
        machine.cancelled(at);
        client.cancel = Cancel::Sent;
        let Some(cancel) = companion(&client.request, "CANCEL", &client.request) else {
            return;
        };
        let bytes = cancel.bytes().clone();
        let transport = match client.way {
            Some(Way::Link(_)) => SipTransport::Tcp,
            _ => SipTransport::Udp,
        };
        let companion = Client {
            machine: ClientMachine::Lost(at),
            bare: cancel.clone(),
            request: cancel,
            branch: client.branch.clone(),
            kind: Kind::Cancel,
            on: client.on,
            to: client.to,
            way: client.way,
            upsized: false,
            cancel: Cancel::No,
            due: None,
        };
        self.follow(companion.on, companion.to, companion.way, &bytes, out);
        let own = ClientTxn(self.fresh());
        let machine = ClientMachine::new(at, Kind::Cancel, self.timers(companion.on), transport);
        self.branches
            .insert((companion.branch.clone(), Kind::Cancel), own);
        self.clients.insert(
            own,
            Client {
                machine,
                ..companion
            },
        );
        self.settle(Owner::Client(own));
        self.settle(Owner::Client(txn));
    }

    // Time.

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
                let trying = Builder::response(&server.request, 100, sip::reason(100), None);
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

/// A request ready to go.
struct Outgoing {
    request: Message,
    transport: SipTransport,
    upsized: bool,
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

/// What every message must have for its transaction to be found (RFC 3261 8.1.1, 17.2.3).
struct Essentials {
    via: Via,
    method: String,
    number: u32,
    call_id: String,
    from_tag: String,
}

impl Essentials {
    fn of(message: &Message) -> Result<Essentials, Malformed> {
        let cseq = message.cseq()?;
        if message.is_request() && cseq.method != message.method() {
            return Err(Malformed::new(
                cseq.method.as_bytes(),
                0,
                format!("the method {} in CSeq", message.method()),
            ));
        }
        message.to()?;
        Ok(Essentials {
            via: message.top_via()?,
            number: cseq.number,
            method: cseq.method,
            call_id: message.call_id()?,
            from_tag: message.from()?.tag().unwrap_or_default().to_owned(),
        })
    }

    /// What names a server transaction: branch, sent-by and kind; for a sender without the magic cookie,
    /// what the request's copies have in common (RFC 3261 17.2.3).
    fn key(&self, kind: Kind) -> String {
        let host = self.via.host.to_ascii_lowercase();
        let port = self.via.port.unwrap_or(5060);
        match self.via.branch() {
            Some(branch) if branch.starts_with(COOKIE) => {
                format!("{branch} {host}:{port} {kind:?}")
            }
            branch => format!(
                "{} {} {} {} {host}:{port} {kind:?}",
                branch.unwrap_or_default(),
                self.call_id,
                self.from_tag,
                self.number
            ),
        }
    }
}

/// The request with `received` and `rport` in its top Via (RFC 3261 18.2.1, RFC 3581 4). What the sender
/// wrote there itself is overwritten.
fn stamped(request: &Message, via: &Via, from: SocketAddr) -> Message {
    let host: Option<IpAddr> = via.host.trim_matches(['[', ']']).parse().ok();
    let asks_rport = via.params.has("rport");
    let mut stamped = via.clone();
    stamped
        .params
        .0
        .retain(|(name, _)| !name.eq_ignore_ascii_case("received"));
    if asks_rport {
        stamped.params.set("rport", Some(&from.port().to_string()));
    }
    if asks_rport || host != Some(from.ip()) {
        stamped.params.set("received", Some(&from.ip().to_string()));
    }
    if stamped == *via {
        return request.clone();
    }
    let text = stamped.to_string();
    request.edit().pop("Via").prepend("Via", &text).finish()
}

/// Where the responses of a request go: back on its connection; for a datagram to where it came from, at
/// the port it came from if `rport` was asked for, else at the port of sent-by.
fn back(via: &Via, source: &Source) -> Back {
    let sent_by = via.port.unwrap_or(5060);
    let port = match via.params.has("rport") {
        true => source.addr.port(),
        false => sent_by,
    };
    Back {
        on: source.on,
        to: SocketAddr::new(source.addr.ip(), port),
        link: source.link,
        reopen: SocketAddr::new(source.addr.ip(), sent_by),
    }
}

fn with_via(request: &Message, port: &SipPort, branch: &str) -> Message {
    let via = format!(
        "SIP/2.0/{} {};branch={branch};rport",
        port.transport.word(),
        port.local
    );
    request.edit().prepend("Via", &via).finish()
}

/// The ACK or CANCEL that goes with an INVITE: its Request-URI, top Via, Call-ID, From, Route and CSeq
/// number; To from `to` (RFC 3261 9.1, 17.1.1.3).
fn companion(invite: &Message, method: &str, to: &Message) -> Option<Message> {
    let mut builder = Builder::request(method, invite.request_uri()?)
        .header("Via", &invite.top_via().ok()?.to_string());
    for route in invite.values("Route") {
        builder = builder.header("Route", &route);
    }
    let number = invite.cseq().ok()?.number;
    Some(
        builder
            .header("Max-Forwards", "70")
            .header("From", &invite.header("From")?)
            .header("To", &to.header("To")?)
            .header("Call-ID", &invite.call_id().ok()?)
            .header("CSeq", &format!("{number} {method}"))
            .finish(),
    )
}

/// What a 2xx to INVITE and its ACK have in common: dialog and CSeq number.
fn acknowledged_by(message: &Message) -> Option<String> {
    let from = message.from().ok()?;
    let to = message.to().ok()?;
    Some(format!(
        "{} {} {} {}",
        message.call_id().ok()?,
        from.tag().unwrap_or_default(),
        to.tag().unwrap_or_default(),
        message.cseq().ok()?.number
    ))
}

fn transmit(on: RefPoint, to: SocketAddr, way: Way, bytes: &Bytes, out: &mut Outbox) {
    match way {
        Way::Datagram => out.datagram(on, to, bytes.clone()),
        Way::Link(link) => out.send(link, bytes.clone()),
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

/// RFC 3261 17.2.1.
const TRYING: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
