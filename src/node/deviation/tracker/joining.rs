//! Which combinations of actions a tracker takes (RFC 7846 2.3, Table 6), and what it lets reports say.

use serde_json::{Map, Value, json};

use super::{
    super::{
        Deviation, Door, Heard, How, Passing, Said,
        apart::{self, Http},
        bend::{Notes, said},
    },
    book::{Book, ROOT, Told, answers, list_of, minded, refused, request, root_of},
    row,
};
use crate::wire::{
    message::Decoded,
    sip::{Builder, reason},
};

pub const TABLE: &[Deviation] = &[
    row(
        "tracker-lets-newcomers-wait",
        "PPSTP-015",
        "refuses the first FIND of a peer that has just joined",
        How::Door(|_| {
            minded(
                |book, passing| {
                    let root = root_of(passing).unwrap_or_default();
                    let known = root.get("peer_id").and_then(Value::as_str);
                    let known = known.and_then(|id| book.peers.get(id));
                    let finds = root.get("request_type").is_some_and(|kind| kind == "FIND");
                    refused_if(passing, finds && known.is_some_and(|k| k.requests == 1), 3)
                },
                |_| {},
            )
        }),
    ),
    row(
        "tracker-succeeds-with-nothing",
        "PPSTP-050",
        "answers a document without a request with success",
        How::Door(|_| answers(succeed_with_nothing)),
    ),
    row(
        "tracker-finds-without-a-swarm",
        "PPSTP-054",
        "takes a FIND without swarm for one in the swarm the peer is in",
        How::Door(|_| minded(with_swarm, |_| {})),
    ),
    row(
        "tracker-takes-any-password",
        "PPSTP-065",
        "registers users who cannot prove themselves",
        How::Setup(|setup| setup.policy.tracker.takes_any_password = true),
    ),
    row(
        "tracker-wants-seeders-first",
        "PPSTP-066",
        "refuses a leech that has not joined before",
        How::Door(|_| {
            minded(
                |book, passing| {
                    let root = root_of(passing).unwrap_or_default();
                    let is_new = !is_known(book, &root);
                    let leeches = |a: &Value| a["action"] == "JOIN" && a["peer_mode"] == "LEECH";
                    refused_if(passing, is_new && actions_of(&root).iter().any(leeches), 3)
                },
                |_| {},
            )
        }),
    ),
    row(
        "tracker-does-one-thing-at-a-time",
        "PPSTP-070",
        "refuses a tracked peer that leaves one swarm and joins another at once",
        How::Door(|_| {
            minded(
                |book, passing| {
                    let root = root_of(passing).unwrap_or_default();
                    let does = |word: &str| actions_of(&root).iter().any(|a| a["action"] == word);
                    let is_both = does("JOIN") && does("LEAVE") && is_known(book, &root);
                    refused_if(passing, is_both, 3)
                },
                |_| {},
            )
        }),
    ),
    row(
        "tracker-joins-the-first-swarm-only",
        "PPSTP-071",
        "takes the first of several JOINs",
        How::Hears(|passing| first_only(passing, "JOIN")),
    ),
    row(
        "tracker-leaves-the-first-swarm-only",
        "PPSTP-073",
        "takes the first of several LEAVEs",
        How::Hears(|passing| first_only(passing, "LEAVE")),
    ),
    row(
        "tracker-wants-seeders-to-ask",
        "PPSTP-080",
        "refuses a seeder that asks for no peers",
        How::Hears(|passing| {
            let root = root_of(passing).unwrap_or_default();
            let asks = root
                .get("connect")
                .is_some_and(|c| !c["peer_num"].is_null());
            let seeds = |a: &Value| a["action"] == "JOIN" && a["peer_mode"] == "SEEDER";
            refused_if(passing, !asks && actions_of(&root).iter().any(seeds), 1)
        }),
    ),
    row(
        "tracker-wants-counters-to-grow",
        "PPSTP-088",
        "refuses a report whose counters go backwards",
        How::Door(|_| Box::<Counters>::default()),
    ),
    row(
        "tracker-writes-the-extension-beside",
        "PPSTP-105",
        "writes the members of the extension among those of the protocol",
        How::Door(|_| {
            answers(|told| {
                told.each_peer(|peer| {
                    if let Some(Value::Object(cds)) = peer.shift_remove("cds") {
                        peer.extend(cds);
                    }
                });
            })
        }),
    ),
    row(
        "tracker-takes-no-reports",
        "PPSTP-108",
        "refuses reports",
        How::Hears(|passing| {
            let root = root_of(passing).unwrap_or_default();
            let reports = root.get("request_type").is_some_and(|t| t == "STAT_REPORT");
            refused_if(passing, reports, 3)
        }),
    ),
    row(
        "tracker-writes-ids-into-headers",
        "SEC-008",
        "repeats the swarm id in a header as it came",
        How::Door(|_| Box::<Header>::default()),
    ),
    row(
        "tracker-notifies-five-times",
        "SEC-018",
        "sends each NOTIFY five times",
        How::Says(|passing| match passing.request("NOTIFY") {
            Some(_) => Said::Instead(vec![passing.bytes.clone(); 5]),
            None => Said::AsWritten,
        }),
    ),
    row(
        "tracker-rings-subscribers",
        "ERR-022",
        "answers a SUBSCRIBE 180 before it answers 200",
        How::Hears(|passing| match passing.request("SUBSCRIBE") {
            Some(subscribe) => {
                let ringing = Builder::response(subscribe, 180, reason(180), Some("ring"));
                Heard::AnswerToo(vec![ringing.finish().bytes().clone()])
            }
            None => Heard::AsItCame,
        }),
    ),
];

fn refused_if(passing: &Passing<'_>, is_refused: bool, code: u8) -> Heard {
    match is_refused {
        true => refused(passing, code),
        false => Heard::AsItCame,
    }
}

fn is_known(book: &Book, root: &Map<String, Value>) -> bool {
    let id = root.get("peer_id").and_then(Value::as_str);
    id.is_some_and(|id| book.peers.contains_key(id))
}

fn actions_of(root: &Map<String, Value>) -> &[Value] {
    let connect = root.get("connect");
    connect.map_or(&[], |connect| list_of(&connect["swarm_action"]))
}

fn succeed_with_nothing(told: &mut Told<'_, '_>) {
    let is_empty = told.asked.is_some_and(|asked| {
        let root = asked.document[ROOT].as_object();
        root.is_some_and(|root| !root.contains_key("request_type"))
    });
    if is_empty && told.error() == 1 {
        told.succeed();
    }
}

fn with_swarm(book: &mut Book, passing: &Passing<'_>) -> Heard {
    let root = root_of(passing).unwrap_or_default();
    let known = root.get("peer_id").and_then(Value::as_str);
    let known = known.and_then(|id| book.peers.get(id));
    let Some(swarm) = known.and_then(|known| known.swarms.keys().next()) else {
        return Heard::AsItCame;
    };
    if root.get("request_type").is_none_or(|kind| kind != "FIND") {
        return Heard::AsItCame;
    }
    request(passing, |root| {
        let find = root.entry("find").or_insert(json!({}));
        if let Some(find) = find.as_object_mut() {
            find.entry("swarm_id").or_insert(swarm.as_str().into());
        }
    })
}

/// The first action of that word, and all others.
fn first_only(passing: &Passing<'_>, word: &str) -> Heard {
    request(passing, |root| {
        let connect = root.get_mut("connect");
        let actions = connect.and_then(|connect| connect.get_mut("swarm_action"));
        if let Some(actions) = actions.and_then(Value::as_array_mut) {
            let mut has_one = false;
            actions.retain(|action| {
                let is_further = action["action"] == word && has_one;
                has_one |= action["action"] == word;
                !is_further
            });
        }
    })
}

/// Octets sent so far, by peer and swarm.
#[derive(Default)]
struct Counters(Notes<u64>);

impl Door for Counters {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let root = root_of(passing).unwrap_or_default();
        let peer = root.get("peer_id").and_then(Value::as_str);
        let report = root.get("stat_report").map(|report| &report["stat"]);
        let mut goes_back = false;
        for stat in report.map(list_of).unwrap_or_default() {
            let name = format!("{} {}", peer.unwrap_or_default(), stat["swarm_id"]);
            let now = stat["uploaded_bytes"].as_u64().unwrap_or(0);
            goes_back |= self.0.get(&name).is_some_and(|before| *before > now);
            self.0.put(&name, now);
        }
        refused_if(passing, goes_back, 1)
    }
}

/// Remembers the swarm that was named last.
#[derive(Default)]
struct Header(Option<String>);

impl Door for Header {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let document = apart::json(passing.message).unwrap_or_default();
        let action = list_of(&document[ROOT]["connect"]["swarm_action"]).first();
        let swarm = action.map_or(&document[ROOT]["find"]["swarm_id"], |a| &a["swarm_id"]);
        self.0 = swarm.as_str().map(str::to_owned);
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        match (passing.message, &self.0) {
            (Decoded::HttpResponse(_), Some(swarm)) => {
                let http = Http::of(passing.message);
                said(http.map(|http| http.set("X-Swarm", swarm).finish()))
            }
            _ => Said::AsWritten,
        }
    }
}
