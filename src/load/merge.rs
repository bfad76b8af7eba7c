//! Several generators of one schedule, put together: their seconds add up exactly to those of one.

use std::collections::BTreeMap;

use super::{
    record::{Counts, Interval, Record},
    schedule::Share,
    trial::{Figures, Outcome, Plan, Second, Trial, figures},
    validity::{Broken, Evidence},
};

/// One generator's measurement, and its interval log; what is no measurement has none.
pub struct Part {
    /// Where it was read, for messages.
    pub from: String,
    pub trial: Trial,
    pub record: Option<Record>,
}

/// Puts the parts of one measurement together. `Err` says which does not belong to it, and why.
pub fn merge(mut parts: Vec<Part>) -> Result<(Trial, Record), String> {
    parts.sort_by_key(|part| part.trial.plan.share.number);
    let Some(first) = parts.first() else {
        return Err("found nothing to merge, expected the folders of all shares".to_owned());
    };
    let of = first.trial.plan.share.of;
    for (part, number) in parts.iter().zip(1..) {
        belongs(part, first)?;
        if part.trial.plan.share.number != number {
            return Err(format!(
                "{}: found share {}, expected {number}/{of}: each share once, and none missing",
                part.from, part.trial.plan.share
            ));
        }
    }
    if parts.len() as u32 != of {
        return Err(format!(
            "found {} of {of} shares, expected all of them",
            parts.len()
        ));
    }
    let mut record = Record::default();
    for part in &parts {
        if let Some(own) = &part.record {
            record.add(own);
        }
    }
    let figures = merged_figures(&parts, &record);
    let outcomes: Vec<Outcome> = parts.iter().map(|part| part.trial.outcome).collect();
    let outcome = match () {
        () if outcomes.contains(&Outcome::Wrong) => Outcome::Wrong,
        () if outcomes.contains(&Outcome::Invalid) || figures.is_none() => Outcome::Invalid,
        () if apart(&parts).is_some() => Outcome::Invalid,
        () => Outcome::Measured,
    };
    let trials = || parts.iter().map(|part| &part.trial);
    let broken = parts.iter().flat_map(|part| {
        let share = part.trial.plan.share;
        part.trial.broken.iter().map(move |broken| Broken {
            what: format!("{} of share {share}", broken.what),
            ..broken.clone()
        })
    });
    let mut broken: Vec<Broken> = broken.collect();
    broken.extend(apart(&parts));
    let first = &first.trial;
    let mut generator = first.generator;
    for other in trials().skip(1) {
        generator.add(&other.generator);
    }
    let trial = Trial {
        plan: Plan {
            share: Share::ALL,
            lanes: trials().map(|trial| trial.plan.lanes).sum(),
            connections: trials().map(|trial| trial.plan.connections).sum(),
            cores: trials()
                .flat_map(|trial| trial.plan.cores.clone())
                .collect(),
            ..first.plan.clone()
        },
        began: trials()
            .map(|trial| trial.began)
            .min()
            .unwrap_or(first.began),
        outcome,
        broken,
        evidence: evidence(&parts),
        examples: trials().flat_map(|trial| trial.examples.clone()).collect(),
        figures: figures.filter(|_| outcome == Outcome::Measured),
        generator,
        server: first.server,
        ..first.clone()
    };
    Ok((trial, record))
}

/// Whether a part is of the same measurement: all but who took which share.
fn belongs(part: &Part, first: &Part) -> Result<(), String> {
    if part.trial.plan.closed_loop.is_some() {
        return Err(format!(
            "{}: found a closed loop, expected shares of one schedule: users who wait for answers have none",
            part.from
        ));
    }
    let neutral = |plan: &Plan| Plan {
        share: Share {
            number: 1,
            of: plan.share.of,
        },
        lanes: 0,
        cores: Vec::new(),
        target: String::new(),
        served_as: None,
        ..plan.clone()
    };
    match neutral(&part.trial.plan) == neutral(&first.trial.plan) {
        true => Ok(()),
        false => Err(format!(
            "{}: found another plan than in {}, expected the same profile, law, seed, limits and population, with another share",
            part.from, first.from
        )),
    }
}

/// What forbids a figure if the parts did not run together: then nobody was offered their sum.
fn apart(parts: &[Part]) -> Option<Broken> {
    let began = || parts.iter().map(|part| part.trial.began);
    let spread = began().max()?.saturating_sub(began().min()?);
    (spread > TOGETHER).then(|| Broken {
        what: "beginnings".to_owned(),
        found: format!(
            "the last generator began {:.1} s after the first",
            spread as f64 / 1e3
        ),
        allowed: format!("{:.1} s", TOGETHER as f64 / 1e3),
        change: "begin all at one time, with --at, on machines whose clocks agree".to_owned(),
    })
}

/// How many milliseconds apart parts of one load may begin.
const TOGETHER: u64 = 2_000;

/// `None` if some part has none.
fn merged_figures(parts: &[Part], record: &Record) -> Option<Figures> {
    let all: Option<Vec<&Figures>> = parts
        .iter()
        .map(|part| part.trial.figures.as_ref())
        .collect();
    let all = all?;
    let mut total: Interval = record.total();
    total.counts = Counts::default();
    let mut kinds = BTreeMap::new();
    let mut timeline: BTreeMap<u32, Second> = BTreeMap::new();
    for figures in &all {
        total.counts.add(&figures.counts);
        for (name, kind) in &figures.kinds {
            let sum: &mut super::trial::Kind = kinds.entry(name.clone()).or_default();
            sum.offered += kind.offered;
            sum.inadequate += kind.inadequate;
        }
        for second in &figures.timeline {
            let interval = record.0.get(&second.second).cloned().unwrap_or_default();
            let sum = timeline.entry(second.second).or_insert_with(|| Second {
                offered: 0,
                achieved: 0,
                inadequate: 0,
                ..Second::of(second.second, &interval)
            });
            sum.offered += second.offered;
            sum.achieved += second.achieved;
            sum.inadequate += second.inadequate;
        }
    }
    let seconds = all.first()?.seconds;
    Some(figures(
        seconds,
        &total,
        timeline.into_values().collect(),
        kinds,
    ))
}

fn evidence(parts: &[Part]) -> Evidence {
    let mut merged = Evidence::default();
    for part in parts {
        let own = &part.trial.evidence;
        merged.lag = merged.lag.max(own.lag);
        merged.busy = merged.busy.max(own.busy);
        merged.starved = merged.starved.max(own.starved);
        merged.server_starved = merged.server_starved.max(own.server_starved);
        merged.clock_step = merged.clock_step.max(own.clock_step);
        merged.counts.add(&own.counts);
        merged.is_cut_short |= own.is_cut_short;
        merged.pauses = merged.pauses.or(own.pauses);
        for (name, count) in &own.drops {
            *merged.drops.entry(name.clone()).or_default() += count;
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::{super::profile::Shape, *};
    use crate::load::{
        engine::machine::Used,
        profile::Profile,
        schedule::Law,
        trial::{Kind, Machine},
        validity::Allowed,
    };

    /// The measurement of some arrivals, each taking as long as its number says.
    fn part(share: &str, arrivals: impl Iterator<Item = u64>) -> Part {
        let mut record = Record::default();
        for n in arrivals {
            let interval = record.interval((n / 100) as u32);
            interval.counts.offered += 1;
            interval.counts.right += 1;
            interval.response.saturating_record(n * 7919);
            interval.lag.saturating_record(n * 31);
        }
        let timeline = record
            .0
            .iter()
            .map(|(n, interval)| Second::of(*n, interval));
        let total = record.total();
        let kind = Kind {
            offered: total.counts.offered,
            inadequate: 0,
        };
        let kinds = [("all".to_owned(), kind)].into();
        let trial = Trial {
            schema: 1,
            program: String::new(),
            began: 7,
            plan: Plan {
                load: "tracker".to_owned(),
                target: String::new(),
                served_as: None,
                profile: Profile::new(Shape::Constant, 1.0, 1.0, std::time::Duration::from_secs(9)),
                law: Law::Poisson,
                seed: 1,
                share: share.parse().unwrap(),
                warm_up: 0.0,
                lanes: 1,
                cores: Vec::new(),
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
            outcome: Outcome::Measured,
            broken: Vec::new(),
            evidence: Evidence::default(),
            examples: Vec::new(),
            figures: Some(figures(9.0, &total, timeline.collect(), kinds)),
            generator: Used::default(),
            server: None,
            machine: Machine::default(),
        };
        Part {
            from: share.to_owned(),
            trial,
            record: Some(record),
        }
    }

    #[test]
    fn parts_are_as_one() {
        let one = part("1/1", 0..1000);
        let thirds =
            [1, 2, 3].map(|n| part(&format!("{n}/3"), (0..1000).filter(move |a| a % 3 == n - 1)));
        let (mut merged, record) = merge(thirds.into_iter().rev().collect()).unwrap();
        assert_eq!(one.record, Some(record));
        assert_eq!(3, merged.plan.lanes);
        // Only what the parts had for themselves is otherwise.
        (merged.plan.lanes, merged.plan.connections) = (1, 1);
        assert_eq!(one.trial, merged);
    }

    #[test]
    fn what_does_not_belong_together_is_not_merged() {
        let half = |n: u64| part(&format!("{n}/2"), 0..10);
        assert!(merge(vec![half(1), half(1)]).is_err());
        assert!(merge(vec![half(1)]).is_err());
        assert!(merge(Vec::new()).is_err());
        let mut other = half(2);
        other.trial.plan.seed = 2;
        assert!(merge(vec![half(1), other]).is_err_and(|why| why.contains("another plan")));
    }

    #[test]
    fn parts_that_ran_one_after_the_other_are_no_load() {
        let half = |n: u64, began| {
            let mut part = part(&format!("{n}/2"), 0..10);
            part.trial.began = began;
            part
        };
        let (merged, _) = merge(vec![half(1, 5_000), half(2, 7_000)]).unwrap();
        assert_eq!(Outcome::Measured, merged.outcome);
        let (merged, _) = merge(vec![half(1, 5_000), half(2, 7_001)]).unwrap();
        assert_eq!((Outcome::Invalid, None), (merged.outcome, merged.figures));
        assert_eq!("beginnings", merged.broken[0].what);
    }

    #[test]
    fn a_part_that_is_no_measurement_spoils_the_whole() {
        let mut parts = vec![part("1/2", 0..10), part("2/2", 0..10)];
        parts[1].trial.outcome = Outcome::Invalid;
        (parts[1].trial.figures, parts[1].record) = (None, None);
        let (merged, _) = merge(parts).unwrap();
        assert_eq!((Outcome::Invalid, None), (merged.outcome, merged.figures));
    }
}
