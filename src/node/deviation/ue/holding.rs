//! What whoever serves pieces can do wrong in sessions: what it takes an offer for, and what it answers.

use std::sync::Arc;

use bytes::BytesMut;

use super::{
    of_holders,
    offers::{Misread, Restarted},
};
use crate::{
    node::{
        Setup,
        deviation::{Deviation, Door, Heard, How, Passing, Said, bend, bend::Line},
    },
    spec::{Format, RefPoint},
    wire::{message::Decoded, sdp::FileRange, sip::Builder},
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    of_holders(
        "holder-answers-sendrecv",
        "PEER-001",
        "answers an offer to receive with sendrecv",
        How::Says(|passing| {
            answered(passing, |line| match line {
                "a=sendonly" => Line::As("a=sendrecv".to_owned()),
                _ => Line::Kept,
            })
        }),
    ),
    of_holders(
        "holder-says-no-direction",
        "PEER-001",
        "leaves a=sendonly out of its answers",
        How::Says(|passing| answered(passing, |line| gone_if(line, "a=sendonly"))),
    ),
    of_holders(
        "holder-answers-under-its-own-id",
        "PEER-001",
        "answers under another transfer id than the offer's",
        How::Says(|passing| {
            answered(passing, |line| {
                match line.starts_with("a=file-transfer-id:") {
                    true => Line::As(format!("{line}2")),
                    false => Line::Kept,
                }
            })
        }),
    ),
    of_holders(
        "holder-answers-without-a-range",
        "PEER-002",
        "leaves the file range out of its answers",
        How::Says(|passing| answered(passing, |line| gone_if(line, RANGE))),
    ),
    of_holders(
        "holder-answers-ranges-from-zero",
        "PEER-002",
        "writes the range it was asked for as HTTP would",
        How::Says(|passing| {
            answered(passing, |line| {
                ranged(line, |start, stop| {
                    (start.saturating_sub(1), stop.saturating_sub(1))
                })
            })
        }),
    ),
    of_holders(
        "holder-answers-a-range-without-its-end",
        "PEER-002",
        "leaves the last octet out of the range it answers",
        How::Says(|passing| {
            answered(passing, |line| {
                ranged(line, |start, stop| {
                    (start, stop.saturating_sub(1).max(start))
                })
            })
        }),
    ),
    of_holders(
        "holder-cuts-a-range-at-the-end",
        "PEER-003",
        "takes a range beyond the end of the file for one up to the end",
        How::Hears(cut_at_the_end),
    ),
    of_holders(
        "holder-takes-ranges-from-zero",
        "PEER-003",
        "takes a range that begins with 0 for one in the numbers of HTTP",
        How::Hears(|passing| {
            asked(passing, |line| {
                let range = line
                    .strip_prefix(RANGE)
                    .and_then(|range| range.strip_prefix("0-"));
                let stop: Option<u64> = range.and_then(|stop| stop.parse().ok());
                stop.map_or(Line::Kept, |stop| {
                    Line::As(format!("{RANGE}1-{}", stop.saturating_add(1)))
                })
            })
        }),
    ),
    of_holders(
        "holder-refuses-with-404",
        "PEER-004",
        "answers 404 where it holds nothing of an offer",
        How::Setup(|setup| setup.policy.serving.unheld_status = 404),
    ),
    of_holders(
        "holder-looks-at-no-digest",
        "PEER-004",
        "takes a file of the right name for the right one, whatever its digest",
        How::Hears(|passing| {
            asked(passing, |line| {
                without_digests(line).map_or(Line::Kept, Line::As)
            })
        }),
    ),
    of_holders(
        "holder-names-no-digest",
        "PEER-006",
        "leaves digests out of the selectors it answers",
        How::Says(|passing| {
            answered(passing, |line| {
                without_digests(line).map_or(Line::Kept, Line::As)
            })
        }),
    ),
    of_holders(
        "holder-answers-another-digest-as-its-own",
        "PEER-007",
        "gives a file under the digest that was asked for, although it is another's",
        How::Door(|_| Box::new(Misread::new(without_digests))),
    ),
    of_holders(
        "holder-starts-again-under-a-used-id",
        "PEER-008",
        "takes an offer in a session under an id that was used for another transfer",
        How::Door(|_| Box::new(Restarted::new(|_| true))),
    ),
    of_holders(
        "holder-starts-again-for-another-range",
        "PEER-008",
        "takes an offer of another range under an id that was used for another transfer",
        How::Door(|_| Box::new(Restarted::new(|is_new| is_new))),
    ),
    of_holders(
        "holder-forgets-ids-of-what-was-sent",
        "PEER-008",
        "starts again under the id of a transfer whose last octet was sent",
        How::Door(|_| Box::new(Restarted::once_sent())),
    ),
    of_holders(
        "holder-says-not-what-it-refuses",
        "PEER-009",
        "leaves selector and transfer id out of a refused media line",
        How::Says(bare_refusals),
    ),
    of_holders(
        "holder-refuses-two-digests",
        "PEER-010",
        "answers 488 to a selector with two digests",
        How::Hears(refuses_two_digests),
    ),
    of_holders(
        "holder-begins-an-octet-late",
        "PEER-012",
        "leaves out the first octet of each piece",
        How::Setup(|setup| setup.policy.serving.octets_shifted = 1),
    ),
    of_holders(
        "holder-ends-an-octet-early",
        "PEER-012",
        "leaves out the last octet of each piece",
        How::Setup(|setup| setup.policy.serving.octets_withheld = 1),
    ),
    of_holders(
        "holder-pollutes-a-piece",
        "PEER-012",
        "serves pieces with one octet changed",
        How::Setup(pollute),
    ),
    of_holders(
        "holder-serves-what-it-does-not-hold",
        "PEER-013",
        "gives every piece, whatever it said that it holds",
        How::Setup(|setup| setup.policy.serving.serves_unheld = true),
    ),
    of_holders(
        "holder-reads-names-as-paths",
        "PEER-015",
        "looks for a file under the last part of a name that is a path",
        How::Hears(by_base_name),
    ),
    of_holders(
        "holder-gives-any-file",
        "PEER-015",
        "gives what a path leads to, inside its shelf or not",
        How::Hears(any_file),
    ),
    of_holders(
        "holder-accepts-without-a-description",
        "PEER-017",
        "answers 200 without an offer to an INVITE without one",
        How::Hears(accepts_nothing),
    ),
    of_holders(
        "holder-shows-no-file-selector",
        "PEER-018",
        "shows in its answer to OPTIONS that it has messages, and not that it has files",
        How::Says(|passing| shown(passing, |line| gone_if(line, "a=file-selector"))),
    ),
    of_holders(
        "holder-shows-its-selector-for-the-session",
        "PEER-018",
        "shows in its answer to OPTIONS that files can be selected, but of no medium",
        How::Says(|passing| {
            shown(passing, |line| match line {
                "t=0 0" => Line::As("t=0 0\r\na=file-selector".to_owned()),
                _ => gone_if(line, "a=file-selector"),
            })
        }),
    ),
    of_holders(
        "holder-shows-a-selector-that-selects",
        "PEER-018",
        "names a file in the selector of its answer to OPTIONS",
        How::Says(|passing| {
            shown(passing, |line| match line.starts_with("a=file-selector") {
                true => Line::As("a=file-selector:name:\"movie\"".to_owned()),
                false => Line::Kept,
            })
        }),
    ),
    of_holders(
        "holder-reads-no-require",
        "PEER-019",
        "serves a request that requires what it does not know",
        How::Hears(|passing| {
            let request = passing.message.sip().filter(|message| message.is_request());
            bend::heard(request.and_then(|request| bend::without(request, "Require")))
        }),
    ),
    of_holders(
        "holder-says-not-what-it-does-not-know",
        "PEER-019",
        "answers 420 without Unsupported",
        How::Says(|passing| {
            let refusal = passing
                .message
                .sip()
                .filter(|sip| sip.status() == Some(420));
            bend::said(refusal.and_then(|refusal| bend::without(refusal, "Unsupported")))
        }),
    ),
    of_holders(
        "holder-answers-bad-extension-with-400",
        "PEER-019",
        "answers 400 to a request that requires what it does not know",
        How::Says(|passing| status(passing, None, 420, 400)),
    ),
    of_holders(
        "holder-never-hangs-up",
        "PEER-020",
        "keeps a session whose other side is gone",
        How::Setup(|setup| setup.policy.ua.ends_sessions = false),
    ),
    of_holders(
        "holder-has-no-contact",
        "PEER-021",
        "leaves Contact out of its 200 to INVITE",
        How::Says(|passing| {
            let accepted = passing
                .response("INVITE")
                .filter(|sip| sip.status() == Some(200));
            bend::said(accepted.and_then(|accepted| bend::without(accepted, "Contact")))
        }),
    ),
    of_holders(
        "holder-takes-a-bye-of-nobody",
        "PEER-022",
        "answers 200 to a BYE in a dialog it does not know",
        How::Says(|passing| status(passing, Some("BYE"), 481, 200)),
    ),
    of_holders(
        "holder-finds-no-dialog",
        "PEER-022",
        "answers 404 in a dialog it does not know",
        How::Says(|passing| status(passing, None, 481, 404)),
    ),
    of_holders(
        "holder-serves-one-line",
        "PEER-023",
        "refuses every media line but the first",
        How::Says(|passing| {
            described(passing, |media, line| match media > 1 {
                true => refused(line),
                false => Line::Kept,
            })
        }),
    ),
    of_holders(
        "holder-answers-one-line",
        "PEER-023",
        "answers the first media line, and is silent about all others",
        How::Says(|passing| {
            described(passing, |media, _| match media > 1 {
                true => Line::Gone,
                false => Line::Kept,
            })
        }),
    ),
    of_holders(
        "holder-refuses-all-for-one",
        "PEER-023",
        "refuses an offer of which it holds a part only",
        How::Says(all_or_nothing),
    ),
    of_holders(
        "holder-answers-lines-crosswise",
        "PEER-023",
        "answers the second media line in the place of the first",
        How::Says(crosswise),
    ),
    of_holders(
        "holder-reads-the-first-of-two",
        "SEC-009",
        "acts on the first of two headers that may stand once",
        How::Hears(|passing| one_of_two(passing, |values| values.first().cloned())),
    ),
    of_holders(
        "holder-reads-the-last-of-two",
        "SEC-009",
        "acts on the last of two headers that may stand once",
        How::Hears(|passing| one_of_two(passing, |values| values.last().cloned())),
    ),
    of_holders(
        "holder-takes-a-bye-by-its-call",
        "SEC-019",
        "takes a BYE with the right Call-ID for right, whatever its tags and its CSeq",
        How::Door(|_| Box::new(Gullible::default())),
    ),
];

fn pollute(setup: &mut Setup) {
    let mut contents = (*setup.contents).clone();
    for content in &mut contents {
        let mut octets = BytesMut::from(&content.bytes[..]);
        for piece in &content.pieces {
            let middle = usize::try_from(piece.first + piece.len / 2).unwrap_or(usize::MAX);
            if let Some(octet) = octets.get_mut(middle) {
                *octet ^= 0x01;
            }
        }
        content.bytes = octets.freeze();
    }
    setup.contents = Arc::new(contents);
}

/// The description of a 2xx to INVITE goes out with other lines.
fn described(passing: &Passing<'_>, change: impl FnMut(usize, &str) -> Line) -> Said {
    let answer = passing.response("INVITE");
    bend::said(answer.and_then(|answer| bend::sdp(answer, change)))
}

fn answered(passing: &Passing<'_>, change: fn(&str) -> Line) -> Said {
    described(passing, |_, line| change(line))
}

/// What an answer to OPTIONS shows, with other lines.
fn shown(passing: &Passing<'_>, change: fn(&str) -> Line) -> Said {
    let answer = passing.response("OPTIONS");
    bend::said(answer.and_then(|answer| bend::sdp(answer, |_, line| change(line))))
}

/// An offer is heard with other lines.
fn asked(passing: &Passing<'_>, change: impl Fn(&str) -> Line) -> Heard {
    let invite = passing.request("INVITE");
    bend::heard(invite.and_then(|invite| bend::sdp(invite, |_, line| change(line))))
}

fn gone_if(line: &str, begins: &str) -> Line {
    match line.starts_with(begins) {
        true => Line::Gone,
        false => Line::Kept,
    }
}

fn range_of(line: &str) -> Option<FileRange> {
    FileRange::parse(line.strip_prefix(RANGE)?).ok()
}

fn ranged(line: &str, change: fn(u64, u64) -> (u64, u64)) -> Line {
    let range = range_of(line).and_then(|range| Some((range.start, range.stop?)));
    match range.map(|(start, stop)| change(start, stop)) {
        Some((start, stop)) => Line::As(format!("{RANGE}{start}-{stop}")),
        None => Line::Kept,
    }
}

fn cut_at_the_end(passing: &Passing<'_>) -> Heard {
    let text = String::from_utf8_lossy(passing.bytes).into_owned();
    let mut contents = passing.setup.contents.iter();
    let named = contents.find(|content| text.contains(&format!("name:\"{}\"", content.swarm)));
    let Some(size) = named.map(|content| content.bytes.len() as u64) else {
        return Heard::AsItCame;
    };
    asked(passing, |line| match range_of(line) {
        Some(FileRange {
            start,
            stop: Some(stop),
        }) if start <= size && stop > size => Line::As(format!("{RANGE}{start}-{size}")),
        _ => Line::Kept,
    })
}

/// A selector without its digests, if it has any and names the file as well.
fn without_digests(line: &str) -> Option<String> {
    let selector = line.strip_prefix(SELECTOR)?;
    let kept: Vec<&str> = selector
        .split(' ')
        .filter(|part| !part.starts_with("hash:"))
        .collect();
    let is_fit = line.contains("hash:") && !kept.is_empty();
    is_fit.then(|| format!("{SELECTOR}{}", kept.join(" ")))
}

fn bare_refusals(passing: &Passing<'_>) -> Said {
    let mut is_refused = false;
    described(passing, |_, line| {
        if line.starts_with("m=") {
            is_refused = line.split(' ').nth(1) == Some("0");
        }
        let names = line.starts_with(SELECTOR) || line.starts_with("a=file-transfer-id:");
        match is_refused && names {
            true => Line::Gone,
            false => Line::Kept,
        }
    })
}

fn refuses_two_digests(passing: &Passing<'_>) -> Heard {
    let invite = passing.request("INVITE");
    let has_two = invite.is_some_and(|invite| {
        let text = String::from_utf8_lossy(invite.body());
        text.lines().any(|line| line.matches("hash:").count() > 1)
    });
    match invite.filter(|_| has_two) {
        Some(invite) => Heard::Answer(vec![
            Builder::response(invite, 488, "Not Acceptable Here", Some("twodigests"))
                .finish()
                .into(),
        ]),
        None => Heard::AsItCame,
    }
}

fn by_base_name(passing: &Passing<'_>) -> Heard {
    if let Decoded::HttpRequest(request) = passing.message {
        let decoded = crate::wire::http::decode(request.path()).unwrap_or_default();
        let name = decoded.rsplit(['/', '\\']).next().unwrap_or_default();
        let target = format!("{}{name}", crate::node::serving::CONTENT_PATH);
        let is_path = decoded != target && request.method() == "GET";
        return bend::heard(is_path.then(|| bend::ask_at(request, &target)));
    }
    asked(passing, |line| {
        let Some((before, rest)) = line.split_once("name:\"") else {
            return Line::Kept;
        };
        let Some((name, after)) = rest.split_once('"') else {
            return Line::Kept;
        };
        let name = name
            .replace("%2F", "/")
            .replace("%2f", "/")
            .replace("%5C", "/");
        match name.rsplit(['/', '\\']).next() {
            Some(base) if base != name => Line::As(format!("{before}name:\"{base}\"{after}")),
            _ => Line::Kept,
        }
    })
}

fn any_file(passing: &Passing<'_>) -> Heard {
    if let Decoded::HttpRequest(request) = passing.message {
        let decoded = crate::wire::http::decode(request.path()).unwrap_or_default();
        let file = crate::wire::http::Response::build(200)
            .body("text/plain", &b"root:x:0:0:root:/root:/bin/sh\n"[..])
            .finish();
        return match decoded.contains("..") {
            true => Heard::Answer(vec![file.into()]),
            false => Heard::AsItCame,
        };
    }
    let Some(own) = passing.setup.holds.first().and_then(|(fixture, _)| {
        let mut contents = passing.setup.contents.iter();
        contents.find(|content| content.fixture == *fixture)
    }) else {
        return Heard::AsItCame;
    };
    asked(passing, |line| {
        let name = line.strip_prefix(SELECTOR).and_then(|selector| {
            let (_, rest) = selector.split_once("name:\"")?;
            Some(rest.split_once('"')?.0)
        });
        let is_path = name.is_some_and(|name| name.contains(['/', '\\', '%']));
        match is_path {
            true => Line::As(format!("{SELECTOR}name:\"{}\"", own.swarm)),
            false => Line::Kept,
        }
    })
}

fn accepts_nothing(passing: &Passing<'_>) -> Heard {
    let invite = passing
        .request("INVITE")
        .filter(|invite| invite.body().is_empty());
    let mut listeners = passing.setup.listeners.iter();
    let own = listeners.find(|l| l.on == RefPoint::Gm && l.format == Format::Sip);
    let (Some(invite), Some(own)) = (invite, own) else {
        return Heard::AsItCame;
    };
    let mut accepted = Builder::response(invite, 200, "OK", Some("nooffer"));
    for route in invite.values("Record-Route") {
        accepted = accepted.header("Record-Route", &route);
    }
    let accepted = accepted.header("Contact", &format!("<sip:{}>", own.addr));
    Heard::Answer(vec![accepted.finish().into()])
}

/// A refusal goes out with another status; to any method, if none is given.
fn status(passing: &Passing<'_>, method: Option<&str>, written: u16, said: u16) -> Said {
    let refusal = passing.message.sip().filter(|message| {
        message.status() == Some(written) && method.is_none_or(|method| message.method() == method)
    });
    bend::said(refusal.map(|refusal| {
        let reason = crate::wire::sip::reason(said);
        refusal.edit().status(said, reason).finish()
    }))
}

/// A media line that is refused: port 0, and no more than what names the file.
fn refused(line: &str) -> Line {
    if let Some(rest) = line.strip_prefix("m=message ") {
        let rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
        return Line::As(format!("m=message 0 {rest}"));
    }
    match line.starts_with(SELECTOR) || line.starts_with("a=file-transfer-id:") {
        true => Line::Kept,
        false => Line::Gone,
    }
}

fn all_or_nothing(passing: &Passing<'_>) -> Said {
    let answer = passing.response("INVITE").filter(|answer| {
        let text = String::from_utf8_lossy(answer.body());
        answer.status() == Some(200) && text.lines().any(|line| line.starts_with("m=message 0 "))
    });
    bend::said(answer.map(|answer| {
        let edit = answer.edit().status(488, "Not Acceptable Here");
        edit.remove("Contact").body(None).finish()
    }))
}

fn crosswise(passing: &Passing<'_>) -> Said {
    let answer = passing.response("INVITE").and_then(|answer| {
        let text = std::str::from_utf8(answer.body()).ok()?;
        let mut sections: Vec<&str> = text.split("m=message").collect();
        (sections.len() > 2).then(|| sections.swap(1, 2))?;
        let kind = answer.header("Content-Type")?;
        let body = sections.join("m=message");
        Some(answer.edit().body(Some((&kind, body.as_bytes()))).finish())
    });
    bend::said(answer)
}

/// One of each header that may stand once is heard.
fn one_of_two(passing: &Passing<'_>, choose: fn(&[String]) -> Option<String>) -> Heard {
    let request = passing.message.sip().filter(|message| message.is_request());
    bend::heard(request.and_then(|request| {
        let mut bent = None;
        for name in ["Call-ID", "CSeq", "From", "To"] {
            let message = bent.as_ref().unwrap_or(request);
            let values = message.values(name);
            if let Some(chosen) = choose(&values).filter(|_| values.len() > 1) {
                let one = message.edit().set(name, &chosen).finish();
                bent = Some(one);
            }
        }
        bent
    }))
}

/// What names a session beside its Call-ID, and the last number seen in it.
#[derive(Clone)]
struct Names {
    own: String,
    theirs: String,
    number: u32,
}

/// Knows sessions by Call-ID only.
#[derive(Default)]
struct Gullible(bend::Notes<Names>);

impl Door for Gullible {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let names = passing.response("INVITE").and_then(|answer| {
            let tag = |name: crate::wire::sip::NameAddr| name.tag().map(str::to_owned);
            let names = Names {
                own: tag(answer.to().ok()?)?,
                theirs: tag(answer.from().ok()?)?,
                number: answer.cseq().ok()?.number,
            };
            (answer.status()? == 200).then_some((answer.call_id().ok()?, names))
        });
        if let Some((call, names)) = names {
            self.0.put(&call, names);
        }
        Said::AsWritten
    }

    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        bend::heard(passing.request("BYE").and_then(|bye| {
            let names = self.0.get(&bye.call_id().ok()?)?;
            names.number = names.number.saturating_add(1).max(bye.cseq().ok()?.number);
            let tagged = |address: Result<crate::wire::sip::NameAddr, _>, tag: &str| {
                let mut address = address.ok()?;
                address.params.set("tag", Some(tag));
                Some(address.to_string())
            };
            let edit = bye
                .edit()
                .set("From", &tagged(bye.from(), &names.theirs)?)
                .set("To", &tagged(bye.to(), &names.own)?);
            Some(edit.set("CSeq", &format!("{} BYE", names.number)).finish())
        }))
    }
}

const RANGE: &str = "a=file-range:";
const SELECTOR: &str = "a=file-selector:";
