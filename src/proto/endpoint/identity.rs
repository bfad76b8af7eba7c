//! What names a transaction and the way back: Via, branch, and the messages that go with an INVITE.

use std::net::{IpAddr, SocketAddr};

use super::{Back, COOKIE, Kind, SipPort, Source};
use crate::wire::{
    Malformed,
    sip::{Builder, Message, Via},
};

/// What every message must have for its transaction to be found (RFC 3261 8.1.1, 17.2.3).
pub(super) struct Essentials {
    pub via: Via,
    pub method: String,
    number: u32,
    call_id: String,
    from_tag: String,
}

impl Essentials {
    pub(super) fn of(message: &Message) -> Result<Essentials, Malformed> {
        let cseq = message.cseq()?;
        if message.is_request() && cseq.method != message.method() {
            return Err(Malformed::new(
                cseq.method.as_bytes(),
                0,
                format!("the method {} in CSeq", message.method()),
            ));
        }
        message.to()?;
        Ok(Essentials {
            via: message.top_via()?,
            number: cseq.number,
            method: cseq.method,
            call_id: message.call_id()?,
            from_tag: message.from()?.tag().unwrap_or_default().to_owned(),
        })
    }

    /// What names a server transaction: branch, sent-by and kind; for a sender without the magic cookie,
    /// what the request's copies have in common (RFC 3261 17.2.3).
    pub(super) fn key(&self, kind: Kind) -> String {
        let host = self.via.host.to_ascii_lowercase();
        let port = self.via.port.unwrap_or(5060);
        match self.via.branch() {
            Some(branch) if branch.starts_with(COOKIE) => {
                format!("{branch} {host}:{port} {kind:?}")
            }
            branch => format!(
                "{} {} {} {} {host}:{port} {kind:?}",
                branch.unwrap_or_default(),
                self.call_id,
                self.from_tag,
                self.number
            ),
        }
    }
}

/// The request with `received` and `rport` in its top Via (RFC 3261 18.2.1, RFC 3581 4). What the sender
/// wrote there itself is overwritten.
pub(super) fn stamped(request: Message, via: &Via, from: SocketAddr) -> Message {
    let host: Option<IpAddr> = via.host.trim_matches(['[', ']']).parse().ok();
    let asks_rport = via.params.has("rport");
    let mut stamped = via.clone();
    stamped
        .params
        .0
        .retain(|(name, _)| !name.eq_ignore_ascii_case("received"));
    if asks_rport {
        stamped.params.set("rport", Some(&from.port().to_string()));
    }
    if asks_rport || host != Some(from.ip()) {
        stamped.params.set("received", Some(&from.ip().to_string()));
    }
    if stamped == *via {
        return request;
    }
    let text = stamped.to_string();
    request.edit().pop("Via").prepend("Via", &text).finish()
}

/// Where the responses of a request go: back on its connection; for a datagram to where it came from, at
/// the port it came from if `rport` was asked for, else at the port of sent-by.
pub(super) fn back(via: &Via, source: &Source) -> Back {
    let sent_by = via.port.unwrap_or(5060);
    let port = match via.params.has("rport") {
        true => source.addr.port(),
        false => sent_by,
    };
    Back {
        on: source.on,
        to: SocketAddr::new(source.addr.ip(), port),
        link: source.link,
        reopen: SocketAddr::new(source.addr.ip(), sent_by),
    }
}

pub(super) fn with_via(request: &Message, port: &SipPort, branch: &str) -> Message {
    let via = format!(
        "SIP/2.0/{} {};branch={branch};rport",
        port.transport.word(),
        port.local
    );
    request.edit().prepend("Via", &via).finish()
}

/// The ACK or CANCEL that goes with an INVITE: its Request-URI, top Via, Call-ID, From, Route and CSeq
/// number; To from `to` (RFC 3261 9.1, 17.1.1.3).
pub(super) fn companion(invite: &Message, method: &str, to: &Message) -> Option<Message> {
    let mut builder = Builder::request(method, invite.request_uri()?)
        .header("Via", &invite.top_via().ok()?.to_string());
    for route in invite.values("Route") {
        builder = builder.header("Route", &route);
    }
    let number = invite.cseq().ok()?.number;
    Some(
        builder
            .header("Max-Forwards", "70")
            .header("From", &invite.header("From")?)
            .header("To", &to.header("To")?)
            .header("Call-ID", &invite.call_id().ok()?)
            .header("CSeq", &format!("{number} {method}"))
            .finish(),
    )
}

/// What a 2xx to INVITE and its ACK have in common: dialog and CSeq number.
pub(super) fn acknowledged_by(message: &Message) -> Option<String> {
    let from = message.from().ok()?;
    let to = message.to().ok()?;
    Some(format!(
        "{} {} {} {}",
        message.call_id().ok()?,
        from.tag().unwrap_or_default(),
        to.tag().unwrap_or_default(),
        message.cseq().ok()?.number
    ))
}
