//! What is kept of a run: how long answers took, how late questions left, and counts, second by second. An
//! arrival belongs to the second in which it was meant to be sent, so that the seconds of several generators
//! add up exactly to those of one.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{flow::Delay, journey::WrongWhat, talked::Talked};

/// Nanoseconds; three digits, from a microsecond to two minutes. What is longer counts as two minutes.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST, HIGHEST, 3).expect("the bounds are lawful constants")
}

const LOWEST: u64 = 1_000;
const HIGHEST: u64 = 120_000_000_000;

/// What became of arrivals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct Counts {
    /// Arrivals that were due.
    pub offered: u64,
    /// Questions that left.
    pub sent: u64,
    /// Whole answers that came, right or wrong.
    pub answered: u64,
    /// Right answers.
    pub right: u64,
    /// Of the right ones, those that took longer than the limit.
    pub late: u64,
    /// Questions that were never answered: the connection broke, or nothing came in time.
    pub unanswered: u64,
    /// Arrivals that never left: no connection became free, and the waiting room was full.
    pub dropped: u64,
    /// Arrivals that were not asked, as what they follow upon was not answered: nobody leaves who has not joined.
    pub skipped: u64,
    pub wrong_status: u64,
    pub wrong_shape: u64,
    pub wrong_content: u64,
    /// Answers that were read whole.
    pub read_whole: u64,
    /// Octets of answers.
    pub octets: u64,
    /// Of call flows: messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub talked: Option<Talked>,
}

impl Counts {
    /// Arrivals that were inadequately handled: wrong, late, or not answered (ETSI TS 186 008-1, clause not
    /// verified).
    pub fn inadequate(&self) -> u64 {
        self.late + self.unanswered + self.dropped + self.skipped + self.wrong()
    }

    /// Answers that were wrong.
    pub fn wrong(&self) -> u64 {
        self.wrong_status + self.wrong_shape + self.wrong_content
    }

    /// Share of arrivals that were inadequately handled, from 0 to 1.
    pub fn inadequate_share(&self) -> f64 {
        match self.offered {
            0 => 0.0,
            offered => self.inadequate() as f64 / offered as f64,
        }
    }

    pub fn add(&mut self, other: &Counts) {
        let pairs = [
            (&mut self.offered, other.offered),
            (&mut self.sent, other.sent),
            (&mut self.answered, other.answered),
            (&mut self.right, other.right),
            (&mut self.late, other.late),
            (&mut self.unanswered, other.unanswered),
            (&mut self.dropped, other.dropped),
            (&mut self.skipped, other.skipped),
            (&mut self.wrong_status, other.wrong_status),
            (&mut self.wrong_shape, other.wrong_shape),
            (&mut self.wrong_content, other.wrong_content),
            (&mut self.read_whole, other.read_whole),
            (&mut self.octets, other.octets),
        ];
        for (mine, theirs) in pairs {
            *mine += theirs;
        }
        if let Some(talked) = &other.talked {
            self.talked.get_or_insert_default().add(talked);
        }
    }

    pub fn count_wrong(&mut self, what: WrongWhat) {
        match what {
            WrongWhat::Status => self.wrong_status += 1,
            WrongWhat::Shape => self.wrong_shape += 1,
            WrongWhat::Content => self.wrong_content += 1,
        }
    }
}

/// One second of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    pub counts: Counts,
    /// Nanoseconds from when a question was meant to leave until its right answer was there.
    pub response: Histogram<u64>,
    /// Nanoseconds from when it left.
    pub service: Histogram<u64>,
    /// Nanoseconds from when a question was meant to leave until we took it up.
    pub lag: Histogram<u64>,
    /// Nanoseconds that parts of call flows took.
    pub delays: BTreeMap<Delay, Histogram<u64>>,
}

impl Default for Interval {
    fn default() -> Self {
        Interval {
            counts: Counts::default(),
            response: histogram(),
            service: histogram(),
            lag: histogram(),
            delays: BTreeMap::new(),
        }
    }
}

impl Interval {
    /// The histogram of a delay.
    pub fn delay(&mut self, delay: Delay) -> &mut Histogram<u64> {
        self.delays.entry(delay).or_insert_with(histogram)
    }

    pub fn add(&mut self, other: &Interval) {
        self.counts.add(&other.counts);
        self.response += &other.response;
        self.service += &other.service;
        self.lag += &other.lag;
        for (delay, histogram) in &other.delays {
            *self.delay(*delay) += histogram;
        }
    }
}

/// The seconds of a run, each by its number. Only seconds in which something happened are there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record(pub BTreeMap<u32, Interval>);

impl Record {
    pub fn interval(&mut self, number: u32) -> &mut Interval {
        self.0.entry(number).or_default()
    }

    pub fn add(&mut self, other: &Record) {
        for (number, interval) in &other.0 {
            self.interval(*number).add(interval);
        }
    }

    /// Everything in one.
    pub fn total(&self) -> Interval {
        let mut total = Interval::default();
        for interval in self.0.values() {
            total.add(interval);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_keep_is_what_one_keeps() {
        let (mut one, mut left, mut right) =
            (Record::default(), Record::default(), Record::default());
        for n in 0..10_000u64 {
            let nanos = n * n * 997 % 3_000_000_000;
            let part = if n % 3 == 0 { &mut left } else { &mut right };
            for record in [&mut one, part] {
                let interval = record.interval((n / 2_500) as u32);
                interval.counts.offered += 1;
                interval.response.saturating_record(nanos);
            }
        }
        left.add(&right);
        assert_eq!(one, left);
        assert_eq!(10_000, left.total().counts.offered);
    }
}
