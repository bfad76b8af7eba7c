//! What a tracker makes of addresses and of what a peer says of itself (RFC 7846 3.2.2, 3.2.4).

use serde_json::{Map, Value, json};

use super::{
    super::{Deviation, Heard, How, Passing},
    book::{Told, answers, list_of, refused, request, root_of},
    row,
};

pub const TABLE: &[Deviation] = &[
    row(
        "tracker-knows-no-turn",
        "PPSTP-034",
        "refuses a peer that uses TURN",
        How::Hears(|passing| {
            let root = root_of(passing).unwrap_or_default();
            let mut bodies = ["connect", "find"]
                .iter()
                .filter_map(|name| root.get(*name));
            match bodies.any(|body| body["peer_num"]["ability_nat"] == "TURN") {
                true => refused(passing, 1),
                false => Heard::AsItCame,
            }
        }),
    ),
    row(
        "tracker-takes-negative-numbers",
        "PPSTP-035",
        "takes a negative number of links, time or bandwidth for 0",
        How::Hears(|passing| {
            each_selector(passing, |num| {
                for name in ["concurrent_links", "online_time", "upload_bandwidth"] {
                    if num.get(name).and_then(Value::as_i64).is_some_and(|n| n < 0) {
                        num.insert(name.to_owned(), 0.into());
                    }
                }
            })
        }),
    ),
    row(
        "tracker-takes-a-port-for-granted",
        "PPSTP-039",
        "takes 5060 for the port of an address without one",
        How::Hears(|passing| {
            each_address(passing, |address| {
                address.entry("port").or_insert(5060.into());
            })
        }),
    ),
    row(
        "tracker-drops-half-addresses",
        "PPSTP-039",
        "passes over an address that lacks a member",
        How::Hears(drop_half),
    ),
    row(
        "tracker-reads-ipv4-with-zeros",
        "PPSTP-041",
        "takes an IPv4 address with leading zeros",
        How::Hears(|passing| {
            each_address(passing, |address| {
                let ip = address.get_mut("ip_address").and_then(Value::as_object_mut);
                let Some(ip) = ip else {
                    return;
                };
                let numbers = ip.get("address").and_then(Value::as_str).map(|text| {
                    let numbers = text.split('.').map(|n| n.parse::<u8>().ok());
                    numbers.collect::<Option<Vec<u8>>>()
                });
                if let Some(Some(numbers)) = numbers
                    && let [a, b, c, d] = numbers[..]
                {
                    ip.insert("address".to_owned(), format!("{a}.{b}.{c}.{d}").into());
                }
            })
        }),
    ),
    row(
        "tracker-reads-ipv4-as-one-number",
        "PPSTP-041",
        "takes an IPv4 address that is one number",
        How::Hears(|passing| {
            each_address(passing, |address| {
                let ip = address.get_mut("ip_address").and_then(Value::as_object_mut);
                let Some(ip) = ip else {
                    return;
                };
                let number = ip.get("address").and_then(Value::as_str);
                if let Some(Ok(number)) = number.map(str::parse::<u32>) {
                    let read = std::net::Ipv4Addr::from(number).to_string();
                    ip.insert("address".to_owned(), read.into());
                }
            })
        }),
    ),
    row(
        "tracker-prefers-the-smaller-priority",
        "PPSTP-043",
        "takes the address of the smallest priority for the best",
        How::Hears(|passing| {
            each_address(passing, |address| {
                if let Some(priority) = address.get("priority").and_then(Value::as_i64) {
                    let turned = priority.saturating_neg();
                    address.insert("priority".to_owned(), turned.into());
                }
            })
        }),
    ),
    row(
        "tracker-wants-one-address",
        "PPSTP-074",
        "refuses a peer with several addresses",
        How::Hears(|passing| {
            let root = root_of(passing).unwrap_or_default();
            let addresses = root.get("connect").map(|c| list_of(&c["peer_addr"]).len());
            match addresses.is_some_and(|count| count > 1) {
                true => refused(passing, 1),
                false => Heard::AsItCame,
            }
        }),
    ),
    row(
        "tracker-tells-a-peer-anothers-address",
        "PPSTP-079",
        "tells a peer its own address as the one it saw",
        How::Door(|_| {
            answers(|told| {
                if told.kind() == "CONNECT" && told.error() == 0 {
                    let own = told.passing.setup.ip;
                    seen(told, own, "REFLEXIVE");
                }
            })
        }),
    ),
    row(
        "tracker-tells-a-finder-its-host-address",
        "PPSTP-085",
        "says HOST of the address under which it sees a peer",
        How::Door(|_| {
            answers(|told| {
                if told.kind() == "FIND" && told.error() == 0 {
                    let peer = told.passing.peer.ip();
                    seen(told, peer, "HOST");
                }
            })
        }),
    ),
    row(
        "tracker-writes-asn-as-a-number",
        "PPSTP-082",
        "writes the number of the autonomous system as a number",
        How::Door(|_| {
            answers(|told| {
                told.each_peer(|peer| {
                    let address = peer.get_mut("peer_addr").and_then(Value::as_object_mut);
                    let Some(address) = address else {
                        return;
                    };
                    let asn = address.get("asn").and_then(Value::as_str);
                    if let Some(Ok(number)) = asn.map(str::parse::<u64>) {
                        address.insert("asn".to_owned(), number.into());
                    }
                });
            })
        }),
    ),
];

/// What a peer says of itself when it asks for others.
fn each_selector(passing: &Passing<'_>, change: impl Fn(&mut Map<String, Value>)) -> Heard {
    request(passing, |root| {
        for body in ["connect", "find"] {
            let body = root.get_mut(body);
            let num = body.and_then(|body| body.get_mut("peer_num"));
            if let Some(num) = num.and_then(Value::as_object_mut) {
                change(num);
            }
        }
    })
}

/// The addresses a peer announces.
fn each_address(passing: &Passing<'_>, change: impl FnMut(&mut Map<String, Value>)) -> Heard {
    request(passing, |root| {
        super::book::each_in(root, ["connect", "peer_addr"], change);
    })
}

fn drop_half(passing: &Passing<'_>) -> Heard {
    request(passing, |root| {
        let Some(connect) = root.get_mut("connect").and_then(Value::as_object_mut) else {
            return;
        };
        let Some(addresses) = connect.get_mut("peer_addr").and_then(Value::as_array_mut) else {
            return;
        };
        addresses.retain(|address| {
            let members = ["ip_address", "port", "priority", "type"];
            members.iter().all(|name| !address[*name].is_null())
        });
        if addresses.is_empty() {
            connect.shift_remove("peer_addr");
        }
    })
}

fn seen(told: &mut Told<'_, '_>, ip: std::net::IpAddr, kind: &str) {
    let port = told.passing.peer.port();
    let version = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    told.set(
        "peer_addr",
        json!({
            "ip_address": { "address_type": version, "address": ip.to_string() },
            "port": port,
            "priority": 1,
            "type": kind,
        }),
    );
}
