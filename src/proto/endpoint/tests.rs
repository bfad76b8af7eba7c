use proptest::prelude::*;

use super::{identity::stamped, *};
use crate::proto::harness::{Actor, World};

/// A user agent: answers every request with `status`, notes what it hears.
struct Agent {
    sip: SipEndpoint,
    status: Option<u16>,
    heard: Vec<SipEvent>,
    requests: usize,
}

impl Agent {
    fn new(addr: &str, transports: &[SipTransport], status: Option<u16>) -> Agent {
        let ports = transports
            .iter()
            .map(|&transport| SipPort {
                on: RefPoint::Mw,
                local: addr.parse().unwrap(),
                transport,
                path_mtu: None,
                timers: Timers::CORE,
            })
            .collect();
        Agent {
            sip: SipEndpoint::new(ports, addr.len() as u64 + addr.as_bytes()[5] as u64),
            status,
            heard: Vec::new(),
            requests: 0,
        }
    }

    /// The final responses and failures heard, as numbers; 0 for a failure.
    fn outcomes(&self) -> Vec<u16> {
        self.heard
            .iter()
            .filter_map(|event| match event {
                SipEvent::Response { response, .. } => response.status().filter(|s| *s >= 200),
                SipEvent::Failed { .. } => Some(0),
                _ => None,
            })
            .collect()
    }
}

impl Actor for Agent {
    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        for event in self.sip.take(at, &input, out).unwrap_or_default() {
            match &event {
                SipEvent::Request { txn, request, .. } => {
                    self.requests += 1;
                    if let Some(status) = self.status {
                        let response = Builder::response(request, status, "R", Some("b"))
                            .header("Contact", "<sip:192.0.2.2:5060>")
                            .finish();
                        self.sip.respond(at, *txn, response, true, out);
                    }
                }
                SipEvent::Cancelled { txn, .. } => {
                    let invite = self.sip.incoming(*txn).unwrap();
                    let response = Builder::response(invite, 487, "R", Some("b")).finish();
                    self.sip.respond(at, *txn, response, true, out);
                }
                SipEvent::Response { response, .. }
                    if response.method() == "INVITE"
                        && (Some(200)..Some(300)).contains(&response.status()) =>
                {
                    let to = response.header("To").unwrap().into_owned();
                    let ack = request("ACK", "1 ACK", &to, 0);
                    let peer = B.parse().unwrap();
                    self.sip.send_alone(at, RefPoint::Mw, peer, ack, out);
                }
                _ => {}
            }
            self.heard.push(event);
        }
    }
}

const A: &str = "192.0.2.1:5060";
const B: &str = "192.0.2.2:5060";
const UDP: &[SipTransport] = &[SipTransport::Udp];
const TCP: &[SipTransport] = &[SipTransport::Tcp];

fn request(method: &str, cseq: &str, to: &str, padding: usize) -> Message {
    Builder::request(method, "sip:b@ims.example")
        .header("Max-Forwards", "70")
        .header("From", "<sip:a@ims.example>;tag=a")
        .header("To", to)
        .header("Call-ID", "c1")
        .header("CSeq", cseq)
        .header("Subject", &"x".repeat(padding))
        .finish()
}

fn simple(method: &str) -> Message {
    request(method, &format!("1 {method}"), "<sip:b@ims.example>", 0)
}

fn pair(transports: &[SipTransport], status: Option<u16>) -> World<Agent> {
    let streams = transports.contains(&SipTransport::Tcp);
    let mut world = World::new(1);
    world.add(A, streams, Agent::new(A, transports, None));
    world.add(B, streams, Agent::new(B, transports, status));
    world
}

fn send(world: &mut World<Agent>, message: Message) -> ClientTxn {
    let mut txn = None;
    world.act(0, |agent, at, out| {
        let to = B.parse().unwrap();
        txn = Some(agent.sip.send(at, RefPoint::Mw, to, message, out));
    });
    txn.unwrap()
}

fn texts(world: &World<Agent>) -> Vec<String> {
    world
        .seen
        .iter()
        .map(|frame| {
            let message = Message::parse(frame.bytes.clone()).unwrap();
            match message.status() {
                Some(status) => format!("{status} {}", message.method()),
                None => message.method().to_owned(),
            }
        })
        .collect()
}

fn idle(world: &World<Agent>) -> bool {
    world.actors.iter().all(|agent| agent.sip.is_idle())
}

const LONG: Duration = Duration::from_secs(1000);

#[test]
fn an_invite_is_answered_and_acknowledged() {
    for transports in [UDP, TCP] {
        let mut world = pair(transports, Some(200));
        send(&mut world, simple("INVITE"));
        world.run(LONG);
        assert_eq!(vec!["INVITE", "200 INVITE", "ACK"], texts(&world));
        assert_eq!(1, world.actors[1].requests);
        assert!(matches!(world.actors[1].heard[1], SipEvent::Ack { .. }));
        assert!(idle(&world));
    }
}

#[test]
fn a_slow_owner_is_covered_by_100_after_200_ms() {
    let mut world = pair(UDP, None);
    let txn = send(&mut world, simple("INVITE"));
    world.run(Duration::from_millis(300));
    assert_eq!(vec!["INVITE", "100 INVITE"], texts(&world));
    world.act(0, |agent, at, out| agent.sip.cancel(at, txn, out));
    world.run(LONG);
    assert_eq!(
        vec![
            "INVITE",
            "100 INVITE",
            "CANCEL",
            "200 CANCEL",
            "487 INVITE",
            "ACK"
        ],
        texts(&world)
    );
    assert_eq!(vec![487], world.actors[0].outcomes());
    assert!(idle(&world));
}

#[test]
fn a_cancel_waits_for_the_first_provisional() {
    let mut world = pair(UDP, None);
    let txn = send(&mut world, simple("INVITE"));
    world.act(0, |agent, at, out| agent.sip.cancel(at, txn, out));
    world.run(Duration::from_millis(100));
    assert_eq!(vec!["INVITE"], texts(&world));
    world.run(LONG);
    assert_eq!(vec![487], world.actors[0].outcomes());
}

#[test]
fn a_slow_non_invite_gets_100_when_timer_e_reaches_t2_and_then_silence() {
    let mut world = pair(UDP, None);
    send(&mut world, simple("OPTIONS"));
    world.run(Duration::from_millis(3400));
    assert!(!texts(&world).contains(&"100 OPTIONS".to_owned()));
    world.run(Duration::from_millis(3600));
    assert!(texts(&world).contains(&"100 OPTIONS".to_owned()));
    world.run(LONG);
    assert_eq!(vec![0], world.actors[0].outcomes());
    assert!(idle(&world));
}

#[test]
fn a_2xx_is_repeated_until_its_ack_over_tcp_too() {
    let mut world = pair(TCP, Some(200));
    world.actors[0].sip = SipEndpoint::new(Vec::new(), 0);
    let invite = simple("INVITE")
        .edit()
        .prepend("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx")
        .finish();
    world.act(0, |_, _, out| {
        out.datagram(RefPoint::Mw, B.parse().unwrap(), invite.bytes().clone());
    });
    world.run(LONG);
    let copies = texts(&world).iter().filter(|t| *t == "200 INVITE").count();
    assert_eq!(11, copies, "one, and ten copies in 32 s");
    assert!(matches!(
        world.actors[1].heard.last(),
        Some(SipEvent::AckMissing { .. })
    ));
    assert!(idle(&world));
}

#[test]
fn nobody_there_is_a_transport_failure() {
    let mut world = World::new(1);
    world.add(A, true, Agent::new(A, TCP, None));
    send(&mut world, simple("OPTIONS"));
    world.run(LONG);
    assert!(matches!(
        world.actors[0].heard[..],
        [SipEvent::Failed {
            why: Failure::Transport,
            ..
        }]
    ));
    assert!(idle(&world));
}

#[test]
fn a_reference_point_without_a_port_is_a_transport_failure() {
    let mut world = pair(UDP, None);
    world.act(0, |agent, at, out| {
        let to = B.parse().unwrap();
        agent
            .sip
            .send(at, RefPoint::Isc, to, simple("OPTIONS"), out);
    });
    world.run(LONG);
    assert_eq!(vec![0], world.actors[0].outcomes());
}

#[test]
fn a_broken_connection_fails_what_waits_on_it() {
    let mut world = pair(TCP, None);
    send(&mut world, simple("INVITE"));
    world.run(Duration::from_secs(1));
    world.reset_all(1);
    world.run(LONG);
    assert_eq!(vec![0], world.actors[0].outcomes());
    assert!(world.at < At::ZERO + Duration::from_secs(2));
}

#[test]
fn what_is_too_long_for_a_datagram_goes_over_tcp() {
    let both = &[SipTransport::Udp, SipTransport::Tcp];
    let mut world = pair(both, Some(200));
    send(
        &mut world,
        request("OPTIONS", "1 OPTIONS", "<sip:b@ims.example>", 1300),
    );
    world.run(LONG);
    assert!(world.seen.iter().all(|frame| frame.link.is_some()));
    let received = Message::parse(world.seen[0].bytes.clone()).unwrap();
    assert_eq!("TCP", received.top_via().unwrap().transport);
    assert_eq!(vec![200], world.actors[0].outcomes());
}

#[test]
fn a_refused_detour_over_tcp_falls_back_to_udp() {
    let mut world = World::new(1);
    let both = &[SipTransport::Udp, SipTransport::Tcp];
    world.add(A, true, Agent::new(A, both, None));
    world.add(B, false, Agent::new(B, UDP, Some(200)));
    send(
        &mut world,
        request("OPTIONS", "1 OPTIONS", "<sip:b@ims.example>", 1300),
    );
    world.run(LONG);
    assert!(world.seen.iter().all(|frame| frame.link.is_none()));
    assert_eq!(vec![200], world.actors[0].outcomes());
}

#[test]
fn received_and_rport_are_ours_to_write() {
    let request = simple("OPTIONS")
        .edit()
        .prepend(
            "Via",
            "SIP/2.0/UDP far.example:9;received=10.0.0.1;rport;branch=z9hG4bKx",
        )
        .finish();
    let via = request.top_via().unwrap();
    let from = "192.0.2.9:6060".parse().unwrap();
    let seen = stamped(request, &via, from).top_via().unwrap();
    assert_eq!(Some("192.0.2.9"), seen.params.get("received"));
    assert_eq!(Some("6060"), seen.params.get("rport"));
    assert_eq!(Some("z9hG4bKx"), seen.branch());
}

#[test]
fn a_request_without_call_id_is_no_request_and_one_with_a_broken_cseq_gets_400() {
    let mut world = pair(UDP, Some(200));
    let via = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx";
    let good = simple("OPTIONS").edit().prepend("Via", via).finish();
    let broken = good.edit().set("CSeq", "one OPTIONS").finish();
    let none = good.edit().remove("Call-ID").finish();
    for message in [broken, none] {
        world.act(0, |_, _, out| {
            out.datagram(RefPoint::Mw, B.parse().unwrap(), message.bytes().clone());
        });
    }
    world.run(LONG);
    assert_eq!(0, world.actors[1].requests);
    let answers: Vec<_> = world
        .seen
        .iter()
        .filter(|frame| frame.bytes.starts_with(b"SIP/2.0 400"))
        .collect();
    assert_eq!(1, answers.len());
}

#[test]
fn a_cancel_of_nothing_is_refused() {
    let mut world = pair(UDP, None);
    let via = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx";
    let cancel = simple("CANCEL").edit().prepend("Via", via).finish();
    world.act(0, |_, _, out| {
        out.datagram(RefPoint::Mw, B.parse().unwrap(), cancel.bytes().clone());
    });
    world.run(LONG);
    assert_eq!(vec!["CANCEL", "481 CANCEL"], texts(&world));
    assert!(idle(&world));
}

#[test]
fn a_second_request_uses_the_connection_of_the_first() {
    let mut world = pair(TCP, Some(200));
    send(&mut world, simple("OPTIONS"));
    world.run(Duration::from_secs(1));
    send(&mut world, simple("MESSAGE"));
    world.run(LONG);
    let links: BTreeSet<_> = world.seen.iter().map(|frame| frame.link).collect();
    assert_eq!(2, links.len(), "one connection, numbered once at each end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn under_any_loss_a_request_ends_and_nothing_is_left(
        seed in any::<u64>(),
        loss in 0.0..1.0f64,
        status in prop::sample::select(vec![200u16, 302, 404, 486, 500, 603]),
        method in prop::sample::select(vec!["INVITE", "OPTIONS", "MESSAGE"]),
    ) {
        let mut world = World::new(seed);
        world.loss = loss;
        world.add(A, false, Agent::new(A, UDP, None));
        world.add(B, false, Agent::new(B, UDP, Some(status)));
        send(&mut world, simple(method));
        world.run(LONG);
        let outcomes = world.actors[0].outcomes();
        prop_assert!(!outcomes.is_empty());
        prop_assert!(outcomes.iter().all(|o| *o == 0 || *o == status));
        prop_assert!(method == "INVITE" && status == 200 || outcomes.len() == 1);
        prop_assert!(world.actors[1].requests <= 1);
        prop_assert!(idle(&world));
    }

    #[test]
    fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut world = pair(UDP, Some(200));
        world.act(0, |_, _, out| {
            out.datagram(RefPoint::Mw, B.parse().unwrap(), octets.clone().into());
        });
        world.run(LONG);
        prop_assert_eq!(0, world.actors[1].requests);
    }
}

#[test]
fn a_response_to_another_sender_is_stray() {
    let mut world = pair(UDP, None);
    let txn = send(&mut world, simple("OPTIONS"));
    let sent = world.actors[0].sip.request(txn).unwrap().clone();
    let via = sent
        .header("Via")
        .unwrap()
        .replace("192.0.2.1", "192.0.2.9");
    let foreign = Builder::response(&sent, 200, "R", Some("b"))
        .finish()
        .edit()
        .set("Via", &via)
        .finish();
    world.act(1, |_, _, out| {
        out.datagram(RefPoint::Mw, A.parse().unwrap(), foreign.bytes().clone());
    });
    world.run(Duration::from_millis(20));
    assert!(matches!(
        world.actors[0].heard[..],
        [SipEvent::Stray { .. }]
    ));
}
