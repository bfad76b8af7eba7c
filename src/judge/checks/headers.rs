//! Each CSCF adds, keeps and removes the header fields it must, hop by hop (TS 24.229 5.2.6, 5.4.3;
//! RFC 3261 16.6; RFC 3325; RFC 5502; RFC 7315).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    judge::{Case, Finding, evidence::Seen},
    spec::{RefPoint, Role},
    wire::{
        frame::Party,
        sip::{Message, Uri, Via},
    },
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut before = Before::default();
    let mut crossed = BTreeSet::new();
    for (seen, message) in case.evidence.sip() {
        // What the network doubles, or its sender repeats, was judged when it first came.
        if !crossed.insert((&seen.frame.from, &seen.frame.to, message.bytes())) {
            continue;
        }
        let role = case.evidence.role(&seen.frame.from);
        let mut report = |requirement, expected: String, actual: String| {
            let events = seen.index..seen.index + 1;
            findings.extend(case.breach(&seen.frame.from, requirement, expected, actual, events));
        };
        let register = message.method() == "REGISTER";
        match (message.is_request(), role, seen.frame.on) {
            (true, Some(Role::PCscf), RefPoint::Mw) if !register => {
                leaving_the_p_cscf(case, seen, message, &before, &mut report);
            }
            (_, Some(Role::PCscf), RefPoint::Gm) => toward_the_user(message, &mut report),
            (true, Some(Role::SCscf), on) if !register => {
                leaving_the_s_cscf(case, seen, message, on, &mut report);
            }
            (true, Some(Role::ICscf), _)
                if !register
                    && names_host(message, "Record-Route", &case.own_host(&seen.frame.from)) =>
            {
                report(
                    "ICSCF-010",
                    "no Record-Route of the I-CSCF".into(),
                    written(message, "Record-Route"),
                );
            }
            (true, Some(_), RefPoint::Gm) if seen.is_from_user(case.evidence) => {
                if message.has("P-Asserted-Identity") {
                    report(
                        "UE-003",
                        "no P-Asserted-Identity from a user".into(),
                        written(message, "P-Asserted-Identity"),
                    );
                }
                let needs_access = !matches!(message.method(), "ACK" | "CANCEL" | "REGISTER");
                if needs_access && !message.has("P-Access-Network-Info") {
                    report("UE-003", "P-Access-Network-Info".into(), "none".into());
                }
            }
            _ => {}
        }
        if message.is_request() {
            forwarding(case, seen, message, &before, &mut report);
            before.note(case, seen, message);
        } else if register && seen.frame.on == RefPoint::Gm && message.status() == Some(200) {
            before.associate(&seen.frame.to, uris(message, "P-Associated-URI"));
        }
    }
    findings
}

/// What was seen of each request so far.
#[derive(Default)]
struct Before {
    /// Max-Forwards with which a request reached a node, by the method, the branch of its topmost Via and the node.
    hops: BTreeMap<(String, String, Party), u32>,
    /// icid of a request where it left the P-CSCF.
    icid: BTreeMap<(String, u32, String), String>,
    /// Public identities registered from an address, the default first.
    users: BTreeMap<Party, Vec<String>>,
    /// Call-ID of the request that an icid first left the P-CSCF with.
    calls: BTreeMap<String, String>,
    /// What a request was when it came into the core.
    origin: BTreeMap<(String, u32, String), Origin>,
}

/// A request as a UE wrote it.
struct Origin {
    party: Party,
    from: String,
    preferred: Vec<String>,
    asserted: Vec<String>,
}

fn key(message: &Message) -> Option<(String, u32, String)> {
    let cseq = message.cseq().ok()?;
    Some((message.call_id().ok()?, cseq.number, cseq.method))
}

impl Before {
    fn note(&mut self, case: &Case<'_>, seen: &Seen<'_>, message: &Message) {
        let Some(key) = key(message) else { return };
        if let (Ok(Some(hops)), Some(branch)) = (message.number("Max-Forwards"), branch(message, 0))
        {
            self.hops
                .insert((key.2.clone(), branch, seen.frame.to.clone()), hops);
        }
        if case.evidence.role(&seen.frame.from) == Some(Role::PCscf)
            && let Some(icid) = icid(message)
        {
            if message.method() != "REGISTER" {
                let call = self.calls.entry(icid.clone());
                call.or_insert_with(|| key.0.clone());
            }
            self.icid.entry(key.clone()).or_insert(icid);
        }
        if seen.frame.on == RefPoint::Gm && seen.is_from_user(case.evidence) {
            self.origin.entry(key).or_insert_with(|| Origin {
                party: seen.frame.from.clone(),
                from: message.from().map(|from| from.uri).unwrap_or_default(),
                preferred: uris(message, "P-Preferred-Identity"),
                asserted: uris(message, "P-Asserted-Identity"),
            });
            if message.method() == "REGISTER"
                && let Ok(to) = message.to()
            {
                let known = self.users.entry(seen.frame.from.clone()).or_default();
                if !known.contains(&to.uri) {
                    known.push(to.uri);
                }
            }
        }
    }
}

impl Before {
    /// The identities that were registered along with the one in To.
    fn associate(&mut self, user: &Party, identities: Vec<String>) {
        let known = self.users.entry(user.clone()).or_default();
        for identity in identities {
            if !known.contains(&identity) {
                known.push(identity);
            }
        }
    }
}

/// A header as it stands there: `P-Served-User: <sip:a@b>`.
fn written(message: &Message, name: &str) -> String {
    format!("{name}: {}", message.values(name).join(", "))
}

/// The topmost of its values.
fn top(message: &Message, name: &str) -> String {
    let values = message.values(name);
    values.into_iter().next().unwrap_or_default()
}

/// The branch of a Via, counted from the topmost, which is 0.
fn branch(message: &Message, place: usize) -> Option<String> {
    let via = message.values("Via").into_iter().nth(place)?;
    Via::parse(&via).ok()?.branch().map(str::to_owned)
}

fn icid(message: &Message) -> Option<String> {
    let vector = message.header("P-Charging-Vector")?;
    let value = vector
        .split(';')
        .find_map(|part| part.trim().strip_prefix("icid-value="))?;
    Some(value.trim_matches('"').to_owned())
}

fn leaving_the_p_cscf(
    case: &Case<'_>,
    seen: &Seen<'_>,
    message: &Message,
    before: &Before,
    report: &mut dyn FnMut(&'static str, String, String),
) {
    let own = case.own_host(&seen.frame.from);
    if names_first_host(message, "Route", &own) {
        report(
            "PCSCF-002",
            "its own URI taken off Route".into(),
            format!("{} still on top", top(message, "Route")),
        );
    }
    let initial = message.to().is_ok_and(|to| to.tag().is_none());
    if !initial {
        return believing(message, before, report);
    }
    if matches!(message.method(), "ACK" | "CANCEL") {
        return;
    }
    if message.has("P-Preferred-Identity") {
        report(
            "PCSCF-004",
            "P-Preferred-Identity removed".into(),
            written(message, "P-Preferred-Identity"),
        );
    }
    asserting(message, before, report);
    match (icid(message), message.call_id()) {
        (Some(icid), Ok(call)) => {
            if before.calls.get(&icid).is_some_and(|first| *first != call) {
                let expected = "an icid-value of its own for each dialog or transaction".into();
                report(
                    "PCSCF-007",
                    expected,
                    format!("icid-value {icid} again, in another"),
                );
            }
        }
        _ => report(
            "PCSCF-007",
            "P-Charging-Vector with an icid-value".into(),
            "none".into(),
        ),
    }
    // Its own request, which no Via but its own stands on, is on no route but its own.
    let is_own = message.values("Via").len() < 2;
    if forms_a_dialog(message) && !is_own && !names_host(message, "Record-Route", &own) {
        let expected = format!("Record-Route with {own} on {}", message.method());
        report("PCSCF-008", expected, "none".into());
    }
    for name in ["Security-Verify", "Security-Client"] {
        if message.has(name) {
            let expected = format!("{name} removed");
            report("PCSCF-010", expected, written(message, name));
        }
    }
}

/// Who is asserted on a request that opens a dialog or stands alone.
fn asserting(
    message: &Message,
    before: &Before,
    report: &mut dyn FnMut(&'static str, String, String),
) {
    let origin = key(message).and_then(|key| before.origin.get(&key));
    let preferred = origin.is_some_and(|origin| !origin.preferred.is_empty());
    let asserted = uris(message, "P-Asserted-Identity");
    if asserted.is_empty() {
        // Which identity was to be asserted: the preferred or the default one.
        let requirement = if preferred { "PCSCF-004" } else { "PCSCF-005" };
        return report(requirement, "a P-Asserted-Identity".into(), "none".into());
    }
    let Some(origin) = origin else { return };
    let users = before.users.get(&origin.party);
    let Some(users) = users.filter(|users| !users.is_empty()) else {
        return;
    };
    // A telephone number may come from the network's own books; not one that the user wrote.
    let wrote = |uri: &String| {
        origin.asserted.contains(uri) || origin.preferred.contains(uri) || origin.from == *uri
    };
    let is_own = |uri: &String| users.contains(uri) || uri.starts_with("tel:") && !wrote(uri);
    let Some(strange) = asserted.iter().find(|uri| !is_own(uri)) else {
        return;
    };
    let requirement = if origin.asserted.contains(strange) {
        match asserted.iter().any(is_own) {
            true => "PCSCF-006",
            false => "SEC-002",
        }
    } else if origin.preferred.contains(strange) {
        "PCSCF-005"
    } else if origin.from == *strange {
        "SEC-001"
    } else {
        "PCSCF-005"
    };
    let expected = format!("P-Asserted-Identity {}", users.join(" or "));
    report(requirement, expected, strange.clone());
}

/// Inside dialogs, too, nobody is asserted because the UE says so.
fn believing(
    message: &Message,
    before: &Before,
    report: &mut dyn FnMut(&'static str, String, String),
) {
    let Some(origin) = key(message).and_then(|key| before.origin.get(&key)) else {
        return;
    };
    let Some(users) = before.users.get(&origin.party) else {
        return;
    };
    let asserted = uris(message, "P-Asserted-Identity");
    let strange = asserted
        .iter()
        .find(|uri| origin.asserted.contains(uri) && !users.contains(uri));
    if let Some(strange) = strange {
        let expected = "the P-Asserted-Identity of the UE taken out".into();
        report("PCSCF-006", expected, strange.clone());
    }
}

fn uris(message: &Message, name: &str) -> Vec<String> {
    let addrs = message.addrs(name).unwrap_or_default();
    addrs.into_iter().map(|addr| addr.uri).collect()
}

fn toward_the_user(message: &Message, report: &mut dyn FnMut(&'static str, String, String)) {
    for name in ["P-Charging-Vector", "P-Charging-Function-Addresses"] {
        if message.has(name) {
            report(
                "PCSCF-011",
                format!("no {name} toward a user"),
                written(message, name),
            );
        }
    }
    if message.has("P-Served-User") {
        report(
            "SCSCF-005",
            "P-Served-User inside the core only".into(),
            "one on Gm".into(),
        );
    }
}

fn leaving_the_s_cscf(
    case: &Case<'_>,
    seen: &Seen<'_>,
    message: &Message,
    on: RefPoint,
    report: &mut dyn FnMut(&'static str, String, String),
) {
    if matches!(message.method(), "ACK" | "CANCEL") {
        return;
    }
    let to_a_user = on == RefPoint::Mw && case.evidence.role(&seen.frame.to) == Some(Role::PCscf);
    if to_a_user && message.has("P-Access-Network-Info") {
        report(
            "SCSCF-020",
            "no P-Access-Network-Info toward another user".into(),
            written(message, "P-Access-Network-Info"),
        );
    }
    let initial = message.to().is_ok_and(|to| to.tag().is_none());
    if !initial {
        return;
    }
    let own = case.own_host(&seen.frame.from);
    if on == RefPoint::Isc && !names_behind_first(message, "Route", &own) {
        report(
            "SCSCF-004",
            format!("Route with the AS first and {own} behind it"),
            uris(message, "Route").join(", "),
        );
    }
    match (on, message.has("P-Served-User")) {
        (RefPoint::Isc, false) => report(
            "SCSCF-005",
            "P-Served-User toward the AS".into(),
            "none".into(),
        ),
        (RefPoint::Mw, true) => report(
            "SCSCF-005",
            "no P-Served-User on Mw".into(),
            written(message, "P-Served-User"),
        ),
        _ => {}
    }
    if forms_a_dialog(message) && !names_host(message, "Record-Route", &own) {
        report(
            "SCSCF-011",
            format!("Record-Route on {}", message.method()),
            "none".into(),
        );
    }
    if message.has("P-Preferred-Service") {
        report(
            "SCSCF-009",
            "P-Preferred-Service taken off".into(),
            written(message, "P-Preferred-Service"),
        );
    }
    if to_a_user && !message.has("P-Called-Party-ID") {
        report("SCSCF-012", "P-Called-Party-ID".into(), "none".into());
    }
}

/// What every proxy owes whatever its role.
fn forwarding(
    case: &Case<'_>,
    seen: &Seen<'_>,
    message: &Message,
    before: &Before,
    report: &mut dyn FnMut(&'static str, String, String),
) {
    let role = case.evidence.role(&seen.frame.from);
    if !matches!(role, Some(Role::PCscf | Role::ICscf | Role::SCscf)) {
        return;
    }
    let Some((call, number, method)) = key(message) else {
        return;
    };
    // Beneath its own Via stands the one that the request came with.
    let came = branch(message, 1).and_then(|branch| {
        before
            .hops
            .get(&(method.clone(), branch, seen.frame.from.clone()))
    });
    if let (Some(&came), Ok(Some(left))) = (came, message.number("Max-Forwards"))
        && left >= came
        // Each hop makes an ACK for a failure and a CANCEL of its own (RFC 3261 9.1, 17.1.1.3).
        && !matches!(message.method(), "ACK" | "CANCEL")
    {
        // Without hops left it was not to go on at all.
        let requirement = if role == Some(Role::PCscf) && came > 0 {
            "PCSCF-021"
        } else {
            "ERR-010"
        };
        report(
            requirement,
            format!("Max-Forwards below {came}"),
            left.to_string(),
        );
    }
    let first = before.icid.get(&(call, number, method));
    if let (Some(first), Some(now)) = (first, icid(message))
        && *first != now
        && role != Some(Role::PCscf)
    {
        report("SCSCF-010", format!("icid {first} end to end"), now);
    }
}

fn forms_a_dialog(message: &Message) -> bool {
    matches!(message.method(), "INVITE" | "SUBSCRIBE")
}

fn names_host(message: &Message, name: &str, host: &str) -> bool {
    message.addrs(name).is_ok_and(|all| {
        all.iter()
            .any(|a| Uri::parse(&a.uri).is_ok_and(|uri| uri.host == host))
    })
}

fn names_behind_first(message: &Message, name: &str, host: &str) -> bool {
    let hosts: Vec<_> = uris(message, name)
        .iter()
        .map(|uri| Uri::parse(uri).map_or_else(|_| String::new(), |uri| uri.host))
        .collect();
    let mut hosts = hosts.iter();
    hosts.next().is_some_and(|first| first != host) && hosts.any(|other| other == host)
}

fn names_first_host(message: &Message, name: &str, host: &str) -> bool {
    message.addrs(name).is_ok_and(|all| {
        all.first()
            .is_some_and(|a| Uri::parse(&a.uri).is_ok_and(|uri| uri.host == host))
    })
}
