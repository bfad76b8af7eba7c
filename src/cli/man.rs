//! `man`: manual pages, one for the program and one for each command.

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::{Cli, Exit, Failure, print};

#[derive(Debug, Args)]
pub struct Manual {
    /// Write the pages of the program and of every command into this folder, instead of printing the first
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Manual {
    pub fn run(self) -> Result<Exit, Failure> {
        let mut program = Cli::command();
        program.build();
        let Some(folder) = self.out else {
            let mut text = Vec::new();
            Man::new(program).render(&mut text)?;
            print(&String::from_utf8_lossy(&text))?;
            return Ok(Exit::Good);
        };
        fs::create_dir_all(&folder)?;
        let commands = program
            .get_subcommands()
            .filter(|command| command.get_name() != "help" && !command.is_hide_set());
        let commands: Vec<clap::Command> = commands.cloned().collect();
        for command in commands.into_iter().chain([program]) {
            let name = command
                .get_display_name()
                .unwrap_or(command.get_name())
                .to_owned();
            let mut page = Vec::new();
            Man::new(command.display_name(name.clone())).render(&mut page)?;
            let path = folder.join(format!("{name}.1"));
            fs::write(&path, page)?;
            print(&format!("{}\n", path.display()))?;
        }
        Ok(Exit::Good)
    }
}
