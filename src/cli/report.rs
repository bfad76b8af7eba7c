//! `report`: reports again, from recorded verdicts.

use clap::Args;

use super::{Exit, Failure, print, runs};
use crate::report::{FORMATS, Folder, Format, Report, terminal};

#[derive(Debug, Args)]
pub struct ReportCommand {
    /// A run folder, the name of one in peerproof-out, or latest
    #[arg(default_value = "latest")]
    run: String,

    #[command(flatten)]
    formats: Formats,
}

/// The reports to write beside results.json.
#[derive(Clone, Debug, Args)]
pub struct Formats {
    /// Also write these reports, separated by commas
    #[arg(long = "report", value_name = "FORMAT,…", value_delimiter = ',', value_parser = names())]
    report: Vec<String>,
}

impl ReportCommand {
    pub fn run(self) -> Result<Exit, Failure> {
        let (folder, report) = Folder::open(&runs::find(&self.run)?)
            .map_err(|error| Failure::usage(error.to_string()))?;
        for file in self.formats.write(&report, &folder)? {
            print(&format!("{}\n", folder.path().join(file).display()))?;
        }
        if self.formats.report.is_empty() {
            print(&terminal::text(&report, &folder))?;
        }
        Ok(Exit::of(&report))
    }
}

impl Formats {
    /// Draws each wanted report into the run folder and gives the files written.
    pub fn write(&self, report: &Report, folder: &Folder) -> Result<Vec<&'static str>, Failure> {
        let wanted = FORMATS.iter().filter(|format| self.wants(format));
        wanted
            .map(|format| {
                let text = (format.draw)(report, folder)?;
                folder.store(format.file, text.as_bytes())?;
                Ok(format.file)
            })
            .collect()
    }

    fn wants(&self, format: &Format) -> bool {
        self.report.iter().any(|name| name == format.name)
    }
}

fn names() -> clap::builder::PossibleValuesParser {
    FORMATS
        .iter()
        .map(|format| clap::builder::PossibleValue::new(format.name).help(format.summary))
        .collect::<Vec<_>>()
        .into()
}
