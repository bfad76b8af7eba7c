//! The sum of what the nodes of a run did otherwise than canonically: proof that a seed varies something.

use std::{collections::BTreeMap, fmt::Write as _, sync::Mutex};

use crate::{report::terminal::number, run::Difference};

/// Sums by node, over all instances.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<String, Sum>>);

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    instances: usize,
    decisions: usize,
    octets: usize,
}

impl Tally {
    pub fn add(&self, differences: &[Difference]) {
        let mut sums = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        for difference in differences {
            let sum = sums.entry(difference.node.clone()).or_default();
            sum.instances += 1;
            sum.decisions += difference.decisions.len();
            sum.octets += difference.octets;
        }
    }

    /// A line a node.
    pub fn text(&self) -> String {
        let sums = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut text = String::from("\n  otherwise than canonically:\n");
        for (node, sum) in sums.iter() {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "    {node:<10} {:>8} decisions {:>12} octets  in {}",
                sum.decisions,
                sum.octets,
                number(sum.instances, "instance")
            );
        }
        text
    }

    /// The nodes that varied nothing at all, though they were there.
    pub fn unvaried(&self) -> Vec<String> {
        let sums = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let unvaried = sums
            .iter()
            .filter(|(_, sum)| sum.decisions == 0 || sum.octets == 0);
        unvaried.map(|(node, _)| node.clone()).collect()
    }
}
