//! `schema`: JSON schemas for editors and for whoever reads results.

use clap::{Args, ValueEnum};

use serde_json::Value;

use super::{Exit, Failure, print, selection::with_names};
use crate::{
    load::{file, trial::Trial},
    report::Report,
    suite::schema,
};

#[derive(Debug, Args)]
pub struct SchemaCommand {
    /// Of what
    #[arg(value_enum)]
    of: Of,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    /// bench.json
    Bench,
    /// fixtures/contents.toml
    Contents,
    /// A load profile of bench --profile
    Load,
    /// The profile of a system under test
    Profile,
    /// suites/requirements.toml
    Requirements,
    /// results.json
    Results,
    /// A scenario file: a file below suites/registered, suites/unregistered or suites/common
    Scenarios,
    /// fixtures/subscribers.toml
    Subscribers,
    /// A file of fixtures/topologies
    Topology,
}

impl SchemaCommand {
    pub fn run(self) -> Result<Exit, Failure> {
        let schema = match self.of {
            Of::Bench => Trial::schema(),
            Of::Contents => text(&schema::contents()),
            Of::Load => text(&file::schema()),
            Of::Profile => text(&schema::profile()),
            Of::Requirements => text(&schema::requirements()),
            Of::Results => Report::schema(),
            Of::Scenarios => text(&with_names(schema::scenarios)),
            Of::Subscribers => text(&schema::subscribers()),
            Of::Topology => text(&schema::topology()),
        };
        print(&schema)?;
        Ok(Exit::Good)
    }
}

fn text(schema: &Value) -> String {
    format!("{schema:#}\n")
}
