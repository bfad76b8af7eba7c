//! Scenario files into scenarios. Every mistake is noted where it stands, and reading goes on.

use std::{cell::RefCell, collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use regex::Regex;

use super::{
    contents::Contents,
    diagnostic::did_you_mean,
    document::{Table, Value},
    instance::Instance,
    ledger::Ledger,
    pattern::{FieldTest, Pattern, Test},
    scenario::{
        Authorize, BadNetwork, Choice, Do, Edit, Expect, Given, Never, Outcome, Pins, Scenario,
        Send, SendSource, Step, Times, Verb, When,
    },
    subscribers::Subscribers,
    template::Template,
    timers::Timer,
    topology::{Topology, read_holdings},
    view::{self, Layer},
};
use crate::{
    io::{Action, Shape},
    spec::{Architecture, Clause, Path, RefPoint, RequestPath, Strength, Worth},
};

/// Everything a scenario may refer to.
pub(crate) struct World<'a> {
    pub ledger: &'a Ledger,
    pub contents: &'a Contents,
    pub subscribers: &'a Subscribers,
    pub topologies: &'a [Topology],
    /// Message files: name and text.
    pub messages: &'a [(String, String)],
    /// `None`: not checked.
    pub deviations: Option<&'a [&'a str]>,
    /// `None`: not checked.
    pub checks: Option<&'a [&'a str]>,
    /// What of all this the scenarios named.
    pub uses: RefCell<Uses>,
}

/// The fixtures that scenarios name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uses {
    pub contents: BTreeSet<String>,
    pub messages: BTreeSet<String>,
    pub subscribers: BTreeSet<String>,
    pub topologies: BTreeSet<String>,
}

/// Reads one file. `id` is its path without root and extension: `registered/step-3-piece-request`.
pub(crate) fn read_file(world: &World<'_>, id: &str, root: Table<'_>) -> Vec<Arc<Scenario>> {
    let folder = id.split('/').next().unwrap_or_default();
    let section = root.need("section").and_then(|v| v.str());
    let clause = root.need("clause").and_then(|v| v.parsed::<Clause>());
    let topology = root.get("topology").and_then(|v| topology_name(world, &v));
    let architectures = root.get("architectures").map(|v| v.words());
    let list = root.need("scenario").and_then(|v| v.array());
    if let Some([]) = list.as_deref() {
        root.notes.note(
            root.span.clone(),
            "no scenario in this file",
            "add [[scenario]]",
        );
    }
    let common = File {
        world,
        id,
        section: section.unwrap_or_default(),
        clause,
        topology,
        architectures: match folder.parse::<Architecture>() {
            Ok(architecture) => vec![architecture],
            Err(_) => architectures.unwrap_or_else(|| vec![Architecture::Registered]),
        },
    };
    root.refuse_unknown();
    let mut scenarios: Vec<Arc<Scenario>> = Vec::new();
    for value in list.unwrap_or_default() {
        let Some(scenario) = common.scenario(&value) else {
            continue;
        };
        if scenarios.iter().any(|other| other.name == scenario.name) {
            value.note(format!(
                "scenario \"{}\" stands here a second time",
                scenario.name
            ));
        } else {
            scenarios.push(scenario);
        }
    }
    scenarios
}

/// What the scenarios of one file share.
struct File<'a> {
    world: &'a World<'a>,
    id: &'a str,
    section: &'a str,
    clause: Option<Clause>,
    topology: Option<String>,
    architectures: Vec<Architecture>,
}

/// What the steps of one scenario may refer to.
struct Scene<'a> {
    world: &'a World<'a>,
    topologies: Vec<&'a Topology>,
    nodes: Vec<&'a str>,
    requires: Vec<String>,
    script: Vec<String>,
    has_content: bool,
    /// Captures made by the steps before, and when those steps stand.
    names: Vec<(String, When)>,
    /// When the step being read stands.
    when: When,
    /// Captures that end a `never`; a later step may make them.
    untils: Vec<(String, Range<usize>)>,
}

impl Scene<'_> {
    /// Each row that is cited binds somebody who acts of its own accord; else nobody could be tested by it.
    fn bound_somebody(&self, table: &Table<'_>, given: &Given) {
        let Some(cited) = table.get("requires") else {
            return;
        };
        for (id, span) in cited.strings() {
            let Some(row) = self.world.ledger.get(id) else {
                continue;
            };
            let role = row.requirement.role;
            let is_played = |topology: &&Topology| {
                topology.nodes.iter().any(|node| {
                    let name = node.name.as_str();
                    let is_own = !self.script.iter().any(|script| script == name)
                        && !given.deviant.contains_key(name);
                    node.role == role && is_own
                })
            };
            if !self.topologies.is_empty() && !self.topologies.iter().any(is_played) {
                table.notes.note(
                    span,
                    format!("\"{id}\" binds a {role}, and the scenario plays none that acts of its own accord"),
                    "cite a row of whoever is tested",
                );
            }
        }
    }
}

impl File<'_> {
    fn scenario(&self, value: &Value<'_>) -> Option<Arc<Scenario>> {
        let world = self.world;
        let table = value.table()?;
        let name = table.need("name").and_then(|v| fact(&v));
        let purpose = table.need("purpose").and_then(|v| v.str());
        let clause = table.get("clause").and_then(|v| v.parsed::<Clause>());
        let topology = table.get("topology").and_then(|v| topology_name(world, &v));
        let topology = topology.or_else(|| self.topology.clone());
        let architectures = table.get("architectures").map(|v| v.words());
        let architectures = architectures.unwrap_or_else(|| self.architectures.clone());
        let (requires, level) = self.requirements(&table);
        let pins = table.get("options").and_then(|v| v.table());
        let pins = pins.map(|t| read_pins(t, true)).unwrap_or_default().pins;
        let delivery = table.get("delivery").and_then(|v| v.word());
        let over = table.get("over").map(|v| read_over(&v, pins));
        let needs = table.get("needs").map(|v| v.words());
        let kills = table.get("kills");
        let kills = names_among(kills, "deviation", world.deviations);
        let checks = table.get("checks");
        let checks = names_among(checks, "check", world.checks);
        let tags = table.get("tags").map(|v| v.strings()).unwrap_or_default();
        let limit = table.get("limit").and_then(|v| v.duration());

        let topologies = self.topologies(&table, topology.as_deref(), &architectures);
        let mut scene = Scene {
            world,
            nodes: nodes_of(&topologies),
            topologies,
            requires: requires.clone(),
            script: Vec::new(),
            has_content: false,
            names: Vec::new(),
            when: When::default(),
            untils: Vec::new(),
        };
        let given = table.get("given").and_then(|v| v.table());
        let given = given.map(|t| scene.given(t)).unwrap_or_default();
        scene.script = given.script.clone();
        scene.has_content = given.content.is_some();
        scene.bound_somebody(&table, &given);

        let list = table.need("step");
        let steps = list.and_then(|v| v.array()).unwrap_or_default();
        if steps.is_empty() && list.is_some() {
            value.note("a scenario without steps, expected one at least");
        }
        let written = steps.len();
        let steps: Vec<_> = steps.iter().filter_map(|step| scene.step(step)).collect();
        for (name, span) in &scene.untils {
            let known: Vec<_> = scene.names.iter().map(|(name, _)| name.as_str()).collect();
            if !known.contains(&name.as_str()) {
                let span = span.clone();
                value.notes.unknown("captured message", name, span, &known);
            }
        }
        let is_whole = !steps.is_empty() && steps.len() == written;
        table.refuse_unknown();

        let name = name?;
        let scenario = Arc::new(Scenario {
            id: format!("{}/{name}", self.id),
            name: name.to_owned(),
            architectures,
            section: self.section.to_owned(),
            clause: clause.or_else(|| self.clause.clone())?,
            topology,
            purpose: purpose?.to_owned(),
            requires,
            level,
            pins,
            delivery,
            over: over.unwrap_or_default(),
            given,
            needs: needs.unwrap_or_default(),
            kills,
            tags: tags.into_iter().map(|(tag, _)| tag.to_owned()).collect(),
            limit: limit.unwrap_or(LIMIT),
            checks,
            steps,
            file: value.notes.source.path.to_string(),
            line: line_of(value),
        });
        if is_whole {
            check_purpose(value, &scenario);
        }
        Some(scenario)
    }

    /// The rows it cites and the strongest of their strengths.
    fn requirements(&self, table: &Table<'_>) -> (Vec<String>, Strength) {
        let mut ids = Vec::new();
        let mut level = Strength::Info;
        let Some(value) = table.need("requires") else {
            return (ids, level);
        };
        let written = value.strings();
        let cites_nothing = written.is_empty();
        for (id, span) in written {
            match self.world.ledger.get(id) {
                Some(row) => {
                    level = level.min(row.requirement.strength);
                    ids.push(id.to_owned());
                }
                None => {
                    let known = self.world.ledger.ids();
                    match known.is_empty() {
                        true => value.notes.note(
                            span,
                            format!("unknown requirement \"{id}\""),
                            "requirements are rows of requirements.toml, which is missing or empty here",
                        ),
                        false => value.notes.unknown("requirement", id, span, &known),
                    }
                }
            }
        }
        if cites_nothing {
            value.note("a scenario that cites no requirement, expected one at least");
        }
        (ids, level)
    }

    fn topologies(
        &self,
        table: &Table<'_>,
        named: Option<&str>,
        architectures: &[Architecture],
    ) -> Vec<&Topology> {
        let mut found = Vec::new();
        for architecture in architectures {
            let name = named.unwrap_or(architecture.word());
            let topology = self.world.topologies.iter().find(|t| t.name == name);
            match topology {
                Some(topology) if topology.architecture == *architecture => {
                    let mut uses = self.world.uses.borrow_mut();
                    uses.topologies.insert(name.to_owned());
                    found.push(topology);
                }
                Some(topology) => table.notes.note(
                    table.span.clone(),
                    format!(
                        "topology \"{name}\" is {}, expected one that is {architecture}",
                        topology.architecture
                    ),
                    "",
                ),
                None => {}
            }
        }
        found
    }
}

impl Scene<'_> {
    fn given(&self, table: Table<'_>) -> Given {
        let nodes = |key| {
            let value: Value<'_> = table.get(key)?;
            let names = value.strings();
            for (name, span) in &names {
                self.check_node(&value, name, span.clone());
            }
            Some(names.into_iter().map(|(n, _)| n.to_owned()).collect())
        };
        let content = table.get("content").and_then(|v| self.content(&v));
        let registered = nodes("registered");
        let announced = nodes("announced");
        let canonical = nodes("canonical");
        let script = nodes("script");
        let assembles = nodes("assembles").and_then(|names: Vec<String>| names.into_iter().next());
        let mut given = Given {
            content,
            registered,
            announced,
            canonical: canonical.unwrap_or_default(),
            script: script.unwrap_or_default(),
            assembles,
            ..Given::default()
        };
        for (node, _, value) in self.by_node(table.get("deviant")) {
            let names = names_among(Some(value), "deviation", self.world.deviations);
            given
                .deviant
                .extend(names.into_iter().map(|name| (node.to_owned(), name)));
        }
        for (node, _, value) in self.by_node(table.get("users")) {
            let names = self.subscribers(Some(value));
            given
                .users
                .extend(names.into_iter().map(|name| (node.to_owned(), name)));
        }
        for (node, _, value) in self.by_node(table.get("certificates")) {
            given
                .certificates
                .extend(value.word().map(|worth| (node.to_owned(), worth)));
        }
        for (node, _, value) in self.by_node(table.get("holds")) {
            if let Some(table) = value.table() {
                let holdings = read_holdings(&table, self.world.contents);
                let mut uses = self.world.uses.borrow_mut();
                let names = holdings.iter().map(|(content, _)| content.clone());
                uses.contents.extend(names);
                given.holds.insert(node.to_owned(), holdings);
            }
        }
        for value in table
            .get("faults")
            .and_then(|v| v.array())
            .unwrap_or_default()
        {
            given.faults.extend(read_fault(&value));
        }
        table.refuse_unknown();
        given
    }

    /// The entries of a table whose keys are nodes.
    fn by_node<'a>(&self, value: Option<Value<'a>>) -> Vec<(&'a str, Range<usize>, Value<'a>)> {
        let Some(table) = value.and_then(|v| v.table()) else {
            return Vec::new();
        };
        let entries = table.entries();
        for (node, span, value) in &entries {
            self.check_node(value, node, span.clone());
        }
        entries
    }

    fn step(&mut self, value: &Value<'_>) -> Option<Step> {
        let table = value.table()?;
        let when = table.get("when").and_then(|v| v.table());
        let when = when.map(|t| read_pins(t, false)).unwrap_or_default();
        self.when = when;
        let verbs = ["do", "send", "expect", "never", "wait"].map(|verb| table.get(verb));
        let written = verbs.iter().flatten().count();
        table.refuse_unknown();
        if written != 1 {
            value.note(format!(
                "a step with {written} verbs, expected exactly one of do, send, expect, never, wait"
            ));
            return None;
        }
        let [action, send, expect, never, wait] = verbs;
        let mut timers = None;
        let verb = if let Some(value) = action {
            Verb::Do(self.read_do(value.table()?)?)
        } else if let Some(value) = send {
            Verb::Send(self.send(value.table()?)?)
        } else if let Some(value) = expect {
            Verb::Expect(self.expect(value.table()?)?)
        } else if let Some(value) = never {
            Verb::Never(self.never(value.table()?)?)
        } else {
            let wait = wait?;
            timers = wait.is_table().then(|| timers_of(&wait)).flatten();
            match timers {
                Some(_) => Verb::Wait(Duration::ZERO),
                None => Verb::Wait(wait.duration()?),
            }
        };
        Some(Step {
            timers,
            verb,
            when,
            setup: false,
            line: line_of(value),
        })
    }

    fn read_do(&self, table: Table<'_>) -> Option<Do> {
        let node = table.need("node").and_then(|v| self.node(&v));
        let content = |key| {
            table.get(key).map(|v| {
                let content = self.content(&v);
                content.unwrap_or_default()
            })
        };
        let said = |key| table.get(key).is_some_and(|v| v.said());
        let pieces = || {
            let pieces = table.need("pieces").and_then(|v| v.array());
            let pieces = pieces.unwrap_or_default();
            pieces.iter().filter_map(|piece| piece.number()).collect()
        };
        let mut actions = Vec::new();
        for (key, action) in [
            ("register", Action::Register),
            ("deregister", Action::Deregister),
            ("stop", Action::Stop),
            ("crash", Action::Crash),
        ] {
            if said(key) {
                actions.push(action);
            }
        }
        if let Some(content) = content("announce") {
            let pieces = pieces();
            actions.push(Action::Announce { content, pieces });
        }
        if let Some(content) = content("drop") {
            let pieces = pieces();
            actions.push(Action::Drop { content, pieces });
        }
        if let Some(content) = content("ask") {
            actions.push(Action::Ask { content });
        }
        if let Some(content) = content("fetch") {
            let shape = match table.get("shape").and_then(|v| Some((v, v.str()?))) {
                None | Some((_, "separate")) => Shape::Separate,
                Some((_, "joint")) => Shape::Joint,
                Some((value, other)) => {
                    let known = ["separate", "joint"];
                    value.notes.unknown("shape", other, value.span(), &known);
                    Shape::Separate
                }
            };
            actions.push(Action::Fetch { content, shape });
        }
        if let Some(content) = content("report") {
            actions.push(Action::Report { content });
        }
        if let Some(content) = content("leave") {
            actions.push(Action::Leave { content });
        }
        let user = |key| self.subscribers(table.get(key)).pop();
        if let Some(user) = user("revoke") {
            actions.push(Action::Revoke { user });
        }
        if let Some(user) = user("withdraw") {
            actions.push(Action::Withdraw { user });
        }
        let goes_with = |key, verbs, fits: fn(&Action) -> bool| {
            if let Some(value) = table.get(key)
                && !actions.iter().any(fits)
            {
                value.note(format!("found {key} without {verbs}, with which it goes"));
            }
        };
        goes_with("pieces", "announce or drop", |action| {
            matches!(action, Action::Announce { .. } | Action::Drop { .. })
        });
        goes_with("shape", "fetch", |action| {
            matches!(action, Action::Fetch { .. })
        });
        let (notes, span) = (table.notes, table.span.clone());
        table.refuse_unknown();
        let node = node?;
        if self.script.contains(&node) {
            let message = format!("node \"{node}\" is a script: it can only be told what to send");
            notes.note(span.clone(), message, "");
        }
        match actions.len() {
            1 => Some(Do {
                node,
                action: actions.remove(0),
            }),
            n => {
                let message = format!(
                    "{n} actions in one do, expected exactly one of register, deregister, announce, \
                     drop, ask, fetch, report, leave, revoke, withdraw, stop, crash"
                );
                notes.note(span, message, "");
                None
            }
        }
    }

    fn send(&mut self, table: Table<'_>) -> Option<Send> {
        let from = table.need("from").and_then(|v| self.node(&v));
        let to = table.need("to").and_then(|v| self.node(&v));
        let on = table.need("on").and_then(|v| v.word::<RefPoint>());
        let kinds = ["message", "text", "octets", "like"];
        let written = kinds
            .iter()
            .filter(|kind| table.get(kind).is_some())
            .count();
        let file = table.get("message").and_then(|v| {
            let name = v.str()?;
            let known: Vec<_> = self.world.messages.iter().map(|m| m.0.as_str()).collect();
            match self.world.messages.iter().find(|m| m.0 == name) {
                Some((_, text)) => {
                    let mut uses = self.world.uses.borrow_mut();
                    uses.messages.insert(name.to_owned());
                    drop(uses);
                    Some(self.text(&v, text))
                }
                None => {
                    v.notes.unknown("message file", name, v.span(), &known);
                    None
                }
            }
        });
        let text = table
            .get("text")
            .and_then(|v| Some(self.text(&v, v.str()?)));
        let octets = table.get("octets").and_then(|v| self.template(&v));
        let like = table.get("like").and_then(|v| self.capture(&v));
        let body = table.get("body").and_then(|v| self.template(&v));
        let start = table.get("start").and_then(|v| self.template(&v));
        let mut edits = Vec::new();
        for (key, make) in [
            ("set", Edit::Set as fn(String, Template) -> Edit),
            ("add", Edit::Add),
        ] {
            let headers = table.get(key).and_then(|v| v.table());
            for (name, _, value) in headers.iter().flat_map(|t| t.entries()) {
                edits.extend(
                    self.template(&value)
                        .map(|text| make(name.to_owned(), text)),
                );
            }
        }
        for (name, _) in table.get("remove").map(|v| v.strings()).unwrap_or_default() {
            edits.push(Edit::Remove(name.to_owned()));
        }
        edits.extend(start.map(Edit::Start));
        edits.extend(body.map(Edit::Body));
        let reply = table.get("reply").and_then(|v| self.capture(&v));
        let authorize = table.get("authorize").and_then(|v| self.authorize(&v));
        let security = table.get("security").and_then(|v| v.word());
        let certificate = table.get("certificate").and_then(|v| self.node(&v));
        let worth = table.get("worth").and_then(|v| v.word());
        let (notes, span) = (table.notes, table.span.clone());
        table.refuse_unknown();

        let text = file.or(text).flatten();
        let sources = [
            text,
            octets.map(SendSource::Octets),
            like.map(SendSource::Like),
        ];
        let mut sources: Vec<_> = sources.into_iter().flatten().collect();
        if written != 1 {
            let message =
                "what to send is not clear, expected exactly one of message, text, octets, like";
            notes.note(span, message, "");
            return None;
        }
        Some(Send {
            from: from?,
            to: to?,
            on: on?,
            source: sources.pop()?,
            edits,
            reply,
            security,
            certificate,
            worth: worth.unwrap_or(Worth::Good),
            authorize,
        })
    }

    /// Head and body of a message text, parted by its first empty line.
    fn text(&self, value: &Value<'_>, text: &str) -> Option<SendSource> {
        let text = text.trim_start_matches('\n');
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let part = |part: &str| self.template_of(value, part);
        Some(SendSource::Text {
            head: part(head.trim_end_matches('\n'))?,
            body: part(body)?,
        })
    }

    fn authorize(&self, value: &Value<'_>) -> Option<Authorize> {
        let table = value.table()?;
        let user = self.subscribers(table.need("user"));
        let challenge = table.need("challenge").and_then(|v| self.capture(&v));
        let password = table.get("password").and_then(|v| v.str());
        let count = table.get("count").and_then(|v| v.number::<u32>());
        table.refuse_unknown();
        Some(Authorize {
            user: user.into_iter().next()?,
            challenge: challenge?,
            password: password.map(str::to_owned),
            count: count.unwrap_or(1).max(1),
        })
    }

    fn expect(&mut self, table: Table<'_>) -> Option<Expect> {
        let pattern = self.pattern(&table);
        self.speaks_there(&table, &pattern);
        let within = table.get("within").map(|v| v.duration());
        let times = table.get("times").map(|v| read_times(&v));
        let after = table.get("after").and_then(|v| self.capture(&v));
        let requirement = table.get("requirement").and_then(|v| self.requirement(&v));
        let outcomes = table.get("one-of").and_then(|v| v.array());
        let outcomes = outcomes.unwrap_or_default();
        let outcomes: Vec<_> = outcomes.iter().filter_map(|v| self.outcome(v)).collect();
        let name = table.get("as").and_then(|v| {
            let name = v.str()?;
            let mut names = self.names.iter();
            if names.any(|(other, when)| other == name && !when.excludes(self.when))
                || self.nodes.contains(&name)
            {
                v.note(format!("the name \"{name}\" is taken"));
            }
            self.names.push((name.to_owned(), self.when));
            Some(name.to_owned())
        });
        table.refuse_unknown();
        Some(Expect {
            name,
            pattern,
            outcomes,
            within: within.unwrap_or(Some(WITHIN))?,
            times: times.unwrap_or(Some(Times::default()))?,
            after,
            requirement,
        })
    }

    /// Whom something is expected from can speak where it is expected; a script says anything anywhere.
    fn speaks_there(&self, table: &Table<'_>, pattern: &Pattern) {
        let Some(on) = table.get("on").filter(|_| !pattern.on.is_empty()) else {
            return;
        };
        let role = |name: &String| {
            let mut nodes = self
                .topologies
                .iter()
                .filter_map(|topology| topology.node(name));
            nodes.next().map(|node| node.role)
        };
        let own = pattern
            .from
            .iter()
            .filter(|name| !self.script.contains(name));
        for (name, role) in own.filter_map(|name| Some((name, role(name)?))) {
            let speaks = |on: &&RefPoint| on.speakers().contains(&role);
            if !pattern.on.iter().any(|on| speaks(&on)) {
                let where_to: Vec<_> = RefPoint::ALL
                    .iter()
                    .filter(speaks)
                    .map(|on| on.word())
                    .collect();
                let known = where_to.join(" or ");
                on.note(format!(
                    "\"{name}\" ({role}) never speaks there, expected {known}"
                ));
            }
        }
    }

    fn outcome(&self, value: &Value<'_>) -> Option<Outcome> {
        let table = value.table()?;
        let mut pattern = Pattern::default();
        self.layers(&table, &mut pattern);
        let source = table.get("source").and_then(|v| v.str());
        let leniency = table.get("leniency").and_then(|v| v.str());
        table.refuse_unknown();
        if pattern.fields.is_empty() {
            value.note("a lawful outcome that tests nothing, expected a layer such as sip = { … }");
        }
        match source {
            Some(source) if !source.trim().is_empty() => Some(Outcome {
                fields: pattern.fields,
                source: source.to_owned(),
                leniency: leniency.map(str::to_owned),
            }),
            _ => {
                value.note(
                    "a lawful outcome without source, expected source = \"document and clause\"",
                );
                None
            }
        }
    }

    fn never(&mut self, table: Table<'_>) -> Option<Never> {
        let pattern = self.pattern(&table);
        let after = table.get("after").and_then(|v| self.capture(&v));
        let until = table.get("until").and_then(|v| {
            let name = v.str()?;
            self.untils.push((name.to_owned(), v.span()));
            Some(name.to_owned())
        });
        let except = table.get("except").and_then(|v| v.word());
        let requirement = table.get("requirement").and_then(|v| self.requirement(&v));
        table.refuse_unknown();
        Some(Never {
            pattern,
            after,
            until,
            except,
            requirement,
        })
    }

    fn pattern(&self, table: &Table<'_>) -> Pattern {
        let parties = |key| {
            let Some(value) = table.get(key) else {
                return Vec::new();
            };
            let names: Vec<(&str, Range<usize>)> = Value::strings(&value);
            for (name, span) in &names {
                self.check_node(&value, name, span.clone());
            }
            names.into_iter().map(|(name, _)| name.to_owned()).collect()
        };
        let mut pattern = Pattern {
            from: parties("from"),
            to: parties("to"),
            on: table.get("on").map(|v| v.words()).unwrap_or_default(),
            security: table.get("security").and_then(|v| v.word()),
            fields: Vec::new(),
        };
        self.layers(table, &mut pattern);
        pattern
    }

    fn layers(&self, table: &Table<'_>, pattern: &mut Pattern) {
        for layer in Layer::ALL {
            let Some(tests) = table.get(layer.word()).and_then(|v| v.table()) else {
                continue;
            };
            for (key, span, value) in tests.entries() {
                if !layer.knows(key) {
                    let known: Vec<_> = layer
                        .fields()
                        .iter()
                        .chain(layer.headers())
                        .copied()
                        .collect();
                    table
                        .notes
                        .unknown(&format!("{layer} field"), key, span, &known);
                    continue;
                }
                if let Some(range) = layer.range(key) {
                    check_range(&value, &range);
                }
                if let Some(test) = self.test(&value) {
                    pattern.fields.push(FieldTest {
                        layer: *layer,
                        key: key.to_owned(),
                        test,
                    });
                }
            }
        }
    }

    fn test(&self, value: &Value<'_>) -> Option<Test> {
        if let Some(number) = value.as_integer() {
            return Some(Test::Number(number));
        }
        if let Some(flag) = value.as_bool() {
            return Some(Test::Is(Template::parse(&flag.to_string()).ok()?));
        }
        if value.as_str().is_some() {
            return self.template(value).map(Test::Is);
        }
        if let Some(values) = value.as_array() {
            if values.is_empty() {
                value.note("an empty list matches nothing, expected one value at least");
            }
            let one = |value: &Value<'_>| match value.as_array() {
                Some(_) => value.wrong("a value or a test, and no list within a list"),
                None => self.test(value),
            };
            return Some(Test::OneOf(values.iter().filter_map(one).collect()));
        }
        if !value.is_table() {
            return value
                .wrong("a string, a number, a list of them, or a test such as { has = … }");
        }
        self.test_table(value.table()?)
    }

    fn test_table(&self, table: Table<'_>) -> Option<Test> {
        let mut tests = Vec::new();
        if let Some(value) = table.get("matches") {
            match Regex::new(value.str()?) {
                Ok(regex) => tests.push(Test::Matches(regex)),
                Err(error) => value.note(error.to_string().replace('\n', " ")),
            }
        }
        for (key, make) in [
            ("has", Test::Has as fn(Template) -> Test),
            ("lacks", Test::Lacks),
        ] {
            let Some(value) = table.get(key) else {
                continue;
            };
            for (text, _) in value.strings() {
                tests.extend(self.template_of(&value, text).map(make));
            }
        }
        for (key, test) in [("absent", Test::Absent), ("present", Test::Present)] {
            if table.get(key).is_some_and(|v| v.said()) {
                tests.push(test);
            }
        }
        let number = |key| table.get(key).and_then(|v| v.number::<i64>());
        tests.extend(number("min").map(Test::AtLeast));
        tests.extend(number("max").map(Test::AtMost));
        let count = |key| table.get(key).and_then(|v| v.number::<u32>());
        tests.extend(count("count").map(|count| Test::Count(count as usize)));
        tests.extend(count("fewer-than").map(|count| Test::FewerThan(count as usize)));
        let templates = |key| -> Option<Vec<Template>> {
            let value: Value<'_> = table.get(key)?;
            let texts = value.strings();
            Some(
                texts
                    .iter()
                    .filter_map(|(text, _)| self.template_of(&value, text))
                    .collect(),
            )
        };
        let members = templates("exactly");
        let besides = templates("besides").unwrap_or_default();
        tests.extend(members.map(|members| Test::Exactly { members, besides }));
        let (notes, span) = (table.notes, table.span.clone());
        table.refuse_unknown();
        match tests.len() {
            0 => {
                let message = "a test that tests nothing, expected matches, has, lacks, absent, present, \
                               min, max, count, fewer-than or exactly";
                notes.note(span, message, "");
                None
            }
            1 => tests.pop(),
            _ => Some(Test::All(tests)),
        }
    }

    fn template(&self, value: &Value<'_>) -> Option<Template> {
        self.template_of(value, value.str()?)
    }

    /// A template whose places all have an owner: a node, the content, a name captured before.
    fn template_of(&self, value: &Value<'_>, text: &str) -> Option<Template> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(message) => {
                value.note(message);
                return None;
            }
        };
        for place in template.places() {
            let (owner, field) = place.split_once('.').unwrap_or((place, ""));
            self.check_place(value, owner, field);
        }
        Some(template)
    }

    fn check_place(&self, value: &Value<'_>, owner: &str, field: &str) {
        if self.names.iter().any(|(name, _)| name == owner) || owner == "fresh" || owner == "run" {
            return;
        }
        if self.nodes.contains(&owner) {
            if !NODE_FIELDS.contains(&field) {
                let kind = format!("field of node {owner}");
                value.notes.unknown(&kind, field, value.span(), NODE_FIELDS);
            }
            return;
        }
        let content = match owner {
            "content" if self.has_content => return,
            "content" => {
                value.note("${content.…} without given = { content = … }");
                return;
            }
            name => self.world.contents.get(name),
        };
        match content {
            Some(content) if field == "swarm" || content.value(field).is_some() => {
                let mut uses = self.world.uses.borrow_mut();
                uses.contents.insert(owner.to_owned());
            }
            Some(_) => value.note(format!("content \"{owner}\" has no field \"{field}\"")),
            None => {
                let mut known: Vec<&str> = self.names.iter().map(|(n, _)| n.as_str()).collect();
                known.extend(["content", "fresh"]);
                known.extend(&self.nodes);
                let kind = "name in a template";
                value.notes.unknown(kind, owner, value.span(), &known);
            }
        }
    }

    fn node(&self, value: &Value<'_>) -> Option<String> {
        let name = value.str()?;
        self.check_node(value, name, value.span());
        Some(name.to_owned())
    }

    fn check_node(&self, value: &Value<'_>, name: &str, span: Range<usize>) {
        if !self.topologies.is_empty() && !self.nodes.contains(&name) {
            value.notes.unknown("node", name, span, &self.nodes);
        }
    }

    fn content(&self, value: &Value<'_>) -> Option<String> {
        let known = self.world.contents.names();
        let name = names_among(Some(*value), "content", Some(&known)).pop()?;
        let mut uses = self.world.uses.borrow_mut();
        uses.contents.insert(name.clone());
        Some(name)
    }

    fn subscribers(&self, value: Option<Value<'_>>) -> Vec<String> {
        let known = self.world.subscribers.ids();
        let names = names_among(value, "subscriber", Some(&known));
        let mut uses = self.world.uses.borrow_mut();
        uses.subscribers.extend(names.iter().cloned());
        names
    }

    fn capture(&self, value: &Value<'_>) -> Option<String> {
        let known: Vec<_> = self.names.iter().map(|(n, _)| n.as_str()).collect();
        names_among(Some(*value), "captured message", Some(&known)).pop()
    }

    fn requirement(&self, value: &Value<'_>) -> Option<String> {
        let known: Vec<_> = self.requires.iter().map(String::as_str).collect();
        names_among(Some(*value), "requirement of this scenario", Some(&known)).pop()
    }
}

/// Refuses what a field can never hold. Regular expressions and parts of values (`has`) may ask for anything.
fn check_range(value: &Value<'_>, range: &view::Range) {
    if let Some(values) = value.as_array() {
        values.iter().for_each(|value| check_range(value, range));
    } else if value.is_table() {
        let table = value.table();
        let within = |key| table.as_ref().and_then(|table| table.get(key));
        for value in ["min", "max", "exactly"].into_iter().filter_map(within) {
            check_range(&value, range);
        }
    } else if value.as_str().is_none_or(|text| !text.contains("${")) {
        check_in_range(value, range);
    }
}

fn check_in_range(value: &Value<'_>, range: &view::Range) {
    match *range {
        view::Range::Words(kind, known) => {
            let Some(text) = value.as_str() else {
                return value.note(format!("no {kind}, expected one of {}", known.join(", ")));
            };
            // Several values are joined by ", ".
            if let Some(text) = text.split(", ").find(|word| !known.contains(word)) {
                let message = format!(
                    "unknown {kind} \"{text}\", expected one of {}, or {{ matches = … }} for one that \
                     is unknown on purpose",
                    known.join(", ")
                );
                let hint = did_you_mean(text, known.iter().copied());
                value.notes.note(value.span(), message, hint);
            }
        }
        view::Range::Numbers(kind, least, most) => {
            let written = value.as_integer().map(|number| number.to_string());
            let written = written.or_else(|| value.as_str().map(str::to_owned));
            let number = written.as_ref().and_then(|text| text.parse().ok());
            let fits = number.is_some_and(|number: i64| (least..=most).contains(&number));
            match written {
                _ if fits => {}
                Some(text) => value.note(format!(
                    "found {text}, expected {kind} from {least} to {most}"
                )),
                None => value.note(format!("expected {kind} from {least} to {most}")),
            }
        }
    }
}

/// Refuses a scenario that can be met without anything being seen.
fn check_purpose(value: &Value<'_>, scenario: &Arc<Scenario>) {
    let must = |step: &&Step| matches!(&step.verb, Verb::Expect(expect) if expect.times.min > 0);
    let instances = Instance::of(scenario, 0);
    let empty = instances
        .iter()
        .find(|instance| !instance.own_steps().any(|step| must(&step)));
    if let (Some(instance), None) = (empty, &scenario.given.assembles) {
        value.note(format!(
            "no step of {} has to be met, so that it can prove nothing, expected an expect step \
             with times of 1 at least, or given = {{ assembles = … }}",
            instance.path()
        ));
    }
}

/// The names in all of the topologies.
fn nodes_of<'a>(topologies: &[&'a Topology]) -> Vec<&'a str> {
    let Some((first, others)) = topologies.split_first() else {
        return Vec::new();
    };
    let mut names = first.names();
    names.retain(|name| others.iter().all(|other| other.node(name).is_some()));
    names
}

fn topology_name(world: &World<'_>, value: &Value<'_>) -> Option<String> {
    let known: Vec<_> = world.topologies.iter().map(|t| t.name.as_str()).collect();
    names_among(Some(*value), "topology", Some(&known)).pop()
}

/// `{ on = "Gm", lose = 0.2 }`.
fn read_fault(value: &Value<'_>) -> Option<BadNetwork> {
    let table = value.table()?;
    let share = |key: &'static str| table.get(key).and_then(|v| v.share()).unwrap_or_default();
    let time = |key: &'static str| {
        table
            .get(key)
            .and_then(|v| v.duration())
            .unwrap_or_default()
    };
    let octets = |key: &'static str| table.get(key).and_then(|v| v.number::<usize>());
    let fault = BadNetwork {
        on: table.get("on").and_then(|v| v.word()),
        lose: share("lose"),
        duplicate: share("duplicate"),
        reorder: share("reorder"),
        corrupt: share("corrupt"),
        delay: time("delay"),
        split: octets("split"),
        cut_after: octets("cut-after"),
        stall: time("stall"),
    };
    table.refuse_unknown();
    Some(fault)
}

/// The names in a value; those not among `known` are noted and left out.
fn names_among(value: Option<Value<'_>>, kind: &str, known: Option<&[&str]>) -> Vec<String> {
    let Some(value) = value else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for (name, span) in value.strings() {
        match known {
            Some(known) if !known.contains(&name) => value.notes.unknown(kind, name, span, known),
            _ => names.push(name.to_owned()),
        }
    }
    names
}

/// `{ track = 1.1 }`: so many times that timer, from 0 to 100.
fn timers_of(value: &Value<'_>) -> Option<(Timer, f64)> {
    let table = value.table()?;
    let named: Vec<(Timer, Value<'_>)> = Timer::ALL
        .iter()
        .filter_map(|timer| Some((*timer, table.get(timer.word())?)))
        .collect();
    table.refuse_unknown();
    let [(timer, factor)] = named[..] else {
        let words: Vec<&str> = Timer::ALL.iter().map(|timer| timer.word()).collect();
        value.note(format!(
            "found {} timers, expected exactly one of {}",
            named.len(),
            words.join(", ")
        ));
        return None;
    };
    Some((timer, factor.factor()?))
}

/// A scenario's name: a fact in kebab case.
fn fact<'a>(value: &Value<'a>) -> Option<&'a str> {
    let name = value.str()?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let kebab = name.chars().all(fits) && !name.starts_with('-') && !name.ends_with('-');
    match kebab && !name.is_empty() {
        true => Some(name),
        false => value.wrong("a fact in kebab case, as in asks-through-the-p-cscf"),
    }
}

/// `{ peer-list = "ut", request = …, status = … }`; a step's `when` may also name architecture, delivery.
fn read_pins(table: Table<'_>, only_options: bool) -> When {
    let mut when = When {
        pins: Pins {
            peer_list: table.get("peer-list").and_then(|v| v.word::<Path>()),
            request: table.get("request").and_then(|v| v.word::<RequestPath>()),
            status: table.get("status").and_then(|v| v.word::<Path>()),
        },
        ..When::default()
    };
    if !only_options {
        when.architecture = table.get("architecture").and_then(|v| v.word());
        when.delivery = table.get("delivery").and_then(|v| v.word());
    }
    table.refuse_unknown();
    when
}

fn read_over(value: &Value<'_>, pins: Pins) -> Vec<Choice> {
    let mut over = Vec::new();
    for (word, span) in value.strings() {
        match Choice::ALL.into_iter().find(|choice| choice.word() == word) {
            Some(choice) if pins.has(choice) => {
                let message = format!("\"{word}\" is pinned and cannot be varied");
                value.notes.note(span, message, "");
            }
            Some(choice) => over.push(choice),
            None => {
                let known = Choice::ALL.map(Choice::word);
                value.notes.unknown("option", word, span, &known);
            }
        }
    }
    over
}

/// `3`, or `{ min = 1, max = 2 }`.
fn read_times(value: &Value<'_>) -> Option<Times> {
    if !value.is_table() {
        let times = value.number::<u32>()? as usize;
        return Some(Times {
            min: times,
            max: Some(times),
        });
    }
    let table = value.table()?;
    let min = table.get("min").and_then(|v| v.number::<u32>());
    let max = table.get("max").and_then(|v| v.number::<u32>());
    table.refuse_unknown();
    Some(Times {
        min: min.unwrap_or(0) as usize,
        max: max.map(|max| max as usize),
    })
}

fn line_of(value: &Value<'_>) -> usize {
    value.notes.source.place(value.span().start).0
}

/// What a template may ask of a node.
pub(crate) const NODE_FIELDS: &[&str] = &[
    "ip",
    "ip-in-uri",
    "ip-type",
    "ip-version",
    "host",
    "impu",
    "impi",
    "user",
    "password",
    "msrp",
    "http",
    "data",
    "gm",
    "mw",
    "isc",
    "cx",
    "ut",
    "dedicated",
    "cdn",
];

/// How long an expectation waits unless it says otherwise.
const WITHIN: Duration = Duration::from_secs(5);

/// How long a scenario may take unless it says otherwise.
const LIMIT: Duration = Duration::from_secs(60);
