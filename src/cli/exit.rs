//! Exit codes, in one table: the program ends with the first that applies.

use std::process::ExitCode;

use crate::report::{Outcome, Report};

/// How the program ends. In the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Interrupted,
    Fault,
    Usage,
    Failed,
    Unavailable,
    StaleWaiver,
    Invalid,
    GateFailed,
    Inconclusive,
    NothingRan,
    Good,
}

/// Exit, code, meaning; the first that applies wins.
pub const TABLE: &[(Exit, u8, &str)] = &[
    (
        Exit::Interrupted,
        130,
        "interrupted by Ctrl-C or SIGTERM; a partial report was written",
    ),
    (
        Exit::Fault,
        70,
        "a fault of the harness: a verdict is error, or a file could not be written",
    ),
    (Exit::Usage, 2, "wrong usage, a bad suite or a bad profile"),
    (Exit::Failed, 1, "a conformance failure"),
    (
        Exit::Unavailable,
        7,
        "the system under test or its environment is not available",
    ),
    (
        Exit::StaleWaiver,
        8,
        "a waiver is stale: what it excuses passes",
    ),
    (Exit::Invalid, 6, "the measurement is invalid"),
    (Exit::GateFailed, 5, "a performance gate failed"),
    (
        Exit::Inconclusive,
        3,
        "nothing failed, and at least one verdict is inconclusive",
    ),
    (
        Exit::NothingRan,
        4,
        "nothing ran: an empty selection, or only what is unsupported, waived or not applicable",
    ),
    (Exit::Good, 0, "all good"),
];

/// Of several ends, the one that comes first in the table.
pub fn worst(ends: impl IntoIterator<Item = Exit>) -> Exit {
    let ends: Vec<Exit> = ends.into_iter().collect();
    let mut rows = TABLE.iter().map(|(exit, _, _)| *exit);
    rows.find(|exit| ends.contains(exit))
        .unwrap_or(Exit::NothingRan)
}

impl Exit {
    /// How a run ends.
    pub fn of(report: &Report) -> Exit {
        let seen = |outcome| report.counts.get(outcome) > 0;
        if report.run.interrupted {
            Exit::Interrupted
        } else if seen(Outcome::Error) {
            Exit::Fault
        } else if seen(Outcome::Fail) {
            Exit::Failed
        } else if report.run.unavailable.is_some() {
            Exit::Unavailable
        } else if !report.run.stale_waivers.is_empty() {
            Exit::StaleWaiver
        } else if seen(Outcome::Inconclusive) {
            Exit::Inconclusive
        } else if seen(Outcome::Pass) || seen(Outcome::Info) {
            Exit::Good
        } else {
            Exit::NothingRan
        }
    }

    pub fn code(self) -> u8 {
        self.row().1
    }

    fn row(self) -> &'static (Exit, u8, &'static str) {
        TABLE
            .iter()
            .find(|(exit, _, _)| *exit == self)
            .expect("every exit has its row: see the test")
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The table in words, for `--help` and `explain`.
pub fn help() -> String {
    let mut text = String::from("Exit codes, the first that applies:\n");
    for (_, code, meaning) in TABLE {
        text.push_str(&format!("  {code:>3}  {meaning}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn every_exit_has_one_row() {
        for exit in [
            Exit::Interrupted,
            Exit::Fault,
            Exit::Usage,
            Exit::Failed,
            Exit::Unavailable,
            Exit::StaleWaiver,
            Exit::Invalid,
            Exit::GateFailed,
            Exit::Inconclusive,
            Exit::NothingRan,
            Exit::Good,
        ] {
            assert_eq!(1, TABLE.iter().filter(|(e, _, _)| *e == exit).count());
        }
    }

    #[test]
    fn the_worst_wins_and_nothing_is_never_good() {
        let mut report = sample();
        assert_eq!(Exit::Failed, Exit::of(&report));
        report.instances.retain(|i| i.outcome != Outcome::Fail);
        report.count();
        assert_eq!(Exit::Good, Exit::of(&report));
        report
            .instances
            .retain(|i| i.outcome == Outcome::Unsupported);
        report.count();
        assert_eq!(Exit::NothingRan, Exit::of(&report));
        report.run.interrupted = true;
        assert_eq!(Exit::Interrupted, Exit::of(&report));
    }
}
