//! A ladder as SVG: the same drawing as in characters. It comes in strips of some rows, each with the names of
//! its lanes, so that it breaks well on paper. Colour never carries meaning alone: what fails is thick and has a
//! cross, what is missing is broken and open, what was lost ends in a cross. An arrow leads to its message.

use std::fmt::Write;

use super::escape;
use crate::report::ladder::{Arrow, Ghost, Ladder, Part, Row};

/// Draws `ladder`. `link` gives the place on the page where the message of an arrow is told, if it is.
pub fn draw(ladder: &Ladder, title: &str, link: &dyn Fn(usize) -> Option<String>) -> String {
    let plan = Plan::of(ladder);
    let mut text = format!(
        "<div class=\"ladder\" role=\"group\" tabindex=\"0\" aria-label=\"{}\">\n",
        escape(title)
    );
    if let Some(left) = plan.leftmost_of_what_fails(ladder) {
        // A narrow page shows this part first.
        let _ = writeln!(text, "<i class=\"here\" style=\"left:{left}px\"></i>");
    }
    for rows in ladder.rows.chunks(STRIP) {
        text.push_str(&plan.strip(ladder, rows, link));
    }
    text.push_str("</div>\n");
    text
}

/// Where things stand, in pixels.
struct Plan {
    pitch: usize,
    first: usize,
    /// Where the lanes' part ends and the columns at the right begin.
    lanes_end: usize,
    width: usize,
}

impl Plan {
    fn of(ladder: &Ladder) -> Plan {
        let gaps = ladder.lanes.len().saturating_sub(1).max(1);
        let longest = ladder.lanes.iter().map(|name| width(name)).max();
        let needed = longest.unwrap_or(0) + 16;
        let labels = ladder.rows.iter().map(|row| match row {
            Row::Arrow(arrow) => width(&label(arrow)) + 40,
            Row::Ghost(ghost) => width(&ghost_label(ghost)) + 40,
            Row::Band { text, .. } => width(text) + 20,
            Row::Remark { text, .. } => width(text) + 20,
        });
        let widest = labels.max().unwrap_or(0).min(WIDEST);
        let pitch = needed
            .max((COMFORT / gaps).min(MOST))
            .max(widest.div_ceil(gaps));
        let margin = needed / 2 + 4;
        let first = FLOW + margin;
        let lanes_end = first + pitch * gaps + margin;
        Plan {
            pitch,
            first,
            lanes_end,
            width: lanes_end + RIGHT,
        }
    }

    /// A little left of where the first row that fails begins.
    fn leftmost_of_what_fails(&self, ladder: &Ladder) -> Option<usize> {
        let lane = ladder.rows.iter().find_map(|row| match row {
            Row::Arrow(arrow) if arrow.failing => Some(arrow.from.min(arrow.to)),
            Row::Ghost(ghost) if ghost.failing => ghost.from.into_iter().chain(ghost.to).min(),
            _ => None,
        })?;
        Some(self.lane(lane).saturating_sub(self.first))
    }

    fn lane(&self, lane: usize) -> usize {
        self.first + lane * self.pitch
    }

    fn strip(
        &self,
        ladder: &Ladder,
        rows: &[Row],
        link: &dyn Fn(usize) -> Option<String>,
    ) -> String {
        let height = HEAD + rows.len() * ROW + 4;
        let mut text = format!(
            "<svg width=\"{w}\" height=\"{height}\" viewBox=\"0 0 {w} {height}\" role=\"group\"><title>Between {}</title>\n",
            escape(&ladder.lanes.join(", ")),
            w = self.width
        );
        // One path for all lifelines keeps the page small.
        let lines: String = (0..ladder.lanes.len())
            .map(|lane| format!("M{} {HEAD}V{height}", self.lane(lane)))
            .collect();
        let _ = writeln!(text, "<path class=\"life\" d=\"{lines}\"/>");
        for (lane, name) in ladder.lanes.iter().enumerate() {
            let _ = writeln!(
                text,
                "<text class=\"lane\" x=\"{}\" y=\"15\">{}</text>",
                self.lane(lane),
                escape(name)
            );
        }
        text.push_str(&self.flow(rows));
        for (number, row) in rows.iter().enumerate() {
            let top = HEAD + number * ROW;
            text.push_str(&match row {
                Row::Arrow(arrow) => self.arrow(arrow, &ladder.lanes, top, link),
                Row::Ghost(ghost) => self.ghost(ghost, top),
                Row::Band { text, part, at } => self.band(text, *part, &at.to_string(), top),
                Row::Remark {
                    at,
                    event,
                    lane,
                    text,
                } => {
                    self.remark(*lane, text, top)
                        + &self.right(Some(*event), "", &at.to_string(), top)
                }
            });
        }
        text.push_str("</svg>\n");
        text
    }

    /// The steps of the call flow at the left: a bar along the rows that belong to one, and its name.
    fn flow(&self, rows: &[Row]) -> String {
        let step = |row: &Row| match row {
            Row::Arrow(arrow) => arrow.step,
            _ => None,
        };
        let mut text = String::new();
        let mut at = 0;
        for same in rows.chunk_by(|a, b| step(a) == step(b)) {
            if let Some(step) = same.first().and_then(step) {
                let top = HEAD + at * ROW;
                let _ = writeln!(
                    text,
                    "<g><title>{step}: {}</title><rect class=\"flow s{}\" x=\"2\" y=\"{}\" width=\"30\" height=\"{}\" rx=\"3\"/>\
                     <text class=\"step\" x=\"17\" y=\"{}\">{step}</text></g>",
                    step.title(),
                    step.number % 2,
                    top + 2,
                    same.len() * ROW - 4,
                    top + MIDDLE + 1,
                );
            }
            at += same.len();
        }
        text
    }

    fn arrow(
        &self,
        arrow: &Arrow,
        lanes: &[String],
        top: usize,
        link: &dyn Fn(usize) -> Option<String>,
    ) -> String {
        let (a, b) = (self.lane(arrow.from), self.lane(arrow.to));
        let y = top + SHAFT;
        let class = match (arrow.failing, arrow.lost) {
            (true, _) => "arrow failing",
            (false, true) => "arrow lost",
            (false, false) => "arrow",
        };
        let mut inside = String::new();
        if arrow.failing {
            inside.push_str(&self.alarm(top));
        }
        inside.push_str(&self.shaft(a, b, y, arrow.lost));
        let first = self.first_of_words(arrow.failing);
        inside.push_str(&self.words(&label(arrow), a, b, top, first));
        let spoken = format!(
            "event {}, {} to {} on {}: {}{}{}",
            arrow.event,
            lanes[arrow.from],
            lanes[arrow.to],
            arrow.on,
            label(arrow),
            if arrow.lost { ", lost" } else { "" },
            if arrow.failing { ", FAILING" } else { "" },
        );
        let spoken = escape(&spoken);
        let inside = format!("<title>{spoken}</title>{inside}");
        let drawn = match link(arrow.event) {
            Some(target) => format!(
                "<a class=\"{class}\" href=\"#{target}\" aria-label=\"{spoken}\">{inside}</a>\n"
            ),
            None => format!("<g class=\"{class}\">{inside}</g>\n"),
        };
        let (on, at) = (arrow.on.to_string(), arrow.at.to_string());
        drawn + &self.right(Some(arrow.event), &on, &at, top)
    }

    fn ghost(&self, ghost: &Ghost, top: usize) -> String {
        // Of one party nothing is known: the line begins or ends in the open, inside the picture.
        let open = |lane: usize| match self.lane(lane) + STUB <= self.lanes_end {
            true => self.lane(lane) + STUB,
            false => self.lane(lane) - STUB,
        };
        let (a, b) = match (ghost.from, ghost.to) {
            (Some(from), Some(to)) if from != to => (self.lane(from), self.lane(to)),
            (Some(from), _) => (self.lane(from), open(from)),
            (None, to) => {
                let to = to.unwrap_or_default();
                (open(to), self.lane(to))
            }
        };
        let class = match ghost.failing {
            true => "arrow ghost failing",
            false => "arrow ghost",
        };
        let mut inside = String::new();
        if ghost.failing {
            inside.push_str(&self.alarm(top));
        }
        inside.push_str(&self.shaft(a, b, top + SHAFT, false));
        let first = self.first_of_words(ghost.failing);
        inside.push_str(&self.words(&ghost_label(ghost), a, b, top, first));
        let on = ghost.on.map(|on| on.to_string()).unwrap_or_default();
        format!(
            "<g class=\"{class}\"><title>expected, and never came: {}</title>{inside}</g>\n",
            escape(&ghost.label)
        ) + &self.right(None, &on, &ghost.moment(), top)
    }

    /// Behind a row that fails, with a cross at each end: a narrow page shows one of them only.
    fn alarm(&self, top: usize) -> String {
        format!(
            "<rect class=\"alarm\" x=\"{FLOW}\" y=\"{}\" width=\"{}\" height=\"{ROW}\"/>{}{}",
            top + 1,
            self.width - FLOW,
            cross(FLOW + 9, top + MIDDLE),
            cross(self.lanes_end + 113, top + MIDDLE),
        )
    }

    /// Line and head; from a lane to itself a loop.
    fn shaft(&self, a: usize, b: usize, y: usize, lost: bool) -> String {
        if a == b {
            return format!(
                "<path class=\"shaft\" d=\"M{a} {}h14v8h-10\"/><path class=\"head\" d=\"M{a} {y}l8 -4v8z\"/>",
                y - 8
            );
        }
        let (tip, back): (usize, isize) = if a < b { (b - 1, -9) } else { (b + 1, 9) };
        let end = tip.saturating_add_signed(back);
        if lost {
            return format!(
                "<path class=\"shaft\" d=\"M{a} {y}H{end}\"/><path class=\"cross\" d=\"M{} {}l8 8m0 -8l-8 8\"/>",
                end.saturating_sub(4),
                y - 4
            );
        }
        format!(
            "<path class=\"shaft\" d=\"M{a} {y}H{end}\"/><path class=\"head\" d=\"M{tip} {y}l{back} -4v8z\"/>"
        )
    }

    /// Where words may begin: right of the cross, if there is one.
    fn first_of_words(&self, failing: bool) -> usize {
        FLOW + if failing { CROSS } else { 2 }
    }

    /// What stands on an arrow: above its middle, within the lanes' part; it may be longer than the arrow.
    fn words(&self, text: &str, a: usize, b: usize, top: usize, first: usize) -> String {
        let shown = fitting(text, self.lanes_end - first - 10);
        let half = width(&shown) / 2;
        let middle = match a == b {
            true => a + 20 + half,
            false => a.midpoint(b),
        };
        let x = middle.clamp(
            first + half,
            (self.lanes_end - 2).saturating_sub(half).max(first + half),
        );
        format!(
            "<text class=\"label\" x=\"{x}\" y=\"{}\">{}</text>",
            top + LABEL,
            escape(&shown)
        )
    }

    fn remark(&self, lane: usize, text: &str, top: usize) -> String {
        let x = self.lane(lane);
        let (behind, before) = (
            self.lanes_end.saturating_sub(x + 10),
            x.saturating_sub(FLOW + 10),
        );
        // Right of its lane, else left of it, else where more of it fits; never over its own dot.
        let goes_left = width(text) > behind && before > behind;
        let shown = fitting(text, if goes_left { before } else { behind });
        let left = match goes_left {
            true => x - 10 - width(&shown),
            false => x + 10,
        };
        let all = if shown == text {
            String::new()
        } else {
            format!("<title>{}</title>", escape(text))
        };
        format!(
            "<circle class=\"dot\" cx=\"{x}\" cy=\"{}\" r=\"3\"/><text class=\"remark\" x=\"{left}\" y=\"{}\">{}{all}</text>\n",
            top + MIDDLE - 4,
            top + MIDDLE,
            escape(&shown)
        )
    }

    fn band(&self, text: &str, part: Part, at: &str, top: usize) -> String {
        let class = match part {
            Part::Given => "band given",
            Part::Scenario => "band",
        };
        format!(
            "<rect class=\"{class}\" x=\"{FLOW}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"/>\
             <text class=\"said\" x=\"{}\" y=\"{}\">{}</text>{}",
            top + 4,
            self.lanes_end - FLOW,
            ROW - 8,
            FLOW + 8,
            top + MIDDLE,
            escape(&fitting(text, self.lanes_end - FLOW - 12)),
            self.right(None, "", at, top)
        )
    }

    /// Event, reference point and time, at the right.
    fn right(&self, event: Option<usize>, on: &str, at: &str, top: usize) -> String {
        let y = top + MIDDLE;
        let event = event.map(|event| event.to_string()).unwrap_or_default();
        format!(
            "<text class=\"num\" x=\"{}\" y=\"{y}\">{event}</text><text class=\"on\" x=\"{}\" y=\"{y}\">{}</text>\
             <text class=\"num\" x=\"{}\" y=\"{y}\">{}</text>\n",
            self.lanes_end + 34,
            self.lanes_end + 42,
            escape(on),
            self.width - 4,
            escape(at)
        )
    }
}

/// As much of a text as so many pixels hold.
fn fitting(text: &str, room: usize) -> String {
    let most = (room * 10 / CHARACTER_TENTHS).max(8);
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most - 1).collect();
    short.push('…');
    short
}

fn label(arrow: &Arrow) -> String {
    let lost = if arrow.lost { " (lost)" } else { "" };
    match arrow.times {
        1 => format!("{}{lost}", arrow.label),
        times => format!("{} ×{times}{lost}", arrow.label),
    }
}

fn ghost_label(ghost: &Ghost) -> String {
    format!("expected: {}", ghost.label)
}

/// A cross in a disc.
fn cross(x: usize, y: usize) -> String {
    format!(
        "<circle class=\"disc\" cx=\"{x}\" cy=\"{}\" r=\"8\"/><path class=\"tick\" d=\"M{} {}l7 7m0 -7l-7 7\"/>",
        y - 4,
        x - 3,
        y - 7
    )
}

/// The width of a text in the monospaced face of the drawing.
fn width(text: &str) -> usize {
    (text.chars().count() * CHARACTER_TENTHS).div_ceil(10)
}

/// A character is 6.7 pixels wide at 11 pixels.
const CHARACTER_TENTHS: usize = 67;

/// Rows of a strip.
const STRIP: usize = 16;

/// Heights: of the names, of a row, and within a row of what is written and drawn.
const HEAD: usize = 24;
const ROW: usize = 28;
const LABEL: usize = 13;
const MIDDLE: usize = 18;
const SHAFT: usize = 19;

/// Widths: of the steps of the call flow, of a cross with what is left of it, of what stands at the right, of lanes that are not pressed, of one gap
/// at most, and of labels that lanes make room for.
const FLOW: usize = 36;
const CROSS: usize = 20;
const STUB: usize = 48;
const RIGHT: usize = 216;
const COMFORT: usize = 870;
const MOST: usize = 170;
const WIDEST: usize = 870;
