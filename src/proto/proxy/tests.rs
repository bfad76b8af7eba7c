use proptest::prelude::*;

use super::*;
use crate::{
    io::Input,
    proto::{
        endpoint::{SipPort, SipTransport, Timers},
        harness::{Actor, World},
    },
};

const A: &str = "192.0.2.1:5060";
const P: &str = "192.0.2.2:5060";
const B: &str = "192.0.2.3:5060";
const C: &str = "192.0.2.4:5060";
const LONG: Duration = Duration::from_secs(2000);

/// What an agent does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Answers(u16),
    Rings,
    Silent,
}

/// A user agent, or a proxy that sends to every address in `hops` at once, or one after the other if
/// `patient`.
struct Party {
    sip: SipEndpoint,
    manner: Manner,
    proxy: Option<Proxy<Vec<SocketAddr>>>,
    hops: Vec<SocketAddr>,
    patient: bool,
    heard: Vec<u16>,
    failed: usize,
    asked: Vec<Message>,
    acks: usize,
}

fn party(addr: &str, manner: Manner) -> Party {
    let port = SipPort {
        on: RefPoint::Mw,
        local: addr.parse().unwrap(),
        transport: SipTransport::Udp,
        path_mtu: Some(9000),
        timers: Timers::CORE,
    };
    Party {
        sip: SipEndpoint::new(vec![port], u64::from(addr.as_bytes()[8])),
        manner,
        proxy: None,
        hops: Vec::new(),
        patient: false,
        heard: Vec::new(),
        failed: 0,
        asked: Vec::new(),
        acks: 0,
    }
}

fn proxy(addr: &str, hops: &[&str]) -> Party {
    let mut party = party(addr, Manner::Silent);
    party.sip = party.sip.trying_after(Duration::ZERO);
    party.proxy = Some(Proxy::new(7));
    party.hops = hops.iter().map(|hop| hop.parse().unwrap()).collect();
    party
}

impl Party {
    fn proxied(&mut self, at: At, event: SipEvent, out: &mut Outbox) {
        let Some(proxy) = &mut self.proxy else {
            return self.heard(at, event, out);
        };
        match proxy.absorb(at, event, &mut self.sip, out) {
            Turn::Up(up) => {
                let next = match (self.patient, up.response.status()) {
                    (true, Some(300..)) => proxy.context_mut(up.server).and_then(Vec::pop),
                    _ => None,
                };
                match next {
                    Some(hop) => self.pass(at, up.server, hop, out),
                    None => proxy.reply(at, up.server, up.response, &mut self.sip, out),
                }
            }
            Turn::NotOurs(SipEvent::Request { txn, request, .. }) => {
                if let Err(refusal) = admit(&request, &[], "t") {
                    return self.sip.respond(at, txn, refusal, false, out);
                }
                let mut hops = self.hops.clone();
                hops.reverse();
                let now = match self.patient {
                    true => hops.pop().into_iter().collect(),
                    false => std::mem::take(&mut hops),
                };
                proxy.begin(txn, &request, hops);
                for hop in now {
                    self.pass(at, txn, hop, out);
                }
            }
            Turn::NotOurs(SipEvent::Ack { request, .. }) => {
                for hop in self.hops.clone() {
                    self.sip
                        .send_alone(at, RefPoint::Mw, hop, request.clone(), out);
                }
            }
            _ => {}
        }
    }

    fn pass(&mut self, at: At, txn: ServerTxn, hop: SocketAddr, out: &mut Outbox) {
        let request = self.sip.incoming(txn).unwrap();
        let hops = next_max_forwards(request);
        let edited = request.edit().set("Max-Forwards", &hops).finish();
        let proxy = self.proxy.as_mut().unwrap();
        proxy.forward(at, txn, RefPoint::Mw, hop, edited, &mut self.sip, out);
    }

    fn heard(&mut self, at: At, event: SipEvent, out: &mut Outbox) {
        match event {
            SipEvent::Request { txn, request, .. } => {
                let answer = |code| Builder::response(&request, code, "R", Some("b")).finish();
                match self.manner {
                    Manner::Answers(code) => self.sip.respond(at, txn, answer(code), true, out),
                    Manner::Rings => self.sip.respond(at, txn, answer(180), true, out),
                    Manner::Silent => {}
                }
                self.asked.push(request);
            }
            SipEvent::Cancelled { txn, .. } if self.manner == Manner::Rings => {
                let invite = self.sip.incoming(txn).unwrap();
                let response = Builder::response(invite, 487, "R", Some("b")).finish();
                self.sip.respond(at, txn, response, true, out);
            }
            SipEvent::Response { response, .. } => {
                let status = response.status().unwrap();
                self.heard.push(status);
                if response.method() == "INVITE" && (200..300).contains(&status) {
                    let to = response.header("To").unwrap().into_owned();
                    let ack = request("ACK", &to);
                    self.sip
                        .send_alone(at, RefPoint::Mw, P.parse().unwrap(), ack, out);
                }
            }
            SipEvent::Failed { .. } => self.failed += 1,
            SipEvent::Ack { .. } => self.acks += 1,
            _ => {}
        }
    }

    fn is_idle(&self) -> bool {
        self.sip.is_idle() && self.proxy.as_ref().is_none_or(Proxy::is_idle)
    }
}

impl Actor for Party {
    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        if let (Input::Timer(timer), Some(proxy)) = (&input, &mut self.proxy)
            && proxy.timer(at, *timer, &mut self.sip, out)
        {
            return;
        }
        for event in self.sip.take(at, &input, out).unwrap_or_default() {
            self.proxied(at, event, out);
        }
    }
}

fn request(method: &str, to: &str) -> Message {
    Builder::request(method, "sip:b@ims.example")
        .header("Max-Forwards", "70")
        .header("From", "<sip:a@ims.example>;tag=a")
        .header("To", to)
        .header("Call-ID", "c1")
        .header("CSeq", &format!("1 {method}"))
        .finish()
}

fn world(proxied: Party, peers: &[(&str, Manner)]) -> World<Party> {
    let mut world = World::new(3);
    world.add(A, false, party(A, Manner::Silent));
    world.add(P, false, proxied);
    for (addr, manner) in peers {
        world.add(addr, false, party(addr, *manner));
    }
    world
}

fn send(world: &mut World<Party>, request: Message) -> ClientTxn {
    let mut txn = None;
    world.act(0, |party, at, out| {
        let to = P.parse().unwrap();
        txn = Some(party.sip.send(at, RefPoint::Mw, to, request, out));
    });
    txn.unwrap()
}

fn outcome(manner: Manner, method: &str) -> (Vec<u16>, usize) {
    let mut world = world(proxy(P, &[B]), &[(B, manner)]);
    send(&mut world, request(method, "<sip:b@ims.example>"));
    world.run(LONG);
    assert!(world.actors[..2].iter().all(Party::is_idle));
    let caller = &mut world.actors[0];
    caller.heard.dedup(); // each copy of the request is answered 100 again
    (caller.heard.clone(), caller.failed)
}

#[test]
fn a_call_goes_through_and_is_acknowledged_end_to_end() {
    let mut world = world(proxy(P, &[B]), &[(B, Manner::Answers(200))]);
    send(&mut world, request("INVITE", "<sip:b@ims.example>"));
    world.run(LONG);
    assert_eq!(vec![100, 200], world.actors[0].heard);
    assert_eq!(1, world.actors[2].acks);
    let asked = &world.actors[2].asked[0];
    assert_eq!(2, asked.values("Via").len());
    assert_eq!(Ok(Some(69)), asked.number("Max-Forwards"));
    assert!(world.actors.iter().all(Party::is_idle));
}

#[test]
fn a_timeout_is_408_for_invite_and_silence_for_anything_else() {
    assert_eq!((vec![100, 408], 0), outcome(Manner::Silent, "INVITE"));
    assert_eq!((vec![100], 1), outcome(Manner::Silent, "MESSAGE"));
}

#[test]
fn a_received_408_is_not_passed_on_but_to_invite() {
    assert_eq!((vec![100, 408], 0), outcome(Manner::Answers(408), "INVITE"));
    assert_eq!((vec![100], 1), outcome(Manner::Answers(408), "MESSAGE"));
}

#[test]
fn a_sole_503_becomes_500() {
    assert_eq!((vec![100, 500], 0), outcome(Manner::Answers(503), "INVITE"));
    assert_eq!((vec![500], 0), outcome(Manner::Answers(503), "MESSAGE"));
}

#[test]
fn a_3xx_is_passed_on_not_followed() {
    assert_eq!((vec![302], 0), outcome(Manner::Answers(302), "MESSAGE"));
}

#[test]
fn timer_c_cancels_what_only_rings() {
    assert_eq!((vec![100, 180, 487], 0), outcome(Manner::Rings, "INVITE"));
}

#[test]
fn a_cancel_goes_downstream() {
    let mut world = world(proxy(P, &[B]), &[(B, Manner::Rings)]);
    let txn = send(&mut world, request("INVITE", "<sip:b@ims.example>"));
    world.run(Duration::from_secs(1));
    world.act(0, |party, at, out| party.sip.cancel(at, txn, out));
    world.run(Duration::from_secs(2));
    assert_eq!(vec![100, 180, 487], world.actors[0].heard);
    world.run(LONG);
    assert!(world.actors.iter().all(Party::is_idle));
}

#[test]
fn of_two_branches_the_best_answer_wins() {
    for (b, c, expected) in [
        (404, 480, 404),
        (500, 404, 404),
        (404, 603, 603),
        (401, 400, 401),
    ] {
        let peers = [(B, Manner::Answers(b)), (C, Manner::Answers(c))];
        let mut world = world(proxy(P, &[B, C]), &peers);
        send(&mut world, request("INVITE", "<sip:b@ims.example>"));
        world.run(LONG);
        assert_eq!(vec![100, expected], world.actors[0].heard);
        assert!(world.actors.iter().all(Party::is_idle));
    }
}

#[test]
fn a_2xx_cancels_the_other_branch() {
    let peers = [(B, Manner::Rings), (C, Manner::Answers(200))];
    let mut world = world(proxy(P, &[B, C]), &peers);
    send(&mut world, request("INVITE", "<sip:b@ims.example>"));
    world.run(LONG);
    assert!(world.actors[0].heard.ends_with(&[200]));
    assert!(world.actors.iter().all(Party::is_idle));
}

#[test]
fn a_role_may_try_the_next_hop() {
    let mut proxied = proxy(P, &[B, C]);
    proxied.patient = true;
    let peers = [(B, Manner::Answers(500)), (C, Manner::Answers(200))];
    let mut world = world(proxied, &peers);
    send(&mut world, request("MESSAGE", "<sip:b@ims.example>"));
    world.run(LONG);
    assert_eq!(vec![200], world.actors[0].heard);
    assert!(world.actors.iter().all(Party::is_idle));
}

#[test]
fn what_may_not_pass_is_refused() {
    let no_hops = request("MESSAGE", "<sip:b@ims.example>")
        .edit()
        .set("Max-Forwards", "0")
        .finish();
    let demanding = request("MESSAGE", "<sip:b@ims.example>")
        .edit()
        .set("Proxy-Require", "path, foo")
        .finish();
    assert_eq!(Some(483), admit(&no_hops, &[], "t").unwrap_err().status());
    let refusal = admit(&demanding, &["path"], "t").unwrap_err();
    assert_eq!(Some(420), refusal.status());
    assert_eq!(vec!["foo"], refusal.values("Unsupported"));
    assert!(admit(&demanding, &["path", "foo"], "t").is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn under_any_loss_a_request_through_a_proxy_ends_and_nothing_is_left(
        seed in any::<u64>(),
        loss in 0.0..0.9f64,
        status in prop::sample::select(vec![200u16, 302, 404, 486, 500, 503, 603]),
        method in prop::sample::select(vec!["INVITE", "MESSAGE"]),
        cancel in any::<bool>(),
    ) {
        let mut world = World::new(seed);
        world.loss = loss;
        world.add(A, false, party(A, Manner::Silent));
        world.add(P, false, proxy(P, &[B, C]));
        world.add(B, false, party(B, Manner::Answers(status)));
        world.add(C, false, party(C, Manner::Rings));
        let txn = send(&mut world, request(method, "<sip:b@ims.example>"));
        if cancel {
            world.act(0, |party, at, out| party.sip.cancel(at, txn, out));
        }
        world.run(LONG);
        let caller = &world.actors[0];
        let finals = caller.heard.iter().filter(|s| **s >= 200).count();
        prop_assert!(finals + caller.failed >= 1);
        prop_assert!(method == "INVITE" && status == 200 || finals + caller.failed == 1);
        prop_assert!(world.actors[1].is_idle(), "{:?}", world.actors[1].proxy);
        prop_assert!(world.actors[0].is_idle());
    }
}

#[test]
fn after_a_cancel_no_other_hop_is_tried() {
    let mut proxied = proxy(P, &[B, C]);
    proxied.patient = true;
    let peers = [(B, Manner::Rings), (C, Manner::Answers(200))];
    let mut world = world(proxied, &peers);
    let txn = send(&mut world, request("INVITE", "<sip:b@ims.example>"));
    world.run(Duration::from_secs(1));
    world.act(0, |party, at, out| party.sip.cancel(at, txn, out));
    world.run(LONG);
    assert_eq!(Some(&487), world.actors[0].heard.last());
    assert!(world.actors[3].asked.is_empty());
    assert!(world.actors.iter().all(Party::is_idle));
}
