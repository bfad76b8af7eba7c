//! One self-contained page: what was run, every verdict, and for each that somebody has to look at the
//! finding, the ladder, and the messages that show it.

use std::fmt::Write;

use super::{
    FindingRow, Folder, InstanceResult, Outcome, Report, folder::instance_ladder, ladder::Look,
};
use crate::{trace::Trace, wire::frame::Frame};

/// The page.
pub fn draw(report: &Report, folder: &Folder) -> String {
    let run = &report.run;
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>peerproof {id}</title>\n<style>{STYLE}</style></head>\n<body>\n\
         <h1>peerproof</h1>\n<p>Run <code>{id}</code>, version {version}, seed {seed}, {transport}{strict}, \
         {milliseconds} ms{interrupted}.</p>\n",
        id = escape(&run.id),
        version = escape(&run.version),
        seed = run.seed,
        transport = escape(&run.transport),
        strict = if run.strict { ", strict" } else { "" },
        milliseconds = run.elapsed,
        interrupted = if run.interrupted {
            "; <strong>interrupted: what is missing was not played</strong>"
        } else {
            ""
        },
    );
    page.push_str(&counts(report));
    let mut troubles = report.troubles().peekable();
    if troubles.peek().is_some() {
        page.push_str("<h2>What did not pass</h2>\n");
    }
    for instance in troubles {
        page.push_str(&detail(instance, folder));
    }
    page.push_str(&everything(report));
    page.push_str("</body></html>\n");
    page
}

fn counts(report: &Report) -> String {
    let mut list = String::from("<p class=\"counts\">");
    for &outcome in Outcome::ALL {
        let count = report.counts.get(outcome);
        if count > 0 || outcome == Outcome::Pass {
            let _ = write!(list, "<span class=\"{outcome}\">{count} {outcome}</span> ");
        }
    }
    if report.counts.advice > 0 {
        let _ = write!(list, "<span>{} advice</span>", report.counts.advice);
    }
    list.push_str("</p>\n");
    list
}

fn detail(instance: &InstanceResult, folder: &Folder) -> String {
    let mut text = format!(
        "<details id=\"{id}\"><summary><span class=\"{outcome}\">{outcome}</span> \
         <code>{id}</code></summary>\n<p>{}</p>\n",
        escape(&instance.purpose),
        id = escape(&instance.id),
        outcome = instance.outcome,
    );
    for row in &instance.findings {
        text.push_str(&finding(row));
    }
    if let Some(reason) = &instance.reason {
        let _ = writeln!(text, "<p>{}</p>", escape(reason));
    }
    match folder.trace(instance) {
        Ok(Some(trace)) => {
            let ladder = instance_ladder(&trace, instance).text(Look::WIDE);
            let _ = writeln!(text, "<pre>{}</pre>", escape(&ladder));
            text.push_str(&messages(&trace, instance));
        }
        Ok(None) => {}
        Err(error) => {
            let _ = writeln!(text, "<p>no trace: {}</p>", escape(&error.to_string()));
        }
    }
    let _ = writeln!(
        text,
        "<p>again: <code>{}</code></p>\n</details>",
        escape(&instance.replay)
    );
    text
}

fn finding(finding: &FindingRow) -> String {
    let mut source = vec![finding.requirement.as_str(), finding.clause.as_str()];
    if finding.profile {
        source.push("profile: no violation of a specification");
    }
    if finding.not_verified {
        source.push("clause not verified: check it before you send this");
    }
    source.retain(|words| !words.is_empty());
    format!(
        "<dl><dt>source</dt><dd>{}</dd><dt>expected</dt><dd>{}</dd><dt>actual</dt><dd>{}</dd>\
         <dt>blame</dt><dd>{}</dd></dl>\n",
        escape(&source.join(" · ")),
        escape(&finding.expected),
        escape(&finding.actual),
        escape(&finding.party())
    )
}

/// The messages that findings point at, each once.
fn messages(trace: &Trace, instance: &InstanceResult) -> String {
    let mut text = String::new();
    let pointed_at = |event: &usize| instance.findings.iter().any(|f| f.events.contains(event));
    let events = (0..trace.events.len()).filter(pointed_at).take(MESSAGES);
    for event in events {
        let Some(frame) = trace.events.get(event).and_then(|event| event.frame()) else {
            continue;
        };
        let _ = writeln!(
            text,
            "<h4>event {event}: {} → {} on {}</h4>\n<pre>{}</pre>",
            escape(&frame.from.to_string()),
            escape(&frame.to.to_string()),
            frame.on,
            escape(&octets(frame))
        );
    }
    text
}

/// A message as text; octets that do not print are escaped, and a long one is cut.
fn octets(frame: &Frame) -> String {
    let shown = &frame.bytes[..frame.bytes.len().min(OCTETS)];
    let mut text: String = String::from_utf8_lossy(shown)
        .chars()
        .filter(|c| *c != '\r')
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect();
    if shown.len() < frame.bytes.len() {
        let _ = write!(text, "\n… {} octets in all", frame.bytes.len());
    }
    text
}

fn everything(report: &Report) -> String {
    let mut text = String::from(
        "<h2>Everything</h2>\n<table><thead><tr><th>instance</th><th>outcome</th><th>level</th>\
         <th>clause</th><th>requirements</th></tr></thead>\n<tbody>\n",
    );
    for instance in &report.instances {
        let ids: Vec<&str> = instance
            .requirements
            .iter()
            .map(|r| r.id.as_str())
            .collect();
        let reason = match &instance.reason {
            Some(reason) => format!(": {}", escape(reason)),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "<tr><td><code>{}</code></td><td><span class=\"{outcome}\">{outcome}</span>{reason}</td>\
             <td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&instance.id),
            instance.level,
            escape(&instance.clause),
            escape(&ids.join(" ")),
            outcome = instance.outcome,
        );
    }
    text.push_str("</tbody></table>\n");
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Messages shown for one instance, and octets of each.
const MESSAGES: usize = 12;
const OCTETS: usize = 8 << 10;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:90rem;margin:2rem auto;padding:0 1rem;\
color:#1c1c1c;background:#fff}\
pre{overflow-x:auto;background:#f5f5f5;padding:.8rem;font-size:12px;line-height:1.25}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.2rem .6rem;\
border-bottom:1px solid #ddd;vertical-align:top}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dd{margin:0}\
summary{cursor:pointer;padding:.3rem 0}.counts span{margin-right:1.2rem}\
.pass{color:#1a7f37}.fail{color:#b91c1c;font-weight:bold}.error{color:#86198f;font-weight:bold}\
.inconclusive,.waived{color:#a16207;font-weight:bold}.info{color:#0e7490}\
.unsupported,.not-applicable{color:#6b7280}\
@media(prefers-color-scheme:dark){body{color:#e5e5e5;background:#161616}pre{background:#222}\
th,td{border-color:#333}}";

#[cfg(test)]
mod tests {
    use crate::report::{Folder, tests::sample};

    #[test]
    fn what_a_party_said_is_text_and_never_markup() {
        let mut report = sample();
        report.instances[1].findings[0].actual = "<script>alert(1)</script>".to_owned();
        report.run.id = "\"><script>".to_owned();
        let path = std::env::temp_dir().join("peerproof-html");
        let folder = Folder::create(&path, Vec::new()).unwrap();
        let page = super::draw(&report, &folder);
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
        assert!(
            page.contains("<span class=\"fail\">1 fail</span>"),
            "{page}"
        );
        assert!(page.contains("no upper tester"), "{page}");
    }
}
