//! `init`: a profile of a system under test to begin from.

use std::{fs, io::Write, path::PathBuf};

use clap::Args;

use super::{Exit, Failure, print};
use crate::spec::Role;

#[derive(Debug, Args)]
pub struct Init {
    /// Where the profile goes; a file that is there already is left alone
    #[arg(default_value = "sut.toml")]
    file: PathBuf,

    /// What is under test
    #[arg(long, value_name = "ROLE", default_value = "tracker")]
    role: Role,
}

impl Init {
    pub fn run(self) -> Result<Exit, Failure> {
        let place = self.file.display();
        let mut file = fs::File::create_new(&self.file).map_err(|error| {
            Failure::usage(format!(
                "{place}: found {error}, expected to make a new file"
            ))
        })?;
        file.write_all(profile(self.role).as_bytes())?;
        print(&format!(
            "{place}\nSay in it what your {} does, then: peerproof run --sut {place}\n",
            self.role
        ))?;
        Ok(Exit::Good)
    }
}

/// The profile that tests read, for another role: it claims everything, as nothing is inferred.
fn profile(role: Role) -> String {
    let lines = TRACKER.lines().map(|line| match line.split_once('=') {
        Some((key, _)) if key.trim() == "name" => format!("name       = \"My {role}\""),
        Some((key, _)) if key.trim() == "roles" => format!("roles      = [\"{role}\"]"),
        _ if line.starts_with("# ") => FIRST_LINE.to_owned(),
        _ => line.to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}

const FIRST_LINE: &str = "# What is claimed here is tested, and nothing else; every key is explained in fixtures/README.md.";

const TRACKER: &str = include_str!("../../fixtures/profiles/tracker.toml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_can_be_begun_for_every_role() {
        for &role in Role::ALL {
            let text = profile(role);
            assert!(
                text.contains(&format!("roles      = [\"{role}\"]")),
                "{text}"
            );
            assert_eq!(TRACKER.lines().count(), text.lines().count());
        }
    }
}
