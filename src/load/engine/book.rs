//! What a lane keeps of its arrivals, whatever it speaks: second by second, by kind, and how it fared itself.

use std::{sync::mpsc, time::Duration};

use super::{generate::LaneReport, generate::Manner, machine};
use crate::{
    load::{
        journey::Wrong,
        record::{Counts, Interval, Record},
        talked::Talked,
    },
    time::At,
};

/// An arrival, as far as it is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// When it is meant to be sent, from the start of the schedule.
    pub at: At,
    /// The place of its kind among all kinds.
    pub kind: usize,
}

/// The book of one lane.
pub(super) struct Book<'m> {
    pub manner: &'m Manner,
    pub report: LaneReport,
    record: Record,
    handed_over: At,
    begun: Option<Begun>,
}

/// What this thread had when the schedule began.
struct Begun {
    at: At,
    cpu: Duration,
    waited: Duration,
}

/// Examples of what is wrong that a lane keeps.
const EXAMPLES: usize = 5;

/// How often the seconds are handed over, and silence is looked for.
pub(super) const HAND_OVER: Duration = Duration::from_millis(250);

impl<'m> Book<'m> {
    pub fn new(manner: &'m Manner, kinds: usize) -> Book<'m> {
        Book {
            manner,
            report: LaneReport {
                kinds: vec![(0, 0); kinds],
                ..LaneReport::default()
            },
            record: Record::default(),
            handed_over: manner.clock.now(),
            begun: None,
        }
    }

    pub fn now(&self) -> At {
        self.manner.clock.now()
    }

    /// When an arrival is meant to be sent, on the clock.
    pub fn intended(&self, at: At) -> At {
        self.manner.begin + Duration::from_nanos(at.as_nanos())
    }

    /// Whether it is time to hand over and to look for silence; begins to watch this thread once the schedule begins.
    pub fn is_pause(&mut self, now: At) -> bool {
        if self.begun.is_none() && now >= self.manner.begin {
            self.begun = Some(Begun {
                at: now,
                cpu: machine::thread_cpu(),
                waited: machine::thread_waited(),
            });
        }
        let is_due = now.since(self.handed_over) >= HAND_OVER;
        if is_due {
            self.handed_over = now;
        }
        is_due
    }

    /// An arrival is due, and taken up now.
    pub fn offered(&mut self, entry: Entry, now: At) {
        let lag = now.since(self.intended(entry.at)).as_nanos() as u64;
        self.report.all.offered += 1;
        if let Some(interval) = self.interval(entry) {
            interval.counts.offered += 1;
            interval.lag.saturating_record(lag);
            self.report.kinds[entry.kind].0 += 1;
        }
    }

    /// The second of the measured time that an arrival belongs to; `None` in the warm-up.
    pub fn interval(&mut self, entry: Entry) -> Option<&mut Interval> {
        let warm_up = At::ZERO + self.manner.warm_up;
        let second = entry.at.since(warm_up).as_secs() as u32;
        (entry.at >= warm_up).then(|| self.record.interval(second))
    }

    pub fn count(&mut self, entry: Entry, count: impl Fn(&mut Counts)) {
        count(&mut self.report.all);
        if let Some(interval) = self.interval(entry) {
            count(&mut interval.counts);
        }
    }

    /// Counts what makes an arrival inadequately handled.
    pub fn count_inadequate(&mut self, entry: Entry, count: impl Fn(&mut Counts)) {
        self.count(entry, count);
        if self.interval(entry).is_some() {
            self.report.kinds[entry.kind].1 += 1;
        }
    }

    /// Counts messages of a call flow.
    pub fn talked(&mut self, entry: Entry, count: impl Fn(&mut Talked)) {
        self.count(entry, |counts| count(counts.talked.get_or_insert_default()));
    }

    /// Counts a message that belongs to no call flow that is under way.
    pub fn stray(&mut self) {
        let talked = self.report.all.talked.get_or_insert_default();
        talked.heard += 1;
        talked.strays += 1;
    }

    /// An answer is wrong.
    pub fn wrong(&mut self, entry: Entry, what: &str, wrong: &Wrong) {
        self.count_inadequate(entry, |counts| counts.count_wrong(wrong.what));
        self.example(format!("{what}: {}", wrong.why));
    }

    /// An arrival whose question left at `sent` had its right answer at `came`.
    pub fn right(&mut self, entry: Entry, sent: At, came: At) {
        let response = came.since(self.intended(entry.at));
        self.count(entry, |counts| counts.right += 1);
        if response > self.manner.limit {
            self.count_inadequate(entry, |counts| counts.late += 1);
        }
        if let Some(interval) = self.interval(entry) {
            let (response, service) = (response.as_nanos(), came.since(sent).as_nanos());
            interval.response.saturating_record(response as u64);
            interval.service.saturating_record(service as u64);
        }
    }

    pub fn example(&mut self, text: String) {
        if self.report.examples.len() < EXAMPLES {
            self.report.examples.push(text);
        }
    }

    /// Hands over the seconds so far; nobody may listen any more.
    pub fn hand_over(&mut self, seen: &mpsc::Sender<Record>) {
        let _ = seen.send(std::mem::take(&mut self.record));
    }

    /// Closes the book: what this thread had since the schedule began.
    pub fn close(mut self, seen: &mpsc::Sender<Record>) -> LaneReport {
        if let Some(begun) = &self.begun {
            let wall = self.now().since(begun.at).as_secs_f64().max(1e-9);
            let cpu = machine::thread_cpu().saturating_sub(begun.cpu);
            let waited = machine::thread_waited().saturating_sub(begun.waited);
            self.report.busy = cpu.as_secs_f64() / wall;
            self.report.waited = waited.as_secs_f64();
            self.report.starved = self.report.waited / wall;
        }
        self.hand_over(seen);
        self.report
    }
}
