//! What a tracker can do wrong as an application server: subscriptions, publications, and what the core
//! tells it of registrations.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    super::{
        Deviation, Door, Heard, How, Passing, Said, apart,
        bend::{Notes, heard, said},
    },
    book::{ROOT, list_of},
    row,
};
use crate::{
    node::policy::Parts,
    proto::dialog::uri_in,
    spec::RefPoint,
    wire::sip::{Builder, Message, reason},
};

pub const TABLE: &[Deviation] = &[
    row(
        "tracker-lengthens-subscriptions",
        "TRK-030",
        "grants a subscription twice the time asked for",
        How::Says(|passing| lengthened(passing, "SUBSCRIBE")),
    ),
    row(
        "tracker-notifies-late",
        "TRK-030",
        "sends the first NOTIFY ten seconds after the subscription",
        How::Door(|_| first_notify(Said::Later(Duration::from_secs(10)))),
    ),
    row(
        "tracker-notifies-of-changes-only",
        "TRK-030",
        "sends no NOTIFY until something changes",
        How::Door(|_| first_notify(Said::Nothing)),
    ),
    row(
        "tracker-takes-any-package",
        "TRK-031",
        "takes a subscription to any event package",
        How::Hears(|passing| package(passing, "SUBSCRIBE", "p2pcds-peers")),
    ),
    row(
        "tracker-keeps-fetches",
        "TRK-032",
        "says of a fetch that it is an active subscription",
        How::Door(|_| Box::<Fetches>::default()),
    ),
    row(
        "tracker-notifies-fetches-twice",
        "TRK-032",
        "sends two NOTIFYs for a fetch",
        How::Door(|_| {
            Box::new(Fetches {
                is_double: true,
                ..Fetches::default()
            })
        }),
    ),
    row(
        "tracker-sends-what-is-not-accepted",
        "TRK-033",
        "sends its list to a subscriber that accepts other types only",
        How::Hears(|passing| match passing.request("SUBSCRIBE") {
            Some(subscribe) => heard(Some(
                subscribe.edit().remove("Accept").finish().bytes().clone(),
            )),
            None => Heard::AsItCame,
        }),
    ),
    row(
        "tracker-tells-of-no-departure",
        "TRK-034",
        "sends no NOTIFY when a peer leaves",
        How::Door(|_| Box::<Departures>::default()),
    ),
    row(
        "tracker-believes-from",
        "TRK-035",
        "takes From for who asks",
        How::Hears(believe_from),
    ),
    row(
        "tracker-keeps-the-deregistered",
        "TRK-036",
        "goes on listing users that the core says are registered no more",
        How::Hears(|passing| match passing.request("REGISTER") {
            Some(register) if expires(register) == Some(0) => {
                answered(register, 200, |builder| builder.header("Expires", "0"))
            }
            _ => Heard::AsItCame,
        }),
    ),
    row(
        "tracker-notifies-who-hung-up",
        "TRK-039",
        "goes on notifying after a NOTIFY was answered 481",
        How::Hears(|passing| match passing.response("NOTIFY") {
            Some(response) if response.status() == Some(481) => {
                let bent = response.edit().status(200, reason(200)).finish();
                heard(Some(bent.bytes().clone()))
            }
            _ => Heard::AsItCame,
        }),
    ),
    row(
        "tracker-sends-large-datagrams",
        "TRK-040",
        "sends a NOTIFY by UDP however long it is",
        How::Setup(|setup| {
            setup.path_mtu.insert(RefPoint::Isc, 65_000);
        }),
    ),
    row(
        "tracker-takes-subscriptions-to-nothing",
        "TRK-049",
        "accepts a first SUBSCRIBE without document",
        How::Hears(|passing| match passing.request("SUBSCRIBE") {
            Some(subscribe) if subscribe.body().is_empty() && is_first(subscribe) => {
                answered(subscribe, 200, |builder| {
                    builder
                        .header("Expires", "600")
                        .header("Contact", &format!("<sip:{}>", passing.setup.ip))
                })
            }
            _ => Heard::AsItCame,
        }),
    ),
    row(
        "tracker-fails-with-its-own-status",
        "TRK-050",
        "answers 500 inside SIP where the document was at fault",
        How::Says(|passing| status(passing, &["SUBSCRIBE", "PUBLISH"], 400, 500)),
    ),
    row(
        "tracker-gives-no-entity-tag",
        "STAT-001",
        "answers a publication without SIP-ETag",
        How::Says(|passing| published(passing, |ok| ok.edit().remove("SIP-ETag").finish())),
    ),
    row(
        "tracker-lengthens-publications",
        "STAT-001",
        "grants a publication twice the time asked for",
        How::Says(|passing| lengthened(passing, "PUBLISH")),
    ),
    row(
        "tracker-gives-every-publication-one-tag",
        "STAT-001",
        "answers with the same entity tag after every change",
        How::Door(|_| Box::<OneTag>::default()),
    ),
    row(
        "tracker-takes-unknown-entity-tags",
        "STAT-003",
        "takes a publication with an unknown entity tag for a new one",
        How::Door(|_| Box::<Tags>::default()),
    ),
    row(
        "tracker-takes-entity-tags-twice",
        "STAT-003",
        "takes the entity tag that was replaced by another",
        How::Door(|_| {
            Box::new(Tags {
                replaced_only: true,
                ..Tags::default()
            })
        }),
    ),
    row(
        "tracker-lengthens-short-publications",
        "STAT-004",
        "grants a minute to whoever asks for less",
        How::Disposed(
            |setup| setup.policy.tracker.shortest_publication = 0,
            &How::Says(|passing| {
                published(passing, |ok| match expires(ok) {
                    Some(1..60) => ok.edit().set("Expires", "60").finish(),
                    _ => ok.clone(),
                })
            }),
        ),
    ),
    row(
        "tracker-publishes-any-package",
        "STAT-005",
        "takes a publication for any event package",
        How::Hears(|passing| package(passing, "PUBLISH", "p2pcds-status")),
    ),
    row(
        "tracker-takes-empty-publications",
        "STAT-006",
        "accepts a first publication without a body",
        How::Hears(|passing| match passing.request("PUBLISH") {
            Some(publish) if publish.body().is_empty() && !publish.has("SIP-If-Match") => {
                answered(publish, 200, |builder| {
                    builder.header("SIP-ETag", "empty").header("Expires", "60")
                })
            }
            _ => Heard::AsItCame,
        }),
    ),
    row(
        "tracker-acknowledges-removals-only",
        "STAT-007",
        "answers the removal of a publication and keeps it",
        How::Hears(|passing| match removal(passing) {
            Some(publish) => answered(publish, 200, |builder| {
                builder.header("SIP-ETag", "gone").header("Expires", "0")
            }),
            None => Heard::AsItCame,
        }),
    ),
    row(
        "tracker-calls-removals-too-brief",
        "STAT-007",
        "refuses an expiry of zero with 423",
        How::Hears(|passing| match removal(passing) {
            Some(publish) => answered(publish, 423, |builder| builder.header("Min-Expires", "60")),
            None => Heard::AsItCame,
        }),
    ),
    row(
        "tracker-keeps-publications-for-an-hour",
        "STAT-008",
        "keeps a publication for an hour whatever it granted",
        How::Door(|_| {
            Box::new(Longer {
                longer: |_| 3600,
                asked: Notes::default(),
            })
        }),
    ),
    row(
        "tracker-keeps-publications-a-minute-longer",
        "STAT-008",
        "keeps a publication for a minute after it has ended",
        How::Door(|_| {
            Box::new(Longer {
                longer: |asked| asked.saturating_add(60),
                asked: Notes::default(),
            })
        }),
    ),
    row(
        "tracker-takes-publications-for-others",
        "STAT-012",
        "takes a publication to the identity of another user",
        How::Hears(|passing| {
            let subscribers = &passing.setup.subscribers;
            let is_somebodys = |resource: &str| {
                let mut identities = subscribers.iter().flat_map(|s| &s.impus);
                identities.any(|identity| identity == resource)
            };
            to_service(passing, is_somebodys)
        }),
    ),
    row(
        "tracker-takes-publications-to-nobody",
        "STAT-017",
        "takes a publication for a resource that is not there",
        How::Hears(|passing| {
            let subscribers = &passing.setup.subscribers;
            let is_nobodys = |resource: &str| {
                let mut identities = subscribers.iter().flat_map(|s| &s.impus);
                !identities.any(|identity| identity == resource)
            };
            to_service(passing, is_nobodys)
        }),
    ),
    row(
        "tracker-withdraws-what-it-fails-to-change",
        "STAT-016",
        "forgets the entity tag of a publication when it refuses to change it",
        How::Door(|_| Box::<Withdrawals>::default()),
    ),
    row(
        "tracker-takes-half-a-change",
        "STAT-016",
        "takes what is valid of a publication that changes an earlier one, and leaves the rest",
        How::Setup(|setup| {
            setup.policy.tracker.takes_parts_of_publications = Parts::OfChanges;
        }),
    ),
    row(
        "tracker-takes-half-a-publication",
        "STAT-016",
        "takes what is valid of a publication, and leaves the rest",
        How::Setup(|setup| setup.policy.tracker.takes_parts_of_publications = Parts::OfAll),
    ),
    row(
        "tracker-makes-dialogs-of-publications",
        "STAT-015",
        "answers a publication with the route and a contact of a dialog",
        How::Says(|passing| {
            published(passing, |ok| {
                let here = format!("<sip:{};lr>", passing.setup.ip);
                let edit = ok.edit().append("Record-Route", &here);
                edit.append("Contact", &format!("<sip:{}>", passing.setup.ip))
                    .finish()
            })
        }),
    ),
];

/// Expires of a message.
fn expires(message: &Message) -> Option<u32> {
    message.number("Expires").ok().flatten()
}

fn is_first(request: &Message) -> bool {
    request.to().is_ok_and(|to| to.tag().is_none())
}

/// A request that is answered in the node's place.
fn answered(request: &Message, status: u16, with: impl FnOnce(Builder) -> Builder) -> Heard {
    let builder = Builder::response(request, status, reason(status), Some("door"));
    Heard::Answer(vec![with(builder).finish().bytes().clone()])
}

/// A 200 to a publication that goes out otherwise.
fn published(passing: &Passing<'_>, change: impl FnOnce(&Message) -> Message) -> Said {
    match passing.response("PUBLISH") {
        Some(ok) if ok.status() == Some(200) => said(Some(change(ok).bytes().clone())),
        _ => Said::AsWritten,
    }
}

fn lengthened(passing: &Passing<'_>, method: &str) -> Said {
    let ok = passing.response(method);
    match ok.and_then(|ok| Some((ok, expires(ok)?))) {
        Some((ok, granted)) if ok.status() == Some(200) && granted > 0 => {
            let twice = granted.saturating_mul(2).to_string();
            let bent = ok.edit().set("Expires", &twice).finish();
            said(Some(bent.bytes().clone()))
        }
        _ => Said::AsWritten,
    }
}

fn status(passing: &Passing<'_>, methods: &[&str], from: u16, to: u16) -> Said {
    let mut responses = methods.iter().filter_map(|method| passing.response(method));
    match responses.next() {
        Some(response) if response.status() == Some(from) => {
            let bent = response.edit().status(to, reason(to)).finish();
            said(Some(bent.bytes().clone()))
        }
        _ => Said::AsWritten,
    }
}

fn package(passing: &Passing<'_>, method: &str, event: &str) -> Heard {
    match passing.request(method) {
        Some(request) if request.has("Event") => {
            let bent = request.edit().set("Event", event).finish();
            heard(Some(bent.bytes().clone()))
        }
        _ => Heard::AsItCame,
    }
}

fn removal<'a>(passing: &'a Passing<'_>) -> Option<&'a Message> {
    let publish = passing.request("PUBLISH")?;
    (expires(publish) == Some(0) && publish.has("SIP-If-Match")).then_some(publish)
}

fn believe_from(passing: &Passing<'_>) -> Heard {
    let Some(sip) = passing.message.sip().filter(|sip| sip.is_request()) else {
        return Heard::AsItCame;
    };
    match sip.from() {
        Ok(from) if sip.has("P-Asserted-Identity") => {
            let identity = format!("<{}>", from.uri);
            let bent = sip.edit().set("P-Asserted-Identity", &identity).finish();
            heard(Some(bent.bytes().clone()))
        }
        _ => Heard::AsItCame,
    }
}

/// A publication to a resource that fits goes to the service itself.
fn to_service(passing: &Passing<'_>, fits: impl FnOnce(&str) -> bool) -> Heard {
    let psi = &passing.setup.directory.tracker_psi;
    let Some(publish) = passing.request("PUBLISH") else {
        return Heard::AsItCame;
    };
    let resource = uri_in(publish.request_uri().unwrap_or_default());
    match resource != *psi && fits(&resource) {
        true => heard(Some(
            publish.edit().request_uri(psi).finish().bytes().clone(),
        )),
        false => Heard::AsItCame,
    }
}

/// The first NOTIFY of each subscription goes out otherwise; by Call-ID, the number of the first.
struct FirstNotify {
    otherwise: Said,
    first: Notes<u32>,
}

fn first_notify(otherwise: Said) -> Box<dyn Door> {
    Box::new(FirstNotify {
        otherwise,
        first: Notes::default(),
    })
}

impl Door for FirstNotify {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let Some((call, number)) = passing.request("NOTIFY").and_then(numbered) else {
            return Said::AsWritten;
        };
        match self.first.get(&call) {
            Some(first) if *first != number => return Said::AsWritten,
            Some(_) => {}
            None => self.first.put(&call, number),
        }
        self.otherwise.clone()
    }
}

/// Call-ID and number of a request.
fn numbered(request: &Message) -> Option<(String, u32)> {
    Some((request.call_id().ok()?, request.cseq().ok()?.number))
}

/// Fetches by Call-ID.
#[derive(Default)]
struct Fetches {
    fetches: Notes<()>,
    /// Two NOTIFYs instead of one that says active.
    is_double: bool,
}

impl Door for Fetches {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        if let Some(subscribe) = passing.request("SUBSCRIBE")
            && expires(subscribe) == Some(0)
            && is_first(subscribe)
        {
            let call = subscribe.call_id().unwrap_or_default();
            self.fetches.put(&call, ());
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let Some(notify) = passing.request("NOTIFY") else {
            return Said::AsWritten;
        };
        let call = notify.call_id().unwrap_or_default();
        if self.fetches.get(&call).is_none() {
            return Said::AsWritten;
        }
        if !self.is_double {
            let state = "active;expires=3600";
            let bent = notify.edit().set("Subscription-State", state).finish();
            return said(Some(bent.bytes().clone()));
        }
        let (Ok(cseq), Ok(mut via)) = (notify.cseq(), notify.top_via()) else {
            return Said::AsWritten;
        };
        let branch = format!("{}-2", via.branch().unwrap_or("z9hG4bK"));
        via.params.set("branch", Some(&branch));
        let again = notify
            .edit()
            .set("CSeq", &format!("{} NOTIFY", cseq.number.saturating_add(1)))
            .pop("Via")
            .prepend("Via", &via.to_string())
            .finish();
        Said::Instead(vec![passing.bytes.clone(), again.bytes().clone()])
    }
}

/// Who was told of, by Call-ID.
#[derive(Default)]
struct Departures(Notes<BTreeSet<String>>);

impl Door for Departures {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let Some(notify) = passing.request("NOTIFY") else {
            return Said::AsWritten;
        };
        let document = apart::json(passing.message).unwrap_or_default();
        let listed: BTreeSet<String> = list_of(&document[ROOT]["swarm_result"])
            .iter()
            .flat_map(|result| list_of(&result["peer_group"]["peer_info"]))
            .filter_map(|peer| Some(peer["peer_id"].as_str()?.to_owned()))
            .collect();
        let call = notify.call_id().unwrap_or_default();
        match self.0.get(&call) {
            Some(before) if !before.is_subset(&listed) => Said::Nothing,
            _ => {
                self.0.put(&call, listed);
                Said::AsWritten
            }
        }
    }
}

/// Gives each user the first tag it gave it again and again, and takes it for the node's own.
#[derive(Default)]
struct OneTag {
    /// The tag given away, and the one it stands for, by From.
    tags: Notes<(String, String)>,
}

impl Door for OneTag {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let Some(publish) = passing.request("PUBLISH") else {
            return Heard::AsItCame;
        };
        let user = publish.from().map(|from| from.uri).unwrap_or_default();
        let named = publish.header("SIP-If-Match").unwrap_or_default();
        match self.tags.get(&user) {
            Some((given, meant)) if *given == named => {
                let bent = publish.edit().set("SIP-If-Match", meant).finish();
                heard(Some(bent.bytes().clone()))
            }
            _ => Heard::AsItCame,
        }
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let Some(ok) = passing.response("PUBLISH") else {
            return Said::AsWritten;
        };
        let (Some(tag), Ok(from)) = (ok.header("SIP-ETag"), ok.from()) else {
            return Said::AsWritten;
        };
        match self.tags.get(&from.uri) {
            Some((given, meant)) => {
                *meant = tag.into_owned();
                let bent = ok.edit().set("SIP-ETag", given).finish();
                said(Some(bent.bytes().clone()))
            }
            None => {
                let tag = tag.into_owned();
                self.tags.put(&from.uri, (tag.clone(), tag));
                Said::AsWritten
            }
        }
    }
}

/// Entity tags that are good no more.
#[derive(Default)]
struct Withdrawals {
    /// The tag named by the last request, by Call-ID.
    named: Notes<String>,
    gone: BTreeSet<String>,
}

impl Door for Withdrawals {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let Some(publish) = passing.request("PUBLISH") else {
            return Heard::AsItCame;
        };
        let Some(tag) = publish.header("SIP-If-Match") else {
            return Heard::AsItCame;
        };
        let call = publish.call_id().unwrap_or_default();
        self.named.put(&call, tag.clone().into_owned());
        match self.gone.contains(&*tag) {
            true => answered(publish, 412, |builder| builder),
            false => Heard::AsItCame,
        }
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        if let Some(response) = passing.response("PUBLISH")
            && response.status().is_some_and(|status| status >= 400)
            && let Ok(call) = response.call_id()
            && let Some(tag) = self.named.get(&call)
            && self.gone.len() < MOST_TAGS
        {
            self.gone.insert(tag.clone());
        }
        Said::AsWritten
    }
}

/// Entity tags that were given away.
#[derive(Default)]
struct Tags {
    /// Each tag, and the one that has replaced it, or itself.
    replaced: BTreeMap<String, String>,
    /// The tag named by the last request, by Call-ID.
    named: Notes<String>,
    replaced_only: bool,
}

/// How many tags are remembered.
const MOST_TAGS: usize = 4096;

impl Door for Tags {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let Some(publish) = passing.request("PUBLISH") else {
            return Heard::AsItCame;
        };
        let Some(tag) = publish.header("SIP-If-Match") else {
            return Heard::AsItCame;
        };
        let call = publish.call_id().unwrap_or_default();
        self.named.put(&call, tag.clone().into_owned());
        match self.replaced.get(&*tag) {
            Some(current) if *current != *tag => {
                let mut current = current;
                // Each replacement is younger than what it replaced, so this ends.
                while let Some(next) = self.replaced.get(current)
                    && next != current
                {
                    current = next;
                }
                if !self.replaced_only {
                    return Heard::AsItCame;
                }
                self.named.put(&call, current.clone());
                let bent = publish.edit().set("SIP-If-Match", current).finish();
                heard(Some(bent.bytes().clone()))
            }
            None if !self.replaced_only && publish.body().is_empty() => {
                answered(publish, 200, |builder| {
                    let lifetime = expires(publish).unwrap_or(60).to_string();
                    builder
                        .header("SIP-ETag", "any")
                        .header("Expires", &lifetime)
                })
            }
            None if !self.replaced_only => {
                let bent = publish.edit().remove("SIP-If-Match").finish();
                heard(Some(bent.bytes().clone()))
            }
            _ => Heard::AsItCame,
        }
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        if let Some(ok) = passing.response("PUBLISH")
            && let (Some(tag), Ok(call)) = (ok.header("SIP-ETag"), ok.call_id())
            && self.replaced.len() < MOST_TAGS
            && !self.replaced.contains_key(&*tag)
        {
            if let Some(named) = self.named.get(&call)
                && let Some(old) = self.replaced.get_mut(named)
                && old == named
            {
                *old = tag.clone().into_owned();
            }
            self.replaced
                .insert(tag.clone().into_owned(), tag.into_owned());
        }
        Said::AsWritten
    }
}

/// Publications that are kept longer than they are granted; what was asked for, by Call-ID.
struct Longer {
    longer: fn(u32) -> u32,
    asked: Notes<u32>,
}

impl Door for Longer {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let publish = passing.request("PUBLISH");
        let Some((publish, asked)) = publish.and_then(|p| Some((p, expires(p)?))) else {
            return Heard::AsItCame;
        };
        if asked == 0 {
            return Heard::AsItCame;
        }
        let call = publish.call_id().unwrap_or_default();
        self.asked.put(&call, asked);
        let longer = (self.longer)(asked).to_string();
        let bent = publish.edit().set("Expires", &longer).finish();
        heard(Some(bent.bytes().clone()))
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        published(passing, |ok| {
            let call = ok.call_id().unwrap_or_default();
            match (self.asked.get(&call), expires(ok)) {
                (Some(asked), Some(granted)) if granted > 0 => {
                    let told = (*asked).min(granted).to_string();
                    ok.edit().set("Expires", &told).finish()
                }
                _ => ok.clone(),
            }
        })
    }
}
