//! One instance played, judged and stored: from a scenario to a row of the report.

use std::{
    cell::RefCell,
    io,
    panic::{self, AssertUnwindSafe},
    time::Duration,
};

use super::tally::Tally;
use crate::{
    judge::{self, Blame, Rigour},
    report::{FindingRow, Folder, InstanceResult, Outcome, folder, gather},
    run::{self, Casting, Field, Played},
    suite::{Context, Follower, Ground, Instance, Suite, Verb},
    sut::{Absence, Standing},
    time::At,
    trace::{Trace, jsonl},
};

/// How instances are played.
#[derive(Clone, Copy)]
pub struct Player<'a> {
    pub suite: &'a Suite,
    pub field: Field,
    pub rigour: Rigour,
    pub slow: Slow,
    /// Who plays otherwise than the scenarios say.
    pub casting: Casting<'a>,
    /// Where to count what each node does otherwise than canonically.
    pub tally: Option<&'a Tally>,
}

/// What to do over sockets with a scenario that takes long on a real clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// Say that it needs virtual time.
    Skip,
    Play,
}

/// An instance that was played.
pub struct Recorded {
    pub trace: Trace,
    /// The trace as it is stored.
    pub text: String,
    fault: Option<String>,
    /// Why it could not be played with the guests there are.
    pub absence: Option<Absence>,
}

/// A scenario that takes longer than this on a real clock is slow.
const SLOW: Duration = Duration::from_secs(3);
/// The tag of scenarios in which a node has to do something before the next frame.
const BETWEEN_FRAMES: &str = "between-frames";
/// The tag of scenarios in which an address alone says who has it.
const OWN_ADDRESSES: &str = "own-addresses";

impl Player<'_> {
    /// Plays an instance, leaves its trace in the run folder, and gives it too. What goes wrong with the
    /// instance is in its row; an error is about the folder.
    pub fn play(
        &self,
        instance: &Instance,
        folder: &Folder,
    ) -> io::Result<(InstanceResult, Option<Trace>)> {
        let Some(profile) = self.casting.profile else {
            return self.play_in_turn(instance, folder);
        };
        let instance = &profile.adapted(instance);
        let unplayed =
            |outcome, why: String| (gather::unplayed(self.suite, instance, outcome, why), None);
        match profile.standing(self.suite, instance) {
            Standing::NotApplicable(why) => Ok(unplayed(Outcome::NotApplicable, why)),
            Standing::Unsupported(why) => Ok(unplayed(Outcome::Unsupported, why)),
            Standing::Told(why) => {
                let (mut result, trace) = self.play_in_turn(instance, folder)?;
                gather::tell(&mut result, &why);
                Ok((result, trace))
            }
            Standing::Judged => {
                let (mut result, trace) = self.play_in_turn(instance, folder)?;
                let unasked = profile.unasked(&result.observations);
                gather::forgive_aloud(&mut result, &unasked);
                if let Some(waiver) = profile.waiver(instance) {
                    gather::waive(&mut result, &waiver.reason);
                }
                Ok((result, trace))
            }
        }
    }

    fn play_in_turn(
        &self,
        instance: &Instance,
        folder: &Folder,
    ) -> io::Result<(InstanceResult, Option<Trace>)> {
        if let Some(result) = self.out_of_place(instance) {
            return Ok((result, None));
        }
        if let Some(guests) = self.casting.guests {
            guests.log_in(&folder.path().join(instance.id()));
        }
        let recorded = match guarded(|| self.record(instance, &folder.known())) {
            Ok(recorded) => recorded,
            Err(panic) => return Ok((self.broken(instance, "a reference node", panic), None)),
        };
        if let Some(absence) = recorded.absence {
            let (outcome, why) = match absence {
                Absence::Unsupported(why) => (Outcome::Unsupported, why),
                Absence::Unavailable(why) => (Outcome::Inconclusive, why),
            };
            return Ok((gather::unplayed(self.suite, instance, outcome, why), None));
        }
        let file = folder::trace_file(&instance.id());
        let stored = folder.store(&file, recorded.text.as_bytes())?;
        let result = match guarded(|| self.judge(instance, &recorded)) {
            Ok(judgement) => {
                gather::played(self.suite, instance, &recorded.trace, stored, &judgement)
            }
            Err(panic) => self.broken(instance, "the judge", panic),
        };
        Ok((result, Some(recorded.trace)))
    }

    /// Plays an instance. What is judged is what is stored: a trace too long is cut first.
    pub fn record(&self, instance: &Instance, known: &[jsonl::Known<'_>]) -> Recorded {
        let played = match self.field {
            Field::Memory => run::play(self.suite, instance, self.casting),
            Field::Sockets | Field::SocketsV6 => {
                on_sockets(self.suite, instance, self.casting, self.field)
            }
        };
        if let Some(tally) = self.tally {
            tally.add(&run::differences(
                self.suite,
                instance,
                self.casting,
                &played,
            ));
        }
        let Played {
            mut trace,
            fault,
            absence,
            ..
        } = played;
        let mut fault = fault.map(|fault| fault.to_string());
        let written = jsonl::write(&trace, known);
        if written.truncated {
            match jsonl::read(&written.text, known) {
                Ok(cut) => trace = cut,
                Err(error) => fault = Some(format!("the stored trace: {error}")),
            }
        }
        Recorded {
            trace,
            text: written.text,
            fault,
            absence,
        }
    }

    pub fn judge(&self, instance: &Instance, recorded: &Recorded) -> judge::Judgement {
        let fault = recorded.fault.as_deref();
        judge::judge(self.suite, instance, &recorded.trace, fault, self.rigour)
    }

    /// Why a scenario is not played here, if it is not.
    fn out_of_place(&self, instance: &Instance) -> Option<InstanceResult> {
        let why = if self.cannot_be_told(instance) {
            "a guest cannot be told anything between two frames"
        } else if self.share_an_address() && is_tagged(instance, OWN_ADDRESSES) {
            "needs an address for each node, and here they share one"
        } else if self.takes_long(instance) {
            "needs virtual time: it takes more than 3 s on a real clock; --slow plays it"
        } else {
            return None;
        };
        let outcome = Outcome::NotApplicable;
        Some(gather::unplayed(self.suite, instance, outcome, why))
    }

    fn share_an_address(&self) -> bool {
        let at_one = |ground| matches!(ground, Ground::OneAddress { .. });
        self.field == Field::SocketsV6 || self.casting.ground.is_some_and(at_one)
    }

    /// Whether it is found in memory to take long on a real clock, and that is not wanted.
    fn takes_long(&self, instance: &Instance) -> bool {
        if self.field == Field::Memory || self.slow == Slow::Play {
            return false;
        }
        let took = guarded(|| self.last_step(instance));
        took.is_ok_and(|at| at.since(At::ZERO) > SLOW)
    }

    /// Whether a guest would have to do something just then, before the next frame: an order takes its time.
    fn cannot_be_told(&self, instance: &Instance) -> bool {
        let steps = instance.steps(self.suite);
        let mut told = steps.iter().filter_map(|step| match &step.verb {
            Verb::Do(wanted) if !step.setup => Some(wanted.node.as_str()),
            _ => None,
        });
        let guests = self.casting.guests;
        is_tagged(instance, BETWEEN_FRAMES)
            && guests.is_some_and(|guests| told.any(|node| guests.plays(node)))
    }

    /// When, in memory, the last step was given, met or waited out.
    fn last_step(&self, instance: &Instance) -> At {
        let casting = Casting {
            guests: None,
            ..self.casting
        };
        let trace = run::play(self.suite, instance, casting).trace;
        let steps = instance.steps(self.suite);
        let values = Context::new(self.suite, instance, &trace.meta);
        let mut follower = Follower::new(&steps, &values);
        for (index, event) in trace.events.iter().enumerate() {
            follower.feed(index, event);
        }
        let outcomes = follower.outcomes();
        outcomes
            .iter()
            .filter_map(|outcome| outcome.at)
            .max()
            .unwrap_or(At::ZERO)
    }

    fn broken(&self, instance: &Instance, who: &str, panic: String) -> InstanceResult {
        let mut result = gather::unplayed(self.suite, instance, Outcome::Error, "");
        result.findings.push(FindingRow {
            outcome: Outcome::Error,
            requirement: String::new(),
            clause: String::new(),
            profile: false,
            not_verified: false,
            blame: Blame::Harness,
            node: None,
            expected: format!("{who} to keep going"),
            actual: format!("panicked: {panic}"),
            events: 0..0,
            message: None,
            likewise: Vec::new(),
        });
        result
    }
}

fn is_tagged(instance: &Instance, wanted: &str) -> bool {
    instance.scenario.tags.iter().any(|tag| tag == wanted)
}

fn on_sockets(suite: &Suite, instance: &Instance, casting: Casting<'_>, field: Field) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system gives a runtime its wake-up call");
    runtime.block_on(run::play_on_sockets(suite, instance, casting, field))
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps the words of panics for the report instead of printing them.
pub fn quiet_panics() {
    panic::set_hook(Box::new(|info| {
        PANIC.with(|panic| *panic.borrow_mut() = info.to_string().replace('\n', " "));
    }));
}

/// The value, or the words of the panic.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| PANIC.take())
}
