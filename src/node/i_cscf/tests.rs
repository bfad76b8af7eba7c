use bytes::Bytes;

use super::*;
use crate::{
    io::{LinkEvent, Output},
    node::{
        hss,
        policy::{HssPolicy, Policy},
        setup::{Neighbour, Subscriber},
    },
    spec::{Architecture, Delivery, Options},
    trace::Listener,
    wire::{
        diameter::Message as DiameterMessage,
        frame::{Frame, LinkId, Party, Security},
    },
};

const P_CSCF: &str = "192.0.2.1:5062";
const S_CSCF: &str = "192.0.2.3:5068";
const S_CSCF_2: &str = "192.0.2.33:5068";
const TRACKER: &str = "203.0.113.40:5072";
const OUTSIDER: &str = "198.51.100.66:5060";

/// The I-CSCF and the HSS, joined by Cx; SIP goes to and from the test over UDP.
struct Bench {
    now: At,
    /// 0 the I-CSCF, 1 the HSS.
    nodes: [Box<dyn Node>; 2],
    outs: [Outbox; 2],
    armed: BTreeMap<(usize, TimerId), At>,
    links: [LinkId; 2],
    hss_is_dead: bool,
    /// SIP the I-CSCF sent, 100 aside, not yet looked at.
    sent: Vec<(SocketAddr, RefPoint, Message)>,
    /// Cx messages of both, by name.
    asked: Vec<String>,
}

fn directory() -> Directory {
    let rows = [
        (
            "p-cscf",
            Role::PCscf,
            "pcscf1.ims.example",
            P_CSCF,
            RefPoint::Mw,
        ),
        (
            "i-cscf",
            Role::ICscf,
            "icscf1.ims.example",
            "192.0.2.2:5064",
            RefPoint::Mw,
        ),
        (
            "s-cscf",
            Role::SCscf,
            "scscf1.ims.example",
            S_CSCF,
            RefPoint::Mw,
        ),
        (
            "s-cscf-2",
            Role::SCscf,
            "scscf2.ims.example",
            S_CSCF_2,
            RefPoint::Mw,
        ),
        (
            "hss",
            Role::Hss,
            "hss1.ims.example",
            "192.0.2.4:3868",
            RefPoint::Cx,
        ),
        (
            "tracker",
            Role::Tracker,
            "tracker-as.ims.example",
            TRACKER,
            RefPoint::Isc,
        ),
    ];
    let mut directory = Directory {
        domain: "ims.example".to_owned(),
        tracker_psi: "sip:tracker@p2pcds.ims.example".to_owned(),
        ..Directory::default()
    };
    for (name, role, host, addr, on) in rows {
        let addr: SocketAddr = addr.parse().unwrap();
        let mut listeners = vec![listener(on, addr)];
        if role == Role::ICscf {
            listeners.push(listener(RefPoint::Isc, "192.0.2.2:5066".parse().unwrap()));
        }
        let name = NodeName::new(name);
        directory.hosts.insert(host.to_owned(), name.clone());
        directory.nodes.insert(
            name,
            Neighbour {
                role,
                host: host.to_owned(),
                ip: addr.ip(),
                ports: None,
                listeners,
                impu: None,
                cdn: None,
                holds: Vec::new(),
            },
        );
    }
    directory
}

fn listener(on: RefPoint, addr: SocketAddr) -> Listener {
    let (format, transport) = match on {
        RefPoint::Cx => (Format::Diameter, ListenTransport::Tcp),
        _ => (Format::Sip, ListenTransport::Udp),
    };
    Listener {
        on,
        format,
        transport,
        addr,
    }
}

fn setup(name: &str, role: Role, policy: &Policy) -> Setup {
    let directory = directory();
    let me = &directory.nodes[&NodeName::new(name)];
    let subscriber = |id: &str, may_register| Subscriber {
        id: id.to_owned(),
        impi: format!("{id}@private.ims.example"),
        impus: vec![format!("sip:{id}@ims.example")],
        password: "secret".to_owned(),
        k: [1; 16],
        opc: [2; 16],
        service: true,
        qualified: true,
        barred: false,
        may_register,
        aka: false,
        usim_sqn: 0,
    };
    Setup {
        name: NodeName::new(name),
        role,
        seed: 7,
        ip: me.ip,
        listeners: me.listeners.clone(),
        architecture: Architecture::Registered,
        options: Options::default(),
        delivery: Delivery::Delegate,
        subscribers: Arc::new(vec![subscriber("ue-a", true), subscriber("ue-x", false)]),
        user: None,
        contents: Arc::new(Vec::new()),
        holds: Vec::new(),
        tls: false,
        trusts: crate::node::setup::PROVEN,
        path_mtu: BTreeMap::from([(RefPoint::Mw, 9000), (RefPoint::Isc, 9000)]),
        policy: policy.clone(),
        token_key: Vec::new(),
        directory: Arc::new(directory),
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::with(Policy::default())
    }

    fn with(policy: Policy) -> Bench {
        Bench {
            now: At::ZERO,
            nodes: [
                build(setup("i-cscf", Role::ICscf, &policy)),
                hss::build(setup("hss", Role::Hss, &policy)),
            ],
            outs: Default::default(),
            armed: BTreeMap::new(),
            links: [LinkId(0), LinkId(1)],
            hss_is_dead: false,
            sent: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn take(&mut self, who: usize, input: Input<'_>) {
        if who == 1 && self.hss_is_dead {
            return;
        }
        self.nodes[who].handle(self.now, input, &mut self.outs[who]);
        let outputs: Vec<Output> = self.outs[who].drain().collect();
        for output in outputs {
            match output {
                Output::Datagram { on, to, bytes } => {
                    let message = Message::parse(bytes).unwrap();
                    if message.status() != Some(100) {
                        self.sent.push((to, on, message));
                    }
                }
                Output::Open { link, .. } => {
                    self.links[0] = link;
                    let accepted = LinkEvent::Accepted {
                        on: RefPoint::Cx,
                        format: Format::Diameter,
                        from: "192.0.2.2:40000".parse().unwrap(),
                        local: "192.0.2.4:3868".parse().unwrap(),
                        security: Security::Plain,
                    };
                    self.take(1, Input::Link(self.links[1], accepted));
                    self.take(0, Input::Link(link, LinkEvent::Opened));
                }
                Output::Send { bytes, .. } => {
                    let message = DiameterMessage::parse(bytes.clone()).unwrap();
                    assert_eq!(
                        Vec::<&str>::new(),
                        message.missing().iter().map(|a| a.name).collect::<Vec<_>>()
                    );
                    self.asked.push(message.name());
                    let link = Some(self.links[1 - who]);
                    let frame = frame(
                        RefPoint::Cx,
                        Format::Diameter,
                        link,
                        "192.0.2.4:3868",
                        bytes,
                    );
                    self.take(1 - who, Input::Frame(&frame));
                }
                Output::Arm { timer, at } => {
                    self.armed.insert((who, timer), at);
                }
                Output::Disarm(timer) => {
                    self.armed.remove(&(who, timer));
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self, from: &str, message: &str) {
        self.receive_on(RefPoint::Mw, from, message);
    }

    fn receive_on(&mut self, on: RefPoint, from: &str, message: &str) {
        let bytes = Bytes::copy_from_slice(message.replace('\n', "\r\n").as_bytes());
        let frame = frame(on, Format::Sip, None, from, bytes);
        self.take(0, Input::Frame(&frame));
    }

    /// Answers a forwarded request as whoever it went to.
    fn respond(&mut self, from: &str, request: &Message, code: u16) {
        let response = Builder::response(request, code, "", Some("s")).finish();
        let frame = frame(
            RefPoint::Mw,
            Format::Sip,
            None,
            from,
            response.bytes().clone(),
        );
        self.take(0, Input::Frame(&frame));
    }

    fn wait(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some((&(who, timer), &at)) = self
            .armed
            .iter()
            .filter(|(_, at)| **at <= until)
            .min_by_key(|(key, at)| (**at, **key))
        {
            self.now = at;
            self.armed.remove(&(who, timer));
            self.take(who, Input::Timer(timer));
        }
        self.now = until;
    }

    /// The one message sent since the last look, and to whom; copies aside.
    fn only(&mut self) -> (String, RefPoint, Message) {
        let mut sent = std::mem::take(&mut self.sent);
        sent.dedup();
        assert_eq!(1, sent.len(), "{sent:#?}");
        let (to, on, message) = sent.remove(0);
        (to.to_string(), on, message)
    }

    /// The status of the answer to the P-CSCF.
    fn answer(&mut self) -> u16 {
        let (to, _, message) = self.only();
        assert_eq!(P_CSCF, to);
        message.status().expect("a response")
    }

    /// Registers ue-a with the first S-CSCF at the HSS, as if by that S-CSCF.
    fn assign(&mut self, server: &str) {
        use crate::proto::cx::{AssignmentType, CxIdentity, CxTimers, Sar};
        let known = BTreeMap::from([(
            "hss1.ims.example".to_owned(),
            "192.0.2.4:3868".parse().unwrap(),
        )]);
        let me = CxIdentity {
            host: "scscf1.ims.example".to_owned(),
            realm: "ims.example".to_owned(),
            ip: "192.0.2.3".parse().unwrap(),
        };
        let mut cx = CxEndpoint::new(me, known, CxTimers::default(), 9);
        let sar = CxRequest::Sar(Sar {
            private: Some("ue-a@private.ims.example".to_owned()),
            publics: vec!["sip:ue-a@ims.example".to_owned()],
            server: server.to_owned(),
            assignment: AssignmentType::Registration,
            has_profile: false,
        });
        let mut out = Outbox::default();
        cx.ask(self.now, "hss1.ims.example", &sar, &mut out);
        let (mine, theirs) = (LinkId(2), LinkId(77));
        let accepted = LinkEvent::Accepted {
            on: RefPoint::Cx,
            format: Format::Diameter,
            from: "192.0.2.3:40000".parse().unwrap(),
            local: "192.0.2.4:3868".parse().unwrap(),
            security: Security::Plain,
        };
        let hss = &mut self.nodes[1];
        hss.handle(self.now, Input::Link(theirs, accepted), &mut self.outs[1]);
        cx.take(self.now, &Input::Link(mine, LinkEvent::Opened), &mut out);
        // CER and CEA, then SAR and SAA.
        for _ in 0..2 {
            for bytes in sends(&mut out) {
                let frame = frame(RefPoint::Cx, Format::Diameter, Some(theirs), S_CSCF, bytes);
                hss.handle(self.now, Input::Frame(&frame), &mut self.outs[1]);
            }
            for bytes in sends(&mut self.outs[1]) {
                let frame = frame(RefPoint::Cx, Format::Diameter, Some(mine), S_CSCF, bytes);
                cx.take(self.now, &Input::Frame(&frame), &mut out);
            }
        }
    }
}

/// What is sent over connections; the rest is dropped.
fn sends(out: &mut Outbox) -> Vec<Bytes> {
    out.drain()
        .filter_map(|output| match output {
            Output::Send { bytes, .. } => Some(bytes),
            _ => None,
        })
        .collect()
}

fn frame(on: RefPoint, format: Format, link: Option<LinkId>, src: &str, bytes: Bytes) -> Frame {
    Frame {
        from: Party::Node(NodeName::new("x")),
        to: Party::Node(NodeName::new("y")),
        src: src.parse().unwrap(),
        dst: "192.0.2.2:5064".parse().unwrap(),
        on,
        format,
        link,
        security: Security::Plain,
        bytes,
        framed: true,
    }
}

fn register(id: &str, more: &str) -> String {
    format!(
        "REGISTER sip:ims.example SIP/2.0\n\
         Via: SIP/2.0/UDP {P_CSCF};branch=z9hG4bK{id}\n\
         Max-Forwards: 69\n\
         From: <sip:{id}@ims.example>;tag=1\n\
         To: <sip:{id}@ims.example>\n\
         Call-ID: r-{id}\n\
         CSeq: 1 REGISTER\n\
         Contact: <sip:192.0.2.10:5070>;expires=600000\n\
         Authorization: Digest username=\"{id}@private.ims.example\",realm=\"ims.example\",nonce=\"\",uri=\"sip:ims.example\",response=\"\",integrity-protected=no\n\
         P-Visited-Network-ID: \"ims.example\"\n\
         Path: <sip:term@pcscf1.ims.example;lr>\n\
         {more}Content-Length: 0\n\n"
    )
}

fn invite(uri: &str, more: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\n\
         Via: SIP/2.0/UDP {P_CSCF};branch=z9hG4bKi\n\
         Max-Forwards: 68\n\
         From: <sip:ue-b@ims.example>;tag=1\n\
         To: <{uri}>\n\
         Call-ID: i-1\n\
         CSeq: 1 INVITE\n\
         Contact: <sip:192.0.2.11:5070>\n\
         P-Asserted-Identity: <sip:ue-b@ims.example>\n\
         {more}Content-Length: 0\n\n"
    )
}

#[test]
fn a_first_registration_goes_to_an_s_cscf_of_its_choice() {
    let mut bench = Bench::new();
    bench.receive(P_CSCF, &register("ue-a", ""));
    let (to, on, request) = bench.only();
    assert_eq!((S_CSCF, RefPoint::Mw), (to.as_str(), on));
    assert_eq!(Some("sip:scscf1.ims.example:5068"), request.request_uri());
    assert_eq!(Ok(Some(68)), request.number("Max-Forwards"));
    assert_eq!(
        vec!["<sip:term@pcscf1.ims.example;lr>"],
        request.values("Path")
    );
    assert!(!request.has("Record-Route"));
    assert_eq!(2, request.values("Via").len());
    assert_eq!(vec!["CER", "CEA", "UAR", "UAA"], bench.asked);
    bench.respond(S_CSCF, &request, 401);
    assert_eq!(401, bench.answer());
}

#[test]
fn a_copy_of_a_register_asks_nothing() {
    let mut bench = Bench::new();
    bench.receive(P_CSCF, &register("ue-a", ""));
    bench.receive(P_CSCF, &register("ue-a", ""));
    assert_eq!(1, bench.asked.iter().filter(|name| *name == "UAR").count());
}

#[test]
fn a_registered_user_goes_to_its_own_s_cscf() {
    let mut bench = Bench::new();
    bench.assign("sip:scscf2.ims.example");
    bench.receive(P_CSCF, &register("ue-a", ""));
    let (to, _, request) = bench.only();
    assert_eq!(S_CSCF_2, to);
    assert_eq!(Some("sip:scscf2.ims.example"), request.request_uri());
}

#[test]
fn who_may_not_register_gets_403() {
    for id in ["ue-x", "nobody"] {
        let mut bench = Bench::new();
        bench.receive(P_CSCF, &register(id, ""));
        assert_eq!(403, bench.answer(), "{id}");
    }
    let mut bench = Bench::new();
    let roaming = register("ue-a", "").replace("\"ims.example\"\nPath", "elsewhere.example\nPath");
    bench.receive(P_CSCF, &roaming);
    assert_eq!(403, bench.answer());
}

#[test]
fn a_register_from_outside_is_refused_without_asking() {
    let mut bench = Bench::new();
    bench.receive(OUTSIDER, &register("ue-a", ""));
    let (_, _, response) = bench.only();
    assert_eq!(Some(403), response.status());
    assert!(bench.asked.is_empty());
}

#[test]
fn a_dead_hss_means_480_in_time() {
    let mut bench = Bench::new();
    bench.hss_is_dead = true;
    bench.receive(P_CSCF, &register("ue-a", ""));
    assert!(bench.sent.is_empty());
    bench.wait(Duration::from_secs(4));
    assert_eq!(480, bench.answer());
}

#[test]
fn a_silent_s_cscf_is_replaced_by_the_next() {
    let mut bench = Bench::new();
    bench.receive(P_CSCF, &register("ue-a", ""));
    assert_eq!(S_CSCF, bench.only().0);
    bench.wait(Duration::from_secs(10));
    bench.sent.retain(|(to, _, _)| to.to_string() != S_CSCF);
    let (to, _, request) = bench.only();
    assert_eq!(S_CSCF_2, to);
    let uri = request.request_uri().unwrap();
    assert_eq!("sip:scscf2.ims.example:5068;scscf-reselection", uri);
    bench.wait(Duration::from_secs(10));
    bench.sent.retain(|(to, _, _)| to.to_string() == P_CSCF);
    assert_eq!(504, bench.answer());
}

#[test]
fn an_assigned_s_cscf_that_refuses_is_replaced_after_asking_again() {
    let mut bench = Bench::new();
    bench.assign("sip:scscf1.ims.example");
    bench.receive(P_CSCF, &register("ue-a", ""));
    let (to, _, request) = bench.only();
    assert_eq!(S_CSCF, to);
    bench.respond(S_CSCF, &request, 480);
    assert_eq!(2, bench.asked.iter().filter(|name| *name == "UAR").count());
    let (to, _, request) = bench.only();
    assert_eq!(S_CSCF_2, to);
    bench.respond(S_CSCF_2, &request, 200);
    assert_eq!(200, bench.answer());
}

#[test]
fn a_protected_user_stays_with_its_s_cscf() {
    let mut bench = Bench::new();
    bench.assign("sip:scscf1.ims.example");
    let protected = register("ue-a", "").replace("protected=no", "protected=yes");
    bench.receive(P_CSCF, &protected);
    let (_, _, request) = bench.only();
    bench.respond(S_CSCF, &request, 480);
    assert_eq!(480, bench.answer());
}

#[test]
fn names_from_the_hss_are_chosen_from() {
    let mut bench = Bench::with(Policy {
        hss: HssPolicy {
            names_servers: true,
            ..HssPolicy::default()
        },
        i_cscf: ICscfPolicy {
            chooses_from_the_end: true,
            ..ICscfPolicy::default()
        },
        ..Policy::default()
    });
    bench.receive(P_CSCF, &register("ue-a", ""));
    let (to, _, request) = bench.only();
    assert_eq!(S_CSCF_2, to);
    assert_eq!(Some("sip:scscf2.ims.example"), request.request_uri());
}

#[test]
fn an_initial_request_gets_the_route_to_the_s_cscf() {
    let mut bench = Bench::new();
    bench.assign("sip:scscf1.ims.example");
    let own = "Route: <sip:icscf1.ims.example:5064;lr>\n";
    bench.receive(P_CSCF, &invite("sip:ue-a@ims.example", own));
    let (to, _, request) = bench.only();
    assert_eq!(S_CSCF, to);
    assert_eq!(vec!["<sip:scscf1.ims.example;lr>"], request.values("Route"));
    assert_eq!(Some("sip:ue-a@ims.example"), request.request_uri());
    assert!(!request.has("Record-Route"));
    assert!(request.has("P-Asserted-Identity"));
    bench.respond(S_CSCF, &request, 180);
    assert_eq!(180, bench.answer());
}

#[test]
fn unknown_is_404_and_unregistered_480() {
    let mut bench = Bench::new();
    bench.receive(P_CSCF, &invite("sip:nobody@ims.example", ""));
    assert_eq!(404, bench.answer());
    let mut bench = Bench::new();
    bench.receive(P_CSCF, &invite("sip:ue-a@ims.example", ""));
    assert_eq!(480, bench.answer());
    let mut bench = Bench::new();
    bench.receive(P_CSCF, &invite("urn:service:sos", ""));
    assert_eq!(416, bench.answer());
}

#[test]
fn the_tracker_is_reached_by_its_service_identity() {
    let mut bench = Bench::new();
    bench.receive(P_CSCF, &invite("sip:tracker@p2pcds.ims.example", ""));
    let (to, on, request) = bench.only();
    assert_eq!((TRACKER, RefPoint::Isc), (to.as_str(), on));
    assert_eq!(
        vec!["<sip:tracker-as.ims.example;lr>"],
        request.values("Route")
    );

    let mut bench = Bench::with(Policy {
        hss: HssPolicy {
            routes_service_directly: false,
            ..HssPolicy::default()
        },
        ..Policy::default()
    });
    bench.receive(P_CSCF, &invite("sip:tracker@p2pcds.ims.example", ""));
    let (to, on, _) = bench.only();
    assert_eq!((S_CSCF, RefPoint::Mw), (to.as_str(), on));
}

#[test]
fn an_outsider_may_not_claim_to_originate_nor_assert() {
    let mut bench = Bench::new();
    bench.assign("sip:scscf1.ims.example");
    let route = "Route: <sip:scscf1.ims.example;lr>, <sip:icscf1.ims.example;lr;orig>\n";
    bench.receive(OUTSIDER, &invite("sip:ue-a@ims.example", route));
    assert_eq!(Some(403), bench.only().2.status());

    let mut bench = Bench::new();
    bench.assign("sip:scscf1.ims.example");
    let charging = "P-Charging-Vector: icid-value=x\n";
    bench.receive(OUTSIDER, &invite("sip:ue-a@ims.example", charging));
    let (_, _, request) = bench.only();
    assert!(request.is_request());
    assert!(!request.has("P-Asserted-Identity") && !request.has("P-Charging-Vector"));
}

#[test]
fn an_application_server_may_originate_for_a_user() {
    let mut bench = Bench::new();
    bench.assign("sip:scscf1.ims.example");
    let more = "Route: <sip:icscf1.ims.example:5066;lr;orig>\n\
                P-Served-User: <sip:ue-a@ims.example>;sescase=orig;regstate=reg\n";
    let asked = invite("sip:ue-b@ims.example", more).replace(P_CSCF, TRACKER);
    bench.receive_on(RefPoint::Isc, TRACKER, &asked);
    let (to, _, request) = bench.only();
    assert_eq!(S_CSCF, to);
    assert_eq!(
        vec!["<sip:scscf1.ims.example;lr;orig>"],
        request.values("Route")
    );
}

#[test]
fn no_hops_left_is_483() {
    let mut bench = Bench::new();
    let spent = invite("sip:ue-a@ims.example", "").replace("Max-Forwards: 68", "Max-Forwards: 0");
    bench.receive(P_CSCF, &spent);
    assert_eq!(483, bench.answer());
}

#[test]
fn a_taken_back_contact_is_a_deregistration() {
    let parse = |text: String| {
        Message::parse(Bytes::from(text.replace('\n', "\r\n").into_bytes())).unwrap()
    };
    let is = |contact: &str| {
        let text = register("ue-a", "").replace("<sip:192.0.2.10:5070>;expires=600000", contact);
        is_deregistration(&parse(text))
    };
    assert_eq!(Ok(true), is("<sip:a@b>;expires=0"));
    assert_eq!(Ok(false), is("<sip:a@b>"));
    assert_eq!(Ok(false), is("<sip:a@b>;expires=0, <sip:c@d>;expires=5"));
    assert_eq!(Ok(true), is("*\nExpires: 0"));
    assert_eq!(Ok(true), is("<sip:a@b>\nExpires: 0"));
}

#[test]
fn a_private_identity_follows_from_the_public_one() {
    assert_eq!(
        "ue-a@ims.example",
        private_of("sip:ue-a@ims.example:5060;user=phone")
    );
    assert_eq!("+1234", private_of("tel:+1234;phone-context=x"));
}

#[test]
fn an_s_cscf_out_of_reach_means_480() {
    let mut bench = Bench::new();
    bench.assign("sip:scscf1.ims.example");
    bench.receive(P_CSCF, &invite("sip:ue-a@ims.example", ""));
    bench.wait(Duration::from_secs(32));
    bench.sent.retain(|(to, _, _)| to.to_string() == P_CSCF);
    assert_eq!(480, bench.answer());
}

#[test]
fn a_call_that_rang_and_was_lost_is_no_480() {
    let mut bench = Bench::new();
    bench.assign("sip:scscf1.ims.example");
    bench.receive(P_CSCF, &invite("sip:ue-a@ims.example", ""));
    let (_, _, request) = bench.only();
    bench.respond(S_CSCF, &request, 180);
    assert_eq!(180, bench.answer());
    bench.wait(Duration::from_secs(300));
    bench.sent.retain(|(to, _, _)| to.to_string() == P_CSCF);
    assert_eq!(408, bench.answer());
}

#[test]
fn a_call_cancelled_while_the_hss_is_asked_goes_nowhere() {
    let mut bench = Bench::new();
    bench.hss_is_dead = true;
    let asked = invite("sip:ue-a@ims.example", "");
    bench.receive(P_CSCF, &asked);
    bench.receive(P_CSCF, &asked.replace("INVITE", "CANCEL"));
    let statuses: Vec<_> = bench.sent.iter().map(|(_, _, m)| m.status()).collect();
    assert_eq!(vec![Some(200), Some(487)], statuses);
    bench.wait(Duration::from_secs(5));
    assert!(bench.sent.iter().all(|(_, _, m)| m.status() != Some(480)));
}
