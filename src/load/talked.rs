//! What was said in call flows: messages of both sides, final answers by method and status, and the ratios of
//! RFC 6076 that follow from them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Talked {
    /// That left here, and that came, copies included.
    pub said: u64,
    pub heard: u64,
    /// Requests that were sent again, as no answer had come (RFC 3261 17.1.1.2, 17.1.2.2).
    pub retransmissions: u64,
    /// Messages that came and belong to nothing that is under way: late copies, or nobody's.
    pub strays: u64,
    /// Initial requests by method, each counted once.
    pub requests: BTreeMap<Method, u64>,
    /// Final answers by method and status, each counted once: `INVITE 200`.
    pub answers: BTreeMap<Answered, u64>,
}

/// Methods of call flows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Bye,
    Invite,
    Publish,
    Register,
    Subscribe,
}

/// A final answer to a request.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct Answered {
    pub method: Method,
    pub status: u16,
}

impl Method {
    pub const ALL: [Method; 5] = [
        Method::Bye,
        Method::Invite,
        Method::Publish,
        Method::Register,
        Method::Subscribe,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Method::Bye => "BYE",
            Method::Invite => "INVITE",
            Method::Publish => "PUBLISH",
            Method::Register => "REGISTER",
            Method::Subscribe => "SUBSCRIBE",
        }
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:03}", self.method.word(), self.status)
    }
}

impl From<Answered> for String {
    fn from(answered: Answered) -> String {
        answered.to_string()
    }
}

impl FromStr for Answered {
    type Err = String;

    fn from_str(text: &str) -> Result<Answered, String> {
        let read = || {
            let (word, status) = text.split_once(' ')?;
            let method = Method::ALL.into_iter().find(|m| m.word() == word)?;
            Some(Answered {
                method,
                status: status.parse().ok()?,
            })
        };
        read().ok_or_else(|| format!("found \"{text}\", expected an answer such as INVITE 200"))
    }
}

impl TryFrom<String> for Answered {
    type Error = String;

    fn try_from(text: String) -> Result<Answered, String> {
        text.parse()
    }
}

/// The ratios of RFC 6076 that sessions have, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SessionRatios {
    /// Session Establishment Ratio (RFC 6076 4.6): INVITEs answered 200, of all that were not answered 3xx.
    pub session_establishment: f64,
    /// Session Establishment Effectiveness Ratio (RFC 6076 4.7): INVITEs answered 200, 480, 486, 600 or 603, of the same.
    pub session_establishment_effectiveness: f64,
    /// Ineffective Session Attempts (RFC 6076 4.8): INVITEs answered 408, 500, 503 or 504, of all. An INVITE that was never
    /// answered counts as 408, which its sender would take it for (RFC 3261 8.1.3.1).
    pub ineffective_session_attempts: f64,
}

impl SessionRatios {
    /// Each in full, with its source.
    pub fn named(&self) -> [(&'static str, f64); 3] {
        [
            (
                "Session Establishment Ratio (RFC 6076 4.6)",
                self.session_establishment,
            ),
            (
                "Session Establishment Effectiveness Ratio (RFC 6076 4.7)",
                self.session_establishment_effectiveness,
            ),
            (
                "Ineffective Session Attempts (RFC 6076 4.8)",
                self.ineffective_session_attempts,
            ),
        ]
    }
}

impl Talked {
    /// Final answers by method and status, in words: `INVITE 200: 5`.
    pub fn answers_in_words(&self) -> String {
        let answers = self.answers.iter();
        let words = answers.map(|(answered, count)| format!("{answered}: {count}"));
        words.collect::<Vec<_>>().join(", ")
    }

    pub fn add(&mut self, other: &Talked) {
        self.said += other.said;
        self.heard += other.heard;
        self.retransmissions += other.retransmissions;
        self.strays += other.strays;
        for (method, count) in &other.requests {
            *self.requests.entry(*method).or_default() += count;
        }
        for (answered, count) in &other.answers {
            *self.answers.entry(*answered).or_default() += count;
        }
    }

    /// `None` if no session was asked for.
    pub fn ratios(&self) -> Option<SessionRatios> {
        let invites = self.requests.get(&Method::Invite).copied()?;
        let answered = |fits: &dyn Fn(u16) -> bool| -> u64 {
            let answers = self.answers.iter();
            let own = answers.filter(|(a, _)| a.method == Method::Invite && fits(a.status));
            own.map(|(_, count)| count).sum()
        };
        let of = |part: u64, whole: u64| match whole {
            0 => 0.0,
            _ => part as f64 / whole as f64,
        };
        let redirected = answered(&|status| (300..400).contains(&status));
        let silent = invites.saturating_sub(answered(&|_| true));
        let counted = invites.saturating_sub(redirected);
        Some(SessionRatios {
            session_establishment: of(answered(&|status| status == 200), counted),
            session_establishment_effectiveness: of(
                answered(&|status| matches!(status, 200 | 480 | 486 | 600 | 603)),
                counted,
            ),
            ineffective_session_attempts: of(
                silent + answered(&|status| matches!(status, 408 | 500 | 503 | 504)),
                invites,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_the_text() {
        let answer = |status, count| {
            let method = Method::Invite;
            (Answered { method, status }, count)
        };
        let bye = Answered {
            method: Method::Bye,
            status: 503,
        };
        let talked = Talked {
            requests: [(Method::Invite, 100)].into(),
            answers: [
                answer(200, 60),
                answer(302, 20),
                answer(486, 4),
                answer(488, 6),
                answer(503, 8),
                (bye, 60),
            ]
            .into(),
            ..Talked::default()
        };
        let ratios = talked.ratios().unwrap();
        assert_eq!(0.75, ratios.session_establishment);
        assert_eq!(0.8, ratios.session_establishment_effectiveness);
        // Two were never answered.
        assert_eq!(0.1, ratios.ineffective_session_attempts);
        assert_eq!(None, Talked::default().ratios());
    }

    #[test]
    fn answers_are_written_and_read() {
        let answered = Answered {
            method: Method::Subscribe,
            status: 403,
        };
        assert_eq!("SUBSCRIBE 403", answered.to_string());
        assert_eq!(Ok(answered), "SUBSCRIBE 403".parse());
        assert!("INFO 200".parse::<Answered>().is_err() && "INVITE".parse::<Answered>().is_err());
    }
}
