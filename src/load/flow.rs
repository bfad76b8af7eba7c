//! What is asked at an arrival where it takes several messages: a call flow. As a [`journey`](super::journey) it says
//! what a right answer is; what is under way is kept by whoever carries the messages.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    journey::{Depth, Wrong},
    talked::Method,
};
use crate::{proto::endpoint::SipTransport, time::At, wire::sip::Message};

/// What one kind of load says, and how it judges what it hears.
pub trait Flow: Send {
    /// What may be begun: small, since all of a run are computed before it.
    type Ask: Copy + Send;
    /// What is known of a call flow that is under way.
    type Talk: Send;

    /// What each kind is called.
    const KINDS: &'static [&'static str];

    /// Which kind it is: its place in [`Flow::KINDS`].
    fn kind(ask: Self::Ask) -> usize;

    /// Arrivals with the same number go the same way, from the same address.
    fn way(ask: Self::Ask, number: u64) -> u64;

    /// Begins: what is to be said at once.
    fn begin(&mut self, begun: Begun<Self::Ask>, say: &mut Vec<Say>) -> Self::Talk;

    /// Hears a message of this call flow: the first answer to what was asked last, or a request of the other side. Copies of answers
    /// do not come here.
    fn hear(
        &mut self,
        talk: &mut Self::Talk,
        at: At,
        message: &Message,
        say: &mut Vec<Say>,
    ) -> Result<Turn, Wrong>;

    /// Hears a copy of an answer to what was asked before.
    fn hear_again(&mut self, talk: &mut Self::Talk, message: &Message, say: &mut Vec<Say>);

    /// The arrival a message is about, by its Call-ID.
    fn number(&self, call_id: &str) -> Option<u64>;
}

/// A call flow that begins.
#[derive(Clone, Copy, Debug)]
pub struct Begun<A> {
    pub ask: A,
    pub number: u64,
    pub at: At,
    pub depth: Depth,
    /// Where it is said from, and how.
    pub local: SocketAddr,
    pub transport: SipTransport,
}

/// Something to be said.
#[derive(Clone, Debug)]
pub enum Say {
    /// A request. Over UDP it is said again until it is answered.
    Request {
        method: Method,
        /// The number in its CSeq.
        number: u32,
        bytes: Bytes,
    },
    /// An ACK, or an answer: said once.
    Once(Bytes),
    /// Something took so long.
    Took(Delay, Duration),
}

/// Where a call flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// What it was begun for is not there yet.
    GoesOn,
    /// What it was begun for is there; something is still to be said and heard.
    Answered,
    /// It is over, and as it ought to be.
    Over,
}

/// Times within a call flow that are recorded by themselves.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Delay {
    /// Event request delay, ours: from SUBSCRIBE or PUBLISH to its 2xx.
    EventRequest,
    /// Session Request Delay of those that failed (RFC 6076 4.3.2): from INVITE to the answer that says so.
    FailedSessionRequest,
    /// Notification delay, ours: from the 2xx of a SUBSCRIBE to the first NOTIFY; none if that came before.
    Notification,
    /// Registration Request Delay (RFC 6076 4.1, clause not verified): from REGISTER to its 2xx.
    RegistrationRequest,
    /// Session Disconnect Delay (RFC 6076 4.4): from BYE to its 2xx.
    SessionDisconnect,
    /// Session Request Delay of those that succeeded (RFC 6076 4.3.1): from INVITE to the first answer above 100.
    SessionRequest,
}

impl Delay {
    pub const ALL: [Delay; 6] = [
        Delay::EventRequest,
        Delay::FailedSessionRequest,
        Delay::Notification,
        Delay::RegistrationRequest,
        Delay::SessionDisconnect,
        Delay::SessionRequest,
    ];

    /// As it is tagged in interval logs.
    pub const fn word(self) -> &'static str {
        match self {
            Delay::EventRequest => "event-request-delay",
            Delay::FailedSessionRequest => "failed-session-request-delay",
            Delay::Notification => "notification-delay",
            Delay::RegistrationRequest => "registration-request-delay",
            Delay::SessionDisconnect => "session-disconnect-delay",
            Delay::SessionRequest => "session-request-delay",
        }
    }

    /// In full, with its source.
    pub const fn name(self) -> &'static str {
        match self {
            Delay::EventRequest => "event request delay (ours)",
            Delay::FailedSessionRequest => "Session Request Delay, failed (RFC 6076 4.3.2)",
            Delay::Notification => "notification delay (ours)",
            Delay::RegistrationRequest => {
                "Registration Request Delay (RFC 6076 4.1, clause not verified)"
            }
            Delay::SessionDisconnect => "Session Disconnect Delay (RFC 6076 4.4)",
            Delay::SessionRequest => "Session Request Delay, successful (RFC 6076 4.3.1)",
        }
    }

    pub fn named(word: &str) -> Option<Delay> {
        Delay::ALL.into_iter().find(|delay| delay.word() == word)
    }
}
