//! Where an S-CSCF sends requests and answers.

use super::s_cscf;
use crate::{
    node::{
        deviation::{
            Deviation, Heard, How, Passing, Said,
            bend::{
                Notes,
                edits::{first_uri, is_inside, is_own, keep_only, request, response},
                recall::{Remembering, turn},
            },
        },
        policy::Loops,
    },
    spec::{RefPoint::Mw, Role},
    wire::sip::{Edit, Message, Uri},
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    // Routing.
    s_cscf(
        "s-cscf-forks-beyond-the-breadth",
        "SCSCF-022",
        "sends a request to every contact, whatever breadth is left to it",
        How::Hears(|p| request(p, Mw, &["INVITE"], |edit, _| edit.remove("Max-Breadth"))),
    ),
    s_cscf(
        "s-cscf-bounds-forks-of-calls-only",
        "SCSCF-022",
        "sends anything but INVITE to every contact, whatever breadth is left to it",
        How::Hears(|p| {
            request(p, Mw, &[], |edit, sip| match sip.method() {
                "INVITE" => edit,
                _ => edit.remove("Max-Breadth"),
            })
        }),
    ),
    s_cscf(
        "s-cscf-rounds-breadth-up",
        "SEC-020",
        "gives each branch of a request half of an odd breadth and one half more",
        How::Door(|_| {
            Remembering::door(
                |memory, p| {
                    if let Some(sip) = p.message.sip().filter(|sip| sip.is_request())
                        && let Ok(Some(breadth)) = sip.number("Max-Breadth")
                    {
                        memory.put(&turn(sip), breadth.to_string());
                    }
                    Heard::AsItCame
                },
                |memory, p| {
                    request(p, Mw, &[], |edit, sip| {
                        let breadth = memory.get(&turn(sip));
                        let breadth = breadth.and_then(|text| text.parse::<u32>().ok());
                        match (breadth, sip.number("Max-Breadth")) {
                            (Some(whole), Ok(Some(share)))
                                if whole == share.saturating_mul(2).saturating_add(1) =>
                            {
                                edit.set("Max-Breadth", &share.saturating_add(1).to_string())
                            }
                            _ => edit,
                        }
                    })
                },
            )
        }),
    ),
    s_cscf(
        "s-cscf-gives-each-branch-the-whole-breadth",
        "SEC-020",
        "gives each branch of a request as much breadth as there was for all",
        How::Says(|p| {
            request(p, Mw, &["INVITE"], |edit, sip| {
                match sip.has("Max-Breadth") {
                    true => edit.set("Max-Breadth", "2"),
                    false => edit,
                }
            })
        }),
    ),
    s_cscf(
        "s-cscf-finds-no-loop",
        "ERR-011",
        "goes on with a request that came back as it was",
        How::Setup(|setup| setup.policy.s_cscf.finds_loops = Loops::OfNothing),
    ),
    s_cscf(
        "s-cscf-finds-loops-of-calls-only",
        "ERR-011",
        "goes on with anything but an INVITE that came back as it was",
        How::Setup(|setup| setup.policy.s_cscf.finds_loops = Loops::OfInvites),
    ),
    s_cscf(
        "s-cscf-takes-a-loop-for-a-failure",
        "ERR-011",
        "answers a request that came back with 500",
        How::Says(|p| {
            response(p, Mw, &[], (482, 482), |edit, _| {
                edit.status(500, "Server Internal Error")
            })
        }),
    ),
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
        .and_then(|uri| directory.owner(&uri.host, uri.port).cloned());
    let node = owner.and_then(|name| directory.nodes.get(&name));
    node.is_some_and(|node| node.role == Role::PCscf)
}

fn located<'a>(memory: &mut Notes<String>, edit: Edit<'a>, sip: &Message) -> Edit<'a> {
    match memory.get(&turn(sip)) {
        Some(location) => edit.set("P-Access-Network-Info", location),
        None => edit,
    }
}
