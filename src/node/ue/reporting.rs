//! The last step: how a UE tells the tracker what it holds, by PUBLISH or on Ut, and keeps telling it.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Alarm, Ue,
    asking::{Errand, is_unknown},
    fetching::{retry_after, setback_of},
    journey::Setback,
    publishing::Purpose,
    ut::Outcome,
};
use crate::{
    io::Outbox,
    node::ims_user::Outgoing,
    proto::publication::Published,
    spec::Path,
    time::At,
    wire::{
        ppstp::{MEDIA_TYPE, PeerMode, Request},
        sip::Message,
    },
};

impl Ue {
    /// Tells the tracker what we hold now: a CONNECT if it does not know us, else a STAT_REPORT.
    pub(super) fn report(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        let (document, errand) = self.status_document(swarm);
        match self.status_path() {
            Path::Ims => {
                let set = Purpose::Set(document.to_json());
                self.publisher.want(swarm, set);
                self.publish_next(at, out);
            }
            Path::Ut => {
                if let Some(ut) = &mut self.ut {
                    let ask = ut.send(at, &document, out);
                    self.errands.insert(ask, (swarm.to_owned(), errand));
                }
            }
        }
    }

    fn status_document(&mut self, swarm: &str) -> (Request, Errand) {
        let standing = self.standing(swarm);
        let state = self.swarm(swarm);
        state.has_left = false;
        match state.joined {
            None => {
                let document = self.author.join_as_seeder(swarm, &standing.pieces);
                (document, Errand::Announce)
            }
            Some(_) => {
                let standings = BTreeMap::from([(swarm.to_owned(), standing)]);
                (self.author.report(&standings), Errand::Report)
            }
        }
    }

    /// Leaves a swarm: ends what the tracker knows of us.
    pub(super) fn leave(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        self.break_off(at, swarm, out);
        self.unsubscribe(at, swarm, out);
        let state = self.swarm(swarm);
        state.has_left = true;
        let mode = state.joined.take().unwrap_or(PeerMode::Leech);
        state.goal = None;
        state.journey = None;
        let timers = [state.report.take(), state.republish.take()];
        for timer in timers {
            self.calm(timer, out);
        }
        match self.status_path() {
            Path::Ims if self.publisher.stands(swarm) || self.publisher.is_busy(swarm) => {
                self.publisher.want(swarm, Purpose::Remove);
                self.publish_next(at, out);
            }
            Path::Ims if self.setup.options.peer_list == Path::Ims => {
                let document = self.author.leave(swarm, mode);
                self.publisher.want(swarm, Purpose::Set(document.to_json()));
                self.publish_next(at, out);
            }
            _ => {
                let document = self.author.leave(swarm, mode);
                if let Some(ut) = &mut self.ut {
                    let ask = ut.send(at, &document, out);
                    self.errands.insert(ask, (swarm.to_owned(), Errand::Leave));
                }
            }
        }
    }

    /// Sees to it that a report is made within the period (RFC 7846 2.2).
    pub(super) fn keep_reporting(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        if !self.policy.keeps_reporting {
            return;
        }
        let period = Duration::from_secs(self.policy.report_period);
        let last = self.swarm(swarm).report.take();
        self.calm(last, out);
        let timer = self.wake(at, period, Alarm::Report(swarm.to_owned()), out);
        self.swarm(swarm).report = Some(timer);
    }

    /// The period is over: reports, unless a publication does that already.
    pub(super) fn report_due(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        if self.swarm(swarm).joined.is_none() {
            return;
        }
        self.swarm(swarm).report = None;
        if self.status_path() == Path::Ims && self.publisher.stands(swarm) {
            return;
        }
        self.report(at, swarm, out);
        self.keep_reporting(at, swarm, out);
    }

    /// The end of a report or leave on Ut.
    pub(super) fn report_outcome(
        &mut self,
        at: At,
        swarm: &str,
        errand: Errand,
        outcome: Outcome,
        out: &mut Outbox,
    ) {
        let response = match outcome {
            Outcome::Answered(response) => response,
            Outcome::Failed(why) => return self.report_refused(swarm, why, "no answer", out),
        };
        if errand == Errand::Leave {
            return;
        }
        if response.is_successful() {
            self.report_taken(at, swarm, errand, out);
            return;
        }
        let state = self.swarm(swarm);
        if is_unknown(&response) && errand == Errand::Report && !state.rejoining {
            // The tracker has forgotten us: join anew, once.
            state.rejoining = true;
            state.joined = None;
            return self.report(at, swarm, out);
        }
        let why = match is_unknown(&response) {
            true => Setback::Rejected,
            false => Setback::Unavailable,
        };
        self.report_refused(swarm, why, response.error.name(), out);
    }

    fn report_taken(&mut self, at: At, swarm: &str, errand: Errand, out: &mut Outbox) {
        let state = self.swarm(swarm);
        state.rejoining = false;
        if errand == Errand::Announce {
            state.joined = Some(PeerMode::Seeder);
        }
        self.keep_reporting(at, swarm, out);
    }

    fn report_refused(&mut self, swarm: &str, why: Setback, text: &str, out: &mut Outbox) {
        let word = why.word();
        out.note("refused", format!("{word}: status of {swarm}, {text}"));
    }

    /// Sends the next PUBLISH in line.
    pub(super) fn publish_next(&mut self, at: At, out: &mut Outbox) {
        let target = match self.policy.publishes_to_psi {
            true => self.setup.directory.tracker_psi.clone(),
            false => self.author.sip_uri.clone().unwrap_or_default(),
        };
        let Some(user) = self.user.as_mut().filter(|user| user.is_registered()) else {
            out.note(
                "refused",
                "unavailable: not registered, so nothing is published",
            );
            return;
        };
        let Some(publish) = self.publisher.next() else {
            return;
        };
        let body = publish.document.as_ref();
        let names_tag = self.policy.names_entity_tag;
        let headers = publish.headers.iter().cloned();
        let headers = headers.filter(|(name, _)| names_tag || *name != "SIP-If-Match");
        let what = Outgoing {
            method: "PUBLISH",
            uri: &target,
            headers: headers.collect(),
            body: body.map(|json| (MEDIA_TYPE, json.as_bytes())),
        };
        let (txn, _) = user.originate(at, &what, out);
        self.publishing = Some(txn);
    }

    /// A response to the PUBLISH in flight.
    pub(super) fn publish_answered(&mut self, at: At, response: &Message, out: &mut Outbox) {
        let Some((swarm, published)) = self.publisher.answered(at, response) else {
            return;
        };
        if published != Published::Nothing {
            self.publishing = None;
        }
        match published {
            Published::Held { refresh_at } => {
                let state = self.swarm(&swarm);
                state.rejoining = false;
                if state.joined.is_none() && !state.has_left {
                    state.joined = Some(PeerMode::Seeder);
                    state.by_publication = true;
                }
                if let Some(refresh_at) = refresh_at.filter(|_| !state.has_left) {
                    self.refresh_later(at, &swarm, refresh_at.since(at), out);
                }
            }
            Published::Forgotten => {
                let state = self.swarm(&swarm);
                if state.by_publication {
                    state.joined = None;
                }
                self.report(at, &swarm, out);
            }
            Published::Refused { status } => {
                self.publish_refused(at, &swarm, status, response, out)
            }
            Published::Removed | Published::TooBrief { .. } | Published::Nothing => {}
        }
        self.publish_next_if_any(at, out);
    }

    fn publish_refused(
        &mut self,
        at: At,
        swarm: &str,
        status: u16,
        response: &Message,
        out: &mut Outbox,
    ) {
        let state = self.swarm(swarm);
        if status == 403 && state.joined.is_some() && !state.rejoining {
            // The tracker may have forgotten us: join anew, once.
            state.rejoining = true;
            state.joined = None;
            return self.report(at, swarm, out);
        }
        if let Some(wait) = retry_after(response) {
            self.wake(at, wait, Alarm::Report(swarm.to_owned()), out);
        }
        let why = setback_of(status);
        self.report_refused(swarm, why, &format!("PUBLISH was answered {status}"), out);
    }

    /// No response to the PUBLISH in flight will come.
    pub(super) fn publish_failed(&mut self, at: At, out: &mut Outbox) {
        self.publishing = None;
        if let Some(swarm) = self.publisher.unanswered() {
            self.report_refused(&swarm, Setback::Timeout, "PUBLISH was not answered", out);
        }
        self.publish_next_if_any(at, out);
    }

    fn publish_next_if_any(&mut self, at: At, out: &mut Outbox) {
        if self.publishing.is_none() && self.publisher.has_next() {
            self.publish_next(at, out);
        }
    }

    fn refresh_later(&mut self, at: At, swarm: &str, wait: Duration, out: &mut Outbox) {
        if !self.policy.keeps_reporting {
            return;
        }
        let last = self.swarm(swarm).republish.take();
        self.calm(last, out);
        let timer = self.wake(at, wait, Alarm::Republish(swarm.to_owned()), out);
        self.swarm(swarm).republish = Some(timer);
    }

    /// Keeps a publication alive (RFC 3903 4.1): SIP-If-Match and no body.
    pub(super) fn republish(&mut self, at: At, swarm: &str, out: &mut Outbox) {
        self.swarm(swarm).republish = None;
        if self.is_registered() {
            self.publisher.want(swarm, Purpose::Refresh);
            self.publish_next(at, out);
        }
    }
}

/// Our private event package.
pub(super) const PACKAGE: &str = "p2pcds-status";
