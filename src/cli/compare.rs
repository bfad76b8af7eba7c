//! `compare`: what newly fails, newly passes and newly runs between two runs.

use clap::Args;

use super::{Exit, Failure, Format, print, runs, tell};
use crate::report::{Folder, Report, compare::Comparison};

/// Says what became of the instances of one run in another.
#[derive(Debug, Args)]
#[command(after_help = ENDS)]
pub struct Compare {
    /// The run before: a run folder, the name of one in peerproof-out, or latest
    before: String,

    /// The run after
    #[arg(default_value = "latest")]
    after: String,

    /// For whom to write to standard output
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

const ENDS: &str = "Ends with 2 if the runs have no instance in common, with 1 if something fails that did not, with 3 if \
                    something shows nothing any more that did, else with 0.";

impl Compare {
    pub fn run(self) -> Result<Exit, Failure> {
        let comparison = Comparison::new(&read(&self.before)?, &read(&self.after)?);
        match self.format {
            Format::Human => tell(&comparison.text())?,
            Format::Json => print(&comparison.to_json())?,
        }
        Ok(if comparison.in_common == 0 {
            Exit::Usage
        } else if !comparison.newly_failing.is_empty() {
            Exit::Failed
        } else if !comparison.newly_inconclusive.is_empty() {
            Exit::Inconclusive
        } else {
            Exit::Good
        })
    }
}

fn read(name: &str) -> Result<Report, Failure> {
    let folder = runs::find(name)?;
    let (_, report) = Folder::open(&folder).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(report)
}
