//! A message as a person reads it: what it is, its fields in order, its body laid out; and its octets as they
//! crossed. Works on whatever was sent: what does not parse has no fields, and its octets are shown all the
//! same.

use std::fmt::Write;

use crate::{
    spec::Format,
    wire::{Malformed, diameter, frame::Frame, http, msrp, sip},
};

/// A message in its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Start line, or name and numbers.
    pub head: String,
    /// Names and values, in the order of the wire.
    pub fields: Vec<(String, String)>,
    /// The body, laid out; what is not text is told by its length.
    pub body: Option<String>,
}

/// What the octets of a frame say.
pub fn decode(frame: &Frame) -> Result<Decoded, Malformed> {
    let bytes = || frame.bytes.clone();
    match frame.format {
        Format::Sip => Ok(sip(&sip::Message::parse(bytes())?)),
        Format::Http if frame.bytes.starts_with(b"HTTP/") => {
            let message = http::Response::parse(bytes())?;
            Ok(http(message.bytes(), message.headers(), &message.body()))
        }
        Format::Http => {
            let message = http::Request::parse(bytes())?;
            Ok(http(message.bytes(), message.headers(), &message.body()))
        }
        Format::Msrp => Ok(msrp(&msrp::Message::parse(bytes())?)),
        Format::Diameter => Ok(diameter(&diameter::Message::parse(bytes())?)),
    }
}

/// The octets as they crossed, at most `most` of them: text with its control characters made visible, anything
/// else as hexadecimal.
pub fn raw(frame: &Frame, most: usize) -> String {
    let shown = &frame.bytes[..frame.bytes.len().min(most)];
    let (mut text, told) = match readable(frame, most) {
        Some(text) => (visible(text), shown.len()),
        None => {
            let dumped = &shown[..shown.len().min(DUMPED)];
            (dump(dumped), dumped.len())
        }
    };
    if told < frame.bytes.len() {
        let _ = write!(text, "\n… {told} of {} octets", frame.bytes.len());
    }
    text
}

/// The octets that [`raw`] tells as text, if it does.
pub fn readable(frame: &Frame, most: usize) -> Option<&str> {
    let shown = &frame.bytes[..frame.bytes.len().min(most)];
    text_of(shown).filter(|_| frame.format != Format::Diameter)
}

fn sip(message: &sip::Message) -> Decoded {
    Decoded {
        head: first_line(message.bytes()),
        fields: message
            .headers()
            .map(|header| (header.name.to_string(), header.value.to_string()))
            .collect(),
        body: body(message.body()),
    }
}

fn http<'a>(
    bytes: &[u8],
    headers: impl Iterator<Item = (&'a str, std::borrow::Cow<'a, str>)>,
    content: &[u8],
) -> Decoded {
    Decoded {
        head: first_line(bytes),
        fields: headers
            .map(|(name, value)| (name.to_owned(), value.into_owned()))
            .collect(),
        body: body(content),
    }
}

fn msrp(message: &msrp::Message) -> Decoded {
    Decoded {
        head: first_line(message.bytes()),
        fields: message
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: message.body().and_then(|content| body(&content)),
    }
}

fn diameter(message: &diameter::Message) -> Decoded {
    let header = message.header();
    let mut fields = Vec::new();
    for avp in message.avps() {
        avps(&avp, 0, &mut fields);
    }
    Decoded {
        head: format!(
            "{} hop-by-hop {:#010x} end-to-end {:#010x}",
            message.name(),
            header.hop_by_hop,
            header.end_to_end
        ),
        fields,
        body: None,
    }
}

/// An AVP and what is in it, a level a step to the right.
fn avps(avp: &diameter::Avp<'_>, depth: usize, fields: &mut Vec<(String, String)>) {
    let name = format!("{}{}", "\u{a0}\u{a0}".repeat(depth), avp.name());
    let kind = avp.attribute().map(|attribute| attribute.kind);
    if kind == Some(diameter::dictionary::Kind::Grouped)
        && depth < DEEPEST
        && let Ok(group) = avp.group()
    {
        fields.push((name, String::new()));
        for inside in group.iter() {
            avps(&inside, depth + 1, fields);
        }
        return;
    }
    let value = match (kind, avp.number(), text_of(avp.data())) {
        (Some(diameter::dictionary::Kind::Unsigned32), Ok(number), _) => number.to_string(),
        (_, _, Some(text))
            if !text.chars().any(char::is_control) || text.trim_start().starts_with('<') =>
        {
            text.to_owned()
        }
        _ => hexadecimal(avp.data()),
    };
    fields.push((name, value));
}

/// JSON and other text are laid out, other octets counted.
fn body(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return None;
    }
    let Some(text) = text_of(bytes) else {
        return Some(format!("{} octets of content", bytes.len()));
    };
    let json = serde_json::from_str::<serde_json::Value>(text).ok();
    let laid_out = json.filter(|value| value.is_object() || value.is_array());
    let text = match laid_out {
        Some(value) => serde_json::to_string_pretty(&value).ok()?,
        None => text.replace('\r', ""),
    };
    Some(match text.char_indices().nth(LAID_OUT) {
        Some((end, _)) => format!("{}\n… {} octets in all", &text[..end], bytes.len()),
        None => text,
    })
}

fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|&octet| octet == b'\n').next().unwrap_or(bytes);
    String::from_utf8_lossy(line).trim_end().to_owned()
}

/// Text that a person can read: UTF-8, without control characters other than ends of lines and tabs.
fn text_of(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_readable = |c: char| !c.is_control() || matches!(c, '\r' | '\n' | '\t');
    text.chars().all(is_readable).then_some(text)
}

/// Lines end in CR LF; one of both alone is told by its escape. Few fonts have pictures of control characters.
fn visible(text: &str) -> String {
    let lines = text.split("\r\n").map(|line| {
        line.replace('\r', "\\r")
            .replace('\n', "\\n\n")
            .replace('\t', "\\t")
    });
    lines.collect::<Vec<_>>().join("↵\n")
}

/// Offset, sixteen octets in hexadecimal, and what of them is ASCII.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, octets) in bytes.chunks(16).enumerate() {
        let numbers: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let letters: String = octets
            .iter()
            .map(|&octet| match octet {
                0x20..=0x7e => char::from(octet),
                _ => '.',
            })
            .collect();
        let _ = writeln!(
            text,
            "{:04x}  {:<47}  {letters}",
            line * 16,
            numbers.join(" ")
        );
    }
    text.truncate(text.trim_end().len());
    text
}

fn hexadecimal(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(64)];
    let mut text: String = shown.iter().map(|octet| format!("{octet:02x}")).collect();
    if shown.len() < bytes.len() {
        let _ = write!(text, "… {} octets", bytes.len());
    }
    text
}

/// Characters of a body that are shown.
const LAID_OUT: usize = 2048;

/// Octets shown in hexadecimal.
const DUMPED: usize = 512;

/// Groups within groups.
const DEEPEST: usize = 6;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        spec::RefPoint,
        wire::frame::{Party, Security},
    };

    #[test]
    fn a_message_is_told_in_its_parts() {
        let text = "PUBLISH sip:t@ims.example SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.1\r\n\
                    Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        let decoded = decode(&frame(Format::Sip, text.as_bytes())).unwrap();
        assert_eq!("PUBLISH sip:t@ims.example SIP/2.0", decoded.head);
        assert_eq!("SIP/2.0/UDP 192.0.2.1", decoded.fields[0].1);
        assert_eq!(Some("{\n  \"a\": 1\n}"), decoded.body.as_deref());
        let raw = raw(&frame(Format::Sip, text.as_bytes()), 20);
        assert_eq!("PUBLISH sip:t@ims.ex\n… 20 of 121 octets", raw);
    }

    #[test]
    fn octets_that_are_no_text_are_dumped() {
        assert_eq!(
            "0000  00 41 ff                                         .A.",
            raw(&frame(Format::Msrp, b"\x00A\xff"), 99)
        );
        assert_eq!("a↵\nb↵\n", raw(&frame(Format::Sip, b"a\r\nb\r\n"), 99));
        assert_eq!("a\\n\nb\\rc\\t", raw(&frame(Format::Sip, b"a\nb\rc\t"), 99));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_octets_are_shown(bytes in prop::collection::vec(any::<u8>(), 0..200), most in 0usize..99) {
            for &format in Format::ALL {
                let frame = frame(format, &bytes);
                let _ = decode(&frame);
                prop_assert!(bytes.is_empty() || !raw(&frame, most).is_empty());
            }
        }
    }

    fn frame(format: Format, bytes: &[u8]) -> Frame {
        Frame {
            from: Party::Node("a".into()),
            to: Party::Node("b".into()),
            src: "192.0.2.1:1".parse().unwrap(),
            dst: "192.0.2.2:2".parse().unwrap(),
            on: RefPoint::Ut,
            format,
            link: None,
            security: Security::Plain,
            bytes: Bytes::copy_from_slice(bytes),
            framed: true,
        }
    }
}
