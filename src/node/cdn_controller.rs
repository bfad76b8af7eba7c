//! CDN Controller (TR 23.844 6.2.2): the one node of its CDN that IMS knows. It announces what its edges
//! hold, answers piece requests as a user agent, and asks edges to serve them. Here are its door, its
//! calls and its direct requests; `errands` asks the edges. Start at `handle`.

mod errands;

/// The CDNs that a request says it passed, without their parameters (RFC 8586 2).
fn passed_by(request: &Request) -> Vec<String> {
    let value = request.header("CDN-Loop").unwrap_or_default();
    let names = value.split(',').filter_map(|entry| entry.split(';').next());
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// RFC 8586 2 names no status for a request that comes back; this one says what it is (RFC 5842 7.2, clause not
/// verified).
const LOOP_DETECTED: u16 = 508;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use bytes::Bytes;

use self::errands::{Cause, Cdn, EdgeSession, Errand, ErrandId, Outcome, Yield};
use super::{
    Node, Setup,
    announcer::Announcer,
    ims_user::{Answer, ImsUser, UserEvent},
    policy::ControllerPolicy,
    serving::{
        CONTENT_PATH, Shelf, accepted, data_address, msrp_habits, read_description, swarm_of,
    },
};
use crate::{
    io::{Action, Input, Outbox, TimerId},
    proto::{
        dialog::{Dialog, DialogId},
        endpoint::{ClientTxn, ServerTxn},
        file_transfer::{
            self, Agreed, AskedPiece, Job, MsrpEndpoint, MsrpEvent, MsrpSession, Promise,
        },
        http_exchange::{Asker, HttpServer, Served, ServerEvent},
    },
    random::{Random, derive},
    spec::{Delivery, Format, RefPoint, Role},
    time::At,
    wire::{
        cdn_session::{Holdings, NAMES},
        http::{ContentRange, ETag, Octets, Ranges, Request, Response, if_range_holds},
        msrp,
        ppstp::Pieces,
        sdp::Session,
        sip::Message,
    },
};

/// Builds a Controller from its set-up.
pub fn build(setup: Setup) -> Box<dyn Node> {
    Box::new(Controller::new(setup))
}

/// The node.
struct Controller {
    setup: Setup,
    policy: ControllerPolicy,
    user: Option<ImsUser>,
    announcer: Option<Announcer>,
    server: HttpServer,
    msrp: MsrpEndpoint,
    cdn: Cdn,
    /// The contents of the CDN, without pieces.
    catalogue: Shelf,
    calls: BTreeMap<CallId, Call>,
    direct: BTreeMap<ErrandId, Direct>,
    /// BYEs of ours whose answers nobody waits for.
    farewells: BTreeSet<ClientTxn>,
    timers: BTreeMap<TimerId, CallId>,
    next_call: u64,
    random: Random,
    is_stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CallId(u64);

/// One INVITE, from its arrival to its BYE.
#[derive(Debug)]
struct Call {
    invite: ServerTxn,
    dialog: Dialog,
    offer: Session,
    lines: Vec<Line>,
    /// What was answered, once it was.
    answer: Option<Bytes>,
    timer: Option<TimerId>,
    relays: Vec<MsrpSession>,
}

/// One media line of a call.
#[derive(Debug)]
struct Line {
    transfer_id: Option<String>,
    asked: Option<AskedPiece>,
    state: LineState,
    /// A path of ours that was given away before the CDN has spoken.
    promised: Option<msrp::Uri>,
}

#[derive(Debug)]
enum LineState {
    /// The CDN is being asked.
    Asking(ErrandId),
    /// It will be served.
    Granted(Box<(EdgeSession, Promise)>),
    /// It will not; `None`: the line was no piece request at all.
    Refused(Option<Cause>),
}

/// A request over HTTP that waits for the CDN.
#[derive(Debug)]
struct Direct {
    served: Served,
    octets: Octets,
    size: u64,
    etag: ETag,
    is_range: bool,
}

impl Controller {
    fn new(setup: Setup) -> Controller {
        let policy = setup.policy.controller.clone();
        let mut catalogue = Shelf::default();
        for content in setup.contents.iter() {
            catalogue.put(content, &[]);
        }
        Controller {
            user: ImsUser::new(&setup),
            announcer: Announcer::new(&setup, policy.report_interval),
            server: HttpServer::new(),
            msrp: MsrpEndpoint::new(
                msrp_habits(&setup.policy.serving),
                derive(setup.seed, &["controller", "msrp"]),
            ),
            cdn: Cdn::new(&setup),
            catalogue,
            calls: BTreeMap::new(),
            direct: BTreeMap::new(),
            farewells: BTreeSet::new(),
            timers: BTreeMap::new(),
            next_call: 0,
            random: Random::new(derive(setup.seed, &["controller"])),
            policy,
            setup,
            is_stopped: false,
        }
    }

    fn act(&mut self, at: At, action: &Action, out: &mut Outbox) {
        match action {
            Action::Register => {
                if let Some(user) = &mut self.user {
                    user.register(at, out);
                }
            }
            Action::Deregister => {
                if let Some(user) = &mut self.user {
                    user.deregister(at, out);
                }
            }
            Action::Announce { content, pieces } => {
                let pieces = pieces.iter().copied().collect();
                if !self.policy.announces {
                    return;
                }
                self.on_swarm(at, content, out, |announcer, at, swarm, out| {
                    announcer.announce(at, swarm, pieces, out);
                });
            }
            Action::Drop { content, pieces } => {
                let dropped: Pieces = pieces.iter().copied().collect();
                if let Some(swarm) = self.swarm(content) {
                    self.cdn.forget(&swarm, &dropped);
                    self.withdraw(at, &swarm, &dropped, out);
                }
            }
            Action::Report { content } => {
                self.on_swarm(at, content, out, |announcer, at, swarm, out| {
                    announcer.report(at, swarm, out);
                });
            }
            Action::Leave { content } => {
                self.on_swarm(at, content, out, |announcer, at, swarm, out| {
                    announcer.leave(at, swarm, out);
                });
            }
            Action::Stop | Action::Crash => self.is_stopped = true,
            Action::Ask { .. }
            | Action::Fetch { .. }
            | Action::Revoke { .. }
            | Action::Withdraw { .. } => out.note("refused", "not for a Controller to do"),
        }
    }

    fn on_swarm(
        &mut self,
        at: At,
        content: &str,
        out: &mut Outbox,
        act: impl FnOnce(&mut Announcer, At, &str, &mut Outbox),
    ) {
        match (self.swarm(content), &mut self.announcer) {
            (Some(swarm), Some(announcer)) => act(announcer, at, &swarm, out),
            _ => out.note("refused", format!("no content {content}, or no tracker")),
        }
    }

    fn swarm(&self, fixture: &str) -> Option<String> {
        let content = self.setup.contents.iter().find(|c| c.fixture == fixture)?;
        Some(content.swarm.clone())
    }

    /// Takes pieces back that nobody holds any more; nothing if they were not announced.
    fn withdraw(&mut self, at: At, swarm: &str, pieces: &Pieces, out: &mut Outbox) {
        let announcer = self.announcer.as_mut();
        let Some(announcer) = announcer.filter(|_| self.policy.withdraws) else {
            return;
        };
        let Some(mut announced) = announcer.announced(swarm).cloned() else {
            return;
        };
        let before = announced.len();
        for n in pieces.iter() {
            if self.policy.withdraws_early || !self.cdn.holds(swarm, n) {
                announced.remove(n);
            }
        }
        match announced.len() {
            0 => announcer.leave(at, swarm, out),
            after if after < before => announcer.announce(at, swarm, announced, out),
            _ => {}
        }
    }

    /// Announces pieces that an edge has come to hold.
    fn add(&mut self, at: At, swarm: &str, pieces: &Pieces, out: &mut Outbox) {
        let announcer = self.announcer.as_mut();
        let Some(announcer) = announcer.filter(|_| self.policy.announces) else {
            return;
        };
        let mut announced = announcer.announced(swarm).cloned().unwrap_or_default();
        let before = announced.len();
        for n in pieces.iter() {
            announced.insert(n);
        }
        if announced.len() > before {
            announcer.announce(at, swarm, announced, out);
        }
    }

    // Piece requests through IMS.

    fn user_event(&mut self, at: At, event: UserEvent, out: &mut Outbox) {
        match event {
            UserEvent::Request { txn, request } => self.request(at, txn, &request, out),
            UserEvent::Cancelled { txn } => {
                // Already answered 487 (RFC 3261 9.2); an edge that agrees later is told to forget it.
                if let Some(id) = self.call_of(txn) {
                    self.end(at, id, out);
                }
            }
            UserEvent::AckMissing { txn } => {
                if let Some(id) = self.call_of(txn) {
                    self.hang_up(at, id, out);
                }
            }
            UserEvent::Response { txn, response } if response.status() >= Some(200) => {
                self.farewells.remove(&txn);
            }
            UserEvent::Failed { txn, .. } => {
                self.farewells.remove(&txn);
            }
            _ => {}
        }
    }

    fn call_of(&self, txn: ServerTxn) -> Option<CallId> {
        let found = self.calls.iter().find(|(_, call)| call.invite == txn);
        found.map(|(&id, _)| id)
    }

    fn respond(&mut self, at: At, txn: ServerTxn, answer: &Answer<'_>, out: &mut Outbox) {
        if let Some(user) = &mut self.user {
            user.respond(at, txn, answer, out);
        }
    }

    fn request(&mut self, at: At, txn: ServerTxn, request: &Message, out: &mut Outbox) {
        let known = DialogId::of_request(request).and_then(|dialog| {
            let found = self
                .calls
                .iter()
                .find(|(_, call)| *call.dialog.id() == dialog);
            found.map(|(&id, _)| id)
        });
        let is_new = request.to().is_ok_and(|to| to.tag().is_none());
        match (known, request.method()) {
            (Some(id), method) => {
                let call = self.calls.get_mut(&id);
                let taken = call.map_or(Ok(()), |call| call.dialog.take(request));
                match (taken, method) {
                    (Err(refusal), _) => {
                        self.respond(at, txn, &Answer::of(refusal.status()), out);
                    }
                    (Ok(()), "BYE") => {
                        self.respond(at, txn, &Answer::of(200), out);
                        self.end(at, id, out);
                    }
                    (Ok(()), "INVITE") => self.reoffered(at, txn, id, request, out),
                    (Ok(()), _) => self.respond(at, txn, &Answer::of(200), out),
                }
            }
            (None, "INVITE") if is_new => self.invite(at, txn, request, out),
            (None, _) => self.respond(at, txn, &Answer::of(481), out),
        }
    }

    /// A piece request: asks the CDN for every media line before anything is answered.
    fn invite(&mut self, at: At, txn: ServerTxn, request: &Message, out: &mut Outbox) {
        if self.policy.tries_at_once {
            self.respond(at, txn, &Answer::of(100), out);
        }
        let offer = match read_description(request) {
            Ok(offer) => offer,
            Err(answer) => return self.respond(at, txn, &answer, out),
        };
        if self.calls.len() >= self.policy.most_calls {
            let status = self.policy.overloaded_status;
            return self.refuse(at, txn, status, out);
        }
        let tag = self.user.as_mut().map(ImsUser::tag).unwrap_or_default();
        let Ok(dialog) = Dialog::uas(request, &tag) else {
            return self.respond(at, txn, &Answer::of(400), out);
        };
        self.next_call += 1;
        let id = CallId(self.next_call);
        let lines = file_transfer::read_offer(&offer);
        let call = Call {
            invite: txn,
            dialog,
            lines: lines.into_iter().map(Line::of).collect(),
            offer,
            answer: None,
            timer: None,
            relays: Vec::new(),
        };
        self.calls.insert(id, call);
        self.ask_cdn(at, id, out);
        if self.policy.accepts_first {
            self.promise_all(id);
        }
        self.settle(at, id, out);
    }

    /// Gives each line that the CDN is being asked for a path of ours at once.
    fn promise_all(&mut self, id: CallId) {
        let (Some(local), Some(call)) = (
            data_address(&self.setup, Format::Msrp),
            self.calls.get_mut(&id),
        ) else {
            return;
        };
        for line in &mut call.lines {
            if matches!(line.state, LineState::Asking(_)) {
                line.promised = Some(self.msrp.fresh_uri(local));
            }
        }
    }

    /// Sends an errand for each piece of a call.
    fn ask_cdn(&mut self, at: At, id: CallId, out: &mut Outbox) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let relays = self.setup.delivery == Delivery::Relay;
        let errands: Vec<(usize, Option<Errand>)> = call
            .lines
            .iter()
            .enumerate()
            .filter_map(|(n, line)| Some((n, line.asked.as_ref()?)))
            .map(|(n, asked)| (n, self.errand(&call.offer, asked, relays)))
            .collect();
        for (n, errand) in errands {
            if let Some(ahead) = errand.as_ref().and_then(Errand::next)
                && self.policy.reads_ahead
            {
                // Nobody waits for it: what comes of it is ended.
                let _ = self.cdn.begin(at, ahead, out);
            }
            let state = match errand {
                Some(errand) => match self.cdn.begin(at, errand, out) {
                    Ok(errand) => LineState::Asking(errand),
                    Err(cause) => LineState::Refused(Some(cause)),
                },
                None => LineState::Refused(Some(Cause::Unknown)),
            };
            if let Some(line) = self.calls.get_mut(&id).and_then(|c| c.lines.get_mut(n)) {
                line.state = state;
            }
        }
    }

    /// What a media line wants of the CDN; `None` if no content or range fits.
    fn errand(&self, offer: &Session, asked: &AskedPiece, relays: bool) -> Option<Errand> {
        let swarm = self.catalogue.select(&asked.selector)?;
        let size = self.catalogue.get(swarm)?.size;
        let (first, len) = match asked.range {
            Some(range) => range.within(size)?,
            None => (0, size),
        };
        let media = offer.media.get(asked.line)?;
        let client: IpAddr = offer.connection_of(media)?.ip()?;
        let paths: Vec<String> = asked.peer.iter().map(ToString::to_string).collect();
        Some(Errand {
            content: swarm.to_owned(),
            octets: Octets::new(first, len)?,
            client,
            peer_path: (!relays).then(|| paths.join(" ")),
            passed: Vec::new(),
            brings_octets: relays,
        })
    }

    /// A further offer in a call: the transfers it knows go on, a new one is refused (RFC 3261 14.2:
    /// with 488 the session stays as it is).
    fn reoffered(
        &mut self,
        at: At,
        txn: ServerTxn,
        id: CallId,
        request: &Message,
        out: &mut Outbox,
    ) {
        let offer = read_description(request);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let same = offer.is_ok_and(|offer| {
            let ids = offer.media.iter().map(|media| media.file_transfer_id());
            ids.eq(call.lines.iter().map(|line| line.transfer_id.as_deref()))
        });
        let tag = call.dialog.id().local_tag.clone();
        match call.answer.clone().filter(|_| same) {
            Some(body) => {
                call.invite = txn;
                self.respond(at, txn, &accepted(&tag, &body), out);
            }
            None => self.respond(at, txn, &Answer::of(488), out),
        }
    }

    /// Answers a call once the CDN has spoken on each of its lines: 200 if one piece at least comes.
    fn settle(&mut self, at: At, id: CallId, out: &mut Outbox) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let waits =
            |line: &Line| matches!(line.state, LineState::Asking(_)) && line.promised.is_none();
        if call.answer.is_some() || call.lines.iter().any(waits) {
            return;
        }
        let promises: Vec<Option<Promise>> = call.lines.iter().map(Line::promise).collect();
        let is_granted = promises.iter().any(Option::is_some);
        let local = data_address(&self.setup, Format::Msrp);
        let (Some(local), true) = (local, is_granted) else {
            let cause = call.lines.iter().find_map(|line| match line.state {
                LineState::Refused(cause) => cause,
                _ => None,
            });
            let txn = call.invite;
            self.calls.remove(&id);
            let status = self.status(cause.unwrap_or(Cause::Unknown));
            return self.refuse(at, txn, status, out);
        };
        let sdp_id = 3_910_000_000 + self.random.below(1_000_000_000);
        let body = file_transfer::answer(&call.offer, &promises, local, sdp_id).to_bytes();
        let timer = out.wake_at(at + CALL_LIMIT);
        self.timers.insert(timer, id);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.timer = Some(timer);
        call.answer = Some(body.clone());
        let (txn, tag) = (call.invite, call.dialog.id().local_tag.clone());
        self.respond(at, txn, &accepted(&tag, &body), out);
    }

    /// The status that tells a caller what the CDN said; nothing of what an edge wrote goes along.
    fn status(&self, cause: Cause) -> u16 {
        match cause {
            Cause::Busy => self.policy.busy_status,
            Cause::Down => self.policy.down_status,
            Cause::Silent => self.policy.silent_status,
            Cause::Unknown => self.policy.unknown_status,
        }
    }

    /// Refuses; with Retry-After where RFC 3261 20.33 allows it.
    fn refuse(&mut self, at: At, txn: ServerTxn, status: u16, out: &mut Outbox) {
        let mut answer = Answer::of(status);
        if matches!(status, 404 | 413 | 480 | 486 | 500 | 503 | 600 | 603) {
            let after = self.policy.retry_after.to_string();
            answer.headers.push(("Retry-After", after));
        }
        self.respond(at, txn, &answer, out);
    }

    /// What the CDN had to say to a media line.
    fn line_settled(
        &mut self,
        at: At,
        (id, n): (CallId, usize),
        outcome: Outcome,
        out: &mut Outbox,
    ) {
        let state = match outcome {
            Outcome::Denied(cause) => LineState::Refused(Some(cause)),
            Outcome::Granted { session, gives } => match self.promise(at, (id, n), gives, out) {
                Some(promise) => LineState::Granted(Box::new((session, promise))),
                None => {
                    self.cdn.end(at, session, out);
                    LineState::Refused(Some(Cause::Down))
                }
            },
        };
        if let Some(line) = self.calls.get_mut(&id).and_then(|c| c.lines.get_mut(n)) {
            line.state = state;
        }
        let is_refused = |line: &Line| matches!(line.state, LineState::Refused(_));
        let call = self.calls.get(&id);
        if call.is_some_and(|call| call.answer.is_some() && call.lines.iter().all(is_refused)) {
            // Accepted before the CDN has spoken, and then it refused.
            return self.hang_up(at, id, out);
        }
        self.settle(at, id, out);
    }

    /// What the caller is told: the edge's data address and path, or our own if we relay.
    fn promise(
        &mut self,
        at: At,
        (id, n): (CallId, usize),
        gives: Yield,
        out: &mut Outbox,
    ) -> Option<Promise> {
        let octets = match gives {
            Yield::Path(path) => {
                return Some(Promise {
                    at: path.addr()?,
                    path,
                    selector: None,
                });
            }
            Yield::Octets(octets) => octets,
            Yield::Url(_) => return None,
        };
        let local = data_address(&self.setup, Format::Msrp)?;
        let call = self.calls.get_mut(&id)?;
        let line = call.lines.get(n)?;
        let promised = line.promised.clone();
        let path = promised.unwrap_or_else(|| self.msrp.fresh_uri(local));
        let asked = line.asked.as_ref()?;
        let agreed = Agreed {
            local: path.clone(),
            peer: asked.peer.clone(),
            active: asked.active,
            job: Job::Send { octets },
        };
        call.relays.push(self.msrp.begin(at, agreed, out));
        Some(Promise {
            at: local,
            path,
            selector: None,
        })
    }

    /// Ends a call of our own accord.
    fn hang_up(&mut self, at: At, id: CallId, out: &mut Outbox) {
        if let (Some(call), Some(user)) = (self.calls.get_mut(&id), &mut self.user) {
            let bye = user.bye(at, &mut call.dialog, out);
            self.farewells.insert(bye);
        }
        self.end(at, id, out);
    }

    /// Frees what a call holds, here and at the edges.
    fn end(&mut self, at: At, id: CallId, out: &mut Outbox) {
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        if let Some(timer) = call.timer {
            self.timers.remove(&timer);
            out.disarm(timer);
        }
        for relay in call.relays {
            self.msrp.end(relay, out);
        }
        for line in call.lines {
            match line.state {
                LineState::Asking(errand) => self.cdn.abandon(errand),
                LineState::Granted(granted) if self.policy.deletes_sessions => {
                    self.cdn.end(at, granted.0, out);
                }
                _ => {}
            }
        }
    }

    // Piece requests over HTTP.

    fn asked(
        &mut self,
        at: At,
        served: Served,
        request: &Request,
        asker: &Asker,
        out: &mut Outbox,
    ) {
        if asker.on == RefPoint::Cdn && request.path() == NAMES.holdings {
            let response = self.told(at, request, asker, out);
            return self.server.respond(served, response, out);
        }
        if asker.on != RefPoint::Data || !request.path().starts_with(CONTENT_PATH) {
            return self.answer(served, 404, out);
        }
        if request.method() != "GET" {
            let response = Response::build(405).header("Allow", "GET").finish();
            return self.server.respond(served, response, out);
        }
        let passed = passed_by(request);
        if self.cdn.has_passed(&passed) && self.policy.refuses_loops {
            out.note("refused", "the request passed this CDN before");
            return self.answer(served, LOOP_DETECTED, out);
        }
        match self.direct(served, request) {
            Ok((content, direct)) => {
                let relays = self.setup.delivery == Delivery::Relay;
                let errand = Errand {
                    content,
                    octets: direct.octets,
                    client: asker.from.ip(),
                    peer_path: None,
                    passed,
                    brings_octets: relays,
                };
                match self.cdn.begin(at, errand, out) {
                    Ok(errand) => {
                        self.direct.insert(errand, direct);
                    }
                    Err(cause) => self.deny(served, cause, out),
                }
            }
            Err(response) => self.server.respond(served, *response, out),
        }
    }

    fn answer(&mut self, served: Served, status: u16, out: &mut Outbox) {
        self.server
            .respond(served, Response::build(status).finish(), out);
    }

    /// What a GET asks for: one range, or the whole; else the answer that says what is wrong.
    fn direct(&self, served: Served, request: &Request) -> Result<(String, Direct), Box<Response>> {
        let swarm = swarm_of(request).filter(|swarm| self.catalogue.get(swarm).is_some());
        let not_found = || Box::new(Response::build(404).finish());
        let swarm = swarm.ok_or_else(not_found)?;
        let held = self.catalogue.get(&swarm).ok_or_else(not_found)?;
        let (size, etag) = (held.size, held.etag(&self.setup.policy.serving));
        let range = request.header("Range").filter(|_| {
            let condition = request.header("If-Range");
            condition.is_none_or(|condition| if_range_holds(condition, &etag))
        });
        let within = match range.map(Ranges::parse) {
            None | Some(Ok(None)) => Octets::new(0, size),
            Some(Ok(Some(ranges))) => match &ranges.0[..] {
                [one] => one.within(size),
                _ => None,
            },
            Some(Err(_)) => None,
        };
        let unsatisfiable = || {
            let range = ContentRange {
                octets: None,
                size: Some(size),
            };
            let response = Response::build(416).header("Content-Range", &range.to_string());
            Box::new(response.finish())
        };
        let direct = Direct {
            served,
            octets: within.ok_or_else(unsatisfiable)?,
            size,
            etag,
            is_range: range.is_some(),
        };
        Ok((swarm, direct))
    }

    fn direct_settled(&mut self, at: At, direct: Direct, outcome: Outcome, out: &mut Outbox) {
        let (session, gives) = match outcome {
            Outcome::Denied(cause) => return self.deny(direct.served, cause, out),
            Outcome::Granted { session, gives } => (session, gives),
        };
        let response = match gives {
            Yield::Url(url) => Response::build(self.policy.redirect_status)
                .header("Location", &url)
                .finish(),
            Yield::Octets(octets) => {
                self.cdn.end(at, session, out);
                let range = ContentRange {
                    octets: Some(direct.octets),
                    size: Some(direct.size),
                };
                let response = match direct.is_range {
                    true => Response::build(206).header("Content-Range", &range.to_string()),
                    false => Response::build(200),
                };
                response
                    .header("ETag", &direct.etag.to_string())
                    .header("Accept-Ranges", "bytes")
                    .body(file_transfer::PIECE_TYPE, octets)
                    .finish()
            }
            Yield::Path(_) => {
                self.cdn.end(at, session, out);
                return self.deny(direct.served, Cause::Down, out);
            }
        };
        self.server.respond(direct.served, response, out);
    }

    fn deny(&mut self, served: Served, cause: Cause, out: &mut Outbox) {
        let status = match cause {
            Cause::Busy => 503,
            Cause::Down => 502,
            Cause::Silent => 504,
            Cause::Unknown => 404,
        };
        let mut response = Response::build(status);
        if cause == Cause::Busy {
            response = response.header("Retry-After", &self.policy.retry_after.to_string());
        }
        self.server.respond(served, response.finish(), out);
    }

    /// An edge tells what it holds now.
    fn told(&mut self, at: At, request: &Request, asker: &Asker, out: &mut Outbox) -> Response {
        let Ok(holdings) = Holdings::parse(&request.body()) else {
            return Response::build(400).finish();
        };
        let now: Pieces = holdings.pieces.iter().copied().collect();
        let Some((server, _)) = self.setup.who_asks(asker.from, &asker.security) else {
            return Response::build(403).finish();
        };
        let Some(mut lost) = self.cdn.replace(server, &holdings.content, now.clone()) else {
            return Response::build(403).finish();
        };
        lost.subtract(&now);
        self.add(at, &holdings.content, &now, out);
        self.withdraw(at, &holdings.content, &lost, out);
        Response::build(204).finish()
    }

    fn msrp_event(&mut self, at: At, event: MsrpEvent, out: &mut Outbox) {
        let (session, why) = match event {
            MsrpEvent::Failed { session, why } => (session, why),
            MsrpEvent::Unreadable { malformed } => {
                return out.note("unreadable", malformed.to_string());
            }
            MsrpEvent::Sent { .. } | MsrpEvent::Received { .. } => return,
        };
        out.note("gave-up", why.to_string());
        let call = self.calls.iter().find(|(_, c)| c.relays.contains(&session));
        if let Some((&id, _)) = call {
            self.hang_up(at, id, out);
        }
    }

    /// What the CDN has settled, and what it has let us know of its holdings.
    fn cdn_event(&mut self, at: At, id: ErrandId, outcome: Outcome, out: &mut Outbox) {
        if let Some(direct) = self.direct.remove(&id) {
            return self.direct_settled(at, direct, outcome, out);
        }
        let asking = |line: &Line| matches!(line.state, LineState::Asking(e) if e == id);
        let place = self.calls.iter().find_map(|(&call, state)| {
            let line = state.lines.iter().position(asking)?;
            Some((call, line))
        });
        match (place, outcome) {
            (Some(place), outcome) => self.line_settled(at, place, outcome, out),
            // Whoever asked is gone.
            (None, Outcome::Granted { session, .. }) => self.cdn.end(at, session, out),
            (None, Outcome::Denied(_)) => {}
        }
    }
}

impl Line {
    fn of(read: Result<AskedPiece, String>) -> Line {
        Line {
            transfer_id: read.as_ref().ok().map(|asked| asked.transfer_id.clone()),
            asked: read.ok(),
            state: LineState::Refused(None),
            promised: None,
        }
    }

    fn promise(&self) -> Option<Promise> {
        match (&self.state, &self.promised) {
            (LineState::Granted(granted), _) => Some(granted.1.clone()),
            (LineState::Asking(_), Some(path)) => Some(Promise {
                at: path.addr()?,
                path: path.clone(),
                selector: None,
            }),
            _ => None,
        }
    }
}

impl Node for Controller {
    fn role(&self) -> Role {
        Role::Controller
    }

    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        if self.is_stopped {
            return;
        }
        if let Input::Act(action) = input {
            return self.act(at, action, out);
        }
        let of_user = self
            .user
            .as_mut()
            .and_then(|user| user.take(at, &input, out));
        if let Some(events) = of_user {
            for event in events {
                self.user_event(at, event, out);
            }
        } else if let Some(settled) = self.cdn.take(at, &input, out) {
            for (swarm, pieces) in self.cdn.gained() {
                self.add(at, &swarm, &pieces, out);
            }
            for (swarm, pieces) in self.cdn.lost() {
                if self.policy.withdraws_refused {
                    self.withdraw(at, &swarm, &pieces, out);
                }
            }
            for (id, outcome) in settled {
                self.cdn_event(at, id, outcome, out);
            }
        } else if let Some(events) = self.server.take(&input, out) {
            for event in events {
                match event {
                    ServerEvent::Request {
                        served,
                        request,
                        asker,
                    } => self.asked(at, served, &request, &asker, out),
                    ServerEvent::Unreadable { malformed, .. } => {
                        out.note("unreadable", malformed.to_string());
                    }
                    ServerEvent::Gone { requests } => {
                        for (&errand, direct) in &self.direct {
                            if requests.contains(&direct.served) {
                                self.cdn.abandon(errand);
                            }
                        }
                        self.direct.retain(|_, d| !requests.contains(&d.served));
                    }
                }
            }
        } else if let Some(events) = self.msrp.take(at, &input, out) {
            for event in events {
                self.msrp_event(at, event, out);
            }
        } else if let Input::Timer(timer) = input
            && let Some(id) = self.timers.remove(&timer)
        {
            self.hang_up(at, id, out);
        } else if let Some(announcer) = &mut self.announcer {
            announcer.take(at, &input, out);
        }
    }
}

/// How long a call may last. Ours.
const CALL_LIMIT: Duration = Duration::from_secs(600);
