//! What a message has to look like: who sends it to whom, where, and a test for each field named. A
//! pattern says in plain words what it expects and what was found instead.

use std::fmt;

use regex::Regex;

use super::{
    template::{Lookup, Template, fill_known},
    view::{Layer, View},
};
use crate::{
    spec::{RefPoint, words as named},
    wire::frame::{Frame, Party, Security},
};

named! {
    /// What protects the link that a message goes over.
    Protection, "security", {
        Plain = "plain",
        Tls = "tls",
    }
}

impl Protection {
    fn of(security: &Security) -> Protection {
        match security {
            Security::Plain => Protection::Plain,
            Security::Tls { .. } => Protection::Tls,
        }
    }
}

/// A message that is looked for.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    /// Any of these nodes; anybody if empty.
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub on: Vec<RefPoint>,
    /// Whatever protects the link, if none is named.
    pub security: Option<Protection>,
    pub fields: Vec<FieldTest>,
}

/// A test on one field.
#[derive(Clone, Debug)]
pub struct FieldTest {
    pub layer: Layer,
    /// A known field or a header name.
    pub key: String,
    pub test: Test,
}

/// What a field's values have to be.
#[derive(Clone, Debug)]
pub enum Test {
    /// All values, joined by ", ", are this text.
    Is(Template),
    /// Its one value is this number.
    Number(i64),
    /// One of the tests holds.
    OneOf(Vec<Test>),
    /// Every test holds.
    All(Vec<Test>),
    /// Some value matches.
    Matches(Regex),
    /// Some value contains this text.
    Has(Template),
    /// No value contains this text.
    Lacks(Template),
    /// There is no value.
    Absent,
    /// There is one at least.
    Present,
    /// Its one value is at least this number.
    AtLeast(i64),
    /// Its one value is at most this number.
    AtMost(i64),
    /// There are so many values.
    Count(usize),
    /// Fewer values than this, or none.
    FewerThan(usize),
    /// The values are these, in any order, and none else but those that begin like one of `besides`.
    Exactly {
        members: Vec<Template>,
        besides: Vec<Template>,
    },
}

/// The first way in which a message differs from a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `to`, `on`, `sip method`, `sdp file-range`.
    pub field: String,
    pub expected: String,
    pub actual: String,
    /// How much of the pattern held before: the larger, the nearer.
    pub score: usize,
    /// What is expected are several lawful outcomes, each in words of its own.
    pub is_of_outcomes: bool,
}

/// How a message that was not the one looked for stands to it, the further first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Of another kind or exchange: there is nothing wrong with it.
    Other,
    /// A request of that name, but for something else: there may be nothing wrong with it.
    Alike,
    /// A challenge in the place of an answer: right if the request comes again, else what came instead.
    Challenge,
    /// Of the kind that was due, and in its place, whatever it says: a request of that name for the same, or an answer
    /// where one is due, to the same if it says to what; and of the exchange that is named.
    Wrong,
}

impl Pattern {
    /// A score no partial match reaches.
    pub const WHOLE: usize = 1000;

    /// Whether envelope and places fit; the fields are another matter.
    pub fn admits(&self, frame: &Frame) -> bool {
        self.is_near(frame) && is_among(&frame.to, &self.to)
    }

    /// Whether the right party sent it at the right place, to whomever.
    pub fn is_near(&self, frame: &Frame) -> bool {
        is_among(&frame.from, &self.from) && (self.on.is_empty() || self.on.contains(&frame.on))
    }

    /// How a message that is not the one looked for stands to it.
    pub fn fit(&self, frame: &Frame, view: &View, lookup: &dyn Lookup) -> Fit {
        let is_of_the_kind = self.fields.iter().all(|field| match field.key.as_str() {
            "status" | "response" => view.is_answer(),
            "method" | "for" | "command" | "request" => field.holds(view, lookup),
            "call-id" | "transaction" => field.holds(view, lookup),
            // Whoever hands a request on did not write from whom it is.
            "from-uri" => field.holds(view, lookup) || !view.was_handed_on(),
            _ => true,
        });
        // PPSTP is spoken with the tracker, not where pieces travel.
        let can_carry = |field: &FieldTest| {
            field.layer.travels_by(frame.format)
                && !(field.layer == Layer::Ppstp && frame.on == RefPoint::Data)
        };
        if !is_of_the_kind || !self.fields.iter().all(can_carry) {
            return Fit::Other;
        }
        let is_the_exchange =
            |field: &FieldTest| matches!(field.key.as_str(), "call-id" | "transaction");
        let is_named = self.fields.iter().any(is_the_exchange)
            && !self.to.is_empty()
            && is_among(&frame.to, &self.to);
        let asks_the_same = || {
            // A REGISTER is for the domain alone (RFC 3261 10.2).
            let is_register = view
                .get(Layer::Sip, "method")
                .is_some_and(|method| method == ["REGISTER"]);
            let mut asked = self
                .fields
                .iter()
                .filter(|field| field.tells_what_is_asked() && !is_register);
            asked.all(|field| field.holds(view, lookup))
        };
        match view.is_answer() || is_named || asks_the_same() {
            true => Fit::Wrong,
            false => Fit::Alike,
        }
    }

    /// Whether it is a final answer by which a party refuses the request that is looked for from it: it got that and
    /// ought to have handed it on.
    pub fn refuses(&self, frame: &Frame, view: &View, lookup: &dyn Lookup) -> bool {
        let one = |key| view.get(Layer::Sip, key)?.into_iter().next();
        let Some(refused) = one("for").filter(|_| view.refuses()) else {
            return false;
        };
        let mut methods = self
            .fields
            .iter()
            .filter(|f| f.layer == Layer::Sip && f.key == "method");
        let method = methods.next();
        let mut exchanges = self.fields.iter().filter(|field| field.key == "call-id");
        is_among(&frame.from, &self.from)
            && method.is_some_and(|field| field.test.holds(&[refused], lookup))
            && exchanges.all(|field| field.holds(view, lookup))
    }

    /// Whether an answer is looked for, as far as the pattern says.
    pub fn is_of_an_answer(&self) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|field| {
            matches!(
                field.key.as_str(),
                "status" | "response" | "for" | "result" | "error"
            )
        })
    }

    /// What a field has to be, if that is one text without places.
    pub fn literal(&self, layer: Layer, key: &str) -> Option<String> {
        let mut fields = self.fields.iter();
        let field = fields.find(|field| field.layer == layer && field.key == key)?;
        match &field.test {
            Test::Is(template) => Some(template.to_string()).filter(|text| !text.contains("${")),
            _ => None,
        }
    }

    /// What stands in a message that is looked for, where the pattern leaves that open: ` with sip octets 1502`.
    pub fn values_tested(&self, view: &View) -> String {
        let open = self
            .fields
            .iter()
            .filter(|field| !field.is_title() && !field.test.tells_values());
        let told = open.filter_map(|field| {
            let value = view.get(field.layer, &field.key)?.join(", ");
            let is_short = !value.is_empty() && value.chars().count() <= SHORT;
            is_short.then(|| format!("{} {value}", field.name()))
        });
        let mut told: Vec<String> = told.collect();
        told.dedup();
        match told.is_empty() {
            true => String::new(),
            false => format!(" with {}", told.join(", ")),
        }
    }

    /// Whether a message has the name of the one looked for, whatever it says.
    pub fn is_of_the_kind(&self, view: &View) -> bool {
        let mut names = [(Layer::Sip, "method"), (Layer::Diameter, "command")].into_iter();
        names.any(|(layer, key)| {
            let name = self.literal(layer, key);
            name.is_some() && view.get(layer, key).and_then(|v| v.into_iter().next()) == name
        })
    }

    /// Whether this is the message looked for.
    pub fn matches(&self, frame: &Frame, view: &View, lookup: &dyn Lookup) -> bool {
        self.admits(frame)
            && self.is_protected(frame)
            && self.fields.iter().all(|field| field.holds(view, lookup))
    }

    fn is_protected(&self, frame: &Frame) -> bool {
        self.security
            .is_none_or(|wanted| wanted == Protection::of(&frame.security))
    }

    /// `None` if the message is the one looked for, else the first field that differs.
    pub fn difference(
        &self,
        frame: &Frame,
        view: &View,
        lookup: &dyn Lookup,
    ) -> Option<Difference> {
        let mut tally = Tally::default();
        tally.count(is_among(&frame.from, &self.from), 100, 0, || Difference {
            field: "from".to_owned(),
            expected: self.from.join(" or "),
            actual: frame.from.to_string(),
            score: 0,
            is_of_outcomes: false,
        });
        tally.count(is_among(&frame.to, &self.to), 20, 0, || Difference {
            field: "to".to_owned(),
            expected: self.to.join(" or "),
            actual: frame.to.to_string(),
            score: 0,
            is_of_outcomes: false,
        });
        let is_there = self.on.is_empty() || self.on.contains(&frame.on);
        tally.count(is_there, 20, 0, || Difference {
            field: "on".to_owned(),
            expected: words(&self.on).join(" or "),
            actual: frame.on.to_string(),
            score: 0,
            is_of_outcomes: false,
        });
        tally.count(self.is_protected(frame), 10, 0, || Difference {
            field: "security".to_owned(),
            expected: self
                .security
                .map(|wanted| wanted.to_string())
                .unwrap_or_default(),
            actual: Protection::of(&frame.security).to_string(),
            score: 0,
            is_of_outcomes: false,
        });
        for field in &self.fields {
            let values = view.get(field.layer, &field.key);
            let holds = values.as_ref().is_some_and(|v| field.test.holds(v, lookup));
            // A field that is there but differs is nearer than one that is not.
            let is_there = values.as_ref().is_some_and(|v| !v.is_empty());
            let almost = usize::from(is_there || field.result_instead(view).is_some());
            let weight = if field.is_title() { 10 } else { 2 };
            tally.count(holds, weight, almost, || Difference {
                score: 0,
                ..field.difference(view, field.test.missing_in(values.as_deref(), lookup))
            });
        }
        tally.first.map(|difference| Difference {
            score: tally.score,
            ..difference
        })
    }
}

impl FieldTest {
    pub fn holds(&self, view: &View, lookup: &dyn Lookup) -> bool {
        let values = view.get(self.layer, &self.key);
        values.is_some_and(|values| self.test.holds(&values, lookup))
    }

    /// `sip method`; what an AVP of Diameter holds goes by its name.
    pub fn name(&self) -> String {
        let avp = AVPS.iter().find(|(key, _)| *key == self.key);
        match (self.layer, avp) {
            (Layer::Diameter, Some((_, name))) => (*name).to_owned(),
            _ => format!("{} {}", self.layer, self.key),
        }
    }

    /// In words: `sip status 4xx`, `sip Expires at least 1`.
    pub fn words(&self) -> String {
        match (self.key.as_str(), classes(&self.test)) {
            ("status", Some(classes)) => format!("{} {classes}", self.name()),
            _ => format!("{} {}", self.name(), self.test),
        }
    }

    /// As the name of the message: `200`, `to INVITE`, `NOTIFY`, `p2pcds-peers`.
    fn title(&self, has_status: bool) -> String {
        match (self.key.as_str(), &self.test) {
            ("for", _) if has_status => format!("to {}", self.test),
            ("for", _) => format!("an answer to {}", self.test),
            ("response", Test::Number(0)) => format!("PPSTP {SUCCESSFUL}"),
            ("response", Test::Number(1)) => format!("PPSTP {FAILED}"),
            ("response", _) => format!("PPSTP response {}", self.test),
            ("status", test) if let Some(classes) = classes(test) => classes,
            ("status", Test::Absent) => "a request".to_owned(),
            ("method", Test::Absent) => "an answer".to_owned(),
            ("method" | "Event", Test::Matches(regex)) => match Plain::of(regex) {
                Some(Plain::Is(text) | Plain::Word(text)) => text,
                Some(Plain::Begins(text)) if self.key == "Event" => text,
                _ => format!("{} {}", self.key, self.test),
            },
            (key, test) if !test.tells_values() => format!("{key} {test}"),
            (_, test) => test.to_string(),
        }
    }

    /// What stands there, in words, where this was expected.
    pub fn difference(&self, view: &View, expected: String) -> Difference {
        let differs = |actual: String| Difference {
            field: self.name(),
            expected: expected.clone(),
            actual,
            score: Pattern::WHOLE,
            is_of_outcomes: false,
        };
        match view.get(self.layer, &self.key) {
            None => differs(format!("no {} in {}", self.layer, view.title_and_type())),
            Some(values) if values.is_empty() => match self.result_instead(view) {
                Some((field, actual)) => Difference {
                    field: field.to_owned(),
                    expected: format!("{} {expected}", self.name()),
                    ..differs(actual)
                },
                None if self.is_title() => {
                    differs(format!("no {} in {}", self.name(), view.title()))
                }
                None => differs("none".to_owned()),
            },
            Some(values) if values.iter().all(String::is_empty) => differs("empty".to_owned()),
            Some(values) if (self.layer, self.key.as_str()) == (Layer::Ppstp, "response") => {
                let words = |text: &str| match text {
                    "0" => SUCCESSFUL.to_owned(),
                    "1" => FAILED.to_owned(),
                    text => text.to_owned(),
                };
                Difference {
                    expected: words(&expected),
                    ..differs(words(&values.join(", ")))
                }
            }
            Some(values) => differs(values.join(", ")),
        }
    }

    /// The result that another AVP gives, where this one gives none: Result-Code and Experimental-Result never
    /// stand beside each other (RFC 6733 7.6).
    fn result_instead(&self, view: &View) -> Option<(&'static str, String)> {
        let one = |key| view.get(Layer::Diameter, key)?.into_iter().next();
        match (self.layer, self.key.as_str()) {
            (Layer::Diameter, "result") => {
                let code = one("experimental-result")?;
                let vendor = one("experimental-vendor")?;
                Some((EXPERIMENTAL_RESULT, format!("{code} (vendor {vendor})")))
            }
            (Layer::Diameter, "experimental-result") => Some((RESULT_CODE, one("result")?)),
            _ => None,
        }
    }

    /// Whether one request differs by it from the next, both of which may be right.
    fn tells_what_is_asked(&self) -> bool {
        matches!(
            (self.layer, self.key.as_str()),
            (Layer::Sip, "uri")
                | (Layer::Sdp, "file-range")
                | (Layer::Http, "Range" | "path")
                | (Layer::Ppstp, "pieces")
        ) || self.layer == Layer::Http && self.key.starts_with('/')
    }

    /// Whether it says what kind of message this is rather than how it looks.
    pub fn is_title(&self) -> bool {
        matches!(
            self.key.as_str(),
            "method" | "status" | "for" | "command" | "request" | "response" | "Event"
        )
    }
}

impl Test {
    fn holds(&self, values: &[String], lookup: &dyn Lookup) -> bool {
        let filled = |template: &Template| template.fill(lookup).ok();
        let number = || match values {
            [one] => one.trim().parse::<i64>().ok(),
            _ => None,
        };
        match self {
            Test::Is(template) => filled(template).is_some_and(|text| values.join(", ") == text),
            Test::Number(wanted) => number() == Some(*wanted),
            Test::OneOf(tests) => tests.iter().any(|test| test.holds(values, lookup)),
            Test::All(tests) => tests.iter().all(|test| test.holds(values, lookup)),
            Test::Matches(regex) => values.iter().any(|value| regex.is_match(value)),
            Test::Has(template) => {
                filled(template).is_some_and(|text| values.iter().any(|v| v.contains(&text)))
            }
            Test::Lacks(template) => {
                filled(template).is_some_and(|text| !values.iter().any(|v| v.contains(&text)))
            }
            Test::Absent => values.is_empty(),
            Test::Present => !values.is_empty(),
            Test::AtLeast(least) => number().is_some_and(|n| n >= *least),
            Test::AtMost(most) => number().is_some_and(|n| n <= *most),
            Test::Count(count) => values.len() == *count,
            Test::FewerThan(count) => values.len() < *count,
            Test::Exactly { members, besides } => {
                let members: Option<Vec<_>> = members.iter().map(filled).collect();
                let besides: Option<Vec<_>> = besides.iter().map(filled).collect();
                match (members, besides) {
                    (Some(members), Some(besides)) => are_exactly(values, members, &besides),
                    _ => false,
                }
            }
        }
    }

    /// What of it does not hold of the values, in plain words, with the places filled that are known.
    fn missing_in(&self, values: Option<&[String]>, lookup: &dyn Lookup) -> String {
        let words = match (self, values) {
            (Test::All(tests), Some(values)) => {
                let failed = tests.iter().filter(|test| !test.holds(values, lookup));
                failed
                    .map(Test::to_string)
                    .collect::<Vec<_>>()
                    .join(" and ")
            }
            _ => self.to_string(),
        };
        fill_known(&words, lookup)
    }

    /// Whether its words tell a value, so that they can stand alone.
    fn tells_values(&self) -> bool {
        match self {
            Test::Is(_) | Test::Number(_) => true,
            Test::OneOf(tests) => tests.iter().all(Test::tells_values),
            _ => false,
        }
    }
}

impl fmt::Display for Test {
    /// In plain words, to be read after the field's name and "expected".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: &[String], between: &str| items.join(between);
        match self {
            Test::Is(template) => write!(f, "{template}"),
            Test::Number(number) => write!(f, "{number}"),
            Test::OneOf(tests) => {
                let words: Vec<_> = tests.iter().map(Test::to_string).collect();
                f.write_str(&list(&words, " or "))
            }
            Test::All(tests) => {
                let words: Vec<_> = tests.iter().map(Test::to_string).collect();
                f.write_str(&list(&words, " and "))
            }
            Test::Matches(regex) => match Plain::of(regex) {
                Some(Plain::Present) => f.write_str("a value"),
                Some(Plain::Is(text) | Plain::Word(text)) => write!(f, "\"{text}\""),
                Some(Plain::Begins(text)) => write!(f, "beginning with \"{text}\""),
                Some(Plain::Ends(text)) => write!(f, "ending in \"{text}\""),
                None => write!(f, "matching /{regex}/"),
            },
            Test::Has(template) => write!(f, "containing \"{template}\""),
            Test::Lacks(template) => write!(f, "not containing \"{template}\""),
            Test::Absent => f.write_str("none"),
            Test::Present => f.write_str("a value"),
            Test::AtLeast(least) => write!(f, "at least {least}"),
            Test::AtMost(most) => write!(f, "at most {most}"),
            Test::Count(count) => write!(f, "{count} values"),
            Test::FewerThan(count) => write!(f, "fewer than {count} values"),
            Test::Exactly { members, .. } => {
                let words: Vec<_> = members.iter().map(Template::to_string).collect();
                write!(f, "exactly {}", list(&words, ", "))
            }
        }
    }
}

impl fmt::Display for Pattern {
    /// `ue-a → p-cscf on Gm: INVITE with sdp file-range 65537-131072`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |names: &[String]| match names.is_empty() {
            true => "anybody".to_owned(),
            false => names.join(" or "),
        };
        write!(f, "{} → {}", names(&self.from), names(&self.to))?;
        if !self.on.is_empty() {
            write!(f, " on {}", words(&self.on).join(" or "))?;
        }
        if let Some(security) = self.security {
            write!(f, " ({security})")?;
        }
        let (mut titles, rest): (Vec<_>, Vec<_>) = self.fields.iter().partition(|t| t.is_title());
        // "200 to INVITE", in whichever order a file has them.
        titles.sort_by_key(|field| field.key == "for");
        if self.fields.is_empty() {
            return f.write_str(": anything");
        }
        let has_status = titles.iter().any(|field| field.key == "status");
        let titles: Vec<_> = titles.iter().map(|field| field.title(has_status)).collect();
        let rest: Vec<_> = rest.iter().map(|field| field.words()).collect();
        match (titles.is_empty(), rest.is_empty()) {
            (false, true) => write!(f, ": {}", titles.join(" ")),
            (true, false) => write!(f, ": a message with {}", rest.join(", ")),
            _ => write!(f, ": {} with {}", titles.join(" "), rest.join(", ")),
        }
    }
}

/// RFC 7846 4.2: what response_type stands for.
const SUCCESSFUL: &str = "SUCCESSFUL";
const FAILED: &str = "FAILED";

/// Characters of a value that is told beside the name of a message.
const SHORT: usize = 80;

const RESULT_CODE: &str = "Result-Code";
const EXPERIMENTAL_RESULT: &str = "Experimental-Result";

/// The AVPs that fields of Diameter are read from (RFC 6733 and TS 29.229 6.3).
const AVPS: &[(&str, &str)] = &[
    ("result", RESULT_CODE),
    ("experimental-result", EXPERIMENTAL_RESULT),
    ("user-name", "User-Name"),
    ("public-identity", "Public-Identity"),
    ("server-name", "Server-Name"),
    ("visited-network", "Visited-Network-Identifier"),
    ("authentication-scheme", "SIP-Authentication-Scheme"),
    ("assignment-type", "Server-Assignment-Type"),
    ("session-id", "Session-Id"),
    ("user-data", "User-Data"),
];

/// The classes of status that lie between two bounds: `4xx-6xx`; all of them are any answer.
fn classes(test: &Test) -> Option<String> {
    let (least, most) = match test {
        Test::AtLeast(200) => return Some("a final answer".to_owned()),
        Test::All(tests) => match &tests[..] {
            [Test::AtLeast(least), Test::AtMost(most)] => (least, most),
            _ => return None,
        },
        _ => return None,
    };
    if least % 100 != 0 || most % 100 != 99 || least >= most {
        return None;
    }
    Some(match (least / 100, most / 100) {
        (1, 6) => "any answer".to_owned(),
        (first, last) if first == last => format!("{first}xx"),
        (first, last) => format!("{first}xx-{last}xx"),
    })
}

/// A regular expression that words say as well.
enum Plain {
    Present,
    Is(String),
    /// This, and perhaps parameters.
    Word(String),
    Begins(String),
    Ends(String),
}

impl Plain {
    fn of(regex: &Regex) -> Option<Plain> {
        let text = regex.as_str();
        if text == "." {
            return Some(Plain::Present);
        }
        let (is_begin, text) = match text.strip_prefix('^') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let word = text
            .strip_suffix("(;|$)")
            .or_else(|| text.strip_suffix("\\b"));
        let (is_end, text) = match (word, text.strip_suffix('$')) {
            (Some(word), _) => (false, word),
            (None, Some(text)) => (true, text),
            (None, None) => (false, text),
        };
        let literal = literal(text)?;
        match (is_begin, is_end) {
            _ if word.is_some() => is_begin.then_some(Plain::Word(literal)),
            (true, true) => Some(Plain::Is(literal)),
            (true, false) => Some(Plain::Begins(literal)),
            (false, true) => Some(Plain::Ends(literal)),
            (false, false) => None,
        }
    }
}

/// The text that a regular expression stands for, if it is nothing but a text.
fn literal(pattern: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next()? {
                // Those two are where words begin and end.
                '<' | '>' => return None,
                escaped if escaped.is_ascii_punctuation() => text.push(escaped),
                _ => return None,
            },
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => {
                return None;
            }
            c => text.push(c),
        }
    }
    (!text.is_empty()).then_some(text)
}

/// What holds of a pattern so far, and the first thing that does not.
#[derive(Default)]
struct Tally {
    score: usize,
    first: Option<Difference>,
}

impl Tally {
    fn count(
        &mut self,
        holds: bool,
        weight: usize,
        almost: usize,
        differs: impl FnOnce() -> Difference,
    ) {
        self.score += if holds { weight } else { almost };
        if !holds && self.first.is_none() {
            self.first = Some(differs());
        }
    }
}

fn words(points: &[RefPoint]) -> Vec<&'static str> {
    points.iter().map(|on| on.word()).collect()
}

fn is_among(party: &Party, names: &[String]) -> bool {
    names.is_empty() || names.iter().any(|name| party.is(name))
}

fn are_exactly(values: &[String], mut members: Vec<String>, besides: &[String]) -> bool {
    for value in values {
        match members.iter().position(|member| member == value) {
            Some(found) => {
                members.swap_remove(found);
            }
            None if besides.iter().any(|b| value.starts_with(b.as_str())) => {}
            None => return false,
        }
    }
    members.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Lookup for Nobody {
        fn value(&self, _place: &str) -> Option<String> {
            None
        }
    }

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    fn holds(test: &Test, values: &[&str]) -> bool {
        let values: Vec<_> = values.iter().map(|v| (*v).to_owned()).collect();
        test.holds(&values, &Nobody)
    }

    #[test]
    fn tests_hold_for_what_they_say() {
        assert!(holds(&Test::Is(template("a, b")), &["a", "b"]));
        assert!(!holds(&Test::Is(template("a")), &["a", "b"]));
        assert!(holds(&Test::Number(200), &["200"]));
        assert!(!holds(&Test::Number(200), &[]));
        assert!(holds(&Test::Has(template("ue-b")), &["x", "sip:ue-b@y"]));
        assert!(!holds(&Test::Lacks(template("ue-b")), &["sip:ue-b@y"]));
        assert!(holds(&Test::Lacks(template("ue-b")), &[]));
        assert!(holds(&Test::Absent, &[]));
        assert!(!holds(&Test::Present, &[]));
        assert!(holds(&Test::AtLeast(3), &["3"]));
        assert!(!holds(&Test::AtMost(2), &["3"]));
        assert!(holds(&Test::Count(2), &["a", "a"]));
        assert!(holds(&Test::FewerThan(2), &["a"]));
        assert!(!holds(&Test::FewerThan(2), &["a", "a"]));
        assert!(!holds(&Test::Is(template("${a.b}")), &["x"]));
    }

    #[test]
    fn exactly_tolerates_only_what_is_named_besides() {
        let test = Test::Exactly {
            members: vec![template("b 1"), template("e 2")],
            besides: vec![template("a ")],
        };
        assert!(holds(&test, &["e 2", "b 1"]));
        assert!(holds(&test, &["e 2", "a ", "b 1"]));
        assert!(!holds(&test, &["e 2"]));
        assert!(!holds(&test, &["e 2", "b 1", "c 1"]));
        assert!(!holds(&test, &["e 2", "b 1", "b 1"]));
    }
}
