//! How a tracker answers in HTTP and in the documents of RFC 7846, and whether it lives on.

use serde_json::{Value, json};

use super::{
    super::{Deviation, Door, Heard, How, Passing, Said, apart::Http, bend::said},
    book::{ROOT, Told, answers, refused},
    row,
};
use crate::{spec::RefPoint, wire::message::Decoded};

pub const TABLE: &[Deviation] = &[
    row(
        "tracker-answers-in-version-2",
        "PPSTP-025",
        "says version 2 when it refuses",
        How::Door(|_| {
            answers(|told| {
                if told.error() != 0 {
                    told.set("version", 2);
                }
            })
        }),
    ),
    row(
        "tracker-names-the-root-otherwise",
        "PPSTP-007",
        "writes the name of the root member in other letters",
        How::Door(|_| {
            answers(|told| {
                if let Some(document) = told.document.as_object_mut()
                    && let Some(root) = document.remove(ROOT)
                {
                    document.insert("ppspTrackerProtocol".to_owned(), root);
                }
            })
        }),
    ),
    row(
        "tracker-writes-a-second-root",
        "PPSTP-007",
        "writes a member of its own beside the root member",
        How::Door(|_| {
            answers(|told| {
                if let Some(document) = told.document.as_object_mut() {
                    document.insert("server".to_owned(), "tracker/1.0".into());
                }
            })
        }),
    ),
    row(
        "tracker-answers-in-plain-json",
        "PPSTP-009",
        "says application/json of its answers",
        How::Says(|passing| typed(passing, |_| true)),
    ),
    row(
        "tracker-refuses-in-plain-json",
        "PPSTP-009",
        "says application/json of its answers when it refuses",
        How::Says(|passing| {
            typed(passing, |document| {
                document[ROOT]["error_code"].as_u64().unwrap_or(0) != 0
            })
        }),
    ),
    row(
        "tracker-writes-the-type-in-quotes",
        "PPSTP-049",
        "writes response_type as a string",
        How::Door(|_| {
            answers(|told| {
                told.root(|root| {
                    if let Some(number) = root.get("response_type").and_then(Value::as_u64) {
                        root.insert("response_type".to_owned(), number.to_string().into());
                    }
                })
            })
        }),
    ),
    row(
        "tracker-omits-its-version",
        "PPSTP-055",
        "answers without version",
        How::Door(|_| answers(|told| omit(told, "version"))),
    ),
    row(
        "tracker-omits-error-code-0",
        "PPSTP-055",
        "answers without error code when there is no error",
        How::Door(|_| {
            answers(|told| {
                if told.error() == 0 {
                    omit(told, "error_code");
                }
            })
        }),
    ),
    row(
        "tracker-omits-the-response-type",
        "PPSTP-055",
        "answers without response type when it refuses",
        How::Door(|_| {
            answers(|told| {
                if told.error() != 0 {
                    omit(told, "response_type");
                }
            })
        }),
    ),
    row(
        "tracker-omits-transaction-ids-of-reports",
        "PPSTP-055",
        "answers a report without transaction id",
        How::Door(|_| {
            answers(|told| {
                if told.kind() == "STAT_REPORT" {
                    omit(told, "transaction_id");
                }
            })
        }),
    ),
    row(
        "tracker-omits-results",
        "PPSTP-056",
        "answers a CONNECT without list with bare success",
        How::Door(|_| {
            answers(|told| {
                let lists = told
                    .results()
                    .any(|result| result.contains_key("peer_group"));
                if told.kind() == "CONNECT" && !lists {
                    omit(told, "swarm_result");
                }
            })
        }),
    ),
    row(
        "tracker-refuses-with-code-0",
        "PPSTP-057",
        "refuses with error code 0",
        How::Door(|_| {
            answers(|told| {
                if told.error() == 3 {
                    told.set("error_code", 0);
                }
            })
        }),
    ),
    row(
        "tracker-answers-the-malformed-with-results",
        "PPSTP-058",
        "adds results of swarms to error 1",
        How::Door(|_| {
            answers(|told| {
                if told.error() == 1 {
                    told.set("swarm_result", json!([{ "swarm_id": "", "result": 1 }]));
                }
            })
        }),
    ),
    row(
        "tracker-forgets-the-last-result",
        "PPSTP-059",
        "gives no result for the last of several swarms",
        How::Door(|_| {
            answers(|told| {
                let count = told.results().count();
                told.root(|root| {
                    let results = root.get_mut("swarm_result").and_then(Value::as_array_mut);
                    if let Some(results) = results {
                        results.truncate(count.saturating_sub(1).max(1));
                    }
                });
            })
        }),
    ),
    row(
        "tracker-writes-its-own-transaction-ids",
        "PPSTP-077",
        "puts a transaction id of its own into its answers",
        How::Door(|_| {
            answers(|told| {
                let own = format!("trk-{}", told.passing.at.as_nanos());
                told.set("transaction_id", own);
            })
        }),
    ),
    row(
        "tracker-cuts-transaction-ids",
        "PPSTP-077",
        "repeats the first eight octets of a transaction id",
        How::Door(|_| {
            answers(|told| {
                told.root(|root| {
                    let id = root.get("transaction_id").and_then(Value::as_str);
                    if let Some(id) = id.map(|id| id.chars().take(8).collect::<String>()) {
                        root.insert("transaction_id".to_owned(), id.into());
                    }
                })
            })
        }),
    ),
    row(
        "tracker-writes-ascii-only",
        "PPSTP-002",
        "puts a question mark for each letter beyond ASCII in an id",
        How::Door(|_| {
            answers(|told| {
                told.root(|root| {
                    let id = root.get("transaction_id").and_then(Value::as_str);
                    if let Some(id) = id.map(|id| id.replace(|c: char| !c.is_ascii(), "?")) {
                        root.insert("transaction_id".to_owned(), id.into());
                    }
                })
            })
        }),
    ),
    row(
        "tracker-fails-with-type-0",
        "PPSTP-092",
        "says response type 0 of a failure",
        How::Door(|_| {
            answers(|told| {
                if told.error() != 0 {
                    told.set("response_type", 0);
                }
            })
        }),
    ),
    row(
        "tracker-fails-with-code-7",
        "PPSTP-092",
        "has an error code of its own for what it forbids",
        How::Door(|_| {
            answers(|told| {
                if told.error() == 3 {
                    told.set("error_code", 7);
                }
            })
        }),
    ),
    row(
        "tracker-fails-with-http-codes",
        "PPSTP-092",
        "puts 400 and 403 where the error code goes",
        How::Door(|_| {
            answers(|told| match told.error() {
                0 => {}
                1 | 2 => told.set("error_code", 400),
                _ => told.set("error_code", 403),
            })
        }),
    ),
    row(
        "tracker-answers-twice",
        "PPSTP-005",
        "sends the answer to a report twice",
        How::Door(|_| Box::<Echo>::default()),
    ),
    row(
        "tracker-dies-of-deep-documents",
        "SEC-015",
        "says nothing any more once a document nested deeply has come",
        How::Door(|_| Box::<Mortal>::default()),
    ),
    row(
        "tracker-sets-cookies",
        "PPSTP-104",
        "knows a peer by its cookie only after its first request",
        How::Door(|_| Box::<Cookies>::default()),
    ),
];

fn omit(told: &mut Told<'_, '_>, name: &str) {
    told.root(|root| {
        root.shift_remove(name);
    });
}

fn typed(passing: &Passing<'_>, fits: impl FnOnce(&Value) -> bool) -> Said {
    let Decoded::HttpResponse(_) = passing.message else {
        return Said::AsWritten;
    };
    match super::super::apart::json(passing.message).filter(fits) {
        Some(_) => said(
            Http::of(passing.message)
                .map(|http| http.set("Content-Type", "application/json").finish()),
        ),
        None => Said::AsWritten,
    }
}

/// Repeats its answer to every third request.
#[derive(Default)]
struct Echo(u64);

impl Door for Echo {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let Decoded::HttpResponse(response) = passing.message else {
            return Said::AsWritten;
        };
        self.0 += u64::from(response.status() == 200);
        match response.status() == 200 && self.0.is_multiple_of(3) {
            true => Said::Instead(vec![passing.bytes.clone(), passing.bytes.clone()]),
            false => Said::AsWritten,
        }
    }
}

/// Dies of brackets.
#[derive(Default)]
struct Mortal {
    is_dead: bool,
}

/// How deep documents may be nested, and how long they may be, before a careless reader falls.
const DEPTH: usize = 100;
const LENGTH: usize = 1 << 20;

impl Door for Mortal {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let body = passing.message.body().unwrap_or_default().1;
        let mut depth = 0_usize;
        for octet in &body {
            match octet {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.is_dead |= depth > DEPTH;
        }
        self.is_dead |= body.len() > LENGTH;
        match self.is_dead {
            true => Heard::Nothing,
            false => Heard::AsItCame,
        }
    }

    fn says(&mut self, _: &Passing<'_>) -> Said {
        match self.is_dead {
            true => Said::Nothing,
            false => Said::AsWritten,
        }
    }
}

/// Forbids what comes without the cookie once one was given.
#[derive(Default)]
struct Cookies {
    is_given: bool,
}

impl Door for Cookies {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        match passing.message {
            Decoded::HttpRequest(request)
                if self.is_given && passing.on == RefPoint::Ut && !request.has("Cookie") =>
            {
                refused(passing, 3)
            }
            _ => Heard::AsItCame,
        }
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        match passing.message {
            Decoded::HttpResponse(response)
                if response.status() == 200 && passing.on == RefPoint::Ut =>
            {
                self.is_given = true;
                let http = Http::of(passing.message);
                said(http.map(|http| http.set("Set-Cookie", "peer=1; Path=/").finish()))
            }
            _ => Said::AsWritten,
        }
    }
}
