//! When something is asked: arrivals of an open model, computed before the first is sent. The same profile,
//! law and seed give the same arrivals, whatever the answers, and whoever takes which share of them.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::profile::Profile;
use crate::{
    random::{Random, derive},
    time::At,
};

/// How arrivals are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Law {
    /// Independent of each other, as many users are (ETSI TS 186 008-1, clause not verified).
    #[default]
    Poisson,
    /// Evenly.
    Constant,
}

/// One generator's part of the arrivals: the `number`-th of `of`, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct Share {
    pub number: u32,
    pub of: u32,
}

impl Share {
    /// Everything.
    pub const ALL: Share = Share { number: 1, of: 1 };

    /// The lane, from 0 to `lanes` - 1, in which a journey travels here; `None` if it is another's. Journeys
    /// are dealt out one by one: who gets which depends on its number alone.
    pub fn lane(self, journey: u64, lanes: usize) -> Option<usize> {
        let of = u64::from(self.of);
        let is_own = journey % of == u64::from(self.number - 1);
        is_own.then(|| (journey / of % lanes.max(1) as u64) as usize)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let read = || {
            let (number, of) = text.split_once('/')?;
            let (number, of): (u32, u32) = (number.parse().ok()?, of.parse().ok()?);
            (1..=of).contains(&number).then_some(Share { number, of })
        };
        read().ok_or_else(|| format!("found \"{text}\", expected a share such as 2/5"))
    }
}

impl From<Share> for String {
    fn from(share: Share) -> String {
        share.to_string()
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Share, String> {
        text.parse()
    }
}

/// One arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival<A> {
    /// When it is meant to be sent, from the start of the schedule.
    pub at: At,
    /// Its number in the whole schedule.
    pub number: u64,
    pub ask: A,
}

/// The times of all arrivals, ascending.
pub fn times(profile: &Profile, law: Law, seed: u64) -> impl Iterator<Item = At> + use<'_> {
    let mut random = Random::new(derive(seed, &["arrivals"]));
    // Constant ones stand in the middle of their slots.
    let mut due = match law {
        Law::Constant => -0.5,
        Law::Poisson => 0.0,
    };
    std::iter::from_fn(move || {
        due += match law {
            Law::Constant => 1.0,
            Law::Poisson => {
                let drawn = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                -(1.0 - drawn).ln()
            }
        };
        let seconds = profile.when(due)?;
        Some(At::from_nanos((seconds * 1e9) as u64))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::profile::Shape, *};

    fn profile() -> Profile {
        Profile::new(Shape::Ramp, 500.0, 1500.0, Duration::from_secs(20))
    }

    #[test]
    fn a_seed_says_when_everything_arrives() {
        let all: Vec<At> = times(&profile(), Law::Poisson, 7).collect();
        let again: Vec<At> = times(&profile(), Law::Poisson, 7).collect();
        let other: Vec<At> = times(&profile(), Law::Poisson, 8).collect();
        assert_eq!(all, again);
        assert_ne!(all, other);
        assert!(all.is_sorted());
        // 20 000 on average; four standard deviations are 566.
        assert!((19_434..20_566).contains(&all.len()), "{}", all.len());
        assert_eq!(20_000, times(&profile(), Law::Constant, 7).count());
    }

    #[test]
    fn poisson_arrivals_are_as_irregular_as_they_ought_to_be() {
        let constant = Profile::new(Shape::Constant, 1000.0, 1000.0, Duration::from_secs(60));
        let all: Vec<At> = times(&constant, Law::Poisson, 1).collect();
        let gaps: Vec<f64> = all
            .windows(2)
            .map(|pair| pair[1].since(pair[0]).as_secs_f64())
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Of an exponential law the deviation is the mean.
        let ratio = variance.sqrt() / mean;
        assert!((0.97..1.03).contains(&ratio), "{ratio}");
    }

    #[test]
    fn shares_and_lanes_deal_out_every_journey_once() {
        let shares: Vec<Share> = ["1/3", "2/3", "3/3"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        for journey in 0..1000 {
            let owners = shares.iter().filter_map(|share| share.lane(journey, 4));
            assert_eq!(1, owners.count());
        }
        for wrong in ["0/3", "4/3", "3", "a/b", "1/0"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
