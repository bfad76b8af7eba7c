//! The UE alone, fed by hand: the test plays P-CSCF, Tracker AS and peers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    io::{LinkEvent, Output},
    node::setup::{Content, Directory, Neighbour, PieceOf, Subscriber},
    spec::{Architecture, Delivery, Options, Path, RequestPath},
    trace::{ListenTransport, Listener},
    wire::{
        frame::{Frame, LinkId, NodeName, Party, Security},
        http, msrp,
        ppstp::{
            self, Body, Manifest, ManifestPiece, PeerAddr, PeerCds, PeerInfo, Profile, Response,
            SwarmResult,
        },
        sdp::Session,
        sip::Builder,
    },
};

const WHOLE: &[u8] = b"the first piece,the second one, and all that is left of it";
const CUTS: [(u64, u64); 3] = [(0, 16), (16, 16), (32, 26)];
const SWARM: &str = "movie-0001";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn listener(on: RefPoint, format: Format, at: &str) -> Listener {
    Listener {
        on,
        format,
        transport: ListenTransport::Tcp,
        addr: addr(at),
    }
}

fn neighbour(role: Role, host: &str, listeners: Vec<Listener>) -> Neighbour {
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

fn piece(n: u32) -> &'static [u8] {
    let (first, len) = CUTS[n as usize - 1];
    &WHOLE[first as usize..(first + len) as usize]
}

fn content() -> Content {
    let pieces = (1..=3).map(|n| PieceOf {
        n,
        first: CUTS[n as usize - 1].0,
        len: CUTS[n as usize - 1].1,
        sha256: Sha256::digest(piece(n)).into(),
    });
    Content {
        fixture: "three-pieces".to_owned(),
        swarm: SWARM.to_owned(),
        bytes: Bytes::from_static(WHOLE),
        sha1: Sha1::digest(WHOLE).into(),
        sha256: Sha256::digest(WHOLE).into(),
        pieces: pieces.collect(),
    }
}

fn manifest() -> Manifest {
    let content = content();
    let pieces = content.pieces.iter().map(|piece| ManifestPiece {
        n: piece.n,
        first: piece.first,
        len: piece.len,
        sha256: piece.sha256,
    });
    Manifest {
        size: WHOLE.len() as u64,
        sha1: Some(content.sha1),
        sha256: content.sha256,
        pieces: pieces.collect(),
    }
}

pub(in crate::node) fn setup(options: Options) -> Setup {
    let gm = listener(RefPoint::Gm, Format::Sip, "192.0.2.1:5060");
    let ut = listener(RefPoint::Ut, Format::Http, "203.0.113.40:8443");
    let nodes = [
        (
            "p-cscf",
            neighbour(Role::PCscf, "pcscf1.ims.example", vec![gm]),
        ),
        (
            "tracker",
            neighbour(Role::Tracker, "tracker-as.ims.example", vec![ut]),
        ),
    ];
    Setup {
        name: "ue-a".into(),
        role: Role::Ue,
        seed: 7,
        ip: addr("192.0.2.10:0").ip(),
        listeners: vec![
            listener(RefPoint::Gm, Format::Sip, "192.0.2.10:5070"),
            listener(RefPoint::Data, Format::Msrp, "192.0.2.10:2855"),
            listener(RefPoint::Data, Format::Http, "192.0.2.10:8080"),
        ],
        architecture: Architecture::Registered,
        options,
        delivery: Delivery::Delegate,
        directory: Arc::new(Directory {
            hosts: BTreeMap::new(),
            nodes: nodes
                .into_iter()
                .map(|(name, neighbour)| (NodeName::new(name), neighbour))
                .collect(),
            domain: "ims.example".to_owned(),
            tracker_psi: "sip:tracker@p2pcds.ims.example".to_owned(),
        }),
        subscribers: Arc::new(vec![Subscriber {
            id: "ue-a".to_owned(),
            impi: "ue-a@private.ims.example".to_owned(),
            impus: vec!["sip:ue-a@ims.example".to_owned()],
            password: "secret".to_owned(),
            k: [1; 16],
            opc: [2; 16],
            service: true,
            qualified: true,
            barred: false,
            may_register: true,
            aka: false,
            usim_sqn: 0,
        }]),
        user: Some("ue-a".to_owned()),
        contents: Arc::new(vec![content()]),
        holds: Vec::new(),
        tls: false,
        trusts: crate::node::setup::PROVEN,
        path_mtu: BTreeMap::new(),
        policy: Default::default(),
        token_key: Vec::new(),
    }
}

fn options(peer_list: Path, request: RequestPath, status: Path) -> Options {
    Options {
        peer_list,
        request,
        status,
    }
}

/// What the UE sent on a stream.
#[derive(Clone, Debug)]
struct Sent {
    link: LinkId,
    on: RefPoint,
    to: SocketAddr,
    bytes: Bytes,
}

pub(in crate::node) struct Bench {
    ue: Ue,
    at: At,
    out: Outbox,
    links: BTreeMap<LinkId, (RefPoint, Format, SocketAddr)>,
    refuses: BTreeSet<SocketAddr>,
    timers: BTreeMap<TimerId, At>,
    sent: Vec<Sent>,
    notes: Vec<(String, String)>,
    serial: u32,
}

impl Bench {
    pub(in crate::node) fn new(setup: Setup) -> Bench {
        let mut bench = Bench {
            ue: Ue::new(setup),
            at: At::ZERO,
            out: Outbox::default(),
            links: BTreeMap::new(),
            refuses: BTreeSet::new(),
            timers: BTreeMap::new(),
            sent: Vec::new(),
            notes: Vec::new(),
            serial: 0,
        };
        bench.feed(Input::Start);
        bench
    }

    /// A UE that has registered.
    pub(in crate::node) fn registered(options: Options) -> Bench {
        let mut bench = Bench::new(setup(options));
        bench.register();
        bench
    }

    /// Registers; gives the SUBSCRIBE to the registration state that follows.
    pub(in crate::node) fn register(&mut self) -> Message {
        self.act(Action::Register);
        let register = self.sip("REGISTER").remove(0);
        self.answer(
            &register,
            200,
            &[
                ("Service-Route", "<sip:orig@scscf1.ims.example;lr>"),
                ("Expires", "600000"),
            ],
            None,
        );
        let watch = self.sip("SUBSCRIBE").remove(0);
        self.answer(&watch, 200, &[("Expires", "600000")], None);
        watch
    }

    fn feed(&mut self, input: Input<'_>) {
        self.ue.handle(self.at, input, &mut self.out);
        self.settle();
    }

    pub(in crate::node) fn act(&mut self, action: Action) {
        self.feed(Input::Act(&action));
    }

    fn settle(&mut self) {
        loop {
            let outputs: Vec<Output> = self.out.drain().collect();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                self.perform(output);
            }
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Open {
                link,
                on,
                format,
                to,
                ..
            } => {
                self.links.insert(link, (on, format, to));
                let event = match self.refuses.contains(&to) {
                    true => LinkEvent::Refused,
                    false => LinkEvent::Opened,
                };
                self.ue
                    .handle(self.at, Input::Link(link, event), &mut self.out);
            }
            Output::Send { link, bytes } => {
                let (on, _, to) = self.links[&link];
                self.sent.push(Sent {
                    link,
                    on,
                    to,
                    bytes,
                });
            }
            Output::Arm { timer, at } => {
                self.timers.insert(timer, at);
            }
            Output::Disarm(timer) => {
                self.timers.remove(&timer);
            }
            Output::Note(note) => self.notes.push((note.topic, note.text)),
            Output::Close { .. } | Output::Datagram { .. } => {}
        }
    }

    /// Lets time pass and timers fire.
    pub(in crate::node) fn pass(&mut self, time: Duration) {
        let until = self.at + time;
        while let Some((&timer, &at)) = self
            .timers
            .iter()
            .filter(|&(_, &at)| at <= until)
            .min_by_key(|&(_, &at)| at)
        {
            self.timers.remove(&timer);
            self.at = at;
            self.feed(Input::Timer(timer));
        }
        self.at = until;
    }

    pub(in crate::node) fn receive(&mut self, link: LinkId, bytes: Bytes) {
        let (on, format, src) = self.links[&link];
        let frame = Frame {
            from: Party::Unknown(src),
            to: Party::Node("ue-a".into()),
            src,
            dst: addr("192.0.2.10:40000"),
            on,
            format,
            link: Some(link),
            security: Security::Plain,
            bytes,
            framed: true,
        };
        self.feed(Input::Frame(&frame));
    }

    fn taken(&mut self, on: RefPoint) -> Vec<Sent> {
        let (taken, kept) = self.sent.drain(..).partition(|sent| sent.on == on);
        self.sent = kept;
        taken
    }

    /// Takes the requests of a method that went to the P-CSCF; others stay.
    pub(in crate::node) fn sip(&mut self, method: &str) -> Vec<Message> {
        let is_wanted = |sent: &Sent| {
            sent.on == RefPoint::Gm
                && Message::parse(sent.bytes.clone())
                    .is_ok_and(|m| m.is_request() && m.method() == method)
        };
        let (taken, kept): (Vec<Sent>, Vec<Sent>) = self.sent.drain(..).partition(is_wanted);
        self.sent = kept;
        let messages = taken.into_iter().map(|sent| Message::parse(sent.bytes));
        messages.map(|message| message.expect("SIP")).collect()
    }

    pub(in crate::node) fn gm(&self) -> LinkId {
        let mut links = self.links.iter();
        let gm = links.find(|(_, (on, ..))| *on == RefPoint::Gm);
        *gm.expect("a link on Gm").0
    }

    pub(in crate::node) fn answer(
        &mut self,
        request: &Message,
        status: u16,
        headers: &[(&str, &str)],
        body: Option<(&str, &[u8])>,
    ) {
        let mut builder = Builder::response(request, status, "", Some("far"));
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        if let Some((kind, body)) = body {
            builder = builder.body(kind, body);
        }
        let link = self.gm();
        self.receive(link, builder.finish().bytes().clone());
    }

    /// Takes the responses that went to the P-CSCF.
    pub(in crate::node) fn answers(&mut self) -> Vec<Message> {
        let sent = self.taken(RefPoint::Gm);
        let messages = sent
            .into_iter()
            .filter_map(|sent| Message::parse(sent.bytes).ok());
        messages.filter(|message| !message.is_request()).collect()
    }

    /// Answers the POST that waits, and takes it.
    fn ut(&mut self, status: u16, headers: &[(&str, &str)], body: &str) -> http::Request {
        let sent = self.taken(RefPoint::Ut).pop().expect("a POST on Ut");
        let mut builder = http::Response::build(status);
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        let response = builder.body(ppstp::MEDIA_TYPE, body.to_owned()).finish();
        self.receive(sent.link, response.bytes().clone());
        http::Request::parse(sent.bytes).expect("HTTP")
    }

    /// Answers the PPSTP request on Ut with a list.
    fn list(&mut self, peers: Vec<PeerInfo>) -> ppstp::Request {
        let waiting = self.sent.iter().find(|sent| sent.on == RefPoint::Ut);
        let post = waiting.expect("a POST on Ut").bytes.clone();
        let post = http::Request::parse(post).expect("HTTP");
        let request = read(&post.body());
        self.ut(200, &[], &listing(&request.transaction_id, peers));
        request
    }

    /// Accepts an INVITE and sends the octets it asks for.
    fn serve(&mut self, invite: &Message, serial: u16, octets: &[u8]) {
        let to = self.accept(invite, serial);
        self.pour(to, octets);
    }

    fn accept(&mut self, invite: &Message, serial: u16) -> SocketAddr {
        let offer = Session::parse(&Bytes::copy_from_slice(invite.body())).expect("SDP");
        let media = &offer.media[0];
        let line = |name: &str| media.attribute(name).expect("an attribute").to_owned();
        let to = addr(&format!("198.51.100.{serial}:7777"));
        let ip = to.ip();
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=message 7777 TCP/MSRP *\r\na=sendonly\r\na=setup:passive\r\n\
             a=path:msrp://{to}/session{serial};tcp\r\na=file-selector:{}\r\n\
             a=file-transfer-id:{}\r\na=file-range:{}\r\n",
            line("file-selector"),
            line("file-transfer-id"),
            line("file-range"),
        );
        let contact = format!("<sip:{ip}:5070;transport=tcp>");
        let headers = [
            ("Contact", contact.as_str()),
            ("Record-Route", "<sip:pcscf1.ims.example;lr>"),
        ];
        self.answer(
            invite,
            200,
            &headers,
            Some(("application/sdp", body.as_bytes())),
        );
        to
    }

    /// Answers the first SEND towards `to`, then sends the octets in one chunk.
    fn pour(&mut self, to: SocketAddr, octets: &[u8]) {
        let (hello, kept): (Vec<Sent>, Vec<Sent>) =
            self.sent.drain(..).partition(|sent| sent.to == to);
        self.sent = kept;
        let first = hello.first().expect("a SEND").clone();
        let greeting = msrp::Message::parse(first.bytes).expect("MSRP");
        assert_eq!(Some("SEND"), greeting.method());
        assert!(greeting.body().is_none_or(|body| body.is_empty()));
        let response = msrp::Builder::response(&greeting, 200, "OK").finish(msrp::Flag::Complete);
        self.receive(first.link, response);
        let path = |name: &str| greeting.header(name).expect("a path").to_owned();
        self.serial += 1;
        let length = octets.len();
        let send = msrp::Builder::request(&format!("tx{}abc", self.serial), "SEND")
            .header("To-Path", &path("From-Path"))
            .header("From-Path", &path("To-Path"))
            .header("Message-ID", "m1")
            .header("Byte-Range", &format!("1-{length}/{length}"))
            .body("application/octet-stream", octets.to_vec())
            .finish(msrp::Flag::Complete);
        self.receive(first.link, send);
    }

    pub(in crate::node) fn noted(&self, topic: &str) -> Vec<&str> {
        let notes = self.notes.iter().filter(|(known, _)| known == topic);
        notes.map(|(_, text)| text.as_str()).collect()
    }

    fn fetch(&mut self) {
        self.act(Action::Fetch {
            content: "three-pieces".to_owned(),
            shape: Shape::Separate,
        });
    }
}

fn read(body: &[u8]) -> ppstp::Request {
    ppstp::read_request(body, Profile::Grammar)
        .expect("a document by the grammar")
        .message
}

fn listing(transaction_id: &str, peers: Vec<PeerInfo>) -> String {
    let result = SwarmResult {
        swarm_id: SWARM.to_owned(),
        successful: true,
        peers: Some(peers.into_iter().map(Into::into).collect()),
        manifest: Some(manifest().into()),
    };
    Response::ok(transaction_id, vec![result]).to_json()
}

fn peer(name: &str, pieces: &[u32], priority: i64) -> PeerInfo {
    PeerInfo {
        peer_id: format!("urn:x:{name}"),
        peer_addr: PeerAddr::host(addr("198.51.100.9:7777"), priority),
        cds: Some(PeerCds {
            sip_uri: Some(format!("sip:{name}@ims.example")),
            url: Some(format!("http://198.51.100.9:8080/content/{name}")),
            pieces: pieces.iter().copied().collect(),
            role: None,
        }),
    }
}

fn three() -> Vec<PeerInfo> {
    vec![
        peer("ue-b", &[1], 10),
        peer("es-1", &[2], 20),
        peer("os-1", &[3], 5),
    ]
}

fn range(invite: &Message) -> String {
    let offer = Session::parse(&Bytes::copy_from_slice(invite.body())).expect("SDP");
    offer.media[0]
        .attribute("file-range")
        .expect("a range")
        .to_owned()
}

#[test]
fn the_whole_journey_through_ims() {
    let mut bench = Bench::registered(Options::default());
    bench.fetch();
    let join = bench.list(three());
    let Body::Connect(connect) = &join.body else {
        panic!("{join:?}, expected CONNECT");
    };
    assert_eq!(PeerMode::Leech, connect.swarm_action[0].peer_mode);

    let invites = bench.sip("INVITE");
    let asked: Vec<(&str, String)> = invites
        .iter()
        .map(|invite| (invite.request_uri().expect("a URI"), range(invite)))
        .collect();
    assert_eq!(
        vec![
            ("sip:ue-b@ims.example", "1-16".to_owned()),
            ("sip:es-1@ims.example", "17-32".to_owned()),
            ("sip:os-1@ims.example", "33-58".to_owned()),
        ],
        asked
    );
    assert_eq!(
        vec![
            "<sip:pcscf1.ims.example:5060;transport=tcp;lr>",
            "<sip:orig@scscf1.ims.example;lr>"
        ],
        invites[0].values("Route")
    );
    for (invite, n) in invites.iter().zip(1..) {
        bench.serve(invite, n, piece(u32::from(n)));
    }

    assert_eq!(3, bench.sip("ACK").len());
    assert_eq!(3, bench.sip("BYE").len());
    assert_eq!(1, bench.noted("assembled").len());
    let publish = bench.sip("PUBLISH").remove(0);
    assert_eq!(Some("sip:ue-a@ims.example"), publish.request_uri());
    let Body::StatReport(report) = read(publish.body()).body else {
        panic!("expected STAT_REPORT");
    };
    let cds = report.stat[0].cds.clone().expect("cds");
    assert_eq!(vec![1, 2, 3], cds.pieces.iter().collect::<Vec<_>>());
    assert!(cds.complete);
    assert_eq!(WHOLE.len() as u64, report.stat[0].downloaded_bytes);
}

#[test]
fn a_polluted_piece_is_refetched_elsewhere() {
    let mut bench = Bench::registered(Options::default());
    bench.fetch();
    bench.list(vec![
        peer("bad", &[1, 2, 3], 20),
        peer("good", &[1, 2, 3], 10),
    ]);
    let invites = bench.sip("INVITE");
    let mut wrong = piece(1).to_vec();
    wrong[0] ^= 1;
    bench.serve(&invites[0], 1, &wrong);
    let again = bench.sip("INVITE").remove(0);
    assert_eq!(Some("sip:good@ims.example"), again.request_uri());
    assert_eq!("1-16", range(&again));
    assert_eq!(1, bench.noted("corrupt").len());
    bench.serve(&again, 4, piece(1));
    bench.serve(&invites[1], 2, piece(2));
    bench.serve(&invites[2], 3, piece(3));
    assert_eq!(1, bench.noted("assembled").len());
}

#[test]
fn when_nobody_delivers_it_asks_anew_and_then_gives_up() {
    let mut bench = Bench::registered(Options::default());
    bench.fetch();
    bench.list(vec![peer("gone", &[1, 2, 3], 1)]);
    for finds in 0..3 {
        for invite in bench.sip("INVITE") {
            bench.answer(&invite, 480, &[], None);
        }
        bench.pass(Duration::from_secs(2));
        if finds < 2 {
            let find = bench.list(vec![peer("gone", &[1, 2, 3], 1)]);
            assert!(matches!(find.body, Body::Find(_)));
        }
    }
    let ends = bench.noted("gave-up");
    assert_eq!(1, ends.len());
    assert!(ends[0].starts_with("unavailable"), "{ends:?}");
    assert!(bench.sip("PUBLISH").is_empty());
}

#[test]
fn patience_that_is_asked_for_is_kept() {
    let mut bench = Bench::registered(Options::default());
    bench.fetch();
    bench.list(vec![peer("busy", &[1, 2, 3], 1)]);
    for invite in bench.sip("INVITE") {
        bench.answer(&invite, 503, &[("Retry-After", "30")], None);
    }
    for _ in 0..14 {
        bench.pass(Duration::from_secs(2));
        if bench.sent.iter().any(|sent| sent.on == RefPoint::Ut) {
            bench.list(vec![peer("busy", &[1, 2, 3], 1)]);
        }
        assert!(bench.sip("INVITE").is_empty());
    }
    bench.pass(Duration::from_secs(3));
    assert_eq!(3, bench.sip("INVITE").len());
}

#[test]
fn a_forbidden_user_is_told_so() {
    let mut bench = Bench::registered(options(Path::Ims, RequestPath::Ims, Path::Ims));
    bench.fetch();
    let subscribe = bench.sip("SUBSCRIBE").remove(0);
    bench.answer(&subscribe, 403, &[], None);
    assert!(bench.noted("gave-up")[0].starts_with("rejected"));
}

#[test]
fn a_list_comes_by_notify_and_whom_it_drops_is_not_asked() {
    let mut bench = Bench::registered(options(Path::Ims, RequestPath::Ims, Path::Ims));
    bench.fetch();
    let subscribe = bench.sip("SUBSCRIBE").remove(0);
    let join = read(subscribe.body());
    assert!(matches!(join.body, Body::Connect(_)));
    bench.answer(&subscribe, 200, &[("Expires", "3600")], None);

    let notify = |seq: u32, peers: Vec<PeerInfo>| {
        let from = subscribe.header("From").expect("From").into_owned();
        let call_id = subscribe.call_id().expect("Call-ID");
        Builder::request("NOTIFY", "sip:192.0.2.10:5070;transport=tcp")
            .header(
                "Via",
                &format!("SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKn{seq}"),
            )
            .header("Max-Forwards", "70")
            .header("From", "<sip:tracker@p2pcds.ims.example>;tag=far")
            .header("To", &from)
            .header("Call-ID", &call_id)
            .header("CSeq", &format!("{seq} NOTIFY"))
            .header("Contact", "<sip:tracker-as.ims.example>")
            .header("Event", "p2pcds-peers")
            .header("Subscription-State", "active;expires=3599")
            .body(
                ppstp::MEDIA_TYPE,
                listing(&join.transaction_id, peers).as_bytes(),
            )
            .finish()
    };
    let link = bench.gm();
    let first = notify(1, vec![peer("a", &[1], 9), peer("b", &[1, 2], 1)]);
    bench.receive(link, first.bytes().clone());
    let invites = bench.sip("INVITE");
    let asked: Vec<_> = invites.iter().map(|i| i.request_uri()).collect();
    assert_eq!(
        vec![Some("sip:a@ims.example"), Some("sip:b@ims.example")],
        asked
    );
    let second = notify(2, vec![peer("a", &[1], 9)]);
    bench.receive(link, second.bytes().clone());
    bench.answer(&invites[0], 486, &[], None);
    assert!(bench.sip("INVITE").is_empty());
}

#[test]
fn a_later_list_takes_the_place_of_the_first() {
    for (heeds, expected) in [(true, "sip:b@ims.example"), (false, "sip:a@ims.example")] {
        let mut setup = setup(Options::default());
        setup.policy.ue.heeds_later_lists = heeds;
        let mut bench = Bench::new(setup);
        bench.register();
        bench.act(Action::Ask {
            content: "three-pieces".to_owned(),
        });
        bench.list(vec![peer("a", &[1], 9), peer("b", &[1], 1)]);
        bench.fetch();
        bench.list(vec![peer("b", &[1], 1)]);
        let invite = bench.sip("INVITE").remove(0);
        assert_eq!(Some(expected), invite.request_uri());
    }
}

#[test]
fn straight_to_the_peer_with_range_and_one_redirection() {
    let mut bench = Bench::new(setup(options(Path::Ut, RequestPath::Direct, Path::Ut)));
    bench.fetch();
    bench.list(vec![peer("all", &[1, 2, 3], 1)]);
    let mut asked: Vec<(LinkId, http::Request)> = bench
        .taken(RefPoint::Data)
        .into_iter()
        .map(|sent| (sent.link, http::Request::parse(sent.bytes).expect("HTTP")))
        .collect();
    let ranges: Vec<_> = asked.iter().map(|(_, get)| get.header("Range")).collect();
    let expected = ["bytes=0-15", "bytes=16-31", "bytes=32-57"];
    assert_eq!(expected.map(Some).to_vec(), ranges);

    let moved = http::Response::build(302)
        .header("Location", "http://198.51.100.21:8080/x?token=t")
        .finish();
    let (link, _) = asked[0];
    bench.receive(link, moved.bytes().clone());
    let sent = bench.taken(RefPoint::Data).remove(0);
    assert_eq!(addr("198.51.100.21:8080"), sent.to);
    let get = http::Request::parse(sent.bytes).expect("HTTP");
    assert_eq!("/x?token=t", get.target());
    asked[0] = (sent.link, get);
    for ((link, _), n) in asked.iter().zip(1..) {
        let (first, len) = CUTS[n as usize - 1];
        let range = format!("bytes {first}-{}/{}", first + len - 1, WHOLE.len());
        let part = http::Response::build(206)
            .header("Content-Range", &range)
            .body("application/octet-stream", piece(n).to_vec())
            .finish();
        bench.receive(*link, part.bytes().clone());
    }
    assert_eq!(1, bench.noted("assembled").len());
    let post = bench.taken(RefPoint::Ut).remove(0);
    let post = http::Request::parse(post.bytes).expect("HTTP");
    assert!(matches!(read(&post.body()).body, Body::StatReport(_)));
    assert!(bench.sip("INVITE").is_empty());
}

#[test]
fn a_wrong_content_range_is_refused() {
    let mut bench = Bench::new(setup(options(Path::Ut, RequestPath::Direct, Path::Ut)));
    bench.fetch();
    bench.list(vec![peer("all", &[1], 1)]);
    let sent = bench.taken(RefPoint::Data).remove(0);
    let part = http::Response::build(206)
        .header("Content-Range", "bytes 1-16/58")
        .body("application/octet-stream", WHOLE[1..17].to_vec())
        .finish();
    bench.receive(sent.link, part.bytes().clone());
    assert_eq!(1, bench.noted("refused").len());
}

#[test]
fn garbage_on_ut_is_answered_with_the_same_request() {
    let mut bench = Bench::new(setup(Options::default()));
    bench.fetch();
    let first = bench.ut(200, &[], "{\"nonsense\": tru");
    bench.pass(Duration::from_secs(1));
    let waiting = bench.taken(RefPoint::Ut).remove(0);
    let second = http::Request::parse(waiting.bytes).expect("HTTP");
    assert_eq!(first.body(), second.body());
}

#[test]
fn a_challenge_on_ut_is_met_once() {
    let mut bench = Bench::new(setup(Options::default()));
    bench.fetch();
    let challenge =
        "Digest realm=\"p2pcds.ims.example\",nonce=\"n1\",algorithm=SHA-256,qop=\"auth\"";
    let first = bench.ut(401, &[("WWW-Authenticate", challenge)], "");
    assert!(!first.has("Authorization"));
    let second = bench.ut(401, &[("WWW-Authenticate", challenge)], "");
    let credentials = second.header("Authorization").expect("credentials");
    assert!(credentials.contains("nc=00000001"), "{credentials}");
    let last = bench.ut(401, &[("WWW-Authenticate", challenge)], "");
    assert!(last.has("Authorization"));
    assert!(bench.noted("gave-up")[0].starts_with("rejected"));
}

#[test]
fn a_holder_publishes_a_connect_and_keeps_it_alive() {
    let mut bench = Bench::registered(Options::default());
    bench.act(Action::Announce {
        content: "three-pieces".to_owned(),
        pieces: vec![1],
    });
    let publish = bench.sip("PUBLISH").remove(0);
    let Body::Connect(connect) = read(publish.body()).body else {
        panic!("expected CONNECT");
    };
    assert_eq!(PeerMode::Seeder, connect.swarm_action[0].peer_mode);
    bench.answer(
        &publish,
        200,
        &[("SIP-ETag", "e1"), ("Expires", "120")],
        None,
    );
    bench.pass(Duration::from_secs(59));
    assert!(bench.sip("PUBLISH").is_empty());
    bench.pass(Duration::from_secs(2));
    let refresh = bench.sip("PUBLISH").remove(0);
    assert_eq!(Some("e1"), refresh.header("SIP-If-Match").as_deref());
    assert!(refresh.body().is_empty());
}

#[test]
fn what_does_not_come_from_the_p_cscf_is_ignored() {
    let mut bench = Bench::registered(Options::default());
    bench.fetch();
    bench.list(vec![peer("a", &[1], 1)]);
    let invite = bench.sip("INVITE").remove(0);
    let busy = Builder::response(&invite, 486, "", Some("x")).finish();
    let frame = Frame {
        from: Party::Unknown(addr("198.51.100.66:5060")),
        to: Party::Node("ue-a".into()),
        src: addr("198.51.100.66:5060"),
        dst: addr("192.0.2.10:5070"),
        on: RefPoint::Gm,
        format: Format::Sip,
        link: None,
        security: Security::Plain,
        bytes: busy.bytes().clone(),
        framed: true,
    };
    bench.feed(Input::Frame(&frame));
    assert_eq!(1, bench.ue.calls.values().filter(|c| !c.is_over()).count());
}

#[test]
fn a_stopped_ue_says_nothing() {
    let mut bench = Bench::registered(Options::default());
    bench.act(Action::Stop);
    bench.fetch();
    bench.pass(Duration::from_secs(1000));
    assert!(bench.taken(RefPoint::Ut).is_empty());
}

#[test]
fn the_same_seed_gives_the_same_octets() {
    let octets = || {
        let mut bench = Bench::registered(Options::default());
        bench.fetch();
        bench.list(three());
        bench
            .sent
            .iter()
            .map(|s| s.bytes.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(octets(), octets());
}

#[test]
fn every_lawful_policy_assembles_the_content() {
    for seed in 0..40 {
        let mut setup = setup(Options::default());
        setup.policy = crate::node::policy::Policy::draw(&mut Random::new(seed));
        let mut bench = Bench::new(setup);
        bench.register();
        bench.fetch();
        bench.list(three());
        for serial in 1..=3 {
            let waiting = bench.sip("INVITE");
            for (invite, extra) in waiting.iter().zip(0..) {
                let n = match invite.request_uri() {
                    Some("sip:ue-b@ims.example") => 1,
                    Some("sip:es-1@ims.example") => 2,
                    _ => 3,
                };
                bench.serve(invite, serial * 10 + extra, piece(n));
            }
        }
        assert_eq!(1, bench.noted("assembled").len(), "seed {seed}");
    }
}
