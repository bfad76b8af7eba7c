//! A frame in a few words, as an arrow of a ladder carries it: `INVITE`, `200 (INVITE)`,
//! `POST /ppstp, FIND`, `200, 3 peers`, `SEND 1-2048/65536`, `UAA 2001`.

use crate::{
    spec::Format,
    wire::{
        Malformed, diameter,
        frame::Frame,
        http, msrp,
        ppstp::{self, Message as Ppstp},
        sip,
    },
};

/// What stands on an arrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub text: String,
    /// The kind of frame that many in a row are joined under; `None` if each stands alone.
    pub kind: Option<String>,
}

/// The label of a frame. Octets that do not parse are labelled as such.
pub fn of(frame: &Frame) -> Label {
    let label = match frame.format {
        Format::Sip => sip(frame),
        Format::Http if frame.bytes.starts_with(b"HTTP/") => response(frame),
        Format::Http => request(frame),
        Format::Msrp => msrp(frame),
        Format::Diameter => diameter(frame),
    };
    label.unwrap_or_else(|_| {
        let (length, format) = (frame.bytes.len(), frame.format);
        Label::alone(format!("{length} octets, not {format}"))
    })
}

impl Label {
    fn alone(text: impl Into<String>) -> Label {
        Label {
            text: text.into(),
            kind: None,
        }
    }

    /// What is said, and what the tracker protocol says in its body.
    fn with_body(text: String, media_type: Option<&str>, body: &[u8]) -> Label {
        Label::alone(match tracker_protocol(media_type, body) {
            Some(words) => format!("{text}, {words}"),
            None => text,
        })
    }
}

fn sip(frame: &Frame) -> Result<Label, Malformed> {
    let message = sip::Message::parse(frame.bytes.clone())?;
    let text = match message.status() {
        Some(status) => format!("{status} ({})", message.method()),
        None => message.method().to_owned(),
    };
    let media_type = message.header("Content-Type");
    Ok(Label::with_body(
        text,
        media_type.as_deref(),
        message.body(),
    ))
}

fn request(frame: &Frame) -> Result<Label, Malformed> {
    let request = http::Request::parse(frame.bytes.clone())?;
    let mut text = format!("{} {}", request.method(), request.path());
    if let Some(range) = request.header("Range") {
        text = format!("{text} {range}");
    }
    Ok(Label::with_body(
        text,
        request.header("Content-Type"),
        &request.body(),
    ))
}

fn response(frame: &Frame) -> Result<Label, Malformed> {
    let response = http::Response::parse(frame.bytes.clone())?;
    let mut text = response.status().to_string();
    let range = response.header("Content-Range");
    if let Some(range) = range.filter(|_| response.status() == PARTIAL_CONTENT) {
        text = format!("{text} {range}");
    }
    Ok(Label::with_body(
        text,
        response.header("Content-Type"),
        &response.body(),
    ))
}

fn msrp(frame: &Frame) -> Result<Label, Malformed> {
    let message = msrp::Message::parse(frame.bytes.clone())?;
    if let Some(status) = message.status() {
        return Ok(Label {
            text: status.to_string(),
            kind: Some(status.to_string()),
        });
    }
    let method = message.method().unwrap_or_default();
    let text = match message.header("Byte-Range") {
        Some(range) => format!("{method} {range}"),
        None => method.to_owned(),
    };
    let kind = message.body().is_some_and(|body| !body.is_empty());
    Ok(Label {
        text,
        kind: kind.then(|| method.to_owned()),
    })
}

fn diameter(frame: &Frame) -> Result<Label, Malformed> {
    let message = diameter::Message::parse(frame.bytes.clone())?;
    let name = message.name();
    Ok(Label::alone(match message.outcome()? {
        Some(diameter::Outcome::Base(code) | diameter::Outcome::Experimental { code, .. }) => {
            format!("{name} {code}")
        }
        None => name,
    }))
}

/// `FIND`, `3 peers`, `Forbidden Action`; `None` for another media type.
fn tracker_protocol(media_type: Option<&str>, body: &[u8]) -> Option<String> {
    let media_type = media_type?.split(';').next()?.trim();
    if !media_type.eq_ignore_ascii_case(ppstp::MEDIA_TYPE) || body.is_empty() {
        return None;
    }
    Some(match ppstp::read(body, ppstp::Profile::Examples) {
        Ok(reading) => match reading.message {
            Ppstp::Request(request) => request.body.request_type().to_owned(),
            Ppstp::Response(response) => answer(&response),
        },
        Err(refusal) if refusal.code == ppstp::ErrorCode::UnsupportedVersion => {
            format!("version {}", refusal.found)
        }
        Err(_) => "unreadable".to_owned(),
    })
}

fn answer(response: &ppstp::Response) -> String {
    if !response.is_successful() {
        return response.error.name().to_owned();
    }
    let lists = response
        .swarm_result
        .iter()
        .filter_map(|r| r.peers.as_ref());
    let numbers: Vec<usize> = lists.map(Vec::len).collect();
    match (numbers.is_empty(), numbers.iter().sum::<usize>()) {
        (true, _) => "ok".to_owned(),
        (false, 1) => "1 peer".to_owned(),
        (false, number) => format!("{number} peers"),
    }
}

const PARTIAL_CONTENT: u16 = 206;

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
    fn says_what_a_reader_of_the_ladder_wants_to_know() {
        let of = |format, text: &str| label(format, text.as_bytes().to_vec()).text;
        assert_eq!(
            "200 (INVITE)",
            of(
                Format::Sip,
                "SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
            )
        );
        assert_eq!(
            "GET /three-pieces bytes=0-9",
            of(
                Format::Http,
                "GET /three-pieces HTTP/1.1\r\nHost: es-1\r\nRange: bytes=0-9\r\n\r\n"
            )
        );
        assert_eq!(
            "SEND 1-4/8",
            of(
                Format::Msrp,
                "MSRP a1b2 SEND\r\nTo-Path: msrp://192.0.2.1:2855/a;tcp\r\n\
                 From-Path: msrp://192.0.2.2:2855/b;tcp\r\nMessage-ID: 1\r\nByte-Range: 1-4/8\r\n\
                 Content-Type: application/octet-stream\r\n\r\nabcd\r\n-------a1b2+\r\n"
            )
        );
        assert_eq!("3 octets, not diameter", of(Format::Diameter, "abc"));
    }

    #[test]
    fn says_how_many_peers_were_listed() {
        let result = ppstp::SwarmResult {
            swarm_id: "s".to_owned(),
            successful: true,
            peers: Some(Vec::new()),
            manifest: None,
        };
        let body = ppstp::Response::ok("1", vec![result]).to_json();
        let response = http::Response::build(200)
            .body(ppstp::MEDIA_TYPE, body)
            .finish();
        assert_eq!(
            "200, 0 peers",
            label(Format::Http, response.bytes().to_vec()).text
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_octets_are_without_a_label(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for &format in Format::ALL {
                prop_assert!(!label(format, bytes.clone()).text.is_empty());
            }
        }
    }

    fn label(format: Format, bytes: Vec<u8>) -> Label {
        of(&Frame {
            from: Party::Node("a".into()),
            to: Party::Node("b".into()),
            src: "192.0.2.1:1".parse().unwrap(),
            dst: "192.0.2.2:2".parse().unwrap(),
            on: RefPoint::Ut,
            format,
            link: None,
            security: Security::Plain,
            bytes: Bytes::from(bytes),
            framed: true,
        })
    }
}
