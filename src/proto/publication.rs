//! RFC 3903, both ends: the event publication agent that keeps a piece of state alive at a server, and
//! the event state compositor that holds it. Neither knows what the state is, nor who sends messages.
//! Start at [`Publication`] and [`Compositor`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::subscription::refresh_after;
use crate::{
    random::Random,
    time::At,
    wire::sip::{Builder, Message, Uri, reason},
};

/// The four things a PUBLISH can do (RFC 3903 4.1, Table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Body, no SIP-If-Match.
    Initial,
    /// SIP-If-Match, no body.
    Refresh,
    /// SIP-If-Match and body.
    Modify,
    /// SIP-If-Match, no body, Expires 0.
    Remove,
}

/// What a response to a PUBLISH means for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The state is held. `refresh_at` is `None` if the server gave no entity tag: then it cannot be
    /// refreshed, modified or removed.
    Held {
        refresh_at: Option<At>,
    },
    Removed,
    /// 423: ask again for at least that many seconds.
    TooBrief {
        least: u32,
    },
    /// 412: the server knows no such state; publish anew (RFC 3903 5).
    Forgotten,
    Refused {
        status: u16,
    },
    /// Provisional: nothing yet.
    Nothing,
}

/// One publication of ours: the event publication agent (RFC 3903 4).
#[derive(Clone, Debug)]
pub struct Publication {
    event: String,
    etag: Option<String>,
    /// At most one PUBLISH to a Request-URI is under way (RFC 3903 4).
    pending: Option<Operation>,
    asked: u32,
}

impl Publication {
    pub fn new(event: &str) -> Publication {
        Publication {
            event: event.to_owned(),
            etag: None,
            pending: None,
            asked: 0,
        }
    }

    /// Whether the server holds our state, as far as we know.
    pub fn is_held(&self) -> bool {
        self.etag.is_some()
    }

    /// Whether a PUBLISH awaits its answer; none may be begun meanwhile.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The headers of a PUBLISH with a body, for `expires` seconds: initial, or a modification. `None`
    /// while another is under way.
    pub fn publish(&mut self, expires: u32) -> Option<Vec<(&'static str, String)>> {
        let operation = match self.etag {
            None => Operation::Initial,
            Some(_) => Operation::Modify,
        };
        self.begin(operation, expires)
    }

    /// The headers of a PUBLISH without a body that keeps the state alive. `None` if there is none, or
    /// another is under way.
    pub fn refresh(&mut self, expires: u32) -> Option<Vec<(&'static str, String)>> {
        self.etag.as_ref()?;
        self.begin(Operation::Refresh, expires)
    }

    /// The headers of a PUBLISH without a body that ends it. `None` as for `refresh`.
    pub fn remove(&mut self) -> Option<Vec<(&'static str, String)>> {
        self.etag.as_ref()?;
        self.begin(Operation::Remove, 0)
    }

    /// Takes the response to the PUBLISH under way.
    pub fn answered(&mut self, at: At, response: &Message) -> Published {
        let status = response.status().unwrap_or_default();
        if status < 200 {
            return Published::Nothing;
        }
        let operation = self.pending.take();
        match status {
            200..300 if operation == Some(Operation::Remove) => {
                self.etag = None;
                Published::Removed
            }
            200..300 => self.held(at, response),
            412 => {
                self.etag = None;
                Published::Forgotten
            }
            423 => match response.number("Min-Expires") {
                Ok(Some(least)) if least > self.asked => Published::TooBrief { least },
                _ => Published::Refused { status },
            },
            _ => Published::Refused { status },
        }
    }

    /// The PUBLISH under way got no answer: what the server holds is unknown, and kept as it was.
    pub fn unanswered(&mut self) {
        self.pending = None;
    }

    /// The state has run out at the server.
    pub fn lose(&mut self) {
        self.etag = None;
    }

    fn begin(&mut self, operation: Operation, expires: u32) -> Option<Vec<(&'static str, String)>> {
        if self.pending.is_some() {
            return None;
        }
        self.pending = Some(operation);
        self.asked = expires;
        let mut headers = vec![
            ("Event", self.event.clone()),
            ("Expires", expires.to_string()),
        ];
        if let Some(etag) = &self.etag {
            headers.push(("SIP-If-Match", etag.clone()));
        }
        Some(headers)
    }

    fn held(&mut self, at: At, response: &Message) -> Published {
        self.etag = response
            .header("SIP-ETag")
            .map(|etag| etag.trim().to_owned())
            .filter(|etag| !etag.is_empty());
        let granted = response.number("Expires").ok().flatten();
        let lifetime = Duration::from_secs(granted.unwrap_or(self.asked).into());
        let refresh_at = at + refresh_after(lifetime);
        Published::Held {
            refresh_at: self.etag.is_some().then_some(refresh_at),
        }
    }
}

/// A request that is not taken: the status to answer with, and the headers that say more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
}

impl Rejection {
    pub fn of(status: u16) -> Rejection {
        Rejection {
            status,
            headers: Vec::new(),
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Rejection {
        self.headers.push((name, value.into()));
        self
    }

    /// The response; `tag` goes on To if the request has none there.
    pub fn response(&self, request: &Message, tag: &str) -> Message {
        let builder = Builder::response(request, self.status, reason(self.status), Some(tag));
        let headers = self.headers.iter();
        headers
            .fold(builder, |builder, (name, value)| {
                builder.header(name, value)
            })
            .finish()
    }
}

/// How long state may be held, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// What is asked for below that is refused with 423; 0 refuses nothing.
    pub least: u32,
    /// What is asked for above that is shortened.
    pub most: u32,
    /// Granted when nothing is asked for.
    pub usual: u32,
}

impl Lifetimes {
    /// What is granted to a request: never more than it asks for (RFC 3903 4.2, RFC 6665 4.2.1.1).
    pub fn grant(&self, request: &Message) -> Result<u32, Rejection> {
        let asked = request
            .number("Expires")
            .map_err(|_| Rejection::of(400).with("Warning", "399 - \"Expires is no number\""))?;
        match asked {
            None => Ok(self.usual.min(self.most)),
            Some(0) => Ok(0),
            Some(asked) if asked < self.least => {
                Err(Rejection::of(423).with("Min-Expires", self.least.to_string()))
            }
            Some(asked) => Ok(asked.min(self.most)),
        }
    }
}

/// A PUBLISH found in order, not yet carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub operation: Operation,
    /// The Request-URI without parameters: whose state it is (RFC 3903 4).
    pub resource: String,
    pub event: String,
    /// Seconds granted.
    pub expires: u32,
    /// The entity tag it names.
    etag: Option<String>,
}

/// What a carried out PUBLISH is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub etag: String,
    /// Seconds.
    pub expires: u32,
}

impl Granted {
    /// 200 with SIP-ETag and Expires (RFC 3903 6 step 6).
    pub fn response(&self, request: &Message, tag: &str) -> Message {
        Builder::response(request, 200, reason(200), Some(tag))
            .header("SIP-ETag", &self.etag)
            .header("Expires", &self.expires.to_string())
            .finish()
    }
}

/// Holds published state until it runs out: the event state compositor (RFC 3903 6). `T` is whatever
/// its owner makes of a body.
#[derive(Debug)]
pub struct Compositor<T> {
    event: String,
    media_type: String,
    lifetimes: Lifetimes,
    random: Random,
    /// Numbers entity tags, so that none is ever used twice (RFC 3903 4.1).
    issued: u64,
    /// By entity tag.
    entries: BTreeMap<String, Entry<T>>,
    deadlines: BTreeSet<(At, String)>,
}

#[derive(Debug)]
struct Entry<T> {
    resource: String,
    deadline: At,
    state: T,
}

/// How many publications are held at a time: a bound of ours.
const MOST_ENTRIES: usize = 1 << 16;

impl<T> Compositor<T> {
    /// Holds state of one event package, written in one media type.
    pub fn new(event: &str, media_type: &str, lifetimes: Lifetimes, seed: u64) -> Compositor<T> {
        Compositor {
            event: event.to_owned(),
            media_type: media_type.to_owned(),
            lifetimes,
            random: Random::new(seed),
            issued: 0,
            entries: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Judges a PUBLISH in the order of RFC 3903 6, from step 2. Nothing is changed: the owner may still
    /// refuse it for its body, and a PUBLISH is carried out whole or not at all.
    pub fn examine(&self, at: At, request: &Message) -> Result<Publish, Rejection> {
        let event = package_of(request).unwrap_or_default();
        if event != self.event {
            return Err(Rejection::of(489).with("Allow-Events", &*self.event));
        }
        let resource = resource_of(request);
        let etag = self.precondition(at, request, &resource)?;
        let expires = self.lifetimes.grant(request)?;
        let has_body = !request.body().is_empty();
        let operation = match (&etag, expires) {
            (None, 0) => Operation::Remove,
            (None, _) if !has_body => {
                let why = "399 - \"an initial PUBLISH has a body\"";
                return Err(Rejection::of(400).with("Warning", why));
            }
            (None, _) => Operation::Initial,
            (Some(_), 0) => Operation::Remove,
            (Some(_), _) if has_body => Operation::Modify,
            (Some(_), _) => Operation::Refresh,
        };
        if has_body && operation != Operation::Remove {
            self.check_body(request)?;
        }
        if operation == Operation::Initial && self.entries.len() >= MOST_ENTRIES {
            return Err(Rejection::of(503).with("Retry-After", "60"));
        }
        Ok(Publish {
            operation,
            resource,
            event,
            expires,
            etag,
        })
    }

    /// The state that a PUBLISH in order refers to; none for an initial one.
    pub fn state(&self, publish: &Publish) -> Option<&T> {
        let entry = self.entries.get(publish.etag.as_ref()?)?;
        Some(&entry.state)
    }

    /// Carries out a PUBLISH that was found in order and is no removal: `state` takes the place of what
    /// it refers to.
    pub fn commit(&mut self, at: At, publish: &Publish, state: T) -> Granted {
        self.withdraw(publish);
        let granted = self.grant(publish.expires);
        let deadline = at + Duration::from_secs(publish.expires.into());
        self.deadlines.insert((deadline, granted.etag.clone()));
        let entry = Entry {
            resource: publish.resource.clone(),
            deadline,
            state,
        };
        self.entries.insert(granted.etag.clone(), entry);
        granted
    }

    /// Carries out a removal: takes away what it refers to, if anything.
    pub fn remove(&mut self, publish: &Publish) -> (Option<T>, Granted) {
        (self.withdraw(publish), self.grant(0))
    }

    /// Takes away the state that a PUBLISH refers to.
    pub fn withdraw(&mut self, publish: &Publish) -> Option<T> {
        let etag = publish.etag.as_ref()?;
        let entry = self.entries.remove(etag)?;
        self.deadlines.remove(&(entry.deadline, etag.clone()));
        Some(entry.state)
    }

    /// A fresh entity tag.
    fn grant(&mut self, expires: u32) -> Granted {
        self.issued += 1;
        Granted {
            etag: format!("{:x}-{}", self.issued, self.random.token(8)),
            expires,
        }
    }

    /// All state held, by entity tag.
    pub fn states(&self) -> impl Iterator<Item = &T> {
        self.entries.values().map(|entry| &entry.state)
    }

    /// Takes away all state that fits.
    pub fn withdraw_where(&mut self, fits: impl Fn(&T) -> bool) -> Vec<T> {
        let gone = self.entries.extract_if(.., |_, entry| fits(&entry.state));
        let mut states = Vec::new();
        for (etag, entry) in gone {
            self.deadlines.remove(&(entry.deadline, etag));
            states.push(entry.state);
        }
        states
    }

    /// Takes away the state that was not refreshed in time.
    pub fn expire(&mut self, at: At) -> Vec<T> {
        let mut states = Vec::new();
        while let Some((deadline, etag)) = self.deadlines.pop_first() {
            if deadline > at {
                self.deadlines.insert((deadline, etag));
                break;
            }
            states.extend(self.entries.remove(&etag).map(|entry| entry.state));
        }
        states
    }

    /// When state next runs out.
    pub fn next_expiry(&self) -> Option<At> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// RFC 3903 6 step 3: one entity tag at most, and one that is known for this resource.
    fn precondition(
        &self,
        at: At,
        request: &Message,
        resource: &str,
    ) -> Result<Option<String>, Rejection> {
        let mut tags = request.values("SIP-If-Match");
        if tags.len() > 1 {
            return Err(Rejection::of(400).with("Warning", "399 - \"two entity tags\""));
        }
        let Some(etag) = tags.pop() else {
            return match request.has("SIP-If-Match") {
                true => Err(Rejection::of(400)),
                false => Ok(None),
            };
        };
        let entry = self.entries.get(&etag);
        match entry.filter(|entry| entry.resource == resource && entry.deadline > at) {
            Some(_) => Ok(Some(etag)),
            None => Err(Rejection::of(412)),
        }
    }

    /// RFC 3903 6 step 5.
    fn check_body(&self, request: &Message) -> Result<(), Rejection> {
        let content_type = request.header("Content-Type").unwrap_or_default();
        if !is_media_type(&content_type, &self.media_type) {
            return Err(Rejection::of(415).with("Accept", &*self.media_type));
        }
        let encoding = request.header("Content-Encoding");
        match encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity")) {
            true => Ok(()),
            false => Err(Rejection::of(415).with("Accept-Encoding", "identity")),
        }
    }
}

/// The event package that a request names, without parameters.
pub fn package_of(request: &Message) -> Option<String> {
    let event = request.header("Event")?;
    let package = event.split(';').next()?.trim();
    Some(package.to_owned())
}

/// Whether a Content-Type is of a media type, whatever its parameters.
pub fn is_media_type(content_type: &str, media_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(media_type)
}

/// The Request-URI without parameters and headers, its host in lower case.
fn resource_of(request: &Message) -> String {
    let text = request.request_uri().unwrap_or_default();
    match Uri::parse(text) {
        Ok(uri) => {
            let user = uri.user.map(|user| format!("{user}@")).unwrap_or_default();
            let port = uri.port.map(|port| format!(":{port}")).unwrap_or_default();
            let host = uri.host.to_ascii_lowercase();
            format!("{}:{user}{host}{port}", uri.scheme.to_ascii_lowercase())
        }
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const EVENT: &str = "p2pcds-status";
    const TYPE: &str = "application/ppsp-tracker+json";

    fn at(seconds: u64) -> At {
        At::ZERO + Duration::from_secs(seconds)
    }

    fn compositor() -> Compositor<u32> {
        let lifetimes = Lifetimes {
            least: 10,
            most: 600,
            usual: 120,
        };
        Compositor::new(EVENT, TYPE, lifetimes, 1)
    }

    fn publish(headers: &[(&str, &str)], body: Option<&str>) -> Message {
        let builder = Builder::request("PUBLISH", "sip:ue-a@IMS.example;x=1")
            .header("Via", "SIP/2.0/TCP 192.0.2.10:5070;branch=z9hG4bKp")
            .header("From", "<sip:ue-a@ims.example>;tag=1")
            .header("To", "<sip:ue-a@ims.example>")
            .header("Call-ID", "p")
            .header("CSeq", "1 PUBLISH");
        let builder = headers
            .iter()
            .fold(builder, |b, (name, value)| b.header(name, value));
        match body {
            Some(body) => builder.body(TYPE, body.as_bytes()).finish(),
            None => builder.finish(),
        }
    }

    fn status(compositor: &Compositor<u32>, headers: &[(&str, &str)], body: Option<&str>) -> u16 {
        match compositor.examine(at(1), &publish(headers, body)) {
            Ok(_) => 200,
            Err(rejection) => rejection.status,
        }
    }

    #[test]
    fn state_is_published_refreshed_modified_and_removed() {
        let mut esc = compositor();
        let mut epa = Publication::new(EVENT);
        let mut operations = Vec::new();
        for step in 0..4 {
            let (headers, body) = match step {
                0 | 2 => (epa.publish(120), Some("{}")),
                1 => (epa.refresh(120), None),
                _ => (epa.remove(), None),
            };
            let headers = headers.expect("nothing is under way");
            assert!(epa.publish(1).is_none() && epa.is_pending());
            let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, &**v)).collect();
            let request = publish(&headers, body);
            let order = esc.examine(at(step), &request).expect("it is in order");
            assert_eq!("sip:ue-a@ims.example", order.resource);
            operations.push(order.operation);
            let granted = match order.operation {
                Operation::Remove => esc.remove(&order).1,
                _ => esc.commit(at(step), &order, step as u32),
            };
            let outcome = epa.answered(at(step), &granted.response(&request, "t"));
            match step {
                3 => assert_eq!(Published::Removed, outcome),
                _ => assert!(matches!(
                    outcome,
                    Published::Held {
                        refresh_at: Some(_)
                    }
                )),
            }
        }
        use Operation::*;
        assert_eq!(vec![Initial, Refresh, Modify, Remove], operations);
        assert_eq!((false, None), (epa.is_held(), esc.next_expiry()));
    }

    #[test]
    fn an_old_entity_tag_is_not_taken_again() {
        let mut esc = compositor();
        let first = esc.examine(at(0), &publish(&[("Event", EVENT)], Some("{}")));
        let granted = esc.commit(at(0), &first.expect("it is in order"), 1);
        let headers = [("Event", EVENT), ("SIP-If-Match", &*granted.etag)];
        let refresh = esc.examine(at(1), &publish(&headers, None));
        esc.commit(at(1), &refresh.expect("it is in order"), 2);
        assert_eq!(412, status(&esc, &headers, None));
        assert_eq!(
            412,
            status(&esc, &[headers[0], headers[1], ("Expires", "0")], None)
        );
    }

    #[test]
    fn an_entity_tag_is_good_for_its_own_resource_alone() {
        let mut esc = compositor();
        let first = esc.examine(at(0), &publish(&[("Event", EVENT)], Some("{}")));
        let granted = esc.commit(at(0), &first.expect("it is in order"), 1);
        let headers = [("Event", EVENT), ("SIP-If-Match", &*granted.etag)];
        let request = publish(&headers, None);
        assert!(esc.examine(at(1), &request).is_ok());
        let elsewhere = request.edit().request_uri("sip:ue-b@ims.example").finish();
        let rejection = esc.examine(at(1), &elsewhere).expect_err("not held there");
        assert_eq!(412, rejection.status);
    }

    #[test]
    fn what_is_out_of_order_is_refused_by_its_step() {
        let esc = compositor();
        assert_eq!(489, status(&esc, &[], Some("{}")));
        assert_eq!(489, status(&esc, &[("Event", "presence")], Some("{}")));
        assert_eq!(
            200,
            status(&esc, &[("Event", "p2pcds-status;id=1")], Some("{}"))
        );
        assert_eq!(400, status(&esc, &[("Event", EVENT)], None));
        assert_eq!(
            412,
            status(&esc, &[("Event", EVENT), ("SIP-If-Match", "x")], None)
        );
        assert_eq!(
            400,
            status(&esc, &[("Event", EVENT), ("SIP-If-Match", "x, y")], None)
        );
        assert_eq!(
            423,
            status(&esc, &[("Event", EVENT), ("Expires", "9")], Some("{}"))
        );
        assert_eq!(
            400,
            status(&esc, &[("Event", EVENT), ("Expires", "soon")], Some("{}"))
        );
        let text = publish(&[("Event", EVENT)], Some("{}"))
            .edit()
            .body(Some(("text/plain", b"{}")))
            .finish();
        let rejection = esc.examine(at(0), &text).expect_err("it is no JSON");
        assert_eq!(Rejection::of(415).with("Accept", TYPE), rejection);
    }

    #[test]
    fn an_agent_that_is_told_too_brief_or_unknown_says_so() {
        let mut epa = Publication::new(EVENT);
        let answer = |status: u16, name, value| {
            Rejection::of(status)
                .with(name, value)
                .response(&publish(&[], None), "t")
        };
        epa.publish(5);
        assert_eq!(
            Published::TooBrief { least: 10 },
            epa.answered(at(0), &answer(423, "Min-Expires", "10"))
        );
        epa.publish(10);
        assert_eq!(
            Published::Refused { status: 423 },
            epa.answered(at(0), &answer(423, "Min-Expires", "10"))
        );
        epa.publish(10);
        assert_eq!(
            Published::Held { refresh_at: None },
            epa.answered(at(0), &answer(200, "Expires", "10"))
        );
        assert!(epa.refresh(10).is_none());
        epa.publish(10);
        epa.answered(at(0), &answer(200, "SIP-ETag", "e"));
        epa.refresh(10);
        assert_eq!(
            Published::Forgotten,
            epa.answered(at(0), &answer(412, "X", ""))
        );
        assert!(!epa.is_held());
    }

    proptest! {
        #[test]
        fn entity_tags_are_never_used_twice_and_state_runs_out(
            steps in vec((0u64..30, 0usize..8, 10u32..60), 1..60),
        ) {
            let mut esc = compositor();
            let mut tags: Vec<String> = Vec::new();
            let mut live: BTreeMap<String, At> = BTreeMap::new();
            let mut now = At::ZERO;
            for (passed, which, expires) in steps {
                now += Duration::from_secs(passed);
                let due = live.values().filter(|deadline| **deadline <= now).count();
                live.retain(|_, deadline| *deadline > now);
                prop_assert_eq!(due, esc.expire(now).len());
                prop_assert_eq!(live.values().min().copied(), esc.next_expiry());
                let tag = tags.get(which).cloned();
                let lifetime = expires.to_string();
                let mut headers = vec![("Event", EVENT), ("Expires", &*lifetime)];
                headers.extend(tag.as_ref().map(|tag| ("SIP-If-Match", &**tag)));
                let examined = esc.examine(now, &publish(&headers, Some("{}")));
                let is_known = tag.as_ref().is_none_or(|tag| live.contains_key(tag));
                prop_assert_eq!(is_known, examined.is_ok());
                if let Ok(order) = examined {
                    let granted = esc.commit(now, &order, 0);
                    prop_assert!(!tags.contains(&granted.etag));
                    tag.map(|tag| live.remove(&tag));
                    live.insert(granted.etag.clone(), now + Duration::from_secs(expires.into()));
                    tags.push(granted.etag);
                }
            }
        }
    }
}
