use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;

use super::*;
use crate::{
    io::{LinkEvent, Output},
    node::{
        policy::Policy,
        setup::{Content, Neighbour, PieceOf, Subscriber},
    },
    proto::digest::{AuthValue, Secret, Session},
    random::Random,
    spec::{Delivery, Format, Options, RefPoint},
    trace::{ListenTransport, Listener},
    wire::{
        frame::{Frame, Identity, LinkId, Party, Security},
        http,
        ppstp::{
            self, Action as SwarmVerb, ActionCds, Body, Connect, ErrorCode, Find, MEDIA_TYPE,
            PeerAddr, PeerMode, PeerNum, Profile, Request, Stat, StatCds, StatReport, SwarmAction,
        },
        sip::{Builder, Message},
    },
};

/// A Tracker AS on a bench: inputs by hand, outputs read off.
struct Bench {
    tracker: Tracker,
    out: Outbox,
    now: At,
    links: u64,
    sequence: u32,
    /// SIP that went out beside an HTTP answer.
    told: Vec<Message>,
}

const S_CSCF: &str = "192.0.2.3:40000";

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn listener(on: RefPoint, format: Format, transport: ListenTransport, addr: &str) -> Listener {
    Listener {
        on,
        format,
        transport,
        addr: socket(addr),
    }
}

fn subscriber(id: &str) -> Subscriber {
    Subscriber {
        id: id.to_owned(),
        impi: format!("{id}@private.ims.example"),
        impus: vec![format!("sip:{id}@ims.example")],
        password: format!("secret-of-{id}"),
        k: [0; 16],
        opc: [0; 16],
        service: id != "ue-c",
        qualified: true,
        barred: false,
        may_register: true,
        aka: false,
        usim_sqn: 0,
    }
}

fn directory() -> Directory {
    let nodes = [
        ("ue-a", Role::Ue, "192.0.2.10", Some("sip:ue-a@ims.example")),
        (
            "ue-b",
            Role::UserPeer,
            "192.0.2.11",
            Some("sip:ue-b@ims.example"),
        ),
        ("ue-c", Role::Ue, "192.0.2.12", Some("sip:ue-c@ims.example")),
        ("s-cscf", Role::SCscf, "192.0.2.3", None),
        ("tracker", Role::Tracker, "203.0.113.40", None),
        (
            "ctrl",
            Role::Controller,
            "198.51.100.20",
            Some("sip:controller.cdn1@ims.example"),
        ),
        (
            "es-1",
            Role::EdgeServer,
            "198.51.100.21",
            Some("sip:es1.cdn1@ims.example"),
        ),
        (
            "os-1",
            Role::OriginServer,
            "198.51.100.30",
            Some("sip:os1.cdn1@ims.example"),
        ),
    ];
    let mut directory = Directory {
        domain: "ims.example".to_owned(),
        tracker_psi: "sip:tracker@p2pcds.ims.example".to_owned(),
        ..Directory::default()
    };
    for (name, role, ip, impu) in nodes {
        let host = format!("{name}.example");
        let isc = format!("{ip}:5070");
        directory.hosts.insert(host.clone(), name.into());
        let neighbour = Neighbour {
            role,
            host,
            ip: ip.parse().expect("an address"),
            ports: None,
            listeners: vec![listener(
                RefPoint::Isc,
                Format::Sip,
                ListenTransport::Tcp,
                &isc,
            )],
            impu: impu.map(str::to_owned),
            cdn: None,
            holds: Vec::new(),
        };
        directory.nodes.insert(name.into(), neighbour);
    }
    directory
}

fn movie() -> Content {
    Content {
        fixture: "three-pieces".to_owned(),
        swarm: "movie".to_owned(),
        bytes: Bytes::from_static(&[0; 30]),
        sha1: [1; 20],
        sha256: [2; 32],
        pieces: (1..=3)
            .map(|n| PieceOf {
                n,
                first: u64::from(n - 1) * 10,
                len: 10,
                sha256: [n as u8; 32],
            })
            .collect(),
    }
}

impl Bench {
    fn new(architecture: Architecture, policy: TrackerPolicy) -> Bench {
        let setup = Setup {
            name: "tracker".into(),
            role: Role::Tracker,
            seed: 7,
            ip: "203.0.113.40".parse().expect("an address"),
            listeners: vec![
                listener(
                    RefPoint::Isc,
                    Format::Sip,
                    ListenTransport::Tcp,
                    "203.0.113.40:5072",
                ),
                listener(
                    RefPoint::Ut,
                    Format::Http,
                    ListenTransport::Tls,
                    "203.0.113.40:8443",
                ),
                listener(
                    RefPoint::Dedicated,
                    Format::Http,
                    ListenTransport::Tls,
                    "203.0.113.40:8444",
                ),
            ],
            architecture,
            options: Options::default(),
            delivery: Delivery::Delegate,
            directory: Arc::new(directory()),
            subscribers: Arc::new(["ue-a", "ue-b", "ue-c"].map(subscriber).to_vec()),
            user: None,
            contents: Arc::new(vec![movie()]),
            holds: Vec::new(),
            tls: true,
            trusts: crate::node::setup::PROVEN,
            path_mtu: BTreeMap::new(),
            policy: Policy {
                tracker: policy,
                ..Policy::default()
            },
            token_key: Vec::new(),
        };
        Bench {
            tracker: Tracker::new(setup),
            out: Outbox::default(),
            now: At::ZERO,
            links: 1,
            sequence: 0,
            told: Vec::new(),
        }
    }

    fn registered() -> Bench {
        Bench::new(Architecture::Registered, TrackerPolicy::default())
    }

    /// Lets time pass, waking the tracker whenever it asked to be.
    fn wait(&mut self, seconds: u64) -> Vec<Message> {
        let end = self.now + Duration::from_secs(seconds);
        let mut sent = Vec::new();
        while let (Some(due), Some(timer)) = (self.tracker.armed, self.tracker.timer) {
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            self.tracker
                .handle(self.now, Input::Timer(timer), &mut self.out);
            sent.extend(self.sip_out());
        }
        self.now = end;
        sent
    }

    fn link(&mut self, on: RefPoint, format: Format, from: &str, security: Security) -> LinkId {
        self.links += 2;
        let link = LinkId(self.links);
        let accepted = LinkEvent::Accepted {
            on,
            format,
            from: socket(from),
            local: socket("203.0.113.40:1"),
            security,
        };
        self.tracker
            .handle(self.now, Input::Link(link, accepted), &mut self.out);
        link
    }

    fn octets_out(&mut self) -> Vec<Bytes> {
        let outputs = self.out.drain().filter_map(|output| match output {
            Output::Send { bytes, .. } => Some(bytes),
            _ => None,
        });
        outputs.collect()
    }

    fn http(
        &mut self,
        on: RefPoint,
        from: &str,
        security: Security,
        request: http::Request,
    ) -> http::Response {
        let link = self.link(on, Format::Http, from, security.clone());
        let frame = Frame {
            from: Party::Unknown(socket(from)),
            to: Party::Node("tracker".into()),
            src: socket(from),
            dst: socket("203.0.113.40:1"),
            on,
            format: Format::Http,
            link: Some(link),
            security,
            bytes: request.bytes().clone(),
            framed: true,
        };
        self.octets_out();
        self.tracker
            .handle(self.now, Input::Frame(&frame), &mut self.out);
        let sent = self.octets_out();
        let (answers, rest): (Vec<_>, Vec<_>) = sent
            .into_iter()
            .partition(|bytes| bytes.starts_with(b"HTTP/"));
        self.told.extend(
            rest.into_iter()
                .filter_map(|bytes| Message::parse(bytes).ok()),
        );
        let answer = answers
            .into_iter()
            .next()
            .expect("every request is answered");
        http::Response::parse(answer).expect("it is HTTP")
    }

    /// A user's request on Ut, with the answer to the challenge.
    fn ut(&mut self, id: &str, intended: &str, document: &Request) -> (u16, ppstp::Response) {
        let tls = Security::Tls { client: None };
        let post = |authorization: Option<String>| {
            let mut builder = http::Request::build("POST", "/ppstp")
                .header("Host", "tracker")
                .header("X-3GPP-Intended-Identity", &format!("\"{intended}\""));
            if let Some(authorization) = authorization {
                builder = builder.header("Authorization", &authorization);
            }
            builder.body(MEDIA_TYPE, document.to_json()).finish()
        };
        let from = "192.0.2.10:50000";
        let challenge = self.http(RefPoint::Ut, from, tls.clone(), post(None));
        assert_eq!(401, challenge.status());
        let challenges: Vec<AuthValue> = challenge
            .headers()
            .filter(|(name, _)| *name == "WWW-Authenticate")
            .filter_map(|(_, value)| AuthValue::parse(&value).ok())
            .collect();
        assert_eq!(2, challenges.len());
        let user = format!("{id}@private.ims.example");
        let secret = Secret::Password(format!("secret-of-{id}"));
        let mut session = Session::start(&challenges, &user, &secret).expect("one suits");
        let credentials = session.answer("POST", "/ppstp", &mut Random::new(1));
        let response = self.http(RefPoint::Ut, from, tls, post(Some(credentials.to_string())));
        (response.status(), read(&response))
    }

    fn dedicated(&mut self, identity: &str, document: &Request) -> (u16, ppstp::Response) {
        let security = Security::Tls {
            client: Some(Identity::proven(identity)),
        };
        let request = http::Request::build("POST", "/ppstp")
            .body(MEDIA_TYPE, document.to_json())
            .finish();
        let response = self.http(RefPoint::Dedicated, "198.51.100.21:5000", security, request);
        (response.status(), read(&response))
    }

    /// A request the S-CSCF brings; what the tracker sends for it.
    fn isc(&mut self, request: &Message) -> Vec<Message> {
        self.isc_from(S_CSCF, request)
    }

    fn isc_from(&mut self, from: &str, request: &Message) -> Vec<Message> {
        let link = self.link(RefPoint::Isc, Format::Sip, from, Security::Plain);
        let frame = Frame {
            from: Party::Unknown(socket(from)),
            to: Party::Node("tracker".into()),
            src: socket(from),
            dst: socket("203.0.113.40:5072"),
            on: RefPoint::Isc,
            format: Format::Sip,
            link: Some(link),
            security: Security::Plain,
            bytes: request.bytes().clone(),
            framed: true,
        };
        self.sip_out();
        self.tracker
            .handle(self.now, Input::Frame(&frame), &mut self.out);
        self.sip_out()
    }

    fn sip_out(&mut self) -> Vec<Message> {
        let octets = self.octets_out().into_iter();
        octets
            .filter_map(|bytes| Message::parse(bytes).ok())
            .collect()
    }

    fn asserted(&mut self, method: &str, uri: &str, impu: &str, more: &[(&str, &str)]) -> Message {
        self.sequence += 1;
        let builder = Builder::request(method, uri)
            .header(
                "Via",
                &format!("SIP/2.0/TCP 192.0.2.3:5070;branch=z9hG4bK{}", self.sequence),
            )
            .header("Max-Forwards", "68")
            .header("Record-Route", "<sip:s-cscf.example;lr>")
            .header("From", "<sip:somebody@else.example>;tag=f")
            .header("To", &format!("<{uri}>"))
            .header("Call-ID", &format!("c-{}", self.sequence))
            .header("CSeq", &format!("{} {method}", self.sequence))
            .header("Contact", "<sip:192.0.2.10:5070>")
            .header("P-Asserted-Identity", &format!("<{impu}>"));
        more.iter()
            .fold(builder, |b, (name, value)| b.header(name, value))
            .finish()
    }

    fn subscribe(&mut self, impu: &str, document: &Request) -> Vec<Message> {
        let psi = "sip:tracker@p2pcds.ims.example";
        let headers = [("Event", "p2pcds-peers"), ("Expires", "600")];
        let request = self.asserted("SUBSCRIBE", psi, impu, &headers);
        self.isc(&with_body(&request, document))
    }

    fn publish(&mut self, impu: &str, etag: Option<&str>, document: Option<&Request>) -> Message {
        let mut headers = vec![("Event", "p2pcds-status"), ("Expires", "120")];
        headers.extend(etag.map(|etag| ("SIP-If-Match", etag)));
        let request = self.asserted("PUBLISH", impu, impu, &headers);
        let request = match document {
            Some(document) => with_body(&request, document),
            None => request,
        };
        self.isc(&request).remove(0)
    }

    /// User peer, edge and origin announce what they hold.
    fn three_holders(&mut self) {
        let b = connect("b", "192.0.2.11", PeerMode::Seeder, Some(&[1]));
        assert_eq!(200, self.ut("ue-b", UE_B, &b).0);
        for (name, ip, piece) in [("es-1", "198.51.100.21", 2), ("os-1", "198.51.100.30", 3)] {
            let (status, answer) =
                self.dedicated(name, &connect(name, ip, PeerMode::Seeder, Some(&[piece])));
            assert_eq!((200, ErrorCode::None), (status, answer.error));
        }
    }
}

const UE_A: &str = "sip:ue-a@ims.example";
const UE_B: &str = "sip:ue-b@ims.example";

fn read(response: &http::Response) -> ppstp::Response {
    assert_eq!(Some(MEDIA_TYPE), response.header("Content-Type"));
    let reading = ppstp::read_response(&response.body(), Profile::Grammar);
    reading.expect("it is PPSTP").message
}

fn with_body(request: &Message, document: &Request) -> Message {
    request
        .edit()
        .body(Some((MEDIA_TYPE, document.to_json().as_bytes())))
        .finish()
}

fn request(peer_id: &str, body: Body) -> Request {
    Request {
        transaction_id: format!("{peer_id} {}", body.request_type()),
        peer_id: peer_id.to_owned(),
        body,
    }
}

fn connect(peer_id: &str, ip: &str, peer_mode: PeerMode, pieces: Option<&[u32]>) -> Request {
    let addr = PeerAddr::host(SocketAddr::new(ip.parse().expect("an address"), 2855), 1);
    let cds = pieces.map(|pieces| ActionCds {
        pieces: pieces.iter().copied().collect(),
        ..ActionCds::default()
    });
    let action = SwarmAction {
        swarm_id: "movie".to_owned(),
        action: SwarmVerb::Join,
        peer_mode,
        cds,
    };
    request(
        peer_id,
        Body::Connect(Connect {
            peer_num: Some(PeerNum::at_most(5)),
            peer_addr: vec![addr],
            swarm_action: vec![action],
        }),
    )
}

fn stat(peer_id: &str, pieces: &[u32]) -> Request {
    let stat = Stat {
        swarm_id: "movie".to_owned(),
        cds: Some(StatCds {
            pieces: pieces.iter().copied().collect(),
            ..StatCds::default()
        }),
        ..Stat::default()
    };
    request(peer_id, Body::StatReport(StatReport { stat: vec![stat] }))
}

fn find(peer_id: &str) -> Request {
    let swarm_id = "movie".to_owned();
    request(
        peer_id,
        Body::Find(Find {
            swarm_id,
            peer_num: None,
        }),
    )
}

fn leech_a() -> Request {
    connect("a", "192.0.2.10", PeerMode::Leech, None)
}

fn listed(answer: &ppstp::Response) -> Vec<(String, Vec<u32>)> {
    let peers = answer
        .swarm_result
        .first()
        .and_then(|result| result.peers.clone());
    let mut listed: Vec<_> = peers
        .unwrap_or_default()
        .iter()
        .map(|peer| {
            let pieces = peer.cds.as_ref().map(|cds| cds.pieces.iter().collect());
            (peer.peer_id.clone(), pieces.unwrap_or_default())
        })
        .collect();
    listed.sort();
    listed
}

fn names(answer: &ppstp::Response) -> Vec<String> {
    listed(answer).into_iter().map(|(name, _)| name).collect()
}

fn told(notify: &Message) -> ppstp::Response {
    assert_eq!("NOTIFY", notify.method());
    ppstp::read_response(notify.body(), Profile::Grammar)
        .expect("it is PPSTP")
        .message
}

fn state(notify: &Message) -> String {
    notify
        .header("Subscription-State")
        .expect("NOTIFY has it")
        .into_owned()
}

#[test]
fn over_ut_an_authenticated_user_is_told_the_holders() {
    let mut bench = Bench::registered();
    bench.three_holders();
    let (status, answer) = bench.ut("ue-a", UE_A, &leech_a());
    assert_eq!(200, status);
    let expected = [("b", 1), ("es-1", 2), ("os-1", 3)];
    assert_eq!(
        expected
            .map(|(name, n)| (name.to_owned(), vec![n]))
            .to_vec(),
        listed(&answer)
    );
}

#[test]
fn over_ut_a_wrong_identity_and_a_user_without_the_service_are_refused() {
    let mut bench = Bench::registered();
    bench.three_holders();
    let refused = |(status, answer): (u16, ppstp::Response)| {
        assert_eq!((403, ErrorCode::ForbiddenAction), (status, answer.error));
        assert!(answer.swarm_result.is_empty());
    };
    refused(bench.ut("ue-a", UE_B, &leech_a()));
    refused(bench.ut("ue-c", "sip:ue-c@ims.example", &leech_a()));
    let (status, answer) = bench.ut("ue-a", UE_A, &stat("b", &[1, 2, 3]));
    assert_eq!((200, ErrorCode::ForbiddenAction), (status, answer.error));
    assert_eq!(
        vec!["b", "es-1", "os-1"],
        names(&bench.ut("ue-a", UE_A, &leech_a()).1)
    );
}

#[test]
fn over_ut_http_is_held_to_path_method_type_and_size() {
    let mut bench = Bench::registered();
    let tls = Security::Tls { client: None };
    let mut ask = |request: http::RequestBuilder| {
        let response = bench.http(RefPoint::Ut, "192.0.2.10:1", tls.clone(), request.finish());
        response.status()
    };
    let post = || http::Request::build("POST", "/ppstp");
    assert_eq!(
        404,
        ask(http::Request::build("POST", "/other").body(MEDIA_TYPE, "{}"))
    );
    assert_eq!(
        405,
        ask(http::Request::build("PUT", "/ppstp").body(MEDIA_TYPE, "{}"))
    );
    assert_eq!(415, ask(post().body("application/json", "{}")));
    assert_eq!(
        413,
        ask(post().body(MEDIA_TYPE, vec![b' '; ppstp::LIMIT + 1]))
    );
    assert_eq!(
        401,
        ask(post().body("application/ppsp-tracker+json; charset=utf-8", "{}"))
    );
    let asserted = post()
        .header("X-3GPP-Asserted-Identity", UE_A)
        .body(MEDIA_TYPE, leech_a().to_json());
    assert_eq!(401, ask(asserted));
    let plain = bench.http(
        RefPoint::Ut,
        "192.0.2.10:1",
        Security::Plain,
        post().body(MEDIA_TYPE, "{}").finish(),
    );
    assert_eq!(403, plain.status());
}

#[test]
fn the_status_of_a_failure_is_the_policys() {
    let policy = TrackerPolicy {
        error_status: crate::node::policy::ErrorStatus::Mapped,
        ..TrackerPolicy::default()
    };
    let mut bench = Bench::new(Architecture::Registered, policy);
    assert_eq!(403, bench.ut("ue-a", UE_A, &find("a")).0);
    assert_eq!(200, Bench::registered().ut("ue-a", UE_A, &find("a")).0);
}

#[test]
fn on_the_dedicated_interface_only_known_servers_speak() {
    let mut bench = Bench::registered();
    for nobody in ["ue-a", "stranger"] {
        let (status, answer) = bench.dedicated(
            nobody,
            &connect("x", "198.51.100.9", PeerMode::Seeder, Some(&[2])),
        );
        assert_eq!((403, ErrorCode::ForbiddenAction), (status, answer.error));
    }
    let request = http::Request::build("POST", "/ppstp")
        .body(MEDIA_TYPE, leech_a().to_json())
        .finish();
    let no_client = Security::Tls { client: None };
    let response = bench.http(RefPoint::Dedicated, "198.51.100.21:1", no_client, request);
    assert_eq!(403, response.status());
}

#[test]
fn where_servers_are_not_registered_only_the_controller_is_listed() {
    let mut bench = Bench::new(Architecture::Unregistered, TrackerPolicy::default());
    let edge = connect("es-1", "198.51.100.21", PeerMode::Seeder, Some(&[2]));
    assert_eq!(403, bench.dedicated("es-1", &edge).0);
    let mut ctrl = connect("ctrl", "198.51.100.20", PeerMode::Seeder, Some(&[2, 3]));
    if let Body::Connect(connect) = &mut ctrl.body {
        let cds = connect.swarm_action[0].cds.as_mut().expect("it has pieces");
        cds.url = Some("https://es-1.example/movie".to_owned());
        connect
            .peer_addr
            .push(PeerAddr::host(socket("198.51.100.21:7777"), 9));
    }
    assert_eq!(200, bench.dedicated("ctrl", &ctrl).0);
    let again = connect("ctrl-2", "198.51.100.20", PeerMode::Seeder, Some(&[2]));
    assert_eq!(
        ErrorCode::ForbiddenAction,
        bench.dedicated("ctrl", &again).1.error
    );
    let (_, answer) = bench.ut("ue-a", UE_A, &leech_a());
    assert_eq!(vec![("ctrl".to_owned(), vec![2, 3])], listed(&answer));
    let json = answer.to_json();
    assert!(json.contains("\"PROXY\"") && json.contains("controller.cdn1@ims.example"));
    assert!(
        !json.contains("198.51.100.21") && !json.contains("es-1"),
        "{json}"
    );
}

#[test]
fn a_subscriber_is_told_at_once_and_again_when_peers_change() {
    let mut bench = Bench::registered();
    bench.three_holders();
    let sent = bench.subscribe(UE_A, &leech_a());
    assert_eq!((2, Some(200)), (sent.len(), sent[0].status()));
    assert_eq!(3, names(&told(&sent[1])).len());
    assert_eq!("active;expires=600", state(&sent[1]));
    assert_eq!(vec!["<sip:s-cscf.example;lr>"], sent[1].values("Route"));
    let ok = Builder::response(&sent[1], 200, "OK", None).finish();
    bench.isc(&ok);
    bench.wait(10);
    let mut leave = connect("b", "192.0.2.11", PeerMode::Seeder, None);
    if let Body::Connect(connect) = &mut leave.body {
        connect.swarm_action[0].action = SwarmVerb::Leave;
        leave.transaction_id = "bye".to_owned();
    }
    assert_eq!(200, bench.ut("ue-b", UE_B, &leave).0);
    let notify = bench.told.pop().expect("the change is told");
    assert_eq!(vec!["es-1", "os-1"], names(&told(&notify)));
    assert_eq!("active;expires=590", state(&notify));
    bench.isc(&Builder::response(&notify, 200, "OK", None).finish());
    bench.dedicated("es-1", &stat("es-1", &[2, 3]));
    assert!(bench.told.is_empty(), "not before the throttle lets it");
    let sent = bench.wait(1);
    let expected = vec![
        ("es-1".to_owned(), vec![2, 3]),
        ("os-1".to_owned(), vec![3]),
    ];
    assert_eq!(expected, listed(&told(&sent[0])));
    bench.isc(&Builder::response(&sent[0], 200, "OK", None).finish());
    bench.dedicated("es-1", &stat("es-1", &[2, 3]));
    assert!(bench.wait(5).is_empty(), "nothing changed");
    let empty_handed = connect("b", "192.0.2.11", PeerMode::Leech, Some(&[]));
    assert_eq!(200, bench.ut("ue-b", UE_B, &empty_handed).0);
    assert!(
        bench.told.is_empty() && bench.wait(5).is_empty(),
        "nobody new holds anything"
    );
}

#[test]
fn a_subscription_ends_with_its_peer_and_with_its_time() {
    let mut bench = Bench::registered();
    let sent = bench.subscribe(UE_A, &leech_a());
    assert!(names(&told(&sent[1])).is_empty());
    bench.isc(&Builder::response(&sent[1], 200, "OK", None).finish());
    let sent = bench.wait(180);
    assert_eq!("terminated;reason=noresource", state(&sent[0]));

    let psi = "sip:tracker@p2pcds.ims.example";
    let headers = [("Event", "p2pcds-peers"), ("Expires", "0")];
    let fetch = bench.asserted("SUBSCRIBE", psi, UE_A, &headers);
    let sent = bench.isc(&with_body(&fetch, &leech_a()));
    assert_eq!((Some(200), 2), (sent[0].status(), sent.len()));
    assert_eq!("terminated;reason=timeout", state(&sent[1]));
    assert!(told(&sent[1]).is_successful());
}

#[test]
fn inside_a_dialog_nobody_need_be_asserted_again() {
    let mut bench = Bench::registered();
    let sent = bench.subscribe(UE_A, &leech_a());
    bench.isc(&Builder::response(&sent[1], 200, "OK", None).finish());
    let (psi, ok) = ("sip:tracker@p2pcds.ims.example", &sent[0]);
    let headers = [("Event", "p2pcds-peers"), ("Expires", "600")];
    let refresh = bench.asserted("SUBSCRIBE", psi, UE_A, &headers);
    let refresh = refresh
        .edit()
        .set("From", &ok.header("From").unwrap())
        .set("To", &ok.header("To").unwrap())
        .set("Call-ID", &ok.call_id().unwrap())
        .remove("P-Asserted-Identity")
        .finish();

    let sent = bench.isc(&with_body(&refresh, &find("a")));

    assert_eq!((Some(200), 2), (sent[0].status(), sent.len()));
}

#[test]
fn the_first_notify_may_go_before_the_200() {
    let policy = TrackerPolicy {
        notify_timing: crate::node::policy::NotifyTiming::BeforeResponse,
        ..TrackerPolicy::default()
    };
    let mut bench = Bench::new(Architecture::Registered, policy);
    let sent = bench.subscribe(UE_A, &leech_a());
    assert_eq!(("NOTIFY", Some(200)), (sent[0].method(), sent[1].status()));
}

#[test]
fn a_notify_that_is_refused_481_is_the_last() {
    let mut bench = Bench::registered();
    bench.three_holders();
    let sent = bench.subscribe(UE_A, &leech_a());
    bench.isc(&Builder::response(&sent[1], 481, "Gone", None).finish());
    bench.dedicated("es-1", &stat("es-1", &[3]));
    assert!(bench.told.is_empty() && bench.wait(5).is_empty());
}

#[test]
fn a_subscribe_without_a_document_or_with_a_refused_one_makes_no_subscription() {
    let mut bench = Bench::registered();
    let psi = "sip:tracker@p2pcds.ims.example";
    let empty = bench.asserted("SUBSCRIBE", psi, UE_A, &[("Event", "p2pcds-peers")]);
    assert_eq!(Some(400), bench.isc(&empty)[0].status());
    assert_eq!(Some(403), bench.subscribe(UE_A, &find("a"))[0].status());
    assert_eq!(
        Some(400),
        bench.subscribe(UE_A, &stat("a", &[1]))[0].status()
    );
    let text = bench.asserted("SUBSCRIBE", psi, UE_A, &[("Event", "p2pcds-peers")]);
    let text = text.edit().body(Some(("text/plain", b"x"))).finish();
    assert_eq!(Some(415), bench.isc(&text)[0].status());
}

#[test]
fn identities_come_from_the_core_alone() {
    let mut bench = Bench::registered();
    let status = |sent: Vec<Message>| sent[0].status();
    assert_eq!(
        Some(403),
        status(bench.subscribe("sip:ue-c@ims.example", &leech_a()))
    );
    assert_eq!(
        Some(403),
        status(bench.subscribe("sip:nobody@ims.example", &leech_a()))
    );
    bench.three_holders();
    let theft = stat("b", &[1, 2, 3]);
    assert_eq!(Some(403), bench.publish(UE_A, None, Some(&theft)).status());
}

#[test]
fn a_publication_is_a_connect_then_reports_then_a_leave() {
    let mut bench = Bench::registered();
    bench.three_holders();
    let ok = bench.publish(UE_A, None, Some(&leech_a()));
    assert_eq!(
        (Some(200), Some(120)),
        (ok.status(), ok.number("Expires").expect("a number"))
    );
    let etag = |ok: &Message| ok.header("SIP-ETag").expect("200 has it").into_owned();
    let ok = bench.publish(UE_A, Some(&etag(&ok)), Some(&stat("a", &[1, 2, 3])));
    assert_eq!(Some(200), ok.status());
    let b = || find("b");
    assert_eq!(
        vec!["a", "es-1", "os-1"],
        names(&bench.ut("ue-b", UE_B, &b()).1)
    );
    bench.wait(100);
    let ok = bench.publish(UE_A, Some(&etag(&ok)), None);
    assert_eq!(Some(200), ok.status());
    bench.ut("ue-b", UE_B, &b());
    bench.wait(100);
    assert_eq!(vec!["a"], names(&bench.ut("ue-b", UE_B, &b()).1));
    bench.wait(20);
    assert!(names(&bench.ut("ue-b", UE_B, &b()).1).is_empty());
    assert_eq!(
        Some(412),
        bench.publish(UE_A, Some(&etag(&ok)), None).status()
    );
}

#[test]
fn a_publication_outlasts_the_track_timer() {
    let mut bench = Bench::registered();
    let headers = [("Event", "p2pcds-status"), ("Expires", "600")];
    let request = bench.asserted("PUBLISH", UE_B, UE_B, &headers);
    let holder = connect("b", "192.0.2.11", PeerMode::Seeder, Some(&[1]));
    assert_eq!(
        Some(200),
        bench.isc(&with_body(&request, &holder))[0].status()
    );
    bench.wait(599);
    assert_eq!(vec!["b"], names(&bench.ut("ue-a", UE_A, &leech_a()).1));
    bench.wait(1);
    assert!(names(&bench.ut("ue-a", UE_A, &find("a")).1).is_empty());
}

#[test]
fn a_publication_for_somebody_else_or_of_nothing_is_refused() {
    let mut bench = Bench::registered();
    let headers = [("Event", "p2pcds-status"), ("Expires", "120")];
    let mut at = |uri: &str| {
        let request = bench.asserted("PUBLISH", uri, UE_A, &headers);
        bench.isc(&with_body(&request, &leech_a()))[0].status()
    };
    assert_eq!(Some(403), at(UE_B));
    assert_eq!(Some(404), at("sip:x@elsewhere.example"));
    assert_eq!(Some(200), at("sip:tracker@p2pcds.ims.example"));
    assert_eq!(
        Some(403),
        bench.publish(UE_B, None, Some(&stat("b", &[1]))).status()
    );
    let unread = bench.asserted("PUBLISH", UE_A, UE_A, &headers);
    let unread = unread.edit().body(Some((MEDIA_TYPE, b"{}"))).finish();
    assert_eq!(Some(400), bench.isc(&unread)[0].status());
}

#[test]
fn who_is_deregistered_is_no_longer_listed() {
    let mut bench = Bench::registered();
    bench.three_holders();
    let mut register = |expires: &str| {
        let uri = "sip:tracker-as.ims.example";
        let request = bench.asserted("REGISTER", uri, UE_B, &[("Expires", expires)]);
        let request = request.edit().set("To", &format!("<{UE_B}>")).finish();
        let sent = bench.isc(&request);
        (
            sent[0].status(),
            sent[0].number("Expires").expect("a number"),
        )
    };
    assert_eq!((Some(200), Some(600_000)), register("600000"));
    assert_eq!((Some(200), Some(0)), register("0"));
    assert_eq!(
        vec!["es-1", "os-1"],
        names(&bench.ut("ue-a", UE_A, &leech_a()).1)
    );
}

#[test]
fn requests_from_outside_the_core_are_refused() {
    let mut bench = Bench::registered();
    let request = bench.asserted("OPTIONS", "sip:tracker@p2pcds.ims.example", UE_A, &[]);
    assert_eq!(Some(200), bench.isc(&request)[0].status());
    let again = bench.asserted("OPTIONS", "sip:tracker@p2pcds.ims.example", UE_A, &[]);
    assert_eq!(
        Some(403),
        bench.isc_from("192.0.2.10:5070", &again)[0].status()
    );

    let odd = [("INVITE", 405), ("BYE", 481)];
    for (method, status) in odd {
        let request = bench.asserted(method, "sip:tracker@p2pcds.ims.example", UE_A, &[]);
        assert_eq!(Some(status), bench.isc(&request)[0].status());
    }
    let demanding = bench.asserted("OPTIONS", "sip:t@x", UE_A, &[("Require", "100rel")]);
    assert_eq!(Some(420), bench.isc(&demanding)[0].status());
}

#[test]
fn the_same_inputs_give_the_same_octets() {
    let run = || {
        let mut bench = Bench::registered();
        bench.three_holders();
        let sent = bench.subscribe(UE_A, &leech_a());
        sent.iter()
            .map(|message| message.bytes().clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
