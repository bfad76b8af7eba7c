//! Users in a closed loop, driven by goose: it lets them come, sends each on its journey again and again, and counts.
//! Questions and answers go through our own codecs and oracles over connections of the user's own, and are recorded
//! here as everywhere; what goose counted is held against that.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, UNIX_EPOCH},
};

use bytes::BytesMut;
use goose::{
    GooseAttack, GooseError,
    client::GooseClientBuilder,
    config::GooseConfiguration,
    goose::{GooseUser, Scenario, Transaction, TransactionFunction},
    metrics::GooseMetrics,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

use super::{
    bench::{Collected, Live, Watched, pauses, this_machine},
    child::Server,
    clock::Clock,
    machine::{self, Used},
    serve::Counted,
};
use crate::{
    load::{
        chunks::{self, ChunkJourney, Library},
        journey::{Asked, Depth, Journey, Wrong},
        population::Population,
        record::{Counts, Record},
        tracker::{self, TrackerJourney, Visitors},
        trial::{Kind, Outcome, Plan, SCHEMA, Stopped, Trial, figures, outcome},
        users::{ClosedLoop, Step, broken},
        validity::Evidence,
    },
    random::{Random, derive},
    time::At,
    wire::{Framed, http},
};

/// What to measure.
pub struct Users {
    pub plan: Plan,
    pub crowd: ClosedLoop,
    pub population: Population,
    pub library: Library,
    pub track_timer: Duration,
    /// Where Ut is spoken, and where pieces are.
    pub tracker: SocketAddr,
    pub edge: SocketAddr,
    /// Servers of our own, if they are.
    pub servers: Vec<Server>,
    pub duration: Duration,
    pub stop: Arc<AtomicBool>,
}

/// Visitors that are known to the oracle: of those that come later it is not known when they left.
const VISITORS: u32 = 1 << 20;

/// Examples of what is wrong that are kept.
const EXAMPLES: usize = 10;

/// The longest answer, in octets.
const LONGEST: usize = 16 << 20;

/// How long whoever leaves at the end is waited for.
const FAREWELL: Duration = Duration::from_secs(1);

/// Measures once; `live` is told a few times a second.
pub fn run(
    users: Users,
    log_to: Option<&Path>,
    mut live: impl FnMut(&Live),
) -> io::Result<(Trial, Vec<Stopped>)> {
    let Users { plan, servers, .. } = &users;
    let clock = Clock::start();
    let (over, is_over) = watch::channel(false);
    let world = Arc::new(World::new(&users, clock, is_over));
    let pids: Vec<Option<u32>> = servers.iter().map(|server| Some(server.pid)).collect();
    let mut watched: Vec<Watched> = match pids.is_empty() {
        true => vec![Watched::begin(None)],
        false => pids.iter().map(|pid| Watched::begin(*pid)).collect(),
    };
    let cores = plan.cores.clone();
    let attack = attack(&users, &world).map_err(told)?;
    let driver = thread::spawn(move || -> io::Result<Result<GooseMetrics, GooseError>> {
        let pinned = cores.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores.len().max(1))
            .on_thread_start(move || machine::stay_on(&pinned))
            .enable_all()
            .build()?;
        Ok(runtime.block_on(attack.execute()))
    });
    let mut collected: Option<Collected> = None;
    let mut began = 0;
    let mut told_at = clock.now();
    while !driver.is_finished() {
        thread::sleep(Duration::from_millis(20));
        if users.stop.load(Ordering::Relaxed) {
            goose::trigger_killswitch("asked to stop");
            let _ = over.send(true);
        }
        let now = clock.now();
        let Some(begin) = world.begin() else {
            continue;
        };
        if now < begin {
            continue;
        }
        let into = now.since(begin);
        let collected = match &mut collected {
            Some(collected) => collected,
            None => {
                let at = clock.calendar + Duration::from_nanos(begin.as_nanos());
                let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
                began = at.as_millis() as u64;
                collected.insert(Collected::new(log_to, began)?)
            }
        };
        let measuring = [begin, begin + users.duration];
        watched
            .iter_mut()
            .for_each(|watched| watched.look(now, measuring));
        if now.since(told_at) >= Duration::from_millis(500) {
            told_at = now;
            collected.take(&world.taken());
            let patience = Duration::from_secs_f64(plan.patience);
            collected.close(into.saturating_sub(patience).as_secs() as u32)?;
            live(&collected.live(into));
        }
        if into >= users.duration {
            let _ = over.send(true);
            goose::trigger_killswitch("all of the time is measured");
        }
    }
    let metrics = driver
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the driver of the users panicked")))?
        .map_err(told)?;
    let mut collected = match collected {
        Some(collected) => collected,
        None => Collected::new(log_to, 0)?,
    };
    collected.take(&world.taken());
    collected.close(u32::MAX)?;
    let counted_there: u64 = metrics
        .requests
        .values()
        .map(|requests| requests.raw_data.counter as u64)
        .sum();
    let used: Vec<(Used, Option<Used>)> = watched
        .iter()
        .zip(pids.iter().copied().chain([None]))
        .map(|(watched, pid)| watched.end(pid))
        .collect();
    let generator = used.first().map(|used| used.0).unwrap_or_default();
    let served: Vec<Used> = used.iter().filter_map(|used| used.1).collect();
    let server = (!served.is_empty()).then(|| summed(&served));
    let loops: usize = users.servers.iter().map(|server| server.loops).sum();
    let measured = users.duration.as_secs_f64().max(1e-9);
    let drops = watched.first().map(Watched::drops).unwrap_or_default();
    let stopped: io::Result<Vec<Stopped>> = users.servers.into_iter().map(Server::stop).collect();
    let stopped = stopped?;
    let seen = std::mem::take(&mut *world.seen());
    let threads = plan_threads(&users.plan);
    let mut evidence = Evidence {
        lag: collected.total.lag.value_at_quantile(0.999) as f64 / 1e9,
        busy: generator.cpu / measured / threads,
        starved: generator.waited / measured / threads,
        server_starved: match server {
            Some(server) => server.waited / measured / loops.max(1) as f64,
            None => 0.0,
        },
        counts: seen.all.clone(),
        served: (!stopped.is_empty()).then(|| counted(&stopped)),
        drops,
        clock_step: clock.step().as_secs_f64(),
        is_cut_short: users.stop.load(Ordering::Relaxed),
        pauses: None,
    };
    evidence.pauses = pauses(&evidence, &users.plan);
    let broken = broken(&evidence, &users.plan.allowed, counted_there);
    let outcome = outcome(&broken, &seen.all);
    let figures = (outcome == Outcome::Measured).then(|| {
        let kinds = Step::ALL.iter().zip(seen.kinds);
        let kinds = kinds.map(|(step, kind)| (step.word().to_owned(), kind));
        let timeline = std::mem::take(&mut collected.timeline);
        figures(measured, &collected.total, timeline, kinds.collect())
    });
    collected.finish(outcome)?;
    let trial = Trial {
        schema: SCHEMA,
        program: format!("peerproof {}", env!("CARGO_PKG_VERSION")),
        began,
        plan: users.plan,
        outcome,
        broken,
        evidence,
        examples: seen.examples,
        figures,
        generator,
        server,
        machine: this_machine(),
    };
    Ok((trial, stopped))
}

/// With everything that led to it: goose's own words end where a client could not be built.
fn told(error: GooseError) -> io::Error {
    let mut words = format!("goose: {error}");
    let mut cause = match &error {
        GooseError::Reqwest(error) => std::error::Error::source(error),
        error => std::error::Error::source(error),
    };
    while let Some(error) = cause {
        words.push_str(&format!(": {error}"));
        cause = error.source();
    }
    io::Error::other(words)
}

fn plan_threads(plan: &Plan) -> f64 {
    plan.cores.len().max(1) as f64
}

fn summed(all: &[Used]) -> Used {
    let mut sum = all.first().copied().unwrap_or_default();
    all.iter().skip(1).for_each(|one| sum.add(one));
    sum
}

fn counted(all: &[Stopped]) -> Counted {
    let mut sum = Counted::default();
    for one in all.iter().map(|stopped| stopped.counted) {
        sum.requests += one.requests;
        sum.answers += one.answers;
        sum.unreadable += one.unreadable;
        sum.connections += one.connections;
        sum.octets += one.octets;
    }
    sum
}

/// What goose is told: to write nothing, to listen nowhere, and to leave the time to us.
fn attack(users: &Users, world: &Arc<World>) -> Result<GooseAttack, GooseError> {
    let crowd = &users.crowd;
    let mut configuration = GooseConfiguration::default();
    configuration.host = Some(format!("http://{}", users.tracker));
    configuration.users = Some(crowd.users as usize);
    configuration.increase_rate = Some(crowd.hatch_rate.to_string());
    // We end it; this is only so that it does not end before.
    configuration.run_time = Some((users.duration.as_secs() + 3600).to_string());
    configuration.quiet = 1;
    configuration.no_print_metrics = true;
    configuration.no_reset_metrics = true;
    configuration.no_transaction_metrics = true;
    configuration.no_scenario_metrics = true;
    configuration.no_error_summary = true;
    configuration.no_percentiles_over_time = true;
    configuration.no_telnet = true;
    let mut journey = Scenario::new("journey");
    for (step, sequence) in Step::ALL.into_iter().zip(1..) {
        let world = world.clone();
        let take: TransactionFunction = Arc::new(move |user| {
            let world = world.clone();
            Box::pin(async move {
                world.step(user, step).await;
                Ok(())
            })
        });
        let transaction = Transaction::new(take).set_name(step.word());
        journey = journey.register_transaction(transaction.set_sequence(sequence));
    }
    let world = world.clone();
    let leave: TransactionFunction = Arc::new(move |user| {
        let world = world.clone();
        Box::pin(async move {
            world.farewell(user).await;
            Ok(())
        })
    });
    let leave = Transaction::new(leave).set_name("farewell");
    let journey = journey.register_transaction(leave.set_on_stop());
    // Nobody uses it: one for all is made in no time.
    let client = GooseClientBuilder::new().without_cookies();
    Ok(GooseAttack::initialize_with_config(configuration)?
        .set_client_builder_without_cookies(client)?
        .register_scenario(journey))
}

/// What all users share.
struct World {
    crowd: ClosedLoop,
    population: Population,
    library: Library,
    digests: Arc<Vec<[u8; 32]>>,
    visitors: Arc<Visitors>,
    track_timer: Duration,
    tracker: SocketAddr,
    edge: SocketAddr,
    limit: Duration,
    patience: Duration,
    read_whole: u64,
    seed: u64,
    run: String,
    clock: Clock,
    warm_up: Duration,
    duration: Duration,
    /// Users that came so far, visitors they were, questions they asked.
    present: AtomicU32,
    next_visitor: AtomicU32,
    next_number: AtomicU64,
    /// When measuring begins, in nanoseconds on the clock; 0 until all users are there.
    begin: AtomicU64,
    is_over: watch::Receiver<bool>,
    seen: Mutex<Seen>,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    record: Record,
    all: Counts,
    kinds: [Kind; 5],
    examples: Vec<String>,
}

/// One user.
struct User {
    tracker: Line,
    edge: Line,
    asks: TrackerJourney,
    fetches: ChunkJourney,
    random: Random,
    /// Who it is on this journey, and how far it is.
    visitor: Option<u32>,
    fetched: u32,
}

/// A user as goose keeps it between steps.
type Kept = Arc<tokio::sync::Mutex<User>>;

/// What is asked.
#[derive(Clone, Copy)]
enum Question {
    Ut(tracker::Ask),
    Data(chunks::Ask),
}

impl World {
    fn new(users: &Users, clock: Clock, is_over: watch::Receiver<bool>) -> World {
        let started = clock.calendar.duration_since(UNIX_EPOCH);
        let seconds = Duration::from_secs_f64;
        World {
            crowd: users.crowd.clone(),
            population: users.population,
            library: users.library,
            digests: Arc::new(ChunkJourney::digests(&users.library)),
            visitors: Arc::new(Visitors::new(VISITORS)),
            track_timer: users.track_timer,
            tracker: users.tracker,
            edge: users.edge,
            limit: seconds(users.plan.limit),
            patience: seconds(users.plan.patience),
            read_whole: users.plan.read_whole,
            seed: users.plan.seed,
            run: format!("{:x}", started.unwrap_or_default().as_millis()),
            clock,
            warm_up: seconds(users.plan.warm_up),
            duration: users.duration,
            present: AtomicU32::new(0),
            next_visitor: AtomicU32::new(0),
            next_number: AtomicU64::new(0),
            begin: AtomicU64::new(0),
            is_over,
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seconds since they were last taken.
    fn taken(&self) -> Record {
        std::mem::take(&mut self.seen().record)
    }

    fn begin(&self) -> Option<At> {
        let begin = self.begin.load(Ordering::Acquire);
        (begin > 0).then_some(At::from_nanos(begin))
    }

    /// The user behind this one of goose's; it comes when it is first asked for.
    fn user(&self, goose: &mut GooseUser) -> Kept {
        if let Some(kept) = goose.get_session_data::<Kept>() {
            return kept.clone();
        }
        let number = self.present.fetch_add(1, Ordering::AcqRel) + 1;
        if number == self.crowd.users {
            let begin = self.clock.now() + self.warm_up;
            self.begin.store(begin.as_nanos().max(1), Ordering::Release);
        }
        let asks = TrackerJourney::new(
            self.population,
            &self.tracker.to_string(),
            self.visitors.clone(),
            self.track_timer,
            &self.run,
        );
        let host = self.edge.to_string();
        let user = Arc::new(tokio::sync::Mutex::new(User {
            tracker: Line::to(self.tracker),
            edge: Line::to(self.edge),
            asks: asks.fetching(self.crowd.fetches),
            fetches: ChunkJourney::new(self.library, &host, self.digests.clone()),
            random: Random::new(derive(self.seed, &["user", &number.to_string()])),
            visitor: None,
            fetched: 0,
        }));
        goose.set_session_data(user.clone());
        user
    }

    /// One step of a journey; nothing once it is over.
    async fn step(&self, goose: &mut GooseUser, step: Step) {
        let kept = self.user(goose);
        if *self.is_over.borrow() {
            // Until goose sends the user home.
            return tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut user = kept.lock().await;
        match step {
            Step::Join => {
                let visitor = self.next_visitor.fetch_add(1, Ordering::Relaxed);
                (user.visitor, user.fetched) = (None, 0);
                let join = Question::Ut(tracker::Ask::Join(visitor));
                if self.ask(goose, &mut user, step, join).await {
                    user.visitor = Some(visitor);
                }
            }
            Step::List => {
                if let Some(visitor) = user.visitor {
                    let list = Question::Ut(tracker::Ask::VisitorFind(visitor));
                    self.ask(goose, &mut user, step, list).await;
                }
            }
            Step::Fetch => {
                let Some(visitor) = user.visitor else {
                    return;
                };
                let swarm = self.population.swarm_of_visitor(visitor.into());
                for nth in 0..self.crowd.fetches {
                    let piece = Question::Data(chunks::Ask {
                        content: swarm % self.library.contents.max(1),
                        piece: tracker::fetched(visitor.into(), nth) - 1,
                    });
                    user.fetched += u32::from(self.ask(goose, &mut user, step, piece).await);
                }
            }
            Step::Report => {
                // Only whoever holds all of it has something to tell.
                let visitor = user.visitor;
                if let Some(visitor) = visitor.filter(|_| user.fetched == self.crowd.fetches) {
                    let report = Question::Ut(tracker::Ask::VisitorReport(visitor));
                    self.ask(goose, &mut user, step, report).await;
                }
            }
            Step::Leave => {
                if let Some(visitor) = user.visitor {
                    let leave = Question::Ut(tracker::Ask::Leave(visitor));
                    if self.ask(goose, &mut user, step, leave).await {
                        user.visitor = None;
                    }
                }
            }
        }
    }

    /// Whoever is there at the end leaves, without thinking.
    async fn farewell(&self, goose: &mut GooseUser) {
        let kept = self.user(goose);
        let mut user = kept.lock().await;
        if let Some(visitor) = user.visitor.take() {
            let leave = Question::Ut(tracker::Ask::Leave(visitor));
            self.put(
                goose,
                &mut user,
                Step::Leave,
                leave,
                self.clock.now(),
                FAREWELL,
            )
            .await;
        }
    }

    /// Thinks, then asks; whether the answer was right.
    async fn ask(
        &self,
        goose: &mut GooseUser,
        user: &mut User,
        step: Step,
        question: Question,
    ) -> bool {
        let [least, most] = self.crowd.think;
        let drawn = (user.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let think = Duration::from_secs_f64(least + (most - least) * drawn);
        let due = self.clock.now() + think;
        let mut is_over = self.is_over.clone();
        let ended = async move {
            let _ = is_over.wait_for(|over| *over).await;
        };
        tokio::select! {
            biased;
            () = ended => return false,
            () = tokio::time::sleep(think) => {}
        }
        self.put(goose, user, step, question, due, self.patience)
            .await
    }

    async fn put(
        &self,
        goose: &mut GooseUser,
        user: &mut User,
        step: Step,
        question: Question,
        due: At,
        patience: Duration,
    ) -> bool {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let asked_at = self.clock.now();
        let (line, request) = match question {
            Question::Ut(ask) => (&mut user.tracker, user.asks.request(ask, number)),
            Question::Data(ask) => (&mut user.edge, user.fetches.request(ask, number)),
        };
        let exchange = async {
            line.connect().await?;
            let sent = self.clock.now();
            let answer = line.exchange(&request).await?;
            Ok::<_, io::Error>((sent, answer))
        };
        let came = timeout(patience, exchange).await;
        let now = self.clock.now();
        let depth = match number % self.read_whole.max(1) {
            0 => Depth::Whole,
            _ => Depth::Shape,
        };
        let answered = match came {
            Ok(Ok((sent, answer))) => {
                let judged = match question {
                    Question::Ut(ask) => user.asks.judge(
                        Asked {
                            ask,
                            number,
                            sent,
                            came: now,
                            depth,
                        },
                        &answer,
                    ),
                    Question::Data(ask) => user.fetches.judge(
                        Asked {
                            ask,
                            number,
                            sent,
                            came: now,
                            depth,
                        },
                        &answer,
                    ),
                };
                Ok((sent, answer, judged))
            }
            Ok(Err(error)) => Err((error.to_string(), line.has_sent)),
            Err(_) => Err((
                format!("no answer within {} s", patience.as_secs_f64()),
                line.has_sent,
            )),
        };
        if answered.is_err() {
            line.close();
        }
        let taken = Taken {
            step,
            number,
            due,
            asked_at,
            came: now,
            depth,
        };
        self.count(&taken, &answered);
        let is_right = matches!(answered, Ok((_, _, Ok(()))));
        let (method, status) = match (&question, &answered) {
            (Question::Ut(_), Ok((_, answer, _))) => ("UT", Some(answer.status())),
            (Question::Data(_), Ok((_, answer, _))) => ("DATA", Some(answer.status())),
            (Question::Ut(_), Err(_)) => ("UT", None),
            (Question::Data(_), Err(_)) => ("DATA", None),
        };
        let took = now.since(asked_at);
        let error = (!is_right).then_some("wrong, or not answered");
        // Fails only if nobody counts any more; then the counts differ, which is told.
        let _ = goose
            .record_custom_request_duration(method, step.word(), took, is_right, status, error)
            .await;
        is_right
    }

    fn count(&self, taken: &Taken, answered: &Answered) {
        let second = self.begin().and_then(|begin| {
            let is_measured = taken.due >= begin && taken.due.since(begin) < self.duration;
            is_measured.then(|| taken.due.since(begin).as_secs() as u32)
        });
        let response = taken.came.since(taken.asked_at);
        let is_late = response > self.limit;
        let mut counts = Counts {
            offered: 1,
            ..Counts::default()
        };
        match answered {
            Ok((_, answer, judged)) => {
                (counts.sent, counts.answered) = (1, 1);
                counts.octets = answer.bytes().len() as u64;
                counts.read_whole = u64::from(taken.depth == Depth::Whole);
                match judged {
                    Ok(()) => (counts.right, counts.late) = (1, u64::from(is_late)),
                    Err(wrong) => counts.count_wrong(wrong.what),
                }
            }
            Err((_, has_sent)) => {
                (counts.sent, counts.unanswered) = (u64::from(*has_sent), 1);
            }
        }
        let mut seen = self.seen();
        seen.all.add(&counts);
        let example = match answered {
            Ok((_, _, Ok(()))) => None,
            Ok((_, _, Err(wrong))) => Some(&wrong.why),
            Err((why, _)) => Some(why),
        };
        if let Some(why) = example.filter(|_| seen.examples.len() < EXAMPLES) {
            let text = format!("{} {}: {why}", taken.step.word(), taken.number);
            seen.examples.push(text);
        }
        let Some(second) = second else {
            return;
        };
        let kind = &mut seen.kinds[taken.step as usize];
        kind.offered += 1;
        kind.inadequate += counts.inadequate();
        let interval = seen.record.interval(second);
        interval.counts.add(&counts);
        let nanos = |time: Duration| time.as_nanos() as u64;
        interval
            .lag
            .saturating_record(nanos(taken.asked_at.since(taken.due)));
        if let Ok((sent, _, Ok(()))) = answered {
            interval.response.saturating_record(nanos(response));
            let service = nanos(taken.came.since(*sent));
            interval.service.saturating_record(service);
        }
    }
}

/// A question that is over.
struct Taken {
    step: Step,
    number: u64,
    /// When the user had thought enough, when it asked, and when that was over.
    due: At,
    asked_at: At,
    came: At,
    depth: Depth,
}

/// When the question left, its answer, and what that is worth; or why there is none, and whether the question left.
type Answered = Result<(At, http::Response, Result<(), Wrong>), (String, bool)>;

/// A connection of a user's, made when it is needed.
struct Line {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    input: BytesMut,
    /// Whether the whole question left.
    has_sent: bool,
}

impl Line {
    fn to(addr: SocketAddr) -> Line {
        Line {
            addr,
            stream: None,
            input: BytesMut::new(),
            has_sent: false,
        }
    }

    fn close(&mut self) {
        self.stream = None;
        self.input.clear();
    }

    async fn connect(&mut self) -> io::Result<()> {
        self.has_sent = false;
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.addr).await?;
            stream.set_nodelay(true)?;
            self.input.clear();
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Asks, and waits for the whole answer.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<http::Response> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(request).await?;
        self.has_sent = true;
        loop {
            let malformed = |malformed| io::Error::other(format!("no HTTP response: {malformed}"));
            match http::frame(&self.input).map_err(malformed)? {
                Framed::Partial => {
                    if self.input.len() > LONGEST {
                        return Err(io::Error::other(format!("more than {LONGEST} octets")));
                    }
                    if stream.read_buf(&mut self.input).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Framed::Whole(length) => {
                    let bytes = self.input.split_to(length).freeze();
                    let answer = http::Response::parse(bytes).map_err(malformed)?;
                    if answer.is_provisional() {
                        continue;
                    }
                    if answer.closes() {
                        self.close();
                    }
                    return Ok(answer);
                }
            }
        }
    }
}
