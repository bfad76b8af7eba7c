//! Which step of the call flow a frame belongs to: A1 to A5 in TR 23.844 6.2.1, B1 to B6 in 6.2.2. The text
//! names no messages; which ones stand for a step is our binding. Frames of what the text leaves out, like
//! registration, Cx and the data path itself, belong to none.

use std::{collections::BTreeMap, fmt};

use crate::{
    spec::{Architecture, Format, RefPoint, Role},
    trace::Trace,
    wire::{
        frame::{Frame, Party},
        http,
        ppstp::{self, Message},
        sip,
    },
};

/// A step of the call flow. Of "step 1&2", 1 is the request and 2 the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowStep {
    pub architecture: Architecture,
    /// 1 to 5, or to 6 in 6.2.2.
    pub number: u8,
}

impl fmt::Display for FlowStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.architecture {
            Architecture::Registered => 'A',
            Architecture::Unregistered => 'B',
        };
        write!(f, "{letter}{}", self.number)
    }
}

impl FlowStep {
    /// What the text says of it, in short.
    pub fn title(self) -> &'static str {
        use Architecture::{Registered, Unregistered};
        match (self.architecture, self.number) {
            (_, PEERS_ASKED) => "the UE requests the content and its peers",
            (_, PEERS_LISTED) => "the Tracker AS answers with a peer list",
            (_, PIECE_ASKED) => "the UE selects peers and sends its request",
            (Registered, ROUTED) => "the IMS core forwards it to the devices that have the pieces",
            (Unregistered, ROUTED) => "the IMS core forwards it to the CDN Controller",
            (Unregistered, DELEGATED) => "the CDN Controller forwards it to Edge Servers",
            _ => "the UE updates its status at the Tracker AS",
        }
    }
}

/// Tells the steps of one trace's frames, in their order.
#[derive(Debug)]
pub struct Flow {
    architecture: Architecture,
    roles: BTreeMap<String, Role>,
    /// The public identities of the UEs that ask.
    users: Vec<String>,
    /// What a dialog or publication is about, by its Call-ID.
    calls: BTreeMap<String, u8>,
    /// What was asked last on Ut, by asker and asked.
    asked: BTreeMap<(String, String), Option<u8>>,
}

impl Flow {
    pub fn new(trace: &Trace) -> Flow {
        let nodes = &trace.meta.nodes;
        let askers = nodes.iter().filter(|node| node.role == Role::Ue);
        Flow {
            architecture: trace.meta.architecture,
            roles: nodes
                .iter()
                .map(|node| (node.name.to_string(), node.role))
                .collect(),
            users: askers.filter_map(|node| node.impu.clone()).collect(),
            calls: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// The step of a frame that was sent.
    pub fn step(&mut self, frame: &Frame) -> Option<FlowStep> {
        let number = match (frame.format, frame.on) {
            (Format::Sip, _) => self.sip(frame),
            (Format::Http, RefPoint::Ut) => self.ut(frame),
            (Format::Http, RefPoint::Cdn) => {
                (self.architecture == Architecture::Unregistered).then_some(DELEGATED)
            }
            (Format::Http, RefPoint::Data) => self.direct(frame),
            _ => None,
        }?;
        Some(FlowStep {
            architecture: self.architecture,
            number,
        })
    }

    fn sip(&mut self, frame: &Frame) -> Option<u8> {
        let message = sip::Message::parse(frame.bytes.clone()).ok()?;
        let call = message.call_id().ok()?;
        match message.method() {
            "INVITE" | "ACK" | "PRACK" | "CANCEL" | "BYE" => {
                let user = match message.is_request() {
                    true => &frame.from,
                    false => &frame.to,
                };
                let is_first_hop = self.role(user) == Some(Role::Ue) && self.is_own(&message);
                Some(if is_first_hop { PIECE_ASKED } else { ROUTED })
            }
            "SUBSCRIBE" => {
                let event = message.header("Event");
                if event.is_some_and(|event| event.starts_with(PEER_LIST)) {
                    self.calls.insert(call.clone(), PEERS_ASKED);
                }
                self.calls.get(&call).copied()
            }
            "NOTIFY" => self.calls.get(&call).map(|_| PEERS_LISTED),
            "PUBLISH" => self.is_own(&message).then(|| self.status()),
            _ => None,
        }
    }

    /// Whether a UE that asks sent the request, or it is an answer to it.
    fn is_own(&self, message: &sip::Message) -> bool {
        message
            .from()
            .is_ok_and(|from| self.users.contains(&from.uri.to_string()))
    }

    fn ut(&mut self, frame: &Frame) -> Option<u8> {
        let (from, to) = (frame.from.to_string(), frame.to.to_string());
        if frame.bytes.starts_with(b"HTTP/") {
            return match self.asked.get(&(to, from)).copied().flatten() {
                Some(PEERS_ASKED) => Some(PEERS_LISTED),
                other => other,
            };
        }
        let step = self.question(frame);
        self.asked.insert((from, to), step);
        step
    }

    fn question(&self, frame: &Frame) -> Option<u8> {
        if self.role(&frame.from) != Some(Role::Ue) {
            return None;
        }
        let request = http::Request::parse(frame.bytes.clone()).ok()?;
        let reading = ppstp::read(&request.body(), ppstp::Profile::Examples).ok()?;
        match reading.message {
            Message::Request(request) => match request.body {
                ppstp::Body::StatReport(_) => Some(self.status()),
                _ => Some(PEERS_ASKED),
            },
            Message::Response(_) => None,
        }
    }

    /// A request that does not go through the core goes to each peer, or to the Controller.
    fn direct(&self, frame: &Frame) -> Option<u8> {
        let (asker, asked) = match frame.bytes.starts_with(b"HTTP/") {
            true => (&frame.to, &frame.from),
            false => (&frame.from, &frame.to),
        };
        let is_request = self.role(asker) == Some(Role::Ue)
            && (self.architecture == Architecture::Registered
                || self.role(asked) == Some(Role::Controller));
        is_request.then_some(PIECE_ASKED)
    }

    fn role(&self, party: &Party) -> Option<Role> {
        self.roles.get(party.node()?.as_str()).copied()
    }

    fn status(&self) -> u8 {
        match self.architecture {
            Architecture::Registered => 5,
            Architecture::Unregistered => 6,
        }
    }
}

const PEERS_ASKED: u8 = 1;
const PEERS_LISTED: u8 = 2;
const PIECE_ASKED: u8 = 3;
const ROUTED: u8 = 4;

/// In 6.2.2 only; in 6.2.1, step 5 is the status update.
const DELEGATED: u8 = 5;

/// The event package of the peer list.
const PEER_LIST: &str = "p2pcds-peers";
