//! The one matcher of steps against events. A live run asks it what to stimulate next and when to stop; a
//! judge feeds it the trace again and asks what became of each step. It makes no verdicts. Start at
//! [`Follower`].

use std::{collections::BTreeMap, time::Duration};

use super::{
    context::Context,
    pattern::{Difference, Fit, Pattern},
    scenario::{Except, Expect, Never, Step, Verb},
    template::{Lookup, fill_known},
    view::{Layer, View},
};
use crate::{
    spec::Format,
    time::At,
    trace::{Event, EventKind, StepMark},
    wire::frame::{Frame, Party},
};

/// Follows the steps of one instance through its events.
#[derive(Clone, Debug)]
pub struct Follower<'a> {
    steps: &'a [Step],
    context: &'a Context,
    states: Vec<State>,
    /// For each step, the `do` or `send` before it.
    governors: Vec<Option<usize>>,
    captures: Captures,
    /// When the network last lost something: windows count from then.
    last_lost: At,
}

/// What the run is to do next.
#[derive(Clone, Copy, Debug)]
pub struct Stimulus<'a> {
    pub index: usize,
    pub step: &'a Step,
    /// For a `wait`, when it is over; else at once.
    pub due: Option<At>,
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepOutcome {
    pub index: usize,
    pub setup: bool,
    /// The step in plain words, with every place filled whose value is known.
    pub words: String,
    pub state: StepState,
    /// The events that met it, as indexes into the trace.
    pub met: Vec<usize>,
    /// The events that broke it, likewise: each message that must not come, or that is one too many.
    pub broken: Vec<usize>,
    /// Which nodes sent more of them than those, and how many more.
    pub more_broken: Vec<(String, usize)>,
    /// When it was met, broken or carried out.
    pub at: Option<At>,
    /// From when its window counts, if it was reached.
    pub since: Option<At>,
    /// When its window was over, likewise.
    pub due: Option<At>,
    /// Which of several lawful outcomes it was.
    pub outcome: Option<usize>,
    /// For an unmet `expect`: the message nearest to it.
    pub nearest: Option<Near>,
    /// For one of a request: the answers by which who ought to have handed it on may have refused it.
    pub refusals: Vec<usize>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// The run never got there, or ended before its time was over.
    NotReached,
    /// A stimulus that was given, a wait that is over.
    Done,
    /// The party could not be made to do it.
    Impossible,
    Met,
    /// Met, but after its window.
    Late,
    Unmet,
    /// A `never` that saw its message, or an `expect` that saw too many.
    Violated,
    /// A `never` that saw nothing while everything else was met.
    Held,
    /// A `never` that saw nothing, but neither was everything else met: it proves nothing.
    Void,
}

/// How a message stands to what is due. An answer on the way to the one that is due, provisional or a challenge, is
/// not in its place, if it is not what is due itself.
fn fit(pattern: &Pattern, frame: &Frame, view: &View, lookup: &dyn Lookup) -> Fit {
    let fit = pattern.fit(frame, view, lookup);
    let mut tests = pattern.fields.iter().filter(|field| field.key == "status");
    if fit != Fit::Wrong || tests.any(|field| field.holds(view, lookup)) {
        return fit;
    }
    match (view.challenges(), view.is_provisional()) {
        (true, _) => Fit::Challenge,
        (_, true) => Fit::Other,
        _ => Fit::Wrong,
    }
}

/// The message that comes nearest to an unmet expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    pub event: usize,
    pub difference: Difference,
    pub fit: Fit,
    /// The others that differ in the same way, before it and behind it.
    pub likewise: Vec<usize>,
    /// Who sent it to whom.
    between: (Party, Party),
    is_answer: bool,
    /// It answers a chunk of data.
    is_of_a_chunk: bool,
}

impl Near {
    /// Than another that came before. Of requests that are as near the last counts, which had all the time to be
    /// right, and so of the answers to chunks; of other answers the first, as it was due first.
    fn is_nearer(&self, known: &Near) -> bool {
        let rank = |near: &Near| (near.fit, near.difference.score);
        match self.is_answer && !self.is_of_a_chunk || !self.is_wrong() {
            true => rank(self) > rank(known),
            false => rank(self) >= rank(known),
        }
    }

    /// Whether it came in the place of what was due.
    pub fn is_wrong(&self) -> bool {
        self.fit >= Fit::Challenge
    }

    /// Whether a message is the request again that it challenges.
    fn is_taken_up_by(&self, frame: &Frame, view: &View) -> bool {
        let is_back = (&frame.from, &frame.to) == (&self.between.1, &self.between.0);
        let is_ack = || {
            view.get(Layer::Sip, "method")
                .is_some_and(|method| method == ["ACK"])
        };
        self.fit == Fit::Challenge && is_back && !view.is_answer() && !is_ack()
    }

    /// Whether both are wrong in the same way. Chunks that are answered alike are not alike, nor is what went to others.
    fn is_like(&self, other: &Near) -> bool {
        let are_wrong = self.fit == Fit::Wrong && other.fit == Fit::Wrong;
        let field = &self.difference.field;
        are_wrong && !self.is_of_a_chunk && field != "to" && *field == other.difference.field
    }

    /// Takes `other`, which is wrong in the same way, along.
    fn join(&mut self, other: Near) {
        let others = other.likewise.into_iter().chain([other.event]);
        self.likewise.extend(others);
        self.likewise.sort_unstable();
        self.likewise.truncate(MOST_LIKEWISE);
    }
}

/// Messages captured under a name.
#[derive(Clone, Debug, Default)]
pub struct Captures {
    views: BTreeMap<String, View>,
    met: BTreeMap<String, At>,
}

impl Captures {
    pub fn get(&self, name: &str) -> Option<&View> {
        self.views.get(name)
    }
}

/// Captures before the values of the run.
pub struct Values<'a> {
    pub captures: &'a Captures,
    pub context: &'a Context,
}

impl Lookup for Values<'_> {
    fn value(&self, place: &str) -> Option<String> {
        let (owner, field) = place.split_once('.')?;
        match self.captures.get(owner) {
            Some(view) => view.value(field),
            None => self.context.value(place),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    /// A stimulus: index of its mark, when, and how it went.
    mark: Option<(usize, At, StepMark)>,
    /// Events that met it, in order.
    met: Vec<(usize, At)>,
    /// Whether the event that made it complete came after its window.
    late: bool,
    /// Events that broke it, in order.
    broken: Vec<(usize, At)>,
    /// By whom, and how often: more of one party than are remembered are counted.
    breakers: BTreeMap<String, usize>,
    outcome: Option<usize>,
    nearest: Option<Near>,
    refusals: Vec<usize>,
}

/// The most messages that are remembered to be wrong like the nearest one, or to be refusals.
const MOST_LIKEWISE: usize = 16;

/// The most messages of one party that are remembered to have broken one step; of whoever floods the others are counted.
const MOST_BROKEN: usize = 16;

/// The name of a node; whoever is none has the empty one, as there may be any number of them.
fn name(party: &Party) -> String {
    party
        .node()
        .map(|node| node.as_str().to_owned())
        .unwrap_or_default()
}

impl State {
    fn broke(&mut self, event: usize, at: At, by: &Party) {
        let times = self.breakers.entry(name(by)).or_default();
        *times += 1;
        if *times <= MOST_BROKEN {
            self.broken.push((event, at));
        }
    }
}

impl<'a> Follower<'a> {
    pub fn new(steps: &'a [Step], context: &'a Context) -> Follower<'a> {
        let mut governor = None;
        let mut governors = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            governors.push(governor);
            if matches!(step.verb, Verb::Do(_) | Verb::Send(_)) {
                governor = Some(index);
            }
        }
        Follower {
            steps,
            context,
            states: vec![State::default(); steps.len()],
            governors,
            captures: Captures::default(),
            last_lost: At::ZERO,
        }
    }

    /// Takes the next event; `index` is its place in the trace.
    pub fn feed(&mut self, index: usize, event: &Event) {
        match &event.kind {
            EventKind::Step { index: step, mark } => {
                if let Some(state) = self.states.get_mut(*step) {
                    state.mark.get_or_insert((index, event.at, *mark));
                }
            }
            EventKind::Lost(_) => self.last_lost = event.at,
            EventKind::Received(frame) if self.context.is_ours(&frame.to) => {
                self.match_frame(index, event.at, frame);
            }
            EventKind::Sent(frame) if !self.context.is_ours(&frame.to) => {
                self.match_frame(index, event.at, frame);
            }
            _ => {}
        }
    }

    /// The next thing to do: the first stimulus not yet given, if all that is expected before it was met.
    pub fn next_stimulus(&self) -> Option<Stimulus<'a>> {
        let mut ready = self.context.began();
        for (index, step) in self.steps.iter().enumerate() {
            let state = &self.states[index];
            if step.is_stimulus() {
                match state.mark {
                    Some((_, at, StepMark::Done)) => ready = ready.max(at),
                    Some((_, _, StepMark::Impossible)) => return None,
                    None => {
                        let due = match step.verb {
                            Verb::Wait(time) => Some(ready + time),
                            _ => None,
                        };
                        return Some(Stimulus { index, step, due });
                    }
                }
            } else if let Verb::Expect(expect) = &step.verb {
                match state.met.get(expect.times.min.saturating_sub(1)) {
                    Some((_, at)) => ready = ready.max(*at),
                    None if expect.times.min == 0 => {}
                    None => return None,
                }
            }
        }
        None
    }

    /// When to look again at the latest, if nothing happens before.
    pub fn deadline(&self) -> Option<At> {
        let waiting = self.next_stimulus().and_then(|stimulus| stimulus.due);
        let closing = self.all_met().then(|| self.last_window());
        let ends = [self.gives_up_at()].into_iter();
        ends.chain(waiting).chain(closing).min()
    }

    /// When the run ends, if nothing more happens that meets what is missing: when something is missing for good, and
    /// whatever was to come before it had its time. Else what stands first would not be known to be missing, and what
    /// follows from it would be charged.
    fn gives_up_at(&self) -> At {
        let mut before = At::ZERO;
        let mut ends = self.context.limit();
        for index in self.open_expects() {
            if let Some((at, over)) = self.gives_up(index).zip(self.window_end(index)) {
                ends = ends.min(at.max(before));
                before = before.max(over);
            }
        }
        ends
    }

    /// Whether the run may end at `now`: all was met and the last window is over, or something is missing
    /// for good.
    pub fn is_finished(&self, now: At) -> bool {
        let impossible = |state: &State| matches!(state.mark, Some((_, _, StepMark::Impossible)));
        now >= self.gives_up_at()
            || self.states.iter().any(impossible)
            || (self.all_met() && now >= self.last_window())
    }

    /// Whether every stimulus was given and every expectation met; what remains is to watch for what must
    /// not come.
    pub fn all_met(&self) -> bool {
        self.steps
            .iter()
            .zip(&self.states)
            .all(|(step, state)| match &step.verb {
                Verb::Do(_) | Verb::Send(_) | Verb::Wait(_) => {
                    matches!(state.mark, Some((_, _, StepMark::Done)))
                }
                Verb::Expect(expect) => state.met.len() >= expect.times.min,
                Verb::Never(_) => true,
            })
    }

    /// What was captured so far.
    pub fn captures(&self) -> &Captures {
        &self.captures
    }

    /// The values templates are filled from, as of now.
    pub fn values(&self) -> Values<'_> {
        Values {
            captures: &self.captures,
            context: self.context,
        }
    }

    /// What became of each step, in order.
    pub fn outcomes(&self) -> Vec<StepOutcome> {
        let all_met = self.all_met();
        (0..self.steps.len())
            .map(|index| self.outcome(index, all_met))
            .collect()
    }

    fn outcome(&self, index: usize, all_met: bool) -> StepOutcome {
        let (step, state) = (&self.steps[index], &self.states[index]);
        let since = self.since(index);
        let last_met = state.met.last().map(|(_, at)| *at);
        let (found, at) = match &step.verb {
            Verb::Do(_) | Verb::Send(_) | Verb::Wait(_) => match state.mark {
                None => (StepState::NotReached, None),
                Some((_, at, StepMark::Done)) => (StepState::Done, Some(at)),
                Some((_, at, StepMark::Impossible)) => (StepState::Impossible, Some(at)),
            },
            Verb::Expect(expect) => {
                let needed = expect.times.min;
                let met = needed.checked_sub(1).and_then(|last| state.met.get(last));
                match (state.broken.first(), met) {
                    (Some((_, at)), _) => (StepState::Violated, Some(*at)),
                    (None, Some((_, at))) if state.late => (StepState::Late, Some(*at)),
                    (None, Some((_, at))) => (StepState::Met, Some(*at)),
                    (None, None) if needed == 0 => (StepState::Met, last_met),
                    (None, None) if self.is_over(index) => (StepState::Unmet, None),
                    (None, None) => (StepState::NotReached, None),
                }
            }
            Verb::Never(_) => match state.broken.first() {
                Some((_, at)) => (StepState::Violated, Some(*at)),
                None if all_met => (StepState::Held, None),
                None if since.is_none() => (StepState::NotReached, None),
                None => (StepState::Void, None),
            },
        };
        let events = |pairs: &[(usize, At)]| pairs.iter().map(|(event, _)| *event).collect();
        let nearest = match found {
            StepState::Unmet => state.nearest.clone(),
            _ => None,
        };
        StepOutcome {
            index,
            setup: step.setup,
            words: fill_known(&self.words(step), &self.values()),
            state: found,
            met: events(&state.met),
            broken: events(&state.broken),
            more_broken: state
                .breakers
                .iter()
                .filter(|(_, times)| **times > MOST_BROKEN)
                .map(|(name, times)| (name.clone(), times - MOST_BROKEN))
                .collect(),
            at,
            since,
            due: self.window_end(index),
            outcome: state.outcome,
            nearest,
            refusals: match found {
                StepState::Unmet => state.refusals.clone(),
                _ => Vec::new(),
            },
        }
    }

    /// A step in words; a prohibition with the message until which it holds, which a file has by name.
    fn words(&self, step: &Step) -> String {
        let until = match &step.verb {
            Verb::Never(never) => never.until.as_ref(),
            _ => None,
        };
        let mut expects = self.expects().map(|(_, expect)| expect);
        let end = expects.find(|expect| until.is_some() && expect.name.as_ref() == until);
        match end {
            Some(expect) => format!("{step}, before {}", expect.pattern),
            None => step.to_string(),
        }
    }

    fn match_frame(&mut self, event: usize, at: At, frame: &Frame) {
        let view = View::new(frame);
        let met = self.first_met(frame, &view);
        self.hold_to_nevers(event, at, frame, &view, met.is_some());
        self.remember_refusal(event, frame, &view);
        for state in &mut self.states {
            if let Some(near) = &state.nearest
                && near.is_taken_up_by(frame, &view)
            {
                state.nearest = None;
            }
        }
        match met {
            Some((index, outcome)) => self.meet(index, (event, at), &frame.from, outcome, view),
            None => {
                self.count_surplus(event, at, frame, &view);
                self.remember_nearest(event, frame, &view);
            }
        }
    }

    /// A prohibition holds whatever comes, also what meets an expectation, unless it leaves that out.
    fn hold_to_nevers(&mut self, event: usize, at: At, frame: &Frame, view: &View, expected: bool) {
        for index in 0..self.steps.len() {
            let Verb::Never(never) = &self.steps[index].verb else {
                continue;
            };
            let is_left_out = expected && never.except == Some(Except::Expected);
            if !is_left_out
                && self.covers(index, never)
                && never.pattern.matches(frame, view, &self.values())
            {
                self.states[index].broke(event, at, &frame.from);
            }
        }
    }

    /// Of what came too often, each message more is one too many as well.
    fn count_surplus(&mut self, event: usize, at: At, frame: &Frame, view: &View) {
        let surplus = self.expects().find(|(index, expect)| {
            let values = self.values();
            let is_lawful = expect.outcomes.is_empty()
                || expect.outcomes.iter().any(|outcome| {
                    let mut fields = outcome.fields.iter();
                    fields.all(|field| field.holds(view, &values))
                });
            !self.states[*index].broken.is_empty()
                && is_lawful
                && expect.pattern.matches(frame, view, &values)
        });
        if let Some((index, _)) = surplus {
            self.states[index].broke(event, at, &frame.from);
        }
    }

    /// The first expectation in file order that this message meets, and which lawful outcome it is.
    fn first_met(&self, frame: &Frame, view: &View) -> Option<(usize, Option<usize>)> {
        self.expects().find_map(|(index, expect)| {
            let full = match expect.times.max {
                None => self.states[index].met.len() >= expect.times.min.max(1),
                Some(_) => !self.states[index].broken.is_empty(),
            };
            let values = self.values();
            if full || !self.is_open(index) || !expect.pattern.matches(frame, view, &values) {
                return None;
            }
            if expect.outcomes.is_empty() {
                return Some((index, None));
            }
            let lawful = expect.outcomes.iter().position(|outcome| {
                outcome
                    .fields
                    .iter()
                    .all(|field| field.holds(view, &values))
            });
            lawful.map(|outcome| (index, Some(outcome)))
        })
    }

    fn meet(
        &mut self,
        index: usize,
        (event, at): (usize, At),
        by: &Party,
        outcome: Option<usize>,
        view: View,
    ) {
        let Verb::Expect(expect) = &self.steps[index].verb else {
            return;
        };
        let window = self.window_end(index);
        let state = &mut self.states[index];
        if expect.times.max == Some(state.met.len()) {
            state.broke(event, at, by);
            return;
        }
        state.met.push((event, at));
        if state.met.len() == expect.times.min {
            state.late = window.is_some_and(|end| at > end);
        }
        state.outcome = state.outcome.or(outcome);
        if let Some(name) = &expect.name
            && !self.captures.views.contains_key(name)
        {
            self.captures.views.insert(name.clone(), view);
            self.captures.met.insert(name.clone(), at);
        }
    }

    /// A refusal may well be what another step expects.
    fn remember_refusal(&mut self, event: usize, frame: &Frame, view: &View) {
        if !view.refuses() {
            return;
        }
        let refused: Vec<usize> = self
            .open_expects()
            .filter(|index| self.is_open(*index))
            .filter(|index| match &self.steps[*index].verb {
                Verb::Expect(expect) => expect.pattern.refuses(frame, view, &self.values()),
                _ => false,
            })
            .collect();
        for index in refused {
            let refusals = &mut self.states[index].refusals;
            if refusals.len() < MOST_LIKEWISE {
                refusals.push(event);
            }
        }
    }

    fn remember_nearest(&mut self, event: usize, frame: &Frame, view: &View) {
        let mut found = Vec::new();
        for (index, expect) in self.expects() {
            let unmet = self.states[index].met.len() < expect.times.min;
            if unmet && expect.pattern.is_near(frame) && self.is_open(index) {
                let values = self.values();
                let difference = match expect.pattern.difference(frame, view, &values) {
                    Some(difference) => Some(difference),
                    None => no_outcome(expect, view, &values),
                };
                let fit = fit(&expect.pattern, frame, view, &values);
                let near = difference.map(|difference| Near {
                    event,
                    difference,
                    fit,
                    likewise: Vec::new(),
                    between: (frame.from.clone(), frame.to.clone()),
                    is_answer: view.is_answer(),
                    is_of_a_chunk: view.is_answer() && frame.format == Format::Msrp,
                });
                found.extend(near.map(|near| (index, near)));
            }
        }
        for (index, mut near) in found {
            let Verb::Expect(expect) = &self.steps[index].verb else {
                continue;
            };
            // One answer is due to one request; another may be right for another.
            let is_one = near.is_answer && expect.times.min < 2;
            let nearest = &mut self.states[index].nearest;
            match nearest {
                None => *nearest = Some(near),
                Some(known) if near.is_nearer(known) => {
                    if !is_one && near.is_like(known) {
                        near.join(known.clone());
                    }
                    *known = near;
                }
                Some(known) if !is_one && near.is_like(known) => known.join(near),
                Some(_) => {}
            }
        }
    }

    fn expects(&self) -> impl Iterator<Item = (usize, &'a Expect)> + use<'a> {
        self.steps
            .iter()
            .enumerate()
            .filter_map(|(index, step)| match &step.verb {
                Verb::Expect(expect) => Some((index, expect)),
                _ => None,
            })
    }

    /// Expectations that may still be met and were not.
    fn open_expects(&self) -> impl Iterator<Item = usize> {
        self.expects()
            .filter(|(index, expect)| self.states[*index].met.len() < expect.times.min)
            .map(|(index, _)| index)
    }

    /// Whether the next event may meet the step: its stimulus was given, and the message it comes after
    /// was seen.
    fn is_open(&self, index: usize) -> bool {
        let governed = self.governors[index].is_none_or(|stimulus| {
            matches!(self.states[stimulus].mark, Some((_, _, StepMark::Done)))
        });
        governed
            && after(&self.steps[index]).is_none_or(|name| self.captures.met.contains_key(name))
    }

    /// Whether a prohibition holds now: from the message it comes after, else from the stimulus before it, until
    /// the message that ends it.
    fn covers(&self, index: usize, never: &Never) -> bool {
        let over = never
            .until
            .as_ref()
            .is_some_and(|name| self.captures.met.contains_key(name));
        !over
            && match &never.after {
                Some(name) => self.captures.met.contains_key(name),
                None => self.is_open(index),
            }
    }

    /// From when the window of a step counts: its last stimulus or wait, and the message it comes after.
    fn since(&self, index: usize) -> Option<At> {
        let mut since = self.context.began();
        let stimuli = self.steps[..index].iter().zip(&self.states);
        for (_, state) in stimuli.filter(|(step, _)| step.is_stimulus()) {
            match state.mark {
                Some((_, at, StepMark::Done)) => since = since.max(at),
                _ => return None,
            }
        }
        match after(&self.steps[index]) {
            Some(name) => Some(since.max(*self.captures.met.get(name)?)),
            None => Some(since),
        }
    }

    fn window_end(&self, index: usize) -> Option<At> {
        let Verb::Expect(expect) = &self.steps[index].verb else {
            return None;
        };
        Some(self.since(index)?.max(self.last_lost) + expect.within)
    }

    /// Whether the window of a step was over when the run ended, if it was reached at all: what had time left is not
    /// missed. A run that comes to its limit has left time enough. A trace that a fault cut short reads as if silence had
    /// followed; the fault is told before anything else.
    fn is_over(&self, index: usize) -> bool {
        let over = self.window_end(index);
        over.is_some_and(|over| over.min(self.context.limit()) <= self.gives_up_at())
    }

    /// When to stop waiting: as long again as the window, so that what is late is seen to be late.
    fn gives_up(&self, index: usize) -> Option<At> {
        let Verb::Expect(expect) = &self.steps[index].verb else {
            return None;
        };
        Some(self.window_end(index)? + expect.within)
    }

    /// When nothing can change any more, all being met.
    fn last_window(&self) -> At {
        let mut end = self.context.began();
        for (index, step) in self.steps.iter().enumerate() {
            let state = &self.states[index];
            let (met, mark) = (state.met.last(), state.mark);
            let seen = met.map(|(_, at)| *at).max(mark.map(|(_, at, _)| at));
            end = end.max(seen.unwrap_or_default() + QUIET);
            if !step.setup {
                end = end.max(self.window_end(index).unwrap_or_default());
            }
        }
        end.min(self.context.limit())
    }
}

/// The captured message that a step comes after.
fn after(step: &Step) -> Option<&str> {
    match &step.verb {
        Verb::Expect(expect) => expect.after.as_deref(),
        Verb::Never(never) => never.after.as_deref(),
        _ => None,
    }
}

/// How a message that fits the pattern differs from every lawful outcome.
fn no_outcome(expect: &Expect, view: &View, values: &Values<'_>) -> Option<Difference> {
    let outcomes = expect.outcomes.iter();
    let words: Vec<_> = outcomes
        .map(|o| fill_known(&o.to_string(), values))
        .collect();
    let mut fields = expect.outcomes.iter().flat_map(|outcome| &outcome.fields);
    let differs = fields.find(|field| !field.holds(view, values))?;
    Some(Difference {
        is_of_outcomes: true,
        ..differs.difference(view, words.join(", or "))
    })
}

/// How long silence is watched once everything was met.
const QUIET: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        spec::{RefPoint, Role},
        suite::{Files, Instance, Names, Suite},
        trace::{Cast, CastNode, Meta},
        wire::frame::Security,
    };

    /// A scenario of these steps, followed; `sut` names the guest, if there is one.
    struct Scene {
        steps: Vec<Step>,
        context: Context,
    }

    impl Scene {
        fn new(steps: &str, sut: &str) -> Scene {
            let mut files = Files::embedded();
            files.suites.retain(|(path, _)| path == "requirements.toml");
            let text = format!(
                "section = \"t\"\nclause = \"TR 23.844 6.2.1\"\n[[scenario]]\nname = \"t\"\n\
                 purpose = \"t\"\nrequires = [\"UE-001\"]\ngiven = {{ registered = [] }}\n{steps}"
            );
            files.suites.push(("registered/t.toml".to_owned(), text));
            let suite =
                Suite::read(&files, Names::default()).unwrap_or_else(|found| panic!("{found}"));
            let instance = Instance::of(&suite.scenarios[0], 0).remove(0);
            let node = |name: &str| CastNode {
                name: name.into(),
                role: Role::Ue,
                cast: if name == sut {
                    Cast::Sut
                } else {
                    Cast::Reference
                },
                ip: None,
                ports: None,
                listeners: Vec::new(),
                impu: None,
                certificate: crate::spec::Worth::Good,
            };
            let meta = Meta {
                instance: instance.id(),
                seed: 0,
                architecture: instance.architecture,
                options: instance.options,
                delivery: instance.delivery,
                transport: "memory".to_owned(),
                nodes: ["ue-a", "p-cscf", "es-1"].map(node).to_vec(),
                contents: Vec::new(),
                began: At::ZERO,
                unheard: Vec::new(),
                unreset: Vec::new(),
            };
            Scene {
                steps: instance.steps(&suite),
                context: Context::new(&suite, &instance, &meta),
            }
        }

        fn follow(&self, events: &[Event]) -> Follower<'_> {
            let mut follower = Follower::new(&self.steps, &self.context);
            for (index, event) in events.iter().enumerate() {
                follower.feed(index, event);
            }
            follower
        }

        fn states(&self, events: &[Event]) -> Vec<StepState> {
            let outcomes = self.follow(events).outcomes();
            outcomes.iter().map(|outcome| outcome.state).collect()
        }
    }

    fn ms(millis: u64) -> At {
        At::from_nanos(millis * 1_000_000)
    }

    fn done(at: u64, index: usize) -> Event {
        Event {
            at: ms(at),
            kind: EventKind::Step {
                index,
                mark: StepMark::Done,
            },
        }
    }

    fn frame(from: &str, to: &str, start: &str) -> Frame {
        let addr = "192.0.2.1:5060".parse().unwrap();
        Frame {
            from: Party::Node(from.into()),
            to: Party::Node(to.into()),
            src: addr,
            dst: addr,
            on: RefPoint::Gm,
            format: Format::Sip,
            link: None,
            security: Security::Plain,
            bytes: Bytes::from(format!("{start} SIP/2.0\r\nCall-ID: {start}\r\n\r\n")),
            framed: true,
        }
    }

    fn received(at: u64, from: &str, to: &str, start: &str) -> Event {
        Event {
            at: ms(at),
            kind: EventKind::Received(frame(from, to, start)),
        }
    }

    const ASK: &str = r#"
        [[scenario.step]]
        do = { node = "ue-a", fetch = "tiny" }
        [[scenario.step]]
        expect = { from = "ue-a", to = "p-cscf", sip = { method = "INVITE" }, within = "2s", as = "ask" }
        [[scenario.step]]
        never = { from = "ue-a", to = "es-1" }
    "#;

    #[test]
    fn an_expectation_is_met_after_its_stimulus_only() {
        let scene = Scene::new(ASK, "");
        let invite = |at| received(at, "ue-a", "p-cscf", "INVITE x");
        assert_eq!(
            [StepState::Done, StepState::Met, StepState::Held],
            scene.states(&[done(1, 0), invite(2)])[..]
        );
        assert_eq!(
            [StepState::Done, StepState::Unmet, StepState::Void],
            scene.states(&[invite(0), done(1, 0)])[..]
        );
        assert_eq!(
            [
                StepState::NotReached,
                StepState::NotReached,
                StepState::NotReached
            ],
            scene.states(&[])[..]
        );
    }

    #[test]
    fn a_late_message_is_late_and_a_broken_silence_is_told() {
        let scene = Scene::new(ASK, "");
        let events = [
            done(1, 0),
            received(5, "ue-a", "es-1", "INVITE x"),
            received(2500, "ue-a", "p-cscf", "INVITE x"),
        ];
        let follower = scene.follow(&events);
        let outcomes = follower.outcomes();
        assert_eq!(StepState::Late, outcomes[1].state);
        assert_eq!(StepState::Violated, outcomes[2].state);
        assert_eq!([1], outcomes[2].broken[..]);
        assert_eq!(Some(ms(5)), outcomes[2].at);
    }

    #[test]
    fn an_unmet_expectation_names_the_nearest_message() {
        let scene = Scene::new(ASK, "");
        let events = [
            done(1, 0),
            received(3, "ue-a", "p-cscf", "SUBSCRIBE x"),
            received(5, "ue-a", "es-1", "INVITE x"),
        ];
        let nearest = scene.follow(&events).outcomes()[1].nearest.clone().unwrap();
        assert_eq!(2, nearest.event);
        assert_eq!("to", nearest.difference.field);
        assert_eq!("es-1", nearest.difference.actual);
        assert!(nearest.is_wrong());
        let nearest = scene.follow(&events[..2]);
        let nearest = nearest.outcomes()[1].nearest.clone().unwrap();
        assert_eq!("sip method", nearest.difference.field);
        assert_eq!("INVITE", nearest.difference.expected);
        assert_eq!("SUBSCRIBE", nearest.difference.actual);
        assert!(!nearest.is_wrong());
    }

    #[test]
    fn what_came_is_wrong_only_if_it_is_of_the_kind_that_was_due() {
        let nearest = |due: &str, format: Format, came: &str| {
            let expect = format!(
                "[[scenario.step]]\ndo = {{ node = \"ue-a\", fetch = \"tiny\" }}\n[[scenario.step]]\n\
                 expect = {{ from = \"p-cscf\", to = \"ue-a\", {due}, within = \"2s\" }}"
            );
            let scene = Scene::new(&expect, "");
            let mut came = Frame {
                bytes: Bytes::from(came.to_owned()),
                ..frame("p-cscf", "ue-a", "")
            };
            came.format = format;
            let kind = EventKind::Received(came);
            let events = [done(1, 0), Event { at: ms(2), kind }];
            let nearest = scene.follow(&events).outcomes()[1].nearest.clone();
            nearest.unwrap()
        };
        let is_wrong = |due: &str, format, came: &str| nearest(due, format, came).is_wrong();
        let sip = |due, start: &str, method: &str| {
            let text = format!("{start}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n");
            is_wrong(due, Format::Sip, &text)
        };
        let answer = "sip = { status = 488, for = \"INVITE\" }";
        assert!(sip(answer, "SIP/2.0 404 Not Found", "INVITE"));
        assert!(!sip(answer, "SIP/2.0 100 Trying", "INVITE"));
        assert!(!sip(answer, "SIP/2.0 200 OK", "BYE"));
        assert!(!sip(answer, "INVITE sip:a@b SIP/2.0", "INVITE"));
        assert!(!sip(
            "sip = { method = \"ACK\" }",
            "SIP/2.0 404 Not Found",
            "INVITE"
        ));
        let http = |due, text| is_wrong(due, Format::Http, text);
        let plain = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n";
        assert!(http("http = { status = 403 }", plain));
        assert!(http("ppstp = { response = 0 }", plain));
        assert!(http("ppstp = { version = 1 }", plain));
        assert!(!http("ppstp = { request = \"FIND\" }", plain));
        let lacking = nearest("ppstp = { version = 1 }", Format::Http, plain);
        let answered = |response: &str| {
            let body = format!("{{\"PPSPTrackerProtocol\":{{\"response_type\":{response}}}}}");
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/ppsp-tracker+json";
            let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            nearest("ppstp = { response = 0 }", Format::Http, &text).difference
        };
        assert_eq!("FAILED", answered("1").actual);
        assert_eq!("SUCCESSFUL", answered("1").expected);
        assert_eq!("10", answered("10").actual);
        let why = "no ppstp in 200 (Content-Type text/plain)";
        assert_eq!(why, lacking.difference.actual);
    }

    /// Who has a minute to say something is not late because somebody else was, and the run ended.
    #[test]
    fn what_has_time_left_when_the_run_ends_is_not_missed() {
        let steps = r#"
            [[scenario.step]]
            expect = { from = "p-cscf", sip = { method = "INVITE" }, within = "2s" }
            [[scenario.step]]
            expect = { from = "ue-a", sip = { method = "PUBLISH" }, within = "50s" }
        "#;
        use StepState::{NotReached, Unmet};
        assert_eq!([Unmet, NotReached], Scene::new(steps, "").states(&[])[..]);
        // What stands first may be why what follows is missing, so it has its time.
        let turned = steps
            .replace("2s", "9s")
            .replace("50s", "2s")
            .replace("9s", "50s");
        let scene = Scene::new(&turned, "");
        assert_eq!([Unmet, Unmet], scene.states(&[])[..]);
        let follower = scene.follow(&[]);
        assert!(!follower.is_finished(ms(49_999)) && follower.is_finished(ms(50_000)));
        // At its limit the run ends whatever time is left.
        let steps = steps.replace("50s", "70s").replace("2s", "61s");
        assert_eq!([Unmet, Unmet], Scene::new(&steps, "").states(&[])[..]);
    }

    #[test]
    fn a_prohibition_says_until_when_it_holds() {
        let steps = r#"
            [[scenario.step]]
            expect = { from = "ue-a", sip = { method = "PUBLISH" }, times = { min = 0 }, as = "told" }
            [[scenario.step]]
            never = { from = "ue-a", sip = { status = 488, for = "INVITE" }, until = "told" }
            [[scenario.step]]
            expect = { from = "ue-a", sip = { method = "BYE" } }
        "#;
        let words = Scene::new(steps, "").follow(&[]).outcomes()[1]
            .words
            .clone();
        assert_eq!(
            "never ue-a → anybody: 488 to INVITE, before ue-a → anybody: PUBLISH",
            words
        );
    }

    #[test]
    fn the_run_waits_twice_the_window_and_then_gives_up() {
        let scene = Scene::new(ASK, "");
        let mut follower = scene.follow(&[]);
        assert_eq!(Some(0), follower.next_stimulus().map(|s| s.index));
        follower.feed(0, &done(1, 0));
        assert!(follower.next_stimulus().is_none());
        assert_eq!(Some(ms(4001)), follower.deadline());
        assert!(!follower.is_finished(ms(4000)));
        assert!(follower.is_finished(ms(4001)));

        follower.feed(1, &received(10, "ue-a", "p-cscf", "INVITE x"));
        assert!(follower.all_met());
        assert_eq!(Some(ms(2010)), follower.deadline());
        assert!(follower.is_finished(ms(2010)));
    }

    #[test]
    fn a_wait_is_due_after_what_is_expected_before_it() {
        let steps = format!("{ASK}\n[[scenario.step]]\nwait = \"3s\"\n");
        let scene = Scene::new(&steps, "");
        let mut follower = scene.follow(&[done(1, 0)]);
        assert!(follower.next_stimulus().is_none());
        follower.feed(1, &received(10, "ue-a", "p-cscf", "INVITE x"));
        let wait = follower.next_stimulus().unwrap();
        assert_eq!((3, Some(ms(3010))), (wait.index, wait.due));
        assert_eq!(Some(ms(3010)), follower.deadline());
    }

    #[test]
    fn a_message_meets_one_expectation_and_names_what_comes_after() {
        let steps = r#"
            [[scenario.step]]
            expect = { from = "ue-a", sip = { method = "INVITE" }, as = "first" }
            [[scenario.step]]
            expect = { from = "ue-a", sip = { method = "INVITE" }, as = "second" }
            [[scenario.step]]
            expect = { from = "p-cscf", sip = { call-id = "${second.call-id}" }, after = "second" }
        "#;
        let scene = Scene::new(steps, "");
        let one = received(1, "ue-a", "p-cscf", "INVITE a");
        let two = received(2, "ue-a", "p-cscf", "INVITE b");
        let on = received(3, "p-cscf", "es-1", "INVITE b");
        use StepState::{Met, NotReached, Unmet};
        assert_eq!(
            [Met, Unmet, NotReached],
            scene.states(std::slice::from_ref(&one))[..]
        );
        assert_eq!(
            [Met, Met, Met],
            scene.states(&[one.clone(), two.clone(), on.clone()])[..]
        );
        assert_eq!([Met, Met, Unmet], scene.states(&[on, one, two])[..]);
    }

    #[test]
    fn every_message_that_must_not_come_is_told_and_the_first_is_first() {
        let scene = Scene::new(ASK, "");
        let events = [
            done(1, 0),
            received(5, "ue-a", "es-1", "INVITE x"),
            received(6, "ue-a", "p-cscf", "INVITE x"),
            received(7, "ue-a", "es-1", "INVITE y"),
        ];
        let silence = scene.follow(&events).outcomes().remove(2);
        assert_eq!([1, 3], silence.broken[..]);
        assert_eq!(Some(ms(5)), silence.at);
        let flood = (0..1000).map(|n| received(n, "ue-a", "es-1", "INVITE x"));
        let events: Vec<_> = std::iter::once(done(1, 0)).chain(flood).collect();
        let silence = scene.follow(&events).outcomes().remove(2);
        assert_eq!((1..17).collect::<Vec<usize>>(), silence.broken);
    }

    /// Whoever floods hides nobody else, and is counted.
    #[test]
    fn each_party_that_breaks_a_silence_is_told_and_counted() {
        let steps = r#"
            [[scenario.step]]
            expect = { from = "ue-a", sip = { method = "BYE" }, times = { min = 1 } }
            [[scenario.step]]
            never = { to = "es-1" }
        "#;
        let flood = (0..20).map(|n| received(n, "ue-a", "es-1", "INVITE x"));
        let others = (20..23).map(|n| received(n, "p-cscf", "es-1", "INVITE x"));
        let events: Vec<_> = flood.chain(others).collect();
        let silence = Scene::new(steps, "").follow(&events).outcomes().remove(1);
        assert_eq!(16 + 3, silence.broken.len());
        assert_eq!(vec![("ue-a".to_owned(), 4)], silence.more_broken);
    }

    #[test]
    fn times_are_counted_and_more_is_a_violation() {
        let steps = r#"
            [[scenario.step]]
            expect = { from = "ue-a", sip = { method = "INVITE" }, times = 2 }
        "#;
        let scene = Scene::new(steps, "");
        let invites: Vec<_> = (0..4)
            .map(|n| received(n, "ue-a", "p-cscf", "INVITE a"))
            .collect();
        assert_eq!([StepState::Unmet], scene.states(&invites[..1])[..]);
        assert_eq!([StepState::Met], scene.states(&invites[..2])[..]);
        assert_eq!([StepState::Violated], scene.states(&invites)[..]);
        let outcome = scene.follow(&invites).outcomes().remove(0);
        assert_eq!([0, 1], outcome.met[..]);
        assert_eq!([2, 3], outcome.broken[..]);
    }

    #[test]
    fn a_prohibition_holds_what_is_expected_too_unless_it_says_otherwise() {
        let steps = |except: &str| {
            format!(
                r#"
                [[scenario.step]]
                do = {{ node = "ue-a", fetch = "tiny" }}
                [[scenario.step]]
                expect = {{ from = "ue-a", sip = {{ method = "INVITE" }}, times = 1 }}
                [[scenario.step]]
                never = {{ from = "ue-a", to = "es-1"{except} }}
            "#
            )
        };
        let events = [done(1, 0), received(2, "ue-a", "es-1", "INVITE x")];
        use StepState::{Done, Held, Met, Violated};
        let strict = Scene::new(&steps(""), "");
        assert_eq!([Done, Met, Violated], strict.states(&events)[..]);
        let lenient = Scene::new(&steps(", except = \"expected\""), "");
        assert_eq!([Done, Met, Held], lenient.states(&events)[..]);
        let again = [
            events.clone().to_vec(),
            vec![received(3, "ue-a", "es-1", "BYE x")],
        ]
        .concat();
        assert_eq!([Done, Met, Violated], lenient.states(&again)[..]);
    }

    #[test]
    fn a_prohibition_after_a_message_covers_what_comes_before_the_next_stimulus() {
        let steps = r#"
            [[scenario.step]]
            expect = { from = "ue-a", sip = { method = "INVITE" }, as = "first" }
            [[scenario.step]]
            do = { node = "ue-a", fetch = "tiny" }
            [[scenario.step]]
            never = { from = "p-cscf", after = "first" }
        "#;
        let scene = Scene::new(steps, "");
        let first = received(1, "ue-a", "p-cscf", "INVITE a");
        let on = received(2, "p-cscf", "es-1", "INVITE a");
        use StepState::{Done, Held, Met, Violated};
        let states = scene.states(&[on.clone(), first.clone(), done(3, 1)]);
        assert_eq!([Met, Done, Held], states[..]);
        let states = scene.states(&[first, on, done(3, 1)]);
        assert_eq!([Met, Done, Violated], states[..]);
    }

    #[test]
    fn what_a_guest_receives_counts_when_it_is_sent() {
        let sent = Event {
            at: ms(2),
            kind: EventKind::Sent(frame("ue-a", "p-cscf", "INVITE x")),
        };
        let events = [done(1, 0), sent];
        assert_eq!(StepState::Unmet, Scene::new(ASK, "").states(&events)[1]);
        assert_eq!(StepState::Met, Scene::new(ASK, "p-cscf").states(&events)[1]);
    }

    #[test]
    fn a_window_counts_from_the_last_loss() {
        let scene = Scene::new(ASK, "");
        let lost = Event {
            at: ms(1500),
            kind: EventKind::Lost(frame("ue-a", "p-cscf", "INVITE x")),
        };
        let events = [
            done(1, 0),
            lost,
            received(3000, "ue-a", "p-cscf", "INVITE x"),
        ];
        assert_eq!(StepState::Met, scene.states(&events)[1]);
    }

    #[test]
    fn the_lawful_outcome_that_came_is_told() {
        let steps = r#"
            [[scenario.step]]
            expect = { from = "ue-a", one-of = [
                { sip = { method = "INVITE" }, source = "a" },
                { sip = { method = "SUBSCRIBE" }, source = "b", leniency = "lenient" },
            ] }
        "#;
        let scene = Scene::new(steps, "");
        let other = received(1, "ue-a", "p-cscf", "PUBLISH x");
        let outcomes = scene.follow(std::slice::from_ref(&other)).outcomes();
        let nearest = outcomes[0].nearest.clone().unwrap().difference;
        assert_eq!(
            "sip method INVITE, or sip method SUBSCRIBE",
            nearest.expected
        );
        assert_eq!("PUBLISH", nearest.actual);
        let lawful = received(2, "ue-a", "p-cscf", "SUBSCRIBE x");
        let outcomes = scene.follow(&[other, lawful]).outcomes();
        assert_eq!(
            (StepState::Met, Some(1)),
            (outcomes[0].state, outcomes[0].outcome)
        );
    }

    fn any_event() -> impl Strategy<Value = (u64, u8)> {
        (0u64..400, 0u8..5)
    }

    fn event((at, kind): (u64, u8)) -> Event {
        match kind {
            0 => done(at, 0),
            1 => received(at, "ue-a", "p-cscf", "INVITE x"),
            2 => received(at, "ue-a", "es-1", "INVITE x"),
            3 => received(at, "ue-a", "p-cscf", "BYE x"),
            _ => Event {
                at: ms(at),
                kind: EventKind::Lost(frame("ue-a", "p-cscf", "INVITE x")),
            },
        }
    }

    static SCENE: LazyLock<Scene> = LazyLock::new(|| Scene::new(ASK, ""));

    proptest! {
        #[test]
        fn what_is_met_stays_met_and_what_is_broken_stays_broken(
            mut plan in proptest::collection::vec(any_event(), 0..12),
            cut in 0usize..12,
        ) {
            plan.sort_by_key(|(at, _)| *at);
            let events: Vec<_> = plan.into_iter().map(event).collect();
            let cut = cut.min(events.len());
            let scene = &*SCENE;
            let before = scene.follow(&events[..cut]).outcomes();
            let after = scene.follow(&events).outcomes();
            for (before, after) in before.iter().zip(&after) {
                if before.state == StepState::Violated {
                    prop_assert_eq!((before.state, before.at), (after.state, after.at));
                    prop_assert!(after.broken.starts_with(&before.broken));
                }
                if matches!(before.state, StepState::Met | StepState::Late) {
                    prop_assert_eq!(before.state, after.state);
                    prop_assert_eq!(before.at, after.at);
                }
            }
        }

        #[test]
        fn following_live_and_again_gives_the_same(
            mut plan in proptest::collection::vec(any_event(), 0..12),
        ) {
            plan.sort_by_key(|(at, _)| *at);
            let events: Vec<_> = plan.into_iter().map(event).collect();
            let scene = &*SCENE;
            let mut live = Follower::new(&scene.steps, &scene.context);
            for (index, event) in events.iter().enumerate() {
                live.next_stimulus();
                live.deadline();
                live.is_finished(event.at);
                live.feed(index, event);
                live.outcomes();
            }
            prop_assert_eq!(scene.follow(&events).outcomes(), live.outcomes());
        }
    }
}
