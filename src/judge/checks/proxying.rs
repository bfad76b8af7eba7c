//! A P-CSCF carries answers, it does not invent success: a 2xx that it gives on Gm came to it from the core
//! (RFC 3261 16.7; TR 23.844 6.2: requests pass the P-CSCF into the IMS core).

use std::collections::BTreeSet;

use crate::{
    judge::{Case, Finding},
    spec::{RefPoint, Role},
    wire::sip::Message,
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut given: BTreeSet<Answer> = BTreeSet::new();
    let mut findings = Vec::new();
    for (seen, message) in case.evidence.sip() {
        let Some(answer) = success(message) else {
            continue;
        };
        let is_p_cscfs = case.evidence.role(&seen.frame.from) == Some(Role::PCscf);
        if !is_p_cscfs {
            given.insert(answer);
        } else if seen.frame.on == RefPoint::Gm && !given.contains(&answer) {
            findings.extend(case.lapse(
                &seen.frame.from,
                "FLOW-002",
                format!(
                    "an answer to {} that comes from beyond the P-CSCF",
                    answer.method
                ),
                format!("{}, of its own", message.status().unwrap_or_default()),
                seen.index..seen.index + 1,
            ));
        }
    }
    findings
}

/// What a 2xx answers. Not by its CSeq number: an end that miscounts is no fault of the P-CSCF.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Answer {
    call_id: String,
    method: String,
}

/// CANCEL is answered hop by hop (RFC 3261 9.2).
fn success(message: &Message) -> Option<Answer> {
    let cseq = message.cseq().ok()?;
    let is_success = message
        .status()
        .is_some_and(|status| (200..300).contains(&status));
    (is_success && cseq.method != "CANCEL").then_some(Answer {
        call_id: message.call_id().ok()?,
        method: cseq.method,
    })
}
