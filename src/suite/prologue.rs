//! What is given, as steps: whoever is to be registered registers, whoever holds pieces tells the tracker.
//! The same matcher follows them, so that a precondition that fails is seen as one.

use std::time::Duration;

use super::{
    Suite,
    instance::Instance,
    pattern::{FieldTest, Pattern, Test},
    scenario::{Do, Expect, Step, Times, Verb, When},
    template::Template,
    topology::{Node, Topology},
    view::Layer,
};
use crate::{
    io::Action,
    spec::{Path, RefPoint, Role},
};

/// The leading steps of an instance, all of them marked as set-up.
pub(crate) fn prologue(suite: &Suite, instance: &Instance) -> Vec<Step> {
    let Some(topology) = instance.topology(suite) else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    for node in &topology.nodes {
        if registers(suite, instance, node) {
            let name = node.name.as_str();
            steps.push(act(name, Action::Register));
            steps.push(answered(topology, name, "REGISTER"));
        }
    }
    for node in &topology.nodes {
        for (content, pieces) in to_announce(suite, instance, topology, node) {
            let name = node.name.as_str();
            steps.push(act(name, Action::Announce { content, pieces }));
            steps.push(announced(instance, topology, node));
        }
    }
    // Where the network loses what travels, retransmission may take its whole time.
    if !instance.scenario.given.faults.is_empty() {
        for step in &mut steps {
            if let Verb::Expect(expect) = &mut step.verb {
                expect.within = WITHIN_UNDER_FAULTS;
            }
        }
    }
    steps
}

fn registers(suite: &Suite, instance: &Instance, node: &Node) -> bool {
    let name = node.name.as_str();
    let given = &instance.scenario.given;
    let subscriber = instance
        .user(suite, name)
        .and_then(|user| suite.subscribers.get(user));
    let Some(subscriber) = subscriber else {
        return false;
    };
    match &given.registered {
        Some(named) => named.iter().any(|n| n == name),
        None => {
            !given.script.iter().any(|n| n == name) && subscriber.may_register && !subscriber.barred
        }
    }
}

/// What a node tells the tracker before the first step. A Controller speaks for the edges of its CDN;
/// edges that IMS does not know stay silent (TR 23.844 6.2.2).
fn to_announce(
    suite: &Suite,
    instance: &Instance,
    topology: &Topology,
    node: &Node,
) -> Vec<(String, Vec<u32>)> {
    let name = node.name.as_str();
    let given = &instance.scenario.given;
    let Some(content) = &given.content else {
        return Vec::new();
    };
    let wanted = match &given.announced {
        Some(named) => named.iter().any(|n| n == name),
        None => {
            !given.script.iter().any(|n| n == name)
                && (node.role == Role::Controller || registers(suite, instance, node))
        }
    };
    if !wanted {
        return Vec::new();
    }
    let speaks_for: Vec<&Node> = match node.role {
        Role::Controller => {
            let edges = topology.nodes.iter();
            edges
                .filter(|other| other.role == Role::EdgeServer && other.cdn == node.cdn)
                .collect()
        }
        _ => vec![node],
    };
    let mut pieces: Vec<u32> = speaks_for
        .iter()
        .flat_map(|holder| instance.holds(holder))
        .filter(|(name, _)| name == content)
        .flat_map(|(_, pieces)| pieces)
        .collect();
    pieces.sort_unstable();
    pieces.dedup();
    match pieces.is_empty() {
        true => Vec::new(),
        false => vec![(content.clone(), pieces)],
    }
}

/// The tracker took the announcement: on the dedicated interface for a CDN node, on the path of the
/// status update for a user peer.
fn announced(instance: &Instance, topology: &Topology, node: &Node) -> Step {
    let name = node.name.as_str();
    let on = match (node.role, instance.options.status) {
        (Role::Ue | Role::UserPeer, Path::Ims) => return answered(topology, name, "PUBLISH"),
        (Role::Ue | Role::UserPeer, Path::Ut) => RefPoint::Ut,
        _ => RefPoint::Dedicated,
    };
    expect(Pattern {
        from: names_of(topology, Role::Tracker),
        to: vec![name.to_owned()],
        on: vec![on],
        security: None,
        fields: vec![
            field(Layer::Http, "status", Test::Number(200)),
            field(Layer::Ppstp, "error", Test::Number(0)),
        ],
    })
}

/// The P-CSCF brings a 200 for a request of this method.
fn answered(topology: &Topology, node: &str, method: &str) -> Step {
    let method = Template::parse(method).expect("a method has no braces");
    expect(Pattern {
        from: names_of(topology, Role::PCscf),
        to: vec![node.to_owned()],
        on: vec![RefPoint::Gm],
        security: None,
        fields: vec![
            field(Layer::Sip, "status", Test::Number(200)),
            field(Layer::Sip, "for", Test::Is(method)),
        ],
    })
}

fn names_of(topology: &Topology, role: Role) -> Vec<String> {
    let nodes = topology.nodes.iter().filter(|node| node.role == role);
    nodes.map(|node| node.name.to_string()).collect()
}

fn field(layer: Layer, key: &str, test: Test) -> FieldTest {
    FieldTest {
        layer,
        key: key.to_owned(),
        test,
    }
}

fn act(node: &str, action: Action) -> Step {
    let node = node.to_owned();
    setup(Verb::Do(Do { node, action }))
}

fn expect(pattern: Pattern) -> Step {
    setup(Verb::Expect(Expect {
        name: None,
        pattern,
        outcomes: Vec::new(),
        within: WITHIN,
        times: Times::default(),
        after: None,
        requirement: None,
    }))
}

fn setup(verb: Verb) -> Step {
    Step {
        timers: None,
        verb,
        when: When::default(),
        setup: true,
        line: 0,
    }
}

const WITHIN_UNDER_FAULTS: Duration = Duration::from_secs(300);
const WITHIN: Duration = Duration::from_secs(5);
