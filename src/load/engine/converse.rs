//! Begins call flows when they are due, whatever becomes of the others, and carries their messages over UDP or TCP:
//! one lane a core, from addresses of its own. Over UDP what is not answered is said again, by the timers of the
//! reference nodes.

use std::{
    collections::{BTreeSet, HashMap},
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{atomic::Ordering, mpsc},
    time::Duration,
};

use bytes::{Bytes, BytesMut};

use super::{
    book::{Book, Entry, HAND_OVER},
    generate::{LaneReport, Manner, Part},
    machine,
    ready::{Event, Interest, Ready},
    speak::{stored, widen},
};
use crate::{
    load::{
        flow::{Begun, Flow, Say, Turn},
        journey::{Depth, Wrong},
        record::Record,
        schedule::Arrival,
        talked::{Answered, Method},
    },
    proto::{
        endpoint::{SipTransport, Timers},
        transaction::{ClientStep, InviteClient, NonInviteClient},
    },
    spec::Format,
    time::At,
    wire::{frame::Framer, sip::Message},
};

/// One core's part that speaks SIP.
pub struct Caller<F: Flow> {
    pub arrivals: Vec<Arrival<F::Ask>>,
    pub flow: F,
    pub core: Option<usize>,
    pub transport: SipTransport,
    pub timers: Timers,
}

impl<F: Flow> Part for Caller<F> {
    const KINDS: &'static [&'static str] = F::KINDS;

    fn run(self, manner: &Manner, seen: &mpsc::Sender<Record>) -> io::Result<LaneReport> {
        machine::stay_on(&self.core.into_iter().collect::<Vec<_>>());
        let mut running = Running::new(self, manner)?;
        running.run(seen)?;
        Ok(running.book.close(seen))
    }
}

struct Running<'m, F: Flow> {
    manner: &'m Manner,
    book: Book<'m>,
    flow: F,
    arrivals: Vec<Arrival<F::Ask>>,
    /// The next arrival.
    next: usize,
    transport: SipTransport,
    timers: Timers,
    ways: Vec<Way>,
    /// What is under way, by the number of its arrival.
    talks: HashMap<u64, Underway<F>>,
    /// When something is to be said again, and of what.
    due: BTreeSet<(At, u64)>,
    ready: Ready,
    says: Vec<Say>,
    scratch: Box<[u8]>,
    store: BytesMut,
}

/// An address of ours, and what is sent from it.
struct Way {
    local: SocketAddr,
    socket: Socket,
}

enum Socket {
    /// And where it sends to.
    Datagrams(UdpSocket, SocketAddr),
    /// `None`: it broke, and is made again.
    Stream(Option<Stream>),
}

struct Stream {
    stream: TcpStream,
    framer: Framer,
    out: Vec<u8>,
    is_waiting_to_write: bool,
}

/// A call flow that is under way.
struct Underway<F: Flow> {
    entry: Entry,
    depth: Depth,
    way: usize,
    sent: At,
    /// When what it was begun for was there.
    answered: Option<At>,
    talk: F::Talk,
    asked: Option<Asked>,
}

/// A request that has no final answer yet.
struct Asked {
    method: Method,
    number: u32,
    bytes: Bytes,
    machine: Machine,
    due: Option<At>,
}

/// Of RFC 3261 17.1.
enum Machine {
    Invite(InviteClient),
    Other(NonInviteClient),
}

impl Machine {
    fn new(method: Method, at: At, timers: Timers, transport: SipTransport) -> Machine {
        match method {
            Method::Invite => Machine::Invite(InviteClient::new(at, timers, transport)),
            _ => Machine::Other(NonInviteClient::new(at, timers, transport)),
        }
    }

    fn response(&mut self, at: At, status: u16) -> ClientStep {
        match self {
            Machine::Invite(machine) => machine.response(at, status),
            Machine::Other(machine) => machine.response(at, status),
        }
    }

    fn time(&mut self, at: At) -> ClientStep {
        match self {
            Machine::Invite(machine) => machine.time(at),
            Machine::Other(machine) => machine.time(at),
        }
    }

    fn due(&self) -> Option<At> {
        match self {
            Machine::Invite(machine) => machine.due(),
            Machine::Other(machine) => machine.due(),
        }
    }
}

/// Datagrams that are read before anything else is looked at.
const BATCH: usize = 64;

/// The most octets that wait for a connection; beyond them it is taken for broken.
const MOST_WAITING: usize = 16 << 20;

impl<'m, F: Flow> Running<'m, F> {
    fn new(caller: Caller<F>, manner: &'m Manner) -> io::Result<Running<'m, F>> {
        let mut running = Running {
            manner,
            book: Book::new(manner, F::KINDS.len()),
            flow: caller.flow,
            arrivals: caller.arrivals,
            next: 0,
            transport: caller.transport,
            timers: caller.timers,
            ways: Vec::new(),
            talks: HashMap::new(),
            due: BTreeSet::new(),
            ready: Ready::new()?,
            says: Vec::new(),
            scratch: vec![0; 64 << 10].into(),
            store: BytesMut::new(),
        };
        for index in 0..manner.connections.max(1) {
            let way = running.open(index as u64)?;
            running.ways.push(way);
        }
        Ok(running)
    }

    /// A new address, under a number.
    fn open(&self, number: u64) -> io::Result<Way> {
        let target = self.manner.target;
        match self.transport {
            SipTransport::Udp => {
                let any: SocketAddr = match target {
                    SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
                    SocketAddr::V6(_) => ([0u16; 8], 0).into(),
                };
                // The address from which the target is reached; answers may come from whichever of its own.
                let route = UdpSocket::bind(any)?;
                route.connect(target)?;
                let socket = UdpSocket::bind((route.local_addr()?.ip(), 0))?;
                socket.set_nonblocking(true)?;
                widen(&socket);
                self.ready.add(&socket, number, Interest::Read)?;
                Ok(Way {
                    local: socket.local_addr()?,
                    socket: Socket::Datagrams(socket, target),
                })
            }
            SipTransport::Tcp => {
                let stream = TcpStream::connect_timeout(&target, Duration::from_secs(1))?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                self.ready.add(&stream, number, Interest::Read)?;
                let local = stream.local_addr()?;
                let stream = Stream {
                    stream,
                    framer: Framer::new(Format::Sip),
                    out: Vec::new(),
                    is_waiting_to_write: false,
                };
                let socket = Socket::Stream(Some(stream));
                Ok(Way { local, socket })
            }
        }
    }

    fn run(&mut self, seen: &mpsc::Sender<Record>) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let now = self.book.now();
            self.take_up();
            self.say_again(now);
            if self.book.is_pause(now) {
                self.give_up(now);
                self.book.hand_over(seen);
            }
            if self.is_done(now) {
                break;
            }
            self.ready.wait(self.pause(), &mut events)?;
            for event in &events {
                self.event(*event);
                // Answers wait in their buffers, arrivals do not.
                self.take_up();
            }
        }
        let rest: Vec<u64> = self.talks.keys().copied().collect();
        rest.into_iter().for_each(|number| self.unanswered(number));
        Ok(())
    }

    /// How long nothing is due.
    fn pause(&self) -> Duration {
        let next = self.arrivals.get(self.next);
        let next = next.map(|arrival| self.book.intended(arrival.at));
        let copy = self.due.first().map(|(due, _)| *due);
        let due = next.into_iter().chain(copy).min();
        let until = due.map(|due| due.since(self.book.now()));
        until.unwrap_or(HAND_OVER).min(HAND_OVER)
    }

    fn is_done(&mut self, now: At) -> bool {
        if self.manner.stop.load(Ordering::Relaxed) {
            self.book.report.is_cut_short = true;
            return true;
        }
        let last = self.arrivals.last();
        let last = last.map(|arrival| self.book.intended(arrival.at));
        let is_too_late = last.is_none_or(|last| now.since(last) > self.manner.patience);
        self.next == self.arrivals.len() && (self.talks.is_empty() || is_too_late)
    }

    /// Begins every call flow that is due.
    fn take_up(&mut self) {
        while let Some(&arrival) = self.arrivals.get(self.next) {
            let now = self.book.now();
            if self.book.intended(arrival.at) > now {
                return;
            }
            self.next += 1;
            self.begin(arrival, now);
        }
    }

    fn begin(&mut self, arrival: Arrival<F::Ask>, now: At) {
        let entry = Entry {
            at: arrival.at,
            kind: F::kind(arrival.ask),
        };
        self.book.offered(entry, now);
        let way = (F::way(arrival.ask, arrival.number) % self.ways.len() as u64) as usize;
        if matches!(self.ways[way].socket, Socket::Stream(None)) {
            return self
                .book
                .count_inadequate(entry, |counts| counts.dropped += 1);
        }
        let depth = match arrival.number % self.manner.read_whole.max(1) {
            0 => Depth::Whole,
            _ => Depth::Shape,
        };
        let begun = Begun {
            ask: arrival.ask,
            number: arrival.number,
            at: now,
            depth,
            local: self.ways[way].local,
            transport: self.transport,
        };
        let mut says = std::mem::take(&mut self.says);
        let talk = self.flow.begin(begun, &mut says);
        self.book.count(entry, |counts| counts.sent += 1);
        let underway = Underway {
            entry,
            depth,
            way,
            sent: now,
            answered: None,
            talk,
            asked: None,
        };
        self.talks.insert(arrival.number, underway);
        self.say(arrival.number, now, &mut says);
        self.says = says;
    }

    /// Says what there is to be said in a call flow.
    fn say(&mut self, number: u64, now: At, says: &mut Vec<Say>) {
        let Some(underway) = self.talks.get_mut(&number) else {
            return says.clear();
        };
        let (entry, way) = (underway.entry, underway.way);
        for say in says.drain(..) {
            match say {
                Say::Request {
                    method,
                    number: cseq,
                    bytes,
                } => {
                    let machine = Machine::new(method, now, self.timers, self.transport);
                    let due = machine.due();
                    if let Some(old) = underway.asked.take().and_then(|asked| asked.due) {
                        self.due.remove(&(old, number));
                    }
                    self.due.extend(due.map(|due| (due, number)));
                    send(&mut self.ways[way], way, &self.ready, &bytes);
                    underway.asked = Some(Asked {
                        method,
                        number: cseq,
                        bytes,
                        machine,
                        due,
                    });
                    self.book.talked(entry, |talked| {
                        talked.said += 1;
                        *talked.requests.entry(method).or_default() += 1;
                    });
                }
                Say::Once(bytes) => {
                    send(&mut self.ways[way], way, &self.ready, &bytes);
                    self.book.talked(entry, |talked| talked.said += 1);
                }
                Say::Took(delay, took) => {
                    if let Some(interval) = self.book.interval(entry) {
                        let nanos = took.as_nanos() as u64;
                        interval.delay(delay).saturating_record(nanos);
                    }
                }
            }
        }
    }

    /// Says again what was not answered, and gives up what never will be.
    fn say_again(&mut self, now: At) {
        while let Some(&(due, number)) = self.due.first()
            && due <= now
        {
            self.due.pop_first();
            let Some(underway) = self.talks.get_mut(&number) else {
                continue;
            };
            let (entry, way) = (underway.entry, underway.way);
            let Some(asked) = &mut underway.asked else {
                continue;
            };
            let step = asked.machine.time(now);
            asked.due = asked.machine.due();
            self.due.extend(asked.due.map(|due| (due, number)));
            match step {
                ClientStep::Repeat => {
                    send(&mut self.ways[way], way, &self.ready, &asked.bytes);
                    self.book.talked(entry, |talked| {
                        talked.said += 1;
                        talked.retransmissions += 1;
                    });
                }
                ClientStep::TimedOut => self.unanswered(number),
                _ => {}
            }
        }
    }

    fn event(&mut self, event: Event) {
        let index = event.token as usize;
        if event.writable {
            send(&mut self.ways[index], index, &self.ready, &[]);
        }
        if !event.readable {
            return;
        }
        match self.ways[index].socket {
            Socket::Datagrams(..) => self.read_datagrams(index),
            Socket::Stream(_) => self.read_stream(index),
        }
    }

    fn read_datagrams(&mut self, index: usize) {
        for _ in 0..BATCH {
            let Socket::Datagrams(socket, _) = &self.ways[index].socket else {
                return;
            };
            match socket.recv(&mut self.scratch) {
                Ok(length) => {
                    let came = self.book.now();
                    let bytes = stored(&mut self.store, &self.scratch[..length]);
                    self.heard(came, bytes);
                    self.take_up();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing more; or the word of a network that nobody is there, which silence says as well.
                Err(_) => return,
            }
        }
    }

    fn read_stream(&mut self, index: usize) {
        let Socket::Stream(Some(stream)) = &mut self.ways[index].socket else {
            return;
        };
        match stream.stream.read(&mut self.scratch) {
            Ok(0) => return self.broken(index),
            Ok(length) => stream.framer.feed(&self.scratch[..length]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return;
            }
            Err(_) => return self.broken(index),
        }
        let came = self.book.now();
        while let Socket::Stream(Some(stream)) = &mut self.ways[index].socket {
            match stream.framer.next_message() {
                Ok(Some(bytes)) => self.heard(came, bytes),
                Ok(None) => return,
                Err(malformed) => {
                    self.book.example(format!("no SIP message: {malformed}"));
                    return self.broken(index);
                }
            }
        }
    }

    /// Finds what a message belongs to, and hears it there.
    fn heard(&mut self, came: At, bytes: Bytes) {
        let length = bytes.len() as u64;
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(malformed) => {
                self.book.example(format!("no SIP message: {malformed}"));
                return self.book.stray();
            }
        };
        let call_id = message.header("Call-ID");
        let number = call_id.and_then(|call_id| self.flow.number(&call_id));
        let Some((number, underway)) =
            number.and_then(|number| Some((number, self.talks.get_mut(&number)?)))
        else {
            return self.book.stray();
        };
        let entry = underway.entry;
        let mut says = std::mem::take(&mut self.says);
        let (is_first, answered) = expected(underway, came, &message);
        if answered.is_some()
            && let Some(due) = underway.asked.take().and_then(|asked| asked.due)
        {
            self.due.remove(&(due, number));
        } else if let Some(asked) = &mut underway.asked
            && asked.due != asked.machine.due()
        {
            // A provisional answer: it is waited for otherwise now.
            self.due
                .extend(asked.machine.due().map(|due| (due, number)));
            if let Some(old) = std::mem::replace(&mut asked.due, asked.machine.due()) {
                self.due.remove(&(old, number));
            }
        }
        let turn = match is_first {
            true => self
                .flow
                .hear(&mut underway.talk, came, &message, &mut says),
            false => {
                self.flow
                    .hear_again(&mut underway.talk, &message, &mut says);
                Ok(Turn::GoesOn)
            }
        };
        self.book.count(entry, |counts| {
            counts.octets += length;
            let talked = counts.talked.get_or_insert_default();
            talked.heard += 1;
            if let Some(answered) = answered {
                *talked.answers.entry(answered).or_default() += 1;
            }
        });
        self.say(number, came, &mut says);
        self.says = says;
        match turn {
            Ok(Turn::GoesOn) => {}
            Ok(Turn::Answered) => {
                if let Some(underway) = self.talks.get_mut(&number) {
                    underway.answered = Some(came);
                }
            }
            Ok(Turn::Over) => self.over(number, came, Ok(())),
            Err(wrong) => self.over(number, came, Err(wrong)),
        }
    }

    /// Forgets a call flow.
    fn forget(&mut self, number: u64) -> Option<Underway<F>> {
        let underway = self.talks.remove(&number)?;
        if let Some(due) = underway.asked.as_ref().and_then(|asked| asked.due) {
            self.due.remove(&(due, number));
        }
        Some(underway)
    }

    fn over(&mut self, number: u64, came: At, outcome: Result<(), Wrong>) {
        let Some(underway) = self.forget(number) else {
            return;
        };
        let is_whole = underway.depth == Depth::Whole;
        self.book.count(underway.entry, |counts| {
            counts.answered += 1;
            counts.read_whole += u64::from(is_whole);
        });
        match outcome {
            Ok(()) => {
                let answered = underway.answered.unwrap_or(came);
                self.book.right(underway.entry, underway.sent, answered);
            }
            Err(wrong) => {
                let what = format!("{} {number}", F::KINDS[underway.entry.kind]);
                self.book.wrong(underway.entry, &what, &wrong);
            }
        }
    }

    fn unanswered(&mut self, number: u64) {
        if let Some(underway) = self.forget(number) {
            self.book
                .count_inadequate(underway.entry, |counts| counts.unanswered += 1);
        }
    }

    /// Gives up what has taken too long, and makes connections again that broke.
    fn give_up(&mut self, now: At) {
        let silent = self.talks.iter();
        let silent = silent.filter(|(_, talk)| now.since(talk.sent) > self.manner.patience);
        let silent: Vec<u64> = silent.map(|(number, _)| *number).collect();
        silent
            .into_iter()
            .for_each(|number| self.unanswered(number));
        for index in 0..self.ways.len() {
            if let Socket::Stream(None) = self.ways[index].socket
                && let Ok(way) = self.open(index as u64)
            {
                self.ways[index] = way;
            }
        }
    }

    /// A connection is over: what is under way there is never answered.
    fn broken(&mut self, index: usize) {
        self.ways[index].socket = Socket::Stream(None);
        self.book.report.lost_connections += 1;
        let lost = self.talks.iter().filter(|(_, talk)| talk.way == index);
        let lost: Vec<u64> = lost.map(|(number, _)| *number).collect();
        lost.into_iter().for_each(|number| self.unanswered(number));
        if let Ok(way) = self.open(index as u64) {
            self.ways[index] = way;
        }
    }
}

/// Whether a message is heard for the first time, and the final answer it is, if it is one to what was asked last.
fn expected<F: Flow>(
    underway: &mut Underway<F>,
    came: At,
    message: &Message,
) -> (bool, Option<Answered>) {
    let Some(status) = message.status() else {
        return (true, None);
    };
    let Some(asked) = &mut underway.asked else {
        return (false, None);
    };
    let cseq = message.header("CSeq").unwrap_or_default();
    let (number, method) = cseq.split_once(' ').unwrap_or_default();
    if number.parse() != Ok(asked.number) || method.trim() != asked.method.word() {
        return (false, None);
    }
    let is_first = match asked.machine.response(came, status) {
        ClientStep::Deliver | ClientStep::AcknowledgeAndDeliver => true,
        ClientStep::Acknowledge
        | ClientStep::Nothing
        | ClientStep::Repeat
        | ClientStep::TimedOut => false,
    };
    let method = asked.method;
    let answered = (is_first && status >= 200).then_some(Answered { method, status });
    (is_first, answered)
}

/// Sends what the socket takes. A datagram it does not take is lost, as any may be; of a stream the rest is kept.
fn send(way: &mut Way, index: usize, ready: &Ready, bytes: &[u8]) {
    let stream = match &mut way.socket {
        Socket::Datagrams(socket, target) => {
            let _ = socket.send_to(bytes, *target);
            return;
        }
        Socket::Stream(None) => return,
        Socket::Stream(Some(stream)) => stream,
    };
    stream.out.extend_from_slice(bytes);
    let mut written = 0;
    let mut is_broken = stream.out.len() > MOST_WAITING;
    while written < stream.out.len() && !is_broken {
        match stream.stream.write(&stream.out[written..]) {
            Ok(length) if length > 0 => written += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            _ => is_broken = true,
        }
    }
    stream.out.drain(..written);
    let waits = !stream.out.is_empty();
    if waits != stream.is_waiting_to_write {
        stream.is_waiting_to_write = waits;
        let interest = match waits {
            true => Interest::Both,
            false => Interest::Read,
        };
        let _ = ready.modify(&stream.stream, index as u64, interest);
    }
    if is_broken {
        // Its end is read when the socket is next ready.
        let _ = stream.stream.shutdown(std::net::Shutdown::Both);
    }
}
