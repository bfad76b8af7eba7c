//! S-CSCF: registrar, service trigger and proxy of the home network (TS 24.229 5.4, clause numbers
//! second-hand unless TS 23.218, TS 29.228 or an RFC is named). Registration stands in `registrar`, what
//! becomes of requests in `session`, when an application server is asked in `filter`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

mod filter;
mod home;
mod preference;
mod registrar;
mod session;
mod users;
mod watch;

use home::Home;
use registrar::{Credential, Wish};
use session::{Leg, Passage};
use users::Users;
use watch::{Departure, Watched};

use super::{
    Node, Setup,
    hss::{cx_endpoint, hss_host},
    policy::SCscfPolicy,
};
use crate::{
    io::{Input, Outbox, TimerId},
    proto::{
        cx::{
            AssignmentType, CxAnswer, CxEndpoint, CxEvent, CxFailure, CxRequest, CxServerTxn,
            CxTxn, Ppa, Ppr, Rta, Rtr, experimental,
        },
        dialog::DialogId,
        digest::{self, Stale},
        endpoint::{ClientTxn, ServerTxn, SipEndpoint, SipEvent, SipPort, SipTransport, Timers},
        notifier::Notifier,
        proxy::{Proxy, Turn},
    },
    random::{Random, derive},
    spec::{Format, Role},
    time::At,
    trace::ListenTransport,
    wire::{
        diameter::{Outcome, dictionary},
        sip::{Builder, Message, reason},
    },
};

pub fn build(setup: Setup) -> Box<dyn Node> {
    Box::new(SCscf::new(&setup))
}

struct SCscf {
    home: Home,
    policy: SCscfPolicy,
    ip: IpAddr,
    sip: SipEndpoint,
    proxy: Proxy<Passage>,
    cx: CxEndpoint,
    hss: String,
    random: Random,
    /// The To tag of responses made here without a dialog.
    tag: String,
    digest: digest::Server,
    credentials: BTreeMap<String, Credential>,
    /// Private identities whose digest was wrong once.
    wrong: BTreeSet<String>,
    /// Private identities that were challenged, and until when their answer is awaited.
    awaited: BTreeMap<String, TimerId>,
    users: Users,
    patterns: filter::Patterns,
    /// Requests at application servers, by original dialog identifier.
    legs: BTreeMap<String, Leg>,
    /// Third-party REGISTERs without an answer.
    third_parties: BTreeMap<ClientTxn, ThirdParty>,
    /// Questions to the HSS.
    asked: BTreeMap<CxTxn, Asked>,
    /// Who watches registrations.
    watches: Notifier<Watched>,
    /// NOTIFYs without an answer.
    notified: BTreeMap<ClientTxn, DialogId>,
    timers: BTreeMap<TimerId, Wake>,
    expiry: Option<TimerId>,
    watch_timer: Option<TimerId>,
}

/// A REGISTER being dealt with.
#[derive(Clone, Debug)]
struct Assignment {
    txn: ServerTxn,
    request: Message,
    private: String,
    public: String,
}

/// What an answer of the HSS is for.
#[derive(Debug)]
enum Asked {
    Assignment(Assignment, Wish, AssignmentType),
    /// The HSS was only told.
    Nothing,
    Unregistered(ServerTxn, Message, String),
    Vector(Assignment, Stale),
}

#[derive(Clone, Debug)]
struct ThirdParty {
    private: String,
    public: String,
    /// Whether a failure ends the registration.
    terminates: bool,
}

#[derive(Clone, Debug)]
enum Wake {
    /// A challenge was never answered.
    Challenge(Assignment),
    Expiry,
    Server(ServerTxn),
    Watch,
}

impl Node for SCscf {
    fn role(&self) -> Role {
        Role::SCscf
    }

    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        if let Some(events) = self.sip.take(at, &input, out) {
            for event in events {
                self.sip_event(at, event, out);
            }
        } else if let Some(events) = self.cx.take(at, &input, out) {
            for event in events {
                self.cx_event(at, event, out);
            }
        } else if let Input::Timer(timer) = input {
            self.wake(at, timer, out);
        }
    }
}

impl SCscf {
    fn new(setup: &Setup) -> SCscf {
        let seed = |word| derive(setup.seed, &[word]);
        let mut random = Random::new(seed("s-cscf"));
        let home = Home::new(setup);
        SCscf {
            policy: setup.policy.s_cscf.clone(),
            ip: setup.ip,
            sip: SipEndpoint::new(ports(setup), seed("sip")).trying_after(Duration::ZERO),
            proxy: Proxy::new(seed("proxy")).marking_loops(),
            cx: cx_endpoint(setup),
            hss: hss_host(&setup.directory),
            tag: random.token(10),
            random,
            digest: digest::Server::new(
                &setup.directory.domain,
                setup.policy.s_cscf.awaits_answer,
                seed("digest"),
            ),
            credentials: BTreeMap::new(),
            wrong: BTreeSet::new(),
            awaited: BTreeMap::new(),
            users: Users::default(),
            patterns: filter::Patterns::default(),
            legs: BTreeMap::new(),
            third_parties: BTreeMap::new(),
            asked: BTreeMap::new(),
            watches: watch::notifier(&home.uri(), seed("watches")),
            notified: BTreeMap::new(),
            timers: BTreeMap::new(),
            expiry: None,
            watch_timer: None,
            home,
        }
    }

    fn sip_event(&mut self, at: At, event: SipEvent, out: &mut Outbox) {
        match self.proxy.absorb(at, event, &mut self.sip, out) {
            Turn::NotOurs(event) => self.own_event(at, event, out),
            Turn::Nothing => {}
            Turn::Up(up) => self.pass_back(at, up, out),
        }
    }

    fn own_event(&mut self, at: At, event: SipEvent, out: &mut Outbox) {
        match event {
            SipEvent::Request {
                txn,
                request,
                source,
            } => match request.method() {
                "REGISTER" => self.register(at, txn, request, out),
                _ => self.route(at, txn, request, &source, out),
            },
            SipEvent::Ack { request, .. } => self.acknowledge(at, &request, out),
            SipEvent::Cancelled { txn, .. } => self.refuse(at, txn, 487, out),
            SipEvent::Response { txn, response, .. } => {
                let status = response.status().unwrap_or_default();
                if self.watcher_answered(at, txn, Some(status), out) {
                    return;
                }
                if status >= 200
                    && let Some(third) = self.third_parties.remove(&txn)
                    && status >= 300
                {
                    self.third_party_failed(at, &third, out);
                }
            }
            SipEvent::Failed { txn, .. } => {
                if !self.watcher_answered(at, txn, None, out)
                    && let Some(third) = self.third_parties.remove(&txn)
                {
                    self.third_party_failed(at, &third, out);
                }
            }
            SipEvent::Unreadable { malformed, .. } => out.note("unreadable", malformed.to_string()),
            SipEvent::AckMissing { .. } | SipEvent::Stray { .. } => {}
        }
    }

    fn cx_event(&mut self, at: At, event: CxEvent, out: &mut Outbox) {
        match event {
            CxEvent::Request { txn, request, .. } => self.cx_request(at, txn, request, out),
            CxEvent::Answer { txn, answer, .. } => {
                if let Some(asked) = self.asked.remove(&txn) {
                    self.cx_answer(at, asked, answer, out);
                }
            }
            CxEvent::Failed { txn, why } => {
                if let Some(asked) = self.asked.remove(&txn) {
                    self.cx_failed(at, asked, &why, out);
                }
            }
            CxEvent::Unreadable { malformed } => out.note("unreadable", malformed.to_string()),
        }
    }

    fn cx_answer(&mut self, at: At, asked: Asked, answer: CxAnswer, out: &mut Outbox) {
        let granted = answer.outcome().is_success();
        if !granted {
            out.note("refused", answer.outcome().to_string());
        }
        match (asked, answer) {
            (Asked::Vector(assignment, stale), CxAnswer::Maa(maa)) if granted => {
                self.vector(at, &assignment, stale, &maa, out);
            }
            (Asked::Assignment(assignment, wish, kind), CxAnswer::Saa(saa)) if granted => {
                self.assigned(at, &assignment, &wish, kind, saa, out);
            }
            (Asked::Unregistered(txn, request, identity), CxAnswer::Saa(saa)) => {
                self.unregistered(at, txn, request, &identity, saa, out);
            }
            (Asked::Vector(assignment, _) | Asked::Assignment(assignment, ..), _) => {
                self.refuse(at, assignment.txn, 403, out);
            }
            (Asked::Unregistered(txn, ..), _) => self.refuse(at, txn, 480, out),
            (Asked::Nothing, _) => {}
        }
    }

    /// The HSS does not answer: 480 (TS 24.229 5.3.1.3 and 5.3.2.1 say so of the I-CSCF, second-hand; for the
    /// S-CSCF clause not verified).
    fn cx_failed(&mut self, at: At, asked: Asked, why: &CxFailure, out: &mut Outbox) {
        out.note("refused", format!("no answer on Cx: {why:?}"));
        match asked {
            Asked::Vector(assignment, _) | Asked::Assignment(assignment, ..) => {
                self.refuse(at, assignment.txn, 480, out);
            }
            Asked::Unregistered(txn, ..) => self.refuse(at, txn, 480, out),
            Asked::Nothing => {}
        }
    }

    fn cx_request(&mut self, at: At, txn: CxServerTxn, request: CxRequest, out: &mut Outbox) {
        let answer = match request {
            CxRequest::Rtr(rtr) => CxAnswer::Rta(self.terminate_registration(at, &rtr, out)),
            CxRequest::Ppr(ppr) => CxAnswer::Ppa(self.push_profile(ppr)),
            // Only an HSS is asked the others.
            _ => CxAnswer::Ppa(Ppa {
                outcome: Outcome::Base(dictionary::result::COMMAND_UNSUPPORTED),
            }),
        };
        self.cx.answer(txn, &answer, out);
    }

    /// TS 29.228 6.1.3.1.
    fn terminate_registration(&mut self, at: At, rtr: &Rtr, out: &mut Outbox) -> Rta {
        let outcome = match self.users.get(&rtr.private) {
            Some(_) => Outcome::Base(dictionary::result::SUCCESS),
            None => experimental(dictionary::experimental::USER_UNKNOWN),
        };
        self.end_registration(at, &rtr.private, None, Departure::Deactivated, out);
        Rta { outcome }
    }

    /// TS 29.228 6.2.2.1: what is sent overwrites what was there; running dialogs are not touched.
    fn push_profile(&mut self, ppr: Ppr) -> Ppa {
        let outcome = match self.users.get(&ppr.private) {
            Some(_) => Outcome::Base(dictionary::result::SUCCESS),
            None => experimental(dictionary::experimental::USER_UNKNOWN),
        };
        if outcome.is_success()
            && let Some(profile) = ppr.profile
        {
            self.users.keep_profile(&ppr.private, profile);
        }
        Ppa { outcome }
    }

    fn wake(&mut self, at: At, timer: TimerId, out: &mut Outbox) {
        if self.proxy.timer(at, timer, &mut self.sip, out) {
            return;
        }
        match self.timers.remove(&timer) {
            Some(Wake::Challenge(assignment)) => {
                let kind = AssignmentType::AuthenticationTimeout;
                self.end_authentication(at, &assignment, kind, out);
            }
            Some(Wake::Expiry) => {
                self.expiry = None;
                self.expire(at, out);
            }
            Some(Wake::Watch) => {
                self.watch_timer = None;
                self.tell_watchers(at, out);
            }
            Some(Wake::Server(txn)) => self.server_silent(at, txn, out),
            None => {}
        }
    }

    fn arm_expiry(&mut self, out: &mut Outbox) {
        match (self.users.next_expiry(), self.expiry) {
            (Some(at), Some(timer)) => out.arm(timer, at),
            (Some(at), None) => {
                let timer = out.wake_at(at);
                self.timers.insert(timer, Wake::Expiry);
                self.expiry = Some(timer);
            }
            (None, Some(timer)) => {
                out.disarm(timer);
                self.timers.remove(&timer);
                self.expiry = None;
            }
            (None, None) => {}
        }
    }

    fn ask(&mut self, at: At, request: CxRequest, asked: Asked, out: &mut Outbox) {
        let txn = self.cx.ask(at, &self.hss, &request, out);
        self.asked.insert(txn, asked);
    }

    fn refuse(&mut self, at: At, txn: ServerTxn, code: u16, out: &mut Outbox) {
        self.refuse_with(at, txn, code, &[], out);
    }

    fn refuse_with(
        &mut self,
        at: At,
        txn: ServerTxn,
        code: u16,
        headers: &[(&str, String)],
        out: &mut Outbox,
    ) {
        let Some(request) = self.sip.incoming(txn) else {
            return;
        };
        let tag = self.random.token(10);
        let builder = Builder::response(request, code, reason(code), Some(&tag));
        let response = headers
            .iter()
            .fold(builder, |builder, (name, value)| {
                builder.header(name, value)
            })
            .finish();
        self.sip.respond(at, txn, response, true, out);
    }
}

/// Where this node speaks SIP.
fn ports(setup: &Setup) -> Vec<SipPort> {
    setup
        .listeners
        .iter()
        .filter(|listener| listener.format == Format::Sip)
        .map(|listener| SipPort {
            on: listener.on,
            local: listener.addr,
            transport: match listener.transport {
                ListenTransport::Udp => SipTransport::Udp,
                ListenTransport::Tcp | ListenTransport::Tls => SipTransport::Tcp,
            },
            path_mtu: setup.path_mtu.get(&listener.on).copied(),
            timers: Timers::on(listener.on),
        })
        .collect()
}

#[cfg(test)]
mod tests;
