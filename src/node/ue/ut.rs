//! The UE's side of Ut: PPSTP over HTTP to the Tracker AS, with HTTP Digest. It repeats a request whose
//! answer makes no sense, octet for octet as far as the document goes (RFC 7846 4.3), and gives up
//! after a few tries. It knows no swarm and no piece.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::journey::Setback;
use crate::{
    io::{Input, OpenSecurity, Outbox, TimerId},
    proto::{
        digest::{AuthValue, Secret, Session},
        http_exchange::{ClientEvent, ClientHabits, Exchange, ExchangeFailure, HttpClient},
    },
    random::Random,
    spec::RefPoint,
    time::At,
    wire::{
        http,
        ppstp::{self, MEDIA_TYPE, Profile, Request, Response},
    },
};

/// A document on its way to the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask(u64);

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The tracker's answer, success or failure.
    Answered(Response),
    /// No usable answer came.
    Failed(Setback),
}

/// Who asks, and where the tracker is.
#[derive(Clone, Debug)]
pub struct Access {
    pub tracker: SocketAddr,
    /// Its host name, for Host.
    pub host: String,
    pub impi: String,
    pub impu: String,
    pub password: String,
    pub security: OpenSecurity,
    pub habits: ClientHabits,
    /// Whether credentials go with the first request too, once a challenge is known.
    pub preempts: bool,
    /// Whether a repeated request keeps its transaction id (RFC 7846 4.3).
    pub repeats_transaction: bool,
}

#[derive(Clone, Debug)]
struct Waiting {
    ask: Ask,
    transaction_id: String,
    json: String,
    /// Answers that made no sense, and silences.
    misses: u32,
    challenged: u32,
}

/// The link to the tracker.
#[derive(Debug)]
pub struct Ut {
    access: Access,
    http: HttpClient,
    random: Random,
    session: Option<Session>,
    next: u64,
    out: BTreeMap<Exchange, Waiting>,
    resting: BTreeMap<TimerId, Waiting>,
}

impl Ut {
    /// `seed` feeds client nonces.
    pub fn new(access: Access, seed: u64) -> Ut {
        Ut {
            http: HttpClient::new(access.habits),
            access,
            random: Random::new(seed),
            session: None,
            next: 0,
            out: BTreeMap::new(),
            resting: BTreeMap::new(),
        }
    }

    /// Sends a document; its [`Outcome`] comes from [`Ut::take`].
    pub fn send(&mut self, at: At, document: &Request, out: &mut Outbox) -> Ask {
        self.next += 1;
        let ask = Ask(self.next);
        let waiting = Waiting {
            ask,
            transaction_id: document.transaction_id.clone(),
            json: document.to_json(),
            misses: 0,
            challenged: 0,
        };
        self.post(at, waiting, out);
        ask
    }

    /// Takes an input if it is this link's. `None`: not ours.
    pub fn take(
        &mut self,
        at: At,
        input: &Input<'_>,
        out: &mut Outbox,
    ) -> Option<Vec<(Ask, Outcome)>> {
        if let Input::Timer(timer) = input
            && let Some(waiting) = self.resting.remove(timer)
        {
            self.post(at, waiting, out);
            return Some(Vec::new());
        }
        let events = self.http.take(input, out)?;
        let outcomes = events
            .into_iter()
            .filter_map(|event| self.event(at, event, out));
        Some(outcomes.collect())
    }

    fn event(&mut self, at: At, event: ClientEvent, out: &mut Outbox) -> Option<(Ask, Outcome)> {
        match event {
            ClientEvent::Response { exchange, response } => {
                let waiting = self.out.remove(&exchange)?;
                self.answered(at, waiting, &response, out)
            }
            ClientEvent::Failed { exchange, why } => {
                let waiting = self.out.remove(&exchange)?;
                let setback = match why {
                    ExchangeFailure::Silent => Setback::Timeout,
                    _ => Setback::Unavailable,
                };
                self.missed(at, waiting, PAUSE, setback, out)
            }
        }
    }

    /// The body is read first, whatever the status (RFC 7846 names no status for failures).
    fn answered(
        &mut self,
        at: At,
        waiting: Waiting,
        response: &http::Response,
        out: &mut Outbox,
    ) -> Option<(Ask, Outcome)> {
        if response.status() == 401 {
            return self.challenged(at, waiting, response, out);
        }
        let reading = ppstp::read_response(&response.body(), Profile::Examples);
        match reading {
            Ok(reading) if reading.message.transaction_id == waiting.transaction_id => {
                Some((waiting.ask, Outcome::Answered(reading.message)))
            }
            _ => match response.status() {
                403 => Some((waiting.ask, Outcome::Failed(Setback::Rejected))),
                503 | 429 => {
                    let pause = retry_after(response).unwrap_or(PAUSE);
                    self.missed(at, waiting, pause, Setback::Unavailable, out)
                }
                _ => self.missed(at, waiting, PAUSE, Setback::Unavailable, out),
            },
        }
    }

    /// Meets a challenge; the same one again means that the credentials are wrong (RFC 7616 3.3).
    fn challenged(
        &mut self,
        at: At,
        mut waiting: Waiting,
        response: &http::Response,
        out: &mut Outbox,
    ) -> Option<(Ask, Outcome)> {
        waiting.challenged += 1;
        let challenges: Vec<AuthValue> = response
            .headers()
            .filter(|(name, _)| name.eq_ignore_ascii_case("WWW-Authenticate"))
            .flat_map(|(_, value)| AuthValue::parse_all(&value).unwrap_or_default())
            .collect();
        let secret = Secret::Password(self.access.password.clone());
        let session = Session::start(&challenges, &self.access.impi, &secret);
        let (Ok(session), ..=MOST_CHALLENGES) = (session, waiting.challenged) else {
            return Some((waiting.ask, Outcome::Failed(Setback::Rejected)));
        };
        self.session = Some(session);
        self.post(at, waiting, out);
        None
    }

    /// Tries again after a pause, up to a limit.
    fn missed(
        &mut self,
        at: At,
        mut waiting: Waiting,
        pause: Duration,
        setback: Setback,
        out: &mut Outbox,
    ) -> Option<(Ask, Outcome)> {
        waiting.misses += 1;
        if waiting.misses > MOST_MISSES {
            return Some((waiting.ask, Outcome::Failed(setback)));
        }
        if !self.access.repeats_transaction {
            let fresh = self.random.token(12);
            let old = format!("\"{}\"", waiting.transaction_id);
            waiting.json = waiting.json.replacen(&old, &format!("\"{fresh}\""), 1);
            waiting.transaction_id = fresh;
        }
        let timer = out.wake_at(at + pause * waiting.misses);
        self.resting.insert(timer, waiting);
        None
    }

    fn post(&mut self, at: At, waiting: Waiting, out: &mut Outbox) {
        let mut builder = http::Request::build("POST", ppstp::PATH)
            .header("Host", &self.access.host)
            .header(
                "X-3GPP-Intended-Identity",
                &format!("\"{}\"", self.access.impu),
            );
        if (waiting.challenged > 0 || self.access.preempts)
            && let Some(session) = &mut self.session
        {
            let answer = session.answer("POST", ppstp::PATH, &mut self.random);
            builder = builder.header("Authorization", &answer.to_string());
        }
        let request = builder
            .header("Accept", MEDIA_TYPE)
            .body(MEDIA_TYPE, waiting.json.clone())
            .finish();
        let exchange = self.http.send(
            at,
            RefPoint::Ut,
            self.access.tracker,
            self.access.security.clone(),
            request,
            Some(PATIENCE),
            out,
        );
        self.out.insert(exchange, waiting);
    }
}

fn retry_after(response: &http::Response) -> Option<Duration> {
    let seconds: u32 = response.header("Retry-After")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Before a request is repeated; grows with each time.
const PAUSE: Duration = Duration::from_millis(500);

/// Repetitions of one request.
const MOST_MISSES: u32 = 3;

/// Challenges met for one request.
const MOST_CHALLENGES: u32 = 2;
