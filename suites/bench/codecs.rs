//! How fast the pure functions are that every message passes, and the nodes that most of them pass: criterion,
//! one core, no sockets.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use peerproof::{
    io::{Input, Outbox, Output},
    node::{
        self, Node,
        tracking_list::{Asker, Rules, TrackingList},
    },
    run::{self, Casting},
    suite::{Instance, Names, Suite},
    time::At,
    trace::EventKind,
    wire::{
        frame::Frame,
        ppstp::{
            Action, ActionCds, Body, Connect, Find, Manifest, ManifestPiece, PeerAddr, PeerMode,
            PeerNum, PeerRole, Profile, Request, Stat, StatCds, StatReport, SwarmAction,
            read_request,
        },
        sip::Message,
    },
};

const INVITE: &[u8] = include_bytes!("../../fixtures/messages/invite-on-mw.sip");

fn sip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sip");
    group.throughput(Throughput::Elements(1));
    group.bench_function("parse and serialise an IMS INVITE", |bencher| {
        let mut out = Vec::with_capacity(4096);
        bencher.iter(|| {
            let message = Message::parse(Bytes::copy_from_slice(black_box(INVITE))).expect("valid");
            out.clear();
            out.extend_from_slice(message.bytes());
            black_box(&out);
        });
    });
    group.bench_function(
        "proxy step: Via, Route, Record-Route, Max-Forwards",
        |bencher| {
            bencher.iter(|| {
                let message =
                    Message::parse(Bytes::copy_from_slice(black_box(INVITE))).expect("valid");
                let forwarded = message
                    .edit()
                    .pop("Route")
                    .prepend(
                        "Via",
                        "SIP/2.0/TCP icscf1.ims.example:5060;branch=z9hG4bKx1;rport",
                    )
                    .prepend("Record-Route", "<sip:icscf1.ims.example:5060;lr>")
                    .set("Max-Forwards", "66")
                    .finish();
                black_box(forwarded.bytes().len())
            });
        },
    );
    group.finish();
}

/// The Tracking List with one swarm of 200 peers, or 10 000 swarms of two.
fn tracking_list(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tracking list");
    group.throughput(Throughput::Elements(1));
    for (name, swarms, peers) in [
        ("200 peers in a swarm", 1, 200),
        ("10000 swarms", 10_000, 2),
    ] {
        let mut list = list(swarms, peers);
        let asker = asker("user-0-0");
        let find = Request {
            transaction_id: "1".to_owned(),
            peer_id: "peer-0-0".to_owned(),
            body: Body::Find(Find {
                swarm_id: "swarm-0".to_owned(),
                peer_num: Some(PeerNum::at_most(10)),
            }),
        };
        group.bench_function(format!("find 10 peers, {name}"), |bencher| {
            bencher.iter(|| black_box(list.answer(At::ZERO, &asker, black_box(&find))));
        });
        let mut updates = (0u64..).map(|number| report(number, &[1, 2][..1 + number as usize % 2]));
        group.bench_function(format!("update a peer's pieces, {name}"), |bencher| {
            bencher.iter_batched(
                || updates.next().expect("numbers never end"),
                |update| black_box(list.answer(At::ZERO, &asker, &update)),
                BatchSize::SmallInput,
            );
        });
        let text = find.to_json();
        group.bench_function(format!("read a FIND, answer, write, {name}"), |bencher| {
            bencher.iter(|| {
                let read =
                    read_request(black_box(text.as_bytes()), Profile::default()).expect("valid");
                black_box(list.answer(At::ZERO, &asker, &read.message).to_json())
            });
        });
    }
    group.finish();
}

fn list(swarms: usize, peers: usize) -> TrackingList {
    let mut list = TrackingList::new(Rules::default(), 7);
    for swarm in 0..swarms {
        let pieces = (1..=3).map(|n| ManifestPiece {
            n,
            first: u64::from(n - 1) * 65_536,
            len: 65_536,
            sha256: [n as u8; 32],
        });
        let manifest = Manifest {
            size: 3 * 65_536,
            pieces: pieces.collect(),
            ..Manifest::default()
        };
        let swarm_id = format!("swarm-{swarm}");
        list.provision(&swarm_id, manifest).expect("it covers");
        for peer in 0..peers {
            let connect = Request {
                transaction_id: "0".to_owned(),
                peer_id: format!("peer-{swarm}-{peer}"),
                body: Body::Connect(Connect {
                    peer_num: None,
                    peer_addr: vec![PeerAddr::host(([192, 0, 2, 1], 2855).into(), 10)],
                    swarm_action: vec![SwarmAction {
                        swarm_id: swarm_id.clone(),
                        action: Action::Join,
                        peer_mode: PeerMode::Leech,
                        cds: Some(ActionCds {
                            pieces: [1].into_iter().collect(),
                            ..ActionCds::default()
                        }),
                    }],
                }),
            };
            let owner = asker(&format!("user-{swarm}-{peer}"));
            list.answer(At::ZERO, &owner, &connect);
        }
    }
    assert_eq!(swarms * peers, list.len());
    list
}

fn asker(name: &str) -> Asker {
    Asker {
        is_qualified: true,
        owner: name.into(),
        role: PeerRole::User,
        identities: vec![format!("sip:{name}@ims.example")],
        seen: None,
    }
}

fn report(number: u64, pieces: &[u32]) -> Request {
    Request {
        transaction_id: number.to_string(),
        peer_id: "peer-0-0".to_owned(),
        body: Body::StatReport(StatReport {
            stat: vec![Stat {
                swarm_id: "swarm-0".to_owned(),
                cds: Some(StatCds {
                    pieces: pieces.iter().copied().collect(),
                    ..StatCds::default()
                }),
                ..Stat::default()
            }],
        }),
    }
}

/// Whole nodes, from a frame in to the frames out.
fn nodes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("node");
    group.throughput(Throughput::Elements(1));
    let tracker = Replayed::new(
        "common/tracker-protocol/finds-the-other-peers-of-a-swarm",
        "tracker",
    );
    let find = tracker.last("FIND");
    group.bench_function(
        "tracker: a FIND over HTTP, parsed and answered",
        |bencher| {
            let (mut node, mut out) = tracker.ready(find);
            bencher.iter(|| {
                answered(
                    &mut *node,
                    black_box(tracker.frame(find)),
                    "HTTP/1.1 200 ",
                    &mut out,
                )
            });
        },
    );
    let proxy = Replayed::new(
        "registered/step-3-piece-request/asks-through-the-p-cscf",
        "p-cscf",
    );
    let invite = proxy.first("INVITE ");
    group.bench_function("p-cscf: an INVITE from a UE, forwarded", |bencher| {
        bencher.iter_custom(|times| proxy.timed(invite, times));
    });
    group.finish();
}

/// What one node was told in a run, to be told again.
struct Replayed {
    suite: Suite,
    instance: Instance,
    name: &'static str,
    events: Vec<EventKind>,
}

/// The place of a frame among what was told.
#[derive(Clone, Copy)]
struct Place(usize);

impl Replayed {
    fn new(scenario: &str, name: &'static str) -> Replayed {
        let suite = Suite::embedded(Names::default()).expect("the suites have no mistakes");
        let scenario = suite.scenario(scenario).expect("it is in the suites");
        let instance = Instance::of(scenario, 0).swap_remove(0);
        let trace = run::play(&suite, &instance, Casting::default()).trace;
        let is_told = |kind: &EventKind| match kind {
            EventKind::Received(frame) => frame.to.is(name),
            EventKind::Link { node, .. } => node.as_str() == name,
            _ => false,
        };
        let events = trace.events.into_iter().map(|event| event.kind);
        Replayed {
            events: events.filter(is_told).collect(),
            suite,
            instance,
            name,
        }
    }

    fn first(&self, word: &str) -> Place {
        let place = self.events.iter().position(|kind| holds(kind, word));
        Place(place.expect("the scenario has one"))
    }

    fn last(&self, word: &str) -> Place {
        let place = self.events.iter().rposition(|kind| holds(kind, word));
        Place(place.expect("the scenario has one"))
    }

    fn frame(&self, place: Place) -> &Frame {
        match &self.events[place.0] {
            EventKind::Received(frame) => frame,
            _ => unreachable!("a place is found by the octets of a frame"),
        }
    }

    /// The node as it stood before that frame.
    fn ready(&self, place: Place) -> (Box<dyn Node>, Outbox) {
        let setups = run::setups(&self.suite, &self.instance);
        let setup = setups
            .into_iter()
            .find(|setup| setup.name.as_str() == self.name);
        let mut node = node::build(setup.expect("it is in the topology")).expect("it is ours");
        let mut out = Outbox::default();
        node.handle(At::ZERO, Input::Start, &mut out);
        for kind in &self.events[..place.0] {
            match kind {
                EventKind::Received(frame) => node.handle(At::ZERO, Input::Frame(frame), &mut out),
                EventKind::Link { link, event, .. } => {
                    node.handle(At::ZERO, Input::Link(*link, event.clone()), &mut out);
                }
                _ => {}
            }
        }
        out.drain();
        (node, out)
    }

    /// How long that request takes, so many times, each as a transaction of its own. A node keeps
    /// transactions until its timers end them, so a fresh one takes its place now and then.
    fn timed(&self, place: Place, times: u64) -> Duration {
        let request = self.frame(place);
        let text = String::from_utf8(request.bytes.to_vec()).expect("SIP is text");
        let branch = Message::parse(request.bytes.clone())
            .and_then(|message| message.top_via())
            .ok()
            .and_then(|via| via.branch().map(str::to_owned))
            .expect("a request has a branch");
        let mut took = Duration::ZERO;
        let mut done = 0;
        while done < times {
            let round = ROUND.min(times - done);
            let frames: Vec<Frame> = (0..round)
                .map(|number| Frame {
                    bytes: text
                        .replace(&branch, &format!("z9hG4bKbench{number}"))
                        .into(),
                    ..request.clone()
                })
                .collect();
            let (mut node, mut out) = self.ready(place);
            let began = Instant::now();
            for frame in &frames {
                answered(&mut *node, black_box(frame), "INVITE ", &mut out);
            }
            took += began.elapsed();
            done += round;
        }
        took
    }
}

fn holds(kind: &EventKind, word: &str) -> bool {
    match kind {
        EventKind::Received(frame) => {
            let text = String::from_utf8_lossy(&frame.bytes);
            text.contains(word)
        }
        _ => false,
    }
}

/// Hands over a frame; a message that begins so must come of it.
fn answered(node: &mut dyn Node, frame: &Frame, start: &str, out: &mut Outbox) {
    node.handle(At::ZERO, Input::Frame(frame), out);
    let begins = |output: &Output| match black_box(output) {
        Output::Send { bytes, .. } => bytes.starts_with(start.as_bytes()),
        _ => false,
    };
    let is_there = out.drain().filter(begins).count() > 0;
    assert!(is_there, "no {start} came of {frame:?}");
}

/// Requests to one node before a fresh one takes its place.
const ROUND: u64 = 512;

criterion_group!(benches, sip, tracking_list, nodes);
criterion_main!(benches);
