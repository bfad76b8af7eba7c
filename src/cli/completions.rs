//! `completions`: what a shell needs to complete our arguments.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit, Failure, print};

#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell; what is printed goes where the shell looks for completions
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<Exit, Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "peerproof", &mut text);
        print(&String::from_utf8_lossy(&text))?;
        Ok(Exit::Good)
    }
}
