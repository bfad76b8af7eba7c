//! One instance before the judge: what was to be shown, what was seen, who is under test.

use std::{net::IpAddr, ops::Range};

use super::{Blame, Evidence, Finding, Verdict};
use crate::{
    io::Action,
    spec::{Requirement, Role, Strength},
    suite::{Content, Do, Instance, Node, Suite, Topology, Verb},
    trace::{Cast, CastNode},
    wire::frame::Party,
};

/// What every check is given.
pub struct Case<'a> {
    pub suite: &'a Suite,
    pub instance: &'a Instance,
    pub evidence: &'a Evidence<'a>,
}

impl Case<'_> {
    /// The parties under test: those a profile or `prove` puts there, else every node that is not
    /// merely scripted.
    pub fn is_under_test(&self, node: &CastNode) -> bool {
        match node.cast {
            Cast::Sut | Cast::Tested | Cast::Deviant => true,
            Cast::Script | Cast::Foil => false,
            Cast::Reference => !self.has_guest(),
        }
    }

    fn has_guest(&self) -> bool {
        self.evidence
            .trace
            .meta
            .nodes
            .iter()
            .any(|n| matches!(n.cast, Cast::Sut | Cast::Tested | Cast::Deviant))
    }

    /// Whether the tap sees all that a party sends and is sent: not if it is a guest beside others, with which it
    /// may talk directly.
    pub fn sees_all_of(&self, party: &Party) -> bool {
        let nodes = &self.evidence.trace.meta.nodes;
        let is_guest = |node: &CastNode| node.cast == Cast::Sut;
        let others = nodes.iter().filter(|node| !party.is(node.name.as_str()));
        !self.evidence.node(party).is_some_and(is_guest) || !others.into_iter().any(is_guest)
    }

    /// The content that goes under a swarm id in this run.
    pub fn content(&self, swarm: &str) -> Option<&Content> {
        let names = &self.evidence.trace.meta.contents;
        let name = names.iter().find(|name| name.swarm == swarm)?;
        self.suite.contents.get(&name.fixture)
    }

    fn topology(&self) -> Option<&Topology> {
        self.instance.topology(self.suite)
    }

    /// How a node writes itself in Via, Route and URLs.
    pub fn host_of(&self, node: &str) -> Option<String> {
        Some(self.topology()?.node(node)?.host.clone())
    }

    /// The same for one end of a frame; empty for nobody we know.
    pub fn own_host(&self, party: &Party) -> String {
        party
            .node()
            .and_then(|node| self.host_of(node.as_str()))
            .unwrap_or_default()
    }

    /// The pieces a node held before the first step, or was made to hold by one.
    pub fn held_at_start(&self, node: &str, content: &str) -> Vec<u32> {
        let provisioned = self.topology().and_then(|topology| topology.node(node));
        let mut pieces: Vec<u32> = provisioned
            .iter()
            .flat_map(|node| self.instance.holds(node))
            .filter(|(name, _)| name == content)
            .flat_map(|(_, pieces)| pieces)
            .collect();
        pieces.extend(self.announced_by_steps(node, content));
        pieces
    }

    fn announced_by_steps(&self, node: &str, content: &str) -> Vec<u32> {
        let steps = self.instance.steps(self.suite);
        let announced = steps.into_iter().filter_map(|step| match step.verb {
            Verb::Do(Do {
                node: who,
                action:
                    Action::Announce {
                        content: what,
                        pieces,
                    },
            }) => (who == node && what == content).then_some(pieces),
            _ => None,
        });
        announced.flatten().collect()
    }

    /// The nodes of a role, as the topology has them.
    pub fn nodes_of(&self, role: Role) -> impl Iterator<Item = &Node> {
        let topology = self.topology().into_iter();
        let nodes = topology.flat_map(|topology| &topology.nodes);
        nodes.filter(move |node| node.role == role)
    }

    /// Where the nodes of a role are.
    pub fn addresses_of(&self, role: Role) -> Vec<IpAddr> {
        let nodes = &self.evidence.trace.meta.nodes;
        nodes
            .iter()
            .filter(|node| node.role == role)
            .filter_map(|node| node.ip)
            .collect()
    }

    pub fn requirement(&self, id: &str) -> Option<&Requirement> {
        self.suite.ledger.get(id).map(|row| &row.requirement)
    }

    /// `party` broke `requirement`: a failure if it is under test, our own fault if it is a reference
    /// node beside a guest, nothing if it is a script, a node in whose name the scenario itself sends, or
    /// nobody we know.
    pub fn breach(
        &self,
        party: &Party,
        requirement: &str,
        expected: impl Into<String>,
        actual: impl Into<String>,
        events: Range<usize>,
    ) -> Option<Finding> {
        let node = self.evidence.node(party)?;
        let events = self
            .evidence
            .said_first(party, events.start)
            .map_or(events, |said| said..said + 1);
        let plays_along = matches!(node.cast, Cast::Script | Cast::Foil);
        if plays_along || self.instance.speaks_for(node.name.as_str()) {
            return None;
        }
        let (verdict, blame) = if self.is_under_test(node) {
            (Verdict::Fail, Blame::Sut)
        } else {
            (Verdict::Error, Blame::Reference)
        };
        let strength = self
            .requirement(requirement)
            .map_or(Strength::Must, |r| r.strength);
        Some(Finding {
            verdict,
            strength,
            requirement: requirement.to_owned(),
            blame,
            node: Some(node.name.to_string()),
            expected: expected.into(),
            actual: actual.into(),
            events,
            likewise: Vec::new(),
        })
    }

    /// The same, for what rests on something that was not seen: what a party does without a reason, or leaves
    /// undone. Nothing, where the tap does not see all of it.
    pub fn lapse(
        &self,
        party: &Party,
        requirement: &str,
        expected: impl Into<String>,
        actual: impl Into<String>,
        events: Range<usize>,
    ) -> Option<Finding> {
        self.sees_all_of(party)
            .then(|| self.breach(party, requirement, expected, actual, events))?
    }
}
