//! What became of the steps, as findings. The first step that failed is the root; what could not follow
//! for its sake is its consequence and blames nobody.

use super::{Blame, Case, Finding, Verdict, guests};
use crate::{
    spec::{Format, Role, Strength},
    suite::{
        Context, Expect, Fit, Follower, Layer, Near, Pattern, Step, StepOutcome, StepState, Verb,
        View,
    },
    trace::{Event, Trace},
    wire::frame::{Frame, Party},
};

/// The steps of an instance and what became of them.
pub struct Followed {
    pub(super) steps: Vec<Step>,
    pub(super) outcomes: Vec<StepOutcome>,
    pub(super) context: Context,
}

impl Followed {
    /// Whether every stimulus was given, every expectation met and no prohibition broken.
    pub fn all_met(&self) -> bool {
        use StepState::{Done, Held, Met};
        self.outcomes
            .iter()
            .all(|outcome| matches!(outcome.state, Done | Held | Met))
    }

    /// The event at which each step was met.
    pub fn met_at(&self) -> Vec<Option<usize>> {
        self.outcomes
            .iter()
            .map(|outcome| outcome.met.first().copied())
            .collect()
    }

    /// The message that came in the place of what was due: one of its kind, or a refusal to hand on what was asked for.
    /// Where it is due from one of several, the blame rests on who came nearest to it or refused what needs it, so that
    /// is what there is to see.
    pub(super) fn instead(
        &self,
        trace: &Trace,
        expect: &Expect,
        outcome: &StepOutcome,
    ) -> Option<usize> {
        let near = outcome.nearest.as_ref();
        let wrong = near.filter(|near| near.is_wrong()).map(|near| near.event);
        let refusal = || {
            let mut refusals = outcome.refusals.iter().copied();
            refusals.find(|event| self.refuses_what_is_due(trace, expect, *event))
        };
        let from = &expect.pattern.from;
        let of_several = || {
            let alike = near
                .filter(|near| near.fit == Fit::Alike)
                .map(|near| near.event);
            let is_among = |frame: &Frame| from.iter().any(|name| frame.from.is(name));
            let since = outcome.since?;
            let refused = trace.events.iter().position(|event| {
                let frame = event.frame().filter(|frame| is_among(frame));
                event.at >= since
                    && frame.is_some_and(|frame| {
                        frame.format == Format::Http && View::new(frame).refuses()
                    })
            });
            alike.or(refused)
        };
        wrong
            .or_else(refusal)
            .or_else(|| of_several().filter(|_| from.len() > 1))
    }

    /// Whether an answer is to a request that ought to have been handed on as the one that is due.
    fn refuses_what_is_due(&self, trace: &Trace, expect: &Expect, answer: usize) -> bool {
        let Some(refusal) = trace.events.get(answer).and_then(Event::frame) else {
            return false;
        };
        let told = |frame: &Frame| {
            let view = View::new(frame);
            let one = |key| view.get(Layer::Sip, key)?.into_iter().next();
            Some((one("call-id")?, one("cseq")?))
        };
        let this = told(refusal);
        let mut before = trace.events[..answer].iter().filter_map(Event::frame);
        before.any(|frame| {
            frame.to == refusal.from
                && this.is_some()
                && told(frame) == this
                && expect.pattern.fit(frame, &View::new(frame), &self.context) == Fit::Wrong
        })
    }

    /// The first step that failed, of which what did not come about later is a consequence. What had time left when
    /// the run ended failed only if nothing else did.
    pub(super) fn root(&self) -> Option<(&Step, &StepOutcome)> {
        use StepState::{Impossible, Late, NotReached, Unmet};
        let first = |states: &[StepState]| {
            let mut pairs = self.steps.iter().zip(&self.outcomes);
            pairs.find(|(_, outcome)| states.contains(&outcome.state))
        };
        first(&[Impossible, Late, Unmet]).or_else(|| first(&[NotReached]))
    }

    /// The lawful outcomes that were taken and have a name.
    pub fn leniencies(&self) -> Vec<String> {
        let named = self
            .steps
            .iter()
            .zip(&self.outcomes)
            .filter_map(|(step, outcome)| {
                let Verb::Expect(expect) = &step.verb else {
                    return None;
                };
                expect.outcomes.get(outcome.outcome?)?.leniency.clone()
            });
        let mut names: Vec<String> = named.collect();
        names.dedup();
        names
    }
}

/// The message that met a step: the last of those it needs.
pub(super) fn met_by(step: &Step, outcome: &StepOutcome) -> Option<usize> {
    let Verb::Expect(expect) = &step.verb else {
        return None;
    };
    let last = expect.times.min.saturating_sub(1);
    outcome.met.get(last).copied()
}

/// Feeds the trace to the matcher.
pub fn follow(case: &Case<'_>) -> Followed {
    let trace = case.evidence.trace;
    let steps = case.instance.steps(case.suite);
    let context = Context::new(case.suite, case.instance, &trace.meta);
    let mut follower = Follower::new(&steps, &context);
    for (index, event) in trace.events.iter().enumerate() {
        follower.feed(index, event);
    }
    let outcomes = follower.outcomes();
    Followed {
        steps,
        outcomes,
        context,
    }
}

/// The findings that steps give. A step that failed after something else was broken (at event
/// `broken_before`) is a consequence, and is left out. `is_blind`: some are about what nobody sees.
pub fn findings(
    case: &Case<'_>,
    followed: &Followed,
    broken_before: Option<usize>,
    is_blind: bool,
) -> Vec<Finding> {
    let pairs = || followed.steps.iter().zip(&followed.outcomes);
    // What must not come until something else did may have come after that, where nobody sees it.
    let is_open =
        |step: &Step| matches!(&step.verb, Verb::Never(never) if is_blind && never.until.is_some());
    let violated =
        pairs().filter(|(step, outcome)| outcome.state == StepState::Violated && !is_open(step));
    let mut findings: Vec<Finding> = violated
        .flat_map(|(step, outcome)| violations(case, step, outcome))
        .collect();
    // Where guests talk to each other unseen, nothing rests on what was not met.
    let root = followed.root().filter(|_| !is_blind);
    if let Some((step, outcome)) = root {
        let finding = unmet(case, followed, step, outcome);
        // From here on the run is another than the scenario's: what a reference does beside a guest follows
        // from that.
        findings.retain(|found| {
            found.blame != Blame::Reference || found.events.start <= finding.events.start
        });
        let is_consequence = broken_before.is_some_and(|at| at <= finding.events.start)
            || findings
                .iter()
                .any(|found| found.events.start <= finding.events.start);
        if !is_consequence {
            findings.push(finding);
        }
    }
    findings
}

/// Each message that broke the step. What a reference does after the first of them follows from that.
fn violations(case: &Case<'_>, step: &Step, outcome: &StepOutcome) -> Vec<Finding> {
    let broken = outcome.broken.iter();
    let mut found: Vec<Finding> = broken
        .filter_map(|&event| violation(case, step, outcome, event))
        .collect();
    let mut place = 0;
    found.retain(|finding| {
        place += 1;
        place == 1 || finding.blame == Blame::Sut
    });
    found
}

fn violation(case: &Case<'_>, step: &Step, outcome: &StepOutcome, event: usize) -> Option<Finding> {
    let frame = case.evidence.trace.events.get(event)?.frame()?;
    let surplus = match &step.verb {
        Verb::Expect(_) => ", one too many",
        _ => "",
    };
    let trace = case.evidence.trace;
    let is_last = || {
        let own = outcome.broken.iter().rev().find(|event| {
            let other = trace.events.get(**event).and_then(Event::frame);
            other.is_some_and(|other| other.from == frame.from)
        });
        own == Some(&event)
    };
    let more = outcome
        .more_broken
        .iter()
        .find(|(node, _)| frame.from.is(node));
    let more = match more.filter(|_| is_last()) {
        Some((_, more)) => format!(", and {more} more like it"),
        None => String::new(),
    };
    let view = View::new(frame);
    let values = match &step.verb {
        Verb::Never(never) => never.pattern.values_tested(&view),
        _ => String::new(),
    };
    let actual = format!("{}{}{values}{surplus}{more}", hop(frame), view.title());
    let requirement = requirement(case, step, &frame.from);
    let events = event..event + 1;
    let expected = outcome.words.clone();
    let breach = case.breach(&frame.from, &requirement, expected, actual, events)?;
    Some(match breach.blame {
        // Steps tell one way through a scenario; who is under test may have led a reference off it.
        Blame::Reference => Finding {
            verdict: Verdict::Inconclusive,
            blame: Blame::Harness,
            node: None,
            ..breach
        },
        _ => breach,
    })
}

fn unmet(case: &Case<'_>, followed: &Followed, step: &Step, outcome: &StepOutcome) -> Finding {
    let trace = case.evidence.trace;
    let instead = match &step.verb {
        Verb::Expect(expect) => followed.instead(trace, expect, outcome),
        _ => None,
    };
    // What never came is at no event, if nothing was like it.
    let near = outcome.nearest.as_ref();
    let alike = near.filter(|near| near.fit == Fit::Alike && outcome.met.is_empty());
    let shown = match outcome.state {
        StepState::Late => met_by(step, outcome),
        _ => instead.or(alike.map(|near| near.event)),
    };
    let shown = shown.unwrap_or(trace.events.len());
    let since = outcome
        .since
        .map_or(String::new(), |since| format!(", counted from {since}"));
    let actual = match (&outcome.nearest, outcome.state) {
        (_, StepState::Late) => {
            let took = outcome
                .at
                .zip(outcome.since)
                .map(|(at, since)| at.since(since));
            let late = trace.events.get(shown).and_then(Event::frame);
            let late = late.map_or(String::new(), |frame| {
                let title = View::new(frame).title();
                format!("{}{title} ", hop(frame))
            });
            // Rounded up: what came just too late did not come in time.
            let took = took.unwrap_or_default().as_nanos().div_ceil(1_000_000);
            format!("{late}after {took} ms{since}")
        }
        (_, StepState::Impossible) => match step.verb {
            Verb::Send(_) => "what came before has not in it what this is made of".to_owned(),
            _ => "it could not be made to".to_owned(),
        },
        (_, StepState::NotReached) => "the run ended before".to_owned(),
        _ if !outcome.met.is_empty() => format!("{}{since}", counted(trace, &outcome.met)),
        (Some(near), _) if near.is_wrong() => differing(trace, near),
        (near, _) => {
            let instead = instead.and_then(|event| trace.events.get(event)?.frame());
            let alike = near.as_ref().filter(|near| near.fit == Fit::Alike);
            let instead = match (instead, alike) {
                (Some(frame), _) => format!("; {}{}", hop(frame), View::new(frame).title()),
                (None, Some(near)) => {
                    let number = trace.sendings()[near.event];
                    format!("; nearest is event {number}, {}", differing(trace, near))
                }
                (None, None) => String::new(),
            };
            format!("nothing of the kind{instead}")
        }
    };
    let party = responsible(case, step, shown);
    let requirement = match &party {
        Some(party) => requirement(case, step, party),
        None => case
            .instance
            .scenario
            .requires
            .first()
            .cloned()
            .unwrap_or_default(),
    };
    let expected = outcome.words.clone();
    let broken = party
        .filter(|party| !step.setup && binds(case, &requirement, party))
        .and_then(|party| case.breach(&party, &requirement, &expected, &actual, shown..shown + 1))
        // A reference that a guest left waiting has broken nothing.
        .filter(|finding| finding.blame == Blame::Sut)
        .map(|finding| in_doubt(case, step, finding));
    let likewise = outcome
        .nearest
        .iter()
        .flat_map(|near| near.likewise.clone());
    let broken = broken.map(|finding| Finding {
        likewise: likewise.collect(),
        ..finding
    });
    broken.unwrap_or_else(|| Finding {
        verdict: Verdict::Inconclusive,
        strength: Strength::Must,
        requirement,
        blame: Blame::Harness,
        node: None,
        expected: if step.setup {
            format!("given: {expected}")
        } else {
            expected
        },
        actual,
        events: shown..shown + 1,
        likewise: Vec::new(),
    })
}

/// What a guest does not send may be due to what another guest said to it, which nobody saw: that lays nothing to it.
fn in_doubt(case: &Case<'_>, step: &Step, finding: Finding) -> Finding {
    let party = finding.node.as_deref().map(|node| Party::Node(node.into()));
    let neighbour = match (&step.verb, &party) {
        (Verb::Expect(expect), Some(party)) => {
            guests::unseen_neighbour(case, party, &expect.pattern)
        }
        _ => None,
    };
    let Some(neighbour) = neighbour else {
        return finding;
    };
    let node = finding.node.as_deref().unwrap_or_default();
    let actual = format!(
        "{}; what {} and {node} said to each other nobody saw",
        finding.actual, neighbour.name
    );
    Finding {
        verdict: Verdict::Inconclusive,
        blame: Blame::Harness,
        actual,
        ..finding
    }
}

/// How often something was sent, and when: `3 times, at 0.104, 2.104 and 6.104`.
fn counted(trace: &Trace, met: &[usize]) -> String {
    let sendings = trace.sendings();
    let moments: Vec<String> = met
        .iter()
        .filter_map(|event| trace.events.get(*sendings.get(*event)?))
        .map(|event| event.at.to_string())
        .collect();
    let often = match met.len() {
        1 => "once".to_owned(),
        times => format!("{times} times"),
    };
    match &moments[..] {
        [one] => format!("{often}, at {one}"),
        [before @ .., last] if before.len() < MOST_MOMENTS => {
            format!("{often}, at {} and {last}", before.join(", "))
        }
        [..] => often,
    }
}

/// More moments than this are not told.
const MOST_MOMENTS: usize = 16;

/// How the nearest message differs: `hss → s-cscf on Cx: Result-Code 5012, not 2001`.
fn differing(trace: &Trace, near: &Near) -> String {
    let d = &near.difference;
    let frame = trace.events.get(near.event).and_then(Event::frame);
    let hop = frame.map(hop).unwrap_or_default();
    // What is a test rather than a value reads badly behind "not"; lawful outcomes name their fields themselves.
    let is_test = d.is_of_outcomes || TESTS.iter().any(|test| d.expected.starts_with(test));
    let expected = match (is_test, d.actual.starts_with("no ") && !d.is_of_outcomes) {
        (_, true) => format!("expected {} {}", d.field, d.expected),
        (true, false) => format!("expected {}", d.expected),
        (false, false) => format!("not {}", d.expected),
    };
    match (d.field.as_str(), frame) {
        ("to", Some(frame)) => format!("{hop}{}, not to {}", View::new(frame).title(), d.expected),
        _ if d.actual.starts_with("no ") => format!("{hop}{}, {expected}", d.actual),
        _ => format!(
            "{hop}{} {}, {expected}",
            d.field,
            excerpt(&d.actual, &d.expected)
        ),
    }
}

/// A value that is too long to be read, as what of it matters: what it ought not to contain with a little around it,
/// else its beginning and its length.
fn excerpt(actual: &str, expected: &str) -> String {
    let length = actual.chars().count();
    if length <= LONGEST {
        return actual.to_owned();
    }
    let unwanted = expected
        .strip_prefix("not containing \"")
        .and_then(|rest| rest.split('"').next())
        .and_then(|unwanted| actual.split_once(unwanted).map(|around| (around, unwanted)));
    match unwanted {
        Some(((before, behind), unwanted)) => {
            let before: Vec<char> = before.chars().rev().take(AROUND).collect();
            let before: String = before.into_iter().rev().collect();
            let behind: String = behind.chars().take(AROUND).collect();
            format!("…{before}{unwanted}{behind}…")
        }
        None => {
            let first: String = actual.chars().take(LONGEST - AROUND).collect();
            format!("{first}… ({length} characters)")
        }
    }
}

/// Characters of a value that are shown, and around what it ought not to contain.
const LONGEST: usize = 160;
const AROUND: usize = 40;

/// `hss → s-cscf on Cx: `.
fn hop(frame: &Frame) -> String {
    format!("{} → {} on {}: ", frame.from, frame.to, frame.on)
}

/// How the words of tests begin that are no values.
const TESTS: &[&str] = &[
    "a value",
    "at least ",
    "at most ",
    "fewer than ",
    "none",
    "not ",
];

/// Whose turn it was; nobody's, if an answer is due from who was never asked.
fn responsible(case: &Case<'_>, step: &Step, shown: usize) -> Option<Party> {
    let Verb::Expect(expect) = &step.verb else {
        return None;
    };
    turn(case, expect, shown).filter(|party| was_asked(case, &expect.pattern, party))
}

/// Whether the party got a request that the answer which is due could be to.
fn was_asked(case: &Case<'_>, pattern: &Pattern, party: &Party) -> bool {
    let mut fields = pattern.fields.iter();
    let Some(due) = fields.find(|field| field.layer == Layer::Sip && field.key == "for") else {
        return true;
    };
    let due = due.test.to_string();
    let is_asker =
        |asker: &Party| pattern.to.is_empty() || pattern.to.iter().any(|name| asker.is(name));
    case.evidence.sip().any(|(seen, message)| {
        message.is_request()
            && due.split(" or ").any(|method| method == message.method())
            && seen.frame.to == *party
            && is_asker(&seen.frame.from)
    })
}

fn turn(case: &Case<'_>, expect: &Expect, shown: usize) -> Option<Party> {
    let near = case
        .evidence
        .trace
        .events
        .get(shown)
        .and_then(|event| event.frame());
    let named = |party: &Party| expect.pattern.from.iter().any(|name| party.is(name));
    if let Some(frame) = near
        && named(&frame.from)
    {
        return Some(frame.from.clone());
    }
    match &expect.pattern.from[..] {
        [one] => Some(Party::Node(one.as_str().into())),
        _ => None,
    }
}

/// Whether a rule is the party's to keep: what binds a node of the core cannot be laid to anybody else, nor what binds
/// others to it. A rule of one kind of peer, or of the tracker, is often the others' as well.
fn binds(case: &Case<'_>, requirement: &str, party: &Party) -> bool {
    let is_of_the_core =
        |role: Role| matches!(role, Role::PCscf | Role::ICscf | Role::SCscf | Role::Hss);
    let bound = case.requirement(requirement).map(|row| row.role);
    match bound.zip(case.evidence.role(party)) {
        Some((bound, role)) => bound == role || !is_of_the_core(bound) && !is_of_the_core(role),
        None => true,
    }
}

/// The row a step stands for: its own, else the first of the scenario's that binds the party's role.
fn requirement(case: &Case<'_>, step: &Step, party: &Party) -> String {
    let own = match &step.verb {
        Verb::Expect(expect) => expect.requirement.clone(),
        Verb::Never(never) => never.requirement.clone(),
        _ => None,
    };
    let role = case.evidence.role(party);
    let requires = &case.instance.scenario.requires;
    let binding = || {
        requires
            .iter()
            .find(|id| case.requirement(id).map(|row| row.role) == role)
            .cloned()
    };
    own.or_else(binding)
        .or_else(|| requires.first().cloned())
        .unwrap_or_default()
}
