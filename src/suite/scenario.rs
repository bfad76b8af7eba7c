//! A scenario: what is given, what is stimulated, what ought to be seen. Plain data; nothing here can be
//! wrong any more, as the reader refused what was.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    pattern::{FieldTest, Pattern, Protection},
    template::Template,
    timers::Timer,
    topology::Topology,
};
use crate::{
    io::Action,
    spec::{
        Architecture, Clause, Delivery, Feature, Options, Path, RefPoint, RequestPath, Strength,
        Worth, words,
    },
};

/// One scenario, before it is multiplied by configurations.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// `registered/step-3-piece-request/asks-through-the-p-cscf`.
    pub id: String,
    /// The part after the last slash: a fact about the system under test.
    pub name: String,
    /// Where it is true; a scenario of `common` may name both.
    pub architectures: Vec<Architecture>,
    /// The section of the text its file stands for.
    pub section: String,
    pub clause: Clause,
    /// The topology it is played in; the architecture's own if none is named.
    pub topology: Option<String>,
    /// One sentence.
    pub purpose: String,
    /// Rows of the ledger.
    pub requires: Vec<String>,
    /// That of its strongest requirement.
    pub level: Strength,
    pub pins: Pins,
    pub delivery: Option<Delivery>,
    /// The options it is repeated over.
    pub over: Vec<Choice>,
    pub given: Given,
    /// What an implementation has to claim to be tested by it.
    pub needs: Vec<Feature>,
    /// Deviations that must make it fail.
    pub kills: Vec<String>,
    pub tags: Vec<String>,
    /// The run ends here whatever happens.
    pub limit: Duration,
    /// Judge's checks beyond the steps.
    pub checks: Vec<String>,
    pub steps: Vec<Step>,
    /// Where it is written.
    pub file: String,
    pub line: usize,
}

/// What is ready before the first step.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The content that `${content.…}` stands for.
    pub content: Option<String>,
    /// Who has registered; `None`: everybody who registers in this topology.
    pub registered: Option<Vec<String>>,
    /// Who has told the tracker what it holds; `None`: every holder the tracker is to know.
    pub announced: Option<Vec<String>>,
    /// Reference nodes that decide canonically whatever the seed: what they may lawfully do otherwise would leave
    /// nothing to see of what is tested.
    pub canonical: Vec<String>,
    /// Nodes that do only what the steps say.
    pub script: Vec<String>,
    /// References that break one rule, to see what the others do: node and deviation.
    pub deviant: BTreeMap<String, String>,
    /// Holdings that differ from the topology's: node, content, pieces.
    pub holds: BTreeMap<String, Vec<(String, Vec<u32>)>>,
    /// What the network does to what travels.
    pub faults: Vec<BadNetwork>,
    /// Who has the whole content in the end, as read from Data frames.
    pub assembles: Option<String>,
    /// Nodes that play another subscriber than the topology's: node, subscriber.
    pub users: BTreeMap<String, String>,
    /// Servers whose certificate is not good: node, what it is worth.
    pub certificates: BTreeMap<String, Worth>,
}

/// What the network does on one reference point. Shares go from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BadNetwork {
    /// Everywhere, if none.
    pub on: Option<RefPoint>,
    pub lose: f64,
    pub duplicate: f64,
    pub reorder: f64,
    pub corrupt: f64,
    pub delay: Duration,
    /// Octets at once on a stream.
    pub split: Option<usize>,
    /// Octets after which a stream breaks.
    pub cut_after: Option<usize>,
    pub stall: Duration,
}

/// One of the three choices the text leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Choice {
    PeerList,
    Request,
    Status,
}

impl Choice {
    pub const ALL: [Choice; 3] = [Choice::PeerList, Choice::Request, Choice::Status];

    /// As in files and flags.
    pub const fn word(self) -> &'static str {
        match self {
            Choice::PeerList => "peer-list",
            Choice::Request => "request",
            Choice::Status => "status",
        }
    }
}

/// Choices made; what is `None` is left open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    pub peer_list: Option<Path>,
    pub request: Option<RequestPath>,
    pub status: Option<Path>,
}

impl Pins {
    /// Whether `options` has every choice made here.
    pub fn allow(self, options: Options) -> bool {
        self.peer_list.is_none_or(|path| path == options.peer_list)
            && self.request.is_none_or(|path| path == options.request)
            && self.status.is_none_or(|path| path == options.status)
    }

    /// Whether `choice` is made.
    pub fn has(self, choice: Choice) -> bool {
        match choice {
            Choice::PeerList => self.peer_list.is_some(),
            Choice::Request => self.request.is_some(),
            Choice::Status => self.status.is_some(),
        }
    }
}

/// In which instances a step stands. Decided when the scenario is multiplied, never during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    pub pins: Pins,
    pub architecture: Option<Architecture>,
    pub delivery: Option<Delivery>,
}

impl When {
    /// Whether no instance has steps of both.
    pub fn excludes(self, other: When) -> bool {
        fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.is_some() && other.is_some() && one != other
        }
        differ(self.pins.peer_list, other.pins.peer_list)
            || differ(self.pins.request, other.pins.request)
            || differ(self.pins.status, other.pins.status)
            || differ(self.architecture, other.architecture)
            || differ(self.delivery, other.delivery)
    }
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    pub verb: Verb,
    pub when: When,
    /// Part of what is given rather than of what is tested.
    pub setup: bool,
    /// A wait that is so many times a timer of whoever is under test.
    pub timers: Option<(Timer, f64)>,
    /// The line of its file; 0 for what is given.
    pub line: usize,
}

/// The five verbs.
#[derive(Clone, Debug)]
pub enum Verb {
    Do(Do),
    Send(Send),
    Expect(Expect),
    Never(Never),
    Wait(Duration),
}

/// Makes a node do something of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Do {
    pub node: String,
    pub action: Action,
}

/// Sends a message that no node would think of, from a node's address.
#[derive(Clone, Debug)]
pub struct Send {
    pub from: String,
    pub to: String,
    pub on: RefPoint,
    pub source: SendSource,
    pub edits: Vec<Edit>,
    /// Goes back on the connection that this captured message came on, instead of one of its own.
    pub reply: Option<String>,
    /// Goes to the listener that is so protected; without it, to the first.
    pub security: Option<Protection>,
    /// Shows the certificate of this node instead of the sender's own.
    pub certificate: Option<String>,
    /// What the certificate shown is worth.
    pub worth: Worth,
    /// Credentials for a challenge captured before.
    pub authorize: Option<Authorize>,
}

/// What a message to send is made from.
#[derive(Clone, Debug)]
pub enum SendSource {
    /// Head and body as text; line ends and a missing Content-Length are supplied.
    Text { head: Template, body: Template },
    /// Octets as written, `\r`, `\n` and `\xNN` being escapes.
    Octets(Template),
    /// A message captured before, octet for octet until it is edited.
    Like(String),
}

/// One change to a message to send.
#[derive(Clone, Debug)]
pub enum Edit {
    /// All headers of that name become this one.
    Set(String, Template),
    /// One more header.
    Add(String, Template),
    Remove(String),
    /// Another body; Content-Length follows.
    Body(Template),
    /// Another start line.
    Start(Template),
}

/// Digest credentials (RFC 7616; RFC 3261 22) for the challenge in a captured response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorize {
    pub user: String,
    /// The captured response with the challenge.
    pub challenge: String,
    /// Another password than the subscriber's.
    pub password: Option<String>,
    /// The nonce count, from 1.
    pub count: u32,
}

/// A message that ought to be seen.
#[derive(Clone, Debug)]
pub struct Expect {
    /// Under which name it is captured.
    pub name: Option<String>,
    pub pattern: Pattern,
    /// Lawful outcomes beyond the pattern; empty if it says all.
    pub outcomes: Vec<Outcome>,
    /// From the stimulus (or the step named in `after`) on.
    pub within: Duration,
    pub times: Times,
    /// Only events after this captured message count.
    pub after: Option<String>,
    /// The requirement it proves, if not the scenario's first that fits.
    pub requirement: Option<String>,
}

/// One of several lawful outcomes.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub fields: Vec<FieldTest>,
    /// Who allows it.
    pub source: String,
    /// What a verdict prints when it is this one.
    pub leniency: Option<String>,
}

/// A message that must not be seen.
#[derive(Clone, Debug)]
pub struct Never {
    pub pattern: Pattern,
    /// Covers only from this captured message on.
    pub after: Option<String>,
    /// Covers only until this captured message.
    pub until: Option<String>,
    pub except: Option<Except>,
    pub requirement: Option<String>,
}

words! {
    /// What a prohibition leaves out.
    Except, "exception", {
        /// Messages that meet an expectation.
        Expected = "expected",
    }
}

/// How often; more than `max` breaks the expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub min: usize,
    pub max: Option<usize>,
}

impl Default for Times {
    /// Once at least; what comes beyond is nobody's business.
    fn default() -> Times {
        Times { min: 1, max: None }
    }
}

impl Scenario {
    /// One that asks for nothing and checks nothing.
    pub(super) fn bare(topology: &Topology) -> Scenario {
        let architecture = topology.architecture;
        Scenario {
            id: format!("{architecture}/node/stands-by-itself"),
            name: "stands-by-itself".to_owned(),
            architectures: vec![architecture],
            section: String::new(),
            clause: Clause {
                document: "peerproof".to_owned(),
                number: String::new(),
                place: String::new(),
            },
            topology: Some(topology.name.clone()),
            purpose: String::new(),
            requires: Vec::new(),
            level: Strength::Info,
            pins: Pins::default(),
            delivery: None,
            over: Choice::ALL.to_vec(),
            given: Given::default(),
            needs: Vec::new(),
            kills: Vec::new(),
            tags: Vec::new(),
            limit: Duration::ZERO,
            checks: Vec::new(),
            steps: Vec::new(),
            file: String::new(),
            line: 0,
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (1, None) => Ok(()),
            (1, Some(1)) => f.write_str("once"),
            (min, Some(max)) if min == max => write!(f, "{min} times"),
            (min, Some(max)) => write!(f, "{min} to {max} times"),
            (min, None) => write!(f, "{min} times or more"),
        }
    }
}

impl Send {
    /// Whether it decides what protects its link.
    fn is_about_links(&self) -> bool {
        self.security.is_some() || self.certificate.is_some() || self.worth != Worth::Good
    }
}

impl Scenario {
    /// Whether a step looks at what protects a link, or decides it.
    pub fn is_about_links(&self) -> bool {
        let looks = |step: &Step| match &step.verb {
            Verb::Send(send) => send.is_about_links(),
            Verb::Expect(expect) => expect.pattern.security.is_some(),
            Verb::Never(never) => never.pattern.security.is_some(),
            Verb::Do(_) | Verb::Wait(_) => false,
        };
        !self.given.certificates.is_empty() || self.steps.iter().any(looks)
    }
}

impl Step {
    /// The name it is known by to later steps.
    pub fn name(&self) -> Option<&str> {
        match &self.verb {
            Verb::Expect(expect) => expect.name.as_deref(),
            _ => None,
        }
    }

    /// Whether the run has to do something for it.
    pub fn is_stimulus(&self) -> bool {
        matches!(self.verb, Verb::Do(_) | Verb::Send(_) | Verb::Wait(_))
    }
}

impl fmt::Display for Step {
    /// In plain words: `ue-a → p-cscf on Gm: INVITE within 2 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verb {
            Verb::Do(step) => write!(f, "{} is told to {}", step.node, action_words(&step.action)),
            Verb::Send(send) => write!(
                f,
                "{} → {} on {}: a message of the scenario's own",
                send.from, send.to, send.on
            ),
            Verb::Expect(expect) => {
                write!(f, "{}", expect.pattern)?;
                let outcomes: Vec<_> = expect.outcomes.iter().map(Outcome::to_string).collect();
                if !outcomes.is_empty() {
                    write!(f, ", with {}", outcomes.join(", or "))?;
                }
                if expect.times != Times::default() {
                    write!(f, ", {}", expect.times)?;
                }
                write!(f, " within {}", seconds(expect.within))
            }
            Verb::Never(never) => {
                write!(f, "never {}", never.pattern)?;
                match never.except {
                    Some(Except::Expected) => f.write_str(", except what is expected"),
                    None => Ok(()),
                }
            }
            Verb::Wait(time) => write!(f, "{} pass", seconds(*time)),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tests: Vec<_> = self.fields.iter().map(FieldTest::words).collect();
        f.write_str(&tests.join(" and "))
    }
}

/// `2 s`, `250 ms`.
pub fn seconds(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{} s", time.as_secs()),
        _ => format!("{} ms", time.as_millis()),
    }
}

fn action_words(action: &Action) -> String {
    let numbers = |pieces: &[u32]| {
        let pieces: Vec<_> = pieces.iter().map(u32::to_string).collect();
        pieces.join(", ")
    };
    match action {
        Action::Register => "register".into(),
        Action::Deregister => "deregister".into(),
        Action::Announce { content, pieces } => {
            format!("announce pieces {} of {content}", numbers(pieces))
        }
        Action::Drop { content, pieces } => {
            format!("drop pieces {} of {content}", numbers(pieces))
        }
        Action::Ask { content } => format!("ask for peers of {content}"),
        Action::Fetch { content, .. } => format!("fetch {content}"),
        Action::Report { content } => format!("report its status of {content}"),
        Action::Leave { content } => format!("leave {content}"),
        Action::Stop => "go silent".into(),
        Action::Crash => "crash".into(),
        Action::Revoke { user } => format!("take the service from {user}"),
        Action::Withdraw { user } => format!("end the registration of {user}"),
    }
}
