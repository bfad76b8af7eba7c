//! Whom and what a P-CSCF lets in, and where it sends it.

use super::{append_noted, note, p_cscf, refuse};
use crate::{
    node::{
        deviation::{
            Deviation, Door, Heard, How, Passing, Said,
            bend::{
                Notes,
                edits::{first_uri, is_inside, is_own, keep_only, request, response, set_all},
                recall::{Remembering, turn},
            },
        },
        policy::{Admission, RouteMismatch, Watching},
    },
    proto::digest::AuthValue,
    spec::RefPoint::{Gm, Mw},
    wire::sip::{Builder, Edit, Message, NameAddr},
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    // Registering.
    p_cscf(
        "p-cscf-watches-no-registration",
        "PCSCF-024",
        "subscribes to the registration state of nobody",
        How::Setup(|setup| setup.policy.p_cscf.watches = Watching::Nobody),
    ),
    p_cscf(
        "p-cscf-watches-its-first-user-only",
        "PCSCF-024",
        "subscribes to the registration state of the first user that registers, and no other",
        How::Setup(|setup| setup.policy.p_cscf.watches = Watching::First),
    ),
    p_cscf(
        "p-cscf-watches-nobody-who-comes-back",
        "PCSCF-024",
        "does not subscribe again to the registration state of a user that had gone",
        How::Door(|_| {
            Remembering::door(
                |_, _| Heard::AsItCame,
                |memory, p| {
                    let first = p.request("SUBSCRIBE").filter(|sip| !is_inside(sip));
                    let own = first.filter(|sip| {
                        p.on == Mw && first_uri(sip, "From").is_some_and(|from| is_own(p, &from))
                    });
                    let Some((user, call)) =
                        own.and_then(|sip| Some((sip.request_uri()?, sip.call_id().ok()?)))
                    else {
                        return Said::AsWritten;
                    };
                    match memory.get(user) {
                        Some(known) if *known != call => Said::Nothing,
                        _ => {
                            memory.put(user, call);
                            Said::AsWritten
                        }
                    }
                },
            )
        }),
    ),
    p_cscf(
        "p-cscf-fetches-registrations-once",
        "PCSCF-024",
        "asks for the registration state of its users once, instead of subscribing to it",
        How::Says(|p| {
            request(p, Mw, &["SUBSCRIBE"], |edit, sip| {
                match first_uri(sip, "From").is_some_and(|from| is_own(p, &from)) {
                    true => edit.set("Expires", "0"),
                    false => edit,
                }
            })
        }),
    ),
    p_cscf(
        "p-cscf-adds-no-path",
        "REG-006",
        "forwards a REGISTER without Path",
        How::Says(|p| request(p, Mw, &["REGISTER"], |edit, _| edit.remove("Path"))),
    ),
    p_cscf(
        "p-cscf-adds-path-only-at-first",
        "REG-006",
        "leaves Path out of a REGISTER that answers a challenge",
        How::Says(|p| {
            request(p, Mw, &["REGISTER"], |edit, sip| {
                match answers_challenge(sip) {
                    true => edit.remove("Path"),
                    false => edit,
                }
            })
        }),
    ),
    p_cscf(
        "p-cscf-keeps-a-forged-path",
        "REG-006",
        "leaves the Path that a UE wrote beside its own",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note(memory, p, "Path"),
                |memory, p| append_noted(memory, p, "Path"),
            )
        }),
    ),
    p_cscf(
        "p-cscf-requires-no-path",
        "REG-006",
        "forwards a REGISTER without Require: path",
        How::Says(|p| {
            request(p, Mw, &["REGISTER"], |edit, sip| {
                let mut tags = sip.values("Require");
                tags.retain(|tag| !tag.eq_ignore_ascii_case("path"));
                set_all(edit, "Require", &tags)
            })
        }),
    ),
    p_cscf(
        "p-cscf-names-no-visited-network",
        "REG-006",
        "forwards a REGISTER without P-Visited-Network-ID",
        How::Says(|p| {
            request(p, Mw, &["REGISTER"], |edit, _| {
                edit.remove("P-Visited-Network-ID")
            })
        }),
    ),
    p_cscf(
        "p-cscf-registers-without-icid",
        "REG-006",
        "forwards a REGISTER without a charging identifier",
        How::Says(|p| {
            request(p, Mw, &["REGISTER"], |edit, _| {
                edit.remove("P-Charging-Vector")
            })
        }),
    ),
    p_cscf(
        "p-cscf-passes-the-keys-of-aka",
        "PCSCF-025",
        "hands a challenge of AKA to the UE as it came, keys and all",
        How::Door(|_| {
            Remembering::door(note_challenge, |memory, p| {
                response(p, Gm, &["REGISTER"], (401, 401), |edit, sip| {
                    match memory.get(&turn(sip)) {
                        Some(challenge) => edit.set("WWW-Authenticate", challenge),
                        None => edit,
                    }
                })
            })
        }),
    ),
    p_cscf(
        "p-cscf-passes-the-integrity-key",
        "PCSCF-025",
        "takes ck out of a challenge, and leaves ik in it",
        How::Door(|_| {
            Remembering::door(note_challenge, |memory, p| {
                response(p, Gm, &["REGISTER"], (401, 401), |edit, sip| {
                    let noted = memory.get(&turn(sip));
                    let challenge = noted.and_then(|noted| AuthValue::parse(noted).ok());
                    match challenge {
                        Some(mut challenge) => {
                            challenge.remove("ck");
                            edit.set("WWW-Authenticate", &challenge.to_string())
                        }
                        None => edit,
                    }
                })
            })
        }),
    ),
    p_cscf(
        "p-cscf-passes-security-client",
        "PCSCF-010",
        "hands the UE's Security-Client on to the core",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note(memory, p, "Security-Client"),
                |memory, p| append_noted(memory, p, "Security-Client"),
            )
        }),
    ),
    p_cscf(
        "p-cscf-leaves-sec-agree-required",
        "PCSCF-010",
        "hands the UE's Require: sec-agree on to the core",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note(memory, p, "Security-Client"),
                |memory, p| {
                    request(p, Mw, &["REGISTER"], |edit, sip| {
                        match memory.get(&turn(sip)) {
                            Some(_) => edit.append("Require", "sec-agree"),
                            None => edit,
                        }
                    })
                },
            )
        }),
    ),
    p_cscf(
        "p-cscf-verifies-no-security-agreement",
        "PCSCF-023",
        "takes a REGISTER whatever its Security-Verify says",
        How::Hears(|p| {
            request(p, Gm, &["REGISTER"], |edit, _| {
                edit.remove("Security-Verify")
            })
        }),
    ),
    p_cscf(
        "p-cscf-forbids-where-security-differs",
        "PCSCF-023",
        "answers 403 where Security-Verify is not what it offered",
        How::Says(|p| {
            response(p, Gm, &["REGISTER"], (494, 494), |edit, _| {
                edit.status(403, "Forbidden")
            })
        }),
    ),
    // Letting in.
    p_cscf(
        "p-cscf-lets-strangers-in",
        "PCSCF-001",
        "takes who never registered for who From says",
        How::Setup(|setup| {
            setup.policy.p_cscf.admits = Admission::Anyone;
            setup.policy.p_cscf.route_mismatch = RouteMismatch::Replace;
        }),
    ),
    p_cscf(
        "p-cscf-keeps-the-deregistered",
        "PCSCF-001",
        "lets a UE in for another hour after it deregistered",
        How::Door(|_| Box::<Keeping>::default()),
    ),
    p_cscf(
        "p-cscf-lets-anybody-into-dialogs",
        "PCSCF-013",
        "forwards a request of one UE inside the dialog of another",
        How::Setup(|setup| setup.policy.p_cscf.guards_dialogs = false),
    ),
    p_cscf(
        "p-cscf-forgets-dialogs",
        "PCSCF-012",
        "answers 481 to what a UE asks inside its dialogs",
        How::Hears(|p| match p.message.sip() {
            Some(sip) if p.on == Gm && sip.is_request() && is_inside(sip) => refuse(sip, 481),
            _ => Heard::AsItCame,
        }),
    ),
    p_cscf(
        "p-cscf-answers-publications-itself",
        "FLOW-002",
        "answers 200 to a PUBLISH and sends it to nobody",
        How::Hears(|p| match p.request("PUBLISH") {
            Some(sip) if p.on == Gm => {
                let expires = sip.header("Expires").unwrap_or("3600".into());
                let answer = Builder::response(sip, 200, "OK", Some("p-cscf"))
                    .header("SIP-ETag", "p-cscf")
                    .header("Expires", &expires)
                    .finish();
                Heard::Answer(vec![answer.bytes().clone()])
            }
            _ => Heard::AsItCame,
        }),
    ),
    // Routing.
    p_cscf(
        "p-cscf-stays-on-the-route",
        "PCSCF-002",
        "leaves its own URI on top of Route",
        How::Says(|p| on_route_again(p, |_| true)),
    ),
    p_cscf(
        "p-cscf-stays-on-the-route-of-dialogs",
        "PCSCF-002",
        "leaves its own URI on top of Route inside dialogs",
        How::Says(|p| on_route_again(p, is_inside)),
    ),
    p_cscf(
        "p-cscf-follows-any-route",
        "PCSCF-003",
        "sends a request wherever its Route leads",
        How::Setup(|setup| setup.policy.p_cscf.route_mismatch = RouteMismatch::Pass),
    ),
    p_cscf(
        "p-cscf-follows-a-missing-route",
        "PCSCF-003",
        "sends a request without Route to the I-CSCF, past the sender's S-CSCF",
        How::Setup(|setup| setup.policy.p_cscf.route_mismatch = RouteMismatch::PassNone),
    ),
    p_cscf(
        "p-cscf-looks-for-its-route-anywhere",
        "SEC-016",
        "follows a Route as long as the Service-Route stands somewhere in it",
        How::Setup(|setup| setup.policy.p_cscf.route_mismatch = RouteMismatch::PassContaining),
    ),
    p_cscf(
        "p-cscf-records-no-route",
        "PCSCF-008",
        "goes off the path of dialogs",
        How::Setup(|setup| setup.policy.p_cscf.records_route = false),
    ),
    p_cscf(
        "p-cscf-records-no-route-of-subscriptions",
        "PCSCF-008",
        "goes off the path of a SUBSCRIBE, and stays on that of an INVITE",
        How::Says(|p| {
            request(p, Mw, &["SUBSCRIBE"], |edit, sip| {
                off_the_path(p, edit, sip)
            })
        }),
    ),
    p_cscf(
        "p-cscf-records-no-route-of-calls",
        "PCSCF-008",
        "goes off the path of an INVITE, and stays on that of a SUBSCRIBE",
        How::Says(|p| request(p, Mw, &["INVITE"], |edit, sip| off_the_path(p, edit, sip))),
    ),
];

/// Remembers what the core challenges a UE with.
fn note_challenge(memory: &mut Notes<String>, passing: &Passing<'_>) -> Heard {
    if let Some(sip) = passing.message.sip()
        && passing.on == Mw
        && sip.status() == Some(401)
        && let Some(challenge) = sip.header("WWW-Authenticate")
    {
        memory.put(&turn(sip), challenge.into_owned());
    }
    Heard::AsItCame
}

fn answers_challenge(sip: &Message) -> bool {
    let credentials = sip.header("Authorization");
    let credentials = credentials.and_then(|value| AuthValue::parse(&value).ok());
    credentials.is_some_and(|credentials| {
        credentials
            .get("response")
            .is_some_and(|response| !response.is_empty())
    })
}

fn on_route_again(passing: &Passing<'_>, which: fn(&Message) -> bool) -> Said {
    request(passing, Mw, &[], |edit, sip| {
        let host = passing.setup.directory.nodes.get(&passing.setup.name);
        match host {
            Some(node) if which(sip) && sip.method() != "REGISTER" => {
                edit.prepend("Route", &format!("<sip:{};lr>", node.host))
            }
            _ => edit,
        }
    })
}

fn off_the_path<'a>(passing: &Passing<'_>, edit: Edit<'a>, sip: &'a Message) -> Edit<'a> {
    keep_only(edit, sip, "Record-Route", |uri| !is_own(passing, uri))
}

/// Hears of no deregistration that a UE asks for.
#[derive(Default)]
struct Keeping {
    /// The Contacts that were to go, by request.
    gone: Notes<Vec<String>>,
    /// The Contacts that the registrar's answer had, by request.
    left: Notes<Vec<String>>,
    /// Service-Route and identities that each user was given.
    given: Notes<[Vec<String>; 2]>,
}

impl Door for Keeping {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        if let Some(register) = passing.request("REGISTER")
            && passing.on == Gm
        {
            let gone = contacts_to_go(register);
            if !gone.is_empty() {
                self.gone.put(&turn(register), gone);
            }
            return Heard::AsItCame;
        }
        match passing.response("REGISTER").filter(|_| passing.on == Mw) {
            Some(granted) if granted.status() == Some(200) => self.grant(granted),
            _ => Heard::AsItCame,
        }
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        response(
            passing,
            Gm,
            &["REGISTER"],
            (200, 200),
            |edit, sip| match self.left.get(&turn(sip)) {
                Some(left) => set_all(edit, "Contact", left),
                None => edit,
            },
        )
    }
}

impl Keeping {
    /// A 200 that ends a registration is heard as one that goes on with it.
    fn grant(&mut self, granted: &Message) -> Heard {
        let user = granted.to().map(|to| to.uri).unwrap_or_default();
        let Some(gone) = self.gone.get(&turn(granted)) else {
            self.given.put(&user, KEPT.map(|name| granted.values(name)));
            return Heard::AsItCame;
        };
        self.left.put(&turn(granted), granted.values("Contact"));
        let kept = gone.iter().map(|uri| format!("<{uri}>;expires=3600"));
        let mut edit = kept.fold(granted.edit(), |edit, contact| {
            edit.append("Contact", &contact)
        });
        if let Some(given) = self.given.get(&user) {
            for (name, values) in KEPT.iter().zip(given) {
                edit = set_all(edit, name, values);
            }
        }
        Heard::as_one(edit.finish().bytes().clone())
    }
}

/// What a registrar gives with a registration.
const KEPT: [&str; 2] = ["Service-Route", "P-Associated-URI"];

fn contacts_to_go(register: &Message) -> Vec<String> {
    let default = register.number("Expires").ok().flatten();
    let ends = |contact: &NameAddr| match contact.params.get("expires") {
        Some(own) => own == "0",
        None => default == Some(0),
    };
    let contacts = register.addrs("Contact").unwrap_or_default();
    let gone = contacts.into_iter().filter(|contact| contact.uri != "*");
    gone.filter(ends).map(|contact| contact.uri).collect()
}
