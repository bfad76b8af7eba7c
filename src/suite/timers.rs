//! The times an implementation is configured with and that steps wait by: no text gives their values.

use std::time::Duration;

use crate::spec::words;

words! {
    /// A time that a profile may state.
    Timer, "timer", {
        /// After which a peer that was not heard of is forgotten (RFC 7846 2.3).
        Track = "track",
        /// How long what authorises a transfer at an edge is good; ours.
        Token = "token",
    }
}

/// The values in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    track: Duration,
    token: Duration,
}

impl Timers {
    pub fn of(&self, timer: Timer) -> Duration {
        match timer {
            Timer::Track => self.track,
            Timer::Token => self.token,
        }
    }

    pub fn set(&mut self, timer: Timer, time: Duration) {
        match timer {
            Timer::Track => self.track = time,
            Timer::Token => self.token = time,
        }
    }
}

impl Default for Timers {
    /// The longest of our own nodes.
    fn default() -> Timers {
        Timers {
            track: Duration::from_secs(180),
            token: Duration::from_secs(60),
        }
    }
}
