//! A Diameter peer with the Cx application: connections, capabilities exchange, watchdog, pending
//! requests (RFC 6733, RFC 3539 for the watchdog). Opens a connection when it has something to ask and
//! accepts those of others; requests travel both ways on either.
//!
//! A node hands it every input first ([`CxEndpoint::take`]), gets events back, and asks and answers
//! through it. There is one server for each realm, so nothing fails over: what cannot be delivered fails.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;

use super::procedure::{CxAnswer, CxRequest};
use crate::{
    io::{Input, LinkEvent, OpenSecurity, Outbox, Output, TimerId},
    random::Random,
    spec::{Format, RefPoint},
    time::At,
    wire::{
        Malformed,
        diameter::{
            Avp, Avps, Builder, Header, Message, Outcome,
            dictionary::{self as d, Command, result},
        },
        frame::{Frame, LinkId},
    },
};

/// Who this peer is.
#[derive(Clone, Debug)]
pub struct CxIdentity {
    /// Origin-Host: `hss.ims.example`.
    pub host: String,
    /// Origin-Realm: `ims.example`.
    pub realm: String,
    /// Host-IP-Address.
    pub ip: IpAddr,
}

/// How long it waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CxTimers {
    /// For an answer, connecting included. RFC 6733 names no limit.
    pub answer: Duration,
    /// For any message, before the other end is asked whether it lives: Tw of RFC 3539 3.4.1, to which
    /// up to two seconds are added or from which they are taken.
    pub watchdog: Duration,
    /// Without a request, before a connection this end opened is given up (RFC 6733 5.4).
    pub idle: Duration,
}

impl Default for CxTimers {
    fn default() -> CxTimers {
        CxTimers {
            answer: Duration::from_secs(4),
            watchdog: Duration::from_secs(30),
            idle: Duration::from_secs(600),
        }
    }
}

/// A request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CxTxn(pub u64);

/// A request of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CxServerTxn(pub u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CxEvent {
    /// A well-formed request for this node; to be answered with [`CxEndpoint::answer`].
    Request {
        txn: CxServerTxn,
        /// Origin-Host of the asker.
        from: String,
        request: CxRequest,
    },
    /// The answer to a request sent with [`CxEndpoint::ask`], errors included.
    Answer {
        txn: CxTxn,
        /// Origin-Host of the answerer.
        from: String,
        answer: CxAnswer,
    },
    /// No answer will come.
    Failed { txn: CxTxn, why: CxFailure },
    /// Octets that are no Diameter message; the connection was ended.
    Unreadable { malformed: Malformed },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CxFailure {
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection could not be made, or broke.
    #[error("no connection")]
    Transport,
    /// The capabilities exchange ended with this Result-Code.
    #[error("capabilities refused with Result-Code {0}")]
    Refused(u32),
    /// No such peer is known.
    #[error("no such peer")]
    UnknownPeer,
    /// The answer could not be read.
    #[error("unreadable answer: {0}")]
    Unreadable(Malformed),
}

/// A node's Cx side.
#[derive(Debug)]
pub struct CxEndpoint {
    me: CxIdentity,
    /// Peers by Origin-Host, and where they listen.
    known: BTreeMap<String, SocketAddr>,
    timers: CxTimers,
    random: Random,
    links: BTreeMap<LinkId, Link>,
    asked: BTreeMap<CxTxn, Asked>,
    incoming: BTreeMap<CxServerTxn, Incoming>,
    wakes: BTreeMap<TimerId, Wake>,
    next: u64,
    hop_by_hop: u32,
    end_to_end: u32,
    session: (u32, u32),
}

/// A connection and how far it is.
#[derive(Debug)]
struct Link {
    state: State,
    /// Origin-Host of the other end, once known.
    peer: Option<String>,
    opened_here: bool,
    watchdog: TimerId,
    /// Whether a DWR is out, and whether one went unanswered already.
    dwr: Dwr,
    last_request: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    AwaitsCea,
    AwaitsCer,
    Open,
    /// A DPR is out or was answered.
    Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dwr {
    None,
    Out,
    Suspect,
}

/// A request of ours that has no answer yet.
#[derive(Debug)]
struct Asked {
    command: &'static Command,
    link: Option<LinkId>,
    hop_by_hop: u32,
    /// Not yet sent: the connection is not open.
    waiting: Option<Bytes>,
    limit: TimerId,
    /// Why it fails when the limit passes.
    then: CxFailure,
}

/// A request of the other end that has no answer yet.
#[derive(Debug)]
struct Incoming {
    link: LinkId,
    header: Header,
    /// Session-Id as it came.
    session: Option<Bytes>,
    /// Proxy-Info AVPs, to be returned as they came (RFC 6733 6.2).
    proxies: Vec<Avps>,
}

#[derive(Clone, Copy, Debug)]
enum Wake {
    Limit(CxTxn),
    Watchdog(LinkId),
}

impl CxEndpoint {
    /// `known` are the peers it may connect to, by Origin-Host; `seed` feeds identifiers.
    pub fn new(
        me: CxIdentity,
        known: BTreeMap<String, SocketAddr>,
        timers: CxTimers,
        seed: u64,
    ) -> CxEndpoint {
        let mut random = Random::new(seed);
        let mut word = || (random.next_u64() >> 32) as u32;
        let (hop_by_hop, end_to_end, session) = (word(), word(), (word(), 0));
        CxEndpoint {
            me,
            known,
            timers,
            random,
            links: BTreeMap::new(),
            asked: BTreeMap::new(),
            incoming: BTreeMap::new(),
            wakes: BTreeMap::new(),
            next: 0,
            hop_by_hop,
            end_to_end,
            session,
        }
    }

    /// Takes an input if it is Diameter's: a frame of that format, an event of one of its connections, a
    /// timer of this endpoint. `None`: not ours.
    pub fn take(&mut self, at: At, input: &Input<'_>, out: &mut Outbox) -> Option<Vec<CxEvent>> {
        let mut events = Vec::new();
        match input {
            Input::Frame(frame) if frame.format == Format::Diameter => {
                self.frame(at, frame, &mut events, out);
            }
            Input::Link(link, LinkEvent::Accepted { format, .. }) => {
                if *format != Format::Diameter {
                    return None;
                }
                self.add_link(at, *link, State::AwaitsCer, None, out);
            }
            Input::Link(link, event) => {
                self.links.get(link)?;
                self.link_event(*link, event, &mut events, out);
            }
            Input::Timer(timer) => match self.wakes.remove(timer)? {
                Wake::Limit(txn) => {
                    if let Some(asked) = self.asked.remove(&txn) {
                        let why = asked.then;
                        events.push(CxEvent::Failed { txn, why });
                    }
                }
                Wake::Watchdog(link) => self.watchdog(at, link, &mut events, out),
            },
            _ => return None,
        }
        Some(events)
    }

    /// Asks the peer whose Origin-Host is `host`, over a connection made for it if there is none.
    pub fn ask(&mut self, at: At, host: &str, request: &CxRequest, out: &mut Outbox) -> CxTxn {
        let txn = CxTxn(self.fresh());
        let hop_by_hop = self.fresh_hop_by_hop();
        let command = request.command();
        let session = self.fresh_session();
        let avps = self
            .common(Some(session.as_bytes()), None)
            .text(&d::DESTINATION_HOST, host)
            .text(&d::DESTINATION_REALM, &self.me.realm);
        let bytes = Builder::request(command, hop_by_hop, self.fresh_end_to_end())
            .avps(avps)
            .avps(request.avps())
            .finish();
        let link = self.link_to(at, host, out);
        let wait = match link {
            Some(_) => self.timers.answer,
            None => Duration::ZERO,
        };
        let limit = out.wake_at(at + wait);
        self.wakes.insert(limit, Wake::Limit(txn));
        self.asked.insert(
            txn,
            Asked {
                command,
                link,
                hop_by_hop,
                waiting: Some(bytes),
                limit,
                then: match link {
                    Some(_) => CxFailure::Timeout,
                    None => CxFailure::UnknownPeer,
                },
            },
        );
        if let Some(link) = link {
            self.flush(at, link, out);
        }
        txn
    }

    /// Answers a request; does nothing if its connection is gone.
    pub fn answer(&mut self, txn: CxServerTxn, answer: &CxAnswer, out: &mut Outbox) {
        let Some(incoming) = self.incoming.remove(&txn) else {
            return;
        };
        let avps = self.common(incoming.session.as_deref(), Some(answer.outcome()));
        let builder = Builder::answer(&incoming.header)
            .avps(avps)
            .avps(answer.avps());
        let builder = incoming.proxies.into_iter().fold(builder, Builder::avps);
        out.send(incoming.link, builder.finish());
    }

    /// Whether there is an open connection to that peer.
    pub fn is_open(&self, host: &str) -> bool {
        self.links
            .values()
            .any(|link| link.state == State::Open && link.peer.as_deref() == Some(host))
    }

    /// Ends every connection in order, telling the peers that this node goes down (RFC 6733 5.4.3).
    pub fn disconnect(&mut self, out: &mut Outbox) {
        let open: Vec<LinkId> = self.links.keys().copied().collect();
        for link in open {
            self.leave(link, REBOOTING, out);
        }
    }

    fn frame(&mut self, at: At, frame: &Frame, events: &mut Vec<CxEvent>, out: &mut Outbox) {
        let Some(id) = frame.link.filter(|id| self.links.contains_key(id)) else {
            return;
        };
        if !frame.framed {
            let malformed = Malformed::new(&frame.bytes, 0, "a Diameter message");
            self.unreadable(id, malformed, events, out);
            return;
        }
        let header = match Header::parse(&frame.bytes) {
            Ok(header) => header,
            Err(malformed) => return self.unreadable(id, malformed, events, out),
        };
        self.heard(at, id, out);
        match (Message::parse(frame.bytes.clone()), header.is_request()) {
            (Ok(message), true) => self.request(at, id, &message, events, out),
            (Ok(message), false) => self.answered(at, id, &message, events, out),
            (Err(malformed), true) => {
                out.note("unreadable", malformed.to_string());
                self.refuse(id, &header, None, result::INVALID_AVP_LENGTH, None, out);
            }
            (Err(malformed), false) => {
                if let Some(txn) = self.match_answer(id, header.hop_by_hop) {
                    let why = CxFailure::Unreadable(malformed);
                    self.fail(txn, why, events, out);
                }
            }
        }
    }

    fn request(
        &mut self,
        at: At,
        id: LinkId,
        message: &Message,
        events: &mut Vec<CxEvent>,
        out: &mut Outbox,
    ) {
        let state = self.links.get(&id).map(|link| link.state);
        match (message.header().application, message.header().command) {
            (d::APPLICATION_BASE, code) if code == d::CER.code => self.cer(at, id, message, out),
            _ if matches!(state, Some(State::AwaitsCer | State::AwaitsCea)) => {
                // RFC 6733 5.6: nothing may come before the capabilities exchange.
                out.note("refused", format!("{} before CER", message.name()));
                self.drop_link(id, events, out);
                out.close(id);
            }
            (d::APPLICATION_BASE, code) if code == d::DWR.code => {
                self.base_answer(id, message.header(), result::SUCCESS, out);
                if self.is_idle(at, id) {
                    self.leave(id, DO_NOT_WANT_TO_TALK_TO_YOU, out);
                }
            }
            (d::APPLICATION_BASE, code) if code == d::DPR.code => {
                self.base_answer(id, message.header(), result::SUCCESS, out);
                if let Some(link) = self.links.get_mut(&id) {
                    link.state = State::Closing;
                }
            }
            _ => self.cx_request(at, id, message, events, out),
        }
    }

    fn cx_request(
        &mut self,
        at: At,
        id: LinkId,
        message: &Message,
        events: &mut Vec<CxEvent>,
        out: &mut Outbox,
    ) {
        if let Some(link) = self.links.get_mut(&id) {
            link.last_request = at;
        }
        match self.accept(message) {
            Ok(request) => {
                let txn = CxServerTxn(self.fresh());
                let proxies = message.all(&d::PROXY_INFO).map(copy);
                self.incoming.insert(
                    txn,
                    Incoming {
                        link: id,
                        header: *message.header(),
                        session: message.octets(&d::SESSION_ID).map(Bytes::copy_from_slice),
                        proxies: proxies.collect(),
                    },
                );
                let from = lossy(message.octets(&d::ORIGIN_HOST));
                events.push(CxEvent::Request { txn, from, request });
            }
            Err((code, failed)) => {
                let header = message.header();
                self.refuse(id, header, Some(message), code, failed, out);
            }
        }
    }

    /// Checks a request as far as the base protocol goes (RFC 6733 6.1.4, 7.1); the error is a Result-Code
    /// and the AVP that is to blame.
    fn accept(&self, message: &Message) -> Result<CxRequest, (u32, Option<Avps>)> {
        let header = message.header();
        if header.application != d::APPLICATION_CX {
            return Err((result::APPLICATION_UNSUPPORTED, None));
        }
        if message.command().is_none() {
            return Err((result::COMMAND_UNSUPPORTED, None));
        }
        if header.flags & Header::ERROR != 0 {
            return Err((result::INVALID_HDR_BITS, None));
        }
        if let Some(avp) = message.not_understood() {
            return Err((result::AVP_UNSUPPORTED, Some(copy(avp))));
        }
        if let Some(attribute) = message.missing().first() {
            let example = Avps::new().octets(attribute, &[]);
            return Err((result::MISSING_AVP, Some(example)));
        }
        if message.octets(&d::DESTINATION_REALM) != Some(self.me.realm.as_bytes()) {
            return Err((result::REALM_NOT_SERVED, None));
        }
        if message
            .octets(&d::DESTINATION_HOST)
            .is_some_and(|host| host != self.me.host.as_bytes())
        {
            return Err((result::UNABLE_TO_DELIVER, None));
        }
        match CxRequest::read(message) {
            Some(Ok(request)) => Ok(request),
            Some(Err(malformed)) => Err((
                result::INVALID_AVP_VALUE,
                culprit(message, &malformed).map(copy),
            )),
            None => Err((result::COMMAND_UNSUPPORTED, None)),
        }
    }

    fn answered(
        &mut self,
        at: At,
        id: LinkId,
        message: &Message,
        events: &mut Vec<CxEvent>,
        out: &mut Outbox,
    ) {
        let header = message.header();
        match (header.application, header.command) {
            (d::APPLICATION_BASE, code) if code == d::CER.code => {
                self.cea(at, id, message, events, out);
            }
            // Hearing it was all there was to it.
            (d::APPLICATION_BASE, code) if code == d::DWR.code => {}
            (d::APPLICATION_BASE, code) if code == d::DPR.code => {
                self.drop_link(id, events, out);
                out.close(id);
            }
            _ => self.cx_answer(id, message, events, out),
        }
    }

    fn cx_answer(
        &mut self,
        id: LinkId,
        message: &Message,
        events: &mut Vec<CxEvent>,
        out: &mut Outbox,
    ) {
        let Some(txn) = self.match_answer(id, message.header().hop_by_hop) else {
            out.note("stray", format!("{} to no request", message.name()));
            return;
        };
        let Some(asked) = self.settle(txn, out) else {
            return;
        };
        events.push(match CxAnswer::read(asked.command, message) {
            Ok(answer) => CxEvent::Answer {
                txn,
                from: lossy(message.octets(&d::ORIGIN_HOST)),
                answer,
            },
            Err(malformed) => CxEvent::Failed {
                txn,
                why: CxFailure::Unreadable(malformed),
            },
        });
    }

    /// RFC 6733 5.3: the other end introduces itself.
    fn cer(&mut self, at: At, id: LinkId, message: &Message, out: &mut Outbox) {
        let host = message.text(&d::ORIGIN_HOST).ok().flatten();
        let code = match host {
            None => result::MISSING_AVP,
            Some(_) if speaks_cx(message) => result::SUCCESS,
            Some(_) => result::NO_COMMON_APPLICATION,
        };
        let avps = Avps::new().number(&d::RESULT_CODE, code);
        let bytes = Builder::answer(message.header())
            .avps(self.capabilities(avps))
            .finish();
        out.send(id, bytes);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if code == result::SUCCESS {
            link.peer = host.map(str::to_owned);
            link.state = State::Open;
            self.flush(at, id, out);
        } else {
            link.state = State::Closing;
            out.close(id);
        }
    }

    fn cea(
        &mut self,
        at: At,
        id: LinkId,
        message: &Message,
        events: &mut Vec<CxEvent>,
        out: &mut Outbox,
    ) {
        let code = match message.outcome() {
            Ok(Some(Outcome::Base(code))) => code,
            _ => result::UNABLE_TO_COMPLY,
        };
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.state != State::AwaitsCea {
            return;
        }
        if code == result::SUCCESS {
            link.state = State::Open;
            self.flush(at, id, out);
            return;
        }
        for txn in self.asked_on(id) {
            self.fail(txn, CxFailure::Refused(code), events, out);
        }
        self.drop_link(id, events, out);
        out.close(id);
    }

    fn link_event(
        &mut self,
        id: LinkId,
        event: &LinkEvent,
        events: &mut Vec<CxEvent>,
        out: &mut Outbox,
    ) {
        match event {
            LinkEvent::Opened => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.state = State::AwaitsCea;
                }
                let (hop, end) = (self.fresh_hop_by_hop(), self.fresh_end_to_end());
                let bytes = Builder::request(&d::CER, hop, end)
                    .avps(self.capabilities(Avps::new()))
                    .finish();
                out.send(id, bytes);
            }
            LinkEvent::Accepted { .. } => {}
            LinkEvent::Refused
            | LinkEvent::Closed
            | LinkEvent::Reset
            | LinkEvent::TimedOut
            | LinkEvent::NotSecured { .. } => {
                self.drop_link(id, events, out);
            }
        }
    }

    /// RFC 3539 3.4.1: one unanswered DWR makes a connection suspect, a second wait ends it.
    fn watchdog(&mut self, at: At, id: LinkId, events: &mut Vec<CxEvent>, out: &mut Outbox) {
        let is_idle = self.is_idle(at, id);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        match (link.state, link.dwr) {
            (State::Open, Dwr::None) if is_idle => self.leave(id, DO_NOT_WANT_TO_TALK_TO_YOU, out),
            (State::Open, Dwr::None) => {
                link.dwr = Dwr::Out;
                let (hop, end) = (self.fresh_hop_by_hop(), self.fresh_end_to_end());
                let bytes = Builder::request(&d::DWR, hop, end)
                    .avps(self.origin(Avps::new()))
                    .finish();
                out.send(id, bytes);
            }
            (State::Open, Dwr::Out) => {
                link.dwr = Dwr::Suspect;
                for txn in self.asked_on(id) {
                    self.fail(txn, CxFailure::Timeout, events, out);
                }
            }
            _ => {
                self.drop_link(id, events, out);
                out.push(Output::Close {
                    link: id,
                    abort: true,
                });
                return;
            }
        }
        self.arm_watchdog(at, id, out);
    }

    /// Whether this end opened a connection that it no longer needs.
    fn is_idle(&self, at: At, id: LinkId) -> bool {
        self.links.get(&id).is_some_and(|link| {
            link.state == State::Open
                && link.opened_here
                && at.since(link.last_request) >= self.timers.idle
        })
    }

    /// Any message proves that the other end lives.
    fn heard(&mut self, at: At, id: LinkId, out: &mut Outbox) {
        if let Some(link) = self.links.get_mut(&id) {
            link.dwr = Dwr::None;
            self.arm_watchdog(at, id, out);
        }
    }

    fn arm_watchdog(&mut self, at: At, id: LinkId, out: &mut Outbox) {
        let jitter = Duration::from_millis(self.random.below(4001));
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let wait = (self.timers.watchdog + jitter).saturating_sub(Duration::from_secs(2));
        self.wakes.insert(link.watchdog, Wake::Watchdog(id));
        out.arm(link.watchdog, at + wait);
    }

    /// The connection to a peer, made if need be.
    fn link_to(&mut self, at: At, host: &str, out: &mut Outbox) -> Option<LinkId> {
        let usable = |link: &Link| {
            link.peer.as_deref() == Some(host)
                && link.state != State::Closing
                && link.dwr != Dwr::Suspect
        };
        if let Some((&id, _)) = self.links.iter().find(|(_, link)| usable(link)) {
            return Some(id);
        }
        let &addr = self.known.get(host)?;
        let id = out.open(RefPoint::Cx, Format::Diameter, addr, OpenSecurity::Plain);
        self.add_link(at, id, State::Connecting, Some(host.to_owned()), out);
        Some(id)
    }

    fn add_link(
        &mut self,
        at: At,
        id: LinkId,
        state: State,
        peer: Option<String>,
        out: &mut Outbox,
    ) {
        let link = Link {
            state,
            opened_here: peer.is_some(),
            peer,
            watchdog: out.fresh_timer(),
            dwr: Dwr::None,
            last_request: at,
        };
        self.links.insert(id, link);
        self.arm_watchdog(at, id, out);
    }

    /// Sends what waited for the connection to open.
    fn flush(&mut self, at: At, id: LinkId, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.state != State::Open {
            return;
        }
        for asked in self.asked.values_mut() {
            if asked.link == Some(id)
                && let Some(bytes) = asked.waiting.take()
            {
                link.last_request = at;
                out.send(id, bytes);
            }
        }
    }

    /// Starts an orderly end (RFC 6733 5.4); a connection that is not open is just closed.
    fn leave(&mut self, id: LinkId, cause: u32, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let was_open = link.state == State::Open;
        link.state = State::Closing;
        if !was_open {
            out.close(id);
            return;
        }
        let (hop, end) = (self.fresh_hop_by_hop(), self.fresh_end_to_end());
        let avps = self.origin(Avps::new()).number(&d::DISCONNECT_CAUSE, cause);
        out.send(id, Builder::request(&d::DPR, hop, end).avps(avps).finish());
    }

    /// Forgets a connection; what was asked on it fails.
    fn drop_link(&mut self, id: LinkId, events: &mut Vec<CxEvent>, out: &mut Outbox) {
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        self.wakes.remove(&link.watchdog);
        out.disarm(link.watchdog);
        self.incoming.retain(|_, incoming| incoming.link != id);
        for txn in self.asked_on(id) {
            self.fail(txn, CxFailure::Transport, events, out);
        }
    }

    fn unreadable(
        &mut self,
        id: LinkId,
        malformed: Malformed,
        events: &mut Vec<CxEvent>,
        out: &mut Outbox,
    ) {
        events.push(CxEvent::Unreadable { malformed });
        self.drop_link(id, events, out);
        out.close(id);
    }

    fn asked_on(&self, id: LinkId) -> Vec<CxTxn> {
        self.asked
            .iter()
            .filter(|(_, asked)| asked.link == Some(id))
            .map(|(&txn, _)| txn)
            .collect()
    }

    fn match_answer(&self, id: LinkId, hop_by_hop: u32) -> Option<CxTxn> {
        self.asked
            .iter()
            .find(|(_, asked)| asked.link == Some(id) && asked.hop_by_hop == hop_by_hop)
            .map(|(&txn, _)| txn)
    }

    fn settle(&mut self, txn: CxTxn, out: &mut Outbox) -> Option<Asked> {
        let asked = self.asked.remove(&txn)?;
        self.wakes.remove(&asked.limit);
        out.disarm(asked.limit);
        Some(asked)
    }

    fn fail(&mut self, txn: CxTxn, why: CxFailure, events: &mut Vec<CxEvent>, out: &mut Outbox) {
        if self.settle(txn, out).is_some() {
            events.push(CxEvent::Failed { txn, why });
        }
    }

    /// An answer of the base protocol between neighbours.
    fn base_answer(&self, id: LinkId, request: &Header, code: u32, out: &mut Outbox) {
        let avps = self.origin(Avps::new().number(&d::RESULT_CODE, code));
        out.send(id, Builder::answer(request).avps(avps).finish());
    }

    /// An error answer (RFC 6733 7.2): protocol errors, 3xxx, have the E bit.
    fn refuse(
        &self,
        id: LinkId,
        request: &Header,
        message: Option<&Message>,
        code: u32,
        failed: Option<Avps>,
        out: &mut Outbox,
    ) {
        let mut avps = Avps::new();
        if let Some(session) = message.and_then(|message| message.octets(&d::SESSION_ID)) {
            avps = avps.octets(&d::SESSION_ID, session);
        }
        avps = self.origin(avps.number(&d::RESULT_CODE, code));
        if let Some(failed) = failed {
            avps = avps.group(&d::FAILED_AVP, failed);
        }
        let error = if (3000..4000).contains(&code) {
            Header::ERROR
        } else {
            0
        };
        let answer = Builder::answer(request).flag(error).avps(avps);
        out.send(id, answer.finish());
    }

    /// What every Cx message begins with (TS 29.229 5.3, 6.1).
    fn common(&self, session: Option<&[u8]>, outcome: Option<Outcome>) -> Avps {
        let application = Avps::new()
            .number(&d::VENDOR_ID, d::VENDOR_3GPP)
            .number(&d::AUTH_APPLICATION_ID, d::APPLICATION_CX);
        let mut avps = Avps::new();
        if let Some(session) = session {
            avps = avps.octets(&d::SESSION_ID, session);
        }
        avps = avps.group(&d::VENDOR_SPECIFIC_APPLICATION_ID, application);
        if let Some(outcome) = outcome {
            avps = avps.outcome(outcome);
        }
        self.origin(avps.number(&d::AUTH_SESSION_STATE, NO_STATE_MAINTAINED))
    }

    fn origin(&self, avps: Avps) -> Avps {
        avps.text(&d::ORIGIN_HOST, &self.me.host)
            .text(&d::ORIGIN_REALM, &self.me.realm)
    }

    /// What CER and CEA tell (RFC 6733 5.3.1, TS 29.229 5.6). Vendor-Id 0 is to be ignored.
    fn capabilities(&self, avps: Avps) -> Avps {
        let family: (u16, Vec<u8>) = match self.me.ip {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let address = [&family.0.to_be_bytes()[..], &family.1].concat();
        let vendors = [d::VENDOR_3GPP, d::VENDOR_ETSI];
        let mut avps = self
            .origin(avps)
            .octets(&d::HOST_IP_ADDRESS, &address)
            .number(&d::VENDOR_ID, 0)
            .text(&d::PRODUCT_NAME, "peerproof");
        for vendor in vendors {
            avps = avps.number(&d::SUPPORTED_VENDOR_ID, vendor);
        }
        for vendor in vendors {
            let application = Avps::new()
                .number(&d::VENDOR_ID, vendor)
                .number(&d::AUTH_APPLICATION_ID, d::APPLICATION_CX);
            avps = avps.group(&d::VENDOR_SPECIFIC_APPLICATION_ID, application);
        }
        avps
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn fresh_hop_by_hop(&mut self) -> u32 {
        self.hop_by_hop = self.hop_by_hop.wrapping_add(1);
        self.hop_by_hop
    }

    fn fresh_end_to_end(&mut self) -> u32 {
        self.end_to_end = self.end_to_end.wrapping_add(1);
        self.end_to_end
    }

    /// RFC 6733 8.8: `host;high;low`, never the same twice.
    fn fresh_session(&mut self) -> String {
        self.session.1 = self.session.1.wrapping_add(1);
        format!("{};{};{}", self.me.host, self.session.0, self.session.1)
    }
}

/// Whether the other end advertises Cx, or is a relay (RFC 6733 2.4, 5.3).
fn speaks_cx(message: &Message) -> bool {
    let is_ours = |number: Option<u32>| matches!(number, Some(d::APPLICATION_CX | RELAY));
    let direct = message
        .all(&d::AUTH_APPLICATION_ID)
        .any(|avp| is_ours(avp.number().ok()));
    let vendor_specific = message
        .all(&d::VENDOR_SPECIFIC_APPLICATION_ID)
        .filter_map(|avp| avp.group().ok())
        .any(|group| is_ours(group.number(&d::AUTH_APPLICATION_ID).ok().flatten()));
    direct || vendor_specific
}

/// The AVP at the top of a message in which an error lies.
fn culprit<'a>(message: &'a Message, malformed: &Malformed) -> Option<Avp<'a>> {
    message
        .avps()
        .find(|avp| (avp.at()..avp.at() + avp.octets().len().max(1)).contains(&malformed.at))
}

fn copy(avp: Avp<'_>) -> Avps {
    let mut octets = avp.octets().to_vec();
    octets.resize(octets.len().next_multiple_of(4), 0);
    Avps::new().verbatim(&octets)
}

fn lossy(octets: Option<&[u8]>) -> String {
    String::from_utf8_lossy(octets.unwrap_or_default()).into_owned()
}

/// Auth-Session-State (TS 29.229 5.3).
const NO_STATE_MAINTAINED: u32 = 1;
/// Disconnect-Cause (RFC 6733 5.4.3).
const REBOOTING: u32 = 0;
const DO_NOT_WANT_TO_TALK_TO_YOU: u32 = 2;
/// The application identifier of relays (RFC 6733 2.4).
const RELAY: u32 = 0xffff_ffff;

#[cfg(test)]
mod tests {
    use super::super::{procedure::*, profile::Profile};
    use super::*;
    use crate::wire::{
        diameter::RawAvp,
        frame::{NodeName, Party, Security},
    };

    /// Two endpoints and the octets between them.
    struct Pair {
        now: At,
        ends: [(CxEndpoint, Outbox); 2],
        events: [Vec<CxEvent>; 2],
        /// Armed timers of both ends.
        armed: BTreeMap<(usize, TimerId), At>,
        /// Every message sent, by which end.
        sent: Vec<(usize, Message)>,
        closed: bool,
        /// What each end calls the connection.
        links: [LinkId; 2],
        /// Nothing sent by this end arrives.
        mute: Option<usize>,
    }

    const LINK: LinkId = LinkId(2);
    const CLIENT: usize = 0;
    const SERVER: usize = 1;

    fn identity(host: &str) -> CxIdentity {
        CxIdentity {
            host: host.to_owned(),
            realm: "ims.example".to_owned(),
            ip: "192.0.2.1".parse().unwrap(),
        }
    }

    fn address() -> SocketAddr {
        "192.0.2.2:3868".parse().unwrap()
    }

    impl Pair {
        fn new() -> Pair {
            let known = BTreeMap::from([("hss.ims.example".to_owned(), address())]);
            let timers = CxTimers::default();
            let client = CxEndpoint::new(identity("icscf1.ims.example"), known, timers, 1);
            let server = CxEndpoint::new(identity("hss.ims.example"), BTreeMap::new(), timers, 2);
            Pair {
                now: At::ZERO,
                ends: [(client, Outbox::default()), (server, Outbox::default())],
                events: [Vec::new(), Vec::new()],
                armed: BTreeMap::new(),
                sent: Vec::new(),
                closed: false,
                links: [LINK; 2],
                mute: None,
            }
        }

        fn take(&mut self, end: usize, input: Input<'_>) {
            let (endpoint, out) = &mut self.ends[end];
            let events = endpoint.take(self.now, &input, out);
            self.events[end].extend(events.unwrap_or_default());
            self.perform(end);
        }

        fn perform(&mut self, end: usize) {
            let outputs: Vec<Output> = self.ends[end].1.drain().collect();
            for output in outputs {
                match output {
                    Output::Open { link, .. } => {
                        self.links[end] = link;
                        let accepted = LinkEvent::Accepted {
                            on: RefPoint::Cx,
                            format: Format::Diameter,
                            from: address(),
                            local: address(),
                            security: Security::Plain,
                        };
                        self.take(1 - end, Input::Link(LINK, accepted));
                        self.take(end, Input::Link(link, LinkEvent::Opened));
                    }
                    Output::Send { bytes, .. } => {
                        self.sent
                            .push((end, Message::parse(bytes.clone()).unwrap()));
                        if self.mute != Some(end) {
                            self.arrives(1 - end, bytes);
                        }
                    }
                    Output::Close { .. } if !self.closed => {
                        self.closed = true;
                        self.take(1 - end, Input::Link(self.links[1 - end], LinkEvent::Closed));
                    }
                    Output::Arm { timer, at } => {
                        self.armed.insert((end, timer), at);
                    }
                    Output::Disarm(timer) => {
                        self.armed.remove(&(end, timer));
                    }
                    _ => {}
                }
            }
        }

        fn arrives(&mut self, end: usize, bytes: Bytes) {
            let frame = Frame {
                from: Party::Node(NodeName::new("a")),
                to: Party::Node(NodeName::new("b")),
                src: address(),
                dst: address(),
                on: RefPoint::Cx,
                format: Format::Diameter,
                link: Some(self.links[end]),
                security: Security::Plain,
                bytes,
                framed: true,
            };
            self.take(end, Input::Frame(&frame));
        }

        fn ask(&mut self, end: usize, host: &str, request: &CxRequest) -> CxTxn {
            let (endpoint, out) = &mut self.ends[end];
            let txn = endpoint.ask(self.now, host, request, out);
            self.perform(end);
            txn
        }

        fn answer(&mut self, end: usize, answer: CxAnswer) {
            let Some(CxEvent::Request { txn, .. }) = self.events[end].pop() else {
                panic!("no request to answer");
            };
            let (endpoint, out) = &mut self.ends[end];
            endpoint.answer(txn, &answer, out);
            self.perform(end);
        }

        /// Lets time pass, waking whoever is due.
        fn wait(&mut self, by: Duration) {
            let until = self.now + by;
            while let Some((&(end, timer), &at)) = self
                .armed
                .iter()
                .filter(|(_, at)| **at <= until)
                .min_by_key(|(_, at)| **at)
            {
                self.now = at;
                self.armed.remove(&(end, timer));
                self.take(end, Input::Timer(timer));
            }
            self.now = until;
        }

        fn names(&self) -> Vec<String> {
            self.sent.iter().map(|(_, m)| m.name()).collect()
        }

        fn last(&self) -> &Message {
            &self.sent.last().unwrap().1
        }
    }

    fn lir() -> CxRequest {
        CxRequest::Lir(Lir {
            public: "sip:ue-b@ims.example".to_owned(),
            originating: false,
            authorization: None,
        })
    }

    fn lia() -> CxAnswer {
        CxAnswer::Lia(Lia {
            server: Some("sip:scscf1.ims.example".to_owned()),
            ..Lia::only(Outcome::Base(result::SUCCESS))
        })
    }

    #[test]
    fn a_request_opens_the_connection_and_is_answered() {
        let mut pair = Pair::new();
        let txn = pair.ask(CLIENT, "hss.ims.example", &lir());
        assert!(matches!(
            &pair.events[SERVER][..],
            [CxEvent::Request { from, request, .. }] if from == "icscf1.ims.example" && *request == lir()
        ));
        pair.answer(SERVER, lia());
        let answered = CxEvent::Answer {
            txn,
            from: "hss.ims.example".to_owned(),
            answer: lia(),
        };
        assert_eq!(vec![answered], pair.events[CLIENT]);
        assert_eq!(vec!["CER", "CEA", "LIR", "LIA"], pair.names());
        assert!(pair.sent.iter().all(|(_, m)| m.missing().is_empty()));
        let (lir, lia) = (&pair.sent[2].1, &pair.sent[3].1);
        assert_eq!(lir.text(&d::SESSION_ID), lia.text(&d::SESSION_ID));
        assert_eq!(lir.header().hop_by_hop, lia.header().hop_by_hop);
        assert_eq!(lir.header().end_to_end, lia.header().end_to_end);
    }

    #[test]
    fn answers_find_their_requests_in_any_order() {
        let mut pair = Pair::new();
        let first = pair.ask(CLIENT, "hss.ims.example", &lir());
        let second = pair.ask(CLIENT, "hss.ims.example", &lir());
        pair.answer(SERVER, lia());
        let unknown = CxAnswer::Lia(Lia::only(experimental(5001)));
        pair.answer(SERVER, unknown.clone());
        let answers = pair.events[CLIENT].iter().map(|event| match event {
            CxEvent::Answer { txn, answer, .. } => (*txn, answer.clone()),
            other => panic!("{other:?}"),
        });
        let expected = vec![(second, lia()), (first, unknown)];
        assert_eq!(expected, answers.collect::<Vec<_>>());
    }

    #[test]
    fn an_answer_to_a_lost_connection_is_not_sent() {
        let mut pair = Pair::new();
        pair.ask(CLIENT, "hss.ims.example", &lir());
        pair.take(SERVER, Input::Link(LINK, LinkEvent::Closed));
        pair.sent.clear();
        pair.answer(SERVER, lia());
        assert!(pair.sent.is_empty());
    }

    #[test]
    fn a_second_request_uses_the_same_connection() {
        let mut pair = Pair::new();
        for _ in 0..2 {
            pair.ask(CLIENT, "hss.ims.example", &lir());
            pair.answer(SERVER, lia());
        }
        assert_eq!(vec!["CER", "CEA", "LIR", "LIA", "LIR", "LIA"], pair.names());
        let sessions: Vec<_> = [2, 4].map(|i| pair.sent[i].1.text(&d::SESSION_ID)).into();
        assert_ne!(sessions[0], sessions[1]);
    }

    #[test]
    fn the_server_asks_over_the_connection_of_the_client() {
        let mut pair = Pair::new();
        pair.ask(CLIENT, "hss.ims.example", &lir());
        pair.answer(SERVER, lia());
        let rtr = CxRequest::Rtr(Rtr {
            private: "ue-a@private.ims.example".to_owned(),
            publics: Vec::new(),
            reason: DeregistrationReason::PermanentTermination,
            text: None,
        });
        pair.events = Default::default();
        let txn = pair.ask(SERVER, "icscf1.ims.example", &rtr);
        let rta = CxAnswer::Rta(Rta {
            outcome: Outcome::Base(result::SUCCESS),
        });
        pair.answer(CLIENT, rta.clone());
        assert!(matches!(
            &pair.events[SERVER][..],
            [CxEvent::Answer { txn: of, answer, .. }] if *of == txn && *answer == rta
        ));
    }

    #[test]
    fn silence_fails_after_the_limit() {
        let mut pair = Pair::new();
        let txn = pair.ask(CLIENT, "hss.ims.example", &lir());
        pair.wait(Duration::from_millis(3999));
        assert!(pair.events[CLIENT].is_empty());
        pair.wait(Duration::from_millis(1));
        let why = CxFailure::Timeout;
        assert_eq!(vec![CxEvent::Failed { txn, why }], pair.events[CLIENT]);
        pair.answer(SERVER, lia());
        assert_eq!(1, pair.events[CLIENT].len(), "a late answer is stray");
    }

    #[test]
    fn a_broken_connection_fails_what_was_asked_and_the_next_one_opens_anew() {
        let mut pair = Pair::new();
        let txn = pair.ask(CLIENT, "hss.ims.example", &lir());
        pair.take(CLIENT, Input::Link(LINK, LinkEvent::Reset));
        let why = CxFailure::Transport;
        assert_eq!(vec![CxEvent::Failed { txn, why }], pair.events[CLIENT]);
        pair.sent.clear();
        pair.ask(CLIENT, "hss.ims.example", &lir());
        assert_eq!("CER", pair.names()[0]);
    }

    #[test]
    fn a_peer_that_is_not_known_fails_at_once() {
        let mut pair = Pair::new();
        let txn = pair.ask(CLIENT, "elsewhere.example", &lir());
        pair.wait(Duration::ZERO);
        let why = CxFailure::UnknownPeer;
        assert_eq!(vec![CxEvent::Failed { txn, why }], pair.events[CLIENT]);
    }

    #[test]
    fn the_watchdog_asks_when_nothing_was_heard() {
        let mut pair = Pair::new();
        pair.ask(CLIENT, "hss.ims.example", &lir());
        pair.answer(SERVER, lia());
        pair.wait(Duration::from_secs(27));
        assert_eq!(4, pair.sent.len());
        pair.wait(Duration::from_secs(6));
        assert_eq!(vec!["DWR", "DWA"], pair.names()[4..6]);
        assert!(!pair.closed);
    }

    #[test]
    fn a_dead_peer_is_given_up_after_three_waits() {
        let mut pair = Pair::new();
        pair.ask(CLIENT, "hss.ims.example", &lir());
        pair.answer(SERVER, lia());
        pair.mute = Some(SERVER);
        pair.wait(Duration::from_secs(83));
        assert!(!pair.closed);
        pair.wait(Duration::from_secs(14));
        assert!(pair.closed);
    }

    #[test]
    fn an_idle_connection_ends_in_order() {
        let mut pair = Pair::new();
        pair.ask(CLIENT, "hss.ims.example", &lir());
        pair.answer(SERVER, lia());
        pair.wait(Duration::from_secs(640));
        assert!(pair.closed);
        let names = pair.names();
        assert_eq!(["DPR", "DPA"], names[names.len() - 2..]);
        let dpr = &pair.sent[names.len() - 2];
        assert_eq!(
            (CLIENT, Ok(Some(2))),
            (dpr.0, dpr.1.number(&d::DISCONNECT_CAUSE))
        );
    }

    /// Sends a Cx request by hand and gives the server's answer.
    fn refused(flags: u8, command: u32, application: u32, avps: Avps) -> Message {
        let mut pair = Pair::new();
        pair.ask(CLIENT, "hss.ims.example", &lir());
        pair.answer(SERVER, lia());
        let header = Header {
            flags,
            command,
            application,
            hop_by_hop: 77,
            end_to_end: 78,
        };
        pair.arrives(SERVER, Builder::new(header).avps(avps).finish());
        assert_eq!(SERVER, pair.sent.last().unwrap().0);
        assert!(pair.events[SERVER].is_empty());
        pair.last().clone()
    }

    fn lir_avps(realm: &str) -> Avps {
        let pair = Pair::new();
        pair.ends[CLIENT]
            .0
            .common(Some(b"icscf1.ims.example;1;1"), None)
            .text(&d::DESTINATION_REALM, realm)
    }

    #[test]
    fn requests_that_cannot_be_served_are_refused_as_the_base_protocol_says() {
        let request = Header::REQUEST | Header::PROXIABLE;
        let avps = || lir_avps("ims.example");
        let whole = || avps().text(&d::PUBLIC_IDENTITY, "sip:a@b");
        let unknown = RawAvp {
            code: 4242,
            flags: Avp::MANDATORY,
            vendor: None,
            length: None,
            data: vec![1],
        };
        let elsewhere = lir_avps("other.example").text(&d::PUBLIC_IDENTITY, "sip:a@b");
        let odd_type = whole().number(&d::USER_AUTHORIZATION_TYPE, 9);
        let cases = [
            (302, d::APPLICATION_CX, avps(), result::MISSING_AVP, true),
            (
                302,
                d::APPLICATION_CX,
                whole().raw(unknown),
                result::AVP_UNSUPPORTED,
                true,
            ),
            (
                302,
                d::APPLICATION_CX,
                odd_type,
                result::INVALID_AVP_VALUE,
                true,
            ),
            (
                302,
                d::APPLICATION_CX,
                elsewhere,
                result::REALM_NOT_SERVED,
                false,
            ),
            (
                399,
                d::APPLICATION_CX,
                whole(),
                result::COMMAND_UNSUPPORTED,
                false,
            ),
            (302, 4, whole(), result::APPLICATION_UNSUPPORTED, false),
        ];
        for (command, application, avps, code, failed) in cases {
            let answer = refused(request, command, application, avps);
            assert_eq!(Ok(Some(Outcome::Base(code))), answer.outcome());
            assert_eq!(failed, answer.find(&d::FAILED_AVP).is_some(), "{answer}");
            let has_error_bit = answer.header().flags & Header::ERROR != 0;
            assert_eq!(code / 1000 == 3, has_error_bit, "{answer}");
            assert_eq!(
                (77, 78),
                (answer.header().hop_by_hop, answer.header().end_to_end)
            );
        }
    }

    #[test]
    fn a_wrong_avp_length_is_answered_so() {
        let broken = RawAvp {
            code: 1,
            flags: 0,
            vendor: None,
            length: Some(99),
            data: Vec::new(),
        };
        let answer = refused(
            Header::REQUEST,
            302,
            d::APPLICATION_CX,
            Avps::new().raw(broken),
        );
        let code = Outcome::Base(result::INVALID_AVP_LENGTH);
        assert_eq!(Ok(Some(code)), answer.outcome());
    }

    #[test]
    fn a_peer_without_cx_is_refused() {
        let mut pair = Pair::new();
        let accepted = LinkEvent::Accepted {
            on: RefPoint::Cx,
            format: Format::Diameter,
            from: address(),
            local: address(),
            security: Security::Plain,
        };
        pair.take(SERVER, Input::Link(LINK, accepted));
        let avps = Avps::new()
            .text(&d::ORIGIN_HOST, "x.example")
            .number(&d::AUTH_APPLICATION_ID, 4);
        pair.mute = Some(SERVER);
        pair.arrives(SERVER, Builder::request(&d::CER, 1, 1).avps(avps).finish());
        let code = Outcome::Base(result::NO_COMMON_APPLICATION);
        assert_eq!(Ok(Some(code)), pair.last().outcome());
        assert!(pair.closed);
    }

    #[test]
    fn a_request_before_the_capabilities_exchange_ends_the_connection() {
        let mut pair = Pair::new();
        let accepted = LinkEvent::Accepted {
            on: RefPoint::Cx,
            format: Format::Diameter,
            from: address(),
            local: address(),
            security: Security::Plain,
        };
        pair.take(SERVER, Input::Link(LINK, accepted));
        let avps = lir_avps("ims.example").text(&d::PUBLIC_IDENTITY, "sip:a@b");
        pair.arrives(SERVER, Builder::request(&d::LIR, 1, 1).avps(avps).finish());
        assert!(pair.closed && pair.sent.is_empty() && pair.events[SERVER].is_empty());
    }

    #[test]
    fn proxy_info_comes_back_as_it_went() {
        let mut pair = Pair::new();
        pair.ask(CLIENT, "hss.ims.example", &lir());
        pair.answer(SERVER, lia());
        let proxy = Avps::new()
            .text(&d::PROXY_HOST, "dra.example")
            .octets(&d::PROXY_STATE, b"abc");
        let avps = lir_avps("ims.example")
            .text(&d::PUBLIC_IDENTITY, "sip:a@b")
            .group(&d::PROXY_INFO, proxy);
        let request = Builder::request(&d::LIR, 5, 6).avps(avps).finish();
        let went = Message::parse(request.clone()).unwrap();
        pair.arrives(SERVER, request);
        pair.answer(SERVER, lia());
        let octets = |message: &Message| message.octets(&d::PROXY_INFO).map(<[u8]>::to_vec);
        assert!(octets(&went).is_some());
        assert_eq!(octets(&went), octets(pair.last()));
    }

    #[test]
    fn a_profile_travels_in_user_data() {
        let mut pair = Pair::new();
        let sar = CxRequest::Sar(Sar {
            private: Some("a".to_owned()),
            publics: vec!["sip:a@b".to_owned()],
            server: "sip:s".to_owned(),
            assignment: AssignmentType::Registration,
            has_profile: false,
        });
        pair.ask(CLIENT, "hss.ims.example", &sar);
        let profile = Profile {
            private: "a".to_owned(),
            services: Vec::new(),
        };
        let saa = CxAnswer::Saa(Saa {
            profile: Some(profile),
            ..Saa::only(Outcome::Base(result::SUCCESS))
        });
        pair.answer(SERVER, saa.clone());
        assert!(
            matches!(&pair.events[CLIENT][..], [CxEvent::Answer { answer, .. }] if *answer == saa)
        );
    }

    #[test]
    fn the_same_seed_sends_the_same_octets() {
        let run = || {
            let mut pair = Pair::new();
            pair.ask(CLIENT, "hss.ims.example", &lir());
            pair.answer(SERVER, lia());
            pair.wait(Duration::from_secs(100));
            pair.sent
                .into_iter()
                .map(|(_, m)| m.bytes().clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }
}
