//! What the readers of this folder take, as JSON schemas (draft 7), so that an editor can check and complete the
//! files while they are written. Only the shape: that a name exists, or that a scenario makes sense, is the
//! readers' to say. A schema never refuses what its reader takes, and knows the keys that it knows: the tests below
//! hold both to it.

use serde_json::{Map, Value, json};

use super::{
    Names,
    ledger::TAGS,
    pattern::Protection,
    scenario::{Choice, Except},
    timers::Timer,
    topology::{LISTENER_PORTS, MOST_NODES},
    view::{self, Layer},
};
use crate::spec::{
    Architecture, Basis, Delivery, Feature, Path, RefPoint, RequestPath, Role, Strength, Worth,
};

/// Of a scenario file; deviations and checks are among `names`, where those are given.
pub fn scenarios(names: Names<'_>) -> Value {
    let definitions = json!({
        "test": test(json!({ "type": ["string", "integer", "boolean"] })),
        "test-table": test_table(),
    });
    let layers: Vec<(String, Value)> = Layer::ALL
        .iter()
        .map(|layer| (layer.word().to_owned(), fields(*layer)))
        .collect();
    let mut definitions = object(definitions);
    definitions.extend(layers);
    definitions.insert("step".to_owned(), step());
    definitions.insert("scenario".to_owned(), scenario(names));
    let root = table(&[
        need(
            "section",
            text("The section of the text that the file stands for"),
        ),
        need(
            "clause",
            text("Document and clause: TR 23.844 6.2.1 step 3"),
        ),
        may("topology", strings()),
        may("architectures", words(all::<Architecture>())),
        need("scenario", some_of(reference("scenario"))),
    ]);
    document("A scenario file of peerproof", root, definitions)
}

/// Of `requirements.toml`.
pub fn requirements() -> Value {
    let row = table(&[
        need("id", text("As scenarios cite it")),
        need("title", text("What is asked, in our own words")),
        need("clause", text("Document and clause")),
        need("basis", word(all::<Basis>())),
        need("strength", word(all::<Strength>())),
        need("role", word(all::<Role>())),
        need(
            "observed",
            json!({ "type": "array", "items": word(all::<RefPoint>()) }),
        ),
        may(
            "shown-by",
            json!({ "type": "string", "pattern": ": [A-Za-z0-9_]+$" }),
        ),
        may("alias-of", text("The row that it says again")),
        may(
            "uncovered",
            json!({ "type": "string", "pattern": r"^[^\n]*\S[^\n]*$" }),
        ),
        may("tags", one_or_some(word(TAGS.to_vec()))),
    ]);
    let root = table(&[need("requirement", array(row))]);
    document("The ledger of peerproof's requirements", root, Map::new())
}

/// Of a file in `fixtures/topologies`.
pub fn topology() -> Value {
    let listen = json!({
        "type": "string",
        "pattern": format!("^({}):[0-9]+/(udp|tcp|tls|msrp|http)$", all::<RefPoint>().join("|")),
    });
    let node = table(&[
        need("name", text("As scenarios call it")),
        need("role", word(all::<Role>())),
        need("host", text("As it writes itself in Via, Route and URLs")),
        need(
            "ip",
            text("An IPv4 address of the ranges for documentation"),
        ),
        may(
            "listen",
            json!({ "type": "array", "items": listen, "maxItems": LISTENER_PORTS }),
        ),
        may("user", text("Its subscriber")),
        may("cdn", text("The CDN it belongs to")),
        may("holds", holdings()),
    ]);
    let mtus = all::<RefPoint>()
        .into_iter()
        .map(|on| may(on, number()))
        .collect::<Vec<_>>();
    let root = table(&[
        need("summary", text("What it is for")),
        need("architecture", word(all::<Architecture>())),
        need("domain", text("The home domain")),
        need("tracker-psi", text("The tracker's public service identity")),
        may("path-mtu", table(&mtus)),
        need(
            "node",
            json!({ "type": "array", "items": node, "maxItems": MOST_NODES }),
        ),
    ]);
    document("A topology of peerproof", root, Map::new())
}

/// Of `fixtures/contents.toml`.
pub fn contents() -> Value {
    let content = table(&[
        need("name", text("As scenarios call it")),
        need("rule", text("What its octets are made from")),
        need(
            "pieces",
            some_of(json!({ "type": "integer", "minimum": 1 })),
        ),
        may("sha1", text("Of all of it, in hexadecimal digits")),
        may("sha256", text("Of all of it, in hexadecimal digits")),
        may("piece-sha256", array(text("Of each piece"))),
    ]);
    let root = table(&[need("content", array(content))]);
    document("The contents of peerproof", root, Map::new())
}

/// Of `fixtures/subscribers.toml`.
pub fn subscribers() -> Value {
    let key = || json!({ "type": "string", "pattern": "^[0-9A-Fa-f]{32}$" });
    let subscriber = table(&[
        need("id", text("As topologies call it")),
        need("impi", text("Its private identity")),
        need("impus", strings()),
        need("password", text("A test value")),
        need("k", key()),
        need("opc", key()),
        may("service", flag()),
        may("qualified", flag()),
        may("barred", flag()),
        may("may-register", flag()),
        may("aka", flag()),
        may("usim-sqn", number()),
    ]);
    let root = table(&[need("subscriber", array(subscriber))]);
    document("The subscribers of peerproof", root, Map::new())
}

/// Of the profile of a system under test.
pub fn profile() -> Value {
    let claims = table(&[
        need("architectures", words(all::<Architecture>())),
        may("peer-list", words(all::<Path>())),
        may("request", words(all::<RequestPath>())),
        may("status", words(all::<Path>())),
        may("delivery", words(all::<Delivery>())),
        may("features", words(all::<Feature>())),
    ]);
    let waiver = table(&[
        need("scenario", text("A glob over scenarios")),
        need("reason", json!({ "type": "string", "pattern": r"\S" })),
    ]);
    let root = table(&[
        need("name", text("As reports call it")),
        need("roles", words(all::<Role>())),
        need("claims", claims),
        may("timers", table(&timers(duration()))),
        may("limits", table(&[may("transfers", number())])),
        may("leniencies", strings()),
        may("waiver", array(waiver)),
        may("guest", array(guest())),
    ]);
    document("The profile of a system under test", root, Map::new())
}

/// A program that plays a node.
fn guest() -> Value {
    let plain = || json!({ "type": "string" });
    let ways = [
        may("address", any_of([plain(), map_to(plain())])),
        may("command", text("What starts it")),
        may("image", text("A container image")),
    ];
    let pushes = [
        may("post", text("A URL to which orders are posted")),
        may("command", text("What is run for each order")),
    ];
    let mut keys = vec![
        need(
            "name",
            text("The node that it plays, or several that go by one name"),
        ),
        may("ready", word(vec!["line", "probe"])),
        may("ready-within", duration()),
        may("lifetime", word(vec!["run", "configuration", "scenario"])),
        may("addresses", word(vec!["assigned", "own"])),
        may("reset", text("What brings it back to where it began")),
        may("trigger", exactly_one(table(&pushes), &pushes)),
        may("by-itself", one_or_some(word(vec!["register", "announce"]))),
    ];
    keys.extend(ways.clone());
    exactly_one(table(&keys), &ways)
}

fn scenario(names: Names<'_>) -> Value {
    let among = |names: Option<&[&str]>| match names {
        Some(names) => one_or_some(word(names.to_vec())),
        None => strings(),
    };
    let choices = Choice::ALL.map(Choice::word).to_vec();
    table(&[
        need(
            "name",
            json!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" }),
        ),
        need("purpose", text("One sentence that is true of who passes")),
        may("clause", text("Document and clause, if not the file's")),
        may("topology", strings()),
        may("architectures", words(all::<Architecture>())),
        need("requires", strings()),
        may("options", pins(&[])),
        may("delivery", word(all::<Delivery>())),
        may("over", one_or_some(word(choices))),
        may("needs", words(all::<Feature>())),
        may("kills", among(names.deviations)),
        may("checks", among(names.checks)),
        may("tags", strings()),
        may("limit", duration()),
        may("given", given(among(names.deviations))),
        need("step", some_of(reference("step"))),
    ])
}

fn given(deviations: Value) -> Value {
    let fault = table(&[
        may("on", word(all::<RefPoint>())),
        may("lose", share(1)),
        may("duplicate", share(1)),
        may("reorder", share(1)),
        may("corrupt", share(1)),
        may("delay", duration()),
        may("split", number()),
        may("cut-after", number()),
        may("stall", duration()),
    ]);
    table(&[
        may("content", strings()),
        may("registered", strings()),
        may("announced", strings()),
        may("canonical", strings()),
        may("script", strings()),
        may("assembles", strings()),
        may("deviant", map_to(deviations)),
        may("users", map_to(strings())),
        may("certificates", map_to(word(all::<Worth>()))),
        may("holds", map_to(holdings())),
        may("faults", array(fault)),
    ])
}

fn step() -> Value {
    let timers = timers(share(100));
    let verbs = [
        may("do", action()),
        may("send", send()),
        may("expect", expect()),
        may("never", never()),
        may(
            "wait",
            any_of([duration(), exactly_one(table(&timers), &timers)]),
        ),
    ];
    let when = pins(&[
        may("architecture", word(all::<Architecture>())),
        may("delivery", word(all::<Delivery>())),
    ]);
    let mut keys = vec![may("when", when)];
    keys.extend(verbs.clone());
    exactly_one(table(&keys), &verbs)
}

fn action() -> Value {
    let pieces = array(number());
    let actions = [
        may("register", said()),
        may("deregister", said()),
        may("stop", said()),
        may("crash", said()),
        may("announce", strings()),
        may("drop", strings()),
        may("ask", strings()),
        may("fetch", strings()),
        may("report", strings()),
        may("leave", strings()),
        may("revoke", strings()),
        may("withdraw", strings()),
    ];
    let mut keys = vec![
        need("node", text("Who does it")),
        may("pieces", pieces),
        may("shape", word(vec!["separate", "joint"])),
    ];
    keys.extend(actions.clone());
    let mut schema = object(exactly_one(table(&keys), &actions));
    schema.insert(
        "dependencies".to_owned(),
        json!({ "announce": ["pieces"], "drop": ["pieces"] }),
    );
    schema.into()
}

fn send() -> Value {
    let sources = [
        may("message", text("A file of fixtures/messages, without .txt")),
        may(
            "text",
            text("Head and body; line ends and Content-Length are supplied"),
        ),
        may("octets", text(r"As written; \r, \n and \xNN are escapes")),
        may("like", strings()),
    ];
    let texts = || map_to(text("A value, with ${…} for what is known"));
    let authorize = table(&[
        need("user", strings()),
        need("challenge", strings()),
        may("password", text("Another one than the subscriber's")),
        may("count", number()),
    ]);
    let mut keys = vec![
        need("from", text("A node")),
        need("to", text("A node")),
        need("on", word(all::<RefPoint>())),
        may("set", texts()),
        may("add", texts()),
        may("remove", strings()),
        may("start", text("Another start line")),
        may("body", text("Another body")),
        may("reply", strings()),
        may("security", word(all::<Protection>())),
        may(
            "certificate",
            text("A node, whose certificate the sender shows"),
        ),
        may("worth", word(all::<Worth>())),
        may("authorize", authorize),
    ];
    keys.extend(sources.clone());
    exactly_one(table(&keys), &sources)
}

fn expect() -> Value {
    let times = any_of([
        number(),
        table(&[may("min", number()), may("max", number())]),
    ]);
    let mut outcome = layers();
    outcome.extend([
        need("source", json!({ "type": "string", "pattern": r"\S" })),
        may(
            "leniency",
            text("What a verdict prints when it is this one"),
        ),
    ]);
    let mut keys = pattern();
    keys.extend([
        may("within", duration()),
        may("times", times),
        may("after", strings()),
        may("requirement", strings()),
        may("one-of", array(table(&outcome))),
        may("as", text("Under which name later steps know it")),
    ]);
    table(&keys)
}

fn never() -> Value {
    let mut keys = pattern();
    keys.extend([
        may("after", strings()),
        may("until", text("A name that an expect gives")),
        may("except", word(all::<Except>())),
        may("requirement", strings()),
    ]);
    table(&keys)
}

fn pattern() -> Vec<Key> {
    let mut keys = vec![
        may("from", strings()),
        may("to", strings()),
        may("on", words(all::<RefPoint>())),
        may("security", word(all::<Protection>())),
    ];
    keys.extend(layers());
    keys
}

fn layers() -> Vec<Key> {
    let layers = Layer::ALL.iter();
    layers
        .map(|layer| may(layer.word(), reference(layer.word())))
        .collect()
}

/// The fields of a layer; headers in any case, derived ones and JSON pointers by pattern.
fn fields(layer: Layer) -> Value {
    let mut properties = Map::new();
    for field in layer.fields().iter().chain(layer.headers()) {
        let test = match layer.range(field) {
            Some(view::Range::Words(_, words)) => {
                test(any_of([word(words.to_vec()), several(words), place()]))
            }
            Some(view::Range::Numbers(_, least, most)) => test(any_of([
                json!({ "type": "integer", "minimum": least, "maximum": most }),
                json!({ "type": "string" }),
            ])),
            None => reference("test"),
        };
        properties.insert((*field).to_owned(), test);
    }
    let mut patterns = Map::new();
    if !layer.headers().is_empty() {
        let names: Vec<String> = layer.headers().iter().map(|name| any_case(name)).collect();
        let derived = if layer == Layer::Sip {
            "(-uri|-params)?"
        } else {
            ""
        };
        let pattern = format!("^({}){derived}$", names.join("|"));
        patterns.insert(pattern, reference("test"));
    }
    if matches!(layer, Layer::Http | Layer::Ppstp) {
        patterns.insert("^/".to_owned(), reference("test"));
    }
    json!({
        "type": "object",
        "properties": properties,
        "patternProperties": patterns,
        "additionalProperties": false,
    })
}

/// A name as a regular expression that takes it in any case.
fn any_case(name: &str) -> String {
    name.chars()
        .map(|c| match c.is_ascii_alphabetic() {
            true => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
            false => c.to_string(),
        })
        .collect()
}

/// A test whose value is `one`, one of several, or a table of conditions.
fn test(one: Value) -> Value {
    any_of([
        one.clone(),
        some_of(any_of([one, reference("test-table")])),
        reference("test-table"),
    ])
}

fn test_table() -> Value {
    let integer = || json!({ "type": "integer" });
    let mut schema = object(table(&[
        may(
            "matches",
            text("A regular expression that one value matches"),
        ),
        may("has", strings()),
        may("lacks", strings()),
        may("absent", said()),
        may("present", said()),
        may("min", integer()),
        may("max", integer()),
        may("count", number()),
        may("fewer-than", number()),
        may("exactly", strings()),
        may("besides", strings()),
    ]));
    schema.insert("minProperties".to_owned(), json!(1));
    schema.into()
}

fn pins(more: &[Key]) -> Value {
    let mut keys = vec![
        may(Choice::PeerList.word(), word(all::<Path>())),
        may(Choice::Request.word(), word(all::<RequestPath>())),
        may(Choice::Status.word(), word(all::<Path>())),
    ];
    keys.extend_from_slice(more);
    table(&keys)
}

/// Each of the times that a profile may state.
fn timers(each: Value) -> Vec<Key> {
    let words = all::<Timer>().into_iter();
    words.map(|word| may(word, each.clone())).collect()
}

/// Content to piece numbers.
fn holdings() -> Value {
    map_to(array(json!({ "type": "integer", "minimum": 1 })))
}

/// A key of a table: name, schema, whether it has to be there.
pub(crate) type Key = (&'static str, Value, bool);

pub(crate) fn need(name: &'static str, schema: Value) -> Key {
    (name, schema, true)
}

pub(crate) fn may(name: &'static str, schema: Value) -> Key {
    (name, schema, false)
}

pub(crate) fn table(keys: &[Key]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|(name, schema, _)| ((*name).to_owned(), schema.clone()))
        .collect();
    let required: Vec<&str> = keys
        .iter()
        .filter(|(_, _, must)| *must)
        .map(|(name, _, _)| *name)
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// The same, and exactly one of these keys is there.
fn exactly_one(schema: Value, keys: &[Key]) -> Value {
    let each: Vec<Value> = keys
        .iter()
        .map(|(name, _, _)| json!({ "required": [name] }))
        .collect();
    let mut schema = object(schema);
    schema.insert("oneOf".to_owned(), each.into());
    schema.into()
}

pub(crate) fn document(title: &str, root: Value, definitions: Map<String, Value>) -> Value {
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!(DRAFT));
    schema.insert("title".to_owned(), json!(title));
    schema.extend(object(root));
    if !definitions.is_empty() {
        schema.insert("definitions".to_owned(), definitions.into());
    }
    schema.into()
}

fn object(schema: Value) -> Map<String, Value> {
    match schema {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{name}") })
}

fn any_of<const N: usize>(schemas: [Value; N]) -> Value {
    json!({ "anyOf": schemas.to_vec() })
}

fn array(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// One at least.
fn some_of(items: Value) -> Value {
    json!({ "type": "array", "items": items, "minItems": 1 })
}

fn map_to(value: Value) -> Value {
    json!({ "type": "object", "additionalProperties": value })
}

fn one_or_some(one: Value) -> Value {
    any_of([one.clone(), array(one)])
}

pub(crate) fn text(says: &str) -> Value {
    json!({ "type": "string", "description": says })
}

fn strings() -> Value {
    one_or_some(json!({ "type": "string" }))
}

pub(crate) fn word(words: Vec<&str>) -> Value {
    json!({ "enum": words })
}

fn words(known: Vec<&'static str>) -> Value {
    one_or_some(word(known))
}

/// Words that are joined as the values of a field are.
fn several(words: &[&str]) -> Value {
    let words: Vec<String> = words.iter().map(|word| regex::escape(word)).collect();
    let one = format!("({})", words.join("|"));
    json!({ "type": "string", "pattern": format!("^{one}(, {one})*$") })
}

/// A text with a place to be filled in.
fn place() -> Value {
    json!({ "type": "string", "pattern": r"\$\{" })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

/// Said by being there.
fn said() -> Value {
    json!({ "const": true })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn share(most: u32) -> Value {
    json!({ "type": "number", "minimum": 0, "maximum": most })
}

fn duration() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+(ms|s|min)$", "description": "250ms, 2s, 3min" })
}

/// A closed vocabulary.
trait Vocabulary: Sized + 'static {
    fn every() -> &'static [Self];
    fn written(&self) -> &'static str;
}

macro_rules! vocabularies {
    ($($name:ty),*) => {
        $(impl Vocabulary for $name {
            fn every() -> &'static [Self] {
                Self::ALL
            }

            fn written(&self) -> &'static str {
                self.word()
            }
        })*
    };
}

vocabularies!(
    Architecture,
    Basis,
    Delivery,
    Except,
    Feature,
    Path,
    Protection,
    RefPoint,
    RequestPath,
    Role,
    Strength,
    Timer,
    Worth
);

fn all<T: Vocabulary>() -> Vec<&'static str> {
    T::every().iter().map(T::written).collect()
}

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap, collections::BTreeSet};

    use jsonschema::Validator;
    use toml::{Table, Value as Toml};

    use super::*;
    use crate::suite::{
        Contents, Files, Ledger, Subscribers, Suite, Topology,
        diagnostic::{Diagnostics, Source},
        document::{self, Notes, parse},
        reading::{self, World},
    };

    /// A file's schema and its reader.
    struct Kind<'a> {
        schema: Value,
        validator: Validator,
        read: Box<dyn Fn(&str) -> Diagnostics + 'a>,
    }

    impl<'a> Kind<'a> {
        fn new(schema: Value, read: impl Fn(document::Table<'_>) + 'a) -> Kind<'a> {
            let validator = jsonschema::validator_for(&schema).expect("a schema");
            let read = move |text: &str| {
                let notes = Notes::new(Source::new("file.toml", text));
                parse(&notes, text, &read);
                notes.finish()
            };
            Kind {
                schema,
                validator,
                read: Box::new(read),
            }
        }

        fn mistakes(&self, file: &Toml) -> Vec<String> {
            let text = toml::to_string(file).expect("it was TOML");
            let found = (self.read)(&text);
            let found = found.items().iter().map(|mistake| mistake.line());
            found.collect()
        }

        fn admits(&self, file: &Toml) -> bool {
            self.validator
                .is_valid(&serde_json::to_value(file).expect("TOML is JSON"))
        }
    }

    /// Where something stands in a file: keys, and numbers within lists.
    #[derive(Clone, Debug)]
    enum Part {
        Key(String),
        Item(usize),
    }

    /// The keys to something, whatever their place in lists.
    fn kind_of(path: &[Part]) -> String {
        let words = path.iter().map(|part| match part {
            Part::Key(key) => key.as_str(),
            Part::Item(_) => "[]",
        });
        words.collect::<Vec<_>>().join(".")
    }

    fn walk(value: &Toml, path: &mut Vec<Part>, seen: &mut impl FnMut(&[Part], &Toml)) {
        seen(path, value);
        let parts: Vec<(Part, &Toml)> = match value {
            Toml::Table(table) => {
                let entries = table.iter();
                entries.map(|(k, v)| (Part::Key(k.clone()), v)).collect()
            }
            Toml::Array(items) => {
                let items = items.iter().enumerate();
                items.map(|(n, v)| (Part::Item(n), v)).collect()
            }
            _ => Vec::new(),
        };
        for (part, value) in parts {
            path.push(part);
            walk(value, path, seen);
            path.pop();
        }
    }

    fn at<'v>(value: &'v mut Toml, path: &[Part]) -> &'v mut Toml {
        path.iter().fold(value, |value, part| match part {
            Part::Key(key) => &mut value[key.as_str()],
            Part::Item(n) => &mut value[*n],
        })
    }

    /// Each table of a list at the root as a file of its own, with all that stands beside the list.
    fn alone(file: &Toml, list: &str) -> Vec<Toml> {
        let root = file.as_table().expect("a file is a table");
        let items = root[list].as_array().expect("a list").iter();
        items
            .map(|item| {
                let mut root: Table = root.clone();
                root.insert(list.to_owned(), Toml::Array(vec![item.clone()]));
                Toml::Table(root)
            })
            .collect()
    }

    /// One file and place for each kind of place in all of them.
    fn places(kind: &Kind<'_>, files: &[Toml]) -> Vec<(Toml, Vec<Part>)> {
        let mut found = BTreeMap::new();
        for file in files {
            let is_right = RefCell::new(None);
            walk(file, &mut Vec::new(), &mut |path, _| {
                if found.contains_key(&kind_of(path)) {
                    return;
                }
                let mut is_right = is_right.borrow_mut();
                if *is_right.get_or_insert_with(|| kind.mistakes(file).is_empty()) {
                    found.insert(kind_of(path), (file.clone(), path.to_vec()));
                }
            });
        }
        found.into_values().collect()
    }

    /// Breaks each kind of place in every way, and holds schema and reader to the same answer.
    fn hold_to_each_other(kind: &Kind<'_>, files: &[Toml]) {
        let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut broken = 0;
        for (file, path) in places(kind, files) {
            assert!(kind.admits(&file), "the schema refuses {}", kind_of(&path));
            let mut file = file;
            let was = at(&mut file, &path).clone();
            // A file is a table, whatever is in it.
            let others = if path.is_empty() {
                Vec::new()
            } else {
                others(&was)
            };
            for other in others {
                let is_typed = !other.is_str() && other != Toml::Integer(-7);
                *at(&mut file, &path) = other.clone();
                let (mistakes, admits) = (kind.mistakes(&file), kind.admits(&file));
                let what = || format!("{} = {other}: {mistakes:?}", kind_of(&path));
                broken += usize::from(!mistakes.is_empty());
                assert!(
                    admits || !mistakes.is_empty(),
                    "only the schema refuses {}",
                    what()
                );
                let is_free = other.as_array().is_some_and(Vec::is_empty);
                assert!(
                    !is_typed || is_free || mistakes.is_empty() || !admits,
                    "only the reader refuses {}",
                    what()
                );
            }
            *at(&mut file, &path) = was.clone();
            let Some(table) = was.as_table() else {
                continue;
            };
            for key in table.keys() {
                let mut without = table.clone();
                without.remove(key);
                *at(&mut file, &path) = Toml::Table(without);
                let (mistakes, admits) = (kind.mistakes(&file), kind.admits(&file));
                let what = || format!("{} without {key}: {mistakes:?}", kind_of(&path));
                assert!(
                    admits || !mistakes.is_empty(),
                    "only the schema misses {}",
                    what()
                );
                let missed = format!("\"{key}\" is missing");
                let is_missed = mistakes.iter().any(|mistake| mistake.contains(&missed));
                assert!(!(is_missed && admits), "only the reader misses {}", what());
            }
            let mut strange = table.clone();
            strange.insert(STRANGE.to_owned(), Toml::Integer(1));
            *at(&mut file, &path) = Toml::Table(strange);
            let unknown = format!("unknown key \"{STRANGE}\", expected one of ");
            let mistakes = kind.mistakes(&file);
            let told = mistakes.iter().find_map(|m| m.split_once(&unknown));
            if let Some((_, keys)) = told {
                assert!(
                    !kind.admits(&file),
                    "the schema takes any key of {}",
                    kind_of(&path)
                );
                let keys = keys.split(" (did").next().unwrap_or_default();
                let keys = keys.split(", ").map(str::to_owned);
                known.entry(kind_of(&path)).or_default().extend(keys);
            }
        }
        assert!(broken > 20, "only {broken} were broken");
        for (place, keys) in known {
            let schema = schema_at(&kind.schema, &place);
            let properties = schema["properties"].as_object().expect("a table");
            let properties: BTreeSet<String> = properties.keys().cloned().collect();
            assert_eq!(
                keys, properties,
                "keys that the reader and the schema know of {place:?}"
            );
        }
    }

    /// Something of each other type, and of the same.
    fn others(was: &Toml) -> Vec<Toml> {
        let table = Table::from_iter([(STRANGE.to_owned(), Toml::Integer(1))]);
        let mut others = vec![
            Toml::Boolean(true),
            Toml::Integer(-7),
            Toml::Float(1.5),
            Toml::String("no such thing".to_owned()),
            Toml::Array(Vec::new()),
            Toml::Array(vec![Toml::Boolean(true)]),
            Toml::Table(table),
        ];
        others.retain(|other| other != was);
        others
    }

    /// The schema of a kind of place.
    fn schema_at<'v>(root: &'v Value, place: &str) -> &'v Value {
        let mut here = root;
        for word in place.split('.').filter(|word| !word.is_empty()) {
            here = resolved(root, here);
            here = match word {
                "[]" => with(root, here, "items"),
                key => {
                    let patterns = with(root, here, "patternProperties").as_object();
                    let by_pattern = patterns.and_then(|patterns| patterns.values().next());
                    match (&with(root, here, "properties")[key], by_pattern) {
                        (Value::Null, Some(schema)) => schema,
                        (Value::Null, None) => with(root, here, "additionalProperties"),
                        (schema, _) => schema,
                    }
                }
            };
        }
        let here = resolved(root, here);
        match here["anyOf"].as_array() {
            Some(any) => any
                .iter()
                .map(|one| resolved(root, one))
                .find(|one| one["properties"].is_object())
                .expect("one is a table"),
            None => here,
        }
    }

    /// A member of a schema, or of that of several that has it.
    fn with<'v>(root: &'v Value, here: &'v Value, member: &str) -> &'v Value {
        let any = here["anyOf"].as_array().into_iter().flatten();
        std::iter::once(here)
            .chain(any)
            .map(|one| &resolved(root, one)[member])
            .find(|found| !found.is_null())
            .unwrap_or(&Value::Null)
    }

    fn resolved<'v>(root: &'v Value, here: &'v Value) -> &'v Value {
        match here["$ref"].as_str() {
            Some(reference) => root.pointer(&reference[1..]).expect("it is defined"),
            None => here,
        }
    }

    fn files(texts: &[(String, String)], is_one: impl Fn(&str) -> bool, list: &str) -> Vec<Toml> {
        let texts = texts.iter().filter(|(path, _)| is_one(path));
        texts
            .map(|(_, text)| Toml::Table(text.parse().expect("TOML")))
            .flat_map(|file| alone(&file, list))
            .collect()
    }

    #[test]
    fn scenario_files_are_refused_by_both_or_by_none() {
        let suite = Suite::embedded(Names::default()).expect("it has no mistakes");
        let deviations: Vec<&str> = suite
            .scenarios
            .iter()
            .flat_map(|s| &s.kills)
            .map(|n| &**n)
            .collect();
        let names = Names {
            deviations: Some(&deviations),
            checks: Some(&["integrity"]),
        };
        let messages: Vec<(String, String)> = Files::embedded()
            .fixtures
            .iter()
            .filter_map(|(path, text)| {
                let name = path.strip_prefix("messages/")?.strip_suffix(".txt")?;
                Some((name.to_owned(), text.clone()))
            })
            .collect();
        let world = World {
            ledger: &suite.ledger,
            contents: &suite.contents,
            subscribers: &suite.subscribers,
            topologies: &suite.topologies,
            messages: &messages,
            deviations: names.deviations,
            checks: names.checks,
            uses: RefCell::default(),
        };
        let embedded = Files::embedded().suites;
        for folder in ["registered", "unregistered", "common"] {
            let id = format!("{folder}/file");
            let kind = Kind::new(scenarios(names), |root| {
                reading::read_file(&world, &id, root);
            });
            let is_one = |path: &str| path.starts_with(folder) && path.ends_with(".toml");
            hold_to_each_other(&kind, &files(&embedded, is_one, "scenario"));
        }
    }

    #[test]
    fn fixtures_and_ledger_are_refused_by_both_or_by_none() {
        let suite = Suite::embedded(Names::default()).expect("it has no mistakes");
        let Files {
            suites, fixtures, ..
        } = Files::embedded();
        let is = |wanted: &'static str| move |path: &str| path == wanted;
        let kind = Kind::new(requirements(), |root| drop(Ledger::read(root)));
        hold_to_each_other(
            &kind,
            &files(&suites, is("requirements.toml"), "requirement"),
        );
        let kind = Kind::new(contents(), |root| drop(Contents::read(root)));
        hold_to_each_other(&kind, &files(&fixtures, is("contents.toml"), "content"));
        let kind = Kind::new(subscribers(), |root| drop(Subscribers::read(root)));
        hold_to_each_other(
            &kind,
            &files(&fixtures, is("subscribers.toml"), "subscriber"),
        );
        let kind = Kind::new(topology(), |root| {
            Topology::read("file", root, &suite.subscribers, &suite.contents);
        });
        let is_topology = |path: &str| path.starts_with("topologies/") && path.ends_with(".toml");
        hold_to_each_other(&kind, &files(&fixtures, is_topology, "node"));
    }

    const STRANGE: &str = "nobody-knows-this";
}
