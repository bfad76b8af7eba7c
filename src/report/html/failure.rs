//! One thing to look at: clause, purpose, expected, actual, blame, ladder, command, in this order; and below the
//! ladder the messages it shows, each opening to its fields and its octets.

use std::{collections::BTreeSet, fmt::Write};

use super::{badge, escape, picture, sign};
use crate::{
    judge::Blame,
    node::deviation::Deviation,
    report::{
        FindingRow, Folder, InstanceResult, LedgerRow, Outcome, Report,
        decode::{decode, raw, readable},
        folder::ladder_file,
        label,
        ladder::{Arrow, Ghost, Ladder, Row},
        marks,
        terminal::{alike, number},
    },
    spec::Worth,
    trace::Trace,
    wire::frame::{Frame, Security},
};

/// Writes articles until the page has its size; those after it have words and no picture.
pub struct Pages<'a> {
    folder: &'a Folder,
    ledger: &'a [LedgerRow],
    /// A run of virtual time comes again as it was.
    is_exact: bool,
    written: usize,
    number: usize,
}

impl<'a> Pages<'a> {
    pub fn new(folder: &'a Folder, report: &'a Report) -> Pages<'a> {
        Pages {
            folder,
            ledger: &report.ledger,
            is_exact: report.run.transport == "memory",
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
            Some((finding, _)) => self.asked(instance, finding),
            None => escape(&instance.clause),
        };
        let _ = writeln!(
            text,
            "<dl><dt>clause</dt><dd>{clause}</dd><dt>purpose</dt><dd>{}</dd>",
            escape(&instance.purpose)
        );
        if let Some(name) = &instance.deviation {
            let summary = Deviation::named(name).map_or("", |deviation| deviation.summary);
            let _ = writeln!(
                text,
                "<dt>rule broken</dt><dd><code>{}</code><br>{}</dd>",
                escape(name),
                escape(summary)
            );
        }
        if let Some(reason) = &instance.reason {
            let _ = writeln!(text, "<dt>reason</dt><dd>{}</dd>", escape(reason));
        }
        text.push_str("</dl>\n");
        for (count, (finding, times)) in told.iter().take(FINDINGS).enumerate() {
            let before = count
                .checked_sub(1)
                .map(|before| &told[before].0.requirement);
            let is_another = before.is_some_and(|before| *before != finding.requirement);
            let clause = is_another.then(|| ("also, clause", self.asked(instance, finding)));
            text.push_str(&found(finding, *times, clause));
        }
        if told.len() > FINDINGS {
            let _ = writeln!(
                text,
                "<p class=\"note\">{}, in results.json</p>",
                number(told.len() - FINDINGS, "more finding")
            );
        }
        for (advice, times) in alike(&instance.advice).iter().take(FINDINGS) {
            let clause = Some(("advice, clause", self.asked(instance, advice)));
            text.push_str(&found(advice, *times, clause));
        }
        text.push_str(&self.picture(instance));
        let _ = writeln!(
            text,
            "<p>Play it again{}, where the folder of the run is: <code class=\"command\">{}</code></p>",
            match self.is_exact {
                true => ", octet for octet",
                false => "",
            },
            escape(&instance.replay)
        );
        text.push_str(&also(others));
        text.push_str("</article>\n");
        text
    }

    /// Where it is written, how far it binds, and what it asks.
    fn asked(&self, instance: &InstanceResult, finding: &FindingRow) -> String {
        let cited = instance.requirements.iter();
        let mut rows = cited.chain(self.ledger.iter().map(|row| &row.row));
        let title = rows.find(|row| row.id == finding.requirement);
        match title {
            Some(row) => format!("{}<br>{}", source(finding), escape(&row.title)),
            None => source(finding),
        }
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
        let whole = marks::ladder(&trace, instance);
        let (ladder, before, after) = whole.excerpt(ROWS);
        let told = told(&ladder);
        let target = |event: usize| {
            told.contains(&event)
                .then(|| format!("m{}-{event}", self.number))
        };
        let left_out = |rows: usize, place: &str| match rows {
            0 => String::new(),
            rows => format!(
                "<p class=\"note\">{} {place}, in <code>{file}</code></p>\n",
                number(rows, "row")
            ),
        };
        let elsewhere = whole.failing().saturating_sub(ladder.failing());
        let mut text = seen(&ladder, elsewhere, &target);
        text.push_str(&left_out(before, "before"));
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
        let other = match found.is_empty() {
            true => "message",
            false => "other message",
        };
        let _ = writeln!(
            text,
            "<details><summary>{} of the ladder, with fields and octets</summary>",
            number(folded.len() + others.len(), other),
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
    let (said, class) = match readable(frame, OCTETS) {
        Some(_) => ("octets, with ↵ for CR LF", ""),
        None => ("octets", " class=\"dump\""),
    };
    let _ = writeln!(
        text,
        "<details><summary>{said}</summary><pre{class}>{}</pre></details>",
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

/// What is red in the ladder, in words: a narrow screen shows no whole ladder.
/// `elsewhere`: how many more rows are red in what is left out.
fn seen(ladder: &Ladder, elsewhere: usize, target: &dyn Fn(usize) -> Option<String>) -> String {
    let lane = |lane: usize| escape(&ladder.lanes[lane]);
    // What was expected instead of a message stands behind that, and behind what else was sent at that moment.
    let is_instead = |place: usize, ghost: &Ghost| {
        let before = ladder.rows[..place].iter().rev();
        let sent = before.map_while(|row| match row {
            Row::Arrow(arrow) => Some(arrow),
            _ => None,
        });
        let sent: Vec<&Arrow> = sent.collect();
        let last = sent.first().map(|last| (last.from, last.at));
        let at_once = sent
            .iter()
            .take_while(|arrow| Some((arrow.from, arrow.at)) == last);
        at_once.into_iter().any(|arrow| {
            arrow.failing
                && ghost.from.is_none_or(|from| from == arrow.from)
                && ghost.to.is_none_or(|to| to == arrow.to)
        })
    };
    let rows = ladder.rows.iter().enumerate();
    let failing = rows.filter_map(|(place, row)| match row {
        Row::Arrow(arrow) if arrow.failing => {
            let words = format!(
                "{} → {} on {}: {}, at {} s",
                lane(arrow.from),
                lane(arrow.to),
                arrow.on,
                escape(&arrow.label),
                arrow.at
            );
            Some(match target(arrow.event) {
                Some(target) => format!("<a href=\"#{target}\">{words}</a>"),
                None => words,
            })
        }
        Row::Ghost(ghost) if ghost.failing && !is_instead(place, ghost) => {
            let label = escape(&ghost.label);
            Some(match (ghost.from, ghost.to) {
                (Some(from), Some(to)) => {
                    format!("{} → {}: {label}, never came", lane(from), lane(to))
                }
                (Some(from), None) => format!("from {}: {label}, never came", lane(from)),
                (None, to) => {
                    let to = to.map(lane).unwrap_or_default();
                    format!("to {to}: {label}, never came")
                }
            })
        }
        _ => None,
    });
    let failing: Vec<String> = failing.collect();
    if failing.is_empty() {
        return String::new();
    }
    let more = match failing.len().saturating_sub(SEEN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let more = match elsewhere {
        0 => more,
        elsewhere => format!("{more}; and {elsewhere} more in rows that are left out"),
    };
    let shown = &failing[..failing.len().min(SEEN)];
    format!(
        "<p class=\"seen\"><span class=\"verdict fail\">✗</span> in the ladder: {}{more}</p>\n",
        shown.join("; ")
    )
}

/// Expected, actual, blame; the source too where it is not told before.
fn found(finding: &FindingRow, times: usize, clause: Option<(&str, String)>) -> String {
    let mut text = String::from("<div class=\"finding\"><dl>");
    if let Some((name, clause)) = clause {
        let _ = write!(text, "<dt>{name}</dt><dd>{clause}</dd>");
    }
    let times = match times {
        1 => String::new(),
        times => format!(" ({times} times)"),
    };
    let blame = match &finding.node {
        Some(node) => format!(
            "<strong>{}</strong>, {}",
            escape(node),
            whose(finding.blame)
        ),
        None => format!("<strong>{}</strong>", finding.party()),
    };
    let _ = writeln!(
        text,
        "<dt>expected</dt><dd>{}</dd><dt>actual</dt><dd>{}{times}</dd><dt>blame</dt><dd>{blame}</dd></dl></div>",
        escape(&finding.expected),
        escape(&finding.actual),
    );
    text
}

/// Whose a node is that is blamed.
fn whose(blame: Blame) -> &'static str {
    match blame {
        Blame::Sut => "under test",
        Blame::Reference => "a reference node beside the one under test",
        Blame::Harness => "but nothing is shown against it",
        Blame::Network => "but the network lost what matters",
    }
}

/// Row, clause, and how far it binds.
fn source(finding: &FindingRow) -> String {
    let mut words = vec![escape(&finding.requirement), escape(&finding.clause)];
    if finding.profile {
        words.push(
            "<span class=\"note\">rests on a study or a decision of ours: no violation of a specification</span>"
                .to_owned(),
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

/// Red hops told in words.
const SEEN: usize = 3;

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
