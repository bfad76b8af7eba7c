//! The trace as evidence: every message that crossed, decoded once, in the order it crossed.

use crate::{
    io::LinkEvent,
    spec::{RefPoint, Role},
    time::At,
    trace::{CastNode, EventKind, Trace},
    wire::{
        frame::{Frame, Party},
        http,
        message::Decoded,
        msrp, ppstp, sip,
    },
};

/// One message that crossed from one party to another.
#[derive(Debug)]
pub struct Seen<'t> {
    /// Its event in the trace.
    pub index: usize,
    pub at: At,
    pub frame: &'t Frame,
    pub message: Decoded,
}

/// What the checks look at.
#[derive(Debug)]
pub struct Evidence<'t> {
    pub trace: &'t Trace,
    /// What arrived, and what was sent to somebody whose arrivals the tap cannot see.
    pub crossed: Vec<Seen<'t>>,
}

impl Seen<'_> {
    /// Whether a user's agent sent it, not a node of the core.
    pub fn is_from_user(&self, evidence: &Evidence<'_>) -> bool {
        matches!(
            evidence.role(&self.frame.from),
            Some(
                Role::Ue
                    | Role::UserPeer
                    | Role::EdgeServer
                    | Role::OriginServer
                    | Role::Controller
            )
        )
    }
}

impl<'t> Evidence<'t> {
    pub fn new(trace: &'t Trace) -> Evidence<'t> {
        let crossed = trace
            .events
            .iter()
            .enumerate()
            .filter_map(|(index, event)| {
                let frame = match &event.kind {
                    EventKind::Received(frame) => frame,
                    EventKind::Sent(frame) if !trace.meta.sees_arrivals_at(&frame.to) => frame,
                    _ => return None,
                };
                Some(Seen {
                    index,
                    at: event.at,
                    frame,
                    message: Decoded::of(frame),
                })
            })
            .collect();
        Evidence { trace, crossed }
    }

    pub fn node(&self, party: &Party) -> Option<&'t CastNode> {
        let name = party.node()?;
        self.trace.meta.nodes.iter().find(|node| node.name == *name)
    }

    pub fn role(&self, party: &Party) -> Option<Role> {
        self.node(party).map(|node| node.role)
    }

    /// Every SIP message on a reference point.
    pub fn sip_on(&self, on: RefPoint) -> impl Iterator<Item = (&Seen<'t>, &sip::Message)> {
        self.sip().filter(move |(seen, _)| seen.frame.on == on)
    }

    pub fn sip(&self) -> impl Iterator<Item = (&Seen<'t>, &sip::Message)> {
        self.crossed
            .iter()
            .filter_map(|seen| Some((seen, seen.message.sip()?)))
    }

    pub fn msrp(&self) -> impl Iterator<Item = (&Seen<'t>, &msrp::Message)> {
        self.crossed.iter().filter_map(|seen| match &seen.message {
            Decoded::Msrp(message) => Some((seen, message)),
            _ => None,
        })
    }

    pub fn http_requests(&self) -> impl Iterator<Item = (&Seen<'t>, &http::Request)> {
        self.crossed.iter().filter_map(|seen| match &seen.message {
            Decoded::HttpRequest(message) => Some((seen, message)),
            _ => None,
        })
    }

    pub fn http_responses(&self) -> impl Iterator<Item = (&Seen<'t>, &http::Response)> {
        self.crossed.iter().filter_map(|seen| match &seen.message {
            Decoded::HttpResponse(message) => Some((seen, message)),
            _ => None,
        })
    }

    /// Every PPSTP document that could be read, on whatever path it travelled.
    pub fn ppstp(&self) -> impl Iterator<Item = (&Seen<'t>, ppstp::Message)> {
        self.crossed
            .iter()
            .filter_map(|seen| Some((seen, seen.message.ppstp()?.ok()?.message)))
    }

    /// Whether somebody sent to `node`, or tried to connect to it, on `on` before an event. Of a guest's tries only
    /// those are seen that get there.
    pub fn tried_to_reach(&self, node: &str, on: RefPoint, before: usize) -> bool {
        self.trace.events[..before]
            .iter()
            .any(|event| match &event.kind {
                EventKind::Sent(frame) | EventKind::Received(frame) => {
                    frame.on == on && frame.to.is(node)
                }
                EventKind::Opening { on: there, to, .. } => *there == on && to.is(node),
                EventKind::Link {
                    node: at,
                    on: there,
                    event: LinkEvent::Accepted { .. },
                    ..
                } => *there == on && at.as_str() == node,
                _ => false,
            })
    }

    /// Where `party` said what is shown in the SIP message at `event`, which somebody else handed on.
    pub fn said_first(&self, party: &Party, event: usize) -> Option<usize> {
        let place = self
            .crossed
            .binary_search_by_key(&event, |seen| seen.index)
            .ok()?;
        let shown = &self.crossed[place];
        if shown.frame.from == *party || shown.frame.to == *party {
            return None;
        }
        let told = |message: &sip::Message| {
            let cseq = message.cseq().ok()?;
            Some((
                message.call_id().ok()?,
                cseq.number,
                cseq.method,
                message.status(),
            ))
        };
        let this = told(shown.message.sip()?)?;
        let mut before = self.sip().take_while(|(seen, _)| seen.index < event);
        let said = before.find(|(seen, message)| {
            seen.frame.from == *party && told(message).is_some_and(|that| that == this)
        });
        said.map(|(seen, _)| seen.index)
    }

    /// The request that an HTTP response answers: the n-th of its connection.
    pub fn request_of(&self, response: &Seen<'t>) -> Option<&http::Request> {
        let nth = self
            .http_responses()
            .filter(|(seen, answer)| same_way(seen, response) && !answer.is_provisional())
            .position(|(seen, _)| seen.index == response.index)?;
        self.http_requests()
            .filter(|(seen, _)| other_way(seen, response))
            .nth(nth)
            .map(|(_, r)| r)
    }

    /// The response that came back for an HTTP request: the n-th of its connection.
    pub fn answer_to(&self, request: &Seen<'t>) -> Option<(&Seen<'t>, &http::Response)> {
        let nth = self
            .http_requests()
            .filter(|(seen, _)| same_way(seen, request))
            .position(|(seen, _)| seen.index == request.index)?;
        self.http_responses()
            .filter(|(seen, answer)| other_way(seen, request) && !answer.is_provisional())
            .nth(nth)
    }
}

fn same_way(a: &Seen<'_>, b: &Seen<'_>) -> bool {
    a.frame.src == b.frame.src && a.frame.dst == b.frame.dst
}

fn other_way(a: &Seen<'_>, b: &Seen<'_>) -> bool {
    a.frame.src == b.frame.dst && a.frame.dst == b.frame.src
}
