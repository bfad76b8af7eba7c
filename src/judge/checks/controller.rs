//! The Controller asks a holder for each piece before it accepts, and tells it for whom
//! (TR 23.844 6.2.2 step 5; the order is that of TS 26.237 15, the document ours).

use std::net::IpAddr;

use bytes::Bytes;

use crate::{
    judge::{Case, Finding, evidence::Seen},
    spec::{RefPoint, Role},
    wire::{
        cdn_session::{Holdings, NAMES},
        http::{Ranges, Request},
        sdp::{Connection, Session},
    },
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (seen, request) in case.evidence.http_requests() {
        let from_controller = case.evidence.role(&seen.frame.from) == Some(Role::Controller);
        if seen.frame.on != RefPoint::Cdn || !from_controller || request.method() != "POST" {
            continue;
        }
        findings.extend(asks_rightly(case, seen, request));
    }
    findings.extend(accepts_late_enough(case));
    findings
}

/// What the Controller asks of an edge (`POST /p2pcds/sessions`, ours).
struct Asked {
    content: String,
    first: u64,
    len: u64,
    client: Option<IpAddr>,
}

fn asked(request: &Request) -> Option<Asked> {
    let json: serde_json::Value = serde_json::from_slice(&request.body()).ok()?;
    Some(Asked {
        content: json.get("content")?.as_str()?.to_owned(),
        first: json.get("range")?.get("first")?.as_u64()?,
        len: json.get("range")?.get("len")?.as_u64()?,
        client: json
            .get("client")
            .and_then(|c| c.as_str())
            .and_then(|c| c.parse().ok()),
    })
}

fn asks_rightly(case: &Case<'_>, seen: &Seen<'_>, request: &Request) -> Option<Finding> {
    let events = seen.index..seen.index + 1;
    let Some(asked) = asked(request) else {
        return case.breach(
            &seen.frame.from,
            "CTRL-001",
            "a session request with content and range",
            "a body that has neither",
            events,
        );
    };
    let content = case.content(&asked.content)?;
    let edge = seen.frame.to.node()?;
    let wanted = content.pieces.iter().filter(|piece| {
        piece.first < asked.first.saturating_add(asked.len) && asked.first < piece.first + piece.len
    });
    let wanted: Vec<u32> = wanted.map(|piece| piece.n).collect();
    let holders = edges_holding(case, &content.name, &wanted, seen.index);
    // An edge that must fetch first, or an origin, is for when no holder is left to ask.
    let left = holders
        .iter()
        .filter(|holder| !was_asked(case, seen, holder))
        .count();
    if !holders.iter().any(|holder| holder == edge.as_str()) && left > 0 {
        let numbers: Vec<String> = wanted.iter().map(u32::to_string).collect();
        return case.lapse(
            &seen.frame.from,
            "CTRL-001",
            format!(
                "piece {} asked of {}, which holds it",
                numbers.join(" and "),
                holders.join(" or ")
            ),
            format!("asked of {edge}"),
            events,
        );
    }
    let mut clients: Vec<IpAddr> = case.addresses_of(Role::Ue);
    clients.extend(offered(case, seen.index));
    match asked.client {
        Some(client) if clients.contains(&client) => None,
        client => case.breach(
            &seen.frame.from,
            "CTRL-003",
            "the UE's address in the edge request",
            client.map_or("none".to_owned(), |ip| ip.to_string()),
            events,
        ),
    }
}

/// The addresses at which UEs said they take data: a Controller goes by what it is told.
fn offered(case: &Case<'_>, before: usize) -> Vec<IpAddr> {
    let crossed = case.evidence.crossed.iter();
    let from_ues = crossed.filter(|seen| {
        seen.index < before && case.evidence.role(&seen.frame.from) == Some(Role::Ue)
    });
    let sessions = from_ues.filter_map(|seen| {
        let (_, body) = seen.message.body()?;
        Session::parse(&Bytes::from(body)).ok()
    });
    sessions
        .flat_map(|session| {
            let named = session.media.iter().flat_map(|media| {
                let connection = session.connection_of(media).and_then(Connection::ip);
                let path = media.path().unwrap_or_default();
                let path = path.into_iter().filter_map(|uri| uri.host.parse().ok());
                connection.into_iter().chain(path)
            });
            named.collect::<Vec<_>>()
        })
        .collect()
}

/// The edges that hold all of these pieces at an event, as far as their Controller can know: from the start,
/// or by what they told it last.
fn edges_holding(case: &Case<'_>, content: &str, pieces: &[u32], before: usize) -> Vec<String> {
    let edges = case.nodes_of(Role::EdgeServer);
    let holding = edges.filter(|edge| {
        let told = case.evidence.http_requests().filter_map(|(seen, request)| {
            let is_its = seen.index < before && seen.frame.from.is(edge.name.as_str());
            let is_told = is_its && request.path() == NAMES.holdings;
            let holdings = is_told.then(|| Holdings::parse(&request.body()).ok())??;
            let named = case.content(&holdings.content)?;
            (named.name == content).then_some(holdings.pieces)
        });
        let held = told.last().unwrap_or_else(|| {
            let held = case.instance.holds(edge).into_iter();
            let of_content = held.filter(|(name, _)| name == content);
            of_content.flat_map(|(_, held)| held).collect()
        });
        pieces.iter().all(|piece| held.contains(piece))
    });
    holding.map(|edge| edge.name.to_string()).collect()
}

fn was_asked(case: &Case<'_>, before: &Seen<'_>, edge: &str) -> bool {
    // An attempt that was refused leaves no message, only the end of a connection.
    case.evidence
        .tried_to_reach(edge, RefPoint::Cdn, before.index)
}

/// A 200 to INVITE comes only after an edge accepted each piece it promises.
fn accepts_late_enough(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (seen, answer) in case.evidence.sip_on(RefPoint::Gm) {
        let from_controller = case.evidence.role(&seen.frame.from) == Some(Role::Controller);
        let accepts = matches!(answer.status(), Some(200..300)) && answer.method() == "INVITE";
        if !from_controller || !accepts {
            continue;
        }
        let Ok(call) = answer.call_id() else { continue };
        let promised = crate::judge::transfers::agreed(case.evidence)
            .into_iter()
            .filter(|line| line.call_id == call && line.index == seen.index)
            .filter_map(|line| line.range);
        for (first, len) in promised {
            let accepted = case.evidence.http_requests().any(|(post, request)| {
                post.index < seen.index
                    && post.frame.on == RefPoint::Cdn
                    && case.evidence.role(&post.frame.from) == Some(Role::Controller)
                    && covers(request, first, len)
                    && case
                        .evidence
                        .answer_to(post)
                        .is_some_and(|(reply, response)| {
                            reply.index < seen.index && matches!(response.status(), 200..300)
                        })
            });
            if !accepted {
                findings.extend(case.lapse(
                    &seen.frame.from,
                    "CTRL-002",
                    format!(
                        "200 to INVITE after an edge accepted octets {}-{}",
                        first + 1,
                        first + len
                    ),
                    "a 200 before that",
                    seen.index..seen.index + 1,
                ));
            }
        }
    }
    findings
}

fn covers(request: &Request, first: u64, len: u64) -> bool {
    let by_session = asked(request).is_some_and(|asked| asked.first == first && asked.len == len);
    let by_range = || {
        let ranges = Ranges::parse(request.header("Range")?).ok()??;
        let octets = ranges.0.first()?.within(u64::MAX)?;
        Some(octets.first == first && octets.len() == len)
    };
    by_session || by_range().unwrap_or(false)
}
