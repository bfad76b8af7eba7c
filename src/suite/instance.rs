//! A scenario in one configuration with one seed: what is actually played.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Suite, Timers,
    prologue::prologue,
    scenario::{Choice, Scenario, Step, Verb},
    topology::{Node, Topology},
};
use crate::{
    random::{Random, derive},
    spec::{Architecture, Delivery, Options, RequestPath, Worth},
};

/// One play of a scenario. Prints as its id.
#[derive(Clone, Debug)]
pub struct Instance {
    pub scenario: Arc<Scenario>,
    pub architecture: Architecture,
    pub options: Options,
    pub delivery: Delivery,
    pub seed: u64,
}

impl Instance {
    /// Every configuration of a scenario, in order.
    pub fn of(scenario: &Arc<Scenario>, seed: u64) -> Vec<Instance> {
        let mut all = Vec::new();
        for &architecture in &scenario.architectures {
            for options in Options::all().filter(|options| is_asked_for(scenario, *options)) {
                all.push(Instance {
                    scenario: scenario.clone(),
                    architecture,
                    options,
                    delivery: scenario.delivery.unwrap_or(usual_delivery(options)),
                    seed,
                });
            }
        }
        all
    }

    /// `registered/step-3-piece-request/asks-through-the-p-cscf@ut.ims.ims#41`. Where a scenario is true
    /// in both architectures, the architecture stands first behind the `@`.
    pub fn id(&self) -> String {
        format!("{}#{}", self.path(), self.seed)
    }

    /// The id without the seed.
    pub fn path(&self) -> String {
        let architecture = match self.scenario.architectures.len() {
            0 | 1 => String::new(),
            _ => format!("{}.", self.architecture),
        };
        format!("{}@{architecture}{}", self.scenario.id, self.options)
    }

    pub fn topology<'s>(&self, suite: &'s Suite) -> Option<&'s Topology> {
        let own = self.architecture.word();
        suite.topology(self.scenario.topology.as_deref().unwrap_or(own))
    }

    /// The subscriber a node plays in this scenario.
    pub fn user<'s>(&'s self, suite: &'s Suite, node: &str) -> Option<&'s str> {
        match self.scenario.given.users.get(node) {
            Some(user) => Some(user),
            None => self.topology(suite)?.node(node)?.user.as_deref(),
        }
    }

    /// What the certificate is worth that a node shows as a server.
    pub fn certificate(&self, node: &str) -> Worth {
        let given = self.scenario.given.certificates.get(node);
        given.copied().unwrap_or(Worth::Good)
    }

    /// What a node holds at the start.
    pub fn holds(&self, node: &Node) -> Vec<(String, Vec<u32>)> {
        let given = self.scenario.given.holds.get(node.name.as_str());
        given.unwrap_or(&node.holds).clone()
    }

    /// The swarm id a content has in this run: fresh, so that a guest that outlives a scenario needs no
    /// reset.
    pub fn swarm(&self, content: &str) -> String {
        let seed = derive(self.seed, &[&self.id(), "swarm", content]);
        format!("{content}-{}", Random::new(seed).token(8))
    }

    /// The steps of this configuration: what is given first, then the scenario's own.
    pub fn steps(&self, suite: &Suite) -> Vec<Step> {
        let mut steps = prologue(suite, self);
        steps.extend(self.own_steps().cloned());
        for step in &mut steps {
            if let Some((timer, factor)) = step.timers {
                step.verb = Verb::Wait(suite.timers.of(timer).mul_f64(factor));
            }
        }
        steps
    }

    /// When the run ends whatever happens; waits by longer timers than ours get the time they need.
    pub fn limit(&self, suite: &Suite) -> Duration {
        let ours = Timers::default();
        let waits = self.own_steps().filter_map(|step| step.timers);
        let more = waits.map(|(timer, factor)| {
            let more = suite.timers.of(timer).saturating_sub(ours.of(timer));
            more.mul_f64(factor)
        });
        self.scenario.limit + more.sum::<Duration>()
    }

    /// The scenario's own steps that stand in this configuration.
    pub(crate) fn own_steps(&self) -> impl Iterator<Item = &Step> {
        self.scenario.steps.iter().filter(|step| self.has(step))
    }

    /// Whether the scenario itself sends in a node's name: what that node sends is then not all its own.
    pub fn speaks_for(&self, node: &str) -> bool {
        let mut steps = self.own_steps();
        steps.any(|step| matches!(&step.verb, Verb::Send(send) if send.from == node))
    }

    /// Whether a step asks something of a node: it is made to act, is sent something, or alone ought to send.
    pub fn asks(&self, suite: &Suite, node: &str) -> bool {
        self.steps(suite).iter().any(|step| match &step.verb {
            Verb::Do(act) => act.node == node,
            Verb::Send(send) => send.to == node,
            Verb::Expect(expect) => expect.pattern.from == [node],
            Verb::Never(_) | Verb::Wait(_) => false,
        })
    }

    /// Whether somebody else is in a node's place: a script, or a reference node that breaks a rule.
    pub fn replaces(&self, node: &str) -> bool {
        let given = &self.scenario.given;
        given.script.iter().any(|script| script == node) || given.deviant.contains_key(node)
    }

    /// Whether a step of the scenario itself is about a node: it acts, or sends, or ought to send or to be sent to.
    pub fn names(&self, node: &str) -> bool {
        let among = |names: &[String]| names.iter().any(|name| name == node);
        let mut steps = self.own_steps();
        steps.any(|step| match &step.verb {
            Verb::Do(act) => act.node == node,
            Verb::Send(send) => send.from == node || send.to == node,
            Verb::Expect(expect) => among(&expect.pattern.from) || among(&expect.pattern.to),
            Verb::Never(never) => among(&never.pattern.from) || among(&never.pattern.to),
            Verb::Wait(_) => false,
        })
    }

    /// A play of nothing: nodes in a topology, and no steps. For nodes that stand by themselves.
    pub fn bare(topology: &Topology, options: Options, seed: u64) -> Instance {
        Instance {
            scenario: Arc::new(Scenario::bare(topology)),
            architecture: topology.architecture,
            options,
            delivery: usual_delivery(options),
            seed,
        }
    }

    fn has(&self, step: &Step) -> bool {
        let when = step.when;
        when.pins.allow(self.options)
            && when.architecture.is_none_or(|a| a == self.architecture)
            && when.delivery.is_none_or(|d| d == self.delivery)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

/// What the Controller does unless a scenario says otherwise.
pub fn usual_delivery(options: Options) -> Delivery {
    match options.request {
        RequestPath::Ims => Delivery::Delegate,
        RequestPath::Direct => Delivery::Redirect,
    }
}

/// Options neither pinned nor varied take their defaults.
fn is_asked_for(scenario: &Scenario, options: Options) -> bool {
    let usual = Options::default();
    let is_free = |choice| scenario.over.contains(&choice) || scenario.pins.has(choice);
    scenario.pins.allow(options)
        && (is_free(Choice::PeerList) || options.peer_list == usual.peer_list)
        && (is_free(Choice::Request) || options.request == usual.request)
        && (is_free(Choice::Status) || options.status == usual.status)
}
