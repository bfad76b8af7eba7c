//! Casting: who plays each node of the topology, at which address, knowing what.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    net::{fault::Fault, tls::Card},
    node::{
        self, Setup,
        deviation::Deviation,
        policy::Policy,
        setup::{Content, Directory, Neighbour, PROVEN, PieceOf, Subscriber},
        variation::Variation,
    },
    random::{Random, derive},
    spec::{Feature, Role},
    suite::{Ground, Instance, Suite, Topology},
    sut::{Guests, Profile, contract::card},
    trace::{Cast, CastNode, ContentName, ListenTransport, Listener},
    wire::frame::NodeName,
};

/// The parts of one run, handed out.
#[derive(Default)]
pub struct Company {
    pub nodes: Vec<CastNode>,
    pub setups: Vec<Setup>,
    /// The rule each node breaks, if it breaks one.
    pub deviations: Vec<Option<Deviation>>,
    /// What each node writes otherwise at its door.
    pub variations: Vec<Variation>,
    pub contents: Vec<ContentName>,
}

impl Company {
    /// What stands in the certificates of the nodes that are ours.
    pub fn cards(&self) -> BTreeMap<NodeName, Card> {
        let nodes = self.nodes.iter().zip(&self.setups);
        let ours = nodes.filter(|(node, _)| node.cast != Cast::Sut);
        ours.map(|(node, setup)| (node.name.clone(), card(setup, node.certificate)))
            .collect()
    }
}

/// Who plays otherwise than the scenario says, and where.
#[derive(Clone, Copy, Default)]
pub struct Casting<'a> {
    /// Broken by every reference node of its roles, which is then under test.
    pub deviation: Option<&'a Deviation>,
    /// Whose roles are under test, and how it is configured.
    pub profile: Option<&'a Profile>,
    /// Who plays nodes from outside; over sockets only.
    pub guests: Option<&'a Guests>,
    /// Where everybody is over sockets; without it, in a network of loopback that is free.
    pub ground: Option<Ground>,
}

/// Hands out the parts of an instance.
pub fn cast(
    suite: &Suite,
    instance: &Instance,
    casting: Casting<'_>,
    topology: &Topology,
    ground: Ground,
) -> Company {
    // Who does not claim TLS is met without it, and so is everybody else.
    let claims_tls = |profile: &Profile| profile.features.contains(&Feature::Tls);
    let tls = casting.profile.is_none_or(claims_tls);
    let contents: Vec<Content> = suite
        .contents
        .all
        .iter()
        .map(|c| content(c, instance))
        .collect();
    let mut directory = directory(suite, topology, instance, ground, tls);
    if let Some(guests) = casting.guests {
        for (name, node) in &mut directory.nodes {
            let there = guests.whereabouts(name.as_str(), &node.listeners);
            node.listeners = there.listeners;
            if let Some(ip) = there.ip {
                (node.ip, node.ports) = (ip, None);
            }
        }
    }
    let directory = Arc::new(directory);
    let subscribers: Arc<Vec<Subscriber>> =
        Arc::new(suite.subscribers.all.iter().map(subscriber).collect());
    let contents_shared = Arc::new(contents);
    // The same in every instance: a guest may outlive one.
    let token_key = derive(instance.seed, &["token key"]).to_be_bytes().to_vec();

    let mut nodes = Vec::new();
    let mut setups = Vec::new();
    let mut deviations = Vec::new();
    let mut variations = Vec::new();
    for node in &topology.nodes {
        let name = node.name.as_str();
        let user = instance.user(suite, node.name.as_str()).map(str::to_owned);
        let neighbour = &directory.nodes[&node.name];
        let (cast, deviation) = part_of(instance, casting, name, node.role);
        deviations.push(deviation);
        nodes.push(CastNode {
            name: node.name.clone(),
            role: node.role,
            cast,
            ip: Some(neighbour.ip),
            ports: neighbour.ports,
            listeners: neighbour.listeners.clone(),
            impu: neighbour.impu.clone(),
            certificate: instance.certificate(name),
        });
        let seed = derive(instance.seed, &[&instance.path(), name]);
        let given = &instance.scenario.given;
        let is_canonical = given.canonical.iter().any(|canonical| canonical == name);
        let (policy, variation) = match instance.seed {
            _ if is_canonical => (Policy::default(), Variation::default()),
            0 => (Policy::default(), Variation::default()),
            _ => (
                Policy::draw(&mut Random::new(derive(seed, &["policy"]))),
                Variation::draw(node.role, seed),
            ),
        };
        variations.push(variation);
        let policy = match (casting.profile, cast) {
            (Some(profile), Cast::Tested) => profile.configure(policy),
            (Some(profile), Cast::Reference) => profile.keep_time(policy),
            _ => policy,
        };
        setups.push(Setup {
            name: node.name.clone(),
            role: node.role,
            seed,
            ip: neighbour.ip,
            listeners: neighbour.listeners.clone(),
            architecture: instance.architecture,
            options: instance.options,
            delivery: instance.delivery,
            directory: directory.clone(),
            subscribers: subscribers.clone(),
            user,
            contents: contents_shared.clone(),
            holds: neighbour.holds.clone(),
            tls,
            trusts: PROVEN,
            path_mtu: topology.path_mtu.clone(),
            policy,
            token_key: token_key.clone(),
        });
    }
    let contents = contents_shared
        .iter()
        .map(|c| ContentName {
            fixture: c.fixture.clone(),
            swarm: c.swarm.clone(),
        })
        .collect();
    Company {
        nodes,
        setups,
        deviations,
        variations,
        contents,
    }
}

/// Who plays a node, and which rule it breaks.
fn part_of(
    instance: &Instance,
    casting: Casting<'_>,
    name: &str,
    role: Role,
) -> (Cast, Option<Deviation>) {
    let given = &instance.scenario.given;
    if given.script.iter().any(|script| script == name) {
        return (Cast::Script, None);
    }
    let foil = given.deviant.get(name);
    if let Some(foil) = foil.and_then(|deviation| Deviation::named(deviation)) {
        return (Cast::Foil, Some(*foil));
    }
    if casting.guests.is_some_and(|guests| guests.plays(name)) {
        return (Cast::Sut, None);
    }
    match casting.deviation {
        Some(deviation) if deviation.roles.contains(&role) => (Cast::Deviant, Some(*deviation)),
        _ if casting.guests.is_some() => (Cast::Reference, None),
        _ if casting.profile.is_some_and(|p| p.roles.contains(&role)) => (Cast::Tested, None),
        _ => (Cast::Reference, None),
    }
}

/// Who plays a part.
pub fn build(
    setup: Setup,
    deviation: Option<Deviation>,
    variation: Variation,
) -> Option<Box<dyn node::Node>> {
    let varies = variation != Variation::default();
    let told = varies.then(|| setup.clone());
    let node = match deviation {
        Some(deviation) => deviation.play(setup, node::build),
        None => node::build(setup),
    }?;
    Some(match told {
        Some(setup) => variation.around(node, setup),
        None => node,
    })
}

fn content(content: &crate::suite::Content, instance: &Instance) -> Content {
    Content {
        fixture: content.name.clone(),
        swarm: instance.swarm(&content.name),
        bytes: content.bytes.clone(),
        sha1: content.sha1,
        sha256: content.sha256,
        pieces: content
            .pieces
            .iter()
            .map(|p| PieceOf {
                n: p.n,
                first: p.first,
                len: p.len,
                sha256: p.sha256,
            })
            .collect(),
    }
}

fn subscriber(subscriber: &crate::suite::Subscriber) -> Subscriber {
    Subscriber {
        id: subscriber.id.clone(),
        impi: subscriber.impi.clone(),
        impus: subscriber.impus.clone(),
        password: subscriber.password.clone(),
        k: subscriber.k,
        opc: subscriber.opc,
        service: subscriber.service,
        qualified: subscriber.qualified,
        barred: subscriber.barred,
        may_register: subscriber.may_register,
        aka: subscriber.aka,
        usim_sqn: subscriber.usim_sqn,
    }
}

fn directory(
    suite: &Suite,
    topology: &Topology,
    instance: &Instance,
    ground: Ground,
    tls: bool,
) -> Directory {
    let mut hosts = BTreeMap::new();
    let mut nodes = BTreeMap::new();
    for node in &topology.nodes {
        hosts.insert(node.host.clone(), node.name.clone());
        let registers = registers(node.role, instance);
        let impu = instance
            .user(suite, node.name.as_str())
            .filter(|_| registers)
            .and_then(|id| suite.subscribers.get(id)?.impus.first().cloned());
        nodes.insert(
            node.name.clone(),
            Neighbour {
                role: node.role,
                host: node.host.clone(),
                ip: node.ip_on(ground),
                ports: node.ports_on(ground),
                listeners: node
                    .listeners(ground)
                    .into_iter()
                    .map(|l| plain_unless(l, tls))
                    .collect(),
                impu,
                cdn: node.cdn.clone(),
                holds: instance.holds(node),
            },
        );
    }
    Directory {
        hosts,
        nodes,
        domain: topology.domain.clone(),
        tracker_psi: topology.tracker_psi.clone(),
    }
}

/// Who is a user of the IMS: in `registered` everybody outside the core, in `unregistered` not the CDN's
/// servers (TR 23.844 6.2.1, 6.2.2).
fn registers(role: Role, instance: &Instance) -> bool {
    match role {
        Role::Ue | Role::UserPeer | Role::Controller => true,
        Role::EdgeServer | Role::OriginServer => {
            instance.architecture == crate::spec::Architecture::Registered
        }
        _ => false,
    }
}

fn plain_unless(listener: Listener, tls: bool) -> Listener {
    let transport = match listener.transport {
        ListenTransport::Tls if !tls => ListenTransport::Tcp,
        other => other,
    };
    Listener {
        transport,
        ..listener
    }
}

/// The node of a name.
pub fn part<'a>(nodes: &'a [CastNode], name: &str) -> Option<&'a CastNode> {
    nodes.iter().find(|node| node.name == NodeName::new(name))
}

/// What the network does in this instance.
pub fn faults(instance: &Instance) -> Vec<Fault> {
    let given = instance.scenario.given.faults.iter();
    given
        .map(|bad| Fault {
            on: bad.on,
            lose: bad.lose,
            duplicate: bad.duplicate,
            reorder: bad.reorder,
            corrupt: bad.corrupt,
            delay: bad.delay,
            split: bad.split,
            cut_after: bad.cut_after,
            stall: bad.stall,
        })
        .collect()
}
