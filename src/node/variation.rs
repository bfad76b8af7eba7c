//! Lawful variations in a node's door: the same messages, written as another implementation might. Which of them
//! a node has is drawn from its seed; a node itself knows nothing of them. Decisions that are the node's own stand
//! in [`policy`](super::policy).

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::{
    Node, Setup,
    door::{Behind, Door, Passing, Said},
};
use crate::{
    proto::endpoint::longest_datagram,
    random::{Random, derive},
    spec::Role,
    wire::{message::Decoded, ppstp},
};

/// One way to write the same otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// SIP headers are folded at a comma (RFC 3261 7.3.1).
    FoldsHeaders,
    /// SIP and HTTP header names are in lower case (RFC 3261 7.3.1, RFC 9110 5.1).
    LowersNames,
    /// SDP ends in an attribute that nobody knows (RFC 4566 5.13: ignored).
    AddsAttribute,
    /// PPSTP documents have a member that nobody knows (RFC 7846 4.4: ignored).
    AddsMember,
    /// HTTP messages have a header that nobody knows (RFC 9110 5.1: ignored).
    AddsHttpHeader,
    /// Diameter messages end in an AVP that nobody knows and nobody must (RFC 6733 4.1: M bit clear).
    AddsAvp,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Way::FoldsHeaders => "folds_headers",
            Way::LowersNames => "lowers_names",
            Way::AddsAttribute => "adds_sdp_attribute",
            Way::AddsMember => "adds_ppstp_member",
            Way::AddsHttpHeader => "adds_http_header",
            Way::AddsAvp => "adds_avp",
        }
    }
}

/// What a node does otherwise at its door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variation {
    ways: Vec<Way>,
    /// Slow, but in time: the P-CSCF, which has to answer within 200 ms, is never slower than it is.
    delay: Duration,
}

impl Variation {
    /// What a node with this set-up varies; nothing with the canonical seed.
    pub fn draw(role: Role, seed: u64) -> Variation {
        let mut random = Random::new(derive(seed, &["variation"]));
        let ways = lawful(role).iter().copied();
        Variation {
            ways: ways.filter(|_| random.below(2) == 1).collect(),
            delay: Duration::from_millis(match (role, random.below(3)) {
                (Role::PCscf, _) | (_, 0) => 0,
                _ => random.below(40),
            }),
        }
    }

    /// By name, for counting.
    pub fn names(&self) -> Vec<&'static str> {
        let slow = (!self.delay.is_zero()).then_some("slow");
        self.ways.iter().map(|way| way.name()).chain(slow).collect()
    }

    /// The node, varied.
    pub fn around(self, node: Box<dyn Node>, setup: Setup) -> Box<dyn Node> {
        let delay = self.delay;
        Box::new(Behind::new(node, Box::new(self), setup).slowed(delay))
    }
}

/// A proxy passes on what others wrote and must not write it otherwise (RFC 3261 16.6), so only those at the
/// ends vary SIP; whoever speaks Diameter may add to it.
fn lawful(role: Role) -> &'static [Way] {
    match role {
        Role::PCscf => &[],
        Role::ICscf | Role::SCscf | Role::Hss => &[Way::AddsAvp],
        _ => &[
            Way::FoldsHeaders,
            Way::LowersNames,
            Way::AddsAttribute,
            Way::AddsMember,
            Way::AddsHttpHeader,
        ],
    }
}

impl Door for Variation {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let mut bytes = passing.bytes.clone();
        for way in &self.ways {
            let varied = match way {
                Way::FoldsHeaders => folded(passing.message, &bytes),
                Way::LowersNames => lowered(passing.message, &bytes),
                Way::AddsAttribute => with_attribute(passing.message, &bytes),
                Way::AddsMember => with_member(passing.message, &bytes),
                Way::AddsHttpHeader => with_header(passing.message, &bytes),
                Way::AddsAvp => with_avp(passing.message, &bytes),
            };
            bytes = varied
                .filter(|varied| fits(passing, varied))
                .unwrap_or(bytes);
        }
        match bytes == *passing.bytes {
            true => Said::AsWritten,
            false => Said::as_one(bytes),
        }
    }
}

/// Who writes more has to choose the transport by what it wrote (RFC 3261 18.1.1): a request that went as a
/// datagram must not grow past what its path carries.
fn fits(passing: &Passing<'_>, varied: &Bytes) -> bool {
    let mtu = passing.setup.path_mtu.get(&passing.on).copied();
    let is_request = passing.message.sip().is_some_and(|sip| sip.is_request());
    passing.link.is_some()
        || !is_request
        || varied.len() <= passing.bytes.len().max(longest_datagram(mtu))
}

/// The head as lines, start line first, and what follows the empty line.
fn parts(bytes: &Bytes) -> Option<(Vec<String>, Bytes)> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let lines = head.split("\r\n").map(str::to_owned).collect();
    Some((lines, bytes.slice(end + 4..)))
}

fn joined(lines: &[String], body: &[u8]) -> Bytes {
    let mut bytes = lines.join("\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body);
    bytes.into()
}

fn named(line: &str, name: &str) -> bool {
    let found = line.split_once(':').map_or("", |(found, _)| found.trim());
    found.eq_ignore_ascii_case(name)
}

fn folded(message: &Decoded, bytes: &Bytes) -> Option<Bytes> {
    message.sip()?;
    let (mut lines, body) = parts(bytes)?;
    let line = lines.iter_mut().skip(1).find(|line| {
        let folds = named(line, "Allow") || named(line, "Supported") || named(line, "Accept");
        folds && line.contains(", ")
    })?;
    *line = line.replacen(", ", ",\r\n ", 1);
    Some(joined(&lines, &body))
}

fn lowered(message: &Decoded, bytes: &Bytes) -> Option<Bytes> {
    let is_text = matches!(
        message,
        Decoded::Sip(_) | Decoded::HttpRequest(_) | Decoded::HttpResponse(_)
    );
    let (mut lines, body) = parts(bytes).filter(|_| is_text)?;
    for line in lines.iter_mut().skip(1) {
        // A folded line has no name.
        if !line.starts_with([' ', '\t'])
            && let Some((name, value)) = line.split_once(':')
        {
            *line = format!("{}:{value}", name.to_ascii_lowercase());
        }
    }
    Some(joined(&lines, &body))
}

fn with_attribute(message: &Decoded, bytes: &Bytes) -> Option<Bytes> {
    let (media_type, sdp) = message.sip().and(message.body())?;
    let (lines, body) = parts(bytes)?;
    let is_plain = media_type == "application/sdp" && body[..] == sdp[..] && sdp.ends_with(b"\r\n");
    is_plain.then(|| with_body(lines, [&sdp[..], b"a=x-unheard-of:1\r\n"].concat()))
}

fn with_member(message: &Decoded, bytes: &Bytes) -> Option<Bytes> {
    let (media_type, document) = message.body()?;
    let (lines, body) = parts(bytes)?;
    if media_type != ppstp::MEDIA_TYPE || body[..] != document[..] {
        return None;
    }
    let mut root: Value = serde_json::from_slice(&document).ok()?;
    let inner = root.as_object_mut()?.values_mut().next()?.as_object_mut()?;
    inner.insert("x-unheard-of".to_owned(), Value::Bool(true));
    Some(with_body(lines, serde_json::to_vec(&root).ok()?))
}

fn with_body(mut lines: Vec<String>, body: Vec<u8>) -> Bytes {
    for line in &mut lines {
        if (named(line, "Content-Length") || named(line, "l"))
            && let Some((name, _)) = line.split_once(':')
        {
            *line = format!("{name}: {}", body.len());
        }
    }
    joined(&lines, &body)
}

fn with_header(message: &Decoded, bytes: &Bytes) -> Option<Bytes> {
    let is_http = matches!(message, Decoded::HttpRequest(_) | Decoded::HttpResponse(_));
    let (mut lines, body) = parts(bytes).filter(|_| is_http)?;
    lines.push("X-Unheard-Of: 1".to_owned());
    Some(joined(&lines, &body))
}

fn with_avp(message: &Decoded, bytes: &Bytes) -> Option<Bytes> {
    let Decoded::Diameter(_) = message else {
        return None;
    };
    // Code 16777000, no flags, twelve octets in all.
    let avp = [0x00, 0xff, 0xff, 0x28, 0x00, 0x00, 0x00, 0x0c, 0, 0, 0, 1];
    let mut varied = [&bytes[..], &avp[..]].concat();
    let length = u32::try_from(varied.len()).ok()?.to_be_bytes();
    varied.get_mut(1..4)?.copy_from_slice(&length[1..]);
    Some(varied.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Format;

    const INVITE: &str = "INVITE sip:b@ims.example SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:a@ims.example>;tag=1\r\n\
        To: <sip:b@ims.example>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nSupported: path, gruu\r\nContent-Type: application/sdp\r\n\
        Content-Length: 5\r\n\r\nv=0\r\n";

    fn varied(ways: &[Way], text: &str) -> String {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let mut bytes = bytes.clone();
        for way in ways {
            let message = Decoded::read(Format::Sip, bytes.clone());
            let other = match way {
                Way::FoldsHeaders => folded(&message, &bytes),
                Way::LowersNames => lowered(&message, &bytes),
                Way::AddsAttribute => with_attribute(&message, &bytes),
                _ => None,
            };
            bytes = other.unwrap_or(bytes);
        }
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn what_is_varied_says_the_same() {
        let text = varied(
            &[Way::FoldsHeaders, Way::LowersNames, Way::AddsAttribute],
            INVITE,
        );
        assert_ne!(INVITE, text);
        let (before, after) = (read(INVITE), read(&text));
        for name in ["Via", "From", "To", "Call-ID", "CSeq", "Content-Type"] {
            assert_eq!(before.header(name), after.header(name), "{name}");
        }
        assert_eq!(vec!["path", "gruu"], after.values("Supported"));
        assert_eq!(b"v=0\r\na=x-unheard-of:1\r\n", after.body());
    }

    fn read(text: &str) -> crate::wire::sip::Message {
        crate::wire::sip::Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn an_avp_more_leaves_the_message_readable() {
        use crate::wire::diameter::{Avps, Builder, Header, dictionary};
        let header = Header {
            flags: 0,
            command: 280,
            application: 0,
            hop_by_hop: 1,
            end_to_end: 1,
        };
        let avps = Avps::new().text(&dictionary::ORIGIN_HOST, "hss");
        let bytes = Builder::new(header).avps(avps).finish();
        let message = Decoded::read(Format::Diameter, bytes.clone());
        let varied = with_avp(&message, &bytes).unwrap();
        let Decoded::Diameter(read) = Decoded::read(Format::Diameter, varied) else {
            panic!("no Diameter any more");
        };
        assert_eq!(2, read.avps().count());
        assert_eq!(Ok(Some("hss")), read.text(&dictionary::ORIGIN_HOST));
    }
}
