//! What came of one measurement: `bench.json`. Figures are there only if the measurement is one and every answer
//! that was looked at was right; else there is the reason.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    call_flow::Traffic,
    chunks::Library,
    engine::{machine::Used, serve::Counted},
    flow::Delay,
    population::Population,
    profile::Profile,
    record::{Counts, Interval},
    schedule::{Law, Share},
    search::Goal,
    talked::{SessionRatios, Talked},
    tracker::Mix,
    users::ClosedLoop,
    validity::{Allowed, Broken, Evidence},
};

/// The version of the schema.
pub const SCHEMA: u32 = 1;

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Trial {
    /// Of this file: 1.
    pub schema: u32,
    /// What measured.
    pub program: String,
    /// When the first question was due, in milliseconds since 1970.
    pub began: u64,
    pub plan: Plan,
    pub outcome: Outcome,
    /// What forbids figures; empty if nothing does.
    pub broken: Vec<Broken>,
    /// What was seen of ourselves, of the way, and of the other side.
    pub evidence: Evidence,
    /// The first answers that were wrong.
    pub examples: Vec<String>,
    /// `None` unless the outcome is `measured`.
    pub figures: Option<Figures>,
    /// What the generator had.
    pub generator: Used,
    /// What the server had, where it runs here.
    pub server: Option<Used>,
    pub machine: Machine,
}

impl Trial {
    /// The JSON schema of `bench.json`.
    pub fn schema() -> String {
        let schema = serde_json::Value::from(schemars::schema_for!(Trial));
        format!("{schema:#}\n")
    }
}

/// What a measurement is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// There are figures.
    Measured,
    /// The system under test answered wrongly: how fast it does so is no figure.
    Wrong,
    /// It is no measurement.
    Invalid,
}

/// What was to be done: all of it but the share is equal in every generator of one measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plan {
    /// `tracker`, `chunks`, `callflow` or `users`.
    pub load: String,
    /// Where it was asked, or `serve` for a server of our own.
    pub target: String,
    /// Of a server of our own: how it was started.
    pub served_as: Option<String>,
    pub profile: Profile,
    pub law: Law,
    pub seed: u64,
    pub share: Share,
    /// Seconds at the beginning that are no part of any figure.
    pub warm_up: f64,
    /// Lanes of the generator, and the cores they are kept on.
    pub lanes: usize,
    pub cores: Vec<usize>,
    /// Connections of all lanes, and questions on their way on one.
    pub connections: usize,
    pub pipeline: usize,
    /// Seconds from the intended start after which a right answer is late, and after which none is waited for.
    pub limit: f64,
    pub patience: f64,
    /// One answer in so many was read whole; all were looked at for their shape.
    pub read_whole: u64,
    pub allowed: Allowed,
    /// Of the tracker path.
    pub population: Option<Population>,
    pub mix: Option<Mix>,
    /// Of the chunk path, and of call flows.
    pub library: Option<Library>,
    /// Of call flows.
    pub call_flow: Option<CallFlowPlan>,
    /// Of users who wait for answers: then the rates of `profile` are 0, as nothing is due at a time of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_loop: Option<ClosedLoop>,
    /// What it was held to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// Whether all of it was under TLS; octets are counted without it.
    #[serde(default)]
    pub tls: bool,
}

/// How call flows were to be said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CallFlowPlan {
    pub over: Over,
    pub traffic: Traffic,
    /// T1 of the generator, in seconds; the other timers are in proportion to those of RFC 3261.
    pub t1: f64,
}

/// What carries SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    Tcp,
    Udp,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Figures {
    /// Seconds measured.
    pub seconds: f64,
    /// Of the measured time.
    pub counts: Counts,
    /// Arrivals a second, and right answers in time a second.
    pub offered_rate: f64,
    pub achieved_rate: f64,
    /// Share of arrivals that were inadequately handled, from 0 to 1: late, wrong, or not answered.
    pub inadequate: f64,
    /// From when a question was meant to leave.
    pub response: Percentiles,
    /// From when it left.
    pub service: Percentiles,
    /// How late questions were taken up.
    pub lag: Percentiles,
    /// Of call flows: times within them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub delays: BTreeMap<Delay, Percentiles>,
    /// Of call flows with sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionRatios>,
    /// By kind of question.
    pub kinds: BTreeMap<String, Kind>,
    /// Second by second.
    pub timeline: Vec<Second>,
}

/// One kind of question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kind {
    pub offered: u64,
    pub inadequate: u64,
}

/// A distribution of times, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Percentiles {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Percentiles {
    /// Of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Percentiles {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Percentiles {
            count: histogram.len(),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

/// One second of the measured time; times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Second {
    pub second: u32,
    pub offered: u64,
    /// Right, and in time.
    pub achieved: u64,
    pub inadequate: u64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// The 99.9th percentile of the send lag.
    pub lag: f64,
}

impl Second {
    pub fn of(second: u32, interval: &Interval) -> Second {
        let response = Percentiles::of(&interval.response);
        Second {
            second,
            offered: interval.counts.offered,
            achieved: interval.counts.right - interval.counts.late,
            inadequate: interval.counts.inadequate(),
            p50: response.p50,
            p99: response.p99,
            p999: response.p999,
            lag: Percentiles::of(&interval.lag).p999,
        }
    }
}

/// Where it was measured. Figures of different machines are never compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Machine {
    /// Names it among baselines.
    pub id: String,
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
}

/// What a server of ours says when it has stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Stopped {
    pub counted: Counted,
    /// Messages of SIP, where it was spoken beside.
    pub sip: Option<Counted>,
    /// Peers tracked at the end, and those whose track timer fired.
    pub tracked: Option<usize>,
    pub expired: Option<u64>,
    /// The longest the Tracking List was held to let peers expire, in microseconds.
    pub longest_sweep: Option<f64>,
}

/// Puts figures together from what was counted in the measured time.
pub fn figures(
    seconds: f64,
    total: &Interval,
    timeline: Vec<Second>,
    kinds: BTreeMap<String, Kind>,
) -> Figures {
    let counts = total.counts.clone();
    let rate = |count: u64| count as f64 / seconds.max(1e-9);
    Figures {
        seconds,
        offered_rate: rate(counts.offered),
        achieved_rate: rate(counts.right - counts.late),
        inadequate: counts.inadequate_share(),
        response: Percentiles::of(&total.response),
        service: Percentiles::of(&total.service),
        lag: Percentiles::of(&total.lag),
        delays: total
            .delays
            .iter()
            .map(|(delay, histogram)| (*delay, Percentiles::of(histogram)))
            .collect(),
        sessions: counts.talked.as_ref().and_then(Talked::ratios),
        kinds,
        timeline,
        counts,
    }
}

/// What a measurement is worth, given what is broken and what was answered wrongly. A wrong answer is told first:
/// it says something of the system under test whatever the generator did.
pub fn outcome(broken: &[Broken], counts: &Counts) -> Outcome {
    match (counts.wrong(), broken) {
        (1.., _) => Outcome::Wrong,
        (0, []) => Outcome::Measured,
        (0, _) => Outcome::Invalid,
    }
}
