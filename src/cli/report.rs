//! `report`: reports again, from recorded verdicts.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use wildmatch::WildMatch;

use super::{Exit, Failure, merge::Merge, print, runs, selection::Suites, tell};
use crate::report::{
    FORMATS, Folder, Format, InstanceResult, Report, Wish,
    evidence::{self, Captures},
    redact, terminal,
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ReportCommand {
    #[command(subcommand)]
    other: Option<Other>,

    /// A run folder, the name of one in peerproof-out, or latest
    #[arg(default_value = "latest")]
    run: String,

    #[command(flatten)]
    formats: Formats,

    /// Take every secret out (passwords, keys, HA1, digest responses, tokens), into a run folder of its own
    #[arg(long)]
    redact: bool,

    /// Where the redacted run goes [default: the run folder's name and -redacted]
    #[arg(long, value_name = "DIR", requires = "redact")]
    out: Option<PathBuf>,

    #[command(flatten)]
    suites: Suites,
}

/// What is not about a run of scenarios.
#[derive(Debug, Subcommand)]
enum Other {
    /// Put the measurements of several generators together: their counts and times add up exactly
    Merge(Merge),
}

/// What to draw beside results.json.
#[derive(Clone, Debug, Args)]
pub struct Formats {
    /// Also write these reports, separated by commas
    #[arg(long = "report", value_name = "FORMAT,…", value_delimiter = ',', value_parser = names())]
    report: Vec<String>,

    /// Which instances leave a capture for Wireshark [default of run: on-fail, of report: never]
    #[arg(long, value_enum, value_name = "WHEN")]
    pcap: Option<Captures>,

    /// Draw these scenarios in report.html although they passed: globs over their ids, separated by commas
    #[arg(long = "ladder", value_name = "GLOB,…", value_delimiter = ',')]
    ladders: Vec<String>,
}

impl ReportCommand {
    pub fn run(self) -> Result<Exit, Failure> {
        if let Some(Other::Merge(merge)) = &self.other {
            return merge.run();
        }
        let path = runs::find(&self.run)?;
        let (folder, report) =
            Folder::open(&path).map_err(|error| Failure::usage(error.to_string()))?;
        let (folder, report) = match self.redact {
            true => self.redacted(&path, &folder, &report)?,
            false => (folder, report),
        };
        self.formats.redraw(&report, &folder, self.redact)?;
        for file in self.formats.write(&report, &folder)? {
            print(&format!("{}\n", folder.path().join(file).display()))?;
        }
        if self.redact {
            print(&format!("{}\n", folder.path().display()))?;
        } else if self.formats.is_empty() {
            tell(&terminal::text(&report, &folder))?;
        }
        Ok(Exit::of(&report))
    }

    fn redacted(
        &self,
        path: &Path,
        folder: &Folder,
        report: &Report,
    ) -> Result<(Folder, Report), Failure> {
        let suite = self.suites.load()?;
        let to = match &self.out {
            Some(out) => out.clone(),
            None => {
                let path = path.canonicalize()?;
                let mut name = path.file_name().unwrap_or_default().to_owned();
                name.push("-redacted");
                path.with_file_name(name)
            }
        };
        runs::refuse_taken(&to)?;
        Ok(redact::redact(folder, report, &suite.subscribers, &to)?)
    }
}

impl Formats {
    /// Which captures a run leaves.
    pub fn captures(&self) -> Captures {
        self.pcap.unwrap_or(Captures::OnFail)
    }

    /// Draws each wanted report into the run folder and gives the files written.
    pub fn write(&self, report: &Report, folder: &Folder) -> Result<Vec<&'static str>, Failure> {
        let globs: Vec<WildMatch> = self
            .ladders
            .iter()
            .map(|glob| WildMatch::new(glob))
            .collect();
        let ladders = |instance: &InstanceResult| {
            globs
                .iter()
                .any(|glob| glob.matches(&instance.id) || glob.matches(&instance.scenario))
        };
        for glob in &globs {
            let mut instances = report.instances.iter();
            if !instances.any(|i| glob.matches(&i.id) || glob.matches(&i.scenario)) {
                eprintln!("warning: --ladder {glob} means no scenario of this run");
            }
        }
        let wish = Wish { ladders: &ladders };
        let wanted = FORMATS.iter().filter(|format| self.wants(format));
        wanted
            .map(|format| {
                let text = (format.draw)(report, folder, &wish)?;
                folder.store(format.file, text.as_bytes())?;
                Ok(format.file)
            })
            .collect()
    }

    /// Draws ladders and captures of instances again, as far as they are wanted.
    fn redraw(&self, report: &Report, folder: &Folder, all_ladders: bool) -> Result<(), Failure> {
        let ladders = all_ladders || self.report.iter().any(|name| name == LADDER);
        let captures = self.pcap.unwrap_or(Captures::Never);
        if !ladders && captures == Captures::Never {
            return Ok(());
        }
        let mut count = 0;
        for instance in &report.instances {
            let trace = folder.trace(instance);
            let Some(trace) = trace.map_err(|error| Failure::usage(error.to_string()))? else {
                continue;
            };
            if ladders {
                evidence::store_ladder(folder, instance, &trace)?;
            }
            count += usize::from(evidence::store_capture(folder, instance, &trace, captures)?);
        }
        if captures != Captures::Never {
            print(&format!("{count} captures\n"))?;
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.report.is_empty() && self.pcap.is_none()
    }

    fn wants(&self, format: &Format) -> bool {
        self.report.iter().any(|name| name == format.name)
    }
}

fn names() -> clap::builder::PossibleValuesParser {
    let ladder = clap::builder::PossibleValue::new(LADDER);
    let ladder = ladder.help("ladder.txt of every instance, which a run always leaves");
    FORMATS
        .iter()
        .map(|format| clap::builder::PossibleValue::new(format.name).help(format.summary))
        .chain([ladder])
        .collect::<Vec<_>>()
        .into()
}

/// Not a report of the run but of each instance.
const LADDER: &str = "ladder";
