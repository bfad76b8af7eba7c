//! Closed-loop populations: users who ask, wait for the answer, think, and ask again. Such a load says what users
//! live through; it does not say what a server carries, since a server that slows down is asked less. That is why its
//! figures are marked, and enter no baseline of an open loop.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::validity::{Allowed, Broken, Evidence};

/// Who waits for answers, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClosedLoop {
    /// Users that are there at a time, each on one journey after the other.
    pub users: u32,
    /// Users that come a second, until all are there.
    pub hatch_rate: f64,
    /// Seconds a user thinks before each question: drawn evenly from the first to the second.
    pub think: [f64; 2],
    /// Pieces fetched on each journey.
    pub fetches: u32,
    /// What drives the users.
    pub driver: String,
    /// What its figures leave out.
    pub caveat: String,
}

/// What the figures of a closed loop leave out.
pub const CAVEAT: &str = "users wait for their answers: while one is slow, the questions that would have followed are not asked, \
     so that percentiles look better than they are (coordinated omission); they are comparable with nothing that was \
     measured in an open loop";

/// The steps of a journey, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// CONNECT: the user joins the swarm of its content.
    Join,
    /// FIND: who else has it.
    List,
    /// A range of the content, its digest checked.
    Fetch,
    /// STAT_REPORT: what it holds now.
    Report,
    /// CONNECT again, to leave.
    Leave,
}

impl Step {
    pub const ALL: [Step; 5] = [
        Step::Join,
        Step::List,
        Step::Fetch,
        Step::Report,
        Step::Leave,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Step::Join => "join",
            Step::List => "list",
            Step::Fetch => "fetch",
            Step::Report => "report",
            Step::Leave => "leave",
        }
    }
}

/// What is allowed of ourselves: timers of users are a millisecond coarse.
pub fn allowed() -> Allowed {
    Allowed {
        lag: 0.01,
        ..Allowed::default()
    }
}

/// Everything that forbids a figure; `driver` is how many questions the driver counted.
pub fn broken(evidence: &Evidence, allowed: &Allowed, driver: u64) -> Vec<Broken> {
    let mut broken = evidence.broken(allowed);
    for one in &mut broken {
        let change = match one.what.as_str() {
            "send lag" if evidence.starved > 0.01 => {
                "something else runs on the users' cores: free them, or give others with --cores"
            }
            "send lag" | "generator's CPU" => {
                "fewer --users, a longer --think, or more cores (--cores)"
            }
            _ => continue,
        };
        one.change = change.to_owned();
    }
    let counted = evidence.counts.answered + evidence.counts.unanswered;
    if counted != driver {
        broken.push(Broken {
            what: "driver's counts".to_owned(),
            found: format!("{driver} questions there, {counted} here"),
            allowed: "the same".to_owned(),
            change: "tell us: one of both counts wrong".to_owned(),
        });
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::Counts;

    #[test]
    fn the_driver_has_to_count_what_we_count() {
        let evidence = Evidence {
            counts: Counts {
                sent: 10,
                answered: 9,
                unanswered: 1,
                ..Counts::default()
            },
            ..Evidence::default()
        };
        assert!(broken(&evidence, &allowed(), 10).is_empty());
        let broken = broken(&evidence, &allowed(), 11);
        assert_eq!("driver's counts", broken[0].what);
    }

    #[test]
    fn what_to_change_is_what_a_closed_loop_has() {
        let evidence = Evidence {
            lag: 1.0,
            busy: 1.0,
            counts: Counts {
                answered: 1,
                ..Counts::default()
            },
            ..Evidence::default()
        };
        let broken = broken(&evidence, &allowed(), 1);
        assert_eq!(2, broken.len());
        for one in broken {
            assert!(one.change.contains("--users") && !one.change.contains("--share"));
        }
    }
}
