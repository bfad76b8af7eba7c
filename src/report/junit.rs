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
    junit.to_string()
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
    case.add_property(("clause", instance.clause.as_str()));
    case.add_property(("options", instance.options.as_str()));
    case.add_property(("seed", instance.seed.to_string().as_str()));
    case.add_property(("outcome", instance.outcome.word()));
    case.add_property(("replay", instance.replay.as_str()));
    if instance.lost > 0 {
        case.add_property(("lost", instance.lost.to_string().as_str()));
        case.add_property(("sent-again", instance.repeated.to_string().as_str()));
    }
    for requirement in &instance.requirements {
        case.add_property(("requirement", requirement.id.as_str()));
    }
    if let Some(finding) = instance.decisive() {
        case.add_property(("broken", finding.requirement.as_str()));
        case.add_property((
            "clause-verified",
            if finding.not_verified { "no" } else { "yes" },
        ));
        case.add_property(("blame", blame(finding).as_str()));
    }
    let said = said(instance);
    if !said.is_empty() {
        case.set_system_out(said);
    }
    case
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
    format!(
        "{} · {}\nexpected {}\nactual   {}\nblame    {}",
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
        assert!(xml.contains("name=\"blame\" value=\"sut (ue-a)\""), "{xml}");
    }
}
