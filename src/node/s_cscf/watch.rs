//! The registration-state event package (RFC 3680; TS 24.229 5.4.2.1, clause not verified): who may watch a
//! registration, and what he is told. Every NOTIFY holds the full state.

use std::fmt::Write;

use super::{
    SCscf, Wake,
    home::canonical,
    users::{Binding, User},
};
use crate::{
    io::Outbox,
    proto::{
        dialog::DialogId,
        endpoint::{ClientTxn, ServerTxn},
        notifier::{Notifier, Offer, Reason},
        publication::{Lifetimes, Rejection},
    },
    random::derive,
    spec::Role,
    time::At,
    wire::sip::{Message, Uri},
};

/// What is kept with a subscription.
#[derive(Clone, Debug)]
pub struct Watched {
    private: String,
    /// The identity that was asked about.
    identity: String,
    /// Of the next document; counts up within a subscription (RFC 3680 5.1).
    version: u32,
    /// Contacts that went since the last NOTIFY, and why.
    gone: Vec<(Binding, Departure)>,
}

/// Why a contact is no longer bound: the `event` of RFC 3680 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The network ended it; the user may register again.
    Deactivated,
    Expired,
    Unregistered,
}

impl Departure {
    fn word(self) -> &'static str {
        match self {
            Departure::Deactivated => "deactivated",
            Departure::Expired => "expired",
            Departure::Unregistered => "unregistered",
        }
    }
}

/// The notifier of this S-CSCF, which is reached at `contact`.
pub fn notifier(contact: &str, seed: u64) -> Notifier<Watched> {
    let offer = Offer {
        event: PACKAGE.to_owned(),
        media_type: MEDIA_TYPE.to_owned(),
        lifetimes: Lifetimes {
            least: 0,
            most: LONGEST,
            usual: USUAL,
        },
        throttle: std::time::Duration::ZERO,
        contact: format!("<{contact}>"),
    };
    Notifier::new(offer, derive(seed, &["reg"]))
}

/// Whether a request asks to watch a registration.
pub fn is_watch(request: &Message) -> bool {
    let event = request.header("Event");
    request.method() == "SUBSCRIBE"
        && event.is_some_and(|event| event.split(';').next().map(str::trim) == Some(PACKAGE))
}

impl SCscf {
    /// SUBSCRIBE to a registration, first or later.
    pub(super) fn watch(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        target: Option<(&str, &str)>,
        out: &mut Outbox,
    ) {
        let accepted = self.accept_watch(at, request, target);
        let response = match accepted {
            Ok(response) => response,
            Err(rejection) => rejection.response(request, &self.tag),
        };
        self.sip.respond(at, txn, response, true, out);
        self.tell_watchers(at, out);
    }

    /// `target` are private and public identity of a first SUBSCRIBE.
    fn accept_watch(
        &mut self,
        at: At,
        request: &Message,
        target: Option<(&str, &str)>,
    ) -> Result<Message, Rejection> {
        let subscribe = self.watches.examine(at, request)?;
        let known = subscribe
            .known
            .as_ref()
            .and_then(|id| self.watches.state(id))
            .cloned();
        let watched = match (known, target) {
            (Some(known), _) => known,
            (None, Some((private, identity))) if self.may_watch(request, private) => Watched {
                private: private.to_owned(),
                identity: identity.to_owned(),
                version: 0,
                gone: Vec::new(),
            },
            (None, Some(_)) => return Err(Rejection::of(403)),
            (None, None) => return Err(Rejection::of(481)),
        };
        let (_, response) = self.watches.accept(at, request, &subscribe, watched)?;
        Ok(response)
    }

    /// The user himself, his P-CSCF, and application servers.
    fn may_watch(&self, request: &Message, private: &str) -> bool {
        let own = self.users.get(private).map(User::associated);
        let own: Vec<String> = own
            .iter()
            .flatten()
            .map(|identity| canonical(identity))
            .collect();
        let asserted = request.addrs("P-Asserted-Identity").unwrap_or_default();
        asserted.iter().any(|asker| {
            let is_server = Uri::parse(&asker.uri).is_ok_and(|uri| {
                matches!(
                    self.home.role_named(&uri),
                    Some(Role::PCscf | Role::Tracker)
                )
            });
            is_server || own.contains(&canonical(&asker.uri))
        })
    }

    /// A registration changed; `gone` are contacts that went.
    pub(super) fn registration_changed(&mut self, private: &str, gone: &[Binding], why: Departure) {
        let watching: Vec<DialogId> = self
            .watches
            .all()
            .filter(|(_, watched)| watched.private == private)
            .map(|(id, _)| id.clone())
            .collect();
        for id in watching {
            if let Some(watched) = self.watches.state_mut(&id) {
                let gone = gone.iter().map(|binding| (binding.clone(), why));
                watched.gone.extend(gone);
            }
            self.watches.changed(&id);
        }
    }

    /// Sends what is due; the last word on a registration that is over ends the subscription.
    pub(super) fn tell_watchers(&mut self, at: At, out: &mut Outbox) {
        for id in self.watches.due(at) {
            let Some(watched) = self.watches.state_mut(&id) else {
                continue;
            };
            let document = document(at, watched, self.users.bindings(&watched.private));
            watched.version += 1;
            watched.gone.clear();
            let over = self.users.bindings(&watched.private).is_empty();
            let hop = self
                .watches
                .next_hop(&id)
                .and_then(|uri| self.home.way_to_node(&Uri::parse(&uri).ok()?));
            let body = Some(document.as_bytes());
            let notify = match over {
                true => self.watches.end(&id, Reason::Noresource, body),
                false => self.watches.notify(at, &id, body),
            };
            match (hop, notify) {
                (Some(hop), Some(notify)) => {
                    let client = self.sip.send(at, hop.on, hop.to, notify, out);
                    self.notified.insert(client, id);
                }
                _ => {
                    self.watches.unanswered(&id);
                }
            }
        }
        self.arm_watch(out);
    }

    /// What became of a NOTIFY; `None`: no answer. Says whether it was one.
    pub(super) fn watcher_answered(
        &mut self,
        at: At,
        client: ClientTxn,
        status: Option<u16>,
        out: &mut Outbox,
    ) -> bool {
        if !self.notified.contains_key(&client) {
            return false;
        }
        if status.is_some_and(|status| status < 200) {
            return true;
        }
        if let Some(id) = self.notified.remove(&client) {
            match status {
                Some(status) => self.watches.answered(&id, status),
                None => self.watches.unanswered(&id),
            };
        }
        self.tell_watchers(at, out);
        true
    }

    fn arm_watch(&mut self, out: &mut Outbox) {
        match (self.watches.next_due(), self.watch_timer) {
            (Some(at), Some(timer)) => out.arm(timer, at),
            (Some(at), None) => {
                let timer = out.wake_at(at);
                self.timers.insert(timer, Wake::Watch);
                self.watch_timer = Some(timer);
            }
            (None, Some(timer)) => {
                out.disarm(timer);
                self.timers.remove(&timer);
                self.watch_timer = None;
            }
            (None, None) => {}
        }
    }
}

/// application/reginfo+xml (RFC 3680 5).
fn document(at: At, watched: &Watched, bindings: &[Binding]) -> String {
    let state = match bindings.is_empty() {
        true => "terminated",
        false => "active",
    };
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"{}\" state=\"full\">\
         <registration aor=\"{}\" id=\"r1\" state=\"{state}\">",
        watched.version,
        escaped(&watched.identity)
    );
    let mut contact = |binding: &Binding, attributes: String| {
        let uri = &binding.contact.uri;
        let id = crate::random::derive(0, &[uri]);
        // Writing to a String cannot fail.
        let _ = write!(
            xml,
            "<contact id=\"c{id:x}\" {attributes}><uri>{}</uri></contact>",
            escaped(uri)
        );
    };
    for binding in bindings {
        let left = binding.until.since(at).as_secs();
        let attributes = format!("state=\"active\" event=\"registered\" expires=\"{left}\"");
        contact(binding, attributes);
    }
    for (binding, why) in &watched.gone {
        contact(
            binding,
            format!("state=\"terminated\" event=\"{}\"", why.word()),
        );
    }
    xml.push_str("</registration></reginfo>");
    xml
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

const PACKAGE: &str = "reg";

const MEDIA_TYPE: &str = "application/reginfo+xml";

/// Seconds granted when none are asked for (RFC 3680 4.4: 3761).
const USUAL: u32 = 3761;

/// A watcher asks for longer than the registration lasts (TS 24.229 5.2.3, second-hand).
const LONGEST: u32 = 1_200_000;
