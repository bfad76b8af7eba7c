//! Composing the messages that a scenario sends in a node's name: from text, from octets, or from a message
//! seen before, then edited. Nothing is made well-formed that the scenario wants malformed.

use bytes::Bytes;

use crate::{
    proto::digest::{AuthValue, Secret, Session},
    random::Random,
    suite::{Authorize, Edit, Follower, Layer, Send, SendSource, Subscribers, Template, View},
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
                let text = Text::parse(self.captured(name)?.bytes());
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
    fn a_header_is_replaced_where_it_stood() {
        let mut text = Text::parse(b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\na: 3\r\n\r\nbody").unwrap();
        text.set("A", "4");
        let expected: &[u8] = b"GET / HTTP/1.1\r\nA: 4\r\nB: 2\r\n\r\nbody";
        assert_eq!(expected, &text.finish()[..]);
    }
}
