//! Annotations as a GitHub workflow reads them from standard output: one for each scenario that somebody has to
//! look at, one for broken recommendations.

use super::{InstanceResult, Outcome, Report, terminal::source};

/// The annotations of a run, a line each; alike instances of a scenario share one.
pub fn annotations(report: &Report) -> String {
    let troubles: Vec<&InstanceResult> = report.troubles().collect();
    let mut text: String = troubles
        .chunk_by(|a, b| a.scenario == b.scenario && a.outcome == b.outcome)
        .map(annotation)
        .collect();
    if report.counts.advice > 0 {
        let message = format!("{} recommendations broken", report.counts.advice);
        text.push_str(&line("notice", "peerproof: advice", &message));
    }
    for waiver in &report.run.stale_waivers {
        text.push_str(&line("warning", "peerproof: stale waiver", waiver));
    }
    text
}

fn annotation(same: &[&InstanceResult]) -> String {
    let instance = same[0];
    let level = match instance.outcome {
        Outcome::Inconclusive => "warning",
        _ => "error",
    };
    let (title, message) = match instance.decisive() {
        Some(finding) => (
            format!("{}: {}", instance.outcome, source(finding)),
            format!(
                "{}\n{}\nexpected {}\nactual {}\nblame {}",
                instance.id,
                instance.purpose,
                finding.expected,
                finding.actual,
                finding.party()
            )
            .replace("\\\n", "\n"),
        ),
        None => (
            format!("{}: {}", instance.outcome, instance.clause),
            instance.reason.clone().unwrap_or_default(),
        ),
    };
    let others = match same.len() {
        1 => String::new(),
        all => format!("\nlikewise in {} other configurations", all - 1),
    };
    line(
        level,
        &title,
        &format!("{message}{others}\nagain: {}", instance.replay),
    )
}

/// `::error title=…::…`, with what would end a property or the line escaped.
fn line(level: &str, title: &str, message: &str) -> String {
    let data = |text: &str| {
        text.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let title = data(title).replace(':', "%3A").replace(',', "%2C");
    format!("::{level} title={title}::{}\n", data(message))
}

#[cfg(test)]
mod tests {
    use crate::report::tests::sample;

    #[test]
    fn every_failure_is_one_line_whatever_was_said() {
        let mut report = sample();
        report.instances[1].findings[0].actual = "100 %\n::set-output".to_owned();
        let text = super::annotations(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(2, lines.len(), "{text}");
        assert!(
            lines[0].starts_with("::error title=fail%3A UE-001 · TR 23.844"),
            "{text}"
        );
        assert!(lines[0].contains("actual 100 %25%0A::set-output"), "{text}");
        assert_eq!(
            "::notice title=peerproof%3A advice::1 recommendations broken",
            lines[1]
        );
    }
}
