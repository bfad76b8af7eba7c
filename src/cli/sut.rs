//! `--sut`: who is under test. A profile, or guests in the place of nodes, or both.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, selection::mistakes};
use crate::{
    suite::Suite,
    sut::{Guest, Profile, Ready, parse_binding},
};

/// The system under test.
#[derive(Clone, Debug, Default, Args)]
pub struct SutArgs {
    /// The system under test: the FILE of a profile, or a guest in the place of a node as NAME=ADDR,
    /// NAME=cmd:COMMAND or NAME=image:IMAGE. NAME is a node, a role that has one node, or ims-core. May be
    /// given several times, with one FILE at most
    #[arg(long, value_name = "FILE|NAME=…")]
    sut: Vec<String>,

    /// How one knows that a guest given as NAME=cmd:… is ready: by a line that begins with "ready", or by
    /// its listeners taking connections
    #[arg(long, value_name = "HOW", value_parser = ["line", "probe"], default_value = "line")]
    ready: String,
}

impl SutArgs {
    /// What is under test, if anything is; the suite then waits by its timers.
    pub fn profile(&self, suite: &mut Suite) -> Result<Option<Profile>, Failure> {
        let mut guests: Vec<Guest> = Vec::new();
        let mut files: Vec<&str> = Vec::new();
        for word in &self.sut {
            match parse_binding(word, suite) {
                Some(guest) => {
                    let mut guest = guest.map_err(|why| Failure::usage(format!("--sut {why}")))?;
                    if self.ready == "probe" {
                        guest.ready = Ready::Probe;
                    }
                    guests.push(guest);
                }
                None => files.push(word),
            }
        }
        let mut profile = match files[..] {
            [] if guests.is_empty() => return Ok(None),
            [] => return Ok(Some(Profile::of_guests(guests, suite))),
            [file] => read(Path::new(file), suite)?,
            [_, second, ..] => {
                return Err(Failure::usage(format!(
                    "--sut: found a second profile \"{second}\", expected one file at most"
                )));
            }
        };
        guests.into_iter().for_each(|guest| profile.add(guest));
        for (timer, time) in &profile.timers {
            suite.timers.set(*timer, *time);
        }
        Ok(Some(profile))
    }

    /// The file of the profile, as it was given; empty if there is none.
    pub fn file(&self) -> String {
        let mut words = self.sut.iter().filter(|word| !is_binding(word));
        words.next().cloned().unwrap_or_default()
    }

    /// The guests, as they were given.
    pub fn bindings(&self) -> Vec<String> {
        self.sut
            .iter()
            .filter(|word| is_binding(word))
            .cloned()
            .collect()
    }

    /// What to type for the same again, after a space.
    pub fn words(&self) -> String {
        let mut words: String = self
            .sut
            .iter()
            .map(
                |word| match word.contains([' ', '\'', '"', '$', ';', '&', '|']) {
                    true => format!(" --sut '{}'", word.replace('\'', "'\\''")),
                    false => format!(" --sut {word}"),
                },
            )
            .collect();
        if self.ready == "probe" {
            words.push_str(" --ready probe");
        }
        words
    }
}

fn is_binding(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| !name.contains(['/', '.']))
}

fn read(file: &Path, suite: &Suite) -> Result<Profile, Failure> {
    let read = Profile::read(&PathBuf::from(file), suite);
    let read = read.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    read.map_err(mistakes)
}
