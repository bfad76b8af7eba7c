//! Who may ask a tracker, and what becomes of a peer: authentication, registrations, their end.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::json;

use super::{
    super::{
        Deviation, Door, Heard, How, Passing, Said,
        apart::Http,
        bend::{heard, said},
    },
    book::{
        Book, Told, answers, list_of, lists_nobody_as_nobody, minded, refused, request, root_of,
        swarm_of,
    },
    row,
};
use crate::{
    node::{
        Setup,
        policy::{Belief, DigestOffer, TlsDemand},
        tracking_list::{KeptAliveBy, Unqualified},
    },
    proto::digest::NonceCounts,
    spec::{RefPoint, Worth},
    wire::{message::Decoded, ppstp::ErrorCode},
};

pub const TABLE: &[Deviation] = &[
    row(
        "tracker-asks-nobody-for-credentials",
        "TRK-008",
        "answers requests on Ut without credentials",
        How::Setup(|setup| setup.policy.tracker.proves_users = false),
    ),
    row(
        "tracker-challenges-without-digest",
        "TRK-008",
        "answers 401 without WWW-Authenticate",
        How::Says(|passing| unauthorised(passing, |http| http.remove("WWW-Authenticate"))),
    ),
    row(
        "tracker-asks-for-basic",
        "PPSTP-012",
        "challenges with Basic, and not with Digest",
        How::Says(|passing| {
            unauthorised(passing, |http| {
                http.set("WWW-Authenticate", "Basic realm=\"tracker\"")
            })
        }),
    ),
    row(
        "tracker-forbids-instead-of-asking",
        "TRK-008",
        "answers 403 to who has no credentials yet",
        How::Says(|passing| {
            unauthorised(passing, |http| http.status(403).remove("WWW-Authenticate"))
        }),
    ),
    row(
        "tracker-knows-md5-only",
        "TRK-008",
        "offers SHA-256 and challenges anew whoever uses it",
        How::Disposed(
            |setup| setup.policy.tracker.digest_offer = DigestOffer::Sha256First,
            &How::Hears(md5_only),
        ),
    ),
    row(
        "tracker-says-no-error-6-in-challenges",
        "PPSTP-097",
        "challenges without a document of the protocol",
        How::Says(|passing| {
            unauthorised(passing, |http| {
                http.remove("Content-Type").body(bytes::Bytes::new())
            })
        }),
    ),
    row(
        "tracker-takes-nonce-counts-twice",
        "SEC-003",
        "takes a nonce count as often as it comes",
        How::Setup(|setup| setup.policy.tracker.nonce_counts = NonceCounts::Always),
    ),
    row(
        "tracker-remembers-the-last-nonce-count-only",
        "SEC-003",
        "takes a used nonce count again once another was used",
        How::Setup(|setup| setup.policy.tracker.nonce_counts = NonceCounts::NotTwiceRunning),
    ),
    row(
        "tracker-says-not-that-a-nonce-is-stale",
        "SEC-004",
        "challenges an old nonce without stale",
        How::Says(|passing| {
            unauthorised(passing, |mut http| {
                for (_, value) in &mut http.headers {
                    *value = value.replace(",stale=true", "");
                }
                http
            })
        }),
    ),
    row(
        "tracker-believes-an-asserted-identity-on-ut",
        "SEC-006",
        "takes whoever X-3GPP-Asserted-Identity names for the asker",
        How::Setup(|setup| setup.policy.tracker.believes_asserted_on_ut = true),
    ),
    row(
        "tracker-ignores-intended-identities",
        "SEC-007",
        "serves a user who intends to be somebody else",
        How::Hears(|passing| match (passing.on, passing.message) {
            (RefPoint::Ut, Decoded::HttpRequest(_)) => heard(
                Http::of(passing.message)
                    .map(|http| http.remove("X-3GPP-Intended-Identity").finish()),
            ),
            _ => Heard::AsItCame,
        }),
    ),
    row(
        "tracker-refuses-intended-identities-with-200",
        "SEC-007",
        "refuses who intends to be somebody else in the document alone",
        How::Door(|_| {
            answers(|told| {
                if told.asked.is_some_and(|asked| asked.is_intended) && told.status == 403 {
                    told.status = 200;
                }
            })
        }),
    ),
    row(
        "tracker-serves-anybody",
        "TRK-027",
        "serves users who may not use the service",
        How::Setup(serve_anybody),
    ),
    row(
        "tracker-tells-the-refused",
        "TRK-027",
        "refuses, and gives the list all the same",
        How::Door(|_| answers(tell_refused)),
    ),
    row(
        "tracker-serves-the-refused-on-ut",
        "SEC-022",
        "looks at who may use the service inside the IMS only",
        How::Setup(|setup| setup.policy.tracker.checks_service_on_ut = false),
    ),
    row(
        "tracker-serves-the-refused-inside-the-ims",
        "SEC-022",
        "looks at who may use the service on Ut only",
        How::Setup(|setup| setup.policy.tracker.checks_service_on_isc = false),
    ),
    row(
        "tracker-is-deaf-under-tls",
        "PPSTP-010",
        "answers nobody who comes under TLS",
        How::Hears(|passing| match (passing.on, passing.setup.tls) {
            (RefPoint::Ut | RefPoint::Dedicated, true) => Heard::Nothing,
            _ => Heard::AsItCame,
        }),
    ),
    row(
        "tracker-speaks-tls-to-servers-only",
        "PPSTP-010",
        "answers users under TLS that they are to come without",
        How::Door(|_| {
            answers(|told| {
                if told.passing.on == RefPoint::Ut && told.passing.setup.tls {
                    told.status = 400;
                }
            })
        }),
    ),
    row(
        "tracker-speaks-tls-to-users-only",
        "PPSTP-010",
        "answers the servers of a CDN under TLS that they are to come without",
        How::Door(|_| {
            answers(|told| {
                if told.passing.on == RefPoint::Dedicated && told.passing.setup.tls {
                    told.status = 400;
                }
            })
        }),
    ),
    row(
        "tracker-demands-tls-of-strangers-only",
        "PPSTP-011",
        "serves without TLS who shows credentials at once",
        How::Setup(|setup| setup.policy.tracker.demands_tls = TlsDemand::OfStrangers),
    ),
    row(
        "tracker-serves-plain-links",
        "PPSTP-011",
        "serves users without TLS as it serves them under TLS",
        How::Setup(|setup| setup.policy.tracker.demands_tls = TlsDemand::OfNobody),
    ),
    row(
        "tracker-wants-credentials-beside-a-certificate",
        "PPSTP-013",
        "challenges who has shown a certificate",
        How::Door(|_| {
            answers(|told| {
                if told.passing.on == RefPoint::Dedicated && told.status == 200 {
                    told.status = 401;
                }
            })
        }),
    ),
    row(
        "tracker-goes-by-the-address-of-who-has-a-certificate",
        "PPSTP-013",
        "takes who has shown a certificate for whoever has its address",
        How::Setup(|setup| setup.policy.tracker.believes_certificates = Belief::Never),
    ),
    row(
        "tracker-looks-at-certificates-of-who-joins",
        "PPSTP-013",
        "goes by the certificate when somebody joins, and by the address later",
        How::Setup(|setup| setup.policy.tracker.believes_certificates = Belief::WhenJoining),
    ),
    row(
        "tracker-takes-certificates-whose-time-has-run-out",
        "SEC-025",
        "believes a certificate that has run out",
        How::Setup(|setup| setup.trusts = &[Worth::Good, Worth::Expired]),
    ),
    row(
        "tracker-takes-certificates-of-any-authority",
        "SEC-025",
        "believes a certificate whoever issued it",
        How::Setup(|setup| setup.trusts = &[Worth::Good, Worth::Untrusted]),
    ),
    row(
        "tracker-lists-unqualified-peers-to-who-looks-again",
        "TRK-037",
        "leaves user peers that are not qualified out of the answer to CONNECT, and lists them in that to FIND",
        How::Disposed(
            lists_nobody_as_nobody,
            &How::Door(|_| answers(tell_of_the_unqualified)),
        ),
    ),
    row(
        "tracker-lists-unqualified-peers",
        "TRK-037",
        "lists user peers that the network's policy does not find qualified",
        How::Setup(|setup| setup.policy.tracker.unqualified = Unqualified::Listed),
    ),
    row(
        "tracker-looks-at-qualification-on-ut",
        "TRK-037",
        "asks the network's policy about user peers on Ut only, and lists whoever publishes",
        How::Setup(|setup| setup.policy.tracker.unqualified = Unqualified::HiddenOnUt),
    ),
    row(
        "tracker-trusts-the-dedicated-interface",
        "TRK-044",
        "takes whoever comes over the dedicated interface for the node of that address",
        How::Setup(|setup| setup.policy.tracker.proves_neighbours = false),
    ),
    row(
        "tracker-takes-reports-for-others",
        "STAT-012",
        "takes reports under the peer id of another user",
        How::Setup(|setup| setup.policy.tracker.binds_reports = false),
    ),
    row(
        "tracker-shares-peer-ids",
        "PPSTP-099",
        "lets a user join, leave and find under the peer id of another",
        How::Setup(|setup| setup.policy.tracker.binds_peer_ids = false),
    ),
    row(
        "tracker-calls-anothers-id-malformed",
        "PPSTP-020",
        "answers the use of another's peer id with error 1",
        How::Setup(|setup| setup.policy.tracker.taken = ErrorCode::BadRequest),
    ),
    row(
        "tracker-keeps-the-silent",
        "PPSTP-017",
        "lists peers for an hour after they were last heard of",
        How::Setup(|setup| setup.policy.tracker.track_timeout = 3600),
    ),
    row(
        "tracker-forgets-the-silent-in-one-swarm",
        "PPSTP-017",
        "takes a silent peer out of the first swarm it joined, and leaves it in the others",
        How::Disposed(
            lists_nobody_as_nobody,
            &How::Door(|_| {
                answers(|told| {
                    let timeout = told.passing.setup.policy.tracker.track_timeout;
                    let (now, timeout) = (told.passing.at, Duration::from_secs(timeout.into()));
                    told.add(|known, other, stay, swarm| {
                        let is_silent = known.heard + timeout <= now;
                        other == swarm && is_silent && stay.place > 0 && stay.left.is_none()
                    });
                })
            }),
        ),
    ),
    row(
        "tracker-expires-a-minute-late",
        "TRK-019",
        "lists silent peers for a minute more than three",
        How::Setup(|setup| setup.policy.tracker.track_timeout = 180 + 60),
    ),
    row(
        "tracker-counts-from-the-connect",
        "PPSTP-016",
        "counts a peer's time from its last CONNECT",
        How::Setup(|setup| setup.policy.tracker.kept_alive_by = KeptAliveBy::Connects),
    ),
    row(
        "tracker-lets-finders-die",
        "TRK-020",
        "gives a peer that finds no new time",
        How::Setup(|setup| setup.policy.tracker.kept_alive_by = KeptAliveBy::AnyButFinds),
    ),
    row(
        "tracker-wants-statistics-of-the-living",
        "PPSTP-087",
        "gives a peer no new time for a report without statistics",
        How::Setup(|setup| setup.policy.tracker.kept_alive_by = KeptAliveBy::AnyButEmptyReports),
    ),
    row(
        "tracker-refuses-empty-reports",
        "PPSTP-087",
        "answers a report without statistics with error 1",
        How::Hears(|passing| {
            let root = root_of(passing).unwrap_or_default();
            let is_report = root.get("request_type").is_some_and(|t| t == "STAT_REPORT");
            match is_report && !root.contains_key("stat_report") {
                true => refused(passing, 1),
                false => Heard::AsItCame,
            }
        }),
    ),
    row(
        "tracker-registers-whoever-errs",
        "PPSTP-018",
        "refuses a first CONNECT of invalid actions, but has registered the peer by then",
        How::Setup(|setup| setup.policy.tracker.registers_whoever_errs = true),
    ),
    row(
        "tracker-succeeds-with-failed-actions",
        "PPSTP-018",
        "answers a first CONNECT of invalid actions with success and failed results",
        How::Door(|_| {
            answers(|told| {
                if told.kind() == "CONNECT" && told.is_forbidden() && !told.is_tracked() {
                    told.succeed();
                    told.results().for_each(|result| {
                        result.insert("result".to_owned(), 1.into());
                    });
                }
            })
        }),
    ),
    row(
        "tracker-calls-strangers-malformed",
        "PPSTP-019",
        "answers FIND and STAT_REPORT of an unregistered peer with error 1",
        How::Setup(|setup| setup.policy.tracker.unregistered = ErrorCode::BadRequest),
    ),
    row(
        "tracker-acknowledges-strangers-reports",
        "PPSTP-019",
        "answers a report of an unregistered peer with success",
        How::Door(|_| {
            answers(|told| {
                if told.kind() == "STAT_REPORT" && told.is_forbidden() && !told.is_tracked() {
                    told.succeed();
                }
            })
        }),
    ),
    row(
        "tracker-finds-in-any-swarm",
        "PPSTP-022",
        "gives the list of a swarm to a peer that never joined it",
        How::Door(|_| answers(find_anywhere)),
    ),
    row(
        "tracker-takes-reports-of-any-swarm",
        "PPSTP-022",
        "acknowledges statistics of a swarm that the peer never joined",
        How::Door(|_| {
            answers(|told| {
                if told.kind() == "STAT_REPORT" && told.is_forbidden() && told.is_tracked() {
                    told.succeed();
                }
            })
        }),
    ),
    row(
        "tracker-succeeds-with-invalid-actions",
        "PPSTP-021",
        "answers invalid actions of a tracked peer with success",
        How::Door(|_| {
            answers(|told| {
                if told.kind() == "CONNECT" && told.is_forbidden() && told.is_tracked() {
                    told.succeed();
                }
            })
        }),
    ),
    row(
        "tracker-lets-strangers-leave",
        "PPSTP-067",
        "answers a LEAVE of a peer that never joined with success",
        How::Door(|_| {
            answers(|told| {
                let leaves = told.asks_to("LEAVE") && !told.asks_to("JOIN");
                if leaves && told.is_forbidden() && !told.is_tracked() {
                    told.succeed();
                }
            })
        }),
    ),
    row(
        "tracker-keeps-registrations-of-who-left",
        "PPSTP-068",
        "takes a peer out of its last swarm, but keeps it registered",
        How::Setup(|setup| setup.policy.tracker.leaving_ends = false),
    ),
    row(
        "tracker-acknowledges-a-leave-and-forgets-it",
        "PPSTP-068",
        "answers a LEAVE with success and does nothing",
        How::Door(|_| minded(leave_unheard, leave_acknowledged)),
    ),
    row(
        "tracker-lets-seeders-join-again",
        "PPSTP-072",
        "answers a JOIN of a seeder that is tracked with success",
        How::Door(|_| {
            answers(|told| {
                let seeds = |action: &serde_json::Value| action["peer_mode"] == "SEEDER";
                let joins = told.asks_to("JOIN") && told.actions().any(seeds);
                if joins && told.is_forbidden() && told.is_tracked() {
                    told.succeed();
                }
            })
        }),
    ),
    row(
        "tracker-joins-and-leaves-at-first",
        "PPSTP-069",
        "takes the JOIN of a first CONNECT that leaves as well",
        How::Door(|_| minded(join_only, |_| {})),
    ),
    row(
        "tracker-wants-the-mode-to-leave",
        "PPSTP-064",
        "refuses a LEAVE in another mode than the JOIN",
        How::Door(|_| minded(same_mode, |_| {})),
    ),
    row(
        "tracker-carries-repeats-out-again",
        "PPSTP-091",
        "takes a repeated CONNECT for a new one",
        How::Setup(|setup| setup.policy.tracker.remembers_transactions = false),
    ),
    row(
        "tracker-refuses-repeats",
        "PPSTP-091",
        "answers a transaction that comes again with error 3",
        How::Door(|_| Box::<Once>::default()),
    ),
    row(
        "tracker-needs-the-extension",
        "PPSTP-106",
        "refuses a JOIN without the members of the extension",
        How::Hears(|passing| {
            let root = root_of(passing).unwrap_or_default();
            let actions = root.get("connect").map(|connect| &connect["swarm_action"]);
            let bare =
                |action: &serde_json::Value| action["action"] == "JOIN" && action["cds"].is_null();
            match actions.is_some_and(|actions| list_of(actions).iter().any(bare)) {
                true => refused(passing, 1),
                false => Heard::AsItCame,
            }
        }),
    ),
];

/// A 401 that goes out otherwise.
fn unauthorised(passing: &Passing<'_>, change: impl FnOnce(Http) -> Http) -> Said {
    match passing.message {
        Decoded::HttpResponse(response) if response.status() == 401 => {
            said(Http::of(passing.message).map(|http| change(http).finish()))
        }
        _ => Said::AsWritten,
    }
}

fn md5_only(passing: &Passing<'_>) -> Heard {
    match passing.message {
        Decoded::HttpRequest(request)
            if request
                .header("Authorization")
                .is_some_and(|value| value.contains("SHA-256")) =>
        {
            let http = Http::of(passing.message);
            heard(http.map(|http| http.remove("Authorization").finish()))
        }
        _ => Heard::AsItCame,
    }
}

fn serve_anybody(setup: &mut Setup) {
    let mut subscribers = (*setup.subscribers).clone();
    for subscriber in &mut subscribers {
        subscriber.service = true;
        subscriber.barred = false;
    }
    setup.subscribers = Arc::new(subscribers);
}

fn tell_refused(told: &mut Told<'_, '_>) {
    if told.status != 403 || told.passing.on != RefPoint::Ut {
        return;
    }
    let swarms: Vec<String> = told
        .actions()
        .filter_map(|action| Some(action["swarm_id"].as_str()?.to_owned()))
        .collect();
    let results: Vec<serde_json::Value> = swarms
        .iter()
        .map(|swarm| {
            let listed = told
                .book
                .entries(|_, other, stay| other == swarm && stay.left.is_none());
            json!({ "swarm_id": swarm, "result": 1, "peer_group": { "peer_info": listed } })
        })
        .collect();
    if !results.is_empty() {
        told.set("swarm_result", results);
    }
}

fn find_anywhere(told: &mut Told<'_, '_>) {
    if told.kind() != "FIND" || !told.is_forbidden() || !told.is_tracked() {
        return;
    }
    told.succeed();
    let book = std::mem::take(told.book);
    told.results().for_each(|result| {
        let swarm = swarm_of(result).to_owned();
        let listed = book.entries(|_, other, stay| other == swarm && stay.left.is_none());
        result.insert("peer_group".to_owned(), json!({ "peer_info": listed }));
    });
    *told.book = book;
}

/// A LEAVE becomes a sign of life.
fn leave_unheard(_: &mut Book, passing: &Passing<'_>) -> Heard {
    let root = root_of(passing).unwrap_or_default();
    let actions = root.get("connect").map(|connect| &connect["swarm_action"]);
    let leaves = |action: &serde_json::Value| action["action"] == "LEAVE";
    let actions = actions.map(list_of).unwrap_or_default();
    match !actions.is_empty() && actions.iter().all(leaves) {
        true => request(passing, |root| {
            root.shift_remove("connect");
            root.insert("request_type".to_owned(), "STAT_REPORT".into());
        }),
        false => Heard::AsItCame,
    }
}

fn leave_acknowledged(told: &mut Told<'_, '_>) {
    if told.error() == 0 && told.asks_to("LEAVE") && !told.asks_to("JOIN") {
        told.succeed();
    }
}

fn join_only(book: &mut Book, passing: &Passing<'_>) -> Heard {
    let root = root_of(passing).unwrap_or_default();
    let peer_id = root.get("peer_id").and_then(|id| id.as_str());
    if peer_id.is_none_or(|id| book.peers.contains_key(id)) {
        return Heard::AsItCame;
    }
    request(passing, |root| {
        let connect = root.get_mut("connect");
        let actions = connect.and_then(|connect| connect.get_mut("swarm_action"));
        if let Some(actions) = actions.and_then(|actions| actions.as_array_mut())
            && actions.iter().any(|action| action["action"] == "JOIN")
        {
            actions.retain(|action| action["action"] == "JOIN");
        }
    })
}

fn same_mode(book: &mut Book, passing: &Passing<'_>) -> Heard {
    let root = root_of(passing).unwrap_or_default();
    let peer_id = root.get("peer_id").and_then(|id| id.as_str());
    let Some(known) = peer_id.and_then(|id| book.peers.get(id)) else {
        return Heard::AsItCame;
    };
    let actions = root.get("connect").map(|connect| &connect["swarm_action"]);
    let is_other = |action: &serde_json::Value| {
        let stay = action["swarm_id"]
            .as_str()
            .and_then(|id| known.swarms.get(id));
        action["action"] == "LEAVE" && stay.is_some_and(|s| action["peer_mode"] != *s.mode)
    };
    match actions.is_some_and(|actions| list_of(actions).iter().any(is_other)) {
        true => refused(passing, 3),
        false => Heard::AsItCame,
    }
}

/// Transactions that were answered, by peer and id.
#[derive(Default)]
struct Once(BTreeSet<(String, String)>);

impl Door for Once {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let Some(root) = root_of(passing) else {
            return Heard::AsItCame;
        };
        let is_let_in = match passing.message {
            Decoded::HttpRequest(request) => {
                passing.on != RefPoint::Ut || request.has("Authorization")
            }
            _ => false,
        };
        let text = |name: &str| root.get(name).map(ToString::to_string).unwrap_or_default();
        let names = (text("peer_id"), text("transaction_id"));
        if !is_let_in || self.0.len() >= MOST || self.0.insert(names) {
            return Heard::AsItCame;
        }
        refused(passing, 3)
    }
}

/// How many transactions are remembered.
const MOST: usize = 65_536;

/// Adds user peers that are not qualified, known by their addresses, to an answer to FIND.
fn tell_of_the_unqualified(told: &mut Told<'_, '_>) {
    if told.kind() != "FIND" || told.error() != 0 {
        return;
    }
    let setup = told.passing.setup;
    let subscribers = setup.subscribers.iter();
    let unqualified = subscribers.filter(|subscriber| !subscriber.qualified);
    let impus: Vec<&String> = unqualified
        .flat_map(|subscriber| &subscriber.impus)
        .collect();
    let nodes = setup.directory.nodes.values();
    let theirs = nodes.filter(|node| node.impu.as_ref().is_some_and(|impu| impus.contains(&impu)));
    let addresses: Vec<String> = theirs.map(|node| node.ip.to_string()).collect();
    told.add(|known, swarm, stay, listed| {
        let is_theirs = known.addresses.iter().any(|address| {
            let ip = address["ip_address"]["address"].as_str();
            ip.is_some_and(|ip| addresses.iter().any(|own| own == ip))
        });
        is_theirs && swarm == listed && stay.left.is_none()
    });
}
