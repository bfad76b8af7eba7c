//! The Controller asks a holder for each piece before it accepts, and tells it for whom
//! (TR 23.844 6.2.2 step 5; the order is that of TS 26.237 15, the document ours).

use std::net::IpAddr;

use crate::{
    judge::{Case, Finding, evidence::Seen},
    spec::{RefPoint, Role},
    wire::http::{Ranges, Request},
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
    for piece in wanted {
        let holders = case.edges_holding(&content.name, piece.n);
        // An edge that must fetch the piece first, or an origin, is for when no holder is left to ask.
        let left = holders
            .iter()
            .filter(|holder| !was_asked(case, seen, holder))
            .count();
        if !holders.iter().any(|holder| holder == edge.as_str()) && left > 0 {
            return case.breach(
                &seen.frame.from,
                "CTRL-001",
                format!(
                    "piece {} asked of {}, which holds it",
                    piece.n,
                    holders.join(" or ")
                ),
                format!("asked of {edge}"),
                events,
            );
        }
    }
    let clients: Vec<IpAddr> = case.addresses_of(Role::Ue);
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
                findings.extend(case.breach(
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
