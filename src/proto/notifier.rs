//! The notifier's half of RFC 6665: subscriptions from the SUBSCRIBE that makes them to the NOTIFY that
//! ends them. It judges and builds messages; its owner sends them, keeps the clock and knows what is
//! told. The subscriber's half is `subscription`. Start at [`Notifier::examine`].

use std::{collections::BTreeMap, time::Duration};

use super::{
    dialog::{Dialog, DialogId},
    publication::{Lifetimes, Rejection, is_media_type, package_of},
};
use crate::{
    random::Random,
    time::At,
    wire::sip::{Builder, Message, reason},
};

/// What a notifier offers.
#[derive(Clone, Debug)]
pub struct Offer {
    pub event: String,
    /// The media type of what it tells.
    pub media_type: String,
    pub lifetimes: Lifetimes,
    /// The least time between two NOTIFYs of a subscription (RFC 6665 4.2.2).
    pub throttle: Duration,
    /// `<sip:203.0.113.40:5060;transport=tcp>`.
    pub contact: String,
}

/// A SUBSCRIBE found in order, not yet accepted.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The subscription it refreshes or ends; `None` for a new one.
    pub known: Option<DialogId>,
    /// Seconds granted; 0 asks for one NOTIFY and no more (RFC 6665 4.4.3).
    pub expires: u32,
}

/// Why a subscription ends (RFC 6665 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Deactivated,
    Noresource,
    Rejected,
    Timeout,
}

impl Reason {
    const fn word(self) -> &'static str {
        match self {
            Reason::Deactivated => "deactivated",
            Reason::Noresource => "noresource",
            Reason::Rejected => "rejected",
            Reason::Timeout => "timeout",
        }
    }
}

/// All subscriptions at one notifier. `T` is what its owner keeps with each.
#[derive(Debug)]
pub struct Notifier<T> {
    offer: Offer,
    random: Random,
    watches: BTreeMap<DialogId, Watch<T>>,
}

#[derive(Debug)]
struct Watch<T> {
    dialog: Dialog,
    /// As the subscriber wrote it: a NOTIFY repeats its `id` (RFC 6665 4.4.1).
    event: String,
    deadline: At,
    told_at: Option<At>,
    /// Something changed since the last NOTIFY.
    is_stale: bool,
    /// A NOTIFY awaits its answer: the next one waits for it, so that none overtakes another.
    is_busy: bool,
    state: T,
}

/// How many subscriptions are held at a time: a bound of ours.
const MOST_WATCHES: usize = 1 << 16;

impl<T> Notifier<T> {
    /// `seed` feeds tags.
    pub fn new(offer: Offer, seed: u64) -> Notifier<T> {
        Notifier {
            offer,
            random: Random::new(seed),
            watches: BTreeMap::new(),
        }
    }

    /// Judges a SUBSCRIBE (RFC 6665 4.2.1). One in order takes its place in its dialog, but nothing else
    /// changes yet: the owner may still refuse it.
    pub fn examine(&mut self, at: At, request: &Message) -> Result<Subscribe, Rejection> {
        let known = DialogId::of_request(request);
        if let Some(id) = &known {
            let watch = self.watches.get_mut(id).filter(|w| w.deadline > at);
            let watch = watch.ok_or_else(|| Rejection::of(481))?;
            let taken = watch.dialog.take(request);
            taken.map_err(|refusal| Rejection::of(refusal.status()))?;
        }
        if package_of(request).as_ref() != Some(&self.offer.event) {
            return Err(Rejection::of(489).with("Allow-Events", &*self.offer.event));
        }
        if !accepts(request, &self.offer.media_type) {
            return Err(Rejection::of(406).with("Accept", &*self.offer.media_type));
        }
        let expires = self.offer.lifetimes.grant(request)?;
        if known.is_none() && self.watches.len() >= MOST_WATCHES {
            return Err(Rejection::of(503).with("Retry-After", "60"));
        }
        Ok(Subscribe { known, expires })
    }

    /// Accepts a SUBSCRIBE that was found in order: the subscription and the 200. A NOTIFY is due at
    /// once (RFC 6665 4.2.1.2): [`Notifier::notify`].
    pub fn accept(
        &mut self,
        at: At,
        request: &Message,
        subscribe: &Subscribe,
        state: T,
    ) -> Result<(DialogId, Message), Rejection> {
        let deadline = at + Duration::from_secs(subscribe.expires.into());
        let id = match &subscribe.known {
            Some(id) => {
                let watch = self.watches.get_mut(id);
                let watch = watch.ok_or_else(|| Rejection::of(481))?;
                watch.deadline = deadline;
                watch.is_stale = true;
                watch.state = state;
                id.clone()
            }
            None => {
                let tag = self.random.token(10);
                let dialog = Dialog::uas(request, &tag).map_err(|_| Rejection::of(400))?;
                let id = dialog.id().clone();
                let watch = Watch {
                    dialog,
                    event: request.header("Event").unwrap_or_default().into_owned(),
                    deadline,
                    told_at: None,
                    is_stale: true,
                    is_busy: false,
                    state,
                };
                self.watches.insert(id.clone(), watch);
                id
            }
        };
        let mut builder = Builder::response(request, 200, reason(200), Some(&id.local_tag));
        for route in request.values("Record-Route") {
            builder = builder.header("Record-Route", &route);
        }
        let response = builder
            .header("Contact", &self.offer.contact)
            .header("Expires", &subscribe.expires.to_string())
            .finish();
        Ok((id, response))
    }

    /// What the owner keeps with a subscription.
    pub fn state(&self, id: &DialogId) -> Option<&T> {
        self.watches.get(id).map(|watch| &watch.state)
    }

    pub fn state_mut(&mut self, id: &DialogId) -> Option<&mut T> {
        self.watches.get_mut(id).map(|watch| &mut watch.state)
    }

    /// Every subscription, with what the owner keeps with it.
    pub fn all(&self) -> impl Iterator<Item = (&DialogId, &T)> {
        self.watches.iter().map(|(id, watch)| (id, &watch.state))
    }

    pub fn len(&self) -> usize {
        self.watches.len()
    }

    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Where requests inside a subscription's dialog go.
    pub fn next_hop(&self, id: &DialogId) -> Option<String> {
        self.watches.get(id).map(|watch| watch.dialog.next_hop())
    }

    /// Says that what a subscription tells of has changed.
    pub fn changed(&mut self, id: &DialogId) {
        if let Some(watch) = self.watches.get_mut(id) {
            watch.is_stale = true;
        }
    }

    /// Subscriptions that are to be told now: changed, not told too lately, nothing under way; or run
    /// out. For each call [`Notifier::notify`].
    pub fn due(&self, at: At) -> Vec<DialogId> {
        let due = |watch: &Watch<T>| self.due_at(watch).is_some_and(|due| due <= at);
        let watches = self.watches.iter().filter(|(_, watch)| due(watch));
        watches.map(|(id, _)| id.clone()).collect()
    }

    /// When `due` may next have something to say.
    pub fn next_due(&self) -> Option<At> {
        self.watches.values().filter_map(|w| self.due_at(w)).min()
    }

    fn due_at(&self, watch: &Watch<T>) -> Option<At> {
        let told = watch
            .told_at
            .map_or(At::ZERO, |at| at + self.offer.throttle);
        match watch.is_stale && !watch.is_busy {
            true => Some(told.min(watch.deadline)),
            false => Some(watch.deadline),
        }
    }

    /// The NOTIFY that tells a subscription its state now: active, or terminated if it has run out, and
    /// then it is gone. `None` if there is no such subscription.
    pub fn notify(&mut self, at: At, id: &DialogId, body: Option<&[u8]>) -> Option<Message> {
        let watch = self.watches.get_mut(id)?;
        if watch.deadline <= at {
            return self.end(id, Reason::Timeout, body);
        }
        watch.told_at = Some(at);
        watch.is_stale = false;
        watch.is_busy = true;
        let left = watch.deadline.since(at).as_secs_f64().ceil() as u64;
        let state = format!("active;expires={left}");
        Some(written(&self.offer, watch, &state, body))
    }

    /// The NOTIFY that ends a subscription, which is gone then.
    pub fn end(&mut self, id: &DialogId, why: Reason, body: Option<&[u8]>) -> Option<Message> {
        let mut watch = self.watches.remove(id)?;
        let state = format!("terminated;reason={}", why.word());
        Some(written(&self.offer, &mut watch, &state, body))
    }

    /// Takes the final response to a NOTIFY; true if it ended the subscription (RFC 6665 4.2.2).
    pub fn answered(&mut self, id: &DialogId, status: u16) -> bool {
        if ENDING.contains(&status) {
            return self.watches.remove(id).is_some();
        }
        if let Some(watch) = self.watches.get_mut(id) {
            watch.is_busy = false;
        }
        false
    }

    /// No final response to a NOTIFY came: the subscription ends (RFC 6665 4.2.2 says it should).
    pub fn unanswered(&mut self, id: &DialogId) -> bool {
        self.watches.remove(id).is_some()
    }
}

fn written<T>(offer: &Offer, watch: &mut Watch<T>, state: &str, body: Option<&[u8]>) -> Message {
    let builder = watch
        .dialog
        .request("NOTIFY")
        .header("Contact", &offer.contact)
        .header("Event", &watch.event)
        .header("Subscription-State", state);
    match body {
        Some(body) => builder.body(&offer.media_type, body).finish(),
        None => builder.finish(),
    }
}

/// Whether a request accepts a media type; without Accept it takes what the package's default is.
fn accepts(request: &Message, media_type: &str) -> bool {
    if !request.has("Accept") {
        return true;
    }
    let (kind, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    let any_of_kind = format!("{kind}/*");
    let fits = |range: &String| {
        let is_refused = range.split(';').skip(1).any(is_zero_quality);
        let names = [media_type, &*any_of_kind, "*/*"];
        !is_refused && names.iter().any(|name| is_media_type(range, name))
    };
    request.values("Accept").iter().any(fits)
}

/// `q=0`, `q=0.000`: not acceptable at all (RFC 3261 20.1).
fn is_zero_quality(param: &str) -> bool {
    match param.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("q") => {
            value.trim().parse() == Ok(0.0f32)
        }
        _ => false,
    }
}

/// Answers to a NOTIFY that end the subscription (RFC 6665 4.2.2).
const ENDING: [u16; 13] = [
    404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604,
];

#[cfg(test)]
mod tests {
    use super::{super::subscription::*, *};

    fn at(seconds: u64) -> At {
        At::ZERO + Duration::from_secs(seconds)
    }

    fn notifier() -> Notifier<&'static str> {
        let offer = Offer {
            event: "p2pcds-peers".to_owned(),
            media_type: "application/ppsp-tracker+json".to_owned(),
            lifetimes: Lifetimes {
                least: 0,
                most: 3600,
                usual: 600,
            },
            throttle: Duration::from_secs(2),
            contact: "<sip:203.0.113.40:5060;transport=tcp>".to_owned(),
        };
        Notifier::new(offer, 1)
    }

    fn subscribe(headers: &[(&str, &str)]) -> Message {
        let builder = Builder::request("SUBSCRIBE", "sip:tracker@p2pcds.ims.example")
            .header("Via", "SIP/2.0/TCP 203.0.113.3:5060;branch=z9hG4bKs")
            .header(
                "Record-Route",
                "<sip:scscf1.ims.example;lr>,<sip:pcscf1.ims.example;lr>",
            )
            .header("From", "<sip:ue-a@ims.example>;tag=sa1")
            .header("To", "<sip:tracker@p2pcds.ims.example>")
            .header("Call-ID", "pl-1")
            .header("CSeq", "1 SUBSCRIBE")
            .header("Contact", "<sip:192.0.2.10:5070>");
        let headers = headers.iter();
        headers
            .fold(builder, |b, (name, value)| b.header(name, value))
            .finish()
    }

    const EVENT: (&str, &str) = ("Event", "p2pcds-peers;id=7");

    fn accepted(
        notifier: &mut Notifier<&'static str>,
        headers: &[(&str, &str)],
    ) -> (DialogId, Message) {
        let request = subscribe(headers);
        let order = notifier.examine(at(0), &request).expect("it is in order");
        notifier
            .accept(at(0), &request, &order, "x")
            .expect("it makes a dialog")
    }

    fn header(message: &Message, name: &str) -> String {
        message.header(name).expect(name).into_owned()
    }

    #[test]
    fn a_subscriber_and_a_notifier_understand_each_other() {
        let mut notifier = notifier();
        let request = subscribe(&[EVENT, ("Expires", "9999")]);
        let mut subscriber = Subscription::new(&request);
        let order = notifier.examine(at(0), &request).expect("it is in order");
        let (id, ok) = notifier
            .accept(at(0), &request, &order, "x")
            .expect("it makes a dialog");
        assert_eq!(
            Answered::Accepted { expires: 3600 },
            subscriber.answered(&ok)
        );
        let notify = notifier
            .notify(at(0), &id, Some(b"{}"))
            .expect("it is subscribed");
        assert_eq!("active;expires=3600", header(&notify, "Subscription-State"));
        assert_eq!("p2pcds-peers;id=7", header(&notify, "Event"));
        assert_eq!(
            vec!["<sip:scscf1.ims.example;lr>", "<sip:pcscf1.ims.example;lr>"],
            notify.values("Route")
        );
        assert_eq!(Some("sip:192.0.2.10:5070"), notify.request_uri());
        assert!(subscriber.owns(&notify));
        assert!(matches!(
            subscriber.notified(at(0), &notify),
            Notified::Fresh { ended: None, .. }
        ));
        let refresh = subscriber
            .refresh(0)
            .expect("it has a dialog")
            .header("Event", "p2pcds-peers")
            .finish();
        let order = notifier.examine(at(9), &refresh).expect("it is in order");
        assert_eq!((Some(&id), 0), (order.known.as_ref(), order.expires));
        notifier
            .accept(at(9), &refresh, &order, "y")
            .expect("it is known");
        let last = notifier.notify(at(9), &id, None).expect("one is due");
        assert_eq!(
            "terminated;reason=timeout",
            header(&last, "Subscription-State")
        );
        assert!(matches!(
            subscriber.notified(at(9), &last),
            Notified::Fresh { ended: Some(_), .. }
        ));
        assert_eq!((true, None), (notifier.is_empty(), notifier.next_due()));
    }

    #[test]
    fn a_subscribe_out_of_order_is_refused() {
        let mut notifier = notifier();
        let mut status = |headers: &[(&str, &str)]| {
            let examined = notifier.examine(at(0), &subscribe(headers));
            examined.map_or_else(|rejection| rejection.status, |_| 200)
        };
        assert_eq!(489, status(&[]));
        assert_eq!(489, status(&[("Event", "presence")]));
        assert_eq!(
            406,
            status(&[
                EVENT,
                ("Accept", "text/plain, application/ppsp-tracker+json;q=0.0")
            ])
        );
        assert_eq!(
            200,
            status(&[EVENT, ("Accept", "text/plain, application/*")])
        );
        assert_eq!(400, status(&[EVENT, ("Expires", "-1")]));
        let stranger = subscribe(&[EVENT])
            .edit()
            .set("To", "<sip:t@x>;tag=no")
            .finish();
        assert_eq!(
            481,
            notifier
                .examine(at(0), &stranger)
                .expect_err("no such dialog")
                .status
        );
    }

    #[test]
    fn a_repeated_cseq_inside_the_dialog_is_refused() {
        let mut notifier = notifier();
        let (id, _) = accepted(&mut notifier, &[EVENT]);
        let to = format!("<sip:tracker@p2pcds.ims.example>;tag={}", id.local_tag);
        let again = subscribe(&[EVENT]).edit().set("To", &to).finish();
        assert_eq!(
            500,
            notifier
                .examine(at(1), &again)
                .expect_err("seen before")
                .status
        );
    }

    #[test]
    fn changes_are_told_no_more_often_than_the_throttle_and_never_two_at_once() {
        let mut notifier = notifier();
        let (id, _) = accepted(&mut notifier, &[EVENT]);
        notifier.notify(at(0), &id, None);
        notifier.changed(&id);
        assert!(notifier.due(at(5)).is_empty());
        assert!(!notifier.answered(&id, 200));
        assert!(notifier.due(at(1)).is_empty());
        assert_eq!(Some(at(2)), notifier.next_due());
        assert_eq!(vec![id.clone()], notifier.due(at(2)));
        notifier.notify(at(2), &id, None);
        notifier.answered(&id, 503);
        assert_eq!(Some(at(600)), notifier.next_due());
        assert_eq!(vec![id.clone()], notifier.due(at(600)));
        let last = notifier.notify(at(600), &id, None).expect("it has run out");
        assert_eq!(
            "terminated;reason=timeout",
            header(&last, "Subscription-State")
        );
    }

    #[test]
    fn some_answers_to_a_notify_end_the_subscription_and_others_do_not() {
        for (status, ends) in [
            (481, true),
            (404, true),
            (485, true),
            (486, false),
            (500, false),
        ] {
            let mut notifier = notifier();
            let (id, _) = accepted(&mut notifier, &[EVENT]);
            notifier.notify(at(0), &id, None);
            assert_eq!(ends, notifier.answered(&id, status), "{status}");
            assert_eq!(ends, notifier.is_empty());
        }
    }
}
