use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;

use super::{super::testbed, *};
use crate::{
    node::{
        edge_server, origin_server,
        testbed::{Bed, Cast},
    },
    proto::file_transfer::{Answered, Offer, Setup as Side, Wanted},
    spec::Architecture,
    wire::{
        frame::{Frame, LinkId},
        http,
        msrp::{self, Flag},
        ppstp,
        sdp::FileSelector,
        sip::Builder,
    },
};

const CTRL: &str = "198.51.100.20";

fn cast() -> [Cast; 7] {
    use crate::spec::{Format::*, RefPoint::*};
    let cast = |name, role, ip, listens, user, holds| Cast {
        name,
        role,
        ip,
        listens,
        user,
        holds,
    };
    const EDGE: &[(RefPoint, Format, u16)] =
        &[(Cdn, Http, 8081), (Data, Msrp, 7777), (Data, Http, 8080)];
    const CONTROLLER: &[(RefPoint, Format, u16)] = &[
        (Gm, Sip, 5070),
        (Data, Msrp, 7777),
        (Data, Http, 8080),
        (Cdn, Http, 8081),
    ];
    [
        cast(
            "ue-a",
            Role::Ue,
            "192.0.2.10",
            &[(Data, Msrp, 2855)],
            None,
            &[],
        ),
        cast(
            "p-cscf",
            Role::PCscf,
            "192.0.2.1",
            &[(Gm, Sip, 5060)],
            None,
            &[],
        ),
        cast(
            "tracker",
            Role::Tracker,
            "203.0.113.40",
            &[(Dedicated, Http, 8444)],
            None,
            &[],
        ),
        cast(
            "ctrl",
            Role::Controller,
            CTRL,
            CONTROLLER,
            Some("controller.cdn1"),
            &[],
        ),
        cast("es-1", Role::EdgeServer, "198.51.100.21", EDGE, None, &[2]),
        cast("es-2", Role::EdgeServer, "198.51.100.22", EDGE, None, &[3]),
        cast(
            "os-1",
            Role::OriginServer,
            "198.51.100.30",
            EDGE,
            None,
            &[1, 2, 3],
        ),
    ]
}

/// The tracker takes everything.
fn takes(frame: &Frame) -> Option<Bytes> {
    let request = http::Request::parse(frame.bytes.clone()).ok()?;
    let reading = ppstp::read_request(&request.body(), ppstp::Profile::Grammar).ok()?;
    let answer = ppstp::Response::ok(&reading.message.transaction_id, Vec::new());
    let response = http::Response::build(200).body(ppstp::MEDIA_TYPE, answer.to_json());
    Some(response.finish().bytes().clone())
}

struct Stage {
    bed: Bed,
    gm: LinkId,
}

impl Stage {
    fn new(delivery: Delivery) -> Stage {
        Stage::with(delivery, |_| {})
    }

    fn with(delivery: Delivery, change: impl FnOnce(&mut Setup)) -> Stage {
        let mut bed = Bed::new(&cast(), Architecture::Unregistered, delivery);
        change(&mut bed.setup);
        bed.node("ctrl", build);
        bed.node("es-1", edge_server::build);
        bed.node("es-2", edge_server::build);
        bed.node("os-1", origin_server::build);
        bed.script("tracker", takes);
        let gm = bed.open("p-cscf", RefPoint::Gm, Format::Sip, "198.51.100.20:5070");
        Stage { bed, gm }
    }

    /// Sends over Gm; the answers other than 100.
    fn sip(&mut self, request: Message) -> Vec<Message> {
        let gm = self.gm;
        let came = self.bed.send("p-cscf", gm, request.bytes().clone());
        answers(came)
    }

    fn pass(&mut self, by: Duration) -> Vec<Message> {
        let before = self.bed.seen.len();
        self.bed.pass(by);
        answers(self.bed.came_to("p-cscf", before))
    }

    /// Pulls the first accepted piece as the UE would.
    fn pull(&mut self, offer: &Offer, answer: &Message) -> Bytes {
        let session = Session::parse(&answer.body_bytes()).unwrap();
        let judged = offer.judge(&session).unwrap();
        let (leg, peer) = offer
            .legs
            .iter()
            .zip(&judged)
            .find_map(|(leg, answered)| match answered {
                Answered::Accepted { peer, .. } => Some((leg, peer[0].clone())),
                _ => None,
            })
            .unwrap();
        let to = peer.addr().unwrap().to_string();
        let link = self.bed.open("ue-a", RefPoint::Data, Format::Msrp, &to);
        let greeting = msrp::Builder::request("tx42", "SEND")
            .header("To-Path", &peer.to_string())
            .header("From-Path", &leg.local.to_string())
            .header("Message-ID", "m1")
            .header("Byte-Range", "1-0/0")
            .finish(Flag::Complete);
        let came = self.bed.send("ue-a", link, greeting);
        let chunks = came
            .into_iter()
            .filter_map(|b| msrp::Message::parse(b).ok()?.body());
        Bytes::from(chunks.collect::<Vec<_>>().concat())
    }

    fn announced(&self) -> Vec<String> {
        let requests = self
            .bed
            .came_to("tracker", 0)
            .into_iter()
            .filter_map(|bytes| {
                let request = http::Request::parse(bytes).ok()?;
                let message = ppstp::read_request(&request.body(), ppstp::Profile::Grammar)
                    .ok()?
                    .message;
                Some(match message.body {
                    ppstp::Body::Connect(connect) => {
                        let action = &connect.swarm_action[0];
                        let pieces = action.cds.as_ref().map(|cds| format!("{:?}", cds.pieces));
                        format!("{} {}", action.action.word(), pieces.unwrap_or_default())
                    }
                    ppstp::Body::StatReport(report) => {
                        let stat = report.stat.first().and_then(|stat| stat.cds.as_ref());
                        format!("STAT {:?}", stat.map(|cds| cds.pieces.clone()))
                    }
                    ppstp::Body::Find(_) => "FIND".to_owned(),
                })
            });
        requests.collect()
    }

    fn get(&mut self, to: &str, target: &str, range: &str) -> http::Response {
        let link = self.bed.open("ue-a", RefPoint::Data, Format::Http, to);
        let request = http::Request::build("GET", target)
            .header("Range", range)
            .finish();
        let came = self.bed.send("ue-a", link, request.bytes().clone());
        http::Response::parse(came[0].clone()).unwrap()
    }
}

fn answers(came: Vec<Bytes>) -> Vec<Message> {
    let read = came
        .into_iter()
        .filter_map(|bytes| Message::parse(bytes).ok());
    read.filter(|message| message.status() != Some(100))
        .collect()
}

fn offer(pieces: &[u64]) -> Offer {
    let content = testbed::content();
    let wanted: Vec<Wanted> = pieces
        .iter()
        .map(|n| Wanted {
            selector: FileSelector {
                name: Some(content.swarm.clone()),
                size: Some(3000),
                hashes: vec![("sha-1".to_owned(), content.sha1.to_vec())],
                ..FileSelector::default()
            },
            octets: Octets::new((n - 1) * 1000, 1000).unwrap(),
        })
        .collect();
    let local: SocketAddr = "192.0.2.10:2855".parse().unwrap();
    Offer::pull(local, &wanted, Side::Active, &mut Random::new(3))
}

fn request(method: &str, seq: u32, to_tag: Option<&str>) -> Builder {
    let to = match to_tag {
        Some(tag) => format!("<sip:controller.cdn1@ims.example>;tag={tag}"),
        None => "<sip:controller.cdn1@ims.example>".to_owned(),
    };
    let branch = if method == "CANCEL" { "INVITE" } else { method };
    let via = format!("SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK{seq}{branch}");
    Builder::request(method, "sip:198.51.100.20:5070;transport=tcp")
        .header("Via", &via)
        .header("Max-Forwards", "65")
        .header("Record-Route", "<sip:pcscf1.ims.example;lr>")
        .header("From", "<sip:ue-a@ims.example>;tag=a1")
        .header("To", &to)
        .header("Call-ID", "c1")
        .header("CSeq", &format!("{seq} {method}"))
        .header("Contact", "<sip:192.0.2.10:5070;transport=tcp>")
}

fn invite(offer: &Offer) -> Message {
    request("INVITE", 1, None)
        .body("application/sdp", &offer.session.to_bytes())
        .finish()
}

fn bye(answer: &Message) -> Message {
    let to = answer.to().unwrap();
    request("BYE", 2, to.tag()).finish()
}

#[test]
fn edges_serve_what_they_hold_and_are_told_when_it_is_over() {
    let mut stage = Stage::new(Delivery::Delegate);
    let offer = offer(&[2, 3]);
    let answered = stage.sip(invite(&offer));

    assert_eq!(Some(200), answered[0].status());
    let text = String::from_utf8_lossy(answered[0].bytes()).into_owned();
    assert!(text.contains("c=IN IP4 198.51.100.21") && text.contains("c=IN IP4 198.51.100.22"));
    assert!(!text.contains("es-1") && !text.contains(":8081"), "{text}");
    assert_eq!(
        testbed::content().bytes.slice(1000..2000),
        stage.pull(&offer, &answered[0])
    );

    assert_eq!(Some(200), stage.sip(bye(&answered[0]))[0].status());
    let ended = |name: &str| stage.bed.lines_to(name, 1);
    assert_eq!(vec!["POST", "DELETE"], ended("es-2"));
    assert!(stage.bed.lines_to("es-1", 1).contains(&"DELETE".to_owned()));
    assert!(stage.bed.lines_to("os-1", 1).is_empty());
}

#[test]
fn the_edge_is_told_who_will_come() {
    let mut stage = Stage::new(Delivery::Delegate);
    stage.sip(invite(&offer(&[2])));
    let post = http::Request::parse(stage.bed.came_to("es-1", 0)[0].clone()).unwrap();
    let asked = crate::wire::cdn_session::SessionRequest::parse(&post.body()).unwrap();
    assert_eq!("192.0.2.10".parse::<IpAddr>(), Ok(asked.client));
    assert_eq!((1000, 1000), (asked.first, asked.len));
    assert!(!String::from_utf8_lossy(&post.body()).contains("sip:"));
}

#[test]
fn a_relaying_controller_shows_nothing_of_its_edges() {
    let mut stage = Stage::new(Delivery::Relay);
    let offer = offer(&[2]);
    let answered = stage.sip(invite(&offer));
    let text = String::from_utf8_lossy(answered[0].bytes()).into_owned();

    assert!(!text.contains("198.51.100.21"), "{text}");
    assert!(text.contains("msrp://198.51.100.20:7777/"));
    assert_eq!(
        testbed::content().bytes.slice(1000..2000),
        stage.pull(&offer, &answered[0])
    );
}

#[test]
fn a_silent_edge_is_replaced_by_the_origin() {
    let mut stage = Stage::new(Delivery::Delegate);
    stage.bed.act("es-1", &Action::Stop);
    let offer = offer(&[2]);
    assert!(stage.sip(invite(&offer)).is_empty());
    let answered = stage.pass(Duration::from_secs(3));
    assert_eq!(Some(200), answered[0].status());
    assert_eq!(
        testbed::content().bytes.slice(1000..2000),
        stage.pull(&offer, &answered[0])
    );
}

#[test]
fn each_way_to_fail_has_its_status() {
    fn says(status: u16) -> Option<Bytes> {
        Some(http::Response::build(status).finish().bytes().clone())
    }
    let alone = |script: testbed::Script| {
        let mut stage = Stage::new(Delivery::Delegate);
        stage.bed.script("es-1", script);
        stage.bed.script("os-1", |_| says(404));
        let mut answered = stage.sip(invite(&offer(&[2])));
        answered.extend(stage.pass(Duration::from_secs(5)));
        answered[0].status()
    };
    assert_eq!(Some(504), alone(|_| None));
    assert_eq!(Some(486), alone(|_| says(409)));
    assert_eq!(Some(480), alone(|_| says(500)));
    assert_eq!(Some(488), alone(|_| says(404)));
    assert_eq!(
        Some(480),
        alone(|_| Some(Bytes::from_static(b"garbage\r\n\r\n")))
    );
}

#[test]
fn what_only_the_origin_holds_is_fetched_by_an_edge_and_announced_then() {
    let mut stage = Stage::new(Delivery::Delegate);
    let announce = Action::Announce {
        content: "three-pieces".to_owned(),
        pieces: vec![2, 3],
    };
    stage.bed.act("ctrl", &announce);
    let offer = offer(&[1]);
    let answered = stage.sip(invite(&offer));

    assert_eq!(Some(200), answered[0].status());
    assert!(String::from_utf8_lossy(answered[0].bytes()).contains("198.51.100.21"));
    assert_eq!(vec!["GET"], stage.bed.lines_to("os-1", 1));
    assert_eq!(
        testbed::content().bytes.slice(0..1000),
        stage.pull(&offer, &answered[0])
    );
    let announced = stage.announced();
    assert!(
        announced[0].starts_with("JOIN") && !announced[0].contains('1'),
        "{announced:?}"
    );
    assert!(
        announced[1].starts_with("STAT") && announced[1].contains('1'),
        "{announced:?}"
    );
}

#[test]
fn an_evicted_piece_is_withdrawn_and_refused() {
    let mut stage = Stage::with(Delivery::Delegate, |_| {});
    let announce = Action::Announce {
        content: "three-pieces".to_owned(),
        pieces: vec![2, 3],
    };
    stage.bed.act("ctrl", &announce);
    let drop = |pieces| Action::Drop {
        content: "three-pieces".to_owned(),
        pieces,
    };
    stage.bed.act("es-2", &drop(vec![3]));
    let announced = stage.announced();
    assert!(
        announced[1].starts_with("STAT") && !announced[1].contains('3'),
        "{announced:?}"
    );
}

#[test]
fn a_cancelled_call_frees_the_edge_that_agrees_too_late() {
    let mut stage = Stage::new(Delivery::Delegate);
    stage.bed.script("es-1", |_| None);
    assert!(stage.sip(invite(&offer(&[2]))).is_empty());
    let cancelled = stage.sip(request("CANCEL", 1, None).finish());
    let statuses: Vec<_> = cancelled.iter().filter_map(Message::status).collect();
    assert_eq!(vec![200, 487], statuses);

    let (_, post) = stage
        .bed
        .seen
        .iter()
        .find(|(name, _)| name == "es-1")
        .unwrap();
    let link = post.link.unwrap();
    let body = r#"{"session":"s1","msrp":{"path":"msrp://198.51.100.21:7777/x;tcp"}}"#;
    let agreed = http::Response::build(201)
        .body("application/json", body)
        .finish();
    stage.bed.send("es-1", link, agreed.bytes().clone());
    assert_eq!(vec!["POST", "DELETE"], stage.bed.lines_to("es-1", 1));
}

#[test]
fn a_direct_request_is_sent_on_to_an_edge_once() {
    let mut stage = Stage::new(Delivery::Redirect);
    let sent_on = stage.get(
        "198.51.100.20:8080",
        "/content/movie-0001",
        "bytes=1000-1999",
    );
    assert_eq!(302, sent_on.status());
    let url = sent_on.header("Location").unwrap();
    let target = url.strip_prefix("http://198.51.100.21:8080").unwrap();

    assert_eq!(
        403,
        stage
            .get("198.51.100.21:8080", target, "bytes=1000-1998")
            .status()
    );
    assert_eq!(
        403,
        stage
            .get(
                "198.51.100.21:8080",
                "/content/movie-0001",
                "bytes=1000-1999"
            )
            .status()
    );
    let piece = stage.get("198.51.100.21:8080", target, "bytes=1000-1999");
    assert_eq!(206, piece.status());
    assert_eq!(&testbed::content().bytes[1000..2000], &*piece.body());
    assert_eq!(
        403,
        stage
            .get("198.51.100.21:8080", target, "bytes=1000-1999")
            .status()
    );
    assert_eq!(
        416,
        stage
            .get("198.51.100.20:8080", "/content/movie-0001", "bytes=3000-")
            .status()
    );
    assert_eq!(
        404,
        stage
            .get("198.51.100.20:8080", "/content/other", "bytes=0-1")
            .status()
    );
}

#[test]
fn a_direct_request_may_be_relayed() {
    let mut stage = Stage::new(Delivery::Relay);
    let piece = stage.get(
        "198.51.100.20:8080",
        "/content/movie-0001",
        "bytes=1000-1999",
    );
    assert_eq!(206, piece.status());
    assert_eq!(Some("bytes 1000-1999/3000"), piece.header("Content-Range"));
    assert_eq!(&testbed::content().bytes[1000..2000], &*piece.body());
    assert_eq!(vec!["POST", "GET", "DELETE"], stage.bed.lines_to("es-1", 1));
}

#[test]
fn an_edge_that_gives_too_little_is_passed_over() {
    let mut stage = Stage::with(Delivery::Relay, |setup| {
        setup.policy.serving.octets_withheld = 1;
    });
    let refused = stage.sip(invite(&offer(&[2])));
    assert_eq!(Some(480), refused[0].status());
    assert_eq!(vec!["POST", "GET", "DELETE"], stage.bed.lines_to("os-1", 1));
}
