//! A measurement as one self-contained page: what was planned, what it is worth, how times are distributed and how
//! they ran. Of what is no measurement there are reasons and no pictures.

use std::fmt::Write;

use super::{STYLE, escape};
use crate::{
    load::{
        record::Record,
        talked::SessionRatios,
        trial::{Figures, Outcome, Percentiles, Trial},
    },
    report::moment,
};

/// The page; `record` is what its interval log says.
pub fn page(trial: &Trial, record: Option<&Record>) -> String {
    let (word, class) = match trial.outcome {
        Outcome::Measured => ("measured", "pass"),
        Outcome::Wrong => ("wrong", "fail"),
        Outcome::Invalid => ("invalid", "error"),
    };
    let title = match trial.plan.closed_loop {
        Some(_) => format!("Users in a closed loop: {word}"),
        None => format!("Load on the {} path: {word}", trial.plan.load),
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} – peerproof</title>\n<style>{STYLE}{OWN_STYLE}</style></head>\n<body>\n<header><h1>{title}</h1>\n\
         <p class=\"note\">{program}, {began}, on {machine}</p></header>\n<main>\n",
        title = escape(&title),
        program = escape(&trial.program),
        began = moment::written(trial.began / 1000),
        machine = escape(&format!(
            "{} ({} cores, Linux {})",
            trial.machine.cpu, trial.machine.cores, trial.machine.kernel
        )),
    );
    let _ = writeln!(
        page,
        "<p><span class=\"verdict {class}\">{}</span></p>",
        word.to_uppercase()
    );
    if let Some(crowd) = &trial.plan.closed_loop {
        let _ = writeln!(
            page,
            "<p class=\"note\">closed loop: {}</p>",
            escape(&crowd.caveat)
        );
    }
    if trial.plan.tls {
        page.push_str("<p class=\"note\">over TLS; octets are counted without it</p>\n");
    }
    page.push_str(&reasons(trial));
    if let (Outcome::Measured, Some(figures)) = (trial.outcome, &trial.figures) {
        page.push_str(&measured(trial, figures));
        if let Some(record) = record {
            page.push_str(&distribution(record));
        }
        page.push_str(&course(figures));
    }
    page.push_str(&plan(trial));
    page.push_str("</main>\n</body></html>\n");
    page
}

/// Why there is no figure.
fn reasons(trial: &Trial) -> String {
    let mut text = String::new();
    for broken in &trial.broken {
        let _ = writeln!(
            text,
            "<article class=\"error\"><h3>{}</h3><dl><dt>found</dt><dd>{}</dd><dt>allowed</dt><dd>{}</dd>\
             <dt>change</dt><dd>{}</dd></dl></article>",
            escape(&broken.what),
            escape(&broken.found),
            escape(&broken.allowed),
            escape(&broken.change)
        );
    }
    let counts = &trial.evidence.counts;
    if counts.wrong() > 0 {
        let examples = trial.examples.iter().take(10);
        let examples: String = examples
            .map(|text| format!("<li>{}</li>", escape(text)))
            .collect();
        let _ = writeln!(
            text,
            "<article><h3>{} of {} answers were wrong</h3><ul>{examples}</ul></article>",
            counts.wrong(),
            counts.answered
        );
    }
    text
}

fn measured(trial: &Trial, figures: &Figures) -> String {
    let counts = &figures.counts;
    let (offered, arrivals, since, lag) = match trial.plan.closed_loop {
        Some(_) => (
            "asked",
            "questions",
            "response, from when a user asked",
            "lateness of users, our own",
        ),
        None => (
            "offered",
            "arrivals",
            "response, from the intended start",
            "send lag, our own",
        ),
    };
    let mut text = format!(
        "<section><h2>Figures</h2>\n<dl><dt>{offered}</dt><dd>{:.1}/s, {} {arrivals} in {:.0} s</dd>\
         <dt>achieved</dt><dd>{:.1}/s right and in time</dd>\
         <dt>inadequate</dt><dd>{:.4} %: {} late, {} unanswered, {} skipped</dd>\
         <dt>checked</dt><dd>every answer for its shape, {} read whole</dd></dl>\n",
        figures.offered_rate,
        counts.offered,
        figures.seconds,
        figures.achieved_rate,
        figures.inadequate * 100.0,
        counts.late,
        counts.unanswered,
        counts.skipped,
        counts.read_whole,
    );
    text.push_str(
        "<div class=\"wide\"><table><thead><tr><th>time, ms</th><th class=\"n\">p50</th><th class=\"n\">p90</th>\
         <th class=\"n\">p99</th><th class=\"n\">p99.9</th><th class=\"n\">max</th></tr></thead><tbody>",
    );
    for (name, times) in [
        (since, &figures.response),
        ("service, from when it left", &figures.service),
        (lag, &figures.lag),
    ] {
        text.push_str(&row(name, times));
    }
    for (delay, times) in &figures.delays {
        text.push_str(&row(delay.name(), times));
    }
    text.push_str("</tbody></table></div>\n");
    if let Some(talked) = &counts.talked {
        let _ = writeln!(
            text,
            "<dl><dt>messages</dt><dd>{} said and {} heard, {} said again, {} strays</dd>\
             <dt>final answers</dt><dd>{}</dd>",
            talked.said,
            talked.heard,
            talked.retransmissions,
            talked.strays,
            escape(&talked.answers_in_words())
        );
        for (name, ratio) in figures.sessions.iter().flat_map(SessionRatios::named) {
            let _ = writeln!(text, "<dt>{name}</dt><dd>{:.4} %</dd>", ratio * 100.0);
        }
        text.push_str("</dl>\n");
    }
    let used = [
        ("generator", Some(trial.generator)),
        ("server", trial.server),
    ];
    for (name, used) in used {
        if let Some(used) = used {
            let mega = |octets: u64| octets as f64 / f64::from(1 << 20);
            let halfway = used.memory_halfway.map_or(String::new(), |octets| {
                format!("{:.1} MiB halfway, ", mega(octets))
            });
            let _ = writeln!(
                text,
                "<p class=\"note\">{name}: {:.2} cores busy, {:.1} % of the time waiting for one; memory {:.1} MiB, {halfway}then {:.1} MiB</p>",
                used.cpu / figures.seconds.max(1e-9),
                100.0 * used.waited / figures.seconds.max(1e-9),
                mega(used.memory[0]),
                mega(used.memory[1]),
            );
        }
    }
    text.push_str("</section>\n");
    text
}

fn row(name: &str, times: &Percentiles) -> String {
    let values = [times.p50, times.p90, times.p99, times.p999, times.max];
    let cells = values.map(|micros| format!("<td class=\"n\">{:.3}</td>", micros / 1e3));
    format!("<tr><th>{name}</th>{}</tr>", cells.concat())
}

/// Points of a picture, in its units.
type Points = Vec<(f64, f64)>;

/// A picture with lines over two axes.
struct Chart<'c> {
    title: &'c str,
    /// From 0 at the left to this.
    right: f64,
    /// Marks at the bottom.
    marks: Vec<(f64, String)>,
    unit: &'c str,
    is_logarithmic: bool,
    lines: Vec<(&'c str, &'c str, Points)>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 80.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 12.0;

impl Chart<'_> {
    fn draw(&self) -> String {
        let values = || {
            self.lines
                .iter()
                .flat_map(|(_, _, points)| points)
                .map(|point| point.1)
        };
        let most = values().fold(0.0, f64::max).max(1e-3);
        let least = values().filter(|value| *value > 0.0).fold(most, f64::min);
        let (low, high) = match self.is_logarithmic {
            true => (
                least.log10().floor(),
                most.log10().ceil().max(least.log10().floor() + 1.0),
            ),
            false => (0.0, nice(most)),
        };
        let x = |value: f64| LEFT + (WIDTH - LEFT - 10.0) * value / self.right.max(1e-9);
        let y = |value: f64| {
            let value = match self.is_logarithmic {
                true => value.max(1e-9).log10().max(low),
                false => value,
            };
            TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (value - low) / (high - low))
        };
        let mut text = format!(
            "<figure><figcaption>{}</figcaption><div class=\"ladder\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escape(self.title),
            escape(self.title)
        );
        let steps: Vec<f64> = match self.is_logarithmic {
            true => (low as i32..=high as i32)
                .map(|power| 10f64.powi(power))
                .collect(),
            false => (0..=4).map(|step| high * f64::from(step) / 4.0).collect(),
        };
        for step in steps {
            let at = y(step);
            let _ = writeln!(
                text,
                "<path class=\"life\" d=\"M{LEFT} {at:.1}H{}\"/><text class=\"num\" x=\"{}\" y=\"{:.1}\">{} {}</text>",
                WIDTH - 10.0,
                LEFT - 6.0,
                at + 4.0,
                number(step),
                self.unit
            );
        }
        for (value, name) in &self.marks {
            let at = x(*value);
            let _ = writeln!(
                text,
                "<path class=\"life\" d=\"M{at:.1} {TOP}V{}\"/><text class=\"lane\" x=\"{at:.1}\" y=\"{}\">{}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - 8.0,
                escape(name)
            );
        }
        for (_, class, points) in &self.lines {
            let mut path = String::new();
            for (index, (px, py)) in points.iter().enumerate() {
                let letter = if index == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{letter}{:.1} {:.1}", x(*px), y(*py));
            }
            let _ = writeln!(text, "<path class=\"curve {class}\" d=\"{path}\"/>");
        }
        text.push_str("</svg></div><p class=\"note\">");
        for (name, class, _) in &self.lines {
            let _ = write!(
                text,
                "<svg width=\"34\" height=\"10\" aria-hidden=\"true\"><path class=\"curve {class}\" d=\"M1 5H33\"/></svg> {} &#160; ",
                escape(name)
            );
        }
        text.push_str("</p></figure>\n");
        text
    }
}

/// A round number at least as large.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let rounds = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0].map(|round| round * power);
    rounds
        .into_iter()
        .find(|round| *round >= value)
        .unwrap_or(value)
}

fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 || v == 0.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

/// Times over percentiles, both stretched where it matters.
fn distribution(record: &Record) -> String {
    let total = record.total();
    let count = total.response.len().max(10);
    // One nine more is one step more to the right, as far as there are values.
    let right = (count as f64).log10().min(6.0);
    let points = |histogram: &hdrhistogram::Histogram<u64>| -> Points {
        let steps = 200;
        (0..=steps)
            .map(|step| {
                let nines = right * f64::from(step) / f64::from(steps);
                let quantile = 1.0 - 10f64.powf(-nines);
                (nines, histogram.value_at_quantile(quantile) as f64 / 1e6)
            })
            .collect()
    };
    let names = [
        "min",
        "90 %",
        "99 %",
        "99.9 %",
        "99.99 %",
        "99.999 %",
        "99.9999 %",
    ];
    let marks = names.iter().zip(0..);
    let marks = marks.filter(|(_, at)| f64::from(*at) <= right);
    let chart = Chart {
        title: "How long it took, by percentile",
        right,
        marks: marks
            .map(|(name, at)| (f64::from(at), (*name).to_owned()))
            .collect(),
        unit: "ms",
        is_logarithmic: true,
        lines: vec![
            ("response", "first", points(&total.response)),
            ("service", "second", points(&total.service)),
            ("send lag", "third", points(&total.lag)),
        ],
    };
    format!("<section><h2>Times</h2>\n{}</section>\n", chart.draw())
}

/// Second by second.
fn course(figures: &Figures) -> String {
    let seconds = &figures.timeline;
    let right = seconds
        .last()
        .map_or(1.0, |last| f64::from(last.second) + 1.0);
    let line = |of: fn(&crate::load::trial::Second) -> f64| -> Points {
        let points = seconds
            .iter()
            .map(|second| (f64::from(second.second) + 0.5, of(second)));
        points.collect()
    };
    let step = (right / 10.0).ceil().max(1.0);
    let marks: Vec<(f64, String)> = (0..=10)
        .map(|n| f64::from(n) * step)
        .filter(|at| *at <= right)
        .map(|at| (at, format!("{at:.0} s")))
        .collect();
    let times = Chart {
        title: "Response times, second by second",
        right,
        marks: marks.clone(),
        unit: "ms",
        is_logarithmic: true,
        lines: vec![
            ("p50", "first", line(|second| second.p50 / 1e3)),
            ("p99", "second", line(|second| second.p99 / 1e3)),
            ("p99.9", "third", line(|second| second.p999 / 1e3)),
        ],
    };
    let rates = Chart {
        title: "Arrivals a second",
        right,
        marks,
        unit: "/s",
        is_logarithmic: false,
        lines: vec![
            ("offered", "second", line(|second| second.offered as f64)),
            (
                "right and in time",
                "first",
                line(|second| second.achieved as f64),
            ),
            (
                "inadequate",
                "fourth",
                line(|second| second.inadequate as f64),
            ),
        ],
    };
    format!(
        "<section><h2>Course</h2>\n{}{}</section>\n",
        times.draw(),
        rates.draw()
    )
}

/// What was planned, as it stands in `bench.json`.
fn plan(trial: &Trial) -> String {
    let plan = serde_json::to_string_pretty(&trial.plan).unwrap_or_default();
    let evidence = serde_json::to_string_pretty(&trial.evidence).unwrap_or_default();
    format!(
        "<section><h2>Plan and evidence</h2>\n<details><summary>What was planned</summary><pre>{}</pre></details>\n\
         <details><summary>What was seen of both sides</summary><pre>{}</pre></details></section>\n",
        escape(&plan),
        escape(&evidence)
    )
}

/// Lines are told apart by dashes as well as by colours.
const OWN_STYLE: &str = ".curve{fill:none;stroke-width:2;stroke:var(--link)}.curve.second{stroke:var(--warn);stroke-dasharray:6 3}\
    .curve.third{stroke:var(--soft);stroke-dasharray:2 3}.curve.fourth{stroke:var(--fail);stroke-dasharray:8 3 2 3}\
    figure{margin:1rem 0}figcaption{font-weight:600}";

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::load::{
        engine::machine::Used,
        profile::{Profile, Shape},
        record::Interval,
        schedule::{Law, Share},
        trial::{Machine, Plan, Second, figures},
        validity::{Allowed, Broken, Evidence},
    };

    fn record() -> Record {
        let mut record = Record::default();
        for n in 0..1000u64 {
            let interval = record.interval((n / 100) as u32);
            interval.counts.offered += 1;
            interval.counts.right += 1;
            interval.response.saturating_record(n * n * 300);
            interval.service.saturating_record(n * 1000);
            interval.lag.saturating_record(n * 10);
        }
        record
    }

    fn trial(outcome: Outcome) -> Trial {
        let record = record();
        let timeline = record
            .0
            .iter()
            .map(|(n, interval): (&u32, &Interval)| Second::of(*n, interval));
        let all = figures(10.0, &record.total(), timeline.collect(), BTreeMap::new());
        Trial {
            schema: 1,
            program: "peerproof".to_owned(),
            began: 0,
            plan: Plan {
                load: "tracker".to_owned(),
                target: "<script>".to_owned(),
                served_as: None,
                profile: Profile::new(Shape::Constant, 100.0, 100.0, Duration::from_secs(10)),
                law: Law::Poisson,
                seed: 0,
                share: Share::ALL,
                warm_up: 0.0,
                lanes: 1,
                cores: vec![0],
                connections: 1,
                pipeline: 1,
                limit: 1.0,
                patience: 1.0,
                read_whole: 1,
                allowed: Allowed::default(),
                population: None,
                mix: None,
                library: None,
                closed_loop: None,
                goal: None,
                tls: false,
                call_flow: None,
            },
            outcome,
            broken: Vec::new(),
            evidence: Evidence::default(),
            examples: Vec::new(),
            figures: (outcome == Outcome::Measured).then_some(all),
            generator: Used::default(),
            server: None,
            machine: Machine::default(),
        }
    }

    #[test]
    fn a_measurement_is_drawn_within_its_picture() {
        let page = page(&trial(Outcome::Measured), Some(&record()));
        assert_eq!(3, page.matches("<figure>").count());
        assert!(!page.contains("<script") && !page.contains("NaN"));
        for path in page.split("class=\"curve").skip(1) {
            let path = path
                .split("d=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap();
            // Those of the legend are no data.
            let points = path.split(['M', 'L']).filter(|_| !path.contains('H'));
            let points = points.filter(|point| point.contains(' '));
            for point in points {
                let (x, y) = point.split_once(' ').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!(
                    (LEFT..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y),
                    "{point}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_measurement_has_reasons_and_no_figures() {
        let mut invalid = trial(Outcome::Invalid);
        invalid.broken.push(Broken {
            what: "send lag".to_owned(),
            found: "much".to_owned(),
            allowed: "little".to_owned(),
            change: "free the core".to_owned(),
        });
        let page = page(&invalid, None);
        assert!(page.contains("INVALID") && page.contains("free the core"));
        assert!(!page.contains("<figure>") && !page.contains("p99"));
    }
}
