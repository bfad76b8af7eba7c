//! Requests over datagrams are sent again when their time has come, neither before nor after: Timers A and E
//! (RFC 3261 17.1.1.2, 17.1.2.2), with the values of the access on Gm (TS 24.229 7.7, clause not verified).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use crate::{
    judge::{Case, Finding},
    spec::{Format, RefPoint, Role},
    time::At,
    trace::EventKind,
    wire::{frame::Frame, sip::Message},
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut known: BTreeMap<Bytes, Sent<'_>> = BTreeMap::new();
    for (index, event) in case.evidence.trace.events.iter().enumerate() {
        // What was sent counts, whatever the network made of it.
        let EventKind::Sent(frame) = &event.kind else {
            continue;
        };
        if frame.link.is_some() || frame.format != Format::Sip {
            continue;
        }
        match known.get_mut(&frame.bytes) {
            Some(sent) => {
                findings.extend(sent.again(case, index, event.at));
            }
            None => {
                if let Some(sent) = Sent::first(frame, event.at) {
                    known.insert(frame.bytes.clone(), sent);
                }
            }
        }
    }
    findings
}

/// A request on its way.
struct Sent<'t> {
    frame: &'t Frame,
    method: Method,
    last: At,
    /// The time to the next sending, if nothing answers.
    next: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Invite,
    Other,
}

impl<'t> Sent<'t> {
    /// `None` for a response, and for ACK, which follows what it acknowledges.
    fn first(frame: &'t Frame, at: At) -> Option<Sent<'t>> {
        let message = Message::parse(frame.bytes.clone()).ok()?;
        let method = match message.method() {
            _ if !message.is_request() => return None,
            "ACK" => return None,
            "INVITE" => Method::Invite,
            _ => Method::Other,
        };
        Some(Sent {
            frame,
            method,
            last: at,
            next: t1(frame.on),
        })
    }

    fn again(&mut self, case: &Case<'_>, index: usize, at: At) -> Option<Finding> {
        let took = at.since(self.last);
        let (expected, longest) = (self.next, t2(self.frame.on));
        self.last = at;
        self.next = match self.method {
            Method::Invite => expected * 2,
            Method::Other => (expected * 2).min(longest),
        };
        // A provisional answer slows down everything but INVITE, which it ends.
        let is_slowed = self.method == Method::Other && is_about(took, longest);
        if is_about(took, expected) || is_slowed {
            return None;
        }
        let requirement = match (case.evidence.role(&self.frame.from), self.method) {
            (Some(Role::PCscf), _) if self.frame.on == RefPoint::Gm => "PCSCF-017",
            (_, Method::Invite) => "ERR-001",
            (_, Method::Other) => "ERR-002",
        };
        case.breach(
            &self.frame.from,
            requirement,
            format!("sent again after {} ms", expected.as_millis()),
            format!("sent again after {} ms", took.as_millis()),
            index..index + 1,
        )
    }
}

/// Clocks of real machines are late by some milliseconds.
fn is_about(took: Duration, expected: Duration) -> bool {
    took.abs_diff(expected) <= expected / 20 + Duration::from_millis(100)
}

fn t1(on: RefPoint) -> Duration {
    match on {
        RefPoint::Gm => Duration::from_secs(2),
        _ => Duration::from_millis(500),
    }
}

fn t2(on: RefPoint) -> Duration {
    match on {
        RefPoint::Gm => Duration::from_secs(16),
        _ => Duration::from_secs(4),
    }
}
