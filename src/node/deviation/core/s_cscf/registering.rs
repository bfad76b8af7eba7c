//! What an S-CSCF does wrong as a registrar.

use std::time::Duration;

use bytes::Bytes;

use super::{ok, s_cscf, success};
use crate::{
    node::{
        deviation::{
            Deviation, Heard, How, Passing, Said,
            bend::{
                Notes, cx,
                edits::{first_uri, request, response, set_all},
                recall::{Remembering, turn},
            },
        },
        policy::Examination,
    },
    proto::digest::AuthValue,
    spec::RefPoint::{Isc, Mw},
    wire::sip::Message,
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
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
    s_cscf(
        "s-cscf-gives-its-service-route-once",
        "REG-008",
        "answers a REGISTER that only prolongs a registration without Service-Route",
        How::Door(|_| Remembering::door(|_, _| Heard::AsItCame, without_known_route)),
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

/// A 200 to a REGISTER of whom the Service-Route was given to already, without it.
fn without_known_route(memory: &mut Notes<String>, passing: &Passing<'_>) -> Said {
    response(passing, Mw, &["REGISTER"], (200, 200), |edit, sip| {
        let user = sip.to().map(|to| to.uri).unwrap_or_default();
        if !sip.has("Contact") {
            memory.put(&user, GONE.to_owned());
            return edit;
        }
        match memory.get(&user) {
            Some(first) if *first == turn(sip) => edit,
            Some(first) if first != GONE => edit.remove("Service-Route"),
            _ => {
                memory.put(&user, turn(sip));
                edit
            }
        }
    })
}

/// In place of the REGISTER that a registration began with, once it has ended.
const GONE: &str = "gone";

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

fn is_reg(event: &str) -> bool {
    event
        .split(';')
        .next()
        .is_some_and(|package| package.trim() == "reg")
}

const WITHDRAWN: &str = "withdrawn";
