//! A summary in Markdown, as pull requests and job pages show it.

use std::fmt::Write;

use super::{FindingRow, Folder, InstanceResult, Outcome, Report, ladder::Look, terminal};

/// The summary, with the first instance of each scenario in trouble in full.
pub fn draw(report: &Report, folder: &Folder) -> String {
    let mut text = format!("# peerproof: {}\n\n", verdict(report));
    let run = &report.run;
    let _ = writeln!(
        text,
        "Run {}, version {}, seed {}, {}, {}{}.\n",
        code(&run.id),
        run.version,
        run.seed,
        run.transport,
        terminal::number(report.instances.len(), "instance"),
        if run.interrupted {
            ", **interrupted**"
        } else {
            ""
        }
    );
    text.push_str("| outcome | instances |\n|---|---:|\n");
    for &outcome in Outcome::ALL {
        let count = report.counts.get(outcome);
        if count > 0 {
            let _ = writeln!(text, "| {outcome} | {count} |");
        }
    }
    if report.counts.advice > 0 {
        let _ = writeln!(text, "| advice | {} |", report.counts.advice);
    }
    let troubles: Vec<&InstanceResult> = report.troubles().collect();
    if !troubles.is_empty() {
        text.push_str("\n| | requirement | clause | expected | actual | blame |\n");
        text.push_str("|---|---|---|---|---|---|\n");
    }
    for instance in &troubles {
        text.push_str(&row(instance));
    }
    for same in troubles
        .chunk_by(|a, b| a.scenario == b.scenario)
        .take(IN_FULL)
    {
        let instance = same[0];
        let detail = terminal::detail(instance, folder.ladder(instance), ROWS, Look::default());
        let plain = anstream::adapter::strip_str(&detail);
        let _ = write!(
            text,
            "\n<details><summary>{}</summary>\n\n```text\n{}\n```\n\n</details>\n",
            instance.scenario,
            plain.to_string().trim_end().replace("```", "'''")
        );
    }
    text
}

fn verdict(report: &Report) -> String {
    let (fail, error) = (report.counts.fail, report.counts.error);
    match (fail, error, report.counts.pass + report.counts.info) {
        (0, 0, 0) => "nothing passed".to_owned(),
        (0, 0, good) => format!("{good} passed, none failed"),
        (fail, error, _) => format!("{fail} failed, {error} in error"),
    }
}

fn row(instance: &InstanceResult) -> String {
    let say = |words: fn(&FindingRow) -> String| instance.decisive().map(words).unwrap_or_default();
    let cells = [
        format!("{} {}", instance.outcome, code(&instance.id)),
        say(|finding| finding.requirement.clone()),
        say(FindingRow::cited),
        say(|finding| finding.expected.clone()),
        say(|finding| finding.actual.clone()),
        say(FindingRow::party),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'"))
}

/// What would end a cell or begin a tag.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace(['\r', '\n'], " ")
}

/// Scenarios shown in full.
const IN_FULL: usize = 10;

/// Rows of a ladder.
const ROWS: usize = 40;

#[cfg(test)]
mod tests {
    use crate::report::{Folder, tests::sample};

    #[test]
    fn a_cell_never_ends_early() {
        let mut report = sample();
        report.instances[1].findings[0].actual = "a | b\n<script>".to_owned();
        report.instances[1].findings[0].clause = "TS 24.229 5.2.6".to_owned();
        report.instances[1].findings[0].not_verified = true;
        let path = std::env::temp_dir().join("peerproof-markdown");
        let folder = Folder::create(&path, Vec::new()).unwrap();
        let text = super::draw(&report, &folder);
        assert!(
            text.starts_with("# peerproof: 1 failed, 0 in error\n"),
            "{text}"
        );
        assert!(text.contains("| a \\| b &lt;script> | ue-a |"), "{text}");
        assert!(
            text.contains("| TS 24.229 5.2.6, clause not verified |"),
            "{text}"
        );
        assert!(
            text.contains("<details><summary>registered/step-3"),
            "{text}"
        );
    }
}
