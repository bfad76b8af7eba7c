//! Answers HTTP on one port from several loops, one a core: each has a listener of its own on the shared port
//! and keeps whom it accepted. Requests may be pipelined; answers leave in order, those of one reading
//! together.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use rustls::ServerConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    channel::Channel,
    clock::Clock,
    machine,
    ready::{Event, Interest, Ready},
};
use crate::{
    time::At,
    wire::{Framed, Malformed, http, ppstp},
};

/// What answers on one core.
pub trait Service {
    /// The answer to a request from `from`.
    fn answer(
        &mut self,
        at: At,
        request: &http::Request,
        from: SocketAddr,
    ) -> http::ResponseBuilder;

    /// Does what is due without anybody asking; called between requests, and at least every few milliseconds.
    fn tick(&mut self, _at: At) {}
}

/// What the loops have done so far.
#[derive(Debug, Default)]
pub struct Counters {
    pub requests: AtomicU64,
    pub answers: AtomicU64,
    /// Octets that were no request.
    pub unreadable: AtomicU64,
    pub connections: AtomicU64,
    pub octets: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Counted {
    /// Requests read.
    pub requests: u64,
    /// Answers made; one whose asker is gone is written to nobody.
    pub answers: u64,
    /// Connections that sent what was no request.
    pub unreadable: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Octets of answers.
    pub octets: u64,
}

impl Counters {
    pub fn counted(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            requests: read(&self.requests),
            answers: read(&self.answers),
            unreadable: read(&self.unreadable),
            connections: read(&self.connections),
            octets: read(&self.octets),
        }
    }
}

/// A pause that every loop makes again and again, as a server does that collects garbage or waits for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    pub pause: Duration,
    pub every: Duration,
}

/// How the loops run.
#[derive(Clone, Debug)]
pub struct Loops {
    /// The core of each; as many loops as cores.
    pub cores: Vec<usize>,
    pub clock: Clock,
    pub stall: Option<Stall>,
    /// TLS on every connection; plain without it.
    pub tls: Option<Arc<ServerConfig>>,
    pub stop: Arc<AtomicBool>,
    pub counters: Arc<Counters>,
}

impl Loops {
    /// Runs each part on its core, until all have ended.
    pub(super) fn on_each_core<P: Send>(
        &self,
        parts: Vec<P>,
        run: impl Fn(P) -> io::Result<()> + Sync,
    ) -> io::Result<()> {
        thread::scope(|scope| {
            let threads: Vec<_> = parts
                .into_iter()
                .enumerate()
                .map(|(index, part)| {
                    let run = &run;
                    scope.spawn(move || {
                        let core = self.cores.get(index % self.cores.len().max(1));
                        machine::stay_on(&core.copied().into_iter().collect::<Vec<_>>());
                        run(part)
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a loop panicked")))
            })
        })
    }

    /// Makes the pause that is due, if one is.
    pub(super) fn stall(&self) {
        let Some(Stall { pause, every }) = self.stall else {
            return;
        };
        let every = every.as_nanos().max(1) as u64;
        let into = Duration::from_nanos(self.clock.now().as_nanos() % every);
        if into < pause {
            thread::sleep(pause - into);
        }
    }
}

/// Listeners of all loops on one port.
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Binds as many as there are loops; port 0 takes a free one.
    pub fn bind(addr: SocketAddr, count: usize) -> io::Result<Listeners> {
        let first = listen(addr)?;
        let addr = first.local_addr()?;
        let rest = (1..count.max(1)).map(|_| listen(addr));
        let listeners: io::Result<Vec<TcpListener>> = rest.collect();
        let mut listeners = listeners?;
        listeners.insert(0, first);
        Ok(Listeners(listeners))
    }

    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.0[0].local_addr()
    }
}

/// A listener on a port that others may share.
pub(super) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    net::bind(&socket, &addr)?;
    net::listen(&socket, 4096)?;
    Ok(TcpListener::from(socket))
}

/// Runs a loop on each core until it is told to stop; `service` makes what answers there.
pub fn run<S: Service>(
    listeners: Listeners,
    loops: &Loops,
    service: impl Fn() -> S + Sync,
) -> io::Result<()> {
    loops.on_each_core(listeners.0, |listener| {
        Loop::new(listener, loops, service())?.run()
    })
}

struct Loop<'l, S> {
    loops: &'l Loops,
    listener: TcpListener,
    ready: Ready,
    service: S,
    /// Under their numbers; free ones are used again.
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    scratch: Box<[u8]>,
}

/// One connection.
struct Peer {
    stream: Channel,
    from: SocketAddr,
    input: BytesMut,
    out: Out,
    /// No more is read: it is closed once everything is written.
    is_ending: bool,
    interest: Interest,
}

/// Octets that are still to be written.
#[derive(Default)]
struct Out {
    queue: VecDeque<Bytes>,
    /// Small answers, one behind the other.
    tail: BytesMut,
    length: usize,
}

/// Bodies from this size on are not copied.
const LARGE: usize = 2 << 10;

/// The most octets that wait for a reader; until they are gone nothing more is read from it.
const MOST_WAITING: usize = 4 << 20;

/// The longest request, in octets: a PPSTP document and its head.
const LONGEST: usize = ppstp::LIMIT + http::HEAD_LIMIT;

/// The longest wait: how soon a stop is noticed.
const TICK: Duration = Duration::from_millis(5);

/// The number of the listener.
const LISTENER: u64 = u64::MAX - 1;

impl Out {
    fn push(&mut self, head: &Bytes, body: Bytes) {
        self.length += head.len() + body.len();
        self.tail.extend_from_slice(head);
        if body.len() < LARGE {
            self.tail.extend_from_slice(&body);
        } else {
            self.queue.push_back(self.tail.split().freeze());
            self.queue.push_back(body);
        }
    }

    /// Writes what the socket takes; false if it takes no more for now.
    fn write(&mut self, stream: &mut Channel) -> io::Result<bool> {
        if !self.tail.is_empty() {
            self.queue.push_back(self.tail.split().freeze());
        }
        while !self.queue.is_empty() {
            let slices: Vec<IoSlice<'_>> = self
                .queue
                .iter()
                .take(16)
                .map(|bytes| IoSlice::new(bytes))
                .collect();
            match stream.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.written(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        stream.flush()
    }

    fn written(&mut self, mut written: usize) {
        self.length -= written;
        while written > 0 {
            let Some(first) = self.queue.front_mut() else {
                return;
            };
            if first.len() > written {
                let _ = first.split_to(written);
                return;
            }
            written -= first.len();
            self.queue.pop_front();
        }
    }
}

impl<'l, S: Service> Loop<'l, S> {
    fn new(listener: TcpListener, loops: &'l Loops, service: S) -> io::Result<Loop<'l, S>> {
        let ready = Ready::new()?;
        ready.add(&listener, LISTENER, Interest::Read)?;
        Ok(Loop {
            loops,
            listener,
            ready,
            service,
            peers: Vec::new(),
            free: Vec::new(),
            scratch: vec![0; 256 << 10].into(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::new();
        while !self.loops.stop.load(Ordering::Relaxed) {
            self.ready.wait(TICK, &mut events)?;
            self.loops.stall();
            for event in &events {
                if event.token == LISTENER {
                    self.accept()?;
                } else {
                    self.serve(*event);
                }
                self.service.tick(self.loops.clock.now());
            }
            self.service.tick(self.loops.clock.now());
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (stream, from) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Of somebody who is gone already, or for want of descriptors: others may still be served.
                Err(_) => return Ok(()),
            };
            let stream = Channel::accepted(stream, self.loops.tls.as_ref())?;
            let index = self.free.pop().unwrap_or(self.peers.len());
            self.ready.add(&stream, index as u64, Interest::Read)?;
            let peer = Peer {
                stream,
                from,
                input: BytesMut::new(),
                out: Out::default(),
                is_ending: false,
                interest: Interest::Read,
            };
            match self.peers.get_mut(index) {
                Some(slot) => *slot = Some(peer),
                None => self.peers.push(Some(peer)),
            }
            self.loops
                .counters
                .connections
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    fn serve(&mut self, event: Event) {
        let index = event.token as usize;
        let Some(Some(peer)) = self.peers.get_mut(index) else {
            return;
        };
        let mut is_open = true;
        if event.readable && !peer.is_ending {
            is_open = read(peer, &mut self.scratch);
            answer(peer, self.loops, &mut self.service);
        }
        let written = peer.out.write(&mut peer.stream);
        let is_done = written.as_ref().is_ok_and(|done| *done);
        let is_over = match written {
            Err(_) => true,
            Ok(done) => done && (!is_open || peer.is_ending),
        };
        if is_over || (!is_open && peer.out.length == 0) {
            // Closing the socket takes it out of the waiting.
            self.peers[index] = None;
            self.free.push(index);
            return;
        }
        let is_full = peer.out.length > MOST_WAITING || peer.is_ending || !is_open;
        let interest = match (is_done, is_full) {
            (true, _) => Interest::Read,
            (false, true) => Interest::Write,
            (false, false) => Interest::Both,
        };
        if interest != peer.interest {
            peer.interest = interest;
            let _ = self.ready.modify(&peer.stream, event.token, interest);
        }
    }
}

/// Reads what is there, a buffer full at most; false at the end of the stream.
fn read(peer: &mut Peer, scratch: &mut [u8]) -> bool {
    loop {
        return match peer.stream.read(scratch) {
            Ok(0) => false,
            Ok(length) => {
                peer.input.extend_from_slice(&scratch[..length]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
    }
}

/// Answers every whole request that was read.
fn answer<S: Service>(peer: &mut Peer, loops: &Loops, service: &mut S) {
    while !peer.input.is_empty() && !peer.is_ending {
        let request = match http::frame(&peer.input) {
            Ok(Framed::Partial) if peer.input.len() <= LONGEST => return,
            Ok(Framed::Partial) => Err(Malformed::new(
                &peer.input,
                0,
                format!("a request of at most {LONGEST} octets"),
            )),
            Ok(Framed::Whole(length)) => http::Request::parse(peer.input.split_to(length).freeze()),
            Err(malformed) => Err(malformed),
        };
        let answer = match request {
            Ok(request) => {
                loops.counters.requests.fetch_add(1, Ordering::Relaxed);
                peer.is_ending = request.closes();
                service.answer(loops.clock.now(), &request, peer.from)
            }
            Err(_) => {
                loops.counters.unreadable.fetch_add(1, Ordering::Relaxed);
                peer.is_ending = true;
                peer.input.clear();
                http::Response::build(400)
            }
        };
        let (head, body) = match peer.is_ending {
            true => answer.header("Connection", "close").parts(),
            false => answer.parts(),
        };
        loops.counters.answers.fetch_add(1, Ordering::Relaxed);
        let length = (head.len() + body.len()) as u64;
        loops.counters.octets.fetch_add(length, Ordering::Relaxed);
        peer.out.push(&head, body);
    }
}
