//! Load on call flows: users ask for peers through the core, ask a holder for pieces, report their status, are
//! registered; some of it is refused, as it ought to be. Messages are written and read by the codecs of the
//! reference nodes; who is right is known from the [`Population`] and the [`Library`].

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use memchr::memmem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    chunks::Library,
    flow::{Begun, Delay, Flow, Say, Turn},
    journey::{Asked, Depth, Wrong},
    population::{Person, Population, mixed},
    schedule::Arrival,
    talked::Method,
    tracker::{self, TrackerJourney},
};
use crate::{
    node::PEER_LIST_PACKAGE,
    node::STATUS_PACKAGE,
    proto::{
        dialog::Dialog,
        endpoint::SipTransport,
        file_transfer::{Answered, Offer, Setup, Wanted},
    },
    random::{Random, derive},
    time::At,
    wire::{
        ppstp::MEDIA_TYPE,
        sdp::{FileSelector, Session},
        sip::{Builder, Message, reason},
    },
};

/// What share of call flows is of which kind, in percent; the rest ask for pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Traffic {
    /// Third-party registrations, as an S-CSCF tells them to the tracker.
    pub register: u32,
    /// Peer lists: SUBSCRIBE for the state as it is, and the NOTIFY that carries it.
    pub peer_list: u32,
    /// Status updates by PUBLISH.
    pub status: u32,
    /// Peer lists that nobody is asserted to ask for: 403.
    pub refused: u32,
    /// Pieces of a content that is not held: 488.
    pub not_held: u32,
}

impl Default for Traffic {
    fn default() -> Self {
        Traffic {
            register: 3,
            peer_list: 20,
            status: 12,
            refused: 2,
            not_held: 2,
        }
    }
}

impl Traffic {
    /// Nothing but piece requests.
    pub const PIECES: Traffic = Traffic {
        register: 0,
        peer_list: 0,
        status: 0,
        refused: 0,
        not_held: 0,
    };

    fn shares(&mut self) -> [(&'static str, &mut u32); 5] {
        [
            ("register", &mut self.register),
            ("peer-list", &mut self.peer_list),
            ("status", &mut self.status),
            ("refused", &mut self.refused),
            ("not-held", &mut self.not_held),
        ]
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut copy = *self;
        let mut pieces = 100;
        for (name, share) in copy.shares() {
            pieces -= (*share).min(pieces);
            write!(f, "{name}={share},")?;
        }
        write!(f, "piece={pieces}")
    }
}

impl FromStr for Traffic {
    type Err = String;

    /// `peer-list=20,status=12`: what is not named has no share, and what is left are pieces.
    fn from_str(text: &str) -> Result<Traffic, String> {
        let wrong = || {
            format!(
                "found \"{text}\", expected shares in percent, 100 at most: register=3,peer-list=20,status=12,refused=2,not-held=2; the rest ask for pieces"
            )
        };
        let mut traffic = Traffic::PIECES;
        let mut sum = 0u32;
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (name, share) = part.split_once('=').ok_or_else(wrong)?;
            let share: u32 = share.trim().parse().map_err(|_| wrong())?;
            sum = sum.saturating_add(share);
            if name.trim() == "piece" {
                continue;
            }
            let mut shares = traffic.shares().into_iter();
            let (_, found) = shares
                .find(|(known, _)| *known == name.trim())
                .ok_or_else(wrong)?;
            *found = share;
        }
        match sum {
            0..=100 => Ok(traffic),
            _ => Err(wrong()),
        }
    }
}

/// What call flows are begun for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A resident asks for peers of its swarm.
    List(u32),
    /// A resident asks for a piece of a content that nobody holds.
    NotHeld(u32),
    /// A resident asks for a piece, counted from 0.
    Piece {
        resident: u32,
        content: u32,
        piece: u32,
    },
    /// Somebody asks for peers whom nobody vouches for.
    Refused(u32),
    /// A resident is registered.
    Register(u32),
    /// A resident reports what it holds.
    Status(u32),
}

/// What is begun at each time: the arrival, and the journey it belongs to. All reports of one resident belong together, as
/// each refers to the one before.
pub fn plan(
    times: impl Iterator<Item = At>,
    population: Population,
    library: Library,
    traffic: Traffic,
) -> impl Iterator<Item = (Arrival<Ask>, u64)> {
    times.zip(0u64..).map(move |(at, number)| {
        let drawn = mixed(population.seed ^ mixed(number));
        let resident = (drawn >> 32) as u32 % population.peers.max(1);
        let other = mixed(drawn);
        let mut rest = (drawn % 100) as u32;
        let mut is_drawn = |share: u32| {
            let is_drawn = rest < share;
            rest = rest.saturating_sub(share);
            is_drawn
        };
        let ask = if is_drawn(traffic.register) {
            Ask::Register(resident)
        } else if is_drawn(traffic.peer_list) {
            Ask::List(resident)
        } else if is_drawn(traffic.status) {
            Ask::Status(resident)
        } else if is_drawn(traffic.refused) {
            Ask::Refused(resident)
        } else if is_drawn(traffic.not_held) {
            Ask::NotHeld(resident)
        } else {
            Ask::Piece {
                resident,
                content: (other >> 32) as u32 % library.contents.max(1),
                piece: other as u32 % library.pieces().max(1),
            }
        };
        let journey = match ask {
            Ask::Status(resident) => resident.into(),
            _ => number,
        };
        (Arrival { at, number, ask }, journey)
    })
}

/// Whom call flows are with.
#[derive(Clone, Debug)]
pub struct Callees {
    /// The public identity of the holder of pieces.
    pub holder: String,
    /// The public service identity of the tracker.
    pub tracker: String,
}

/// Says call flows, and judges what it hears.
pub struct CallFlow {
    oracle: TrackerJourney,
    library: Library,
    callees: Callees,
    /// Ends every Call-ID, branch and tag, so that those of one run are not another's.
    run: String,
    random: Random,
    /// The entity tag of each resident's last publication; of one that is under way it is with that.
    tags: BTreeMap<u32, String>,
    stay_until: Arc<AtomicU64>,
}

/// A call flow that is under way.
pub struct Talk {
    begun: Begun<Ask>,
    /// The request that began it.
    request: Message,
    /// When what was asked last was said.
    asked: At,
    method: Method,
    cseq: u32,
    /// The other side's tag, once it is known.
    remote: Option<String>,
    state: State,
}

/// What only some call flows have to remember.
enum State {
    Plain,
    /// Of a piece: what was offered, and when the first answer above 100 came.
    Piece {
        offer: Box<Offer>,
        rang: Option<At>,
    },
    /// Of a status report: the entity tag it refers to.
    Status {
        before: Option<String>,
    },
    /// Of a list: when the 2xx came, and whether the NOTIFY did.
    List {
        accepted: Option<At>,
        is_told: bool,
    },
}

/// Seconds that publications and registrations are asked to last.
const LIFETIME: u32 = 3600;

/// The content that nobody holds.
const NOBODYS: &str = "nobodys";

const SDP: &str = "application/sdp";

impl CallFlow {
    /// `stay_until` is shared by all lanes, u64::MAX at first; `lane` makes what is drawn here another lane's.
    pub fn new(
        population: Population,
        library: Library,
        callees: Callees,
        run: &str,
        lane: u64,
        stay_until: Arc<AtomicU64>,
    ) -> CallFlow {
        let nobody = Arc::new(tracker::Visitors::new(0));
        // Residents stay whatever the track timer says.
        let timer = Duration::from_secs(1 << 30);
        let oracle = TrackerJourney::new(population, "", nobody, timer, run);
        CallFlow {
            oracle: oracle.knowing(stay_until.clone()),
            library,
            callees,
            run: run.to_owned(),
            random: Random::new(derive(population.seed, &["call flows", &lane.to_string()])),
            tags: BTreeMap::new(),
            stay_until,
        }
    }

    fn call_id(&self, number: u64) -> String {
        format!("{number}-{}", self.run)
    }

    fn local_tag(&self, number: u64) -> String {
        format!("f{number}")
    }

    fn branch(&self, number: u64, cseq: u32) -> String {
        format!("z9hG4bK{number}.{cseq}.{}", self.run)
    }

    fn via(&self, begun: &Begun<Ask>, cseq: u32) -> String {
        let word = begun.transport.word();
        let branch = self.branch(begun.number, cseq);
        format!("SIP/2.0/{word} {};branch={branch}", begun.local)
    }

    /// What every request that begins a call flow has; `from` is a public identity.
    fn initial(&self, begun: &Begun<Ask>, method: Method, uri: &str, from: &str) -> Builder {
        let (word, number) = (method.word(), begun.number);
        let to = match method {
            // A registration is about whom To names (RFC 3261 10.2).
            Method::Register => from,
            _ => uri,
        };
        Builder::request(word, uri)
            .header("Via", &self.via(begun, 1))
            .header("Max-Forwards", "70")
            .header("From", &format!("<{from}>;tag={}", self.local_tag(number)))
            .header("To", &format!("<{to}>"))
            .header("Call-ID", &self.call_id(number))
            .header("CSeq", &format!("1 {word}"))
    }

    fn contact(begun: &Begun<Ask>) -> String {
        let transport = match begun.transport {
            SipTransport::Udp => "udp",
            SipTransport::Tcp => "tcp",
        };
        format!("<sip:{};transport={transport}>", begun.local)
    }

    fn piece_request(&mut self, begun: &Begun<Ask>, resident: u32) -> (Message, Offer) {
        let (name, octets) = match begun.ask {
            Ask::Piece { content, piece, .. } => {
                (Library::name(content), self.library.place(piece))
            }
            _ => (NOBODYS.to_owned(), self.library.place(0)),
        };
        let selector = FileSelector {
            name: Some(name),
            size: Some(self.library.size),
            ..FileSelector::default()
        };
        let wanted = [Wanted { selector, octets }];
        let offer = Offer::pull(begun.local, &wanted, Setup::Active, &mut self.random);
        let identity = Person::Resident(resident).identity();
        let request = self
            .initial(begun, Method::Invite, &self.callees.holder, &identity)
            .header("Contact", &CallFlow::contact(begun))
            .header("P-Asserted-Identity", &format!("<{identity}>"))
            .header("Accept", SDP)
            .body(SDP, &offer.session.to_bytes())
            .finish();
        (request, offer)
    }

    fn list_request(&self, begun: &Begun<Ask>, resident: u32) -> Message {
        let identity = Person::Resident(resident).identity();
        let find = tracker::Ask::Find(resident);
        let document = self.oracle.document(find, begun.number).to_json();
        let builder = self
            .initial(begun, Method::Subscribe, &self.callees.tracker, &identity)
            .header("Contact", &CallFlow::contact(begun))
            .header("Event", PEER_LIST_PACKAGE)
            .header("Accept", MEDIA_TYPE)
            // Its state as it is, and no more (RFC 6665 4.4.3).
            .header("Expires", "0");
        let builder = match begun.ask {
            Ask::Refused(_) => builder,
            _ => builder.header("P-Asserted-Identity", &format!("<{identity}>")),
        };
        builder.body(MEDIA_TYPE, document.as_bytes()).finish()
    }

    fn status_request(&mut self, begun: &Begun<Ask>, resident: u32) -> (Message, State) {
        let identity = Person::Resident(resident).identity();
        let report = tracker::Ask::Report(resident);
        let document = self.oracle.document(report, begun.number).to_json();
        let builder = self
            .initial(begun, Method::Publish, &identity, &identity)
            .header("P-Asserted-Identity", &format!("<{identity}>"))
            .header("Event", STATUS_PACKAGE)
            .header("Expires", &LIFETIME.to_string());
        // Two reports at a time are two publications.
        let before = self.tags.remove(&resident);
        let builder = match &before {
            Some(tag) => builder.header("SIP-If-Match", tag),
            None => builder,
        };
        let request = builder.body(MEDIA_TYPE, document.as_bytes()).finish();
        (request, State::Status { before })
    }

    fn registration(&self, begun: &Begun<Ask>, resident: u32) -> Message {
        let identity = Person::Resident(resident).identity();
        self.initial(begun, Method::Register, &self.callees.tracker, &identity)
            .header("Contact", "<sip:scscf1.ims.example>")
            .header("Expires", &LIFETIME.to_string())
            .finish()
    }

    /// What an answer has to be, whatever it says: to this request, with its tags.
    fn check_answer(&self, talk: &mut Talk, answer: &Message) -> Result<(), Wrong> {
        let wrong = |why: String| Err(Wrong::shape(why));
        let unreadable = |what: &str| Wrong::shape(format!("no {what} that can be read"));
        let expected = self.branch(talk.begun.number, talk.cseq);
        let via = answer.top_via().map_err(|_| unreadable("Via"))?;
        if via.branch() != Some(&expected) {
            let found = via.branch().unwrap_or_default();
            return wrong(format!("branch {found}, expected {expected}"));
        }
        let from = answer.from().map_err(|_| unreadable("From"))?;
        let expected = self.local_tag(talk.begun.number);
        if from.tag() != Some(&expected) {
            let found = from.tag().unwrap_or_default();
            return wrong(format!("tag \"{found}\" in From, expected {expected}"));
        }
        let to = answer.to().map_err(|_| unreadable("To"))?;
        match (to.tag(), &talk.remote) {
            (None, _) => wrong("no tag in To".to_owned()),
            (Some(found), Some(expected)) if found != expected => {
                wrong(format!("tag {found} in To, expected {expected}"))
            }
            (Some(found), None) => {
                talk.remote = Some(found.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a status is what has to come.
    fn check_status(talk: &Talk, status: u16) -> Result<(), Wrong> {
        let expected = match talk.begun.ask {
            Ask::NotHeld(_) => 488,
            Ask::Refused(_) => 403,
            _ => 200,
        };
        match status == expected {
            true => Ok(()),
            false => Err(Wrong::status(status, &expected.to_string())),
        }
    }

    fn answered(
        &mut self,
        talk: &mut Talk,
        at: At,
        answer: &Message,
        say: &mut Vec<Say>,
    ) -> Result<Turn, Wrong> {
        let status = answer.status().unwrap_or_default();
        if status < 200 {
            if let State::Piece { rang, .. } = &mut talk.state
                && status > 100
            {
                rang.get_or_insert(at);
            }
            return Ok(Turn::GoesOn);
        }
        let took = at.since(talk.asked);
        if talk.method == Method::Invite {
            self.acknowledge(talk, answer, say);
            let rang = match &talk.state {
                State::Piece {
                    rang: Some(rang), ..
                } => rang.since(talk.asked),
                _ => took,
            };
            let delay = match status {
                200..300 => Delay::SessionRequest,
                _ => Delay::FailedSessionRequest,
            };
            say.push(Say::Took(delay, rang));
        }
        self.check_answer(talk, answer)?;
        CallFlow::check_status(talk, status)?;
        match (talk.method, talk.begun.ask) {
            (_, Ask::NotHeld(_) | Ask::Refused(_)) => Ok(Turn::Over),
            (Method::Invite, _) => self.accepted(talk, at, answer, say),
            (Method::Bye, _) => {
                say.push(Say::Took(Delay::SessionDisconnect, took));
                Ok(Turn::Over)
            }
            (Method::Register, _) => {
                say.push(Say::Took(Delay::RegistrationRequest, took));
                Ok(Turn::Over)
            }
            (Method::Subscribe, _) => {
                say.push(Say::Took(Delay::EventRequest, took));
                let State::List { accepted, is_told } = &mut talk.state else {
                    return Ok(Turn::Over);
                };
                *accepted = Some(at);
                match is_told {
                    true => Ok(Turn::Over),
                    false => Ok(Turn::GoesOn),
                }
            }
            (Method::Publish, Ask::Status(resident)) => {
                say.push(Say::Took(Delay::EventRequest, took));
                self.published(talk, at, answer, resident)
            }
            (Method::Publish, _) => Ok(Turn::Over),
        }
    }

    /// The 200 of a piece request: it is held against the offer, and the session is ended.
    fn accepted(
        &mut self,
        talk: &mut Talk,
        at: At,
        answer: &Message,
        say: &mut Vec<Say>,
    ) -> Result<Turn, Wrong> {
        let State::Piece { offer, .. } = &talk.state else {
            return Ok(Turn::Over);
        };
        check_description(offer, answer, talk.begun.depth)?;
        let dialog = Dialog::uac(&talk.request, answer);
        let mut dialog = dialog.map_err(|why| Wrong::shape(format!("makes no dialog: {why}")))?;
        let bye = dialog
            .request("BYE")
            .header("Via", &self.via(&talk.begun, 2))
            .finish();
        (talk.method, talk.cseq, talk.asked) = (Method::Bye, 2, at);
        say.push(Say::Request {
            method: Method::Bye,
            number: 2,
            bytes: bye.bytes().clone(),
        });
        Ok(Turn::Answered)
    }

    /// Acknowledges a final answer to an INVITE: a 2xx in its dialog (RFC 3261 13.2.2.4), any other in the transaction of the INVITE
    /// (17.1.1.3).
    fn acknowledge(&self, talk: &Talk, answer: &Message, say: &mut Vec<Say>) {
        let is_success = answer
            .status()
            .is_some_and(|status| (200..300).contains(&status));
        let ack = match is_success {
            true => Dialog::uac(&talk.request, answer).ok().map(|dialog| {
                let branch = format!("{}.a", self.via(&talk.begun, 1));
                dialog.ack(1).header("Via", &branch).finish()
            }),
            false => answer.header("To").map(|to| {
                let request = &talk.request;
                let from = request.header("From").unwrap_or_default();
                Builder::request("ACK", request.request_uri().unwrap_or_default())
                    .header("Via", &self.via(&talk.begun, 1))
                    .header("Max-Forwards", "70")
                    .header("From", &from)
                    .header("To", &to)
                    .header("Call-ID", &self.call_id(talk.begun.number))
                    .header("CSeq", "1 ACK")
                    .finish()
            }),
        };
        if let Some(ack) = ack {
            say.push(Say::Once(ack.bytes().clone()));
        }
    }

    /// The 200 of a publication: its tag is what the next one refers to, and its lifetime how long its author stays.
    fn published(
        &mut self,
        talk: &Talk,
        at: At,
        answer: &Message,
        resident: u32,
    ) -> Result<Turn, Wrong> {
        let tag = answer.header("SIP-ETag").unwrap_or_default();
        if tag.is_empty() {
            return Err(Wrong::shape("no SIP-ETag, which a publication has to have"));
        }
        let expires = answer.number("Expires").ok().flatten();
        let granted = expires.filter(|granted| (1..=LIFETIME).contains(granted));
        let Some(granted) = granted else {
            return Err(Wrong::shape(format!(
                "Expires {expires:?}, expected 1 to {LIFETIME}"
            )));
        };
        if matches!(&talk.state, State::Status { before: Some(before) } if *before == tag) {
            return Err(Wrong::content(format!(
                "SIP-ETag {tag} again, expected a new one"
            )));
        }
        self.tags.insert(resident, tag.into_owned());
        let until = at + Duration::from_secs(granted.into());
        self.stay_until
            .fetch_min(until.as_nanos(), Ordering::AcqRel);
        Ok(Turn::Over)
    }

    /// The NOTIFY that carries a list.
    fn notified(
        &mut self,
        talk: &mut Talk,
        at: At,
        request: &Message,
        say: &mut Vec<Say>,
    ) -> Result<Turn, Wrong> {
        let method = request.method();
        let status = match method {
            "NOTIFY" => 200,
            _ => 405,
        };
        let response = Builder::response(request, status, reason(status), None).finish();
        say.push(Say::Once(response.bytes().clone()));
        let State::List { accepted, is_told } = &mut talk.state else {
            return Err(Wrong::shape(format!("{method} came, expected no request")));
        };
        if method != "NOTIFY" {
            return Err(Wrong::shape(format!("{method} came, expected NOTIFY")));
        }
        if std::mem::replace(is_told, true) {
            // A copy, or news of a subscription that is over: neither is a second list.
            return Ok(Turn::GoesOn);
        }
        let accepted = *accepted;
        if let Some(accepted) = accepted {
            say.push(Say::Took(Delay::Notification, at.since(accepted)));
        }
        self.check_notify(talk, request)?;
        let Ask::List(resident) = talk.begun.ask else {
            return Err(Wrong::content("a list came where none may be told"));
        };
        let asked = Asked {
            ask: tracker::Ask::Find(resident),
            number: talk.begun.number,
            sent: talk.begun.at,
            came: at,
            depth: talk.begun.depth,
        };
        let kind = request.header("Content-Type").unwrap_or_default();
        self.oracle.judge_document(asked, &kind, request.body())?;
        match accepted {
            Some(_) => Ok(Turn::Over),
            None => Ok(Turn::GoesOn),
        }
    }

    fn check_notify(&self, talk: &mut Talk, request: &Message) -> Result<(), Wrong> {
        let wrong = |why: String| Err(Wrong::shape(why));
        let expected = self.local_tag(talk.begun.number);
        let to = request.to().ok();
        if to.as_ref().and_then(|to| to.tag()) != Some(&expected) {
            return wrong(format!("NOTIFY without our tag {expected} in To"));
        }
        let from = request.from().ok();
        match (from.as_ref().and_then(|from| from.tag()), &talk.remote) {
            (None, _) => return wrong("NOTIFY without a tag in From".to_owned()),
            (Some(found), Some(expected)) if found != expected => {
                return wrong(format!("NOTIFY with tag {found}, expected {expected}"));
            }
            (Some(found), _) => talk.remote = Some(found.to_owned()),
        }
        let event = request.header("Event").unwrap_or_default();
        if event.split(';').next().map(str::trim) != Some(PEER_LIST_PACKAGE) {
            return wrong(format!(
                "NOTIFY of event {event:?}, expected {PEER_LIST_PACKAGE}"
            ));
        }
        let state = request.header("Subscription-State").unwrap_or_default();
        match state.starts_with("terminated") {
            true => Ok(()),
            false => wrong(format!(
                "Subscription-State {state:?}, expected terminated: it was asked for once"
            )),
        }
    }
}

/// Whether a description answers an offer: every one for whether it speaks of the transfer, one in so many line by line.
fn check_description(offer: &Offer, answer: &Message, depth: Depth) -> Result<(), Wrong> {
    let kind = answer.header("Content-Type").unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case(SDP) {
        return Err(Wrong::shape(format!(
            "Content-Type {kind:?}, expected {SDP}"
        )));
    }
    let body = answer.body();
    for leg in &offer.legs {
        if memmem::find(body, leg.transfer_id.as_bytes()).is_none() {
            return Err(Wrong::shape(format!(
                "no file transfer {}, which was offered",
                leg.transfer_id
            )));
        }
    }
    if depth == Depth::Shape {
        return Ok(());
    }
    let session = Session::parse(&answer.body_bytes());
    let session = session.map_err(|why| Wrong::shape(why.to_string()))?;
    for line in offer.judge(&session).map_err(Wrong::shape)? {
        match line {
            Answered::Accepted { .. } => {}
            Answered::Refused => {
                return Err(Wrong::content("port 0, expected a piece that is held"));
            }
            Answered::Wrong(why) => return Err(Wrong::content(why)),
        }
    }
    Ok(())
}

impl Flow for CallFlow {
    type Ask = Ask;
    type Talk = Talk;

    const KINDS: &'static [&'static str] = &[
        "peer-list",
        "piece",
        "status",
        "register",
        "refused",
        "not-held",
    ];

    fn kind(ask: Ask) -> usize {
        match ask {
            Ask::List(_) => 0,
            Ask::Piece { .. } => 1,
            Ask::Status(_) => 2,
            Ask::Register(_) => 3,
            Ask::Refused(_) => 4,
            Ask::NotHeld(_) => 5,
        }
    }

    fn way(ask: Ask, number: u64) -> u64 {
        match ask {
            Ask::Status(resident) => resident.into(),
            _ => number,
        }
    }

    fn begin(&mut self, begun: Begun<Ask>, say: &mut Vec<Say>) -> Talk {
        let (method, request, state) = match begun.ask {
            Ask::Piece { resident, .. } | Ask::NotHeld(resident) => {
                let (request, offer) = self.piece_request(&begun, resident);
                let (offer, rang) = (Box::new(offer), None);
                (Method::Invite, request, State::Piece { offer, rang })
            }
            Ask::List(resident) | Ask::Refused(resident) => {
                let (accepted, is_told) = (None, false);
                let state = State::List { accepted, is_told };
                (
                    Method::Subscribe,
                    self.list_request(&begun, resident),
                    state,
                )
            }
            Ask::Status(resident) => {
                let (request, state) = self.status_request(&begun, resident);
                (Method::Publish, request, state)
            }
            Ask::Register(resident) => {
                let request = self.registration(&begun, resident);
                (Method::Register, request, State::Plain)
            }
        };
        say.push(Say::Request {
            method,
            number: 1,
            bytes: request.bytes().clone(),
        });
        Talk {
            asked: begun.at,
            begun,
            request,
            method,
            cseq: 1,
            remote: None,
            state,
        }
    }

    fn hear(
        &mut self,
        talk: &mut Talk,
        at: At,
        message: &Message,
        say: &mut Vec<Say>,
    ) -> Result<Turn, Wrong> {
        match message.is_request() {
            true => self.notified(talk, at, message, say),
            false => self.answered(talk, at, message, say),
        }
    }

    fn hear_again(&mut self, talk: &mut Talk, message: &Message, say: &mut Vec<Say>) {
        if message.method() == "INVITE" && message.status().is_some_and(|status| status >= 200) {
            self.acknowledge(talk, message, say);
        }
    }

    fn number(&self, call_id: &str) -> Option<u64> {
        let (number, run) = call_id.split_once('-')?;
        (run == self.run).then(|| number.parse().ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::{super::schedule::Share, *};
    use crate::{
        proto::file_transfer::{self, Promise},
        wire::{
            msrp,
            ppstp::{self, Listed, PeerCds, PeerInfo, SwarmResult},
        },
    };

    const POPULATION: Population = Population {
        peers: 1000,
        swarms: 5,
        seed: 3,
    };
    const LIBRARY: Library = Library {
        contents: 2,
        size: 1 << 16,
        piece: 1 << 14,
        seed: 3,
    };

    fn at(millis: u64) -> At {
        At::ZERO + Duration::from_millis(millis)
    }

    fn arrivals() -> Vec<(Arrival<Ask>, u64)> {
        let times = (0..20_000).map(|n| At::from_nanos(n * 1_000_000));
        plan(times, POPULATION, LIBRARY, Traffic::default()).collect()
    }

    #[test]
    fn shares_are_written_and_read_and_kept() {
        let traffic: Traffic = "peer-list=20, status=12,piece=68".parse().unwrap();
        assert_eq!(
            (20, 12, 0),
            (traffic.peer_list, traffic.status, traffic.register)
        );
        assert_eq!(Ok(traffic), traffic.to_string().parse());
        for wrong in [
            "peer-list",
            "peer-list=x",
            "call=3",
            "status=60,register=41",
        ] {
            assert!(wrong.parse::<Traffic>().is_err(), "{wrong}");
        }
        let mut counted = [0; 6];
        for (arrival, _) in arrivals() {
            counted[CallFlow::kind(arrival.ask)] += 1;
        }
        for (share, counted) in [20, 61, 12, 3, 2, 2].into_iter().zip(counted) {
            let percent = f64::from(counted) / 200.0;
            assert!(
                (percent - f64::from(share)).abs() < 1.0,
                "{share}: {percent}"
            );
        }
    }

    #[test]
    fn all_reports_of_a_resident_are_one_lane_s_and_nothing_is_lost_between_shares() {
        let all = arrivals();
        let mut homes = BTreeMap::new();
        let mut shared = Vec::new();
        for number in 1..=3 {
            let share = Share { number, of: 3 };
            for (arrival, journey) in &all {
                let Some(lane) = share.lane(*journey, 2) else {
                    continue;
                };
                shared.push(*arrival);
                if let Ask::Status(resident) = arrival.ask {
                    let home = homes.entry(resident).or_insert((number, lane));
                    assert_eq!((number, lane), *home);
                }
            }
        }
        shared.sort_by_key(|arrival| arrival.number);
        let all: Vec<Arrival<Ask>> = all.into_iter().map(|(arrival, _)| arrival).collect();
        assert_eq!(all, shared);
    }

    /// A call flow that has begun, and the request that began it.
    fn begun(ask: Ask, depth: Depth) -> (CallFlow, Talk, Message) {
        let callees = Callees {
            holder: "sip:es1@ims.example".to_owned(),
            tracker: "sip:tracker@p2pcds.ims.example".to_owned(),
        };
        let stay_until = Arc::new(AtomicU64::new(u64::MAX));
        let mut flow = CallFlow::new(POPULATION, LIBRARY, callees, "r", 0, stay_until);
        let (talk, request) = begin(&mut flow, ask, depth);
        (flow, talk, request)
    }

    fn begin(flow: &mut CallFlow, ask: Ask, depth: Depth) -> (Talk, Message) {
        let mut say = Vec::new();
        let begun = Begun {
            ask,
            number: 16,
            at: at(0),
            depth,
            local: "127.0.0.1:40000".parse().unwrap(),
            transport: SipTransport::Udp,
        };
        let talk = flow.begin(begun, &mut say);
        let request = message(&say[0]);
        assert_eq!(Some(16), flow.number(&request.call_id().unwrap()));
        (talk, request)
    }

    fn message(say: &Say) -> Message {
        match say {
            Say::Request { bytes, .. } | Say::Once(bytes) => Message::parse(bytes.clone()).unwrap(),
            Say::Took(..) => panic!("found a delay, expected a message"),
        }
    }

    fn ok(request: &Message) -> Builder {
        Builder::response(request, 200, "OK", Some("there"))
            .header("Contact", "<sip:127.0.0.1:5070>")
    }

    const PIECE: Ask = Ask::Piece {
        resident: 7,
        content: 1,
        piece: 2,
    };

    /// A true answer to a piece request; `promised` says whether the piece is.
    fn accepted(invite: &Message, promised: bool) -> Message {
        let offer = Session::parse(&invite.body_bytes()).unwrap();
        let there: std::net::SocketAddr = "127.0.0.1:2855".parse().unwrap();
        let promise = Promise {
            at: there,
            path: msrp::Uri::new(there, "abc"),
            selector: None,
        };
        let promises = [promised.then_some(promise)];
        let answer = file_transfer::answer(&offer, &promises, there, 1);
        ok(invite).body(SDP, &answer.to_bytes()).finish()
    }

    #[test]
    fn a_session_is_acknowledged_and_ended() {
        let (mut flow, mut talk, invite) = begun(PIECE, Depth::Whole);
        let mut say = Vec::new();
        let ringing = Builder::response(&invite, 180, "Ringing", Some("there")).finish();
        let turn = flow.hear(&mut talk, at(3), &ringing, &mut say);
        assert_eq!((Ok(Turn::GoesOn), 0), (turn, say.len()));
        let turn = flow.hear(&mut talk, at(9), &accepted(&invite, true), &mut say);
        assert_eq!(Ok(Turn::Answered), turn);
        let took = |say: &Say| match say {
            Say::Took(delay, took) => Some((*delay, *took)),
            _ => None,
        };
        let rang = (Delay::SessionRequest, Duration::from_millis(3));
        assert_eq!(Some(rang), say.iter().find_map(took));
        let (ack, bye) = (message(&say[0]), message(&say[2]));
        assert_eq!(("ACK", "BYE"), (ack.method(), bye.method()));
        for within in [&ack, &bye] {
            assert_eq!(Some("sip:127.0.0.1:5070"), within.request_uri());
            assert_eq!(Some("there"), within.to().unwrap().tag());
        }
        assert_eq!(1, ack.cseq().unwrap().number);
        // A copy of the 200 is acknowledged again.
        say.clear();
        flow.hear_again(&mut talk, &accepted(&invite, true), &mut say);
        assert_eq!(ack, message(&say[0]));
        say.clear();
        let bye_ok = Builder::response(&bye, 200, "OK", None).finish();
        let turn = flow.hear(&mut talk, at(11), &bye_ok, &mut say);
        assert_eq!(Ok(Turn::Over), turn);
        let ended = (Delay::SessionDisconnect, Duration::from_millis(2));
        assert_eq!(Some(ended), say.iter().find_map(took));
    }

    #[test]
    fn a_refusal_that_has_to_come_is_right_and_acknowledged_where_it_belongs() {
        let (mut flow, mut talk, invite) = begun(Ask::NotHeld(7), Depth::Shape);
        let mut say = Vec::new();
        let refusal = Builder::response(&invite, 488, "Not Acceptable Here", Some("x")).finish();
        let turn = flow.hear(&mut talk, at(1), &refusal, &mut say);
        assert_eq!(Ok(Turn::Over), turn);
        let ack = message(&say[0]);
        let branch = |message: &Message| message.top_via().unwrap().branch().map(str::to_owned);
        assert_eq!(branch(&invite), branch(&ack));
        let (mut flow, mut talk, invite) = begun(Ask::NotHeld(7), Depth::Shape);
        let held = flow.hear(&mut talk, at(1), &accepted(&invite, true), &mut say);
        assert!(held.is_err());
    }

    #[test]
    fn what_answers_no_piece_request_is_found() {
        type Spoil = fn(&Message) -> Message;
        let seen_in_every_one: [(&str, Spoil); 6] = [
            ("a status", |invite| {
                Builder::response(invite, 486, "Busy Here", Some("x")).finish()
            }),
            ("no tag", |invite| {
                let to = "<sip:es1@ims.example>";
                accepted(invite, true).edit().set("To", to).finish()
            }),
            ("another From", |invite| {
                let from = "<sip:u0000007@ims.example>;tag=f17";
                accepted(invite, true).edit().set("From", from).finish()
            }),
            ("another branch", |invite| {
                let via = "SIP/2.0/UDP 127.0.0.1:40000;branch=z9hG4bKother";
                accepted(invite, true).edit().set("Via", via).finish()
            }),
            ("another type", |invite| {
                let edit = accepted(invite, true);
                edit.edit().set("Content-Type", "text/plain").finish()
            }),
            ("another transfer", |invite| {
                ok(invite).body(SDP, b"v=0\r\n").finish()
            }),
        ];
        for (what, spoil) in seen_in_every_one {
            let (mut flow, mut talk, invite) = begun(PIECE, Depth::Shape);
            let heard = flow.hear(&mut talk, at(1), &spoil(&invite), &mut Vec::new());
            assert!(heard.is_err(), "{what} was let pass");
        }
        let (mut flow, mut talk, invite) = begun(PIECE, Depth::Whole);
        let heard = flow.hear(&mut talk, at(1), &accepted(&invite, false), &mut Vec::new());
        assert_eq!(
            Some(super::super::journey::WrongWhat::Content),
            heard.err().map(|wrong| wrong.what)
        );
    }

    /// A NOTIFY of ten peers of the swarm of resident 7, which is 2.
    fn notify(subscribe: &Message, state: &str, peers: u32) -> Message {
        let listed = (1..=peers).map(|n| {
            let number = 7 + 5 * n;
            Listed::from(PeerInfo {
                peer_id: Person::Resident(number).peer_id(),
                peer_addr: Person::Resident(number).addr(),
                cds: Some(PeerCds {
                    pieces: POPULATION.pieces(number),
                    ..PeerCds::default()
                }),
            })
        });
        let swarm = SwarmResult {
            swarm_id: "s00002".to_owned(),
            successful: true,
            peers: Some(listed.collect()),
            manifest: None,
        };
        let document = ppstp::Response::ok("r-16", vec![swarm]).to_json();
        Builder::request("NOTIFY", "sip:127.0.0.1:40000")
            .header("Via", "SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bKn")
            .header("From", "<sip:tracker@p2pcds.ims.example>;tag=there")
            .header("To", "<sip:u0000007@ims.example>;tag=f16")
            .header("Call-ID", &subscribe.call_id().unwrap())
            .header("CSeq", "1 NOTIFY")
            .header("Event", PEER_LIST_PACKAGE)
            .header("Subscription-State", state)
            .body(MEDIA_TYPE, document.as_bytes())
            .finish()
    }

    const TOLD_ONCE: &str = "terminated;reason=timeout";

    #[test]
    fn a_list_may_come_before_or_after_the_answer() {
        for is_first in [true, false] {
            let (mut flow, mut talk, subscribe) = begun(Ask::List(7), Depth::Whole);
            let notify = notify(&subscribe, TOLD_ONCE, 10);
            let mut both = [notify, ok(&subscribe).header("Expires", "0").finish()];
            if !is_first {
                both.reverse();
            }
            let mut say = Vec::new();
            let turns = both.map(|message| flow.hear(&mut talk, at(1), &message, &mut say));
            assert_eq!([Ok(Turn::GoesOn), Ok(Turn::Over)], turns);
            let answers = say.iter().filter(|say| matches!(say, Say::Once(_)));
            assert_eq!(1, answers.count());
        }
    }

    #[test]
    fn a_list_that_is_none_is_found() {
        let told = |ask, state: &str, peers| {
            let (mut flow, mut talk, subscribe) = begun(ask, Depth::Shape);
            let notify = notify(&subscribe, state, peers);
            flow.hear(&mut talk, at(1), &notify, &mut Vec::new())
        };
        assert_eq!(Ok(Turn::GoesOn), told(Ask::List(7), TOLD_ONCE, 10));
        assert!(told(Ask::List(7), TOLD_ONCE, 9).is_err());
        assert!(told(Ask::List(7), "active;expires=600", 10).is_err());
        assert!(told(Ask::Refused(7), TOLD_ONCE, 10).is_err());
        assert!(told(Ask::Register(7), TOLD_ONCE, 10).is_err());
    }

    #[test]
    fn a_report_refers_to_the_one_before_unless_that_is_under_way() {
        let (mut flow, mut talk, first) = begun(Ask::Status(7), Depth::Shape);
        let (_, beside) = begin(&mut flow, Ask::Status(7), Depth::Shape);
        assert!(!first.has("SIP-If-Match") && !beside.has("SIP-If-Match"));
        let granted = |request: &Message, tag: &str, expires: &str| {
            let answer = Builder::response(request, 200, "OK", Some("x"));
            let answer = answer.header("SIP-ETag", tag).header("Expires", expires);
            answer.finish()
        };
        let heard = flow.hear(
            &mut talk,
            at(1),
            &granted(&first, "e1", "60"),
            &mut Vec::new(),
        );
        assert_eq!(Ok(Turn::Over), heard);
        // Who publishes for a minute is certainly there for no longer.
        let until = flow.stay_until.load(Ordering::Acquire);
        assert_eq!(at(60_001).as_nanos(), until);
        let (mut talk, second) = begin(&mut flow, Ask::Status(7), Depth::Shape);
        assert_eq!("e1", second.header("SIP-If-Match").unwrap());
        let again = flow.hear(
            &mut talk,
            at(2),
            &granted(&second, "e1", "60"),
            &mut Vec::new(),
        );
        assert!(again.is_err(), "the same tag was let pass");
        for (tag, expires) in [("", "60"), ("e2", "0"), ("e2", "3601")] {
            let (mut flow, mut talk, request) = begun(Ask::Status(7), Depth::Shape);
            let answer = granted(&request, tag, expires);
            let heard = flow.hear(&mut talk, at(1), &answer, &mut Vec::new());
            assert!(heard.is_err(), "{tag}, {expires} was let pass");
        }
    }
}
