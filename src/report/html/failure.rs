//! One thing to look at: clause, purpose, expected, actual, blame, ladder, command, in this order; and below the
//! ladder the messages it shows, each opening to its fields and its octets.

use std::{collections::BTreeSet, fmt::Write};

use super::{badge, escape, picture, sign};
use crate::{
    report::{
        FindingRow, Folder, InstanceResult, Outcome,
        decode::{decode, raw},
        folder::{instance_ladder, ladder_file},
        label,
        ladder::{Arrow, Ladder, Row},
        terminal::alike,
    },
    spec::Worth,
    trace::Trace,
    wire::frame::{Frame, Security},
};

/// Writes articles until the page has its size; those after it have words and no picture.
pub struct Pages<'a> {
    folder: &'a Folder,
    written: usize,
    number: usize,
}

impl<'a> Pages<'a> {
    pub fn new(folder: &'a Folder) -> Pages<'a> {
        Pages {
            folder,
            written: 0,
            number: 0,
        }
    }

    /// The first of `same` in full, the others by their configuration.
    pub fn article(&mut self, same: &[&InstanceResult]) -> String {
        let Some((instance, others)) = same.split_first() else {
            return String::new();
        };
        self.number += 1;
        let text = match self.number {
            ..=ARTICLES => self.whole(instance, others),
            _ => brief(instance, others),
        };
        self.written += text.len();
        text
    }

    fn whole(&self, instance: &InstanceResult, others: &[&InstanceResult]) -> String {
        let mut text = format!(
            "<article id=\"{id}\" class=\"{outcome}\"><h3>{badge} <code>{id}</code></h3>\n",
            id = escape(&instance.id),
            outcome = instance.outcome,
            badge = badge(instance.outcome),
        );
        let told = alike(&instance.findings);
        let clause = match told.first() {
            Some((finding, _)) => source(finding),
            None => escape(&instance.clause),
        };
        let _ = writeln!(
            text,
            "<dl><dt>clause</dt><dd>{clause}</dd><dt>purpose</dt><dd>{}</dd>",
            escape(&instance.purpose)
        );
        if let Some(reason) = &instance.reason {
            let _ = writeln!(text, "<dt>reason</dt><dd>{}</dd>", escape(reason));
        }
        text.push_str("</dl>\n");
        for (number, (finding, times)) in told.iter().take(FINDINGS).enumerate() {
            text.push_str(&found(finding, *times, number > 0));
        }
        if told.len() > FINDINGS {
            let _ = writeln!(
                text,
                "<p class=\"note\">{} more findings, in results.json</p>",
                told.len() - FINDINGS
            );
        }
        text.push_str(&self.picture(instance));
        let _ = writeln!(
            text,
            "<p>Play it again, octet for octet: <code class=\"command\">{}</code></p>",
            escape(&instance.replay)
        );
        text.push_str(&also(others));
        text.push_str("</article>\n");
        text
    }

    fn picture(&self, instance: &InstanceResult) -> String {
        let file = escape(&ladder_file(&instance.id));
        if self.written > PICTURES {
            return format!(
                "<p class=\"note\">The page is full; the ladder stands in <code>{file}</code>.</p>\n"
            );
        }
        let trace = match self.folder.trace(instance) {
            Ok(Some(trace)) => trace,
            Ok(None) => {
                return "<p class=\"note\">It was not played, so there is no ladder.</p>\n"
                    .to_owned();
            }
            Err(error) => {
                return format!(
                    "<p class=\"warn\">no ladder: {}</p>\n",
                    escape(&error.to_string())
                );
            }
        };
        let whole = instance_ladder(&trace, instance);
        let (ladder, before, after) = whole.excerpt(ROWS);
        let told = told(&ladder);
        let target = |event: usize| {
            told.contains(&event)
                .then(|| format!("m{}-{event}", self.number))
        };
        let left_out = |rows: usize, place: &str| match rows {
            0 => String::new(),
            rows => format!("<p class=\"note\">{rows} rows {place}, in <code>{file}</code></p>\n"),
        };
        let mut text = left_out(before, "before");
        text.push_str(&picture::draw(
            &ladder,
            &format!("Ladder of {}", instance.id),
            &target,
        ));
        text.push_str(&left_out(after, "after"));
        text.push_str(&self.messages(&trace, instance, &ladder));
        text
    }

    /// Every message of the ladder, folded; before them, open, those that a finding points at.
    fn messages(&self, trace: &Trace, instance: &InstanceResult, ladder: &Ladder) -> String {
        let arrows = ladder.rows.iter().filter_map(|row| match row {
            Row::Arrow(arrow) => Some(arrow),
            _ => None,
        });
        let (found, others): (Vec<&Arrow>, Vec<&Arrow>) = arrows.partition(|arrow| arrow.failing);
        let (shown, folded) = found.split_at(found.len().min(OPEN));
        let mut text = String::new();
        for arrow in shown {
            text.push_str(&self.message(trace, arrow.event, instance.outcome, " open"));
        }
        if folded.is_empty() && others.is_empty() {
            return text;
        }
        let _ = writeln!(
            text,
            "<details><summary>The other messages of the ladder, {} of them, with their octets</summary>",
            folded.len() + others.len(),
        );
        for arrow in folded {
            text.push_str(&self.message(trace, arrow.event, instance.outcome, ""));
        }
        for arrow in others {
            text.push_str(&self.message(trace, arrow.event, Outcome::Pass, ""));
        }
        text.push_str("</details>\n");
        text
    }

    fn message(&self, trace: &Trace, event: usize, outcome: Outcome, open: &str) -> String {
        let Some(frame) = trace.events.get(event).and_then(|event| event.frame()) else {
            return String::new();
        };
        let marked = match outcome.is_trouble() {
            true => format!(
                "<span class=\"verdict {outcome}\">{}</span> ",
                sign(outcome)
            ),
            false => String::new(),
        };
        format!(
            "<details class=\"message\"{open}><summary>{marked}event {event}, {} s: {} → {} on {}: {}</summary>\
             <div id=\"m{}-{event}\">\n{}</div></details>\n",
            trace.events[event].at,
            escape(&frame.from.to_string()),
            escape(&frame.to.to_string()),
            frame.on,
            escape(&label::of(frame).text),
            self.number,
            opened(frame)
        )
    }
}

/// Where from and to, its fields, its body, its octets.
fn opened(frame: &Frame) -> String {
    let security = match &frame.security {
        Security::Plain => String::new(),
        Security::Tls { client: None } => ", under TLS".to_owned(),
        Security::Tls {
            client: Some(client),
        } => match client.worth {
            Worth::Good => format!(", under TLS as {}", escape(&client.name)),
            worth => format!(
                ", under TLS with a certificate of {} that is {worth}",
                escape(&client.name)
            ),
        },
    };
    let over = match frame.link {
        Some(_) => "on a connection",
        None => "as a datagram",
    };
    let mut text = format!(
        "<p class=\"note\">{} to {}, {over}{security}, {} octets</p>\n",
        frame.src,
        frame.dst,
        frame.bytes.len()
    );
    match decode(frame) {
        Ok(decoded) => {
            let _ = writeln!(
                text,
                "<table class=\"fields\"><caption class=\"mono\">{}</caption>",
                escape(&decoded.head)
            );
            for (name, value) in &decoded.fields {
                let _ = writeln!(
                    text,
                    "<tr><th scope=\"row\">{}</th><td class=\"mono\">{}</td></tr>",
                    escape(name),
                    escape(value)
                );
            }
            text.push_str("</table>\n");
            if let Some(body) = decoded.body {
                let _ = writeln!(text, "<pre>{}</pre>", escape(&body));
            }
        }
        Err(error) => {
            let _ = writeln!(
                text,
                "<p class=\"warn\">not readable: {}</p>",
                escape(&error.to_string())
            );
        }
    }
    let _ = writeln!(
        text,
        "<details><summary>octets</summary><pre>{}</pre></details>",
        escape(&raw(frame, OCTETS))
    );
    text
}

/// The events that arrows of the ladder stand for.
fn told(ladder: &Ladder) -> BTreeSet<usize> {
    let arrows = ladder.rows.iter().filter_map(|row| match row {
        Row::Arrow(arrow) => Some(arrow.event),
        _ => None,
    });
    arrows.collect()
}

/// Expected, actual, blame; the source too where it is not the first.
fn found(finding: &FindingRow, times: usize, is_other: bool) -> String {
    let mut text = String::from("<div class=\"finding\"><dl>");
    if is_other {
        let _ = write!(text, "<dt>also, clause</dt><dd>{}</dd>", source(finding));
    }
    let times = match times {
        1 => String::new(),
        times => format!(" (×{times})"),
    };
    let blame = match &finding.node {
        Some(node) => format!("{} ({})", escape(node), finding.blame),
        None => finding.blame.to_string(),
    };
    let _ = writeln!(
        text,
        "<dt>expected</dt><dd>{}</dd><dt>actual</dt><dd>{}{times}</dd><dt>blame</dt><dd><strong>{blame}</strong></dd></dl></div>",
        escape(&finding.expected),
        escape(&finding.actual),
    );
    text
}

/// Row, clause, and how far it binds.
fn source(finding: &FindingRow) -> String {
    let mut words = vec![escape(&finding.requirement), escape(&finding.clause)];
    if finding.profile {
        words.push(
            "<span class=\"note\">profile: no violation of a specification</span>".to_owned(),
        );
    }
    if finding.not_verified {
        words.push(
            "<span class=\"warn\">clause not verified: check it before you send this</span>"
                .to_owned(),
        );
    }
    words.retain(|words| !words.is_empty());
    words.join(" · ")
}

/// One line, where there are too many for more.
fn brief(instance: &InstanceResult, others: &[&InstanceResult]) -> String {
    let why = match instance.decisive() {
        Some(finding) => format!(
            "{}: expected {}, found {}, blame {}",
            source(finding),
            escape(&finding.expected),
            escape(&finding.actual),
            escape(&finding.party())
        ),
        None => String::new(),
    };
    format!(
        "<article id=\"{id}\" class=\"{}\">{} <code>{id}</code> {why}{}</article>\n",
        instance.outcome,
        badge(instance.outcome),
        also(others),
        id = escape(&instance.id),
    )
}

/// The other instances that came to the same.
fn also(others: &[&InstanceResult]) -> String {
    if others.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = others
        .iter()
        .take(ALSO)
        .map(|other| {
            let (id, suffix) = (escape(&other.id), escape(other.suffix()));
            format!("<code id=\"{id}\">{suffix}</code>")
        })
        .collect();
    let more = match others.len().saturating_sub(ALSO) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("<p>Likewise {}{more}</p>\n", shown.join(" "))
}

/// Rows of a ladder.
const ROWS: usize = 40;

/// Messages that stand open because a finding points at them.
const OPEN: usize = 2;

/// Octets of one message.
const OCTETS: usize = 4 << 10;

/// Findings of one instance.
const FINDINGS: usize = 6;

/// Articles in full; the others are a line each.
const ARTICLES: usize = 300;

/// Octets of articles after which no more pictures are drawn.
const PICTURES: usize = 3_000_000;

/// Instances named after the first.
const ALSO: usize = 64;
