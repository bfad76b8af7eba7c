//! What a bad network does: loses, delays, duplicates, reorders and corrupts datagrams; delays, splits,
//! merges, cuts and stalls streams. Seeded, so that a bad day can be had again.

use std::time::Duration;

use crate::{random::Random, spec::RefPoint};

/// What may happen to traffic on one reference point. Shares go from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    pub on: Option<RefPoint>,
    /// Share of datagrams lost.
    pub lose: f64,
    /// Share of datagrams sent twice.
    pub duplicate: f64,
    /// Share of datagrams held back long enough to be overtaken.
    pub reorder: f64,
    /// Share of datagrams with one octet changed.
    pub corrupt: f64,
    /// Added to every frame's way.
    pub delay: Duration,
    /// Streams arrive in pieces of at most this many octets.
    pub split: Option<usize>,
    /// A stream is reset after this many octets in one direction.
    pub cut_after: Option<usize>,
    /// A stream stands still for this long, once, after its first octets.
    pub stall: Duration,
}

/// The faults of a run and the dice they are thrown with.
#[derive(Clone, Debug)]
pub struct Faults {
    faults: Vec<Fault>,
    random: Random,
}

/// What becomes of one datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Lost,
    /// Delivered once for each entry, that much later than usual; `corrupt` tells which octet is changed
    /// by which mask.
    Delivered {
        delays: Vec<Duration>,
        corrupt: Option<(usize, u8)>,
    },
}

/// What becomes of octets on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFate {
    pub delay: Duration,
    pub split: Option<usize>,
    /// Octets of this direction after which the connection breaks.
    pub cut_after: Option<usize>,
}

impl Faults {
    pub fn new(faults: Vec<Fault>, seed: u64) -> Faults {
        Faults {
            faults,
            random: Random::new(seed),
        }
    }

    pub fn none() -> Faults {
        Faults::new(Vec::new(), 0)
    }

    fn on(&self, on: RefPoint) -> Option<Fault> {
        self.faults
            .iter()
            .find(|f| f.on.is_none_or(|wanted| wanted == on))
            .cloned()
    }

    /// Throws the dice for a datagram of `length` octets.
    pub fn datagram(&mut self, on: RefPoint, length: usize) -> Fate {
        let Some(fault) = self.on(on) else {
            return Fate::Delivered {
                delays: vec![Duration::ZERO],
                corrupt: None,
            };
        };
        if self.random.chance(fault.lose) {
            return Fate::Lost;
        }
        let mut delays = vec![fault.delay];
        if self.random.chance(fault.reorder) {
            delays[0] += Duration::from_millis(5 + self.random.below(20));
        }
        if self.random.chance(fault.duplicate) {
            delays.push(fault.delay + Duration::from_millis(1 + self.random.below(10)));
        }
        let corrupt = (length > 0 && self.random.chance(fault.corrupt)).then(|| {
            (
                self.random.below(length as u64) as usize,
                1 << self.random.below(8),
            )
        });
        Fate::Delivered { delays, corrupt }
    }

    /// What holds for a stream whose direction has carried `carried` octets so far.
    pub fn stream(&mut self, on: RefPoint, carried: usize) -> StreamFate {
        let Some(fault) = self.on(on) else {
            return StreamFate {
                delay: Duration::ZERO,
                split: None,
                cut_after: None,
            };
        };
        let stall = if carried == 0 {
            fault.stall
        } else {
            Duration::ZERO
        };
        StreamFate {
            delay: fault.delay + stall,
            split: fault.split,
            cut_after: fault.cut_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_is_lost_and_the_same_seed_loses_the_same() {
        let fault = Fault {
            on: Some(RefPoint::Gm),
            lose: 0.2,
            ..Fault::default()
        };
        let fates = |seed| {
            let mut faults = Faults::new(vec![fault.clone()], seed);
            (0..1000)
                .map(|_| faults.datagram(RefPoint::Gm, 10))
                .collect::<Vec<_>>()
        };
        let lost = fates(3).iter().filter(|f| **f == Fate::Lost).count();
        assert!((150..250).contains(&lost), "{lost} of 1000 lost");
        assert_eq!(fates(3), fates(3));
        assert_ne!(fates(3), fates(4));
    }

    #[test]
    fn other_reference_points_are_left_alone() {
        let fault = Fault {
            on: Some(RefPoint::Gm),
            lose: 1.0,
            ..Fault::default()
        };
        let mut faults = Faults::new(vec![fault], 1);
        assert_ne!(Fate::Lost, faults.datagram(RefPoint::Mw, 10));
        assert_eq!(Fate::Lost, faults.datagram(RefPoint::Gm, 10));
    }
}
