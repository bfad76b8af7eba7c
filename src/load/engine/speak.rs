//! Speaks SIP on one port, over UDP and TCP, from several loops, one a core: each has sockets of its own on the
//! shared port. Whoever sends from one address is always heard by the same loop, so that a dialog stays where it
//! began. What is said is decided by nodes; here are their sockets, connections and timers.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::{
    ready::{Event, Interest, Ready},
    serve::{Loops, listen},
};
use crate::{
    io::{LinkEvent, Outbox, Output, TimerId},
    spec::{Format, RefPoint},
    time::At,
    trace::ListenTransport,
    wire::frame::{Frame, Framer, LinkId, Party, Security},
};

/// What speaks SIP on one core, over one transport.
pub trait Speaker {
    /// Takes a message. On which reference point it travels is for the speaker to say.
    fn hear(&mut self, at: At, frame: Frame, out: &mut Outbox);

    /// Takes what happened to a connection.
    fn link(&mut self, at: At, link: LinkId, event: LinkEvent, out: &mut Outbox);

    /// Takes a timer that it armed.
    fn wake(&mut self, at: At, timer: TimerId, out: &mut Outbox);

    /// Does what is due without anybody asking; called between messages, and at least every few milliseconds.
    fn tick(&mut self, _at: At, _out: &mut Outbox) {}
}

/// The sockets of all loops on one port.
pub struct SipPorts(Vec<(UdpSocket, TcpListener)>);

impl SipPorts {
    /// Binds as many as there are loops, both transports under one number; port 0 takes a free one.
    pub fn bind(addr: SocketAddr, count: usize) -> io::Result<SipPorts> {
        let (first, addr) = SipPorts::first(addr)?;
        let rest = (1..count.max(1)).map(|_| Ok((datagrams(addr)?, listen(addr)?)));
        let rest: io::Result<Vec<_>> = rest.collect();
        let mut all = vec![first];
        all.extend(rest?);
        Ok(SipPorts(all))
    }

    /// A number that is free over UDP may be taken over TCP: then another one is tried.
    fn first(addr: SocketAddr) -> io::Result<((UdpSocket, TcpListener), SocketAddr)> {
        let mut tries = 8;
        loop {
            let udp = datagrams(addr)?;
            let found = udp.local_addr()?;
            match listen(found) {
                Ok(tcp) => return Ok(((udp, tcp), found)),
                Err(_) if addr.port() == 0 && tries > 0 => tries -= 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.0[0].0.local_addr()
    }
}

/// Octets that may wait in a socket, where the kernel lets us.
pub(super) const SOCKET_BUFFER: usize = 8 << 20;

/// A socket for datagrams, on a port that others may share.
fn datagrams(addr: SocketAddr) -> io::Result<UdpSocket> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
    sockopt::set_socket_reuseport(&socket, true)?;
    net::bind(&socket, &addr)?;
    let socket = UdpSocket::from(socket);
    widen(&socket);
    Ok(socket)
}

/// Lets as much wait in a socket as may. What does not fit is counted by the kernel, and told.
pub(super) fn widen(socket: &UdpSocket) {
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER);
    }
    if sockopt::set_socket_send_buffer_size_force(socket, SOCKET_BUFFER).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(socket, SOCKET_BUFFER);
    }
}

/// Runs a loop on each core until it is told to stop; `speaker` makes what speaks there over a transport.
pub fn run<S: Speaker>(
    ports: SipPorts,
    loops: &Loops,
    speaker: impl Fn(ListenTransport) -> S + Sync,
) -> io::Result<()> {
    loops.on_each_core(ports.0, |(udp, tcp)| {
        Loop::new(udp, tcp, loops, &speaker)?.run()
    })
}

struct Loop<'l, S> {
    loops: &'l Loops,
    addr: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
    ready: Ready,
    /// What speaks over UDP, and what speaks over TCP.
    datagrams: Side<S>,
    streams: Side<S>,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    scratch: Box<[u8]>,
    /// What datagrams are kept in, one behind the other.
    store: BytesMut,
}

/// One connection.
struct Link {
    stream: TcpStream,
    from: SocketAddr,
    framer: Framer,
    out: Vec<u8>,
    is_waiting_to_write: bool,
}

/// A speaker with its timers.
struct Side<S> {
    speaker: S,
    out: Outbox,
    outputs: Vec<Output>,
    alarms: Alarms,
}

/// Timers that are armed.
#[derive(Default)]
struct Alarms {
    due: BTreeSet<(At, TimerId)>,
    armed: BTreeMap<TimerId, At>,
}

/// Datagrams that are read before anything else is looked at.
const BATCH: usize = 64;

/// The longest wait: how soon a stop is noticed.
const TICK: Duration = Duration::from_millis(5);

/// How long what still comes is heard after the end.
const LINGER: Duration = Duration::from_secs(1);

/// The most octets that wait for a reader; whoever lets more wait is gone.
const MOST_WAITING: usize = 4 << 20;

/// The numbers of the socket for datagrams, and of the listener. Those of connections are odd.
const DATAGRAMS: u64 = u64::MAX - 3;
const LISTENER: u64 = u64::MAX - 1;

impl Alarms {
    fn arm(&mut self, timer: TimerId, at: At) {
        if let Some(before) = self.armed.insert(timer, at) {
            self.due.remove(&(before, timer));
        }
        self.due.insert((at, timer));
    }

    fn disarm(&mut self, timer: TimerId) {
        if let Some(at) = self.armed.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    /// The next one that is due, which is armed no more.
    fn next(&mut self, now: At) -> Option<TimerId> {
        let &(at, timer) = self.due.first()?;
        (at <= now).then(|| {
            self.disarm(timer);
            timer
        })
    }

    fn first(&self) -> Option<At> {
        self.due.first().map(|(at, _)| *at)
    }
}

impl<S> Side<S> {
    fn new(speaker: S) -> Side<S> {
        Side {
            speaker,
            out: Outbox::default(),
            outputs: Vec::new(),
            alarms: Alarms::default(),
        }
    }
}

impl<'l, S: Speaker> Loop<'l, S> {
    fn new(
        udp: UdpSocket,
        tcp: TcpListener,
        loops: &'l Loops,
        speaker: impl Fn(ListenTransport) -> S,
    ) -> io::Result<Loop<'l, S>> {
        let ready = Ready::new()?;
        ready.add(&udp, DATAGRAMS, Interest::Read)?;
        ready.add(&tcp, LISTENER, Interest::Read)?;
        Ok(Loop {
            loops,
            addr: udp.local_addr()?,
            udp,
            tcp,
            ready,
            datagrams: Side::new(speaker(ListenTransport::Udp)),
            streams: Side::new(speaker(ListenTransport::Tcp)),
            links: BTreeMap::new(),
            next_link: 1,
            scratch: vec![0; 64 << 10].into(),
            store: BytesMut::new(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::new();
        let mut end = None;
        loop {
            if self.loops.stop.load(Ordering::Relaxed) {
                end.get_or_insert(self.now() + LINGER);
            }
            self.ready.wait(self.pause(), &mut events)?;
            self.loops.stall();
            for event in &events {
                match event.token {
                    DATAGRAMS => self.read_datagrams(),
                    LISTENER => self.accept()?,
                    link => self.serve(link, *event),
                }
            }
            self.pass_time();
            // What was sent to us before the end is still heard, but not for ever.
            if end.is_some_and(|end| events.is_empty() || self.now() > end) {
                return Ok(());
            }
        }
    }

    fn now(&self) -> At {
        self.loops.clock.now()
    }

    /// How long nothing is due.
    fn pause(&self) -> Duration {
        let due = [self.datagrams.alarms.first(), self.streams.alarms.first()];
        let due = due.into_iter().flatten().min();
        due.map_or(TICK, |due| due.since(self.now()).min(TICK))
    }

    fn pass_time(&mut self) {
        let now = self.now();
        while let Some(timer) = self.datagrams.alarms.next(now) {
            let side = &mut self.datagrams;
            side.speaker.wake(now, timer, &mut side.out);
            self.send_datagrams();
        }
        while let Some(timer) = self.streams.alarms.next(now) {
            let side = &mut self.streams;
            side.speaker.wake(now, timer, &mut side.out);
            self.send_on_links(now);
        }
        let side = &mut self.datagrams;
        side.speaker.tick(now, &mut side.out);
        self.send_datagrams();
        let side = &mut self.streams;
        side.speaker.tick(now, &mut side.out);
        self.send_on_links(now);
    }

    fn read_datagrams(&mut self) {
        for _ in 0..BATCH {
            let (length, from) = match self.udp.recv_from(&mut self.scratch) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Nothing more; or the word of a network that somebody could not be reached.
                Err(_) => return,
            };
            count(&self.loops.counters.requests, 1);
            let bytes = stored(&mut self.store, &self.scratch[..length]);
            let frame = self.frame(from, None, bytes);
            let now = self.now();
            let side = &mut self.datagrams;
            side.speaker.hear(now, frame, &mut side.out);
            self.send_datagrams();
        }
    }

    fn frame(&self, from: SocketAddr, link: Option<LinkId>, bytes: Bytes) -> Frame {
        Frame {
            from: Party::Unknown(from),
            to: Party::Unknown(self.addr),
            src: from,
            dst: self.addr,
            on: RefPoint::Gm,
            format: Format::Sip,
            link,
            security: Security::Plain,
            bytes,
            framed: true,
        }
    }

    /// Does what the speaker over UDP wants done. It has no connections, and none can be opened for it.
    fn send_datagrams(&mut self) {
        let side = &mut self.datagrams;
        side.outputs.extend(side.out.drain());
        for output in side.outputs.drain(..) {
            match output {
                Output::Datagram { to, bytes, .. } => {
                    // What the kernel does not take is lost, as any datagram may be.
                    if self.udp.send_to(&bytes, to).is_ok() {
                        count(&self.loops.counters.answers, 1);
                        count(&self.loops.counters.octets, bytes.len() as u64);
                    }
                }
                Output::Arm { timer, at } => side.alarms.arm(timer, at),
                Output::Disarm(timer) => side.alarms.disarm(timer),
                Output::Open { .. }
                | Output::Send { .. }
                | Output::Close { .. }
                | Output::Note(_) => {}
            }
        }
    }

    /// Does what the speaker over TCP wants done. Connections are others' to open: one of ours is refused.
    fn send_on_links(&mut self, now: At) {
        let mut refused = Vec::new();
        loop {
            let side = &mut self.streams;
            for link in refused.drain(..) {
                let (event, out) = (LinkEvent::Refused, &mut side.out);
                side.speaker.link(now, link, event, out);
            }
            side.outputs.extend(side.out.drain());
            if side.outputs.is_empty() {
                return;
            }
            let mut outputs = std::mem::take(&mut side.outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Send { link, bytes } => self.write(link.0, &bytes),
                    Output::Close { link, .. } => {
                        self.links.remove(&link.0);
                    }
                    Output::Open { link, .. } => refused.push(link),
                    Output::Arm { timer, at } => self.streams.alarms.arm(timer, at),
                    Output::Disarm(timer) => self.streams.alarms.disarm(timer),
                    Output::Datagram { .. } | Output::Note(_) => {}
                }
            }
            self.streams.outputs = outputs;
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        // Of somebody who is gone already, or for want of descriptors: others may still be served.
        while let Ok((stream, from)) = self.tcp.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            self.ready.add(&stream, self.next_link, Interest::Read)?;
            let link = Link {
                stream,
                from,
                framer: Framer::new(Format::Sip),
                out: Vec::new(),
                is_waiting_to_write: false,
            };
            self.links.insert(self.next_link, link);
            self.next_link += 2;
            count(&self.loops.counters.connections, 1);
        }
        Ok(())
    }

    fn serve(&mut self, number: u64, event: Event) {
        if event.writable {
            self.write(number, &[]);
        }
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        if !event.readable {
            return;
        }
        let is_open = match link.stream.read(&mut self.scratch) {
            Ok(length) => {
                link.framer.feed(&self.scratch[..length]);
                length > 0
            }
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ),
        };
        let mut is_sound = true;
        while let Some(link) = self.links.get_mut(&number) {
            let from = link.from;
            let bytes = match link.framer.next_message() {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(_) => {
                    count(&self.loops.counters.unreadable, 1);
                    is_sound = false;
                    break;
                }
            };
            count(&self.loops.counters.requests, 1);
            let frame = self.frame(from, Some(LinkId(number)), bytes);
            let now = self.now();
            let side = &mut self.streams;
            side.speaker.hear(now, frame, &mut side.out);
            self.send_on_links(now);
        }
        if !(is_open && is_sound) && self.links.remove(&number).is_some() {
            let now = self.now();
            let side = &mut self.streams;
            let event = LinkEvent::Closed;
            side.speaker.link(now, LinkId(number), event, &mut side.out);
            self.send_on_links(now);
        }
    }

    /// Writes what the connection takes, and keeps the rest.
    fn write(&mut self, number: u64, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        if !bytes.is_empty() {
            count(&self.loops.counters.answers, 1);
            count(&self.loops.counters.octets, bytes.len() as u64);
        }
        link.out.extend_from_slice(bytes);
        let mut written = 0;
        let mut is_over = link.out.len() > MOST_WAITING;
        while written < link.out.len() && !is_over {
            match link.stream.write(&link.out[written..]) {
                Ok(length) if length > 0 => written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                _ => is_over = true,
            }
        }
        link.out.drain(..written);
        let waits = !link.out.is_empty();
        if waits != link.is_waiting_to_write {
            link.is_waiting_to_write = waits;
            let interest = match waits {
                true => Interest::Both,
                false => Interest::Read,
            };
            is_over |= self.ready.modify(&link.stream, number, interest).is_err();
        }
        if is_over {
            // Its end is told when the socket next is ready: it is shut, not forgotten.
            let _ = link.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// A copy of octets in a store that many share, which spares most of what each would cost by itself.
pub(super) fn stored(store: &mut BytesMut, octets: &[u8]) -> Bytes {
    if store.capacity() < octets.len() {
        *store = BytesMut::with_capacity(STORE.max(octets.len()));
    }
    store.extend_from_slice(octets);
    store.split().freeze()
}

/// Octets of a store.
const STORE: usize = 256 << 10;

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_that_is_moved_fires_once() {
        let at = |seconds| At::ZERO + Duration::from_secs(seconds);
        let mut alarms = Alarms::default();
        alarms.arm(TimerId(1), at(1));
        alarms.arm(TimerId(2), at(2));
        alarms.arm(TimerId(1), at(3));
        alarms.disarm(TimerId(7));
        assert_eq!((None, Some(at(2))), (alarms.next(at(1)), alarms.first()));
        assert_eq!(Some(TimerId(2)), alarms.next(at(9)));
        assert_eq!(Some(TimerId(1)), alarms.next(at(9)));
        assert_eq!((None, None), (alarms.next(at(9)), alarms.first()));
    }
}
