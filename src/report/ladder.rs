//! A trace as a ladder: one lifeline a node, one arrow a frame, in the order of time. [`Ladder`] is what
//! is drawn; [`Ladder::text`] draws it in characters.

mod canvas;
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
    wire::frame::{Frame, LinkId, Party},
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

impl Row {
    /// Whether a finding points at it.
    pub fn is_failing(&self) -> bool {
        match self {
            Row::Arrow(arrow) => arrow.failing,
            Row::Ghost(ghost) => ghost.failing,
            Row::Band { .. } | Row::Remark { .. } => false,
        }
    }
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
            rows.openings.see(&what.kind);
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
                        let text = match &rows.openings.ended {
                            Some(to) => format!("connection to {to} {text}"),
                            None => format!("connection {text}"),
                        };
                        rows.remark(what.at, event, lane, text);
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

    /// How many rows are red.
    pub fn failing(&self) -> usize {
        self.rows.iter().filter(|row| row.is_failing()).count()
    }

    /// At most `most` rows: what stands before and after the first failing arrow, or else the beginning.
    /// What is given is left out, unless it failed. With the lanes these rows need, and how many rows were
    /// left out before and after them.
    pub fn excerpt(&self, most: usize) -> (Ladder, usize, usize) {
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
        let middle = self.rows.iter().position(Row::is_failing).unwrap_or(own);
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
        canvas::Canvas::new(self, look).draw()
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
        LinkEvent::Refused => Some("refused"),
        LinkEvent::Reset => Some("reset"),
        LinkEvent::TimedOut => Some("timed out"),
        LinkEvent::NotSecured { .. } => Some("not secured"),
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

/// Whom connections are being opened to. A trace does not say which of several comes to what: where they go to
/// different parties, none is named.
#[derive(Default)]
struct Openings {
    pending: BTreeMap<(String, RefPoint), Vec<String>>,
    opened: BTreeSet<(String, LinkId)>,
    /// Whom the last event of a link was about, if it is known.
    ended: Option<String>,
}

impl Openings {
    fn see(&mut self, what: &EventKind) {
        self.ended = None;
        match what {
            EventKind::Opening { node, on, to } => {
                let key = (node.to_string(), *on);
                self.pending.entry(key).or_default().push(to.to_string());
            }
            // Those that others open are none of it.
            EventKind::Link {
                node,
                link,
                on,
                event,
            } if link.is_own() => {
                let opens = matches!(event, LinkEvent::Opened);
                let is_open = self.opened.contains(&(node.to_string(), *link));
                if is_open || matches!(event, LinkEvent::Accepted { .. } | LinkEvent::Closed) {
                    return;
                }
                if opens {
                    self.opened.insert((node.to_string(), *link));
                }
                let pending = self.pending.entry((node.to_string(), *on)).or_default();
                if pending.iter().all(|to| Some(to) == pending.first()) {
                    self.ended = pending.pop();
                }
            }
            _ => {}
        }
    }
}

/// Collects rows: joins an arrival to its sending, and runs of a kind to one arrow.
struct Rows {
    done: Vec<Row>,
    flow: Flow,
    part: Part,
    /// Sendings whose arrival has not been seen: row and frame.
    flying: Vec<(usize, Frame)>,
    /// Arrows that more of their kind may join: row and kind.
    open: Vec<(usize, String)>,
    openings: Openings,
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
            openings: Openings::default(),
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
   ue-a            tracker      es-1
  ╌╌ step 1: ue-a fetches ╌╌╌╌╌╌╌╌╌╌╌╌╌                 0.000
     │──POST /ppstp──▶│           │        1  Ut        0.001
     │◀─200───────────│           │        3  Ut        0.003
     │ · chosen: es-1 │           │        4            0.004
     │──INVITE───────────────────▶│        5  Gm        0.005  ✗
     │◀─SEND ×2───────────────────│        6  Data      0.006
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

    /// What is said between two lanes widens those alone; where it is tight, what fails keeps its room and brackets go.
    #[test]
    fn each_two_lanes_have_the_room_that_is_needed_between_them() {
        let arrow = |from: usize, label: &str, failing: bool| {
            Row::Arrow(Arrow {
                at: At::ZERO,
                event: 1,
                from,
                to: from + 1,
                on: RefPoint::Gm,
                label: label.to_owned(),
                times: 1,
                lost: false,
                failing,
                step: None,
            })
        };
        let ladder = Ladder {
            lanes: (0..9).map(|lane| format!("node-{lane}")).collect(),
            rows: vec![
                arrow(0, "200 (SUBSCRIBE)", false),
                arrow(3, "200 (SUBSCRIBE)", false),
                arrow(7, "POST /p2pcds/sessions", true),
            ],
        };
        let at = |width: usize| {
            let charset = Charset::Unicode;
            ladder.text(Look { width, charset })
        };
        let roomy = at(160);
        assert_eq!(2, roomy.matches("200 (SUBSCRIBE)").count(), "{roomy}");
        let tight = at(120);
        assert!(tight.contains("POST /p2pcds/sessions"), "{tight}");
        assert!(tight.contains("──200─"), "{tight}");
        assert!(!tight.contains('…'), "{tight}");
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
