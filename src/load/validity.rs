//! Whether a measurement is one. A figure says something about the system under test only if the generator did
//! what it was told to, and nobody lost anything on the way; whatever is broken here is told instead of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    engine::{machine::Pauses, serve::Counted},
    record::Counts,
};

/// What is allowed of ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Allowed {
    /// The 99.9th percentile of how late questions may be taken up, in seconds.
    pub lag: f64,
    /// Share of its time that a lane of ours may be on its core; above it, it is the limit itself.
    pub busy: f64,
    /// Share of the time in which a loop of our own server may be without a core although it could run.
    pub server_starved: f64,
    /// By how many seconds the calendar may be set while we run.
    pub clock_step: f64,
}

impl Default for Allowed {
    fn default() -> Self {
        Allowed {
            lag: 0.001,
            busy: 0.8,
            server_starved: 0.1,
            clock_step: 0.001,
        }
    }
}

/// What was seen of ourselves, of the way, and of the other side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct Evidence {
    /// The 99.9th percentile of how late questions were taken up, in seconds.
    pub lag: f64,
    /// The largest share of its time that a lane of ours was on its core.
    pub busy: f64,
    /// The largest share of its time in which a lane could have run and had no core.
    pub starved: f64,
    /// The same of a loop of our own server, on average over its loops.
    pub server_starved: f64,
    /// Of all arrivals, those before the measured time included.
    pub counts: Counts,
    /// What a server of ours counted.
    pub served: Option<Counted>,
    /// What the machine's network threw away meanwhile, of whoever's.
    pub drops: BTreeMap<String, u64>,
    /// By how many seconds the calendar was set.
    pub clock_step: f64,
    /// Whether the run was stopped before its end.
    pub is_cut_short: bool,
    /// What the generator's cores lose by themselves; looked at afterwards, if questions left too late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pauses: Option<Pauses>,
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Broken {
    /// `send lag`, `dropped arrivals` …
    pub what: String,
    pub found: String,
    pub allowed: String,
    /// What to do about it.
    pub change: String,
}

impl Evidence {
    /// Everything that forbids a figure.
    pub fn broken(&self, allowed: &Allowed) -> Vec<Broken> {
        let checks = [
            self.lag(allowed),
            self.dropped(),
            self.busy(allowed),
            self.server(allowed),
            self.thrown_away(),
            self.clock(allowed),
            self.counted(),
            self.nothing(),
            self.cut_short(),
        ];
        checks.into_iter().flatten().collect()
    }

    /// Whether questions left later than is allowed.
    pub fn is_late(&self, allowed: &Allowed) -> bool {
        self.lag > allowed.lag
    }

    fn lag(&self, allowed: &Allowed) -> Option<Broken> {
        // More than one question in a thousand meets a pause.
        let pauses = self.pauses.filter(|pauses| pauses.share > 0.001);
        self.is_late(allowed).then(|| {
            broken(
                "send lag",
                format!("questions left {} late (99.9th percentile)", millis(self.lag)),
                format!("at most {}", millis(allowed.lag)),
                match pauses {
                    _ if self.starved > 0.01 => format!(
                        "something else runs on the generator's core: it waited for it {} of the time; free the core or give another with --cores",
                        percent(self.starved)
                    ),
                    Some(Pauses { share, longest }) => format!(
                        "the machine itself takes the core away, {} of the time and up to {} at once while nothing ran: another machine, or a larger --allowed-lag (a response counts from when it was due in any case)",
                        percent(share),
                        millis(longest)
                    ),
                    None => "a lower rate, more cores (--cores), or more generators (--share)".to_owned(),
                },
            )
        })
    }

    fn dropped(&self) -> Option<Broken> {
        let dropped = self.counts.dropped;
        (dropped > 0).then(|| {
            broken(
                "dropped arrivals",
                format!("{dropped} of {} never left", self.counts.offered),
                "none".to_owned(),
                "more --connections, more --pipeline, or a lower rate: no connection was free"
                    .to_owned(),
            )
        })
    }

    fn busy(&self, allowed: &Allowed) -> Option<Broken> {
        (self.busy > allowed.busy).then(|| {
            broken(
                "generator's CPU",
                format!("a lane was busy {} of the time", percent(self.busy)),
                format!("at most {}", percent(allowed.busy)),
                "more cores (--cores), more generators (--share), or fewer answers read whole (--read-whole)"
                    .to_owned(),
            )
        })
    }

    fn server(&self, allowed: &Allowed) -> Option<Broken> {
        (self.server_starved > allowed.server_starved).then(|| {
            broken(
                "server's core",
                format!(
                    "our own server waited for it {} of the time: something else runs there",
                    percent(self.server_starved)
                ),
                format!("at most {}", percent(allowed.server_starved)),
                "free the core, or give another with --server-cores".to_owned(),
            )
        })
    }

    fn thrown_away(&self) -> Option<Broken> {
        let thrown: Vec<String> = self
            .drops
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        (!thrown.is_empty()).then(|| {
            broken(
                "socket buffers",
                format!("the kernel threw away: {}", thrown.join(", ")),
                "nothing".to_owned(),
                "larger buffers (net.core.rmem_max, net.core.somaxconn), or quiet for other traffic: these counters are the whole machine's"
                    .to_owned(),
            )
        })
    }

    fn clock(&self, allowed: &Allowed) -> Option<Broken> {
        (self.clock_step > allowed.clock_step).then(|| {
            broken(
                "clock",
                format!("the calendar was set by {}", millis(self.clock_step)),
                format!("at most {}", millis(allowed.clock_step)),
                "wait until the clock is synchronised, or keep it from being set".to_owned(),
            )
        })
    }

    /// Both sides have counted the same: what left was received, and what was answered arrived.
    fn counted(&self) -> Option<Broken> {
        let served = self.served?;
        // Of call flows messages are counted, as there are several to an arrival.
        let (sent, answered, lost) = match &self.counts.talked {
            Some(talked) => (
                talked.said,
                talked.heard,
                self.counts.unanswered + talked.retransmissions + self.counts.wrong(),
            ),
            None => (
                self.counts.sent,
                self.counts.answered,
                self.counts.unanswered,
            ),
        };
        let is_equal = match lost {
            0 => served.requests == sent && served.answers == answered,
            // What was on its way when something broke may have been received or not.
            _ if self.counts.talked.is_some() => {
                served.requests <= sent && answered <= served.answers
            }
            _ => (answered..=sent).contains(&served.requests),
        };
        (!is_equal).then(|| {
            broken(
                "counts",
                format!(
                    "{sent} sent and {answered} answered here; {} received and {} answered there",
                    served.requests, served.answers
                ),
                "the same on both sides".to_owned(),
                "let nobody else speak to the server; if nobody did, tell us: one side counts wrong".to_owned(),
            )
        })
    }

    fn nothing(&self) -> Option<Broken> {
        (self.counts.answered == 0).then(|| {
            broken(
                "answers",
                format!("none to {} questions", self.counts.sent),
                "some".to_owned(),
                "look whether the target speaks the protocol, with --limit and --patience long enough".to_owned(),
            )
        })
    }

    fn cut_short(&self) -> Option<Broken> {
        self.is_cut_short.then(|| {
            broken(
                "duration",
                "the run was stopped before its end".to_owned(),
                "all of it".to_owned(),
                "let it end".to_owned(),
            )
        })
    }
}

fn broken(what: &str, found: String, allowed: String, change: String) -> Broken {
    Broken {
        what: what.to_owned(),
        found,
        allowed,
        change,
    }
}

fn millis(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1e3)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::{super::talked::Talked, *};

    fn good() -> Evidence {
        Evidence {
            lag: 0.0001,
            busy: 0.3,
            counts: Counts {
                offered: 1000,
                sent: 1000,
                answered: 1000,
                right: 1000,
                ..Counts::default()
            },
            served: Some(Counted {
                requests: 1000,
                answers: 1000,
                ..Counted::default()
            }),
            ..Evidence::default()
        }
    }

    fn named(evidence: &Evidence) -> Vec<String> {
        let broken = evidence.broken(&Allowed::default());
        broken.into_iter().map(|broken| broken.what).collect()
    }

    #[test]
    fn a_good_measurement_breaks_nothing() {
        assert!(named(&good()).is_empty());
    }

    #[test]
    fn lateness_is_laid_to_whoever_took_the_core() {
        let change = |spoil: fn(&mut Evidence)| {
            let mut evidence = good();
            evidence.lag = 0.002;
            spoil(&mut evidence);
            let mut broken = evidence.broken(&Allowed::default());
            broken.remove(0).change
        };
        let other = change(|e| e.starved = 0.02);
        assert!(other.starts_with("something else runs"), "{other}");
        let machine = change(|e| {
            e.pauses = Some(Pauses {
                share: 0.004,
                longest: 0.0021,
            })
        });
        assert!(
            machine.starts_with(
                "the machine itself takes the core away, 0.4 % of the time and up to 2.100 ms"
            ),
            "{machine}"
        );
        let ours = change(|e| {
            e.pauses = Some(Pauses {
                share: 0.0001,
                longest: 0.0021,
            })
        });
        assert!(ours.starts_with("a lower rate"), "{ours}");
    }

    #[test]
    fn each_condition_can_be_broken_by_itself() {
        type Spoil = fn(&mut Evidence);
        let cases: [(&str, Spoil); 9] = [
            ("send lag", |e| e.lag = 0.002),
            ("dropped arrivals", |e| e.counts.dropped = 1),
            ("generator's CPU", |e| e.busy = 0.81),
            ("server's core", |e| e.server_starved = 0.11),
            ("socket buffers", |e| {
                e.drops.insert("ListenDrops".to_owned(), 1);
            }),
            ("clock", |e| e.clock_step = 0.5),
            ("counts", |e| e.counts.sent = 1001),
            ("counts", |e| {
                e.served = Some(Counted {
                    requests: 1000,
                    answers: 999,
                    ..Counted::default()
                })
            }),
            ("duration", |e| e.is_cut_short = true),
        ];
        for (what, spoil) in cases {
            let mut evidence = good();
            spoil(&mut evidence);
            assert_eq!(vec![what.to_owned()], named(&evidence));
        }
        let silent = Evidence {
            counts: Counts {
                sent: 10,
                unanswered: 10,
                ..Counts::default()
            },
            served: None,
            ..good()
        };
        assert_eq!(vec!["answers".to_owned()], named(&silent));
    }

    #[test]
    fn of_call_flows_messages_are_held_against_each_other() {
        let mut evidence = good();
        evidence.counts.talked = Some(Talked {
            said: 3000,
            heard: 2000,
            ..Talked::default()
        });
        assert_eq!(vec!["counts".to_owned()], named(&evidence));
        evidence.served = Some(Counted {
            requests: 3000,
            answers: 2000,
            ..Counted::default()
        });
        assert!(named(&evidence).is_empty());
        // What was said again may have been lost on either way, and nobody hears more than was said.
        let talked = evidence.counts.talked.as_mut().unwrap();
        (talked.said, talked.retransmissions) = (3002, 2);
        assert!(named(&evidence).is_empty());
        evidence.counts.talked.as_mut().unwrap().heard = 2001;
        assert_eq!(vec!["counts".to_owned()], named(&evidence));
    }

    #[test]
    fn what_broke_off_may_have_been_received_or_not() {
        let mut evidence = good();
        evidence.counts.sent = 1003;
        evidence.counts.unanswered = 3;
        assert!(named(&evidence).is_empty());
        evidence.served = Some(Counted {
            requests: 999,
            ..Counted::default()
        });
        assert_eq!(vec!["counts".to_owned()], named(&evidence));
    }
}
