//! CTRF, the common test report format (ctrf.io): one test an instance.

use serde::Serialize;

use super::{InstanceResult, Outcome, Report};

/// The report as CTRF JSON.
pub fn draw(report: &Report) -> String {
    let start = report.run.started.saturating_mul(1000);
    let status = |wanted| {
        let instances = report.instances.iter();
        instances.filter(|i| status(i.outcome) == wanted).count()
    };
    let ctrf = Ctrf {
        report_format: "CTRF",
        spec_version: "0.0.0",
        results: Results {
            tool: Tool {
                name: "peerproof",
                version: &report.run.version,
            },
            summary: Summary {
                tests: report.instances.len(),
                passed: status("passed"),
                failed: status("failed"),
                pending: 0,
                skipped: status("skipped"),
                other: status("other"),
                start,
                stop: start.saturating_add(report.run.elapsed),
            },
            tests: report.instances.iter().map(test).collect(),
        },
    };
    let mut text = serde_json::to_string_pretty(&ctrf).expect("words, numbers and lists");
    text.push('\n');
    text
}

fn test(instance: &InstanceResult) -> Test<'_> {
    let finding = instance.decisive();
    Test {
        name: &instance.id,
        status: status(instance.outcome),
        duration: instance.duration / 1_000_000,
        suite: vec![&instance.section],
        raw_status: instance.outcome.word(),
        tags: &instance.tags,
        message: finding.map(|f| {
            format!(
                "{} · {}: expected {}, found {}",
                f.requirement,
                f.cited(),
                f.expected,
                f.actual
            )
        }),
        extra: Extra {
            clause: &instance.clause,
            options: &instance.options,
            seed: instance.seed,
            blame: finding.map(|f| f.party()),
            replay: &instance.replay,
            reason: instance.reason.as_deref(),
        },
    }
}

fn status(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass | Outcome::Info => "passed",
        Outcome::Fail => "failed",
        Outcome::Inconclusive | Outcome::Error => "other",
        Outcome::Unsupported | Outcome::Waived | Outcome::NotApplicable => "skipped",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ctrf<'a> {
    report_format: &'static str,
    spec_version: &'static str,
    results: Results<'a>,
}

#[derive(Serialize)]
struct Results<'a> {
    tool: Tool<'a>,
    summary: Summary,
    tests: Vec<Test<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'static str,
    version: &'a str,
}

/// Numbers of tests; moments in milliseconds since 1970.
#[derive(Serialize)]
struct Summary {
    tests: usize,
    passed: usize,
    failed: usize,
    pending: usize,
    skipped: usize,
    other: usize,
    start: u64,
    stop: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Test<'a> {
    name: &'a str,
    status: &'static str,
    /// Milliseconds.
    duration: u64,
    suite: Vec<&'a str>,
    raw_status: &'static str,
    tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    extra: Extra<'a>,
}

#[derive(Serialize)]
struct Extra<'a> {
    clause: &'a str,
    options: &'a str,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    blame: Option<String>,
    replay: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use crate::report::tests::sample;

    #[test]
    fn what_did_not_pass_is_never_counted_as_passed() {
        let ctrf: serde_json::Value = serde_json::from_str(&super::draw(&sample())).unwrap();
        let summary = &ctrf["results"]["summary"];
        assert_eq!(
            (3, 1, 1, 1),
            (
                summary["tests"].as_u64().unwrap(),
                summary["passed"].as_u64().unwrap(),
                summary["failed"].as_u64().unwrap(),
                summary["skipped"].as_u64().unwrap()
            )
        );
        assert_eq!("ue-a", ctrf["results"]["tests"][1]["extra"]["blame"]);
    }
}
