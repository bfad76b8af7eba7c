//! Steps 1 and 2: how a UE gets a peer list, on Ut or by SUBSCRIBE and NOTIFY.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::{
    Alarm, Goal, Ue,
    fetching::setback_of,
    journey::{Holder, Journey, MOST_OCTETS, Setback},
    ut::{Ask, Outcome},
};
use crate::{
    io::{Outbox, TimerId},
    node::ims_user::{Answer, Outgoing},
    proto::{
        endpoint::ServerTxn,
        subscription::{Answered, Notified, Subscription},
    },
    spec::{Path, RequestPath},
    time::At,
    wire::{
        http::Octets,
        ppstp::{
            self, ErrorCode, MEDIA_TYPE, Manifest, ManifestPiece, PeerMode, Pieces, Profile,
            Response, SwarmResult,
        },
        sip::{Message, Uri},
    },
};

/// What a document on Ut is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// A peer list by CONNECT.
    Join,
    /// A peer list by FIND.
    Find,
    /// CONNECT as SEEDER.
    Announce,
    Report,
    Leave,
}

/// A subscription to the peers of one swarm.
#[derive(Debug)]
pub(super) struct Subscribed {
    subscription: Subscription,
    due: Option<TimerId>,
    renewal: Option<TimerId>,
}

impl Subscribed {
    pub(super) fn owns(&self, request: &Message) -> bool {
        self.subscription.owns(request)
    }
}

impl Ue {
    /// Sets out for a list or a content.
    pub(super) fn set_out(&mut self, at: At, fixture: &str, goal: Goal, out: &mut Outbox) {
        let Some(swarm) = self.swarm_of(fixture) else {
            out.note("gave-up", format!("unavailable: no content {fixture:?}"));
            return;
        };
        let state = self.swarm(&swarm);
        state.goal = Some(goal);
        state.journey = None;
        state.finds = 0;
        self.ask(at, &swarm, out);
    }

    /// Asks for a peer list on the path the options give.
    pub(super) fn ask(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        match self.setup.options.peer_list {
            Path::Ut => self.ask_on_ut(at, swarm, out),
            Path::Ims => self.ask_through_ims(at, swarm, out),
        }
    }

    /// Asks for a new list on a journey that is stuck.
    pub(super) fn find_again(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        let state = self.swarm(swarm);
        if state.goal.is_some() {
            state.forgives = true;
            self.ask(at, swarm, out);
        }
    }

    fn ask_on_ut(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        let pieces = self.serving.shelf.pieces(swarm);
        let state = self.swarm(swarm);
        // RFC 7846 Table 6: JOIN has no place while TRACKING; FIND asks then.
        let (document, errand) = match state.joined {
            None => (self.author.join_as_leech(swarm, &pieces), Errand::Join),
            Some(_) => (self.author.find(swarm), Errand::Find),
        };
        match &mut self.ut {
            Some(ut) => {
                let ask = ut.send(at, &document, out);
                self.errands.insert(ask, (swarm.to_owned(), errand));
            }
            None => self.give_up(at, swarm, Setback::Unavailable, "no tracker on Ut", out),
        }
    }

    /// A CONNECT in a SUBSCRIBE; once there is a dialog, a FIND in a refresh.
    fn ask_through_ims(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        let subscribed = self.swarms.get(swarm).and_then(|s| s.subscription.as_ref());
        if subscribed.is_some_and(|s| s.subscription.dialog().is_some()) {
            let document = self.author.find(swarm).to_json();
            self.subscribe_again(at, swarm, SUBSCRIBED_FOR, Some(document), out);
            return;
        }
        self.subscribe(at, swarm, SUBSCRIBED_FOR, out);
    }

    fn subscribe(&mut self, at: At, swarm: &str, expires: u32, out: &mut Outbox) {
        let pieces = self.serving.shelf.pieces(swarm);
        let psi = self.setup.directory.tracker_psi.clone();
        let Some(user) = self.user.as_mut().filter(|user| user.is_registered()) else {
            return self.give_up(at, swarm, Setback::Unavailable, "not registered", out);
        };
        let document = self.author.join_as_leech(swarm, &pieces).to_json();
        let what = Outgoing {
            method: "SUBSCRIBE",
            uri: &psi,
            headers: vec![
                ("Event", PACKAGE.to_owned()),
                ("Accept", MEDIA_TYPE.to_owned()),
                ("Expires", expires.to_string()),
            ],
            body: Some((MEDIA_TYPE, document.as_bytes())),
        };
        let (txn, request) = user.originate(at, &what, out);
        self.subscribing.insert(txn, swarm.to_owned());
        let due = self.wake(at, TIMER_N, Alarm::NotifyDue(swarm.to_owned()), out);
        self.swarm(swarm).subscription = Some(Subscribed {
            subscription: Subscription::new(&request),
            due: Some(due),
            renewal: None,
        });
    }

    /// A SUBSCRIBE inside the dialog.
    fn subscribe_again(
        &mut self,
        at: At,
        swarm: &str,
        expires: u32,
        document: Option<String>,
        out: &mut Outbox,
    ) {
        let state = self.swarms.get_mut(swarm);
        let subscribed = state.and_then(|state| state.subscription.as_mut());
        let (Some(subscribed), Some(user)) = (subscribed, &mut self.user) else {
            return;
        };
        let Some(begun) = subscribed.subscription.refresh(expires) else {
            return;
        };
        let begun = begun.header("Accept", MEDIA_TYPE);
        let body = document.as_ref().map(|json| (MEDIA_TYPE, json.as_bytes()));
        let (txn, request) = user.within(at, begun, body, out);
        subscribed.subscription.sent(&request);
        self.subscribing.insert(txn, swarm.to_owned());
    }

    /// Refreshes half-way; the tracker answers with a full list anyway.
    pub(super) fn resubscribe(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        let document = self.author.find(swarm).to_json();
        self.subscribe_again(at, swarm, SUBSCRIBED_FOR, Some(document), out);
    }

    /// Ends the subscription to a swarm, if there is one (RFC 6665 4.1.2.3).
    pub(super) fn unsubscribe(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        self.subscribe_again(at, swarm, 0, None, out);
        let timer = self
            .swarm(swarm)
            .subscription
            .as_mut()
            .and_then(|subscribed| subscribed.renewal.take());
        self.calm(timer, out);
    }

    /// A response to a SUBSCRIBE.
    pub(super) fn subscribe_answered(
        &mut self,
        at: At,
        swarm: &str,
        response: &Message,
        out: &mut Outbox,
    ) {
        let state = self.swarms.get_mut(swarm);
        let Some(subscribed) = state.and_then(|state| state.subscription.as_mut()) else {
            return;
        };
        match subscribed.subscription.answered(response) {
            Answered::Accepted { .. } | Answered::Nothing => {}
            Answered::TooBrief { least } => match subscribed.subscription.dialog() {
                Some(_) => self.subscribe_again(at, swarm, least, None, out),
                None => {
                    self.drop_subscription(swarm, out);
                    self.subscribe(at, swarm, least, out);
                }
            },
            Answered::Refused { status, ended } => {
                if ended {
                    self.drop_subscription(swarm, out);
                }
                let setback = setback_of(status);
                let text = format!("SUBSCRIBE was answered {status}");
                self.give_up(at, swarm, setback, &text, out);
            }
        }
    }

    /// No response to a SUBSCRIBE will come.
    pub(super) fn subscribe_failed(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        self.drop_subscription(swarm, out);
        let text = "SUBSCRIBE was not answered";
        self.give_up(at, swarm, Setback::Timeout, text, out);
    }

    /// Timer N fired.
    pub(super) fn notify_overdue(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        let state = self.swarms.get_mut(swarm);
        let Some(subscribed) = state.and_then(|state| state.subscription.as_mut()) else {
            return;
        };
        if !subscribed.subscription.awaits_notify() {
            return;
        }
        subscribed.subscription.end();
        self.drop_subscription(swarm, out);
        self.give_up(at, swarm, Setback::Timeout, "no NOTIFY came", out);
    }

    fn drop_subscription(&mut self, swarm: &str, out: &mut Outbox) {
        if let Some(subscribed) = self.swarm(swarm).subscription.take() {
            self.calm(subscribed.due, out);
            self.calm(subscribed.renewal, out);
        }
    }

    /// A NOTIFY of a subscription of ours.
    pub(super) fn notified(
        &mut self,
        at: At,
        swarm: &str,
        txn: ServerTxn,
        notify: &Message,
        out: &mut Outbox,
    ) {
        let state = self.swarms.get_mut(swarm);
        let subscribed = state.and_then(|state| state.subscription.as_mut());
        let (Some(subscribed), Some(user)) = (subscribed, &mut self.user) else {
            return;
        };
        if !subscribed.subscription.speaks_of_package(notify) {
            return user.refuse(at, txn, 489, out);
        }
        let (refresh_at, ended) = match subscribed.subscription.notified(at, notify) {
            Notified::Refused(status) => return user.refuse(at, txn, status, out),
            Notified::Fresh { refresh_at, ended } => (refresh_at, ended),
        };
        user.respond(at, txn, &Answer::of(200), out);
        let timers = [subscribed.due.take(), subscribed.renewal.take()];
        for timer in timers {
            self.calm(timer, out);
        }
        if let Some(refresh_at) = refresh_at {
            let alarm = Alarm::Resubscribe(swarm.to_owned());
            let renewal = self.wake(at, refresh_at.since(at), alarm, out);
            if let Some(subscribed) = &mut self.swarm(swarm).subscription {
                subscribed.renewal = Some(renewal);
            }
        }
        if ended.is_some() {
            self.drop_subscription(swarm, out);
        }
        if !notify.body().is_empty() {
            self.read_notify(at, swarm, notify.body(), out);
        }
        if let Some(ended) = ended.filter(|_| self.is_waiting_for_list(swarm)) {
            let setback = match ended.reason.as_str() {
                "rejected" => Setback::Rejected,
                _ => Setback::Unavailable,
            };
            let text = format!("the subscription ended: {:?}", ended.reason);
            self.give_up(at, swarm, setback, &text, out);
        }
    }

    fn read_notify(&mut self, at: At, swarm: &str, body: &[u8], out: &mut Outbox) {
        match ppstp::read_response(body, Profile::Examples) {
            Ok(reading) => {
                if reading.message.is_successful() {
                    let state = self.swarm(swarm);
                    state.joined.get_or_insert(PeerMode::Leech);
                    if state.report.is_none() {
                        self.keep_reporting(at, swarm, out);
                    }
                }
                self.answered(at, swarm, &reading.message, out);
            }
            Err(refusal) => {
                let text = format!("a NOTIFY whose body is no peer list: {}", refusal.path);
                out.note("ignored", text);
            }
        }
    }

    /// Whether a goal is set and no list has come for it.
    fn is_waiting_for_list(&self, swarm: &str) -> bool {
        let state = self.swarms.get(swarm);
        state.is_some_and(|state| state.goal.is_some() && state.journey.is_none())
    }

    /// A document on Ut came to an end.
    pub(super) fn ut_outcome(&mut self, at: At, ask: Ask, outcome: Outcome, out: &mut Outbox) {
        let Some((swarm, errand)) = self.errands.remove(&ask) else {
            return;
        };
        match (errand, outcome) {
            (Errand::Join | Errand::Find, Outcome::Answered(response)) => {
                if errand == Errand::Find && is_unknown(&response) {
                    // The tracker has forgotten us meanwhile (RFC 7846 2.3.2 B).
                    self.swarm(&swarm).joined = None;
                    return self.ask(at, &swarm, out);
                }
                if response.is_successful() {
                    let state = self.swarm(&swarm);
                    state.joined.get_or_insert(PeerMode::Leech);
                    self.keep_reporting(at, &swarm, out);
                }
                self.answered(at, &swarm, &response, out);
            }
            (Errand::Join | Errand::Find, Outcome::Failed(setback)) => {
                self.give_up(at, &swarm, setback, "no list on Ut", out);
            }
            (errand, outcome) => self.report_outcome(at, &swarm, errand, outcome, out),
        }
    }

    /// The tracker's answer to a wish for a list, on whatever path.
    fn answered(&mut self, at: At, swarm: &str, response: &Response, out: &mut Outbox) {
        if !response.is_successful() {
            let setback = match response.error {
                ErrorCode::ForbiddenAction | ErrorCode::AuthenticationRequired => Setback::Rejected,
                _ => Setback::Unavailable,
            };
            return self.give_up(at, swarm, setback, response.error.name(), out);
        }
        let mut results = response.swarm_result.iter();
        match results.find(|result| result.swarm_id == swarm) {
            Some(result) if result.successful => self.listed(at, swarm, result, out),
            _ => self.give_up(at, swarm, Setback::Unavailable, "no such swarm", out),
        }
    }

    /// Takes a peer list: the first sets the journey up, a later one replaces it.
    fn listed(&mut self, at: At, swarm: &str, result: &SwarmResult, out: &mut Outbox) {
        let mut holders = self.holders(result);
        if !self.policy.heeds_later_lists {
            let ever = &mut self.swarm(swarm).ever_listed;
            ever.append(&mut holders);
            holders.clone_from(ever);
        }
        let me = self.author.peer_id.clone();
        let verifies = self.policy.verifies_pieces;
        let state = self.swarm(swarm);
        let Some(goal) = state.goal else {
            if let Some(journey) = &mut state.journey {
                journey.learn(holders);
            }
            return;
        };
        if goal == Goal::List {
            state.goal = None;
            let names: Vec<&str> = holders.iter().map(|h| h.peer_id.as_str()).collect();
            out.note(
                "listed",
                format!("{} peers: {}", names.len(), names.join(" ")),
            );
            return;
        }
        if state.journey.is_none() {
            let manifest = match &result.manifest {
                Some(manifest) => manifest.clone(),
                None => {
                    let text = "the list has no manifest";
                    return self.give_up(at, swarm, Setback::Unavailable, text, out);
                }
            };
            let wrong = match manifest.check() {
                Ok(()) if manifest.size > MOST_OCTETS => Some("too large".to_owned()),
                checked => checked.err(),
            };
            if let Some(wrong) = wrong {
                let text = format!("the manifest is wrong: {wrong}");
                return self.give_up(at, swarm, Setback::Unavailable, &text, out);
            }
            let held = self.held(swarm, &manifest);
            let state = self.swarm(swarm);
            state.pieces = Some(manifest.pieces.len());
            let journey = Journey::new(&me, manifest, &held);
            let journey = match verifies {
                true => journey,
                false => journey.credulous(),
            };
            state.journey = Some(journey);
            if self.policy.claims_everything {
                self.report(at, swarm, out);
            }
        }
        let state = self.swarm(swarm);
        if let Some(journey) = &mut state.journey {
            journey.learn(holders);
            if std::mem::take(&mut state.forgives) {
                journey.forgive();
            }
        }
        self.advance(at, swarm, out);
    }

    /// The pieces of a content that are already here.
    fn held(&self, swarm: &str, manifest: &Manifest) -> BTreeMap<u32, Bytes> {
        let held = self.serving.shelf.get(swarm);
        let octets = |piece: &ManifestPiece| {
            let octets = held?.octets(Octets::new(piece.first, piece.len)?)?;
            Some((piece.n, octets))
        };
        manifest.pieces.iter().filter_map(octets).collect()
    }

    /// The peers of a list that can be asked at all, on the path the options give; never ourselves.
    fn holders(&mut self, result: &SwarmResult) -> Vec<Holder> {
        let request = self.request_path();
        let own_uri = self.author.sip_uri.clone();
        let mut holders: Vec<Holder> = Vec::new();
        for peer in result.peers.iter().flatten() {
            let Some(cds) = &peer.cds else { continue };
            let sip_uri = cds.sip_uri.clone().filter(|uri| is_fit(uri));
            let usable = match request {
                RequestPath::Ims => sip_uri.is_some() && sip_uri != own_uri,
                RequestPath::Direct => cds.url.is_some() && cds.url != self.author.url,
            };
            if usable && peer.peer_id != self.author.peer_id {
                holders.push(Holder {
                    peer_id: peer.peer_id.clone(),
                    sip_uri,
                    url: cds.url.clone(),
                    pieces: match self.policy.asks_anybody {
                        true => everything(result),
                        false => cds.pieces.clone(),
                    },
                    priority: peer.peer_addr.priority,
                });
            }
        }
        if self.policy.asks_itself {
            holders.push(Holder {
                peer_id: "itself".to_owned(),
                sip_uri: own_uri,
                url: self.author.url.clone(),
                pieces: everything(result),
                priority: i64::MAX,
            });
        }
        if self.policy.ties_at_random {
            self.random.shuffle(&mut holders);
        }
        holders
    }
}

fn everything(result: &SwarmResult) -> Pieces {
    let manifest = result.manifest.as_ref();
    manifest
        .map(|manifest| manifest.numbers())
        .unwrap_or_default()
}

/// Whether a peer's URI may be written into a request line and headers.
fn is_fit(uri: &str) -> bool {
    let clean = uri
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b','));
    clean && Uri::parse(uri).is_ok()
}

/// Whether the tracker says that it does not know the peer.
pub(super) fn is_unknown(response: &Response) -> bool {
    matches!(
        response.error,
        ErrorCode::ForbiddenAction | ErrorCode::AuthenticationRequired
    )
}

/// Our private event package.
const PACKAGE: &str = "p2pcds-peers";

/// The lifetime asked for a subscription, in seconds.
const SUBSCRIBED_FOR: u32 = 3600;

/// 64*T1 with the T1 of Gm (RFC 6665 4.1.2.4; TS 24.229 7.7, second-hand).
const TIMER_N: Duration = Duration::from_secs(128);
