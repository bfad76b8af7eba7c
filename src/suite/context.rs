//! What `${…}` stands for in one run: nodes' addresses and identities, contents under their swarm ids,
//! fresh names. The same from the live run and from its trace, so that a verdict can be made again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Suite, instance::Instance, template::Lookup};
use crate::{
    random::{Random, derive},
    spec::{Format, RefPoint},
    time::At,
    trace::{Cast, CastNode, ListenTransport, Meta},
    wire::frame::Party,
};

/// The values of one run.
#[derive(Clone, Debug)]
pub struct Context {
    values: BTreeMap<String, String>,
    /// Nodes of ours: what they receive, the tap sees.
    ours: BTreeSet<String>,
    seed: u64,
    began: At,
    limit: At,
}

impl Context {
    pub fn new(suite: &Suite, instance: &Instance, meta: &Meta) -> Context {
        let mut values = BTreeMap::new();
        for content in &suite.contents.all {
            let swarm = meta.contents.iter().find(|c| c.fixture == content.name);
            let swarm = swarm.map(|c| c.swarm.clone());
            let mut owners = vec![content.name.as_str()];
            if instance.scenario.given.content.as_deref() == Some(&content.name) {
                owners.push("content");
            }
            for owner in owners {
                for (field, value) in content.values() {
                    values.insert(format!("{owner}.{field}"), value);
                }
                if let Some(swarm) = &swarm {
                    values.insert(format!("{owner}.swarm"), swarm.clone());
                }
            }
        }
        for node in &meta.nodes {
            for (field, value) in of_node(suite, instance, node) {
                values.insert(format!("{}.{field}", node.name), value);
            }
        }
        if let Some(topology) = instance.topology(suite) {
            values.insert("run.domain".into(), topology.domain.clone());
            values.insert("run.tracker-psi".into(), topology.tracker_psi.clone());
        }
        let ours = meta.nodes.iter().filter(|node| node.cast != Cast::Sut);
        Context {
            values,
            ours: ours.map(|node| node.name.to_string()).collect(),
            seed: derive(instance.seed, &[&instance.id(), "fresh"]),
            began: meta.began,
            limit: meta.began + instance.limit(suite),
        }
    }

    /// Whether the tap sees what this party receives.
    pub fn is_ours(&self, party: &Party) -> bool {
        party
            .node()
            .is_some_and(|node| self.ours.contains(node.as_str()))
    }

    /// When the first step can be given.
    pub fn began(&self) -> At {
        self.began
    }

    /// When the run ends whatever happens.
    pub fn limit(&self) -> At {
        self.limit
    }
}

impl Lookup for Context {
    fn value(&self, place: &str) -> Option<String> {
        match place.strip_prefix("fresh.") {
            Some(name) => Some(Random::new(derive(self.seed, &[name])).token(16)),
            None => self.values.get(place).cloned(),
        }
    }
}

fn of_node(suite: &Suite, instance: &Instance, node: &CastNode) -> Vec<(String, String)> {
    let mut values = Vec::new();
    let mut give = |field: &str, value: String| values.push((field.to_owned(), value));
    let ip = node
        .ip
        .or_else(|| node.listeners.first().map(|l| l.addr.ip()));
    if let Some(ip) = ip {
        give("ip", ip.to_string());
        let (kind, version, in_uri) = match ip {
            IpAddr::V4(ip) => ("ipv4", "IP4", ip.to_string()),
            IpAddr::V6(ip) => ("ipv6", "IP6", format!("[{ip}]")),
        };
        give("ip-type", kind.to_owned());
        give("ip-version", version.to_owned());
        give("ip-in-uri", in_uri);
    }
    if let Some(told) = instance
        .topology(suite)
        .and_then(|topology| topology.node(node.name.as_str()))
    {
        give("host", told.host.clone());
    }
    let user = instance
        .user(suite, node.name.as_str())
        .and_then(|id| suite.subscribers.get(id));
    if let Some(user) = user {
        give("user", user.id.clone());
        give("impi", user.impi.clone());
        give("password", user.password.clone());
        give("impu", user.impus[0].clone());
    }
    for listener in &node.listeners {
        if listener.transport == ListenTransport::Udp {
            continue;
        }
        let addr = listener.addr.to_string();
        match (listener.on, listener.format) {
            (RefPoint::Data, Format::Http) => give("http", addr),
            (RefPoint::Data, _) => {
                give("data", addr.clone());
                give("msrp", addr);
            }
            (on, _) => give(&on.word().to_lowercase(), addr),
        }
    }
    values
}
