//! What a P-CSCF owes any message as a proxy, whole or broken.

use std::time::Duration;

use super::{p_cscf, refuse};
use crate::{
    node::{
        deviation::{
            Deviation, Door, Heard, How, Passing, Said,
            bend::{
                Line,
                edits::{is_inside, request, response, set_all},
                heard,
                recall::{Remembering, turn},
                sdp,
            },
        },
        policy::RouteMismatch,
    },
    spec::RefPoint::{Gm, Mw},
    wire::{
        message::Decoded,
        sip::{Edit, METHODS, Message, Via},
    },
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
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
        "p-cscf-passes-any-media",
        "PCSCF-015",
        "lets every medium through",
        How::Setup(|setup| setup.policy.p_cscf.allowed_media = &["audio", "message", "video"]),
    ),
    p_cscf(
        "p-cscf-passes-any-media-inside-dialogs",
        "PCSCF-015",
        "looks at the media of first offers, and lets every medium through inside dialogs",
        How::Door(|_| {
            Remembering::door(
                |memory, p| match p.message.sip() {
                    Some(sip) if p.on == Gm && sip.is_request() && is_inside(sip) => {
                        memory.put(&turn(sip), String::from_utf8_lossy(sip.body()).into_owned());
                        heard(sdp(sip, |_, line| match line.strip_prefix("m=") {
                            Some(rest) => Line::As(match rest.split_once(' ') {
                                Some((_, rest)) => format!("m=message {rest}"),
                                None => line.to_owned(),
                            }),
                            None => Line::Kept,
                        }))
                    }
                    _ => Heard::AsItCame,
                },
                |memory, p| {
                    request(p, Mw, &["INVITE"], |edit, sip| {
                        match memory.get(&turn(sip)) {
                            Some(body) => {
                                let kind = sip.header("Content-Type").unwrap_or_default();
                                edit.body(Some((&kind, body.as_bytes())))
                            }
                            None => edit,
                        }
                    })
                },
            )
        }),
    ),
    p_cscf(
        "p-cscf-says-not-which-media-it-allows",
        "PCSCF-015",
        "refuses media without a description of what is allowed",
        How::Says(|p| response(p, Gm, &["INVITE"], (488, 488), |edit, _| edit.body(None))),
    ),
    p_cscf(
        "p-cscf-lets-peers-ring-for-ever",
        "ERR-008",
        "waits an hour for the final answer to an INVITE",
        How::Setup(|setup| setup.policy.p_cscf.timer_c = Duration::from_secs(3600)),
    ),
    p_cscf(
        "p-cscf-times-a-ringing-branch-out",
        "ERR-008",
        "gives up a branch that rang without cancelling it",
        How::Says(|p| match p.request("CANCEL") {
            Some(_) if p.on == Gm => Said::Nothing,
            _ => Said::AsWritten,
        }),
    ),
    p_cscf(
        "p-cscf-cancels-under-another-branch",
        "ERR-008",
        "writes a branch of its own into the CANCEL of a peer that rang for too long",
        How::Door(|_| {
            Remembering::door(
                |memory, p| {
                    if let (Some(cancel), Gm) = (p.request("CANCEL"), p.on) {
                        memory.put(&cancel.call_id().unwrap_or_default(), String::new());
                    }
                    Heard::AsItCame
                },
                |memory, p| {
                    request(p, Gm, &["CANCEL"], |edit, sip| {
                        let is_asked = memory.get(&sip.call_id().unwrap_or_default()).is_some();
                        match sip.top_via() {
                            Ok(mut via) if !is_asked => {
                                let branch = format!("{}c", via.branch().unwrap_or_default());
                                via.params.set("branch", Some(&branch));
                                edit.pop("Via").prepend("Via", &via.to_string())
                            }
                            _ => edit,
                        }
                    })
                },
            )
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
        "makes 408 of a 5xx to a request that is no INVITE",
        How::Says(|p| {
            response(p, Gm, &[], (500, 599), |edit, sip| match sip.method() {
                "INVITE" => edit,
                _ => edit.status(408, "Request Timeout"),
            })
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
        How::Disposed(
            |setup| setup.policy.p_cscf.route_mismatch = RouteMismatch::Replace,
            &How::Door(|_| Box::new(Indulgent)),
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
    p_cscf(
        "p-cscf-counts-no-hop-of-registrations",
        "PCSCF-021",
        "leaves Max-Forwards of a REGISTER as it came, and counts down in all else",
        How::Says(|p| request(p, Mw, &["REGISTER"], more_hops)),
    ),
];

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
