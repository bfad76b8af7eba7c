//! HTTP/1.1 exchanges (RFC 9112): a client that keeps connections and matches responses in order, and a
//! server that answers in the order it was asked. Both take a node's inputs and push to its outbox;
//! neither knows what is exchanged. Start at [`HttpClient`] and [`HttpServer`].

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use crate::{
    io::{Input, LinkEvent, OpenSecurity, Outbox, TimerId},
    spec::{Format, RefPoint},
    time::At,
    wire::{
        Malformed,
        frame::{Frame, LinkId, Security},
        http::{Request, Response},
    },
};

/// A request on its way: what its response or failure is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exchange(pub u64);

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// Its final response.
    Response {
        exchange: Exchange,
        response: Response,
    },
    /// No response will come.
    Failed {
        exchange: Exchange,
        why: ExchangeFailure,
    },
}

/// Why no response came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExchangeFailure {
    /// The connection ended first.
    Closed,
    /// Nobody listens there, or no connection came about.
    Refused,
    /// Nothing came in the time given.
    Silent,
    /// What came is no HTTP response.
    Unreadable(Malformed),
}

/// How a client uses its connections; each value is lawful (RFC 9112 9.3, 9.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHabits {
    /// Connections to one server at a time, one at least.
    pub connections: usize,
    /// Whether a request may follow another before its response has come.
    pub pipelines: bool,
    /// Whether a connection is used again.
    pub reuses: bool,
}

impl Default for ClientHabits {
    fn default() -> Self {
        ClientHabits {
            connections: 6,
            pipelines: false,
            reuses: true,
        }
    }
}

/// The asking side.
#[derive(Debug, Default)]
pub struct HttpClient {
    habits: ClientHabits,
    links: BTreeMap<LinkId, ClientLink>,
    queues: BTreeMap<Server, VecDeque<Asked>>,
    timers: BTreeMap<TimerId, Exchange>,
    next: u64,
}

/// Where a connection leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Server {
    on: RefPoint,
    to: SocketAddr,
}

#[derive(Debug)]
struct ClientLink {
    server: Server,
    /// Sent and not yet answered, the oldest first.
    waiting: VecDeque<Asked>,
}

#[derive(Debug)]
struct Asked {
    exchange: Exchange,
    request: Request,
    security: OpenSecurity,
    timer: Option<TimerId>,
}

impl HttpClient {
    pub fn new(habits: ClientHabits) -> HttpClient {
        HttpClient {
            habits,
            ..HttpClient::default()
        }
    }

    /// Sends a request, on a connection that is free or a new one; waits in line if there are too many.
    /// With a `limit` it fails as silent when that has passed.
    #[allow(clippy::too_many_arguments)]
    pub fn send(
        &mut self,
        at: At,
        on: RefPoint,
        to: SocketAddr,
        security: OpenSecurity,
        request: Request,
        limit: Option<Duration>,
        out: &mut Outbox,
    ) -> Exchange {
        self.next += 1;
        let exchange = Exchange(self.next);
        let timer = limit.map(|limit| out.wake_at(at + limit));
        if let Some(timer) = timer {
            self.timers.insert(timer, exchange);
        }
        let server = Server { on, to };
        self.queues.entry(server).or_default().push_back(Asked {
            exchange,
            request,
            security,
            timer,
        });
        self.flush(server, out);
        exchange
    }

    /// Forgets a request; a connection that still owes its response is closed.
    pub fn forget(&mut self, exchange: Exchange, out: &mut Outbox) {
        self.take_out(exchange, out);
    }

    /// Takes an input if it is this client's. `None`: not ours.
    pub fn take(&mut self, input: &Input<'_>, out: &mut Outbox) -> Option<Vec<ClientEvent>> {
        match input {
            Input::Frame(frame) => {
                let link = frame.link.filter(|link| self.links.contains_key(link))?;
                Some(self.frame(link, frame, out))
            }
            Input::Link(link, event) if self.links.contains_key(link) => Some(match event {
                LinkEvent::Opened | LinkEvent::Accepted { .. } => Vec::new(),
                LinkEvent::Refused | LinkEvent::TimedOut | LinkEvent::NotSecured { .. } => {
                    self.lost(*link, ExchangeFailure::Refused, out)
                }
                LinkEvent::Closed | LinkEvent::Reset => {
                    self.lost(*link, ExchangeFailure::Closed, out)
                }
            }),
            Input::Timer(timer) => {
                let exchange = self.timers.remove(timer)?;
                self.take_out(exchange, out);
                Some(vec![ClientEvent::Failed {
                    exchange,
                    why: ExchangeFailure::Silent,
                }])
            }
            _ => None,
        }
    }

    fn frame(&mut self, link: LinkId, frame: &Frame, out: &mut Outbox) -> Vec<ClientEvent> {
        let response = match Response::parse(frame.bytes.clone()) {
            Ok(response) if response.is_provisional() => return Vec::new(),
            // Octets that never framed are a response only if it was to last until the close.
            Ok(response) if frame.framed || response.closes() => response,
            Ok(_) => return self.lost(link, ExchangeFailure::Closed, out),
            Err(malformed) => {
                out.close(link);
                return self.lost(link, ExchangeFailure::Unreadable(malformed), out);
            }
        };
        let Some(state) = self.links.get_mut(&link) else {
            return Vec::new();
        };
        let server = state.server;
        let answered = state.waiting.pop_front();
        let mut events = Vec::new();
        if let Some(asked) = answered {
            self.disarm(asked.timer, out);
            events.push(ClientEvent::Response {
                exchange: asked.exchange,
                response: response.clone(),
            });
        }
        let idle = self.links[&link].waiting.is_empty();
        if response.closes() || (idle && !self.habits.reuses) {
            out.close(link);
            events.extend(self.lost(link, ExchangeFailure::Closed, out));
        }
        self.flush(server, out);
        events
    }

    /// Gives up a connection: what waited on it fails.
    fn lost(&mut self, link: LinkId, why: ExchangeFailure, out: &mut Outbox) -> Vec<ClientEvent> {
        let Some(state) = self.links.remove(&link) else {
            return Vec::new();
        };
        let mut events = Vec::new();
        for asked in state.waiting {
            self.disarm(asked.timer, out);
            events.push(ClientEvent::Failed {
                exchange: asked.exchange,
                why: why.clone(),
            });
        }
        self.flush(state.server, out);
        events
    }

    /// Removes a request wherever it is.
    fn take_out(&mut self, exchange: Exchange, out: &mut Outbox) {
        let mut timer = None;
        for queue in self.queues.values_mut() {
            if let Some(place) = queue.iter().position(|asked| asked.exchange == exchange) {
                timer = queue.remove(place).and_then(|asked| asked.timer);
            }
        }
        let owing = self.links.iter().find_map(|(&link, state)| {
            let place = state.waiting.iter().position(|a| a.exchange == exchange)?;
            Some((link, place))
        });
        if let Some((link, place)) = owing {
            out.close(link);
            if let Some(mut state) = self.links.remove(&link) {
                timer = state.waiting.remove(place).and_then(|asked| asked.timer);
                // Innocent neighbours in the pipeline are asked again elsewhere, in their order.
                let queue = self.queues.entry(state.server).or_default();
                for asked in state.waiting.into_iter().rev() {
                    queue.push_front(asked);
                }
                self.flush(state.server, out);
            }
        }
        self.disarm(timer, out);
    }

    fn disarm(&mut self, timer: Option<TimerId>, out: &mut Outbox) {
        if let Some(timer) = timer
            && self.timers.remove(&timer).is_some()
        {
            out.disarm(timer);
        }
    }

    /// Sends what waits in line for a server, as far as its connections allow.
    fn flush(&mut self, server: Server, out: &mut Outbox) {
        while let Some(asked) = self.queues.get_mut(&server).and_then(VecDeque::pop_front) {
            let Some(link) = self.link_for(server, &asked, out) else {
                if let Some(queue) = self.queues.get_mut(&server) {
                    queue.push_front(asked);
                }
                return;
            };
            out.send(link, asked.request.bytes().clone());
            if let Some(state) = self.links.get_mut(&link) {
                state.waiting.push_back(asked);
            }
        }
        self.queues.remove(&server);
    }

    fn link_for(&mut self, server: Server, asked: &Asked, out: &mut Outbox) -> Option<LinkId> {
        let mut open = self
            .links
            .iter()
            .filter(|(_, state)| state.server == server);
        let free = open
            .clone()
            .find(|(_, state)| state.waiting.is_empty() && self.habits.reuses);
        if let Some((&link, _)) = free {
            return Some(link);
        }
        if self.habits.pipelines
            && let Some((&link, _)) = open.clone().min_by_key(|(_, state)| state.waiting.len())
        {
            return Some(link);
        }
        if open.by_ref().count() >= self.habits.connections.max(1) {
            return None;
        }
        let link = out.open(server.on, Format::Http, server.to, asked.security.clone());
        self.links.insert(
            link,
            ClientLink {
                server,
                waiting: VecDeque::new(),
            },
        );
        Some(link)
    }
}

/// A request that came in: what it is answered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Served {
    link: LinkId,
    number: u64,
}

/// Who asks, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    pub on: RefPoint,
    pub from: SocketAddr,
    pub local: SocketAddr,
    pub security: Security,
}

/// What a server has to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// A request; every one is to be answered once.
    Request {
        served: Served,
        request: Request,
        asker: Asker,
    },
    /// Octets that are no request; answered with 400, the connection closed.
    Unreadable { malformed: Malformed, asker: Asker },
    /// The connection is gone: what came on it needs no answer any more.
    Gone { requests: Vec<Served> },
}

/// The answering side.
#[derive(Debug, Default)]
pub struct HttpServer {
    links: BTreeMap<LinkId, ServerLink>,
    next: u64,
}

#[derive(Debug)]
struct ServerLink {
    asker: Asker,
    /// In the order they came, with the answer where one is ready.
    owed: VecDeque<Owed>,
    /// No more requests are read: the connection ends after what is owed.
    ending: bool,
}

#[derive(Debug)]
struct Owed {
    served: Served,
    closes: bool,
    answer: Option<Response>,
}

/// The most requests one connection may have waiting for answers.
const OWED_LIMIT: usize = 256;

impl HttpServer {
    pub fn new() -> HttpServer {
        HttpServer::default()
    }

    /// Takes an input if it is this server's: a connection accepted for HTTP and what comes on it.
    pub fn take(&mut self, input: &Input<'_>, out: &mut Outbox) -> Option<Vec<ServerEvent>> {
        match input {
            Input::Link(
                link,
                LinkEvent::Accepted {
                    on,
                    format: Format::Http,
                    from,
                    local,
                    security,
                },
            ) => {
                let asker = Asker {
                    on: *on,
                    from: *from,
                    local: *local,
                    security: security.clone(),
                };
                self.links.insert(
                    *link,
                    ServerLink {
                        asker,
                        owed: VecDeque::new(),
                        ending: false,
                    },
                );
                Some(Vec::new())
            }
            Input::Link(link, _) => {
                let gone = self.links.remove(link)?;
                let requests: Vec<Served> = gone.owed.iter().map(|owed| owed.served).collect();
                Some(match requests.is_empty() {
                    true => Vec::new(),
                    false => vec![ServerEvent::Gone { requests }],
                })
            }
            Input::Frame(frame) => {
                let link = frame.link.filter(|link| self.links.contains_key(link))?;
                Some(self.frame(link, frame, out))
            }
            _ => None,
        }
    }

    /// Answers a request; goes out once all before it on its connection are answered. Nothing happens if
    /// the connection is gone or the request was answered already.
    pub fn respond(&mut self, served: Served, response: Response, out: &mut Outbox) {
        let Some(state) = self.links.get_mut(&served.link) else {
            return;
        };
        if let Some(owed) = state.owed.iter_mut().find(|owed| owed.served == served) {
            owed.answer.get_or_insert(response);
        }
        self.flush(served.link, out);
    }

    fn frame(&mut self, link: LinkId, frame: &Frame, out: &mut Outbox) -> Vec<ServerEvent> {
        let Some(state) = self.links.get_mut(&link) else {
            return Vec::new();
        };
        if state.ending {
            return Vec::new();
        }
        self.next += 1;
        let served = Served {
            link,
            number: self.next,
        };
        let asker = state.asker.clone();
        let request = match Request::parse(frame.bytes.clone()) {
            Ok(request) if frame.framed && state.owed.len() < OWED_LIMIT => Ok(request),
            Ok(_) => Err(Malformed::new(&frame.bytes, 0, "fewer requests at a time")),
            Err(malformed) => Err(malformed),
        };
        match request {
            Ok(request) => {
                state.ending = request.closes();
                state.owed.push_back(Owed {
                    served,
                    closes: request.closes(),
                    answer: None,
                });
                vec![ServerEvent::Request {
                    served,
                    request,
                    asker,
                }]
            }
            Err(malformed) => {
                state.ending = true;
                state.owed.push_back(Owed {
                    served,
                    closes: true,
                    answer: Some(Response::build(400).header("Connection", "close").finish()),
                });
                self.flush(link, out);
                vec![ServerEvent::Unreadable { malformed, asker }]
            }
        }
    }

    fn flush(&mut self, link: LinkId, out: &mut Outbox) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        while let Some(owed) = state.owed.front() {
            let Some(answer) = &owed.answer else {
                return;
            };
            let closes = owed.closes || answer.closes();
            out.send(link, answer.bytes().clone());
            state.owed.pop_front();
            if closes {
                out.close(link);
                self.links.remove(&link);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{io::Output, wire::frame::Party};

    const SERVER: &str = "198.51.100.21:80";

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn frame(link: LinkId, bytes: &[u8], framed: bool) -> Frame {
        Frame {
            from: Party::Unknown(addr(SERVER)),
            to: Party::Unknown(addr("192.0.2.10:40000")),
            src: addr(SERVER),
            dst: addr("192.0.2.10:40000"),
            on: RefPoint::Data,
            format: Format::Http,
            link: Some(link),
            security: Security::Plain,
            bytes: Bytes::copy_from_slice(bytes),
            framed,
        }
    }

    fn ask(client: &mut HttpClient, target: &str, out: &mut Outbox) -> Exchange {
        client.send(
            At::ZERO,
            RefPoint::Data,
            addr(SERVER),
            OpenSecurity::Plain,
            Request::build("GET", target).finish(),
            Some(Duration::from_secs(2)),
            out,
        )
    }

    fn sent(out: &mut Outbox) -> Vec<String> {
        out.drain()
            .filter_map(|output| match output {
                Output::Open { link, .. } => Some(format!("open {}", link.0)),
                Output::Send { link, bytes } => {
                    let line = String::from_utf8_lossy(&bytes);
                    let words = line.split("\r\n").next().unwrap_or_default();
                    Some(format!("{} {words}", link.0))
                }
                Output::Close { link, .. } => Some(format!("close {}", link.0)),
                _ => None,
            })
            .collect()
    }

    fn one_connection() -> HttpClient {
        HttpClient::new(ClientHabits {
            connections: 1,
            ..ClientHabits::default()
        })
    }

    #[test]
    fn responses_meet_requests_in_order_on_one_connection() {
        let (mut client, mut out) = (one_connection(), Outbox::default());
        let first = ask(&mut client, "/1", &mut out);
        let second = ask(&mut client, "/2", &mut out);
        assert_eq!(vec!["open 2", "2 GET /1 HTTP/1.1"], sent(&mut out));

        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let answer = frame(LinkId(2), ok, true);
        let events = client.take(&Input::Frame(&answer), &mut out).unwrap();
        assert!(
            matches!(&events[..], [ClientEvent::Response { exchange, .. }] if *exchange == first)
        );
        assert_eq!(vec!["2 GET /2 HTTP/1.1"], sent(&mut out));

        let closed = Input::Link(LinkId(2), LinkEvent::Closed);
        let why = ExchangeFailure::Closed;
        assert_eq!(
            Some(vec![ClientEvent::Failed {
                exchange: second,
                why
            }]),
            client.take(&closed, &mut out)
        );
    }

    #[test]
    fn a_silent_server_fails_one_request_and_not_the_next() {
        let (mut client, mut out) = (one_connection(), Outbox::default());
        let first = ask(&mut client, "/1", &mut out);
        ask(&mut client, "/2", &mut out);
        sent(&mut out);

        let events = client.take(&Input::Timer(TimerId(1)), &mut out).unwrap();
        let why = ExchangeFailure::Silent;
        assert_eq!(
            vec![ClientEvent::Failed {
                exchange: first,
                why
            }],
            events
        );
        assert_eq!(
            vec!["close 2", "open 4", "4 GET /2 HTTP/1.1"],
            sent(&mut out)
        );
    }

    #[test]
    fn a_response_may_last_until_the_close() {
        let (mut client, mut out) = (HttpClient::default(), Outbox::default());
        ask(&mut client, "/1", &mut out);
        let text = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc";
        let rest = frame(LinkId(2), text, false);
        let events = client.take(&Input::Frame(&rest), &mut out).unwrap();
        let [ClientEvent::Response { response, .. }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(&b"abc"[..], &*response.body());
    }

    #[test]
    fn half_a_response_is_a_failure() {
        let (mut client, mut out) = (HttpClient::default(), Outbox::default());
        ask(&mut client, "/1", &mut out);
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc";
        let rest = frame(LinkId(2), text, false);
        let events = client.take(&Input::Frame(&rest), &mut out).unwrap();
        assert!(matches!(&events[..], [ClientEvent::Failed { .. }]));
    }

    fn accepted(link: u64) -> Input<'static> {
        Input::Link(
            LinkId(link),
            LinkEvent::Accepted {
                on: RefPoint::Data,
                format: Format::Http,
                from: addr("192.0.2.10:40000"),
                local: addr(SERVER),
                security: Security::Plain,
            },
        )
    }

    #[test]
    fn answers_leave_in_the_order_of_their_questions() {
        let (mut server, mut out) = (HttpServer::new(), Outbox::default());
        server.take(&accepted(1), &mut out);
        let mut asked = Vec::new();
        for target in ["/1", "/2"] {
            let text = format!("GET {target} HTTP/1.1\r\n\r\n");
            let request = frame(LinkId(1), text.as_bytes(), true);
            for event in server.take(&Input::Frame(&request), &mut out).unwrap() {
                if let ServerEvent::Request { served, .. } = event {
                    asked.push(served);
                }
            }
        }
        server.respond(asked[1], Response::build(404).finish(), &mut out);
        assert!(sent(&mut out).is_empty());
        server.respond(asked[0], Response::build(200).finish(), &mut out);
        assert_eq!(
            vec!["1 HTTP/1.1 200 OK", "1 HTTP/1.1 404 Not Found"],
            sent(&mut out)
        );
    }

    #[test]
    fn what_is_no_request_is_answered_400_and_ends_the_connection() {
        let (mut server, mut out) = (HttpServer::new(), Outbox::default());
        server.take(&accepted(1), &mut out);
        let request = frame(LinkId(1), b"GET / HTTP/1.1\nHost: x\n\n", false);
        let events = server.take(&Input::Frame(&request), &mut out).unwrap();
        assert!(matches!(&events[..], [ServerEvent::Unreadable { .. }]));
        assert_eq!(
            vec!["1 HTTP/1.1 400 Bad Request", "close 1"],
            sent(&mut out)
        );
    }
}
