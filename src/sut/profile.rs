//! A profile: what an implementation claims to do (its conformance statement, PICS), the values it is
//! configured with (PIXIT), and the failures known of it, with reasons. Nothing is inferred: what is not
//! claimed is not tested, and a waiver that is not needed any more is told.

use std::{collections::BTreeMap, fs, path::Path as FilePath, sync::Arc, time::Duration};

use wildmatch::WildMatch;

use super::guest::{Guest, Way};
use crate::{
    node::policy::Policy,
    spec::{Architecture, Delivery, Feature, Options, Path, RefPoint, RequestPath, Role},
    suite::{
        Choice, Diagnostics, Instance, Node, Scenario, Source, Suite, Timer, Topology,
        document::{Table, Value, read_file},
    },
};

/// What is said of a system under test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// As reports call it: `Acme tracker 2.1`.
    pub name: String,
    /// The roles it plays.
    pub roles: Vec<Role>,
    pub architectures: Vec<Architecture>,
    /// Values of the three open points; `None`: nothing declared, so what is seen is told and fails nobody.
    pub peer_list: Option<Vec<Path>>,
    pub request: Option<Vec<RequestPath>>,
    pub status: Option<Vec<Path>>,
    /// What its Controller does with data, in `unregistered`, or what its servers can be used for; of a server
    /// none said is all.
    pub delivery: Vec<Delivery>,
    pub features: Vec<Feature>,
    /// Times it is configured with.
    pub timers: BTreeMap<Timer, Duration>,
    pub limits: Limits,
    /// Names of what it asks to be forgiven.
    pub leniencies: Vec<String>,
    pub waivers: Vec<Waiver>,
    /// Programs in the place of nodes; none: reference nodes play its roles.
    pub guests: Vec<Guest>,
}

/// Numbers it is configured with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The transfers that a holder carries at a time.
    pub transfers: Option<usize>,
}

/// A known failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// A glob over scenarios, or an instance's path.
    pub scenario: String,
    /// Why it fails, and what that rests on.
    pub reason: String,
}

/// How an instance stands before it is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is played, and its verdict counts.
    Judged,
    /// It rests on an open point of which the profile says nothing: it is played, and what is seen is told.
    Told(String),
    /// The profile does not claim what it needs.
    Unsupported(String),
    /// It tests nobody who is under test.
    NotApplicable(String),
}

/// The shortest and the longest timer that is believed.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(86_400);

impl Profile {
    /// Reads a profile file; all its mistakes come at once.
    pub fn read(path: &FilePath, suite: &Suite) -> std::io::Result<Result<Profile, Diagnostics>> {
        let text = fs::read_to_string(path)?;
        Ok(Profile::parse(&path.display().to_string(), &text, suite))
    }

    /// The same from a text; `path` stands in mistakes.
    pub fn parse(path: &str, text: &str, suite: &Suite) -> Result<Profile, Diagnostics> {
        let tables = text.parse::<toml::Table>().unwrap_or_default();
        if tables.contains_key("scenario") {
            let mut found = Diagnostics::default();
            let why = "found a file of scenarios, expected a profile of a system under test";
            let hint = "scenarios are checked as a directory: --suites DIR";
            found.push(&Source::new(path, text), 0..0, why, hint);
            return Err(found);
        }
        read_file(path, text, |root| Profile::from_table(root, suite))
    }

    fn from_table(root: Table<'_>, suite: &Suite) -> Profile {
        let mut profile = Profile::default();
        if let Some(name) = root.need("name").and_then(|v| v.str()) {
            profile.name = name.to_owned();
        }
        if let Some(roles) = root.need("roles") {
            profile.roles = roles.words();
            if profile.roles.is_empty() {
                roles.note("found no role, expected those it plays");
            }
        }
        if let Some(claims) = root.need("claims").and_then(|v| v.table()) {
            profile.claims(claims);
        }
        if let Some(timers) = root.get("timers").and_then(|v| v.table()) {
            for timer in Timer::ALL {
                let Some(value) = timers.get(timer.word()) else {
                    continue;
                };
                let Some(time) = value.duration() else {
                    continue;
                };
                if (SHORTEST..=LONGEST).contains(&time) {
                    profile.timers.insert(*timer, time);
                } else {
                    value.note(format!(
                        "found a {timer} timer beyond reason, expected from 1 s to a day"
                    ));
                }
            }
            timers.refuse_unknown();
        }
        if let Some(limits) = root.get("limits").and_then(|v| v.table()) {
            profile.limits.transfers = limits.get("transfers").and_then(|v| v.number());
            limits.refuse_unknown();
        }
        if let Some(leniencies) = root.get("leniencies") {
            let known = suite.leniencies();
            for (name, span) in leniencies.strings() {
                if !known.contains(&name) {
                    leniencies.notes.unknown("leniency", name, span, &known);
                }
                profile.leniencies.push(name.to_owned());
            }
        }
        let waivers = root.get("waiver").and_then(|v| v.array());
        profile.waivers = waivers
            .iter()
            .flatten()
            .filter_map(|value| known_failure(value, suite))
            .collect();
        let guests = root.get("guest").and_then(|v| v.array());
        profile.guests = guests
            .iter()
            .flatten()
            .filter_map(|value| Guest::read(value, suite))
            .collect();
        root.refuse_unknown();
        profile
    }

    /// A profile that claims everything, for guests that come without one.
    pub fn of_guests(guests: Vec<Guest>, suite: &Suite) -> Profile {
        let names: Vec<&str> = guests.iter().map(|guest| guest.name.as_str()).collect();
        let mut profile = Profile {
            name: names.join(" and "),
            architectures: Architecture::ALL.to_vec(),
            peer_list: Some(Path::ALL.to_vec()),
            request: Some(RequestPath::ALL.to_vec()),
            status: Some(Path::ALL.to_vec()),
            delivery: Delivery::ALL.to_vec(),
            features: Feature::ALL.to_vec(),
            leniencies: suite
                .leniencies()
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            ..Profile::default()
        };
        guests.into_iter().for_each(|guest| profile.add(guest));
        profile
    }

    /// What scenarios that test these roles need somebody to claim.
    pub fn worth_claiming(roles: &[Role], suite: &Suite) -> Vec<Feature> {
        let profile = Profile {
            roles: roles.to_vec(),
            ..Profile::default()
        };
        let instances = suite.scenarios.iter().flat_map(|s| Instance::of(s, 0));
        let needed: Vec<Feature> = instances
            .filter(|instance| profile.tests(suite, instance))
            .flat_map(|instance| needs(suite, &instance))
            .collect();
        let all = Feature::ALL.iter().copied();
        all.filter(|feature| needed.contains(feature)).collect()
    }

    /// One more guest; its roles are under test.
    pub fn add(&mut self, guest: Guest) {
        for role in &guest.roles {
            if !self.roles.contains(role) {
                self.roles.push(*role);
            }
        }
        self.guests.push(guest);
    }

    fn claims(&mut self, claims: Table<'_>) {
        if let Some(architectures) = claims.need("architectures") {
            self.architectures = architectures.words();
        }
        self.peer_list = claims.get("peer-list").map(|v| v.words());
        self.request = claims.get("request").map(|v| v.words());
        self.status = claims.get("status").map(|v| v.words());
        self.delivery = claims
            .get("delivery")
            .map(|v| v.words())
            .unwrap_or_default();
        self.features = claims
            .get("features")
            .map(|v| v.words())
            .unwrap_or_default();
        claims.refuse_unknown();
    }

    /// How an instance stands.
    pub fn standing(&self, suite: &Suite, instance: &Instance) -> Standing {
        if !self.tests(suite, instance) {
            let roles: Vec<_> = self.roles.iter().map(|role| role.word()).collect();
            return Standing::NotApplicable(format!("tests no {}", roles.join(", no ")));
        }
        if let Some(why) = self.unmovable(instance) {
            return Standing::NotApplicable(why);
        }
        if let Some(why) = self.unclaimed(suite, instance) {
            return Standing::Unsupported(why);
        }
        match self.undeclared(instance) {
            Some(choice) => Standing::Told(format!(
                "the text leaves {} open and {} declares nothing of it",
                choice.word(),
                self.name
            )),
            None => Standing::Judged,
        }
    }

    /// Whether a row that the instance proves binds a role of ours, and somebody plays it. Where a guest plays one
    /// of several nodes of its role, that is the one the steps have to be about.
    fn tests(&self, suite: &Suite, instance: &Instance) -> bool {
        let is_bound = instance.scenario.requires.iter().any(|id| {
            let row = suite.ledger.get(id);
            row.is_some_and(|row| self.roles.contains(&row.requirement.role))
        });
        is_bound
            && instance.topology(suite).is_some_and(|topology| {
                topology.nodes.iter().any(|node| {
                    let name = node.name.as_str();
                    let is_played = self.roles.contains(&node.role) && !instance.replaces(name);
                    is_played
                        && (self.guests.is_empty()
                            || self.is_tested_guest(instance, topology, node))
                })
            })
    }

    fn is_tested_guest(&self, instance: &Instance, topology: &Topology, node: &Node) -> bool {
        let name = node.name.as_str();
        let is_guest = self.guests.iter().any(|guest| guest.plays(name));
        let is_only = topology
            .nodes
            .iter()
            .filter(|n| n.role == node.role)
            .count()
            == 1;
        is_guest && !instance.speaks_for(name) && (is_only || instance.names(name))
    }

    /// Which guest is in the way of whom the instance has in its place: one that runs already, or that plays other
    /// nodes besides.
    fn unmovable(&self, instance: &Instance) -> Option<String> {
        self.guests.iter().find_map(|guest| {
            let replaced = guest.nodes.iter().find(|n| instance.replaces(n.as_str()))?;
            let stays = matches!(guest.way, Way::Address { .. }) || guest.nodes.len() > 1;
            stays.then(|| format!("it has somebody else in the place of {replaced}"))
        })
    }

    /// What the instance needs and is not claimed.
    fn unclaimed(&self, suite: &Suite, instance: &Instance) -> Option<String> {
        let options = instance.options;
        let not =
            |what: &str, word: &str| Some(format!("{} does not claim {what} {word}", self.name));
        if !self.architectures.contains(&instance.architecture) {
            return not("architecture", instance.architecture.word());
        }
        if let Some(claimed) = &self.peer_list
            && !claimed.contains(&options.peer_list)
        {
            return not("peer-list =", options.peer_list.word());
        }
        if let Some(claimed) = &self.request
            && !claimed.contains(&options.request)
        {
            return not("request =", options.request.word());
        }
        if let Some(claimed) = &self.status
            && !claimed.contains(&options.status)
        {
            return not("status =", options.status.word());
        }
        if self.delivers(instance) && !self.delivery.contains(&instance.delivery) {
            return not("delivery", instance.delivery.word());
        }
        let lacking = needs(suite, instance)
            .into_iter()
            .find(|feature| !self.features.contains(feature));
        lacking.and_then(|feature| not("feature", feature.word()))
    }

    /// Whether what becomes of the data is for this system to say: for its Controller, or for a server that says what
    /// it can give data by.
    fn delivers(&self, instance: &Instance) -> bool {
        let has = |role| self.roles.contains(&role);
        let is_server = has(Role::EdgeServer) || has(Role::OriginServer);
        instance.architecture == Architecture::Unregistered
            && (has(Role::Controller) || is_server && !self.delivery.is_empty())
    }

    /// The first open point that the instance depends on and the profile declares nothing of.
    fn undeclared(&self, instance: &Instance) -> Option<Choice> {
        Choice::ALL.into_iter().find(|choice| {
            let is_declared = match choice {
                Choice::PeerList => self.peer_list.is_some(),
                Choice::Request => self.request.is_some(),
                Choice::Status => self.status.is_some(),
            };
            let scenario = &instance.scenario;
            !is_declared && (scenario.pins.has(*choice) || scenario.over.contains(choice))
        })
    }

    /// How a reference node decides that stands in for this system.
    pub fn configure(&self, policy: Policy) -> Policy {
        let mut policy = self.keep_time(policy);
        if let Some(transfers) = self.limits.transfers {
            policy.serving.most_transfers = transfers;
        }
        policy
    }

    /// How one decides that this system meets: steps wait for its timers, also where the node is ours that keeps them.
    pub fn keep_time(&self, mut policy: Policy) -> Policy {
        if let Some(track) = self.timers.get(&Timer::Track) {
            policy.tracker.track_timeout = u32::try_from(track.as_secs()).unwrap_or(u32::MAX);
        }
        if let Some(token) = self.timers.get(&Timer::Token) {
            policy.controller.token_lifetime = token.as_secs();
        }
        policy
    }

    /// The instance as it is played for this system: where a scenario leaves the delivery open, one that is
    /// claimed.
    pub fn adapted(&self, instance: &Instance) -> Instance {
        let mut adapted = instance.clone();
        let is_open = instance.scenario.delivery.is_none()
            && self.delivers(instance)
            && !self.delivery.contains(&instance.delivery);
        let lawful: &[Delivery] = match instance.options.request {
            RequestPath::Ims => &[Delivery::Delegate, Delivery::Relay],
            RequestPath::Direct => &[Delivery::Redirect, Delivery::Relay],
        };
        let claimed = lawful.iter().find(|way| self.delivery.contains(way));
        if let Some(claimed) = claimed.filter(|_| is_open) {
            adapted.delivery = *claimed;
        }
        adapted.options = self.chosen(instance);
        adapted
    }

    /// The options of an instance; where its scenario neither pins nor varies one, a value that is claimed.
    fn chosen(&self, instance: &Instance) -> Options {
        fn claimed<T: Copy + PartialEq>(is_open: bool, value: T, claimed: &Option<Vec<T>>) -> T {
            let claimed = claimed.as_deref().unwrap_or_default();
            match claimed.first() {
                Some(first) if is_open && !claimed.contains(&value) => *first,
                _ => value,
            }
        }
        let scenario = &instance.scenario;
        let is_open =
            |choice: Choice| !scenario.pins.has(choice) && !scenario.over.contains(&choice);
        let options = instance.options;
        Options {
            peer_list: claimed(
                is_open(Choice::PeerList),
                options.peer_list,
                &self.peer_list,
            ),
            request: claimed(is_open(Choice::Request), options.request, &self.request),
            status: claimed(is_open(Choice::Status), options.status, &self.status),
        }
    }

    /// The waiver that names an instance.
    pub fn waiver(&self, instance: &Instance) -> Option<&Waiver> {
        let path = instance.path();
        self.waivers.iter().find(|waiver| {
            let glob = WildMatch::new(&waiver.scenario);
            glob.matches(&instance.scenario.id) || glob.matches(&path)
        })
    }

    /// What was forgiven although the profile does not ask for it.
    pub fn unasked(&self, leniencies: &[String]) -> Vec<String> {
        let names = leniencies.iter();
        names
            .filter(|name| !self.leniencies.contains(name))
            .cloned()
            .collect()
    }
}

/// The features an instance needs: those its scenario names, UDP where its topology has it, and TLS where it looks at
/// what protects links.
fn needs(suite: &Suite, instance: &Instance) -> Vec<Feature> {
    let mut needs = instance.scenario.needs.clone();
    let is_udp = instance
        .topology(suite)
        .is_some_and(|topology| topology.speaks_udp(RefPoint::Gm));
    for (is_needed, feature) in [
        (is_udp, Feature::Udp),
        (instance.scenario.is_about_links(), Feature::Tls),
    ] {
        if is_needed && !needs.contains(&feature) {
            needs.push(feature);
        }
    }
    needs
}

/// Whether a glob names a scenario or one of its instances.
fn names(glob: &str, scenario: &Arc<Scenario>) -> bool {
    let glob = WildMatch::new(glob);
    let paths = Instance::of(scenario, 0).into_iter();
    glob.matches(&scenario.id) || paths.map(|i| i.path()).any(|path| glob.matches(&path))
}

fn known_failure(value: &Value<'_>, suite: &Suite) -> Option<Waiver> {
    let table = value.table()?;
    let place = table.need("scenario");
    let scenario = place.and_then(|v| v.str());
    if let Some((place, glob)) = place.zip(scenario)
        && !suite.scenarios.iter().any(|s| names(glob, s))
    {
        let known: Vec<&str> = suite.scenarios.iter().map(|s| s.id.as_str()).collect();
        place.notes.unknown("scenario", glob, place.span(), &known);
    }
    let reason = table.need("reason");
    if let Some(reason) = &reason
        && reason.as_str().is_some_and(|text| text.trim().is_empty())
    {
        reason.note("found no reason, expected why it fails");
    }
    let reason = reason.and_then(|v| v.str());
    table.refuse_unknown();
    Some(Waiver {
        scenario: scenario?.to_owned(),
        reason: reason?.to_owned(),
    })
}
