//! `matrix`: several implementations play the same scenarios, and are shown beside each other.

use std::{fs, path::PathBuf};

use clap::{Args, Parser};

use super::{Cli, Command, Exit, Failure, Format, exit, print, runs, tell};
use crate::{
    report::{Folder, Report, implementations::Grid},
    sut::{
        Lineup,
        lineup::{Implementation, Played},
    },
};

/// Plays what a file says with every implementation in it, each run in a folder of its own, and puts them beside each
/// other: matrix.txt, matrix.json and matrix.html. Ends as the run does that ends worst.
#[derive(Debug, Args)]
pub struct Matrix {
    /// Who plays what: a lineup, see fixtures/README.md
    file: PathBuf,

    /// Where the runs and the table go
    #[arg(
        long,
        value_name = "DIR",
        default_value = "peerproof-out/implementations"
    )]
    out: PathBuf,

    /// For whom to write to standard output
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

impl Matrix {
    pub fn run(self) -> Result<Exit, Failure> {
        let place = self.file.display();
        let lineup = Lineup::read(&self.file)
            .map_err(|error| Failure::usage(format!("{place}: {error}")))?
            .map_err(|mistakes| Failure::usage(mistakes.to_string()))?;
        runs::refuse_taken(&self.out)?;
        fs::create_dir_all(&self.out)?;
        let mut ends = Vec::new();
        let mut columns = Vec::new();
        for implementation in &lineup.implementations {
            let (folder, end) = self.play(&lineup, implementation)?;
            ends.extend(end);
            let opened = Folder::open(&folder);
            let (_, report) = opened.map_err(|error| Failure::usage(error.to_string()))?;
            let is_interrupted = report.run.interrupted;
            columns.push((implementation.name.clone(), report));
            if is_interrupted {
                break;
            }
        }
        let grid = Grid::new(&columns);
        for (file, text) in [
            ("matrix.txt", grid.text()),
            ("matrix.json", grid.to_json()),
            ("matrix.html", grid.page()),
        ] {
            fs::write(self.out.join(file), text)?;
        }
        match self.format {
            Format::Human => tell(&format!(
                "{}  matrix    {}\n",
                grid.text(),
                self.out.display()
            ))?,
            Format::Json => print(&grid.to_json())?,
        }
        let of_report = |(_, report): &(String, Report)| Exit::of(report);
        ends.extend(columns.iter().map(of_report));
        Ok(exit::worst(ends))
    }

    /// Where the results of an implementation are, and how its run ended if it is played now.
    fn play(
        &self,
        lineup: &Lineup,
        implementation: &Implementation,
    ) -> Result<(PathBuf, Option<Exit>), Failure> {
        let bindings = match &implementation.way {
            Played::Before(run) => return Ok((runs::find(run)?, None)),
            Played::Now(bindings) => bindings,
        };
        let folder = self.out.join(&implementation.name);
        let mut words = vec!["peerproof".to_owned(), "run".to_owned()];
        words.extend(["--out".to_owned(), folder.display().to_string()]);
        if let Some(transport) = &lineup.transport {
            words.extend(["--transport".to_owned(), transport.clone()]);
        }
        for binding in bindings {
            words.extend(["--sut".to_owned(), binding.clone()]);
        }
        words.push("--".to_owned());
        words.extend(lineup.scenarios.iter().cloned());
        let parsed = Cli::try_parse_from(words);
        let parsed = parsed.map_err(|error| Failure::usage(error.to_string()))?;
        let Command::Run(run) = parsed.command else {
            return Err(Failure::usage("found another command than run in a lineup"));
        };
        eprintln!("playing {}", implementation.name);
        Ok((folder, Some(run.quietly().run()?)))
    }
}
