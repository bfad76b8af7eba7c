//! File transfer by offer and answer (RFC 5547) over MSRP (RFC 4975). Offers and answers are pure
//! functions of descriptions; [`MsrpEndpoint`] carries the octets. Knows neither SIP nor who holds what.
//! Start at [`Offer::pull`], [`read_offer`] and [`MsrpEndpoint`].

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use bytes::{Bytes, BytesMut};

use crate::{
    io::{Input, LinkEvent, OpenSecurity, Outbox, TimerId},
    random::Random,
    spec::{Format, RefPoint},
    time::At,
    wire::{
        Malformed,
        frame::{Frame, LinkId},
        http::Octets,
        msrp::{self, ByteRange, Flag, Message, Uri},
        sdp::{Attribute, Direction, FileRange, FileSelector, Media, Session},
    },
};

/// The type pieces travel under.
pub const PIECE_TYPE: &str = "application/octet-stream";

/// Which end opens the connection, as a description says it (`a=setup`; RFC 4145, clause not verified).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setup {
    #[default]
    Active,
    /// Either would do: the answerer chooses.
    ActPass,
    Passive,
    /// Not written: the offerer is active (RFC 4975 5.4).
    Unsaid,
}

impl Setup {
    fn word(self) -> Option<&'static str> {
        match self {
            Setup::Active => Some("active"),
            Setup::ActPass => Some("actpass"),
            Setup::Passive => Some("passive"),
            Setup::Unsaid => None,
        }
    }
}

/// One piece to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub selector: FileSelector,
    /// 0-based octets of the file.
    pub octets: Octets,
}

/// A pull offer that was made: what the answer is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub session: Session,
    /// One media line each, in order.
    pub legs: Vec<Leg>,
}

/// One offered media line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    pub wanted: Wanted,
    pub transfer_id: String,
    /// Our own MSRP URI.
    pub local: Uri,
}

impl Offer {
    /// Offers to receive pieces: a media line each, with a fresh transfer id and a fresh session
    /// (RFC 5547 8.2; clause not verified). `local` is where we would listen.
    pub fn pull(local: SocketAddr, wanted: &[Wanted], setup: Setup, random: &mut Random) -> Offer {
        let id = 3_910_000_000 + random.below(1_000_000_000);
        let mut session = Session::new(local.ip(), id, 1);
        let mut legs = Vec::new();
        for wanted in wanted {
            let leg = Leg {
                wanted: wanted.clone(),
                transfer_id: random.token(14),
                local: Uri::new(local, &random.token(20)),
            };
            let mut media = Media::msrp(local.port())
                .with(Attribute::flag(Direction::RecvOnly.word()))
                .with(Attribute::new("accept-types", PIECE_TYPE));
            if let Some(word) = setup.word() {
                media = media.with(Attribute::new("setup", word));
            }
            media = media
                .with(Attribute::new("path", &leg.local))
                .with(Attribute::new("file-selector", &wanted.selector))
                .with(Attribute::new("file-transfer-id", &leg.transfer_id));
            if let Some(range) = FileRange::of(wanted.octets.first, wanted.octets.len()) {
                media = media.with(Attribute::new("file-range", range));
            }
            session.media.push(media);
            legs.push(leg);
        }
        Offer { session, legs }
    }

    /// Holds an answer against the offer, a media line each. `Err` if it does not answer line by line
    /// (RFC 3264 6).
    pub fn judge(&self, answer: &Session) -> Result<Vec<Answered>, String> {
        if answer.media.len() != self.session.media.len() {
            return Err(format!(
                "the answer has {} media lines, expected {}",
                answer.media.len(),
                self.session.media.len()
            ));
        }
        let lines = self.session.media.iter().zip(&answer.media);
        Ok(lines
            .map(|(offered, answered)| judge_line(offered, answered))
            .collect())
    }
}

/// What became of an offered media line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The piece will come.
    Accepted {
        peer: Vec<Uri>,
        /// Whether we open the connection.
        active: bool,
    },
    /// Port 0: not this piece.
    Refused,
    /// The answer does not fit the offer; what was expected and found.
    Wrong(String),
}

fn judge_line(offered: &Media, answered: &Media) -> Answered {
    if answered.port == 0 {
        return Answered::Refused;
    }
    match accepted_line(offered, answered) {
        Ok(accepted) => accepted,
        Err(wrong) => Answered::Wrong(wrong),
    }
}

/// RFC 5547 8.3.2: `sendonly`, the same transfer id, the same range.
fn accepted_line(offered: &Media, answered: &Media) -> Result<Answered, String> {
    if !answered.is_msrp() {
        let (kind, protocol) = (&answered.kind, &answered.protocol);
        return Err(format!("media {kind} over {protocol}, expected MSRP"));
    }
    if answered.direction() != Direction::SendOnly {
        let word = answered.direction().word();
        return Err(format!("direction {word}, expected sendonly"));
    }
    for name in ["file-transfer-id", "file-range"] {
        let (expected, found) = (offered.attribute(name), answered.attribute(name));
        if expected != found {
            let show = |value: Option<&str>| value.unwrap_or("none").to_owned();
            let (expected, found) = (show(expected), show(found));
            return Err(format!("{name} {found}, expected {expected}"));
        }
    }
    let peer = answered
        .path()
        .map_err(|malformed| format!("a=path, {malformed}"))?;
    let offerer_is_active = matches!(offered.setup(), None | Some("active"));
    let active = match (offered.setup(), answered.setup()) {
        (_, None) => offerer_is_active,
        (None | Some("active" | "actpass"), Some("passive")) => true,
        (Some("passive" | "actpass"), Some("active")) => false,
        (offered, Some(found)) => {
            let offered = offered.unwrap_or("nothing");
            return Err(format!("setup {found} in answer to {offered}"));
        }
    };
    Ok(Answered::Accepted { peer, active })
}

/// One media line of an offer somebody made us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedPiece {
    /// Which media line.
    pub line: usize,
    pub selector: FileSelector,
    /// `None`: the whole file.
    pub range: Option<FileRange>,
    pub transfer_id: String,
    pub peer: Vec<Uri>,
    /// Whether we are to open the connection.
    pub active: bool,
}

/// Reads an offer line by line: a piece asked of us, or why the line is no pull offer we could serve.
pub fn read_offer(offer: &Session) -> Vec<Result<AskedPiece, String>> {
    offer
        .media
        .iter()
        .enumerate()
        .map(|(line, media)| read_line(line, media))
        .collect()
}

fn read_line(line: usize, media: &Media) -> Result<AskedPiece, String> {
    if media.port == 0 {
        return Err("port 0, nothing is offered".to_owned());
    }
    if !media.is_msrp() || media.protocol != "TCP/MSRP" {
        let (kind, protocol) = (&media.kind, &media.protocol);
        return Err(format!(
            "media {kind} over {protocol}, expected message over TCP/MSRP"
        ));
    }
    if media.direction() != Direction::RecvOnly {
        let word = media.direction().word();
        return Err(format!("direction {word}, expected recvonly"));
    }
    let types = media.accept_types();
    if !types.iter().any(|&kind| accepts(kind, PIECE_TYPE)) {
        return Err(format!("accept-types without {PIECE_TYPE}"));
    }
    let told = |malformed: Malformed| malformed.to_string();
    let selector = media
        .file_selector()
        .map_err(told)?
        .filter(|selector| !selector.is_empty())
        .ok_or("no file selector")?;
    let active = match media.setup() {
        None | Some("active" | "actpass") => false,
        Some("passive") => true,
        Some(other) => return Err(format!("setup {other}")),
    };
    Ok(AskedPiece {
        line,
        selector,
        range: media.file_range().map_err(told)?,
        transfer_id: media
            .file_transfer_id()
            .ok_or("no file transfer id")?
            .to_owned(),
        peer: media.path().map_err(told)?,
        active,
    })
}

/// Whether an entry of accept-types covers a type (RFC 4975 8.6: `*`, `type/*`, or the type).
fn accepts(entry: &str, kind: &str) -> bool {
    let main = kind.split('/').next().unwrap_or_default();
    entry == "*" || entry == kind || entry.strip_suffix("/*") == Some(main)
}

/// The promise to send the piece of one media line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Where the other end finds us: our own data address, or the address of whoever sends in our place.
    pub at: SocketAddr,
    pub path: Uri,
    /// Said where it tells more than the offer's.
    pub selector: Option<FileSelector>,
}

/// Answers an offer line by line: with a promise, or with port 0. Promises beyond its media lines do not
/// count, missing ones refuse.
///
/// RFC 5547 8.3.2: `sendonly`, the same selector, transfer id and range. A refusal mirrors selector and
/// id too (RFC 5547 8.3; clause not verified).
pub fn answer(
    offer: &Session,
    promises: &[Option<Promise>],
    owner: SocketAddr,
    id: u64,
) -> Session {
    let mut session = Session::new(owner.ip(), id, 1);
    for (line, offered) in offer.media.iter().enumerate() {
        let mut media = Media {
            kind: offered.kind.clone(),
            port: 0,
            protocol: offered.protocol.clone(),
            formats: offered.formats.clone(),
            connection: None,
            attributes: Vec::new(),
        };
        let mut said = None;
        if let Some(Some(Promise { at, path, selector })) = promises.get(line) {
            said = selector.as_ref().map(FileSelector::to_string);
            media.port = at.port();
            if at.ip() != owner.ip() {
                media.connection = Some(crate::wire::sdp::Connection::new(at.ip()));
            }
            let setup = match offered.setup() {
                Some("passive") => "active",
                _ => "passive",
            };
            media = media
                .with(Attribute::flag(Direction::SendOnly.word()))
                .with(Attribute::new("accept-types", PIECE_TYPE))
                .with(Attribute::new("setup", setup))
                .with(Attribute::new("path", path));
        }
        for name in ["file-selector", "file-transfer-id", "file-range"] {
            if name == "file-range" && media.port == 0 {
                continue;
            }
            let said = said.as_deref().filter(|_| name == "file-selector");
            if let Some(value) = said.or(offered.attribute(name)) {
                media = media.with(Attribute::new(name, value));
            }
        }
        session.media.push(media);
    }
    session
}

/// How an endpoint sends (RFC 4975 7.1.1, 7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsrpHabits {
    /// Octets a SEND carries, 2048 at least; larger ones are announced as interruptible.
    pub chunk: usize,
    /// SENDs that may wait for their responses at a time.
    pub window: usize,
    /// Whether one connection carries several sessions to the same place (RFC 4975 5.4).
    pub shares: bool,
    /// Whether SENDs above 2048 octets leave their end open (RFC 4975 7.1.1: they must).
    pub interruptible: bool,
    /// Whether `Failure-Report: yes` is written although it is the default.
    pub says_failure_report: bool,
}

impl Default for MsrpHabits {
    fn default() -> Self {
        MsrpHabits {
            chunk: 2048,
            window: 256,
            shares: true,
            interruptible: true,
            says_failure_report: false,
        }
    }
}

/// What a session is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Receives one message of exactly `length` octets.
    Receive { length: u64 },
    /// Sends one message.
    Send { octets: Bytes },
}

/// A session that was agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Our own URI: its session id names the session.
    pub local: Uri,
    /// The other end's path, the next hop first.
    pub peer: Vec<Uri>,
    /// Whether we open the connection.
    pub active: bool,
    pub job: Job,
}

/// A session of this endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsrpSession(pub u64);

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MsrpEvent {
    /// Everything arrived.
    Received { session: MsrpSession, octets: Bytes },
    /// Everything was sent, and acknowledged where that was asked for.
    Sent { session: MsrpSession },
    /// The session is over without its purpose reached.
    Failed {
        session: MsrpSession,
        why: MsrpFailure,
    },
    /// Octets that are no MSRP message; the connection is closed.
    Unreadable { malformed: Malformed },
}

/// Why a session failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MsrpFailure {
    #[error("the sender abandoned the message")]
    Aborted,
    #[error("the message ended after {found} of {expected} octets")]
    Incomplete { found: u64, expected: u64 },
    #[error("the connection was lost")]
    Lost,
    #[error("octets outside the {expected} agreed on: Byte-Range {found}")]
    OutOfRange { found: String, expected: u64 },
    #[error("the other end answered {0}")]
    Refused(u16),
    #[error("no answer within 30 s")]
    Silent,
    #[error("no connection came about")]
    Unreachable,
}

/// A node's MSRP side: sessions, connections and chunks behind one door.
#[derive(Debug)]
pub struct MsrpEndpoint {
    habits: MsrpHabits,
    random: Random,
    sessions: BTreeMap<MsrpSession, Running>,
    /// By the session id of our own URI.
    names: BTreeMap<String, MsrpSession>,
    links: BTreeMap<LinkId, Link>,
    timers: BTreeMap<TimerId, MsrpSession>,
    next: u64,
}

/// RFC 4975 7.1.2: a SEND without response after 30 s has failed.
const RESPONSE_LIMIT: Duration = Duration::from_secs(30);

/// The largest message that is received.
const RECEIVE_LIMIT: u64 = 1 << 28;

#[derive(Debug, Default)]
struct Link {
    /// Where it leads, if this end opened it.
    to: Option<SocketAddr>,
    /// Whether a request has come on it yet.
    used: bool,
}

#[derive(Debug)]
struct Running {
    agreed: Agreed,
    link: Option<LinkId>,
    timer: Option<TimerId>,
    task: Task,
    message_id: String,
    is_over: bool,
    /// Whether what still comes is refused.
    refuses: bool,
}

#[derive(Debug)]
enum Task {
    Receive(Assembly),
    Send(Sending),
}

#[derive(Debug)]
struct Sending {
    octets: Bytes,
    sent: usize,
    /// Transaction ids of SENDs without a response, the oldest first.
    waiting: VecDeque<String>,
}

impl MsrpEndpoint {
    /// `seed` feeds transaction and message ids.
    pub fn new(habits: MsrpHabits, seed: u64) -> MsrpEndpoint {
        MsrpEndpoint {
            habits,
            random: Random::new(seed),
            sessions: BTreeMap::new(),
            names: BTreeMap::new(),
            links: BTreeMap::new(),
            timers: BTreeMap::new(),
            next: 0,
        }
    }

    /// A fresh URI for a session of ours at `addr`; its session id has 100 random bits (RFC 4975 14.1 asks
    /// for 80; clause not verified).
    pub fn fresh_uri(&mut self, addr: SocketAddr) -> Uri {
        Uri::new(addr, &self.random.token(20))
    }

    /// Begins a session. The active end connects and sends at once, without a body if it has nothing to
    /// send (RFC 4975 5.4).
    pub fn begin(&mut self, at: At, agreed: Agreed, out: &mut Outbox) -> MsrpSession {
        self.next += 1;
        let session = MsrpSession(self.next);
        let task = match &agreed.job {
            Job::Receive { length } => Task::Receive(Assembly::new((*length).min(RECEIVE_LIMIT))),
            Job::Send { octets } => Task::Send(Sending {
                octets: octets.clone(),
                sent: 0,
                waiting: VecDeque::new(),
            }),
        };
        let name = agreed.local.session.clone().unwrap_or_default();
        self.names.insert(name, session);
        let active = agreed.active;
        self.sessions.insert(
            session,
            Running {
                agreed,
                link: None,
                timer: None,
                task,
                message_id: self.random.token(12),
                is_over: false,
                refuses: false,
            },
        );
        if active {
            self.connect(at, session, out);
        }
        session
    }

    /// Ends a session. The end that opened its connection closes it if no other session uses it; the
    /// other end leaves it open, as a further session may be about to come on it (RFC 4975 5.4). A
    /// message half sent is abandoned with `#` first.
    pub fn end(&mut self, session: MsrpSession, out: &mut Outbox) {
        let Some(running) = self.sessions.get(&session) else {
            return;
        };
        if let (Task::Send(sending), Some(link), false) =
            (&running.task, running.link, running.is_over)
            && (1..sending.octets.len()).contains(&sending.sent)
        {
            self.send_aborted(session, link, out);
        }
        if let Some(running) = self.sessions.remove(&session) {
            self.forget_name(&running, session);
            self.disarm(running.timer, out);
            if let Some(link) = running.link
                && !self.sessions.values().any(|other| other.link == Some(link))
                && self
                    .links
                    .get(&link)
                    .is_some_and(|state| state.to.is_some())
            {
                self.links.remove(&link);
                out.close(link);
            }
        }
    }

    /// Breaks off what is received: what still comes gets 413 (RFC 5547 8.4). The owner still has to `end` it.
    pub fn refuse(&mut self, session: MsrpSession, out: &mut Outbox) {
        if let Some(running) = self.sessions.get_mut(&session) {
            running.is_over = true;
            running.refuses = true;
            self.settle(session, out);
        }
    }

    /// Whether a session has its connection and its message is not through.
    pub fn is_moving(&self, session: MsrpSession) -> bool {
        self.sessions
            .get(&session)
            .is_some_and(|running| running.link.is_some() && !running.is_over)
    }

    /// The octets received so far without a gap: what a broken transfer may be resumed after.
    pub fn received_so_far(&self, session: MsrpSession) -> Bytes {
        match self.sessions.get(&session).map(|running| &running.task) {
            Some(Task::Receive(assembly)) => assembly.head(),
            _ => Bytes::new(),
        }
    }

    /// Takes an input if it is MSRP's. `None`: not ours.
    pub fn take(&mut self, at: At, input: &Input<'_>, out: &mut Outbox) -> Option<Vec<MsrpEvent>> {
        match input {
            Input::Link(
                link,
                LinkEvent::Accepted {
                    format: Format::Msrp,
                    ..
                },
            ) => {
                self.links.insert(*link, Link::default());
                Some(Vec::new())
            }
            Input::Link(link, event) if self.links.contains_key(link) => Some(match event {
                LinkEvent::Opened | LinkEvent::Accepted { .. } => Vec::new(),
                LinkEvent::Refused | LinkEvent::TimedOut | LinkEvent::NotSecured { .. } => {
                    self.lost(*link, &MsrpFailure::Unreachable, out)
                }
                LinkEvent::Closed | LinkEvent::Reset => self.lost(*link, &MsrpFailure::Lost, out),
            }),
            Input::Frame(frame) => {
                let link = frame.link.filter(|link| self.links.contains_key(link))?;
                Some(self.frame(at, link, frame, out))
            }
            Input::Timer(timer) => {
                let session = self.timers.remove(timer)?;
                if let Some(running) = self.sessions.get_mut(&session) {
                    running.timer = None;
                }
                Some(self.fail(session, MsrpFailure::Silent, out))
            }
            _ => None,
        }
    }

    fn connect(&mut self, at: At, session: MsrpSession, out: &mut Outbox) {
        let Some(running) = self.sessions.get_mut(&session) else {
            return;
        };
        let Some(to) = running.agreed.peer.first().and_then(Uri::addr) else {
            // Nothing to connect to: the owner hears of it when the response is overdue.
            self.watch(at, session, out);
            return;
        };
        let known = self
            .links
            .iter()
            .find(|(_, link)| self.habits.shares && link.to == Some(to))
            .map(|(&link, _)| link);
        let link = known
            .unwrap_or_else(|| out.open(RefPoint::Data, Format::Msrp, to, OpenSecurity::Plain));
        self.links.entry(link).or_insert(Link {
            to: Some(to),
            used: true,
        });
        running.link = Some(link);
        match &running.task {
            Task::Send(_) => self.pump(at, session, out),
            Task::Receive(_) => self.greet(at, session, link, out),
        }
    }

    /// The first request of an active end that has nothing to send (RFC 4975 5.4, 7.1.1).
    fn greet(&mut self, at: At, session: MsrpSession, link: LinkId, out: &mut Outbox) {
        let transaction = self.random.token(12);
        let message_id = self.random.token(12);
        let Some(running) = self.sessions.get(&session) else {
            return;
        };
        let bytes = head(&running.agreed, &transaction, "SEND")
            .header("Message-ID", &message_id)
            .header("Byte-Range", &ByteRange::EMPTY.to_string())
            .finish(Flag::Complete);
        out.send(link, bytes);
        self.watch(at, session, out);
    }

    fn frame(&mut self, at: At, link: LinkId, frame: &Frame, out: &mut Outbox) -> Vec<MsrpEvent> {
        let message = match Message::parse(frame.bytes.clone()) {
            Ok(message) if frame.framed => message,
            read => {
                let malformed = read.err().unwrap_or_else(|| {
                    Malformed::new(&frame.bytes, frame.bytes.len(), "the rest of a message")
                });
                out.close(link);
                let mut events = vec![MsrpEvent::Unreadable { malformed }];
                events.extend(self.lost(link, &MsrpFailure::Lost, out));
                return events;
            }
        };
        match message.method() {
            None => self.response(at, &message, out),
            Some("SEND") => self.request(at, link, &message, out),
            Some("REPORT") => self.report(&message, out),
            Some(_) => {
                reply(link, &message, 501, out);
                Vec::new()
            }
        }
    }

    /// The session a message is for, by the last hop of its To-Path.
    fn addressed(&self, message: &Message) -> Option<MsrpSession> {
        let path = message.to_path().ok()?;
        let [uri] = &path[..] else { return None };
        let session = *self.names.get(uri.session.as_deref()?)?;
        (self.sessions.get(&session)?.agreed.local == *uri).then_some(session)
    }

    fn request(
        &mut self,
        at: At,
        link: LinkId,
        message: &Message,
        out: &mut Outbox,
    ) -> Vec<MsrpEvent> {
        let is_first = match self.links.get_mut(&link) {
            Some(state) => !std::mem::replace(&mut state.used, true),
            None => false,
        };
        let readable = message.to_path().is_ok()
            && message.from_path().is_ok()
            && message.message_id().is_some()
            && message.byte_range().is_ok();
        if !readable {
            reply(link, message, 400, out);
            return Vec::new();
        }
        let Some(session) = self.addressed(message) else {
            reply(link, message, 481, out);
            return Vec::new();
        };
        let Some(running) = self.sessions.get_mut(&session) else {
            return Vec::new();
        };
        match running.link {
            Some(bound) if bound == link => {}
            // RFC 4975 7.3: 506 only for the first request of a new connection; on one that is in use
            // the URI is simply not known.
            Some(_) => {
                reply(link, message, if is_first { 506 } else { 481 }, out);
                return Vec::new();
            }
            None => running.link = Some(link),
        }
        match running.task {
            Task::Receive(_) => self.chunk(session, link, message, out),
            Task::Send(_) => {
                let is_empty = message.body().is_none_or(|body| body.is_empty());
                reply(link, message, if is_empty { 200 } else { 413 }, out);
                self.pump(at, session, out);
                self.sent_if_done(session, out)
            }
        }
    }

    /// Takes a chunk of the message that is received.
    fn chunk(
        &mut self,
        session: MsrpSession,
        link: LinkId,
        message: &Message,
        out: &mut Outbox,
    ) -> Vec<MsrpEvent> {
        let Some(running) = self.sessions.get_mut(&session) else {
            return Vec::new();
        };
        let Task::Receive(assembly) = &mut running.task else {
            return Vec::new();
        };
        if message.flag() == Flag::Aborted {
            reply(link, message, 200, out);
            return self.fail(session, MsrpFailure::Aborted, out);
        }
        if running.refuses {
            reply(link, message, 413, out);
            return Vec::new();
        }
        let Some(body) = message.body().filter(|body| !body.is_empty()) else {
            // An empty SEND only says that somebody is there.
            reply(link, message, 200, out);
            return Vec::new();
        };
        let kind = message.header("Content-Type").unwrap_or_default();
        if !kind.eq_ignore_ascii_case(PIECE_TYPE) {
            reply(link, message, 415, out);
            return Vec::new();
        }
        let range = message.byte_range().ok().flatten();
        let range = range.unwrap_or(ByteRange {
            start: 1,
            end: None,
            total: None,
        });
        let end = range.start.saturating_add(body.len() as u64) - 1;
        let fits = range.end.is_none_or(|said| said == end)
            && range.total.is_none_or(|total| total == assembly.length)
            && end <= assembly.length;
        if !fits {
            let why = MsrpFailure::OutOfRange {
                found: message.header("Byte-Range").unwrap_or("none").to_owned(),
                expected: assembly.length,
            };
            reply(link, message, 413, out);
            return self.fail(session, why, out);
        }
        assembly.put(range.start - 1, &body);
        if running.is_over {
            reply(link, message, 200, out);
            return Vec::new();
        }
        let is_last = message.flag() == Flag::Complete;
        let why = MsrpFailure::Incomplete {
            found: assembly.filled(),
            expected: assembly.length,
        };
        let octets = assembly.whole();
        reply(link, message, 200, out);
        match octets {
            Some(octets) if is_last => {
                running.is_over = true;
                if message.success_report() {
                    self.report_success(session, link, message, out);
                }
                self.settle(session, out);
                vec![MsrpEvent::Received { session, octets }]
            }
            // The octets are all there, their end is not yet told.
            Some(_) => Vec::new(),
            None if is_last => self.fail(session, why, out),
            None => Vec::new(),
        }
    }

    /// RFC 4975 7.1.2: a success report goes back along the request's From-Path.
    fn report_success(
        &mut self,
        session: MsrpSession,
        link: LinkId,
        message: &Message,
        out: &mut Outbox,
    ) {
        let transaction = self.random.token(12);
        let Some(running) = self.sessions.get(&session) else {
            return;
        };
        let Job::Receive { length } = running.agreed.job else {
            return;
        };
        let report = head(&running.agreed, &transaction, "REPORT")
            .header("Message-ID", message.message_id().unwrap_or_default())
            .header("Byte-Range", &format!("1-{length}/{length}"))
            .header("Status", "000 200 OK")
            .finish(Flag::Complete);
        out.send(link, report);
    }

    /// A REPORT is never answered (RFC 4975 7.1.2).
    fn report(&mut self, message: &Message, out: &mut Outbox) -> Vec<MsrpEvent> {
        let Some(session) = self.addressed(message) else {
            return Vec::new();
        };
        let status = message.header("Status").unwrap_or_default();
        let mut words = status.split(' ');
        let code = match (words.next(), words.next()) {
            (Some("000"), Some(code)) => code.parse().unwrap_or(200),
            _ => 200,
        };
        match code {
            200 => Vec::new(),
            code => self.fail(session, MsrpFailure::Refused(code), out),
        }
    }

    fn response(&mut self, at: At, message: &Message, out: &mut Outbox) -> Vec<MsrpEvent> {
        let Some(session) = self.addressed(message) else {
            return Vec::new();
        };
        let status = message.status().unwrap_or(0);
        if status != 200 {
            return self.fail(session, MsrpFailure::Refused(status), out);
        }
        let Some(running) = self.sessions.get_mut(&session) else {
            return Vec::new();
        };
        let timer = running.timer.take();
        self.disarm(timer, out);
        let Some(Running {
            task: Task::Send(sending),
            ..
        }) = self.sessions.get_mut(&session)
        else {
            return Vec::new();
        };
        let transaction = message.transaction();
        if let Some(place) = sending.waiting.iter().position(|id| id == transaction) {
            sending.waiting.remove(place);
        }
        self.pump(at, session, out);
        self.sent_if_done(session, out)
    }

    /// Sends what the window allows.
    fn pump(&mut self, at: At, session: MsrpSession, out: &mut Outbox) {
        let habits = self.habits;
        let Some(running) = self.sessions.get_mut(&session) else {
            return;
        };
        let (Task::Send(sending), Some(link), false) =
            (&mut running.task, running.link, running.is_over)
        else {
            return;
        };
        let total = sending.octets.len();
        while sending.sent < total && sending.waiting.len() < habits.window.max(1) {
            let first = sending.sent;
            let end = total.min(first + habits.chunk.max(1));
            let body = sending.octets.slice(first..end);
            let mut transaction = self.random.token(12);
            while msrp::clashes(&transaction, &body) {
                transaction = self.random.token(12);
            }
            // RFC 4975 7.1.1: more than 2048 octets only with `*` as the end of the range.
            let range = ByteRange {
                start: first as u64 + 1,
                end: (body.len() <= 2048 || !habits.interruptible).then_some(end as u64),
                total: Some(total as u64),
            };
            let mut chunk = head(&running.agreed, &transaction, "SEND")
                .header("Message-ID", &running.message_id)
                .header("Byte-Range", &range.to_string());
            if habits.says_failure_report {
                chunk = chunk.header("Failure-Report", "yes");
            }
            let flag = if end == total {
                Flag::Complete
            } else {
                Flag::More
            };
            out.send(link, chunk.body(PIECE_TYPE, body).finish(flag));
            sending.sent = end;
            sending.waiting.push_back(transaction);
        }
        if !sending.waiting.is_empty() {
            self.watch(at, session, out);
        }
    }

    fn sent_if_done(&mut self, session: MsrpSession, out: &mut Outbox) -> Vec<MsrpEvent> {
        let Some(running) = self.sessions.get_mut(&session) else {
            return Vec::new();
        };
        let Task::Send(sending) = &running.task else {
            return Vec::new();
        };
        let is_done = sending.sent == sending.octets.len() && sending.waiting.is_empty();
        if !is_done || running.is_over {
            return Vec::new();
        }
        running.is_over = true;
        self.settle(session, out);
        vec![MsrpEvent::Sent { session }]
    }

    fn send_aborted(&mut self, session: MsrpSession, link: LinkId, out: &mut Outbox) {
        let transaction = self.random.token(12);
        let Some(running) = self.sessions.get(&session) else {
            return;
        };
        let Task::Send(sending) = &running.task else {
            return;
        };
        let range = ByteRange {
            start: sending.sent as u64 + 1,
            end: None,
            total: Some(sending.octets.len() as u64),
        };
        let bytes = head(&running.agreed, &transaction, "SEND")
            .header("Message-ID", &running.message_id)
            .header("Byte-Range", &range.to_string())
            .body(PIECE_TYPE, Bytes::new())
            .finish(Flag::Aborted);
        out.send(link, bytes);
    }

    /// Ends a session of its own accord; the owner still has to `end` it.
    fn fail(&mut self, session: MsrpSession, why: MsrpFailure, out: &mut Outbox) -> Vec<MsrpEvent> {
        let Some(running) = self.sessions.get_mut(&session) else {
            return Vec::new();
        };
        if std::mem::replace(&mut running.is_over, true) {
            return Vec::new();
        }
        self.settle(session, out);
        vec![MsrpEvent::Failed { session, why }]
    }

    fn lost(&mut self, link: LinkId, why: &MsrpFailure, out: &mut Outbox) -> Vec<MsrpEvent> {
        self.links.remove(&link);
        let bound: Vec<MsrpSession> = self
            .sessions
            .iter()
            .filter(|(_, running)| running.link == Some(link))
            .map(|(&session, _)| session)
            .collect();
        let mut events = Vec::new();
        for session in bound {
            if let Some(running) = self.sessions.get_mut(&session) {
                running.link = None;
                // RFC 4975 5.4: the session is over with its connection; its URI is not used again.
                running.agreed.local.session = None;
            }
            self.names.retain(|_, named| *named != session);
            events.extend(self.fail(session, why.clone(), out));
        }
        events
    }

    /// Wakes us if no response comes.
    fn watch(&mut self, at: At, session: MsrpSession, out: &mut Outbox) {
        let Some(running) = self.sessions.get_mut(&session) else {
            return;
        };
        let timer = *running.timer.get_or_insert_with(|| out.fresh_timer());
        out.arm(timer, at + RESPONSE_LIMIT);
        self.timers.insert(timer, session);
    }

    fn settle(&mut self, session: MsrpSession, out: &mut Outbox) {
        let timer = self.sessions.get_mut(&session).and_then(|r| r.timer.take());
        self.disarm(timer, out);
    }

    fn disarm(&mut self, timer: Option<TimerId>, out: &mut Outbox) {
        if let Some(timer) = timer
            && self.timers.remove(&timer).is_some()
        {
            out.disarm(timer);
        }
    }

    fn forget_name(&mut self, running: &Running, session: MsrpSession) {
        if let Some(name) = &running.agreed.local.session
            && self.names.get(name) == Some(&session)
        {
            self.names.remove(name);
        }
    }
}

/// Begins a request of a session.
fn head(agreed: &Agreed, transaction: &str, method: &str) -> msrp::Builder {
    let to: Vec<String> = agreed.peer.iter().map(Uri::to_string).collect();
    msrp::Builder::request(transaction, method)
        .header("To-Path", &to.join(" "))
        .header("From-Path", &agreed.local.to_string())
}

/// Answers a request, unless it asked for no such answer (RFC 4975 7.1.2).
fn reply(link: LinkId, request: &Message, status: u16, out: &mut Outbox) {
    let wanted = match request.failure_report() {
        msrp::FailureReport::Yes => true,
        msrp::FailureReport::Partial => status != 200,
        msrp::FailureReport::No => false,
    };
    if wanted {
        let response = msrp::Builder::response(request, status, msrp::comment(status));
        out.send(link, response.finish(Flag::Complete));
    }
}

/// Octets put together by their place; the last to come wins (RFC 4975 7.3.1).
#[derive(Debug)]
pub struct Assembly {
    /// How many octets there will be.
    pub length: u64,
    octets: BytesMut,
    /// Filled stretches: 0-based first octet to the octet after the last; apart from each other.
    filled: BTreeMap<u64, u64>,
}

impl Assembly {
    pub fn new(length: u64) -> Assembly {
        Assembly {
            length,
            octets: BytesMut::new(),
            filled: BTreeMap::new(),
        }
    }

    /// Puts octets at the 0-based `first`; false if they do not lie within the length.
    pub fn put(&mut self, first: u64, octets: &[u8]) -> bool {
        let end = first.saturating_add(octets.len() as u64);
        let (Ok(from), Ok(to)) = (usize::try_from(first), usize::try_from(end)) else {
            return false;
        };
        if end > self.length || octets.is_empty() {
            return false;
        }
        if self.octets.len() < to {
            self.octets.resize(to, 0);
        }
        self.octets[from..to].copy_from_slice(octets);
        let (mut start, mut stop) = (first, end);
        let touching: Vec<u64> = self
            .filled
            .range(..=end)
            .filter(|&(_, &stop)| stop >= first)
            .map(|(&start, _)| start)
            .collect();
        for key in touching {
            if let Some(end) = self.filled.remove(&key) {
                start = start.min(key);
                stop = stop.max(end);
            }
        }
        self.filled.insert(start, stop);
        true
    }

    /// How many different octets there are.
    pub fn filled(&self) -> u64 {
        self.filled.iter().map(|(first, end)| end - first).sum()
    }

    /// The stretches that are missing, in order.
    pub fn gaps(&self) -> Vec<Octets> {
        let mut gaps = Vec::new();
        let mut at = 0;
        for (&first, &end) in &self.filled {
            gaps.extend(Octets::new(at, first - at));
            at = end;
        }
        gaps.extend(Octets::new(at, self.length - at));
        gaps
    }

    /// The octets before the first gap.
    pub fn head(&self) -> Bytes {
        let end = match self.filled.first_key_value() {
            Some((0, &end)) => usize::try_from(end).unwrap_or(0),
            _ => 0,
        };
        Bytes::copy_from_slice(&self.octets[..end])
    }

    /// All octets, once none is missing. They are copied out: more may be put later.
    pub fn whole(&self) -> Option<Bytes> {
        (self.filled() == self.length).then(|| Bytes::copy_from_slice(&self.octets))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        io::Output,
        wire::{
            frame::{Framer, Party, Security},
            sdp::Sdp,
        },
    };

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ue() -> SocketAddr {
        addr("192.0.2.10:2855")
    }

    fn edge() -> SocketAddr {
        addr("198.51.100.21:7777")
    }

    fn wanted(first: u64, len: u64) -> Wanted {
        Wanted {
            selector: FileSelector {
                name: Some("movie-0001".to_owned()),
                size: Some(196_613),
                hashes: vec![("sha-1".to_owned(), vec![7; 20])],
                ..FileSelector::default()
            },
            octets: Octets::new(first, len).unwrap(),
        }
    }

    fn offer() -> Offer {
        let pieces = [wanted(0, 65_536), wanted(65_536, 65_536)];
        Offer::pull(ue(), &pieces, Setup::Active, &mut Random::new(1))
    }

    fn send_at(at: SocketAddr) -> Option<Promise> {
        Some(Promise {
            at,
            path: Uri::new(at, "s1"),
            selector: None,
        })
    }

    #[test]
    fn each_line_is_answered_for_itself() {
        let offer = offer();
        let asked = read_offer(&offer.session);
        let second = asked[1].as_ref().unwrap();
        assert_eq!(FileRange::of(65_536, 65_536), second.range);
        assert!(!second.active);

        let answer = answer(&offer.session, &[None, send_at(edge())], edge(), 9);
        let text = answer.to_bytes();
        assert_eq!(
            Ok(vec![]),
            Sdp::parse(text.clone()).map(|sdp| sdp.problems().to_vec())
        );
        let answer = Session::parse(&text).unwrap();
        let expected = Answered::Accepted {
            peer: vec![Uri::new(edge(), "s1")],
            active: true,
        };
        assert_eq!(Ok(vec![Answered::Refused, expected]), offer.judge(&answer));
        let refused = &answer.media[0];
        assert_eq!(
            Some(&*offer.legs[0].transfer_id),
            refused.file_transfer_id()
        );
        assert!(refused.has("file-selector") && !refused.has("path"));
    }

    #[test]
    fn an_answer_that_bends_the_offer_is_seen() {
        let offer = offer();
        let good = answer(
            &offer.session,
            &[send_at(edge()), send_at(edge())],
            edge(),
            9,
        );
        let bend = |name: &str, value: Option<&str>| {
            let mut bent = good.clone();
            for attribute in &mut bent.media[0].attributes {
                if attribute.name == name {
                    match value {
                        Some(value) => attribute.value = Some(value.to_owned()),
                        None => attribute.name = "x".to_owned(),
                    }
                }
            }
            offer.judge(&bent).unwrap().remove(0)
        };
        for (name, value) in [
            ("file-transfer-id", Some("other")),
            ("file-range", Some("0-65535")),
            ("file-range", None),
            ("sendonly", None),
            ("setup", Some("active")),
            ("path", None),
        ] {
            assert!(
                matches!(bend(name, value), Answered::Wrong(_)),
                "{name} {value:?}"
            );
        }
        assert!(matches!(bend("nothing", None), Answered::Accepted { .. }));
        let mut short = good.clone();
        short.media.pop();
        assert!(offer.judge(&short).is_err());
    }

    /// Two endpoints and what flies between them.
    struct Pair {
        ends: [(MsrpEndpoint, Outbox, Framer); 2],
        /// The first end's link is 2, the second end's 1.
        seen: Vec<String>,
        events: [Vec<MsrpEvent>; 2],
    }

    impl Pair {
        fn new(habits: MsrpHabits) -> Pair {
            let end = |seed| {
                let endpoint = MsrpEndpoint::new(habits, seed);
                (endpoint, Outbox::default(), Framer::new(Format::Msrp))
            };
            Pair {
                ends: [end(1), end(2)],
                seen: Vec::new(),
                events: [Vec::new(), Vec::new()],
            }
        }

        fn agree(&mut self, session: &str, octets: &Bytes, length: u64) -> [MsrpSession; 2] {
            let (near, far) = (Uri::new(ue(), session), Uri::new(edge(), session));
            let send = Agreed {
                local: far.clone(),
                peer: vec![near.clone()],
                active: false,
                job: Job::Send {
                    octets: octets.clone(),
                },
            };
            let receive = Agreed {
                local: near,
                peer: vec![far],
                active: true,
                job: Job::Receive { length },
            };
            let [(a, out_a, _), (b, out_b, _)] = &mut self.ends;
            let sender = b.begin(At::ZERO, send, out_b);
            [a.begin(At::ZERO, receive, out_a), sender]
        }

        fn link(end: usize) -> LinkId {
            LinkId(if end == 0 { 2 } else { 1 })
        }

        fn input(&mut self, end: usize, input: &Input<'_>) {
            let (endpoint, out, _) = &mut self.ends[end];
            let events = endpoint.take(At::ZERO, input, out).unwrap_or_default();
            self.events[end].extend(events);
        }

        fn run(&mut self) {
            while let Some(end) = (0..2).find(|&end| !self.ends[end].1.is_empty()) {
                let outputs: Vec<Output> = self.ends[end].1.drain().collect();
                for output in outputs {
                    self.carry(end, output);
                }
            }
        }

        fn carry(&mut self, end: usize, output: Output) {
            let other = 1 - end;
            match output {
                Output::Open { .. } => {
                    let accepted = LinkEvent::Accepted {
                        on: RefPoint::Data,
                        format: Format::Msrp,
                        from: ue(),
                        local: edge(),
                        security: Security::Plain,
                    };
                    self.input(other, &Input::Link(Pair::link(other), accepted));
                }
                Output::Send { bytes, .. } => {
                    self.ends[other].2.feed(&bytes);
                    while let Ok(Some(bytes)) = self.ends[other].2.next_message() {
                        let message = Message::parse(bytes.clone()).unwrap();
                        let word = match message.method() {
                            Some(method) => method.to_owned(),
                            None => message.status().unwrap().to_string(),
                        };
                        let range = message.header("Byte-Range").unwrap_or("-");
                        self.seen.push(format!("{end} {word} {range}"));
                        let frame = frame(Pair::link(other), bytes);
                        self.input(other, &Input::Frame(&frame));
                    }
                }
                Output::Close { .. } => {
                    self.input(other, &Input::Link(Pair::link(other), LinkEvent::Closed));
                }
                _ => {}
            }
        }
    }

    fn frame(link: LinkId, bytes: Bytes) -> Frame {
        Frame {
            from: Party::Unknown(ue()),
            to: Party::Unknown(edge()),
            src: ue(),
            dst: edge(),
            on: RefPoint::Data,
            format: Format::Msrp,
            link: Some(link),
            security: Security::Plain,
            bytes,
            framed: true,
        }
    }

    #[test]
    fn a_piece_is_pulled_over_a_connection_the_receiver_opens() {
        let octets = Bytes::from((0..5000u32).map(|n| n as u8).collect::<Vec<_>>());
        let mut pair = Pair::new(MsrpHabits::default());
        let [receiver, sender] = pair.agree("s1", &octets, 5000);
        pair.run();

        let expected = [
            "0 SEND 1-0/0",
            "1 200 -",
            "1 SEND 1-2048/5000",
            "1 SEND 2049-4096/5000",
            "1 SEND 4097-5000/5000",
            "0 200 -",
            "0 200 -",
            "0 200 -",
        ];
        assert_eq!(expected[..], pair.seen[..]);
        let received = MsrpEvent::Received {
            session: receiver,
            octets,
        };
        assert_eq!(vec![received], pair.events[0]);
        assert_eq!(vec![MsrpEvent::Sent { session: sender }], pair.events[1]);
    }

    #[test]
    fn a_file_shorter_than_agreed_is_told() {
        let mut pair = Pair::new(MsrpHabits::default());
        pair.agree("s1", &Bytes::from(vec![1; 99]), 100);
        pair.run();
        let why = |events: &[MsrpEvent]| match events {
            [MsrpEvent::Failed { why, .. }] => why.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(why(&pair.events[0]).contains("1-99/99"));
        assert_eq!("the other end answered 413", why(&pair.events[1]));
    }

    fn strange(to: &str) -> Bytes {
        msrp::Builder::request("tx42", "SEND")
            .header("To-Path", to)
            .header("From-Path", &Uri::new(ue(), "x").to_string())
            .header("Message-ID", "m")
            .header("Byte-Range", "1-0/0")
            .finish(Flag::Complete)
    }

    fn answers(pair: &mut Pair, link: LinkId, bytes: Bytes) -> Vec<u16> {
        let frame = frame(link, bytes);
        pair.input(1, &Input::Frame(&frame));
        pair.ends[1]
            .1
            .drain()
            .filter_map(|output| match output {
                Output::Send { bytes, .. } => Message::parse(bytes).ok()?.status(),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn strangers_are_turned_away() {
        let mut pair = Pair::new(MsrpHabits::default());
        pair.agree("s1", &Bytes::from(vec![1; 10]), 10);
        pair.run();
        let known = Uri::new(edge(), "s1").to_string();
        let unknown = Uri::new(edge(), "s2").to_string();
        let accepted = LinkEvent::Accepted {
            on: RefPoint::Data,
            format: Format::Msrp,
            from: ue(),
            local: edge(),
            security: Security::Plain,
        };
        pair.input(1, &Input::Link(LinkId(3), accepted));

        assert_eq!(vec![506], answers(&mut pair, LinkId(3), strange(&known)));
        assert_eq!(vec![481], answers(&mut pair, LinkId(3), strange(&known)));
        assert_eq!(vec![481], answers(&mut pair, LinkId(1), strange(&unknown)));
        assert_eq!(
            vec![400],
            answers(&mut pair, LinkId(1), strange("nonsense"))
        );
    }

    #[test]
    fn a_lost_connection_ends_its_session() {
        let mut pair = Pair::new(MsrpHabits::default());
        pair.agree("s1", &Bytes::from(vec![1; 10]), 10);
        pair.ends[0].1.drain();
        pair.input(0, &Input::Link(LinkId(2), LinkEvent::Refused));
        assert!(matches!(
            pair.events[0][..],
            [MsrpEvent::Failed {
                why: MsrpFailure::Unreachable,
                ..
            }]
        ));
    }

    #[test]
    fn two_sessions_share_a_connection_and_the_last_closes_it() {
        let octets = Bytes::from(vec![1; 10]);
        let mut pair = Pair::new(MsrpHabits::default());
        let [first, _] = pair.agree("s1", &octets, 10);
        let [second, _] = pair.agree("s2", &octets, 10);
        pair.run();
        assert_eq!(2, pair.events[0].len());
        let (endpoint, out, _) = &mut pair.ends[0];
        endpoint.end(first, out);
        assert!(out.is_empty());
        endpoint.end(second, out);
        let closes = out.drain().filter(|o| matches!(o, Output::Close { .. }));
        assert_eq!(1, closes.count());
    }

    proptest! {
        #[test]
        fn any_order_of_chunks_assembles(
            octets in proptest::collection::vec(any::<u8>(), 1..300),
            chunk in 1usize..40,
            seed: u64,
        ) {
            let mut places: Vec<usize> = (0..octets.len()).step_by(chunk).collect();
            Random::new(seed).shuffle(&mut places);
            let mut assembly = Assembly::new(octets.len() as u64);
            let last = places.pop();
            for &first in &places {
                let end = octets.len().min(first + chunk);
                prop_assert!(assembly.put(first as u64, &octets[first..end]));
            }
            prop_assert_eq!(None, assembly.whole());
            let gaps: u64 = assembly.gaps().iter().map(|gap| gap.len()).sum();
            prop_assert_eq!(octets.len() as u64, gaps + assembly.filled());
            let first = last.unwrap_or(0);
            let end = octets.len().min(first + chunk);
            assembly.put(first as u64, &octets[first..end]);
            prop_assert_eq!(Some(Bytes::from(octets)), assembly.whole());
        }

        #[test]
        fn any_piece_arrives_whole(size in 1usize..20_000, chunk in 1usize..5000, window in 1usize..5) {
            let octets = Bytes::from(vec![7; size]);
            let habits = MsrpHabits { chunk, window, ..MsrpHabits::default() };
            let mut pair = Pair::new(habits);
            let [session, _] = pair.agree("s1", &octets, size as u64);
            pair.run();
            prop_assert_eq!(&vec![MsrpEvent::Received { session, octets }], &pair.events[0]);
        }
    }
}
