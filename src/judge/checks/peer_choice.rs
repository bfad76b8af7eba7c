//! A UE asks only peers it was told of, for pieces they hold, and never itself
//! (TR 23.844 6.2.1 and 6.2.2 step 3).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    judge::{
        Case, Finding,
        evidence::Seen,
        transfers::{asked_by, swarm_of},
    },
    spec::{RefPoint, Role},
    suite::Piece,
    wire::{
        frame::{Frame, Party},
        http,
        message::Decoded,
        ppstp,
        sdp::Session,
        sip,
    },
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut told: BTreeMap<Party, Told> = BTreeMap::new();
    let mut findings = Vec::new();
    for seen in &case.evidence.crossed {
        if let Some(list) = list_in(seen) {
            told.entry(seen.frame.to.clone()).or_default().take(list);
        }
        if case.evidence.role(&seen.frame.from) != Some(Role::Ue) {
            continue;
        }
        let empty = Told::default();
        let told = told.get(&seen.frame.from).unwrap_or(&empty);
        for (requirement, expected, actual) in asked(case, seen, told) {
            let events = seen.index..seen.index + 1;
            findings.extend(case.lapse(&seen.frame.from, requirement, expected, actual, events));
        }
    }
    findings
}

/// What a UE has been told so far.
#[derive(Default)]
struct Told {
    now: Vec<ppstp::PeerInfo>,
    ever: Vec<ppstp::PeerInfo>,
}

impl Told {
    fn take(&mut self, list: Vec<ppstp::PeerInfo>) {
        self.ever.extend(list.iter().cloned());
        self.now = list;
    }
}

fn list_in(seen: &Seen<'_>) -> Option<Vec<ppstp::PeerInfo>> {
    // Whoever reads a list under another media type than its own has been told of it all the same.
    let (_, body) = seen.message.body()?;
    let read = ppstp::read(&body, ppstp::Profile::Examples).ok()?;
    let ppstp::Message::Response(response) = read.message else {
        return None;
    };
    let groups: Vec<_> = response
        .swarm_result
        .iter()
        .filter_map(|result| result.peers.as_ref())
        .collect();
    if groups.is_empty() {
        return None;
    }
    Some(
        groups
            .into_iter()
            .flatten()
            .map(|listed| (**listed).clone())
            .collect(),
    )
}

type Breach = (&'static str, String, String);

/// What is wrong with what a UE asks for.
fn asked(case: &Case<'_>, seen: &Seen<'_>, told: &Told) -> Vec<Breach> {
    match &seen.message {
        Decoded::Sip(invite)
            if seen.frame.on == RefPoint::Gm
                && invite.is_request()
                && invite.method() == "INVITE" =>
        {
            asked_by_invite(case, seen, invite, told)
        }
        Decoded::HttpRequest(get) if seen.frame.on == RefPoint::Data && get.method() == "GET" => {
            asked_by_get(case, seen, get, told)
        }
        _ => Vec::new(),
    }
}

fn asked_by_invite(
    case: &Case<'_>,
    seen: &Seen<'_>,
    invite: &sip::Message,
    told: &Told,
) -> Vec<Breach> {
    // A re-INVITE goes to whom the dialog is with.
    if invite.to().is_ok_and(|to| to.tag().is_some()) {
        return Vec::new();
    }
    let target = invite.request_uri().unwrap_or_default();
    let own = case
        .evidence
        .node(&seen.frame.from)
        .and_then(|node| node.impu.as_deref());
    if own.is_some_and(|own| is_same_user(own, target)) {
        return vec![(
            "UE-021",
            "no request to itself".into(),
            format!("INVITE {target}"),
        )];
    }
    let at = |peer: &&ppstp::PeerInfo| {
        peer.cds.as_ref().and_then(|cds| cds.sip_uri.as_deref()) == Some(target)
    };
    let Some(peer) = told.now.iter().find(at) else {
        let requirement = if told.ever.iter().any(|peer| at(&peer)) {
            "UE-019"
        } else {
            "UE-001"
        };
        return vec![(
            requirement,
            "requests to listed peers only".into(),
            format!("INVITE {target}, which is not on the list"),
        )];
    };
    let Some((_, body)) = seen.message.body() else {
        return Vec::new();
    };
    let Ok(session) = Session::parse(&Bytes::from(body)) else {
        return Vec::new();
    };
    session
        .media
        .iter()
        .filter_map(|media| {
            let range = media.file_range().ok()??.within(u64::MAX)?;
            let swarm = media.file_selector().ok()??.name?;
            not_held(case, peer, &swarm, range)
        })
        .collect()
}

/// Whether two URIs name one user, at whatever port and with whatever parameters.
fn is_same_user(one: &str, other: &str) -> bool {
    let read = |uri: &str| sip::Uri::parse(uri).ok().map(|uri| (uri.user, uri.host));
    one == other || read(one).is_some_and(|user| Some(user) == read(other))
}

fn asked_by_get(case: &Case<'_>, seen: &Seen<'_>, get: &http::Request, told: &Told) -> Vec<Breach> {
    let Some(swarm) = swarm_of(get) else {
        return Vec::new();
    };
    // An edge that a Controller named in Location is asked on the Controller's word.
    if was_redirected(case, seen) {
        return Vec::new();
    }
    let at = |peer: &&ppstp::PeerInfo| {
        let url = peer.cds.as_ref().and_then(|cds| cds.url.as_deref());
        url.is_some_and(|url| leads_to(case, url, seen.frame))
    };
    let Some(peer) = told.now.iter().find(at) else {
        return vec![(
            "UE-001",
            "requests to listed peers only".into(),
            format!("GET sent to {}, which is not on the list", seen.frame.to),
        )];
    };
    let range = asked_by(get);
    range
        .and_then(|range| not_held(case, peer, &swarm, range))
        .into_iter()
        .collect()
}

/// Whether a redirection (RFC 9110 15.4: any 3xx with Location) sent this UE where it asks now.
fn was_redirected(case: &Case<'_>, seen: &Seen<'_>) -> bool {
    case.evidence.http_responses().any(|(reply, response)| {
        reply.index < seen.index
            && reply.frame.to == seen.frame.from
            && (300..400).contains(&response.status())
            && response
                .header("Location")
                .is_some_and(|url| leads_to(case, url, seen.frame))
    })
}

/// Whether a URL names the party a frame went to, by address or by name.
fn leads_to(case: &Case<'_>, url: &str, frame: &Frame) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port.parse().ok()),
        _ => (authority, None),
    };
    // Several nodes may share an address; then the port tells.
    let is_port = port.is_none_or(|port: u16| port == frame.dst.port());
    let ip = frame.dst.ip().to_string();
    host.trim_matches(['[', ']']) == ip && is_port || host == case.own_host(&frame.to)
}

fn not_held(
    case: &Case<'_>,
    peer: &ppstp::PeerInfo,
    swarm: &str,
    (first, len): (u64, u64),
) -> Option<Breach> {
    let content = case.content(swarm)?;
    let held = &peer.cds.as_ref()?.pieces;
    let end = first.saturating_add(len);
    let pieces = content.pieces.iter();
    let (begun, begun_before): (Vec<&Piece>, Vec<&Piece>) = pieces
        .filter(|piece| piece.first < end && first < piece.first + piece.len)
        .partition(|piece| first <= piece.first);
    // What of another piece reaches into the range is no request for that piece; the rest of one is.
    let meant = match begun.is_empty() {
        true => begun_before,
        false => begun,
    };
    let missing = meant.into_iter().find(|piece| !held.contains(piece.n))?;
    Some((
        "UE-002",
        "each piece requested from a holder".into(),
        format!(
            "piece {} requested from {}, which does not hold it",
            missing.n, peer.peer_id
        ),
    ))
}
