//! What media a proxy of the core lets through: by its own policy, or by the user's subscription (TS 24.229 6.2 and
//! 6.3, clauses not verified). A session with other media is refused with a description of what it might have.

use std::net::IpAddr;

use crate::wire::{
    sdp::{Media, Session},
    sip::{Builder, Message, reason},
};

/// The first medium of an offer that is not among those allowed; a line that is refused already does not count.
pub fn barred(request: &Message, allowed: &[&str]) -> Option<String> {
    let kind = request.header("Content-Type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if request.method() != "INVITE" || !kind.eq_ignore_ascii_case(SDP) {
        return None;
    }
    // Line by line: an offer that is broken elsewhere is no way around the policy.
    let text = String::from_utf8_lossy(request.body());
    let lines = text.lines().filter_map(|line| line.strip_prefix("m="));
    let mut media = lines.filter_map(|line| line.split_once(' '));
    let found = media.find(|(kind, rest)| !rest.starts_with("0 ") && !allowed.contains(kind));
    found.map(|(kind, _)| kind.to_owned())
}

/// The 488 that says which media are allowed.
pub fn refusal(request: &Message, allowed: &[&str], own: IpAddr, tag: &str) -> Message {
    let mut session = Session::new(own, 1, 1);
    session.media = allowed.iter().map(|kind| line(kind)).collect();
    Builder::response(request, 488, reason(488), Some(tag))
        .body(SDP, &session.to_bytes())
        .finish()
}

fn line(kind: &str) -> Media {
    let (protocol, formats) = match kind {
        "message" => ("TCP/MSRP", "*"),
        _ => ("RTP/AVP", "0"),
    };
    Media {
        kind: kind.to_owned(),
        // RFC 3264 9: a capability, not a stream.
        port: 0,
        protocol: protocol.to_owned(),
        formats: formats.to_owned(),
        connection: None,
        attributes: Vec::new(),
    }
}

const SDP: &str = "application/sdp";
