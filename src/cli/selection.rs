//! Which suite, and which of its scenarios: the arguments that most commands share.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, builder::PossibleValue};

use super::{Exit, Failure, shell_word};
use crate::{
    judge,
    run::Field,
    spec::{Role, Strength},
    suite::{Choice, Diagnostics, Files, Instance, Names, NothingSelected, Pins, Selection, Suite},
};

/// Where suites come from.
#[derive(Clone, Debug, Default, Args)]
pub struct Suites {
    /// Take suites from this directory, not from the program
    #[arg(long, value_name = "DIR", help_heading = "Suites")]
    suites: Option<PathBuf>,
}

impl Suites {
    /// What to type for the same suites again, after a space.
    pub fn words(&self) -> String {
        match &self.suites {
            Some(directory) => format!(" --suites {}", shell_word(directory.display())),
            None => String::new(),
        }
    }

    /// Whether they are others than the program's.
    pub fn is_own(&self) -> bool {
        self.suites.is_some()
    }

    /// Reads every file, and refuses to go on with a mistake in any.
    pub fn load(&self) -> Result<Suite, Failure> {
        read(&self.files()?).map_err(mistakes)
    }

    /// Reads every file, and looks for loose ends if the suites are the program's own or `whole` says so.
    pub fn lint(&self, whole: bool) -> Result<Result<Suite, Diagnostics>, Failure> {
        let files = self.files()?;
        let is_whole = whole || !self.is_own();
        Ok(read(&files).and_then(|suite| {
            let loose = match is_whole {
                true => suite.loose_ends(&files),
                false => Diagnostics::default(),
            };
            match loose.is_empty() {
                true => Ok(suite),
                false => Err(loose),
            }
        }))
    }

    fn files(&self) -> Result<Files, Failure> {
        match &self.suites {
            None => Ok(Files::embedded()),
            Some(directory) => from_directory(directory),
        }
    }
}

/// Reads files with all names that stand elsewhere; the mistakes of all files come together.
fn read(files: &Files) -> Result<Suite, Diagnostics> {
    with_names(|names| Suite::read(files, names))
}

/// The names that scenarios cite and suites do not define.
pub fn with_names<T>(ask: impl FnOnce(Names<'_>) -> T) -> T {
    let checks: Vec<&str> = judge::CHECKS.iter().map(|check| check.name).collect();
    ask(Names {
        deviations: Some(&crate::node::deviation::names()),
        checks: Some(&checks),
    })
}

fn from_directory(directory: &Path) -> Result<Files, Failure> {
    let name = directory.file_name().unwrap_or_default();
    if ["registered", "unregistered", "common"]
        .iter()
        .any(|part| name == *part)
    {
        return Err(Failure::usage(format!(
            "{}: found one folder of a suite, expected the directory that holds registered/, unregistered/ or common/, \
             as one above it",
            directory.display()
        )));
    }
    Files::from_directory(directory).map_err(|error| {
        let directory = directory.display();
        Failure::usage(format!("{directory}: found no readable suites: {error}"))
    })
}

/// Mistakes in files, each with line and caret.
pub fn mistakes(found: Diagnostics) -> Failure {
    Failure::new(Exit::Usage, found.styled())
}

/// Which scenarios; nothing means all.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct Selectors {
    /// Globs over architecture/step/scenario, or ids of instances
    #[arg(value_name = "SELECTOR")]
    globs: Vec<String>,

    /// Only what proves this requirement
    #[arg(long, value_name = "ID")]
    requirement: Vec<String>,

    /// Only what rests on this clause, or one below it
    #[arg(long, value_name = "CLAUSE")]
    clause: Vec<String>,

    /// Only this level: must, should, may, info
    #[arg(long, value_name = "LEVEL")]
    level: Vec<Strength>,

    /// Only what tests this role
    #[arg(long, value_name = "ROLE")]
    role: Vec<Role>,

    /// Only what has this tag
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,

    /// Only this choice where the text leaves one: peer-list=ut|ims, request=ims|direct, status=ims|ut
    #[arg(long, value_name = "OPTION=VALUE", value_parser = pin)]
    option: Vec<Pin>,
}

/// One `--option`.
#[derive(Clone, Debug)]
struct Pin {
    choice: Choice,
    value: String,
}

impl Selectors {
    /// The instances meant, in suite order; none is an error.
    pub fn instances(&self, suite: &Suite, seed: u64) -> Result<Vec<Instance>, Failure> {
        let refused =
            |nothing: NothingSelected| Failure::new(Exit::NothingRan, nothing.to_string());
        let (seeded, plain): (Vec<String>, Vec<String>) = self
            .globs
            .iter()
            .cloned()
            .partition(|glob| own_seed(glob).is_some());
        if seeded.is_empty() {
            return self.selection().instances(suite, seed).map_err(refused);
        }
        // An id as reports print it brings its seed along.
        let mut chosen = Vec::new();
        for glob in seeded {
            let seed = own_seed(&glob).unwrap_or(seed);
            let globs = vec![glob];
            let selection = Selection {
                globs,
                ..self.selection()
            };
            chosen.extend(selection.instances(suite, seed).map_err(refused)?);
        }
        if !plain.is_empty() {
            let selection = Selection {
                globs: plain,
                ..self.selection()
            };
            chosen.extend(selection.instances(suite, seed).map_err(refused)?);
        }
        Ok(chosen)
    }

    /// As typed, for the report.
    pub fn words(&self) -> Vec<String> {
        let mut words = self.globs.clone();
        let mut flag = |name: &str, values: Vec<String>| {
            words.extend(values.into_iter().map(|value| format!("--{name} {value}")));
        };
        flag("requirement", self.requirement.clone());
        flag("clause", self.clause.clone());
        flag(
            "level",
            self.level.iter().map(Strength::to_string).collect(),
        );
        flag("role", self.role.iter().map(Role::to_string).collect());
        flag("tag", self.tag.clone());
        let pins = self.option.iter();
        flag(
            "option",
            pins.map(|p| format!("{}={}", p.choice.word(), p.value))
                .collect(),
        );
        words
    }

    fn selection(&self) -> Selection {
        let mut options = Pins::default();
        for pin in &self.option {
            match pin.choice {
                Choice::PeerList => options.peer_list = pin.value.parse().ok(),
                Choice::Request => options.request = pin.value.parse().ok(),
                Choice::Status => options.status = pin.value.parse().ok(),
            }
        }
        Selection {
            globs: self.globs.clone(),
            requirements: self.requirement.clone(),
            clauses: self.clause.clone(),
            levels: self.level.clone(),
            roles: self.role.clone(),
            tags: self.tag.clone(),
            options,
        }
    }
}

/// The seed of an instance's id: 7 in `…@ut.ims.ims#7`.
fn own_seed(glob: &str) -> Option<u64> {
    let (_, seed) = glob.rsplit_once('#')?;
    seed.parse().ok()
}

/// `request=direct`: parsed here, so that a misspelt word is told at once.
fn pin(text: &str) -> Result<Pin, String> {
    let names = Choice::ALL.map(Choice::word).join(", ");
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("found no \"=\", expected one of {names} and its value"))?;
    let choice = Choice::ALL
        .into_iter()
        .find(|choice| choice.word() == name)
        .ok_or_else(|| format!("unknown option \"{name}\", expected one of {names}"))?;
    match choice {
        Choice::PeerList | Choice::Status => {
            value
                .parse::<crate::spec::Path>()
                .map_err(|e| e.to_string())?;
        }
        Choice::Request => {
            value
                .parse::<crate::spec::RequestPath>()
                .map_err(|e| e.to_string())?;
        }
    }
    Ok(Pin {
        choice,
        value: value.to_owned(),
    })
}

/// How frames travel, as a flag.
impl ValueEnum for Field {
    fn value_variants<'a>() -> &'a [Field] {
        Field::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.word()).help(match self {
            Field::Memory => "in memory, on virtual time",
            Field::Sockets => "over loopback sockets, on real time",
            Field::SocketsV6 => "the same over IPv6, on [::1]",
        }))
    }
}
