//! Steps 3 and 4 as the UE sees them: piece requests by INVITE with transfer over MSRP, or by HTTP
//! straight to the peer; and the end of a journey.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Alarm, Goal, Ue,
    journey::{Setback, Verification, Want},
};
use crate::{
    io::{OpenSecurity, Outbox, Shape, TimerId},
    node::ims_user::Outgoing,
    proto::{
        dialog::{Dialog, DialogId},
        endpoint::{ClientTxn, Failure, ServerTxn},
        file_transfer::{
            Agreed, Answered, Job, MsrpEvent, MsrpFailure, MsrpSession, Offer, Setup, Wanted,
        },
        http_exchange::{ClientEvent, Exchange, ExchangeFailure},
    },
    spec::{Format, RefPoint, RequestPath},
    time::At,
    wire::{
        http::{ContentRange, Octets, Ranges, Request, Response},
        sdp::{FileSelector, Sdp, Session},
        sip::Message,
    },
};

/// A piece request through IMS, as this node numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallId(u64);

/// One INVITE to one peer, for one piece or several.
#[derive(Debug)]
pub(super) struct Call {
    swarm: String,
    peer_id: String,
    txn: ClientTxn,
    invite: Message,
    offer: Offer,
    lines: Vec<Line>,
    dialog: Option<Dialog>,
    patience: Option<TimerId>,
    /// Given up or over: what still comes is only acknowledged and ended.
    is_over: bool,
    /// The offer that breaks its transfers off, until it is answered.
    farewell: Option<ClientTxn>,
}

/// One media line: one piece.
#[derive(Debug)]
struct Line {
    want: Want,
    session: Option<MsrpSession>,
    idle: Option<TimerId>,
    is_done: bool,
}

impl Call {
    pub(super) fn dialog_id(&self) -> Option<&DialogId> {
        self.dialog.as_ref().map(Dialog::id)
    }

    #[cfg(test)]
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}

/// A piece request over HTTP.
#[derive(Debug)]
pub(super) struct Get {
    swarm: String,
    want: Want,
    redirected: bool,
}

/// Where a URL leads.
struct Place<'a> {
    is_https: bool,
    authority: &'a str,
    host: &'a str,
    port: Option<u16>,
    target: &'a str,
}

impl Ue {
    /// Goes on with a journey: asks for what is missing, finds more peers, or ends it.
    pub(super) fn advance(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        let most = match self.policy.asks_in_parallel {
            true => usize::MAX,
            false => 1,
        };
        let Some(state) = self.swarms.get_mut(swarm) else {
            return;
        };
        let (Some(Goal::Content(shape)), Some(journey)) = (state.goal, &mut state.journey) else {
            return;
        };
        if journey.is_complete() {
            return self.arrive(at, swarm, out);
        }
        let most = match shape {
            Shape::Separate => most,
            Shape::Joint => usize::MAX,
        };
        let setback = journey.setback();
        if !self.policy.looks_elsewhere && journey.has_failed() {
            return self.give_up(at, swarm, setback, "a holder refused", out);
        }
        if !self.policy.replaces_polluted && setback == Setback::Corrupt {
            return self.give_up(at, swarm, setback, "a piece was polluted", out);
        }
        let mut wants = journey.next(at, most);
        if wants.is_empty() && journey.in_flight() == 0 {
            return self.search(at, swarm, out);
        }
        if self.policy.last_piece_first {
            wants.reverse();
        }
        match self.request_path() {
            RequestPath::Ims => {
                for wants in grouped(wants, shape) {
                    self.invite(at, swarm, wants, out);
                }
            }
            RequestPath::Direct => {
                for want in wants {
                    let url = self.url_of(swarm, &want.peer_id);
                    self.get(at, swarm, want, &url, false, out);
                }
            }
        }
    }

    /// Nobody can be asked now: waits for who asked for patience, or asks for a new list, a few times.
    fn search(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        let most_finds = self.policy.most_finds;
        let state = self.swarm(swarm);
        let Some(journey) = &mut state.journey else {
            return;
        };
        if let Some(until) = journey.patient_until().filter(|&until| until > at) {
            if until.since(at) > LONGEST_PATIENCE {
                let text = "a peer asks for more patience than there is";
                return self.give_up(at, swarm, Setback::Unavailable, text, out);
            }
            let alarm = Alarm::Advance(swarm.to_owned());
            self.wake(at, until.since(at), alarm, out);
            return;
        }
        if state.finds < most_finds {
            state.finds += 1;
            let alarm = Alarm::FindAgain(swarm.to_owned());
            self.wake(at, FIND_AFTER, alarm, out);
            return;
        }
        let setback = journey.setback();
        let missing: Vec<String> = journey.missing().iter().map(u32::to_string).collect();
        let text = format!("pieces {} did not come", missing.join(" "));
        self.give_up(at, swarm, setback, &text, out);
    }

    /// Everything is here: joins it, checks it, reports.
    fn arrive(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        let verifies = self.policy.verifies_the_whole;
        let state = self.swarm(swarm);
        let Some(journey) = &state.journey else {
            return;
        };
        if verifies && let Err(wrong) = journey.assemble() {
            // Which piece is wrong nobody knows, so none is kept.
            let numbers: Vec<u32> = journey.manifest().numbers().iter().collect();
            self.serving.shelf.remove(swarm, &numbers);
            return self.give_up(at, swarm, Setback::Corrupt, &wrong, out);
        }
        let digest: String = journey
            .manifest()
            .sha256
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        let size = journey.manifest().size;
        state.goal = None;
        out.note("assembled", format!("sha256={digest} size={size}"));
        if self.policy.unsubscribes_when_done {
            self.unsubscribe(at, swarm, out);
        }
        self.report(at, swarm, out);
    }

    /// Ends a journey without its purpose reached; what is held is reported.
    pub(super) fn give_up(
        &mut self,
        at: At,
        swarm: &str,
        why: Setback,
        text: &str,
        out: &mut Outbox,
    ) {
        let state = self.swarm(swarm);
        if state.goal.take().is_none() {
            return;
        }
        let gained = state.journey.take().is_some() && state.downloaded > 0;
        out.note("gave-up", format!("{}: {swarm}: {text}", why.word()));
        if gained {
            self.report(at, swarm, out);
        }
    }

    /// Tells the journey that wants were refused, and until when their holder wants patience.
    fn refused(&mut self, swarm: &str, wants: &[Want], why: Setback, until: Option<At>) {
        let until = until.filter(|_| self.policy.waits_when_asked);
        if let Some(journey) = self.swarm(swarm).journey.as_mut() {
            for want in wants {
                journey.refused(want.n, &want.peer_id, why, until);
            }
        }
    }

    /// Octets of a piece have come.
    fn delivered(&mut self, swarm: &str, want: &Want, octets: &[u8], out: &mut Outbox) {
        let Some(state) = self.swarms.get_mut(swarm) else {
            return;
        };
        let Some(journey) = &mut state.journey else {
            return;
        };
        state.downloaded += octets.len() as u64;
        match journey.delivered(want.n, &want.peer_id, octets) {
            Verification::Verified => {
                if let Some(octets) = journey.octets(want.n) {
                    let manifest = journey.manifest();
                    self.serving
                        .shelf
                        .put_fetched(swarm, manifest, want.n, octets.clone());
                }
                if !state.peer_used.contains(&want.peer_id) {
                    state.peer_used.push(want.peer_id.clone());
                }
            }
            Verification::Corrupt => {
                let text = format!("piece {} from {}", want.n, want.peer_id);
                out.note("corrupt", text);
            }
        }
    }

    fn broken_off(&mut self, swarm: &str, want: &Want, octets: &[u8]) {
        let resumes = self.policy.resumes;
        let state = self.swarm(swarm);
        state.downloaded += octets.len() as u64;
        if let Some(journey) = &mut state.journey {
            let kept = if resumes { octets } else { &[] };
            journey.broken_off(want.n, &want.peer_id, kept);
        }
    }

    // Through IMS.

    /// Asks one peer for pieces: INVITE with a pull offer (RFC 5547 8.2).
    fn invite(&mut self, at: At, swarm: &str, wants: Vec<Want>, out: &mut Outbox) {
        let Some(peer_id) = wants.first().map(|want| want.peer_id.clone()) else {
            return;
        };
        let state = self.swarms.get(swarm).and_then(|s| s.journey.as_ref());
        let holder = state.and_then(|journey| journey.holder(&peer_id));
        let uri = holder.and_then(|holder| holder.sip_uri.clone());
        let (Some(uri), Some(data), true) = (uri, self.data, self.is_registered()) else {
            self.refused(swarm, &wants, Setback::Unavailable, None);
            return self.give_up(at, swarm, Setback::Unavailable, "not registered", out);
        };
        let selector = self.selector(swarm);
        let shift = u64::from(self.policy.counts_range_from_zero);
        let wanted: Vec<Wanted> = wants
            .iter()
            .filter_map(|want| {
                Some(Wanted {
                    selector: selector.clone(),
                    octets: Octets::new(want.first.saturating_sub(shift), want.len)?,
                })
            })
            .collect();
        let setup = match self.policy.says_setup {
            true => Setup::Active,
            false => Setup::Unsaid,
        };
        let mut offer = Offer::pull(data, &wanted, setup, &mut self.random);
        self.reword(&mut offer);
        let description = offer.session.to_bytes();
        let what = Outgoing {
            method: "INVITE",
            uri: &uri,
            headers: vec![("Accept", SDP_TYPE.to_owned())],
            body: Some((SDP_TYPE, &description)),
        };
        let Some(user) = &mut self.user else { return };
        let (txn, invite) = user.originate(at, &what, out);
        self.next_call += 1;
        let id = CallId(self.next_call);
        let patience = self.wake(at, PATIENCE, Alarm::Patience(id), out);
        let lines = wants.into_iter().map(|want| Line {
            want,
            session: None,
            idle: None,
            is_done: false,
        });
        self.forget_old_calls();
        self.calls.insert(
            id,
            Call {
                swarm: swarm.to_owned(),
                peer_id,
                txn,
                invite,
                offer,
                lines: lines.collect(),
                dialog: None,
                patience: Some(patience),
                is_over: false,
                farewell: None,
            },
        );
    }

    /// Words an offer as the policy has it; canonically as it is.
    fn reword(&self, offer: &mut Offer) {
        for attribute in offer
            .session
            .media
            .iter_mut()
            .flat_map(|m| &mut m.attributes)
        {
            if self.policy.offers_to_send && attribute.name == "recvonly" {
                attribute.name = "sendrecv".to_owned();
            }
        }
        for media in &mut offer.session.media {
            let names_types = self.policy.names_accepted_types;
            media
                .attributes
                .retain(|attribute| names_types || attribute.name != "accept-types");
        }
    }

    /// How the file is named: by name, size and digests of the whole (RFC 5547 6).
    fn selector(&self, swarm: &str) -> FileSelector {
        let journey = self.swarms.get(swarm).and_then(|s| s.journey.as_ref());
        let mut selector = FileSelector {
            name: Some(swarm.to_owned()),
            ..FileSelector::default()
        };
        let Some(journey) = journey else {
            return selector;
        };
        let manifest = journey.manifest();
        selector.size = Some(manifest.size);
        // RFC 5547 6: SHA-1 is present if any digest is.
        if let Some(sha1) = manifest.sha1 {
            selector.hashes.push(("sha-1".to_owned(), sha1.to_vec()));
            if self.policy.selector_has_sha256 {
                let sha256 = manifest.sha256.to_vec();
                selector.hashes.push(("sha-256".to_owned(), sha256));
            }
        }
        selector
    }

    /// Calls that are over are kept a while for late copies of their answers; not for ever.
    fn forget_old_calls(&mut self) {
        let over: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| call.is_over)
            .map(|(&id, _)| id)
            .collect();
        for id in over.iter().take(over.len().saturating_sub(KEPT_CALLS)) {
            self.calls.remove(id);
        }
    }

    /// A response to a request of ours outside REGISTER.
    pub(super) fn response(
        &mut self,
        at: At,
        txn: ClientTxn,
        response: &Message,
        out: &mut Outbox,
    ) {
        if self.publishing == Some(txn) {
            return self.publish_answered(at, response, out);
        }
        if let Some(swarm) = self.subscribing.get(&txn).cloned() {
            if response.status() >= Some(200) {
                self.subscribing.remove(&txn);
            }
            return self.subscribe_answered(at, &swarm, response, out);
        }
        if let Some(id) = self.call_of(txn) {
            self.invite_answered(at, id, response, out);
        } else if let Some(id) = self.farewell_of(txn) {
            self.farewell_answered(at, id, response, out);
        }
    }

    /// No response to a request of ours will come.
    pub(super) fn no_response(&mut self, at: At, txn: ClientTxn, why: Failure, out: &mut Outbox) {
        if self.publishing == Some(txn) {
            return self.publish_failed(at, out);
        }
        if let Some(swarm) = self.subscribing.remove(&txn) {
            return self.subscribe_failed(at, &swarm, out);
        }
        if let Some(id) = self.call_of(txn) {
            let setback = match why {
                Failure::Timeout => Setback::Timeout,
                Failure::Transport => Setback::Unavailable,
            };
            self.call_refused(at, id, setback, None, out);
        } else if let Some(id) = self.farewell_of(txn) {
            self.hang_up(at, id, out);
        }
    }

    fn call_of(&self, txn: ClientTxn) -> Option<CallId> {
        let mut calls = self.calls.iter();
        calls.find(|(_, call)| call.txn == txn).map(|(&id, _)| id)
    }

    fn farewell_of(&self, txn: ClientTxn) -> Option<CallId> {
        let mut calls = self.calls.iter();
        let found = calls.find(|(_, call)| call.farewell == Some(txn));
        found.map(|(&id, _)| id)
    }

    fn invite_answered(&mut self, at: At, id: CallId, response: &Message, out: &mut Outbox) {
        match response.status().unwrap_or_default() {
            ..200 => {}
            200..300 => self.accepted(at, id, response, out),
            status => {
                let until = retry_after(response).map(|wait| at + wait);
                self.call_refused(at, id, setback_of(status), until, out);
            }
        }
    }

    /// The peer will not deliver, or did not answer.
    fn call_refused(
        &mut self,
        at: At,
        id: CallId,
        why: Setback,
        until: Option<At>,
        out: &mut Outbox,
    ) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.is_over) else {
            return;
        };
        call.is_over = true;
        let (swarm, patience) = (call.swarm.clone(), call.patience.take());
        let wants: Vec<Want> = call.lines.iter().map(|line| line.want.clone()).collect();
        self.calm(patience, out);
        self.refused(&swarm, &wants, why, until);
        self.advance(at, &swarm, out);
    }

    /// A 2xx: acknowledged each time it comes (RFC 3261 13.2.2.4); a second peer's is ended.
    fn accepted(&mut self, at: At, id: CallId, response: &Message, out: &mut Outbox) {
        let (Some(call), Some(user)) = (self.calls.get_mut(&id), &mut self.user) else {
            return;
        };
        let Ok(mut dialog) = Dialog::uac(&call.invite, response) else {
            return self.call_refused(at, id, Setback::Unavailable, None, out);
        };
        let seq = call.invite.cseq().map_or(1, |cseq| cseq.number);
        user.acknowledge(at, &dialog, seq, out);
        match &call.dialog {
            Some(known) if known.id() == dialog.id() => return,
            None if !call.is_over => {}
            _ => {
                user.bye(at, &mut dialog, out);
                return;
            }
        }
        call.dialog = Some(dialog);
        let patience = call.patience.take();
        self.calm(patience, out);
        self.begin_transfers(at, id, response.body(), out);
    }

    fn begin_transfers(&mut self, at: At, id: CallId, body: &[u8], out: &mut Outbox) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let swarm = call.swarm.clone();
        let session = Session::of(&Sdp::scan(body.to_vec().into()));
        let judged = session
            .map_err(|malformed| malformed.to_string())
            .and_then(|session| call.offer.judge(&session));
        let answers = match judged {
            Ok(answers) => answers,
            Err(wrong) => {
                let text = format!("the answer of {}: {wrong}", call.peer_id);
                out.note("refused", text);
                vec![Answered::Refused; call.lines.len()]
            }
        };
        let mut refused = Vec::new();
        let mut begun = Vec::new();
        for (number, (line, answer)) in call.lines.iter_mut().zip(answers).enumerate() {
            let accepted = match answer {
                Answered::Accepted { peer, active: true } => Some(peer),
                Answered::Wrong(wrong) => {
                    let text = format!("the answer of {}: {wrong}", line.want.peer_id);
                    out.note("refused", text);
                    None
                }
                Answered::Accepted { .. } | Answered::Refused => None,
            };
            let (Some(peer), Some(leg)) = (accepted, call.offer.legs.get(number)) else {
                line.is_done = true;
                refused.push(line.want.clone());
                continue;
            };
            let length = line.want.len;
            let agreed = Agreed {
                local: leg.local.clone(),
                peer,
                active: true,
                job: Job::Receive { length },
            };
            line.session = Some(self.serving.msrp().begin(at, agreed, out));
            begun.push(number);
        }
        for line in begun {
            self.watch(at, id, line, 0, out);
        }
        self.refused(&swarm, &refused, Setback::Unavailable, None);
        self.end_if_done(at, id, out);
        if !refused.is_empty() {
            self.advance(at, &swarm, out);
        }
    }

    /// Looks after a transfer again in a while.
    fn watch(&mut self, at: At, call: CallId, line: usize, had: usize, out: &mut Outbox) {
        let timer = self.wake(at, IDLE, Alarm::Idle { call, line, had }, out);
        if let Some(line) = self
            .calls
            .get_mut(&call)
            .and_then(|c| c.lines.get_mut(line))
        {
            line.idle = Some(timer);
        }
    }

    /// A transfer was to be looked after: without progress it is given up.
    pub(super) fn idle(&mut self, at: At, id: CallId, line: usize, had: usize, out: &mut Outbox) {
        let session = self
            .calls
            .get(&id)
            .and_then(|call| call.lines.get(line)?.session);
        let Some(session) = session else { return };
        let has = self.serving.msrp().received_so_far(session).len();
        match has > had {
            true => self.watch(at, id, line, has, out),
            false => self.transfer_broke(at, id, line, out),
        }
    }

    fn line_of(&self, session: MsrpSession) -> Option<(CallId, usize)> {
        self.calls.iter().find_map(|(&id, call)| {
            let mut lines = call.lines.iter();
            let line = lines.position(|line| line.session == Some(session))?;
            Some((id, line))
        })
    }

    pub(super) fn msrp_event(&mut self, at: At, event: MsrpEvent, out: &mut Outbox) {
        match event {
            MsrpEvent::Received { session, octets } => {
                let Some((id, line)) = self.line_of(session) else {
                    return self.serving.msrp().end(session, out);
                };
                let Some((swarm, want)) = self.finish_line(id, line, out) else {
                    return;
                };
                self.delivered(&swarm, &want, &octets, out);
                self.end_if_done(at, id, out);
                self.advance(at, &swarm, out);
            }
            MsrpEvent::Failed { session, why } => {
                let Some((id, line)) = self.line_of(session) else {
                    return self.serving.msrp().end(session, out);
                };
                out.note("refused", format!("a transfer: {why}"));
                match why {
                    MsrpFailure::Aborted
                    | MsrpFailure::Incomplete { .. }
                    | MsrpFailure::Lost
                    | MsrpFailure::Silent => self.transfer_broke(at, id, line, out),
                    MsrpFailure::OutOfRange { .. }
                    | MsrpFailure::Refused(_)
                    | MsrpFailure::Unreachable => {
                        let Some((swarm, want)) = self.finish_line(id, line, out) else {
                            return;
                        };
                        self.refused(&swarm, &[want], Setback::Unavailable, None);
                        self.end_if_done(at, id, out);
                        self.advance(at, &swarm, out);
                    }
                }
            }
            MsrpEvent::Sent { session } => self.serving.msrp().end(session, out),
            MsrpEvent::Unreadable { malformed } => {
                out.note("ignored", format!("octets that are no MSRP: {malformed}"));
            }
        }
    }

    /// A transfer stopped half-way: what came may be kept.
    fn transfer_broke(&mut self, at: At, id: CallId, line: usize, out: &mut Outbox) {
        let session = self
            .calls
            .get(&id)
            .and_then(|call| call.lines.get(line)?.session);
        let head = session.map(|session| self.serving.msrp().received_so_far(session));
        let Some((swarm, want)) = self.finish_line(id, line, out) else {
            return;
        };
        self.broken_off(&swarm, &want, &head.unwrap_or_default());
        self.end_if_done(at, id, out);
        self.advance(at, &swarm, out);
    }

    /// Ends the transfer of a line; gives what it was for, unless it was ended before.
    fn finish_line(&mut self, id: CallId, line: usize, out: &mut Outbox) -> Option<(String, Want)> {
        let call = self.calls.get_mut(&id)?;
        let swarm = call.swarm.clone();
        let line = call.lines.get_mut(line).filter(|line| !line.is_done)?;
        line.is_done = true;
        let (want, session, idle) = (line.want.clone(), line.session.take(), line.idle.take());
        if let Some(session) = session {
            self.serving.msrp().end(session, out);
        }
        self.calm(idle, out);
        Some((swarm, want))
    }

    /// BYE, once every line of a call is done.
    fn end_if_done(&mut self, at: At, id: CallId, out: &mut Outbox) {
        let (Some(call), Some(user)) = (self.calls.get_mut(&id), &mut self.user) else {
            return;
        };
        if call.is_over || !call.lines.iter().all(|line| line.is_done) {
            return;
        }
        call.is_over = true;
        if let Some(dialog) = &mut call.dialog {
            user.bye(at, dialog, out);
        }
    }

    /// Breaks off whatever goes on for a swarm: a request without answer is cancelled, a transfer refused.
    pub(super) fn break_off(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        let calls = self.calls.iter();
        let running = calls.filter(|(_, call)| call.swarm == swarm && !call.is_over);
        let running: Vec<CallId> = running.map(|(&id, _)| id).collect();
        for id in running {
            self.break_call_off(at, id, out);
        }
    }

    /// RFC 5547 8.4: what still comes of a transfer gets 413, and an offer with port 0 under the ids that it has closes
    /// its session.
    fn break_call_off(&mut self, at: At, id: CallId, out: &mut Outbox) {
        let (Some(call), Some(user)) = (self.calls.get_mut(&id), &mut self.user) else {
            return;
        };
        call.is_over = true;
        let mut timers = vec![call.patience.take()];
        let Some(dialog) = &mut call.dialog else {
            user.cancel(at, call.txn, out);
            return timers.into_iter().for_each(|timer| self.calm(timer, out));
        };
        let mut offer = call.offer.session.clone();
        offer.origin.version += 1;
        for (line, media) in call.lines.iter_mut().zip(&mut offer.media) {
            timers.push(line.idle.take());
            if let (Some(session), false) = (line.session, line.is_done) {
                line.is_done = true;
                media.port = 0;
                self.serving.msrp().refuse(session, out);
            }
        }
        let description = offer.to_bytes();
        let body = Some((SDP_TYPE, &description[..]));
        let (txn, _) = user.within(at, dialog.request("INVITE"), body, out);
        call.farewell = Some(txn);
        timers.into_iter().for_each(|timer| self.calm(timer, out));
    }

    /// The answer to an offer that breaks off: nothing is left to be done in the call.
    fn farewell_answered(&mut self, at: At, id: CallId, response: &Message, out: &mut Outbox) {
        let (Some(call), Some(user)) = (self.calls.get(&id), &mut self.user) else {
            return;
        };
        match response.status().unwrap_or_default() {
            ..200 => return,
            200..300 => {
                let seq = response.cseq().map_or(1, |cseq| cseq.number);
                if let Some(dialog) = &call.dialog {
                    user.acknowledge(at, dialog, seq, out);
                }
            }
            _ => {}
        }
        self.hang_up(at, id, out);
    }

    /// Ends a call whose transfers are broken off.
    fn hang_up(&mut self, at: At, id: CallId, out: &mut Outbox) {
        self.end_sessions(id, out);
        let (Some(call), Some(user)) = (self.calls.get_mut(&id), &mut self.user) else {
            return;
        };
        call.farewell = None;
        if let Some(dialog) = &mut call.dialog {
            user.bye(at, dialog, out);
        }
    }

    fn end_sessions(&mut self, id: CallId, out: &mut Outbox) {
        let lines = self
            .calls
            .get_mut(&id)
            .into_iter()
            .flat_map(|c| &mut c.lines);
        let sessions: Vec<MsrpSession> = lines.filter_map(|line| line.session.take()).collect();
        for session in sessions {
            self.serving.msrp().end(session, out);
        }
    }

    /// A request inside a call of ours.
    pub(super) fn called(
        &mut self,
        at: At,
        id: CallId,
        txn: ServerTxn,
        request: &Message,
        out: &mut Outbox,
    ) {
        let (Some(call), Some(user)) = (self.calls.get_mut(&id), &mut self.user) else {
            return;
        };
        let taken = call.dialog.as_mut().map(|dialog| dialog.take(request));
        match (taken, request.method()) {
            (Some(Err(refusal)), _) => user.refuse(at, txn, refusal.status(), out),
            (_, "BYE") if call.farewell.take().is_some() => {
                user.refuse(at, txn, 200, out);
                self.end_sessions(id, out);
            }
            (_, "BYE") if !call.is_over => {
                user.refuse(at, txn, 200, out);
                call.is_over = true;
                let lines = call.lines.len();
                for line in 0..lines {
                    self.transfer_broke(at, id, line, out);
                }
            }
            // The session is over for us, or is not to be changed (RFC 3261 14.2).
            (_, "BYE") => user.refuse(at, txn, 481, out),
            _ => user.refuse(at, txn, 488, out),
        }
    }

    /// No final answer came in time: cancels, and turns elsewhere.
    pub(super) fn lose_patience(&mut self, at: At, id: CallId, out: &mut Outbox) {
        let (Some(call), Some(user)) = (self.calls.get_mut(&id), &mut self.user) else {
            return;
        };
        user.cancel(at, call.txn, out);
        call.patience = None;
        self.call_refused(at, id, Setback::Timeout, None, out);
    }

    // Straight to the peer.

    fn url_of(&self, swarm: &str, peer_id: &str) -> String {
        let journey = self.swarms.get(swarm).and_then(|s| s.journey.as_ref());
        let holder = journey.and_then(|journey| journey.holder(peer_id));
        holder.and_then(|h| h.url.clone()).unwrap_or_default()
    }

    /// GET with Range (RFC 9110 14.2).
    fn get(
        &mut self,
        at: At,
        swarm: &str,
        want: Want,
        url: &str,
        redirected: bool,
        out: &mut Outbox,
    ) {
        let place = Place::of(url);
        let to = place.as_ref().and_then(|place| {
            let directory = &self.setup.directory;
            let port = place
                .port
                .or(match directory.owner(place.host, place.port) {
                    Some(_) if place.host.parse::<std::net::IpAddr>().is_err() => None,
                    _ => Some(if place.is_https { 443 } else { 80 }),
                });
            directory.resolve(place.host, port, RefPoint::Data, Format::Http)
        });
        let octets = Octets::new(want.first, want.len);
        let (Some(place), Some(to), Some(octets)) = (place, to, octets) else {
            out.note("refused", format!("the URL {url:?} leads nowhere"));
            self.refused(swarm, &[want], Setback::Unavailable, None);
            return self.advance(at, swarm, out);
        };
        let request = Request::build("GET", place.target)
            .header("Host", place.authority)
            .header("Range", &Ranges::one(octets).to_string())
            .header("Accept", "application/octet-stream")
            .finish();
        let security = match place.is_https {
            true => self.setup.protected(None),
            false => OpenSecurity::Plain,
        };
        let limit = Some(GET_LIMIT);
        let exchange = self
            .http
            .send(at, RefPoint::Data, to, security, request, limit, out);
        self.gets.insert(
            exchange,
            Get {
                swarm: swarm.to_owned(),
                want,
                redirected,
            },
        );
    }

    pub(super) fn http_event(&mut self, at: At, event: ClientEvent, out: &mut Outbox) {
        match event {
            ClientEvent::Response { exchange, response } => {
                if let Some(get) = self.gets.remove(&exchange) {
                    self.got(at, get, &response, out);
                }
            }
            ClientEvent::Failed { exchange, why } => self.get_failed(at, exchange, &why, out),
        }
    }

    fn get_failed(&mut self, at: At, exchange: Exchange, why: &ExchangeFailure, out: &mut Outbox) {
        let Some(get) = self.gets.remove(&exchange) else {
            return;
        };
        let setback = match why {
            ExchangeFailure::Silent => Setback::Timeout,
            _ => Setback::Unavailable,
        };
        self.refused(&get.swarm, &[get.want], setback, None);
        self.advance(at, &get.swarm, out);
    }

    fn got(&mut self, at: At, get: Get, response: &Response, out: &mut Outbox) {
        let status = response.status();
        if matches!(status, 301 | 302 | 303 | 307 | 308) && !get.redirected {
            let location = response.header("Location").unwrap_or_default().to_owned();
            return self.get(at, &get.swarm, get.want, &location, true, out);
        }
        let size = self.size_of(&get.swarm);
        let octets = match self.policy.checks_content_range {
            true => octets_of(response, &get.want, size),
            false => Ok(response.body().into_owned()),
        };
        match octets {
            Ok(octets) => self.delivered(&get.swarm, &get.want, &octets, out),
            Err(wrong) => {
                let peer = &get.want.peer_id;
                out.note("refused", format!("the answer of {peer}: {wrong}"));
                let wait = response.header("Retry-After");
                let wait = wait.and_then(|text| text.trim().parse::<u32>().ok());
                let until = wait.map(|wait| at + Duration::from_secs(wait.into()));
                let why = setback_of(status);
                self.refused(&get.swarm, std::slice::from_ref(&get.want), why, until);
            }
        }
        self.advance(at, &get.swarm, out);
    }

    fn size_of(&self, swarm: &str) -> u64 {
        let journey = self.swarms.get(swarm).and_then(|s| s.journey.as_ref());
        journey.map_or(0, |journey| journey.manifest().size)
    }
}

/// The octets wanted out of a response: 206 with exactly them, or 200 with the whole content
/// (RFC 9110 14.2: a server may ignore Range).
fn octets_of(response: &Response, want: &Want, size: u64) -> Result<Vec<u8>, String> {
    let wanted = Octets::new(want.first, want.len);
    let body = response.body_bytes();
    match response.status() {
        200 if body.len() as u64 == size => {
            let cut = wanted.and_then(|octets| octets.of(&body));
            cut.map(|octets| octets.to_vec())
                .ok_or_else(|| "200 with too little".to_owned())
        }
        200 => Err(format!("200 with {} octets, expected {size}", body.len())),
        206 => {
            let text = response.header("Content-Range").unwrap_or("none");
            let range = ContentRange::parse(text).map_err(|malformed| malformed.to_string())?;
            let fits = range.octets == wanted && range.size.is_none_or(|said| said == size);
            if !fits || body.len() as u64 != want.len {
                return Err(format!("206 with {} octets of {text}", body.len()));
            }
            Ok(body.to_vec())
        }
        status => Err(format!("status {status}")),
    }
}

/// What a final status means for whoever asked.
pub(super) fn setback_of(status: u16) -> Setback {
    match status {
        401 | 403 | 407 => Setback::Rejected,
        408 | 504 => Setback::Timeout,
        _ => Setback::Unavailable,
    }
}

/// Wants by request: one each, or one a peer.
fn grouped(wants: Vec<Want>, shape: Shape) -> Vec<Vec<Want>> {
    match shape {
        Shape::Separate => wants.into_iter().map(|want| vec![want]).collect(),
        Shape::Joint => {
            let mut peers: BTreeMap<String, Vec<Want>> = BTreeMap::new();
            for want in wants {
                peers.entry(want.peer_id.clone()).or_default().push(want);
            }
            peers.into_values().collect()
        }
    }
}

impl Place<'_> {
    fn of(url: &str) -> Option<Place<'_>> {
        let (is_https, rest) = match url.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, url.strip_prefix("http://")?),
        };
        let (authority, target) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        // An IPv6 literal has colons of its own, in brackets.
        let after_host = authority.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match authority[after_host..].rfind(':') {
            Some(at) => {
                let (host, port) = authority.split_at(after_host + at);
                (host, Some(port[1..].parse().ok()?))
            }
            None => (authority, None),
        };
        (!host.is_empty()).then_some(Place {
            is_https,
            authority,
            host: host.trim_matches(['[', ']']),
            port,
            target,
        })
    }
}

/// How long to wait before asking again; a comment or parameters may follow (RFC 3261 20.33).
pub(super) fn retry_after(response: &Message) -> Option<Duration> {
    let value = response.header("Retry-After")?;
    let digits = value.split(|c: char| !c.is_ascii_digit()).next()?;
    let seconds: u32 = digits.parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

const SDP_TYPE: &str = "application/sdp";

/// How long an INVITE may go without a final answer before it is cancelled.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a transfer may go without progress.
const IDLE: Duration = Duration::from_secs(10);

/// How long a piece may take over HTTP.
const GET_LIMIT: Duration = Duration::from_secs(20);

/// The longest Retry-After that is waited for.
const LONGEST_PATIENCE: Duration = Duration::from_secs(120);

/// How long to wait before the list is asked for anew.
const FIND_AFTER: Duration = Duration::from_secs(1);

/// Calls that are over and still known.
const KEPT_CALLS: usize = 32;
