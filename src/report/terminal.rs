//! What a person sees: one line a scenario, the failures again at the end with picture and command, and a
//! summary that fits a screen. Coloured with ANSI sequences, which the printing stream takes out where
//! they are not wanted; a colour never carries meaning alone.

use std::{collections::BTreeSet, fmt::Write, io};

use anstyle::{AnsiColor, Style};

use super::{
    Counts, FindingRow, Folder, InstanceResult, Outcome, Report,
    ladder::{Ladder, Look, Row},
};
use crate::node::deviation::Deviation;

/// Everything, without colours: what `report.txt` holds.
pub fn text(report: &Report, folder: &Folder) -> String {
    let column = column(report.instances.iter().map(|instance| instance.id.as_str()));
    let mut text = String::new();
    for instances in groups(&report.instances) {
        text.push_str(&lines(instances, column));
    }
    text.push_str(&troubles(report, folder, Look::default()));
    text.push_str(&observations(report));
    // Not where the folder stands: the file is the same wherever it was drawn.
    text.push_str(&summary(report, &report.run.id));
    anstream::adapter::strip_str(&text).to_string()
}

/// The configurations of one scenario, one seed after the other.
pub fn groups(instances: &[InstanceResult]) -> impl Iterator<Item = &[InstanceResult]> {
    instances.chunk_by(|a, b| a.scenario == b.scenario && a.seed == b.seed)
}

/// The column verdicts stand in, given the ids of all instances that will be shown.
pub fn column<'a>(ids: impl Iterator<Item = &'a str>) -> usize {
    ids.map(|id| id.chars().count()).max().unwrap_or(0) + 4
}

/// The lines of one scenario: one if all its configurations came to the same, else one for each outcome.
/// An instance that somebody has to look at has its own. Not applicable ones are counted at the end only.
pub fn lines(instances: &[InstanceResult], column: usize) -> String {
    let mut text = String::new();
    for &outcome in Outcome::ALL {
        let same: Vec<&InstanceResult> =
            instances.iter().filter(|i| i.outcome == outcome).collect();
        match (outcome, same.as_slice()) {
            (Outcome::NotApplicable, _) | (_, []) => {}
            (_, [alone]) => text.push_str(&line(&alone.id, alone, column)),
            (outcome, same) if outcome.is_trouble() => {
                for instance in same {
                    text.push_str(&line(&instance.id, instance, column));
                }
            }
            (_, [first, ..]) => {
                let id = format!("{} ×{} #{}", first.scenario, same.len(), first.seed);
                let together = InstanceResult {
                    lost: same.iter().map(|instance| instance.lost).sum(),
                    repeated: same.iter().map(|instance| instance.repeated).sum(),
                    ..(*first).clone()
                };
                text.push_str(&line(&id, &together, column));
            }
        }
    }
    text
}

/// Failures again, what was seen at open points, and the summary.
pub fn ending(report: &Report, folder: &Folder, look: Look) -> String {
    let mut text = String::new();
    text.push_str(&troubles(report, folder, look));
    text.push_str(&observations(report));
    text.push_str(&summary(report, &folder.path().display().to_string()));
    text
}

/// Findings that say the same of the same party, as one with their number.
pub fn alike(findings: &[FindingRow]) -> Vec<(&FindingRow, usize)> {
    let mut told: Vec<(&FindingRow, usize)> = Vec::new();
    for finding in findings {
        let says = |other: &FindingRow| {
            (
                &other.requirement,
                other.party(),
                &other.expected,
                &other.actual,
            ) == (
                &finding.requirement,
                finding.party(),
                &finding.expected,
                &finding.actual,
            )
        };
        match told.iter_mut().find(|(other, _)| says(other)) {
            Some((_, times)) => *times += 1,
            None => told.push((finding, 1)),
        }
    }
    told
}

/// Clause, rule, purpose, what was broken on purpose, expected, actual, blame, message, picture (of so many rows),
/// command: always in this order.
pub fn detail(
    instance: &InstanceResult,
    ladder: io::Result<Option<Ladder>>,
    rows: usize,
    look: Look,
) -> String {
    let mut text = line(&instance.id, instance, 0);
    if let Some(rule) = rule(instance) {
        row(&mut text, "rule", rule);
    }
    row(&mut text, "purpose", &instance.purpose);
    if let Some(name) = &instance.deviation {
        row(&mut text, "broken", &rule_broken(name));
    }
    let told = alike(&instance.findings);
    let mut expected = "";
    for (finding, times) in told.iter().take(FINDINGS) {
        // Each message that broke one rule: the rule once, then the messages.
        if finding.expected != expected {
            expected = &finding.expected;
            row(&mut text, "expected", expected);
        }
        row(&mut text, "actual", &blamed(finding));
        if *times > 1 {
            row(&mut text, "times", &times.to_string());
        }
        if let Some(message) = finding.unnamed_message() {
            row(&mut text, "in", message);
        }
    }
    if told.len() > FINDINGS {
        let more = told.len() - FINDINGS;
        row(
            &mut text,
            "more",
            &format!("{}, in results.json", number(more, "finding")),
        );
    }
    for finding in &instance.advice {
        row(&mut text, "advice", &source(finding));
        row(&mut text, "expected", &finding.expected);
        row(&mut text, "actual", &blamed(finding));
    }
    if let Some(reason) = &instance.reason {
        row(&mut text, "reason", reason);
    }
    for seen in &instance.observations {
        row(&mut text, "seen", seen);
    }
    match ladder {
        Ok(Some(ladder)) => text.push_str(&picture(&ladder, instance, rows, look)),
        Ok(None) => {}
        Err(error) => row(&mut text, "picture", &format!("none: {error}")),
    }
    row(&mut text, "again", &instance.replay);
    text
}

fn line(id: &str, instance: &InstanceResult, column: usize) -> String {
    let word = instance.outcome.word().to_uppercase();
    let style = style(instance.outcome);
    let source = match instance.decisive() {
        Some(finding) => source(finding),
        None => {
            let ids: Vec<&str> = instance
                .requirements
                .iter()
                .map(|r| r.id.as_str())
                .collect();
            let more = if ids.len() > 2 { " …" } else { "" };
            let first = ids[..ids.len().min(2)].join(" ");
            format!("{first}{more} · {}", instance.clause)
        }
    };
    let losses = match instance.lost {
        0 => String::new(),
        lost => format!(" · {lost} lost, {} sent again", instance.repeated),
    };
    let dots = ".".repeat(column.saturating_sub(id.chars().count()).max(3));
    let line = format!("{id} {dots} {style}{word:<12}{style:#} {source}{losses}");
    format!("{}\n", line.trim_end())
}

/// Row, clause, and how far it binds.
pub fn source(finding: &FindingRow) -> String {
    if finding.requirement.is_empty() {
        return finding.blame.to_string();
    }
    let mut words = vec![finding.requirement.as_str(), finding.clause.as_str()];
    if finding.profile {
        words.push("profile");
    }
    if finding.not_verified {
        words.push("clause not verified");
    }
    words.retain(|word| !word.is_empty());
    words.join(" · ")
}

/// The rule that was broken on purpose.
fn rule_broken(name: &str) -> String {
    match Deviation::named(name) {
        Some(deviation) => format!("{name}: {}", deviation.summary),
        None => name.to_owned(),
    }
}

/// What the row asks that the verdict rests on.
fn rule(instance: &InstanceResult) -> Option<&str> {
    let broken = &instance.decisive()?.requirement;
    let mut rows = instance.requirements.iter();
    Some(&rows.find(|row| row.id == *broken)?.title)
}

/// What came, and whose it is.
fn blamed(finding: &FindingRow) -> String {
    format!("{}   blame: {}", finding.actual, finding.party())
}

fn row(text: &mut String, name: &str, value: &str) {
    let mut lines = value.lines();
    let _ = writeln!(text, "  {name:<9} {}", lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(text, "  {:<9} {line}", "");
    }
}

/// The part of a ladder that shows the failure.
fn picture(ladder: &Ladder, instance: &InstanceResult, rows: usize, look: Look) -> String {
    let (excerpt, before, after) = ladder.excerpt(rows);
    let file = super::folder::ladder_file(&instance.id);
    let left_out = |rows: &[Row], place: &str| {
        let failing = match rows.iter().filter(|row| row.is_failing()).count() {
            0 => String::new(),
            failing => format!(", {failing} of them ✗"),
        };
        match rows.len() {
            0 => String::new(),
            length => format!(
                "    … {} {place}{failing}, in {file} of the run's folder\n",
                number(length, "row")
            ),
        }
    };
    let (first, last) = (before, ladder.rows.len() - after);
    format!(
        "\n{}{}{}\n",
        left_out(&ladder.rows[..first], "before"),
        coloured(&excerpt.text(look)),
        left_out(&ladder.rows[last..], "after")
    )
}

/// The rows that fail in the colour of a failure.
fn coloured(ladder: &str) -> String {
    let style = style(Outcome::Fail);
    let line = |line: &str| match line.ends_with("  ✗") || line.ends_with("  X") {
        true => format!("{style}{line}{style:#}\n"),
        false => format!("{line}\n"),
    };
    ladder.lines().map(line).collect()
}

/// The first instance of each scenario in trouble in full, the others by their configuration.
fn troubles(report: &Report, folder: &Folder, look: Look) -> String {
    let troubled: Vec<&InstanceResult> = report.troubles().collect();
    let scenarios: Vec<&[&InstanceResult]> = troubled
        .chunk_by(|a, b| a.scenario == b.scenario && a.outcome == b.outcome)
        .collect();
    let mut text = String::new();
    for instances in scenarios.iter().take(IN_FULL) {
        text.push('\n');
        text.push_str(&detail(
            instances[0],
            folder.ladder(instances[0]),
            ROWS,
            look,
        ));
        if instances.len() > 1 {
            let others: Vec<&str> = instances[1..].iter().map(|i| i.suffix()).collect();
            row(&mut text, "also", &others.join("  "));
        }
    }
    if scenarios.len() > IN_FULL {
        let more = scenarios.len() - IN_FULL;
        let _ = writeln!(
            text,
            "\n{} did not pass: see the lines above, or replay one",
            number(more, "more scenario")
        );
    }
    text
}

/// Lawful outcomes that were taken, each with the first instance it was seen in.
fn observations(report: &Report) -> String {
    let mut seen: Vec<(&str, &str, usize)> = Vec::new();
    for instance in &report.instances {
        for words in &instance.observations {
            match seen.iter_mut().find(|(known, _, _)| known == words) {
                Some((_, _, times)) => *times += 1,
                None => seen.push((words, &instance.id, 1)),
            }
        }
    }
    let mut text = String::new();
    for (number, (words, id, times)) in seen.iter().enumerate() {
        if number == 0 {
            text.push_str("\nseen where the text leaves a choice\n");
        }
        if number == TOP {
            let _ = writeln!(text, "  and {} more, in results.json", seen.len() - TOP);
            break;
        }
        let _ = writeln!(text, "  ×{times:<4} {words}, as in {id}");
    }
    text
}

fn summary(report: &Report, place: &str) -> String {
    let run = &report.run;
    let mut text = String::from("\n");
    let scenarios: BTreeSet<&str> = report
        .instances
        .iter()
        .map(|i| i.scenario.as_str())
        .collect();
    let _ = writeln!(
        text,
        "{} of {}, seed {}, {}, {}{}",
        number(report.instances.len(), "instance"),
        number(scenarios.len(), "scenario"),
        run.seed,
        run.transport,
        seconds(run.elapsed),
        if run.interrupted {
            "; INTERRUPTED, what is missing was not played"
        } else {
            ""
        }
    );
    if let Some(sut) = &run.sut {
        let roles: Vec<_> = sut.roles.iter().map(|role| role.word()).collect();
        let _ = writeln!(text, "  under test: {}, as {}", sut.name, roles.join(", "));
    }
    if let Some(deviation) = &run.deviation {
        let _ = writeln!(text, "  deviating: {deviation}");
    }
    let _ = writeln!(text, "  {}", counts(&report.counts));
    for (outcome, reason, number) in reasons(report) {
        let _ = writeln!(text, "  {number} {outcome}: {reason}");
    }
    for waiver in &run.stale_waivers {
        let _ = writeln!(text, "  stale waiver, what it excuses passes: {waiver}");
    }
    let broken = broken(report);
    for (number, finding) in broken.iter().take(TOP) {
        let _ = writeln!(text, "  ×{number:<4} {}", source(finding));
    }
    if broken.len() > TOP {
        let _ = writeln!(
            text,
            "  and {}",
            number(broken.len() - TOP, "more requirement")
        );
    }
    let _ = writeln!(text, "  results   {place}");
    text
}

fn counts(counts: &Counts) -> String {
    let mut words: Vec<String> = Outcome::ALL
        .iter()
        .filter(|&&outcome| counts.get(outcome) > 0 || outcome == Outcome::Pass)
        .map(|&outcome| {
            let style = style(outcome);
            format!("{style}{} {outcome}{style:#}", counts.get(outcome))
        })
        .collect();
    if counts.advice > 0 {
        words.push(format!("{} advice", counts.advice));
    }
    words.join(" · ")
}

/// Why instances do not count, and how many.
fn reasons(report: &Report) -> Vec<(Outcome, &str, usize)> {
    use Outcome::{NotApplicable, Unsupported, Waived};
    let mut reasons: Vec<(Outcome, &str, usize)> = Vec::new();
    let uncounted = report.instances.iter();
    let uncounted = uncounted.filter(|i| matches!(i.outcome, NotApplicable | Unsupported | Waived));
    for instance in uncounted {
        let reason = instance.reason.as_deref().unwrap_or("no reason given");
        let same =
            |known: &&mut (Outcome, &str, usize)| (known.0, known.1) == (instance.outcome, reason);
        match reasons.iter_mut().find(same) {
            Some((_, _, number)) => *number += 1,
            None => reasons.push((instance.outcome, reason, 1)),
        }
    }
    reasons
}

/// The requirements that instances in trouble rest on, those whose clause was never read last, else the
/// most frequent first.
fn broken(report: &Report) -> Vec<(usize, &FindingRow)> {
    let mut broken: Vec<(usize, &FindingRow)> = Vec::new();
    for finding in report.troubles().filter_map(InstanceResult::decisive) {
        match broken
            .iter_mut()
            .find(|(_, known)| known.requirement == finding.requirement)
        {
            Some((number, _)) => *number += 1,
            None => broken.push((1, finding)),
        }
    }
    broken.sort_by_key(|(number, finding)| (finding.not_verified, std::cmp::Reverse(*number)));
    broken
}

/// `1 scenario`, `2 scenarios`.
pub fn number(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000)
}

fn style(outcome: Outcome) -> Style {
    let colour = match outcome {
        Outcome::Pass => AnsiColor::Green,
        Outcome::Inconclusive | Outcome::Waived => AnsiColor::Yellow,
        Outcome::Fail => AnsiColor::Red,
        Outcome::Error => AnsiColor::Magenta,
        Outcome::Info => AnsiColor::Cyan,
        Outcome::Unsupported | Outcome::NotApplicable => AnsiColor::BrightBlack,
    };
    Style::new().fg_color(Some(colour.into())).bold()
}

/// Scenarios shown in full at the end.
const IN_FULL: usize = 12;

/// Rows of a ladder shown in the terminal.
const ROWS: usize = 36;

/// Findings of one instance shown in the terminal.
const FINDINGS: usize = 6;

/// Requirements and observations listed in the summary.
const TOP: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn losses_are_told_for_all_configurations_of_a_scenario_together() {
        let mut lossy = sample().instances[0].clone();
        (lossy.lost, lossy.repeated) = (7, 9);
        assert!(lines(&[lossy.clone()], 0).contains(" · 7 lost, 9 sent again"));
        lossy.outcome = Outcome::Pass;
        let both = lines(&[lossy.clone(), lossy], 0);
        assert!(both.contains(" · 14 lost, 18 sent again"), "{both}");
        let whole = lines(&sample().instances, 0);
        assert!(!whole.contains("lost"), "{whole}");
    }

    #[test]
    fn a_failure_is_told_in_order() {
        let folder = Folder::create(&std::env::temp_dir().join("peerproof-terminal"), Vec::new());
        let text = text(&sample(), &folder.unwrap());
        let places: Vec<usize> = ["purpose", "expected", "actual", "blame: ue-a", "again"]
            .iter()
            .map(|word| {
                text.find(word)
                    .unwrap_or_else(|| panic!("no {word} in\n{text}"))
            })
            .collect();
        assert!(places.is_sorted(), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
        assert!(
            text.contains("1 pass · 1 fail · 1 unsupported · 1 advice"),
            "{text}"
        );
    }
}
