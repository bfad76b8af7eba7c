//! `schema`: JSON schemas for editors and for whoever reads results.

use clap::{Args, ValueEnum};

use super::{Exit, Failure, print};
use crate::report::Report;

#[derive(Debug, Args)]
pub struct SchemaCommand {
    /// Of what
    #[arg(value_enum)]
    of: Of,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    /// results.json
    Results,
}

impl SchemaCommand {
    pub fn run(self) -> Result<Exit, Failure> {
        let schema = match self.of {
            Of::Results => Report::schema(),
        };
        print(&schema)?;
        Ok(Exit::Good)
    }
}
