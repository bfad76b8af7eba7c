//! When and how an S-CSCF asks application servers, and what it says of a request.

use super::{s_cscf, success};
use crate::{
    node::deviation::{
        Deviation, Door, Heard, How, Passing, Said,
        bend::{
            Line, cx,
            edits::{first_uri, is_inside, is_own, keep_only, request, response, set_all},
            heard,
            recall::{Remembering, turn},
            said, sdp,
        },
    },
    proto::cx::profile::{Condition, DefaultHandling, Profile},
    spec::RefPoint::{Isc, Mw},
    wire::sip::{Builder, Edit, Message, Params, reason},
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    // What application servers are for.
    s_cscf(
        "s-cscf-serves-barred-identities",
        "SCSCF-002",
        "serves an identity that its profile says is barred",
        How::Setup(|setup| setup.policy.s_cscf.heeds_barring = false),
    ),
    s_cscf(
        "s-cscf-refuses-barred-identities-with-500",
        "SCSCF-002",
        "answers requests of a barred identity as if it had failed",
        How::Says(|p| {
            response(p, Mw, &["INVITE"], (403, 403), |edit, _| {
                edit.status(500, "Server Internal Error")
            })
        }),
    ),
    s_cscf(
        "s-cscf-refuses-calls-of-barred-identities-only",
        "SCSCF-002",
        "serves anything but INVITE of an identity that its profile says is barred",
        How::Disposed(
            |setup| setup.policy.s_cscf.heeds_barring = false,
            &How::Door(|_| Box::new(BarsCalls)),
        ),
    ),
    s_cscf(
        "s-cscf-compares-priorities-as-text",
        "SCSCF-003",
        "takes a priority of 10 for less than one of 9",
        How::Hears(|p| {
            bend_profile(p, |profile| {
                for service in &mut profile.services {
                    let texts = service.criteria.iter().map(|c| c.priority.to_string());
                    let mut texts: Vec<String> = texts.collect();
                    texts.sort();
                    for criterion in &mut service.criteria {
                        let text = criterion.priority.to_string();
                        let place = texts.iter().position(|other| *other == text);
                        criterion.priority = place.unwrap_or_default() as u32;
                    }
                }
            })
        }),
    ),
    s_cscf(
        "s-cscf-takes-criteria-as-they-stand",
        "SCSCF-003",
        "applies filter criteria in the order they stand in the profile",
        How::Hears(|p| {
            bend_profile(p, |profile| {
                for service in &mut profile.services {
                    for (criterion, place) in service.criteria.iter_mut().zip(0..) {
                        criterion.priority = place;
                    }
                }
            })
        }),
    ),
    s_cscf(
        "s-cscf-takes-the-largest-priority-first",
        "SCSCF-003",
        "applies filter criteria from the largest priority down",
        How::Hears(|p| {
            bend_profile(p, |profile| {
                let services = profile.services.iter_mut();
                let criteria = services.flat_map(|service| &mut service.criteria);
                criteria.for_each(|criterion| criterion.priority = 1000 - criterion.priority);
            })
        }),
    ),
    s_cscf(
        "s-cscf-passes-media-nobody-subscribed-to",
        "SCSCF-016",
        "lets media through that the user has not subscribed to",
        How::Setup(|setup| setup.policy.s_cscf.heeds_media_profiles = false),
    ),
    s_cscf(
        "s-cscf-looks-at-the-first-medium",
        "SCSCF-016",
        "lets an offer through whose first medium the user has subscribed to",
        How::Door(|_| {
            Remembering::door(
                |memory, p| match p.request("INVITE") {
                    Some(sip) if p.on == Mw => {
                        memory.put(&turn(sip), String::from_utf8_lossy(sip.body()).into_owned());
                        heard(sdp(sip, |media, line| match line.split_once(' ') {
                            Some((kind, rest)) if media > 1 && kind.starts_with("m=") => {
                                Line::As(format!("m=message {rest}"))
                            }
                            _ => Line::Kept,
                        }))
                    }
                    _ => Heard::AsItCame,
                },
                |memory, p| {
                    let sip = p.request("INVITE");
                    said(sip.and_then(|sip| {
                        let body = memory.get(&turn(sip))?;
                        let kind = sip.header("Content-Type")?;
                        Some(sip.edit().body(Some((&kind, body.as_bytes()))).finish())
                    }))
                },
            )
        }),
    ),
    s_cscf(
        "s-cscf-says-not-which-media-it-allows",
        "SCSCF-016",
        "refuses media without a description of what is allowed",
        How::Says(|p| response(p, Mw, &["INVITE"], (488, 488), |edit, _| edit.body(None))),
    ),
    s_cscf(
        "s-cscf-reaches-every-contact",
        "SCSCF-014",
        "sends a request to every contact, whatever its caller requires of one",
        How::Hears(|p| request(p, Mw, &[], |edit, _| edit.remove("Accept-Contact"))),
    ),
    s_cscf(
        "s-cscf-reads-one-requirement",
        "SCSCF-014",
        "looks at the first Accept-Contact of a request, and not at what else its caller requires",
        How::Hears(|p| {
            request(p, Mw, &[], |edit, sip| {
                let mut wishes = sip.values("Accept-Contact");
                wishes.truncate(1);
                set_all(edit, "Accept-Contact", &wishes)
            })
        }),
    ),
    s_cscf(
        "s-cscf-takes-what-is-required-for-a-wish",
        "SCSCF-014",
        "prefers contacts that have what a caller requires, and sends to the others too",
        How::Hears(|p| {
            request(p, Mw, &[], |edit, sip| {
                let wishes = sip.values("Accept-Contact");
                let softened =
                    |wish: &String| wish.replace(";require", "").replace(";explicit", "");
                let wishes: Vec<String> = wishes.iter().map(softened).collect();
                set_all(edit, "Accept-Contact", &wishes)
            })
        }),
    ),
    s_cscf(
        "s-cscf-leaves-its-uri-off-the-route",
        "SCSCF-004",
        "sends a request to the tracker with nothing behind it in Route",
        How::Says(|p| {
            request(p, Isc, &[], |edit, sip| {
                keep_only(edit, sip, "Route", |uri| !is_own(p, uri))
            })
        }),
    ),
    s_cscf(
        "s-cscf-sends-to-the-tracker-without-route",
        "SCSCF-004",
        "sends a request to the tracker without Route",
        How::Says(|p| request(p, Isc, &[], |edit, _| edit.remove("Route"))),
    ),
    s_cscf(
        "s-cscf-puts-itself-before-the-tracker",
        "SCSCF-004",
        "sends a request to the tracker with its own URI first in Route",
        How::Says(|p| {
            request(p, Isc, &[], |edit, sip| {
                let mut routes = sip.values("Route");
                if routes.len() > 1 {
                    routes.swap(0, 1);
                }
                set_all(edit, "Route", &routes)
            })
        }),
    ),
    s_cscf(
        "s-cscf-names-no-served-user",
        "SCSCF-005",
        "sends requests to the tracker without P-Served-User",
        How::Says(|p| request(p, Isc, &[], |edit, _| edit.remove("P-Served-User"))),
    ),
    s_cscf(
        "s-cscf-tells-everybody-the-served-user",
        "SCSCF-005",
        "leaves P-Served-User on requests in the core",
        How::Says(|p| {
            request(p, Mw, &[], |edit, sip| {
                match first_uri(sip, "P-Asserted-Identity") {
                    Some(user) => served_user(edit, &user, "orig"),
                    None => edit,
                }
            })
        }),
    ),
    s_cscf(
        "s-cscf-tells-the-p-cscf-the-served-user",
        "SCSCF-005",
        "leaves P-Served-User on requests to the called user's P-CSCF",
        How::Says(|p| {
            request(p, Mw, &[], |edit, sip| {
                match first_uri(sip, "P-Called-Party-ID") {
                    Some(user) => served_user(edit, &user, "term"),
                    None => edit,
                }
            })
        }),
    ),
    s_cscf(
        "s-cscf-sends-each-subscribe-to-the-tracker",
        "SCSCF-006",
        "sends every SUBSCRIBE to the tracker, whatever its Event",
        How::Hears(|p| {
            bend_profile(p, |profile| {
                each_trigger(profile, |condition| {
                    if let Condition::Header { content, .. } = condition {
                        *content = None;
                    }
                })
            })
        }),
    ),
    s_cscf(
        "s-cscf-matches-the-beginning-of-event",
        "SCSCF-006",
        "sends a SUBSCRIBE to the tracker if its Event begins like the filter's",
        How::Hears(|p| {
            bend_profile(p, |profile| {
                each_pattern(profile, |text| text.trim_end_matches("(;.*)?$").to_owned())
            })
        }),
    ),
    s_cscf(
        "s-cscf-matches-event-without-parameters",
        "SCSCF-006",
        "does not send a SUBSCRIBE to the tracker whose Event has parameters",
        How::Hears(|p| {
            bend_profile(p, |profile| {
                each_pattern(profile, |text| text.replace("(;.*)?$", "$"))
            })
        }),
    ),
    s_cscf(
        "s-cscf-matches-allow-events",
        "SCSCF-006",
        "sends a SUBSCRIBE to the tracker if its Allow-Events matches the filter",
        How::Hears(|p| {
            bend_profile(p, |profile| {
                each_trigger(profile, |condition| {
                    if let Condition::Header { name, .. } = condition {
                        *name = format!(".*{}.*", name.trim_matches(['^', '$']));
                    }
                })
            })
        }),
    ),
    s_cscf(
        "s-cscf-answers-408-for-the-tracker",
        "SCSCF-007",
        "answers 408 to a SUBSCRIBE or PUBLISH if the tracker stays silent",
        How::Says(|p| {
            response(p, Mw, &[], (500, 599), |edit, sip| match sip.method() {
                "INVITE" => edit,
                _ => edit.status(408, "Request Timeout"),
            })
        }),
    ),
    s_cscf(
        "s-cscf-goes-on-without-the-tracker",
        "SCSCF-007",
        "sends a request past a tracker that fails, though the filter says to end it",
        How::Hears(|p| {
            bend_profile(p, |profile| {
                for service in &mut profile.services {
                    for criterion in &mut service.criteria {
                        let handling = DefaultHandling::SessionContinued;
                        criterion.server.default_handling = Some(handling);
                    }
                }
            })
        }),
    ),
    s_cscf(
        "s-cscf-ignores-pushed-profiles",
        "SCSCF-021",
        "serves by the profile it has, whatever the HSS pushes",
        How::Hears(|p| match cx::request(p, "PPR") {
            Some(ppr) => Heard::Answer(vec![success(ppr)]),
            None => Heard::AsItCame,
        }),
    ),
    s_cscf(
        "s-cscf-asserts-no-service",
        "SCSCF-009",
        "takes the preferred service off and asserts none",
        How::Says(|p| match p.message.sip() {
            Some(sip) if sip.is_request() => Said::as_one(
                sip.edit()
                    .remove("P-Asserted-Service")
                    .finish()
                    .bytes()
                    .clone(),
            ),
            _ => Said::AsWritten,
        }),
    ),
    s_cscf(
        "s-cscf-passes-the-preferred-service",
        "SCSCF-009",
        "hands P-Preferred-Service on beside the asserted one",
        How::Says(|p| match p.message.sip() {
            Some(sip) if sip.is_request() => match sip.header("P-Asserted-Service") {
                Some(service) => Said::as_one(
                    sip.edit()
                        .append("P-Preferred-Service", &service)
                        .finish()
                        .bytes()
                        .clone(),
                ),
                None => Said::AsWritten,
            },
            _ => Said::AsWritten,
        }),
    ),
    s_cscf(
        "s-cscf-believes-every-mark",
        "SCSCF-001",
        "serves a request as one of a user whoever wrote its mark",
        How::Setup(|setup| setup.policy.s_cscf.guards_originating = false),
    ),
    // Charging.
    s_cscf(
        "s-cscf-makes-an-icid-for-the-tracker",
        "SCSCF-010",
        "sends requests to the tracker with a charging identifier of its own",
        How::Says(|p| request(p, Isc, &[], own_icid)),
    ),
    s_cscf(
        "s-cscf-makes-an-icid-for-the-called",
        "SCSCF-010",
        "sends requests to the called user with a charging identifier of its own",
        How::Says(|p| {
            request(p, Mw, &[], |edit, sip| match sip.has("P-Called-Party-ID") {
                true => own_icid(edit, sip),
                false => edit,
            })
        }),
    ),
    s_cscf(
        "s-cscf-loses-the-icid-inside-dialogs",
        "SCSCF-010",
        "sends requests inside dialogs with a charging identifier of its own",
        How::Says(|p| {
            request(p, Mw, &[], |edit, sip| match is_inside(sip) {
                true => own_icid(edit, sip),
                false => edit,
            })
        }),
    ),
];

/// Refuses an INVITE of an identity that is barred.
struct BarsCalls;

impl Door for BarsCalls {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let asserted = passing
            .request("INVITE")
            .and_then(|invite| Some((invite, first_uri(invite, "P-Asserted-Identity")?)));
        let subscribers = passing.setup.subscribers.iter();
        let mut barred = subscribers.filter(|subscriber| subscriber.barred);
        match asserted {
            Some((invite, identity))
                if barred.any(|barred| barred.impus.first() == Some(&identity)) =>
            {
                let refusal = Builder::response(invite, 403, reason(403), Some("s-cscf"));
                Heard::Answer(vec![refusal.finish().bytes().clone()])
            }
            _ => Heard::AsItCame,
        }
    }
}

fn served_user<'a>(edit: Edit<'a>, user: &str, case: &str) -> Edit<'a> {
    edit.set(
        "P-Served-User",
        &format!("<{user}>;sescase={case};regstate=reg"),
    )
}

/// Hears of other profiles than the HSS gives.
fn bend_profile(passing: &Passing<'_>, change: impl Fn(&mut Profile)) -> Heard {
    let carries = cx::answer(passing, "SAA").or_else(|| cx::request(passing, "PPR"));
    let bent = carries.and_then(|message| cx::with_profile(message, change));
    bent.map_or(Heard::AsItCame, Heard::as_one)
}

fn each_trigger(profile: &mut Profile, change: impl Fn(&mut Condition)) {
    let criteria = profile
        .services
        .iter_mut()
        .flat_map(|service| &mut service.criteria);
    let points = criteria.filter_map(|criterion| criterion.trigger.as_mut());
    for trigger in points.flat_map(|point| &mut point.triggers) {
        change(&mut trigger.condition);
    }
}

/// Changes what header values are held against.
fn each_pattern(profile: &mut Profile, change: impl Fn(&str) -> String) {
    each_trigger(profile, |condition| {
        if let Condition::Header {
            content: Some(pattern),
            ..
        } = condition
        {
            *pattern = change(pattern);
        }
    });
}

fn own_icid<'a>(edit: Edit<'a>, sip: &'a Message) -> Edit<'a> {
    let vector = sip.header("P-Charging-Vector");
    let params = vector.and_then(|vector| Params::parse(&format!(";{vector}")).ok());
    let Some(mut params) = params else {
        return edit;
    };
    let icid = params.unquoted("icid-value").unwrap_or_default();
    params.set("icid-value", Some(&format!("\"s-cscf-{icid}\"")));
    edit.set(
        "P-Charging-Vector",
        params.to_string().trim_start_matches(';'),
    )
}
