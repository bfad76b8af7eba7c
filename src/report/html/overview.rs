//! The page but for its failures: verdicts and what was run, the sixteen configurations, what was covered, and
//! every instance by its scenario.

use std::{collections::BTreeMap, fmt::Write};

use super::{badge, distinct, escape, sign};
use crate::{
    report::{
        Counts, InstanceResult, LedgerRow, Outcome, Report, RequirementRow, matrix::Matrix,
        terminal::number,
    },
    spec::{Architecture, Options},
};

/// What came of it, in a few words.
pub fn headline(report: &Report) -> String {
    let counts = &report.counts;
    let good = counts.pass + counts.info;
    let mut words = Vec::new();
    for outcome in [Outcome::Fail, Outcome::Error, Outcome::Inconclusive] {
        match (outcome, counts.get(outcome)) {
            (_, 0) => {}
            (Outcome::Fail, count) => words.push(format!("{count} failed")),
            (Outcome::Error, count) => words.push(format!("{count} in error")),
            (_, count) => words.push(format!("{count} inconclusive")),
        }
    }
    words.push(match good {
        0 => "none passed".to_owned(),
        good => format!("{good} passed"),
    });
    if report.run.interrupted {
        words.push("interrupted".to_owned());
    }
    words.join(", ")
}

/// How many came to each outcome.
pub fn verdict(report: &Report) -> String {
    let mut text = String::from("<section id=\"verdict\"><h2>Verdicts</h2>\n<ul class=\"counts\">");
    for &outcome in Outcome::ALL {
        let count = report.counts.get(outcome);
        if count > 0 || outcome == Outcome::Pass {
            let _ = write!(
                text,
                "<li class=\"{outcome}\"><b class=\"{outcome}\">{} {count}</b> {outcome}</li>",
                sign(outcome)
            );
        }
    }
    if report.counts.advice > 0 {
        let _ = write!(text, "<li><b>{}</b> advice</li>", report.counts.advice);
    }
    text.push_str("</ul>\n");
    if report.run.interrupted {
        text.push_str(
            "<p class=\"warn\">The run was interrupted: what is missing was not played.</p>\n",
        );
    }
    text
}

/// How it was run.
pub fn run(report: &Report) -> String {
    let run = &report.run;
    let scenarios = distinct(report.instances.iter().map(|i| i.scenario.as_str())).len();
    let mut rows = vec![
        (
            "played",
            format!(
                "{} of {}",
                number(report.instances.len(), "instance"),
                number(scenarios, "scenario")
            ),
        ),
        ("selection", run.selected()),
        ("transport", run.transport.clone()),
        ("seed", run.seed.to_string()),
        (
            "under test",
            match &run.sut {
                Some(sut) => {
                    let roles: Vec<&str> = sut.roles.iter().map(|role| role.word()).collect();
                    match sut.profile.is_empty() {
                        true => format!("{}, as {}", sut.name, roles.join(", ")),
                        false => format!("{}, as {} ({})", sut.name, roles.join(", "), sut.profile),
                    }
                }
                None if run.deviation.is_some() => {
                    "the built-in nodes that break the rule".to_owned()
                }
                None => "every built-in node".to_owned(),
            },
        ),
        (
            "a broken SHOULD",
            match run.strict {
                true => "fails (strict)".to_owned(),
                false => "is advice".to_owned(),
            },
        ),
        (
            "took",
            format!("{}.{:03} s", run.elapsed / 1000, run.elapsed % 1000),
        ),
    ];
    if let Some(deviation) = &run.deviation {
        rows.push(("rule broken", deviation.clone()));
    }
    if run.redacted {
        rows.push(("secrets", "taken out".to_owned()));
    }
    for waiver in &run.stale_waivers {
        rows.push(("stale waiver", waiver.clone()));
    }
    let mut text = String::from("<h3>Configuration of the run</h3>\n<dl class=\"config\">");
    for (name, value) in rows {
        let _ = write!(
            text,
            "<div><dt>{name}</dt><dd>{}</dd></div>",
            escape(&value)
        );
    }
    text.push_str("</dl></section>\n");
    text
}

/// Both architectures by the eight choices that the text leaves open.
pub fn configurations(report: &Report) -> String {
    let mut cells: BTreeMap<(Architecture, String), Vec<&InstanceResult>> = BTreeMap::new();
    for instance in &report.instances {
        let key = (instance.architecture, instance.options.clone());
        cells.entry(key).or_default().push(instance);
    }
    let mut text = String::from(
        "<section id=\"configurations\"><h2>The sixteen configurations</h2>\n\
         <p class=\"note\">Scenarios that do not depend on a choice are played in one configuration only.</p>\n\
         <div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Configurations\"><table class=\"grid\"><thead><tr>\
         <th scope=\"col\">peer list</th><th scope=\"col\">request</th><th scope=\"col\">status</th>",
    );
    for architecture in Architecture::ALL {
        let _ = write!(text, "<th scope=\"col\">{architecture}</th>");
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for options in Options::all() {
        let words = options.to_string();
        text.push_str("<tr>");
        for word in words.split('.') {
            let _ = write!(text, "<th scope=\"row\">{word}</th>");
        }
        for &architecture in Architecture::ALL {
            let cell = cells.get(&(architecture, words.clone()));
            let _ = write!(
                text,
                "<td>{}</td>",
                cell.map_or_else(untested, |cell| told(cell))
            );
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div></section>\n");
    text
}

fn untested() -> String {
    "<span class=\"untested\">– none</span>".to_owned()
}

/// How many of the instances came to each outcome.
fn told(instances: &[&InstanceResult]) -> String {
    let mut counts = Counts::default();
    for instance in instances {
        counts.add(instance.outcome);
    }
    let words = Outcome::ALL
        .iter()
        .filter(|&&outcome| counts.get(outcome) > 0);
    let words: Vec<String> = words
        .map(|&outcome| {
            let (sign, count) = (sign(outcome), counts.get(outcome));
            let words = format!("{sign} {count} {outcome}");
            let first = instances
                .iter()
                .find(|i| i.outcome == outcome && outcome.is_trouble());
            let words = match first {
                Some(first) => format!("<a href=\"#{}\">{words}</a>", escape(&first.id)),
                None => words,
            };
            format!("<span class=\"verdict {outcome}\">{words}</span>")
        })
        .collect();
    words.join(" ")
}

/// Requirements by clause: which the run tested, and what came of them.
pub fn coverage(report: &Report) -> String {
    let mut worst: BTreeMap<&str, (Outcome, usize)> = BTreeMap::new();
    let mut rows: BTreeMap<&str, &RequirementRow> = BTreeMap::new();
    for instance in &report.instances {
        for row in &instance.requirements {
            rows.insert(&row.id, row);
            if is_tested(instance.outcome) {
                let (outcome, times) = worst.entry(&row.id).or_insert((Outcome::Pass, 0));
                *times += 1;
                if weight(instance.outcome) > weight(*outcome) {
                    *outcome = instance.outcome;
                }
            }
        }
        // A row whose breach was found may be cited by no step of its scenario.
        for finding in instance
            .findings
            .iter()
            .filter(|f| f.outcome == Outcome::Fail)
        {
            if let Some((outcome, _)) = worst.get_mut(finding.requirement.as_str())
                && weight(finding.outcome) > weight(*outcome)
            {
                *outcome = finding.outcome;
            }
        }
    }
    let ledger: BTreeMap<&str, &LedgerRow> = report
        .ledger
        .iter()
        .map(|row| (row.row.id.as_str(), row))
        .collect();
    for row in &report.ledger {
        rows.insert(&row.row.id, &row.row);
    }
    let mut documents: BTreeMap<&str, Vec<&RequirementRow>> = BTreeMap::new();
    for row in rows.into_values() {
        documents
            .entry(document(&row.clause))
            .or_default()
            .push(row);
    }
    let mut text = format!(
        "<section id=\"coverage\"><h2>Clauses and requirements</h2>\n<p>{} of {} requirements were tested.</p>\n",
        worst.len(),
        documents.values().map(Vec::len).sum::<usize>(),
    );
    for (document, mut rows) in documents {
        rows.sort_by_key(|row| (clause_order(&row.clause), &row.id));
        text.push_str(&document_rows(document, &rows, &worst, &ledger));
    }
    text.push_str("</section>\n");
    text
}

/// `RFC 3261` of `RFC 3261 17.1.2`.
fn document(clause: &str) -> &str {
    let second = clause.match_indices(' ').nth(1);
    second.map_or(clause, |(end, _)| &clause[..end])
}

/// The numbers of a clause, so that 8.10 comes after 8.9.
fn clause_order(clause: &str) -> Vec<u64> {
    let numbers = clause.split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

fn document_rows(
    document: &str,
    rows: &[&RequirementRow],
    worst: &BTreeMap<&str, (Outcome, usize)>,
    ledger: &BTreeMap<&str, &LedgerRow>,
) -> String {
    let tested: Vec<&(Outcome, usize)> = rows
        .iter()
        .filter_map(|row| worst.get(row.id.as_str()))
        .collect();
    let verdict = match tested
        .iter()
        .map(|(outcome, _)| *outcome)
        .max_by_key(|o| weight(*o))
    {
        Some(outcome) => badge(outcome),
        None => "<span class=\"untested\">– untested</span>".to_owned(),
    };
    let mut text = format!(
        "<details><summary>{verdict} {}: {} of {} tested</summary>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Requirements\"><table><thead><tr>\
         <th scope=\"col\">clause</th><th scope=\"col\">row</th><th scope=\"col\">verdict</th>\
         <th scope=\"col\">what is asked</th><th scope=\"col\">binds</th><th scope=\"col\">basis</th>\
         <th scope=\"col\" class=\"n\">instances</th></tr></thead><tbody>\n",
        escape(document),
        tested.len(),
        rows.len()
    );
    for row in rows {
        let (verdict, times) = match worst.get(row.id.as_str()) {
            Some((outcome, times)) => (badge(*outcome), times.to_string()),
            None => (
                "<span class=\"untested\">– untested</span>".to_owned(),
                "0".to_owned(),
            ),
        };
        let why = ledger.get(row.id.as_str()).and_then(|row| {
            let alias = row
                .alias_of
                .as_ref()
                .map(|other| format!("counts with {other}"));
            alias.or(row.uncovered.clone())
        });
        let why = why.map(|why| format!(" <span class=\"note\">{}</span>", escape(&why)));
        let _ = writeln!(
            text,
            "<tr><td>{}</td><th scope=\"row\">{}</th><td>{verdict}</td><td>{}{}</td><td>{}, {}</td><td>{}</td>\
             <td class=\"n\">{times}</td></tr>",
            escape(row.clause[document.len()..].trim()),
            escape(&row.id),
            escape(&row.title),
            why.unwrap_or_default(),
            row.role,
            row.strength,
            row.basis,
        );
    }
    text.push_str("</tbody></table></div></details>\n");
    text
}

fn is_tested(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Unsupported | Outcome::NotApplicable)
}

/// What is worse weighs more.
fn weight(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Pass => 0,
        Outcome::NotApplicable | Outcome::Unsupported => 1,
        Outcome::Info => 2,
        Outcome::Waived => 3,
        Outcome::Inconclusive => 4,
        Outcome::Fail => 5,
        Outcome::Error => 6,
    }
}

/// Which scenario sees which rule broken.
pub fn matrix(matrix: &Matrix) -> String {
    let mut text = format!(
        "<section id=\"matrix\"><h2>Kill matrix</h2>\n<p>Rules broken on purpose, and the scenarios that see it.</p>\n<p>{}</p>\n",
        escape(matrix.summary().trim()).replace('\n', "<br>")
    );
    for (deviation, cells) in matrix.by_deviation() {
        let killers: Vec<&str> = cells
            .iter()
            .filter(|cell| cell.seen == crate::prove::Seen::Killed)
            .map(|cell| cell.scenario.as_str())
            .collect();
        let (class, sign) = if killers.is_empty() {
            ("fail", "✗")
        } else {
            ("pass", "✓")
        };
        let _ = write!(
            text,
            "<details><summary><span class=\"verdict {class}\">{sign}</span> {} <span class=\"note\">killed by {}</span></summary><ul>",
            escape(deviation),
            killers.len()
        );
        for cell in cells
            .iter()
            .filter(|cell| cell.seen != crate::prove::Seen::Survived)
        {
            let claimed = if cell.claimed { " (claimed)" } else { "" };
            let _ = write!(
                text,
                "<li><code>{}</code>: {}{claimed}</li>",
                escape(&cell.scenario),
                escape(&cell.seen.to_string())
            );
        }
        text.push_str("</ul></details>\n");
    }
    text.push_str("</section>\n");
    text
}

/// Every instance: a table a section of the suites, a row a scenario and outcome.
pub fn everything(report: &Report) -> String {
    let section = |instance: &InstanceResult| {
        let id = instance.scenario.as_str();
        id.rsplit_once('/')
            .map_or(id, |(section, _)| section)
            .to_owned()
    };
    let mut sections: BTreeMap<String, Vec<&InstanceResult>> = BTreeMap::new();
    let mut order = Vec::new();
    for instance in &report.instances {
        let section = section(instance);
        if !sections.contains_key(&section) {
            order.push(section.clone());
        }
        sections.entry(section).or_default().push(instance);
    }
    let mut text = String::from("<section id=\"everything\"><h2>Everything</h2>\n");
    for name in order {
        let instances = &sections[&name];
        let _ = write!(
            text,
            "<details><summary><code>{}</code> {}</summary>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Scenarios\"><table><thead><tr><th scope=\"col\">scenario</th>\
             <th scope=\"col\">outcome</th><th scope=\"col\">level</th><th scope=\"col\">requirements</th>\
             <th scope=\"col\">configuration and seed</th></tr></thead><tbody>\n",
            escape(&name),
            told(instances)
        );
        text.push_str(&scenarios(instances));
        text.push_str("</tbody></table></div></details>\n");
    }
    text.push_str("</section>\n");
    text
}

fn scenarios(instances: &[&InstanceResult]) -> String {
    let mut rows: BTreeMap<(&str, Outcome, Option<&str>), Vec<&InstanceResult>> = BTreeMap::new();
    for instance in instances {
        let key = (
            instance.scenario.as_str(),
            instance.outcome,
            instance.reason.as_deref(),
        );
        rows.entry(key).or_default().push(instance);
    }
    let mut text = String::new();
    for ((scenario, outcome, reason), same) in rows {
        let name = scenario.rsplit('/').next().unwrap_or(scenario);
        let ids: Vec<&str> = same[0]
            .requirements
            .iter()
            .map(|row| row.id.as_str())
            .collect();
        let suffixes: Vec<&str> = same.iter().take(LISTED).map(|i| i.suffix()).collect();
        let more = match same.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let reason = reason.map(|reason| format!(": {}", escape(reason)));
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}{}</td><td>{}</td><td>{}</td><td><code>{}</code>{more}</td></tr>",
            escape(name),
            badge(outcome),
            reason.unwrap_or_default(),
            same[0].level,
            escape(&ids.join(" ")),
            escape(&suffixes.join(" ")),
        );
    }
    text
}

/// Configurations and seeds named in a row.
const LISTED: usize = 16;
