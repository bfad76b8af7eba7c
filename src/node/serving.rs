//! The serving side of whoever holds pieces: user peer, registered Edge Server and Origin Server. It
//! answers piece requests by INVITE (RFC 5547 over MSRP) and by HTTP GET with Range. It knows neither
//! the tracker nor how its owner came by the pieces. Start at [`Serving`] and [`Shelf`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use bytes::{Bytes, BytesMut};

use super::{
    Setup,
    ims_user::{Answer, ImsUser, UserEvent},
    policy::ServingPolicy,
    setup::Content,
};
use crate::{
    io::{Input, Outbox, TimerId},
    proto::{
        dialog::{Dialog, DialogId},
        endpoint::{ClientTxn, ServerTxn},
        file_transfer::{
            self, Agreed, AskedPiece, Job, MsrpEndpoint, MsrpEvent, MsrpFailure, MsrpHabits,
            MsrpSession, PIECE_TYPE, Promise,
        },
        http_exchange::{HttpServer, ServerEvent},
    },
    random::{Random, derive},
    spec::{Format, RefPoint},
    time::At,
    wire::{
        http::{
            ContentRange, ETag, Octets, Ranges, Request, Response, ResponseBuilder, if_range_holds,
        },
        ppstp::{Manifest, Pieces},
        sdp::{FileSelector, Media, Session},
        sip::Message,
    },
};

/// Where pieces are asked for over HTTP: `/content/movie-0001`.
pub const CONTENT_PATH: &str = "/content/";

/// The type of a session description.
pub const SDP: &str = "application/sdp";

/// The pieces a node holds and may give away, by swarm.
#[derive(Clone, Debug, Default)]
pub struct Shelf(BTreeMap<String, Held>);

/// What is held of one content.
#[derive(Clone, Debug)]
pub struct Held {
    pub size: u64,
    pub sha1: Option<[u8; 20]>,
    pub sha256: [u8; 32],
    /// By number: 0-based first octet, and the octets.
    pieces: BTreeMap<u32, (u64, Bytes)>,
    /// What pieces were cut from, if they were: where they lie side by side, nothing has to be copied to join them.
    uncut: Bytes,
}

impl Shelf {
    /// Every piece of every content.
    fn of_everything(setup: &Setup) -> Shelf {
        let mut shelf = Shelf::default();
        for content in setup.contents.iter() {
            let all: Vec<u32> = content.pieces.iter().map(|piece| piece.n).collect();
            shelf.put(content, &all);
        }
        shelf
    }

    /// What a node is set up to hold.
    pub fn of(setup: &Setup) -> Shelf {
        let mut shelf = Shelf::default();
        for (fixture, pieces) in &setup.holds {
            let content = setup.contents.iter().find(|c| c.fixture == *fixture);
            if let Some(content) = content {
                shelf.put(content, pieces);
            }
        }
        shelf
    }

    /// Holds pieces of a content; numbers it does not have are passed over.
    pub fn put(&mut self, content: &Content, pieces: &[u32]) {
        let held = self.entry(
            &content.swarm,
            content.bytes.len() as u64,
            Some(content.sha1),
            content.sha256,
        );
        held.uncut = content.bytes.clone();
        for piece in content.pieces.iter().filter(|p| pieces.contains(&p.n)) {
            let octets = Octets::new(piece.first, piece.len).and_then(|o| o.of(&content.bytes));
            if let Some(octets) = octets {
                held.pieces.insert(piece.n, (piece.first, octets));
            }
        }
    }

    /// Holds one piece of a content known by its manifest only.
    pub fn put_fetched(&mut self, swarm: &str, manifest: &Manifest, n: u32, octets: Bytes) {
        let Some(piece) = manifest.pieces.iter().find(|piece| piece.n == n) else {
            return;
        };
        let held = self.entry(swarm, manifest.size, manifest.sha1, manifest.sha256);
        held.pieces.insert(n, (piece.first, octets));
    }

    /// Holds one piece that was fetched: its octets from the 0-based `first` on.
    pub fn put_octets(&mut self, content: &Content, n: u32, first: u64, octets: Bytes) {
        self.put(content, &[]);
        if let Some(held) = self.0.get_mut(&content.swarm) {
            held.pieces.insert(n, (first, octets));
        }
    }

    /// Gives up pieces.
    pub fn remove(&mut self, swarm: &str, pieces: &[u32]) {
        if let Some(held) = self.0.get_mut(swarm) {
            held.pieces.retain(|n, _| !pieces.contains(n));
        }
    }

    /// The numbers of the pieces held of a content.
    pub fn pieces(&self, swarm: &str) -> Pieces {
        let held = self.0.get(swarm);
        held.map(|held| held.pieces.keys().copied().collect())
            .unwrap_or_default()
    }

    pub fn get(&self, swarm: &str) -> Option<&Held> {
        self.0.get(swarm)
    }

    /// The one content a selector means; `None` if none or several fit (RFC 5547 8.3.2, clause not
    /// verified). Every criterion that is given has to fit; a hash of an unknown kind says nothing.
    pub fn select(&self, selector: &FileSelector) -> Option<&str> {
        let known = ["sha-1", "sha-256"];
        let has_hash = known.iter().any(|kind| selector.hash(kind).is_some());
        if selector.name.is_none() && selector.size.is_none() && !has_hash {
            return None;
        }
        let mut fitting = self.0.iter().filter(|(swarm, held)| {
            let hash = |kind, own: Option<&[u8]>| {
                selector
                    .hash(kind)
                    .is_none_or(|h| own.is_none_or(|own| own == h))
            };
            selector.name.as_ref().is_none_or(|name| name == *swarm)
                && selector.size.is_none_or(|size| size == held.size)
                && selector
                    .media_type
                    .as_deref()
                    .is_none_or(|t| t == PIECE_TYPE)
                && hash("sha-1", held.sha1.as_ref().map(|h| &h[..]))
                && hash("sha-256", Some(&held.sha256[..]))
        });
        match (fitting.next(), fitting.next()) {
            (Some((swarm, _)), None) => Some(swarm),
            _ => None,
        }
    }

    fn entry(
        &mut self,
        swarm: &str,
        size: u64,
        sha1: Option<[u8; 20]>,
        sha256: [u8; 32],
    ) -> &mut Held {
        self.0.entry(swarm.to_owned()).or_insert_with(|| Held {
            size,
            sha1,
            sha256,
            pieces: BTreeMap::new(),
            uncut: Bytes::new(),
        })
    }
}

impl Held {
    /// Octets of the content, if all of them lie in pieces that are held.
    pub fn octets(&self, wanted: Octets) -> Option<Bytes> {
        let mut parts = Vec::new();
        let mut at = wanted.first;
        while at <= wanted.last {
            let (first, piece) = self
                .pieces
                .values()
                .find(|(first, piece)| (*first..first + piece.len() as u64).contains(&at))?;
            let last = wanted.last.min(first + piece.len() as u64 - 1);
            let within = Octets {
                first: at - first,
                last: last - first,
            };
            parts.push(within.of(piece)?);
            at = last.checked_add(1)?;
        }
        match &parts[..] {
            [one] => Some(one.clone()),
            _ => Some(
                self.uncut(wanted, &parts)
                    .unwrap_or_else(|| Bytes::from(parts.concat())),
            ),
        }
    }

    /// What the parts were cut from, if each of them is the very memory of it.
    fn uncut(&self, wanted: Octets, parts: &[Bytes]) -> Option<Bytes> {
        let whole = wanted.of(&self.uncut)?;
        let mut at = whole.as_ptr();
        let are_of_it = parts.iter().all(|part| {
            let is_here = part.as_ptr() == at;
            at = at.wrapping_add(part.len());
            is_here
        });
        are_of_it.then_some(whole)
    }

    /// The strong validator every holder of the content gives (RFC 9110 8.8.3).
    pub fn etag(&self, policy: &ServingPolicy) -> ETag {
        let digest = match (policy.etag_from_sha256, self.sha1) {
            (false, Some(sha1)) => hex(&sha1),
            _ => hex(&self.sha256),
        };
        ETag::strong(digest)
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|b| format!("{b:02x}")).collect()
}

/// The swarm a request for content names in its path.
pub fn swarm_of(request: &Request) -> Option<String> {
    let name = request.path().strip_prefix(CONTENT_PATH)?;
    crate::wire::http::decode(name)
}

/// Answers a request for content that is permitted: 206 for a range, 200 for the whole, 404 for what is
/// not held, 416 for what no copy could hold (RFC 9110 14.2, 15.3.7, 15.5.17).
pub fn content_response(shelf: &Shelf, request: &Request, policy: &ServingPolicy) -> Response {
    content_answer(shelf, request, policy).finish()
}

/// The same, not yet put together: octets that are held are not copied.
pub fn content_answer(shelf: &Shelf, request: &Request, policy: &ServingPolicy) -> ResponseBuilder {
    if request.method() != "GET" {
        return Response::build(405).header("Allow", "GET");
    }
    let Some(held) = swarm_of(request).and_then(|swarm| shelf.get(&swarm)) else {
        return Response::build(404);
    };
    let etag = held.etag(policy);
    let range = request.header("Range").filter(|_| {
        let condition = request.header("If-Range");
        condition.is_none_or(|condition| if_range_holds(condition, &etag))
    });
    let wanted = match range.map(Ranges::parse) {
        None | Some(Ok(None)) => return whole(held, &etag, policy),
        Some(Err(_)) => Vec::new(),
        Some(Ok(Some(ranges))) => ranges
            .0
            .iter()
            .filter_map(|r| r.within(held.size))
            .collect(),
    };
    match &wanted[..] {
        [] => {
            let range = ContentRange {
                octets: None,
                size: Some(held.size),
            };
            Response::build(policy.unsatisfiable_status).header("Content-Range", &range.to_string())
        }
        [one] => match held.octets(*one) {
            Some(octets) => {
                let range = content_range(*one, held);
                Response::build(206)
                    .header("Content-Range", &range)
                    .header("ETag", &etag.to_string())
                    .header("Accept-Ranges", "bytes")
                    .body(PIECE_TYPE, bent(&octets, policy))
            }
            None => Response::build(404),
        },
        several => parts(held, several, &etag, policy),
    }
}

fn content_range(octets: Octets, held: &Held) -> String {
    let range = ContentRange {
        octets: Some(octets),
        size: Some(held.size),
    };
    range.to_string()
}

fn whole(held: &Held, etag: &ETag, policy: &ServingPolicy) -> ResponseBuilder {
    let all = Octets::new(0, held.size).and_then(|all| held.octets(all));
    match all {
        Some(octets) => Response::build(200)
            .header("ETag", &etag.to_string())
            .header("Accept-Ranges", "bytes")
            .body(PIECE_TYPE, bent(&octets, policy)),
        None => Response::build(404),
    }
}

/// Several ranges in one body (RFC 9110 14.6), at most 16 of them.
fn parts(held: &Held, wanted: &[Octets], etag: &ETag, policy: &ServingPolicy) -> ResponseBuilder {
    const MOST: usize = 16;
    let boundary = &etag.opaque[..etag.opaque.len().min(32)];
    let mut body = BytesMut::new();
    for &octets in wanted.iter().take(MOST) {
        let Some(part) = held.octets(octets) else {
            return Response::build(404);
        };
        let range = content_range(octets, held);
        body.extend_from_slice(
            format!("--{boundary}\r\nContent-Type: {PIECE_TYPE}\r\nContent-Range: {range}\r\n\r\n")
                .as_bytes(),
        );
        body.extend_from_slice(&bent(&part, policy));
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let kind = format!("multipart/byteranges; boundary={boundary}");
    Response::build(206)
        .header("ETag", &etag.to_string())
        .body(&kind, body.freeze())
}

/// The octets as the policy has them sent; canonically as they are.
pub fn bent(octets: &Bytes, policy: &ServingPolicy) -> Bytes {
    let skipped = (policy.octets_shifted as usize).min(octets.len());
    let end = octets.len().saturating_sub(policy.octets_withheld as usize);
    let octets = octets.slice(skipped.min(end)..end);
    if !policy.pollutes || octets.is_empty() {
        return octets;
    }
    let mut polluted = BytesMut::from(&octets[..]);
    polluted[0] ^= 1;
    polluted.freeze()
}

/// How an endpoint of this policy sends.
pub fn msrp_habits(policy: &ServingPolicy) -> MsrpHabits {
    MsrpHabits {
        chunk: policy.msrp_chunk,
        interruptible: policy.interruptible,
        says_failure_report: policy.says_failure_report,
        ..MsrpHabits::default()
    }
}

/// How long a call may last without a connection, and without a BYE once everything is sent. Ours.
const PATIENCE: Duration = Duration::from_secs(60);

/// The serving side of a node that is an IMS user.
#[derive(Debug)]
pub struct Serving {
    pub shelf: Shelf,
    /// What it gives away without holding it; canonically nothing.
    unheld: Shelf,
    msrp: MsrpEndpoint,
    http: HttpServer,
    calls: BTreeMap<DialogId, Call>,
    /// Legs of all calls, those included that are over.
    legs: usize,
    /// BYEs of ours whose answers nobody waits for.
    farewells: BTreeSet<ClientTxn>,
    timers: BTreeMap<TimerId, DialogId>,
    uploaded: BTreeMap<String, u64>,
    local: Option<SocketAddr>,
    policy: ServingPolicy,
    random: Random,
}

/// One accepted INVITE.
#[derive(Debug)]
struct Call {
    dialog: Dialog,
    invite: ServerTxn,
    legs: Vec<CallLeg>,
    timer: TimerId,
    /// The session id of our description; its version counts up with each answer.
    sdp_id: u64,
}

/// One piece that is sent.
#[derive(Debug)]
struct CallLeg {
    transfer_id: String,
    swarm: String,
    promise: Promise,
    session: MsrpSession,
    octets: u64,
    is_over: bool,
}

impl Serving {
    pub fn new(setup: &Setup) -> Serving {
        let policy = setup.policy.serving.clone();
        Serving {
            shelf: Shelf::of(setup),
            unheld: match policy.serves_unheld {
                true => Shelf::of_everything(setup),
                false => Shelf::default(),
            },
            msrp: MsrpEndpoint::new(
                msrp_habits(&policy),
                derive(setup.seed, &["serving", "msrp"]),
            ),
            http: HttpServer::new(),
            calls: BTreeMap::new(),
            legs: 0,
            farewells: BTreeSet::new(),
            timers: BTreeMap::new(),
            uploaded: BTreeMap::new(),
            local: data_address(setup, Format::Msrp),
            policy,
            random: Random::new(derive(setup.seed, &["serving"])),
        }
    }

    /// The node's one MSRP endpoint: its own downloads run over it too.
    pub fn msrp(&mut self) -> &mut MsrpEndpoint {
        &mut self.msrp
    }

    /// Octets sent of a content so far.
    pub fn uploaded(&self, swarm: &str) -> u64 {
        self.uploaded.get(swarm).copied().unwrap_or(0)
    }

    /// Whether it carries as many transfers as it may.
    fn is_full(&self) -> bool {
        let most = self.policy.most_transfers;
        self.legs >= most && self.transfers() >= most
    }

    /// Transfers under way.
    pub fn transfers(&self) -> usize {
        let legs = self.calls.values().flat_map(|call| &call.legs);
        legs.filter(|leg| !leg.is_over).count()
    }

    /// Takes an input if it is MSRP's, the HTTP server's or a timer of ours; what happened to MSRP
    /// sessions of the owner's is given back. `None`: not ours.
    pub fn take(
        &mut self,
        at: At,
        input: &Input<'_>,
        user: &mut ImsUser,
        out: &mut Outbox,
    ) -> Option<Vec<MsrpEvent>> {
        if let Some(events) = self.msrp.take(at, input, out) {
            let rest = events
                .into_iter()
                .filter_map(|event| self.msrp_event(at, event, user, out));
            return Some(rest.collect());
        }
        if let Some(events) = self.http.take(input, out) {
            for event in events {
                self.http_event(event, out);
            }
            return Some(Vec::new());
        }
        let Input::Timer(timer) = input else {
            return None;
        };
        let id = self.timers.remove(timer)?;
        self.overdue(at, &id, user, out);
        Some(Vec::new())
    }

    /// Looks at what the IMS side brought; gives back what is not for the serving side.
    pub fn user_event(
        &mut self,
        at: At,
        event: UserEvent,
        user: &mut ImsUser,
        out: &mut Outbox,
    ) -> Option<UserEvent> {
        match &event {
            UserEvent::Request { txn, request } => {
                let known =
                    DialogId::of_request(request).is_some_and(|id| self.calls.contains_key(&id));
                let is_new = request.to().is_ok_and(|to| to.tag().is_none());
                match request.method() {
                    "INVITE" if known || is_new => self.invite(at, *txn, request, user, out),
                    _ if known => self.within(at, *txn, request, user, out),
                    _ => return Some(event),
                }
                None
            }
            UserEvent::Ack { request } => {
                let known =
                    DialogId::of_request(request).is_some_and(|id| self.calls.contains_key(&id));
                (!known).then_some(event)
            }
            UserEvent::AckMissing { txn } => {
                let id = self.calls.iter().find(|(_, call)| call.invite == *txn);
                let Some((id, _)) = id else {
                    return Some(event);
                };
                let id = id.clone();
                self.hang_up(at, &id, user, out);
                None
            }
            UserEvent::Response { txn, response } => {
                let is_final = response.status().is_some_and(|status| status >= 200);
                match self.farewells.contains(txn) {
                    true if is_final => self.farewells.remove(txn),
                    true => true,
                    false => return Some(event),
                };
                None
            }
            UserEvent::Failed { txn, .. } => match self.farewells.remove(txn) {
                true => None,
                false => Some(event),
            },
            _ => Some(event),
        }
    }

    /// Answers a piece request.
    fn invite(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        user: &mut ImsUser,
        out: &mut Outbox,
    ) {
        if let Some(id) = DialogId::of_request(request)
            && let Some(call) = self.calls.get_mut(&id)
            && let Err(refusal) = call.dialog.take(request)
        {
            return user.refuse(at, txn, refusal.status(), out);
        }
        let offer = match read_description(request) {
            Ok(offer) => offer,
            Err(answer) => return user.respond(at, txn, &answer, out),
        };
        let is_known = DialogId::of_request(request).is_some_and(|id| self.calls.contains_key(&id));
        if !is_known && self.is_full() {
            let busy = Answer {
                headers: vec![("Retry-After", self.policy.retry_after.to_string())],
                ..Answer::of(self.policy.busy_status)
            };
            return user.respond(at, txn, &busy, out);
        }
        match is_known {
            true => self.reoffered(at, txn, request, &offer, user, out),
            false => self.offered(at, txn, request, &offer, user, out),
        }
    }

    /// A first offer: makes a call of it if at least one piece can be given.
    fn offered(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        offer: &Session,
        user: &mut ImsUser,
        out: &mut Outbox,
    ) {
        let tag = user.tag();
        let (Some(local), Ok(dialog)) = (self.local, Dialog::uas(request, &tag)) else {
            return user.refuse(at, txn, self.policy.unheld_status, out);
        };
        let mut call = Call {
            dialog,
            invite: txn,
            legs: Vec::new(),
            timer: out.wake_at(at + PATIENCE),
            sdp_id: 3_910_000_000 + self.random.below(1_000_000_000),
        };
        let promises = self.promises(at, &mut call, offer, out);
        if call.legs.is_empty() {
            out.disarm(call.timer);
            out.note("refused", "no piece of the offer is held here");
            return user.refuse(at, txn, self.policy.unheld_status, out);
        }
        if self.policy.rings {
            let ringing = Answer {
                to_tag: Some(&tag),
                ..Answer::of(180)
            };
            user.respond(at, txn, &ringing, out);
        }
        let id = call.dialog.id().clone();
        self.timers.insert(call.timer, id.clone());
        let body = file_transfer::answer(offer, &promises, local, call.sdp_id).to_bytes();
        self.calls.insert(id, call);
        user.respond(at, txn, &accepted(&tag, &body), out);
    }

    /// A further offer in a call: known transfer ids begin nothing new (RFC 5547 8.3.2, clause not
    /// verified), and a line with port 0 breaks its transfer off (RFC 5547 8.4).
    fn reoffered(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        offer: &Session,
        user: &mut ImsUser,
        out: &mut Outbox,
    ) {
        let entry = DialogId::of_request(request).and_then(|id| self.calls.remove_entry(&id));
        let (Some((id, mut call)), Some(local)) = (entry, self.local) else {
            return user.refuse(at, txn, 481, out);
        };
        let closed = offer.media.iter().filter(|media| media.port == 0);
        let closed: Vec<&str> = closed.filter_map(Media::file_transfer_id).collect();
        let mut legs = call.legs.iter_mut();
        while let Some(leg) = legs.find(|leg| closed.contains(&&*leg.transfer_id)) {
            leg.is_over = true;
            self.msrp.end(leg.session, out);
        }
        let promises = self.promises(at, &mut call, offer, out);
        let mut session = file_transfer::answer(offer, &promises, local, call.sdp_id);
        session.origin.version += request.cseq().map_or(1, |cseq| u64::from(cseq.number));
        call.invite = txn;
        let tag = id.local_tag.clone();
        self.calls.insert(id, call);
        user.respond(at, txn, &accepted(&tag, &session.to_bytes()), out);
    }

    /// A promise for each media line that can be served; a piece that is held begins its session.
    fn promises(
        &mut self,
        at: At,
        call: &mut Call,
        offer: &Session,
        out: &mut Outbox,
    ) -> Vec<Option<Promise>> {
        let lines = file_transfer::read_offer(offer);
        lines
            .into_iter()
            .map(|line| match line {
                Ok(asked) => self.promise(at, call, &asked, out),
                Err(why) => {
                    out.note("refused", why);
                    None
                }
            })
            .collect()
    }

    fn promise(
        &mut self,
        at: At,
        call: &mut Call,
        asked: &AskedPiece,
        out: &mut Outbox,
    ) -> Option<Promise> {
        let mut known = call.legs.iter();
        if let Some(leg) = known.find(|leg| leg.transfer_id == asked.transfer_id) {
            return Some(leg.promise.clone());
        }
        let local = self.local?;
        let (swarm, octets) = self.find(asked)?;
        let promise = Promise {
            at: local,
            path: self.msrp.fresh_uri(local),
            selector: self.told_selector(&swarm, &asked.selector),
        };
        let agreed = Agreed {
            local: promise.path.clone(),
            peer: asked.peer.clone(),
            active: asked.active,
            job: Job::Send {
                octets: bent(&octets, &self.policy),
            },
        };
        self.legs += 1;
        call.legs.push(CallLeg {
            transfer_id: asked.transfer_id.clone(),
            swarm,
            promise: promise.clone(),
            session: self.msrp.begin(at, agreed, out),
            octets: octets.len() as u64,
            is_over: false,
        });
        Some(promise)
    }

    /// The swarm and the octets a media line asks for, if they are held.
    fn find(&self, asked: &AskedPiece) -> Option<(String, Bytes)> {
        find_in(&self.shelf, asked).or_else(|| find_in(&self.unheld, asked))
    }

    fn told_selector(&self, swarm: &str, asked: &FileSelector) -> Option<FileSelector> {
        let sha1 = self.shelf.get(swarm)?.sha1?;
        if !self.policy.tells_hash || asked.hash("sha-1").is_some() {
            return None;
        }
        let mut selector = asked.clone();
        selector
            .hashes
            .insert(0, ("sha-1".to_owned(), sha1.to_vec()));
        Some(selector)
    }

    /// A request inside a call that is no INVITE.
    fn within(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        user: &mut ImsUser,
        out: &mut Outbox,
    ) {
        let Some(id) = DialogId::of_request(request) else {
            return user.refuse(at, txn, 481, out);
        };
        let taken = self
            .calls
            .get_mut(&id)
            .map(|call| call.dialog.take(request));
        match taken {
            Some(Ok(())) if request.method() == "BYE" => {
                user.refuse(at, txn, 200, out);
                self.end(&id, out);
            }
            Some(Ok(())) => user.refuse(at, txn, 200, out),
            Some(Err(refusal)) => user.refuse(at, txn, refusal.status(), out),
            None => user.refuse(at, txn, 481, out),
        }
    }

    fn msrp_event(
        &mut self,
        at: At,
        event: MsrpEvent,
        user: &mut ImsUser,
        out: &mut Outbox,
    ) -> Option<MsrpEvent> {
        let session = match &event {
            MsrpEvent::Sent { session }
            | MsrpEvent::Received { session, .. }
            | MsrpEvent::Failed { session, .. } => *session,
            MsrpEvent::Unreadable { malformed } => {
                out.note("unreadable", malformed.to_string());
                return None;
            }
        };
        let found = self.calls.iter_mut().find_map(|(id, call)| {
            let leg = call.legs.iter_mut().find(|leg| leg.session == session)?;
            Some((id.clone(), leg))
        });
        let Some((id, leg)) = found else {
            return Some(event);
        };
        leg.is_over = true;
        match event {
            // RFC 5547 8.4: the receiver breaks off, and will say so in an offer.
            MsrpEvent::Failed {
                why: MsrpFailure::Refused(413),
                ..
            } => {
                out.note("gave-up", "the other end breaks off".to_owned());
                self.msrp.end(session, out);
                if let Some(call) = self.calls.get(&id) {
                    out.arm(call.timer, at + PATIENCE);
                }
            }
            MsrpEvent::Failed { why, .. } => {
                out.note("gave-up", why.to_string());
                self.hang_up(at, &id, user, out);
            }
            _ => {
                *self.uploaded.entry(leg.swarm.clone()).or_default() += leg.octets;
                if let Some(call) = self.calls.get(&id) {
                    out.arm(call.timer, at + PATIENCE);
                }
            }
        }
        None
    }

    fn http_event(&mut self, event: ServerEvent, out: &mut Outbox) {
        match event {
            ServerEvent::Request {
                served, request, ..
            } => {
                let held = content_response(&self.shelf, &request, &self.policy);
                let response = match (held.status(), self.policy.serves_unheld) {
                    (404, true) => content_response(&self.unheld, &request, &self.policy),
                    _ => held,
                };
                if matches!(response.status(), 200 | 206)
                    && let Some(swarm) = swarm_of(&request)
                {
                    *self.uploaded.entry(swarm).or_default() += response.body().len() as u64;
                }
                self.http.respond(served, response, out);
            }
            ServerEvent::Unreadable { malformed, .. } => {
                out.note("unreadable", malformed.to_string());
            }
            ServerEvent::Gone { .. } => {}
        }
    }

    /// The other end has been silent for too long; a call whose transfer still moves is left alone.
    fn overdue(&mut self, at: At, id: &DialogId, user: &mut ImsUser, out: &mut Outbox) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        let moves = |leg: &CallLeg| !leg.is_over && self.msrp.is_moving(leg.session);
        if call.legs.iter().any(moves) {
            out.arm(call.timer, at + PATIENCE);
            self.timers.insert(call.timer, id.clone());
            return;
        }
        self.hang_up(at, id, user, out);
    }

    /// Ends a call of our own accord.
    fn hang_up(&mut self, at: At, id: &DialogId, user: &mut ImsUser, out: &mut Outbox) {
        if let Some(call) = self.calls.get_mut(id) {
            let bye = user.bye(at, &mut call.dialog, out);
            self.farewells.insert(bye);
        }
        self.end(id, out);
    }

    fn end(&mut self, id: &DialogId, out: &mut Outbox) {
        let Some(call) = self.calls.remove(id) else {
            return;
        };
        self.timers.remove(&call.timer);
        out.disarm(call.timer);
        self.legs -= call.legs.len();
        for leg in call.legs {
            self.msrp.end(leg.session, out);
        }
    }
}

fn find_in(shelf: &Shelf, asked: &AskedPiece) -> Option<(String, Bytes)> {
    let swarm = shelf.select(&asked.selector)?;
    let held = shelf.get(swarm)?;
    let (first, len) = match asked.range {
        Some(range) => range.within(held.size)?,
        None => (0, held.size),
    };
    let octets = held.octets(Octets::new(first, len)?)?;
    Some((swarm.to_owned(), octets))
}

/// The offer an INVITE carries, or the answer that says why there is none: 415 for another type, 488 for
/// none (we make no offer in a 2xx), 400 for what cannot be read.
pub fn read_description(request: &Message) -> Result<Session, Answer<'static>> {
    if request.body().is_empty() {
        return Err(Answer::of(488));
    }
    let kind = request.header("Content-Type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(SDP) {
        return Err(Answer {
            headers: vec![("Accept", SDP.to_owned())],
            ..Answer::of(415)
        });
    }
    Session::parse(&request.body_bytes()).map_err(|_| Answer::of(400))
}

/// The 200 that carries a description.
pub fn accepted<'a>(tag: &'a str, body: &'a [u8]) -> Answer<'a> {
    Answer {
        status: 200,
        to_tag: Some(tag),
        headers: Vec::new(),
        body: Some((SDP, body)),
    }
}

/// Where a node listens for data in a format.
pub fn data_address(setup: &Setup, format: Format) -> Option<SocketAddr> {
    setup
        .listeners
        .iter()
        .find(|listener| listener.on == RefPoint::Data && listener.format == format)
        .map(|listener| listener.addr)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        io::{LinkEvent, Output},
        node::setup::{Directory, Neighbour, PieceOf, Subscriber},
        proto::file_transfer::{Answered, Offer, Setup as SetupRole, Wanted},
        spec::{Architecture, Delivery, Options, Role},
        trace::{ListenTransport, Listener},
        wire::{
            frame::{Frame, LinkId, NodeName, Party, Security},
            msrp::{self, Flag},
            sip::Builder,
        },
    };

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn content() -> Content {
        let bytes = Bytes::from((0..3000u32).map(|n| n as u8).collect::<Vec<_>>());
        let pieces = [(1, 0, 1000), (2, 1000, 1000), (3, 2000, 1000)];
        Content {
            fixture: "three-pieces".to_owned(),
            swarm: "movie-0001".to_owned(),
            bytes,
            sha1: [1; 20],
            sha256: [2; 32],
            pieces: pieces
                .map(|(n, first, len)| PieceOf {
                    n,
                    first,
                    len,
                    sha256: [0; 32],
                })
                .to_vec(),
        }
    }

    fn listener(on: RefPoint, format: Format, text: &str) -> Listener {
        Listener {
            on,
            format,
            transport: ListenTransport::Tcp,
            addr: addr(text),
        }
    }

    fn setup() -> Setup {
        let mut directory = Directory {
            domain: "ims.example".to_owned(),
            ..Directory::default()
        };
        directory.nodes.insert(
            NodeName::new("p-cscf"),
            Neighbour {
                role: Role::PCscf,
                host: "pcscf1.ims.example".to_owned(),
                ip: addr("192.0.2.1:0").ip(),
                ports: None,
                listeners: vec![listener(RefPoint::Gm, Format::Sip, "192.0.2.1:5060")],
                impu: None,
                cdn: None,
                holds: Vec::new(),
            },
        );
        Setup {
            name: NodeName::new("es-1"),
            role: Role::EdgeServer,
            seed: 7,
            ip: addr("198.51.100.21:0").ip(),
            listeners: vec![
                listener(RefPoint::Gm, Format::Sip, "198.51.100.21:5070"),
                listener(RefPoint::Data, Format::Msrp, "198.51.100.21:7777"),
                listener(RefPoint::Data, Format::Http, "198.51.100.21:8080"),
            ],
            architecture: Architecture::Registered,
            options: Options::default(),
            delivery: Delivery::Delegate,
            directory: Arc::new(directory),
            subscribers: Arc::new(vec![Subscriber {
                id: "es-1".to_owned(),
                impi: "es-1@private.ims.example".to_owned(),
                impus: vec!["sip:es1.cdn1@ims.example".to_owned()],
                password: "secret".to_owned(),
                k: [0; 16],
                opc: [0; 16],
                service: true,
                qualified: true,
                barred: false,
                may_register: true,
                aka: false,
                usim_sqn: 0,
            }]),
            user: Some("es-1".to_owned()),
            contents: Arc::new(vec![content()]),
            holds: vec![("three-pieces".to_owned(), vec![2])],
            tls: false,
            trusts: crate::node::setup::PROVEN,
            path_mtu: BTreeMap::new(),
            policy: Default::default(),
            token_key: Vec::new(),
        }
    }

    /// A serving node, what it was asked, and what it said.
    struct Stage {
        serving: Serving,
        user: ImsUser,
        out: Outbox,
    }

    impl Stage {
        fn new(setup: &Setup) -> Stage {
            let mut stage = Stage {
                serving: Serving::new(setup),
                user: ImsUser::new(setup).unwrap(),
                out: Outbox::default(),
            };
            stage.accept(1, RefPoint::Gm, Format::Sip, "192.0.2.1:40000");
            stage.accept(3, RefPoint::Data, Format::Msrp, "192.0.2.10:40001");
            stage
        }

        fn accept(&mut self, link: u64, on: RefPoint, format: Format, from: &str) {
            let event = LinkEvent::Accepted {
                on,
                format,
                from: addr(from),
                local: addr("198.51.100.21:5070"),
                security: Security::Plain,
            };
            self.input(&Input::Link(LinkId(link), event));
        }

        fn input(&mut self, input: &Input<'_>) {
            let (user, out) = (&mut self.user, &mut self.out);
            if let Some(events) = user.take(At::ZERO, input, out) {
                for event in events {
                    self.serving.user_event(At::ZERO, event, user, out);
                }
            } else {
                self.serving.take(At::ZERO, input, user, out);
            }
        }

        fn frame(&mut self, link: u64, on: RefPoint, format: Format, bytes: Bytes) -> Vec<Bytes> {
            let src = match format {
                Format::Sip => addr("192.0.2.1:40000"),
                _ => addr("192.0.2.10:40001"),
            };
            let frame = Frame {
                from: Party::Unknown(src),
                to: Party::Unknown(src),
                src,
                dst: addr("198.51.100.21:5070"),
                on,
                format,
                link: Some(LinkId(link)),
                security: Security::Plain,
                bytes,
                framed: true,
            };
            self.input(&Input::Frame(&frame));
            let sent = self.out.drain().filter_map(|output| match output {
                Output::Send { bytes, .. } => Some(bytes),
                _ => None,
            });
            sent.collect()
        }

        fn sip(&mut self, request: Message) -> Vec<Message> {
            let sent = self.frame(1, RefPoint::Gm, Format::Sip, request.bytes().clone());
            let read = sent.into_iter().filter_map(|b| Message::parse(b).ok());
            read.filter(|m| m.status() != Some(100)).collect()
        }
    }

    fn request(method: &str, call: &str, seq: u32, to_tag: Option<&str>) -> Builder {
        let to = match to_tag {
            Some(tag) => format!("<sip:es1.cdn1@ims.example>;tag={tag}"),
            None => "<sip:es1.cdn1@ims.example>".to_owned(),
        };
        let via = format!("SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK{call}{seq}{method}");
        Builder::request(method, "sip:198.51.100.21:5070;transport=tcp")
            .header("Via", &via)
            .header("Max-Forwards", "65")
            .header("Record-Route", "<sip:pcscf1.ims.example;lr>")
            .header("From", "<sip:ue-a@ims.example>;tag=a1")
            .header("To", &to)
            .header("Call-ID", call)
            .header("CSeq", &format!("{seq} {method}"))
            .header("Contact", "<sip:192.0.2.10:5070;transport=tcp>")
    }

    fn offer(pieces: &[(u64, u64)]) -> Offer {
        let wanted: Vec<Wanted> = pieces
            .iter()
            .map(|&(first, len)| Wanted {
                selector: FileSelector {
                    name: Some("movie-0001".to_owned()),
                    size: Some(3000),
                    hashes: vec![("sha-1".to_owned(), vec![1; 20])],
                    ..FileSelector::default()
                },
                octets: Octets::new(first, len).unwrap(),
            })
            .collect();
        let local = addr("192.0.2.10:2855");
        Offer::pull(local, &wanted, SetupRole::Active, &mut Random::new(3))
    }

    fn invite(call: &str, offer: &Offer) -> Message {
        request("INVITE", call, 1, None)
            .body(SDP, &offer.session.to_bytes())
            .finish()
    }

    fn greeting(offer: &Offer, peer: &msrp::Uri) -> Bytes {
        msrp::Builder::request("tx42", "SEND")
            .header("To-Path", &peer.to_string())
            .header("From-Path", &offer.legs[0].local.to_string())
            .header("Message-ID", "m1")
            .header("Byte-Range", "1-0/0")
            .finish(Flag::Complete)
    }

    #[test]
    fn a_held_piece_is_offered_and_sent_and_no_other() {
        let mut stage = Stage::new(&setup());
        let offer = offer(&[(1000, 1000), (0, 1000)]);
        let answers = stage.sip(invite("c1", &offer));
        assert_eq!(Some(200), answers[0].status());
        let answer = Session::parse(&answers[0].body_bytes()).unwrap();
        let judged = offer.judge(&answer).unwrap();
        let Answered::Accepted { peer, active: true } = &judged[0] else {
            panic!("{judged:?}");
        };
        assert_eq!(Answered::Refused, judged[1]);

        let sent = stage.frame(3, RefPoint::Data, Format::Msrp, greeting(&offer, &peer[0]));
        let chunk = msrp::Message::parse(sent[1].clone()).unwrap();
        assert_eq!(Some("1-1000/1000"), chunk.header("Byte-Range"));
        assert_eq!(Some(content().bytes.slice(1000..2000)), chunk.body());

        let tag = answers[0].to().unwrap().tag().unwrap().to_owned();
        let ended = stage.sip(request("BYE", "c1", 2, Some(&tag)).finish());
        assert_eq!(Some(200), ended[0].status());
        assert_eq!(0, stage.serving.transfers());
        let again = stage.frame(3, RefPoint::Data, Format::Msrp, greeting(&offer, &peer[0]));
        assert_eq!(
            Some(481),
            msrp::Message::parse(again[0].clone()).unwrap().status()
        );
    }

    #[test]
    fn refusals_say_why() {
        let mut stage = Stage::new(&setup());
        let status = |stage: &mut Stage, request: Message| stage.sip(request)[0].status();

        assert_eq!(
            Some(488),
            status(&mut stage, invite("c1", &offer(&[(0, 1000)])))
        );
        assert_eq!(
            Some(488),
            status(&mut stage, request("INVITE", "c2", 1, None).finish())
        );
        let text = request("INVITE", "c3", 1, None)
            .body("text/plain", b"x")
            .finish();
        assert_eq!(Some(415), status(&mut stage, text));
        let broken = request("INVITE", "c4", 1, None)
            .body(SDP, b"v=0\r\n")
            .finish();
        assert_eq!(Some(400), status(&mut stage, broken));

        stage.serving.policy.most_transfers = 1;
        assert_eq!(
            Some(200),
            status(&mut stage, invite("c5", &offer(&[(1000, 1000)])))
        );
        let busy = stage.sip(invite("c6", &offer(&[(1000, 1000)])));
        assert_eq!(Some(486), busy[0].status());
        assert!(busy[0].has("Retry-After"));
    }

    #[test]
    fn a_reused_transfer_id_begins_nothing_new() {
        let mut stage = Stage::new(&setup());
        let offer = offer(&[(1000, 1000)]);
        let first = stage.sip(invite("c1", &offer));
        let tag = first[0].to().unwrap().tag().unwrap().to_owned();
        let again = request("INVITE", "c1", 2, Some(&tag))
            .body(SDP, &offer.session.to_bytes())
            .finish();
        let second = stage.sip(again);
        assert_eq!(Some(200), second[0].status());
        assert_eq!(1, stage.serving.transfers());
        let path = |m: &Message| Session::parse(&m.body_bytes()).unwrap().media[0].path();
        assert_eq!(path(&first[0]), path(&second[0]));
    }

    #[test]
    fn a_selector_means_one_content_or_none() {
        let shelf = Shelf::of(&setup());
        let by = |name: Option<&str>, size, hashes: &[(&str, u8, usize)]| {
            let selector = FileSelector {
                name: name.map(str::to_owned),
                size,
                hashes: hashes
                    .iter()
                    .map(|&(kind, octet, len)| (kind.to_owned(), vec![octet; len]))
                    .collect(),
                ..FileSelector::default()
            };
            shelf.select(&selector).is_some()
        };
        assert!(by(Some("movie-0001"), None, &[]));
        assert!(by(None, None, &[("sha-1", 1, 20), ("sha-256", 2, 32)]));
        assert!(by(Some("movie-0001"), None, &[("md5", 9, 16)]));
        assert!(!by(None, None, &[("sha-1", 9, 20)]));
        assert!(!by(None, None, &[("sha-1", 1, 20), ("sha-256", 9, 32)]));
        assert!(!by(Some("../movie-0001"), None, &[]));
        assert!(!by(Some("movie-0001"), Some(3001), &[]));
        assert!(!by(None, None, &[("md5", 9, 16)]));
    }

    fn get(range: Option<&str>, extra: &[(&str, &str)]) -> Response {
        let shelf = Shelf::of(&setup());
        let mut builder = Request::build("GET", "/content/movie-0001");
        if let Some(range) = range {
            builder = builder.header("Range", range);
        }
        for (name, value) in extra {
            builder = builder.header(name, value);
        }
        content_response(&shelf, &builder.finish(), &ServingPolicy::default())
    }

    #[test]
    fn ranges_of_held_pieces_are_served() {
        let response = get(Some("bytes=1000-1999"), &[]);
        assert_eq!(206, response.status());
        assert_eq!(
            Some("bytes 1000-1999/3000"),
            response.header("Content-Range")
        );
        assert_eq!(&content().bytes[1000..2000], &*response.body());
        assert_eq!(206, get(Some("bytes=1500-1600"), &[]).status());
        assert_eq!(404, get(Some("bytes=999-1999"), &[]).status());
        assert_eq!(404, get(None, &[]).status());
        assert_eq!(
            404,
            get(Some("bytes=1000-1999"), &[("If-Range", "\"other\"")]).status()
        );
        for unsatisfiable in ["bytes=3000-", "bytes=5-1"] {
            let response = get(Some(unsatisfiable), &[]);
            assert_eq!(416, response.status());
            assert_eq!(Some("bytes */3000"), response.header("Content-Range"));
        }
        let several = get(Some("bytes=1000-1001,1500-1500"), &[]);
        assert_eq!(206, several.status());
        let kind = several.header("Content-Type").unwrap();
        assert!(kind.starts_with("multipart/byteranges"), "{kind}");
    }

    #[test]
    fn octets_over_several_pieces_are_joined() {
        let mut shelf = Shelf::default();
        shelf.put(&content(), &[1, 2]);
        let held = shelf.get("movie-0001").unwrap();
        let octets = |first, last| held.octets(Octets { first, last });
        assert_eq!(Some(content().bytes.slice(500..1500)), octets(500, 1499));
        assert_eq!(None, octets(1500, 2000));
        // What was never apart is not copied together.
        let joined = octets(500, 1499).unwrap();
        assert_eq!(held.uncut[500..].as_ptr(), joined.as_ptr());
        // What was fetched is told as it came, wherever it lies.
        let mut fetched = shelf.clone();
        let other = Bytes::from(vec![0xee; content().pieces[1].len as usize]);
        fetched.put_octets(&content(), 2, content().pieces[1].first, other.clone());
        let held = fetched.get("movie-0001").unwrap();
        let joined = held
            .octets(Octets {
                first: 500,
                last: 1499,
            })
            .unwrap();
        assert_eq!(content().bytes[500..1000], joined[..500]);
        assert_eq!(other[..500], joined[500..]);
        shelf.remove("movie-0001", &[1]);
        assert_eq!(1, shelf.pieces("movie-0001").len());
    }
}
