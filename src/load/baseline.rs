//! Baselines: what was measured before on this machine, to find out whether something has become slower. A
//! difference counts only if it is larger than what the same program differs from itself by (the null control),
//! and nothing is compared across machines or plans.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    schedule::Share,
    trial::{Machine, Outcome, Plan, Trial},
};

/// The version of the schema.
pub const SCHEMA: u32 = 1;

/// The fewest measurements that make a baseline, or that are held to one: two halves of two.
pub const FEWEST: usize = 4;

/// Several measurements of one plan on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Baseline {
    pub schema: u32,
    pub program: String,
    pub machine: Machine,
    pub plan: Plan,
    /// In the order in which they were measured.
    pub samples: Vec<Sample>,
}

/// What of one measurement is compared; all in microseconds, smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sample {
    /// Response times.
    pub p50: f64,
    pub p99: f64,
    /// CPU of the server for an answer; `None` where it is elsewhere.
    pub server: Option<f64>,
    /// CPU of the generator for a question.
    pub generator: f64,
}

/// How one thing compares.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    pub what: &'static str,
    /// Medians, in microseconds.
    pub before: f64,
    pub now: f64,
    /// By how much it has grown, as a share of before.
    pub change: f64,
    /// By how much the same program differs from itself: the larger of both sides.
    pub noise: f64,
    pub verdict: Compare,
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Same,
    Worse,
    /// The same program differs from itself by more than was to be seen.
    TooNoisy,
}

/// Differences of less than this are none, in microseconds.
const FLOOR: f64 = 5.0;

impl Baseline {
    /// Of measurements of one plan on one machine; `Err` says which does not belong.
    pub fn of(trials: &[Trial]) -> Result<Baseline, String> {
        let Some(first) = trials.first() else {
            return Err("found no measurement, expected some".to_owned());
        };
        if trials.len() < FEWEST {
            return Err(format!(
                "found {} measurements, expected at least {FEWEST}: two halves are compared to see what noise is",
                trials.len()
            ));
        }
        if trials.iter().any(|trial| trial.plan.closed_loop.is_some()) {
            return Err(
                "found a closed loop, expected an open one: a slower server is asked less there, and looks as fast"
                    .to_owned(),
            );
        }
        let plan = neutral(&first.plan);
        let mut samples = Vec::new();
        for (trial, number) in trials.iter().zip(1..) {
            let sample = match trial.outcome {
                Outcome::Measured => Sample::of(trial),
                Outcome::Invalid | Outcome::Wrong => None,
            };
            let Some(sample) = sample else {
                return Err(format!(
                    "measurement {number}: found one without figures, expected figures: what is no measurement enters no baseline"
                ));
            };
            if trial.machine != first.machine {
                return Err(format!(
                    "measurement {number}: found the machine {}, expected {}",
                    trial.machine.id, first.machine.id
                ));
            }
            if neutral(&trial.plan) != plan {
                return Err(format!(
                    "measurement {number}: found another plan than in the first, expected the same load"
                ));
            }
            samples.push(sample);
        }
        Ok(Baseline {
            schema: SCHEMA,
            program: first.program.clone(),
            machine: first.machine.clone(),
            plan,
            samples,
        })
    }

    /// Holds newer measurements to this baseline. `threshold` is the share by which something may grow.
    pub fn compare(&self, now: &Baseline, threshold: f64) -> Result<Vec<Compared>, String> {
        if self.machine != now.machine {
            return Err(format!(
                "found measurements of {}, expected of {}: nothing is compared across machines",
                now.machine.id, self.machine.id
            ));
        }
        if self.plan != now.plan {
            return Err(
                "found another plan than the baseline's, expected the same load".to_owned(),
            );
        }
        type Of = fn(&Sample) -> Option<f64>;
        let things: [(&str, Of); 4] = [
            ("response p50", |sample| Some(sample.p50)),
            ("response p99", |sample| Some(sample.p99)),
            ("server CPU an answer", |sample| sample.server),
            ("generator CPU a question", |sample| Some(sample.generator)),
        ];
        let compared = things.into_iter().filter_map(|(what, of)| {
            let values =
                |side: &Baseline| -> Option<Vec<f64>> { side.samples.iter().map(of).collect() };
            let (before, now) = (values(self)?, values(now)?);
            Some(compared(what, &before, &now, threshold))
        });
        Ok(compared.collect())
    }
}

impl Sample {
    fn of(trial: &Trial) -> Option<Sample> {
        let figures = trial.figures.as_ref()?;
        let each = |cpu: f64| 1e6 * cpu / (figures.counts.answered.max(1) as f64);
        Some(Sample {
            p50: figures.response.p50,
            p99: figures.response.p99,
            server: trial.server.map(|used| each(used.cpu)),
            generator: each(trial.generator.cpu),
        })
    }
}

/// A plan without what is drawn anew each time.
fn neutral(plan: &Plan) -> Plan {
    Plan {
        share: Share::ALL,
        seed: 0,
        goal: None,
        ..plan.clone()
    }
}

fn compared(what: &'static str, before: &[f64], now: &[f64], threshold: f64) -> Compared {
    let (old, new) = (median(before), median(now));
    let share = |difference: f64| match difference.abs() < FLOOR {
        true => 0.0,
        false => difference / old.max(1e-9),
    };
    let change = share(new - old);
    // Every second one against the others: what drifts with time is in both halves.
    let null = |values: &[f64]| {
        let half =
            |first: usize| -> Vec<f64> { values.iter().skip(first).step_by(2).copied().collect() };
        share(median(&half(0)) - median(&half(1))).abs()
    };
    let noise = null(before).max(null(now));
    let verdict = match () {
        () if change > threshold && change > 2.0 * noise => Compare::Worse,
        () if noise > threshold => Compare::TooNoisy,
        () => Compare::Same,
    };
    Compared {
        what,
        before: old,
        now: new,
        change,
        noise,
        verdict,
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(before: &[f64], now: &[f64]) -> Compare {
        compared("x", before, now, 0.1).verdict
    }

    #[test]
    fn a_difference_larger_than_noise_counts() {
        let before = [100.0, 102.0, 99.0, 101.0];
        assert_eq!(
            Compare::Worse,
            verdict(&before, &[130.0, 131.0, 129.0, 132.0])
        );
        assert_eq!(
            Compare::Same,
            verdict(&before, &[105.0, 104.0, 106.0, 103.0])
        );
        assert_eq!(Compare::Same, verdict(&before, &[50.0, 51.0, 49.0, 50.0]));
        // As a share it is much, as a time it is nothing.
        assert_eq!(Compare::Same, verdict(&[1.0; 4], &[3.0; 4]));
    }

    #[test]
    fn where_the_same_differs_from_itself_nothing_can_be_said() {
        let before = [100.0, 160.0, 100.0, 160.0];
        assert_eq!(
            Compare::TooNoisy,
            verdict(&before, &[150.0, 151.0, 149.0, 150.0])
        );
        // Unless it is beyond all noise.
        assert_eq!(Compare::Worse, verdict(&before, &[900.0; 4]));
    }
}
