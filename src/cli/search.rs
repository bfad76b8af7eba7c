//! `search`: the capacity of the tracker path, the chunk path or call flows.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde::Serialize;

use super::{
    Exit, Failure,
    bench::{LiveLine, LoadArgs, new_folder},
    serve::time,
    signal::Stop,
    tell, write_file,
};
use crate::{
    load::{
        profile::{Profile, Shape},
        search::{Came, End, Found, Goal, Length, Method, search},
        trial::{Outcome, Trial},
    },
    report::bench as drawing,
};

#[derive(Debug, Args)]
pub struct Search {
    #[command(flatten)]
    load: LoadArgs,

    /// The first rate, arrivals a second
    #[arg(long, value_name = "RATE", default_value_t = 500.0)]
    from: f64,

    /// No rate above is tried
    #[arg(long, value_name = "RATE", default_value_t = 1_000_000.0)]
    to: f64,

    /// The largest share of arrivals that may be inadequately handled, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    objective: f64,

    /// A limit of the median response time, in milliseconds
    #[arg(long, value_name = "MS")]
    p50: Option<f64>,

    /// A limit of the 99th percentile, in milliseconds
    #[arg(long, value_name = "MS")]
    p99: Option<f64>,

    /// A limit of the 99.9th percentile, in milliseconds
    #[arg(long, value_name = "MS")]
    p999: Option<f64>,

    /// How near the ends of the bracket come to each other, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    precision: f64,

    /// Long trials that have to hold at the capacity
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    trials: u32,

    /// How long an early trial measures
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = time)]
    short: Duration,

    /// How long a final trial measures
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    long: Duration,

    /// Search the largest rate without any failure too, below the capacity
    #[arg(long)]
    zero_failures: bool,

    /// The folder for search.json [default: peerproof-out/search-<time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// `search.json`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Searched<'f> {
    schema: u32,
    method: Method,
    capacity: &'f Found,
    zero_failures: Option<&'f Found>,
    /// The last trial, for what all have in common.
    last: Option<Trial>,
}

impl Search {
    pub fn run(self) -> Result<Exit, Failure> {
        if !(self.from > 0.0 && self.from <= self.to && self.precision > 0.0) {
            return Err(Failure::usage(format!(
                "found --from {}, --to {}, --precision {}, expected rates above 0 in this order, and a precision above 0",
                self.from, self.to, self.precision
            )));
        }
        let out = new_folder(self.out.as_ref(), "search")?;
        let stop = Stop::on_signals();
        let goal = Goal {
            inadequate: self.objective / 100.0,
            p50: self.p50,
            p99: self.p99,
            p999: self.p999,
        };
        let method = Method {
            from: self.from,
            to: self.to,
            precision: self.precision / 100.0,
            trials: self.trials,
            again: 2,
        };
        let mut last = None;
        let capacity = self.found(goal, method, &stop, &mut last)?;
        let zero = match (&capacity.end, self.zero_failures) {
            (End::Capacity { rate, .. } | End::AtLeast { rate }, true) => {
                let method = Method {
                    from: self.from.min(*rate),
                    to: *rate,
                    ..method
                };
                Some(self.found(Goal::ZERO_FAILURES, method, &stop, &mut last)?)
            }
            _ => None,
        };
        let searched = Searched {
            schema: 1,
            method,
            capacity: &capacity,
            zero_failures: zero.as_ref(),
            last,
        };
        let text = serde_json::to_string_pretty(&searched).map_err(std::io::Error::from)?;
        write_file(&out.join("search.json"), text + "\n")?;
        tell(&drawing::found("capacity", &capacity))?;
        if let Some(zero) = &zero {
            tell(&drawing::found("zero failures", zero))?;
        }
        tell(&format!("{}\n", out.join("search.json").display()))?;
        Ok(match capacity.end {
            _ if stop.is_asked() => Exit::Interrupted,
            End::Interrupted { .. } => Exit::Interrupted,
            End::Wrong { .. } => Exit::Failed,
            End::Unmeasurable { .. } => Exit::Invalid,
            End::Below { .. } => Exit::GateFailed,
            End::Capacity { .. } | End::AtLeast { .. } => Exit::Good,
        })
    }

    fn found(
        &self,
        goal: Goal,
        method: Method,
        stop: &Stop,
        last: &mut Option<Trial>,
    ) -> Result<Found, Failure> {
        search(goal, &method, |rate, length, number| {
            let duration = match length {
                Length::Short => self.short,
                Length::Long => self.long,
            };
            let profile = Profile::new(Shape::Constant, rate, rate, duration);
            // Other arrivals in each trial, the same ones in the same search.
            let mut load = self.load.clone();
            load.draw = number.into();
            let mut line = LiveLine::new();
            let (trial, _) = load.trial(&profile, None, stop, |live| line.show(live))?;
            line.clear();
            if stop.is_asked() {
                return Ok(None);
            }
            let came = match (trial.outcome, &trial.figures) {
                (Outcome::Measured, Some(figures)) => {
                    let mut figures = figures.clone();
                    figures.timeline.clear();
                    Came::Measured(Box::new(figures))
                }
                (Outcome::Wrong, _) => {
                    Came::Wrong(trial.examples.first().cloned().unwrap_or_default())
                }
                _ => {
                    let broken = trial.broken.iter();
                    let why = broken.map(|b| format!("{}: {}; {}", b.what, b.found, b.change));
                    Came::Invalid(why.collect::<Vec<_>>().join(" · "))
                }
            };
            tell(&drawing::tried(rate, length, &came, &goal))?;
            *last = Some(trial);
            Ok(Some(came))
        })
    }
}
