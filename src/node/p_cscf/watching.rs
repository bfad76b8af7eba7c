//! The registration state of users, as their registrar tells it (TS 24.229 5.2.3, read second-hand; RFC 3680): the
//! network may end a registration that no REGISTER of the user's ended.

use std::collections::BTreeMap;

use super::PCscf;
use crate::{
    io::{Outbox, TimerId},
    node::{ims_user::read_registration, policy::Watching},
    proto::{
        endpoint::{ClientTxn, ServerTxn},
        subscription::{Answered, Notified, Subscription},
    },
    spec::{Format, RefPoint, Role},
    time::At,
    wire::sip::{Builder, Message, reason},
};

/// Subscriptions by the default public identity of the user.
#[derive(Debug, Default)]
pub(super) struct Watches(BTreeMap<String, Watch>);

#[derive(Debug)]
struct Watch {
    subscription: Subscription,
    txn: ClientTxn,
    renewal: Option<TimerId>,
    /// Of the last document taken; older ones are passed over (RFC 3680 5.1).
    version: Option<u32>,
    /// Seconds that are asked for.
    expires: u32,
}

impl PCscf {
    /// Subscribes to the state of whoever registered just now, unless it does already.
    pub(super) fn watch_registered(&mut self, at: At, register: &Message, out: &mut Outbox) {
        let contacts = register.addrs("Contact").unwrap_or_default();
        for contact in contacts {
            let Some(user) = self.users.get(at, &contact.uri) else {
                continue;
            };
            let left = user.until.since(at).as_secs();
            let Some(identity) = user.identities.first().cloned() else {
                continue;
            };
            let is_wanted = match self.policy.watches {
                Watching::Everybody => true,
                Watching::First => self.watches.0.is_empty(),
                Watching::Nobody => false,
            };
            if is_wanted && !self.watches.0.contains_key(&identity) {
                // Longer than the registration, so that its end is told (TS 24.229 5.2.3, second-hand).
                let expires = u32::try_from(left)
                    .unwrap_or(u32::MAX)
                    .saturating_add(LONGER);
                self.begin_watch(at, &identity, expires, out);
            }
        }
    }

    fn begin_watch(&mut self, at: At, identity: &str, expires: u32, out: &mut Outbox) {
        let (tag, call, icid) = (self.random.token(16), self.random.token(16), self.icid());
        let ours = format!("sip:{}", self.host);
        let subscribe = Builder::request("SUBSCRIBE", identity)
            .header("Max-Forwards", "70")
            .header("From", &format!("<{ours}>;tag={tag}"))
            .header("To", &format!("<{identity}>"))
            .header("Call-ID", &call)
            .header("CSeq", "1 SUBSCRIBE")
            .header("Contact", &self.watcher())
            .header("Event", PACKAGE)
            .header("Accept", MEDIA_TYPE)
            .header("Expires", &expires.to_string())
            .header("P-Asserted-Identity", &format!("<{ours}>"))
            .header("P-Charging-Vector", &icid.header)
            .finish();
        let subscription = Subscription::new(&subscribe);
        if let Some(txn) = self.send_to_home(at, subscribe, out) {
            let watch = Watch {
                subscription,
                txn,
                renewal: None,
                version: None,
                expires,
            };
            self.watches.0.insert(identity.to_owned(), watch);
        }
    }

    /// By its route, or to the I-CSCF if it has none yet.
    fn send_to_home(&mut self, at: At, request: Message, out: &mut Outbox) -> Option<ClientTxn> {
        let routes = request.addrs("Route").unwrap_or_default();
        let inside = request.to().is_ok_and(|to| to.tag().is_some());
        let to = match (inside, routes.first()) {
            (false, _) => {
                let (i_cscf, _) = self.directory.first(Role::ICscf)?;
                self.directory
                    .listener(i_cscf.as_str(), RefPoint::Mw, Format::Sip)?
            }
            (true, first) => {
                let first: Vec<String> = first.map(|route| route.uri.clone()).into_iter().collect();
                self.next_hop(&first, &request, RefPoint::Mw).ok()?
            }
        };
        Some(self.sip.send(at, RefPoint::Mw, to, request, out))
    }

    fn watcher(&self) -> String {
        format!("<sip:{}:{}>", self.host, self.mw_port)
    }

    fn watched_by(&self, txn: ClientTxn) -> Option<String> {
        let mut watches = self.watches.0.iter();
        let found = watches.find(|(_, watch)| watch.txn == txn);
        found.map(|(identity, _)| identity.clone())
    }

    /// Takes the answer to a SUBSCRIBE of ours, or its absence.
    pub(super) fn watch_answered(
        &mut self,
        txn: ClientTxn,
        response: Option<&Message>,
        out: &mut Outbox,
    ) {
        let Some(identity) = self.watched_by(txn) else {
            return;
        };
        let Some(watch) = self.watches.0.get_mut(&identity) else {
            return;
        };
        let answered = response.map(|response| watch.subscription.answered(response));
        if matches!(answered, None | Some(Answered::Refused { ended: true, .. })) {
            self.end_watch(&identity, out);
        }
    }

    fn end_watch(&mut self, identity: &str, out: &mut Outbox) {
        let ended = self.watches.0.remove(identity);
        if let Some(renewal) = ended.and_then(|watch| watch.renewal) {
            out.disarm(renewal);
        }
    }

    /// Takes a timer if it is time to subscribe again.
    pub(super) fn renew_watch(&mut self, at: At, timer: TimerId, out: &mut Outbox) -> bool {
        let mut watches = self.watches.0.iter();
        let due = watches.find(|(_, watch)| watch.renewal == Some(timer));
        let Some(identity) = due.map(|(identity, _)| identity.clone()) else {
            return false;
        };
        let begun = self.watches.0.get_mut(&identity).and_then(|watch| {
            watch.renewal = None;
            watch.subscription.refresh(watch.expires)
        });
        let Some(begun) = begun else { return true };
        let request = begun
            .header("Accept", MEDIA_TYPE)
            .header("Contact", &self.watcher())
            .finish();
        if let Some(watch) = self.watches.0.get_mut(&identity) {
            watch.subscription.sent(&request);
        }
        if let Some(txn) = self.send_to_home(at, request, out)
            && let Some(watch) = self.watches.0.get_mut(&identity)
        {
            watch.txn = txn;
        }
        true
    }

    /// Takes a NOTIFY of a subscription of ours; contacts it says to be gone are gone.
    pub(super) fn registration_told(
        &mut self,
        at: At,
        txn: ServerTxn,
        notify: &Message,
        out: &mut Outbox,
    ) -> bool {
        let mut watches = self.watches.0.iter();
        let told = watches.find(|(_, watch)| watch.subscription.owns(notify));
        let Some(identity) = told.map(|(identity, _)| identity.clone()) else {
            return false;
        };
        let Some(watch) = self.watches.0.get_mut(&identity) else {
            return false;
        };
        let (status, ended) = match watch.subscription.speaks_of_package(notify) {
            false => (489, false),
            true => match watch.subscription.notified(at, notify) {
                Notified::Refused(status) => (status, false),
                Notified::Fresh { refresh_at, ended } => {
                    if let Some(renewal) = watch.renewal.take() {
                        out.disarm(renewal);
                    }
                    watch.renewal = refresh_at.map(|at| out.wake_at(at));
                    (200, ended.is_some())
                }
            },
        };
        let answer = Builder::response(notify, status, reason(status), None).finish();
        self.sip.respond(at, txn, answer, false, out);
        if status == 200 {
            self.forget_gone(&identity, notify, out);
        }
        if ended {
            self.end_watch(&identity, out);
        }
        true
    }

    fn forget_gone(&mut self, identity: &str, notify: &Message, out: &mut Outbox) {
        for contact in self.users.contacts_of(identity) {
            let Some(told) = read_registration(notify.body(), &contact) else {
                return;
            };
            let Some(watch) = self.watches.0.get_mut(identity) else {
                return;
            };
            if watch.version.is_some_and(|seen| told.version < seen) {
                return;
            }
            watch.version = Some(told.version);
            if told.is_over {
                out.note("deregistered", format!("{contact}, by the network"));
                self.users.remove(&contact);
                self.dialogs.forget_all_of(&contact);
            }
        }
    }
}

const PACKAGE: &str = "reg";

const MEDIA_TYPE: &str = "application/reginfo+xml";

/// Seconds by which a subscription is longer than the registration.
const LONGER: u32 = 600;
