//! What a P-CSCF can do wrong.

use std::time::Duration;

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
        policy::{Admission, RouteMismatch},
    },
    proto::digest::AuthValue,
    spec::{
        RefPoint::{Gm, Mw},
        Role,
    },
    wire::{
        message::Decoded,
        sip::{self, Builder, Edit, Message, NameAddr, Params, Uri, Via},
    },
};

const fn p_cscf(
    name: &'static str,
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        name,
        roles: &[Role::PCscf],
        requirement,
        summary,
        how,
    }
}

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    // Registering.
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
    // Identities.
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
                |memory, p| {
                    if let Some(sip) = p.message.sip()
                        && p.on == Gm
                        && sip.is_request()
                    {
                        for name in FOR_THE_NETWORK.iter().filter(|name| sip.has(name)) {
                            let key = format!("{name} {}", turn(sip));
                            memory.put(&key, sip.values(name).join(", "));
                        }
                    }
                    Heard::AsItCame
                },
                |memory, p| {
                    request(p, Mw, &[], |edit, sip| {
                        FOR_THE_NETWORK.iter().fold(edit, |edit, name| {
                            match memory.get(&format!("{name} {}", turn(sip))) {
                                Some(value) => edit.append(name, value),
                                None => edit,
                            }
                        })
                    })
                },
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
    // As a proxy.
    p_cscf(
        "p-cscf-tries-late",
        "PCSCF-018",
        "answers 100 after half a second",
        How::Setup(|setup| setup.policy.p_cscf.trying_after = Duration::from_millis(500)),
    ),
    p_cscf(
        "p-cscf-never-says-trying",
        "PCSCF-018",
        "answers no INVITE with 100",
        How::Says(|p| match p.response("INVITE") {
            Some(sip) if p.on == Gm && sip.status() == Some(100) => Said::Nothing,
            _ => Said::AsWritten,
        }),
    ),
    p_cscf(
        "p-cscf-counts-no-hop",
        "PCSCF-021",
        "leaves Max-Forwards as it came",
        How::Says(|p| request(p, Mw, &[], more_hops)),
    ),
    p_cscf(
        "p-cscf-counts-no-hop-inside-dialogs",
        "PCSCF-021",
        "leaves Max-Forwards as it came inside dialogs",
        How::Says(|p| {
            request(p, Mw, &[], |edit, sip| match is_inside(sip) {
                true => more_hops(edit, sip),
                false => edit,
            })
        }),
    ),
    p_cscf(
        "p-cscf-forwards-the-exhausted",
        "ERR-010",
        "forwards a request without hops left",
        How::Hears(|p| {
            request(p, Gm, &[], |edit, sip| match sip.number("Max-Forwards") {
                Ok(Some(0)) => edit.set("Max-Forwards", "1"),
                _ => edit,
            })
        }),
    ),
    p_cscf(
        "p-cscf-drops-the-exhausted",
        "ERR-010",
        "answers nothing to a request without hops left",
        How::Hears(|p| match p.message.sip() {
            Some(sip)
                if p.on == Gm
                    && sip.is_request()
                    && matches!(sip.number("Max-Forwards"), Ok(Some(0))) =>
            {
                Heard::Nothing
            }
            _ => Heard::AsItCame,
        }),
    ),
    p_cscf(
        "p-cscf-refuses-unknown-methods",
        "ERR-012",
        "answers 501 to a method it does not know",
        How::Hears(|p| match p.message.sip() {
            Some(sip) if p.on == Gm && sip.is_request() && !METHODS.contains(&sip.method()) => {
                refuse(sip, 501)
            }
            _ => Heard::AsItCame,
        }),
    ),
    p_cscf(
        "p-cscf-answers-408",
        "ERR-007",
        "makes 408 of a 504 to a request that is no INVITE",
        How::Says(|p| {
            response(p, Gm, &[], (504, 504), |edit, sip| match sip.method() {
                "INVITE" => edit,
                _ => edit.status(408, "Request Timeout"),
            })
        }),
    ),
    p_cscf(
        "p-cscf-never-cancels-on-its-own",
        "ERR-008",
        "cancels no branch that nobody upstream cancels",
        How::Door(|_| {
            Remembering::door(
                |memory, p| {
                    if let Some(cancel) = p.request("CANCEL") {
                        memory.put(&turn(cancel), String::new());
                    }
                    Heard::AsItCame
                },
                |memory, p| match p.request("CANCEL") {
                    Some(cancel) if memory.get(&turn(cancel)).is_none() => Said::Nothing,
                    _ => Said::AsWritten,
                },
            )
        }),
    ),
    p_cscf(
        "p-cscf-repeats-by-the-timers-of-the-core",
        "PCSCF-017",
        "repeats requests to a UE after half a second",
        How::Setup(|setup| setup.policy.p_cscf.access_t1 = Duration::from_millis(500)),
    ),
    p_cscf(
        "p-cscf-believes-via",
        "PCSCF-019",
        "leaves received and rport in Via as the sender wrote them",
        How::Door(|_| {
            Remembering::door(
                |memory, p| {
                    if let Some(sip) = p.message.sip()
                        && p.on == Gm
                        && sip.is_request()
                        && let Some(via) = sip.values("Via").first()
                    {
                        memory.put(&turn(sip), via.clone());
                    }
                    Heard::AsItCame
                },
                |memory, p| {
                    request(p, Mw, &[], |edit, sip| {
                        let mut vias = sip.values("Via");
                        match (memory.get(&turn(sip)), vias.get_mut(1)) {
                            (Some(written), Some(second)) if same_branch(written, second) => {
                                second.clone_from(written);
                                set_all(edit, "Via", &vias)
                            }
                            _ => edit,
                        }
                    })
                },
            )
        }),
    ),
    // Broken and unusual messages.
    p_cscf(
        "p-cscf-forwards-the-broken",
        "ERR-014",
        "forwards requests without their mandatory headers, on the route their sender has",
        How::SetupAndDoor(
            |setup| setup.policy.p_cscf.route_mismatch = RouteMismatch::Replace,
            |_| Box::new(Indulgent),
        ),
    ),
    p_cscf(
        "p-cscf-falls-silent-after-the-unreadable",
        "ERR-014",
        "hears nothing from UEs any more after octets that are no message",
        How::Door(|_| Box::<Offended>::default()),
    ),
    p_cscf(
        "p-cscf-reads-no-compact-names",
        "ERR-014",
        "refuses requests whose headers go by compact names",
        How::Hears(|p| refuse_if(p, |name, _| name.len() == 1)),
    ),
    p_cscf(
        "p-cscf-reads-no-other-case",
        "ERR-014",
        "refuses requests with a header name that begins with a small letter",
        How::Hears(|p| {
            refuse_if(p, |name, _| {
                name.len() > 1 && name.starts_with(|first: char| first.is_ascii_lowercase())
            })
        }),
    ),
    p_cscf(
        "p-cscf-reads-no-folded-lines",
        "ERR-014",
        "refuses requests with a header that goes on in the next line",
        How::Hears(|p| refuse_if(p, |_, line| line.trim_ascii_end().contains(&b'\n'))),
    ),
    p_cscf(
        "p-cscf-writes-a-short-length",
        "ERR-015",
        "writes a Content-Length that is one octet short",
        How::Says(|p| match p.message.sip() {
            Some(sip) if p.link.is_some() && !sip.body().is_empty() => {
                let length = (sip.body().len() - 1).to_string();
                Said::as_one(
                    sip.edit()
                        .set("Content-Length", &length)
                        .finish()
                        .bytes()
                        .clone(),
                )
            }
            _ => Said::AsWritten,
        }),
    ),
    p_cscf(
        "p-cscf-takes-what-came",
        "ERR-015",
        "forwards a request of which the stream ended before the body did",
        How::Door(|_| Box::new(Hasty)),
    ),
];

/// Remembers a header of a UE's request.
fn note(memory: &mut Notes<String>, passing: &Passing<'_>, name: &str) -> Heard {
    note_if(memory, passing, name, Message::is_request)
}

/// Remembers a header of what a UE sends, if it is of that kind.
fn note_if(
    memory: &mut Notes<String>,
    passing: &Passing<'_>,
    name: &str,
    fits: fn(&Message) -> bool,
) -> Heard {
    if let Some(sip) = passing.message.sip()
        && passing.on == Gm
        && fits(sip)
        && sip.has(name)
    {
        memory.put(&turn(sip), sip.values(name).join(", "));
    }
    Heard::AsItCame
}

/// Adds what was remembered of a UE's request to the same request in the core.
fn append_noted(memory: &mut Notes<String>, passing: &Passing<'_>, name: &str) -> Said {
    request(passing, Mw, &[], |edit, sip| match memory.get(&turn(sip)) {
        Some(value) => edit.append(name, value),
        None => edit,
    })
}

/// Asserts the remembered identity.
fn assert_noted(memory: &mut Notes<String>, passing: &Passing<'_>) -> Said {
    request(passing, Mw, &[], |edit, sip| match memory.get(&turn(sip)) {
        Some(value) => edit.set("P-Asserted-Identity", value),
        None => edit,
    })
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

fn refuse(sip: &Message, code: u16) -> Heard {
    let reason = sip::reason(code);
    match sip.method() {
        "ACK" => Heard::Nothing,
        _ => Heard::Answer(vec![
            Builder::response(sip, code, reason, Some("p-cscf"))
                .finish()
                .bytes()
                .clone(),
        ]),
    }
}

/// Refuses a request one of whose header lines, by name and octets, is so.
fn refuse_if(passing: &Passing<'_>, is_so: fn(&str, &[u8]) -> bool) -> Heard {
    match passing.message.sip() {
        Some(sip)
            if passing.on == Gm
                && sip.is_request()
                && sip
                    .headers()
                    .any(|header| is_so(header.name, &sip.bytes()[header.span.clone()])) =>
        {
            refuse(sip, 400)
        }
        _ => Heard::AsItCame,
    }
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

fn more_hops<'a>(edit: Edit<'a>, sip: &'a Message) -> Edit<'a> {
    match sip.number("Max-Forwards") {
        Ok(Some(hops)) => edit.set("Max-Forwards", &hops.saturating_add(1).to_string()),
        _ => edit,
    }
}

fn same_branch(one: &str, other: &str) -> bool {
    match (Via::parse(one), Via::parse(other)) {
        (Ok(one), Ok(other)) => one.branch().is_some() && one.branch() == other.branch(),
        _ => false,
    }
}

/// Hears of no deregistration that a UE asks for.
#[derive(Default)]
struct Keeping {
    /// The Contacts that were to go, by request.
    gone: Notes<Vec<String>>,
    /// The Contacts that the registrar's answer had, by request.
    left: Notes<Vec<String>>,
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
            Some(granted) if granted.status() == Some(200) => {
                let Some(gone) = self.gone.get(&turn(granted)) else {
                    return Heard::AsItCame;
                };
                self.left.put(&turn(granted), granted.values("Contact"));
                let kept = gone.iter().map(|uri| format!("<{uri}>;expires=3600"));
                let edit = kept.fold(granted.edit(), |edit, contact| {
                    edit.append("Contact", &contact)
                });
                Heard::as_one(edit.finish().bytes().clone())
            }
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

/// Reads requests without their mandatory headers as if they had them, and forwards them without.
struct Indulgent;

impl Door for Indulgent {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        request(passing, Gm, &[], |edit, sip| {
            let mended = [
                ("Call-ID", MISSING.to_owned()),
                ("CSeq", format!("{MISSING_NUMBER} {}", sip.method())),
                ("From", format!("<sip:{MISSING}>;tag={MISSING}")),
                ("Max-Forwards", MISSING_HOPS.to_string()),
                ("To", format!("<sip:{MISSING}>")),
            ];
            mended
                .iter()
                .fold(edit, |edit, (name, value)| match sip.has(name) {
                    true => edit,
                    false => edit.append(name, value),
                })
        })
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        request(passing, Mw, &[], |edit, sip| {
            let is_mended = |name: &str| {
                let value = sip.header(name).unwrap_or_default();
                value.contains(MISSING) || value.starts_with(&MISSING_NUMBER.to_string())
            };
            let mended = ["Call-ID", "CSeq", "From", "To"];
            mended
                .into_iter()
                .filter(|name| is_mended(name))
                .fold(edit, |edit, name| edit.remove(name))
        })
    }
}

const MISSING: &str = "missing.invalid";
const MISSING_NUMBER: u32 = 2_147_000_001;
const MISSING_HOPS: u32 = 70;

/// Hears nothing on Gm any more once something was unreadable.
#[derive(Default)]
struct Offended {
    is_offended: bool,
}

impl Offended {
    fn hear(&mut self, passing: &Passing<'_>) -> Heard {
        let is_unreadable = matches!(passing.message, Decoded::Unreadable(_));
        self.is_offended |= passing.on == Gm && is_unreadable;
        match self.is_offended && passing.on == Gm {
            true => Heard::Nothing,
            false => Heard::AsItCame,
        }
    }
}

impl Door for Offended {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        self.hear(passing)
    }

    fn hears_rest(&mut self, passing: &Passing<'_>) -> Heard {
        self.hear(passing)
    }
}

/// Takes for the body what came of it.
struct Hasty;

impl Door for Hasty {
    fn hears_rest(&mut self, passing: &Passing<'_>) -> Heard {
        match passing.message.sip() {
            Some(sip) if passing.on == Gm && sip.is_request() => {
                let kind = sip.header("Content-Type").unwrap_or_default().into_owned();
                let content = (!kind.is_empty()).then_some((kind.as_str(), sip.body()));
                Heard::as_one(sip.edit().body(content).finish().bytes().clone())
            }
            _ => Heard::AsItCame,
        }
    }
}

/// What only the network writes, beside the asserted identity and charging.
const FOR_THE_NETWORK: &[&str] = &["P-Asserted-Service", "P-Served-User"];

/// The methods of RFC 3261, 3262, 3265, 3311, 3428, 3515, 3903 and 6086.
const METHODS: &[&str] = &[
    "ACK",
    "BYE",
    "CANCEL",
    "INFO",
    "INVITE",
    "MESSAGE",
    "NOTIFY",
    "OPTIONS",
    "PRACK",
    "PUBLISH",
    "REFER",
    "REGISTER",
    "SUBSCRIBE",
    "UPDATE",
];
