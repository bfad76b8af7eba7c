//! What a P-CSCF says of its users, to the core and to others.

use super::{append_noted, note, note_if, p_cscf};
use crate::{
    node::deviation::{
        Deviation, Heard, How, Passing, Said,
        bend::{
            Notes,
            edits::{first_uri, is_inside, request, response},
            recall::{Remembering, turn},
        },
    },
    node::policy::Privacy,
    spec::RefPoint::{Gm, Mw},
    wire::sip::{Edit, Message, Params, Uri},
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    // Identities.
    p_cscf(
        "p-cscf-names-who-asks-for-privacy",
        "SEC-017",
        "tells the called who calls, whatever privacy the caller asks for",
        How::Setup(|setup| setup.policy.p_cscf.privacy = Privacy::Broken),
    ),
    p_cscf(
        "p-cscf-reads-one-wish-for-privacy",
        "SEC-017",
        "tells the called who calls if the caller wants more kept private than its identity",
        How::Setup(|setup| setup.policy.p_cscf.privacy = Privacy::KeptAlone),
    ),
    p_cscf(
        "p-cscf-keeps-calls-private-only",
        "SEC-017",
        "tells the called who asks for privacy in anything but INVITE",
        How::Door(|_| {
            Remembering::door(
                |memory, p| {
                    if let Some(sip) = p.message.sip()
                        && p.on == Mw
                        && sip.is_request()
                        && sip.method() != "INVITE"
                        && let Some(asserted) = sip.header("P-Asserted-Identity")
                    {
                        memory.put(&turn(sip), asserted.into_owned());
                    }
                    Heard::AsItCame
                },
                |memory, p| {
                    request(p, Gm, &[], |edit, sip| match memory.get(&turn(sip)) {
                        Some(asserted) => edit.set("P-Asserted-Identity", asserted),
                        None => edit,
                    })
                },
            )
        }),
    ),
    p_cscf(
        "p-cscf-ignores-a-preference",
        "PCSCF-004",
        "asserts the default identity whichever is preferred",
        How::Hears(|p| request(p, Gm, &[], |edit, _| edit.remove("P-Preferred-Identity"))),
    ),
    p_cscf(
        "p-cscf-passes-the-preferred-identity",
        "PCSCF-004",
        "hands P-Preferred-Identity on",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note(memory, p, "P-Preferred-Identity"),
                |memory, p| append_noted(memory, p, "P-Preferred-Identity"),
            )
        }),
    ),
    p_cscf(
        "p-cscf-asserts-any-preference",
        "PCSCF-005",
        "asserts the preferred identity, whoever it belongs to",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note(memory, p, "P-Preferred-Identity"),
                assert_noted,
            )
        }),
    ),
    p_cscf(
        "p-cscf-asserts-nothing-by-default",
        "PCSCF-005",
        "asserts an identity only where one is preferred",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note(memory, p, "P-Preferred-Identity"),
                |memory, p| {
                    request(p, Mw, &[], |edit, sip| match memory.get(&turn(sip)) {
                        Some(_) => edit,
                        None => edit.remove("P-Asserted-Identity"),
                    })
                },
            )
        }),
    ),
    p_cscf(
        "p-cscf-passes-an-asserted-identity",
        "PCSCF-006",
        "leaves the P-Asserted-Identity that a UE wrote beside its own",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note(memory, p, "P-Asserted-Identity"),
                |memory, p| append_noted(memory, p, "P-Asserted-Identity"),
            )
        }),
    ),
    p_cscf(
        "p-cscf-passes-an-asserted-identity-inside-dialogs",
        "PCSCF-006",
        "asserts what a UE asserts itself inside a dialog",
        How::Door(|_| {
            Remembering::door(
                |memory, p| match p.message.sip() {
                    Some(sip) if is_inside(sip) => note(memory, p, "P-Asserted-Identity"),
                    _ => Heard::AsItCame,
                },
                assert_noted,
            )
        }),
    ),
    p_cscf(
        "p-cscf-passes-a-second-asserted-identity",
        "PCSCF-006",
        "takes one P-Asserted-Identity that a UE wrote out, and leaves others",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note_further(memory, p, &["P-Asserted-Identity"]),
                |memory, p| append_further(memory, p, &["P-Asserted-Identity"]),
            )
        }),
    ),
    p_cscf(
        "p-cscf-passes-an-asserted-telephone-number",
        "PCSCF-006",
        "takes two identities that a UE asserts out, and leaves the telephone number behind them",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note_from(memory, p, &["P-Asserted-Identity"], 2),
                |memory, p| append_further(memory, p, &["P-Asserted-Identity"]),
            )
        }),
    ),
    p_cscf(
        "p-cscf-believes-an-asserted-identity",
        "SEC-002",
        "asserts what a UE asserts itself",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note(memory, p, "P-Asserted-Identity"),
                assert_noted,
            )
        }),
    ),
    p_cscf(
        "p-cscf-asserts-from",
        "SEC-001",
        "asserts the identity in From",
        How::Says(|p| {
            request(p, Mw, &[], |edit, sip| {
                match (sip.has("P-Asserted-Identity"), sip.from()) {
                    (true, Ok(from)) => edit.set("P-Asserted-Identity", &format!("<{}>", from.uri)),
                    _ => edit,
                }
            })
        }),
    ),
    p_cscf(
        "p-cscf-asserts-nobody-called",
        "PCSCF-016",
        "asserts no identity in the answers of a called UE",
        How::Says(|p| {
            response(p, Mw, &[], (101, 699), |edit, _| {
                edit.remove("P-Asserted-Identity")
            })
        }),
    ),
    p_cscf(
        "p-cscf-believes-the-called",
        "PCSCF-016",
        "asserts in answers what the called UE asserts itself",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note_if(memory, p, "P-Asserted-Identity", |sip| !sip.is_request()),
                |memory, p| {
                    response(p, Mw, &[], (101, 699), |edit, sip| {
                        match memory.get(&turn(sip)) {
                            Some(asserted) => edit.set("P-Asserted-Identity", asserted),
                            None => edit,
                        }
                    })
                },
            )
        }),
    ),
    p_cscf(
        "p-cscf-passes-network-headers",
        "SEC-021",
        "leaves P-Served-User and P-Asserted-Service that a UE wrote",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note_from(memory, p, FOR_THE_NETWORK, 0),
                |memory, p| append_further(memory, p, FOR_THE_NETWORK),
            )
        }),
    ),
    p_cscf(
        "p-cscf-passes-network-headers-written-twice",
        "SEC-021",
        "takes one P-Served-User and P-Asserted-Service that a UE wrote out, and leaves others",
        How::Door(|_| {
            Remembering::door(
                |memory, p| note_further(memory, p, FOR_THE_NETWORK),
                |memory, p| append_further(memory, p, FOR_THE_NETWORK),
            )
        }),
    ),
    // Charging.
    p_cscf(
        "p-cscf-uses-one-icid",
        "PCSCF-007",
        "gives everything the same charging identifier",
        How::Says(|p| {
            request(p, Mw, &[], |edit, sip| {
                with_icid(edit, sip, "always-the-same")
            })
        }),
    ),
    p_cscf(
        "p-cscf-uses-one-icid-for-a-user",
        "PCSCF-007",
        "gives all dialogs of a user the same charging identifier",
        How::Says(|p| {
            request(p, Mw, &[], |edit, sip| {
                let identity = first_uri(sip, "P-Asserted-Identity");
                match identity.and_then(|identity| Uri::parse(&identity).ok()?.user) {
                    Some(user) => with_icid(edit, sip, &format!("of-{user}")),
                    None => edit,
                }
            })
        }),
    ),
    p_cscf(
        "p-cscf-shows-charging",
        "PCSCF-011",
        "lets UEs see charging headers",
        How::Setup(|setup| setup.policy.p_cscf.hides_charging = false),
    ),
    p_cscf(
        "p-cscf-shows-charging-in-answers",
        "PCSCF-011",
        "lets UEs see charging headers in final answers to their requests",
        How::Door(|_| {
            Remembering::door(
                |memory, p| {
                    if let Some(sip) = p.message.sip()
                        && p.on == Mw
                        && !sip.is_request()
                        && let Some(vector) = sip.header("P-Charging-Vector")
                    {
                        memory.put(&turn(sip), vector.into_owned());
                    }
                    Heard::AsItCame
                },
                |memory, p| {
                    response(p, Gm, &[], (200, 699), |edit, sip| {
                        match memory.get(&turn(sip)) {
                            Some(vector) => edit.append("P-Charging-Vector", vector),
                            None => edit,
                        }
                    })
                },
            )
        }),
    ),
];

/// Remembers the values of headers of a UE's request but for the first.
fn note_further(memory: &mut Notes<String>, passing: &Passing<'_>, names: &[&str]) -> Heard {
    note_from(memory, passing, names, 1)
}

/// Remembers the values of headers of a UE's request from one on, counted from 0.
fn note_from(
    memory: &mut Notes<String>,
    passing: &Passing<'_>,
    names: &[&str],
    from: usize,
) -> Heard {
    if let Some(sip) = passing.message.sip()
        && passing.on == Gm
        && sip.is_request()
    {
        for name in names {
            let values: Vec<String> = sip.values(name).into_iter().skip(from).collect();
            if !values.is_empty() {
                memory.put(&format!("{name} {}", turn(sip)), values.join(", "));
            }
        }
    }
    Heard::AsItCame
}

/// Adds what was remembered so to the same request in the core.
fn append_further(memory: &mut Notes<String>, passing: &Passing<'_>, names: &[&str]) -> Said {
    request(passing, Mw, &[], |edit, sip| {
        names.iter().fold(edit, |edit, name| {
            match memory.get(&format!("{name} {}", turn(sip))) {
                Some(value) => edit.append(name, value),
                None => edit,
            }
        })
    })
}

/// Asserts the remembered identity.
fn assert_noted(memory: &mut Notes<String>, passing: &Passing<'_>) -> Said {
    request(passing, Mw, &[], |edit, sip| match memory.get(&turn(sip)) {
        Some(value) => edit.set("P-Asserted-Identity", value),
        None => edit,
    })
}

fn with_icid<'a>(edit: Edit<'a>, sip: &'a Message, icid: &str) -> Edit<'a> {
    let vector = sip.header("P-Charging-Vector");
    let params = vector.and_then(|vector| Params::parse(&format!(";{vector}")).ok());
    match params {
        Some(mut params) if sip.method() != "REGISTER" => {
            params.set("icid-value", Some(&format!("\"{icid}\"")));
            edit.set(
                "P-Charging-Vector",
                params.to_string().trim_start_matches(';'),
            )
        }
        _ => edit,
    }
}

/// What only the network writes, beside the asserted identity and charging.
const FOR_THE_NETWORK: &[&str] = &["P-Asserted-Service", "P-Served-User"];
