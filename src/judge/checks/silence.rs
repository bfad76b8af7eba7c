//! The signalling path that was not chosen stays unused (TR 23.844 6.2.1 and 6.2.2, Editor's Notes).

use crate::{
    judge::{Case, Finding, evidence::Seen},
    spec::{Path, RefPoint, RequestPath, Role},
    wire::{message::Decoded, ppstp},
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let options = case.evidence.trace.meta.options;
    case.evidence
        .crossed
        .iter()
        .filter(|seen| case.evidence.role(&seen.frame.from) == Some(Role::Ue))
        .filter_map(|seen| {
            let unused = match used(seen)? {
                Use::PeerList(path) => (path != options.peer_list).then(|| {
                    format!(
                        "the peer list asked for on the path \"{}\"",
                        options.peer_list
                    )
                }),
                Use::Request(path) => (path != options.request)
                    .then(|| format!("pieces requested on the path \"{}\"", options.request)),
                Use::Status(path) => (path != options.status)
                    .then(|| format!("status reported on the path \"{}\"", options.status)),
            }?;
            let actual = format!("{} to {} on {}", said(seen), seen.frame.to, seen.frame.on);
            case.breach(
                &seen.frame.from,
                "FLOW-004",
                unused,
                actual,
                seen.index..seen.index + 1,
            )
        })
        .collect()
}

/// What a message of a UE is about, and the path it takes.
enum Use {
    PeerList(Path),
    Request(RequestPath),
    Status(Path),
}

fn used(seen: &Seen<'_>) -> Option<Use> {
    match (&seen.message, seen.frame.on) {
        (Decoded::Sip(message), RefPoint::Gm) if message.is_request() => {
            let event = message.header("Event").unwrap_or_default().into_owned();
            match message.method() {
                "SUBSCRIBE" if event.starts_with("p2pcds-peers") => Some(Use::PeerList(Path::Ims)),
                "PUBLISH" => Some(Use::Status(Path::Ims)),
                "INVITE" => Some(Use::Request(RequestPath::Ims)),
                _ => None,
            }
        }
        (Decoded::HttpRequest(request), RefPoint::Data) if request.method() == "GET" => {
            Some(Use::Request(RequestPath::Direct))
        }
        (Decoded::HttpRequest(_), RefPoint::Ut) => match seen.message.ppstp()?.ok()?.message {
            ppstp::Message::Request(request) => match request.body {
                ppstp::Body::Connect(connect) => connect
                    .swarm_action
                    .iter()
                    .any(|action| {
                        action.peer_mode == ppstp::PeerMode::Leech
                            && action.action == ppstp::Action::Join
                    })
                    .then_some(Use::PeerList(Path::Ut)),
                ppstp::Body::Find(_) => Some(Use::PeerList(Path::Ut)),
                ppstp::Body::StatReport(_) => Some(Use::Status(Path::Ut)),
            },
            ppstp::Message::Response(_) => None,
        },
        _ => None,
    }
}

fn said(seen: &Seen<'_>) -> String {
    match &seen.message {
        Decoded::Sip(message) => message.method().to_owned(),
        Decoded::HttpRequest(request) => format!("{} {}", request.method(), request.path()),
        _ => "a message".to_owned(),
    }
}
