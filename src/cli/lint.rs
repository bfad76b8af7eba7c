//! `lint`: suites, ledger and fixtures checked without playing anything; all mistakes at once.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure, Format, print, selection::Suites};
use crate::{
    report::terminal::number,
    suite::{Diagnostics, Suite},
    sut::Profile,
};

#[derive(Debug, Args)]
pub struct Lint {
    /// Profiles of systems under test to check too
    #[arg(value_name = "FILE")]
    profiles: Vec<PathBuf>,

    /// Hold a directory to the rules about a whole suite, as the program's own is: each requirement
    /// proved or with a reason, each fixture used
    #[arg(long)]
    whole: bool,

    /// For whom to write
    #[arg(long, value_enum, default_value = "human")]
    format: Format,

    #[command(flatten)]
    suites: Suites,
}

/// One mistake.
#[derive(Serialize)]
struct Mistake {
    file: String,
    line: usize,
    column: usize,
    message: String,
    hint: String,
}

impl Lint {
    pub fn run(self) -> Result<Exit, Failure> {
        let read = self.suites.lint(self.whole)?;
        if let Ok(suite) = &read
            && suite.scenarios.is_empty()
        {
            return Err(Failure::usage(
                "found no scenario there, expected a directory with registered/, unregistered/ or common/",
            ));
        }
        let read = match read {
            Ok(suite) => self.profiles(&suite)?.map(|()| suite),
            Err(found) => Err(found),
        };
        match (read, self.format) {
            (Ok(suite), Format::Human) => {
                let instances: usize = suite
                    .scenarios
                    .iter()
                    .map(|scenario| crate::suite::Instance::of(scenario, 0).len())
                    .sum();
                let profiles = match self.profiles.len() {
                    0 => String::new(),
                    some => format!(", {}", number(some, "profile")),
                };
                print(&format!(
                    "no mistakes in {} ({}), {}, {} topologies{profiles}\n",
                    number(suite.scenarios.len(), "scenario"),
                    number(instances, "instance"),
                    number(suite.ledger.rows.len(), "requirement"),
                    suite.topologies.len()
                ))?;
                Ok(Exit::Good)
            }
            (Ok(_), Format::Json) => {
                print("[]\n")?;
                Ok(Exit::Good)
            }
            (Err(found), Format::Human) => Err(super::selection::mistakes(found)),
            (Err(found), Format::Json) => {
                let rows: Vec<Mistake> = found
                    .items()
                    .iter()
                    .map(|item| {
                        let (line, column) = item.place();
                        Mistake {
                            file: item.source.path.to_string(),
                            line,
                            column,
                            message: item.message.clone(),
                            hint: item.hint.clone(),
                        }
                    })
                    .collect();
                let text = serde_json::to_string_pretty(&rows).expect("rows hold only words");
                print(&format!("{text}\n"))?;
                Ok(Exit::Usage)
            }
        }
    }

    /// The mistakes of all profiles together.
    fn profiles(&self, suite: &Suite) -> Result<Result<(), Diagnostics>, Failure> {
        let mut found = Diagnostics::default();
        for path in &self.profiles {
            let read = Profile::read(path, suite);
            let read =
                read.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            if let Err(mistakes) = read {
                found.append(mistakes);
            }
        }
        Ok(if found.is_empty() { Ok(()) } else { Err(found) })
    }
}
