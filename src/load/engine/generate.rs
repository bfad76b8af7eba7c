//! Asks what is due when it is due, whatever the answers: one lane a core, each with its part of the arrivals
//! and connections of its own. How late a question is taken up is measured for each.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::BytesMut;

use super::{
    book::{Book, Entry, HAND_OVER},
    channel::{Believed, Channel},
    clock::Clock,
    machine,
    ready::{Event, Interest, Ready},
};
use crate::{
    load::{
        journey::{Asked, Depth, Journey},
        record::{Counts, Record},
        schedule::Arrival,
    },
    time::At,
    wire::{Framed, http},
};

/// How every lane asks.
#[derive(Clone, Debug)]
pub struct Manner {
    pub target: SocketAddr,
    /// TLS, and with whom; plain without it.
    pub tls: Option<Believed>,
    /// Connections of a lane.
    pub connections: usize,
    /// Questions on their way on one connection.
    pub pipeline: usize,
    /// A right answer that takes longer than this from its intended start is late.
    pub limit: Duration,
    /// What takes longer than this is given up.
    pub patience: Duration,
    /// One answer in so many is read whole.
    pub read_whole: u64,
    /// Arrivals that may wait for a connection.
    pub waiting_room: usize,
    /// Arrivals before this are asked and judged, and no part of any figure.
    pub warm_up: Duration,
    pub clock: Clock,
    /// When the schedule begins.
    pub begin: At,
    pub stop: Arc<AtomicBool>,
}

/// What one lane has seen, apart from its seconds.
#[derive(Clone, Debug, Default)]
pub struct LaneReport {
    /// Of all arrivals, the warm-up included.
    pub all: Counts,
    /// Of the measured time, by kind of question: offered and inadequately handled.
    pub kinds: Vec<(u64, u64)>,
    /// Share of the time on its core, and share in which it had none.
    pub busy: f64,
    pub starved: f64,
    /// Seconds in which it had none.
    pub waited: f64,
    /// The first of what was wrong.
    pub examples: Vec<String>,
    /// Connections that ended before we were done.
    pub lost_connections: u64,
    pub is_cut_short: bool,
}

/// One core's part of a measurement, whatever it speaks.
pub trait Part: Send {
    /// What each kind of question is called.
    const KINDS: &'static [&'static str];

    /// Asks everything, and hands over what it saw a few times a second.
    fn run(self, manner: &Manner, seen: &mpsc::Sender<Record>) -> io::Result<LaneReport>;
}

/// One core's part that asks over HTTP.
pub struct Lane<J: Journey> {
    pub arrivals: Vec<Arrival<J::Ask>>,
    pub journey: J,
    pub core: Option<usize>,
}

impl<J: Journey> Part for Lane<J> {
    const KINDS: &'static [&'static str] = J::KINDS;

    fn run(self, manner: &Manner, seen: &mpsc::Sender<Record>) -> io::Result<LaneReport> {
        machine::stay_on(&self.core.into_iter().collect::<Vec<_>>());
        let mut running = Running::new(self, manner)?;
        running.run(seen)?;
        Ok(running.book.close(seen))
    }
}

struct Running<'m, J: Journey> {
    manner: &'m Manner,
    book: Book<'m>,
    journey: J,
    arrivals: Vec<Arrival<J::Ask>>,
    /// The next arrival.
    next: usize,
    /// Due, and without a connection.
    waiting: VecDeque<Arrival<J::Ask>>,
    connections: Vec<Connection<J::Ask>>,
    /// A number of a connection for each further question it may take.
    room: VecDeque<usize>,
    in_flight: usize,
    ready: Ready,
    scratch: Box<[u8]>,
}

struct Connection<A> {
    /// `None`: it could not be made again, and is tried later.
    stream: Option<Channel>,
    input: BytesMut,
    out: Vec<u8>,
    flights: VecDeque<Flight<A>>,
    is_waiting_to_write: bool,
}

/// A question on its way.
#[derive(Clone, Copy)]
struct Flight<A> {
    arrival: Arrival<A>,
    sent: At,
}

impl<'m, J: Journey> Running<'m, J> {
    fn new(lane: Lane<J>, manner: &'m Manner) -> io::Result<Running<'m, J>> {
        let mut running = Running {
            manner,
            book: Book::new(manner, J::KINDS.len()),
            journey: lane.journey,
            arrivals: lane.arrivals,
            next: 0,
            waiting: VecDeque::with_capacity(1024),
            connections: Vec::new(),
            room: VecDeque::new(),
            in_flight: 0,
            ready: Ready::new()?,
            scratch: vec![0; 256 << 10].into(),
        };
        for index in 0..manner.connections.max(1) {
            running.connections.push(Connection {
                stream: None,
                input: BytesMut::new(),
                out: Vec::new(),
                flights: VecDeque::new(),
                is_waiting_to_write: false,
            });
            running.connect(index)?;
        }
        // Every connection takes one question before any takes two.
        for _ in 0..manner.pipeline.max(1) {
            running.room.extend(0..running.connections.len());
        }
        Ok(running)
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let stream = Channel::connect(&self.manner.target, self.manner.tls.as_ref())?;
        self.ready.add(&stream, index as u64, Interest::Read)?;
        let connection = &mut self.connections[index];
        connection.stream = Some(stream);
        connection.input.clear();
        connection.out.clear();
        connection.is_waiting_to_write = false;
        Ok(())
    }

    fn run(&mut self, seen: &mpsc::Sender<Record>) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let now = self.book.now();
            self.take_up();
            if self.book.is_pause(now) {
                self.give_up(now);
                self.book.hand_over(seen);
            }
            if self.is_done(now) {
                break;
            }
            self.ready.wait(self.pause(), &mut events)?;
            for event in &events {
                self.event(*event)?;
                // Answers wait in their buffers, arrivals do not.
                self.take_up();
            }
        }
        self.end();
        Ok(())
    }

    /// How long nothing is due.
    fn pause(&self) -> Duration {
        let next = self.arrivals.get(self.next);
        let until = next.map(|arrival| self.book.intended(arrival.at).since(self.book.now()));
        until.unwrap_or(HAND_OVER).min(HAND_OVER)
    }

    fn is_done(&mut self, now: At) -> bool {
        if self.manner.stop.load(Ordering::Relaxed) {
            self.book.report.is_cut_short = true;
            return true;
        }
        let is_over = self.next == self.arrivals.len();
        let is_idle = self.in_flight == 0 && self.waiting.is_empty();
        let last = self.arrivals.last();
        let last = last.map(|arrival| self.book.intended(arrival.at));
        is_over && (is_idle || last.is_none_or(|last| now.since(last) > self.manner.patience))
    }

    /// Takes up every arrival that is due, and sends what there is a connection for.
    fn take_up(&mut self) {
        while let Some(&arrival) = self.arrivals.get(self.next) {
            let now = self.book.now();
            if self.book.intended(arrival.at) > now {
                break;
            }
            self.next += 1;
            self.book.offered(entry::<J>(&arrival), now);
            if self.waiting.len() < self.manner.waiting_room {
                self.waiting.push_back(arrival);
            } else {
                self.inadequate(&arrival, |counts| counts.dropped += 1);
            }
            self.send();
        }
        self.send();
    }

    fn count(&mut self, arrival: &Arrival<J::Ask>, count: impl Fn(&mut Counts)) {
        self.book.count(entry::<J>(arrival), count);
    }

    fn inadequate(&mut self, arrival: &Arrival<J::Ask>, count: impl Fn(&mut Counts)) {
        self.book.count_inadequate(entry::<J>(arrival), count);
    }

    fn send(&mut self) {
        while !self.waiting.is_empty() {
            let Some(index) = self.room.pop_front() else {
                return;
            };
            let connection = &self.connections[index];
            if connection.stream.is_none()
                || connection.flights.len() >= self.manner.pipeline.max(1)
            {
                continue;
            }
            let arrival = self
                .waiting
                .pop_front()
                .expect("somebody waits: see the loop");
            if !self.journey.is_possible(arrival.ask) {
                self.room.push_front(index);
                self.inadequate(&arrival, |counts| counts.skipped += 1);
                continue;
            }
            let request = self.journey.request(arrival.ask, arrival.number);
            let sent = self.book.now();
            let connection = &mut self.connections[index];
            connection.flights.push_back(Flight { arrival, sent });
            connection.out.extend_from_slice(&request);
            self.in_flight += 1;
            self.count(&arrival, |counts| counts.sent += 1);
            self.write(index);
        }
    }

    /// Writes what the socket takes.
    fn write(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(stream) = &mut connection.stream else {
            return;
        };
        let mut written = 0;
        while written < connection.out.len() {
            match stream.write(&connection.out[written..]) {
                Ok(length) if length > 0 => written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                _ => return self.broken(index),
            }
        }
        connection.out.drain(..written);
        let Ok(is_flushed) = stream.flush() else {
            return self.broken(index);
        };
        let waits = !connection.out.is_empty() || !is_flushed;
        if waits != connection.is_waiting_to_write {
            connection.is_waiting_to_write = waits;
            let interest = if waits {
                Interest::Both
            } else {
                Interest::Read
            };
            let _ = self.ready.modify(&*stream, index as u64, interest);
        }
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        let index = event.token as usize;
        if event.writable {
            self.write(index);
        }
        if !event.readable {
            return Ok(());
        }
        let connection = &mut self.connections[index];
        let Some(stream) = &mut connection.stream else {
            return Ok(());
        };
        match stream.read(&mut self.scratch) {
            Ok(0) => self.broken(index),
            Ok(length) => {
                let came = self.manner.clock.now();
                connection.input.extend_from_slice(&self.scratch[..length]);
                self.answers(index, came);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => self.broken(index),
        }
        Ok(())
    }

    /// Judges every whole answer that has come.
    fn answers(&mut self, index: usize, came: At) {
        loop {
            let connection = &mut self.connections[index];
            if connection.flights.is_empty() {
                if !connection.input.is_empty() {
                    self.book
                        .example("octets came that answer nothing".to_owned());
                    self.broken(index);
                }
                return;
            }
            let answer = match http::frame(&connection.input) {
                Ok(Framed::Partial) => return,
                Ok(Framed::Whole(length)) => {
                    let bytes = connection.input.split_to(length).freeze();
                    http::Response::parse(bytes)
                }
                Err(malformed) => Err(malformed),
            };
            match answer {
                Ok(answer) if answer.is_provisional() => {}
                Ok(answer) => {
                    let flight = connection
                        .flights
                        .pop_front()
                        .expect("a question is on its way: see above");
                    self.in_flight -= 1;
                    self.judged(flight, came, &answer);
                    if answer.closes() {
                        return self.broken(index);
                    }
                    self.room.push_back(index);
                }
                Err(malformed) => {
                    self.book.example(format!("no HTTP response: {malformed}"));
                    return self.broken(index);
                }
            }
        }
    }

    fn judged(&mut self, flight: Flight<J::Ask>, came: At, answer: &http::Response) {
        let arrival = flight.arrival;
        let depth = match arrival.number % self.manner.read_whole.max(1) {
            0 => Depth::Whole,
            _ => Depth::Shape,
        };
        let asked = Asked {
            ask: arrival.ask,
            number: arrival.number,
            sent: flight.sent,
            came,
            depth,
        };
        let octets = answer.bytes().len() as u64;
        self.count(&arrival, |counts| {
            counts.answered += 1;
            counts.octets += octets;
            counts.read_whole += u64::from(depth == Depth::Whole);
        });
        let entry = entry::<J>(&arrival);
        match self.journey.judge(asked, answer) {
            Ok(()) => self.book.right(entry, flight.sent, came),
            Err(wrong) => {
                let what = format!("{} {}", J::KINDS[entry.kind], arrival.number);
                self.book.wrong(entry, &what, &wrong);
            }
        }
    }

    /// A connection is over: what is on its way there is never answered.
    fn broken(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        // Closing the socket takes it out of the waiting.
        connection.stream = None;
        let flights = std::mem::take(&mut connection.flights);
        self.in_flight -= flights.len();
        self.book.report.lost_connections += 1;
        for flight in flights {
            self.inadequate(&flight.arrival, |counts| counts.unanswered += 1);
        }
        self.revive(index);
    }

    fn revive(&mut self, index: usize) {
        if self.connect(index).is_ok() {
            let room = self.manner.pipeline.max(1);
            self.room.extend(std::iter::repeat_n(index, room));
        }
    }

    /// Gives up what has taken too long, and tries connections again that could not be made.
    fn give_up(&mut self, now: At) {
        for index in 0..self.connections.len() {
            let connection = &self.connections[index];
            let oldest = connection.flights.front();
            let is_silent =
                oldest.is_some_and(|flight| now.since(flight.sent) > self.manner.patience);
            if connection.stream.is_none() {
                self.revive(index);
            } else if is_silent {
                self.broken(index);
            }
        }
    }

    /// What is still on its way at the end is never answered, and what still waits never left.
    fn end(&mut self) {
        for index in 0..self.connections.len() {
            let flights = std::mem::take(&mut self.connections[index].flights);
            for flight in flights {
                self.inadequate(&flight.arrival, |counts| counts.unanswered += 1);
            }
        }
        while let Some(arrival) = self.waiting.pop_front() {
            self.inadequate(&arrival, |counts| counts.dropped += 1);
        }
    }
}

fn entry<J: Journey>(arrival: &Arrival<J::Ask>) -> Entry {
    Entry {
        at: arrival.at,
        kind: J::kind(arrival.ask),
    }
}
