//! JUnit XML: one test suite a section of the text, one test case an instance. A failure is a failure; what
//! came to no verdict is an error; what was not asked for is skipped, with its reason.

use std::time::Duration;

use quick_junit::{NonSuccessKind, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{FindingRow, InstanceResult, Outcome, Report};

/// The report as JUnit XML.
pub fn draw(report: &Report) -> Result<String, SerializeError> {
    let mut junit = quick_junit::Report::new(format!("peerproof {}", report.run.id));
    junit.set_time(Duration::from_millis(report.run.elapsed));
    for instances in report.instances.chunk_by(|a, b| section(a) == section(b)) {
        let mut suite = TestSuite::new(section(&instances[0]));
        suite.add_property(("seed", report.run.seed.to_string().as_str()));
        suite.add_property(("transport", report.run.transport.as_str()));
        if report.run.interrupted {
            suite.add_property(("interrupted", "what is missing was not played"));
        }
        if let Some(deviation) = &report.run.deviation {
            suite.add_property(("deviation", deviation.as_str()));
        }
        suite.add_test_cases(instances.iter().map(test_case));
        junit.add_test_suite(suite);
    }
    if report.run.interrupted {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message("interrupted: what is missing was not played");
        let mut suite = TestSuite::new("run");
        suite.add_test_case(TestCase::new("played to its end", status));
        junit.add_test_suite(suite);
    }
    // Consumers' schemas know `skipped` of suites, and not of all suites together: the first is the latter's.
    let skipped = report.instances.iter();
    let skipped = skipped
        .filter(|i| matches!(status(i), TestCaseStatus::Skipped { .. }))
        .count();
    Ok(junit
        .to_string()?
        .replacen(&format!(" skipped=\"{skipped}\""), "", 1))
}

/// `registered/step-3-piece-request`.
fn section(instance: &InstanceResult) -> &str {
    instance
        .scenario
        .rsplit_once('/')
        .map_or(instance.scenario.as_str(), |(section, _)| section)
}

fn test_case(instance: &InstanceResult) -> TestCase {
    let mut case = TestCase::new(instance.id.as_str(), status(instance));
    case.set_classname(section(instance));
    case.set_time(Duration::from_nanos(instance.duration));
    let mut out = properties(instance);
    out.push_str(&said(instance));
    case.set_system_out(out);
    case
}

/// What a consumer may want to sort by, in the notation for properties in output: no published schema lets a test
/// case have properties as elements, and some consumers refuse what their schema does not allow.
fn properties(instance: &InstanceResult) -> String {
    let mut rows = vec![
        ("clause", instance.clause.clone()),
        ("options", instance.options.clone()),
        ("seed", instance.seed.to_string()),
        ("outcome", instance.outcome.word().to_owned()),
        ("replay", instance.replay.clone()),
    ];
    if instance.lost > 0 {
        rows.push(("lost", instance.lost.to_string()));
        rows.push(("sent-again", instance.repeated.to_string()));
    }
    let ids: Vec<&str> = instance
        .requirements
        .iter()
        .map(|row| row.id.as_str())
        .collect();
    rows.push(("requirements", ids.join(" ")));
    if let Some(finding) = instance.decisive() {
        let verified = if finding.not_verified { "no" } else { "yes" };
        rows.push(("broken", finding.requirement.clone()));
        rows.push(("clause-verified", verified.to_owned()));
        rows.push(("blame", blame(finding)));
    }
    rows.into_iter()
        .map(|(name, value)| format!("[[PROPERTY|{name}={}]]\n", value.replace(['\n', ']'], " ")))
        .collect()
}

fn status(instance: &InstanceResult) -> TestCaseStatus {
    match instance.outcome {
        Outcome::Pass | Outcome::Info => TestCaseStatus::success(),
        Outcome::Fail => trouble(NonSuccessKind::Failure, instance),
        Outcome::Error | Outcome::Inconclusive => trouble(NonSuccessKind::Error, instance),
        Outcome::Unsupported | Outcome::Waived | Outcome::NotApplicable => {
            let mut status = TestCaseStatus::skipped();
            let reason = instance.reason.as_deref().unwrap_or_default();
            status.set_message(format!("{}: {reason}", instance.outcome));
            status
        }
    }
}

fn trouble(kind: NonSuccessKind, instance: &InstanceResult) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(instance.outcome.word());
    match instance.decisive() {
        Some(finding) => {
            status.set_message(format!(
                "{} · {}: expected {}, found {}",
                finding.requirement,
                finding.cited(),
                finding.expected,
                finding.actual
            ));
        }
        None => {
            status.set_message(instance.reason.as_deref().unwrap_or_default());
        }
    }
    let findings: Vec<String> = instance.findings.iter().map(words).collect();
    status.set_description(format!(
        "{}\n\n{}\n\nagain: {}\n",
        instance.purpose,
        findings.join("\n\n"),
        instance.replay
    ));
    status
}

fn words(finding: &FindingRow) -> String {
    let message = finding.unnamed_message();
    let message = message.map_or(String::new(), |message| format!("\nin       {message}"));
    format!(
        "{} · {}\nexpected {}\nactual   {}{message}\nblame    {}",
        finding.requirement,
        finding.cited(),
        finding.expected,
        finding.actual,
        blame(finding)
    )
}

fn blame(finding: &FindingRow) -> String {
    match &finding.node {
        Some(node) => format!("{} ({node})", finding.blame),
        None => finding.blame.to_string(),
    }
}

/// Advice and observations.
fn said(instance: &InstanceResult) -> String {
    let advice = instance
        .advice
        .iter()
        .map(|finding| format!("advice: {}\n", words(finding)));
    let observations = instance
        .observations
        .iter()
        .map(|seen| format!("seen: {seen}\n"));
    advice.chain(observations).collect()
}

#[cfg(test)]
mod tests {
    use crate::report::tests::sample;

    #[test]
    fn every_outcome_has_its_element() {
        let xml = super::draw(&sample()).unwrap();
        let document = roxmltree::Document::parse(&xml).unwrap();
        let count = |name| {
            document
                .descendants()
                .filter(|n| n.has_tag_name(name))
                .count()
        };
        assert_eq!(
            (3, 1, 0, 1),
            (
                count("testcase"),
                count("failure"),
                count("error"),
                count("skipped")
            )
        );
        let failure = document
            .descendants()
            .find(|n| n.has_tag_name("failure"))
            .unwrap();
        assert_eq!(Some("fail"), failure.attribute("type"));
        assert!(xml.contains("[[PROPERTY|blame=sut (ue-a)]]"), "{xml}");
    }

    /// What the schema of a consumer refuses (that of the xUnit plugin of Jenkins, junit-10.xsd).
    #[test]
    fn nothing_stands_where_consumers_do_not_expect_it() {
        let xml = super::draw(&sample()).unwrap();
        let document = roxmltree::Document::parse(&xml).unwrap();
        let root = document.root_element();
        assert_eq!(None, root.attribute("skipped"));
        for case in document
            .descendants()
            .filter(|n| n.has_tag_name("testcase"))
        {
            let children = case.children().filter(|n| n.is_element());
            for child in children {
                let name = child.tag_name().name();
                assert!(
                    ["failure", "error", "skipped", "system-out"].contains(&name),
                    "{name}"
                );
            }
            assert!(case.attribute("classname").is_some());
        }
        for suite in document
            .descendants()
            .filter(|n| n.has_tag_name("testsuite"))
        {
            assert!(suite.attribute("skipped").is_some());
        }
    }
}
