//! Provisional answers come in time: 100 within 200 ms unless the final answer is out by then
//! (RFC 3261 17.2.1).

use std::{collections::BTreeSet, time::Duration};

use crate::{
    judge::{Case, Finding},
    spec::Role,
    trace::{Event, EventKind},
    wire::sip::Message,
};

const LIMIT: Duration = Duration::from_millis(200);

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let trace = case.evidence.trace;
    let Some(end) = trace.events.last().map(|event| event.at) else {
        return Vec::new();
    };
    let sendings = trace.sendings();
    let mut findings = Vec::new();
    let mut known = BTreeSet::new();
    for (seen, invite) in case.evidence.sip() {
        if !(invite.is_request() && invite.method() == "INVITE" && is_answerable(invite)) {
            continue;
        }
        let branch = invite
            .top_via()
            .ok()
            .and_then(|via| via.branch().map(str::to_owned));
        // A repetition was answered when the first was, or is absorbed (RFC 6026).
        if !known.insert((seen.frame.to.clone(), branch.clone())) {
            continue;
        }
        // What the answerer sent counts, not what the network made of it.
        let mut behind = trace.events.iter().enumerate().skip(seen.index);
        let answered = behind.find(|(_, event)| {
            let EventKind::Sent(frame) = &event.kind else {
                return false;
            };
            frame.from == seen.frame.to
                && frame.to == seen.frame.from
                && frame.bytes.starts_with(b"SIP/2.0 ")
                && branch
                    .as_deref()
                    .is_some_and(|branch| contains(&frame.bytes, branch))
        });
        // A provisional answer that came too late shows it; of one that never came, the request.
        let (shown, answered) = match answered {
            Some((index, event)) if is_provisional(event) => (index, event.at),
            Some((_, event)) => (seen.index, event.at),
            None if case.evidence.trace.meta.sees_arrivals_at(&seen.frame.to) => (seen.index, end),
            None => continue,
        };
        let took = answered.since(seen.at);
        if took > LIMIT {
            let asked = sendings[seen.index];
            // Rounded up: what came just too late did not come in time.
            let late = took.as_nanos().div_ceil(1_000_000);
            let actual = match shown == seen.index {
                true => format!("none for {late} ms (INVITE: event {asked})"),
                false => format!("the first after {late} ms (INVITE: event {asked})"),
            };
            let requirement = match case.evidence.role(&seen.frame.to) {
                Some(Role::PCscf) => "PCSCF-018",
                Some(Role::Controller) => "CTRL-007",
                _ => "ERR-005",
            };
            findings.extend(case.breach(
                &seen.frame.to,
                requirement,
                "a provisional or final answer to INVITE within 200 ms",
                actual,
                shown..shown + 1,
            ));
        }
    }
    findings
}

/// Whether a request is well-formed enough for a server transaction (RFC 3261 16.3): it has what every response
/// copies (8.2.6.2). Without that there is nothing to write a 100 from, and silence is lawful.
fn is_answerable(request: &Message) -> bool {
    request.top_via().is_ok()
        && request.from().is_ok()
        && request.to().is_ok()
        && request.call_id().is_ok()
        && request.cseq().is_ok()
}

fn is_provisional(event: &Event) -> bool {
    event
        .frame()
        .is_some_and(|frame| frame.bytes.starts_with(b"SIP/2.0 1"))
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}
