//! A trace as a ladder: one lifeline a node, one arrow a frame, in the order of time. [`Ladder`] is what
//! is drawn; [`Ladder::text`] draws it in characters.

mod ghosts;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    MissingRow,
    flow::{Flow, FlowStep},
    label::{self, Label},
};
use crate::{
    io::LinkEvent,
    spec::{RefPoint, Role},
    time::At,
    trace::{EventKind, StepMark, Trace, Trouble},
    wire::frame::{Frame, Party},
};

pub use ghosts::{Ghost, in_short};

/// The picture of one trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// The parties that sent or got anything, from left to right.
    pub lanes: Vec<String>,
    pub rows: Vec<Row>,
}

/// One line of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    Arrow(Arrow),
    /// A band across all lanes: a step was carried out.
    Band {
        at: At,
        text: String,
        part: Part,
    },
    /// A message that was expected here and never came.
    Ghost(Ghost),
    /// Something at one lane: a remark of the node, the end of a connection.
    Remark {
        at: At,
        event: usize,
        lane: usize,
        text: String,
    },
}

/// What a band begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is given before the scenario begins.
    Given,
    /// The scenario itself.
    Scenario,
}

/// A step as a band says it, and the message it expected in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caption {
    pub text: String,
    pub part: Part,
    pub missing: Option<MissingRow>,
    /// What is missing is what the verdict rests on.
    pub failing: bool,
}

/// One frame, or several of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    pub at: At,
    /// The first event of it, counted from 0.
    pub event: usize,
    pub from: usize,
    pub to: usize,
    pub on: RefPoint,
    pub label: String,
    /// How many frames it stands for.
    pub times: usize,
    pub lost: bool,
    /// A finding points at it.
    pub failing: bool,
    /// The step of the call flow it belongs to.
    pub step: Option<FlowStep>,
}

/// How to draw in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns.
    pub width: usize,
    pub charset: Charset,
}

/// The characters that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    Unicode,
    Ascii,
}

impl Charset {
    /// A text for people in these characters: where they are not enough, as near as they come.
    pub fn write(self, text: &str) -> String {
        if self == Charset::Unicode || text.is_ascii() {
            return text.to_owned();
        }
        let mut plain = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '→' | '▶' => plain.push_str("->"),
                '←' | '◀' => plain.push_str("<-"),
                '…' => plain.push_str("..."),
                '·' | '–' => plain.push('-'),
                '×' => plain.push('x'),
                '✗' => plain.push('X'),
                '—' => plain.push_str("--"),
                c if c.is_ascii() => plain.push(c),
                _ => plain.push('?'),
            }
        }
        plain
    }
}

impl Look {
    /// As wide as the picture needs: for files.
    pub const WIDE: Look = Look {
        width: 400,
        charset: Charset::Unicode,
    };
}

impl Default for Look {
    fn default() -> Look {
        Look {
            width: 120,
            charset: Charset::Unicode,
        }
    }
}

impl Ladder {
    /// The ladder of `trace`. `steps` are the steps in words; `failing` says which events a finding
    /// points at.
    pub fn of(trace: &Trace, steps: &[Caption], failing: &dyn Fn(usize) -> bool) -> Ladder {
        let lanes = lanes(trace, steps);
        // A finding points at what arrived; the arrow begins where it was sent.
        let mut red: BTreeSet<usize> = (0..trace.events.len()).filter(|e| failing(*e)).collect();
        let sendings = trace.sendings();
        red.extend(
            red.clone()
                .into_iter()
                .filter_map(|event| sendings.get(event).copied()),
        );
        let failing = |event: usize| red.contains(&event);
        let number = |name: &str| lanes.iter().position(|lane| lane == name);
        let mut rows = Rows::new(trace);
        for (event, what) in trace.events.iter().enumerate() {
            rows.expect(event, steps, &lanes);
            match &what.kind {
                EventKind::Sent(frame) => {
                    rows.send(what.at, event, frame, &lanes, failing(event));
                }
                EventKind::Received(frame) => {
                    rows.receive(what.at, event, frame, &lanes, failing(event));
                }
                EventKind::Lost(frame) => rows.lose(frame, failing(event)),
                EventKind::Opening { node, on, to } if failing(event) => {
                    rows.opening(what.at, event, node.as_str(), *on, to, &lanes);
                }
                // Otherwise drawn only if it comes to nothing: then there is a link event.
                EventKind::Opening { .. } => {}
                EventKind::Link {
                    node, event: link, ..
                } => {
                    if let (Some(text), Some(lane)) = (trouble(link), number(node.as_str())) {
                        rows.remark(what.at, event, lane, text.to_owned());
                    }
                }
                EventKind::Noted { node, note } => {
                    if let Some(lane) = number(node.as_str()) {
                        rows.remark(
                            what.at,
                            event,
                            lane,
                            format!("{}: {}", note.topic, note.text),
                        );
                    }
                }
                EventKind::Guest { node, trouble } => {
                    if let Some(lane) = number(node.as_str()) {
                        let text = match trouble {
                            Trouble::Ended(how) => how.clone(),
                            Trouble::NotPushed(why) => format!("could not be pushed: {why}"),
                        };
                        rows.remark(what.at, event, lane, text);
                    }
                }
                EventKind::Step { index, mark } => {
                    let (text, part) = step(steps, *index, *mark);
                    rows.band(what.at, text, part);
                }
                EventKind::Truncated => rows.band(
                    what.at,
                    "the trace hit its limit: what follows is missing".to_owned(),
                    Part::Scenario,
                ),
            }
        }
        rows.expect(trace.events.len(), steps, &lanes);
        rows.expect_instead(steps, &lanes);
        Ladder {
            lanes,
            rows: rows.in_place(),
        }
    }

    /// At most `most` rows: what stands before and after the first failing arrow, or else the beginning.
    /// What is given is left out, unless it failed. With the lanes these rows need, and how many rows were
    /// left out before and after them.
    pub fn excerpt(&self, most: usize) -> (Ladder, usize, usize) {
        let is_failing = |row: &Row| match row {
            Row::Arrow(arrow) => arrow.failing,
            Row::Ghost(ghost) => ghost.failing,
            Row::Band { .. } | Row::Remark { .. } => false,
        };
        let is_own = |row: &Row| {
            matches!(
                row,
                Row::Band {
                    part: Part::Scenario,
                    ..
                }
            )
        };
        let own = self.rows.iter().position(is_own).unwrap_or(0);
        let middle = self.rows.iter().position(is_failing).unwrap_or(own);
        let first = middle
            .saturating_sub(most.saturating_mul(2) / 3)
            .min(self.rows.len().saturating_sub(most))
            .max(if middle < own { 0 } else { own });
        let last = first.saturating_add(most).min(self.rows.len());
        let mut excerpt = Ladder {
            lanes: self.lanes.clone(),
            rows: self.rows[first..last].to_vec(),
        };
        excerpt.drop_unused_lanes();
        (excerpt, first, self.rows.len() - last)
    }

    fn drop_unused_lanes(&mut self) {
        let mut used = vec![false; self.lanes.len()];
        for row in &self.rows {
            match row {
                Row::Arrow(arrow) => {
                    used[arrow.from] = true;
                    used[arrow.to] = true;
                }
                Row::Ghost(ghost) => {
                    for lane in [ghost.from, ghost.to].into_iter().flatten() {
                        used[lane] = true;
                    }
                }
                Row::Remark { lane, .. } => used[*lane] = true,
                Row::Band { .. } => {}
            }
        }
        let place = |lane: usize| used[..lane].iter().filter(|used| **used).count();
        for row in &mut self.rows {
            match row {
                Row::Arrow(arrow) => {
                    arrow.from = place(arrow.from);
                    arrow.to = place(arrow.to);
                }
                Row::Ghost(ghost) => {
                    ghost.from = ghost.from.map(place);
                    ghost.to = ghost.to.map(place);
                }
                Row::Remark { lane, .. } => *lane = place(*lane),
                Row::Band { .. } => {}
            }
        }
        let mut keep = used.iter();
        self.lanes.retain(|_| keep.next().copied().unwrap_or(false));
    }

    /// Draws it in characters, one row a line.
    pub fn text(&self, look: Look) -> String {
        Canvas::new(self, look).draw()
    }
}

fn step(steps: &[Caption], index: usize, mark: StepMark) -> (String, Part) {
    let (words, part) = match steps.get(index) {
        Some(caption) => (caption.text.as_str(), caption.part),
        None => ("", Part::Scenario),
    };
    let given = match part {
        Part::Given => "given: ",
        Part::Scenario => "",
    };
    let mark = match mark {
        StepMark::Done => "",
        StepMark::Impossible => " (impossible)",
    };
    (format!("step {}: {given}{words}{mark}", index + 1), part)
}

/// The ends of connections that are worth a line.
fn trouble(event: &LinkEvent) -> Option<&'static str> {
    match event {
        LinkEvent::Refused => Some("connection refused"),
        LinkEvent::Reset => Some("connection reset"),
        LinkEvent::TimedOut => Some("connection timed out"),
        LinkEvent::NotSecured { .. } => Some("no TLS"),
        LinkEvent::Opened | LinkEvent::Accepted { .. } | LinkEvent::Closed => None,
    }
}

/// The parties that sent or got a frame, or ought to have: nodes in a fixed order of roles, then unknown
/// addresses.
fn lanes(trace: &Trace, steps: &[Caption]) -> Vec<String> {
    let mut places: BTreeMap<(usize, String), ()> = BTreeMap::new();
    let place = |party: &Party| match party {
        Party::Unknown(addr) => (usize::MAX, addr.to_string()),
        Party::Node(name) => {
            let role = trace.meta.nodes.iter().find(|n| n.name == *name);
            let order = role.map_or(ORDER.len(), |node| {
                ORDER
                    .iter()
                    .position(|r| *r == node.role)
                    .unwrap_or(ORDER.len())
            });
            (order, name.as_str().to_owned())
        }
    };
    for frame in trace.events.iter().filter_map(|event| event.frame()) {
        places.insert(place(&frame.from), ());
        places.insert(place(&frame.to), ());
    }
    for missing in steps.iter().filter_map(|step| step.missing.as_ref()) {
        for name in [&missing.from, &missing.to].into_iter().flatten() {
            places.insert(place(&Party::Node(name.as_str().into())), ());
        }
    }
    places.into_keys().map(|(_, name)| name).collect()
}

const ORDER: &[Role] = &[
    Role::Ue,
    Role::UserPeer,
    Role::PCscf,
    Role::SCscf,
    Role::ICscf,
    Role::Hss,
    Role::Tracker,
    Role::Controller,
    Role::EdgeServer,
    Role::OriginServer,
];

/// Collects rows: joins an arrival to its sending, and runs of a kind to one arrow.
struct Rows {
    done: Vec<Row>,
    flow: Flow,
    part: Part,
    /// Sendings whose arrival has not been seen: row and frame.
    flying: Vec<(usize, Frame)>,
    /// Arrows that more of their kind may join: row and kind.
    open: Vec<(usize, String)>,
    /// The row of each event that is part of one.
    row_of: BTreeMap<usize, usize>,
    /// What never came, and the row of what came instead: rows.
    instead: Vec<(usize, usize)>,
}

impl Rows {
    fn new(trace: &Trace) -> Rows {
        Rows {
            done: Vec::new(),
            flow: Flow::new(trace),
            part: Part::Given,
            flying: Vec::new(),
            open: Vec::new(),
            row_of: BTreeMap::new(),
            instead: Vec::new(),
        }
    }

    fn send(&mut self, at: At, event: usize, frame: &Frame, lanes: &[String], failing: bool) {
        if let Some(row) = self.arrow(at, event, frame, lanes, failing) {
            self.row_of.insert(event, row);
            self.flying.push((row, frame.clone()));
            let surplus = self.flying.len().saturating_sub(FLYING);
            self.flying.drain(..surplus);
        }
    }

    fn receive(&mut self, at: At, event: usize, frame: &Frame, lanes: &[String], failing: bool) {
        let landed = self.land(frame);
        let row = landed.or_else(|| self.arrow(at, event, frame, lanes, failing));
        self.row_of.extend(row.map(|row| (event, row)));
    }

    fn lose(&mut self, frame: &Frame, failing: bool) {
        if let Some(row) = self.land(frame) {
            self.mark(row, |arrow| {
                arrow.lost = true;
                arrow.failing |= failing;
            });
        }
    }

    /// Takes the oldest sending of this very frame out of the air.
    fn land(&mut self, frame: &Frame) -> Option<usize> {
        let place = self
            .flying
            .iter()
            .position(|(_, sent)| is_same(sent, frame))?;
        Some(self.flying.remove(place).0)
    }

    fn arrow(
        &mut self,
        at: At,
        event: usize,
        frame: &Frame,
        lanes: &[String],
        failing: bool,
    ) -> Option<usize> {
        let lane = |party: &Party| lanes.iter().position(|lane| *lane == party.to_string());
        let (from, to) = (lane(&frame.from)?, lane(&frame.to)?);
        let Label { text, kind } = label::of(frame);
        let step = self
            .flow
            .step(frame)
            .filter(|_| self.part == Part::Scenario);
        let kind = kind.filter(|_| !failing);
        let key = kind.map(|kind| (format!("{from} {to} {} {kind}", frame.on), kind));
        if let Some((key, kind)) = &key
            && let Some((row, _)) = self.open.iter().find(|(_, open)| open == key)
        {
            let row = *row;
            self.mark(row, |arrow| {
                arrow.times += 1;
                arrow.label.clone_from(kind);
            });
            return Some(row);
        }
        self.done.push(Row::Arrow(Arrow {
            at,
            event,
            from,
            to,
            on: frame.on,
            label: text,
            times: 1,
            lost: false,
            failing,
            step,
        }));
        let row = self.done.len() - 1;
        match key {
            Some((key, _)) => self.open.push((row, key)),
            None => self.open.clear(),
        }
        Some(row)
    }

    /// A connection that is being opened and ought not to be.
    fn opening(
        &mut self,
        at: At,
        event: usize,
        from: &str,
        on: RefPoint,
        to: &Party,
        lanes: &[String],
    ) {
        let lane = |name: &str| lanes.iter().position(|lane| lane == name);
        let (Some(from), Some(to)) = (lane(from), lane(&to.to_string())) else {
            return;
        };
        self.open.clear();
        self.done.push(Row::Arrow(Arrow {
            at,
            event,
            from,
            to,
            on,
            label: "opens a connection".to_owned(),
            times: 1,
            lost: false,
            failing: true,
            step: None,
        }));
    }

    fn mark(&mut self, row: usize, change: impl FnOnce(&mut Arrow)) {
        if let Some(Row::Arrow(arrow)) = self.done.get_mut(row) {
            change(arrow);
        }
    }

    fn remark(&mut self, at: At, event: usize, lane: usize, text: String) {
        self.done.push(Row::Remark {
            at,
            event,
            lane,
            text,
        });
    }

    fn band(&mut self, at: At, text: String, part: Part) {
        self.open.clear();
        self.part = part;
        self.done.push(Row::Band { at, text, part });
    }
}

fn is_same(sent: &Frame, frame: &Frame) -> bool {
    (&sent.from, &sent.to, sent.on, &sent.bytes) == (&frame.from, &frame.to, frame.on, &frame.bytes)
}

/// More frames than this are never in the air at once; those lost without a trace are forgotten.
const FLYING: usize = 4096;

/// Draws a ladder in characters.
struct Canvas<'a> {
    ladder: &'a Ladder,
    ink: &'static Ink,
    /// Columns left of the first lane.
    margin: usize,
    /// Columns between two lanes.
    pitch: usize,
    /// Columns left of what is written at the right.
    lines: usize,
}

/// The characters of a drawing.
struct Ink {
    lane: char,
    shaft: char,
    band: char,
    right: char,
    left: char,
    lost: char,
    failing: char,
    times: char,
    cut: char,
    remark: char,
    /// From a lane to itself.
    own: char,
    /// The heads of what never came.
    ghost_right: char,
    ghost_left: char,
}

const UNICODE: Ink = Ink {
    lane: '│',
    shaft: '─',
    band: '╌',
    right: '▶',
    left: '◀',
    lost: '╳',
    failing: '✗',
    times: '×',
    cut: '…',
    remark: '·',
    own: '↻',
    ghost_right: '▷',
    ghost_left: '◁',
};

const ASCII: Ink = Ink {
    lane: '|',
    shaft: '-',
    band: '.',
    right: '>',
    left: '<',
    lost: 'x',
    failing: 'X',
    times: 'x',
    cut: '~',
    remark: '*',
    own: 'o',
    ghost_right: ')',
    ghost_left: '(',
};

/// Columns left of the first lane and right of the last, and between two: what is left where it is tight.
const MARGIN: usize = 5;
const TIGHT_MARGIN: usize = 3;
const TAIL: usize = 6;
const TIGHT_TAIL: usize = 2;
const NARROW: usize = 8;
const NARROWEST: usize = 3;

/// Columns that no label gets more than: between two lanes, and over the whole picture where lanes are few.
const WIDEST: usize = 20;
const WIDEST_OF_ALL: usize = 60;

impl<'a> Canvas<'a> {
    fn new(ladder: &'a Ladder, look: Look) -> Canvas<'a> {
        let gaps = ladder.lanes.len().saturating_sub(1).max(1);
        let right = right(ladder);
        let room = |beside: usize| look.width.saturating_sub(beside + right) / gaps;
        let (margin, tail) = match room(MARGIN + TAIL) < NARROW {
            true => (TIGHT_MARGIN, TIGHT_TAIL),
            false => (MARGIN, TAIL),
        };
        let pitch = wanted(ladder).min(room(margin + tail)).max(NARROWEST);
        // Few lanes leave little room for what bands and open lines say: then the picture goes on to the right.
        let bands = ladder.rows.iter().map(|row| match row {
            Row::Band { text, .. } => text.chars().count() + 10,
            Row::Ghost(ghost) => match (ghost.from, ghost.to) {
                (Some(lane), None) | (None, Some(lane)) => {
                    margin + lane * pitch + ghost.label.chars().count() + 8
                }
                _ => 0,
            },
            Row::Arrow(_) | Row::Remark { .. } => 0,
        });
        let bands = bands.max().unwrap_or(0);
        let bands = bands.min(look.width.saturating_sub(right));
        Canvas {
            ladder,
            ink: match look.charset {
                Charset::Unicode => &UNICODE,
                Charset::Ascii => &ASCII,
            },
            margin,
            pitch,
            lines: (margin + pitch * gaps + tail).max(bands),
        }
    }

    fn draw(&self) -> String {
        let mut text = self.names();
        for row in &self.ladder.rows {
            text.push_str(&match row {
                Row::Arrow(arrow) => self.arrow(arrow),
                Row::Ghost(ghost) => self.ghost(ghost),
                Row::Band { at, text, .. } => self.band(*at, text),
                Row::Remark {
                    at,
                    event,
                    lane,
                    text,
                } => self.remark(*at, *event, *lane, text),
            });
        }
        text
    }

    /// The heads of the lanes, each in the middle above its line.
    fn names(&self) -> String {
        let mut line = vec![' '; self.lines];
        for (lane, name) in self.ladder.lanes.iter().enumerate() {
            let name = self.cut(name, self.pitch - 1);
            let length = name.chars().count();
            let first = self.column(lane).saturating_sub(length / 2);
            write_over(&mut line, first, &name);
        }
        finish(line, String::new())
    }

    fn arrow(&self, arrow: &Arrow) -> String {
        let mut line = self.bare();
        let (a, b) = (self.column(arrow.from), self.column(arrow.to));
        let mut label = self.plain(&arrow.label);
        if arrow.times > 1 {
            label = format!("{label} {}{}", self.ink.times, arrow.times);
        }
        if a == b {
            let label = format!("{} {label}", self.ink.own);
            write_over(&mut line, a + 1, &self.cut(&label, self.pitch - 1));
            return self.finish(line, arrow);
        }
        let (left, right) = (a.min(b), a.max(b));
        line[left + 1..right].fill(self.ink.shaft);
        let head = if arrow.lost {
            self.ink.lost
        } else if a < b {
            self.ink.right
        } else {
            self.ink.left
        };
        line[if a < b { right - 1 } else { left + 1 }] = head;
        // Two dashes before a label and one after; where it is tight, none. The head takes a column.
        let room = right - left - 2;
        let is_tight = label.chars().count() + 2 > room;
        let first = match (is_tight, a < b) {
            (true, true) => left + 1,
            (true, false) => left + 2,
            (false, _) => left + 3,
        };
        write_over(&mut line, first, &self.cut(&label, room));
        self.finish(line, arrow)
    }

    /// A broken line with an open head: nothing came along it.
    fn ghost(&self, ghost: &Ghost) -> String {
        let mut line = self.bare();
        let label = self.plain(&ghost.label);
        match (ghost.from, ghost.to) {
            (Some(from), Some(to)) if from != to => {
                let (a, b) = (self.column(from), self.column(to));
                let (left, right) = (a.min(b), a.max(b));
                line[left + 1..right].fill(self.ink.band);
                let (end, head) = match a < b {
                    true => (right - 1, self.ink.ghost_right),
                    false => (left + 1, self.ink.ghost_left),
                };
                line[end] = head;
                // Where it is tight, the line alone has to do.
                if let Some(room) = (right - left).checked_sub(6) {
                    write_over(&mut line, left + 3, &self.cut(&label, room + 1));
                }
            }
            // One party may be one of several: the line begins or ends in the open, on the right if there is room.
            (from, to) => {
                let lane = self.column(from.or(to).unwrap_or_default());
                let (before, behind) = (lane.saturating_sub(1), self.lines - lane - 2);
                let shaft = String::from_iter([self.ink.band; 2]);
                let is_behind = behind >= before || behind >= label.chars().count() + 5;
                let goes_right = from.is_some() == is_behind;
                let head = match goes_right {
                    true => self.ink.ghost_right,
                    false => self.ink.ghost_left,
                };
                let stub = match goes_right {
                    true => format!("{shaft}{head}"),
                    false => format!("{head}{shaft}"),
                };
                if is_behind {
                    write_over(
                        &mut line,
                        lane + 1,
                        &self.cut(&format!("{stub} {label} "), behind),
                    );
                } else {
                    let label = self.cut(&label, before.saturating_sub(stub.chars().count() + 2));
                    let text = format!(" {label} {stub}");
                    write_over(&mut line, lane - text.chars().count(), &text);
                }
            }
        }
        let mark = match ghost.failing {
            true => format!("  {}", self.ink.failing),
            false => String::new(),
        };
        let on = ghost.on.map(|on| on.to_string()).unwrap_or_default();
        finish(line, format!("{:>4}  {on:<9} {}{mark}", "", ghost.moment()))
    }

    fn finish(&self, line: Vec<char>, arrow: &Arrow) -> String {
        let mark = if arrow.failing {
            format!("  {}", self.ink.failing)
        } else {
            String::new()
        };
        let right = format!("{:>4}  {:<9} {}{mark}", arrow.event, arrow.on, arrow.at);
        finish(line, right)
    }

    fn band(&self, at: At, text: &str) -> String {
        let mut line = vec![self.ink.band; self.lines];
        line[..2].fill(' ');
        line[self.lines - 1] = ' ';
        let text = format!(" {} ", self.cut(&self.plain(text), self.lines - 8));
        write_over(&mut line, 4, &text);
        finish(line, format!("{:16}{at}", ""))
    }

    fn remark(&self, at: At, event: usize, lane: usize, text: &str) -> String {
        let mut line = self.bare();
        let column = self.column(lane);
        let said = self.plain(text);
        let text = format!("{} {said} ", self.ink.remark);
        let length = text.chars().count();
        let right = self.lines - column - 2;
        if length > right && column > right {
            // It begins at lanes of others, so it says whose it is.
            let whose = &self.ladder.lanes[lane];
            let text = format!("{} {whose}: {said} ", self.ink.remark);
            let text = self.cut(&text, column - 2);
            let first = column - 1 - text.chars().count();
            write_over(&mut line, first, &text);
        } else {
            write_over(&mut line, column + 2, &self.cut(&text, right));
        }
        finish(line, format!("{event:>4}  {:<9} {at}", ""))
    }

    /// Nothing but lifelines.
    fn bare(&self) -> Vec<char> {
        let mut line = vec![' '; self.lines];
        for lane in 0..self.ladder.lanes.len() {
            line[self.column(lane)] = self.ink.lane;
        }
        line
    }

    fn column(&self, lane: usize) -> usize {
        self.margin + lane * self.pitch
    }

    /// At most `room` characters of `text`.
    fn cut(&self, text: &str, room: usize) -> String {
        if text.chars().count() <= room {
            return text.to_owned();
        }
        let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
        short.push(self.ink.cut);
        short
    }

    /// Without what is not in the character set or does not print.
    fn plain(&self, text: &str) -> String {
        text.chars()
            .flat_map(|c| match c {
                _ if c.is_control() => vec![' '],
                '→' if self.is_ascii() => vec!['-', '>'],
                _ if self.is_ascii() && !c.is_ascii() => vec!['?'],
                _ => vec![c],
            })
            .collect()
    }

    fn is_ascii(&self) -> bool {
        self.ink.lane.is_ascii()
    }
}

/// The columns that event, reference point, time and mark take at the right.
fn right(ladder: &Ladder) -> usize {
    let rows = ladder.rows.iter().map(|row| match row {
        Row::Arrow(arrow) => {
            let mark = if arrow.failing { 3 } else { 0 };
            (arrow.event, arrow.at.to_string().len(), mark)
        }
        Row::Ghost(ghost) => {
            let mark = if ghost.failing { 3 } else { 0 };
            (0, ghost.moment().len(), mark)
        }
        Row::Band { at, .. } => (0, at.to_string().len(), 0),
        Row::Remark { at, event, .. } => (*event, at.to_string().len(), 0),
    });
    let columns = rows.map(|(event, at, mark)| {
        let event = event.to_string().len().max(4);
        event + 2 + 9 + 1 + at + mark
    });
    columns.max().unwrap_or(0)
}

/// The columns between lanes at which nothing is cut but what is very long.
fn wanted(ladder: &Ladder) -> usize {
    let names = ladder.lanes.iter().map(|name| name.chars().count() + 2);
    let labels = ladder.rows.iter().filter_map(|row| match row {
        Row::Arrow(arrow) => {
            let times = if arrow.times > 1 {
                2 + arrow.times.to_string().len()
            } else {
                0
            };
            let length = arrow.label.chars().count() + times + 6;
            Some(length.div_ceil(arrow.from.abs_diff(arrow.to).max(1)))
        }
        Row::Ghost(ghost) => {
            let length = ghost.label.chars().count() + 6;
            let (from, to) = ghost.from.zip(ghost.to)?;
            Some(length.div_ceil(from.abs_diff(to).max(1)))
        }
        Row::Band { .. } | Row::Remark { .. } => None,
    });
    let gaps = ladder.lanes.len().saturating_sub(1).max(1);
    let widest = WIDEST.max(WIDEST_OF_ALL / gaps);
    names.chain(labels).max().unwrap_or(0).min(widest)
}

fn write_over(line: &mut [char], first: usize, text: &str) {
    for (place, c) in line.iter_mut().skip(first).zip(text.chars()) {
        *place = c;
    }
}

fn finish(line: Vec<char>, right: String) -> String {
    let line: String = line.into_iter().collect();
    let mut line = format!("{line}{right}").trim_end().to_owned();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        io::Note,
        spec::{Architecture, Delivery, Format, Options},
        trace::{Cast, CastNode, Event, Meta},
        wire::frame::Security,
    };

    #[test]
    fn draws_lanes_by_role_arrows_both_ways_and_the_failing_mark() {
        let ladder = Ladder::of(&journey(), &[own("ue-a fetches")], &|event| event == 5);
        let look = Look {
            width: 90,
            charset: Charset::Unicode,
        };
        insta::assert_snapshot!(ladder.text(look), @r"
   ue-a            tracker           es-1
  ╌╌ step 1: ue-a fetches ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌                 0.000
     │──POST /ppstp──▶│                │        1  Ut        0.001
     │◀─200───────────│                │        3  Ut        0.003
     │ · chosen: es-1 │                │        4            0.004
     │──INVITE────────────────────────▶│        5  Gm        0.005  ✗
     │◀─SEND ×2────────────────────────│        6  Data      0.006
");
    }

    #[test]
    fn draws_in_ascii_and_cuts_what_does_not_fit() {
        let ladder = Ladder::of(&journey(), &[own("ue-a → es-1")], &|_| false);
        let text = ladder.text(Look {
            width: 60,
            charset: Charset::Ascii,
        });
        assert!(text.is_ascii());
        assert!(text.lines().all(|line| line.len() <= 64), "{text}");
    }

    #[test]
    fn few_lanes_leave_labels_their_room() {
        let label = "a message with ppstp version 1, transaction-id t";
        let ladder = |lanes: usize| Ladder {
            lanes: (0..lanes).map(|lane| format!("node-{lane}")).collect(),
            rows: vec![Row::Ghost(Ghost {
                before: 1,
                from: Some(0),
                to: Some(1),
                on: Some(RefPoint::Ut),
                label: label.to_owned(),
                due: None,
                failing: false,
            })],
        };
        let look = Look {
            width: 100,
            charset: Charset::Unicode,
        };
        assert!(ladder(2).text(look).contains(label));
        assert!(!ladder(4).text(look).contains(label));
    }

    #[test]
    fn rows_fit_the_columns_there_are_with_their_marks() {
        for lanes in [2, 5, 9, 15] {
            let ladder = Ladder {
                lanes: (0..lanes).map(|lane| format!("node-{lane}")).collect(),
                rows: (1..lanes)
                    .flat_map(|to| {
                        let at = At::from_nanos(1_234_567_000_000);
                        let arrow = Row::Arrow(Arrow {
                            at,
                            event: 12_345,
                            from: 0,
                            to,
                            on: RefPoint::Dedicated,
                            label: "POST /ppstp, STAT_REPORT".to_owned(),
                            times: 2,
                            lost: false,
                            failing: true,
                            step: None,
                        });
                        let remark = Row::Remark {
                            at,
                            event: 12_346,
                            lane: to,
                            text: "listed: three peers, all of them far away".to_owned(),
                        };
                        let ghost = Row::Ghost(Ghost {
                            before: 12_346,
                            from: Some(0),
                            to: Some(to).filter(|to| to % 3 > 0),
                            on: Some(RefPoint::Dedicated),
                            label: "POST /ppstp, STAT_REPORT".to_owned(),
                            due: None,
                            failing: false,
                        });
                        [arrow, remark, ghost]
                    })
                    .collect(),
            };
            let text = ladder.text(Look {
                width: 80,
                charset: Charset::Unicode,
            });
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{lanes} lanes: {line}");
            }
            assert_eq!(lanes - 1, text.matches('✗').count());
        }
    }

    #[test]
    fn words_for_people_fit_the_characters_of_their_terminal() {
        let words = "UE-001 · ue-a → ue-b ×2 …";
        assert_eq!(words, Charset::Unicode.write(words));
        assert_eq!("UE-001 - ue-a -> ue-b x2 ...", Charset::Ascii.write(words));
    }

    #[test]
    fn an_excerpt_holds_the_failing_arrow_and_the_lanes_it_needs() {
        let ladder = Ladder::of(&journey(), &[], &|event| event == 5);
        let (excerpt, before, after) = ladder.excerpt(2);
        assert_eq!((3, 1), (before, after));
        assert_eq!(vec!["ue-a", "es-1"], excerpt.lanes);
        assert!(excerpt.text(Look::WIDE).contains("──INVITE─"));
        let (whole, 0, 0) = ladder.excerpt(100) else {
            panic!("nothing is left out of a short ladder");
        };
        assert_eq!(ladder, whole);
    }

    #[test]
    fn an_arrival_is_drawn_once_and_a_loss_is_marked() {
        let request = frame(
            "ue-a",
            "p-cscf",
            RefPoint::Gm,
            "OPTIONS sip:a SIP/2.0\r\n\r\n",
        );
        let trace = trace(vec![
            EventKind::Sent(request.clone()),
            EventKind::Sent(request.clone()),
            EventKind::Lost(request.clone()),
            EventKind::Received(request),
        ]);
        let rows = Ladder::of(&trace, &[], &|_| false).rows;
        let lost: Vec<bool> = rows
            .iter()
            .map(|row| matches!(row, Row::Arrow(arrow) if arrow.lost))
            .collect();
        assert_eq!(vec![true, false], lost);
    }

    pub(super) fn own(text: &str) -> Caption {
        Caption {
            text: text.to_owned(),
            part: Part::Scenario,
            missing: None,
            failing: false,
        }
    }

    pub(super) fn journey() -> Trace {
        let ask = frame(
            "ue-a",
            "tracker",
            RefPoint::Ut,
            "POST /ppstp HTTP/1.1\r\n\r\n",
        );
        let chunk = frame(
            "es-1",
            "ue-a",
            RefPoint::Data,
            "MSRP a1b2 SEND\r\nTo-Path: msrp://192.0.2.1:2855/a;tcp\r\n\
             From-Path: msrp://192.0.2.2:2855/b;tcp\r\nMessage-ID: 1\r\nByte-Range: 1-4/8\r\n\
             Content-Type: application/octet-stream\r\n\r\nabcd\r\n-------a1b2+\r\n",
        );
        trace(vec![
            EventKind::Step {
                index: 0,
                mark: StepMark::Done,
            },
            EventKind::Sent(ask.clone()),
            EventKind::Received(ask),
            EventKind::Sent(frame(
                "tracker",
                "ue-a",
                RefPoint::Ut,
                "HTTP/1.1 200 OK\r\n\r\n",
            )),
            EventKind::Noted {
                node: "ue-a".into(),
                note: Note {
                    topic: "chosen".to_owned(),
                    text: "es-1".to_owned(),
                },
            },
            EventKind::Sent(frame(
                "ue-a",
                "es-1",
                RefPoint::Gm,
                "INVITE sip:es-1@ims.example SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n",
            )),
            EventKind::Received(chunk.clone()),
            EventKind::Received(chunk),
        ])
    }

    pub(super) fn frame(from: &str, to: &str, on: RefPoint, text: &str) -> Frame {
        let format = match text {
            _ if text.starts_with("MSRP") => Format::Msrp,
            _ if text.contains("HTTP/1.1") => Format::Http,
            _ => Format::Sip,
        };
        Frame {
            from: Party::Node(from.into()),
            to: Party::Node(to.into()),
            src: "192.0.2.1:5060".parse().unwrap(),
            dst: "192.0.2.2:5060".parse().unwrap(),
            on,
            format,
            link: None,
            security: Security::Plain,
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            framed: true,
        }
    }

    pub(super) fn trace(kinds: Vec<EventKind>) -> Trace {
        let node = |name: &str, role| CastNode {
            name: name.into(),
            role,
            ip: None,
            ports: None,
            cast: Cast::Reference,
            listeners: Vec::new(),
            impu: None,
            certificate: crate::spec::Worth::Good,
        };
        Trace {
            meta: Meta {
                instance: "a/b/c".to_owned(),
                seed: 0,
                architecture: Architecture::Registered,
                options: Options::default(),
                delivery: Delivery::Delegate,
                transport: "memory".to_owned(),
                nodes: vec![
                    node("es-1", Role::EdgeServer),
                    node("p-cscf", Role::PCscf),
                    node("tracker", Role::Tracker),
                    node("ue-a", Role::Ue),
                ],
                contents: Vec::new(),
                began: At::ZERO,
                unheard: Vec::new(),
                unreset: Vec::new(),
            },
            events: kinds
                .into_iter()
                .enumerate()
                .map(|(n, kind)| Event {
                    at: At::from_nanos(n as u64 * 1_000_000),
                    kind,
                })
                .collect(),
        }
    }
}
