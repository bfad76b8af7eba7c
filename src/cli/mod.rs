//! What is typed: one file a command family. Here arguments are read, the terminal is written to, signals
//! are caught and exit codes chosen; nothing else is decided. Start at [`main`].

mod bench;
mod compare;
mod completions;
mod coverage;
mod crew;
mod doctor;
mod exit;
mod explain;
mod gate;
mod guard;
mod init;
mod judge;
mod lint;
mod list;
mod man;
mod matrix;
mod merge;
mod node;
mod play;
mod progress;
mod prove;
mod replay;
mod report;
mod run;
mod runs;
mod schema;
mod search;
mod selection;
mod serve;
mod signal;
mod sut;
mod tally;
mod users;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use exit::{Exit, TABLE as EXITS};

use crate::report::ladder::Charset;

/// The whole program: arguments in, exit code out.
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command.with_what_was_given(&matches).run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // If standard error is gone, the exit code still speaks.
            let _ = write!(anstream::stderr(), "{}", failure.text());
            failure.exit.into()
        }
    }
}

/// Conformance and load-test harness for the IMS P2P content distribution service interworking with a CDN.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::help(), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play scenarios, judge them, and leave a run folder
    Run(Box<run::Run>),
    /// Show what there is to run
    List(list::List),
    /// Say in words what a scenario, requirement, clause, verdict or exit code is
    Explain(explain::Explain),
    /// Check suites, ledger and fixtures without playing anything
    Lint(lint::Lint),
    /// Show that every check can fail: against deviations, stand-ins and lawful variations
    Prove(prove::Prove),
    /// Play one scenario again, octet for octet, with its ladder
    Replay(replay::Replay),
    /// Come to the verdicts again, from recorded traces
    Judge(judge::Judge),
    /// Draw the reports of a run again, from its recorded verdicts
    Report(report::ReportCommand),
    /// Say what newly fails, newly passes and newly runs between two runs
    Compare(compare::Compare),
    /// Play the same scenarios with several implementations, and show them beside each other
    Matrix(matrix::Matrix),
    /// Say what would spoil a run on this machine, and how to mend it
    Doctor(doctor::Doctor),
    /// Serve one reference node, or the IMS core, on real sockets
    Node(Box<node::Node>),
    /// Serve a tracker, contents or call flows at full speed, on every core
    Serve(Box<serve::Serve>),
    /// Measure what a tracker, a server of contents or call flows carry, at a rate or along a profile
    Bench(Box<bench::Bench>),
    /// Measure what users live through who wait for answers: a closed loop
    Users(Box<users::Users>),
    /// Find the largest load that keeps the objective
    Search(Box<search::Search>),
    /// Hold measurements to a baseline of this machine
    Gate(gate::Gate),
    /// Print a JSON schema
    Schema(schema::SchemaCommand),
    /// Begin a profile of a system under test
    Init(init::Init),
    /// Print what a shell needs to complete arguments
    Completions(completions::Completions),
    /// Print the manual page, or write all of them
    Man(man::Manual),
    /// Run a guest's command, and end it with everything it started when our input closes
    #[command(hide = true)]
    Guard(guard::Guard),
}

impl Command {
    /// The command, knowing which of its arguments were typed.
    fn with_what_was_given(mut self, matches: &ArgMatches) -> Command {
        if let (Command::Bench(bench), Some(given)) = (&mut self, matches.subcommand()) {
            bench.given(given.1);
        }
        self
    }

    fn run(self) -> Result<Exit, Failure> {
        match self {
            Command::Run(command) => command.run(),
            Command::List(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::Lint(command) => command.run(),
            Command::Prove(command) => command.run(),
            Command::Replay(command) => command.run(),
            Command::Judge(command) => command.run(),
            Command::Report(command) => command.run(),
            Command::Compare(command) => command.run(),
            Command::Matrix(command) => command.run(),
            Command::Gate(command) => command.run(),
            Command::Doctor(command) => command.run(),
            Command::Node(command) => command.run(),
            Command::Serve(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Users(command) => command.run(),
            Command::Search(command) => command.run(),
            Command::Schema(command) => command.run(),
            Command::Guard(command) => command.run(),
            Command::Init(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
        }
    }
}

/// For whom output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Human,
    /// For machines
    Json,
}

/// Why a command could not do its work.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    /// Where, what was found, what was expected, what to do.
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: message.into(),
        }
    }

    fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    fn text(&self) -> String {
        let message = self.message.trim_end();
        if message.starts_with("error") || message.starts_with('\x1b') {
            format!("{message}\n")
        } else {
            format!("error: {message}\n")
        }
    }
}

/// A file that cannot be read or written while running is our own fault; a pipe that its reader closed
/// is nobody's.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let exit = match error.kind() {
            io::ErrorKind::BrokenPipe => Exit::Good,
            _ => Exit::Fault,
        };
        Failure::new(exit, error.to_string())
    }
}

/// Writes a file; an error names it.
fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    std::fs::write(path, content)
        .map_err(|error| Failure::new(Exit::Fault, format!("{}: {error}", path.display())))
}

/// Makes a folder and those above it; an error names it.
fn make_folder(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path)
        .map_err(|error| Failure::new(Exit::Fault, format!("{}: {error}", path.display())))
}

/// Prints to standard output, with colours where they are wanted.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints what a person is to read, in characters that the terminal has.
fn tell(text: &str) -> Result<(), Failure> {
    print(&charset().write(text))
}

/// The characters of the terminal, by the locale (POSIX: LC_ALL, else LC_CTYPE, else LANG); where none is set, as in
/// many containers, any.
fn charset() -> Charset {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let mut set = names.iter().filter_map(|name| std::env::var(name).ok());
    match set.find(|locale| !locale.is_empty()) {
        Some(locale)
            if !locale
                .to_ascii_lowercase()
                .replace('-', "")
                .contains("utf8") =>
        {
            Charset::Ascii
        }
        _ => Charset::Unicode,
    }
}

/// A word as a shell takes it.
fn shell_word(text: impl std::fmt::Display) -> String {
    let text = text.to_string();
    match shlex::try_quote(&text) {
        Ok(quoted) => quoted.into_owned(),
        // Only a NUL cannot be quoted, and no argument holds one.
        Err(_) => text,
    }
}

/// Where run folders are kept unless `--out` says otherwise.
fn runs_folder() -> PathBuf {
    PathBuf::from("peerproof-out")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
