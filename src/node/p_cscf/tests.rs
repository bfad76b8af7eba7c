use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    io::Output,
    node::{
        policy::{Policy, RouteMismatch},
        setup::{Directory, Neighbour},
    },
    proto::digest::AuthValue,
    spec::{Architecture, Delivery, Options},
    trace::Listener,
    wire::frame::{Frame, Party, Security},
};

const UE_A: &str = "192.0.2.10:5070";
const UE_B: &str = "192.0.2.11:5070";
const ICSCF: &str = "203.0.113.2:5060";
const SCSCF: &str = "203.0.113.3:5060";

/// A P-CSCF under the eyes of a test: what it sends is told by its destination.
struct Bench {
    node: PCscf,
    at: At,
    out: Outbox,
}

impl Bench {
    fn new(policy: PCscfPolicy) -> Bench {
        Bench {
            node: PCscf::new(setup(policy)),
            at: At::ZERO,
            out: Outbox::default(),
        }
    }

    /// With UE-A and UE-B registered.
    fn registered(policy: PCscfPolicy) -> Bench {
        let mut bench = Bench::new(policy);
        for (ue, name) in [(UE_A, "ue-a"), (UE_B, "ue-b")] {
            bench.register(ue, name, 600);
        }
        bench
    }

    fn register(&mut self, ue: &str, name: &str, expires: u32) {
        let via = format!("SIP/2.0/UDP {ue};branch=z9hG4bK-{name}-{expires}");
        let register = register(ue, name).edit().set("Via", &via).finish();
        let sent = self.feed(ue, RefPoint::Gm, &register);
        let ok = Builder::response(&sent[0].1, 200, "OK", Some("r"))
            .header("Contact", &format!("<sip:{ue}>;expires={expires}"))
            .header("Service-Route", "<sip:orig@scscf1.ims.example;lr>")
            .header(
                "P-Associated-URI",
                &format!("<sip:{name}@ims.example>, <tel:+1{name}>"),
            )
            .finish();
        let answered = self.feed(ICSCF, RefPoint::Mw, &ok);
        assert_eq!(Some(200), answered[0].1.status());
    }

    /// Gives a message to the node and what it then sends, 100 aside.
    fn feed(&mut self, from: &str, on: RefPoint, message: &Message) -> Vec<(SocketAddr, Message)> {
        let src: SocketAddr = from.parse().unwrap();
        let frame = Frame {
            from: Party::Unknown(src),
            to: Party::Node(NodeName::new("p-cscf")),
            src,
            dst: listener_on(on).addr,
            on,
            format: Format::Sip,
            link: None,
            security: Security::Plain,
            bytes: message.bytes().clone(),
            framed: true,
        };
        self.node
            .handle(self.at, Input::Frame(&frame), &mut self.out);
        self.sent()
    }

    fn sent(&mut self) -> Vec<(SocketAddr, Message)> {
        self.out
            .drain()
            .filter_map(|output| match output {
                Output::Datagram { to, bytes, .. } => Some((to, Message::parse(bytes).unwrap())),
                _ => None,
            })
            .filter(|(_, message)| message.status() != Some(100))
            .collect()
    }

    /// An INVITE of UE-A, answered 200 by the core on behalf of `record` (the Record-Route it saw).
    fn call(&mut self) -> Message {
        let sent = self.feed(UE_A, RefPoint::Gm, &invite(&[]));
        let recorded = sent[0].1.header("Record-Route").unwrap();
        let ok = Builder::response(&sent[0].1, 200, "OK", Some("tb"))
            .header(
                "Record-Route",
                &format!("<sip:scscf1.ims.example;lr>, {recorded}"),
            )
            .header("Contact", "<sip:es1.example>")
            .header("P-Charging-Vector", "icid-value=\"x\"")
            .finish();
        self.feed(SCSCF, RefPoint::Mw, &ok).remove(0).1
    }
}

fn listener_on(on: RefPoint) -> Listener {
    let port = match on {
        RefPoint::Gm => 5062,
        _ => 5060,
    };
    Listener {
        on,
        format: Format::Sip,
        transport: ListenTransport::Udp,
        addr: SocketAddr::new([192, 0, 2, 1].into(), port),
    }
}

fn neighbour(role: Role, host: &str, addr: &str, on: RefPoint) -> Neighbour {
    let addr: SocketAddr = addr.parse().unwrap();
    Neighbour {
        role,
        host: host.to_owned(),
        ip: addr.ip(),
        ports: None,
        listeners: vec![Listener {
            addr,
            ..listener_on(on)
        }],
        impu: None,
        cdn: None,
        holds: Vec::new(),
    }
}

fn setup(policy: PCscfPolicy) -> Setup {
    let mut own = neighbour(
        Role::PCscf,
        "pcscf1.ims.example",
        "192.0.2.1:5062",
        RefPoint::Gm,
    );
    own.listeners = vec![listener_on(RefPoint::Gm), listener_on(RefPoint::Mw)];
    let nodes = [
        ("p-cscf", own.clone()),
        (
            "i-cscf",
            neighbour(Role::ICscf, "icscf1.ims.example", ICSCF, RefPoint::Mw),
        ),
        (
            "s-cscf",
            neighbour(Role::SCscf, "scscf1.ims.example", SCSCF, RefPoint::Mw),
        ),
        (
            "ue-a",
            neighbour(Role::Ue, "ue-a.example", UE_A, RefPoint::Gm),
        ),
        (
            "ue-b",
            neighbour(Role::Ue, "ue-b.example", UE_B, RefPoint::Gm),
        ),
    ];
    let nodes: BTreeMap<NodeName, Neighbour> = nodes
        .into_iter()
        .map(|(name, neighbour)| (NodeName::new(name), neighbour))
        .collect();
    let directory = Directory {
        hosts: nodes
            .iter()
            .map(|(name, neighbour)| (neighbour.host.clone(), name.clone()))
            .collect(),
        nodes,
        domain: "ims.example".to_owned(),
        tracker_psi: "sip:tracker@p2pcds.ims.example".to_owned(),
    };
    Setup {
        name: NodeName::new("p-cscf"),
        role: Role::PCscf,
        seed: 1,
        ip: own.ip,
        listeners: own.listeners,
        architecture: Architecture::Registered,
        options: Options::default(),
        delivery: Delivery::Delegate,
        directory: Arc::new(directory),
        subscribers: Arc::default(),
        user: None,
        contents: Arc::default(),
        holds: Vec::new(),
        tls: false,
        trusts: crate::node::setup::PROVEN,
        path_mtu: [(RefPoint::Gm, 9000), (RefPoint::Mw, 9000)].into(),
        policy: Policy {
            p_cscf: policy,
            ..Policy::default()
        },
        token_key: Vec::new(),
    }
}

fn message(lines: &[&str]) -> Message {
    let text = format!("{}\r\n\r\n", lines.join("\r\n"));
    Message::parse(Bytes::from(text)).unwrap()
}

fn register(ue: &str, name: &str) -> Message {
    message(&[
        "REGISTER sip:ims.example SIP/2.0",
        &format!("Via: SIP/2.0/UDP {ue};branch=z9hG4bK-reg-{name};rport"),
        "Max-Forwards: 70",
        &format!("From: <sip:{name}@ims.example>;tag=1"),
        &format!("To: <sip:{name}@ims.example>"),
        &format!("Call-ID: reg-{name}"),
        "CSeq: 1 REGISTER",
        &format!("Contact: <sip:{ue}>;expires=600000"),
        "Path: <sip:forged.example;lr>",
        &format!(
            "Authorization: Digest username=\"{name}\",realm=\"ims.example\",nonce=\"\",\
             uri=\"sip:ims.example\",response=\"\",integrity-protected=\"yes\""
        ),
        "P-Charging-Vector: icid-value=forged",
        "Require: sec-agree",
        "Proxy-Require: sec-agree",
        "Security-Client: ipsec-3gpp;alg=hmac-sha-1-96;spi-c=1;spi-s=2;port-c=3;port-s=4",
        "Supported: path",
        "Content-Length: 0",
    ])
}

/// UE-A's INVITE; `changes` replace or add headers.
fn invite(changes: &[(&str, &str)]) -> Message {
    let request = message(&[
        "INVITE sip:es1.cdn1@ims.example SIP/2.0",
        &format!("Via: SIP/2.0/UDP {UE_A};branch=z9hG4bK-inv;rport"),
        "Max-Forwards: 70",
        "Route: <sip:pcscf1.ims.example:5062;lr>,<sip:orig@scscf1.ims.example;lr>",
        "From: <sip:ue-a@ims.example>;tag=ta",
        "To: <sip:es1.cdn1@ims.example>",
        "Call-ID: c1",
        "CSeq: 1 INVITE",
        &format!("Contact: <sip:{UE_A}>"),
        "Content-Length: 0",
    ]);
    let edit = changes
        .iter()
        .fold(request.edit(), |edit, (name, value)| edit.set(name, value));
    edit.finish()
}

/// The core's INVITE to UE-B.
fn incoming() -> Message {
    message(&[
        &format!("INVITE sip:{UE_B} SIP/2.0"),
        "Via: SIP/2.0/UDP 203.0.113.3:5060;branch=z9hG4bK-in",
        "Max-Forwards: 60",
        "Route: <sip:term@pcscf1.ims.example:5060;lr>",
        "Record-Route: <sip:scscf1.ims.example;lr>, <sip:pcscf1.ims.example:5060;lr>",
        "From: <sip:ue-a@ims.example>;tag=ta",
        "To: <sip:ue-b@ims.example>",
        "Call-ID: c2",
        "CSeq: 1 INVITE",
        "Contact: <sip:192.0.2.10:5070>",
        "P-Asserted-Identity: <sip:ue-a@ims.example>",
        "P-Called-Party-ID: <sip:second-b@ims.example>",
        "P-Charging-Vector: icid-value=\"term\";orig-ioi=home",
        "P-Charging-Function-Addresses: ccf=[5555::1]",
        "P-Served-User: <sip:ue-b@ims.example>;sescase=term;regstate=reg",
        "Content-Length: 0",
    ])
}

/// A request of UE-A inside the dialog of [`Bench::call`].
fn inside(method: &str, changes: &[(&str, &str)]) -> Message {
    let request = message(&[
        &format!("{method} sip:es1.example SIP/2.0"),
        &format!("Via: SIP/2.0/UDP {UE_A};branch=z9hG4bK-{method};rport"),
        "Max-Forwards: 70",
        "Route: <sip:pcscf1.ims.example:5062;lr>, <sip:scscf1.ims.example;lr>",
        "From: <sip:ue-a@ims.example>;tag=ta",
        "To: <sip:es1.cdn1@ims.example>;tag=tb",
        "Call-ID: c1",
        &format!("CSeq: {} {method}", if method == "ACK" { 1 } else { 2 }),
        "Content-Length: 0",
    ]);
    let edit = changes
        .iter()
        .fold(request.edit(), |edit, (name, value)| edit.set(name, value));
    edit.finish()
}

fn uris(message: &Message, name: &str) -> Vec<String> {
    let addrs = message.addrs(name).unwrap();
    addrs.into_iter().map(|addr| addr.uri).collect()
}

#[test]
fn a_register_goes_to_the_i_cscf_with_path_and_without_security_agreement() {
    let mut bench = Bench::new(PCscfPolicy::default());

    let sent = bench.feed(UE_A, RefPoint::Gm, &register(UE_A, "ue-a"));

    let (to, register) = &sent[0];
    assert_eq!(ICSCF, to.to_string());
    assert_eq!(
        vec!["sip:term@pcscf1.ims.example:5060;lr"],
        uris(register, "Path")
    );
    assert_eq!(vec!["path"], register.values("Require"));
    assert_eq!(
        Some("ims.example"),
        register.header("P-Visited-Network-ID").as_deref()
    );
    assert_eq!(Ok(Some(69)), register.number("Max-Forwards"));
    let vector = register.header("P-Charging-Vector").unwrap();
    assert!(
        vector.starts_with("icid-value=\"") && !vector.contains("forged"),
        "{vector}"
    );
    let authorization = register.header("Authorization").unwrap();
    let authorization = AuthValue::parse(&authorization).unwrap();
    assert_eq!(Some("no"), authorization.get("integrity-protected"));
    for gone in ["Proxy-Require", "Security-Client"] {
        assert!(!register.has(gone), "{gone}");
    }
}

#[test]
fn a_ue_cannot_claim_that_its_register_is_protected() {
    let mut bench = Bench::new(PCscfPolicy::default());
    let request = register(UE_A, "ue-a");
    let digest_only = request.edit().remove("Security-Client").finish();

    let sent = bench.feed(UE_A, RefPoint::Gm, &digest_only);

    let authorization = sent[0].1.header("Authorization").unwrap();
    assert!(
        !authorization.contains("integrity-protected"),
        "{authorization}"
    );
}

#[test]
fn the_keys_of_a_challenge_do_not_reach_the_ue() {
    let mut bench = Bench::new(PCscfPolicy::default());
    let sent = bench.feed(UE_A, RefPoint::Gm, &register(UE_A, "ue-a"));
    let challenge = Builder::response(&sent[0].1, 401, "Unauthorized", Some("r"))
        .header(
            "WWW-Authenticate",
            "Digest realm=\"ims.example\",nonce=\"n\",algorithm=AKAv1-MD5,ck=\"00\",ik=\"11\"",
        )
        .header("P-Charging-Vector", "icid-value=x")
        .finish();

    let answered = bench.feed(ICSCF, RefPoint::Mw, &challenge);

    let (to, challenge) = &answered[0];
    assert_eq!(UE_A, to.to_string());
    assert_eq!(
        Some("Digest realm=\"ims.example\",nonce=\"n\",algorithm=AKAv1-MD5"),
        challenge.header("WWW-Authenticate").as_deref()
    );
    assert!(challenge.has("Security-Server"));
    assert!(!challenge.has("P-Charging-Vector"));
}

#[test]
fn nothing_of_an_unregistered_sender_reaches_the_core() {
    let mut bench = Bench::new(PCscfPolicy::default());

    let answered = bench.feed(UE_A, RefPoint::Gm, &invite(&[]));

    assert_eq!(1, answered.len());
    assert_eq!(
        (UE_A.parse().unwrap(), Some(403)),
        (answered[0].0, answered[0].1.status())
    );
}

#[test]
fn a_registration_ends_in_time_and_on_demand() {
    let mut bench = Bench::registered(PCscfPolicy::default());
    bench.register(UE_B, "ue-b", 0);
    let from_b = invite(&[("Via", &format!("SIP/2.0/UDP {UE_B};branch=z9hG4bK-b"))]);
    assert_eq!(
        Some(403),
        bench.feed(UE_B, RefPoint::Gm, &from_b)[0].1.status()
    );

    bench.at = At::ZERO + Duration::from_secs(600);

    assert_eq!(
        Some(403),
        bench.feed(UE_A, RefPoint::Gm, &invite(&[]))[0].1.status()
    );
}

#[test]
fn a_request_leaves_with_an_asserted_identity_and_a_recorded_route() {
    let mut bench = Bench::registered(PCscfPolicy::default());
    let request = invite(&[
        ("P-Asserted-Identity", "<sip:admin@ims.example>"),
        ("P-Preferred-Identity", "\"A\" <sip:ue-b@ims.example>"),
        ("P-Served-User", "<sip:ue-b@ims.example>"),
        ("P-Charging-Vector", "icid-value=forged"),
    ]);

    let sent = bench.feed(UE_A, RefPoint::Gm, &request);

    let (to, invite) = &sent[0];
    assert_eq!(SCSCF, to.to_string());
    assert_eq!(
        vec!["sip:orig@scscf1.ims.example;lr"],
        uris(invite, "Route")
    );
    assert_eq!(
        vec!["sip:pcscf1.ims.example:5060;lr"],
        uris(invite, "Record-Route")
    );
    assert_eq!(
        vec!["sip:ue-a@ims.example"],
        uris(invite, "P-Asserted-Identity")
    );
    assert_eq!(Ok(Some(69)), invite.number("Max-Forwards"));
    assert!(
        !invite
            .header("P-Charging-Vector")
            .unwrap()
            .contains("forged")
    );
    for gone in ["P-Preferred-Identity", "P-Served-User"] {
        assert!(!invite.has(gone), "{gone}");
    }
}

#[test]
fn a_preferred_identity_that_is_registered_is_asserted() {
    let mut bench = Bench::registered(PCscfPolicy::default());
    let request = invite(&[("P-Preferred-Identity", "<tel:+1ue-a>")]);

    let sent = bench.feed(UE_A, RefPoint::Gm, &request);

    assert_eq!(vec!["tel:+1ue-a"], uris(&sent[0].1, "P-Asserted-Identity"));
}

#[test]
fn another_route_is_refused_or_replaced() {
    let astray = invite(&[(
        "Route",
        "<sip:pcscf1.ims.example:5062;lr>, <sip:icscf1.ims.example;lr>",
    )]);

    let mut refusing = Bench::registered(PCscfPolicy::default());
    assert_eq!(
        Some(400),
        refusing.feed(UE_A, RefPoint::Gm, &astray)[0].1.status()
    );

    let mut replacing = Bench::registered(PCscfPolicy {
        route_mismatch: RouteMismatch::Replace,
        ..PCscfPolicy::default()
    });
    let sent = replacing.feed(UE_A, RefPoint::Gm, &astray);
    assert_eq!(SCSCF, sent[0].0.to_string());
    assert_eq!(
        vec!["sip:orig@scscf1.ims.example;lr"],
        uris(&sent[0].1, "Route")
    );
}

#[test]
fn no_hops_left_is_483() {
    let mut bench = Bench::registered(PCscfPolicy::default());
    let answered = bench.feed(UE_A, RefPoint::Gm, &invite(&[("Max-Forwards", "0")]));
    assert_eq!(Some(483), answered[0].1.status());
}

#[test]
fn a_dialog_of_the_caller_is_followed_to_its_end() {
    let mut bench = Bench::registered(PCscfPolicy::default());

    let ok = bench.call();
    assert_eq!(
        vec![
            "sip:scscf1.ims.example;lr",
            "sip:pcscf1.ims.example:5062;lr"
        ],
        uris(&ok, "Record-Route")
    );
    assert!(!ok.has("P-Charging-Vector"));

    let ack = bench.feed(UE_A, RefPoint::Gm, &inside("ACK", &[]));
    assert_eq!(SCSCF, ack[0].0.to_string());
    assert_eq!(vec!["sip:scscf1.ims.example;lr"], uris(&ack[0].1, "Route"));

    let bye = bench.feed(UE_A, RefPoint::Gm, &inside("BYE", &[]));
    assert_eq!(SCSCF, bye[0].0.to_string());
    let done = Builder::response(&bye[0].1, 200, "OK", None).finish();
    assert_eq!(
        UE_A,
        bench.feed(SCSCF, RefPoint::Mw, &done)[0].0.to_string()
    );

    let late = inside("UPDATE", &[]);
    assert_eq!(
        Some(403),
        bench.feed(UE_A, RefPoint::Gm, &late)[0].1.status()
    );
}

#[test]
fn a_dialog_of_somebody_else_is_closed() {
    let mut bench = Bench::registered(PCscfPolicy::default());
    bench.call();

    let hijack = inside(
        "BYE",
        &[("Via", &format!("SIP/2.0/UDP {UE_B};branch=z9hG4bK-h"))],
    );
    assert_eq!(
        Some(403),
        bench.feed(UE_B, RefPoint::Gm, &hijack)[0].1.status()
    );

    let astray = inside("BYE", &[("Route", "<sip:pcscf1.ims.example:5062;lr>")]);
    assert_eq!(
        Some(400),
        bench.feed(UE_A, RefPoint::Gm, &astray)[0].1.status()
    );
}

#[test]
fn a_request_to_a_ue_hides_the_core_and_its_answer_names_who_was_called() {
    let mut bench = Bench::registered(PCscfPolicy::default());

    let sent = bench.feed(SCSCF, RefPoint::Mw, &incoming());
    let (to, invite) = &sent[0];
    assert_eq!(UE_B, to.to_string());
    assert_eq!(
        vec![
            "sip:pcscf1.ims.example:5062;lr",
            "sip:scscf1.ims.example;lr",
            "sip:pcscf1.ims.example:5060;lr"
        ],
        uris(invite, "Record-Route")
    );
    let hidden = [
        "Route",
        "P-Charging-Vector",
        "P-Charging-Function-Addresses",
        "P-Served-User",
    ];
    for gone in hidden {
        assert!(!invite.has(gone), "{gone}");
    }
    assert!(invite.has("P-Called-Party-ID") && invite.has("P-Asserted-Identity"));

    let recorded = invite.values("Record-Route").join(", ");
    let ok = Builder::response(invite, 200, "OK", Some("tb"))
        .header("Record-Route", &recorded)
        .header("Contact", &format!("<sip:{UE_B}>"))
        .header("P-Asserted-Identity", "<sip:admin@ims.example>")
        .header("P-Preferred-Identity", "<sip:admin@ims.example>")
        .finish();
    let answered = bench.feed(UE_B, RefPoint::Gm, &ok);
    let (to, ok) = &answered[0];
    assert_eq!(SCSCF, to.to_string());
    assert_eq!(
        vec!["sip:second-b@ims.example"],
        uris(ok, "P-Asserted-Identity")
    );
    assert!(!ok.has("P-Preferred-Identity"));
    assert_eq!(
        Some("icid-value=\"term\";orig-ioi=home"),
        ok.header("P-Charging-Vector").as_deref()
    );
    assert_eq!(
        vec![
            "sip:pcscf1.ims.example:5060;lr",
            "sip:scscf1.ims.example;lr",
            "sip:pcscf1.ims.example:5060;lr"
        ],
        uris(ok, "Record-Route")
    );
}

#[test]
fn the_called_ue_may_end_the_dialog() {
    let mut bench = Bench::registered(PCscfPolicy::default());
    let sent = bench.feed(SCSCF, RefPoint::Mw, &incoming());
    let recorded = sent[0].1.values("Record-Route").join(", ");
    let ok = Builder::response(&sent[0].1, 200, "OK", Some("tb"))
        .header("Record-Route", &recorded)
        .finish();
    bench.feed(UE_B, RefPoint::Gm, &ok);
    let bye = message(&[
        "BYE sip:192.0.2.10:5070 SIP/2.0",
        &format!("Via: SIP/2.0/UDP {UE_B};branch=z9hG4bK-bye"),
        &format!("Route: {recorded}"),
        "From: <sip:ue-b@ims.example>;tag=tb",
        "To: <sip:ue-a@ims.example>;tag=ta",
        "Call-ID: c2",
        "CSeq: 1 BYE",
    ]);

    let sent = bench.feed(UE_B, RefPoint::Gm, &bye);

    let (to, bye) = &sent[0];
    assert_eq!(SCSCF, to.to_string());
    assert_eq!(Ok(Some(70)), bye.number("Max-Forwards"));
    assert_eq!(2, bye.addrs("Route").unwrap().len());
    assert_eq!(
        Some("icid-value=\"term\""),
        bye.header("P-Charging-Vector").as_deref()
    );
}

#[test]
fn a_subscriber_takes_the_route_of_the_notify() {
    let mut bench = Bench::registered(PCscfPolicy::default());
    let notify = message(&[
        &format!("NOTIFY sip:{UE_A} SIP/2.0"),
        "Via: SIP/2.0/UDP 203.0.113.3:5060;branch=z9hG4bK-notify",
        "Max-Forwards: 60",
        "Route: <sip:pcscf1.ims.example:5060;lr>",
        "Record-Route: <sip:scscf1.ims.example;lr>",
        "From: <sip:tracker@p2pcds.ims.example>;tag=tt",
        "To: <sip:ue-a@ims.example>;tag=ta",
        "Call-ID: s1",
        "CSeq: 1 NOTIFY",
        "Event: p2pcds-peers",
        "Subscription-State: active;expires=600",
    ]);

    let sent = bench.feed(SCSCF, RefPoint::Mw, &notify);
    let routes = uris(&sent[0].1, "Record-Route");
    assert_eq!(
        vec![
            "sip:pcscf1.ims.example:5062;lr",
            "sip:scscf1.ims.example;lr"
        ],
        routes
    );

    let refresh = inside(
        "SUBSCRIBE",
        &[
            ("Route", &format!("<{}>", routes.join(">, <"))),
            ("To", "<sip:tracker@p2pcds.ims.example>;tag=tt"),
            ("Call-ID", "s1"),
        ],
    );
    let sent = bench.feed(UE_A, RefPoint::Gm, &refresh);
    assert_eq!(SCSCF, sent[0].0.to_string());
    assert!(!sent[0].1.has("Record-Route"));
}

#[test]
fn a_ue_that_is_not_registered_cannot_be_called() {
    let mut bench = Bench::new(PCscfPolicy::default());
    let answered = bench.feed(SCSCF, RefPoint::Mw, &incoming());
    assert_eq!(
        (SCSCF.parse().unwrap(), Some(480)),
        (answered[0].0, answered[0].1.status())
    );
}

#[test]
fn a_publish_leaves_no_route_and_no_state() {
    let mut bench = Bench::registered(PCscfPolicy::default());
    let publish = invite(&[("CSeq", "1 PUBLISH")]);
    let publish = String::from_utf8(publish.bytes().to_vec()).unwrap();
    let publish = Message::parse(publish.replacen("INVITE", "PUBLISH", 1).into()).unwrap();

    let sent = bench.feed(UE_A, RefPoint::Gm, &publish);
    assert!(!sent[0].1.has("Record-Route"));
    let ok = Builder::response(&sent[0].1, 200, "OK", Some("x")).finish();
    assert_eq!(UE_A, bench.feed(SCSCF, RefPoint::Mw, &ok)[0].0.to_string());

    let after = inside("BYE", &[("To", "<sip:es1.cdn1@ims.example>;tag=x")]);
    assert_eq!(
        Some(403),
        bench.feed(UE_A, RefPoint::Gm, &after)[0].1.status()
    );
}

#[test]
fn a_stopped_node_is_silent() {
    let mut bench = Bench::registered(PCscfPolicy::default());
    let input = Input::Act(&Action::Stop);
    bench.node.handle(At::ZERO, input, &mut bench.out);
    assert!(bench.feed(UE_A, RefPoint::Gm, &invite(&[])).is_empty());
}

proptest! {
    #[test]
    fn no_frame_brings_it_down(
        spoilt in proptest::collection::vec((0usize..600, any::<u8>()), 1..8),
        which in 0usize..4,
        from_core: bool,
    ) {
        let mut bench = Bench::registered(PCscfPolicy::default());
        bench.call();
        let whole = [register(UE_A, "ue-a"), invite(&[]), incoming(), inside("BYE", &[])];
        let mut octets = whole[which].bytes().to_vec();
        for (at, octet) in spoilt {
            let at = at % octets.len();
            octets[at] = octet;
        }
        if let Ok(message) = Message::parse(octets.into()) {
            let (from, on) = match from_core {
                true => (SCSCF, RefPoint::Mw),
                false => (UE_A, RefPoint::Gm),
            };
            bench.feed(from, on, &message);
        }
    }
}

#[test]
fn the_same_inputs_give_the_same_octets() {
    let run = || {
        let mut bench = Bench::registered(PCscfPolicy::default());
        bench.feed(UE_A, RefPoint::Gm, &invite(&[]))[0]
            .1
            .bytes()
            .clone()
    };
    assert_eq!(run(), run());
}
