//! How messages are bent: small changes that keep all other octets.

pub mod cx;
pub mod edits;
pub mod recall;

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Heard, Said};
use crate::wire::{http, message::Decoded, msrp, ppstp, sip};

/// What becomes of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    As(String),
    Gone,
    Kept,
}

/// The message goes out bent; as it is written if there was nothing to bend.
pub fn said(bent: Option<impl Into<Bytes>>) -> Said {
    bent.map_or(Said::AsWritten, Said::as_one)
}

/// The message is heard bent; as it came if there was nothing to bend.
pub fn heard(bent: Option<impl Into<Bytes>>) -> Heard {
    bent.map_or(Heard::AsItCame, Heard::as_one)
}

/// A header with another value, made of the first one's; `None` if it is not there.
pub fn header(
    message: &sip::Message,
    name: &str,
    change: impl FnOnce(&str) -> String,
) -> Option<sip::Message> {
    let value = message.header(name)?;
    Some(message.edit().set(name, &change(&value)).finish())
}

/// The same without a header; `None` if it is not there.
pub fn without(message: &sip::Message, name: &str) -> Option<sip::Message> {
    message
        .has(name)
        .then(|| message.edit().remove(name).finish())
}

/// A description line by line, each with the number of the media line it belongs to (0: the session);
/// `None` if there is no description or all lines are kept.
pub fn sdp(
    message: &sip::Message,
    mut change: impl FnMut(usize, &str) -> Line,
) -> Option<sip::Message> {
    let kind = message.header("Content-Type")?;
    if !kind.trim().to_ascii_lowercase().starts_with(SDP) {
        return None;
    }
    let body = std::str::from_utf8(message.body()).ok()?;
    let (mut media, mut is_bent, mut bent) = (0, false, String::with_capacity(body.len() + 64));
    for line in body.split_inclusive('\n') {
        let text = line.trim_end_matches(['\r', '\n']);
        media += usize::from(text.starts_with("m="));
        let changed = change(media, text);
        is_bent |= changed != Line::Kept;
        match changed {
            Line::As(text) => bent.push_str(&format!("{text}\r\n")),
            Line::Gone => {}
            Line::Kept => bent.push_str(line),
        }
    }
    is_bent.then(|| message.edit().body(Some((&kind, bent.as_bytes()))).finish())
}

/// The message with its PPSTP document changed; `None` if it has none, or `change` says that it is kept.
pub fn document(
    decoded: &Decoded,
    change: impl FnOnce(&mut ppstp::Message) -> bool,
) -> Option<Bytes> {
    let mut document = decoded.ppstp()?.ok()?.message;
    if !change(&mut document) {
        return None;
    }
    with_body(decoded, &document.to_json())
}

/// The message with another body of the same type.
pub fn with_body(decoded: &Decoded, body: &str) -> Option<Bytes> {
    let body = body.as_bytes();
    match decoded {
        Decoded::Sip(message) => {
            let kind = message.header("Content-Type")?;
            let bent = message.edit().body(Some((&kind, body))).finish();
            Some(bent.bytes().clone())
        }
        Decoded::HttpRequest(request) => {
            let kind = request.header("Content-Type")?;
            let mut builder = http::Request::build(request.method(), request.target());
            for (name, value) in request.headers().filter(|(name, _)| !is_of_body(name)) {
                builder = builder.header(name, &value);
            }
            let bent = builder.body(kind, body.to_vec()).finish();
            Some(bent.bytes().clone())
        }
        Decoded::HttpResponse(response) => {
            let kind = response.header("Content-Type")?.to_owned();
            Some(
                answer(response, response.status(), |_, value| {
                    Some(value.to_owned())
                })
                .body(&kind, body.to_vec())
                .finish()
                .bytes()
                .clone(),
            )
        }
        _ => None,
    }
}

/// An HTTP response of another status, its headers each changed or left out, still without body.
pub fn answer(
    response: &http::Response,
    status: u16,
    change: impl Fn(&str, &str) -> Option<String>,
) -> http::ResponseBuilder {
    let mut builder = http::Response::build(status);
    for (name, value) in response.headers().filter(|(name, _)| !is_of_body(name)) {
        if let Some(value) = change(name, &value) {
            builder = builder.header(name, &value);
        }
    }
    builder
}

/// An HTTP request whose headers are each changed or left out.
pub fn ask(
    request: &http::Request,
    change: impl Fn(&str, &str) -> Option<String>,
) -> http::Request {
    asked_at(request, request.target(), change)
}

/// An HTTP request for another target.
pub fn ask_at(request: &http::Request, target: &str) -> http::Request {
    asked_at(request, target, |_, value| Some(value.to_owned()))
}

fn asked_at(
    request: &http::Request,
    target: &str,
    change: impl Fn(&str, &str) -> Option<String>,
) -> http::Request {
    let mut builder = http::Request::build(request.method(), target);
    for (name, value) in request.headers().filter(|(name, _)| !is_of_body(name)) {
        if let Some(value) = change(name, &value) {
            builder = builder.header(name, &value);
        }
    }
    match request.header("Content-Type") {
        Some(kind) => builder.body(kind, request.body_bytes()).finish(),
        None => builder.finish(),
    }
}

/// An MSRP message with another method or status, its headers each changed or left out.
pub fn msrp(
    message: &msrp::Message,
    word: &str,
    change: impl Fn(&str, &str) -> Option<String>,
) -> Bytes {
    let mut builder = msrp::Builder::request(message.transaction(), word);
    let is_kind = |name: &str| name.eq_ignore_ascii_case("Content-Type");
    for (name, value) in message.headers().filter(|(name, _)| !is_kind(name)) {
        if let Some(value) = change(name, value) {
            builder = builder.header(name, &value);
        }
    }
    let kind = message.header("Content-Type").unwrap_or_default();
    match (message.body(), change("Content-Type", kind)) {
        (Some(body), Some(kind)) => builder.body(&kind, body).finish(message.flag()),
        _ => builder.finish(message.flag()),
    }
}

/// A SEND with another body.
pub fn chunk_with(chunk: &msrp::Message, body: Vec<u8>) -> Bytes {
    let mut builder = msrp::Builder::request(chunk.transaction(), "SEND");
    let is_kind = |name: &str| name.eq_ignore_ascii_case("Content-Type");
    for (name, value) in chunk.headers().filter(|(name, _)| !is_kind(name)) {
        builder = builder.header(name, value);
    }
    let kind = chunk.header("Content-Type").unwrap_or_default();
    builder.body(kind, body).finish(chunk.flag())
}

/// What was noticed lately under a name; what is older is forgotten.
#[derive(Clone, Debug)]
pub struct Notes<V>(VecDeque<(String, V)>);

impl<V> Default for Notes<V> {
    fn default() -> Self {
        Notes(VecDeque::new())
    }
}

impl<V> Notes<V> {
    pub fn get(&mut self, name: &str) -> Option<&mut V> {
        let mut notes = self.0.iter_mut().rev();
        notes
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// Writes down, in the place of an older note of that name.
    pub fn put(&mut self, name: &str, value: V) {
        if let Some(known) = self.get(name) {
            *known = value;
            return;
        }
        if self.0.len() == MOST_NOTES {
            self.0.pop_front();
        }
        self.0.push_back((name.to_owned(), value));
    }
}

/// Notes that are kept.
const MOST_NOTES: usize = 1024;

/// Headers that the body brings along.
fn is_of_body(name: &str) -> bool {
    ["Content-Length", "Content-Type", "Transfer-Encoding"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

const SDP: &str = "application/sdp";

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> sip::Message {
        sip::Builder::request("INVITE", "sip:ue-b@ims.example")
            .header("P-Access-Network-Info", "IEEE-802.11")
            .body(SDP, b"v=0\r\nm=message 1 TCP/MSRP *\r\na=recvonly\r\nm=message 2 TCP/MSRP *\r\na=recvonly\r\n")
            .finish()
    }

    #[test]
    fn lines_of_a_description_know_their_media_line() {
        let bent = sdp(&offer(), |media, line| match (media, line) {
            (2, "a=recvonly") => Line::As("a=sendrecv".to_owned()),
            (1, "a=recvonly") => Line::Gone,
            _ => Line::Kept,
        });
        let bent = bent.expect("a bent message");
        assert_eq!(
            &b"v=0\r\nm=message 1 TCP/MSRP *\r\nm=message 2 TCP/MSRP *\r\na=sendrecv\r\n"[..],
            bent.body()
        );
        assert_eq!(Some("65".into()), bent.header("Content-Length"));
    }

    #[test]
    fn what_is_not_there_is_not_bent() {
        assert_eq!(None, sdp(&offer(), |_, _| Line::Kept));
        assert_eq!(None, without(&offer(), "Route"));
        assert_eq!(None, header(&offer(), "Route", str::to_owned));
        assert_eq!(None, document(&Decoded::Sip(offer()), |_| true));
    }

    #[test]
    fn a_document_is_bent_in_any_wrapping() {
        let document_of = |n: &str| {
            let response = ppstp::Response::ok(n, Vec::new());
            ppstp::Message::Response(response).to_json()
        };
        let response = http::Response::build(200)
            .header("ETag", "\"1\"")
            .body(ppstp::MEDIA_TYPE, document_of("t-1"))
            .finish();
        let bent = document(&Decoded::HttpResponse(response), |document| {
            let ppstp::Message::Response(response) = document else {
                return false;
            };
            response.transaction_id = "t-2".to_owned();
            true
        });
        let bent = http::Response::parse(bent.expect("a bent message")).expect("a response");
        assert_eq!(document_of("t-2").as_bytes(), &*bent.body());
        assert_eq!(Some("\"1\""), bent.header("ETag"));
    }
}
