//! The dedicated interface to the Tracker AS: a CDN node tells which pieces can be had from it, and
//! keeps that known (PPSTP, RFC 7846, over HTTP). It compares what ought to be known to what the tracker
//! was told, and sends the next document that brings them closer. Start at [`Announcer::announce`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use super::{Setup, ims_user::own_subscriber, serving::CONTENT_PATH, serving::data_address};
use crate::{
    io::{Input, OpenSecurity, Outbox, TimerId},
    proto::{
        http_exchange::{ClientEvent, Exchange, HttpClient},
        registration::urn_of,
    },
    spec::{Format, RefPoint, Role},
    time::At,
    wire::{
        frame::Identity,
        http,
        ppstp::{
            self, Action, ActionCds, AddressKind, Body, Connect, MEDIA_TYPE, Manifest,
            ManifestPiece, PeerAddr, PeerMode, PeerRole, Pieces, Profile, Stat, StatCds,
            StatReport, SwarmAction,
        },
    },
};

/// One CDN node's word at the tracker.
#[derive(Debug)]
pub struct Announcer {
    http: HttpClient,
    tracker: SocketAddr,
    host: String,
    security: OpenSecurity,
    author: Author,
    /// What ought to be known.
    wanted: BTreeMap<String, Pieces>,
    /// What the tracker was told and took.
    told: BTreeMap<String, Pieces>,
    /// Swarms to be reported although nothing changed.
    due: BTreeSet<String>,
    keep_alive_due: bool,
    in_flight: Option<(Exchange, Document)>,
    /// Wakes us for the next report, or the next try.
    timer: Option<TimerId>,
    interval: Duration,
    /// Failures since the last success.
    misses: u32,
    transactions: u64,
    uploaded: BTreeMap<String, u64>,
}

/// What the node says of itself.
#[derive(Debug)]
struct Author {
    peer_id: String,
    sip_uri: Option<String>,
    data: Option<SocketAddr>,
    url: Option<SocketAddr>,
    kind: AddressKind,
    priority: i64,
    role: PeerRole,
    manifests: BTreeMap<String, Manifest>,
    tells_manifest: bool,
}

/// What a document brings about once it is taken.
#[derive(Debug)]
struct Document {
    transaction_id: String,
    effect: Effect,
}

#[derive(Debug)]
enum Effect {
    Joined(BTreeMap<String, Pieces>),
    Left(Vec<String>),
    Reported(BTreeMap<String, Pieces>),
}

impl Announcer {
    /// `None` if there is no tracker with a dedicated interface. `interval` is in seconds.
    pub fn new(setup: &Setup, interval: u64) -> Option<Announcer> {
        let (name, neighbour) = setup.directory.first(Role::Tracker)?;
        let tracker = setup
            .directory
            .listener(name.as_str(), RefPoint::Dedicated, Format::Http)?;
        let own = setup.directory.nodes.get(&setup.name);
        let subject = own.map_or(setup.name.as_str(), |own| &own.host);
        let security = setup.protected(Some(Identity::proven(subject)));
        Some(Announcer {
            http: HttpClient::default(),
            tracker,
            host: neighbour.host.clone(),
            security,
            author: Author::new(setup),
            wanted: BTreeMap::new(),
            told: BTreeMap::new(),
            due: BTreeSet::new(),
            keep_alive_due: false,
            in_flight: None,
            timer: None,
            interval: Duration::from_secs(interval.max(1)),
            misses: 0,
            transactions: 0,
            uploaded: BTreeMap::new(),
        })
    }

    /// What ought to be known of a swarm now; says it even if the tracker knows it already.
    pub fn announce(&mut self, at: At, swarm: &str, pieces: Pieces, out: &mut Outbox) {
        self.wanted.insert(swarm.to_owned(), pieces);
        self.report(at, swarm, out);
    }

    /// What is announced of a swarm; `None`: nothing.
    pub fn announced(&self, swarm: &str) -> Option<&Pieces> {
        self.wanted.get(swarm)
    }

    /// Octets sent so far, for the next report.
    pub fn set_uploaded(&mut self, swarm: &str, octets: u64) {
        self.uploaded.insert(swarm.to_owned(), octets);
    }

    /// Reports a swarm now, if anything was announced of it.
    pub fn report(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        if self.wanted.contains_key(swarm) {
            self.due.insert(swarm.to_owned());
            self.misses = 0;
            self.pursue(at, out);
        }
    }

    /// Leaves a swarm.
    pub fn leave(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        self.wanted.remove(swarm);
        self.due.remove(swarm);
        self.misses = 0;
        self.pursue(at, out);
    }

    /// Takes an input if it is ours; whether it was.
    pub fn take(&mut self, at: At, input: &Input<'_>, out: &mut Outbox) -> bool {
        if let Input::Timer(timer) = input
            && self.timer == Some(*timer)
        {
            self.timer = None;
            self.keep_alive_due = true;
            self.pursue(at, out);
            return true;
        }
        let Some(events) = self.http.take(input, out) else {
            return false;
        };
        for event in events {
            self.event(at, event, out);
        }
        true
    }

    fn event(&mut self, at: At, event: ClientEvent, out: &mut Outbox) {
        let (exchange, response) = match event {
            ClientEvent::Response { exchange, response } => (exchange, Some(response)),
            ClientEvent::Failed { exchange, .. } => (exchange, None),
        };
        let document = match self.in_flight.take() {
            Some((sent, document)) if sent == exchange => document,
            other => {
                self.in_flight = other;
                return;
            }
        };
        let answer = response
            .and_then(|response| ppstp::read_response(&response.body(), Profile::Examples).ok())
            .map(|reading| reading.message)
            .filter(|answer| answer.transaction_id == document.transaction_id);
        match answer {
            Some(answer) if answer.is_successful() => {
                self.misses = 0;
                self.apply(document.effect);
                self.pursue(at, out);
            }
            answer => {
                // A report that is refused means that the tracker does not know us (any more); what
                // becomes of a peer after an error is open in RFC 7846 4.3, so we begin anew.
                if answer.is_some() && matches!(document.effect, Effect::Reported(_)) {
                    self.told.clear();
                }
                self.missed(at, out);
            }
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Joined(pieces) | Effect::Reported(pieces) => {
                for swarm in pieces.keys() {
                    self.due.remove(swarm);
                }
                self.told.extend(pieces);
            }
            Effect::Left(swarms) => self.told.retain(|swarm, _| !swarms.contains(swarm)),
        }
    }

    fn missed(&mut self, at: At, out: &mut Outbox) {
        self.misses += 1;
        if self.misses > MOST_MISSES {
            out.note("gave-up", "the tracker does not take the announcement");
            self.due.clear();
            self.sleep(at, self.interval, out);
        } else {
            self.sleep(at, PAUSE * self.misses, out);
        }
    }

    fn sleep(&mut self, at: At, pause: Duration, out: &mut Outbox) {
        let timer = *self.timer.get_or_insert_with(|| out.fresh_timer());
        out.arm(timer, at + pause);
    }

    /// Sends what comes next, one document at a time.
    fn pursue(&mut self, at: At, out: &mut Outbox) {
        if self.in_flight.is_some() {
            return;
        }
        let Some((effect, body)) = self.next() else {
            match self.told.is_empty() {
                true => {
                    if let Some(timer) = self.timer.take() {
                        out.disarm(timer);
                    }
                }
                false => self.sleep(at, self.interval, out),
            }
            return;
        };
        self.transactions += 1;
        let document = ppstp::Request {
            transaction_id: format!("t-{}", self.transactions),
            peer_id: self.author.peer_id.clone(),
            body,
        };
        let request = http::Request::build("POST", ppstp::PATH)
            .header("Host", &self.host)
            .header("Accept", MEDIA_TYPE)
            .body(MEDIA_TYPE, document.to_json())
            .finish();
        let exchange = self.http.send(
            at,
            RefPoint::Dedicated,
            self.tracker,
            self.security.clone(),
            request,
            Some(PATIENCE),
            out,
        );
        let transaction_id = document.transaction_id;
        self.in_flight = Some((
            exchange,
            Document {
                transaction_id,
                effect,
            },
        ));
    }

    /// The next document on the way from what is told to what is wanted.
    ///
    /// RFC 7846 Table 6: a SEEDER may not join while it is being tracked, so a further swarm means to
    /// leave all and to join all.
    fn next(&mut self) -> Option<(Effect, Body)> {
        let is_new = |swarm: &String| !self.told.contains_key(swarm);
        let gone: Vec<String> = match self.wanted.keys().any(is_new) {
            true => self.told.keys().cloned().collect(),
            false => {
                let told = self.told.keys();
                told.filter(|swarm| !self.wanted.contains_key(*swarm))
                    .cloned()
                    .collect()
            }
        };
        if !gone.is_empty() {
            let actions = gone.iter().map(|swarm| self.author.leave(swarm));
            let body = self.author.connect(actions.collect());
            return Some((Effect::Left(gone), body));
        }
        if self.told.is_empty() {
            if self.wanted.is_empty() {
                return None;
            }
            self.keep_alive_due = false;
            let wanted = self.wanted.clone();
            let actions = wanted.iter().map(|(swarm, p)| self.author.join(swarm, p));
            let body = self.author.connect(actions.collect());
            return Some((Effect::Joined(wanted), body));
        }
        let differs = |(swarm, pieces): &(&String, &Pieces)| {
            self.due.contains(*swarm) || self.told.get(*swarm) != Some(*pieces)
        };
        let changed: BTreeMap<String, Pieces> = self
            .wanted
            .iter()
            .filter(differs)
            .map(|(swarm, pieces)| (swarm.clone(), pieces.clone()))
            .collect();
        if changed.is_empty() && !std::mem::take(&mut self.keep_alive_due) {
            return None;
        }
        self.keep_alive_due = false;
        let stat = changed.iter().map(|(swarm, pieces)| {
            let uploaded = self.uploaded.get(swarm).copied().unwrap_or(0);
            self.author.stat(swarm, pieces, uploaded)
        });
        let body = Body::StatReport(StatReport {
            stat: stat.collect(),
        });
        Some((Effect::Reported(changed), body))
    }
}

impl Author {
    fn new(setup: &Setup) -> Author {
        let subscriber = own_subscriber(setup);
        let (role, priority, kind) = match setup.role {
            Role::Controller => (PeerRole::Controller, 20, AddressKind::Proxy),
            Role::OriginServer => (PeerRole::Origin, 5, AddressKind::Host),
            _ => (PeerRole::Edge, 20, AddressKind::Host),
        };
        let manifests = setup.contents.iter().map(|content| {
            let pieces = content.pieces.iter().map(|piece| ManifestPiece {
                n: piece.n,
                first: piece.first,
                len: piece.len,
                sha256: piece.sha256,
            });
            let manifest = Manifest {
                size: content.bytes.len() as u64,
                sha1: Some(content.sha1),
                sha256: content.sha256,
                pieces: pieces.collect(),
            };
            (content.swarm.clone(), manifest)
        });
        let name = subscriber.map_or(setup.name.as_str(), |subscriber| &subscriber.impi);
        Author {
            peer_id: urn_of(name),
            sip_uri: subscriber.and_then(|subscriber| subscriber.impus.first().cloned()),
            data: data_address(setup, Format::Msrp),
            url: data_address(setup, Format::Http),
            kind,
            priority,
            role,
            manifests: manifests.collect(),
            tells_manifest: setup.role == Role::OriginServer
                && setup.policy.cdn_server.announces_manifest,
        }
    }

    fn connect(&self, swarm_action: Vec<SwarmAction>) -> Body {
        let address = self.data.map(|data| PeerAddr {
            kind: self.kind,
            ..PeerAddr::host(data, self.priority)
        });
        Body::Connect(Connect {
            peer_num: None,
            peer_addr: address.into_iter().collect(),
            swarm_action,
        })
    }

    fn join(&self, swarm: &str, pieces: &Pieces) -> SwarmAction {
        let manifest = self.manifests.get(swarm).filter(|_| self.tells_manifest);
        let cds = ActionCds {
            sip_uri: self.sip_uri.clone(),
            url: self
                .url
                .map(|url| format!("http://{url}{CONTENT_PATH}{swarm}")),
            pieces: pieces.clone(),
            role: Some(self.role),
            content: manifest.cloned(),
        };
        SwarmAction {
            swarm_id: swarm.to_owned(),
            action: Action::Join,
            peer_mode: PeerMode::Seeder,
            cds: Some(cds),
        }
    }

    fn leave(&self, swarm: &str) -> SwarmAction {
        SwarmAction {
            swarm_id: swarm.to_owned(),
            action: Action::Leave,
            peer_mode: PeerMode::Seeder,
            cds: None,
        }
    }

    fn stat(&self, swarm: &str, pieces: &Pieces, uploaded_bytes: u64) -> Stat {
        let manifest = self.manifests.get(swarm);
        Stat {
            swarm_id: swarm.to_owned(),
            uploaded_bytes,
            downloaded_bytes: 0,
            available_bandwidth: BANDWIDTH,
            concurrent_links: 0,
            cds: Some(StatCds {
                pieces: pieces.clone(),
                complete: manifest.is_some_and(|manifest| manifest.numbers() == *pieces),
                peer_used: Vec::new(),
            }),
        }
    }
}

/// Upload bandwidth said to be free; RFC 7846 gives no unit.
const BANDWIDTH: u64 = 1_024_000;

/// How long the tracker may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Before a failed document is tried again; longer each time.
const PAUSE: Duration = Duration::from_secs(1);

/// Tries in a row that may fail.
const MOST_MISSES: u32 = 3;
