//! Who is listed, and how: peer lists and manifests, on whatever path.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    super::{Deviation, Heard, How, Passing},
    book::{
        ACTIONS, Book, STATS, Told, answers, each_in, is_request, list_of, lists_nobody_as_nobody,
        minded, request, swarm_of,
    },
    row,
};
use crate::{
    node::{policy::NotifyTiming, setup::Neighbour, tracking_list::Order},
    spec::{Architecture, Format, RefPoint, Role},
};

pub const TABLE: &[Deviation] = &[
    row(
        "tracker-lists-the-last-without-address",
        "TRK-001",
        "leaves the address out of the last entry of a list",
        How::Door(|_| {
            answers(|told| {
                told.lists(|_, _, listed| {
                    if let Some(last) = listed.last_mut().and_then(Value::as_object_mut) {
                        last.shift_remove("peer_addr");
                    }
                });
            })
        }),
    ),
    row(
        "tracker-lists-without-ports",
        "TRK-001",
        "leaves the port out of each address",
        How::Door(|_| {
            answers(|told| {
                each_address(told, |address| {
                    address.shift_remove("port");
                })
            })
        }),
    ),
    row(
        "tracker-lists-without-ids",
        "PPSTP-075",
        "leaves the peer ids out of lists",
        How::Door(|_| {
            answers(|told| {
                told.each_peer(|peer| {
                    peer.shift_remove("peer_id");
                });
            })
        }),
    ),
    row(
        "tracker-lists-users-without-address",
        "PPSTP-075",
        "leaves the address of user peers out of lists",
        How::Door(|_| {
            answers(|told| {
                told.each_peer(|peer| {
                    if role_of(peer) == "user" {
                        peer.shift_remove("peer_addr");
                    }
                });
            })
        }),
    ),
    row(
        "tracker-lists-addresses-in-a-list",
        "PPSTP-038",
        "writes the one address of an entry as a list of one",
        How::Door(|_| {
            answers(|told| {
                told.each_peer(|peer| {
                    if let Some(address) = peer.get_mut("peer_addr") {
                        *address = json!([address.take()]);
                    }
                });
            })
        }),
    ),
    row(
        "tracker-lists-every-address-as-host",
        "PPSTP-040",
        "lists every address as HOST, and no connection",
        How::Door(|_| {
            answers(|told| {
                each_address(told, |address| {
                    address.insert("type".to_owned(), "HOST".into());
                    address.shift_remove("connection");
                })
            })
        }),
    ),
    row(
        "tracker-writes-ipv6-in-full",
        "PPSTP-042",
        "writes IPv6 addresses with all their zeros",
        How::Door(|_| answers(ipv6_in_full)),
    ),
    row(
        "tracker-heeds-no-peer-count",
        "TRK-009",
        "lists as many peers as it likes whatever was asked for",
        How::Hears(|passing| {
            request(passing, |root| {
                counted(root, |count| count.max(29));
            })
        }),
    ),
    row(
        "tracker-lists-one-too-many",
        "PPSTP-032",
        "lists one peer more than were asked for",
        How::Hears(|passing| {
            request(passing, |root| {
                counted(root, |count| count.saturating_add(1));
            })
        }),
    ),
    row(
        "tracker-lists-thirty-and-more",
        "PPSTP-033",
        "lists as many peers as were asked for, be it a hundred",
        How::Setup(|setup| setup.policy.tracker.most_listed = 100),
    ),
    row(
        "tracker-mixes-swarms",
        "TRK-012",
        "lists peers of every swarm",
        How::Disposed(
            lists_nobody_as_nobody,
            &How::Door(|_| {
                answers(|told| {
                    told.add(|_, other, stay, swarm| other != swarm && stay.left.is_none());
                })
            }),
        ),
    ),
    row(
        "tracker-finds-in-other-swarms",
        "PPSTP-084",
        "answers a FIND with a peer of another swarm among the others",
        How::Disposed(
            lists_nobody_as_nobody,
            &How::Door(|_| {
                answers(|told| {
                    if told.kind() == "FIND" {
                        told.add(|_, other, stay, swarm| other != swarm && stay.left.is_none());
                    }
                })
            }),
        ),
    ),
    row(
        "tracker-lists-the-asker",
        "TRK-013",
        "lists whoever asks",
        How::Disposed(
            |setup| setup.policy.tracker.notify_timing = NotifyTiming::AfterResponse,
            &How::Door(|_| answers(list_asker)),
        ),
    ),
    row(
        "tracker-lists-the-nearest-only",
        "TRK-014",
        "chooses peers by priority alone when it may not list all",
        How::Setup(|setup| {
            setup.policy.tracker.order = Order::Priority;
            setup.policy.tracker.covers = false;
        }),
    ),
    row(
        "tracker-lists-no-holder-of-the-last-piece",
        "TRK-014",
        "leaves out who holds the last piece where somebody else can be listed",
        How::Door(|_| answers(without_last_piece)),
    ),
    row(
        "tracker-keeps-the-first-pieces",
        "TRK-015",
        "lists a peer with the pieces it joined with",
        How::Hears(|passing| {
            request(passing, |root| {
                each_in(root, STATS, |stat| {
                    stat.shift_remove("cds");
                });
            })
        }),
    ),
    row(
        "tracker-adds-reported-pieces",
        "TRK-015",
        "adds what a peer reports to what it held before",
        How::Door(|_| minded(add_pieces, |_| {})),
    ),
    row(
        "tracker-lists-one-piece-map-too-many",
        "TRK-015",
        "lists the last of several peers with the pieces of the first as well",
        How::Door(|_| answers(lend_pieces)),
    ),
    row(
        "tracker-lists-who-left",
        "TRK-021",
        "goes on listing peers that left",
        How::Disposed(
            lists_nobody_as_nobody,
            &How::Door(|_| {
                answers(|told| {
                    told.add(|_, other, stay, swarm| other == swarm && stay.left.is_some());
                })
            }),
        ),
    ),
    row(
        "tracker-lists-who-left-a-while",
        "TRK-021",
        "lists a peer for ten seconds after it left",
        How::Disposed(
            lists_nobody_as_nobody,
            &How::Door(|_| {
                answers(|told| {
                    let now = told.passing.at;
                    told.add(|_, other, stay, swarm| {
                        let is_recent = |left| now < left + Duration::from_secs(10);
                        other == swarm && stay.left.is_some_and(is_recent)
                    });
                })
            }),
        ),
    ),
    row(
        "tracker-remembers-old-addresses",
        "PPSTP-023",
        "lists a peer that came again at the address it had before",
        How::Door(|_| {
            answers(|told| {
                told.lists(|book, _, listed| {
                    for peer in listed {
                        let known = peer["peer_id"].as_str().and_then(|id| book.peers.get(id));
                        let first = known.and_then(|known| known.first_addresses.first());
                        if let (Some(first), Some(peer)) = (first, peer.as_object_mut()) {
                            peer.insert("peer_addr".to_owned(), first.clone());
                        }
                    }
                });
            })
        }),
    ),
    row(
        "tracker-lists-a-peer-twice",
        "PPSTP-001",
        "lists the first of its peers again at the end",
        How::Door(|_| {
            answers(|told| {
                told.lists(|_, _, listed| listed.extend(listed.first().cloned()));
            })
        }),
    ),
    row(
        "tracker-takes-two-paths-for-two-peers",
        "STAT-014",
        "lists a peer twice that was heard on two paths",
        How::Door(|_| {
            answers(|told| {
                told.lists(|book, swarm, listed| {
                    let twice = listed.iter().filter_map(|peer| {
                        let id = peer["peer_id"].as_str()?;
                        let is_double = book.peers.get(id)?.on.len() > 1;
                        is_double.then(|| book.entry(id, swarm)).flatten()
                    });
                    let twice: Vec<Value> = twice.collect();
                    listed.extend(twice);
                });
            })
        }),
    ),
    row(
        "tracker-lists-nobody",
        "TRK-028",
        "answers every question for peers with an empty list",
        How::Setup(|setup| setup.policy.tracker.most_listed = 0),
    ),
    row(
        "tracker-reads-no-announcements",
        "TRK-028",
        "lists nobody who announced itself on the dedicated interface",
        How::Door(|_| answers(|told| told.lists(|_, _, listed| listed.retain(is_user)))),
    ),
    row(
        "tracker-tells-announcements-late",
        "TRK-028",
        "leaves CDN nodes out of the first list it gives",
        How::Door(|_| answers(announced_late)),
    ),
    row(
        "tracker-lists-the-edges-too",
        "TRK-029",
        "lists edges beside their Controller",
        How::Door(|_| answers(list_edges)),
    ),
    row(
        "tracker-lists-an-edge-for-the-controller",
        "TRK-029",
        "lists the Controller at the address of an edge",
        How::Door(|_| answers(edge_address)),
    ),
    row(
        "tracker-lists-an-edges-url",
        "TRK-029",
        "lists the Controller with a URL at an edge",
        How::Door(|_| answers(edge_url)),
    ),
    row(
        "tracker-lists-no-controller",
        "TRK-029",
        "leaves the Controller out of lists",
        How::Door(|_| {
            answers(|told| {
                told.lists(|_, _, listed| {
                    listed.retain(|peer| peer["cds"]["role"] != "controller");
                });
            })
        }),
    ),
    row(
        "tracker-lists-the-controller-as-host",
        "TRK-046",
        "lists the Controller with address type HOST",
        How::Door(|_| {
            answers(|told| {
                told.each_peer(|peer| {
                    if role_of(peer) == "controller"
                        && let Some(address) = peer.get_mut("peer_addr")
                        && let Some(address) = address.as_object_mut()
                    {
                        address.insert("type".to_owned(), "HOST".into());
                    }
                });
            })
        }),
    ),
    row(
        "tracker-counts-octets-from-one",
        "TRK-045",
        "gives the first octet of each piece as if octets were counted from 1",
        How::Door(|_| {
            answers(|told| {
                each_piece(told, |piece| {
                    if let Some(first) = piece.get("first").and_then(Value::as_u64) {
                        piece.insert("first".to_owned(), first.saturating_add(1).into());
                    }
                })
            })
        }),
    ),
    row(
        "tracker-garbles-a-digest",
        "TRK-045",
        "gives the last piece of a manifest the digest of the first",
        How::Door(|_| answers(garble_digest)),
    ),
    row(
        "tracker-garbles-the-digest-of-the-whole",
        "TRK-045",
        "gives the SHA-256 of the first piece for that of the whole content",
        How::Door(|_| answers(garble_whole)),
    ),
    row(
        "tracker-rounds-the-size-up",
        "TRK-045",
        "gives the size of a content as a multiple of its first piece",
        How::Door(|_| answers(round_size)),
    ),
    row(
        "tracker-rounds-the-last-piece-up",
        "TRK-045",
        "gives the last piece the length of the others",
        How::Door(|_| answers(round_last_piece)),
    ),
    row(
        "tracker-leaves-gaps-in-manifests",
        "TRK-047",
        "leaves the last piece out of manifests",
        How::Door(|_| {
            answers(|told| {
                told.results().for_each(|result| {
                    if let Some(pieces) = pieces_of(result) {
                        let count = pieces.len();
                        pieces.truncate(count.saturating_sub(1));
                    }
                });
            })
        }),
    ),
    row(
        "tracker-believes-the-last-manifest",
        "TRK-048",
        "takes another manifest of a content without a word",
        How::Hears(|passing| {
            request(passing, |root| {
                each_in(root, ACTIONS, |action| {
                    if let Some(cds) = action.get_mut("cds").and_then(Value::as_object_mut) {
                        cds.shift_remove("content");
                    }
                });
            })
        }),
    ),
    row(
        "tracker-opens-any-swarm",
        "TRK-038",
        "answers a JOIN of a content nobody provided with an empty list",
        How::Setup(|setup| setup.policy.tracker.leech_opens_swarm = true),
    ),
    row(
        "tracker-keeps-reports-to-itself",
        "STAT-009",
        "acknowledges status on Ut without a look at its pieces",
        How::Hears(|passing| match passing.on {
            RefPoint::Ut => without_pieces(passing),
            _ => Heard::AsItCame,
        }),
    ),
    row(
        "tracker-keeps-publications-to-itself",
        "STAT-009",
        "acknowledges publications without a look at their pieces",
        How::Hears(|passing| match passing.on {
            RefPoint::Isc if passing.request("PUBLISH").is_some() => without_pieces(passing),
            _ => Heard::AsItCame,
        }),
    ),
    row(
        "tracker-lists-no-users",
        "STAT-009",
        "lists nobody but nodes of a CDN",
        How::Door(|_| answers(|told| told.lists(|_, _, listed| listed.retain(|p| !is_user(p))))),
    ),
    row(
        "tracker-writes-empty-groups",
        "PPSTP-044",
        "gives an empty group where only CDN nodes could be listed",
        How::Door(|_| {
            answers(|told| {
                told.lists(|_, _, listed| {
                    if !listed.iter().any(is_user) {
                        listed.clear();
                    }
                });
            })
        }),
    ),
    row(
        "tracker-answers-reports-with-peers",
        "PPSTP-060",
        "adds the list of the swarm to the answer to a report",
        How::Door(|_| answers(list_to_reporters)),
    ),
    row(
        "tracker-tells-everybody-its-address",
        "PPSTP-078",
        "tells a peer that uses STUN where it was seen",
        How::Door(|_| answers(reflexive)),
    ),
    row(
        "tracker-finds-without-a-group",
        "PPSTP-083",
        "answers a FIND without peer group",
        How::Door(|_| {
            answers(|told| {
                if told.kind() == "FIND" {
                    told.results().for_each(|result| {
                        result.shift_remove("peer_group");
                    });
                }
            })
        }),
    ),
    row(
        "tracker-finds-ids-alone",
        "PPSTP-083",
        "answers a FIND with the ids of peers in place of a group",
        How::Door(|_| answers(ids_alone)),
    ),
    row(
        "tracker-takes-no-piece-for-no-news",
        "TRK-015",
        "keeps what a peer held when it reports that it holds nothing any more",
        How::Hears(|passing| {
            let holds_nothing =
                |cds: &Value| cds.is_object() && cds["pieces"].as_array().is_none_or(Vec::is_empty);
            request(passing, |root| {
                each_in(root, STATS, |stat| {
                    if stat.get("cds").is_some_and(holds_nothing) {
                        stat.shift_remove("cds");
                    }
                });
            })
        }),
    ),
];

fn role_of(peer: &Map<String, Value>) -> &str {
    let role = peer.get("cds").and_then(|cds| cds["role"].as_str());
    role.unwrap_or("user")
}

fn is_user(peer: &Value) -> bool {
    peer.as_object().is_none_or(|peer| role_of(peer) == "user")
}

fn each_address(told: &mut Told<'_, '_>, mut change: impl FnMut(&mut Map<String, Value>)) {
    told.each_peer(|peer| {
        if let Some(address) = peer.get_mut("peer_addr").and_then(Value::as_object_mut) {
            change(address);
        }
    });
}

fn ipv6_in_full(told: &mut Told<'_, '_>) {
    each_address(told, |address| {
        let ip = address.get_mut("ip_address").and_then(Value::as_object_mut);
        let Some(ip) = ip else {
            return;
        };
        let read = ip.get("address").and_then(Value::as_str);
        if let Some(Ok(v6)) = read.map(str::parse::<std::net::Ipv6Addr>) {
            let groups = v6.segments().map(|group| format!("{group:04x}"));
            ip.insert("address".to_owned(), groups.join(":").into());
        }
    });
}

/// Changes each count of peers that is asked for.
fn counted(root: &mut Map<String, Value>, change: impl Fn(u64) -> u64) {
    for body in ["connect", "find"] {
        let body = root.get_mut(body).and_then(Value::as_object_mut);
        let num = body.and_then(|body| body.get_mut("peer_num"));
        if let Some(num) = num.and_then(Value::as_object_mut)
            && let Some(count) = num.get("peer_count").and_then(Value::as_u64)
        {
            num.insert("peer_count".to_owned(), change(count).into());
        }
    }
}

fn list_asker(told: &mut Told<'_, '_>) {
    let asker = told.asker().to_owned();
    told.lists(|book, swarm, listed| {
        if !listed.iter().any(|peer| peer["peer_id"] == asker.as_str()) {
            listed.extend(book.entry(&asker, swarm));
        }
    });
}

fn without_last_piece(told: &mut Told<'_, '_>) {
    told.results().for_each(|result| {
        let count = result
            .get("cds")
            .map_or(0, |cds| list_of(&cds["pieces"]).len());
        let group = result.get_mut("peer_group");
        let listed = group.and_then(|group| group.get_mut("peer_info"));
        let Some(listed) = listed.and_then(Value::as_array_mut) else {
            return;
        };
        let holds = |peer: &Value| {
            let pieces = list_of(&peer["cds"]["pieces"]);
            pieces.iter().any(|n| n.as_u64() == Some(count as u64))
        };
        if listed.iter().any(|peer| !holds(peer)) {
            listed.retain(|peer| !holds(peer));
        }
    });
}

fn add_pieces(book: &mut Book, passing: &Passing<'_>) -> Heard {
    let Some(root) = super::book::root_of(passing) else {
        return Heard::AsItCame;
    };
    let peer_id = root.get("peer_id").and_then(Value::as_str);
    let Some(known) = peer_id.and_then(|id| book.peers.get(id)) else {
        return Heard::AsItCame;
    };
    request(passing, |root| {
        each_in(root, STATS, |stat| {
            let stay = stat.get("swarm_id").and_then(Value::as_str);
            let stay = stay.and_then(|swarm| known.swarms.get(swarm));
            let before = stay.and_then(|stay| stay.cds.get("pieces"));
            let now = stat.get_mut("cds").and_then(|cds| cds.get_mut("pieces"));
            if let (Some(before), Some(now)) = (before, now) {
                *now = together(before, now);
            }
        });
    })
}

/// The numbers of two lists, in order.
fn together(one: &Value, other: &Value) -> Value {
    let numbers = list_of(one).iter().chain(list_of(other));
    let numbers: BTreeSet<u64> = numbers.filter_map(Value::as_u64).collect();
    numbers.into_iter().collect::<Vec<u64>>().into()
}

fn lend_pieces(told: &mut Told<'_, '_>) {
    told.lists(|_, _, listed| {
        if let [first, .., last] = &mut listed[..]
            && let Some(pieces) = last.get_mut("cds").and_then(|cds| cds.get_mut("pieces"))
        {
            *pieces = together(&first["cds"]["pieces"], pieces);
        }
    });
}

/// Leaves out who is no user, until somebody who asked before asks again.
fn announced_late(told: &mut Told<'_, '_>) {
    let asker = told.asker().to_owned();
    let asks_first = told
        .book
        .peers
        .get(&asker)
        .is_none_or(|known| known.requests <= 1);
    if asks_first {
        told.lists(|_, _, listed| listed.retain(is_user));
    }
}

/// The edges of a CDN that is not registered.
fn edges<'a>(told: &Told<'a, '_>) -> Vec<(&'a str, &'a Neighbour)> {
    let setup = told.passing.setup;
    if setup.architecture == Architecture::Registered {
        return Vec::new();
    }
    let nodes = setup.directory.nodes.iter();
    nodes
        .filter(|(_, node)| node.role == Role::EdgeServer)
        .map(|(name, node)| (name.as_str(), node))
        .collect()
}

fn address_of(edge: &Neighbour) -> Value {
    let data = edge
        .listeners
        .iter()
        .find(|listener| listener.on == RefPoint::Data && listener.format == Format::Msrp);
    let kind = if edge.ip.is_ipv4() { "ipv4" } else { "ipv6" };
    json!({
        "ip_address": { "address_type": kind, "address": edge.ip.to_string() },
        "port": data.map_or(7777, |data| data.addr.port()),
        "priority": 20,
        "type": "HOST",
    })
}

fn list_edges(told: &mut Told<'_, '_>) {
    let edges: Vec<Value> = edges(told)
        .into_iter()
        .map(|(name, edge)| {
            json!({
                "peer_id": format!("urn:edge:{name}"),
                "peer_addr": address_of(edge),
                "cds": { "pieces": [1], "role": "edge" },
            })
        })
        .collect();
    told.lists(|_, _, listed| listed.extend(edges.iter().cloned()));
}

fn edge_address(told: &mut Told<'_, '_>) {
    let Some(address) = edges(told).first().map(|(_, edge)| address_of(edge)) else {
        return;
    };
    told.each_peer(|peer| {
        if role_of(peer) == "controller" {
            peer.insert("peer_addr".to_owned(), address.clone());
        }
    });
}

fn edge_url(told: &mut Told<'_, '_>) {
    let Some(host) = edges(told).first().map(|(_, edge)| edge.host.clone()) else {
        return;
    };
    told.each_peer(|peer| {
        if role_of(peer) == "controller"
            && let Some(cds) = peer.get_mut("cds").and_then(Value::as_object_mut)
        {
            let url = cds.get("url").and_then(Value::as_str).unwrap_or_default();
            let path = url.splitn(4, '/').nth(3).unwrap_or_default();
            let url = format!("http://{host}:8080/{path}");
            cds.insert("url".to_owned(), url.into());
        }
    });
}

/// The pieces of the manifest in a result.
fn pieces_of(result: &mut Map<String, Value>) -> Option<&mut Vec<Value>> {
    result.get_mut("cds")?.get_mut("pieces")?.as_array_mut()
}

fn each_piece(told: &mut Told<'_, '_>, mut change: impl FnMut(&mut Map<String, Value>)) {
    told.results().for_each(|result| {
        let pieces = pieces_of(result).into_iter().flatten();
        pieces
            .filter_map(Value::as_object_mut)
            .for_each(&mut change);
    });
}

fn garble_digest(told: &mut Told<'_, '_>) {
    told.results().for_each(|result| {
        if let Some([first, .., last]) = pieces_of(result).map(Vec::as_mut_slice)
            && let Some(last) = last.as_object_mut()
        {
            last.insert("sha256".to_owned(), first["sha256"].clone());
        }
    });
}

fn garble_whole(told: &mut Told<'_, '_>) {
    told.results().for_each(|result| {
        let first = pieces_of(result).and_then(|pieces| Some(pieces.first()?["sha256"].clone()));
        let cds = result.get_mut("cds").and_then(Value::as_object_mut);
        if let (Some(first), Some(cds)) = (first, cds) {
            cds.insert("sha256".to_owned(), first);
        }
    });
}

fn round_size(told: &mut Told<'_, '_>) {
    told.results().for_each(|result| {
        let lengths = pieces_of(result).map(|pieces| {
            let len = pieces.first().and_then(|piece| piece["len"].as_u64());
            len.unwrap_or(1).max(1)
        });
        let cds = result.get_mut("cds").and_then(Value::as_object_mut);
        if let (Some(len), Some(cds)) = (lengths, cds)
            && let Some(size) = cds.get("size").and_then(Value::as_u64)
        {
            let rounded = (size / len + 1).saturating_mul(len);
            cds.insert("size".to_owned(), rounded.into());
        }
    });
}

fn round_last_piece(told: &mut Told<'_, '_>) {
    told.results().for_each(|result| {
        if let Some([first, .., last]) = pieces_of(result).map(Vec::as_mut_slice)
            && let Some(last) = last.as_object_mut()
        {
            last.insert("len".to_owned(), first["len"].clone());
        }
    });
}

/// Statistics and publications without what they say of pieces.
fn without_pieces(passing: &Passing<'_>) -> Heard {
    if !is_request(passing) {
        return Heard::AsItCame;
    }
    request(passing, |root| {
        each_in(root, STATS, |stat| {
            stat.shift_remove("cds");
        });
    })
}

fn list_to_reporters(told: &mut Told<'_, '_>) {
    if told.kind() != "STAT_REPORT" || told.error() != 0 {
        return;
    }
    let book = std::mem::take(told.book);
    let asker = told.asker().to_owned();
    told.results().for_each(|result| {
        let swarm = swarm_of(result).to_owned();
        let mut listed = book.entries(|_, other, stay| other == swarm && stay.left.is_none());
        listed.retain(|peer| peer["peer_id"] != asker.as_str());
        result.insert("peer_group".to_owned(), json!({ "peer_info": listed }));
    });
    *told.book = book;
}

fn reflexive(told: &mut Told<'_, '_>) {
    let asked = told.asked.map(|asked| asked.document.to_string());
    if !asked.is_some_and(|asked| asked.contains("\"STUN\"") || asked.contains("\"TURN\"")) {
        return;
    }
    let peer = told.passing.peer;
    let kind = if peer.is_ipv4() { "ipv4" } else { "ipv6" };
    told.set(
        "peer_addr",
        json!({
            "ip_address": { "address_type": kind, "address": peer.ip().to_string() },
            "port": peer.port(),
            "priority": 1,
            "type": "REFLEXIVE",
        }),
    );
}

fn ids_alone(told: &mut Told<'_, '_>) {
    if told.kind() != "FIND" {
        return;
    }
    told.results().for_each(|result| {
        let Some(group) = result.shift_remove("peer_group") else {
            return;
        };
        let ids = list_of(&group["peer_info"])
            .iter()
            .map(|peer| peer["peer_id"].clone());
        result.insert("peers".to_owned(), ids.collect::<Vec<Value>>().into());
    });
}
