//! `report merge`: the measurements of several generators as one.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    Exit, Failure,
    bench::{Drawn, draw, judged, new_folder},
    tell, write_file,
};
use crate::{
    load::{
        log,
        merge::{Part, merge},
        trial::{Outcome, SCHEMA, Trial},
    },
    report::bench as drawing,
};

#[derive(Debug, Args)]
pub struct Merge {
    /// The folder of every share: what bench --share 1/3, 2/3 and 3/3 left behind
    #[arg(value_name = "DIR", required = true)]
    parts: Vec<PathBuf>,

    /// The folder for bench.json and intervals.hlog [default: peerproof-out/bench-<time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Also write these reports, separated by commas
    #[arg(long, value_enum, value_name = "FORMAT,…", value_delimiter = ',')]
    report: Vec<Drawn>,
}

impl Merge {
    pub fn run(&self) -> Result<Exit, Failure> {
        let parts: Result<Vec<Part>, Failure> = self.parts.iter().map(|path| read(path)).collect();
        let (trial, record) = merge(parts?).map_err(Failure::usage)?;
        let out = new_folder(self.out.as_ref(), "bench")?;
        if trial.outcome == Outcome::Measured {
            let mut text = log::head(trial.began);
            for (second, interval) in &record.0 {
                text.push_str(&log::lines(*second, interval));
            }
            write_file(&out.join("intervals.hlog"), text)?;
        }
        let text = serde_json::to_string_pretty(&trial).map_err(std::io::Error::from)?;
        write_file(&out.join("bench.json"), text + "\n")?;
        draw(&trial, &out, &self.report)?;
        tell(&drawing::text(&trial, None))?;
        tell(&format!("{}\n", out.join("bench.json").display()))?;
        judged(&trial)
    }
}

/// One generator's folder.
fn read(folder: &Path) -> Result<Part, Failure> {
    let wrong = |file: &Path, found: &dyn std::fmt::Display, expected: &str| {
        Failure::usage(format!(
            "{}: found {found}, expected {expected}",
            file.display()
        ))
    };
    let file = folder.join("bench.json");
    let text = std::fs::read_to_string(&file)
        .map_err(|error| wrong(&file, &error, "what bench --share leaves behind"))?;
    let trial: Trial = serde_json::from_str(&text)
        .map_err(|error| wrong(&file, &error, "a measurement of this version"))?;
    if trial.schema != SCHEMA {
        return Err(wrong(
            &file,
            &format!("schema {}", trial.schema),
            "schema 1",
        ));
    }
    let log_file = folder.join("intervals.hlog");
    let record = match trial.outcome {
        Outcome::Measured => {
            let text = std::fs::read_to_string(&log_file)
                .map_err(|error| wrong(&log_file, &error, "its interval log"))?;
            let read = log::read(&text);
            Some(read.map_err(|error| wrong(&log_file, &error, "an interval log"))?)
        }
        Outcome::Invalid | Outcome::Wrong => None,
    };
    Ok(Part {
        from: folder.display().to_string(),
        trial,
        record,
    })
}
