//! `gate`: measurements against a baseline of the same machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Exit, Failure, make_folder, tell, write_file};
use crate::{
    load::{
        baseline::{Baseline, Compare as Verdict},
        trial::{Outcome, Trial},
    },
    report::bench as drawing,
};

#[derive(Debug, Args)]
pub struct Gate {
    /// The baseline; it belongs into reports/baselines/<machine>/
    #[arg(value_name = "FILE")]
    baseline: PathBuf,

    /// Folders of measurements of one load, four at least
    #[arg(value_name = "DIR", required = true)]
    measured: Vec<PathBuf>,

    /// Make these measurements the baseline
    #[arg(long)]
    record: bool,

    /// By how much something may grow, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    threshold: f64,
}

impl Gate {
    pub fn run(self) -> Result<Exit, Failure> {
        let trials: Result<Vec<Trial>, Failure> = self
            .measured
            .iter()
            .map(|folder| read(&folder.join("bench.json")))
            .collect();
        let trials = trials?;
        if let Some(exit) = trials.iter().find_map(|trial| match trial.outcome {
            Outcome::Wrong => Some(Exit::Failed),
            Outcome::Invalid => Some(Exit::Invalid),
            Outcome::Measured => None,
        }) {
            return Err(Failure::new(
                exit,
                "found a measurement without figures, expected figures of all: measure it again",
            ));
        }
        let now = Baseline::of(&trials).map_err(Failure::usage)?;
        let missed = missed(&trials);
        for by in &missed {
            tell(by)?;
        }
        if !missed.is_empty() {
            return Ok(Exit::GateFailed);
        }
        if self.record {
            if let Some(folder) = self.baseline.parent() {
                make_folder(folder)?;
            }
            let text = serde_json::to_string_pretty(&now).map_err(std::io::Error::from)?;
            write_file(&self.baseline, text + "\n")?;
            tell(&format!("{}\n", self.baseline.display()))?;
            return Ok(Exit::Good);
        }
        let before: Baseline = read(&self.baseline)?;
        let compared = before
            .compare(&now, self.threshold / 100.0)
            .map_err(Failure::usage)?;
        tell(&drawing::compared(
            &compared,
            before.samples.len(),
            now.samples.len(),
        ))?;
        let seen = |verdict| compared.iter().any(|compared| compared.verdict == verdict);
        Ok(match () {
            () if seen(Verdict::TooNoisy) => Exit::Invalid,
            () if seen(Verdict::Worse) => Exit::GateFailed,
            () => Exit::Good,
        })
    }
}

/// Which measurements miss what their own plan holds them to: what a profile says under thresholds.
fn missed(trials: &[Trial]) -> Vec<String> {
    let missed = trials.iter().zip(1..).filter_map(|(trial, number)| {
        let (figures, goal) = trial.figures.as_ref().zip(trial.plan.goal)?;
        let by = goal.missed_by(figures)?;
        Some(format!(
            "measurement {number}: missed {by}; to hold: {goal}\n"
        ))
    });
    missed.collect()
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T, Failure> {
    let wrong = |found: &dyn std::fmt::Display| {
        Failure::usage(format!(
            "{}: found {found}, expected a file that peerproof wrote: bench.json of bench, or a baseline of gate --record",
            file.display()
        ))
    };
    let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
    serde_json::from_str(&text).map_err(|error| wrong(&error))
}
