//! For tests: reference nodes and scripted parties joined by streams that lose nothing, on virtual time.
//! A connection to nobody is refused.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::{
    Node, Setup,
    policy::Policy,
    setup::{Content, Directory, Neighbour, PieceOf, Subscriber},
};
use crate::{
    io::{Action, Input, LinkEvent, Outbox, Output, TimerId},
    random::derive,
    spec::{Architecture, Delivery, Format, Options, RefPoint, Role},
    time::At,
    trace::{ListenTransport, Listener},
    wire::frame::{Frame, Framer, LinkId, NodeName, Party, Security},
};

/// Answers a frame at once, or not.
pub type Script = fn(&Frame) -> Option<Bytes>;

/// A node as a test describes it: name, role, address, listeners, subscriber, pieces held.
pub struct Cast {
    pub name: &'static str,
    pub role: Role,
    pub ip: &'static str,
    pub listens: &'static [(RefPoint, Format, u16)],
    pub user: Option<&'static str>,
    pub holds: &'static [u32],
}

pub struct Bed {
    pub at: At,
    pub setup: Setup,
    members: Vec<Member>,
    queue: VecDeque<(usize, Happening)>,
    ends: BTreeMap<(usize, LinkId), End>,
    timers: BTreeMap<(At, usize, TimerId), ()>,
    accepted: u64,
    /// Every frame that arrived, with the name of the member it arrived at.
    pub seen: Vec<(String, Frame)>,
}

struct Member {
    name: String,
    ip: std::net::IpAddr,
    listeners: Vec<Listener>,
    out: Outbox,
    playing: Playing,
}

enum Playing {
    Node(Box<dyn Node>),
    Script(Script),
}

struct End {
    peer: (usize, LinkId),
    on: RefPoint,
    format: Format,
    remote: SocketAddr,
    framer: Framer,
}

enum Happening {
    Link(LinkId, LinkEvent),
    Octets(LinkId, Bytes),
}

/// A content of 3000 octets in three pieces.
pub fn content() -> Content {
    let bytes = Bytes::from((0..3000u32).map(|n| (n * 7) as u8).collect::<Vec<_>>());
    let pieces = [(1, 0u64, 1000u64), (2, 1000, 1000), (3, 2000, 1000)];
    let pieces = pieces.map(|(n, first, len)| PieceOf {
        n,
        first,
        len,
        sha256: Sha256::digest(&bytes[first as usize..(first + len) as usize]).into(),
    });
    Content {
        fixture: "three-pieces".to_owned(),
        swarm: "movie-0001".to_owned(),
        sha1: Sha1::digest(&bytes).into(),
        sha256: Sha256::digest(&bytes).into(),
        bytes,
        pieces: pieces.to_vec(),
    }
}

impl Bed {
    /// Everybody in the cast is known to everybody; nobody plays yet.
    pub fn new(cast: &[Cast], architecture: Architecture, delivery: Delivery) -> Bed {
        let mut directory = Directory {
            domain: "ims.example".to_owned(),
            tracker_psi: "sip:tracker@p2pcds.ims.example".to_owned(),
            ..Directory::default()
        };
        let mut members = Vec::new();
        let mut subscribers = Vec::new();
        for one in cast {
            let ip = one.ip.parse().expect("an address in a test");
            let listeners: Vec<Listener> = one
                .listens
                .iter()
                .map(|&(on, format, port)| Listener {
                    on,
                    format,
                    transport: ListenTransport::Tcp,
                    addr: SocketAddr::new(ip, port),
                })
                .collect();
            let is_cdn = matches!(
                one.role,
                Role::Controller | Role::EdgeServer | Role::OriginServer
            );
            let holds = vec![("three-pieces".to_owned(), one.holds.to_vec())];
            directory.nodes.insert(
                NodeName::new(one.name),
                Neighbour {
                    role: one.role,
                    host: format!("{}.example", one.name),
                    ip,
                    ports: None,
                    listeners: listeners.clone(),
                    impu: one.user.map(|user| format!("sip:{user}@ims.example")),
                    cdn: is_cdn.then(|| "cdn1".to_owned()),
                    holds,
                },
            );
            subscribers.extend(one.user.map(|user| Subscriber {
                id: user.to_owned(),
                impi: format!("{user}@private.ims.example"),
                impus: vec![format!("sip:{user}@ims.example")],
                password: "secret".to_owned(),
                k: [0; 16],
                opc: [0; 16],
                service: true,
                qualified: true,
                barred: false,
                may_register: true,
                aka: false,
                usim_sqn: 0,
            }));
            members.push(Member {
                name: one.name.to_owned(),
                ip,
                listeners,
                out: Outbox::default(),
                playing: Playing::Script(|_| None),
            });
        }
        let first = &cast[0];
        Bed {
            at: At::ZERO,
            setup: Setup {
                name: NodeName::new(first.name),
                role: first.role,
                seed: 0,
                ip: members[0].ip,
                listeners: Vec::new(),
                architecture,
                options: Options::default(),
                delivery,
                directory: Arc::new(directory),
                subscribers: Arc::new(subscribers),
                user: None,
                contents: Arc::new(vec![content()]),
                holds: Vec::new(),
                tls: false,
                trusts: crate::node::setup::PROVEN,
                path_mtu: BTreeMap::new(),
                policy: Policy::default(),
                token_key: b"a key between CDN nodes".to_vec(),
            },
            members,
            queue: VecDeque::new(),
            ends: BTreeMap::new(),
            timers: BTreeMap::new(),
            accepted: 1,
            seen: Vec::new(),
        }
    }

    /// What a member is told.
    pub fn setup_of(&self, name: &str) -> Setup {
        let directory = self.setup.directory.clone();
        let node = &directory.nodes[&NodeName::new(name)];
        let id = node.impu.as_ref().and_then(|impu| {
            let mut all = self.setup.subscribers.iter();
            all.find(|s| s.impus.contains(impu)).map(|s| s.id.clone())
        });
        Setup {
            name: NodeName::new(name),
            role: node.role,
            seed: derive(1, &[name]),
            ip: node.ip,
            listeners: node.listeners.clone(),
            user: id,
            holds: node.holds.clone(),
            ..self.setup.clone()
        }
    }

    /// A node plays a member.
    pub fn node(&mut self, name: &str, build: fn(Setup) -> Box<dyn Node>) {
        let node = build(self.setup_of(name));
        let who = self.who(name);
        self.members[who].playing = Playing::Node(node);
    }

    /// A script plays a member.
    pub fn script(&mut self, name: &str, script: Script) {
        let who = self.who(name);
        self.members[who].playing = Playing::Script(script);
    }

    pub fn act(&mut self, name: &str, action: &Action) {
        let who = self.who(name);
        self.feed(who, Input::Act(action));
        self.run();
    }

    /// A scripted member connects.
    pub fn open(&mut self, name: &str, on: RefPoint, format: Format, to: &str) -> LinkId {
        let who = self.who(name);
        let to = to.parse().expect("an address in a test");
        let security = crate::io::OpenSecurity::Plain;
        let link = self.members[who].out.open(on, format, to, security);
        self.run();
        link
    }

    /// A scripted member sends; the frames that came to it because of that.
    pub fn send(&mut self, name: &str, link: LinkId, bytes: Bytes) -> Vec<Bytes> {
        let who = self.who(name);
        let before = self.seen.len();
        self.members[who].out.send(link, bytes);
        self.run();
        self.came_to(name, before)
    }

    /// The frames that came to a member from the `from`th frame on.
    pub fn came_to(&self, name: &str, from: usize) -> Vec<Bytes> {
        let new = self.seen[from..].iter();
        new.filter(|(to, _)| to == name)
            .map(|(_, frame)| frame.bytes.clone())
            .collect()
    }

    /// First lines of what came to a member, shortened to `words` words.
    pub fn lines_to(&self, name: &str, words: usize) -> Vec<String> {
        let lines = self.came_to(name, 0).into_iter().map(|bytes| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let line = text.lines().next().unwrap_or_default().to_owned();
            let first: Vec<&str> = line.split(' ').take(words).collect();
            first.join(" ")
        });
        lines.collect()
    }

    /// Lets time pass, timers and all.
    pub fn pass(&mut self, by: Duration) {
        let until = self.at + by;
        while let Some((&(at, who, timer), ())) = self.timers.first_key_value() {
            if at > until {
                break;
            }
            self.timers.remove(&(at, who, timer));
            self.at = at;
            self.feed(who, Input::Timer(timer));
            self.run();
        }
        self.at = until;
    }

    fn who(&self, name: &str) -> usize {
        let found = self.members.iter().position(|member| member.name == name);
        found.expect("a member in a test")
    }

    fn feed(&mut self, who: usize, input: Input<'_>) {
        let member = &mut self.members[who];
        match &mut member.playing {
            Playing::Node(node) => node.handle(self.at, input, &mut member.out),
            Playing::Script(script) => {
                if let Input::Frame(frame) = input
                    && let (Some(answer), Some(link)) = (script(frame), frame.link)
                {
                    member.out.send(link, answer);
                }
            }
        }
    }

    fn run(&mut self) {
        loop {
            for who in 0..self.members.len() {
                let outputs: Vec<Output> = self.members[who].out.drain().collect();
                for output in outputs {
                    self.carry(who, output);
                }
            }
            let Some((who, happening)) = self.queue.pop_front() else {
                return;
            };
            match happening {
                Happening::Link(link, event) => self.feed(who, Input::Link(link, event)),
                Happening::Octets(link, bytes) => self.deliver(who, link, &bytes),
            }
        }
    }

    fn deliver(&mut self, who: usize, link: LinkId, bytes: &[u8]) {
        let Some(end) = self.ends.get_mut(&(who, link)) else {
            return;
        };
        let mut frames = Vec::new();
        end.framer.feed(bytes);
        while let Ok(Some(bytes)) = end.framer.next_message() {
            frames.push((bytes, true));
        }
        if end.framer.is_broken() {
            frames.push((end.framer.leftover(), false));
        }
        let (on, format, src) = (end.on, end.format, end.remote);
        for (bytes, framed) in frames {
            let dst = SocketAddr::new(self.members[who].ip, 0);
            let frame = Frame {
                from: Party::Unknown(src),
                to: Party::Unknown(dst),
                src,
                dst,
                on,
                format,
                link: Some(link),
                security: Security::Plain,
                bytes,
                framed,
            };
            self.seen
                .push((self.members[who].name.clone(), frame.clone()));
            self.feed(who, Input::Frame(&frame));
        }
    }

    fn carry(&mut self, who: usize, output: Output) {
        match output {
            Output::Open {
                link,
                on,
                format,
                to,
                ..
            } => self.connect(who, link, on, format, to),
            Output::Send { link, bytes } => {
                if let Some(end) = self.ends.get(&(who, link)) {
                    let (other, link) = end.peer;
                    self.queue
                        .push_back((other, Happening::Octets(link, bytes)));
                }
            }
            Output::Close { link, .. } => {
                if let Some(end) = self.ends.remove(&(who, link)) {
                    let closed = Happening::Link(end.peer.1, LinkEvent::Closed);
                    self.queue.push_back((end.peer.0, closed));
                }
            }
            Output::Arm { timer, at } => {
                self.timers.retain(|&(_, w, t), ()| (w, t) != (who, timer));
                self.timers.insert((at, who, timer), ());
            }
            Output::Disarm(timer) => self.timers.retain(|&(_, w, t), ()| (w, t) != (who, timer)),
            Output::Datagram { .. } | Output::Note(_) => {}
        }
    }

    fn connect(&mut self, who: usize, link: LinkId, on: RefPoint, format: Format, to: SocketAddr) {
        let other = self.members.iter().position(|member| {
            let mut all = member.listeners.iter();
            all.any(|l| l.addr == to && l.format == format)
        });
        let Some(other) = other else {
            let refused = Happening::Link(link, LinkEvent::Refused);
            return self.queue.push_back((who, refused));
        };
        self.accepted += 2;
        let far = LinkId(self.accepted);
        let from = SocketAddr::new(self.members[who].ip, 40_000 + self.accepted as u16);
        let end = |peer, remote| End {
            peer,
            on,
            format,
            remote,
            framer: Framer::new(format),
        };
        self.ends.insert((who, link), end((other, far), to));
        self.ends.insert((other, far), end((who, link), from));
        let accepted = LinkEvent::Accepted {
            on,
            format,
            from,
            local: to,
            security: Security::Plain,
        };
        self.queue
            .push_back((other, Happening::Link(far, accepted)));
        let opened = Happening::Link(link, LinkEvent::Opened);
        self.queue.push_back((who, opened));
    }
}
