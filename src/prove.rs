//! Proof that the suite can fail, and fails for the right reason: scenarios against deviations, against whole
//! nodes that do nothing right, and against lawful variations. Start at [`kill`], [`stand_in`] and [`vary`];
//! each plays in memory and judges.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    judge::{self, Blame, Finding, Judgement, Rigour, Verdict},
    node::deviation::{self, Deviation},
    run::{self, Casting},
    spec::{Role, Strength},
    suite::{Instance, Scenario, Suite},
    trace::Cast,
};

/// What an instance made of a deviation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// It failed, first of all for the row that the deviation breaks, and blamed the deviant.
    Killed,
    /// It failed and blamed the deviant, but first of all for another row.
    OtherRow { row: String },
    /// It failed, or the harness did, and somebody else is to blame for it.
    OtherParty { node: String, row: String },
    /// It did not come to a verdict.
    Inconclusive,
    /// It passed.
    Survived,
    /// Nobody in it plays a role that deviates.
    NotCast,
}

impl Seen {
    /// One word, for tables.
    pub fn word(&self) -> &'static str {
        match self {
            Seen::Killed => "killed",
            Seen::OtherRow { .. } => "other-row",
            Seen::OtherParty { .. } => "other-party",
            Seen::Inconclusive => "inconclusive",
            Seen::Survived => "survived",
            Seen::NotCast => "not-cast",
        }
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Seen::Killed => f.write_str("killed"),
            Seen::OtherRow { row } => write!(f, "failed first for {row}"),
            Seen::OtherParty { node, row } => write!(f, "blamed {node} first, for {row}"),
            Seen::Inconclusive => f.write_str("inconclusive"),
            Seen::Survived => f.write_str("passed"),
            Seen::NotCast => f.write_str("nobody plays a role that deviates"),
        }
    }
}

/// One instance against one deviation.
#[derive(Clone, Debug)]
pub struct Duel {
    pub instance: Instance,
    pub deviation: &'static Deviation,
    /// The scenario says that it kills the deviation.
    pub claimed: bool,
}

/// What scenarios claim: each instance of each against each deviation it names.
pub fn claims(suite: &Suite, instances: &[Instance]) -> Vec<Duel> {
    let named = |scenario: &Scenario| -> Vec<&'static Deviation> {
        let names = scenario.kills.iter();
        names.filter_map(|name| Deviation::named(name)).collect()
    };
    instances
        .iter()
        .filter(|instance| instance.topology(suite).is_some())
        .flat_map(|instance| {
            named(&instance.scenario).into_iter().map(|deviation| Duel {
                instance: instance.clone(),
                deviation,
                claimed: true,
            })
        })
        .collect()
}

/// Everything against everything: each instance against each deviation that somebody in it can play.
pub fn everything(suite: &Suite, instances: &[Instance]) -> Vec<Duel> {
    instances
        .iter()
        .flat_map(|instance| {
            deviation::all()
                .filter(|deviation| casts(suite, instance, deviation))
                .map(|deviation| Duel {
                    instance: instance.clone(),
                    deviation,
                    claimed: claims_to_kill(&instance.scenario, deviation),
                })
        })
        .collect()
}

/// What scenarios might claim and do not: the first instance of each against each deviation of a row that it
/// cites. It need not see the deviation, but must not lay it to somebody else.
pub fn bystanders(suite: &Suite, instances: &[Instance]) -> Vec<Duel> {
    let mut first: Vec<Instance> = instances.to_vec();
    first.dedup_by_key(|instance| instance.scenario.id.clone());
    let mut duels = everything(suite, &first);
    duels.retain(|duel| !duel.claimed && duel.is_cited());
    duels
}

impl Duel {
    /// Whether the scenario cites the row that the deviation breaks.
    pub fn is_cited(&self) -> bool {
        let mut cited = self.instance.scenario.requires.iter();
        cited.any(|id| id == self.deviation.requirement)
    }
}

fn claims_to_kill(scenario: &Scenario, deviation: &Deviation) -> bool {
    scenario.kills.iter().any(|name| name == deviation.name)
}

/// Whether a reference node of the instance has a role that deviates.
pub fn casts(suite: &Suite, instance: &Instance, deviation: &Deviation) -> bool {
    let given = &instance.scenario.given;
    instance.topology(suite).is_some_and(|topology| {
        topology.nodes.iter().any(|node| {
            let name = node.name.as_str();
            deviation.roles.contains(&node.role)
                && !given.script.iter().any(|script| script == name)
                && !given.deviant.contains_key(name)
        })
    })
}

/// Plays one duel.
pub fn kill(suite: &Suite, duel: &Duel) -> Seen {
    let row = suite.ledger.get(duel.deviation.requirement);
    let is_advice = row.is_some_and(|row| row.requirement.strength != Strength::Must);
    let rigour = if is_advice {
        Rigour::Strict
    } else {
        Rigour::Usual
    };
    let (judgement, deviants) = play(suite, &duel.instance, Some(duel.deviation), rigour);
    if deviants.is_empty() {
        return Seen::NotCast;
    }
    let first = judgement
        .findings
        .iter()
        .find(|finding| matches!(finding.verdict, Verdict::Fail | Verdict::Error));
    match (judgement.verdict, first) {
        (Verdict::Fail, Some(finding)) if is_deviants(finding, &deviants) => {
            match finding.requirement == duel.deviation.requirement {
                true => Seen::Killed,
                false => Seen::OtherRow {
                    row: finding.requirement.clone(),
                },
            }
        }
        (Verdict::Fail | Verdict::Error, Some(finding)) => Seen::OtherParty {
            node: finding
                .node
                .clone()
                .unwrap_or_else(|| finding.blame.to_string()),
            row: finding.requirement.clone(),
        },
        (Verdict::Pass, _) => Seen::Survived,
        _ => Seen::Inconclusive,
    }
}

fn is_deviants(finding: &Finding, deviants: &[String]) -> bool {
    let node = finding.node.as_ref();
    finding.blame == Blame::Sut && node.is_some_and(|node| deviants.contains(node))
}

/// One instance with a whole role played by somebody who does nothing right.
#[derive(Clone)]
pub struct Stand {
    pub instance: Instance,
    pub role: Role,
    pub stand_in: Deviation,
}

/// Each instance with each role that one of its MUST rows binds.
pub fn stands(suite: &Suite, instances: &[Instance]) -> Vec<Stand> {
    let mut stands = Vec::new();
    for instance in instances {
        for &role in Role::ALL {
            let tests = instance.scenario.requires.iter().any(|id| {
                suite.ledger.get(id).is_some_and(|row| {
                    row.requirement.role == role && row.requirement.strength == Strength::Must
                })
            });
            let ins = deviation::stand_ins(role);
            stands.extend(
                ins.into_iter()
                    .filter(|stand_in| tests && casts(suite, instance, stand_in))
                    .map(|stand_in| Stand {
                        instance: instance.clone(),
                        role,
                        stand_in,
                    }),
            );
        }
    }
    stands
}

/// The verdict with the stand-in; a pass is a check that sees nothing.
pub fn stand_in(suite: &Suite, stand: &Stand) -> Verdict {
    let (judgement, _) = play(suite, &stand.instance, Some(&stand.stand_in), Rigour::Usual);
    judgement.verdict
}

/// The verdict with nobody deviating, and why it is not a pass.
pub fn vary(suite: &Suite, instance: &Instance) -> (Verdict, Option<Finding>) {
    let (judgement, _) = play(suite, instance, None, Rigour::Usual);
    (judgement.verdict, judgement.findings.into_iter().next())
}

fn play(
    suite: &Suite,
    instance: &Instance,
    deviation: Option<&Deviation>,
    rigour: Rigour,
) -> (Judgement, Vec<String>) {
    let played = run::play(
        suite,
        instance,
        Casting {
            deviation,
            ..Casting::default()
        },
    );
    let fault = played.fault.as_ref().map(ToString::to_string);
    let judgement = judge::judge(suite, instance, &played.trace, fault.as_deref(), rigour);
    let deviants = played.trace.meta.nodes.iter();
    let deviants = deviants
        .filter(|node| node.cast == Cast::Deviant)
        .map(|node| node.name.to_string())
        .collect();
    (judgement, deviants)
}

/// The deviations that no scenario claims to kill.
pub fn unclaimed(suite: &Suite) -> Vec<&'static Deviation> {
    let claimed = |deviation: &Deviation| {
        let mut scenarios = suite.scenarios.iter();
        scenarios.any(|scenario| claims_to_kill(scenario, deviation))
    };
    deviation::all()
        .filter(|deviation| !claimed(deviation))
        .collect()
}

/// The MUST rows that scenarios cite and no deviation breaks.
pub fn unbroken(suite: &Suite) -> Vec<String> {
    let cited = |id: &String| {
        let mut scenarios = suite.scenarios.iter();
        scenarios.any(|scenario: &Arc<Scenario>| scenario.requires.contains(id))
    };
    let broken: BTreeMap<&str, ()> = deviation::all().map(|d| (d.requirement, ())).collect();
    let rows = suite.ledger.rows.iter().map(|row| &row.requirement);
    rows.filter(|row| row.strength == Strength::Must && cited(&row.id))
        .filter(|row| !broken.contains_key(row.id.as_str()))
        .map(|row| row.id.clone())
        .collect()
}
