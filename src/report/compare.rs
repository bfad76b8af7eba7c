//! Two runs beside each other: what newly fails, newly passes, newly runs, and what does not run any more. Seeds do
//! not part instances: of those that differ in the seed alone the worst stands for all.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::{InstanceResult, Outcome, Report};

/// What became of the instances of one run in another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// In what the runs themselves differ: their seed, their system under test.
    pub conditions: Vec<Condition>,
    /// Did not fail, and does.
    pub newly_failing: Vec<Change>,
    /// Came to a good end or did not run, and shows nothing now.
    pub newly_inconclusive: Vec<Change>,
    /// Failed, was excused or showed nothing, and passes.
    pub newly_passing: Vec<Change>,
    /// Did not run, and passes.
    pub newly_run: Vec<Change>,
    /// Ran, and does not.
    pub no_longer_run: Vec<Change>,
    /// Stands otherwise than before, but no better or worse by these lists.
    pub otherwise: Vec<Change>,
    /// Instances that come to the same.
    pub same: usize,
    /// Instances that both runs have; without any there is nothing to compare, and every list is empty.
    pub in_common: usize,
}

/// One thing about two runs that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Condition {
    pub what: &'static str,
    pub before: String,
    pub after: String,
}

/// One instance that stands otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// Without its seed: `registered/step-3-piece-request/asks-through-the-p-cscf@ut.ims.ims`.
    pub instance: String,
    /// `None`: the run does not have it.
    pub before: Option<Outcome>,
    pub after: Option<Outcome>,
    /// What stands between it and a pass now: requirement, expected, found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Comparison {
    pub fn new(before: &Report, after: &Report) -> Comparison {
        let (old, new) = (worst(before), worst(after));
        let mut comparison = Comparison {
            conditions: conditions(before, after),
            ..Comparison::default()
        };
        let mut paths: Vec<&str> = old.keys().chain(new.keys()).copied().collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let (was, is) = (old.get(path), new.get(path));
            comparison.in_common += usize::from(was.is_some() && is.is_some());
            let (before, after) = (was.map(|i| i.outcome), is.map(|i| i.outcome));
            if before == after {
                comparison.same += 1;
                continue;
            }
            let change = Change {
                instance: path.to_owned(),
                before,
                after,
                why: is.and_then(|instance| instance.why()),
            };
            comparison.list(before, after).push(change);
        }
        if comparison.in_common == 0 {
            // Nothing newly fails that nobody played before: there is no before.
            return Comparison {
                conditions: comparison.conditions,
                ..Comparison::default()
            };
        }
        comparison
    }

    fn list(&mut self, before: Option<Outcome>, after: Option<Outcome>) -> &mut Vec<Change> {
        let ran = |outcome: Option<Outcome>| outcome.is_some_and(has_run);
        match (before, after) {
            (_, Some(Outcome::Fail | Outcome::Error)) if !is_failure(before) => {
                &mut self.newly_failing
            }
            (_, Some(Outcome::Inconclusive)) if !is_failure(before) => &mut self.newly_inconclusive,
            (before, Some(Outcome::Pass | Outcome::Info)) if !ran(before) => &mut self.newly_run,
            (Some(before), Some(Outcome::Pass | Outcome::Info)) if !is_good(before) => {
                &mut self.newly_passing
            }
            (before, after) if ran(before) && !ran(after) => &mut self.no_longer_run,
            _ => &mut self.otherwise,
        }
    }

    /// As the terminal shows it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if self.in_common == 0 {
            text.push_str("the runs have no instance in common: there is nothing to compare\n");
        }
        for (words, changes) in self.lists() {
            if changes.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{} {words}", changes.len());
            for change in changes {
                let _ = writeln!(
                    text,
                    "  {}  {} → {}",
                    change.instance,
                    word(change.before),
                    word(change.after)
                );
                if let Some(why) = &change.why {
                    let _ = writeln!(text, "    {why}");
                }
            }
        }
        if self.in_common > 0 {
            let _ = writeln!(text, "{} as before", self.same);
        }
        for condition in &self.conditions {
            let Condition {
                what,
                before,
                after,
            } = condition;
            let _ = writeln!(text, "  {what:<9} {before} → {after}");
        }
        text
    }

    fn lists(&self) -> [(&'static str, &[Change]); 6] {
        [
            ("newly failing", &self.newly_failing),
            ("newly inconclusive", &self.newly_inconclusive),
            ("newly passing", &self.newly_passing),
            ("newly run", &self.newly_run),
            ("no longer run", &self.no_longer_run),
            ("otherwise", &self.otherwise),
        ]
    }

    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("a comparison holds only words");
        format!("{text}\n")
    }
}

/// By path, the worst of those that differ in their seed alone.
fn worst(report: &Report) -> BTreeMap<&str, &InstanceResult> {
    let mut worst: BTreeMap<&str, &InstanceResult> = BTreeMap::new();
    for instance in &report.instances {
        let path = instance.path();
        let known = worst.get(path);
        if known.is_none_or(|known| known.outcome.gravity() < instance.outcome.gravity()) {
            worst.insert(path, instance);
        }
    }
    worst
}

fn has_run(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::NotApplicable | Outcome::Unsupported)
}

fn is_good(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Pass | Outcome::Info)
}

fn is_failure(outcome: Option<Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Fail | Outcome::Error))
}

fn word(outcome: Option<Outcome>) -> &'static str {
    outcome.map_or("not there", Outcome::word)
}

fn conditions(before: &Report, after: &Report) -> Vec<Condition> {
    let told = |report: &Report| {
        let run = &report.run;
        let sut = run.sut.as_ref();
        [
            ("version", run.version.clone()),
            ("seed", run.seed.to_string()),
            ("transport", run.transport.clone()),
            ("selection", run.selected()),
            (
                "tested",
                sut.map_or_else(|| "every node".to_owned(), |sut| sut.name.clone()),
            ),
            (
                "deviation",
                run.deviation.clone().unwrap_or_else(|| "none".to_owned()),
            ),
        ]
    };
    let pairs = told(before).into_iter().zip(told(after));
    pairs
        .filter(|((_, before), (_, after))| before != after)
        .map(|((what, before), (_, after))| Condition {
            what,
            before,
            after,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{
        Outcome::{Fail, Inconclusive, Info, NotApplicable, Pass, Waived},
        tests::sample,
    };

    #[test]
    fn runs_with_nothing_in_common_say_so() {
        let before = sample();
        assert_eq!(3, Comparison::new(&before, &before).in_common);
        let mut after = before.clone();
        for instance in &mut after.instances {
            instance.id = format!("other/{}", instance.id);
        }
        let comparison = Comparison::new(&before, &after);
        let text = comparison.text();
        assert_eq!(0, comparison.in_common);
        assert!(comparison.lists().iter().all(|(_, list)| list.is_empty()));
        assert_eq!(
            "the runs have no instance in common: there is nothing to compare\n",
            text
        );
    }

    #[test]
    fn each_change_stands_in_one_list() {
        let lists = |before, after| {
            let mut comparison = Comparison::default();
            comparison.list(before, after).push(Change {
                instance: "here".to_owned(),
                before,
                after,
                why: None,
            });
            let mut lists = comparison.lists().into_iter();
            lists.find(|(_, changes)| !changes.is_empty()).unwrap().0
        };
        assert_eq!("newly failing", lists(Some(Pass), Some(Fail)));
        assert_eq!("newly failing", lists(None, Some(Fail)));
        assert_eq!("newly failing", lists(Some(Inconclusive), Some(Fail)));
        assert_eq!("newly inconclusive", lists(Some(Pass), Some(Inconclusive)));
        assert_eq!("newly passing", lists(Some(Fail), Some(Pass)));
        assert_eq!("newly passing", lists(Some(Waived), Some(Info)));
        assert_eq!("newly run", lists(Some(NotApplicable), Some(Pass)));
        assert_eq!("newly run", lists(None, Some(Pass)));
        assert_eq!("no longer run", lists(Some(Fail), Some(NotApplicable)));
        assert_eq!("no longer run", lists(Some(Pass), None));
        assert_eq!("otherwise", lists(Some(Fail), Some(Inconclusive)));
        assert_eq!("otherwise", lists(Some(Pass), Some(Info)));
    }
}
