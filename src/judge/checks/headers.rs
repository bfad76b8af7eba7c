//! Each CSCF adds, keeps and removes the header fields it must, hop by hop (TS 24.229 5.2.6, 5.4.3;
//! RFC 3261 16.6; RFC 3325; RFC 5502; RFC 7315).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    judge::{Case, Finding, evidence::Seen},
    spec::{RefPoint, Role},
    wire::{
        frame::Party,
        sip::{Message, Uri},
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
                    "its own URI".into(),
                );
            }
            (true, Some(_), RefPoint::Gm) if seen.is_from_user(case.evidence) => {
                if message.has("P-Asserted-Identity") {
                    report(
                        "UE-003",
                        "no P-Asserted-Identity from a user".into(),
                        "one".into(),
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
        }
    }
    findings
}

/// What was seen of each request so far.
#[derive(Default)]
struct Before {
    /// Max-Forwards with which a request reached a node.
    hops: BTreeMap<(String, u32, String, Party), u32>,
    /// icid of a request where it left the P-CSCF.
    icid: BTreeMap<(String, u32, String), String>,
    /// Public identities registered from an address, the default first.
    users: BTreeMap<Party, Vec<String>>,
    /// Who sent a request into the core.
    origin: BTreeMap<(String, u32, String), Party>,
}

fn key(message: &Message) -> Option<(String, u32, String)> {
    let cseq = message.cseq().ok()?;
    Some((message.call_id().ok()?, cseq.number, cseq.method))
}

impl Before {
    fn note(&mut self, case: &Case<'_>, seen: &Seen<'_>, message: &Message) {
        let Some(key) = key(message) else { return };
        if let Ok(Some(hops)) = message.number("Max-Forwards") {
            let (call, number, method) = key.clone();
            self.hops
                .insert((call, number, method, seen.frame.to.clone()), hops);
        }
        if case.evidence.role(&seen.frame.from) == Some(Role::PCscf)
            && let Some(icid) = icid(message)
        {
            self.icid.entry(key.clone()).or_insert(icid);
        }
        if seen.frame.on == RefPoint::Gm && seen.is_from_user(case.evidence) {
            self.origin
                .entry(key)
                .or_insert_with(|| seen.frame.from.clone());
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
            "still on top".into(),
        );
    }
    let initial = message.to().is_ok_and(|to| to.tag().is_none());
    if !initial || matches!(message.method(), "ACK" | "CANCEL") {
        return;
    }
    if message.has("P-Preferred-Identity") {
        report(
            "PCSCF-004",
            "P-Preferred-Identity removed".into(),
            "still there".into(),
        );
    }
    match message.addrs("P-Asserted-Identity") {
        Ok(asserted) if !asserted.is_empty() => {
            let sender = key(message).and_then(|key| before.origin.get(&key));
            let users = sender.and_then(|party| before.users.get(party));
            if let Some(users) = users.filter(|users| !users.is_empty())
                && !asserted
                    .iter()
                    .all(|a| users.contains(&a.uri) || a.uri.starts_with("tel:"))
            {
                report(
                    "PCSCF-006",
                    format!("P-Asserted-Identity {}", users.join(" or ")),
                    asserted[0].uri.clone(),
                );
            }
        }
        _ => report("PCSCF-004", "a P-Asserted-Identity".into(), "none".into()),
    }
    if icid(message).is_none() {
        report(
            "PCSCF-007",
            "P-Charging-Vector with an icid-value".into(),
            "none".into(),
        );
    }
    if forms_a_dialog(message) && !names_host(message, "Record-Route", &own) {
        let expected = format!("Record-Route with {own} on {}", message.method());
        report("PCSCF-008", expected, "none".into());
    }
    for name in ["Security-Verify", "Security-Client"] {
        if message.has(name) {
            report("PCSCF-010", format!("{name} removed"), "still there".into());
        }
    }
}

fn toward_the_user(message: &Message, report: &mut dyn FnMut(&'static str, String, String)) {
    for name in ["P-Charging-Vector", "P-Charging-Function-Addresses"] {
        if message.has(name) {
            report(
                "PCSCF-011",
                format!("no {name} toward a user"),
                "one".into(),
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
    let initial = message.to().is_ok_and(|to| to.tag().is_none());
    if !initial || matches!(message.method(), "ACK" | "CANCEL") {
        return;
    }
    match (on, message.has("P-Served-User")) {
        (RefPoint::Isc, false) => report(
            "SCSCF-005",
            "P-Served-User toward the AS".into(),
            "none".into(),
        ),
        (RefPoint::Mw, true) => report("SCSCF-005", "no P-Served-User on Mw".into(), "one".into()),
        _ => {}
    }
    if forms_a_dialog(message)
        && !names_host(message, "Record-Route", &case.own_host(&seen.frame.from))
    {
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
            "still there".into(),
        );
    }
    // Toward the called user's P-CSCF.
    if on == RefPoint::Mw && case.evidence.role(&seen.frame.to) == Some(Role::PCscf) {
        if !message.has("P-Called-Party-ID") {
            report("SCSCF-012", "P-Called-Party-ID".into(), "none".into());
        }
        if message.has("P-Access-Network-Info") {
            report(
                "SCSCF-020",
                "no P-Access-Network-Info toward another user".into(),
                "one".into(),
            );
        }
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
    let came = before.hops.get(&(
        call.clone(),
        number,
        method.clone(),
        seen.frame.from.clone(),
    ));
    if let (Some(&came), Ok(Some(left))) = (came, message.number("Max-Forwards"))
        && left >= came
        // Each hop makes an ACK for a failure and a CANCEL of its own (RFC 3261 9.1, 17.1.1.3).
        && !matches!(message.method(), "ACK" | "CANCEL")
    {
        let requirement = if role == Some(Role::PCscf) {
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

fn names_first_host(message: &Message, name: &str, host: &str) -> bool {
    message.addrs(name).is_ok_and(|all| {
        all.first()
            .is_some_and(|a| Uri::parse(&a.uri).is_ok_and(|uri| uri.host == host))
    })
}
