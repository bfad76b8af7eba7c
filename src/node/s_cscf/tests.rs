//! The S-CSCF beside the real HSS; P-CSCF, I-CSCF and Tracker AS are bare SIP endpoints.

use std::{net::SocketAddr, sync::Arc};

use super::*;
use crate::{
    io::Action,
    node::{
        hss,
        policy::{IcsiPolicy, Policy},
        setup::{Directory, Neighbour, Subscriber},
    },
    proto::{
        aka::Keys,
        harness::{Actor, World},
        registration::{Account, Device, Registration, Step},
    },
    spec::{Architecture, Delivery, Options, RefPoint},
    trace::Listener,
    wire::frame::NodeName,
};

const P_CSCF: usize = 0;
const I_CSCF: usize = 1;
// The S-CSCF itself is number 2.
const HSS: usize = 3;
const TRACKER: usize = 4;

const MW: &str = "192.0.2.3:5068";
const ICSI: &str = "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.x-p2pcds\"";

/// What a bare endpoint does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Answers(u16),
    /// Sends it back along its Route, and the answer back to where it came from.
    Returns,
    Silent,
}

enum Party {
    Node(Box<dyn Node>),
    Peer(Box<Peer>),
}

struct Peer {
    sip: SipEndpoint,
    on: RefPoint,
    manner: Manner,
    relayed: BTreeMap<ClientTxn, ServerTxn>,
    asked: Vec<Message>,
    heard: Vec<Message>,
    failed: usize,
}

impl Actor for Party {
    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        match self {
            Party::Node(node) => node.handle(at, input, out),
            Party::Peer(peer) => {
                for event in peer.sip.take(at, &input, out).unwrap_or_default() {
                    peer.event(at, event, out);
                }
            }
        }
    }
}

impl Peer {
    fn event(&mut self, at: At, event: SipEvent, out: &mut Outbox) {
        match event {
            SipEvent::Request { txn, request, .. } => {
                self.asked.push(request.clone());
                match self.manner {
                    Manner::Answers(code) => {
                        let response = Builder::response(&request, code, "R", Some("peer"))
                            .header("P-Charging-Vector", "icid-value=1;orig-ioi=x")
                            .finish();
                        self.sip.respond(at, txn, response, true, out);
                    }
                    Manner::Returns => {
                        let back = request.edit().pop("Route").finish();
                        let to = MW.parse().unwrap();
                        let client = self.sip.send(at, self.on, to, back, out);
                        self.relayed.insert(client, txn);
                    }
                    Manner::Silent => {}
                }
            }
            SipEvent::Response { txn, response, .. } => {
                if let Some(server) = self.relayed.get(&txn) {
                    let upward = response.edit().pop("Via").finish();
                    self.sip.respond(at, *server, upward, false, out);
                }
                self.heard.push(response);
            }
            SipEvent::Failed { .. } => self.failed += 1,
            _ => {}
        }
    }
}

fn peer(on: RefPoint, addr: &str, manner: Manner) -> Party {
    let port = SipPort {
        on,
        local: addr.parse().unwrap(),
        transport: SipTransport::Tcp,
        path_mtu: None,
        timers: Timers::CORE,
    };
    Party::Peer(Box::new(Peer {
        sip: SipEndpoint::new(vec![port], u64::from(addr.as_bytes()[8])),
        on,
        manner,
        relayed: BTreeMap::new(),
        asked: Vec::new(),
        heard: Vec::new(),
        failed: 0,
    }))
}

fn neighbour(role: Role, host: &str, listeners: &[(RefPoint, &str)]) -> Neighbour {
    let format = match role {
        Role::Hss => Format::Diameter,
        _ => Format::Sip,
    };
    let listeners: Vec<Listener> = listeners
        .iter()
        .map(|(on, addr)| Listener {
            on: *on,
            format,
            transport: ListenTransport::Tcp,
            addr: addr.parse().unwrap(),
        })
        .collect();
    Neighbour {
        role,
        host: host.to_owned(),
        ip: listeners[0].addr.ip(),
        ports: None,
        listeners,
        impu: None,
        cdn: None,
        holds: Vec::new(),
    }
}

fn directory() -> Directory {
    use RefPoint::{Cx, Isc, Mw};
    let nodes = [
        (
            "p-cscf",
            neighbour(Role::PCscf, "pcscf1.ims.example", &[(Mw, "192.0.2.1:5062")]),
        ),
        (
            "i-cscf",
            neighbour(Role::ICscf, "icscf1.ims.example", &[(Mw, "192.0.2.2:5064")]),
        ),
        (
            "s-cscf",
            neighbour(
                Role::SCscf,
                "scscf1.ims.example",
                &[(Mw, MW), (Isc, "192.0.2.3:5070")],
            ),
        ),
        (
            "hss",
            neighbour(Role::Hss, "hss1.ims.example", &[(Cx, "192.0.2.4:3868")]),
        ),
        (
            "tracker",
            neighbour(
                Role::Tracker,
                "tracker-as.ims.example",
                &[(Isc, "203.0.113.40:5072")],
            ),
        ),
    ];
    Directory {
        hosts: nodes
            .iter()
            .map(|(name, node)| (node.host.clone(), NodeName::new(name)))
            .collect(),
        nodes: nodes
            .into_iter()
            .map(|(name, node)| (NodeName::new(name), node))
            .collect(),
        domain: "ims.example".to_owned(),
        tracker_psi: "sip:tracker@p2pcds.ims.example".to_owned(),
    }
}

fn subscriber(id: &str) -> Subscriber {
    Subscriber {
        id: id.to_owned(),
        impi: format!("{id}@private.ims.example"),
        impus: vec![format!("sip:{id}@ims.example")],
        password: "secret".to_owned(),
        k: [7; 16],
        opc: [9; 16],
        service: true,
        qualified: true,
        barred: false,
        may_register: true,
        aka: false,
        usim_sqn: 0,
    }
}

fn setup(name: &str, policy: &Policy) -> Setup {
    let directory = directory();
    let node = &directory.nodes[&NodeName::new(name)];
    let (role, ip, listeners) = (node.role, node.ip, node.listeners.clone());
    let mut barred = subscriber("ue-barred");
    barred.impus.push("sip:spare@ims.example".to_owned());
    barred.barred = true;
    Setup {
        name: NodeName::new(name),
        role,
        seed: 5,
        ip,
        listeners,
        architecture: Architecture::Registered,
        options: Options::default(),
        delivery: Delivery::Delegate,
        directory: Arc::new(directory),
        subscribers: Arc::new(vec![subscriber("ue-a"), subscriber("ue-b"), barred]),
        user: None,
        contents: Arc::default(),
        holds: Vec::new(),
        tls: false,
        trusts: crate::node::setup::PROVEN,
        path_mtu: BTreeMap::new(),
        policy: policy.clone(),
        token_key: Vec::new(),
    }
}

fn world_with(policy: &Policy) -> World<Party> {
    let mut world = World::new(1);
    let tracker = "203.0.113.40:5072";
    world.add(
        "192.0.2.1:5062",
        true,
        peer(RefPoint::Mw, "192.0.2.1:5062", Manner::Answers(200)),
    );
    world.add(
        "192.0.2.2:5064",
        true,
        peer(RefPoint::Mw, "192.0.2.2:5064", Manner::Answers(200)),
    );
    let s_cscf = Party::Node(build(setup("s-cscf", policy)));
    world.add("192.0.2.3:5068,192.0.2.3:5070", true, s_cscf);
    world.add(
        "192.0.2.4:3868",
        true,
        Party::Node(hss::build(setup("hss", policy))),
    );
    world.add(
        tracker,
        true,
        peer(RefPoint::Isc, tracker, Manner::Answers(200)),
    );
    world
}

fn world() -> World<Party> {
    world_with(&Policy::default())
}

fn at_peer(world: &mut World<Party>, who: usize) -> &mut Peer {
    match &mut world.actors[who] {
        Party::Peer(peer) => peer,
        Party::Node(_) => panic!("not a bare endpoint"),
    }
}

/// Sends from a peer to the S-CSCF, runs `seconds` and gives the last response.
fn exchange(world: &mut World<Party>, who: usize, request: Message, seconds: u64) -> Message {
    let heard = send(world, who, request, seconds);
    heard.last().expect("a response").clone()
}

fn send(world: &mut World<Party>, who: usize, request: Message, seconds: u64) -> Vec<Message> {
    world.act(who, |party, at, out| {
        let Party::Peer(peer) = party else { return };
        peer.heard.clear();
        let to: SocketAddr = MW.parse().unwrap();
        peer.sip.send(at, peer.on, to, request, out);
    });
    let until = world.at.since(At::ZERO) + Duration::from_secs(seconds);
    world.run(until);
    at_peer(world, who).heard.clone()
}

fn asked(world: &mut World<Party>, who: usize) -> Vec<Message> {
    std::mem::take(&mut at_peer(world, who).asked)
}

fn status(message: &Message) -> u16 {
    message.status().unwrap_or_default()
}

fn registration(id: &str, password: &str) -> Registration {
    let user = subscriber(id);
    let account = Account {
        impi: user.impi,
        impu: user.impus[0].clone(),
        domain: "ims.example".to_owned(),
        password: password.to_owned(),
        keys: Keys {
            k: user.k,
            opc: user.opc,
        },
        usim_sqn: 0,
    };
    let device = Device {
        contact: format!("sip:{id}@192.0.2.10:5070;transport=tcp"),
        contact_params: format!(";{ICSI}"),
        call_id: format!("call-of-{id}"),
        headers: vec![("P-Access-Network-Info".to_owned(), "3GPP".to_owned())],
        sec_agree: false,
        expires_in_contact: true,
        reuse_nonce: false,
        names_user_at_first: true,
        checks_network: true,
        registrar_has_user: false,
    };
    Registration::new(account, device, 3)
}

/// As the P-CSCF passes it on.
fn through_p_cscf(register: &Message) -> Message {
    register
        .edit()
        .append("Path", "<sip:term@pcscf1.ims.example:5062;lr>")
        .append("Require", "path")
        .append("P-Charging-Vector", "icid-value=reg")
        .finish()
}

/// Follows a registration to its end; the last response and what became of it.
fn follow(world: &mut World<Party>, user: &mut Registration, first: Message) -> (Message, Step) {
    let mut next = first;
    for _ in 0..5 {
        let response = exchange(world, I_CSCF, through_p_cscf(&next), 1);
        match user.answer(world.at, &response) {
            Step::Send(register) => next = *register,
            step => return (response, step),
        }
    }
    panic!("no end of challenges");
}

fn register(world: &mut World<Party>, id: &str) -> Message {
    let mut user = registration(id, "secret");
    let first = user.register().unwrap();
    let (response, step) = follow(world, &mut user, first);
    assert!(matches!(step, Step::Registered { .. }), "{step:?}");
    response
}

fn request(method: &str, uri: &str) -> Builder {
    Builder::request(method, uri)
        .header("Max-Forwards", "70")
        .header("From", "<sip:ue-a@ims.example>;tag=a")
        .header("To", &format!("<{uri}>"))
        .header("Call-ID", "c1")
        .header("CSeq", &format!("1 {method}"))
}

fn originating(method: &str, uri: &str) -> Message {
    request(method, uri)
        .header("Route", "<sip:orig@scscf1.ims.example:5068;lr>")
        .header("Record-Route", "<sip:pcscf1.ims.example:5062;lr>")
        .header("P-Asserted-Identity", "<sip:ue-a@ims.example>")
        .header(
            "P-Preferred-Service",
            "urn:urn-7:3gpp-service.ims.icsi.x-p2pcds",
        )
        .header("P-Access-Network-Info", "3GPP-E-UTRAN-FDD")
        .header("P-Charging-Vector", "icid-value=7")
        .finish()
}

fn subscribe() -> Message {
    originating("SUBSCRIBE", "sip:tracker@p2pcds.ims.example")
        .edit()
        .append("Event", "p2pcds-peers")
        .finish()
}

fn terminating(method: &str, uri: &str) -> Message {
    request(method, uri)
        .header("Route", "<sip:scscf1.ims.example:5068;lr>")
        .header("P-Asserted-Identity", "<sip:ue-a@ims.example>")
        .header("P-Access-Network-Info", "3GPP-E-UTRAN-FDD")
        .finish()
}

#[test]
fn a_user_registers_and_the_tracker_is_told() {
    let mut world = world();
    let response = register(&mut world, "ue-a");
    assert_eq!(
        Some("<sip:orig@scscf1.ims.example:5068;transport=tcp;lr>"),
        response.header("Service-Route").as_deref()
    );
    assert_eq!(
        Some("<sip:term@pcscf1.ims.example:5062;lr>"),
        response.header("Path").as_deref()
    );
    assert_eq!(
        vec!["<sip:ue-a@ims.example>"],
        response.values("P-Associated-URI")
    );
    let contact = &response.addrs("Contact").unwrap()[0];
    assert_eq!(Some("600000"), contact.params.get("expires"));

    let told = asked(&mut world, TRACKER);
    assert_eq!(1, told.len());
    assert_eq!("REGISTER", told[0].method());
    assert_eq!("sip:ue-a@ims.example", told[0].to().unwrap().uri);
    assert_eq!(Ok(Some(600_000)), told[0].number("Expires"));
    assert_eq!(
        "<sip:scscf1.ims.example:5068;transport=tcp>",
        told[0].header("Contact").unwrap()
    );
}

#[test]
fn a_wrong_password_is_forbidden() {
    let mut world = world();
    let mut user = registration("ue-a", "wrong");
    let first = user.register().unwrap();
    let (response, _) = follow(&mut world, &mut user, first);
    assert_eq!(403, status(&response));
    assert!(asked(&mut world, TRACKER).is_empty());
}

#[test]
fn an_answer_after_four_minutes_is_challenged_anew() {
    let mut world = world();
    let mut user = registration("ue-a", "secret");
    let first = user.register().unwrap();
    let challenge = exchange(&mut world, I_CSCF, through_p_cscf(&first), 241);
    let Step::Send(late) = user.answer(world.at, &challenge) else {
        panic!("not challenged")
    };
    // The clock stands at the last event; another exchange moves it past the limit.
    world.at = At::ZERO + Duration::from_secs(242);
    let response = exchange(&mut world, I_CSCF, through_p_cscf(&late), 1);
    assert_eq!(401, status(&response));
    assert!(
        response
            .header("WWW-Authenticate")
            .unwrap()
            .contains("stale=true")
    );
}

#[test]
fn aka_registers_too() {
    let mut world = world();
    let mut user = registration("ue-a", "secret");
    let first = user.register().unwrap();
    let value = first.header("Authorization").unwrap().into_owned();
    let first = first
        .edit()
        .set(
            "Authorization",
            &format!("{value},integrity-protected=\"no\""),
        )
        .finish();
    let challenge = exchange(&mut world, I_CSCF, through_p_cscf(&first), 1);
    let offered = challenge.header("WWW-Authenticate").unwrap().into_owned();
    assert!(
        offered.contains("AKAv1-MD5") && offered.contains("ck="),
        "{offered}"
    );
    let Step::Send(second) = user.answer(world.at, &challenge) else {
        panic!("not challenged")
    };
    let response = exchange(&mut world, I_CSCF, through_p_cscf(&second), 1);
    assert_eq!(200, status(&response));
}

#[test]
fn the_identity_of_another_is_forbidden() {
    let mut world = world();
    let mut user = registration("ue-a", "secret");
    let foreign = user.register().unwrap();
    let foreign = foreign.edit().set("To", "<sip:ue-b@ims.example>").finish();
    let response = exchange(&mut world, I_CSCF, through_p_cscf(&foreign), 1);
    assert_eq!(403, status(&response));
}

#[test]
fn too_short_a_lifetime_gets_423_and_an_unknown_extension_420() {
    let mut world = world();
    let mut user = registration("ue-a", "secret");
    let first = user.register().unwrap();
    let challenge = exchange(&mut world, I_CSCF, through_p_cscf(&first), 1);
    let Step::Send(second) = user.answer(world.at, &challenge) else {
        panic!("not challenged")
    };
    let contact = "<sip:ue-a@192.0.2.10:5070>;expires=5";
    let brief = through_p_cscf(&second)
        .edit()
        .set("Contact", contact)
        .finish();
    let response = exchange(&mut world, I_CSCF, brief, 1);
    assert_eq!(423, status(&response));
    assert_eq!(Ok(Some(60)), response.number("Min-Expires"));

    let demanding = through_p_cscf(&second)
        .edit()
        .set("Require", "path,foo")
        .finish();
    let response = exchange(&mut world, I_CSCF, demanding, 1);
    assert_eq!(420, status(&response));
    assert_eq!(vec!["foo"], response.values("Unsupported"));
}

#[test]
fn a_deregistered_user_is_not_reachable_and_the_tracker_is_told() {
    let mut world = world();
    let mut user = registration("ue-b", "secret");
    let first = user.register().unwrap();
    follow(&mut world, &mut user, first);
    asked(&mut world, TRACKER);
    let last = user.deregister().unwrap();
    let (response, step) = follow(&mut world, &mut user, last);
    assert_eq!(200, status(&response));
    assert!(matches!(step, Step::Deregistered));
    let told = asked(&mut world, TRACKER);
    assert_eq!(Ok(Some(0)), told[0].number("Expires"));
    let response = exchange(
        &mut world,
        I_CSCF,
        terminating("MESSAGE", "sip:ue-b@ims.example"),
        1,
    );
    assert_eq!(480, status(&response));
}

#[test]
fn a_binding_runs_out() {
    let mut policy = Policy::default();
    policy.s_cscf.longest_registration = 100;
    let mut world = world_with(&policy);
    register(&mut world, "ue-b");
    asked(&mut world, TRACKER);
    world.run(Duration::from_secs(200));
    assert_eq!(Ok(Some(0)), asked(&mut world, TRACKER)[0].number("Expires"));
    let response = exchange(
        &mut world,
        I_CSCF,
        terminating("MESSAGE", "sip:ue-b@ims.example"),
        1,
    );
    assert_eq!(480, status(&response));
}

#[test]
fn the_hss_ends_a_registration() {
    let mut world = world();
    register(&mut world, "ue-b");
    asked(&mut world, TRACKER);
    world.act(HSS, |hss, at, out| {
        let user = "ue-b".to_owned();
        hss.handle(at, Input::Act(&Action::Withdraw { user }), out);
    });
    let limit = world.at.since(At::ZERO) + Duration::from_secs(1);
    world.run(limit);
    assert_eq!(Ok(Some(0)), asked(&mut world, TRACKER)[0].number("Expires"));
    let response = exchange(
        &mut world,
        I_CSCF,
        terminating("MESSAGE", "sip:ue-b@ims.example"),
        1,
    );
    assert_eq!(480, status(&response));
}

#[test]
fn a_pushed_profile_changes_what_triggers() {
    let mut world = world();
    register(&mut world, "ue-a");
    asked(&mut world, TRACKER);
    world.act(HSS, |hss, at, out| {
        let user = "ue-a".to_owned();
        hss.handle(at, Input::Act(&Action::Revoke { user }), out);
    });
    let limit = world.at.since(At::ZERO) + Duration::from_secs(1);
    world.run(limit);
    exchange(&mut world, P_CSCF, subscribe(), 1);
    assert!(asked(&mut world, TRACKER).is_empty());
    assert_eq!(1, asked(&mut world, I_CSCF).len());
}

#[test]
fn a_subscription_is_triggered_to_the_tracker() {
    let mut world = world();
    register(&mut world, "ue-a");
    asked(&mut world, TRACKER);
    let response = exchange(&mut world, P_CSCF, subscribe(), 1);
    assert_eq!(200, status(&response));
    assert_eq!(1, response.values("Via").len());
    let asked = asked(&mut world, TRACKER);
    let got = &asked[0];
    let routes = got.values("Route");
    assert_eq!("<sip:tracker-as.ims.example;lr>", routes[0]);
    assert!(routes[1].starts_with("<sip:scscf1.ims.example:5068;transport=tcp;lr;odi="));
    assert_eq!(2, routes.len());
    assert_eq!(
        vec![
            "<sip:scscf1.ims.example:5068;transport=tcp;lr>",
            "<sip:pcscf1.ims.example:5062;lr>"
        ],
        got.values("Record-Route")
    );
    assert_eq!(
        Some("<sip:ue-a@ims.example>;sescase=orig;regstate=reg"),
        got.header("P-Served-User").as_deref()
    );
    assert!(got.has("P-Asserted-Service") && !got.has("P-Preferred-Service"));
    assert_eq!(
        Some("icid-value=7;orig-ioi=ims.example"),
        got.header("P-Charging-Vector").as_deref()
    );
    assert_eq!(Ok(Some(69)), got.number("Max-Forwards"));
}

#[test]
fn another_event_is_not_triggered() {
    let mut world = world();
    register(&mut world, "ue-a");
    asked(&mut world, TRACKER);
    let other = subscribe().edit().set("Event", "p2pcds-peers-2").finish();
    exchange(&mut world, P_CSCF, other, 1);
    assert!(asked(&mut world, TRACKER).is_empty());
    let onward = asked(&mut world, I_CSCF);
    assert_eq!(1, onward.len());
    assert!(!onward[0].has("P-Served-User"));
}

#[test]
fn a_served_user_whom_the_p_cscf_let_through_goes_no_further() {
    let mut world = world();
    register(&mut world, "ue-a");
    let invite = originating("INVITE", "sip:ue-b@ims.example");
    let forged = invite.edit().append("P-Served-User", "<sip:x@y>").finish();
    send(&mut world, P_CSCF, forged, 1);
    assert!(!asked(&mut world, I_CSCF)[0].has("P-Served-User"));
}

#[test]
fn a_returned_request_goes_on_and_is_not_triggered_again() {
    for odi_in_user in [false, true] {
        let mut policy = Policy::default();
        policy.s_cscf.odi_in_user = odi_in_user;
        let mut world = world_with(&policy);
        register(&mut world, "ue-a");
        asked(&mut world, TRACKER);
        at_peer(&mut world, TRACKER).manner = Manner::Returns;
        let response = exchange(&mut world, P_CSCF, subscribe(), 1);
        assert_eq!(200, status(&response));
        assert_eq!(1, asked(&mut world, TRACKER).len());
        let onward = asked(&mut world, I_CSCF);
        assert_eq!(1, onward.len());
        assert!(!onward[0].has("P-Served-User") && !onward[0].has("Route"));
    }
}

#[test]
fn an_unknown_dialog_identifier_is_refused() {
    let mut world = world();
    register(&mut world, "ue-a");
    let forged = subscribe()
        .edit()
        .set("Route", "<sip:scscf1.ims.example:5068;lr;odi=guess>")
        .finish();
    assert_eq!(404, status(&exchange(&mut world, P_CSCF, forged, 1)));
}

#[test]
fn a_silent_tracker_behind_a_subscription_is_a_5xx_in_time() {
    let mut world = world();
    register(&mut world, "ue-a");
    at_peer(&mut world, TRACKER).manner = Manner::Silent;
    let heard = send(&mut world, P_CSCF, subscribe(), 31);
    assert_eq!(vec![100, 504], heard.iter().map(status).collect::<Vec<_>>());
    assert_eq!(0, at_peer(&mut world, P_CSCF).failed);
}

#[test]
fn a_failing_tracker_is_passed_back_where_the_criterion_says_so() {
    let mut world = world();
    register(&mut world, "ue-a");
    at_peer(&mut world, TRACKER).manner = Manner::Answers(500);
    assert_eq!(500, status(&exchange(&mut world, P_CSCF, subscribe(), 1)));
    at_peer(&mut world, TRACKER).manner = Manner::Answers(403);
    let again = subscribe().edit().set("Call-ID", "c2").finish();
    assert_eq!(403, status(&exchange(&mut world, P_CSCF, again, 1)));
}

#[test]
fn a_request_for_a_peer_goes_to_the_i_cscf() {
    let mut world = world();
    register(&mut world, "ue-a");
    let heard = send(
        &mut world,
        P_CSCF,
        originating("INVITE", "sip:ue-b@ims.example"),
        1,
    );
    assert_eq!([100, 200], [status(&heard[0]), status(&heard[1])]);
    let onward = asked(&mut world, I_CSCF);
    assert_eq!(Some("sip:ue-b@ims.example"), onward[0].request_uri());
    assert!(!onward[0].has("Route"));
    assert!(onward[0].has("P-Asserted-Service"));
}

#[test]
fn who_is_not_registered_or_is_barred_may_not_ask() {
    let mut world = world();
    let invite = originating("INVITE", "sip:ue-b@ims.example");
    assert_eq!(403, status(&exchange(&mut world, P_CSCF, invite, 1)));
    register(&mut world, "ue-barred");
    let barred = originating("INVITE", "sip:ue-b@ims.example")
        .edit()
        .set("P-Asserted-Identity", "<sip:ue-barred@ims.example>")
        .set("Call-ID", "c2")
        .finish();
    assert_eq!(403, status(&exchange(&mut world, P_CSCF, barred, 1)));
    assert!(asked(&mut world, I_CSCF).is_empty());
}

#[test]
fn the_service_route_is_not_for_everybody() {
    let mut world = world();
    register(&mut world, "ue-a");
    let stolen = originating("INVITE", "sip:ue-b@ims.example");
    assert_eq!(403, status(&exchange(&mut world, I_CSCF, stolen, 1)));
}

#[test]
fn a_terminating_request_follows_the_path_to_the_contact() {
    let mut world = world();
    register(&mut world, "ue-b");
    let invite = terminating("INVITE", "sip:ue-b@ims.example");
    let heard = send(&mut world, I_CSCF, invite, 1);
    assert_eq!([100, 200], [status(&heard[0]), status(&heard[1])]);
    assert!(
        heard[1]
            .header("P-Charging-Vector")
            .unwrap()
            .contains("term-ioi=ims.example")
    );
    let reached = asked(&mut world, P_CSCF);
    assert_eq!(1, reached.len());
    let got = &reached[0];
    assert_eq!(
        Some("sip:ue-b@192.0.2.10:5070;transport=tcp"),
        got.request_uri()
    );
    assert_eq!(
        vec!["<sip:term@pcscf1.ims.example:5062;lr>"],
        got.values("Route")
    );
    assert_eq!(
        Some("<sip:ue-b@ims.example>"),
        got.header("P-Called-Party-ID").as_deref()
    );
    assert_eq!(
        vec!["<sip:scscf1.ims.example:5068;transport=tcp;lr>"],
        got.values("Record-Route")
    );
    assert!(!got.has("P-Access-Network-Info"));
}

#[test]
fn only_a_capable_contact_is_asked() {
    let mut world = world();
    register(&mut world, "ue-b");
    let wanting = |feature: &str| {
        terminating("INVITE", "sip:ue-b@ims.example")
            .edit()
            .append("Accept-Contact", &format!("*;{feature};require;explicit"))
            .append("Call-ID", feature)
            .finish()
    };
    let other = "+g.3gpp.icsi-ref=\"other\"";
    assert_eq!(
        480,
        status(&exchange(&mut world, I_CSCF, wanting(other), 1))
    );
    assert_eq!(200, status(&exchange(&mut world, I_CSCF, wanting(ICSI), 1)));
    assert_eq!(1, asked(&mut world, P_CSCF).len());
}

#[test]
fn nobody_is_404_and_the_barred_too() {
    let mut world = world();
    let nobody = terminating("MESSAGE", "sip:nobody@ims.example");
    assert_eq!(404, status(&exchange(&mut world, I_CSCF, nobody, 1)));
    let elsewhere = terminating("MESSAGE", "sip:x@elsewhere.example");
    assert_eq!(404, status(&exchange(&mut world, I_CSCF, elsewhere, 1)));
    register(&mut world, "ue-barred");
    let barred = terminating("MESSAGE", "sip:ue-barred@ims.example");
    assert_eq!(404, status(&exchange(&mut world, I_CSCF, barred, 1)));
}

#[test]
fn a_request_inside_a_dialog_follows_its_route_past_both_of_our_entries() {
    let mut world = world();
    let bye = request("BYE", "sip:ue-b@192.0.2.11:5070")
        .header(
            "Route",
            "<sip:scscf1.ims.example:5068;lr>, <sip:scscf1.ims.example:5068;lr>, \
             <sip:pcscf1.ims.example:5062;lr>",
        )
        .header("P-Access-Network-Info", "3GPP")
        .finish()
        .edit()
        .set("To", "<sip:ue-b@ims.example>;tag=b")
        .finish();
    assert_eq!(200, status(&exchange(&mut world, P_CSCF, bye, 1)));
    let got = asked(&mut world, P_CSCF);
    assert_eq!(
        vec!["<sip:pcscf1.ims.example:5062;lr>"],
        got[0].values("Route")
    );
    assert!(!got[0].has("P-Access-Network-Info") && !got[0].has("Record-Route"));
}

#[test]
fn what_has_no_hops_left_is_refused() {
    let mut world = world();
    register(&mut world, "ue-a");
    let tired = subscribe().edit().set("Max-Forwards", "0").finish();
    assert_eq!(483, status(&exchange(&mut world, P_CSCF, tired, 1)));
}

#[test]
fn a_service_not_subscribed_to_is_refused_or_dropped() {
    for (icsi, expected) in [
        (IcsiPolicy::Reject, None),
        (IcsiPolicy::Proceed, Some(false)),
    ] {
        let mut policy = Policy::default();
        policy.s_cscf.icsi = icsi;
        let s_cscf = SCscf::new(&setup("s-cscf", &policy));
        let served = users::Served {
            private: "x".to_owned(),
            barred: false,
            registered: true,
            criteria: Arc::default(),
            services: Some(Arc::new(vec!["urn:other".to_owned()])),
            media_profile: None,
        };
        let passed = s_cscf.with_service(subscribe(), &served);
        assert_eq!(
            expected,
            passed.map(|request| request.has("P-Asserted-Service"))
        );
    }
}

fn watch_registration(asker: &str) -> Message {
    terminating("SUBSCRIBE", "sip:ue-b@ims.example")
        .edit()
        .set("P-Asserted-Identity", &format!("<{asker}>"))
        .set("Call-ID", &format!("watch-{asker}"))
        .append("Event", "reg")
        .append("Contact", "<sip:pcscf1.ims.example:5062>")
        .append("Expires", "600000")
        .finish()
}

#[test]
fn a_registration_is_watched_to_its_end() {
    let mut world = world();
    register(&mut world, "ue-b");
    for asker in ["sip:ue-b@ims.example", "sip:pcscf1.ims.example:5062"] {
        let response = exchange(&mut world, I_CSCF, watch_registration(asker), 1);
        assert_eq!(200, status(&response), "{asker}");
        assert_eq!(Ok(Some(600_000)), response.number("Expires"));
        let told = asked(&mut world, P_CSCF);
        assert_eq!(1, told.len());
        assert_eq!("NOTIFY", told[0].method());
        let state = told[0].header("Subscription-State").unwrap();
        assert_eq!("active;expires=600000", state);
        let body = String::from_utf8_lossy(told[0].body());
        assert!(body.contains("version=\"0\" state=\"full\""), "{body}");
        assert!(body.contains("aor=\"sip:ue-b@ims.example\" id=\"r1\" state=\"active\""));
        assert!(body.contains("<uri>sip:ue-b@192.0.2.10:5070;transport=tcp</uri>"));
    }

    world.act(HSS, |hss, at, out| {
        let user = "ue-b".to_owned();
        hss.handle(at, Input::Act(&Action::Withdraw { user }), out);
    });
    let limit = world.at.since(At::ZERO) + Duration::from_secs(1);
    world.run(limit);
    let told = asked(&mut world, P_CSCF);
    assert_eq!(2, told.len(), "one for each watcher");
    for notify in told {
        let body = String::from_utf8_lossy(notify.body());
        assert!(body.contains("version=\"1\""), "{body}");
        assert!(
            body.contains("state=\"terminated\" event=\"deactivated\""),
            "{body}"
        );
        let state = notify.header("Subscription-State").unwrap();
        assert!(state.starts_with("terminated"));
    }
}

#[test]
fn a_stranger_may_not_watch() {
    let mut world = world();
    register(&mut world, "ue-b");
    let stranger = watch_registration("sip:ue-a@ims.example");
    assert_eq!(403, status(&exchange(&mut world, I_CSCF, stranger, 1)));
    assert!(asked(&mut world, P_CSCF).is_empty());
}

#[test]
fn a_refreshed_watch_is_told_again() {
    let mut world = world();
    register(&mut world, "ue-b");
    let first = watch_registration("sip:ue-b@ims.example");
    let response = exchange(&mut world, I_CSCF, first.clone(), 1);
    asked(&mut world, P_CSCF);
    let again = first
        .edit()
        .request_uri("sip:scscf1.ims.example:5068")
        .remove("Route")
        .set("To", &response.header("To").unwrap())
        .set("CSeq", "2 SUBSCRIBE")
        .set("Expires", "0")
        .finish();
    assert_eq!(200, status(&exchange(&mut world, I_CSCF, again, 1)));
    let told = asked(&mut world, P_CSCF);
    let state = told[0].header("Subscription-State").unwrap();
    assert_eq!("terminated;reason=timeout", state);
}

#[test]
fn two_contacts_are_asked_at_once_and_share_the_breadth() {
    let mut world = world();
    for contact in ["sip:one@192.0.2.10:5070", "sip:two@192.0.2.11:5070"] {
        let mut user = registration("ue-b", "secret");
        let first = user.register().unwrap();
        let contact = format!("<{contact}>;expires=600");
        let challenge = exchange(&mut world, I_CSCF, through_p_cscf(&first), 1);
        let Step::Send(second) = user.answer(world.at, &challenge) else {
            panic!("not challenged")
        };
        let second = through_p_cscf(&second)
            .edit()
            .set("Contact", &contact)
            .finish();
        assert_eq!(200, status(&exchange(&mut world, I_CSCF, second, 1)));
    }
    let invite = |breadth: &str, call_id: &str| {
        terminating("MESSAGE", "sip:ue-b@ims.example")
            .edit()
            .set("Max-Breadth", breadth)
            .set("Call-ID", call_id)
            .finish()
    };
    assert_eq!(
        200,
        status(&exchange(&mut world, I_CSCF, invite("5", "c1"), 1))
    );
    let reached = asked(&mut world, P_CSCF);
    assert_eq!(2, reached.len());
    assert!(
        reached
            .iter()
            .all(|got| got.number("Max-Breadth") == Ok(Some(2)))
    );
    assert_eq!(
        440,
        status(&exchange(&mut world, I_CSCF, invite("1", "c2"), 1))
    );
}

#[test]
fn an_abandoned_challenge_is_cleared_at_the_hss() {
    let mut world = world();
    let mut user = registration("ue-a", "secret");
    let first = user.register().unwrap();
    exchange(&mut world, I_CSCF, through_p_cscf(&first), 1);
    let before = cx_frames(&world);
    world.run(Duration::from_secs(300));
    let assignments = cx_frames(&world) - before;
    assert!(assignments >= 2, "SAR and SAA after reg-await-auth");
}

fn cx_frames(world: &World<Party>) -> usize {
    let is_assignment = |frame: &&crate::wire::frame::Frame| {
        frame.format == Format::Diameter && frame.bytes[5..8] == [0, 1, 45]
    };
    world.seen.iter().filter(is_assignment).count()
}

#[test]
fn good_credentials_do_not_register_the_identity_of_another() {
    // An HSS may leave it to the S-CSCF to know whose identity it authenticated.
    let mut policy = Policy::default();
    policy.hss.checks_identities_in_sar = false;
    let mut world = world_with(&policy);
    let mut user = registration("ue-a", "secret");
    let first = user.register().unwrap();
    let challenge = exchange(&mut world, I_CSCF, through_p_cscf(&first), 1);
    let Step::Send(second) = user.answer(world.at, &challenge) else {
        panic!("not challenged")
    };
    let foreign = through_p_cscf(&second)
        .edit()
        .set("To", "<sip:ue-b@ims.example>")
        .finish();
    let response = exchange(&mut world, I_CSCF, foreign, 1);
    assert_eq!(403, status(&response));
    let message = terminating("MESSAGE", "sip:ue-b@ims.example");
    assert_eq!(480, status(&exchange(&mut world, I_CSCF, message, 1)));
}

#[test]
fn uris_say_tcp_only_of_who_takes_no_datagrams() {
    let mut node = neighbour(
        Role::SCscf,
        "scscf1.ims.example",
        &[(RefPoint::Mw, "192.0.2.3:5068")],
    );
    assert_eq!(";transport=tcp", node.transport_parameter(RefPoint::Mw));
    let mut datagrams = node.listeners[0].clone();
    datagrams.transport = ListenTransport::Udp;
    node.listeners.push(datagrams);
    assert_eq!("", node.transport_parameter(RefPoint::Mw));
}
