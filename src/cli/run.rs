//! `run`: plays scenarios, judges them, and leaves a run folder.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use clap::{Args, ValueEnum};

use super::{
    Exit, Failure, crew,
    play::{Player, Slow, quiet_panics},
    print,
    progress::progress,
    report::Formats,
    runs, runs_folder,
    selection::{Selectors, Suites},
    signal::Stop,
    sut::SutArgs,
    tally::Tally,
    tell,
};
use crate::{
    judge::Rigour,
    net::{Claim, has_ipv6},
    node::deviation::{Deviation, names},
    report::{
        Counts, Folder, InstanceResult, Outcome, Report, Run as RunOf, SCHEMA, Sut, evidence,
        gather, github, ladder::Look, moment, terminal,
    },
    run::{Casting, Field},
    suite::{Ground, Instance, Suite, nearest},
    sut::{Guests, Profile, Waiver},
};

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    selectors: Selectors,

    /// How frames travel [default: memory; with a guest, sockets]
    #[arg(long, value_enum)]
    transport: Option<Field>,

    /// The seed everything random is drawn from; 0 is canonical
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Scenarios played at the same time [default: one a core; over sockets 1]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    jobs: Option<usize>,

    /// Play everything this often, each time with the next seed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,

    /// Play each instance canonically as well, and count for each node the lawful decisions and the octets
    /// that come out otherwise; a node that varies nothing is an error
    #[arg(long)]
    differences: bool,

    /// A broken SHOULD fails
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    sut: SutArgs,

    /// Make the reference nodes break this rule, and judge them alone. Given several times, each scenario is played
    /// against the first of them that it says it kills, and those that kill none are left out
    #[arg(long, value_name = "NAME", value_parser = deviation)]
    deviation: Vec<&'static Deviation>,

    #[command(flatten)]
    formats: Formats,

    /// The run folder [default: peerproof-out/<run id>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Say what would be played, and play nothing
    #[arg(long)]
    dry_run: bool,

    /// Over sockets, also play what takes more than 3 s on a real clock
    #[arg(long)]
    slow: bool,

    /// For whom to write to standard output
    #[arg(long, value_enum, default_value = "human")]
    format: Voice,

    #[command(flatten)]
    suites: Suites,
}

/// For whom a run writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Voice {
    /// For people
    Human,
    /// For machines: results.json
    Json,
    /// For people who read the log of a GitHub workflow, with annotations
    Github,
    /// For nobody: another command tells what came of it
    #[value(skip)]
    Nobody,
}

/// Whether an instance says that it sees this rule broken.
fn kills(instance: &Instance, deviation: &Deviation) -> bool {
    let mut kills = instance.scenario.kills.iter();
    kills.any(|name| name == deviation.name)
}

impl Run {
    /// The same, without a word.
    pub fn quietly(self) -> Run {
        Run {
            format: Voice::Nobody,
            ..self
        }
    }

    pub fn run(self) -> Result<Exit, Failure> {
        let mut suite = self.suites.load()?;
        let profile = self.sut.profile(&mut suite)?;
        let transport = self.transport(profile.as_ref())?;
        if self.differences && self.seed == 0 && self.repeat <= 1 {
            return Err(Failure::usage(
                "found seed 0, which is the canonical one and differs in nothing: give --differences another --seed",
            ));
        }
        let chosen = self.selectors.instances(&suite, self.seed)?;
        let chosen = self.against_deviations(chosen)?;
        if self.repeat.saturating_mul(chosen.len() as u64) > MOST_PLAYS {
            return Err(Failure::usage(format!(
                "found {}, {} times, expected {MOST_PLAYS} plays at most: select fewer, or run again with \
                 another --seed",
                terminal::number(chosen.len(), "instance"),
                self.repeat
            )));
        }
        let instances: Vec<Instance> = (0..self.repeat.max(1))
            .map(|again| self.seed.wrapping_add(again))
            .flat_map(|seed| {
                chosen.iter().map(move |instance| Instance {
                    seed,
                    ..instance.clone()
                })
            })
            .collect();
        let ground = self.check(profile.as_ref(), transport)?;
        if self.dry_run {
            let ids: String = instances.iter().map(|i| format!("{}\n", i.id())).collect();
            print(&ids)?;
            return Ok(Exit::Good);
        }
        self.play(&suite, &instances, profile.as_ref(), transport, ground)
    }

    /// The rule that is broken in an instance.
    fn broken_in(&self, instance: &Instance) -> Option<&'static Deviation> {
        match self.deviation[..] {
            [] => None,
            [one] => Some(one),
            ref several => {
                let mut several = several.iter();
                several
                    .find(|deviation| kills(instance, deviation))
                    .copied()
            }
        }
    }

    /// Of several deviations each needs a scenario of its own; what kills none of them is left out.
    fn against_deviations(&self, mut chosen: Vec<Instance>) -> Result<Vec<Instance>, Failure> {
        if self.deviation.len() < 2 {
            return Ok(chosen);
        }
        chosen.retain(|instance| self.broken_in(instance).is_some());
        for deviation in &self.deviation {
            let is_this = |broken: &Deviation| broken.name == deviation.name;
            if !chosen
                .iter()
                .any(|i| self.broken_in(i).is_some_and(is_this))
            {
                let seeing = chosen.iter().filter(|i| kills(i, deviation));
                let taken: BTreeSet<String> = seeing
                    .filter_map(|i| {
                        let before = self.broken_in(i)?;
                        Some(format!(
                            "{} is played against {}",
                            i.scenario.id, before.name
                        ))
                    })
                    .collect();
                let name = deviation.name;
                return Err(Failure::usage(match taken.is_empty() {
                    true => format!(
                        "found no scenario selected that sees {name}, expected one: peerproof explain {name} names them"
                    ),
                    false => {
                        let taken: Vec<String> = taken.into_iter().collect();
                        format!(
                            "found no scenario selected that is left for {name}, expected one: {}; run {name} by itself",
                            taken.join(", ")
                        )
                    }
                }));
            }
        }
        Ok(chosen)
    }

    /// What would keep this from being played, found before anything is; and where everybody is, if that is not left
    /// to chance.
    fn check(
        &self,
        profile: Option<&Profile>,
        transport: Field,
    ) -> Result<Option<Ground>, Failure> {
        let ground = self.sut.ground(transport, profile)?;
        if ground.is_some() && self.jobs.is_some_and(|jobs| jobs > 1) {
            return Err(Failure::usage(
                "found --jobs in one network, which one scenario at a time has for itself: leave one of both out",
            ));
        }
        if let Some(addr) = ground.and_then(Ground::claim) {
            // Every scenario stakes it again; here it is told at once that somebody else has it.
            Claim::stake(addr).map_err(|error| {
                Failure::new(
                    Exit::Unavailable,
                    format!(
                        "{error}: another peerproof plays in this network: take another --network"
                    ),
                )
            })?;
        }
        if let Some(profile) = profile {
            Guests::check(&profile.guests).map_err(Failure::usage)?;
        }
        if let Some(path) = &self.out {
            runs::refuse_taken(path)?;
        }
        Ok(ground)
    }

    /// Guests are outside, so they are met over sockets.
    fn transport(&self, profile: Option<&Profile>) -> Result<Field, Failure> {
        let has_guests = profile.is_some_and(|profile| !profile.guests.is_empty());
        let transport = match (self.transport, has_guests) {
            (Some(Field::Memory), true) => {
                return Err(Failure::usage(
                    "found --transport memory with a guest, expected sockets or sockets-ipv6: a guest is outside",
                ));
            }
            (Some(transport), _) => transport,
            (None, true) => Field::Sockets,
            (None, false) => Field::Memory,
        };
        if transport == Field::SocketsV6 && !has_ipv6() {
            return Err(Failure::new(
                Exit::Unavailable,
                "this machine has no IPv6: found no [::1] to bind to, expected the loopback address",
            ));
        }
        if has_guests && self.jobs.is_some_and(|jobs| jobs > 1) {
            return Err(Failure::usage(
                "found --jobs with a guest, which can play one scenario at a time: leave it out",
            ));
        }
        if has_guests && !self.deviation.is_empty() {
            return Err(Failure::usage(
                "found --deviation with a guest: the guest is under test, not a reference node",
            ));
        }
        Ok(transport)
    }

    fn play(
        &self,
        suite: &Suite,
        instances: &[Instance],
        profile: Option<&Profile>,
        transport: Field,
        ground: Option<Ground>,
    ) -> Result<Exit, Failure> {
        let started = SystemTime::now();
        let clock = Instant::now();
        for warning in self.sut.warnings(suite, profile) {
            eprintln!("{warning}");
        }
        if let [one] = self.deviation[..]
            && !instances.iter().any(|i| kills(i, one))
        {
            eprintln!(
                "warning: no scenario selected claims to see {}: that they pass says nothing; peerproof explain {} names \
                 those that do",
                one.name, one.name
            );
        }
        let (folder, id) = self.folder(suite, started)?;
        let stop = Stop::on_signals();
        quiet_panics();

        let tally = Tally::default();
        let guests = profile
            .map(|profile| profile.guests.clone())
            .filter(|all| !all.is_empty());
        let guests =
            guests.map(|all| Guests::new(all, &folder.path().join("guests"), &id, stop.flag()));
        let guests = guests.transpose().map_err(Failure::usage)?;
        let scene = Scene {
            profile,
            guests: guests.as_ref(),
            transport,
            ground,
        };
        let results = self.play_all(suite, instances, &scene, &folder, &stop, &tally)?;

        let mut report = Report {
            schema: SCHEMA.to_owned(),
            run: RunOf {
                id,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                seed: self.seed,
                selection: self.selectors.words(),
                transport: transport.word().to_owned(),
                strict: self.strict,
                sut: profile.map(|profile| Sut {
                    name: profile.name.clone(),
                    roles: profile.roles.clone(),
                    profile: self.sut.file(),
                    guests: self.sut.bindings(),
                }),
                unavailable: guests.as_ref().and_then(Guests::unavailable),
                stale_waivers: profile
                    .map(|profile| stale(profile, instances, &results))
                    .unwrap_or_default(),
                deviation: self.deviations(),
                redacted: false,
                interrupted: results.len() < instances.len()
                    || guests.as_ref().is_some_and(Guests::are_interrupted),
                started: seconds(started),
                elapsed: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
                contents: folder.contents(),
            },
            counts: Counts::default(),
            instances: results,
            ledger: gather::ledger(suite),
        };
        report.count();
        folder.store_report(&report)?;
        runs::set_latest(folder.path())?;
        let files = self.formats.write(&report, &folder)?;
        match self.format {
            Voice::Nobody => {}
            Voice::Json => print(&report.to_json())?,
            Voice::Human | Voice::Github => {
                tell(&terminal::ending(&report, &folder, look()))?;
                if self.format == Voice::Github {
                    print(&github::annotations(&report))?;
                }
                for file in files {
                    print(&format!(
                        "  report    {}\n",
                        folder.path().join(file).display()
                    ))?;
                }
            }
        }
        if self.differences {
            print(&tally.text())?;
            let unvaried = tally.unvaried();
            if !unvaried.is_empty() {
                let nodes = unvaried.join(", ");
                return Err(Failure::new(
                    Exit::Fault,
                    format!(
                        "{nodes}: nothing varied, expected decisions and octets that differ from the canonical run"
                    ),
                ));
            }
        }
        Ok(Exit::of(&report))
    }

    fn deviations(&self) -> Option<String> {
        let names: Vec<&str> = self.deviation.iter().map(|d| d.name).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// The results in the order of the instances; fewer of them if a signal came.
    fn play_all(
        &self,
        suite: &Suite,
        instances: &[Instance],
        scene: &Scene<'_>,
        folder: &Folder,
        stop: &Stop,
        tally: &Tally,
    ) -> Result<Vec<InstanceResult>, Failure> {
        let player = Player {
            suite,
            field: scene.transport,
            rigour: if self.strict {
                Rigour::Strict
            } else {
                Rigour::Usual
            },
            slow: if self.slow { Slow::Play } else { Slow::Skip },
            casting: Casting {
                deviation: None,
                profile: scene.profile,
                guests: scene.guests,
                ground: scene.ground,
            },
            tally: self.differences.then_some(tally),
        };
        let again = Again::new(self, folder);
        let captures = self.formats.captures();
        let results = |results| self.collect(instances, results);
        crew::work(
            instances,
            self.workers(scene.transport, instances.len()),
            stop,
            |instance| {
                let deviation = self.broken_in(instance);
                let casting = Casting {
                    deviation,
                    ..player.casting
                };
                let player = Player { casting, ..player };
                let (mut result, trace) = player.play(instance, folder)?;
                result.deviation = deviation.map(|deviation| deviation.name.to_owned());
                result.replay = again.command(&result.id);
                if let Some(trace) = trace {
                    evidence::store_ladder(folder, &result, &trace)?;
                    evidence::store_capture(folder, &result, &trace, captures)?;
                }
                Ok(result)
            },
            results,
        )
    }

    /// Takes results as they come and shows each scenario as soon as all before it are shown.
    fn collect(
        &self,
        instances: &[Instance],
        results: mpsc::Receiver<(usize, io::Result<InstanceResult>)>,
    ) -> Result<Vec<InstanceResult>, Failure> {
        let bar = progress(instances.len());
        let mut failing = 0;
        let ids: Vec<String> = instances.iter().map(Instance::id).collect();
        let column = terminal::column(ids.iter().map(String::as_str));
        let mut done: Vec<Option<InstanceResult>> = vec![None; instances.len()];
        let mut shown = 0;
        for (number, result) in results {
            let result = result?;
            failing += usize::from(result.outcome.is_trouble());
            bar.set_message(match failing {
                0 => String::new(),
                failing => format!("{failing} not passed"),
            });
            bar.inc(1);
            done[number] = Some(result);
            while let Some(end) = scenario_end(instances, shown)
                && done[shown..end].iter().all(Option::is_some)
            {
                let whole: Vec<InstanceResult> =
                    done[shown..end].iter().flatten().cloned().collect();
                bar.suspend(|| self.show(&whole, column))?;
                shown = end;
            }
        }
        bar.finish_and_clear();
        let rest: Vec<InstanceResult> = done[shown..].iter().flatten().cloned().collect();
        self.show(&rest, column)?;
        Ok(done.into_iter().flatten().collect())
    }

    fn show(&self, results: &[InstanceResult], column: usize) -> Result<(), Failure> {
        if matches!(self.format, Voice::Json | Voice::Nobody) {
            return Ok(());
        }
        terminal::groups(results).try_for_each(|group| tell(&terminal::lines(group, column)))
    }

    /// Over sockets, scenarios at the same time would make each other late, so they take turns.
    fn workers(&self, transport: Field, instances: usize) -> usize {
        let usual = match transport {
            Field::Memory => crew::cores(),
            Field::Sockets | Field::SocketsV6 => 1,
        };
        self.jobs.unwrap_or(usual).clamp(1, instances.max(1))
    }

    fn folder(&self, suite: &Suite, started: SystemTime) -> Result<(Folder, String), Failure> {
        let path = match &self.out {
            Some(path) => path.clone(),
            None => fresh(&runs_folder(), &moment::stamp(seconds(started))),
        };
        runs::refuse_taken(&path)?;
        let contents = suite.contents.all.iter();
        let contents = contents
            .map(|content| (content.name.clone(), content.bytes.to_vec()))
            .collect();
        let name = path.file_name().unwrap_or(path.as_os_str());
        let id = name.to_string_lossy().into_owned();
        let folder = Folder::create(&path, contents);
        let folder = folder.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => error.into(),
            _ => Failure::usage(format!(
                "{error}: expected a place for the folder of the run, as --out names it"
            )),
        });
        Ok((folder?, id))
    }
}

/// The waivers that excuse nothing: what they name was played and passed.
fn stale(profile: &Profile, instances: &[Instance], results: &[InstanceResult]) -> Vec<String> {
    let outcomes = |waiver: &Waiver| -> Vec<Outcome> {
        let named = instances.iter();
        named
            .filter(|instance| profile.waiver(instance) == Some(waiver))
            .filter_map(|instance| results.iter().find(|r| r.id == instance.id()))
            .map(|result| result.outcome)
            .collect()
    };
    let waivers = profile.waivers.iter().filter(|waiver| {
        let outcomes = outcomes(waiver);
        outcomes.contains(&Outcome::Pass) && !outcomes.contains(&Outcome::Waived)
    });
    waivers
        .map(|waiver| format!("{}: {}", waiver.scenario, waiver.reason))
        .collect()
}

/// The deviation of a name.
pub fn deviation(name: &str) -> Result<&'static Deviation, String> {
    Deviation::named(name).ok_or_else(|| match nearest(name, names()) {
        Some(near) => format!("there is no such deviation, did you mean {near}?"),
        None => "there is no such deviation, see peerproof list --deviations".to_owned(),
    })
}

/// A number of workers.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected 1 at least".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("expected a number".to_owned()),
    }
}

/// A run keeps what came of each play until it is over.
const MOST_PLAYS: u64 = 200_000;

/// Who takes part, and where it is played.
struct Scene<'a> {
    profile: Option<&'a Profile>,
    guests: Option<&'a Guests>,
    transport: Field,
    ground: Option<Ground>,
}

/// How an instance is played again.
struct Again {
    run: String,
    suites: String,
}

impl Again {
    fn new(run: &Run, folder: &Folder) -> Again {
        Again {
            run: match run.out {
                Some(_) => folder.path().display().to_string(),
                None => {
                    let name = folder.path().file_name().unwrap_or_default();
                    name.to_string_lossy().into_owned()
                }
            },
            suites: format!("{}{}", run.sut.words(), run.suites.words()),
        }
    }

    fn command(&self, id: &str) -> String {
        format!(
            "peerproof replay {}/{id}{}",
            super::shell_word(&self.run),
            self.suites
        )
    }
}

/// How pictures are drawn on this terminal.
pub fn look() -> Look {
    let mut look = Look {
        charset: super::charset(),
        ..Look::default()
    };
    if let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size() {
        look.width = usize::from(width).max(60);
    }
    look
}

/// Where the scenario that begins at `start` ends, for its seed.
fn scenario_end(instances: &[Instance], start: usize) -> Option<usize> {
    let first = instances.get(start)?;
    let same = instances[start..]
        .iter()
        .take_while(|i| i.scenario.id == first.scenario.id && i.seed == first.seed);
    Some(start + same.count())
}

/// A path in `parent` that nothing stands at: `stamp`, `stamp-2`, …
fn fresh(parent: &Path, stamp: &str) -> PathBuf {
    let mut path = parent.join(stamp);
    let mut number = 2;
    while path.exists() {
        path = parent.join(format!("{stamp}-{number}"));
        number += 1;
    }
    path
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
