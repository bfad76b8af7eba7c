//! HTTP and the documents of RFC 7846: what a tracker takes, and what it refuses.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    super::{
        Deviation, Door, Heard, How, Passing, Said,
        apart::Http,
        bend::{self, said},
    },
    book::{
        ACTIONS, Book, ROOT, STATS, Told, answers, each_in, is_request, list_of, minded, refused,
        request, root_of,
    },
    row,
};
use crate::wire::{message::Decoded, ppstp::MEDIA_TYPE};

pub const TABLE: &[Deviation] = &[
    row(
        "tracker-takes-any-version",
        "TRK-003",
        "takes a document of another version for one of its own",
        How::Hears(|passing| {
            request(passing, |root| {
                if root.contains_key("version") {
                    root.insert("version".to_owned(), 1.into());
                }
            })
        }),
    ),
    row(
        "tracker-takes-older-versions",
        "TRK-003",
        "takes version 0 for version 1",
        How::Hears(|passing| {
            request(passing, |root| {
                if root.get("version").is_some_and(|version| version == 0) {
                    root.insert("version".to_owned(), 1.into());
                }
            })
        }),
    ),
    row(
        "tracker-calls-another-version-malformed",
        "PPSTP-026",
        "answers another version with error 1",
        How::Door(|_| {
            answers(|told| {
                if told.error() == 2 {
                    told.set("error_code", 1);
                }
            })
        }),
    ),
    row(
        "tracker-forbids-what-later-versions-ask",
        "PPSTP-027",
        "answers another version with error 3 where it does not know the rest either",
        How::Door(|_| {
            answers(|told| {
                if told.error() == 2 && !is_known(told.kind()) {
                    told.set("error_code", 3);
                }
            })
        }),
    ),
    row(
        "tracker-needs-no-version",
        "PPSTP-024",
        "takes a request without version for one of its own",
        How::Hears(|passing| filled(passing, "version", || 1.into())),
    ),
    row(
        "tracker-takes-any-method",
        "PPSTP-003",
        "takes PUT and GET for POST",
        How::Setup(|setup| setup.policy.tracker.takes_any_method = true),
    ),
    row(
        "tracker-acts-on-what-it-refuses",
        "PPSTP-003",
        "answers another method 405 after it has done what it asked",
        How::Door(|_| minded(as_post, refuses_other_methods)),
    ),
    row(
        "tracker-calls-no-json-its-own-error",
        "PPSTP-004",
        "answers a body that is no JSON with error 4",
        How::Door(|_| {
            answers(|told| {
                if told.error() == 1 && told.asked.is_some_and(|asked| asked.document.is_null()) {
                    told.set("error_code", 4);
                }
            })
        }),
    ),
    row(
        "tracker-answers-no-json-without-document",
        "PPSTP-004",
        "answers a body that is no JSON with 400 and no document",
        How::Door(|_| Box::<Speechless>::default()),
    ),
    row(
        "tracker-takes-any-root",
        "PPSTP-007",
        "takes whatever the one root member is called",
        How::Hears(any_root),
    ),
    row(
        "tracker-takes-any-media-type",
        "PPSTP-008",
        "reads documents of any media type",
        How::Hears(any_media_type),
    ),
    row(
        "tracker-takes-plain-json",
        "PPSTP-008",
        "takes application/json for the protocol's media type",
        How::Hears(plain_json),
    ),
    row(
        "tracker-fills-in-what-is-missing",
        "PPSTP-028",
        "takes a default for each member that is missing",
        How::Hears(|passing| request(passing, fill_in)),
    ),
    row(
        "tracker-takes-leech-for-no-mode",
        "PPSTP-028",
        "takes an action without peer mode for one of a leech",
        How::Hears(|passing| {
            request(passing, |root| {
                each_in(root, ACTIONS, |action| {
                    action.entry("peer_mode").or_insert("LEECH".into());
                });
            })
        }),
    ),
    row(
        "tracker-needs-no-transaction-id",
        "PPSTP-076",
        "takes a request without transaction id",
        How::Hears(|passing| filled(passing, "transaction_id", || "".into())),
    ),
    row(
        "tracker-needs-no-peer-count",
        "PPSTP-031",
        "takes a peer_num without peer_count",
        How::Hears(|passing| {
            request(passing, |root| {
                for body in ["connect", "find"] {
                    let body = root.get_mut(body).and_then(Value::as_object_mut);
                    let num = body.and_then(|body| body.get_mut("peer_num"));
                    if let Some(num) = num.and_then(Value::as_object_mut) {
                        num.entry("peer_count").or_insert(5.into());
                    }
                }
            })
        }),
    ),
    row(
        "tracker-wants-every-member",
        "PPSTP-029",
        "refuses a FIND without peer_num",
        How::Hears(|passing| {
            let root = root_of(passing).unwrap_or_default();
            let lacks = root
                .get("find")
                .is_some_and(|find| find["peer_num"].is_null());
            refused_if(passing, lacks, 1)
        }),
    ),
    row(
        "tracker-rounds-numbers",
        "PPSTP-030",
        "takes the next whole number from 0 for one that is none",
        How::Hears(|passing| request(passing, rounded)),
    ),
    row(
        "tracker-moves-results-into-its-extension",
        "PPSTP-105",
        "gives the result of a swarm as a member of the extension",
        How::Door(|_| {
            answers(|told| {
                told.results().for_each(|result| {
                    if let Some(number) = result.shift_remove("result") {
                        let cds = result.entry("cds").or_insert_with(|| json!({}));
                        if let Some(cds) = cds.as_object_mut() {
                            cds.insert("result".to_owned(), number);
                        }
                    }
                });
            })
        }),
    ),
    row(
        "tracker-reads-by-the-first-length",
        "SEC-023",
        "takes the first length of a message that has two",
        How::Door(|_| Box::new(FirstLength)),
    ),
    row(
        "tracker-takes-unknown-modes-for-leech",
        "PPSTP-037",
        "takes a peer mode it does not know for LEECH",
        How::Hears(|passing| known_word(passing, "peer_mode", &["SEEDER", "LEECH"], "LEECH")),
    ),
    row(
        "tracker-reads-modes-in-any-letters",
        "PPSTP-037",
        "takes a peer mode in small letters",
        How::Hears(|passing| {
            request(passing, |root| {
                each_in(root, ACTIONS, |action| {
                    let mode = action.get("peer_mode").and_then(Value::as_str);
                    if let Some(mode) = mode.map(str::to_ascii_uppercase) {
                        action.insert("peer_mode".to_owned(), mode.into());
                    }
                });
            })
        }),
    ),
    row(
        "tracker-takes-unknown-actions-for-join",
        "PPSTP-036",
        "takes an action it does not know for JOIN",
        How::Hears(|passing| known_word(passing, "action", &["JOIN", "LEAVE"], "JOIN")),
    ),
    row(
        "tracker-takes-unknown-types-by-their-element",
        "PPSTP-048",
        "takes a request type it does not know for the one whose data element is there",
        How::Hears(|passing| {
            request(passing, |root| {
                if !root
                    .get("request_type")
                    .and_then(Value::as_str)
                    .is_some_and(is_known)
                {
                    by_element(root);
                }
            })
        }),
    ),
    row(
        "tracker-forbids-unknown-types",
        "PPSTP-048",
        "answers a request type it does not know with error 3",
        How::Door(|_| {
            answers(|told| {
                if told.error() == 1 && !told.kind().is_empty() && !is_known(told.kind()) {
                    told.set("error_code", 3);
                }
            })
        }),
    ),
    row(
        "tracker-goes-by-the-data-element",
        "PPSTP-051",
        "does what the data element says whatever the request type is",
        How::Hears(|passing| request(passing, by_element)),
    ),
    row(
        "tracker-takes-other-statistics",
        "PPSTP-045",
        "takes a statistics group of any type",
        How::Hears(|passing| {
            request(passing, |root| {
                let report = root.get_mut("stat_report").and_then(Value::as_object_mut);
                if let Some(report) = report
                    && report.contains_key("type")
                {
                    report.insert("type".to_owned(), "STREAM_STATS".into());
                }
            })
        }),
    ),
    row(
        "tracker-fills-in-statistics",
        "PPSTP-046",
        "takes 0 for each number that statistics lack",
        How::Hears(|passing| {
            request(passing, |root| {
                each_in(root, STATS, |stat| {
                    for name in NUMBERS {
                        stat.entry(name).or_insert(0.into());
                    }
                });
            })
        }),
    ),
    row(
        "tracker-reads-the-first-statistics-only",
        "PPSTP-047",
        "takes the statistics of one swarm from a report of several",
        How::Hears(|passing| {
            request(passing, |root| {
                let report = root.get_mut("stat_report");
                let stats = report.and_then(|report| report.get_mut("stat"));
                if let Some(stats) = stats.and_then(Value::as_array_mut) {
                    stats.truncate(1);
                }
            })
        }),
    ),
    row(
        "tracker-needs-no-action",
        "PPSTP-052",
        "answers a CONNECT without swarm action with success",
        How::Door(|_| {
            answers(|told| {
                let is_bare = told.kind() == "CONNECT" && told.actions().next().is_none();
                if is_bare && told.error() == 1 {
                    told.succeed();
                }
            })
        }),
    ),
    row(
        "tracker-wants-addresses",
        "PPSTP-053",
        "refuses a CONNECT without addresses",
        How::Hears(|passing| {
            let root = root_of(passing).unwrap_or_default();
            let lacks = root
                .get("connect")
                .is_some_and(|c| c["peer_addr"].is_null());
            refused_if(passing, lacks, 1)
        }),
    ),
    row(
        "tracker-calls-the-malformed-forbidden",
        "PPSTP-093",
        "answers what is malformed with error 3",
        How::Door(|_| {
            answers(|told| {
                if told.error() == 1 {
                    told.set("error_code", 3);
                }
            })
        }),
    ),
    row(
        "tracker-says-nothing-to-the-malformed",
        "PPSTP-093",
        "leaves what is malformed without answer",
        How::Says(|passing| match error_in(passing) {
            1 => Said::Nothing,
            _ => Said::AsWritten,
        }),
    ),
    row(
        "tracker-calls-the-forbidden-malformed",
        "PPSTP-094",
        "answers what a peer's state forbids with error 1",
        How::Door(|_| {
            answers(|told| {
                if told.error() == 3 && told.kind() == "CONNECT" {
                    told.set("error_code", 1);
                }
            })
        }),
    ),
    row(
        "tracker-refuses-unknown-members",
        "PPSTP-098",
        "refuses a document with a member it does not know",
        How::Hears(|passing| {
            let root = root_of(passing).unwrap_or_default();
            refused_if(passing, has_strangers(&Value::Object(root)), 1)
        }),
    ),
    row(
        "tracker-refuses-unknown-actions-members",
        "PPSTP-098",
        "refuses a swarm action with a member it does not know",
        How::Hears(|passing| {
            let root = root_of(passing).unwrap_or_default();
            let actions = root.get("connect").map(|connect| &connect["swarm_action"]);
            let is_strange = actions.is_some_and(|actions| {
                let mut names = list_of(actions).iter().filter_map(Value::as_object);
                names.any(|action| action.keys().any(|name| !MEMBERS.contains(&&**name)))
            });
            refused_if(passing, is_strange, 1)
        }),
    ),
];

/// The request types of RFC 7846 3.3.1.
fn is_known(kind: &str) -> bool {
    ["CONNECT", "FIND", "STAT_REPORT"].contains(&kind)
}

/// The numbers of statistics (RFC 7846 3.2.5).
const NUMBERS: [&str; 4] = [
    "uploaded_bytes",
    "downloaded_bytes",
    "available_bandwidth",
    "concurrent_links",
];

/// Every member a request may have, with those of the extension.
const MEMBERS: &[&str] = &[
    "version",
    "request_type",
    "transaction_id",
    "peer_id",
    "connect",
    "find",
    "stat_report",
    "peer_num",
    "peer_count",
    "ability_nat",
    "concurrent_links",
    "online_time",
    "upload_bandwidth",
    "peer_addr",
    "ip_address",
    "address_type",
    "address",
    "port",
    "priority",
    "type",
    "connection",
    "asn",
    "peer_protocol",
    "swarm_action",
    "swarm_id",
    "action",
    "peer_mode",
    "cds",
    "sip_uri",
    "url",
    "pieces",
    "role",
    "content",
    "size",
    "sha1",
    "sha256",
    "n",
    "first",
    "len",
    "stat",
    "uploaded_bytes",
    "downloaded_bytes",
    "available_bandwidth",
    "complete",
    "peer_used",
];

fn has_strangers(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| !MEMBERS.contains(&&**name) || has_strangers(value)),
        Value::Array(items) => items.iter().any(has_strangers),
        _ => false,
    }
}

fn filled(passing: &Passing<'_>, name: &str, value: impl FnOnce() -> Value) -> Heard {
    request(passing, |root| {
        root.entry(name).or_insert_with(value);
    })
}

fn refused_if(passing: &Passing<'_>, is_refused: bool, code: u8) -> Heard {
    match is_refused {
        true => refused(passing, code),
        false => Heard::AsItCame,
    }
}

fn as_post(_: &mut Book, passing: &Passing<'_>) -> Heard {
    match passing.message {
        Decoded::HttpRequest(request) if request.method() != "POST" => {
            bend::heard(Http::of(passing.message).map(|http| http.method("POST").finish()))
        }
        _ => Heard::AsItCame,
    }
}

fn refuses_other_methods(told: &mut Told<'_, '_>) {
    if told.asked.is_some_and(|asked| asked.method != "POST") && told.status == 200 {
        told.status = 405;
    }
}

/// Remembers whether the last body was JSON.
#[derive(Default)]
struct Speechless(bool);

impl Door for Speechless {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        if let Decoded::HttpRequest(request) = passing.message {
            self.0 = serde_json::from_slice::<Value>(&request.body()).is_err();
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        match self.0 && error_in(passing) == 1 {
            true => said(Http::of(passing.message).map(|http| {
                let http = http.status(400).remove("Content-Type");
                http.body(Bytes::new()).finish()
            })),
            false => Said::AsWritten,
        }
    }
}

/// The error code of a document that goes out; 0 if there is none.
fn error_in(passing: &Passing<'_>) -> u64 {
    let document = super::super::apart::json(passing.message).unwrap_or_default();
    document[ROOT]["error_code"].as_u64().unwrap_or(0)
}

fn any_root(passing: &Passing<'_>) -> Heard {
    if !is_request(passing) {
        return Heard::AsItCame;
    }
    bend::heard(super::super::apart::changed_json(
        passing.message,
        |document| {
            if let Some(members) = document.as_object_mut()
                && members.len() == 1
                && let Some((_, root)) = std::mem::take(members).into_iter().next()
            {
                members.insert(ROOT.to_owned(), root);
            }
        },
    ))
}

fn any_media_type(passing: &Passing<'_>) -> Heard {
    match passing.message {
        Decoded::HttpRequest(request) if !request.body().is_empty() => {
            let http = Http::of(passing.message);
            bend::heard(http.map(|http| http.set("Content-Type", MEDIA_TYPE).finish()))
        }
        _ => Heard::AsItCame,
    }
}

fn plain_json(passing: &Passing<'_>) -> Heard {
    match passing.message.body() {
        Some((media_type, _)) if media_type == "application/json" => any_media_type(passing),
        _ => Heard::AsItCame,
    }
}

fn fill_in(root: &mut Map<String, Value>) {
    root.entry("version").or_insert(1.into());
    root.entry("transaction_id").or_insert("0".into());
    if !root.contains_key("request_type") {
        by_element(root);
    }
    each_in(root, ACTIONS, |action| {
        action.entry("action").or_insert("JOIN".into());
        action.entry("peer_mode").or_insert("LEECH".into());
    });
}

/// The request type that goes with the data element.
fn by_element(root: &mut Map<String, Value>) {
    let elements = [
        ("connect", "CONNECT"),
        ("find", "FIND"),
        ("stat_report", "STAT_REPORT"),
    ];
    let found = elements.iter().find(|(name, _)| root.contains_key(*name));
    if let Some((_, kind)) = found {
        root.insert("request_type".to_owned(), (*kind).into());
    }
}

fn rounded(root: &mut Map<String, Value>) {
    let numbers = ["peer_count", "port", "priority"];
    let mut document = Value::Object(std::mem::take(root));
    super::super::apart::each_object(&mut document, &mut |object| {
        for (name, value) in object.iter_mut() {
            if (numbers.contains(&&**name) || NUMBERS.contains(&&**name))
                && let (None, Some(number)) = (value.as_u64(), value.as_f64())
            {
                *value = (number.max(0.0).ceil() as u64).into();
            }
        }
    });
    if let Value::Object(read) = document {
        *root = read;
    }
}

fn known_word(passing: &Passing<'_>, name: &str, words: &[&str], instead: &str) -> Heard {
    request(passing, |root| {
        each_in(root, ACTIONS, |action| {
            let word = action.get(name).and_then(Value::as_str);
            if word.is_some_and(|word| !words.contains(&word)) {
                action.insert(name.to_owned(), instead.into());
            }
        });
    })
}

/// Reads a request by its first Content-Length, whatever else its head says of lengths.
struct FirstLength;

impl Door for FirstLength {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        by_first_length(passing.bytes).map_or(Heard::AsItCame, Heard::Instead)
    }

    fn hears_rest(&mut self, passing: &Passing<'_>) -> Heard {
        self.hears(passing)
    }
}

/// The request up to its first length, with that alone, and the request that then begins within it; `None` if
/// its head gives one length only.
fn by_first_length(bytes: &[u8]) -> Option<Vec<Bytes>> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let name_of = |line: &str| {
        line.split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let is_length =
        |line: &&str| ["content-length", "transfer-encoding"].contains(&&*name_of(line));
    if head.lines().filter(is_length).count() < 2 {
        return None;
    }
    let length = head
        .lines()
        .find(|line| name_of(line) == "content-length")?;
    let count: usize = length.split(':').nth(1)?.trim().parse().ok()?;
    let body = bytes.get(end + 4..)?;
    let (body, rest) = body.split_at(count.min(body.len()));
    let kept: Vec<&str> = head.lines().filter(|line| !is_length(line)).collect();
    let head = format!(
        "{}\r\nContent-Length: {}\r\n\r\n",
        kept.join("\r\n"),
        body.len()
    );
    let mut heard = vec![[head.as_bytes(), body].concat().into()];
    let rest = rest.trim_ascii_start();
    if rest.starts_with(b"POST ") {
        heard.push(Bytes::copy_from_slice(rest));
    }
    Some(heard)
}
