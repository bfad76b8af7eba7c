//! Composing the messages that a scenario sends in a node's name: from text, from octets, or from a message
//! seen before, then edited. Nothing is made well-formed that the scenario wants malformed.

use bytes::Bytes;

use crate::{
    proto::digest::{AuthValue, Secret, Session},
    random::Random,
    spec::Format,
    suite::{Authorize, Edit, Follower, Layer, Send, SendSource, Subscribers, Template, View},
    wire::diameter::{
        self, Avps,
        dictionary::{self as d, Attribute},
    },
};

/// Why a message could not be composed.
#[derive(Debug, PartialEq, Eq)]
pub enum Lack {
    /// The scenario asks for what is not there: its fault, or ours.
    Asked(String),
    /// A message that came does not have in it what this one is made of.
    Came(String),
}

/// What a message is composed with.
pub struct Compose<'a> {
    pub subscribers: &'a Subscribers,
    pub follower: &'a Follower<'a>,
    pub seed: u64,
}

impl Compose<'_> {
    /// The octets to send. The error names the place that has no value, or what cannot be edited.
    pub fn message(&self, send: &Send) -> Result<Bytes, Lack> {
        let mut text = match &send.source {
            SendSource::Octets(template) => return Ok(unescaped(&self.fill(template)?).into()),
            SendSource::Text { head, body } => {
                let crlf = |text: String| text.replace("\r\n", "\n").replace('\n', "\r\n");
                let mut text =
                    Text::of(&crlf(self.fill(head)?), crlf(self.fill(body)?).into_bytes());
                if !text.has("Content-Length") && !text.has("Transfer-Encoding") {
                    text.set_length();
                }
                text
            }
            SendSource::Like(name) => {
                let view = self.captured(name)?;
                if view.format() == Format::Diameter {
                    return self.diameter(name, view.bytes(), &send.edits);
                }
                let text = Text::parse(view.bytes());
                text.ok_or_else(|| Lack::Came(format!("\"{name}\" has no header to edit")))?
            }
        };
        for edit in &send.edits {
            self.apply(&mut text, edit)?;
        }
        if let Some(authorize) = &send.authorize {
            self.authorize(&mut text, authorize)?;
        }
        Ok(text.finish())
    }

    /// A request on Cx as it came but for the texts that are set, and under identifiers of its own, so that its
    /// answer is not taken for that of the first.
    fn diameter(&self, name: &str, bytes: &Bytes, edits: &[Edit]) -> Result<Bytes, Lack> {
        let message = diameter::Message::parse(bytes.clone())
            .map_err(|malformed| Lack::Came(format!("\"{name}\" cannot be read: {malformed}")))?;
        let mut texts = Vec::new();
        for edit in edits {
            let Edit::Set(field, value) = edit else {
                let why = format!("of \"{name}\", a Diameter message, AVPs can only be set");
                return Err(Lack::Asked(why));
            };
            let place = AVPS.iter().find(|(known, _)| known == field);
            let (_, path) = place.ok_or_else(|| {
                let known: Vec<&str> = AVPS.iter().map(|(known, _)| *known).collect();
                let known = known.join(", ");
                Lack::Asked(format!(
                    "\"{field}\" cannot be set in Diameter, only {known}"
                ))
            })?;
            texts.push((*path, self.fill(value)?));
        }
        let header = diameter::Header {
            hop_by_hop: message.header().hop_by_hop ^ OF_ITS_OWN,
            end_to_end: message.header().end_to_end ^ OF_ITS_OWN,
            ..*message.header()
        };
        let avps = with_texts(message.avps(), &texts);
        Ok(diameter::Builder::new(header).avps(avps).finish())
    }

    fn captured(&self, name: &str) -> Result<&View, Lack> {
        let view = self.follower.captures().get(name);
        view.ok_or_else(|| Lack::Asked(format!("\"{name}\" was not captured")))
    }

    fn fill(&self, template: &Template) -> Result<String, Lack> {
        template.fill(&self.follower.values()).map_err(|place| {
            let why = format!("\"${{{place}}}\" has no value here");
            let owner = place.split('.').next().unwrap_or_default();
            match self.follower.captures().get(owner) {
                Some(_) => Lack::Came(why),
                None => Lack::Asked(why),
            }
        })
    }

    fn apply(&self, text: &mut Text, edit: &Edit) -> Result<(), Lack> {
        match edit {
            Edit::Set(name, value) => text.set(name, &self.fill(value)?),
            Edit::Add(name, value) => text.lines.push(format!("{name}: {}", self.fill(value)?)),
            Edit::Remove(name) => text.remove(name),
            Edit::Body(body) => {
                text.body = self.fill(body)?.into_bytes();
                text.set_length();
            }
            Edit::Start(start) => text.start = self.fill(start)?,
        }
        Ok(())
    }

    fn authorize(&self, text: &mut Text, authorize: &Authorize) -> Result<(), Lack> {
        let user = self
            .subscribers
            .get(&authorize.user)
            .ok_or_else(|| Lack::Asked(format!("there is no subscriber \"{}\"", authorize.user)))?;
        let view = self.captured(&authorize.challenge)?;
        let challenges: Vec<String> = [Layer::Sip, Layer::Http]
            .into_iter()
            .flat_map(|layer| {
                ["www-authenticate", "proxy-authenticate"].map(|header| (layer, header))
            })
            .flat_map(|(layer, header)| view.get(layer, header).unwrap_or_default())
            .collect();
        let challenges: Vec<AuthValue> = challenges
            .iter()
            .flat_map(|value| AuthValue::parse_all(value).unwrap_or_default())
            .collect();
        let password = authorize.password.as_ref().unwrap_or(&user.password);
        let secret = Secret::Password(password.clone());
        let mut session = Session::start(&challenges, &user.impi, &secret)
            .map_err(|why| Lack::Came(why.to_string()))?;
        let mut words = text.start.split(' ');
        let (method, uri) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let mut random = Random::new(self.seed);
        let mut answer = session.answer(method, uri, &mut random);
        for _ in 1..authorize.count {
            answer = session.answer(method, uri, &mut random);
        }
        text.set("Authorization", &answer.to_string());
        Ok(())
    }
}

/// AVPs with other texts in those that lie on a path: the attribute, and before it the groups it is in.
fn with_texts<'a>(
    avps: impl Iterator<Item = diameter::Avp<'a>>,
    texts: &[(&[&'static Attribute], String)],
) -> Avps {
    avps.fold(Avps::new(), |out, avp| {
        let here = texts
            .iter()
            .filter_map(|(path, text)| Some((path.split_first()?, text)))
            .filter(|((first, _), _)| avp.is(first));
        let below: Vec<_> = here
            .map(|((_, below), text)| (below, text.clone()))
            .collect();
        match (&below[..], avp.attribute(), avp.group()) {
            ([.., ([], text)], Some(attribute), _) => out.text(attribute, text),
            ([_, ..], Some(attribute), Ok(group)) => {
                out.group(attribute, with_texts(group.iter(), &below))
            }
            _ => out.kept(avp),
        }
    })
}

/// What can be set of a message on Cx, by the names that patterns use.
const AVPS: &[(&str, &[&Attribute])] = &[
    ("session-id", &[&d::SESSION_ID]),
    ("user-name", &[&d::USER_NAME]),
    ("public-identity", &[&d::PUBLIC_IDENTITY]),
    ("visited-network", &[&d::VISITED_NETWORK_IDENTIFIER]),
    ("server-name", &[&d::SERVER_NAME]),
    (
        "authentication-scheme",
        &[&d::SIP_AUTH_DATA_ITEM, &d::SIP_AUTHENTICATION_SCHEME],
    ),
];

/// Turns an identifier of a node that counts its requests up into one that it will not come to.
const OF_ITS_OWN: u32 = 1 << 31;

/// A message with a start line, header lines and a body: SIP and HTTP alike.
struct Text {
    start: String,
    lines: Vec<String>,
    body: Vec<u8>,
}

impl Text {
    fn of(head: &str, body: Vec<u8>) -> Text {
        let mut lines = head.split("\r\n").map(str::to_owned);
        let start = lines.next().unwrap_or_default();
        Text {
            start,
            lines: lines.collect(),
            body,
        }
    }

    fn parse(bytes: &[u8]) -> Option<Text> {
        let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]);
        Some(Text::of(&head, bytes[end + 4..].to_vec()))
    }

    fn is_named(line: &str, name: &str) -> bool {
        line.split_once(':')
            .is_some_and(|(found, _)| found.trim_end().eq_ignore_ascii_case(name))
    }

    fn has(&self, name: &str) -> bool {
        self.lines.iter().any(|line| Text::is_named(line, name))
    }

    /// One header of that name, where the first stood.
    fn set(&mut self, name: &str, value: &str) {
        let place = self
            .lines
            .iter()
            .position(|line| Text::is_named(line, name));
        self.remove(name);
        let place = place.unwrap_or(self.lines.len()).min(self.lines.len());
        self.lines.insert(place, format!("{name}: {value}"));
    }

    fn remove(&mut self, name: &str) {
        self.lines.retain(|line| !Text::is_named(line, name));
    }

    fn set_length(&mut self) {
        self.set("Content-Length", &self.body.len().to_string());
    }

    fn finish(self) -> Bytes {
        let mut bytes = self.start.into_bytes();
        for line in self.lines {
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(line.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }
}

/// `\r`, `\n`, `\t`, `\\` and `\xNN` as the octets they stand for.
fn unescaped(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (octet, used) = match (first, after) {
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b'n', ..]) => (b'\n', 1),
            (b'\\', [b't', ..]) => (b'\t', 1),
            (b'\\', [b'\\', ..]) => (b'\\', 1),
            (b'\\', [b'x', high, low, ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, 3),
                _ => (b'\\', 0),
            },
            _ => (first, 0),
        };
        octets.push(octet);
        rest = &after[used..];
    }
    octets
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_octets_and_others_for_themselves() {
        assert_eq!(
            b"a\r\n\x00\xff\\z\\".to_vec(),
            unescaped(r"a\r\n\x00\xff\\z\")
        );
    }

    #[test]
    fn a_text_within_a_group_is_replaced_and_all_else_kept() {
        let item = |scheme: &str| {
            Avps::new()
                .number(&d::SIP_ITEM_NUMBER, 1)
                .text(&d::SIP_AUTHENTICATION_SCHEME, scheme)
        };
        let written = |user: &str, scheme: &str| {
            let avps = Avps::new()
                .text(&d::USER_NAME, user)
                .text(&d::SERVER_NAME, "sip:s")
                .group(&d::SIP_AUTH_DATA_ITEM, item(scheme));
            let builder = diameter::Builder::request(&d::MAR, 1, 2).avps(avps);
            diameter::Message::parse(builder.finish()).expect("a message that was built")
        };
        let place = |name| AVPS.iter().find(|(known, _)| *known == name).unwrap().1;
        let texts = [
            (place("authentication-scheme"), "Another".to_owned()),
            (place("user-name"), "b".to_owned()),
        ];
        let message = written("a", "One");
        let avps = with_texts(message.avps(), &texts);
        let changed = diameter::Builder::new(*message.header()).avps(avps);
        assert_eq!(written("b", "Another").bytes(), &changed.finish());
    }

    #[test]
    fn a_header_is_replaced_where_it_stood() {
        let mut text = Text::parse(b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\na: 3\r\n\r\nbody").unwrap();
        text.set("A", "4");
        let expected: &[u8] = b"GET / HTTP/1.1\r\nA: 4\r\nB: 2\r\n\r\nbody";
        assert_eq!(expected, &text.finish()[..]);
    }
}
