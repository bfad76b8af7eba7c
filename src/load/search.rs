//! Capacity: the largest load whose share of inadequately handled arrivals stays within the objective (design
//! objective capacity, ETSI TS 186 008-1, clause not verified), and the largest at which nothing at all fails
//! (RFC 7501 3.4). Pure: who measures is given.
//!
//! Rates are doubled until the objective breaks, then the bracket is halved by short trials, and its lower end is
//! held to several long ones. A trial that is no measurement counts for nothing, and is made again; a rate at which
//! none can be had is an end of what can be known, and what is found below it a lower bound, no capacity.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::trial::Figures;

/// What has to hold at the capacity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Goal {
    /// The largest share of arrivals that may be inadequately handled, from 0 to 1.
    pub inadequate: f64,
    /// Limits of percentiles of the response time, in milliseconds.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
}

impl Goal {
    /// Nothing may fail; how long it takes is limited by what is late.
    pub const ZERO_FAILURES: Goal = Goal {
        inadequate: 0.0,
        p50: None,
        p99: None,
        p999: None,
    };

    /// Why figures do not reach the goal; `None` if they do.
    pub fn missed_by(&self, figures: &Figures) -> Option<String> {
        if figures.inadequate > self.inadequate {
            return Some(format!("{:.4} % inadequate", figures.inadequate * 100.0));
        }
        let response = &figures.response;
        let limits = [
            ("p50", self.p50, response.p50),
            ("p99", self.p99, response.p99),
            ("p99.9", self.p999, response.p999),
        ];
        limits.into_iter().find_map(|(name, limit, found)| {
            let found = found / 1e3;
            (found > limit?).then(|| format!("{name} {found:.3} ms"))
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inadequate at most {} %", self.inadequate * 100.0)?;
        let limits = [("p50", self.p50), ("p99", self.p99), ("p99.9", self.p999)];
        for (name, limit) in limits {
            if let Some(limit) = limit {
                write!(f, ", {name} at most {limit} ms")?;
            }
        }
        Ok(())
    }
}

/// How it is searched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Method {
    /// The first rate, arrivals a second.
    pub from: f64,
    /// No rate above is tried.
    pub to: f64,
    /// The bracket is halved until its ends are as near to each other, as a share of the lower.
    pub precision: f64,
    /// Long trials that have to hold at the capacity.
    pub trials: u32,
    /// How often a trial that is no measurement is tried again.
    pub again: u32,
}

/// How long a trial lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    Short,
    Long,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tried {
    pub rate: f64,
    pub length: Length,
    pub came: Came,
}

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Came {
    Measured(Box<Figures>),
    /// Why it is no measurement.
    Invalid(String),
    /// What was answered wrongly: there is nothing to search.
    Wrong(String),
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Found {
    pub goal: Goal,
    pub end: End,
    /// Every trial, in the order in which they were made.
    pub trials: Vec<Tried>,
}

/// How a search ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum End {
    Capacity {
        /// All long trials held here.
        rate: f64,
        /// The smallest rate above at which the goal was missed.
        missed: f64,
        /// By what.
        by: String,
        /// Of the long trials at the capacity: the least and the most of the 99th percentile, in milliseconds,
        /// and of the inadequate share.
        p99: [f64; 2],
        inadequate: [f64; 2],
    },
    /// The goal holds at the largest rate that was to be tried.
    AtLeast { rate: f64 },
    /// It was stopped: the largest rate at which a trial held, and the smallest at which one missed the goal.
    Interrupted {
        holds: Option<f64>,
        missed: Option<f64>,
    },
    /// It is missed at the smallest.
    Below { rate: f64, by: String },
    /// No measurement can be had at `rate`, so that nothing is known above `holds`, at which all long trials held.
    Unmeasurable {
        holds: Option<f64>,
        rate: f64,
        why: String,
    },
    /// The system under test answers wrongly.
    Wrong { rate: f64, why: String },
}

/// A search under way.
struct Search<'s, E, T: FnMut(f64, Length, u32) -> Result<Option<Came>, E>> {
    goal: Goal,
    method: &'s Method,
    trial: T,
    trials: Vec<Tried>,
}

/// What a rate failed by: the upper end of the bracket.
enum Ceiling {
    /// The goal.
    Missed(String),
    /// No measurement of it can be had.
    Unmeasurable(String),
}

/// Why a search cannot go on.
enum Stopped<E> {
    End(End),
    Failed(E),
}

/// Searches. `trial` measures at a rate (arrivals a second), for so long; its third argument is the number of the
/// trial, to draw other arrivals from. `None` from it ends the search where it is.
pub fn search<E>(
    goal: Goal,
    method: &Method,
    trial: impl FnMut(f64, Length, u32) -> Result<Option<Came>, E>,
) -> Result<Found, E> {
    let mut search = Search {
        goal,
        method,
        trial,
        trials: Vec::new(),
    };
    let end = match search.run() {
        Ok(end) | Err(Stopped::End(end)) => end,
        Err(Stopped::Failed(error)) => return Err(error),
    };
    Ok(Found {
        goal,
        end,
        trials: search.trials,
    })
}

/// The smallest part by which a rate that did not hold is lowered.
const STEP_DOWN: f64 = 0.02;

impl<E, T: FnMut(f64, Length, u32) -> Result<Option<Came>, E>> Search<'_, E, T> {
    fn run(&mut self) -> Result<End, Stopped<E>> {
        let Method {
            from,
            to,
            precision,
            ..
        } = *self.method;
        let mut holds = None;
        let mut rate = from.min(to);
        let (mut above, mut ceiling) = loop {
            match self.short(rate)? {
                Err(ceiling) => break (rate, ceiling),
                Ok(()) if rate >= to => {
                    return match self.long(rate)? {
                        Ok(_) => Ok(End::AtLeast { rate }),
                        Err(ceiling) => self.settle(holds, rate, ceiling),
                    };
                }
                Ok(()) => holds = Some(rate),
            }
            rate = (rate * 2.0).min(to);
        };
        while let Some(low) = holds {
            if above <= low * (1.0 + precision) {
                break;
            }
            let middle = f64::midpoint(low, above);
            match self.short(middle)? {
                Err(met) => (above, ceiling) = (middle, met),
                Ok(()) => holds = Some(middle),
            }
        }
        self.settle(holds, above, ceiling)
    }

    /// Holds the lower end to long trials, and goes down until they hold.
    fn settle(
        &mut self,
        mut holds: Option<f64>,
        mut above: f64,
        mut ceiling: Ceiling,
    ) -> Result<End, Stopped<E>> {
        loop {
            let Some(rate) = holds else {
                return Ok(match ceiling {
                    Ceiling::Missed(by) => End::Below { rate: above, by },
                    Ceiling::Unmeasurable(why) => End::Unmeasurable {
                        holds: None,
                        rate: above,
                        why,
                    },
                });
            };
            match (self.long(rate)?, ceiling) {
                (Ok(long), Ceiling::Missed(by)) => {
                    let spread = |of: fn(&Figures) -> f64| {
                        let values = long.iter().map(of);
                        [
                            values.clone().fold(f64::INFINITY, f64::min),
                            values.fold(0.0, f64::max),
                        ]
                    };
                    return Ok(End::Capacity {
                        rate,
                        missed: above,
                        by,
                        p99: spread(|figures| figures.response.p99 / 1e3),
                        inadequate: spread(|figures| figures.inadequate),
                    });
                }
                (Ok(_), Ceiling::Unmeasurable(why)) => {
                    return Ok(End::Unmeasurable {
                        holds,
                        rate: above,
                        why,
                    });
                }
                (Err(met), _) => {
                    (above, ceiling) = (rate, met);
                    let lower = rate * (1.0 - self.method.precision.max(STEP_DOWN));
                    holds = (lower >= self.method.from * 0.5).then_some(lower);
                }
            }
        }
    }

    /// Whether the goal is reached in a short trial.
    fn short(&mut self, rate: f64) -> Result<Result<(), Ceiling>, Stopped<E>> {
        let held = self.held(rate, Length::Short)?;
        Ok(held.map(|_| ()))
    }

    /// Long trials: their figures if all hold, else what the first failed by.
    fn long(&mut self, rate: f64) -> Result<Result<Vec<Figures>, Ceiling>, Stopped<E>> {
        let mut all = Vec::new();
        for _ in 0..self.method.trials.max(1) {
            match self.held(rate, Length::Long)? {
                Ok(figures) => all.push(figures),
                Err(ceiling) => return Ok(Err(ceiling)),
            }
        }
        Ok(Ok(all))
    }

    /// The figures of one trial, if they reach the goal; made again while it is no measurement.
    fn held(&mut self, rate: f64, length: Length) -> Result<Result<Figures, Ceiling>, Stopped<E>> {
        let mut why = String::new();
        for _ in 0..=self.method.again {
            let number = self.trials.len() as u32;
            let came = (self.trial)(rate, length, number).map_err(Stopped::Failed)?;
            let Some(came) = came else {
                return Err(Stopped::End(self.interrupted()));
            };
            self.trials.push(Tried {
                rate,
                length,
                came: came.clone(),
            });
            match came {
                Came::Measured(figures) => {
                    return Ok(match self.goal.missed_by(&figures) {
                        Some(by) => Err(Ceiling::Missed(by)),
                        None => Ok(*figures),
                    });
                }
                Came::Invalid(reason) => why = reason,
                Came::Wrong(why) => return Err(Stopped::End(End::Wrong { rate, why })),
            }
        }
        Ok(Err(Ceiling::Unmeasurable(why)))
    }

    /// What is known from the trials so far.
    fn interrupted(&self) -> End {
        let (mut holds, mut missed) = (None::<f64>, None::<f64>);
        for tried in &self.trials {
            let Came::Measured(figures) = &tried.came else {
                continue;
            };
            match self.goal.missed_by(figures) {
                None => holds = Some(holds.map_or(tried.rate, |rate| rate.max(tried.rate))),
                Some(_) => missed = Some(missed.map_or(tried.rate, |rate| rate.min(tried.rate))),
            }
        }
        End::Interrupted { holds, missed }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, convert::Infallible};

    use super::{super::record::Interval, super::trial, *};

    const METHOD: Method = Method {
        from: 100.0,
        to: 100_000.0,
        precision: 0.05,
        trials: 3,
        again: 2,
    };

    const GOAL: Goal = Goal {
        inadequate: 0.001,
        ..Goal::ZERO_FAILURES
    };

    /// So many of 10 000 are late.
    fn measured(late: u64) -> Came {
        let mut total = Interval::default();
        total.counts.offered = 10_000;
        total.counts.right = 10_000;
        total.counts.late = late;
        Came::Measured(Box::new(trial::figures(
            10.0,
            &total,
            Vec::new(),
            BTreeMap::new(),
        )))
    }

    fn searched(
        goal: Goal,
        method: &Method,
        mut came: impl FnMut(f64, Length, u32) -> Came,
    ) -> Found {
        let trial = |rate, length, number| Ok::<_, Infallible>(Some(came(rate, length, number)));
        search(goal, method, trial).unwrap()
    }

    #[test]
    fn the_capacity_lies_in_its_bracket() {
        for limit in [150.0, 3_333.0, 97_000.0] {
            let came = |rate: f64, _, _| measured(if rate > limit { 500 } else { 3 });
            let found = searched(GOAL, &METHOD, came);
            let End::Capacity { rate, missed, .. } = found.end else {
                panic!("{:?}", found.end);
            };
            assert!(
                rate <= limit && limit < missed && missed <= rate * 1.05,
                "{rate} {missed}"
            );
            let long = found
                .trials
                .iter()
                .filter(|tried| tried.length == Length::Long);
            assert_eq!(3, long.count());
        }
    }

    #[test]
    fn what_holds_for_a_short_while_only_is_no_capacity() {
        let came = |rate: f64, length, _| {
            let limit = if length == Length::Long {
                1_000.0
            } else {
                1_500.0
            };
            measured(if rate > limit { 500 } else { 0 })
        };
        let End::Capacity { rate, .. } = searched(GOAL, &METHOD, came).end else {
            panic!("expected a capacity");
        };
        assert!((900.0..=1_000.0).contains(&rate), "{rate}");
    }

    #[test]
    fn the_rate_without_failures_is_smaller() {
        let came = |rate: f64, _, _| measured((rate / 1_000.0) as u64);
        let of = |goal| match searched(goal, &METHOD, came).end {
            End::Capacity { rate, .. } => rate,
            other => panic!("{other:?}"),
        };
        assert!(of(GOAL) > 9_500.0);
        assert!(of(Goal::ZERO_FAILURES) < 1_000.0);
    }

    #[test]
    fn where_nothing_can_be_measured_there_is_no_capacity() {
        let came = |rate: f64, _, _| match rate > 5_000.0 {
            true => Came::Invalid("send lag".to_owned()),
            false => measured(0),
        };
        let found = searched(GOAL, &METHOD, came);
        let End::Unmeasurable { holds, rate, .. } = found.end else {
            panic!("{:?}", found.end);
        };
        let holds = holds.unwrap();
        assert!(
            holds <= 5_000.0 && 5_000.0 < rate && rate <= holds * 1.05,
            "{holds} {rate}"
        );
        // Each was tried again before it was given up, and the lower bound is held to as much as a capacity.
        let of = |is_it: fn(&Tried) -> bool| found.trials.iter().filter(|t| is_it(t)).count();
        assert_eq!(3, of(|tried| tried.rate == 6_400.0));
        assert_eq!(3, of(|tried| tried.length == Length::Long));

        let nothing = |_, _, _| Came::Invalid("send lag".to_owned());
        let nothing = searched(GOAL, &METHOD, nothing).end;
        assert!(
            matches!(nothing, End::Unmeasurable { holds: None, .. }),
            "{nothing:?}"
        );
    }

    #[test]
    fn a_bracket_that_begins_unmeasurable_may_end_with_a_capacity() {
        let came = |rate: f64, _, _| match rate {
            ..=4_000.0 => measured(0),
            ..=5_000.0 => measured(500),
            _ => Came::Invalid("dropped arrivals".to_owned()),
        };
        let found = searched(GOAL, &METHOD, came);
        let End::Capacity { rate, missed, .. } = found.end else {
            panic!("{:?}", found.end);
        };
        assert!(rate <= 4_000.0 && 4_000.0 < missed, "{rate} {missed}");
    }

    #[test]
    fn a_trial_that_failed_by_chance_is_made_again() {
        let came = |rate: f64, _, number: u32| match number % 3 {
            0 => Came::Invalid("send lag".to_owned()),
            _ => measured(if rate > 1_000.0 { 500 } else { 0 }),
        };
        let found = searched(GOAL, &METHOD, came);
        assert!(matches!(found.end, End::Capacity { .. }), "{:?}", found.end);
    }

    #[test]
    fn ends_of_the_range_and_wrong_answers_are_told() {
        let good = searched(GOAL, &METHOD, |_, _, _| measured(0)).end;
        assert_eq!(End::AtLeast { rate: 100_000.0 }, good);
        let bad = searched(GOAL, &METHOD, |_, _, _| measured(500)).end;
        assert!(matches!(bad, End::Below { rate: 100.0, .. }), "{bad:?}");
        let wrong = searched(GOAL, &METHOD, |_, _, _| Came::Wrong("empty".to_owned()));
        assert!(matches!(wrong.end, End::Wrong { .. }));
        assert_eq!(1, wrong.trials.len());
    }

    #[test]
    fn what_was_tried_before_it_was_interrupted_is_kept() {
        let trial = |rate: f64, _, number| {
            let came = measured(if rate > 1_000.0 { 500 } else { 0 });
            Ok::<_, Infallible>((number < 6).then_some(came))
        };
        let found = search(GOAL, &METHOD, trial).unwrap();
        assert_eq!(6, found.trials.len());
        // 100, 200, 400, 800, 1600, and 1200 between the last two.
        let (holds, missed) = (Some(800.0), Some(1_200.0));
        assert_eq!(End::Interrupted { holds, missed }, found.end);
        let none = search(GOAL, &METHOD, |_, _, _| Ok::<_, Infallible>(None)).unwrap();
        let (holds, missed) = (None, None);
        assert_eq!(End::Interrupted { holds, missed }, none.end);
    }

    #[test]
    fn a_percentile_can_be_the_limit() {
        let goal = Goal {
            p99: Some(50.0),
            ..GOAL
        };
        let mut total = Interval::default();
        total.counts.offered = 100;
        (0..100).for_each(|_| total.response.saturating_record(60_000_000));
        let figures = trial::figures(1.0, &total, Vec::new(), BTreeMap::new());
        assert!(goal.missed_by(&figures).unwrap().starts_with("p99 "));
        assert_eq!(None, GOAL.missed_by(&figures));
    }
}
