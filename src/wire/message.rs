//! A frame as the message it holds, whatever its format: what patterns, checks and drawings read.

use super::{Malformed, diameter, frame::Frame, http, msrp, ppstp, sip};
use crate::spec::Format;

/// What a frame holds.
#[derive(Clone, Debug)]
pub enum Decoded {
    Sip(sip::Message),
    HttpRequest(http::Request),
    HttpResponse(http::Response),
    Msrp(msrp::Message),
    Diameter(diameter::Message),
    /// No message of the frame's format.
    Unreadable(Malformed),
}

impl Decoded {
    pub fn of(frame: &Frame) -> Decoded {
        Decoded::read(frame.format, frame.bytes.clone())
    }

    /// What octets hold that are said to be of `format`.
    pub fn read(format: Format, bytes: bytes::Bytes) -> Decoded {
        let read = match format {
            Format::Sip => sip::Message::parse(bytes).map(Decoded::Sip),
            Format::Http if bytes.starts_with(b"HTTP/") => {
                http::Response::parse(bytes).map(Decoded::HttpResponse)
            }
            Format::Http => http::Request::parse(bytes).map(Decoded::HttpRequest),
            Format::Msrp => msrp::Message::parse(bytes).map(Decoded::Msrp),
            Format::Diameter => diameter::Message::parse(bytes).map(Decoded::Diameter),
        };
        read.unwrap_or_else(Decoded::Unreadable)
    }

    pub fn sip(&self) -> Option<&sip::Message> {
        match self {
            Decoded::Sip(message) => Some(message),
            _ => None,
        }
    }

    pub fn msrp(&self) -> Option<&msrp::Message> {
        match self {
            Decoded::Msrp(message) => Some(message),
            _ => None,
        }
    }

    /// The body and its media type (without parameters, in lower case), if there is one.
    pub fn body(&self) -> Option<(String, Vec<u8>)> {
        let (media_type, body) = match self {
            Decoded::Sip(m) => (m.header("Content-Type")?.into_owned(), m.body().to_vec()),
            Decoded::HttpRequest(m) => (m.header("Content-Type")?.to_owned(), m.body().to_vec()),
            Decoded::HttpResponse(m) => (m.header("Content-Type")?.to_owned(), m.body().to_vec()),
            Decoded::Msrp(m) => (m.header("Content-Type")?.to_owned(), m.body()?.to_vec()),
            Decoded::Diameter(_) | Decoded::Unreadable(_) => return None,
        };
        let media_type = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        (!body.is_empty()).then_some((media_type, body))
    }

    /// The PPSTP document it carries, on whatever path.
    pub fn ppstp(&self) -> Option<Result<ppstp::Reading<ppstp::Message>, ppstp::Refusal>> {
        let (media_type, body) = self.body()?;
        let read = || ppstp::read(&body, ppstp::Profile::Examples);
        (media_type == ppstp::MEDIA_TYPE).then(read)
    }
}
