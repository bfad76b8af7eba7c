//! How far a run went from the canonical one: which lawful decisions its nodes took differently, and how many
//! octets of what they sent came out differently for it.

use std::collections::BTreeMap;

use super::{Casting, Played, play};
use crate::{
    suite::{Instance, Suite},
    trace::{EventKind, Trace},
    wire::frame::NodeName,
};

/// What one node did differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub node: String,
    /// By name, as in `node::policy`.
    pub decisions: Vec<&'static str>,
    /// Octets at places where the canonical run has others, or none.
    pub octets: usize,
}

/// Compares a run with the canonical run (seed 0) of the same instance, node by node.
pub fn differences(
    suite: &Suite,
    instance: &Instance,
    casting: Casting<'_>,
    played: &Played,
) -> Vec<Difference> {
    let canonical = play(
        suite,
        &Instance {
            seed: 0,
            ..instance.clone()
        },
        casting,
    );
    let (here, there) = (sent(&played.trace), sent(&canonical.trace));
    played
        .decisions
        .iter()
        .map(|(node, decisions)| Difference {
            node: node.to_string(),
            decisions: decisions.clone(),
            octets: differing(here.get(node), there.get(node)),
        })
        .collect()
}

fn sent(trace: &Trace) -> BTreeMap<NodeName, Vec<u8>> {
    let mut octets: BTreeMap<NodeName, Vec<u8>> = BTreeMap::new();
    for event in &trace.events {
        if let EventKind::Sent(frame) = &event.kind
            && let Some(node) = frame.from.node()
        {
            octets
                .entry(node.clone())
                .or_default()
                .extend_from_slice(&frame.bytes);
        }
    }
    octets
}

fn differing(here: Option<&Vec<u8>>, there: Option<&Vec<u8>>) -> usize {
    let (here, there) = (here.map_or(&[][..], |v| v), there.map_or(&[][..], |v| v));
    let unequal = here
        .iter()
        .zip(there)
        .filter(|(one, other)| one != other)
        .count();
    unequal + here.len().abs_diff(there.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_that_are_missing_count_as_different() {
        let (one, other) = (b"abcd".to_vec(), b"abx".to_vec());
        assert_eq!(2, differing(Some(&one), Some(&other)));
        assert_eq!(4, differing(Some(&one), None));
        assert_eq!(0, differing(Some(&one), Some(&one)));
    }
}
