//! What an S-CSCF can do wrong.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    node::{
        deviation::{
            Deviation, Heard, How, Passing, Said,
            bend::{
                Notes, cx,
                edits::{first_uri, is_inside, is_own, keep_only, request, response, set_all},
                recall::{Remembering, turn},
            },
        },
        policy::Examination,
    },
    proto::{
        cx::profile::{Condition, DefaultHandling, Profile},
        digest::AuthValue,
    },
    spec::{
        RefPoint::{Isc, Mw},
        Role,
    },
    wire::{
        diameter::{Avps, Outcome, dictionary::result},
        sip::{Builder, Edit, Message, Params, Uri},
    },
};

const fn s_cscf(
    name: &'static str,
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        name,
        roles: &[Role::SCscf],
        requirement,
        summary,
        how,
    }
}

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    // Registering.
    s_cscf(
        "s-cscf-takes-any-response",
        "REG-005",
        "registers a UE whatever it answers to the challenge",
        How::Setup(|setup| setup.policy.s_cscf.examines = Examination::None),
    ),
    s_cscf(
        "s-cscf-takes-any-response-of-the-registered",
        "REG-005",
        "registers a UE again whatever it answers to the challenge",
        How::Setup(|setup| setup.policy.s_cscf.examines = Examination::FirstTime),
    ),
    s_cscf(
        "s-cscf-takes-a-nonce-count-twice",
        "REG-005",
        "registers a UE by a response that was given before",
        How::Setup(|setup| setup.policy.s_cscf.examines = Examination::ResponseOnly),
    ),
    s_cscf(
        "s-cscf-takes-late-answers",
        "REG-016",
        "waits an hour for the answer to a challenge",
        How::Setup(|setup| setup.policy.s_cscf.awaits_answer = Duration::from_secs(3600)),
    ),
    s_cscf(
        "s-cscf-hears-no-auts",
        "REG-020",
        "takes a UE that is out of step for one that answers wrongly",
        How::Hears(|p| {
            request(p, Mw, &["REGISTER"], |edit, sip| {
                let credentials = sip.header("Authorization");
                let credentials = credentials.and_then(|value| AuthValue::parse(&value).ok());
                let Some(mut value) = credentials else {
                    return edit;
                };
                match value.remove("auts") {
                    Some(_) => edit.set("Authorization", &value.to_string()),
                    None => edit,
                }
            })
        }),
    ),
    s_cscf(
        "s-cscf-passes-over-required-extensions",
        "REG-007",
        "registers a UE that requires what nobody knows",
        How::Hears(|p| {
            request(p, Mw, &["REGISTER"], |edit, sip| {
                let mut tags = sip.values("Require");
                tags.retain(|tag| tag.eq_ignore_ascii_case("path"));
                set_all(edit, "Require", &tags)
            })
        }),
    ),
    s_cscf(
        "s-cscf-does-not-say-what-is-unsupported",
        "REG-007",
        "answers 420 without Unsupported",
        How::Says(|p| {
            response(p, Mw, &["REGISTER"], (420, 420), |edit, _| {
                edit.remove("Unsupported")
            })
        }),
    ),
    s_cscf(
        "s-cscf-does-not-say-what-is-long-enough",
        "REG-018",
        "answers 423 without Min-Expires",
        How::Says(|p| {
            response(p, Mw, &["REGISTER"], (423, 423), |edit, _| {
                edit.remove("Min-Expires")
            })
        }),
    ),
    s_cscf(
        "s-cscf-gives-no-path-back",
        "REG-008",
        "answers a REGISTER without its Path",
        How::Says(|p| {
            response(p, Mw, &["REGISTER"], (200, 200), |edit, _| {
                edit.remove("Path")
            })
        }),
    ),
    s_cscf(
        "s-cscf-gives-no-service-route",
        "REG-008",
        "answers a REGISTER without Service-Route",
        How::Says(|p| {
            response(p, Mw, &["REGISTER"], (200, 200), |edit, _| {
                edit.remove("Service-Route")
            })
        }),
    ),
    s_cscf(
        "s-cscf-gives-no-identities",
        "REG-008",
        "answers a REGISTER without P-Associated-URI",
        How::Says(|p| {
            response(p, Mw, &["REGISTER"], (200, 200), |edit, _| {
                edit.remove("P-Associated-URI")
            })
        }),
    ),
    s_cscf(
        "s-cscf-gives-identities-backwards",
        "REG-008",
        "answers a REGISTER with the default identity last",
        How::Says(|p| {
            response(p, Mw, &["REGISTER"], (200, 200), |edit, sip| {
                let mut identities = sip.values("P-Associated-URI");
                identities.reverse();
                set_all(edit, "P-Associated-URI", &identities)
            })
        }),
    ),
    s_cscf(
        "s-cscf-gives-a-tel-identity-first",
        "REG-008",
        "answers a REGISTER with an identity before the default one",
        How::Says(|p| {
            response(p, Mw, &["REGISTER"], (200, 200), |edit, sip| {
                let mut identities = sip.values("P-Associated-URI");
                if !identities.is_empty() {
                    identities.insert(0, "<tel:+15550100>".to_owned());
                }
                set_all(edit, "P-Associated-URI", &identities)
            })
        }),
    ),
    s_cscf(
        "s-cscf-keeps-the-deregistered",
        "REG-012",
        "answers 200 to a deregistration and keeps the binding",
        How::Door(|_| {
            Remembering::door(
                |memory, p| match p.request("REGISTER") {
                    Some(register) if p.on == Mw && ends_all(register) => {
                        memory.put(&turn(register), String::new());
                        Heard::as_one(prolonged(register))
                    }
                    _ => Heard::AsItCame,
                },
                |memory, p| {
                    response(p, Mw, &["REGISTER"], (200, 200), |edit, sip| {
                        match memory.get(&turn(sip)) {
                            Some(_) => edit.remove("Contact"),
                            None => edit,
                        }
                    })
                },
            )
        }),
    ),
    s_cscf(
        "s-cscf-reads-no-expires-header",
        "REG-012",
        "ends a registration only if Contact says so itself",
        How::Hears(|p| request(p, Mw, &["REGISTER"], |edit, _| edit.remove("Expires"))),
    ),
    s_cscf(
        "s-cscf-tells-the-tracker-of-nobody",
        "REG-013",
        "registers users without telling the tracker",
        How::Says(|p| third_party(p, |_| true)),
    ),
    s_cscf(
        "s-cscf-tells-the-tracker-of-nobody-that-goes",
        "REG-013",
        "tells the tracker who comes and not who goes",
        How::Says(|p| third_party(p, |register| register.number("Expires") == Ok(Some(0)))),
    ),
    s_cscf(
        "s-cscf-registers-in-the-users-name",
        "REG-013",
        "sends the tracker a REGISTER that is From the user",
        How::Says(|p| {
            request(p, Isc, &["REGISTER"], |edit, sip| {
                let from = sip.from().ok();
                match (
                    first_uri(sip, "To"),
                    from.as_ref().and_then(|from| from.tag()),
                ) {
                    (Some(user), Some(tag)) => edit
                        .set("From", &format!("<{user}>;tag={tag}"))
                        .set("Contact", &format!("<{user}>")),
                    _ => edit,
                }
            })
        }),
    ),
    s_cscf(
        "s-cscf-ignores-a-withdrawal",
        "REG-014",
        "goes on serving whom the HSS withdraws",
        How::Hears(|p| match cx::request(p, "RTR") {
            Some(rtr) => Heard::Answer(vec![success(rtr)]),
            None => Heard::AsItCame,
        }),
    ),
    s_cscf(
        "s-cscf-tells-watchers-of-no-withdrawal",
        "REG-014",
        "tells nobody who watches that the network ended a registration",
        How::Door(|_| {
            Remembering::door(
                |memory, p| {
                    if cx::request(p, "RTR").is_some() {
                        memory.put(WITHDRAWN, String::new());
                    }
                    Heard::AsItCame
                },
                |memory, p| match p.request("NOTIFY") {
                    Some(notify)
                        if memory.get(WITHDRAWN).is_some()
                            && notify.header("Event").is_some_and(|event| is_reg(&event)) =>
                    {
                        Said::Answered(vec![ok(notify)])
                    }
                    _ => Said::AsWritten,
                },
            )
        }),
    ),
    // What application servers are for.
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
                        *name = format!(".*{name}.*");
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
            response(p, Mw, &[], (504, 504), |edit, sip| match sip.method() {
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
        "s-cscf-serves-the-barred",
        "SCSCF-002",
        "forwards requests of a barred identity",
        How::Hears(|p| {
            bend_profile(p, |profile| {
                for service in &mut profile.services {
                    service
                        .identities
                        .iter_mut()
                        .for_each(|public| public.barred = false);
                }
            })
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
    // Routing.
    s_cscf(
        "s-cscf-records-no-route",
        "SCSCF-011",
        "goes off the path of dialogs",
        How::Says(|p| match p.message.sip() {
            Some(sip) if sip.is_request() => off_the_path(p, sip),
            _ => Said::AsWritten,
        }),
    ),
    s_cscf(
        "s-cscf-records-no-route-of-subscriptions",
        "SCSCF-011",
        "goes off the path of a SUBSCRIBE, and stays on that of an INVITE",
        How::Says(|p| match p.message.sip() {
            Some(sip) if sip.is_request() && sip.method() == "SUBSCRIBE" => off_the_path(p, sip),
            _ => Said::AsWritten,
        }),
    ),
    s_cscf(
        "s-cscf-records-no-route-for-the-called",
        "SCSCF-011",
        "goes off the path of calls on the side of the called user",
        How::Says(|p| {
            request(p, Mw, &["INVITE"], |edit, sip| {
                let mut routes = sip.values("Record-Route");
                if sip.has("P-Called-Party-ID")
                    && first_uri(sip, "Record-Route").is_some_and(|uri| is_own(p, &uri))
                {
                    routes.remove(0);
                }
                set_all(edit, "Record-Route", &routes)
            })
        }),
    ),
    s_cscf(
        "s-cscf-leaves-the-identity-in-the-request-uri",
        "SCSCF-012",
        "sends a request to the called user's P-CSCF under the identity that was called",
        How::Says(|p| {
            request(p, Mw, &[], |edit, sip| {
                match first_uri(sip, "P-Called-Party-ID") {
                    Some(called) => edit.request_uri(&called),
                    None => edit,
                }
            })
        }),
    ),
    s_cscf(
        "s-cscf-leaves-the-path-out",
        "SCSCF-012",
        "sends a request to the called user's P-CSCF without Route",
        How::Says(|p| {
            request(p, Mw, &[], |edit, sip| match sip.has("P-Called-Party-ID") {
                true => edit.remove("Route"),
                false => edit,
            })
        }),
    ),
    s_cscf(
        "s-cscf-does-not-say-who-was-called",
        "SCSCF-012",
        "sends a request to the called user's P-CSCF without P-Called-Party-ID",
        How::Says(|p| request(p, Mw, &[], |edit, _| edit.remove("P-Called-Party-ID"))),
    ),
    s_cscf(
        "s-cscf-calls-the-contact",
        "SCSCF-012",
        "names the Contact in P-Called-Party-ID",
        How::Says(|p| {
            request(p, Mw, &[], |edit, sip| {
                match (sip.has("P-Called-Party-ID"), sip.request_uri()) {
                    (true, Some(contact)) => edit.set("P-Called-Party-ID", &format!("<{contact}>")),
                    _ => edit,
                }
            })
        }),
    ),
    s_cscf(
        "s-cscf-calls-the-absent-unknown",
        "SCSCF-013",
        "answers 404 itself for a user who is not registered",
        How::Door(|_| {
            Remembering::door(
                |memory, p| {
                    if let Some(sip) = p.message.sip()
                        && sip.status() == Some(480)
                    {
                        memory.put(&turn(sip), String::new());
                    }
                    Heard::AsItCame
                },
                |memory, p| {
                    response(p, Mw, &[], (480, 480), |edit, sip| {
                        match memory.get(&turn(sip)).is_some() || sip.method() == "REGISTER" {
                            true => edit,
                            false => edit.status(404, "Not Found"),
                        }
                    })
                },
            )
        }),
    ),
    s_cscf(
        "s-cscf-tells-where-the-caller-is",
        "SCSCF-020",
        "leaves P-Access-Network-Info on requests to the called user",
        How::Door(|_| {
            Remembering::door(note_location, |memory, p| {
                request(p, Mw, &[], |edit, sip| match to_the_called(p, sip) {
                    true => located(memory, edit, sip),
                    false => edit,
                })
            })
        }),
    ),
    s_cscf(
        "s-cscf-tells-where-the-caller-is-inside-dialogs",
        "SCSCF-020",
        "leaves P-Access-Network-Info on requests to the called user inside dialogs",
        How::Door(|_| {
            Remembering::door(note_location, |memory, p| {
                request(p, Mw, &[], |edit, sip| {
                    match is_inside(sip) && to_the_called(p, sip) {
                        true => located(memory, edit, sip),
                        false => edit,
                    }
                })
            })
        }),
    ),
    // Answers.
    s_cscf(
        "s-cscf-hands-a-503-on",
        "SCSCF-018",
        "hands a 503 from below on as it is",
        How::Door(|_| {
            Remembering::door(
                |memory, p| {
                    if let Some(sip) = p.message.sip()
                        && sip.status() == Some(503)
                    {
                        memory.put(&turn(sip), String::new());
                    }
                    Heard::AsItCame
                },
                |memory, p| {
                    response(p, Mw, &[], (500, 500), |edit, sip| {
                        match memory.get(&turn(sip)) {
                            Some(_) => edit.status(503, "Service Unavailable"),
                            None => edit,
                        }
                    })
                },
            )
        }),
    ),
    s_cscf(
        "s-cscf-makes-480-of-a-redirection",
        "SCSCF-019",
        "answers 480 where the called device redirects",
        How::Says(|p| {
            response(p, Mw, &["INVITE"], (300, 399), |edit, _| {
                edit.status(480, "Temporarily Unavailable")
                    .remove("Contact")
            })
        }),
    ),
];

/// Whether a REGISTER takes all its contacts back.
fn ends_all(register: &Message) -> bool {
    let default = register.number("Expires").ok().flatten();
    let contacts = register.addrs("Contact").unwrap_or_default();
    !contacts.is_empty()
        && contacts
            .iter()
            .all(|contact| match contact.params.get("expires") {
                Some(own) => own == "0",
                None => default == Some(0),
            })
}

/// The REGISTER as one that binds its contacts for an hour.
fn prolonged(register: &Message) -> Bytes {
    let contacts = register.addrs("Contact").unwrap_or_default();
    let contacts: Vec<String> = contacts
        .into_iter()
        .filter(|contact| contact.uri != "*")
        .map(|mut contact| {
            contact.params.set("expires", Some("3600"));
            contact.to_string()
        })
        .collect();
    let edit = set_all(register.edit(), "Contact", &contacts).remove("Expires");
    edit.finish().bytes().clone()
}

/// Keeps those third-party REGISTERs from the tracker, and takes them for answered.
fn third_party(passing: &Passing<'_>, which: fn(&Message) -> bool) -> Said {
    match passing.request("REGISTER") {
        Some(register) if passing.on == Isc && which(register) => {
            Said::Answered(vec![ok(register)])
        }
        _ => Said::AsWritten,
    }
}

fn ok(request: &Message) -> Bytes {
    let answer = Builder::response(request, 200, "OK", Some("s-cscf")).finish();
    answer.bytes().clone()
}

fn success(request: &crate::wire::diameter::Message) -> Bytes {
    cx::made_answer(request, Avps::new().outcome(Outcome::Base(result::SUCCESS)))
}

fn is_reg(event: &str) -> bool {
    event
        .split(';')
        .next()
        .is_some_and(|package| package.trim() == "reg")
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

fn off_the_path(passing: &Passing<'_>, sip: &Message) -> Said {
    let edit = keep_only(sip.edit(), sip, "Record-Route", |uri| !is_own(passing, uri));
    Said::as_one(edit.finish().bytes().clone())
}

fn note_location(memory: &mut Notes<String>, passing: &Passing<'_>) -> Heard {
    if let Some(sip) = passing.message.sip()
        && sip.is_request()
        && let Some(location) = sip.header("P-Access-Network-Info")
    {
        memory.put(&turn(sip), location.into_owned());
    }
    Heard::AsItCame
}

/// Whether a request goes to a user's P-CSCF, and not back to where it came from.
fn to_the_called(passing: &Passing<'_>, sip: &Message) -> bool {
    let next = sip.addrs("Route").unwrap_or_default().into_iter().next();
    let next = next
        .map(|route| route.uri)
        .or(sip.request_uri().map(str::to_owned));
    let directory = &passing.setup.directory;
    let owner = next
        .and_then(|uri| Uri::parse(&uri).ok())
        .and_then(|uri| directory.owner(&uri.host).cloned());
    let node = owner.and_then(|name| directory.nodes.get(&name));
    node.is_some_and(|node| node.role == Role::PCscf)
}

fn located<'a>(memory: &mut Notes<String>, edit: Edit<'a>, sip: &Message) -> Edit<'a> {
    match memory.get(&turn(sip)) {
        Some(location) => edit.set("P-Access-Network-Info", location),
        None => edit,
    }
}

const WITHDRAWN: &str = "withdrawn";
