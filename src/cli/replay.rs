//! `replay`: one scenario again, octet for octet, with its ladder.

use std::{path::Path, sync::Arc};

use clap::Args;

use super::{
    Exit, Failure,
    play::{Player, Slow, quiet_panics},
    print,
    run::look,
    runs,
    selection::Suites,
    shell_word,
    sut::SutArgs,
    tell,
};
use crate::{
    judge::Rigour,
    node::deviation::Deviation,
    report::{Counts, Folder, InstanceResult, Report, StoredFile, folder, gather, marks, terminal},
    run::{Casting, Field},
    suite::{Instance, Suite, nearest},
    sut::Guests,
    trace::jsonl::Known,
};

#[derive(Debug, Args)]
pub struct Replay {
    /// RUN/INSTANCE, as a report prints it; INSTANCE alone plays without comparing. The configuration
    /// and the seed may be left out; #SEED after it takes another seed
    #[arg(value_name = "RUN/INSTANCE")]
    what: String,

    #[command(flatten)]
    sut: SutArgs,

    /// Make the reference nodes break this rule [default: as the run did]
    #[arg(long, value_name = "NAME", value_parser = super::run::deviation)]
    deviation: Option<&'static Deviation>,

    #[command(flatten)]
    suites: Suites,
}

impl Replay {
    pub fn run(self) -> Result<Exit, Failure> {
        quiet_panics();
        let mut suite = self.suites.load()?;
        let profile = self.sut.profile(&mut suite)?;
        let guests = profile.as_ref().map(|profile| profile.guests.clone());
        let guests = guests.filter(|all| !all.is_empty());
        let scratch = std::env::temp_dir().join(format!("peerproof-{}", std::process::id()));
        let guests =
            guests.map(|all| Guests::new(all, &scratch.join("guests"), "replay", Arc::default()));
        let guests = guests.transpose().map_err(Failure::usage)?;
        if let Some(guests) = &guests {
            guests.log_in(&scratch);
        }
        let casting = |deviation, field| -> Result<Casting<'_>, Failure> {
            Ok(Casting {
                deviation,
                profile: profile.as_ref(),
                guests: guests.as_ref(),
                ground: self.sut.ground(field, profile.as_ref())?,
            })
        };
        let Some((path, id)) = runs::split(&self.what) else {
            if let Ok(path) = runs::find(&self.what) {
                return Err(whole_run(&self.what, &path)?);
            }
            let instance = instance(&suite, &self.what)?;
            let field = match guests {
                Some(_) => Field::Sockets,
                None => Field::Memory,
            };
            let casting = casting(self.deviation, field)?;
            let player = player(&suite, field, Rigour::Usual, casting);
            return self.play(&player, &instance, None);
        };
        let (folder, report) =
            Folder::open(&path).map_err(|error| Failure::usage(error.to_string()))?;
        let recorded = recorded(&report, id)?;
        let instance = instance(&suite, recorded.map_or(id, |recorded| &recorded.id));
        let instance = instance.map_err(|failure| match recorded {
            Some(recorded) => Failure::usage(format!(
                "found no scenario {} in these suites, expected those of the run: add --suites DIR",
                recorded.scenario
            )),
            None => failure,
        })?;
        let is_other_seed = id.contains('#');
        if recorded.is_none() && !is_other_seed {
            return Err(Failure::usage(format!(
                "found no \"{id}\" in {}, expected an instance that was played there",
                folder.path().display()
            )));
        }
        let known = Field::ALL.iter().copied();
        let mut known = known.filter(|field| field.word() == report.run.transport);
        let field = known.next().unwrap_or_default();
        let rigour = if report.run.strict {
            Rigour::Strict
        } else {
            Rigour::Usual
        };
        let broken = recorded.and_then(|recorded| recorded.deviation.as_deref());
        let broken = broken.or(report.run.deviation.as_deref());
        let recorded_deviation = broken.and_then(Deviation::named);
        let deviation = self.deviation.or(recorded_deviation);
        let player = player(&suite, field, rigour, casting(deviation, field)?);
        self.play(
            &player,
            &instance,
            recorded
                .filter(|_| !report.run.redacted)
                .map(|recorded| (&folder, recorded)),
        )
    }

    /// What to type for the same again, after a space.
    fn words(&self) -> String {
        let deviation = self
            .deviation
            .map(|broken| format!(" --deviation {}", broken.name));
        let deviation = deviation.unwrap_or_default();
        format!("{deviation}{}{}", self.sut.words(), self.suites.words())
    }

    fn play(
        &self,
        player: &Player<'_>,
        instance: &Instance,
        before: Option<(&Folder, &InstanceResult)>,
    ) -> Result<Exit, Failure> {
        let contents = player.suite.contents.all.iter();
        let known: Vec<Known<'_>> = contents
            .map(|content| Known {
                name: &content.name,
                bytes: &content.bytes,
            })
            .collect();
        let recorded = player.record(instance, &known);
        let judgement = player.judge(instance, &recorded);
        let stored = StoredFile {
            file: folder::trace_file(&instance.id()),
            sha256: folder::digest(recorded.text.as_bytes()),
        };
        let trace = &recorded.trace;
        let mut result = gather::played(player.suite, instance, trace, stored.clone(), &judgement);
        result.replay = format!(
            "peerproof replay {}{}",
            shell_word(&self.what),
            self.words()
        );
        result.deviation = player
            .casting
            .deviation
            .map(|broken| broken.name.to_owned());
        let ladder = marks::ladder(trace, &result);
        tell(&terminal::detail(
            &result,
            Ok(Some(ladder)),
            usize::MAX,
            look(),
        ))?;
        if let Some((folder, before)) = before {
            print(&compared(folder, before, &stored, &recorded.text)?)?;
        }
        Ok(Exit::of(&alone(result)))
    }
}

/// The instance of a run that `id` means: its id, or as much of it as only one has.
fn recorded<'a>(report: &'a Report, id: &str) -> Result<Option<&'a InstanceResult>, Failure> {
    let mut all = report.instances.iter();
    if let Some(exactly) = all.find(|i| i.id == id) {
        return Ok(Some(exactly));
    }
    let is_meant = |i: &&InstanceResult| {
        let configured = i.id.rsplit_once('#').map(|(configured, _)| configured);
        configured == Some(id) || i.scenario == id
    };
    let meant: Vec<&InstanceResult> = report.instances.iter().filter(is_meant).collect();
    match meant[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        ref several => {
            let ids: Vec<&str> = several.iter().map(|i| i.id.as_str()).collect();
            Err(Failure::usage(format!(
                "found {} instances of \"{id}\" in that run, expected one of\n  {}",
                ids.len(),
                ids.join("\n  ")
            )))
        }
    }
}

/// Where only the run is named: what of it there is to look at.
fn whole_run(name: &str, path: &Path) -> Result<Failure, Failure> {
    let (_, report) = Folder::open(path).map_err(|error| Failure::usage(error.to_string()))?;
    let of_note = report.instances.iter().filter(|i| i.outcome.is_trouble());
    let mut ids: Vec<String> = of_note.map(|i| format!("\n  {name}/{}", i.id)).collect();
    let more = ids.len().saturating_sub(MOST_NAMED);
    ids.truncate(MOST_NAMED);
    let more = match more {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    let like = match ids.is_empty() {
        true => "; all is well there".to_owned(),
        false => format!(", as one of{}{more}", ids.concat()),
    };
    Ok(Failure::usage(format!(
        "found a whole run, expected RUN/INSTANCE{like}"
    )))
}

/// Instances that an error names at most.
const MOST_NAMED: usize = 8;

fn player<'a>(suite: &'a Suite, field: Field, rigour: Rigour, casting: Casting<'a>) -> Player<'a> {
    Player {
        suite,
        field,
        rigour,
        slow: Slow::Play,
        casting,
        tally: None,
    }
}

/// The instance that `id` names. Without a seed it is the canonical one, without a configuration the
/// first.
fn instance(suite: &Suite, id: &str) -> Result<Instance, Failure> {
    let (path, seed) = match id.rsplit_once('#') {
        Some((path, seed)) => {
            let seed = seed.parse().map_err(|_| {
                Failure::usage(format!(
                    "found the seed \"{seed}\" in \"{id}\", expected a number"
                ))
            })?;
            (path, seed)
        }
        None => (id, 0),
    };
    let scenario_id = path.split('@').next().unwrap_or(path);
    let Some(scenario) = suite.scenario(scenario_id) else {
        let ids = suite.scenarios.iter().map(|scenario| scenario.id.as_str());
        let near = match nearest(scenario_id, ids) {
            Some(near) => format!(", did you mean {near}?"),
            None => ", see peerproof list".to_owned(),
        };
        return Err(Failure::usage(format!(
            "found neither a run nor a scenario in \"{id}\"{near}"
        )));
    };
    let instances = Instance::of(scenario, seed);
    let paths: Vec<String> = instances.iter().map(Instance::path).collect();
    instances
        .into_iter()
        .find(|instance| !path.contains('@') || instance.path() == path)
        .ok_or_else(|| {
            Failure::usage(format!(
                "the scenario is not played as \"{path}\", expected one of\n  {}",
                paths.join("\n  ")
            ))
        })
}

/// Whether the octets are those of the recorded run; if not, where they first differ.
fn compared(
    folder: &Folder,
    before: &InstanceResult,
    now: &StoredFile,
    text: &str,
) -> Result<String, Failure> {
    let Some(file) = &before.trace else {
        return Ok("  recorded  no trace to compare with\n".to_owned());
    };
    if before.id != folder_id(now) {
        return Ok("  recorded  with another seed, so not compared\n".to_owned());
    }
    let on_disk = folder.load(file).is_ok();
    if !on_disk {
        return Ok(
            "  recorded  the stored trace is missing or was changed: not compared\n".to_owned(),
        );
    }
    if *file == *now {
        return Ok("  recorded  identical, octet for octet\n".to_owned());
    }
    let bytes = folder
        .load(file)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let recorded = String::from_utf8_lossy(&bytes);
    let line = recorded
        .lines()
        .zip(text.lines())
        .position(|(before, now)| before != now)
        .unwrap_or_else(|| recorded.lines().count().min(text.lines().count()));
    let path = folder.path().join(&file.file);
    Ok(format!(
        "  recorded  DIFFERS from {} at line {}\n",
        path.display(),
        line + 1
    ))
}

fn folder_id(file: &StoredFile) -> &str {
    file.file.strip_suffix("/trace.jsonl").unwrap_or(&file.file)
}

/// A report of one instance, for its exit code.
fn alone(result: InstanceResult) -> Report {
    let mut report = Report {
        schema: String::new(),
        run: crate::report::Run::default(),
        counts: Counts::default(),
        instances: vec![result],
        ledger: Vec::new(),
    };
    report.count();
    report
}
