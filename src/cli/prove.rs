//! `prove`: can the suite fail, and does it fail for the right reason?

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use serde::Serialize;

use super::{
    Exit, Failure, Format, crew,
    play::{guarded, quiet_panics},
    print,
    progress::progress,
    selection::{Selectors, Suites},
    signal::Stop,
};
use crate::{
    judge::Verdict,
    node::deviation::{self, Deviation},
    prove::{self, Duel, Seen},
    report::{
        matrix::{Cell, Matrix},
        terminal::number,
    },
    suite::{Instance, Suite},
};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Prove {
    #[command(flatten)]
    selectors: Selectors,

    /// The seed of duels and stand-ins
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// How many seeds of lawful variations, counted from 1
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,

    /// Workers at the same time [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,

    /// Every scenario against every deviation that somebody in it can play; minutes instead of seconds
    #[arg(long)]
    matrix: bool,

    /// Of the matrix, only scenarios that cite the row a deviation breaks: who could claim to kill it
    #[arg(long, requires = "matrix")]
    cited: bool,

    /// Only these deviations
    #[arg(long, value_name = "NAME", value_parser = super::run::deviation)]
    deviation: Vec<&'static Deviation>,

    /// Where the matrix goes: matrix.txt, matrix.json and matrix.html
    #[arg(long, value_name = "DIR", default_value = "peerproof-out/matrix")]
    out: PathBuf,

    /// For whom to write to standard output
    #[arg(long, value_enum, default_value = "human")]
    format: Format,

    #[command(flatten)]
    suites: Suites,
}

const HELP: &str = "\
Five things are shown:
  kills       each scenario fails against each deviation it names, first of all for the row that the deviation
              breaks, blames who deviates, and passes with the deviation off
  blame       a scenario that cites the row a deviation breaks, and does not claim to see it, lays it to nobody else
  stand-ins   with a whole role played by a node that says nothing, or gives every request the same answer,
              nothing passes that tests the role
  variations  with other lawful decisions drawn from other seeds, nothing fails
  gaps        no deviation without a scenario that kills it (not asked of a suite of one's own), no covered MUST row without a deviation
Anything else is exit 1.";

/// What was shown, and what was not.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Proof {
    rows: usize,
    scenarios: usize,
    deviations: usize,
    /// Claims played: an instance against a deviation that its scenario names.
    duels: usize,
    killed: usize,
    controls: usize,
    /// Instances against deviations of rows that they cite without a claim to see them.
    bystanders: usize,
    stand_ins: usize,
    variations: usize,
    interrupted: bool,
    troubles: Vec<Trouble>,
}

/// Something that was not as claimed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Trouble {
    /// `kill`, `control`, `blame`, `stand-in`, `variation`, `gap`.
    kind: &'static str,
    what: String,
    why: String,
}

impl Prove {
    pub fn run(self) -> Result<Exit, Failure> {
        let suite = self.suites.load()?;
        let instances = self.selectors.instances(&suite, self.seed)?;
        let stop = Stop::on_signals();
        quiet_panics();
        if self.matrix {
            return self.cross(&suite, &instances, &stop);
        }
        let mut proof = Proof {
            rows: suite.ledger.rows.len(),
            scenarios: scenarios(&instances),
            deviations: deviation::all().count(),
            ..Proof::default()
        };
        self.kills(&suite, &instances, &stop, &mut proof);
        self.blame(&suite, &instances, &stop, &mut proof);
        for deviation in &self.deviation {
            if proof.duels == 0
                || prove::unclaimed(&suite)
                    .iter()
                    .any(|u| u.name == deviation.name)
            {
                let why = "no scenario here claims to kill it";
                proof.trouble("gap", deviation.name.to_owned(), why.to_owned());
            }
        }
        if self.deviation.is_empty() {
            self.stand_ins(&suite, &instances, &stop, &mut proof);
            self.variations(&suite, &instances, &stop, &mut proof);
        }
        if self.selectors.words().is_empty() && self.deviation.is_empty() {
            gaps(&suite, self.suites.is_own(), &mut proof);
        }
        proof.interrupted = stop.is_asked();
        match self.format {
            Format::Human => print(&proof.text(self.seeds))?,
            Format::Json => print(&json(&proof))?,
        }
        Ok(match (proof.interrupted, proof.troubles.is_empty()) {
            (true, _) => Exit::Interrupted,
            (_, true) => Exit::Good,
            (_, false) => Exit::Failed,
        })
    }

    fn kills(&self, suite: &Suite, instances: &[Instance], stop: &Stop, proof: &mut Proof) {
        let mut duels = prove::claims(suite, instances);
        duels.retain(|duel| self.means(duel));
        let seen = self.each(&duels, stop, |duel| prove::kill(suite, duel));
        for (duel, seen) in duels.iter().zip(seen) {
            proof.duels += 1;
            match seen {
                Ok(Seen::Killed) => proof.killed += 1,
                Ok(other) => proof.trouble("kill", named(duel), other.to_string()),
                Err(panic) => proof.trouble("kill", named(duel), format!("panicked: {panic}")),
            }
        }
        let mut fought: Vec<Instance> = duels.into_iter().map(|duel| duel.instance).collect();
        fought.dedup_by_key(|instance| instance.id());
        proof.controls = self.pass(suite, &fought, stop, proof, "control");
    }

    fn blame(&self, suite: &Suite, instances: &[Instance], stop: &Stop, proof: &mut Proof) {
        let mut duels = prove::bystanders(suite, instances);
        duels.retain(|duel| self.means(duel));
        let seen = self.each(&duels, stop, |duel| prove::kill(suite, duel));
        for (duel, seen) in duels.iter().zip(seen) {
            proof.bystanders += 1;
            match seen {
                Ok(other @ Seen::OtherParty { .. }) => {
                    proof.trouble("blame", named(duel), other.to_string());
                }
                Ok(_) => {}
                Err(panic) => proof.trouble("blame", named(duel), format!("panicked: {panic}")),
            }
        }
    }

    /// Whether a duel is among those asked for.
    fn means(&self, duel: &Duel) -> bool {
        let named = |deviation: &&Deviation| deviation.name == duel.deviation.name;
        (self.deviation.is_empty() || self.deviation.iter().any(named))
            && (!self.cited || duel.is_cited())
    }

    fn stand_ins(&self, suite: &Suite, instances: &[Instance], stop: &Stop, proof: &mut Proof) {
        let stands = prove::stands(suite, instances);
        let verdicts = self.each(&stands, stop, |stand| prove::stand_in(suite, stand));
        for (stand, verdict) in stands.iter().zip(verdicts) {
            proof.stand_ins += 1;
            let what = || {
                let (role, stand_in) = (stand.role, stand.stand_in.name);
                format!("{} × {role} {stand_in}", stand.instance)
            };
            match verdict {
                Ok(Verdict::Pass | Verdict::None) => {
                    proof.trouble("stand-in", what(), "passed".to_owned());
                }
                Ok(_) => {}
                Err(panic) => proof.trouble("stand-in", what(), format!("panicked: {panic}")),
            }
        }
    }

    fn variations(&self, suite: &Suite, instances: &[Instance], stop: &Stop, proof: &mut Proof) {
        let varied: Vec<Instance> = (1..=self.seeds)
            .flat_map(|seed| {
                instances.iter().map(move |instance| Instance {
                    seed,
                    ..instance.clone()
                })
            })
            .collect();
        proof.variations = self.pass(suite, &varied, stop, proof, "variation");
    }

    /// Plays instances in which nobody deviates: each has to pass. How many were played.
    fn pass(
        &self,
        suite: &Suite,
        instances: &[Instance],
        stop: &Stop,
        proof: &mut Proof,
        kind: &'static str,
    ) -> usize {
        let verdicts = self.each(instances, stop, |instance| prove::vary(suite, instance));
        let played = verdicts.len();
        for (instance, verdict) in instances.iter().zip(verdicts) {
            match verdict {
                Ok((Verdict::Pass, _)) => {}
                Ok((_, Some(finding))) => {
                    let why = format!(
                        "{} expected {}, found {}",
                        finding.requirement, finding.expected, finding.actual
                    );
                    proof.trouble(kind, instance.id(), why);
                }
                Ok((_, None)) => proof.trouble(kind, instance.id(), "inconclusive".to_owned()),
                Err(panic) => proof.trouble(kind, instance.id(), format!("panicked: {panic}")),
            }
        }
        played
    }

    fn cross(&self, suite: &Suite, instances: &[Instance], stop: &Stop) -> Result<Exit, Failure> {
        // One configuration of a scenario stands for all.
        let mut first: Vec<Instance> = instances.to_vec();
        first.dedup_by_key(|instance| instance.scenario.id.clone());
        let mut duels = prove::everything(suite, &first);
        duels.retain(|duel| self.means(duel));
        let seen = self.each(&duels, stop, |duel| prove::kill(suite, duel));
        let cells = duels.iter().zip(seen).map(|(duel, seen)| Cell {
            scenario: duel.instance.scenario.id.clone(),
            deviation: duel.deviation.name,
            claimed: duel.claimed,
            seen: seen.unwrap_or(Seen::Inconclusive),
        });
        let matrix = Matrix::new(cells);
        matrix.store(&self.out).map_err(|error| {
            Failure::new(Exit::Fault, format!("{}: {error}", self.out.display()))
        })?;
        match self.format {
            Format::Human => print(&matrix.summary())?,
            Format::Json => print(&matrix.json())?,
        }
        print(&format!("  matrix    {}\n", self.out.display()))?;
        Ok(match (stop.is_asked(), matrix.unkilled().is_empty()) {
            (true, _) => Exit::Interrupted,
            (_, true) => Exit::Good,
            (_, false) => Exit::Failed,
        })
    }

    /// The results in order; fewer of them if a signal came.
    fn each<T: Sync, R: Send>(
        &self,
        items: &[T],
        stop: &Stop,
        work: impl Fn(&T) -> R + Sync,
    ) -> Vec<Result<R, String>> {
        let bar = progress(items.len());
        let workers = self.jobs.unwrap_or_else(crew::cores);
        let guard = |item: &T| guarded(|| work(item));
        crew::work(items, workers, stop, guard, |results| {
            let mut done: Vec<Option<Result<R, String>>> = items.iter().map(|_| None).collect();
            for (number, result) in results {
                bar.inc(1);
                done[number] = Some(result);
            }
            bar.finish_and_clear();
            done.into_iter().map_while(|result| result).collect()
        })
    }
}

fn named(duel: &Duel) -> String {
    format!("{} × {}", duel.instance, duel.deviation.name)
}

fn scenarios(instances: &[Instance]) -> usize {
    let ids = instances.iter().map(|instance| &instance.scenario.id);
    ids.collect::<BTreeSet<_>>().len()
}

/// A suite of one's own need not see each deviation that there is.
fn gaps(suite: &Suite, is_own: bool, proof: &mut Proof) {
    if !is_own {
        for deviation in prove::unclaimed(suite) {
            let why = "no scenario claims to kill it";
            proof.trouble("gap", deviation.name.to_owned(), why.to_owned());
        }
    }
    for row in prove::unbroken(suite) {
        let why = "covered, MUST, and no deviation breaks it";
        proof.trouble("gap", row, why.to_owned());
    }
}

fn json(proof: &Proof) -> String {
    let text = serde_json::to_string_pretty(proof).expect("a proof holds only words and numbers");
    format!("{text}\n")
}

impl Proof {
    fn trouble(&mut self, kind: &'static str, what: String, why: String) {
        self.troubles.push(Trouble { kind, what, why });
    }

    fn count(&self, kind: &str) -> usize {
        self.troubles.iter().filter(|t| t.kind == kind).count()
    }

    fn text(&self, seeds: u64) -> String {
        let mut text = String::new();
        for trouble in &self.troubles {
            let Trouble { kind, what, why } = trouble;
            text.push_str(&format!("{kind:<10} {what}: {why}\n"));
        }
        let good = |all: usize, kind: &str| all - self.count(kind).min(all);
        text.push_str(&format!(
            "\n{}, {}, {}{}\n",
            number(self.rows, "row"),
            number(self.scenarios, "scenario"),
            number(self.deviations, "deviation"),
            if self.interrupted {
                ", interrupted: what is missing was not played"
            } else {
                ""
            }
        ));
        let mut line = |name: &str, good: usize, all: usize, says: &str| {
            text.push_str(&format!("  {name:<10} {good:>5} of {all:<5} {says}\n"));
        };
        line(
            "kills",
            self.killed,
            self.duels,
            "fail first for the row that is broken, and blame who breaks it",
        );
        line(
            "controls",
            good(self.controls, "control"),
            self.controls,
            "of these instances pass with nobody deviating",
        );
        line(
            "blame",
            good(self.bystanders, "blame"),
            self.bystanders,
            "that cite the row and do not claim to see it lay it to nobody else",
        );
        line(
            "stand-ins",
            good(self.stand_ins, "stand-in"),
            self.stand_ins,
            "do not pass with a role that does nothing right",
        );
        line(
            "variations",
            good(self.variations, "variation"),
            self.variations,
            &format!("pass with other lawful decisions, over {seeds} seeds"),
        );
        text.push_str(&format!(
            "  survivors  {:>5}, gaps {}\n",
            self.duels - self.killed,
            self.count("gap")
        ));
        text
    }
}
