//! A guest as it is declared, on the command line or in a profile: which nodes it plays and how it is reached.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::trigger::Trigger;
use crate::{
    spec::Role,
    suite::{
        Suite,
        document::{Table, Value},
        nearest,
    },
    wire::frame::NodeName,
};

/// A program of somebody else's in the place of one or several nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// As it was asked for: a role, a node, or `ims-core`.
    pub name: String,
    /// The nodes it may play; those that a topology has are its.
    pub nodes: Vec<NodeName>,
    /// Of its nodes, in their order.
    pub roles: Vec<Role>,
    pub way: Way,
    pub ready: Ready,
    /// The longest it may take to become ready.
    pub ready_within: Duration,
    pub lifetime: Lifetime,
    pub addresses: Addresses,
    /// A command between scenarios that makes a guest forget what it learnt.
    pub reset: Option<String>,
    /// How it is made to act.
    pub trigger: Option<Trigger>,
    /// What it does of its own accord once it runs, so that nobody has to push it.
    pub by_itself: Vec<String>,
}

/// How a guest is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It runs already: all its listeners are at one address and the topology's ports, or each where it says.
    Address {
        ip: Option<IpAddr>,
        listeners: Vec<(String, SocketAddr)>,
    },
    /// A shell's command that is started and stopped.
    Command(String),
    /// A container image that the engine of this machine has: a container of it is started and stopped.
    Image(String),
}

/// How one knows that a guest is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It prints a line that begins with `ready`.
    Line,
    /// Its stream listeners take connections.
    Probe,
}

/// How long a guest lives, if we start it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// For the whole run, as long as its addresses stay.
    Run,
    /// Until the topology, the architecture, the options or the delivery change.
    Configuration,
    /// For one scenario.
    Scenario,
}

/// Who says where a guest listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// The harness.
    Assigned,
    /// The guest, in its ready line.
    Own,
}

/// The set of nodes that goes by one name.
pub const IMS_CORE: &str = "ims-core";

const READY_WITHIN: Duration = Duration::from_secs(10);
const LONGEST_READY: Duration = Duration::from_secs(600);

impl Guest {
    fn new(name: &str, nodes: Vec<(NodeName, Role)>, way: Way) -> Guest {
        let ready = match way {
            Way::Address { .. } => Ready::Probe,
            Way::Command(_) | Way::Image(_) => Ready::Line,
        };
        let (nodes, roles) = nodes.into_iter().unzip();
        Guest {
            name: name.to_owned(),
            nodes,
            roles,
            way,
            ready,
            ready_within: READY_WITHIN,
            lifetime: Lifetime::Scenario,
            addresses: Addresses::Assigned,
            reset: None,
            trigger: None,
            by_itself: Vec::new(),
        }
    }

    /// What `PEERPROOF_ROLE` says.
    pub fn role_word(&self) -> &str {
        match self.roles[..] {
            [role] => role.word(),
            _ => IMS_CORE,
        }
    }

    pub fn plays(&self, node: &str) -> bool {
        self.nodes.iter().any(|own| own.as_str() == node)
    }

    /// Reads a `[[guest]]` table of a profile.
    pub(super) fn read(value: &Value<'_>, suite: &Suite) -> Option<Guest> {
        let table = value.table()?;
        let name = table.need("name");
        let named = name.and_then(|v| {
            let text = v.str()?;
            match guest_of(text, suite) {
                Ok(nodes) => Some((text.to_owned(), nodes)),
                Err(why) => {
                    v.note(why);
                    None
                }
            }
        });
        let way = way(&table);
        let (name, nodes) = named?;
        let mut guest = Guest::new(&name, nodes, way?);
        if let Some(v) = table.get("ready") {
            guest.ready = one_of(&v, &[("line", Ready::Line), ("probe", Ready::Probe)])?;
        }
        if let Some(v) = table.get("ready-within") {
            guest.ready_within = v.duration()?;
            if guest.ready_within > LONGEST_READY {
                v.note("found more than 10 min, expected at most that");
            }
        }
        if let Some(v) = table.get("lifetime") {
            let words = [
                ("run", Lifetime::Run),
                ("configuration", Lifetime::Configuration),
                ("scenario", Lifetime::Scenario),
            ];
            guest.lifetime = one_of(&v, &words)?;
        }
        if let Some(v) = table.get("addresses") {
            let words = [("assigned", Addresses::Assigned), ("own", Addresses::Own)];
            guest.addresses = one_of(&v, &words)?;
            if guest.addresses == Addresses::Own && guest.ready != Ready::Line {
                v.note("found addresses of its own with a probe, expected ready = \"line\": the line says where it listens");
            }
        }
        guest.reset = table.get("reset").and_then(|v| v.str()).map(str::to_owned);
        if let Some(v) = table.get("trigger") {
            guest.trigger = Trigger::read(&v);
        }
        if let Some(v) = table.get("by-itself") {
            for (word, span) in v.strings() {
                if !ITS_OWN.contains(&word) {
                    v.notes.unknown("action", word, span, &ITS_OWN);
                }
                guest.by_itself.push(word.to_owned());
            }
        }
        table.refuse_unknown();
        Some(guest)
    }
}

/// What a guest may do without being pushed.
pub(super) const ITS_OWN: [&str; 2] = ["register", "announce"];

fn one_of<T: Copy>(value: &Value<'_>, words: &[(&'static str, T)]) -> Option<T> {
    let text = value.str()?;
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        value.notes.unknown("word", text, value.span(), &known);
    }
    found.map(|(_, value)| *value)
}

/// `address`, `command` or `image`: one of them.
fn way(table: &Table<'_>) -> Option<Way> {
    let address = table.get("address");
    let command = table.get("command");
    let image = table.get("image");
    match (address, command, image) {
        (Some(address), None, None) => address_of(&address),
        (None, Some(command), None) => Some(Way::Command(command.str()?.to_owned())),
        (None, None, Some(image)) => Some(Way::Image(image.str()?.to_owned())),
        _ => {
            let expected = "expected one of address, command and image";
            table.notes.note(table.span.clone(), expected, "");
            None
        }
    }
}

/// `"192.0.2.7"`, or `{ isc = "192.0.2.7:5072", ut = "192.0.2.7:8443" }`.
fn address_of(value: &Value<'_>) -> Option<Way> {
    if !value.is_table() {
        return match parse_address(value.str()?) {
            Ok(way) => Some(way),
            Err(why) => {
                value.note(why);
                None
            }
        };
    }
    let table = value.table()?;
    let mut listeners = Vec::new();
    for (name, _, value) in table.entries() {
        listeners.push((listener_name(name), value.parsed()?));
    }
    Some(Way::Address {
        ip: listeners
            .first()
            .map(|(_, addr): &(_, SocketAddr)| addr.ip()),
        listeners,
    })
}

fn listener_name(text: &str) -> String {
    text.to_uppercase().replace('-', "_")
}

/// `192.0.2.7`, `192.0.2.7:5060`, or `Isc@192.0.2.7:5072,Ut@192.0.2.7:8443`.
fn parse_address(text: &str) -> Result<Way, String> {
    let expected = || {
        format!(
            "found \"{text}\", expected an address such as 192.0.2.7, or one for each listener such as \
             Isc@192.0.2.7:5072,Ut@192.0.2.7:8443"
        )
    };
    if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
        let listeners = Vec::new();
        return Ok(Way::Address {
            ip: Some(ip),
            listeners,
        });
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(Way::Address {
            ip: Some(addr.ip()),
            listeners: vec![(String::new(), addr)],
        });
    }
    let mut listeners = Vec::new();
    for part in text.split(',') {
        let (name, addr) = part.split_once('@').ok_or_else(expected)?;
        let addr: SocketAddr = addr.parse().map_err(|_| expected())?;
        listeners.push((listener_name(name), addr));
    }
    let ip = listeners.first().map(|(_, addr)| addr.ip());
    Ok(Way::Address { ip, listeners })
}

/// Reads `NAME=ADDR`, `NAME=cmd:COMMAND` or `NAME=image:IMAGE`; `None` if it is nothing of the kind but the path of
/// a profile.
pub fn parse_binding(text: &str, suite: &Suite) -> Option<Result<Guest, String>> {
    let (name, way) = text.split_once('=')?;
    if name.contains(['/', '.']) {
        return None;
    }
    let read = || {
        let nodes = guest_of(name, suite)?;
        let way = match way.split_once(':') {
            Some(("cmd", command)) => Way::Command(command.to_owned()),
            Some(("image", image)) => Way::Image(image.to_owned()),
            _ => parse_address(way)?,
        };
        if let Way::Command(command) = &way
            && command.trim().is_empty()
        {
            return Err(format!("{name}: found no command after cmd:"));
        }
        if let Way::Image(image) = &way
            && image.trim().is_empty()
        {
            return Err(format!(
                "{name}: found no image after image:, expected one that the container engine has, such as \
                 acme/tracker:1.2"
            ));
        }
        if let Way::Address { listeners, .. } = &way
            && let [(listener, addr)] = &listeners[..]
            && listener.is_empty()
        {
            one_listener(name, &nodes, suite, *addr)?;
        }
        Ok(Guest::new(name, nodes, way))
    };
    Some(read())
}

/// One address with a port is enough only for a node that listens once.
fn one_listener(
    name: &str,
    nodes: &[(NodeName, Role)],
    suite: &Suite,
    addr: SocketAddr,
) -> Result<(), String> {
    let mut kinds: Vec<String> = Vec::new();
    for topology in &suite.topologies {
        for (node, _) in nodes {
            for listen in topology
                .node(node.as_str())
                .iter()
                .flat_map(|node| &node.listen)
            {
                let kind = super::contract::suffix_of(listen.on, listen.format);
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
        }
    }
    match kinds.len() {
        0 | 1 => Ok(()),
        _ => Err(format!(
            "{name}: found one address with a port ({addr}), but it listens on {}: expected the address alone, \
             or one for each such as {}@{addr}",
            kinds.join(", "),
            kinds[0]
        )),
    }
}

/// The nodes of a name: a node, a role that has one node, or `ims-core`. The error names the nodes of a role that
/// has several, or what there is.
pub fn guest_of(name: &str, suite: &Suite) -> Result<Vec<(NodeName, Role)>, String> {
    let mut all: Vec<(NodeName, Role)> = Vec::new();
    for topology in &suite.topologies {
        for node in &topology.nodes {
            let one = (node.name.clone(), node.role);
            if !all.contains(&one) {
                all.push(one);
            }
        }
    }
    if name == IMS_CORE {
        let core = |role| matches!(role, Role::PCscf | Role::ICscf | Role::SCscf);
        return Ok(all.into_iter().filter(|(_, role)| core(*role)).collect());
    }
    if let Some(node) = all.iter().find(|(node, _)| node.as_str() == name) {
        return Ok(vec![node.clone()]);
    }
    if let Ok(role) = name.parse::<Role>() {
        // Topologies made for single scenarios have more nodes of a role than those of the architectures.
        let is_usual = |node: &NodeName| {
            let usual = suite
                .topologies
                .iter()
                .filter(|t| t.name == t.architecture.word());
            usual
                .into_iter()
                .any(|topology| topology.node(node.as_str()).is_some())
        };
        let of: Vec<_> = all
            .into_iter()
            .filter(|(node, own)| *own == role && is_usual(node))
            .collect();
        return match &of[..] {
            [] => Err(format!("no topology has a node of the role {name}")),
            [one] => Ok(vec![one.clone()]),
            several => {
                let names: Vec<&str> = several.iter().map(|(node, _)| node.as_str()).collect();
                Err(format!(
                    "the role {name} has several nodes, expected the name of one: {}",
                    names.join(", ")
                ))
            }
        };
    }
    let mut known: Vec<&str> = all.iter().map(|(node, _)| node.as_str()).collect();
    known.extend(Role::ALL.iter().map(|role| role.word()));
    known.push(IMS_CORE);
    let near = nearest(name, known.iter().copied());
    let near = near.map(|near| format!(", did you mean {near}?"));
    Err(format!(
        "found \"{name}\", expected a node, a role or {IMS_CORE}{}",
        near.unwrap_or_default()
    ))
}
