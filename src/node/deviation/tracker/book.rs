//! What a tracker's door remembers: which request each answer answers, and who joined what. Deviations
//! bend requests with [`request`] and answers with [`answers`].

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::{
    Door, Heard, Passing, Said,
    apart::{self, Http},
    bend::{self, Notes},
};
use crate::{
    node::{Setup, tracking_list::Empty},
    spec::RefPoint,
    time::At,
    wire::{frame::LinkId, message::Decoded},
};

pub const ROOT: &str = "PPSPTrackerProtocol";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub on: RefPoint,
    /// POST, SUBSCRIBE, PUBLISH.
    pub method: String,
    /// Its document; null if it carried none that is JSON.
    pub document: Value,
    /// Whether it named an intended identity.
    pub is_intended: bool,
}

/// A peer as it announced itself.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub addresses: Vec<Value>,
    /// The addresses it came with first.
    pub first_addresses: Vec<Value>,
    pub swarms: BTreeMap<String, Stay>,
    pub heard: At,
    /// How many of its requests succeeded.
    pub requests: u64,
    /// Where it was heard.
    pub on: Vec<RefPoint>,
}

/// A peer's stay in a swarm.
#[derive(Clone, Debug)]
pub struct Stay {
    pub mode: String,
    pub cds: Map<String, Value>,
    pub left: Option<At>,
    /// Which of the swarms of the peer it is, from 0.
    pub place: usize,
}

/// What the door remembers.
#[derive(Debug, Default)]
pub struct Book {
    /// Requests whose answers are to come, in order.
    open: BTreeMap<LinkId, VecDeque<Asked>>,
    /// Requests inside SIP, by Call-ID.
    calls: Notes<Asked>,
    pub peers: BTreeMap<String, Known>,
}

/// How many peers, links and requests on a link are remembered.
const MOST: usize = 4096;

impl Book {
    fn hear(&mut self, passing: &Passing<'_>) {
        let method = match passing.message {
            Decoded::HttpRequest(request) => request.method().to_owned(),
            Decoded::Sip(request) if request.is_request() => request.method().to_owned(),
            _ => return,
        };
        let asked = Asked {
            on: passing.on,
            method,
            document: apart::json(passing.message).unwrap_or(Value::Null),
            is_intended: matches!(passing.message, Decoded::HttpRequest(request)
                if request.has("X-3GPP-Intended-Identity")),
        };
        match (passing.message, passing.link) {
            (Decoded::Sip(request), _) => {
                let call = request.call_id().unwrap_or_default();
                if let Some(known) = self.calls.get(&call)
                    && asked.document.is_null()
                {
                    known.method = asked.method;
                } else {
                    self.calls.put(&call, asked);
                }
            }
            (_, Some(link)) if self.open.len() < MOST => {
                let open = self.open.entry(link).or_default();
                if open.len() < MOST {
                    open.push_back(asked);
                }
            }
            _ => {}
        }
    }

    /// The request that a message answers; for a NOTIFY the one that subscribed.
    fn asked(&mut self, passing: &Passing<'_>) -> Option<Asked> {
        match passing.message {
            Decoded::Sip(message) => self.calls.get(&message.call_id().ok()?).cloned(),
            Decoded::HttpResponse(_) => {
                let open = self.open.get_mut(&passing.link?)?;
                let asked = open.pop_front();
                if open.is_empty() {
                    self.open.remove(&passing.link?);
                }
                asked
            }
            _ => None,
        }
    }

    /// Writes down what a request that succeeded has brought about.
    fn learn(&mut self, at: At, asked: &Asked) {
        let root = &asked.document[ROOT];
        let Some(peer_id) = root["peer_id"].as_str() else {
            return;
        };
        if self.peers.len() >= MOST && !self.peers.contains_key(peer_id) {
            return;
        }
        let known = self.peers.entry(peer_id.to_owned()).or_default();
        known.heard = at;
        known.requests += 1;
        if !known.on.contains(&asked.on) {
            known.on.push(asked.on);
        }
        let connect = &root["connect"];
        if let Some(addresses) = connect["peer_addr"].as_array() {
            known.addresses.clone_from(addresses);
            if known.first_addresses.is_empty() {
                known.first_addresses.clone_from(addresses);
            }
        }
        for action in list_of(&connect["swarm_action"]) {
            let swarm = action["swarm_id"].as_str().unwrap_or_default();
            match action["action"].as_str() {
                Some("JOIN") => {
                    let place = known.swarms.len();
                    let stay = Stay {
                        mode: action["peer_mode"].as_str().unwrap_or_default().to_owned(),
                        cds: action["cds"].as_object().cloned().unwrap_or_default(),
                        left: None,
                        place,
                    };
                    if place < MOST {
                        known.swarms.insert(swarm.to_owned(), stay);
                    }
                }
                Some("LEAVE") => {
                    if let Some(stay) = known.swarms.get_mut(swarm) {
                        stay.left = Some(at);
                    }
                }
                _ => {}
            }
        }
        for stat in list_of(&root["stat_report"]["stat"]) {
            let swarm = stat["swarm_id"].as_str().unwrap_or_default();
            let pieces = &stat["cds"]["pieces"];
            if let Some(stay) = known.swarms.get_mut(swarm)
                && pieces.is_array()
            {
                stay.cds.insert("pieces".to_owned(), pieces.clone());
            }
        }
    }

    /// A peer as a list has it, with what it said of one swarm; `None` if it gave no address.
    pub fn entry(&self, peer_id: &str, swarm: &str) -> Option<Value> {
        let known = self.peers.get(peer_id)?;
        let mut cds = known.swarms.get(swarm)?.cds.clone();
        cds.remove("content");
        Some(json!({ "peer_id": peer_id, "peer_addr": known.addresses.first()?, "cds": cds }))
    }

    /// The peers whose stay in a swarm fits, as a list has them.
    pub fn entries(&self, fits: impl Fn(&Known, &str, &Stay) -> bool) -> Vec<Value> {
        let mut found = Vec::new();
        for (id, known) in &self.peers {
            for (swarm, stay) in &known.swarms {
                if fits(known, swarm, stay) {
                    found.extend(self.entry(id, swarm));
                }
            }
        }
        found
    }
}

/// Whoever adds to lists needs them written, empty ones too.
pub fn lists_nobody_as_nobody(setup: &mut Setup) {
    setup.policy.tracker.empty = Empty::EmptyArray;
}

/// The items of a list; none if it is no list.
pub fn list_of(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A document on its way out.
pub struct Told<'a, 'p> {
    pub book: &'a mut Book,
    pub passing: &'a Passing<'p>,
    /// What it answers, where that is known.
    pub asked: Option<&'a Asked>,
    /// All of it; may be changed.
    pub document: &'a mut Value,
    /// The HTTP status; may be changed.
    pub status: u16,
}

impl Told<'_, '_> {
    /// Changes the members of the root, if there is one.
    pub fn root(&mut self, change: impl FnOnce(&mut Map<String, Value>)) {
        let root = self.document.get_mut(ROOT);
        if let Some(root) = root.and_then(Value::as_object_mut) {
            change(root);
        }
    }

    /// Puts a member into the root.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.root(|root| {
            root.insert(name.to_owned(), value.into());
        });
    }

    /// CONNECT, FIND, STAT_REPORT or nothing of the kind.
    pub fn kind(&self) -> &str {
        let asked = self
            .asked
            .map(|asked| &asked.document[ROOT]["request_type"]);
        asked.and_then(Value::as_str).unwrap_or_default()
    }

    /// Who asked.
    pub fn asker(&self) -> &str {
        let asked = self.asked.map(|asked| &asked.document[ROOT]["peer_id"]);
        asked.and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the request had an action of that word.
    pub fn asks_to(&self, action: &str) -> bool {
        self.actions().any(|asked| asked["action"] == action)
    }

    /// Whether whoever asked is known to have joined, and not to have left all again.
    pub fn is_tracked(&self) -> bool {
        let known = self.book.peers.get(self.asker());
        known.is_some_and(|known| known.swarms.values().any(|stay| stay.left.is_none()))
    }

    /// Whether it was refused for what it is; a challenge is no refusal.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.error(), 3 | 6) && self.status != 401
    }

    /// Adds peers to each list, but neither whoever asks nor one who is there already.
    pub fn add(&mut self, fits: impl Fn(&Known, &str, &Stay, &str) -> bool) {
        let asker = self.asker().to_owned();
        self.lists(|book, swarm, listed| {
            for entry in book.entries(|known, other, stay| fits(known, other, stay, swarm)) {
                let is_there = listed
                    .iter()
                    .any(|peer| peer["peer_id"] == entry["peer_id"]);
                if !is_there && entry["peer_id"] != asker.as_str() {
                    listed.push(entry);
                }
            }
        });
    }

    pub fn actions(&self) -> impl Iterator<Item = &Value> {
        let connect = self.asked.map(|asked| &asked.document[ROOT]["connect"]);
        let actions = connect.map(|connect| list_of(&connect["swarm_action"]));
        actions.unwrap_or_default().iter()
    }

    pub fn error(&self) -> u64 {
        self.document[ROOT]["error_code"].as_u64().unwrap_or(0)
    }

    /// The results of swarms.
    pub fn results(&mut self) -> impl Iterator<Item = &mut Map<String, Value>> {
        let results = results_of(self.document).into_iter().flatten();
        results.filter_map(Value::as_object_mut)
    }

    /// Changes each list: the swarm, and who is listed. `book` may be looked into.
    pub fn lists(&mut self, mut change: impl FnMut(&Book, &str, &mut Vec<Value>)) {
        for result in results_of(self.document).into_iter().flatten() {
            let swarm = result["swarm_id"].as_str().unwrap_or_default().to_owned();
            let group = result.get_mut("peer_group");
            let listed = group.and_then(|group| group.get_mut("peer_info"));
            if let Some(listed) = listed.and_then(Value::as_array_mut) {
                change(self.book, &swarm, listed);
            }
        }
    }

    /// Changes each entry of each list.
    pub fn each_peer(&mut self, mut change: impl FnMut(&mut Map<String, Value>)) {
        self.lists(|_, _, listed| {
            for peer in listed.iter_mut().filter_map(Value::as_object_mut) {
                change(peer);
            }
        });
    }

    /// Makes a success of it, with a result for each swarm that was named.
    pub fn succeed(&mut self) {
        let asked = self.asked.map(|asked| asked.document[ROOT].clone());
        let asked = asked.unwrap_or_default();
        let named = list_of(&asked["connect"]["swarm_action"])
            .iter()
            .chain(list_of(&asked["stat_report"]["stat"]))
            .chain(asked.get("find"));
        let results: Vec<Value> = named
            .map(|named| json!({ "swarm_id": named["swarm_id"], "result": 0 }))
            .collect();
        self.status = 200;
        self.set("response_type", 0);
        self.set("error_code", 0);
        if !results.is_empty() {
            self.set("swarm_result", results);
        }
    }
}

/// The swarm a result is of.
pub fn swarm_of(result: &Map<String, Value>) -> &str {
    let swarm = result.get("swarm_id").and_then(Value::as_str);
    swarm.unwrap_or_default()
}

fn results_of(document: &mut Value) -> Option<&mut Vec<Value>> {
    document
        .get_mut(ROOT)?
        .get_mut("swarm_result")?
        .as_array_mut()
}

/// A door with a book.
struct Minded {
    book: Book,
    hears: fn(&mut Book, &Passing<'_>) -> Heard,
    says: fn(&mut Told<'_, '_>),
}

impl Door for Minded {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let heard = (self.hears)(&mut self.book, passing);
        if matches!(heard, Heard::AsItCame | Heard::Instead(_)) {
            self.book.hear(passing);
        }
        heard
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let asked = self.book.asked(passing);
        let status = match passing.message {
            Decoded::HttpResponse(response) => response.status(),
            Decoded::Sip(message) => message.status().unwrap_or(0),
            _ => return Said::AsWritten,
        };
        let written = apart::json(passing.message);
        let is_taken = written
            .as_ref()
            .is_none_or(|document| document[ROOT]["error_code"] == 0);
        if let Some(asked) = &asked
            && status == 200
            && is_taken
        {
            self.book.learn(passing.at, asked);
        }
        let Some(written) = written else {
            return Said::AsWritten;
        };
        let mut document = written.clone();
        let mut told = Told {
            book: &mut self.book,
            passing,
            asked: asked.as_ref(),
            document: &mut document,
            status,
        };
        (self.says)(&mut told);
        let bent_status = told.status;
        bend::said(match (bent_status != status, document == written) {
            (false, true) => None,
            (false, false) => bend::with_body(passing.message, &document.to_string()),
            (true, _) => Http::of(passing.message).map(|http| {
                let http = http.status(bent_status);
                http.body(document.to_string()).finish()
            }),
        })
    }
}

/// Bends the documents that go out.
pub fn answers(says: fn(&mut Told<'_, '_>)) -> Box<dyn Door> {
    minded(|_, _| Heard::AsItCame, says)
}

/// Bends what is heard and the documents that go out, with one book.
pub fn minded(
    hears: fn(&mut Book, &Passing<'_>) -> Heard,
    says: fn(&mut Told<'_, '_>),
) -> Box<dyn Door> {
    Box::new(Minded {
        book: Book::default(),
        hears,
        says,
    })
}

/// Bends the members of the root of a request's document.
pub fn request(passing: &Passing<'_>, change: impl FnOnce(&mut Map<String, Value>)) -> Heard {
    if !is_request(passing) {
        return Heard::AsItCame;
    }
    bend::heard(apart::changed_json(passing.message, |document| {
        if let Some(root) = document.get_mut(ROOT).and_then(Value::as_object_mut) {
            change(root);
        }
    }))
}

/// Whether it carries a document to the tracker.
pub fn is_request(passing: &Passing<'_>) -> bool {
    match passing.message {
        Decoded::HttpRequest(_) => true,
        Decoded::Sip(message) => message.is_request(),
        _ => false,
    }
}

/// The members of the root of a request's document.
pub fn root_of(passing: &Passing<'_>) -> Option<Map<String, Value>> {
    match apart::json(passing.message)?.get_mut(ROOT)? {
        Value::Object(root) if is_request(passing) => Some(std::mem::take(root)),
        _ => None,
    }
}

/// Refuses a request over HTTP with an error of the protocol in the node's place. On Ut only who has
/// credentials; the others are challenged as ever.
pub fn refused(passing: &Passing<'_>, code: u8) -> Heard {
    let Decoded::HttpRequest(request) = passing.message else {
        return Heard::AsItCame;
    };
    if passing.on == RefPoint::Ut && !request.has("Authorization") {
        return Heard::AsItCame;
    }
    let asked = root_of(passing).unwrap_or_default();
    let transaction = asked.get("transaction_id").cloned().unwrap_or("".into());
    let document = json!({ ROOT: {
        "version": 1,
        "response_type": 1,
        "error_code": code,
        "transaction_id": transaction,
    } });
    let response = crate::wire::http::Response::build(200).body(
        crate::wire::ppstp::MEDIA_TYPE,
        Bytes::from(document.to_string()),
    );
    Heard::Answer(vec![response.finish().bytes().clone()])
}

/// Swarm actions, statistics: the objects of a list within the root, one after the other.
pub fn each_in(
    root: &mut Map<String, Value>,
    path: [&str; 2],
    mut change: impl FnMut(&mut Map<String, Value>),
) {
    let list = root
        .get_mut(path[0])
        .and_then(|within| within.get_mut(path[1]))
        .and_then(Value::as_array_mut);
    for item in list.into_iter().flatten().filter_map(Value::as_object_mut) {
        change(item);
    }
}

/// Where swarm actions stand, and where statistics.
pub const ACTIONS: [&str; 2] = ["connect", "swarm_action"];
pub const STATS: [&str; 2] = ["stat_report", "stat"];
