//! Time since the start of a run. Virtual in memory, measured over sockets; nobody above can tell.

use std::{
    fmt,
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// An instant: nanoseconds since the start of the run.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct At(u64);

impl At {
    /// The start of the run.
    pub const ZERO: At = At(0);

    /// Whether this is the start.
    pub fn is_zero(&self) -> bool {
        *self == At::ZERO
    }

    /// The instant `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> At {
        At(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the start.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: At) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for At {
    type Output = At;

    fn add(self, by: Duration) -> At {
        At(self
            .0
            .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for At {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub for At {
    type Output = Duration;

    fn sub(self, earlier: At) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for At {
    /// Seconds with three decimals: `0.041`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:03}",
            self.0 / 1_000_000_000,
            self.0 / 1_000_000 % 1000
        )
    }
}
