//! The Controller's side of its CDN: who holds what, and asking one holder after the other for octets
//! (TR 23.844 6.2.2 step 5). It knows neither SIP nor who waits for an answer. Start at [`Cdn::begin`].

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    io::{Input, OpenSecurity, Outbox},
    node::{Setup, cdn_cache::seconds, policy::ControllerPolicy, setup::Content},
    proto::http_exchange::{ClientEvent, Exchange, ExchangeFailure, HttpClient},
    spec::{Format, RefPoint, Role},
    time::At,
    wire::{
        cdn_session::{Grant, MEDIA_TYPE, NAMES, SessionCreated, SessionRequest, Way},
        frame::NodeName,
        http::{ContentRange, Octets, Ranges, Request, Response},
        msrp,
        ppstp::Pieces,
    },
};

/// Octets that somebody wants of the CDN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    pub content: String,
    pub octets: Octets,
    /// Who will receive them in the end.
    pub client: IpAddr,
    /// The client's MSRP path, if the edge is to serve it over MSRP.
    pub peer_path: Option<String>,
    /// The CDNs that the request passed (RFC 8586), as it says.
    pub passed: Vec<String>,
    /// Whether the Controller itself fetches the octets; else the client gets a path or a URL.
    pub brings_octets: bool,
}

impl Errand {
    /// The same for as many octets behind these.
    pub fn next(&self) -> Option<Errand> {
        let first = self.octets.last.checked_add(1)?;
        Some(Errand {
            octets: Octets::new(first, self.octets.len())?,
            ..self.clone()
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErrandId(u64);

/// What became of an errand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Granted { session: EdgeSession, gives: Yield },
    Denied(Cause),
}

/// What an edge gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Yield {
    /// Its own MSRP path.
    Path(msrp::Uri),
    Octets(Bytes),
    Url(String),
}

/// Why an errand failed, as the first holder that was asked put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Busy,
    Down,
    Silent,
    Unknown,
}

/// A session at an edge, to be ended there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSession {
    server: usize,
    session: String,
}

/// The CDN as its Controller sees it.
#[derive(Debug)]
pub struct Cdn {
    /// How it is named where requests say which CDNs they passed.
    id: String,
    servers: Vec<Server>,
    client: HttpClient,
    running: BTreeMap<ErrandId, Running>,
    stages: BTreeMap<Exchange, (ErrandId, Stage)>,
    contents: std::sync::Arc<Vec<Content>>,
    token_key: Vec<u8>,
    /// The Controller's own address.
    ip: IpAddr,
    policy: ControllerPolicy,
    next: u64,
    gained: Vec<(String, Pieces)>,
    lost: Vec<(String, Pieces)>,
}

/// An Edge Server or Origin Server of the own CDN.
#[derive(Debug)]
struct Server {
    is_origin: bool,
    name: NodeName,
    addr: SocketAddr,
    security: OpenSecurity,
    holds: BTreeMap<String, Pieces>,
}

#[derive(Debug)]
struct Running {
    errand: Errand,
    candidates: VecDeque<usize>,
    cause: Option<Cause>,
    is_abandoned: bool,
}

#[derive(Clone, Debug)]
enum Stage {
    /// A session is asked for.
    Asking(usize),
    /// Octets are fetched in a session.
    Fetching(EdgeSession),
}

impl Cdn {
    /// Is provisioned with what its servers hold at the start.
    pub fn new(setup: &Setup) -> Cdn {
        let directory = &setup.directory;
        let own = directory.nodes.get(&setup.name);
        let cdn = own.and_then(|own| own.cdn.clone());
        let swarm = |fixture: &str| {
            let content = setup.contents.iter().find(|c| c.fixture == fixture)?;
            Some(content.swarm.clone())
        };
        let servers = directory.nodes.iter().filter_map(|(name, node)| {
            let is_origin = node.role == Role::OriginServer;
            let is_ours = (is_origin || node.role == Role::EdgeServer) && node.cdn == cdn;
            let addr = directory.listener(name.as_str(), RefPoint::Cdn, Format::Http)?;
            let holds = node.holds.iter().filter_map(|(fixture, pieces)| {
                Some((swarm(fixture)?, pieces.iter().copied().collect()))
            });
            is_ours.then(|| Server {
                is_origin,
                name: name.clone(),
                addr,
                security: setup.security_of(addr),
                holds: holds.collect(),
            })
        });
        Cdn {
            id: cdn.clone().unwrap_or_else(|| setup.name.to_string()),
            servers: servers.collect(),
            client: HttpClient::default(),
            running: BTreeMap::new(),
            stages: BTreeMap::new(),
            contents: setup.contents.clone(),
            token_key: setup.token_key.clone(),
            ip: setup.ip,
            policy: setup.policy.controller.clone(),
            next: 0,
            gained: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// Whether a request says that it passed this CDN (RFC 8586 2).
    pub fn has_passed(&self, passed: &[String]) -> bool {
        passed.contains(&self.id)
    }

    /// Whether an edge holds a piece.
    pub fn holds(&self, swarm: &str, n: u32) -> bool {
        let mut edges = self.servers.iter().filter(|server| !server.is_origin);
        edges.any(|edge| edge.holds.get(swarm).is_some_and(|p| p.contains(n)))
    }

    /// No edge holds these any more.
    pub fn forget(&mut self, swarm: &str, pieces: &Pieces) {
        for edge in self.servers.iter_mut().filter(|server| !server.is_origin) {
            if let Some(held) = edge.holds.get_mut(swarm) {
                held.subtract(pieces);
            }
        }
    }

    /// An edge says what it holds now; gives what it held before, `None` if it is none of ours.
    pub fn replace(&mut self, from: &NodeName, swarm: &str, pieces: Pieces) -> Option<Pieces> {
        let mut servers = self.servers.iter_mut();
        let server = servers.find(|server| server.name == *from)?;
        let before = server.holds.insert(swarm.to_owned(), pieces);
        match server.is_origin {
            true => Some(Pieces::new()),
            false => Some(before.unwrap_or_default()),
        }
    }

    /// Pieces that edges came to hold since the last call.
    pub fn gained(&mut self) -> Vec<(String, Pieces)> {
        std::mem::take(&mut self.gained)
    }

    /// Pieces that edges turned out not to hold since the last call.
    pub fn lost(&mut self) -> Vec<(String, Pieces)> {
        std::mem::take(&mut self.lost)
    }

    /// Sets out on an errand; its outcome comes from [`Cdn::take`]. `Err` at once if nobody could help.
    pub fn begin(&mut self, at: At, errand: Errand, out: &mut Outbox) -> Result<ErrandId, Cause> {
        let candidates = self.candidates(&errand);
        if candidates.is_empty() {
            return Err(Cause::Unknown);
        }
        self.next += 1;
        let id = ErrandId(self.next);
        self.running.insert(
            id,
            Running {
                errand,
                candidates,
                cause: None,
                is_abandoned: false,
            },
        );
        for _ in 0..self.policy.asked_at_a_time {
            self.ask(at, id, out);
        }
        Ok(id)
    }

    /// Nobody waits for this errand any more; a session that still comes of it is ended.
    pub fn abandon(&mut self, id: ErrandId) {
        if let Some(running) = self.running.get_mut(&id) {
            running.is_abandoned = true;
            running.candidates.clear();
        }
    }

    /// Ends a session at its edge.
    pub fn end(&mut self, at: At, session: EdgeSession, out: &mut Outbox) {
        let Some(server) = self.servers.get(session.server) else {
            return;
        };
        let (addr, path) = (
            server.addr,
            format!("{}/{}", NAMES.sessions, session.session),
        );
        let request = Request::build("DELETE", &path)
            .header("Host", &addr.to_string())
            .finish();
        self.send(at, addr, request, out);
    }

    /// Takes an input if it is an edge's answer: the errands it settles. `None`: not ours.
    pub fn take(
        &mut self,
        at: At,
        input: &Input<'_>,
        out: &mut Outbox,
    ) -> Option<Vec<(ErrandId, Outcome)>> {
        let events = self.client.take(input, out)?;
        let mut settled = Vec::new();
        for event in events {
            settled.extend(self.event(at, event, out));
        }
        Some(settled)
    }

    fn event(
        &mut self,
        at: At,
        event: ClientEvent,
        out: &mut Outbox,
    ) -> Option<(ErrandId, Outcome)> {
        let (exchange, answer) = match event {
            ClientEvent::Response { exchange, response } => (exchange, Ok(response)),
            ClientEvent::Failed { exchange, why } => (exchange, Err(why)),
        };
        let (id, stage) = self.stages.remove(&exchange)?;
        match stage {
            Stage::Asking(server) => self.asked(at, id, server, &answer, out),
            Stage::Fetching(session) => self.fetched(at, id, session, &answer, out),
        }
    }

    /// Whoever holds all of it, then the origin. A piece that only the origin holds is asked of an edge
    /// first, which fetches it (TR 23.844 5.1, as the source text quotes it).
    fn candidates(&self, errand: &Errand) -> VecDeque<usize> {
        let numbers = self.numbers(errand);
        if numbers.is_empty() {
            return VecDeque::new();
        }
        let holds_all = |server: &Server| {
            let held = server.holds.get(&errand.content);
            held.is_some_and(|held| numbers.is_within(held))
        };
        let chosen = |wanted: &dyn Fn(&Server) -> bool| -> VecDeque<usize> {
            let all = self.servers.iter().enumerate();
            all.filter(|(_, server)| wanted(server))
                .map(|(n, _)| n)
                .collect()
        };
        let any_edge = self.policy.asks_any_edge;
        let mut holders = chosen(&|s| !s.is_origin && (any_edge || holds_all(s)));
        if self.policy.last_holder_first {
            holders.make_contiguous().reverse();
        }
        let origins = chosen(&|s| s.is_origin && holds_all(s));
        if holders.is_empty() && !origins.is_empty() && self.policy.fills_cold_edges {
            holders.extend(chosen(&|s| !s.is_origin).front());
        }
        holders.extend(origins);
        if !self.policy.tries_alternates {
            holders.truncate(1);
        }
        holders
    }

    /// The pieces an errand touches.
    fn numbers(&self, errand: &Errand) -> Pieces {
        let content = self.contents.iter().find(|c| c.swarm == errand.content);
        let Octets { first, last } = errand.octets;
        let pieces = content
            .map(|content| &content.pieces[..])
            .unwrap_or_default();
        let touched = |p: &&crate::node::setup::PieceOf| p.first <= last && first < p.first + p.len;
        pieces.iter().filter(touched).map(|piece| piece.n).collect()
    }

    /// Asks the next candidate for a session.
    fn ask(&mut self, at: At, id: ErrandId, out: &mut Outbox) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        let Some(server) = running.candidates.pop_front() else {
            return;
        };
        let Errand {
            content,
            octets,
            client,
            peer_path,
            mut passed,
            ..
        } = running.errand.clone();
        // RFC 8586 2: each CDN adds itself to those that the request passed.
        passed.push(self.id.clone());
        let chain = passed.join(", ");
        let client = match self.policy.tells_own_address {
            true => self.ip,
            false => client,
        };
        let first = octets.first.saturating_add(self.policy.range_shifted);
        let grant = Grant {
            content: &content,
            first,
            len: octets.len(),
            client,
        };
        let expiry = seconds(at).saturating_add(self.policy.token_lifetime);
        let request = SessionRequest {
            token: grant.token(&self.token_key, expiry),
            first,
            len: octets.len(),
            client,
            peer_path,
            content: content.clone(),
        };
        let addr = self.servers[server].addr;
        let request = Request::build("POST", NAMES.sessions)
            .header("Host", &addr.to_string())
            .header("CDN-Loop", &chain)
            .header("Accept", MEDIA_TYPE)
            .body(MEDIA_TYPE, request.to_json())
            .finish();
        let exchange = self.send(at, addr, request, out);
        self.stages.insert(exchange, (id, Stage::Asking(server)));
    }

    fn send(&mut self, at: At, to: SocketAddr, request: Request, out: &mut Outbox) -> Exchange {
        let limit = Some(Duration::from_millis(self.policy.edge_limit));
        let server = self.servers.iter().find(|server| server.addr == to);
        let security = server.map_or(OpenSecurity::Plain, |server| server.security.clone());
        self.client
            .send(at, RefPoint::Cdn, to, security, request, limit, out)
    }

    /// An edge has answered, or not, whether it serves.
    fn asked(
        &mut self,
        at: At,
        id: ErrandId,
        server: usize,
        answer: &Result<Response, ExchangeFailure>,
        out: &mut Outbox,
    ) -> Option<(ErrandId, Outcome)> {
        let created = match answer {
            Ok(response) if response.status() == 201 => {
                SessionCreated::parse(&response.body()).map_err(|_| Cause::Down)
            }
            Ok(response) => Err(match response.status() {
                404 => Cause::Unknown,
                409 | 429 | 503 => Cause::Busy,
                _ => Cause::Down,
            }),
            Err(ExchangeFailure::Silent) => Err(Cause::Silent),
            Err(_) => Err(Cause::Down),
        };
        match created {
            Ok(created) => self.granted(at, id, server, created, out),
            Err(cause) => {
                if cause == Cause::Unknown {
                    self.lacks(id, server);
                }
                self.next_candidate(at, id, cause, out)
            }
        }
    }

    fn granted(
        &mut self,
        at: At,
        id: ErrandId,
        server: usize,
        created: SessionCreated,
        out: &mut Outbox,
    ) -> Option<(ErrandId, Outcome)> {
        let session = EdgeSession {
            server,
            session: created.session,
        };
        self.learns(id, server);
        let wanted = self.running.get(&id).filter(|r| !r.is_abandoned);
        let Some(running) = wanted else {
            self.running.remove(&id);
            self.end(at, session, out);
            return None;
        };
        let errand = &running.errand;
        let gives = match created.way {
            Way::Msrp(path) if errand.peer_path.is_some() => {
                msrp::Uri::parse(&path).ok().map(Yield::Path)
            }
            Way::Url(url) if errand.peer_path.is_none() => match errand.brings_octets {
                true => {
                    let (target, octets) = (target_of(&url), errand.octets);
                    self.fetch(at, id, session, &target, octets, out);
                    return None;
                }
                false => Some(Yield::Url(url)),
            },
            _ => None,
        };
        match gives {
            Some(gives) => self.settle(id, Outcome::Granted { session, gives }),
            None => {
                self.end(at, session, out);
                self.next_candidate(at, id, Cause::Down, out)
            }
        }
    }

    /// Fetches the octets of a session; the URL's path is asked for inside the CDN.
    fn fetch(
        &mut self,
        at: At,
        id: ErrandId,
        session: EdgeSession,
        target: &str,
        octets: Octets,
        out: &mut Outbox,
    ) {
        let addr = self.servers[session.server].addr;
        let request = Request::build("GET", target)
            .header("Host", &addr.to_string())
            .header("CDN-Loop", &self.id)
            .header("Range", &Ranges::one(octets).to_string())
            .finish();
        let exchange = self.send(at, addr, request, out);
        self.stages.insert(exchange, (id, Stage::Fetching(session)));
    }

    fn fetched(
        &mut self,
        at: At,
        id: ErrandId,
        session: EdgeSession,
        answer: &Result<Response, ExchangeFailure>,
        out: &mut Outbox,
    ) -> Option<(ErrandId, Outcome)> {
        let running = self.running.get(&id)?;
        if running.is_abandoned {
            self.running.remove(&id);
            self.end(at, session, out);
            return None;
        }
        let octets = running.errand.octets;
        match answer {
            Ok(response) if self.is_what_was_asked(response, octets) => {
                let gives = Yield::Octets(response.body_bytes());
                self.settle(id, Outcome::Granted { session, gives })
            }
            answer => {
                let cause = match answer {
                    Err(ExchangeFailure::Silent) => Cause::Silent,
                    _ => Cause::Down,
                };
                self.end(at, session, out);
                self.next_candidate(at, id, cause, out)
            }
        }
    }

    /// Neither longer nor shorter, and from the right place.
    fn is_what_was_asked(&self, response: &Response, octets: Octets) -> bool {
        let range = response.header("Content-Range").map(ContentRange::parse);
        let fits = matches!(range, Some(Ok(range)) if range.octets == Some(octets))
            && response.body().len() as u64 == octets.len();
        response.status() == 206 && (fits || !self.policy.checks_length)
    }

    fn next_candidate(
        &mut self,
        at: At,
        id: ErrandId,
        cause: Cause,
        out: &mut Outbox,
    ) -> Option<(ErrandId, Outcome)> {
        let running = self.running.get_mut(&id)?;
        if cause == Cause::Silent && !self.policy.tries_after_silence {
            running.candidates.clear();
        }
        let cause = *running.cause.get_or_insert(cause);
        if running.candidates.is_empty() {
            return self.settle(id, Outcome::Denied(cause));
        }
        self.ask(at, id, out);
        None
    }

    fn settle(&mut self, id: ErrandId, outcome: Outcome) -> Option<(ErrandId, Outcome)> {
        let running = self.running.remove(&id)?;
        (!running.is_abandoned).then_some((id, outcome))
    }

    /// A server that grants holds what it grants.
    fn learns(&mut self, id: ErrandId, server: usize) {
        let Some(errand) = self.running.get(&id).map(|running| &running.errand) else {
            return;
        };
        let (content, numbers) = (errand.content.clone(), self.numbers(errand));
        let server = &mut self.servers[server];
        let held = server.holds.entry(content.clone()).or_default();
        let new: Pieces = numbers.iter().filter(|&n| held.insert(n)).collect();
        if !server.is_origin && !new.is_empty() {
            self.gained.push((content, new));
        }
    }

    /// A server that does not hold what it was thought to hold.
    fn lacks(&mut self, id: ErrandId, server: usize) {
        let Some(errand) = self.running.get(&id).map(|running| &running.errand) else {
            return;
        };
        let (content, numbers) = (errand.content.clone(), self.numbers(errand));
        let server = &mut self.servers[server];
        if let Some(held) = server.holds.get_mut(&content)
            && held.meets(&numbers)
        {
            held.subtract(&numbers);
            if !server.is_origin {
                self.lost.push((content, numbers));
            }
        }
    }
}

/// Path and query of a URL.
fn target_of(url: &str) -> String {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => url,
    };
    path.to_owned()
}
