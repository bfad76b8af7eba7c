//! REGISTER and its answer carry what each hop must put there (TS 24.229 5.1.1, 5.2.2, 5.4.1; clauses not
//! verified), and in `unregistered` nobody of the CDN registers but its Controller (TR 23.844 6.2.2).

use std::collections::BTreeMap;

use crate::{
    judge::{Case, Finding, evidence::Seen},
    proto::{
        aka::{self, Keys, Sqn, Usim},
        digest::{self, Algorithm, AuthValue, Secret},
    },
    spec::{Architecture, RefPoint, Role},
    wire::{
        frame::Party,
        sip::{Message, NameAddr, Uri},
    },
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut granted: BTreeMap<Party, Vec<String>> = BTreeMap::new();
    for (seen, message) in case.evidence.sip() {
        if message.method() != "REGISTER" {
            let wrong = match is_initial_of_a_user(case, seen, message) {
                true => after_registration(granted.get(&seen.frame.from), message),
                false => None,
            };
            if let Some((requirement, expected, actual)) = wrong {
                let events = seen.index..seen.index + 1;
                let party = &seen.frame.from;
                findings.extend(case.breach(party, requirement, expected, actual, events));
            }
            continue;
        }
        if let Some(route) = service_route(seen, message) {
            granted.insert(seen.frame.to.clone(), route);
        }
        let wrong = match (
            message.is_request(),
            case.evidence.role(&seen.frame.from),
            seen.frame.on,
        ) {
            (true, Some(role), RefPoint::Gm) => from_a_user(case, role, message),
            (true, Some(Role::PCscf), RefPoint::Mw) => from_the_p_cscf(case, seen, message),
            (true, Some(Role::ICscf), RefPoint::Mw) => from_the_i_cscf(case, seen, message),
            (false, Some(Role::SCscf), RefPoint::Mw) => {
                from_the_registrar(case, message, had_path(case, seen, message))
            }
            _ => None,
        };
        if let Some((requirement, expected, actual)) = wrong {
            let events = seen.index..seen.index + 1;
            findings.extend(case.breach(&seen.frame.from, requirement, expected, actual, events));
        }
    }
    findings
}

type Breach = (&'static str, &'static str, String);

fn from_a_user(case: &Case<'_>, role: Role, register: &Message) -> Option<Breach> {
    let unregistered = case.evidence.trace.meta.architecture == Architecture::Unregistered;
    if unregistered && matches!(role, Role::EdgeServer | Role::OriginServer) {
        return Some((
            "REG-002",
            "no REGISTER of an edge or origin",
            "a REGISTER".into(),
        ));
    }
    let uri = register.request_uri().unwrap_or_default();
    match Uri::parse(uri) {
        Ok(uri) if uri.user.is_none() => {}
        _ => {
            let expected = "a Request-URI that is the home domain, without user part";
            return Some(("REG-003", expected, format!("\"{uri}\"")));
        }
    }
    let (from, to) = (register.from().ok()?, register.to().ok()?);
    if unregistered && role == Role::Controller && is_of_a_server(case, &to.uri) {
        let expected = "no REGISTER on behalf of an edge or origin";
        return Some(("REG-002", expected, format!("one for {}", to.uri)));
    }
    if from.uri != to.uri || from.tag().is_none() {
        let expected = "From and To with the same public identity, and a From tag";
        return Some((
            "REG-003",
            expected,
            format!("From {} and To {}", from.uri, to.uri),
        ));
    }
    if !lists(register, "Supported", "path") {
        return Some(("REG-003", "Supported: path", missing(register, "Supported")));
    }
    if !register.has("Authorization") {
        let expected = "Authorization with the private identity, from the first REGISTER on";
        return Some(("REG-004", expected, "none".into()));
    }
    let credentials = AuthValue::parse(&register.header("Authorization")?).ok()?;
    unanswering(&credentials, &to.uri).or_else(|| by_aka(case, &credentials))
}

/// What credentials that answer no challenge yet have to name (TS 24.229 5.1.1.2.3, clause not verified).
fn unanswering(credentials: &AuthValue, identity: &str) -> Option<Breach> {
    let says = |name: &str, text: &str| credentials.get(name).is_some_and(|value| value == text);
    if credentials
        .get("response")
        .is_some_and(|response| !response.is_empty())
    {
        return None;
    }
    let is_empty = says("nonce", "") && says("response", "");
    if credentials.get("auts").is_none() && !is_empty {
        let expected = "nonce and response empty in the first REGISTER";
        return Some(("REG-004", expected, credentials.to_string()));
    }
    let home = Uri::parse(identity).ok()?.host;
    let expected = "the home domain as realm of the first REGISTER";
    (!says("realm", &home)).then(|| ("REG-004", expected, credentials.to_string()))
}

/// The answer to an AKA challenge is a digest over RES (RFC 3310 3.3).
fn by_aka(case: &Case<'_>, credentials: &AuthValue) -> Option<Breach> {
    let algorithm = Algorithm::AkaV1Md5;
    if credentials.algorithm() != Some(algorithm) || credentials.get("auts").is_some() {
        return None;
    }
    let username = credentials.get("username")?;
    let mut users = case.suite.subscribers.all.iter();
    let user = users.find(|user| user.impi == username)?;
    let keys = Keys {
        k: user.k,
        opc: user.opc,
    };
    let (rand, _) = aka::read_nonce(credentials.get("nonce")?)?;
    let res = Usim::new(keys, Sqn::default()).res(&rand);
    let secret = Secret::Octets(res.to_vec());
    let ha1 = secret.ha1(algorithm, username, credentials.get("realm")?);
    let right = digest::response(algorithm, &ha1, "REGISTER", credentials);
    let written = credentials.get("response")?;
    (written != right).then(|| {
        (
            "REG-021",
            "a digest whose password is RES",
            written.to_owned(),
        )
    })
}

/// Whether a user sends its P-CSCF a request outside any dialog.
fn is_initial_of_a_user(case: &Case<'_>, seen: &Seen<'_>, message: &Message) -> bool {
    message.is_request()
        && seen.frame.on == RefPoint::Gm
        && seen.is_from_user(case.evidence)
        && case.evidence.role(&seen.frame.to) == Some(Role::PCscf)
        && !matches!(message.method(), "ACK" | "CANCEL")
        && message.to().is_ok_and(|to| to.tag().is_none())
}

/// What a request outside any dialog owes to the registration before it, if there was one.
fn after_registration(granted: Option<&Vec<String>>, request: &Message) -> Option<Breach> {
    let Some(service_route) = granted else {
        let expected = "no other request before the registration is accepted";
        return Some(("REG-001", expected, request.method().to_owned()));
    };
    let route = uris(request, "Route");
    let is_right = route.len() == service_route.len() + 1 && route.ends_with(service_route);
    let expected = "the P-CSCF and then the Service-Route as Route";
    (!is_right).then(|| ("REG-009", expected, route.join(", ")))
}

/// The Service-Route of a registration that is accepted.
fn service_route(seen: &Seen<'_>, answer: &Message) -> Option<Vec<String>> {
    let accepted = answer.status() == Some(200) && seen.frame.on == RefPoint::Gm;
    (accepted && leaves_bound(answer)).then(|| uris(answer, "Service-Route"))
}

fn uris(message: &Message, name: &str) -> Vec<String> {
    let addresses = message.addrs(name).unwrap_or_default();
    addresses.into_iter().map(|address| address.uri).collect()
}

/// Whether an identity is that of an edge or origin: at its host or its address.
fn is_of_a_server(case: &Case<'_>, identity: &str) -> bool {
    let Ok(identity) = Uri::parse(identity) else {
        return false;
    };
    let mut servers = case
        .nodes_of(Role::EdgeServer)
        .chain(case.nodes_of(Role::OriginServer));
    let addresses = [Role::EdgeServer, Role::OriginServer].map(|role| case.addresses_of(role));
    let is_address = |ip: &std::net::IpAddr| identity.host == ip.to_string();
    servers.any(|server| identity.host.eq_ignore_ascii_case(&server.host))
        || addresses.iter().flatten().any(is_address)
}

fn from_the_p_cscf(case: &Case<'_>, seen: &Seen<'_>, register: &Message) -> Option<Breach> {
    let own = case
        .host_of(seen.frame.from.node()?.as_str())
        .unwrap_or_default();
    let path = register
        .addrs("Path")
        .ok()
        .and_then(|path| path.into_iter().next());
    let is_own = path.as_ref().is_some_and(|first| {
        Uri::parse(&first.uri).is_ok_and(|uri| uri.host == own && uri.params.has("lr"))
    });
    if !is_own {
        let actual = path.map_or("no Path".to_owned(), |first| format!("Path: {}", first.uri));
        return Some((
            "REG-006",
            "the P-CSCF's own URI with lr on top of Path",
            actual,
        ));
    }
    if !lists(register, "Require", "path") {
        return Some(("REG-006", "Require: path", missing(register, "Require")));
    }
    for name in ["P-Visited-Network-ID", "P-Charging-Vector"] {
        if !register.has(name) {
            return Some((
                "REG-006",
                "P-Visited-Network-ID and P-Charging-Vector",
                missing(register, name),
            ));
        }
    }
    if register.has("Security-Client") || lists(register, "Require", "sec-agree") {
        let expected = "no Security-Client and no sec-agree beyond the P-CSCF";
        return Some(("PCSCF-010", expected, "one of them".into()));
    }
    None
}

/// Later requests to who registers pass the I-CSCF by.
fn from_the_i_cscf(case: &Case<'_>, seen: &Seen<'_>, register: &Message) -> Option<Breach> {
    let own = case.own_host(&seen.frame.from);
    let path = register.addrs("Path").ok()?;
    let names_own = path
        .iter()
        .find(|entry| Uri::parse(&entry.uri).is_ok_and(|uri| uri.host == own))?;
    let expected = "Path without the I-CSCF";
    Some(("ICSCF-010", expected, format!("Path: {}", names_own.uri)))
}

/// Whether the REGISTER that is answered brought a Path to the registrar.
fn had_path(case: &Case<'_>, seen: &Seen<'_>, answer: &Message) -> bool {
    let before = case
        .evidence
        .sip()
        .take_while(|(other, _)| other.index < seen.index);
    let asked = |message: &Message| {
        message.method() == "REGISTER"
            && message.is_request()
            && message.call_id().ok() == answer.call_id().ok()
            && message.cseq().ok() == answer.cseq().ok()
    };
    let mut asked =
        before.filter(|(other, message)| other.frame.to == seen.frame.from && asked(message));
    asked.any(|(_, register)| register.has("Path"))
}

fn from_the_registrar(case: &Case<'_>, answer: &Message, had_path: bool) -> Option<Breach> {
    // The answer to a de-registration lists no contact, or that it expires at once, and owes nothing.
    if answer.status() != Some(200) || !leaves_bound(answer) {
        return None;
    }
    // It can give back a Path only if one came.
    let owed = match had_path {
        true => &["Path", "Service-Route", "P-Associated-URI"][..],
        false => &["Service-Route", "P-Associated-URI"][..],
    };
    let mut owed = owed.iter().copied();
    let missing = owed.find(|name| !answer.has(name)).map(|name| {
        (
            "REG-008",
            "Path, Service-Route and P-Associated-URI",
            missing(answer, name),
        )
    });
    missing.or_else(|| another_first(case, answer))
}

/// Whether the answer to a REGISTER leaves a contact bound.
fn leaves_bound(answer: &Message) -> bool {
    let contacts = answer.addrs("Contact").unwrap_or_default();
    let ends = |contact: &NameAddr| contact.params.get("expires") == Some("0");
    !contacts.iter().all(ends)
}

/// The default public identity is the subscriber's first that is not barred (TS 29.228 6.5.1.1).
fn another_first(case: &Case<'_>, answer: &Message) -> Option<Breach> {
    let registered = answer.to().ok()?.uri;
    let mut subscribers = case.suite.subscribers.all.iter();
    let user = subscribers.find(|user| user.impus.contains(&registered))?;
    let associated = answer.addrs("P-Associated-URI").ok()?;
    let first = associated.first()?;
    let default = user.impus.get(usize::from(user.barred));
    (default != Some(&first.uri)).then(|| {
        (
            "REG-008",
            "P-Associated-URI with the default identity first",
            format!("P-Associated-URI: {}", first.uri),
        )
    })
}

fn lists(message: &Message, name: &str, token: &str) -> bool {
    message
        .values(name)
        .iter()
        .any(|value| value.eq_ignore_ascii_case(token))
}

fn missing(message: &Message, name: &str) -> String {
    match message.header(name) {
        Some(value) => format!("{name}: {value}"),
        None => format!("no {name}"),
    }
}
