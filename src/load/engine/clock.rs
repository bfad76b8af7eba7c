//! The one clock of a run: monotonic, so that nobody can set it.

use std::time::{Duration, Instant, SystemTime};

use crate::time::At;

/// Time since a start that all threads share.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    /// The calendar's time at the start.
    pub calendar: SystemTime,
}

impl Clock {
    /// Begins now.
    pub fn start() -> Clock {
        Clock {
            start: Instant::now(),
            calendar: SystemTime::now(),
        }
    }

    pub fn now(&self) -> At {
        let elapsed = self.start.elapsed();
        At::ZERO + elapsed
    }

    /// By how much the calendar has been set since the start, forward or back.
    pub fn step(&self) -> Duration {
        let elapsed = self.start.elapsed();
        let expected = self.calendar + elapsed;
        let now = SystemTime::now();
        match now.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        }
    }
}
