//! UE: asks for content, requests pieces, verifies and assembles them, reports; serves what it holds.
//!
//! Here are the node's door and what a scenario may ask of it. `asking` gets peer lists, `fetching` gets
//! pieces, `reporting` tells the tracker; `journey` keeps the books. A UE and a user peer are the same
//! node.

mod asking;
mod documents;
mod fetching;
mod journey;
mod publishing;
mod reporting;
mod ut;

#[cfg(test)]
pub(super) mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use self::{
    asking::{Errand, Subscribed},
    documents::{Author, Standing},
    fetching::{Call, CallId, Get},
    journey::{Holder, Journey, Setback},
    publishing::Publisher,
    ut::{Access, Ask, Ut},
};
use super::{
    Node, Setup,
    ims_user::{ImsUser, UserEvent, own_subscriber},
    policy::UePolicy,
    serving::{CONTENT_PATH, Serving},
};
use crate::{
    io::{Action, Input, Outbox, Shape, TimerId},
    proto::{
        dialog::DialogId,
        endpoint::{ClientTxn, ServerTxn},
        http_exchange::{ClientHabits, Exchange, HttpClient},
        registration::urn_of,
    },
    random::{Random, derive},
    spec::{Format, Path, RefPoint, RequestPath, Role},
    time::At,
    wire::{ppstp::PeerMode, sip::Message},
};

/// Builds a UE from its set-up.
pub fn build(setup: Setup) -> Box<dyn Node> {
    Box::new(Ue::new(setup))
}

/// What a timer of the node itself is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Alarm {
    /// Goes on with the journey of a swarm.
    Advance(String),
    /// A list is asked for anew.
    FindAgain(String),
    /// A transfer has shown no progress since it had so many octets.
    Idle {
        call: CallId,
        line: usize,
        had: usize,
    },
    /// No NOTIFY has come (Timer N, RFC 6665 4.1.2.4).
    NotifyDue(String),
    /// No final answer to an INVITE has come.
    Patience(CallId),
    /// A publication is refreshed.
    Republish(String),
    /// A status report is due.
    Report(String),
    /// A subscription is refreshed.
    Resubscribe(String),
}

/// What the UE was told to bring about in a swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// A peer list, and no more.
    List,
    /// The whole content.
    Content(Shape),
}

/// What the UE knows and holds of one content.
#[derive(Debug, Default)]
struct Swarm {
    goal: Option<Goal>,
    /// What the tracker knows us as; `None`: not at all.
    joined: Option<PeerMode>,
    /// The tracker knows us by a publication only: when that ends, it forgets us.
    by_publication: bool,
    /// How many pieces there are, once that is known.
    pieces: Option<usize>,
    journey: Option<Journey>,
    /// Everybody who was ever listed, where later lists are not heeded.
    ever_listed: Vec<Holder>,
    /// How often the list was asked for anew on this journey.
    finds: u32,
    /// A new list has been asked for, which gives those who refused another chance.
    forgives: bool,
    subscription: Option<Subscribed>,
    downloaded: u64,
    peer_used: Vec<String>,
    report: Option<TimerId>,
    republish: Option<TimerId>,
    /// It said good-bye; what is still published of it only says so.
    has_left: bool,
    /// A report was refused since the last that was taken.
    rejoining: bool,
}

/// The node.
#[derive(Debug)]
struct Ue {
    setup: Setup,
    policy: UePolicy,
    user: Option<ImsUser>,
    ut: Option<Ut>,
    /// For pieces over HTTP.
    http: HttpClient,
    /// Serves what is held, and carries our own transfers over MSRP.
    serving: Serving,
    data: Option<SocketAddr>,
    author: Author,
    publisher: Publisher,
    random: Random,
    swarms: BTreeMap<String, Swarm>,
    /// Documents on Ut: what for, and for which swarm.
    errands: BTreeMap<Ask, (String, Errand)>,
    /// SUBSCRIBEs in flight.
    subscribing: BTreeMap<ClientTxn, String>,
    publishing: Option<ClientTxn>,
    calls: BTreeMap<CallId, Call>,
    next_call: u64,
    gets: BTreeMap<Exchange, Get>,
    alarms: BTreeMap<TimerId, Alarm>,
    /// What waits for a registration under way.
    waiting: VecDeque<Action>,
    is_stopped: bool,
}

impl Ue {
    fn new(setup: Setup) -> Ue {
        let policy = setup.policy.ue.clone();
        let data = own_listener(&setup, RefPoint::Data, Format::Msrp);
        let habits = ClientHabits {
            reuses: policy.keeps_connections,
            ..ClientHabits::default()
        };
        Ue {
            user: ImsUser::new(&setup),
            ut: access(&setup, habits)
                .map(|access| Ut::new(access, derive(setup.seed, &["ue", "ut"]))),
            http: HttpClient::new(habits),
            serving: Serving::new(&setup),
            author: author(&setup, data),
            publisher: Publisher::new(reporting::PACKAGE, PUBLISHED_FOR),
            random: Random::new(derive(setup.seed, &["ue"])),
            data,
            policy,
            setup,
            swarms: BTreeMap::new(),
            errands: BTreeMap::new(),
            subscribing: BTreeMap::new(),
            publishing: None,
            calls: BTreeMap::new(),
            next_call: 0,
            gets: BTreeMap::new(),
            alarms: BTreeMap::new(),
            waiting: VecDeque::new(),
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
            Action::Stop | Action::Crash => self.is_stopped = true,
            // These are for the HSS.
            Action::Revoke { .. } | Action::Withdraw { .. } => {}
            later if self.awaits_registration() => self.waiting.push_back(later.clone()),
            Action::Announce { content, pieces } => {
                if let Some(swarm) = self.hold(content, pieces) {
                    self.report(at, &swarm, out);
                }
            }
            Action::Drop { content, pieces } => {
                if let Some(swarm) = self.swarm_of(content) {
                    self.release(&swarm, pieces);
                    self.report(at, &swarm, out);
                }
            }
            Action::Ask { content } => self.set_out(at, content, Goal::List, out),
            Action::Fetch { content, shape } => {
                self.set_out(at, content, Goal::Content(*shape), out);
            }
            Action::Report { content } => {
                if let Some(swarm) = self.swarm_of(content) {
                    self.report(at, &swarm, out);
                }
            }
            Action::Leave { content } => {
                if let Some(swarm) = self.swarm_of(content) {
                    self.leave(at, &swarm, out);
                }
            }
        }
    }

    fn awaits_registration(&self) -> bool {
        let user = self.user.as_ref();
        user.is_some_and(|user| user.is_registering() && !user.is_registered())
    }

    /// The swarm id of a fixture in this run.
    fn swarm_of(&self, fixture: &str) -> Option<String> {
        let mut contents = self.setup.contents.iter();
        let content = contents.find(|content| content.fixture == fixture)?;
        Some(content.swarm.clone())
    }

    fn swarm(&mut self, swarm: &str) -> &mut Swarm {
        self.swarms.entry(swarm.to_owned()).or_default()
    }

    /// Becomes a holder of provisioned pieces; gives the swarm.
    fn hold(&mut self, fixture: &str, pieces: &[u32]) -> Option<String> {
        let contents = Arc::clone(&self.setup.contents);
        let content = contents.iter().find(|c| c.fixture == fixture)?;
        self.serving.shelf.put(content, pieces);
        self.swarm(&content.swarm).pieces = Some(content.pieces.len());
        Some(content.swarm.clone())
    }

    /// Loses pieces.
    fn release(&mut self, swarm: &str, pieces: &[u32]) {
        self.serving.shelf.remove(swarm, pieces);
        let state = self.swarm(swarm);
        if state.goal.is_none() {
            state.journey = None;
        }
    }

    fn user_event(&mut self, at: At, event: UserEvent, out: &mut Outbox) {
        // Our own subscriptions and calls come first: their dialogs are not the serving side's.
        let is_ours = match &event {
            UserEvent::Request { request, .. } => {
                self.subscription_of(request).is_some() || self.dialog_of(request).is_some()
            }
            _ => false,
        };
        let event = match &mut self.user {
            Some(user) if !is_ours => self.serving.user_event(at, event, user, out),
            _ => Some(event),
        };
        if let Some(event) = event {
            self.own_event(at, event, out);
        }
    }

    fn own_event(&mut self, at: At, event: UserEvent, out: &mut Outbox) {
        match event {
            UserEvent::Registered => {
                for action in std::mem::take(&mut self.waiting) {
                    self.act(at, &action, out);
                }
            }
            UserEvent::Deregistered => {}
            UserEvent::RegistrationFailed(status) => {
                for action in std::mem::take(&mut self.waiting) {
                    let setback = match status {
                        Some(_) => Setback::Rejected,
                        None => Setback::Timeout,
                    };
                    let word = setback.word();
                    out.note("gave-up", format!("{word}: not registered, {action:?}"));
                }
            }
            UserEvent::Request { txn, request } => self.request(at, txn, &request, out),
            UserEvent::Response { txn, response } => self.response(at, txn, &response, out),
            UserEvent::Failed { txn, why } => self.no_response(at, txn, why, out),
            UserEvent::Ack { .. } | UserEvent::Cancelled { .. } | UserEvent::AckMissing { .. } => {}
        }
    }

    fn subscription_of(&self, request: &Message) -> Option<String> {
        self.swarms.iter().find_map(|(swarm, state)| {
            let subscribed = state.subscription.as_ref()?;
            subscribed.owns(request).then(|| swarm.clone())
        })
    }

    fn dialog_of(&self, request: &Message) -> Option<CallId> {
        let id = DialogId::of_request(request)?;
        let mut calls = self.calls.iter();
        let found = calls.find(|(_, call)| call.dialog_id() == Some(&id));
        found.map(|(&call, _)| call)
    }

    /// A request from the network that the serving side does not know.
    fn request(&mut self, at: At, txn: ServerTxn, request: &Message, out: &mut Outbox) {
        if let Some(swarm) = self.subscription_of(request) {
            return self.notified(at, &swarm, txn, request, out);
        }
        if let Some(call) = self.dialog_of(request) {
            return self.called(at, call, txn, request, out);
        }
        if let Some(user) = &mut self.user {
            user.refuse(at, txn, 481, out);
        }
    }

    fn alarm(&mut self, at: At, alarm: Alarm, out: &mut Outbox) {
        match alarm {
            Alarm::Advance(swarm) => self.advance(at, &swarm, out),
            Alarm::FindAgain(swarm) => self.find_again(at, &swarm, out),
            Alarm::Idle { call, line, had } => self.idle(at, call, line, had, out),
            Alarm::NotifyDue(swarm) => self.notify_overdue(at, &swarm, out),
            Alarm::Patience(call) => self.lose_patience(at, call, out),
            Alarm::Republish(swarm) => self.republish(at, &swarm, out),
            Alarm::Report(swarm) => self.report_due(at, &swarm, out),
            Alarm::Resubscribe(swarm) => self.resubscribe(at, &swarm, out),
        }
    }

    /// Wakes the node for `alarm` after `wait`.
    fn wake(&mut self, at: At, wait: Duration, alarm: Alarm, out: &mut Outbox) -> TimerId {
        let timer = out.wake_at(at + wait);
        self.alarms.insert(timer, alarm);
        timer
    }

    fn calm(&mut self, timer: Option<TimerId>, out: &mut Outbox) {
        if let Some(timer) = timer
            && self.alarms.remove(&timer).is_some()
        {
            out.disarm(timer);
        }
    }

    /// The path pieces are requested on: as the options say.
    fn request_path(&self) -> RequestPath {
        match (
            self.setup.options.request,
            self.policy.requests_on_other_path,
        ) {
            (path, false) => path,
            (RequestPath::Ims, true) => RequestPath::Direct,
            (RequestPath::Direct, true) => RequestPath::Ims,
        }
    }

    /// The path the status is reported on: as the options say.
    fn status_path(&self) -> Path {
        match (self.setup.options.status, self.policy.reports_on_other_path) {
            (path, false) => path,
            (Path::Ims, true) => Path::Ut,
            (Path::Ut, true) => Path::Ims,
        }
    }

    fn is_registered(&self) -> bool {
        self.user.as_ref().is_some_and(ImsUser::is_registered)
    }

    /// What is reported of one swarm.
    fn standing(&self, swarm: &str) -> Standing {
        let Some(state) = self.swarms.get(swarm) else {
            return Standing::default();
        };
        let in_flight = state.journey.as_ref().map_or(0, Journey::in_flight);
        let pieces = match (&state.journey, self.policy.claims_everything) {
            (Some(journey), true) => journey.manifest().numbers(),
            _ => self.serving.shelf.pieces(swarm),
        };
        Standing {
            complete: state.pieces == Some(pieces.len()),
            pieces,
            uploaded: self.serving.uploaded(swarm),
            downloaded: state.downloaded,
            links: (in_flight + self.serving.transfers()) as u64,
            peer_used: state.peer_used.clone(),
        }
    }
}

impl Node for Ue {
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
        if let Input::Timer(timer) = &input
            && let Some(alarm) = self.alarms.remove(timer)
        {
            return self.alarm(at, alarm, out);
        }
        if let Some(events) = self.user.as_mut().and_then(|u| u.take(at, &input, out)) {
            for event in events {
                self.user_event(at, event, out);
            }
            return;
        }
        if let Some(outcomes) = self.ut.as_mut().and_then(|ut| ut.take(at, &input, out)) {
            for (ask, outcome) in outcomes {
                self.ut_outcome(at, ask, outcome, out);
            }
            return;
        }
        if let Some(user) = &mut self.user
            && let Some(events) = self.serving.take(at, &input, user, out)
        {
            for event in events {
                self.msrp_event(at, event, out);
            }
            return;
        }
        if let Some(events) = self.http.take(&input, out) {
            for event in events {
                self.http_event(at, event, out);
            }
        }
    }
}

fn own_listener(setup: &Setup, on: RefPoint, format: Format) -> Option<SocketAddr> {
    let mut listeners = setup.listeners.iter();
    listeners
        .find(|listener| listener.on == on && listener.format == format)
        .map(|listener| listener.addr)
}

fn access(setup: &Setup, habits: ClientHabits) -> Option<Access> {
    let (name, neighbour) = setup.directory.first(Role::Tracker)?;
    let subscriber = own_subscriber(setup)?;
    Some(Access {
        tracker: setup
            .directory
            .listener(name.as_str(), RefPoint::Ut, Format::Http)?,
        host: neighbour.host.clone(),
        impi: subscriber.impi.clone(),
        impu: subscriber.impus.first()?.clone(),
        password: subscriber.password.clone(),
        security: setup.protected(None),
        habits,
        preempts: setup.policy.ue.digest_preempts,
        repeats_transaction: setup.policy.ue.repeats_transaction,
    })
}

fn author(setup: &Setup, data: Option<SocketAddr>) -> Author {
    let subscriber = own_subscriber(setup);
    let identity = subscriber.map_or(setup.name.as_str(), |known| known.impi.as_str());
    let web = own_listener(setup, RefPoint::Data, Format::Http);
    Author {
        peer_id: urn_of(identity),
        sip_uri: subscriber.and_then(|known| known.impus.first().cloned()),
        url: web.map(|addr| format!("http://{addr}{CONTENT_PATH}")),
        data: data.or(web),
        priority: PRIORITY,
        peer_count: setup.policy.ue.peer_count,
        counts: setup.policy.ue.counts_transactions,
        random: Random::new(derive(setup.seed, &["ue", "documents"])),
        transactions: 0,
    }
}

/// The priority a user peer gives its own address: below an edge, above an origin.
const PRIORITY: i64 = 10;

/// The lifetime asked for a publication, in seconds.
const PUBLISHED_FOR: u32 = 120;
