//! An Edge Server or Origin Server that IMS does not know (TR 23.844 6.2.2): it makes sessions for its
//! CDN Controller over HTTP and serves whoever that sends, over MSRP or by GET with a token. An edge that
//! lacks a piece fetches it from the origin. Start at [`CdnCache`]'s `handle`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    Node, Setup,
    serving::{CONTENT_PATH, Shelf, bent, content_response, data_address, msrp_habits, swarm_of},
};
use crate::{
    io::{Action, Input, Outbox, TimerId},
    proto::{
        file_transfer::{Agreed, Job, MsrpEndpoint, MsrpEvent, MsrpSession},
        http_exchange::{
            Asker, ClientEvent, Exchange, HttpClient, HttpServer, Served, ServerEvent,
        },
    },
    random::{Random, derive},
    spec::{Format, RefPoint, Role},
    time::At,
    wire::{
        cdn_session::{Grant, Holdings, MEDIA_TYPE, NAMES, SessionCreated, SessionRequest, Way},
        frame::Security,
        http::{Octets, RangeSpec, Ranges, Request, Response},
        msrp,
    },
};

/// The node.
#[derive(Debug)]
pub struct CdnCache {
    setup: Setup,
    shelf: Shelf,
    server: HttpServer,
    client: HttpClient,
    msrp: MsrpEndpoint,
    sessions: BTreeMap<String, EdgeSession>,
    timers: BTreeMap<TimerId, String>,
    /// Sessions that wait for pieces from the origin.
    fills: Vec<Fill>,
    fetches: BTreeMap<Exchange, Piece>,
    /// Whom edges fetch from.
    origin: Option<SocketAddr>,
    /// Where the Controller takes holdings, if it does.
    controller: Option<SocketAddr>,
    random: Random,
    is_stopped: bool,
}

/// What one client may have.
#[derive(Debug)]
struct EdgeSession {
    request: SessionRequest,
    msrp: Option<MsrpSession>,
    timer: TimerId,
    is_used: bool,
}

/// A piece of a content, by swarm and number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    swarm: String,
    n: u32,
}

#[derive(Debug)]
struct Fill {
    served: Served,
    request: SessionRequest,
    missing: BTreeSet<Piece>,
}

impl CdnCache {
    pub fn new(setup: Setup) -> CdnCache {
        let mut shelf = Shelf::of(&setup);
        for content in setup.contents.iter() {
            shelf.put(content, &[]);
        }
        let listener = |role: Role| {
            let own = setup.directory.nodes.get(&setup.name)?.cdn.clone();
            let mut nodes = setup.directory.nodes.iter();
            let (name, _) = nodes.find(|(_, node)| node.role == role && node.cdn == own)?;
            setup
                .directory
                .listener(name.as_str(), RefPoint::Cdn, Format::Http)
        };
        CdnCache {
            origin: match setup.role {
                Role::OriginServer => None,
                _ => listener(Role::OriginServer),
            },
            controller: listener(Role::Controller),
            shelf,
            server: HttpServer::new(),
            client: HttpClient::default(),
            msrp: MsrpEndpoint::new(
                msrp_habits(&setup.policy.serving),
                derive(setup.seed, &["cdn-cache", "msrp"]),
            ),
            sessions: BTreeMap::new(),
            timers: BTreeMap::new(),
            fills: Vec::new(),
            fetches: BTreeMap::new(),
            random: Random::new(derive(setup.seed, &["cdn-cache"])),
            setup,
            is_stopped: false,
        }
    }

    fn act(&mut self, at: At, action: &Action, out: &mut Outbox) {
        match action {
            Action::Announce { content, pieces } => {
                let known = self.setup.contents.iter().find(|c| c.fixture == *content);
                if let Some(known) = known {
                    self.shelf.put(known, pieces);
                    let swarm = known.swarm.clone();
                    self.tell_controller(at, &swarm, out);
                }
            }
            Action::Drop { content, pieces } => {
                let known = self.setup.contents.iter().find(|c| c.fixture == *content);
                if let Some(swarm) = known.map(|known| known.swarm.clone()) {
                    self.shelf.remove(&swarm, pieces);
                    self.tell_controller(at, &swarm, out);
                }
            }
            Action::Stop | Action::Crash => self.is_stopped = true,
            _ => out.note("refused", "IMS and the tracker do not know this node"),
        }
    }

    /// Tells the Controller all that is held of a content, if it listens for that.
    fn tell_controller(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        let Some(controller) = self.controller else {
            return;
        };
        let holdings = Holdings {
            content: swarm.to_owned(),
            pieces: self.shelf.pieces(swarm).iter().collect(),
        };
        let request = Request::build("POST", NAMES.holdings)
            .header("Host", &controller.to_string())
            .body(MEDIA_TYPE, holdings.to_json())
            .finish();
        self.send(at, controller, request, out);
    }

    fn send(&mut self, at: At, to: SocketAddr, request: Request, out: &mut Outbox) -> Exchange {
        let security = self.setup.security_of(to);
        let limit = Some(FETCH_LIMIT);
        self.client
            .send(at, RefPoint::Cdn, to, security, request, limit, out)
    }

    /// Whether the other end proves to be the Controller of the same CDN.
    fn is_its_controller(&self, asker: &Asker) -> bool {
        let own = self.setup.directory.nodes.get(&self.setup.name);
        let cdn = own.and_then(|own| own.cdn.as_ref());
        let there = self.setup.who_asks(asker.from, &asker.security);
        let is_it = there
            .is_some_and(|(_, node)| node.role == Role::Controller && node.cdn.as_ref() == cdn);
        is_it || !self.setup.policy.cdn_server.asks_who_asks
    }

    fn asked(
        &mut self,
        at: At,
        served: Served,
        request: &Request,
        asker: &Asker,
        out: &mut Outbox,
    ) {
        let path = request.path();
        if path.starts_with(CONTENT_PATH) {
            let response = self.content(at, request, asker);
            return self.server.respond(served, response, out);
        }
        if asker.on != RefPoint::Cdn {
            return self.answer(served, 404, out);
        }
        if asker.security != Security::Plain && !self.is_its_controller(asker) {
            out.note("refused", "who asks for a session is not the Controller");
            return self.answer(served, 403, out);
        }
        let session = path.strip_prefix(NAMES.sessions);
        match (request.method(), session) {
            ("POST", Some("")) => self.session_asked(at, served, request, out),
            (_, Some("")) => {
                let response = Response::build(405).header("Allow", "POST").finish();
                self.server.respond(served, response, out);
            }
            ("DELETE", Some(below)) => {
                let id = below.trim_start_matches('/').to_owned();
                let status = match self.end(&id, out) {
                    true => 204,
                    false => 404,
                };
                self.answer(served, status, out);
            }
            _ => self.answer(served, 404, out),
        }
    }

    fn answer(&mut self, served: Served, status: u16, out: &mut Outbox) {
        self.server
            .respond(served, Response::build(status).finish(), out);
    }

    /// The Controller asks for a session.
    fn session_asked(&mut self, at: At, served: Served, request: &Request, out: &mut Outbox) {
        let request = match SessionRequest::parse(&request.body()) {
            Ok(request) => request,
            Err(malformed) => {
                out.note("refused", malformed.to_string());
                return self.answer(served, 400, out);
            }
        };
        let policy = &self.setup.policy.cdn_server;
        let grant = grant(&request, request.client);
        let key = &self.setup.token_key;
        if policy.checks_tokens && !grant.admits(key, &request.token, seconds(at)) {
            let status = policy.untrusted_status;
            return self.answer(served, status, out);
        }
        if self.sessions.len() + self.fills.len() >= policy.most_sessions {
            let busy = Response::build(policy.busy_status)
                .header("Retry-After", &policy.retry_after.to_string())
                .finish();
            return self.server.respond(served, busy, out);
        }
        let missing = match self.missing(&request) {
            Some(missing) => missing,
            None => return self.answer(served, self.setup.policy.cdn_server.unheld_status, out),
        };
        if missing.is_empty() {
            return self.open(at, served, request, out);
        }
        for piece in &missing {
            self.fetch(at, piece, out);
        }
        self.fills.push(Fill {
            served,
            request,
            missing,
        });
    }

    /// The pieces that are to be fetched first; `None` if what is asked for cannot be had.
    fn missing(&self, request: &SessionRequest) -> Option<BTreeSet<Piece>> {
        let octets = Octets::new(request.first, request.len)?;
        let held = self.shelf.get(&request.content)?;
        if octets.last >= held.size {
            return None;
        }
        let mut contents = self.setup.contents.iter();
        let content = contents.find(|c| c.swarm == request.content)?;
        let pieces = self.shelf.pieces(&request.content);
        let missing: BTreeSet<Piece> = content
            .pieces
            .iter()
            .filter(|p| p.first <= octets.last && octets.first < p.first + p.len)
            .filter(|p| !pieces.contains(p.n))
            .map(|p| Piece {
                swarm: content.swarm.clone(),
                n: p.n,
            })
            .collect();
        let can_fetch = self.origin.is_some() && self.setup.policy.cdn_server.fetches;
        (missing.is_empty() || can_fetch).then_some(missing)
    }

    /// Fetches a piece from the origin, unless that is under way.
    fn fetch(&mut self, at: At, piece: &Piece, out: &mut Outbox) {
        let (Some(origin), Some(octets)) = (self.origin, self.place(piece)) else {
            return;
        };
        if self.fetches.values().any(|other| other == piece) {
            return;
        }
        let grant = Grant {
            content: &piece.swarm,
            first: octets.first,
            len: octets.len(),
            client: self.setup.ip,
        };
        let token = grant.token(&self.setup.token_key, seconds(at) + FETCH_LIMIT.as_secs());
        let target = format!("{CONTENT_PATH}{}?{}={token}", piece.swarm, NAMES.token);
        let request = Request::build("GET", &target)
            .header("Host", &origin.to_string())
            .header("Range", &Ranges::one(octets).to_string())
            .finish();
        let exchange = self.send(at, origin, request, out);
        self.fetches.insert(exchange, piece.clone());
    }

    fn place(&self, piece: &Piece) -> Option<Octets> {
        let mut contents = self.setup.contents.iter();
        let content = contents.find(|c| c.swarm == piece.swarm)?;
        let place = content.pieces.iter().find(|p| p.n == piece.n)?;
        Octets::new(place.first, place.len)
    }

    /// What came from the origin, if it is the piece.
    fn fetched(&self, piece: &Piece, response: &Response) -> Option<Bytes> {
        let octets = response.body_bytes();
        let mut contents = self.setup.contents.iter();
        let content = contents.find(|c| c.swarm == piece.swarm)?;
        let place = content.pieces.iter().find(|p| p.n == piece.n)?;
        let digest: [u8; 32] = Sha256::digest(&octets).into();
        let is_right = octets.len() as u64 == place.len
            && (digest == place.sha256 || !self.setup.policy.cdn_server.verifies);
        (response.status() == 206 && is_right).then_some(octets)
    }

    fn client_event(&mut self, at: At, event: ClientEvent, out: &mut Outbox) {
        let (exchange, response) = match event {
            ClientEvent::Response { exchange, response } => (exchange, Some(response)),
            ClientEvent::Failed { exchange, .. } => (exchange, None),
        };
        let Some(piece) = self.fetches.remove(&exchange) else {
            return;
        };
        let octets = response.and_then(|response| self.fetched(&piece, &response));
        let is_had = octets.is_some();
        if let Some(octets) = octets {
            let mut contents = self.setup.contents.iter();
            let content = contents.find(|c| c.swarm == piece.swarm);
            if let (Some(content), Some(place)) = (content, self.place(&piece)) {
                self.shelf.put_octets(content, piece.n, place.first, octets);
            }
            self.tell_controller(at, &piece.swarm, out);
        } else {
            out.note("gave-up", "the origin did not give the piece");
        }
        for mut fill in std::mem::take(&mut self.fills) {
            let waited = fill.missing.remove(&piece);
            match (waited, is_had) {
                (true, false) => {
                    self.answer(fill.served, self.setup.policy.cdn_server.unheld_status, out);
                }
                (true, true) if fill.missing.is_empty() => {
                    self.open(at, fill.served, fill.request, out);
                }
                _ => self.fills.push(fill),
            }
        }
    }

    /// Makes the session.
    fn open(&mut self, at: At, served: Served, request: SessionRequest, out: &mut Outbox) {
        let Some((way, msrp)) = self.way(at, &request, out) else {
            return self.answer(served, 400, out);
        };
        let session = self.random.token(16);
        let policy = &self.setup.policy.cdn_server;
        let timer = out.wake_at(at + Duration::from_secs(policy.session_lifetime));
        self.timers.insert(timer, session.clone());
        let mut response = Response::build(201);
        if policy.says_location {
            response = response.header("Location", &format!("{}/{session}", NAMES.sessions));
        }
        let created = SessionCreated {
            session: session.clone(),
            way,
        };
        self.sessions.insert(
            session,
            EdgeSession {
                request,
                msrp,
                timer,
                is_used: false,
            },
        );
        let response = response.body(MEDIA_TYPE, created.to_json()).finish();
        self.server.respond(served, response, out);
    }

    /// How the client gets at the octets; `None` if its path cannot be read.
    fn way(
        &mut self,
        at: At,
        request: &SessionRequest,
        out: &mut Outbox,
    ) -> Option<(Way, Option<MsrpSession>)> {
        let Some(path) = &request.peer_path else {
            let data = data_address(&self.setup, Format::Http)?;
            let (content, token) = (&request.content, &request.token);
            let url = format!(
                "http://{data}{CONTENT_PATH}{content}?{}={token}",
                NAMES.token
            );
            return Some((Way::Url(url), None));
        };
        let peer = msrp::parse_path(path).ok()?;
        let local = self
            .msrp
            .fresh_uri(data_address(&self.setup, Format::Msrp)?);
        let octets = Octets::new(request.first, request.len)?;
        let octets = self.shelf.get(&request.content)?.octets(octets)?;
        let agreed = Agreed {
            local: local.clone(),
            peer,
            active: false,
            job: Job::Send {
                octets: bent(&octets, &self.setup.policy.serving),
            },
        };
        let session = self.msrp.begin(at, agreed, out);
        Some((Way::Msrp(local.to_string()), Some(session)))
    }

    /// Ends a session; whether there was one.
    fn end(&mut self, id: &str, out: &mut Outbox) -> bool {
        let Some(session) = self.sessions.remove(id) else {
            return false;
        };
        self.timers.remove(&session.timer);
        out.disarm(session.timer);
        if let Some(msrp) = session.msrp {
            self.msrp.end(msrp, out);
        }
        true
    }

    /// GET of content: who has a token for exactly these octets.
    fn content(&mut self, at: At, request: &Request, asker: &Asker) -> Response {
        let policy = &self.setup.policy.cdn_server;
        if policy.checks_tokens && !self.admits(at, request, asker) {
            return Response::build(policy.untrusted_status).finish();
        }
        let response = content_response(&self.shelf, request, &self.setup.policy.serving);
        if response.status() == 206 || response.status() == 200 {
            let token = request.query(NAMES.token);
            let used = self
                .sessions
                .values_mut()
                .find(|session| Some(&session.request.token) == token.as_ref());
            if let Some(session) = used {
                session.is_used = true;
            }
        }
        response
    }

    /// On Data a token needs a session it was made for, and its own client. Inside the CDN the session's
    /// token will do for any node (the Controller relays), and so will a token made for one of its nodes
    /// (an edge fetches).
    fn admits(&self, at: At, request: &Request, asker: &Asker) -> bool {
        let (Some(token), Some(swarm)) = (request.query(NAMES.token), swarm_of(request)) else {
            return false;
        };
        let Some(octets) = self.wanted(request, &swarm) else {
            return false;
        };
        let policy = &self.setup.policy.cdn_server;
        let session = self.sessions.values().find(|s| s.request.token == token);
        let (first, len) = match session {
            Some(s) if !policy.binds_token_to_octets => (s.request.first, s.request.len),
            _ => (octets.first, octets.len()),
        };
        let now = match policy.heeds_token_expiry {
            true => seconds(at),
            false => 0,
        };
        let admits = |client: IpAddr| {
            let grant = Grant {
                content: &swarm,
                first,
                len,
                client,
            };
            grant.admits(&self.setup.token_key, &token, now)
        };
        let is_fresh = |s: &EdgeSession| !s.is_used || !policy.token_once;
        if asker.on == RefPoint::Cdn {
            let own = self.setup.directory.nodes.get(&self.setup.name);
            let cdn = own.and_then(|own| own.cdn.as_ref());
            let nodes = self.setup.directory.nodes.values();
            let mut siblings = nodes.filter(|node| cdn.is_some() && node.cdn.as_ref() == cdn);
            return session.is_some_and(|s| is_fresh(s) && admits(s.request.client))
                || siblings.any(|node| admits(node.ip));
        }
        let client = |s: &EdgeSession| match policy.binds_token_to_client {
            true => asker.from.ip(),
            false => s.request.client,
        };
        session.is_some_and(|s| is_fresh(s) && admits(client(s)))
    }

    /// The octets a GET asks for: one whole range, or everything.
    fn wanted(&self, request: &Request, swarm: &str) -> Option<Octets> {
        let held = self.shelf.get(swarm)?;
        let Some(range) = request.header("Range") else {
            return Octets::new(0, held.size);
        };
        match &Ranges::parse(range).ok()??.0[..] {
            [RangeSpec::FromTo(first, last)] => Some(Octets {
                first: *first,
                last: *last,
            }),
            [other] => other.within(held.size),
            _ => None,
        }
    }
}

impl Node for CdnCache {
    fn role(&self) -> Role {
        self.setup.role
    }

    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        if self.is_stopped {
            return;
        }
        if let Input::Act(action) = input {
            return self.act(at, action, out);
        }
        if let Some(events) = self.server.take(&input, out) {
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
                        self.fills.retain(|fill| !requests.contains(&fill.served));
                    }
                }
            }
        } else if let Some(events) = self.client.take(&input, out) {
            for event in events {
                self.client_event(at, event, out);
            }
        } else if let Some(events) = self.msrp.take(at, &input, out) {
            for event in events {
                if let MsrpEvent::Failed { why, .. } = event {
                    out.note("gave-up", why.to_string());
                }
            }
        } else if let Input::Timer(timer) = input
            && let Some(id) = self.timers.remove(&timer)
        {
            self.overdue(at, &id, out);
        }
    }
}

impl CdnCache {
    /// A session's time is up; one whose transfer still moves gets more.
    fn overdue(&mut self, at: At, id: &str, out: &mut Outbox) {
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        if session.msrp.is_some_and(|msrp| self.msrp.is_moving(msrp)) {
            let lifetime = self.setup.policy.cdn_server.session_lifetime;
            out.arm(session.timer, at + Duration::from_secs(lifetime));
            self.timers.insert(session.timer, id.to_owned());
            return;
        }
        self.end(id, out);
    }
}

/// What a session's token is for.
fn grant(request: &SessionRequest, client: IpAddr) -> Grant<'_> {
    Grant {
        content: &request.content,
        first: request.first,
        len: request.len,
        client,
    }
}

/// Whole seconds since the start of the run.
pub fn seconds(at: At) -> u64 {
    at.as_nanos() / 1_000_000_000
}

/// How long another CDN node may take to answer.
const FETCH_LIMIT: Duration = Duration::from_secs(10);
