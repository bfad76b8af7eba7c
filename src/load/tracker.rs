//! Load on the tracker path: members of swarms ask for peers and report, visitors join and leave or go
//! silent. Who is in which swarm is known from the [`Population`]; of visitors it is noted when they joined
//! and left, so that an answer that lists somebody who is gone is found out.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use memchr::memmem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    journey::{Asked, Depth, Journey, Wrong},
    population::{Person, Population, mixed, swarm_id},
    schedule::Arrival,
};
use crate::{
    node::tracking_list::{Asker, TrackingList},
    time::At,
    wire::{
        http,
        ppstp::{
            self, Action, ActionCds, Body, Connect, Find, Listed, MEDIA_TYPE, PeerMode, PeerNum,
            PeerRole, Pieces, Profile, Request, Response, Stat, StatCds, StatReport, SwarmAction,
            read_response,
        },
    },
};

/// What share of questions is of which kind, in percent; the rest are peer lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Mix {
    /// Status reports of residents.
    pub report: u32,
    /// Visitors that join.
    pub join: u32,
    /// Visitors that leave again; the others go silent, and expire.
    pub leave: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Mix {
            report: 25,
            join: 6,
            leave: 4,
        }
    }
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A resident asks for peers of its swarm.
    Find(u32),
    /// A resident reports what it holds.
    Report(u32),
    /// A visitor joins, and asks for peers.
    Join(u32),
    /// A visitor leaves.
    Leave(u32),
    /// A visitor that is there asks for peers: of closed-loop journeys alone.
    VisitorFind(u32),
    /// A visitor reports what it holds, what it fetched included: likewise.
    VisitorReport(u32),
}

/// Peers asked for.
pub const WANTED: u64 = 10;

/// How long a visitor stays at least, so that its leaving never overtakes its joining; with a track timer below
/// four seconds, a quarter of it.
const STAY: Duration = Duration::from_secs(1);

/// What is asked at each time: the arrival, and the journey it belongs to. A visitor's leaving belongs to its
/// joining, so that one generator does both. Nobody leaves so late that the track timer may have fired.
pub fn plan(
    times: impl Iterator<Item = At>,
    population: Population,
    mix: Mix,
    track_timer: Duration,
) -> impl Iterator<Item = (Arrival<Ask>, u64)> {
    let (shortest, longest) = (STAY.min(track_timer / 4), track_timer / 2);
    let mut there: VecDeque<(At, u32, u64)> = VecDeque::new();
    let mut visitors = 0;
    times.zip(0u64..).map(move |(at, number)| {
        let drawn = mixed(population.seed ^ mixed(number));
        let resident = (drawn >> 32) as u32 % population.peers.max(1);
        let kind = (drawn % 100) as u32;
        while there
            .front()
            .is_some_and(|(since, ..)| *since + longest < at)
        {
            there.pop_front();
        }
        let may_leave = there
            .front()
            .is_some_and(|(since, ..)| *since + shortest <= at);
        let (ask, journey) = if kind < mix.report {
            (Ask::Report(resident), number)
        } else if kind < mix.report + mix.leave && may_leave {
            let (_, visitor, journey) =
                there.pop_front().expect("somebody is there: see may_leave");
            (Ask::Leave(visitor), journey)
        } else if kind < mix.report + mix.leave + mix.join {
            let visitor = visitors;
            visitors += 1;
            // Every third goes silent.
            if visitor % 3 != 0 {
                there.push_back((at, visitor, number));
            }
            (Ask::Join(visitor), number)
        } else {
            (Ask::Find(resident), number)
        };
        (Arrival { at, number, ask }, journey)
    })
}

/// What is known of visitors: one for all lanes of a generator.
#[derive(Debug)]
pub struct Visitors(Vec<Stay>);

/// Nanoseconds since the start; zero: not yet.
#[derive(Debug, Default)]
struct Stay {
    joined: AtomicU64,
    left: AtomicU64,
}

impl Visitors {
    pub fn new(count: u32) -> Visitors {
        Visitors((0..count).map(|_| Stay::default()).collect())
    }

    /// Why a visitor may not be listed to a question that left at `sent`; `None` if it may.
    fn is_gone(&self, visitor: u64, sent: At, track_timer: Duration) -> Option<String> {
        let stay = self.0.get(usize::try_from(visitor).ok()?)?;
        let [joined, left] =
            [&stay.joined, &stay.left].map(|at| At::from_nanos(at.load(Ordering::Acquire)));
        if !left.is_zero() && left < sent {
            let since = sent.since(left).as_secs_f64();
            return Some(format!("left {since:.3} s before the question was sent"));
        }
        let expired = joined + track_timer + GRACE;
        (!joined.is_zero() && expired < sent).then(|| {
            let since = sent.since(joined).as_secs_f64();
            let limit = track_timer.as_secs_f64();
            format!("has been silent for {since:.3} s, the track timer being {limit} s")
        })
    }
}

/// How late a tracker may be with the track timer.
const GRACE: Duration = Duration::from_secs(2);

/// Asks a tracker, and judges what it answers.
pub struct TrackerJourney {
    population: Population,
    /// Where it goes, as the Host header says it.
    host: String,
    visitors: Arc<Visitors>,
    /// That of the tracker.
    track_timer: Duration,
    /// Tells the transactions of one run from another's.
    run: String,
    /// Pieces that visitors fetch while they are there.
    fetches: u32,
    /// Until when residents certainly stay, in nanoseconds: who publishes is there for as long as that says.
    stay_until: Arc<AtomicU64>,
}

impl TrackerJourney {
    pub fn new(
        population: Population,
        host: &str,
        visitors: Arc<Visitors>,
        track_timer: Duration,
        run: &str,
    ) -> TrackerJourney {
        TrackerJourney {
            population,
            host: host.to_owned(),
            visitors,
            track_timer,
            run: run.to_owned(),
            fetches: 0,
            stay_until: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// The same, with what all lanes know of how long residents stay.
    pub fn knowing(self, stay_until: Arc<AtomicU64>) -> TrackerJourney {
        TrackerJourney { stay_until, ..self }
    }

    /// The same with visitors that fetch so many pieces, and report them.
    pub fn fetching(self, fetches: u32) -> TrackerJourney {
        TrackerJourney { fetches, ..self }
    }

    fn transaction(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// The swarm a question is about.
    fn swarm(&self, ask: Ask) -> u32 {
        match ask {
            Ask::Find(resident) | Ask::Report(resident) => self.population.swarm_of(resident),
            Ask::Join(visitor)
            | Ask::Leave(visitor)
            | Ask::VisitorFind(visitor)
            | Ask::VisitorReport(visitor) => self.population.swarm_of_visitor(visitor.into()),
        }
    }

    /// How many peers have to be listed at least, and may be at most. Of visitors nothing is certain.
    fn expected(&self, ask: Ask, sent: At) -> (usize, usize) {
        if sent.as_nanos() >= self.stay_until.load(Ordering::Acquire) {
            return (0, WANTED as usize);
        }
        let residents = u64::from(self.population.residents(self.swarm(ask)));
        let least = match ask {
            Ask::Find(_) => residents.saturating_sub(1),
            Ask::Join(_) | Ask::VisitorFind(_) => residents,
            Ask::Report(_) | Ask::VisitorReport(_) | Ask::Leave(_) => return (0, 0),
        };
        (least.min(WANTED) as usize, WANTED as usize)
    }

    /// Whether every entry of a list tells of somebody who is there.
    fn check_list(&self, asked: Asked<Ask>, listed: &[Listed]) -> Result<(), Wrong> {
        let swarm = self.swarm(asked.ask);
        let asker = person(asked.ask);
        let mut seen: Vec<&str> = Vec::with_capacity(listed.len());
        for peer in listed {
            let wrong = |why: String| Wrong::content(format!("peer {}: {why}", peer.peer_id));
            let Some(person) = Person::of(&peer.peer_id) else {
                return Err(wrong("nobody of that name was announced".to_owned()));
            };
            if person == asker {
                return Err(wrong("the asker itself is listed".to_owned()));
            }
            if seen.contains(&&*peer.peer_id) {
                return Err(wrong("is listed twice, having one address".to_owned()));
            }
            seen.push(&peer.peer_id);
            let (home, pieces) = match person {
                Person::Resident(number) if number >= self.population.peers => {
                    return Err(wrong("nobody of that name was announced".to_owned()));
                }
                Person::Resident(number) => (
                    self.population.swarm_of(number),
                    self.population.pieces(number),
                ),
                Person::Visitor(number) => (
                    self.population.swarm_of_visitor(number),
                    visitor_pieces(number),
                ),
            };
            if home != swarm {
                let (home, swarm) = (swarm_id(home), swarm_id(swarm));
                return Err(wrong(format!("is in {home}, not in {swarm}")));
            }
            if let Person::Visitor(number) = person
                && let Some(why) = self.visitors.is_gone(number, asked.sent, self.track_timer)
            {
                return Err(wrong(why));
            }
            let addr = person.addr();
            if peer.peer_addr.socket() != addr.socket() {
                let (found, expected) = (peer.peer_addr.socket(), addr.socket());
                return Err(wrong(format!("address {found}, expected {expected}")));
            }
            if let Some(cds) = &peer.cds
                && cds.pieces != pieces
                && !self.is_reported(person, &cds.pieces)
            {
                return Err(wrong(format!(
                    "pieces {:?}, expected {pieces:?}",
                    cds.pieces
                )));
            }
        }
        Ok(())
    }

    /// Whether somebody may have reported to hold these pieces.
    fn is_reported(&self, person: Person, pieces: &Pieces) -> bool {
        match person {
            Person::Resident(_) => false,
            Person::Visitor(visitor) => *pieces == held(visitor, self.fetches),
        }
    }

    fn check_whole(&self, asked: Asked<Ask>, answer: &Response) -> Result<(), Wrong> {
        let expected = self.transaction(asked.number);
        if answer.transaction_id != expected {
            let found = &answer.transaction_id;
            return Err(Wrong::shape(format!(
                "transaction {found}, expected {expected}"
            )));
        }
        if !answer.is_successful() {
            return Err(Wrong::content(format!(
                "error {}, {}, expected none",
                answer.error.number(),
                answer.error.name()
            )));
        }
        let [result] = &answer.swarm_result[..] else {
            let found = answer.swarm_result.len();
            return Err(Wrong::content(format!(
                "results of {found} swarms, expected one"
            )));
        };
        let swarm = swarm_id(self.swarm(asked.ask));
        if result.swarm_id != swarm || !result.successful {
            let found = &result.swarm_id;
            return Err(Wrong::content(format!(
                "swarm {found}, successful: {}; expected {swarm}, successful",
                result.successful
            )));
        }
        let listed = result.peers.as_deref().unwrap_or_default();
        self.check_count(asked, listed.len())?;
        self.check_list(asked, listed)
    }

    fn check_count(&self, asked: Asked<Ask>, found: usize) -> Result<(), Wrong> {
        let (least, most) = self.expected(asked.ask, asked.sent);
        match (least..=most).contains(&found) {
            true => Ok(()),
            false => Err(Wrong::content(format!(
                "{found} peers listed, expected {least} to {most}"
            ))),
        }
    }
}

impl Journey for TrackerJourney {
    type Ask = Ask;

    const KINDS: &'static [&'static str] = &["peer-list", "report", "join", "leave"];

    fn kind(ask: Ask) -> usize {
        match ask {
            Ask::Find(_) | Ask::VisitorFind(_) => 0,
            Ask::Report(_) | Ask::VisitorReport(_) => 1,
            Ask::Join(_) => 2,
            Ask::Leave(_) => 3,
        }
    }

    fn is_possible(&self, ask: Ask) -> bool {
        let (Ask::Leave(visitor) | Ask::VisitorFind(visitor) | Ask::VisitorReport(visitor)) = ask
        else {
            return true;
        };
        let stay = self.visitors.0.get(visitor as usize);
        stay.is_some_and(|stay| stay.joined.load(Ordering::Acquire) > 0)
    }

    fn request(&mut self, ask: Ask, number: u64) -> Bytes {
        post(&self.host, person(ask), &self.document(ask, number))
    }

    fn judge(&mut self, asked: Asked<Ask>, answer: &http::Response) -> Result<(), Wrong> {
        if answer.status() != 200 {
            return Err(Wrong::status(answer.status(), "200"));
        }
        let kind = answer.header("Content-Type").unwrap_or_default();
        self.judge_document(asked, kind, &answer.body())
    }
}

impl TrackerJourney {
    /// The document that asks.
    pub fn document(&self, ask: Ask, number: u64) -> Request {
        let person = person(ask);
        let swarm = swarm_id(self.swarm(ask));
        let body = match ask {
            Ask::Find(_) | Ask::VisitorFind(_) => Body::Find(Find {
                swarm_id: swarm,
                peer_num: Some(PeerNum::at_most(WANTED)),
            }),
            Ask::Report(resident) => reporting(swarm, number, self.population.pieces(resident)),
            Ask::VisitorReport(visitor) => {
                reporting(swarm, number, held(visitor.into(), self.fetches))
            }
            Ask::Join(visitor) => Body::Connect(joining(
                person,
                swarm,
                PeerMode::Leech,
                visitor_pieces(visitor.into()),
            )),
            Ask::Leave(_) => Body::Connect(Connect {
                swarm_action: vec![SwarmAction {
                    swarm_id: swarm,
                    action: Action::Leave,
                    peer_mode: PeerMode::Leech,
                    cds: None,
                }],
                ..Connect::default()
            }),
        };
        Request {
            transaction_id: self.transaction(number),
            peer_id: person.peer_id(),
            body,
        }
    }

    /// What is wrong with the document that answers, and with its media type.
    pub fn judge_document(&self, asked: Asked<Ask>, kind: &str, body: &[u8]) -> Result<(), Wrong> {
        let outcome = match asked.depth {
            Depth::Shape => self.check_shape(asked, kind, body),
            Depth::Whole => self.read_whole(asked, body),
        };
        if outcome.is_ok() {
            self.note(asked);
        }
        outcome
    }

    /// What can be seen without reading the document: the transaction, the outcome, the number of peers.
    fn check_shape(&self, asked: Asked<Ask>, kind: &str, body: &[u8]) -> Result<(), Wrong> {
        if !kind.starts_with(MEDIA_TYPE) {
            return Err(Wrong::shape(format!(
                "Content-Type {kind:?}, expected {MEDIA_TYPE}"
            )));
        }
        let transaction = format!("\"{}\"", self.transaction(asked.number));
        if memmem::find(body, transaction.as_bytes()).is_none() {
            return Err(Wrong::shape(format!(
                "not an answer to transaction {transaction}"
            )));
        }
        // Written otherwise it may still say the same: then it is read.
        if memmem::find(body, b"\"error_code\":0,").is_none() {
            return self.read_whole(asked, body);
        }
        self.check_count(asked, memmem::find_iter(body, b"\"peer_id\"").count())
    }

    fn read_whole(&self, asked: Asked<Ask>, body: &[u8]) -> Result<(), Wrong> {
        let read = read_response(body, Profile::Examples);
        let read = read.map_err(|refusal| Wrong::shape(refusal.to_string()))?;
        self.check_whole(asked, &read.message)
    }

    /// Remembers since when a visitor is there, or gone.
    fn note(&self, asked: Asked<Ask>) {
        let stay = |visitor: u32| self.visitors.0.get(visitor as usize);
        let came = asked.came.as_nanos();
        match asked.ask {
            Ask::Join(visitor) => {
                if let Some(stay) = stay(visitor) {
                    stay.joined.store(came, Ordering::Release);
                }
            }
            Ask::Leave(visitor) => {
                if let Some(stay) = stay(visitor) {
                    stay.left.store(came, Ordering::Release);
                }
            }
            // Whoever is heard of is there as if it had just joined.
            Ask::VisitorFind(visitor) | Ask::VisitorReport(visitor) => {
                if let Some(stay) = stay(visitor) {
                    stay.joined.fetch_max(came, Ordering::AcqRel);
                }
            }
            Ask::Find(_) | Ask::Report(_) => {}
        }
    }
}

/// Who asks.
fn person(ask: Ask) -> Person {
    match ask {
        Ask::Find(resident) | Ask::Report(resident) => Person::Resident(resident),
        Ask::Join(visitor)
        | Ask::Leave(visitor)
        | Ask::VisitorFind(visitor)
        | Ask::VisitorReport(visitor) => Person::Visitor(visitor.into()),
    }
}

/// Tells how much somebody has given and taken, and what it holds.
fn reporting(swarm_id: String, octets: u64, pieces: Pieces) -> Body {
    Body::StatReport(StatReport {
        stat: vec![Stat {
            swarm_id,
            uploaded_bytes: octets,
            downloaded_bytes: octets,
            available_bandwidth: 1_000,
            concurrent_links: 2,
            cds: Some(StatCds {
                pieces,
                ..StatCds::default()
            }),
        }],
    })
}

/// The piece a visitor fetches as its `nth`, counted from 0; the piece from 1.
pub fn fetched(visitor: u64, nth: u32) -> u32 {
    1 + (mixed(visitor ^ mixed(nth.into())) % u64::from(super::population::PIECES)) as u32
}

/// What a visitor holds once it has fetched so many.
fn held(visitor: u64, fetches: u32) -> Pieces {
    let mut pieces = visitor_pieces(visitor);
    for nth in 0..fetches {
        pieces.insert(fetched(visitor, nth));
    }
    pieces
}

/// The one piece a visitor brings along.
fn visitor_pieces(visitor: u64) -> Pieces {
    let n = 1 + mixed(visitor) % u64::from(super::population::PIECES);
    [n as u32].into_iter().collect()
}

/// Joins a swarm; a LEECH also asks for peers.
pub fn joining(person: Person, swarm_id: String, peer_mode: PeerMode, pieces: Pieces) -> Connect {
    Connect {
        peer_num: (peer_mode == PeerMode::Leech).then(|| PeerNum::at_most(WANTED)),
        peer_addr: vec![person.addr()],
        swarm_action: vec![SwarmAction {
            swarm_id,
            action: Action::Join,
            peer_mode,
            cds: Some(ActionCds {
                sip_uri: Some(person.identity()),
                pieces,
                role: Some(PeerRole::User),
                ..ActionCds::default()
            }),
        }],
    }
}

/// Makes every resident join its swarm, whose content is provisioned; they stay although they are silent.
pub fn fill(list: &mut TrackingList, population: &Population) {
    for swarm in 0..population.swarms {
        // The manifest covers its content: a test of the population's holds it to that.
        let _ = list.provision(&swarm_id(swarm), population.manifest(swarm));
    }
    for resident in 0..population.peers {
        let person = Person::Resident(resident);
        let swarm = swarm_id(population.swarm_of(resident));
        let pieces = population.pieces(resident);
        let request = Request {
            transaction_id: String::new(),
            peer_id: person.peer_id(),
            body: Body::Connect(joining(person, swarm, PeerMode::Seeder, pieces)),
        };
        list.answer(At::ZERO, &asker(person), &request);
        list.keep_until(&request.peer_id, At::ZERO + FOREVER);
    }
}

/// A time that never comes.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Somebody as a door that let it in knows it.
pub fn asker(person: Person) -> Asker {
    Asker {
        owner: person.identity().into(),
        role: PeerRole::User,
        is_qualified: true,
        identities: vec![person.identity()],
        seen: None,
    }
}

/// A resident's question for peers of its swarm.
pub fn finding(population: &Population, resident: u32) -> Request {
    Request {
        transaction_id: String::new(),
        peer_id: Person::Resident(resident).peer_id(),
        body: Body::Find(Find {
            swarm_id: swarm_id(population.swarm_of(resident)),
            peer_num: Some(PeerNum::at_most(WANTED)),
        }),
    }
}

/// A PPSTP request of somebody whom an authentication proxy has let in.
fn post(host: &str, person: Person, request: &Request) -> Bytes {
    let asserted = format!("\"{}\"", person.identity());
    http::Request::build("POST", ppstp::PATH)
        .header("Host", host)
        .header("X-3GPP-Asserted-Identity", &asserted)
        .body(MEDIA_TYPE, request.to_json())
        .finish()
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::schedule::Share, *};
    use crate::wire::ppstp::{PeerInfo, SwarmResult};

    const POPULATION: Population = Population {
        peers: 1000,
        swarms: 5,
        seed: 3,
    };

    fn arrivals() -> Vec<(Arrival<Ask>, u64)> {
        let times = (0..20_000).map(|n| At::from_nanos(n * 1_000_000));
        plan(times, POPULATION, Mix::default(), Duration::from_secs(8)).collect()
    }

    #[test]
    fn whoever_leaves_has_joined_before_and_in_the_same_share() {
        let (mut joined, mut left) = (BTreeMap::new(), 0);
        for (arrival, journey) in arrivals() {
            match arrival.ask {
                Ask::Join(visitor) => {
                    assert!(joined.insert(visitor, (arrival.at, journey)).is_none())
                }
                Ask::Leave(visitor) => {
                    let (since, joining) = joined.remove(&visitor).unwrap();
                    let stay = arrival.at.since(since);
                    assert!((Duration::from_secs(1)..=Duration::from_secs(4)).contains(&stay));
                    assert_eq!(joining, journey);
                    left += 1;
                }
                Ask::Find(resident) | Ask::Report(resident) => assert!(resident < 1000),
                closed => panic!("{closed:?} in an open loop"),
            }
        }
        assert!(left > 500 && joined.len() > 300, "{left}, {}", joined.len());
    }

    #[test]
    fn shares_are_asked_the_same_as_one() {
        let all = arrivals();
        let mut shared: Vec<Arrival<Ask>> = Vec::new();
        for number in 1..=3 {
            let share = Share { number, of: 3 };
            let own = all
                .iter()
                .filter(|(_, journey)| share.lane(*journey, 2).is_some());
            shared.extend(own.map(|(arrival, _)| *arrival));
        }
        shared.sort_by_key(|arrival| arrival.number);
        let all: Vec<Arrival<Ask>> = all.into_iter().map(|(arrival, _)| arrival).collect();
        assert_eq!(all, shared);
    }

    /// A journey, and a true answer to what resident 7 asks.
    fn journey() -> (TrackerJourney, Vec<PeerInfo>) {
        let visitors = Arc::new(Visitors::new(100));
        let timer = Duration::from_secs(180);
        let journey = TrackerJourney::new(POPULATION, "x", visitors, timer, "r");
        let listed = (1..=10).map(|n| {
            let number = 7 + 5 * n;
            entry(Person::Resident(number), POPULATION.pieces(number))
        });
        (journey, listed.collect())
    }

    fn entry(person: Person, pieces: Pieces) -> PeerInfo {
        PeerInfo {
            peer_id: person.peer_id(),
            peer_addr: person.addr(),
            cds: Some(crate::wire::ppstp::PeerCds {
                pieces,
                ..Default::default()
            }),
        }
    }

    fn judged(
        journey: &mut TrackerJourney,
        listed: Vec<PeerInfo>,
        depth: Depth,
    ) -> Result<(), Wrong> {
        let answer = Response::ok(
            "r-5",
            vec![SwarmResult {
                swarm_id: "s00002".to_owned(),
                successful: true,
                peers: Some(listed.into_iter().map(Listed::from).collect()),
                manifest: None,
            }],
        );
        told(journey, &answer, depth)
    }

    fn told(journey: &mut TrackerJourney, answer: &Response, depth: Depth) -> Result<(), Wrong> {
        let response = http::Response::build(200).body(MEDIA_TYPE, answer.to_json());
        let asked = Asked {
            ask: Ask::Find(7),
            number: 5,
            sent: At::ZERO + Duration::from_secs(500),
            came: At::ZERO + Duration::from_secs(501),
            depth,
        };
        journey.judge(asked, &response.finish())
    }

    #[test]
    fn a_true_answer_is_right() {
        let (mut journey, listed) = journey();
        assert_eq!(Ok(()), judged(&mut journey, listed.clone(), Depth::Shape));
        assert_eq!(Ok(()), judged(&mut journey, listed, Depth::Whole));
    }

    #[test]
    fn nobody_leaves_who_has_not_joined() {
        let (journey, _) = journey();
        assert!(journey.is_possible(Ask::Join(3)) && !journey.is_possible(Ask::Leave(3)));
        journey.visitors.0[3].joined.store(1, Ordering::Release);
        assert!(journey.is_possible(Ask::Leave(3)));
    }

    #[test]
    fn too_few_and_too_many_are_seen_in_every_answer() {
        let (mut journey, listed) = journey();
        let more = entry(Person::Resident(7 + 55), POPULATION.pieces(62));
        let cases = [
            Vec::new(),
            listed[1..].to_vec(),
            [&listed[..], &[more]].concat(),
        ];
        for wrong in cases {
            assert!(judged(&mut journey, wrong, Depth::Shape).is_err());
        }
    }

    #[test]
    fn what_is_not_so_is_found_when_an_answer_is_read() {
        let (mut journey, listed) = journey();
        let visitor = |number: u64| entry(Person::Visitor(number), visitor_pieces(number));
        let home = |number: &u64| POPULATION.swarm_of_visitor(*number) == 2;
        let (gone, silent) = {
            let mut here = (0..100).filter(home);
            (here.next().unwrap(), here.next().unwrap())
        };
        let store =
            |at: &AtomicU64, seconds: u64| at.store(seconds * 1_000_000_000, Ordering::Release);
        store(&journey.visitors.0[gone as usize].joined, 400);
        store(&journey.visitors.0[gone as usize].left, 499);
        store(&journey.visitors.0[silent as usize].joined, 300);
        let stranger = PeerInfo {
            peer_id: "somebody".to_owned(),
            ..listed[0].clone()
        };
        let elsewhere = PeerInfo {
            peer_addr: Person::Resident(1).addr(),
            ..listed[0].clone()
        };
        let cases = [
            (
                "the asker",
                entry(Person::Resident(7), POPULATION.pieces(7)),
            ),
            (
                "another swarm's",
                entry(Person::Resident(8), POPULATION.pieces(8)),
            ),
            ("twice", listed[1].clone()),
            ("nobody's", stranger),
            (
                "beyond the population",
                entry(Person::Resident(1002), POPULATION.pieces(1002)),
            ),
            ("another address", elsewhere),
            ("other pieces", entry(Person::Resident(12), Pieces::new())),
            ("gone", visitor(gone)),
            ("silent for long", visitor(silent)),
        ];
        for (what, wrong) in cases {
            let mut listed = listed.clone();
            listed[0] = wrong;
            let judged = judged(&mut journey, listed, Depth::Whole);
            assert!(judged.is_err(), "{what} was let pass");
        }
        let failed = Response::failed("r-5", crate::wire::ppstp::ErrorCode::ForbiddenAction);
        let other = Response::ok("r-6", Vec::new());
        for depth in [Depth::Shape, Depth::Whole] {
            assert!(told(&mut journey, &failed, depth).is_err());
            assert!(told(&mut journey, &other, depth).is_err());
        }
    }
}
