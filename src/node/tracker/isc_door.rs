//! ISC: what the S-CSCF brings by initial filter criteria. REGISTER tells who is there, SUBSCRIBE asks
//! for peers and is told of changes, PUBLISH carries the status. Who asks is what the core asserts, never
//! what From says.
//!
//! A SUBSCRIBE's body is a CONNECT, later ones in its dialog are FINDs; an initial PUBLISH is a CONNECT or
//! a STAT_REPORT, a refresh a keep-alive, a removal a LEAVE of everything: our binding.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    super::{
        Setup,
        policy::{NotifyTiming, Parts, TrackerPolicy},
        setup::Directory,
        tracking_list::{Asker, TrackingList},
    },
    people::{People, Person},
};
use crate::{
    io::{Input, Outbox},
    proto::{
        dialog::{DialogId, uri_in},
        endpoint::{
            ClientTxn, ServerTxn, SipEndpoint, SipEvent, SipPort, SipTransport, Source, Timers,
        },
        notifier::{Notifier, Offer, Reason},
        publication::{Compositor, Lifetimes, Operation, Publish, Rejection, is_media_type},
    },
    random::{Random, derive},
    spec::{Format, RefPoint},
    time::At,
    trace::ListenTransport,
    wire::{
        ppstp::{
            Body, ErrorCode, Listed, MEDIA_TYPE, Profile, Request, Response, StatReport,
            SwarmResult, read_request,
        },
        sip::{Builder, Message, Uri, reason},
    },
};

/// The event package of peer lists: ours.
pub const PEERS: &str = "p2pcds-peers";

/// The event package of status updates: ours.
pub const STATUS: &str = "p2pcds-status";

pub(super) struct IscDoor {
    sip: SipEndpoint,
    people: Arc<People>,
    directory: Arc<Directory>,
    policy: TrackerPolicy,
    random: Random,
    notifier: Notifier<Watch>,
    publications: Compositor<Author>,
    /// NOTIFYs under way.
    notifies: BTreeMap<ClientTxn, DialogId>,
    /// Public identities that the S-CSCF registered, and until when.
    registered: BTreeMap<String, At>,
}

/// What a subscription is told.
#[derive(Clone, Debug)]
struct Watch {
    owner: Arc<str>,
    peer_id: String,
    transaction_id: String,
    /// Swarms and how many peers of each are wanted.
    swarms: Vec<(String, Option<u64>)>,
    /// The answer to the request that came with the SUBSCRIBE, until it was told.
    answer: Option<Response>,
    /// What was told last, to tell a change from a mere stir.
    told: Vec<Told>,
}

/// Peers of one swarm as they were told.
#[derive(Clone, Debug)]
struct Told {
    swarm_id: String,
    revision: u64,
    peers: Vec<Listed>,
}

/// Whose publication it is.
#[derive(Clone, Debug)]
struct Author {
    owner: Arc<str>,
    peer_id: String,
}

impl IscDoor {
    pub fn new(setup: &Setup, people: Arc<People>) -> IscDoor {
        let ports = ports(setup);
        let policy = setup.policy.tracker.clone();
        let seed = |word| derive(setup.seed, &["isc", word]);
        let offer = Offer {
            event: PEERS.to_owned(),
            media_type: MEDIA_TYPE.to_owned(),
            lifetimes: Lifetimes {
                least: 0,
                most: policy.longest_subscription,
                usual: policy.longest_subscription,
            },
            throttle: Duration::from_millis(policy.throttle_millis.into()),
            contact: ports.first().map(contact).unwrap_or_default(),
        };
        let lifetimes = Lifetimes {
            least: policy.shortest_publication,
            most: policy.longest_publication,
            usual: 120.clamp(policy.shortest_publication, policy.longest_publication),
        };
        IscDoor {
            sip: SipEndpoint::new(ports, seed("sip")),
            people,
            directory: setup.directory.clone(),
            policy,
            random: Random::new(seed("tags")),
            notifier: Notifier::new(offer, seed("notifier")),
            publications: Compositor::new(STATUS, MEDIA_TYPE, lifetimes, seed("publications")),
            notifies: BTreeMap::new(),
            registered: BTreeMap::new(),
        }
    }

    /// Takes an input if it is SIP's.
    pub fn take(&mut self, at: At, input: &Input<'_>, list: &mut TrackingList, out: &mut Outbox) {
        for event in self.sip.take(at, input, out).unwrap_or_default() {
            match event {
                SipEvent::Request {
                    txn,
                    request,
                    source,
                } => self.request(at, txn, &request, &source, list, out),
                SipEvent::Response { txn, response, .. } => {
                    let status = response.status().unwrap_or_default();
                    if status >= 200
                        && let Some(id) = self.notifies.remove(&txn)
                        && self.notifier.answered(&id, status)
                    {
                        out.note("unsubscribed", format!("NOTIFY was answered {status}"));
                    }
                }
                SipEvent::Failed { txn, .. } => {
                    if let Some(id) = self.notifies.remove(&txn) {
                        self.notifier.unanswered(&id);
                        out.note("unsubscribed", "NOTIFY was not answered");
                    }
                }
                SipEvent::Cancelled { .. }
                | SipEvent::Ack { .. }
                | SipEvent::AckMissing { .. }
                | SipEvent::Stray { .. } => {}
                SipEvent::Unreadable { malformed, .. } => {
                    out.note("unreadable", malformed.to_string());
                }
            }
        }
    }

    /// Removes what was not refreshed: publications with their peers, registrations with theirs.
    pub fn expire(&mut self, at: At, list: &mut TrackingList, out: &mut Outbox) {
        for author in self.publications.expire(at) {
            out.note("expired", format!("publication of {}", author.peer_id));
            self.withdrawn(&author, list);
        }
        let gone = self.registered.extract_if(.., |_, until| *until <= at);
        for identity in gone.map(|(identity, _)| identity).collect::<Vec<_>>() {
            out.note("expired", format!("registration of {identity}"));
            self.deregistered(&identity, list);
        }
    }

    /// When time alone next brings something about.
    pub fn next_due(&self) -> Option<At> {
        let registered = self.registered.values().min().copied();
        let due = [
            registered,
            self.publications.next_expiry(),
            self.notifier.next_due(),
        ];
        due.into_iter().flatten().min()
    }

    /// Tells subscriptions what has changed, as far as the throttle lets it (RFC 6665 4.2.2).
    pub fn tell(&mut self, at: At, list: &mut TrackingList, out: &mut Outbox) {
        let is_stirred = |watch: &Watch| {
            let mut told = watch.told.iter();
            told.any(|told| list.revision(&told.swarm_id) != told.revision)
        };
        let watches = self.notifier.all().filter(|(_, watch)| is_stirred(watch));
        let stirred: Vec<DialogId> = watches.map(|(id, _)| id.clone()).collect();
        for id in stirred {
            self.look_again(at, &id, list);
        }
        for id in self.notifier.due(at) {
            self.notify(at, &id, list, out);
        }
    }

    /// Marks a subscription if the peers it was told of are others now.
    fn look_again(&mut self, at: At, id: &DialogId, list: &mut TrackingList) {
        let Some(watch) = self.notifier.state_mut(id) else {
            return;
        };
        let now = told(&watch.answer_now(at, list), list);
        let is_same = now.len() == watch.told.len()
            && now
                .iter()
                .zip(&watch.told)
                .all(|(now, then)| now.peers == then.peers);
        if is_same {
            watch.told = now;
        } else {
            self.notifier.changed(id);
        }
    }

    /// Sends the NOTIFY that is due. A subscription whose peer is no longer tracked ends with it.
    fn notify(&mut self, at: At, id: &DialogId, list: &mut TrackingList, out: &mut Outbox) {
        let hop = self.notifier.next_hop(id).unwrap_or_default();
        let to = Uri::parse(&hop).ok().and_then(|uri| {
            let directory = &self.directory;
            directory.resolve(&uri.host, uri.port, RefPoint::Isc, Format::Sip)
        });
        let Some(watch) = self.notifier.state_mut(id) else {
            return;
        };
        let is_tracked = list.is_tracking(&watch.peer_id);
        let answer = match watch.answer.take() {
            Some(answer) => Some(answer),
            None => is_tracked.then(|| watch.answer_now(at, list)),
        };
        watch.told = answer
            .as_ref()
            .map_or(Vec::new(), |answer| told(answer, list));
        let json = answer.map(|answer| answer.to_json());
        let body = json.as_ref().map(|json| json.as_bytes());
        let message = match is_tracked {
            true => self.notifier.notify(at, id, body),
            false => self.notifier.end(id, Reason::Noresource, body),
        };
        match (message, to) {
            (Some(message), Some(to)) => {
                let txn = self.sip.send(at, RefPoint::Isc, to, message, out);
                self.notifies.insert(txn, id.clone());
            }
            (Some(_), None) => {
                self.notifier.unanswered(id);
                out.note("unsubscribed", format!("{hop} is not in the directory"));
            }
            (None, _) => {}
        }
    }

    fn request(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        source: &Source,
        list: &mut TrackingList,
        out: &mut Outbox,
    ) {
        let outcome = match self.check(request, source) {
            Err(rejection) => Err(rejection),
            // Answers for itself: its NOTIFY may go before or after the 200.
            Ok(()) if request.method() == "SUBSCRIBE" => {
                let done = self.subscribe(at, txn, request, list, out);
                done.map(|()| None)
            }
            Ok(()) => self.answer(at, request, list).map(Some),
        };
        let response = match outcome {
            Ok(response) => response,
            Err(rejection) => {
                let what = format!("{} with {}", request.method(), rejection.status);
                out.note("refused", what);
                Some(rejection.response(request, &self.random.token(10)))
            }
        };
        if let Some(response) = response {
            self.sip.respond(at, txn, response, true, out);
        }
    }

    /// What any request has to be: from the core, whole, and requiring nothing unknown.
    fn check(&self, request: &Message, source: &Source) -> Result<(), Rejection> {
        if self.people.is_outsider(source.addr) {
            return Err(Rejection::of(403));
        }
        let is_whole = request.from().is_ok()
            && request.to().is_ok()
            && request.call_id().is_ok()
            && request
                .cseq()
                .is_ok_and(|cseq| cseq.method == request.method());
        if !is_whole {
            return Err(Rejection::of(400));
        }
        match request.values("Require") {
            required if required.is_empty() => Ok(()),
            required => Err(Rejection::of(420).with("Unsupported", required.join(", "))),
        }
    }

    fn answer(
        &mut self,
        at: At,
        request: &Message,
        list: &mut TrackingList,
    ) -> Result<Message, Rejection> {
        match request.method() {
            "REGISTER" => self.register(at, request, list),
            "PUBLISH" => self.publish(at, request, list),
            "OPTIONS" => {
                let tag = self.random.token(10);
                let builder = Builder::response(request, 200, reason(200), Some(&tag));
                Ok(builder.header("Allow", ALLOWED).finish())
            }
            "BYE" | "INFO" | "NOTIFY" | "PRACK" | "UPDATE" => Err(Rejection::of(481)),
            _ => Err(Rejection::of(405).with("Allow", ALLOWED)),
        }
    }

    /// A third-party REGISTER: the S-CSCF tells who is registered, and for how long (TS 23.218 6.3). It
    /// is answered with the same expiry.
    fn register(
        &mut self,
        at: At,
        request: &Message,
        list: &mut TrackingList,
    ) -> Result<Message, Rejection> {
        let wrong = |_| Rejection::of(400);
        let contacts = request.addrs("Contact").map_err(wrong)?;
        let in_contact = contacts
            .first()
            .and_then(|contact| contact.params.get("expires"));
        let expires: u32 = match (in_contact, request.number("Expires").map_err(wrong)?) {
            (Some(text), _) => text.parse().map_err(|_| Rejection::of(400))?,
            (None, Some(expires)) => expires,
            (None, None) => 3600,
        };
        let identity = request.to().map_err(wrong)?.uri;
        if self.people.by_public(&identity).is_some() {
            if expires == 0 {
                self.registered.remove(&identity);
                self.deregistered(&identity, list);
            } else {
                let until = at + Duration::from_secs(expires.into());
                self.registered.insert(identity, until);
            }
        }
        let tag = self.random.token(10);
        let mut builder = Builder::response(request, 200, reason(200), Some(&tag));
        if expires > 0 {
            for contact in &contacts {
                let binding = format!("<{}>;expires={expires}", contact.uri);
                builder = builder.header("Contact", &binding);
            }
        }
        Ok(builder.header("Expires", &expires.to_string()).finish())
    }

    /// Somebody is no longer registered: nobody is sent there any more.
    fn deregistered(&mut self, identity: &str, list: &mut TrackingList) {
        let people = self.people.clone();
        let Some(person) = people.by_public(identity) else {
            return;
        };
        let owner = person.asker.owner.clone();
        list.evict_owner(&owner);
        self.publications
            .withdraw_where(|author| author.owner == owner);
    }

    fn subscribe(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        list: &mut TrackingList,
        out: &mut Outbox,
    ) -> Result<(), Rejection> {
        let order = self.notifier.examine(at, request)?;
        let people = self.people.clone();
        let known = order.known.as_ref().and_then(|id| self.notifier.state(id));
        // Inside a dialog the core need not say again who is there: it let nobody else into it.
        let asker = match known.filter(|_| !is_asserted(request)) {
            Some(watch) => people.by_owner(&watch.owner),
            None => Some(asserted(
                &people,
                request,
                self.policy.checks_service_on_isc,
            )?),
        };
        let asker = &asker.ok_or_else(|| Rejection::of(403))?.asker;
        if known.is_some_and(|watch| watch.owner != asker.owner) {
            return Err(Rejection::of(403));
        }
        let watch = match (known.cloned(), document(request)?) {
            (None, None) => return Err(Rejection::of(400).with("Warning", NO_BODY)),
            (Some(watch), None) => {
                // Without a body it is still a FIND: the peer is there.
                let alive = keep_alive(&watch.peer_id);
                list.answer(at, asker, &alive);
                watch
            }
            (_, Some(asked)) => Watch::open(at, asker, &asked, list)?,
        };
        let (id, ok) = self.notifier.accept(at, request, &order, watch)?;
        match self.policy.notify_timing {
            NotifyTiming::AfterResponse => {
                self.sip.respond(at, txn, ok, true, out);
                self.notify(at, &id, list, out);
            }
            NotifyTiming::BeforeResponse => {
                self.notify(at, &id, list, out);
                self.sip.respond(at, txn, ok, true, out);
            }
        }
        Ok(())
    }

    fn publish(
        &mut self,
        at: At,
        request: &Message,
        list: &mut TrackingList,
    ) -> Result<Message, Rejection> {
        let order = self.publications.examine(at, request)?;
        let people = self.people.clone();
        let person = asserted(&people, request, self.policy.checks_service_on_isc)?;
        self.check_resource(&order, &person)?;
        let author = self.publications.state(&order).cloned();
        if author
            .as_ref()
            .is_some_and(|author| author.owner != person.asker.owner)
        {
            return Err(Rejection::of(403));
        }
        let tag = self.random.token(10);
        let author = match (order.operation, author) {
            (Operation::Remove, _) => {
                let (author, granted) = self.publications.remove(&order);
                if let Some(author) = author {
                    self.withdrawn(&author, list);
                }
                return Ok(granted.response(request, &tag));
            }
            (Operation::Refresh, Some(author)) => {
                let alive = keep_alive(&author.peer_id);
                if !list.answer(at, &person.asker, &alive).is_successful() {
                    // The peer left by another door: there is nothing to refresh any more.
                    self.publications.withdraw(&order);
                    return Err(Rejection::of(412));
                }
                author
            }
            (_, author) => {
                let asked = document(request)?.ok_or_else(|| Rejection::of(400))?;
                let takes_parts = match self.policy.takes_parts_of_publications {
                    Parts::OfNone => false,
                    Parts::OfChanges => author.is_some(),
                    Parts::OfAll => true,
                };
                report(at, &person.asker, author, &asked, takes_parts, list)?
            }
        };
        let until = at + Duration::from_secs(order.expires.into());
        list.keep_until(&author.peer_id, until);
        let granted = self.publications.commit(at, &order, author);
        Ok(granted.response(request, &tag))
    }

    /// Status belongs to the Request-URI (RFC 3903 4): the asker's own identity, or ours.
    fn check_resource(&self, order: &Publish, person: &Person) -> Result<(), Rejection> {
        let psi = &self.directory.tracker_psi;
        if person.is(&order.resource) || order.resource.eq_ignore_ascii_case(psi) {
            return Ok(());
        }
        match self.people.by_public(&order.resource) {
            Some(_) => Err(Rejection::of(403)),
            None => Err(Rejection::of(404)),
        }
    }

    /// A publication is over: its peer leaves, unless another publication speaks for it.
    fn withdrawn(&mut self, author: &Author, list: &mut TrackingList) {
        let mut others = self.publications.states();
        let is_mine = list.owner(&author.peer_id) == Some(&*author.owner);
        if is_mine && !others.any(|other| other.peer_id == author.peer_id) {
            list.evict(&author.peer_id);
        }
    }
}

impl Watch {
    /// From the request that a SUBSCRIBE carries, and its answer.
    fn open(
        at: At,
        asker: &Asker,
        asked: &Request,
        list: &mut TrackingList,
    ) -> Result<Watch, Rejection> {
        let most = match &asked.body {
            Body::Connect(connect) => connect.peer_num.as_ref(),
            Body::Find(find) => find.peer_num.as_ref(),
            Body::StatReport(_) => return Err(Rejection::of(400)),
        };
        let most = most.map(|num| num.peer_count);
        let answer = list.answer(at, asker, asked);
        if !answer.is_successful() {
            return Err(Rejection::of(sip_status(answer.error)));
        }
        let listed = answer
            .swarm_result
            .iter()
            .filter(|result| result.successful);
        Ok(Watch {
            owner: asker.owner.clone(),
            peer_id: asked.peer_id.clone(),
            transaction_id: asked.transaction_id.clone(),
            swarms: listed
                .map(|result| (result.swarm_id.clone(), most))
                .collect(),
            answer: Some(answer),
            told: Vec::new(),
        })
    }

    /// What it would be told now.
    fn answer_now(&self, at: At, list: &mut TrackingList) -> Response {
        let swarms = self.swarms.iter();
        let views = swarms.filter_map(|(swarm, most)| list.view(at, &self.peer_id, swarm, *most));
        let views: Vec<SwarmResult> = views.collect();
        Response::ok(&self.transaction_id, views)
    }
}

/// Who is told of in an answer: swarms with their revision, peers by their ids.
fn told(answer: &Response, list: &TrackingList) -> Vec<Told> {
    let tell = |result: &SwarmResult| {
        let mut peers = result.peers.clone().unwrap_or_default();
        peers.sort_by(|a, b| a.peer_id.cmp(&b.peer_id));
        Told {
            swarm_id: result.swarm_id.clone(),
            revision: list.revision(&result.swarm_id),
            peers,
        }
    };
    answer.swarm_result.iter().map(tell).collect()
}

/// Carries out the request in a PUBLISH; gives whose publication it is.
fn report(
    at: At,
    asker: &Asker,
    author: Option<Author>,
    asked: &Request,
    takes_parts: bool,
    list: &mut TrackingList,
) -> Result<Author, Rejection> {
    if author.is_some_and(|author| author.peer_id != asked.peer_id) {
        return Err(Rejection::of(403));
    }
    if matches!(asked.body, Body::Find(_)) {
        return Err(Rejection::of(400));
    }
    // RFC 3903 6: a publication has its whole effect or none, where a document on Ut may have some of it.
    let answer = match takes_parts {
        true => list.answer(at, asker, asked),
        false => list.answer_whole(at, asker, asked),
    };
    match answer.is_successful() {
        true => Ok(Author {
            owner: asker.owner.clone(),
            peer_id: asked.peer_id.clone(),
        }),
        false => Err(Rejection::of(sip_status(answer.error))),
    }
}

/// Who the core says is asking, if it may use the service, or that is not looked at (RFC 3325; RFC 5502 where nothing else is
/// said, clause not verified).
fn asserted<'a>(
    people: &'a People,
    request: &Message,
    checks_service: bool,
) -> Result<Cow<'a, Person>, Rejection> {
    let mut identities = request.values("P-Asserted-Identity");
    if identities.is_empty() {
        identities = request.values("P-Served-User");
    }
    let mut persons = identities
        .iter()
        .filter_map(|value| people.by_public(&uri_in(value)));
    persons
        .next()
        .filter(|person| person.is_served || !checks_service)
        .ok_or_else(|| Rejection::of(403))
}

/// Whether the core says who is asking.
fn is_asserted(request: &Message) -> bool {
    request.has("P-Asserted-Identity") || request.has("P-Served-User")
}

/// The PPSTP request in a body, if there is one.
fn document(request: &Message) -> Result<Option<Request>, Rejection> {
    if request.body().is_empty() {
        return Ok(None);
    }
    let content_type = request.header("Content-Type").unwrap_or_default();
    if !is_media_type(&content_type, MEDIA_TYPE) {
        return Err(Rejection::of(415).with("Accept", MEDIA_TYPE));
    }
    match read_request(request.body(), Profile::Examples) {
        Ok(reading) => Ok(Some(reading.message)),
        Err(refusal) => {
            let warning = format!(
                "399 - \"{}\"",
                refusal.to_string().replace(['"', '\\'], "'")
            );
            Err(Rejection::of(sip_status(refusal.code)).with("Warning", warning))
        }
    }
}

fn keep_alive(peer_id: &str) -> Request {
    Request {
        transaction_id: String::new(),
        peer_id: peer_id.to_owned(),
        body: Body::StatReport(StatReport::default()),
    }
}

/// The SIP status for a PPSTP failure: our binding.
fn sip_status(error: ErrorCode) -> u16 {
    match error {
        ErrorCode::None => 200,
        ErrorCode::BadRequest | ErrorCode::UnsupportedVersion => 400,
        ErrorCode::ForbiddenAction | ErrorCode::AuthenticationRequired => 403,
        ErrorCode::InternalServerError => 500,
        ErrorCode::ServiceUnavailable => 503,
    }
}

fn ports(setup: &Setup) -> Vec<SipPort> {
    let on_isc = setup
        .listeners
        .iter()
        .filter(|listener| listener.on == RefPoint::Isc && listener.format == Format::Sip);
    on_isc
        .map(|listener| SipPort {
            on: RefPoint::Isc,
            local: listener.addr,
            transport: match listener.transport {
                ListenTransport::Udp => SipTransport::Udp,
                ListenTransport::Tcp | ListenTransport::Tls => SipTransport::Tcp,
            },
            path_mtu: setup.path_mtu.get(&RefPoint::Isc).copied(),
            timers: CORE_TIMERS
                .with_t1(Duration::from_millis(setup.policy.tracker.t1_millis.into())),
        })
        .collect()
}

fn contact(port: &SipPort) -> String {
    let transport = match port.transport {
        SipTransport::Udp => "udp",
        SipTransport::Tcp => "tcp",
    };
    format!("<sip:{};transport={transport}>", port.local)
}

/// TS 24.229 7.7, second-hand: between nodes of the core.
const CORE_TIMERS: Timers = Timers {
    t1: Duration::from_millis(500),
    t2: Duration::from_secs(4),
    t4: Duration::from_secs(5),
};

/// Methods this server takes.
const ALLOWED: &str = "OPTIONS, PUBLISH, REGISTER, SUBSCRIBE";

const NO_BODY: &str = "399 - \"the first SUBSCRIBE carries a CONNECT\"";
