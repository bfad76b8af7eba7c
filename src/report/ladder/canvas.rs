//! A ladder in characters: one row a line, at most as wide as it may be.

use super::{Arrow, Charset, Ghost, Ladder, Look, Row};
use crate::time::At;

/// Draws a ladder in characters.
pub(super) struct Canvas<'a> {
    ladder: &'a Ladder,
    ink: &'static Ink,
    /// The column of each lane.
    columns: Vec<usize>,
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

/// Below this, the name of a message is enough.
const TIGHT_LABEL: usize = 8;

/// Columns between two lanes where there is room.
const COMFORT: usize = 12;

/// Columns that no label gets more than: between two lanes, and over the whole picture where lanes are few.
const WIDEST: usize = 20;
const WIDEST_OF_ALL: usize = 60;

/// Columns between two lanes that what fails has at the expense of the others.
const WIDEST_OF_FAILING: usize = 28;

impl<'a> Canvas<'a> {
    pub fn new(ladder: &'a Ladder, look: Look) -> Canvas<'a> {
        let gaps = ladder.lanes.len().saturating_sub(1);
        let right = right(ladder);
        let room = |beside: usize| look.width.saturating_sub(beside + right);
        let (margin, tail) = match room(MARGIN + TAIL) < NARROW * gaps {
            true => (TIGHT_MARGIN, TIGHT_TAIL),
            false => (MARGIN, TAIL),
        };
        let mut columns = vec![margin];
        for width in widths(ladder, room(margin + tail)) {
            columns.push(columns[columns.len() - 1] + width);
        }
        let last = columns[columns.len() - 1];
        // Few lanes leave little room for what bands, remarks and open lines say: then the picture goes on to the right.
        let bands = ladder.rows.iter().map(|row| match row {
            Row::Band { text, .. } => text.chars().count() + 10,
            Row::Ghost(ghost) => match (ghost.from, ghost.to) {
                (Some(lane), None) | (None, Some(lane)) => {
                    columns[lane] + ghost.label.chars().count() + 8
                }
                _ => 0,
            },
            Row::Remark { lane, text, .. } => columns[*lane] + text.chars().count() + 6,
            Row::Arrow(_) => 0,
        });
        let bands = bands.max().unwrap_or(0);
        let bands = bands.min(look.width.saturating_sub(right));
        Canvas {
            ladder,
            ink: match look.charset {
                Charset::Unicode => &UNICODE,
                Charset::Ascii => &ASCII,
            },
            lines: (last + tail).max(bands),
            columns,
        }
    }

    pub fn draw(&self) -> String {
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
            let name = self.cut(name, self.around(lane) - 1);
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
            write_over(&mut line, a + 1, &self.cut(&label, self.behind(arrow.from)));
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
        let label = self.shortened(&label, room);
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
                if let Some(room) = (right - left).checked_sub(5) {
                    let label = self.cut(&self.shortened(&label, room), room);
                    write_over(&mut line, left + 3, &label);
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
        let whose = &self.ladder.lanes[lane];
        let text = format!("{} {said} ", self.ink.remark);
        let length = text.chars().count();
        let right = self.lines - column - 2;
        if length > right && column > right + whose.chars().count() + 2 {
            // It begins at lanes of others, so it says whose it is.
            let text = format!("{} {whose}: {said} ", self.ink.remark);
            let text = self.cut(&text, column - 2);
            let first = column - 1 - text.chars().count();
            write_over(&mut line, first, &text);
        } else {
            let text = self.cut(text.trim_end(), right.saturating_sub(1));
            write_over(&mut line, column + 2, &format!("{text} "));
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
        self.columns[lane]
    }

    /// The columns between a lane and the next, or the end.
    fn behind(&self, lane: usize) -> usize {
        let next = self.columns.get(lane + 1).copied();
        next.unwrap_or(self.lines)
            .saturating_sub(self.column(lane) + 1)
    }

    /// The columns that a name above a lane has, half of what lies to each side.
    fn around(&self, lane: usize) -> usize {
        let before = match lane.checked_sub(1) {
            Some(before) => self.column(lane) - self.column(before),
            None => 2 * self.column(lane),
        };
        let behind = match self.columns.get(lane + 1) {
            Some(next) => next - self.column(lane),
            None => 2 * (self.lines - self.column(lane)),
        };
        before.min(behind)
    }

    /// Without what is said beside the name of the message, where that does not fit: `200 (INVITE)` says enough as
    /// `200`, and where it is very tight so does `POST` for `POST /ppstp`.
    fn shortened(&self, label: &str, room: usize) -> String {
        let fits = |text: &str| text.chars().count() <= room;
        let ends: &[&str] = match room < TIGHT_LABEL {
            true => &[" (", " with ", " from ", " to ", ", ", " /"],
            false => &[" (", " with ", " from ", " to "],
        };
        let heads = ends.iter().filter_map(|end| Some(label.split_once(end)?.0));
        let longest = heads
            .filter(|head| fits(head))
            .max_by_key(|head| head.len());
        match longest {
            Some(head) if !fits(label) => head.to_owned(),
            _ => label.to_owned(),
        }
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

/// The columns from each lane to the next, of so many in all: what nothing is cut at, but what is very long; where that
/// is too much, what fails is cut last.
fn widths(ladder: &Ladder, room: usize) -> Vec<usize> {
    let names: Vec<usize> = ladder
        .lanes
        .iter()
        .map(|name| name.chars().count())
        .collect();
    let names = names.windows(2).map(|pair| pair[0].max(pair[1]) + 2);
    let names: Vec<usize> = names.collect();
    let needs = || ladder.rows.iter().filter_map(need);
    let widest = WIDEST.max(WIDEST_OF_ALL / names.len().max(1));
    let mut least = names.clone();
    let mut failing = vec![0; names.len()];
    for need in needs().filter(|need| need.failing) {
        need.fill(&mut least, WIDEST_OF_FAILING);
        need.fill(&mut failing, WIDEST_OF_ALL);
    }
    let mut most: Vec<usize> = least.iter().map(|width| (*width).max(COMFORT)).collect();
    for need in needs() {
        need.fill(&mut most, widest);
    }
    // Beyond some level none is wider than it has to be; where that is still too much, none at all is.
    let top = most.iter().copied().max().unwrap_or(NARROWEST);
    let pairs = || least.iter().copied().zip(most.iter().copied());
    let fair = |level| {
        pairs()
            .map(|(least, most)| most.min(level).max(least))
            .collect()
    };
    let tight = |level| {
        pairs()
            .map(|(least, _)| least.min(level).max(NARROWEST))
            .collect()
    };
    let fitting = |at: &dyn Fn(usize) -> Vec<usize>| {
        let mut levels = (NARROWEST..=top).rev().map(at);
        levels.find(|widths| widths.iter().sum::<usize>() <= room)
    };
    let mut widths = fitting(&fair)
        .or_else(|| fitting(&tight))
        .unwrap_or_else(|| vec![NARROWEST; names.len()]);
    // What is left over is for whoever wants more, what fails first.
    let mut rest = room.saturating_sub(widths.iter().sum());
    for wanted in [&failing, &least, &most] {
        for (width, wanted) in widths.iter_mut().zip(wanted) {
            let more = wanted.saturating_sub(*width).min(rest);
            *width += more;
            rest -= more;
        }
    }
    widths
}

/// What a row wants between two lanes.
struct Need {
    first: usize,
    last: usize,
    columns: usize,
    failing: bool,
}

impl Need {
    /// Widens what lies between, each as much, to at most so many columns of each.
    fn fill(&self, widths: &mut [usize], most: usize) {
        let between = &mut widths[self.first..self.last];
        let wanted = self.columns.min(most * between.len());
        let have: usize = between.iter().sum();
        let (each, rest) = (
            wanted.saturating_sub(have) / between.len(),
            wanted.saturating_sub(have) % between.len(),
        );
        for (place, width) in between.iter_mut().enumerate() {
            *width += each + usize::from(place < rest);
        }
    }
}

fn need(row: &Row) -> Option<Need> {
    let (from, to, length, failing) = match row {
        Row::Arrow(arrow) => {
            let times = match arrow.times {
                1 => 0,
                times => 2 + times.to_string().len(),
            };
            let length = arrow.label.chars().count() + times;
            (arrow.from, arrow.to, length, arrow.failing)
        }
        Row::Ghost(ghost) => {
            let (from, to) = ghost.from.zip(ghost.to)?;
            (from, to, ghost.label.chars().count(), ghost.failing)
        }
        Row::Band { .. } | Row::Remark { .. } => return None,
    };
    (from != to).then(|| Need {
        first: from.min(to),
        last: from.max(to),
        columns: length + 6,
        failing,
    })
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
    use proptest::prelude::*;

    use super::*;
    use crate::{report::ladder::Part, spec::RefPoint};

    fn any_row(lanes: usize) -> impl Strategy<Value = Row> {
        let lane = move || 0..lanes;
        let arrow = (
            lane(),
            lane(),
            ".{0,40}",
            1usize..300,
            any::<(bool, bool)>(),
        )
            .prop_map(|(from, to, label, times, (lost, failing))| {
                Row::Arrow(Arrow {
                    at: At::from_nanos(1_234_567_000_000),
                    event: 123,
                    from,
                    to,
                    on: RefPoint::Dedicated,
                    label,
                    times,
                    lost,
                    failing,
                    step: None,
                })
            });
        let ends = (proptest::option::of(lane()), lane(), any::<bool>());
        let ghost =
            (ends, ".{0,80}", any::<bool>()).prop_map(|((one, other, turned), label, failing)| {
                let (from, to) = match turned {
                    true => (one, Some(other)),
                    false => (Some(other), one),
                };
                Row::Ghost(Ghost {
                    before: 1,
                    from,
                    to,
                    on: Some(RefPoint::Gm),
                    label,
                    due: Some(At::from_nanos(1_234_567_000_000)),
                    failing,
                })
            });
        let remark = (lane(), ".{0,80}").prop_map(|(lane, text)| Row::Remark {
            at: At::ZERO,
            event: 7,
            lane,
            text,
        });
        let band = ".{0,90}".prop_map(|text| Row::Band {
            at: At::ZERO,
            text,
            part: Part::Scenario,
        });
        prop_oneof![arrow, ghost, remark, band]
    }

    fn any_ladder() -> impl Strategy<Value = Ladder> {
        let lanes = proptest::collection::vec("[a-z0-9-]{1,16}", 1..=15);
        lanes.prop_flat_map(|lanes| {
            let rows = proptest::collection::vec(any_row(lanes.len()), 0..12);
            rows.prop_map(move |rows| Ladder {
                lanes: lanes.clone(),
                rows,
            })
        })
    }

    proptest! {
        /// Whatever is drawn fits the columns there are, if they are enough for so many lanes at all.
        #[test]
        fn no_row_is_wider_than_it_may_be(
            ladder in any_ladder(),
            width in 1usize..220,
            ascii in any::<bool>(),
        ) {
            let charset = if ascii { Charset::Ascii } else { Charset::Unicode };
            let text = ladder.text(Look { width, charset });
            prop_assert_eq!(1 + ladder.rows.len(), text.lines().count());
            if width >= 90 {
                for line in text.lines() {
                    prop_assert!(line.chars().count() <= width, "{line}");
                }
            }
        }
    }
}
