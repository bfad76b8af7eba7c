//! Real sockets on real time, one clock: UDP, TCP and TLS through tokio on one thread. Every task does no more
//! than carry octets between a socket and the one queue that [`Sockets::next`] reads.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::{
        Notify, Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::AbortHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    Arrival, Faults, Map, NetError, Stillness, Tap, Transport, Wake,
    fault::Fate,
    tap::Datagram,
    tls::{self, Tls},
};
use crate::{
    io::{LinkEvent, OpenSecurity, Output, TimerId},
    spec::{Format, RefPoint, Worth},
    time::At,
    trace::{CastNode, Event, EventKind, ListenTransport},
    wire::frame::{Frame, Framer, LinkId, NodeName, Party, Security},
};

/// The sockets of one run.
pub struct Sockets {
    began: Instant,
    map: Map,
    tap: Tap,
    faults: Faults,
    tls: Option<Tls>,
    /// Nodes that somebody else plays.
    foreign: Vec<NodeName>,
    datagrams: BTreeMap<(NodeName, RefPoint), Arc<UdpSocket>>,
    links: BTreeMap<(NodeName, LinkId), Link>,
    accepted: BTreeMap<NodeName, u64>,
    timers: BTreeMap<(NodeName, TimerId), At>,
    due: BTreeMap<(At, NodeName, TimerId), ()>,
    still: BTreeMap<NodeName, Stillness>,
    /// The port each node left from last, where it has few.
    left_from: BTreeMap<NodeName, u16>,
    /// Connections to silent nodes that the kernel made.
    dark: Vec<Stream>,
    listeners: Vec<(NodeName, AbortHandle)>,
    arriving: UnboundedReceiver<Arriving>,
    post: UnboundedSender<Arriving>,
    room: Arc<Semaphore>,
    ready: std::collections::VecDeque<(NodeName, Arrival)>,
}

/// A network of loopback addresses or ports that no other run has while this lives.
#[derive(Debug)]
pub struct Claim {
    _socket: std::net::UdpSocket,
}

impl Claim {
    /// An error if somebody else has it, or if the machine has no such address.
    pub fn stake(addr: SocketAddr) -> Result<Claim, NetError> {
        let socket = std::net::UdpSocket::bind(addr).map_err(|why| NetError::Socket {
            what: "cannot claim the network",
            addr,
            why,
        })?;
        Ok(Claim { _socket: socket })
    }
}

/// Whether the machine has the loopback address of IPv6.
pub fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((std::net::Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// An error if somebody listens there, or nobody can.
pub fn is_free(listener: &crate::trace::Listener) -> Result<(), NetError> {
    let addr = listener.addr;
    let bound = match listener.transport {
        ListenTransport::Udp => std::net::UdpSocket::bind(addr).map(drop),
        ListenTransport::Tcp | ListenTransport::Tls => std::net::TcpListener::bind(addr).map(drop),
    };
    bound.map_err(|why| NetError::Socket {
        what: "nobody can listen",
        addr,
        why,
    })
}

/// Lets real time pass; what arrives meanwhile is kept.
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// What a task saw on a socket.
enum Arriving {
    Datagram {
        to: NodeName,
        on: RefPoint,
        format: Format,
        local: SocketAddr,
        from: SocketAddr,
        bytes: Bytes,
    },
    Accepted {
        to: NodeName,
        on: RefPoint,
        format: Format,
        local: SocketAddr,
        from: SocketAddr,
        stream: Stream,
    },
    /// Somebody connected, but not in a way that could be protected.
    NotAccepted {
        to: NodeName,
        on: RefPoint,
        why: String,
    },
    Opened {
        node: NodeName,
        link: LinkId,
        stream: Stream,
    },
    NotOpened {
        node: NodeName,
        link: LinkId,
        event: LinkEvent,
    },
    Octets {
        node: NodeName,
        link: LinkId,
        bytes: Bytes,
    },
    Ended {
        node: NodeName,
        link: LinkId,
        event: LinkEvent,
    },
}

impl Arriving {
    /// The room it took in the queue.
    fn room(&self) -> usize {
        match self {
            Arriving::Datagram { bytes, .. } | Arriving::Octets { bytes, .. } => {
                bytes.len() + ROOM_EACH
            }
            Arriving::Accepted { .. } | Arriving::NotAccepted { .. } => ROOM_EACH,
            Arriving::Opened { .. } | Arriving::NotOpened { .. } | Arriving::Ended { .. } => 0,
        }
    }
}

/// A connection that stands, and what protects it.
struct Stream {
    halves: Halves,
    security: Security,
    /// Where it leaves from.
    local: Option<SocketAddr>,
    /// To end it without a word, whoever holds the halves.
    spare: OwnedFd,
}

type Halves = (
    Box<dyn AsyncRead + Send + Unpin>,
    Box<dyn AsyncWrite + Send + Unpin>,
);

impl Stream {
    fn plain(stream: TcpStream) -> io::Result<Stream> {
        let (spare, local) = Stream::lay_hold_of(&stream)?;
        // Unlike the halves of TCP's own, these say nothing to the other end when they are let go.
        let (read, write) = tokio::io::split(stream);
        Ok(Stream {
            halves: (Box::new(read), Box::new(write)),
            security: Security::Plain,
            local,
            spare,
        })
    }

    /// `security` says who the client is, where the other end is one.
    fn protected(
        stream: tokio_rustls::TlsStream<TcpStream>,
        security: Security,
    ) -> io::Result<Stream> {
        let (spare, local) = Stream::lay_hold_of(stream.get_ref().0)?;
        let (read, write) = tokio::io::split(stream);
        Ok(Stream {
            halves: (Box::new(read), Box::new(write)),
            security,
            local,
            spare,
        })
    }

    /// A second hold on a connection, and where it leaves from.
    fn lay_hold_of(stream: &TcpStream) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        // Small messages must not wait for each other; a socket without the option still works.
        let _ = stream.set_nodelay(true);
        let spare = stream.as_fd().try_clone_to_owned()?;
        Ok((spare, stream.local_addr().ok()))
    }

    /// Ends it as a process that dies: whatever is on its way is lost.
    fn break_off(self) {
        let _ = end_without_a_word(&self.spare);
    }
}

/// The next close of the last descriptor resets the connection.
fn end_without_a_word(socket: &OwnedFd) -> rustix::io::Result<()> {
    rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))
}

/// One end of a connection that is ours.
struct Link {
    on: RefPoint,
    format: Format,
    local: SocketAddr,
    remote: SocketAddr,
    security: Security,
    framer: Framer,
    writer: UnboundedSender<Write>,
    /// What was sent before the connection stood.
    waiting: Option<UnboundedReceiver<Write>>,
    /// What is to be sent once it is protected: before that it has not crossed.
    unprotected: Option<Vec<Bytes>>,
    tasks: Vec<AbortHandle>,
    carried: usize,
}

enum Write {
    /// No sooner than then: the network is slow.
    Octets(Bytes, Instant),
    /// In order.
    Close,
    /// Without a word; the node asked for it, and hears no more.
    Abort,
    /// Without a word; the node hears of it as of any other trouble.
    Cut,
}

/// What the two tasks of a connection tell each other.
#[derive(Default)]
struct Trouble {
    /// Writing failed: the system tells one side only, and the other sees an end in order.
    broken: AtomicBool,
    cut: Notify,
}

/// A connection attempt that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Octets read at once.
const READ_SIZE: usize = 64 << 10;
/// Octets that may wait in the queue: who sends more waits, as the kernel's own buffers have it.
const ROOM: usize = 8 << 20;
/// What something in the queue takes beyond its octets.
const ROOM_EACH: usize = 256;
/// Connections at a time; who wants more is turned away, and whoever does nothing else is not waited for.
const MOST_LINKS: usize = 512;
/// Octets of messages that are not whole yet, over all connections; more are delivered as they are.
const MOST_WAITING: usize = 32 << 20;
/// How long to wait when the system gives out no more descriptors.
const BREATH: Duration = Duration::from_millis(20);

/// Waits until something of `octets` may be put into the queue. Whoever takes it out gives the room back.
async fn take_room(room: &Semaphore, octets: usize) {
    let wanted = u32::try_from(octets + ROOM_EACH).unwrap_or(u32::MAX);
    // The room is never closed.
    if let Ok(permit) = room.acquire_many(wanted).await {
        permit.forget();
    }
}

impl Sockets {
    /// Binds every listener of the nodes that are ours. Without `tls`, connections that ought to be protected are
    /// plain. Must be called inside a tokio runtime.
    pub fn bind(
        nodes: &[CastNode],
        ours: impl Fn(&CastNode) -> bool,
        faults: Faults,
        tls: Option<Tls>,
    ) -> Result<Sockets, NetError> {
        let (post, arriving) = unbounded_channel();
        let mut sockets = Sockets {
            began: Instant::now(),
            map: Map::new(nodes),
            tap: Tap::default(),
            faults,
            tls,
            foreign: Vec::new(),
            datagrams: BTreeMap::new(),
            links: BTreeMap::new(),
            accepted: BTreeMap::new(),
            timers: BTreeMap::new(),
            due: BTreeMap::new(),
            still: BTreeMap::new(),
            left_from: BTreeMap::new(),
            dark: Vec::new(),
            listeners: Vec::new(),
            arriving,
            post,
            room: Arc::new(Semaphore::new(ROOM)),
            ready: std::collections::VecDeque::new(),
        };
        for node in nodes {
            if !ours(node) {
                sockets.foreign.push(node.name.clone());
                continue;
            }
            for listener in &node.listeners {
                let bound = match listener.transport {
                    ListenTransport::Udp => sockets.listen_udp(node, listener),
                    ListenTransport::Tcp => sockets.listen_tcp(node, listener, None),
                    ListenTransport::Tls => {
                        let acceptor = sockets.tls.as_ref().map(|tls| tls.acceptor(&node.name));
                        let acceptor = acceptor.transpose()?;
                        sockets.listen_tcp(node, listener, acceptor)
                    }
                };
                bound.map_err(|why| NetError::Socket {
                    what: "cannot listen",
                    addr: listener.addr,
                    why,
                })?;
            }
        }
        Ok(sockets)
    }

    /// The same sockets, where others were found to be elsewhere than was thought.
    pub fn with_map(mut self, map: Map) -> Sockets {
        self.map = map;
        self
    }

    fn listen_udp(&mut self, node: &CastNode, listener: &crate::trace::Listener) -> io::Result<()> {
        let socket = std::net::UdpSocket::bind(listener.addr)?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        self.datagrams
            .insert((node.name.clone(), listener.on), socket.clone());
        let room = self.room.clone();
        let (post, to, on, format, local) = (
            self.post.clone(),
            node.name.clone(),
            listener.on,
            listener.format,
            listener.addr,
        );
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                // An earlier datagram that nobody took is reported here: it says nothing of this socket.
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
                    tokio::time::sleep(BREATH).await;
                    continue;
                };
                take_room(&room, length).await;
                let bytes = Bytes::copy_from_slice(&buffer[..length]);
                let arriving = Arriving::Datagram {
                    to: to.clone(),
                    on,
                    format,
                    local,
                    from,
                    bytes,
                };
                if post.send(arriving).is_err() {
                    break;
                }
            }
        });
        self.listeners
            .push((node.name.clone(), task.abort_handle()));
        Ok(())
    }

    fn listen_tcp(
        &mut self,
        node: &CastNode,
        listener: &crate::trace::Listener,
        acceptor: Option<TlsAcceptor>,
    ) -> io::Result<()> {
        let socket = match listener.addr {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(listener.addr)?;
        let accepting: TcpListener = socket.listen(1024)?;
        let secure = acceptor.zip(self.tls.clone());
        let room = self.room.clone();
        let (post, to, on, format, local) = (
            self.post.clone(),
            node.name.clone(),
            listener.on,
            listener.format,
            listener.addr,
        );
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, from)) = accepting.accept().await else {
                    tokio::time::sleep(BREATH).await;
                    continue;
                };
                take_room(&room, 0).await;
                let (post, to) = (post.clone(), to.clone());
                let arrived = move |accepted: Result<Stream, String>| match accepted {
                    Ok(stream) => Arriving::Accepted {
                        to,
                        on,
                        format,
                        local,
                        from,
                        stream,
                    },
                    Err(why) => Arriving::NotAccepted { to, on, why },
                };
                let Some((acceptor, tls)) = secure.clone() else {
                    let accepted = Stream::plain(stream).map_err(|why| why.to_string());
                    if post.send(arrived(accepted)).is_err() {
                        break;
                    }
                    continue;
                };
                // One that is slow to agree holds up nobody else.
                tokio::spawn(async move {
                    let accepted = accept(&acceptor, &tls, stream).await;
                    let _ = post.send(arrived(accepted));
                });
            }
        });
        self.listeners
            .push((node.name.clone(), task.abort_handle()));
        Ok(())
    }

    fn datagram(
        &mut self,
        from: &NodeName,
        on: RefPoint,
        dst: SocketAddr,
        bytes: Bytes,
    ) -> Result<(), NetError> {
        let socket = self
            .datagrams
            .get(&(from.clone(), on))
            .cloned()
            .ok_or_else(|| NetError::NoListener {
                node: from.clone(),
                on,
            })?;
        let (src, format) =
            self.map
                .datagram_listener(from, on)
                .ok_or_else(|| NetError::NoListener {
                    node: from.clone(),
                    on,
                })?;
        let frame = Frame {
            from: self.map.party(src),
            to: self.map.party(dst),
            src,
            dst,
            on,
            format,
            link: None,
            security: Security::Plain,
            bytes,
            framed: true,
        };
        self.tap.record(self.now(), EventKind::Sent(frame.clone()));
        match self.faults.datagram(on, frame.bytes.len()) {
            Fate::Lost => self.tap.record(self.now(), EventKind::Lost(frame)),
            Fate::Delivered { delays, corrupt } => {
                let mut octets = frame.bytes.to_vec();
                if let Some((octet, mask)) = corrupt {
                    octets[octet] ^= mask;
                }
                for delay in delays {
                    let (socket, octets) = (socket.clone(), octets.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        // A datagram that the kernel refuses is a lost datagram: nobody promised more.
                        let _ = socket.send_to(&octets, dst).await;
                    });
                }
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        from: &NodeName,
        link: LinkId,
        on: RefPoint,
        format: Format,
        to: SocketAddr,
        security: OpenSecurity,
    ) -> Result<(), NetError> {
        let ip = self
            .map
            .ip(from)
            .ok_or_else(|| NetError::UnknownNode { node: from.clone() })?;
        let ports = self.ports_to_leave_from(from);
        let listening = self.map.listening(to, Datagram::No);
        let (on, format) = listening.map_or((on, format), |l| (l.on, l.format));
        let now = self.now();
        self.tap.opening(now, from, on, self.map.party(to));
        let (connector, security) = self.connector(ip, security, to)?;
        let protection = security.clone();
        let (writer, waiting) = unbounded_channel();
        let (post, node) = (self.post.clone(), from.clone());
        // Bound at once: what is sent before the connection stands has its port already.
        let (bound, ports) = match ports[..] {
            [] => (bound_to(SocketAddr::new(ip, 0)), ports),
            [first, ..] => (bound_to(SocketAddr::new(ip, first)), ports[1..].to_vec()),
        };
        let local = bound
            .as_ref()
            .ok()
            .and_then(|socket| socket.local_addr().ok());
        let local = local.unwrap_or(SocketAddr::new(ip, 0));
        // The kernel would answer in the name of a node whose power is cut.
        let is_dark =
            listening.is_some_and(|there| self.still.get(&there.node) == Some(&Stillness::Silent));
        let task = tokio::spawn(async move {
            let connecting = async {
                match is_dark {
                    true => std::future::pending().await,
                    false => connect(bound, ip, ports, to).await,
                }
            };
            let opening = async {
                let stream = connecting.await.map_err(|why| not_opened(&why))?;
                match connector {
                    None => Stream::plain(stream).map_err(|why| not_opened(&why)),
                    Some(connector) => connect_securely(&connector, to, protection, stream).await,
                }
            };
            let arriving = match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
                Ok(Ok(stream)) => Arriving::Opened { node, link, stream },
                Ok(Err(event)) => Arriving::NotOpened { node, link, event },
                Err(_) => Arriving::NotOpened {
                    node,
                    link,
                    event: LinkEvent::TimedOut,
                },
            };
            // A closed queue means that the run is over.
            let _ = post.send(arriving);
        });
        self.links.insert(
            (from.clone(), link),
            Link {
                on,
                format,
                local,
                remote: to,
                unprotected: (security != Security::Plain).then(Vec::new),
                security,
                framer: Framer::new(format),
                writer,
                waiting: Some(waiting),
                tasks: vec![task.abort_handle()],
                carried: 0,
            },
        );
        Ok(())
    }

    /// What protects a connection that is opened so, and what it will be protected by.
    fn connector(
        &self,
        ip: IpAddr,
        security: OpenSecurity,
        to: SocketAddr,
    ) -> Result<(Option<TlsConnector>, Security), NetError> {
        let (Some(tls), OpenSecurity::Tls { client, trusts }) = (&self.tls, security) else {
            return Ok((None, Security::Plain));
        };
        let there = self.map.party(to);
        // Somebody else's server is not held to an authority that it has never heard of.
        let is_foreign = there.node().is_none_or(|node| self.foreign.contains(node));
        let trusts = match is_foreign && !tls.is_shared() {
            true => Worth::ALL,
            false => trusts,
        };
        let shown = client.as_ref().map(|identity| (identity, ip));
        let connector = tls.connector(shown, trusts)?;
        Ok((Some(connector), Security::Tls { client }))
    }

    /// The ports to leave from, in the order in which to try them; none means any.
    fn ports_to_leave_from(&mut self, node: &NodeName) -> Vec<u16> {
        let Some((first, last)) = self.map.free_ports(node) else {
            return Vec::new();
        };
        let next = self.left_from.entry(node.clone()).or_insert(last);
        *next = if *next < last { *next + 1 } else { first };
        (*next..=last).chain(first..*next).collect()
    }

    fn send(&mut self, from: &NodeName, link: LinkId, bytes: Bytes) {
        let now = self.now();
        let Some(held) = self.links.get_mut(&(from.clone(), link)) else {
            return;
        };
        if let Some(kept) = &mut held.unprotected {
            return kept.push(bytes);
        }
        let fate = self.faults.stream(held.on, held.carried);
        held.carried += bytes.len();
        let frame = Frame {
            from: Party::Node(from.clone()),
            to: self.map.party(held.remote),
            src: held.local,
            dst: held.remote,
            on: held.on,
            format: held.format,
            link: Some(link),
            security: held.security.clone(),
            bytes: bytes.clone(),
            framed: true,
        };
        self.tap.record(now, EventKind::Sent(frame));
        let due = Instant::now() + fate.delay;
        let mut rest = bytes;
        while !rest.is_empty() {
            let part = rest.split_to(fate.split.unwrap_or(rest.len()).clamp(1, rest.len()));
            // A writer that is gone means a connection that is gone: its end is on its way here.
            let _ = held.writer.send(Write::Octets(part, due));
        }
        if fate.cut_after.is_some_and(|limit| held.carried > limit) {
            let _ = held.writer.send(Write::Cut);
        }
    }

    fn close(&mut self, from: &NodeName, link: LinkId, abort: bool) {
        match abort {
            false => {
                if let Some(held) = self.links.get(&(from.clone(), link)) {
                    let _ = held.writer.send(Write::Close);
                }
            }
            true => {
                if let Some(held) = self.links.remove(&(from.clone(), link)) {
                    let _ = held.writer.send(Write::Abort);
                    held.tasks.iter().for_each(AbortHandle::abort);
                }
            }
        }
    }

    /// Starts carrying octets for a connection that stands.
    fn attach(&mut self, node: &NodeName, link: LinkId, stream: Stream) {
        let Some(held) = self.links.get_mut(&(node.clone(), link)) else {
            return;
        };
        if let Some(local) = stream.local {
            held.local = local;
        }
        let Some(waiting) = held.waiting.take() else {
            return;
        };
        let (read, write) = stream.halves;
        let write = (write, stream.spare);
        let trouble = Arc::new(Trouble::default());
        let post = (self.post.clone(), self.room.clone());
        let reader = tokio::spawn(read_all(read, trouble.clone(), post, node.clone(), link));
        tokio::spawn(write_all(write, trouble, waiting));
        held.tasks.push(reader.abort_handle());
        for bytes in held.unprotected.take().into_iter().flatten() {
            self.send(node, link, bytes);
        }
    }

    fn arrive(&mut self, arriving: Arriving) {
        let now = self.now();
        self.room.add_permits(arriving.room());
        match arriving {
            Arriving::Datagram {
                to,
                on,
                format,
                local,
                from,
                bytes,
            } => {
                let frame = Frame {
                    from: self.map.party(from),
                    to: Party::Node(to.clone()),
                    src: from,
                    dst: local,
                    on,
                    format,
                    link: None,
                    security: Security::Plain,
                    bytes,
                    framed: true,
                };
                self.receive(to, frame);
            }
            Arriving::Accepted {
                to,
                on,
                format,
                local,
                from,
                stream,
            } => {
                match self.still.get(&to) {
                    // A machine without power ends no connection: what was on its way stays unanswered.
                    Some(Stillness::Silent) => return self.dark.push(stream),
                    // A process that ended breaks its connections; if the socket cannot, it closes them.
                    Some(Stillness::Gone) => return stream.break_off(),
                    None => {}
                }
                if self.links.len() >= MOST_LINKS {
                    return;
                }
                let accepted = self.accepted.entry(to.clone()).or_insert(0);
                *accepted += 1;
                let link = LinkId(*accepted * 2 - 1);
                let (writer, waiting) = unbounded_channel();
                let security = stream.security.clone();
                let held = Link {
                    on,
                    format,
                    local,
                    remote: from,
                    security: security.clone(),
                    unprotected: None,
                    framer: Framer::new(format),
                    writer,
                    waiting: Some(waiting),
                    tasks: Vec::new(),
                    carried: 0,
                };
                self.links.insert((to.clone(), link), held);
                self.attach(&to, link, stream);
                let event = LinkEvent::Accepted {
                    on,
                    format,
                    from,
                    local,
                    security,
                };
                self.tell(now, to, link, on, event);
            }
            Arriving::Opened { node, link, stream } => {
                self.attach(&node, link, stream);
                if let Some(on) = self.links.get(&(node.clone(), link)).map(|held| held.on) {
                    self.tell(now, node, link, on, LinkEvent::Opened);
                }
            }
            Arriving::NotAccepted { to, on, why } => {
                let accepted = self.accepted.entry(to.clone()).or_insert(0);
                *accepted += 1;
                // It is written down; there is no connection of which the node could be told.
                let kind = EventKind::Link {
                    node: to,
                    link: LinkId(*accepted * 2 - 1),
                    on,
                    event: LinkEvent::NotSecured { why },
                };
                self.tap.record(now, kind);
            }
            Arriving::NotOpened { node, link, event } => {
                if let Some(held) = self.links.remove(&(node.clone(), link)) {
                    self.tell(now, node, link, held.on, event);
                }
            }
            Arriving::Octets { node, link, bytes } => {
                if let Some(held) = self.links.get_mut(&(node.clone(), link)) {
                    held.framer.feed(&bytes);
                    self.deliver(&node, link);
                    let waiting = self.links.values().map(|held| held.framer.waiting());
                    if waiting.sum::<usize>() > MOST_WAITING {
                        self.deliver_leftover(&node, link);
                    }
                }
            }
            Arriving::Ended { node, link, event } => {
                self.deliver_leftover(&node, link);
                if let Some(held) = self.links.remove(&(node.clone(), link)) {
                    let _ = held.writer.send(Write::Close);
                    self.tell(now, node, link, held.on, event);
                }
            }
        }
    }

    fn deliver(&mut self, node: &NodeName, link: LinkId) {
        loop {
            let Some(held) = self.links.get_mut(&(node.clone(), link)) else {
                return;
            };
            match held.framer.next_message() {
                Ok(Some(bytes)) => self.receive_on(node, link, bytes, true),
                Ok(None) => return,
                Err(_) => return self.deliver_leftover(node, link),
            }
        }
    }

    fn deliver_leftover(&mut self, node: &NodeName, link: LinkId) {
        let Some(held) = self.links.get_mut(&(node.clone(), link)) else {
            return;
        };
        let rest = held.framer.leftover();
        if !rest.is_empty() {
            self.receive_on(node, link, rest, false);
        }
    }

    fn receive_on(&mut self, node: &NodeName, link: LinkId, bytes: Bytes, framed: bool) {
        let Some(held) = self.links.get(&(node.clone(), link)) else {
            return;
        };
        let frame = Frame {
            from: self.map.party(held.remote),
            to: Party::Node(node.clone()),
            src: held.remote,
            dst: held.local,
            on: held.on,
            format: held.format,
            link: Some(link),
            security: held.security.clone(),
            bytes,
            framed,
        };
        self.receive(node.clone(), frame);
    }

    fn receive(&mut self, node: NodeName, frame: Frame) {
        let now = self.now();
        if self.still.contains_key(&node) {
            self.tap.record(now, EventKind::Lost(frame));
            return;
        }
        self.tap.record(now, EventKind::Received(frame.clone()));
        self.ready.push_back((node, Arrival::Frame(frame)));
    }

    fn tell(&mut self, now: At, node: NodeName, link: LinkId, on: RefPoint, event: LinkEvent) {
        if self.still.contains_key(&node) {
            return;
        }
        let kind = EventKind::Link {
            node: node.clone(),
            link,
            on,
            event: event.clone(),
        };
        self.tap.record(now, kind);
        self.ready.push_back((node, Arrival::Link(link, event)));
    }

    fn due_timer(&mut self) -> Option<(NodeName, TimerId)> {
        let (at, node, timer) = self.due.first_key_value().map(|(key, ())| key.clone())?;
        if at > self.now() {
            return None;
        }
        self.due.remove(&(at, node.clone(), timer));
        self.timers.remove(&(node.clone(), timer));
        Some((node, timer))
    }

    fn instant(&self, at: At) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.began + at.since(At::ZERO))
    }
}

/// What becomes of somebody who connects where TLS is spoken.
async fn accept(acceptor: &TlsAcceptor, tls: &Tls, stream: TcpStream) -> Result<Stream, String> {
    let accepting = tokio::time::timeout(CONNECT_TIMEOUT, acceptor.accept(stream));
    let stream = match accepting.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(why)) => return Err(why.to_string()),
        Err(_) => return Err("no handshake in time".to_owned()),
    };
    let client = tls.shown(stream.get_ref().1.peer_certificates());
    Stream::protected(stream.into(), Security::Tls { client }).map_err(|why| why.to_string())
}

async fn connect_securely(
    connector: &TlsConnector,
    to: SocketAddr,
    security: Security,
    stream: TcpStream,
) -> Result<Stream, LinkEvent> {
    let handshake = connector.connect(tls::server_name(to), stream).await;
    let stream = handshake.map_err(|why| LinkEvent::NotSecured {
        why: why.to_string(),
    })?;
    Stream::protected(stream.into(), security).map_err(|why| not_opened(&why))
}

fn not_opened(why: &io::Error) -> LinkEvent {
    match why.kind() {
        io::ErrorKind::ConnectionRefused => LinkEvent::Refused,
        io::ErrorKind::ConnectionReset => LinkEvent::Reset,
        _ => LinkEvent::TimedOut,
    }
}

/// A socket at an address that connections can leave from.
fn bound_to(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if addr.port() != 0 {
        // A connection that was closed a moment ago holds its port for a minute, but not against us.
        socket.set_reuseaddr(true)?;
    }
    socket.bind(addr)?;
    Ok(socket)
}

/// Connects from a socket that is bound, or from the first of these ports that is free.
async fn connect(
    bound: io::Result<TcpSocket>,
    ip: IpAddr,
    ports: Vec<u16>,
    to: SocketAddr,
) -> io::Result<TcpStream> {
    let tried = match bound {
        Ok(socket) => socket.connect(to).await,
        Err(why) => Err(why),
    };
    match tried {
        Err(why) if is_taken(&why) && !ports.is_empty() => {}
        tried => return tried,
    }
    for port in ports {
        let tried = match bound_to(SocketAddr::new(ip, port)) {
            Ok(socket) => socket.connect(to).await,
            Err(why) => Err(why),
        };
        match tried {
            Err(why) if is_taken(&why) => {}
            tried => return tried,
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn is_taken(why: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable};
    matches!(why.kind(), AddrInUse | AddrNotAvailable)
}

async fn read_all(
    mut read: impl AsyncRead + Unpin,
    trouble: Arc<Trouble>,
    (post, room): (UnboundedSender<Arriving>, Arc<Semaphore>),
    node: NodeName,
    link: LinkId,
) {
    let mut buffer = vec![0; READ_SIZE];
    let event = loop {
        let read = tokio::select! {
            biased;
            () = trouble.cut.notified() => break LinkEvent::Reset,
            read = read.read(&mut buffer) => read,
        };
        match read {
            Ok(0) if trouble.broken.load(Ordering::Relaxed) => break LinkEvent::Reset,
            Ok(0) => break LinkEvent::Closed,
            // An end of the connection without the end of TLS before it.
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => break LinkEvent::Closed,
            Ok(length) => {
                let bytes = Bytes::copy_from_slice(&buffer[..length]);
                take_room(&room, length).await;
                if post
                    .send(Arriving::Octets {
                        node: node.clone(),
                        link,
                        bytes,
                    })
                    .is_err()
                {
                    return;
                }
            }
            Err(_) => break LinkEvent::Reset,
        }
    };
    let _ = post.send(Arriving::Ended { node, link, event });
}

async fn write_all(
    (mut write, spare): (impl AsyncWrite + Unpin, OwnedFd),
    trouble: Arc<Trouble>,
    mut queue: UnboundedReceiver<Write>,
) {
    while let Some(next) = queue.recv().await {
        match next {
            Write::Octets(bytes, due) => {
                if due > Instant::now() {
                    tokio::time::sleep_until(due.into()).await;
                }
                if write.write_all(&bytes).await.is_err() {
                    // The reader sees the end of the connection and reports it.
                    trouble.broken.store(true, Ordering::Relaxed);
                    return;
                }
            }
            Write::Close => {
                let _ = write.shutdown().await;
                return;
            }
            Write::Abort => {
                let _ = end_without_a_word(&spare);
                return;
            }
            Write::Cut => {
                let _ = end_without_a_word(&spare);
                trouble.cut.notify_one();
                return;
            }
        }
    }
}

impl Transport for Sockets {
    fn now(&self) -> At {
        At::ZERO + self.began.elapsed()
    }

    fn perform(&mut self, from: &NodeName, output: Output) -> Result<(), NetError> {
        if self.still.contains_key(from) {
            return Ok(());
        }
        match output {
            Output::Datagram { on, to, bytes } => self.datagram(from, on, to, bytes)?,
            Output::Open {
                link,
                on,
                format,
                to,
                security,
            } => self.open(from, link, on, format, to, security)?,
            Output::Send { link, bytes } => self.send(from, link, bytes),
            Output::Close { link, abort } => self.close(from, link, abort),
            Output::Arm { timer, at } => {
                if let Some(old) = self.timers.insert((from.clone(), timer), at) {
                    self.due.remove(&(old, from.clone(), timer));
                }
                self.due.insert((at, from.clone(), timer), ());
            }
            Output::Disarm(timer) => {
                if let Some(at) = self.timers.remove(&(from.clone(), timer)) {
                    self.due.remove(&(at, from.clone(), timer));
                }
            }
            Output::Note(note) => {
                self.tap.record(
                    self.now(),
                    EventKind::Noted {
                        node: from.clone(),
                        note,
                    },
                );
            }
        }
        Ok(())
    }

    async fn next(&mut self, until: At) -> Result<Wake, NetError> {
        loop {
            if let Some((at, what)) = self.ready.pop_front() {
                return Ok(Wake::Arrived { at, what });
            }
            if let Some((at, timer)) = self.due_timer() {
                if !self.still.contains_key(&at) {
                    return Ok(Wake::Arrived {
                        at,
                        what: Arrival::Timer(timer),
                    });
                }
                continue;
            }
            if self.now() >= until {
                return Ok(Wake::Until);
            }
            let next_timer = self
                .due
                .first_key_value()
                .map_or(until, |((at, _, _), ())| *at);
            let wake = self.instant(next_timer.min(until));
            tokio::select! {
                biased;
                arriving = self.arriving.recv() => match arriving {
                    Some(arriving) => self.arrive(arriving),
                    None => return Ok(Wake::Quiet),
                },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn pass(&mut self, _until: At) {}

    fn still(&mut self, node: &NodeName, how: Stillness) {
        self.still.insert(node.clone(), how);
        if how == Stillness::Gone {
            for (_, task) in self.listeners.iter().filter(|(owner, _)| owner == node) {
                task.abort();
            }
            for ((_, _), held) in self.links.iter().filter(|((owner, _), _)| owner == node) {
                let _ = held.writer.send(Write::Abort);
                held.tasks.iter().for_each(AbortHandle::abort);
            }
        }
    }

    fn drain(&mut self) -> Vec<Event> {
        self.tap.drain()
    }

    /// What is on its way inside the kernel cannot be seen: the run settles by waiting instead.
    fn is_busy(&self) -> bool {
        !self.ready.is_empty()
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.listeners.iter().for_each(|(_, task)| task.abort());
        for held in self.links.values() {
            held.tasks.iter().for_each(AbortHandle::abort);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        io::OpenSecurity,
        spec::Role,
        trace::{Cast, Listener},
    };

    const B: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(127, 9, 9, 2)), 7701);

    #[test]
    fn a_silent_node_neither_accepts_nor_ends_a_connection() {
        let (opened, waited) = opening_to(Stillness::Silent);
        assert_eq!(LinkEvent::TimedOut, opened);
        assert!(waited >= CONNECT_TIMEOUT, "{waited:?}");
    }

    #[test]
    fn a_node_that_is_gone_refuses_connections_at_once() {
        let (opened, waited) = opening_to(Stillness::Gone);
        assert_eq!(LinkEvent::Refused, opened);
        assert!(waited < CONNECT_TIMEOUT, "{waited:?}");
    }

    #[test]
    fn a_connection_stands_if_the_certificate_is_worth_what_is_asked() {
        let proven: &'static [Worth] = &[Worth::Good];
        for (number, worth) in (0..).zip(Worth::ALL.iter().copied()) {
            let expected = match worth {
                Worth::Good => LinkEvent::Opened,
                _ => LinkEvent::NotSecured { why: String::new() },
            };
            assert_eq!(
                expected,
                opening_under_tls(number, worth, proven),
                "{worth}"
            );
            let number = number + 10;
            let anybody = opening_under_tls(number, worth, Worth::ALL);
            assert_eq!(LinkEvent::Opened, anybody, "{worth}");
        }
    }

    /// What a node hears that opens a connection to a server whose certificate is worth so much; without the words
    /// of whoever wrote the TLS.
    fn opening_under_tls(number: u16, worth: Worth, trusts: &'static [Worth]) -> LinkEvent {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut to = B;
        to.set_port(B.port() + 10 + number);
        let mut server = node("b", "127.9.9.2", &[to]);
        server.listeners[0].transport = ListenTransport::Tls;
        let card = tls::Card {
            host: "b.example".to_owned(),
            ip: to.ip(),
            worth,
        };
        runtime.block_on(async {
            let nodes = [node("a", "127.9.9.1", &[]), server];
            let tls = Tls::issued([(NodeName::new("b"), card)].into()).unwrap();
            let mut sockets = Sockets::bind(&nodes, |_| true, Faults::none(), Some(tls)).unwrap();
            let security = OpenSecurity::Tls {
                client: None,
                trusts,
            };
            let open = Output::Open {
                link: LinkId(2),
                on: RefPoint::Data,
                format: Format::Http,
                to,
                security,
            };
            sockets.perform(&NodeName::new("a"), open).unwrap();
            match told(&mut sockets).await.1 {
                LinkEvent::NotSecured { .. } => LinkEvent::NotSecured { why: String::new() },
                other => other,
            }
        })
    }

    /// What becomes of a connection that is asked for after the other end went still, and how long it
    /// takes; a connection from before must not end where the other end is silent.
    fn opening_to(how: Stillness) -> (LinkEvent, Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        // Tests run at the same time, each on an address of its own.
        let mut to = B;
        to.set_port(B.port() + how as u16);
        runtime.block_on(async {
            let nodes = [node("a", "127.9.9.1", &[]), node("b", "127.9.9.2", &[to])];
            let mut sockets = Sockets::bind(&nodes, |_| true, Faults::none(), None).unwrap();
            let a = NodeName::new("a");
            sockets.perform(&a, open(LinkId(2), to)).unwrap();
            assert_eq!((LinkId(2), LinkEvent::Opened), told(&mut sockets).await);
            sockets.still(&NodeName::new("b"), how);
            let bytes = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            let link = LinkId(2);
            sockets.perform(&a, Output::Send { link, bytes }).unwrap();
            let began = sockets.now();
            if how == Stillness::Gone {
                assert_eq!((LinkId(2), LinkEvent::Reset), told(&mut sockets).await);
            }
            sockets.perform(&a, open(LinkId(4), to)).unwrap();
            let (link, event) = told(&mut sockets).await;
            assert_eq!(LinkId(4), link);
            (event, sockets.now().since(began))
        })
    }

    /// The next link event of node a.
    async fn told(sockets: &mut Sockets) -> (LinkId, LinkEvent) {
        loop {
            let until = sockets.now() + Duration::from_secs(10);
            match sockets.next(until).await.unwrap() {
                Wake::Arrived {
                    at,
                    what: Arrival::Link(link, event),
                } if at.as_str() == "a" => return (link, event),
                Wake::Arrived { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn open(link: LinkId, to: SocketAddr) -> Output {
        Output::Open {
            link,
            on: RefPoint::Data,
            format: Format::Http,
            to,
            security: OpenSecurity::Plain,
        }
    }

    fn node(name: &str, ip: &str, listeners: &[SocketAddr]) -> CastNode {
        let listener = |addr: &SocketAddr| Listener {
            on: RefPoint::Data,
            format: Format::Http,
            transport: ListenTransport::Tcp,
            addr: *addr,
        };
        CastNode {
            name: NodeName::new(name),
            role: Role::Ue,
            cast: Cast::Reference,
            ip: Some(ip.parse().unwrap()),
            ports: None,
            listeners: listeners.iter().map(listener).collect(),
            impu: None,
            certificate: Worth::Good,
        }
    }
}
