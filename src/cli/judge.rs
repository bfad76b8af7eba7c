//! `judge`: the verdicts again, from recorded traces.

use clap::Args;

use super::{Exit, Failure, print, run::look, runs, selection::Suites, tell};
use crate::{
    judge::{self, Rigour},
    report::{Folder, InstanceResult, Outcome, gather, terminal},
    suite::Suite,
};

#[derive(Debug, Args)]
pub struct Judge {
    /// A run folder, the name of one in peerproof-out, or latest
    #[arg(default_value = "latest")]
    run: String,

    /// A broken SHOULD fails, as in the run if it was strict
    #[arg(long)]
    strict: bool,

    /// Also write the new verdicts into results.json of the run
    #[arg(long)]
    write: bool,

    #[command(flatten)]
    suites: Suites,
}

impl Judge {
    pub fn run(self) -> Result<Exit, Failure> {
        let suite = self.suites.load()?;
        let (folder, mut report) = Folder::open(&runs::find(&self.run)?)
            .map_err(|error| Failure::usage(error.to_string()))?;
        if report.run.redacted {
            return Err(Failure::usage(format!(
                "{}: found a run without its secrets, expected the run it was made from: credentials can no longer \
                 be judged",
                folder.path().display()
            )));
        }
        report.run.strict |= self.strict;
        let rigour = if report.run.strict {
            Rigour::Strict
        } else {
            Rigour::Usual
        };
        let mut changed = String::new();
        for instance in &mut report.instances {
            let again = judged(&suite, &folder, instance, rigour)?;
            if let Some(again) = again {
                if again.outcome != instance.outcome {
                    changed.push_str(&format!(
                        "  {}  was {}, is {}\n",
                        again.id, instance.outcome, again.outcome
                    ));
                }
                *instance = again;
            }
        }
        report.count();
        if self.write {
            folder.store_report(&report)?;
        }
        tell(&terminal::ending(&report, &folder, look()))?;
        print(&match changed.is_empty() {
            true => "  verdicts  as recorded\n".to_owned(),
            false => format!("\nverdicts that changed\n{changed}"),
        })?;
        Ok(Exit::of(&report))
    }
}

/// The row again; `None` where there is no trace to judge.
fn judged(
    suite: &Suite,
    folder: &Folder,
    before: &InstanceResult,
    rigour: Rigour,
) -> Result<Option<InstanceResult>, Failure> {
    let trace = folder
        .trace(before)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let (Some(trace), Some(stored)) = (trace, &before.trace) else {
        return Ok(None);
    };
    let instance = suite.instance(&before.id).ok_or_else(|| {
        Failure::usage(format!(
            "found the instance \"{}\" in the run and no such scenario in the suites, expected the \
             suites the run was made with (--suites)",
            before.id
        ))
    })?;
    let fault = before
        .findings
        .iter()
        // Of what blames nobody only this is no judgement.
        .find(|finding| finding.blame == judge::Blame::Harness && finding.outcome == Outcome::Error)
        .map(|finding| finding.actual.clone());
    let judgement = judge::judge(suite, &instance, &trace, fault.as_deref(), rigour);
    let mut again = gather::played(suite, &instance, &trace, stored.clone(), &judgement);
    again.replay.clone_from(&before.replay);
    again.deviation.clone_from(&before.deviation);
    Ok(Some(again))
}
