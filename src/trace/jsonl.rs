//! A trace as JSON lines: the meta data first, then one event a line. Lossless: what is read back equals
//! what was written. Octets are text where they are text, base64 where not; an arrival repeats its
//! sending by number, and runs of a fixture content are stored as references. Start at [`write`].

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Event, EventKind, Meta, StepMark, Trace, Trouble};
use crate::{
    io::{LinkEvent, Note},
    spec::{Format, RefPoint},
    time::At,
    wire::frame::{Frame, LinkId, NodeName, Party, Security},
};

/// What a trace file of this kind calls itself.
pub const SCHEMA: &str = "peerproof-trace/1";

/// The largest trace file, in octets. What would make it longer is cut off, and an
/// [`EventKind::Truncated`] stands in its place.
pub const LIMIT: usize = 16 << 20;

/// Octets that frames are expected to carry, so that the trace need not repeat them.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The fixture: `three-pieces`.
    pub name: &'a str,
    pub bytes: &'a [u8],
}

/// A trace as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub text: String,
    /// The trace was longer than the limit: the text holds its beginning and a `truncated` event, and
    /// is what must be judged.
    pub truncated: bool,
}

/// A line that is not part of a trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ReadError {
    /// 1-based.
    pub line: usize,
    pub what: String,
}

/// Writes a trace of at most [`LIMIT`] octets.
pub fn write(trace: &Trace, contents: &[Known<'_>]) -> Written {
    write_at_most(LIMIT, trace, contents)
}

/// Reads what [`write`] wrote, given the same contents.
pub fn read(text: &str, contents: &[Known<'_>]) -> Result<Trace, ReadError> {
    let mut lines = text.lines().enumerate().map(|(n, line)| (n + 1, line));
    let (_, first) = lines.next().ok_or_else(|| {
        error(
            1,
            "found the end, expected the line that describes the trace",
        )
    })?;
    let head: Head = serde_json::from_str(first).map_err(|e| error(1, e))?;
    if head.schema != SCHEMA {
        let found = head.schema;
        return Err(error(
            1,
            format!("found the schema \"{found}\", expected \"{SCHEMA}\""),
        ));
    }
    let mut events: Vec<Event> = Vec::new();
    for (number, line) in lines {
        let line: Line = serde_json::from_str(line).map_err(|e| error(number, e))?;
        let event = line
            .into_event(&events, contents)
            .map_err(|what| error(number, what))?;
        events.push(event);
    }
    Ok(Trace {
        meta: head.meta,
        events,
    })
}

fn write_at_most(limit: usize, trace: &Trace, contents: &[Known<'_>]) -> Written {
    let mut text = String::new();
    push_line(
        &mut text,
        &Head {
            schema: SCHEMA.to_owned(),
            meta: trace.meta.clone(),
        },
    );
    let index = ContentIndex::new(contents);
    let mut sent = BTreeMap::new();
    for (number, event) in trace.events.iter().enumerate() {
        let before = text.len();
        push_line(&mut text, &Line::new(event, &sent, &index));
        if text.len() > limit {
            text.truncate(before);
            push_line(
                &mut text,
                &Line {
                    at: event.at,
                    kind: Kind::Truncated,
                },
            );
            return Written {
                text,
                truncated: true,
            };
        }
        if let EventKind::Sent(frame) = &event.kind {
            sent.entry(frame.bytes.as_ref()).or_insert(number);
        }
    }
    Written {
        text,
        truncated: false,
    }
}

fn push_line(text: &mut String, line: &impl Serialize) {
    text.push_str(&serde_json::to_string(line).expect("lines hold only words, numbers and lists"));
    text.push('\n');
}

fn error(line: usize, what: impl ToString) -> ReadError {
    ReadError {
        line,
        what: what.to_string(),
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    schema: String,
    #[serde(flatten)]
    meta: Meta,
}

/// Every other line.
#[derive(Serialize, Deserialize)]
struct Line {
    at: At,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Sent(Envelope),
    Received(Envelope),
    Lost(Envelope),
    Link {
        node: NodeName,
        link: LinkId,
        on: RefPoint,
        event: LinkEvent,
    },
    Noted {
        node: NodeName,
        note: Note,
    },
    Step {
        index: usize,
        mark: StepMark,
    },
    Opening {
        node: NodeName,
        on: RefPoint,
        to: Party,
    },
    Guest {
        node: NodeName,
        trouble: Trouble,
    },
    Truncated,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    from: Party,
    to: Party,
    src: std::net::SocketAddr,
    dst: std::net::SocketAddr,
    on: RefPoint,
    format: Format,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<LinkId>,
    #[serde(default, skip_serializing_if = "is_plain")]
    security: Security,
    #[serde(default, skip_serializing_if = "is_false")]
    unframed: bool,
    octets: Octets,
}

/// The octets of a frame.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Octets {
    /// Those of the `sent` event of this number, counted from 0.
    AsSent(usize),
    /// Several runs, joined.
    Joined(Vec<Octets>),
    Text(String),
    Base64(String),
    /// A range of a fixture content.
    Content {
        name: String,
        offset: usize,
        length: usize,
    },
}

impl Line {
    fn new(event: &Event, sent: &BTreeMap<&[u8], usize>, index: &ContentIndex<'_>) -> Line {
        let again = |frame: &Frame| match sent.get(frame.bytes.as_ref()) {
            Some(&number) => Octets::AsSent(number),
            None => index.octets(&frame.bytes),
        };
        let kind = match &event.kind {
            EventKind::Sent(frame) => Kind::Sent(Envelope::new(frame, index.octets(&frame.bytes))),
            EventKind::Received(frame) => Kind::Received(Envelope::new(frame, again(frame))),
            EventKind::Lost(frame) => Kind::Lost(Envelope::new(frame, again(frame))),
            EventKind::Link {
                node,
                link,
                on,
                event,
            } => Kind::Link {
                node: node.clone(),
                link: *link,
                on: *on,
                event: event.clone(),
            },
            EventKind::Noted { node, note } => Kind::Noted {
                node: node.clone(),
                note: note.clone(),
            },
            EventKind::Step { index, mark } => Kind::Step {
                index: *index,
                mark: *mark,
            },
            EventKind::Opening { node, on, to } => Kind::Opening {
                node: node.clone(),
                on: *on,
                to: to.clone(),
            },
            EventKind::Guest { node, trouble } => Kind::Guest {
                node: node.clone(),
                trouble: trouble.clone(),
            },
            EventKind::Truncated => Kind::Truncated,
        };
        Line { at: event.at, kind }
    }

    fn into_event(self, events: &[Event], contents: &[Known<'_>]) -> Result<Event, String> {
        let kind = match self.kind {
            Kind::Sent(envelope) => EventKind::Sent(envelope.into_frame(events, contents)?),
            Kind::Received(envelope) => EventKind::Received(envelope.into_frame(events, contents)?),
            Kind::Lost(envelope) => EventKind::Lost(envelope.into_frame(events, contents)?),
            Kind::Link {
                node,
                link,
                on,
                event,
            } => EventKind::Link {
                node,
                link,
                on,
                event,
            },
            Kind::Noted { node, note } => EventKind::Noted { node, note },
            Kind::Step { index, mark } => EventKind::Step { index, mark },
            Kind::Opening { node, on, to } => EventKind::Opening { node, on, to },
            Kind::Guest { node, trouble } => EventKind::Guest { node, trouble },
            Kind::Truncated => EventKind::Truncated,
        };
        Ok(Event { at: self.at, kind })
    }
}

impl Envelope {
    fn new(frame: &Frame, octets: Octets) -> Envelope {
        Envelope {
            from: frame.from.clone(),
            to: frame.to.clone(),
            src: frame.src,
            dst: frame.dst,
            on: frame.on,
            format: frame.format,
            link: frame.link,
            security: frame.security.clone(),
            unframed: !frame.framed,
            octets,
        }
    }

    fn into_frame(self, events: &[Event], contents: &[Known<'_>]) -> Result<Frame, String> {
        Ok(Frame {
            bytes: self.octets.into_bytes(events, contents)?,
            from: self.from,
            to: self.to,
            src: self.src,
            dst: self.dst,
            on: self.on,
            format: self.format,
            link: self.link,
            security: self.security,
            framed: !self.unframed,
        })
    }
}

impl Octets {
    fn into_bytes(self, events: &[Event], contents: &[Known<'_>]) -> Result<Bytes, String> {
        match self {
            Octets::AsSent(number) => match events.get(number).map(|event| &event.kind) {
                Some(EventKind::Sent(frame)) => Ok(frame.bytes.clone()),
                _ => Err(format!(
                    "refers to event {number}, expected the number of an earlier sent event"
                )),
            },
            Octets::Joined(runs) => {
                let mut joined = Vec::new();
                for run in runs {
                    if matches!(run, Octets::Joined(_)) {
                        return Err("found joined octets within joined octets".to_owned());
                    }
                    joined.extend_from_slice(&run.into_bytes(events, contents)?);
                }
                Ok(joined.into())
            }
            Octets::Text(text) => Ok(text.into()),
            Octets::Base64(text) => match STANDARD.decode(&text) {
                Ok(bytes) => Ok(bytes.into()),
                Err(e) => Err(format!("found octets that are not base64: {e}")),
            },
            Octets::Content {
                name,
                offset,
                length,
            } => {
                let content = contents.iter().find(|c| c.name == name).ok_or_else(|| {
                    format!("refers to the content \"{name}\", which is not at hand")
                })?;
                let range = offset
                    .checked_add(length)
                    .and_then(|end| content.bytes.get(offset..end));
                match range {
                    Some(bytes) => Ok(Bytes::copy_from_slice(bytes)),
                    None => Err(format!(
                        "refers to {length} octets from {offset} of the content \"{name}\", \
                         which has {}",
                        content.bytes.len()
                    )),
                }
            }
        }
    }

    /// Octets that are no part of a content.
    fn verbatim(bytes: &[u8]) -> Octets {
        match std::str::from_utf8(bytes) {
            Ok(text) if text.chars().all(is_printable) => Octets::Text(text.to_owned()),
            _ => Octets::Base64(STANDARD.encode(bytes)),
        }
    }
}

fn is_printable(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\t') || !c.is_control()
}

fn is_plain(security: &Security) -> bool {
    *security == Security::Plain
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Finds runs of the contents in frames. Every [`STRIDE`]th word of every content is known by its value,
/// so that any run of [`WORTH`] octets holds at least one known word.
struct ContentIndex<'a> {
    contents: &'a [Known<'a>],
    /// (word, content, offset), sorted; the first content that holds a word stands for it.
    words: Vec<(u64, usize, usize)>,
    /// A bit for each value of [`slot`]: a word whose bit is unset is in no content.
    filter: Vec<u64>,
}

/// Distance of known words, in octets.
const STRIDE: usize = 32;

/// The shortest run of a content that is stored as a reference.
const WORTH: usize = 64;

const WORD: usize = 8;
const FILTER_BITS: u32 = 18;

impl<'a> ContentIndex<'a> {
    fn new(contents: &'a [Known<'a>]) -> ContentIndex<'a> {
        let mut words = Vec::new();
        let mut filter = vec![0u64; 1 << (FILTER_BITS - 6)];
        for (number, content) in contents.iter().enumerate() {
            for (block, octets) in content.bytes.chunks_exact(STRIDE).enumerate() {
                let word = word_at(octets, 0);
                filter[slot(word) / 64] |= 1 << (slot(word) % 64);
                words.push((word, number, block * STRIDE));
            }
        }
        words.sort_unstable();
        words.dedup_by_key(|&mut (word, _, _)| word);
        ContentIndex {
            contents,
            words,
            filter,
        }
    }

    fn octets(&self, bytes: &[u8]) -> Octets {
        let mut runs = Vec::new();
        let mut rest = 0;
        let mut at = 0;
        while at + WORD <= bytes.len() {
            match self.run_around(bytes, rest, at) {
                Some((first, content, offset, length)) => {
                    if first > rest {
                        runs.push(Octets::verbatim(&bytes[rest..first]));
                    }
                    runs.push(Octets::Content {
                        name: self.contents[content].name.to_owned(),
                        offset,
                        length,
                    });
                    rest = first + length;
                    at = rest;
                }
                None => at += 1,
            }
        }
        if runs.is_empty() {
            return Octets::verbatim(bytes);
        }
        if rest < bytes.len() {
            runs.push(Octets::verbatim(&bytes[rest..]));
        }
        Octets::Joined(runs)
    }

    /// The longest run of a content in `bytes[rest..]` that holds the word at `at`: where it begins,
    /// content, offset there, length.
    fn run_around(
        &self,
        bytes: &[u8],
        rest: usize,
        at: usize,
    ) -> Option<(usize, usize, usize, usize)> {
        let word = word_at(bytes, at);
        if self.filter[slot(word) / 64] & (1 << (slot(word) % 64)) == 0 {
            return None;
        }
        let found = self
            .words
            .binary_search_by_key(&word, |&(w, _, _)| w)
            .ok()?;
        let (_, number, offset) = self.words[found];
        let content = self.contents[number].bytes;
        let ahead = bytes[at..]
            .iter()
            .zip(&content[offset..])
            .take_while(|(a, b)| a == b)
            .count();
        let behind = bytes[rest..at]
            .iter()
            .rev()
            .zip(content[..offset].iter().rev())
            .take_while(|(a, b)| a == b)
            .count();
        let length = behind + ahead;
        (length >= WORTH).then_some((at - behind, number, offset - behind, length))
    }
}

fn word_at(bytes: &[u8], at: usize) -> u64 {
    let octets = bytes[at..at + WORD].try_into();
    u64::from_le_bytes(octets.expect("the slice has the length of a word"))
}

fn slot(word: u64) -> usize {
    (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - FILTER_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        spec::{Architecture, Delivery, Options, Role, Worth},
        trace::{Cast, CastNode, ContentName, ListenTransport, Listener},
        wire::frame::Identity,
    };

    #[test]
    fn an_arrival_refers_to_its_sending_and_a_piece_to_its_content() {
        let content = content(4096);
        let known = [Known {
            name: "three-pieces",
            bytes: &content,
        }];
        let mut bytes = b"HTTP/1.1 206 Partial Content\r\n\r\n".to_vec();
        bytes.extend_from_slice(&content[1000..3000]);
        let frame = frame(bytes.into());
        let trace = trace(vec![
            event(1, EventKind::Sent(frame.clone())),
            event(2, EventKind::Received(frame)),
        ]);

        let written = write(&trace, &known);

        assert!(!written.truncated);
        let lines: Vec<&str> = written.text.lines().collect();
        let content = r#"{"content":{"name":"three-pieces","offset":1000,"length":2000}}"#;
        assert!(lines[1].contains(content), "{}", lines[1]);
        assert!(
            lines[2].contains(r#""octets":{"as-sent":0}"#),
            "{}",
            lines[2]
        );
        assert_eq!(Ok(trace), read(&written.text, &known));
    }

    #[test]
    fn errors_name_their_line() {
        let mut text = write(&trace(vec![event(1, EventKind::Truncated)]), &[]).text;
        text.push_str("{\"at\":1,\"sunk\":{}}\n");

        let found = read(&text, &[]).unwrap_err();

        assert_eq!(3, found.line);
        assert_eq!(1, read("", &[]).unwrap_err().line);
    }

    #[test]
    fn what_exceeds_the_limit_is_cut_and_said_to_be() {
        let frame = frame(Bytes::from(vec![0; 700]));
        let events = (0..4)
            .map(|at| {
                let mut frame = frame.clone();
                frame.bytes = Bytes::from(vec![at as u8; 700]);
                event(at, EventKind::Sent(frame))
            })
            .collect();

        let written = write_at_most(3000, &trace(events), &[]);

        assert!(written.truncated);
        let read = read(&written.text, &[]).unwrap();
        assert_eq!(
            Some(&EventKind::Truncated),
            read.events.last().map(|e| &e.kind)
        );
        assert!(read.events.len() < 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn reading_gives_what_was_written(events in prop::collection::vec(any_event(), 0..12)) {
            let content = content(2048);
            let known = [Known { name: "c", bytes: &content }, Known { name: "zeros", bytes: &[0; 512] }];
            let trace = trace(events);
            prop_assert_eq!(Ok(trace.clone()), read(&write(&trace, &known).text, &known));
        }

        #[test]
        fn reading_never_panics(text in ".{0,80}", line in ".{0,80}") {
            let _ = read(&text, &[]);
            let head = write(&trace(Vec::new()), &[]).text;
            let _ = read(&format!("{head}{line}"), &[]);
        }

        #[test]
        fn any_run_of_a_content_is_found(first in 0usize..1900, length in WORTH..2048usize, head in 0usize..70) {
            let content = content(2048);
            let known = [Known { name: "c", bytes: &content }];
            let run = &content[first..(first + length).min(2048)];
            prop_assume!(run.len() >= WORTH);
            let bytes = [&vec![7; head], run, b"tail"].concat();
            let Octets::Joined(runs) = ContentIndex::new(&known).octets(&bytes) else {
                return Err(TestCaseError::fail("the run was not found"));
            };
            let found: usize = runs
                .iter()
                .map(|run| match run {
                    Octets::Content { length, .. } => *length,
                    _ => 0,
                })
                .sum();
            prop_assert!(found >= run.len());
        }
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let kind = prop_oneof![
            any_frame().prop_map(EventKind::Sent),
            any_frame().prop_map(EventKind::Received),
            any_frame().prop_map(EventKind::Lost),
            (0u64..9).prop_map(|link| EventKind::Link {
                node: "ue-a".into(),
                link: LinkId(link),
                on: RefPoint::Ut,
                event: LinkEvent::Accepted {
                    on: RefPoint::Ut,
                    format: Format::Http,
                    from: "192.0.2.1:1".parse().unwrap(),
                    local: "[2001:db8::1]:80".parse().unwrap(),
                    security: Security::Tls {
                        client: Some(Identity {
                            name: "es-1".into(),
                            worth: Worth::ALL[link as usize % Worth::ALL.len()],
                        }),
                    },
                },
            }),
            Just(EventKind::Link {
                node: "ue-a".into(),
                link: LinkId(1),
                on: RefPoint::Gm,
                event: LinkEvent::Reset,
            }),
            ".{0,20}".prop_map(|text| EventKind::Noted {
                node: "ue-a".into(),
                note: Note {
                    topic: "assembled".to_owned(),
                    text,
                },
            }),
            (0usize..9).prop_map(|index| EventKind::Step {
                index,
                mark: StepMark::Impossible,
            }),
            ".{0,20}".prop_map(|text| EventKind::Guest {
                node: NodeName::new("ue-a"),
                trouble: Trouble::Ended(text),
            }),
            Just(EventKind::Truncated),
        ];
        (any::<u64>(), kind).prop_map(|(at, kind)| event(at, kind))
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let bytes = prop_oneof![
            "[ -~\r\n\té]{0,60}".prop_map(|text| text.into_bytes()),
            prop::collection::vec(any::<u8>(), 0..40),
            (
                0usize..2000,
                0usize..300,
                prop::collection::vec(any::<u8>(), 0..9)
            )
                .prop_map(|(first, length, tail)| {
                    let content = content(2048);
                    let end = (first + length).min(content.len());
                    [&content[first..end], &tail, &[0; 100]].concat()
                }),
        ];
        (bytes, any::<bool>(), prop::option::of(0u64..4)).prop_map(|(bytes, framed, link)| Frame {
            framed,
            link: link.map(LinkId),
            ..frame(bytes.into())
        })
    }

    fn frame(bytes: Bytes) -> Frame {
        Frame {
            from: Party::Node("es-1".into()),
            to: Party::Unknown("192.0.2.9:5060".parse().unwrap()),
            src: "192.0.2.1:80".parse().unwrap(),
            dst: "192.0.2.2:4711".parse().unwrap(),
            on: RefPoint::Data,
            format: Format::Http,
            link: Some(LinkId(2)),
            security: Security::Tls { client: None },
            bytes,
            framed: true,
        }
    }

    fn event(at: u64, kind: EventKind) -> Event {
        Event {
            at: At::from_nanos(at),
            kind,
        }
    }

    fn trace(events: Vec<Event>) -> Trace {
        Trace {
            meta: Meta {
                instance: "registered/a/b@ut.ims.ims#0".to_owned(),
                seed: 0,
                architecture: Architecture::Registered,
                options: Options::default(),
                delivery: Delivery::Delegate,
                transport: "memory".to_owned(),
                nodes: vec![CastNode {
                    name: "ue-a".into(),
                    role: Role::Ue,
                    cast: Cast::Sut,
                    listeners: vec![Listener {
                        on: RefPoint::Gm,
                        format: Format::Sip,
                        transport: ListenTransport::Udp,
                        addr: "192.0.2.1:5060".parse().unwrap(),
                    }],
                    ip: None,
                    ports: None,
                    impu: None,
                    certificate: crate::spec::Worth::Good,
                }],
                contents: vec![ContentName {
                    fixture: "three-pieces".to_owned(),
                    swarm: "s-1".to_owned(),
                }],
                began: At::from_nanos(7),
                unheard: vec![NodeName::new("ue-b")],
                unreset: vec![NodeName::new("ue-b")],
            },
            events,
        }
    }

    /// Octets without a pattern.
    fn content(length: usize) -> Vec<u8> {
        let mut random = crate::random::Random::new(1);
        (0..length).map(|_| random.next_u64() as u8).collect()
    }
}
