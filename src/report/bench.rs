//! What a measurement looks like in words.

use std::fmt::Write;

use crate::load::{
    baseline::{Compare, Compared},
    engine::{bench::Live, machine::Used},
    profile::Shape,
    search::{Came, End, Found, Goal, Length, Tried},
    talked::{SessionRatios, Talked},
    trial::{Figures, Outcome, Over, Percentiles, Plan, Stopped, Trial},
};

/// A measurement for a terminal: figures, or why there are none.
pub fn text(trial: &Trial, stopped: Option<&Stopped>) -> String {
    let mut text = String::new();
    let word = match trial.outcome {
        Outcome::Measured => "measured",
        Outcome::Wrong => "WRONG",
        Outcome::Invalid => "INVALID",
    };
    line(&mut text, word, &planned(&trial.plan));
    match (&trial.outcome, &trial.figures) {
        (Outcome::Measured, Some(figures)) => measured(&mut text, trial, figures, stopped),
        (Outcome::Wrong, _) => wrong(&mut text, trial),
        _ => {}
    }
    for broken in &trial.broken {
        line(
            &mut text,
            &broken.what,
            &format!("{}; allowed: {}", broken.found, broken.allowed),
        );
        line(&mut text, "  change", &broken.change);
    }
    if trial.outcome == Outcome::Invalid {
        line(
            &mut text,
            "no figure",
            "this is no measurement of the target, and nothing of it may be compared",
        );
    }
    text
}

/// What was to be done, in a line.
fn planned(plan: &Plan) -> String {
    let measured = plan.profile.duration().as_secs_f64() - plan.warm_up;
    if let Some(crowd) = &plan.closed_loop {
        let [least, most] = crowd.think.map(|seconds| seconds * 1e3);
        let mut text = format!(
            "closed loop: {} users of {} for {measured:.0} s, thinking {least:.0} to {most:.0} ms before each question, {} pieces a journey",
            crowd.users, plan.target, crowd.fetches
        );
        if let Some(population) = &plan.population {
            let (peers, swarms) = (population.peers, population.swarms);
            let _ = write!(text, "; {peers} other peers in {swarms} swarms");
        }
        return text;
    }
    let shape = match plan.profile.shape {
        Shape::Constant => "constant",
        Shape::Ramp => "ramp",
        Shape::Steps => "steps",
        Shape::Soak => "soak",
        Shape::FlashCrowd => "flash crowd",
    };
    let segments = &plan.profile.segments;
    let first = segments.last().map_or(0.0, |segment| segment.from);
    let peak = plan.profile.peak();
    let rate = match (first - peak).abs() < 0.5 {
        true => format!("{peak:.0}/s"),
        false => format!("up to {peak:.0}/s"),
    };
    let mut text = format!(
        "{} of {}, {shape} {rate} for {measured:.0} s, {} connections",
        plan.load, plan.target, plan.connections
    );
    if let Some(population) = &plan.population {
        let (peers, swarms) = (population.peers, population.swarms);
        let _ = write!(text, "; {peers} peers in {swarms} swarms");
    }
    if let Some(library) = &plan.library {
        let _ = write!(
            text,
            "; {} octets of {} contents of {}",
            library.piece, library.contents, library.size
        );
    }
    if plan.tls {
        text.push_str("; over TLS");
    }
    if let Some(call_flow) = &plan.call_flow {
        let over = match call_flow.over {
            Over::Tcp => "TCP",
            Over::Udp => "UDP",
        };
        let _ = write!(
            text,
            "; over {over}, T1 {:.3} s, {} in percent",
            call_flow.t1, call_flow.traffic
        );
    }
    if plan.share.of > 1 {
        let _ = write!(text, "; share {}", plan.share);
    }
    text
}

fn measured(text: &mut String, trial: &Trial, figures: &Figures, stopped: Option<&Stopped>) {
    let counts = &figures.counts;
    let (offered, arrivals) = match trial.plan.closed_loop {
        Some(_) => ("asked", "questions"),
        None => ("offered", "arrivals"),
    };
    line(
        text,
        offered,
        &format!(
            "{:.1}/s, {} {arrivals}",
            figures.offered_rate, counts.offered
        ),
    );
    line(
        text,
        "achieved",
        &format!("{:.1}/s right and in time", figures.achieved_rate),
    );
    if counts.octets > 0 && trial.plan.library.is_some() && counts.talked.is_none() {
        let rate = counts.octets as f64 / figures.seconds / 1e9;
        line(text, "octets", &format!("{rate:.3} GB/s"));
    }
    line(
        text,
        "inadequate",
        &format!(
            "{:.4} %: {} late, {} unanswered, {} skipped",
            figures.inadequate * 100.0,
            counts.late,
            counts.unanswered,
            counts.skipped
        ),
    );
    line(
        text,
        "",
        "      p50       p90       p99     p99.9       max",
    );
    for (name, times) in [
        ("response", &figures.response),
        ("service", &figures.service),
        ("send lag", &figures.lag),
    ] {
        line(text, name, &percentiles(times));
    }
    if let Some(crowd) = &trial.plan.closed_loop {
        for (name, kind) in &figures.kinds {
            let told = format!("{} asked, {} inadequate", kind.offered, kind.inadequate);
            line(text, &format!("  {name}"), &told);
        }
        line(text, "caveat", &crowd.caveat);
    }
    if let Some(talked) = &counts.talked {
        conversation(text, figures, talked);
    }
    let checked = format!(
        "every answer for its shape, {} read whole",
        counts.read_whole
    );
    line(text, "checked", &checked);
    line(text, "generator", &used(&trial.generator, figures.seconds));
    if let Some(server) = &trial.server {
        line(text, "server", &used(server, figures.seconds));
    }
    if let Some((tracked, expired)) = stopped.and_then(|s| s.tracked.zip(s.expired)) {
        let sweep = stopped.and_then(|s| s.longest_sweep).unwrap_or(0.0);
        line(
            text,
            "tracked",
            &format!(
                "{tracked} peers at the end, {expired} expired, the list held for it {sweep:.0} µs at most"
            ),
        );
    }
}

/// What only call flows have: messages, answers by status, and the measures of RFC 6076.
fn conversation(text: &mut String, figures: &Figures, talked: &Talked) {
    line(
        text,
        "messages",
        &format!(
            "{} said and {} heard, {} said again, {} strays",
            talked.said, talked.heard, talked.retransmissions, talked.strays
        ),
    );
    line(text, "final answers", &talked.answers_in_words());
    let kinds = figures.kinds.iter();
    let kinds = kinds.map(|(name, kind)| format!("{name} {} of {}", kind.inadequate, kind.offered));
    line(
        text,
        "by kind",
        &format!("inadequate: {}", kinds.collect::<Vec<_>>().join(", ")),
    );
    for (name, ratio) in figures.sessions.iter().flat_map(SessionRatios::named) {
        line(text, "", &format!("{:8.4} %  {name}", ratio * 100.0));
    }
    for (delay, times) in &figures.delays {
        line(
            text,
            "",
            &format!(
                "p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms  {}",
                times.p50 / 1e3,
                times.p99 / 1e3,
                times.max / 1e3,
                delay.name()
            ),
        );
    }
}

fn wrong(text: &mut String, trial: &Trial) {
    let counts = &trial.evidence.counts;
    line(
        text,
        "answers",
        &format!(
            "{} of {} were wrong: {} in status, {} in shape, {} in content ({} were read whole)",
            counts.wrong(),
            counts.answered,
            counts.wrong_status,
            counts.wrong_shape,
            counts.wrong_content,
            counts.read_whole
        ),
    );
    for example in trial.examples.iter().take(5) {
        line(text, "  such as", example);
    }
    line(
        text,
        "no figure",
        "how fast wrong answers come is nobody's business",
    );
}

/// One trial of a search, in a line.
pub fn tried(rate: f64, length: Length, came: &Came, goal: &Goal) -> String {
    let length = match length {
        Length::Short => "short",
        Length::Long => "long",
    };
    let what = match came {
        Came::Measured(figures) => {
            let missed = goal.missed_by(figures);
            format!(
                "{}  p50 {:.3} ms, p99 {:.3} ms, inadequate {:.4} %",
                missed.map_or("holds ".to_owned(), |by| format!("missed by {by}; ")),
                figures.response.p50 / 1e3,
                figures.response.p99 / 1e3,
                figures.inadequate * 100.0
            )
        }
        Came::Invalid(why) => format!("INVALID  {why}"),
        Came::Wrong(why) => format!("WRONG  {why}"),
    };
    format!("{rate:>10.0}/s {length:<5}  {what}\n")
}

/// What a search found.
pub fn found(what: &str, found: &Found) -> String {
    let mut text = String::new();
    let told = match &found.end {
        End::Capacity {
            rate,
            missed,
            by,
            p99,
            inadequate,
        } => {
            let [least, most] = p99;
            let [fewest, most_inadequate] = inadequate.map(|share| share * 100.0);
            format!(
                "{rate:.0}/s; missed at {missed:.0}/s by {by}; long trials: p99 {least:.3} to {most:.3} ms, inadequate {fewest:.4} to {most_inadequate:.4} %"
            )
        }
        End::AtLeast { rate } => format!("at least {rate:.0}/s, the largest rate tried"),
        End::Interrupted { holds, missed } => {
            let held = match holds {
                Some(rate) => format!("a trial held at {rate:.0}/s"),
                None => "no trial held".to_owned(),
            };
            let missed = match missed {
                Some(rate) => format!("one missed the goal at {rate:.0}/s"),
                None => "none missed the goal".to_owned(),
            };
            format!("INTERRUPTED: {held}, {missed}; this is no capacity")
        }
        End::Below { rate, by } => format!("below {rate:.0}/s, which missed by {by}"),
        End::Unmeasurable { holds, rate, why } => {
            let holds = holds.map_or("nothing is known below it".to_owned(), |rate| {
                format!("it is at least {rate:.0}/s, where all long trials held")
            });
            format!("NOT FOUND: {rate:.0}/s cannot be measured ({why}); {holds}")
        }
        End::Wrong { rate, why } => {
            format!("NOT SEARCHED: at {rate:.0}/s it answers wrongly: {why}")
        }
    };
    line(&mut text, what, &told);
    line(&mut text, "  goal", &found.goal.to_string());
    let invalid = |tried: &&Tried| matches!(tried.came, Came::Invalid(_));
    let invalid = found.trials.iter().filter(invalid).count();
    line(
        &mut text,
        "  trials",
        &format!(
            "{}, of which {invalid} were no measurement",
            found.trials.len()
        ),
    );
    text
}

/// Milliseconds in columns.
fn percentiles(times: &Percentiles) -> String {
    let columns = [times.p50, times.p90, times.p99, times.p999, times.max];
    let columns = columns.map(|micros| format!("{:>9.3}", micros / 1e3));
    format!("{} ms", columns.join(" "))
}

fn used(used: &Used, seconds: f64) -> String {
    let mega = |octets: u64| octets as f64 / f64::from(1 << 20);
    let grown = mega(used.memory[1]) - mega(used.memory[0]);
    let later = used.memory_halfway.map_or(String::new(), |halfway| {
        let later = mega(used.memory[1]) - mega(halfway);
        format!(", {later:+.1} MiB of it in the second half")
    });
    format!(
        "{:.2} cores busy, {:.1} % waiting for one; {:.0} MiB, {grown:+.1} MiB meanwhile{later}",
        used.cpu / seconds.max(1e-9),
        100.0 * used.waited / seconds.max(1e-9),
        mega(used.memory[1]),
    )
}

fn line(text: &mut String, name: &str, what: &str) {
    let _ = writeln!(text, "{name:<16} {what}");
}

/// How measurements compare with a baseline.
pub fn compared(compared: &[Compared], before: usize, now: usize) -> String {
    let mut text = String::new();
    line(
        &mut text,
        "compared",
        &format!("medians of {before} before and {now} now"),
    );
    for one in compared {
        let verdict = match one.verdict {
            Compare::Same => "same",
            Compare::Worse => "WORSE",
            Compare::TooNoisy => "TOO NOISY to say",
        };
        let _ = writeln!(
            text,
            "{:<26} {:>10.1} µs {:>10.1} µs  {:+.1} %, null control ±{:.1} %  {verdict}",
            one.what,
            one.before,
            one.now,
            one.change * 100.0,
            one.noise * 100.0
        );
    }
    text
}

/// What is told while it runs.
pub fn live_line(live: &Live) -> String {
    let Some(second) = &live.second else {
        return format!("{:.0} s: begins", live.elapsed);
    };
    format!(
        "{:.0} s: offered {}/s, achieved {}/s, p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, inadequate {}, lag {:.3} ms",
        live.elapsed,
        second.offered,
        second.achieved,
        second.p50 / 1e3,
        second.p99 / 1e3,
        second.p999 / 1e3,
        live.total.inadequate(),
        second.lag / 1e3,
    )
}

/// The same for a collector, in the text format of Prometheus (version 0.0.4).
pub fn exposition(live: &Live) -> String {
    let counts = &live.total;
    let mut text = String::new();
    let counters = [
        ("offered", "Arrivals that were due.", counts.offered),
        ("sent", "Questions that left.", counts.sent),
        ("answered", "Whole answers that came.", counts.answered),
        ("right", "Right answers.", counts.right),
        (
            "late",
            "Right answers that took longer than the limit.",
            counts.late,
        ),
        (
            "unanswered",
            "Questions that were never answered.",
            counts.unanswered,
        ),
        ("dropped", "Arrivals that never left.", counts.dropped),
        (
            "skipped",
            "Arrivals whose question made no sense any more.",
            counts.skipped,
        ),
        ("wrong", "Wrong answers.", counts.wrong()),
        ("octets", "Octets of answers.", counts.octets),
    ];
    let talked = counts.talked.iter().flat_map(|talked| {
        [
            ("said", "SIP messages that left.", talked.said),
            ("heard", "SIP messages that came.", talked.heard),
            (
                "retransmissions",
                "SIP requests that were sent again.",
                talked.retransmissions,
            ),
        ]
    });
    for (name, help, value) in counters.into_iter().chain(talked) {
        let _ = writeln!(
            text,
            "# HELP peerproof_load_{name}_total {help}\n# TYPE peerproof_load_{name}_total counter\npeerproof_load_{name}_total {value}"
        );
    }
    let times = [
        (
            "response",
            "From the intended start to the right answer.",
            &live.response,
        ),
        (
            "send_lag",
            "From the intended start until the generator took it up.",
            &live.lag,
        ),
    ];
    for (name, help, times) in times {
        let name = format!("peerproof_load_{name}_seconds");
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} summary");
        for (quantile, micros) in [
            ("0.5", times.p50),
            ("0.9", times.p90),
            ("0.99", times.p99),
            ("0.999", times.p999),
        ] {
            let _ = writeln!(text, "{name}{{quantile=\"{quantile}\"}} {}", micros / 1e6);
        }
        let sum = times.mean * times.count as f64 / 1e6;
        let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {}", times.count);
    }
    text
}
