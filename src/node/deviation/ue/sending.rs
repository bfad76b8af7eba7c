//! What whoever serves pieces can do wrong with the data itself, over MSRP and HTTP.

use super::of_holders;
use crate::{
    node::{
        Setup,
        deviation::{Deviation, Door, Heard, How, Passing, Said, bend},
    },
    time::At,
    wire::{
        http::{ContentRange, Response},
        message::Decoded,
        msrp::{ByteRange, Message},
        sdp::FileRange,
    },
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    of_holders(
        "holder-counts-octets-from-zero",
        "PEER-011",
        "counts the octets of a SEND from 0",
        How::Says(|passing| {
            counted(passing, |range| ByteRange {
                start: range.start.saturating_sub(1),
                end: range.end.map(|end| end.saturating_sub(1)),
                ..range
            })
        }),
    ),
    of_holders(
        "holder-counts-octets-of-the-file",
        "PEER-011",
        "counts the octets of a SEND from the beginning of the file",
        How::Door(|_| {
            Box::new(OfTheFile::new(|range, file| ByteRange {
                start: range.start.saturating_add(file.first),
                end: range.end.map(|end| end.saturating_add(file.first)),
                total: Some(file.size),
            }))
        }),
    ),
    of_holders(
        "holder-names-the-size-of-the-file",
        "PEER-011",
        "writes the size of the file as the total of a SEND",
        How::Door(|_| {
            Box::new(OfTheFile::new(|range, file| ByteRange {
                total: Some(file.size),
                ..range
            }))
        }),
    ),
    of_holders(
        "holder-accepts-a-strange-session",
        "DATA-002",
        "answers 200 to a SEND for a session it does not know",
        How::Says(|passing| strange(passing, Some("200 OK"))),
    ),
    of_holders(
        "holder-forbids-a-strange-session",
        "DATA-002",
        "answers 403 to a SEND for a session it does not know",
        How::Says(|passing| strange(passing, Some("403 Forbidden"))),
    ),
    of_holders(
        "holder-ignores-a-strange-session",
        "DATA-002",
        "does not answer a SEND for a session it does not know",
        How::Says(|passing| strange(passing, None)),
    ),
    of_holders(
        "holder-is-not-to-be-interrupted",
        "DATA-003",
        "sends chunks of 8192 octets with a fixed end",
        How::Setup(|setup| {
            setup.policy.serving.msrp_chunk = 8192;
            setup.policy.serving.interruptible = false;
        }),
    ),
    of_holders(
        "holder-sends-a-piece-at-once",
        "DATA-003",
        "sends each piece in one chunk that nobody can interrupt",
        How::Setup(|setup| {
            setup.policy.serving.msrp_chunk = 1 << 20;
            setup.policy.serving.interruptible = false;
        }),
    ),
    of_holders(
        "holder-answers-a-part-with-200",
        "DATA-010",
        "answers 200 where it gives a range",
        How::Says(|passing| partial(passing, |response| bend::answer(response, 200, kept))),
    ),
    of_holders(
        "holder-says-no-content-range",
        "DATA-010",
        "leaves Content-Range out of a 206",
        How::Says(|passing| {
            partial(passing, |response| {
                bend::answer(response, 206, |name, value| {
                    (!is_range(name)).then(|| value.to_owned())
                })
            })
        }),
    ),
    of_holders(
        "holder-counts-content-range-from-one",
        "DATA-010",
        "counts Content-Range from 1, as a file range",
        How::Says(|passing| {
            reranged(passing, |range, _| {
                if let Some(octets) = &mut range.octets {
                    octets.first = octets.first.saturating_add(1);
                    octets.last = octets.last.saturating_add(1);
                }
            })
        }),
    ),
    of_holders(
        "holder-names-the-length-as-the-size",
        "DATA-010",
        "writes the length of the part as the size in Content-Range",
        How::Says(|passing| reranged(passing, |range, length| range.size = Some(length))),
    ),
    of_holders(
        "holder-counts-its-sessions",
        "SEC-013",
        "numbers its MSRP sessions from 1",
        How::Door(|_| Box::new(Counted::writing(|_, number, _| number.to_string()))),
    ),
    of_holders(
        "holder-counts-on-from-one-session",
        "SEC-013",
        "draws the id of its first MSRP session and counts on from it",
        How::Door(|_| {
            Box::new(Counted::writing(|first, number, _| {
                format!("{first}.{number}")
            }))
        }),
    ),
    of_holders(
        "holder-dates-its-sessions",
        "SEC-013",
        "makes the ids of its MSRP sessions of the time",
        How::Door(|_| {
            Box::new(Counted::writing(|_, number, at| {
                format!("{:020}-{number}", at.as_nanos())
            }))
        }),
    ),
];

/// A SEND that carries something, with another Byte-Range.
fn send_as(passing: &Passing<'_>, change: impl FnOnce(ByteRange) -> ByteRange) -> Said {
    let chunk = passing.message.msrp().filter(|chunk| {
        chunk.method() == Some("SEND") && chunk.body().is_some_and(|body| !body.is_empty())
    });
    bend::said(chunk.and_then(|chunk| {
        let range = change(chunk.byte_range().ok()??).to_string();
        Some(bend::msrp(chunk, "SEND", |name, value| {
            let is_range = name.eq_ignore_ascii_case("Byte-Range");
            Some(if is_range {
                range.clone()
            } else {
                value.to_owned()
            })
        }))
    }))
}

fn counted(passing: &Passing<'_>, change: fn(ByteRange) -> ByteRange) -> Said {
    send_as(passing, change)
}

/// Where a piece lies in its file.
#[derive(Clone, Copy)]
struct InFile {
    first: u64,
    size: u64,
}

/// Takes octets of a piece for octets of its file.
struct OfTheFile {
    change: fn(ByteRange, InFile) -> ByteRange,
    /// By our MSRP URI.
    sessions: bend::Notes<InFile>,
}

impl OfTheFile {
    fn new(change: fn(ByteRange, InFile) -> ByteRange) -> OfTheFile {
        OfTheFile {
            change,
            sessions: bend::Notes::default(),
        }
    }

    /// Notes which session of ours sends which part of which file.
    fn read(&mut self, description: &[u8]) {
        let text = String::from_utf8_lossy(description);
        for section in text.split("\r\nm=") {
            let line = |begins: &str| section.lines().find_map(|line| line.strip_prefix(begins));
            let range = line("a=file-range:").and_then(|range| FileRange::parse(range).ok());
            let size = line("a=file-selector:")
                .and_then(|selector| {
                    selector
                        .split(' ')
                        .find_map(|part| part.strip_prefix("size:"))
                })
                .and_then(|size| size.parse().ok());
            if let (Some(path), Some(range), Some(size)) = (line("a=path:"), range, size) {
                let first = range.start.saturating_sub(1);
                self.sessions.put(path, InFile { first, size });
            }
        }
    }
}

impl Door for OfTheFile {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        if let Some(answer) = passing.response("INVITE") {
            self.read(answer.body());
            return Said::AsWritten;
        }
        let own = passing
            .message
            .msrp()
            .and_then(|chunk| chunk.header("From-Path"));
        match own.and_then(|own| self.sessions.get(own).copied()) {
            Some(file) => send_as(passing, |range| (self.change)(range, file)),
            None => Said::AsWritten,
        }
    }
}

/// What is said to a SEND for a session nobody knows; nothing at all, if so.
fn strange(passing: &Passing<'_>, status: Option<&str>) -> Said {
    let refusal = passing
        .message
        .msrp()
        .filter(|answer| answer.status() == Some(481));
    match (refusal, status) {
        (Some(refusal), Some(status)) => Said::as_one(bend::msrp(refusal, status, kept)),
        (Some(_), None) => Said::Nothing,
        (None, _) => Said::AsWritten,
    }
}

fn kept(_: &str, value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn is_range(name: &str) -> bool {
    name.eq_ignore_ascii_case("Content-Range")
}

/// A 206 with one range goes out as another answer with the same body.
fn partial(
    passing: &Passing<'_>,
    change: impl FnOnce(&Response) -> crate::wire::http::ResponseBuilder,
) -> Said {
    let Decoded::HttpResponse(response) = passing.message else {
        return Said::AsWritten;
    };
    if response.status() != 206 || !response.has("Content-Range") {
        return Said::AsWritten;
    }
    let kind = response.header("Content-Type").unwrap_or_default();
    Said::as_one(change(response).body(kind, response.body_bytes()).finish())
}

/// A 206 with another Content-Range, made of the right one and the length of the body.
fn reranged(passing: &Passing<'_>, change: fn(&mut ContentRange, u64)) -> Said {
    partial(passing, |response| {
        let length = response.body().len() as u64;
        bend::answer(response, 206, |name, value| {
            let range = ContentRange::parse(value).ok().filter(|_| is_range(name));
            Some(match range {
                Some(mut range) => {
                    change(&mut range, length);
                    range.to_string()
                }
                None => value.to_owned(),
            })
        })
    })
}

/// Numbers its sessions: on the wire the number stands for the id it chose.
struct Counted {
    /// What goes on the wire: made of the first id it chose, the number, and the time.
    write: fn(&str, u32, At) -> String,
    first: Option<String>,
    /// By number.
    by_number: bend::Notes<String>,
    /// By chosen id.
    numbers: bend::Notes<String>,
    last: u32,
}

impl Counted {
    fn writing(write: fn(&str, u32, At) -> String) -> Counted {
        Counted {
            write,
            first: None,
            by_number: bend::Notes::default(),
            numbers: bend::Notes::default(),
            last: 0,
        }
    }

    fn numbered(&mut self, setup: &Setup, at: At, uri: &str) -> Option<String> {
        let (place, id) = session_of(setup, uri)?;
        let number = match self.numbers.get(id) {
            Some(number) => number.clone(),
            None => {
                self.last += 1;
                let first = self.first.get_or_insert_with(|| id.to_owned());
                let number = (self.write)(first, self.last, at);
                self.numbers.put(id, number.clone());
                self.by_number.put(&number, id.to_owned());
                number
            }
        };
        Some(format!("{place}/{number};tcp"))
    }

    fn chosen(&mut self, setup: &Setup, uri: &str) -> Option<String> {
        let (place, number) = session_of(setup, uri)?;
        let id = self.by_number.get(number)?;
        Some(format!("{place}/{id};tcp"))
    }
}

/// A URI of ours as its place and its session id.
fn session_of<'a>(setup: &Setup, uri: &'a str) -> Option<(&'a str, &'a str)> {
    let (place, id) = uri.strip_suffix(";tcp")?.rsplit_once('/')?;
    let host = place.strip_prefix("msrp://")?;
    let mut listeners = setup.listeners.iter();
    listeners
        .any(|listener| listener.addr.to_string() == host)
        .then_some((place, id))
}

/// A path header as another, if it is that of an MSRP message.
fn repathed(
    chunk: &Message,
    own: &str,
    mut change: impl FnMut(&str) -> Option<String>,
) -> Option<bytes::Bytes> {
    let changed = change(chunk.header(own)?)?;
    let word = match chunk.status() {
        Some(status) => format!("{status} {}", chunk.comment()),
        None => chunk.method()?.to_owned(),
    };
    Some(bend::msrp(chunk, &word, |name, value| {
        let is_own = name.eq_ignore_ascii_case(own);
        Some(if is_own {
            changed.clone()
        } else {
            value.to_owned()
        })
    }))
}

impl Door for Counted {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        if let Some(answer) = passing.response("INVITE") {
            return bend::said(bend::sdp(answer, |_, line| {
                let path = line.strip_prefix("a=path:");
                match path.and_then(|path| self.numbered(passing.setup, passing.at, path)) {
                    Some(path) => bend::Line::As(format!("a=path:{path}")),
                    None => bend::Line::Kept,
                }
            }));
        }
        let chunk = passing.message.msrp();
        bend::said(chunk.and_then(|chunk| {
            repathed(chunk, "From-Path", |own| {
                self.numbered(passing.setup, passing.at, own)
            })
        }))
    }

    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let chunk = passing.message.msrp();
        bend::heard(
            chunk.and_then(|chunk| {
                repathed(chunk, "To-Path", |own| self.chosen(passing.setup, own))
            }),
        )
    }
}
