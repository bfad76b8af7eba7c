//! One self-contained page, without scripts and without anything from elsewhere: what was run, what failed and
//! why, with ladders and octets, how the configurations did, what was covered. It stays small however long the
//! run: what passed folds into a line a scenario, alike failures into one, and pictures stop where the page
//! would grow beyond its bound. Start at [`draw`].

mod failure;
pub mod load;
mod overview;
mod picture;

use std::collections::BTreeSet;

use super::{Folder, InstanceResult, Outcome, Report, moment};
use failure::Pages;

/// The page. `ladders` says which scenarios are drawn although they passed.
pub fn draw(report: &Report, folder: &Folder, ladders: &dyn Fn(&InstanceResult) -> bool) -> String {
    let mut page = head(report);
    page.push_str("<main id=\"main\">\n");
    page.push_str(&overview::verdict(report));
    page.push_str(&overview::run(report));
    let mut pages = Pages::new(folder, report);
    page.push_str(&failures(report, &mut pages));
    page.push_str(&asked(report, &mut pages, ladders));
    page.push_str(&overview::configurations(report));
    page.push_str(&overview::coverage(report));
    page.push_str(&kill_matrix(folder));
    page.push_str(&overview::everything(report));
    page.push_str("</main>\n</body></html>\n");
    page
}

fn head(report: &Report) -> String {
    let id = escape(&report.run.id);
    let has = |is_there: bool, target: &str, words: &str| match is_there {
        true => format!("<li><a href=\"#{target}\">{words}</a></li>"),
        false => String::new(),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} – peerproof {id}</title>\n<style>{STYLE}</style></head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">to the results</a>\n<header><h1>{title}</h1>\n\
         <p class=\"note\">peerproof {version}, run <code>{id}</code>, {started}</p>\n\
         <nav aria-label=\"Sections\"><ul>{failures}<li><a href=\"#configurations\">Configurations</a></li>\
         <li><a href=\"#coverage\">Coverage</a></li><li><a href=\"#everything\">Everything</a></li></ul></nav></header>\n",
        title = escape(&overview::headline(report)),
        version = escape(&report.run.version),
        started = moment::written(report.run.started),
        failures = has(
            report.troubles().next().is_some(),
            "failures",
            "What did not pass"
        ),
    )
}

/// What somebody has to look at: alike ones together, the first of them in full.
fn failures(report: &Report, pages: &mut Pages<'_>) -> String {
    let alike = alike(report);
    if alike.is_empty() {
        return String::new();
    }
    let mut text = String::from("<section id=\"failures\">\n");
    let unverified = |instance: &InstanceResult| {
        instance
            .decisive()
            .is_some_and(|finding| finding.not_verified)
    };
    let (doubtful, plain): (Vec<_>, Vec<_>) = alike.iter().partition(|same| unverified(same[0]));
    if !plain.is_empty() {
        text.push_str("<h2>What did not pass</h2>\n");
    }
    for same in &plain {
        text.push_str(&pages.article(same));
    }
    if !doubtful.is_empty() {
        text.push_str(
            "<h2>What did not pass, by clauses that we have not verified</h2>\n\
             <p class=\"warn\">Verify the clause before you send one of these to anyone.</p>\n",
        );
    }
    for same in &doubtful {
        text.push_str(&pages.article(same));
    }
    text.push_str("</section>\n");
    text
}

/// Instances in trouble that came to the same for the same reason, in the order of the first of each.
fn alike(report: &Report) -> Vec<Vec<&InstanceResult>> {
    let reason = |instance: &InstanceResult| {
        let decisive = instance.decisive();
        let decisive = decisive.map(|f| (f.requirement.clone(), f.party()));
        (instance.scenario.clone(), instance.outcome, decisive)
    };
    let mut places = std::collections::BTreeMap::new();
    let mut alike: Vec<Vec<&InstanceResult>> = Vec::new();
    for instance in report.troubles() {
        let place = *places.entry(reason(instance)).or_insert_with(|| {
            alike.push(Vec::new());
            alike.len() - 1
        });
        alike[place].push(instance);
    }
    alike
}

/// Scenarios whose ladders were asked for, although nobody has to look at them.
fn asked(
    report: &Report,
    pages: &mut Pages<'_>,
    ladders: &dyn Fn(&InstanceResult) -> bool,
) -> String {
    let instances = report.instances.iter();
    let asked: Vec<&InstanceResult> = instances
        .filter(|instance| !instance.outcome.is_trouble() && ladders(instance))
        .collect();
    if asked.is_empty() {
        return String::new();
    }
    let mut text = String::from("<section id=\"ladders\"><h2>Ladders that were asked for</h2>\n");
    for instance in asked {
        text.push_str(&pages.article(&[instance]));
    }
    text.push_str("</section>\n");
    text
}

/// The kill matrix, if one lies in the run folder: `peerproof prove --matrix --out RUN`.
fn kill_matrix(folder: &Folder) -> String {
    match folder.matrix() {
        Ok(None) => String::new(),
        Ok(Some(matrix)) => overview::matrix(&matrix),
        Err(error) => format!(
            "<section id=\"matrix\"><h2>Kill matrix</h2><p class=\"warn\">{}</p></section>\n",
            escape(&error.to_string())
        ),
    }
}

/// ✓, ✗ or another sign: an outcome is never told by its colour alone.
fn sign(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "✓",
        Outcome::Inconclusive => "?",
        Outcome::Fail => "✗",
        Outcome::Error => "!",
        Outcome::Info => "i",
        Outcome::Waived => "~",
        Outcome::Unsupported | Outcome::NotApplicable => "–",
    }
}

/// `<span class="verdict fail">✗ fail</span>`.
pub fn badge(outcome: Outcome) -> String {
    format!(
        "<span class=\"verdict {outcome}\">{} {outcome}</span>",
        sign(outcome)
    )
}

/// The distinct words of an iterator, in order.
fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    words.filter(|word| seen.insert(*word)).collect()
}

/// Text as it may stand in HTML, also between quotation marks.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => {
                safe.push(char::REPLACEMENT_CHARACTER)
            }
            c => safe.push(c),
        }
    }
    safe
}

pub const STYLE: &str = include_str!("page.css");

#[cfg(test)]
mod tests {
    use crate::report::{FindingRow, Folder, Outcome, Report, tests::sample};

    #[test]
    fn what_a_party_said_is_text_and_never_markup() {
        let mut report = sample();
        report.instances[1].findings[0].actual = "<script>alert(1)</script>".to_owned();
        report.run.id = "\"><script>".to_owned();
        let page = page(&report, "markup");
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
        assert!(page.contains("<b class=\"fail\">✗ 1</b> fail"), "{page}");
        assert!(page.contains("no upper tester"), "{page}");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = page(&sample(), "alone");
        for word in [
            "http://", "https://", "src=", "@import", "url(", "<link", "<script",
        ] {
            assert!(!page.contains(word), "{word} in {page}");
        }
    }

    #[test]
    fn a_failure_says_what_its_rule_asks_and_whose_the_blamed_is() {
        let page = page(&sample(), "asked");
        for words in [
            "UE-001 · TR 23.844 6.2.1 step 3",
            "The UE asks for pieces through the P-CSCF.",
            "<strong>ue-a</strong>, under test",
            "3 instances of 3 scenarios",
            "peerproof replay latest/",
        ] {
            assert!(page.contains(words), "{words} in {page}");
        }
    }

    #[test]
    fn a_rule_that_was_broken_twice_is_cited_once() {
        let mut report = sample();
        let findings = &mut report.instances[1].findings;
        findings.truncate(1);
        let again = FindingRow {
            actual: "the same elsewhere".to_owned(),
            ..findings[0].clone()
        };
        let other = FindingRow {
            requirement: "UE-002".to_owned(),
            ..again.clone()
        };
        findings.push(again);
        let once = page(&report, "once");
        assert!(once.contains("the same elsewhere"), "{once}");
        assert!(!once.contains("also, clause"), "{once}");
        report.instances[1].findings.push(other);
        assert!(page(&report, "also").contains("also, clause"));
    }

    #[test]
    fn what_rests_on_advice_alone_shows_it() {
        let mut report = sample();
        let advised = &mut report.instances[0];
        advised.outcome = Outcome::Inconclusive;
        advised.advice[0].actual = "what was seen there".to_owned();
        report.instances.truncate(1);
        report.count();
        let page = page(&report, "advised");
        assert!(page.contains("advice, clause"), "{page}");
        assert!(page.contains("what was seen there"), "{page}");
        assert!(page.contains("1 instance of 1 scenario<"), "{page}");
    }

    #[test]
    fn thousands_of_failures_stay_one_page_that_opens() {
        let mut report = sample();
        let failing = report.instances[1].clone();
        report.instances = (0..5000)
            .map(|number| {
                let mut instance = failing.clone();
                instance.scenario = format!("registered/step-3-piece-request/{number}");
                instance.id = format!("{}@ut.ims.ims#0", instance.scenario);
                instance
            })
            .collect();
        report.count();
        let page = page(&report, "thousands");
        assert!(page.len() < 10_000_000, "{}", page.len());
        assert!(page.contains("/4999@ut.ims.ims#0"));
    }

    fn page(report: &Report, name: &str) -> String {
        let path = std::env::temp_dir().join(format!("peerproof-html-{name}"));
        let folder = Folder::create(&path, Vec::new()).unwrap();
        super::draw(report, &folder, &|_| false)
    }
}
