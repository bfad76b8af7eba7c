//! The S-CSCF as proxy (TS 24.229 5.4.3, clause numbers second-hand; TS 23.218 6.4, 6.5): originating and
//! terminating requests through the initial filter criteria, requests inside dialogs along their Route,
//! and responses back.

use std::{sync::Arc, time::Duration};

use super::{
    Asked, SCscf, Wake, filter,
    home::{Hop, Mark, Origin, canonical, put_above},
    preference,
    users::{Binding, Served},
    watch::is_watch,
};
use crate::{
    io::{Outbox, TimerId},
    node::{
        hss::MESSAGES_ONLY,
        media_policy,
        policy::{IcsiPolicy, Loops},
    },
    proto::{
        cx::{
            AssignmentType, CxRequest, Saa, Sar,
            profile::{DefaultHandling, InitialFilterCriteria, SessionCase},
        },
        endpoint::{ClientTxn, Failure, ServerTxn, Source},
        proxy::{Cause, Up, admit, loop_mark, next_max_forwards},
    },
    spec::{RefPoint, Role},
    time::At,
    wire::{
        diameter::{Outcome, dictionary::experimental},
        sip::{Builder, Message, NameAddr, Params, Uri, reason},
    },
};

/// A request on its way through this S-CSCF.
#[derive(Clone, Debug)]
pub struct Passage {
    leg: Leg,
    /// As it goes on, without the Route of the application server.
    request: Message,
    stage: Stage,
}

/// Whom a request is served for, and how far it is in his criteria. Kept under the original dialog
/// identifier while it is at an application server.
#[derive(Clone, Debug)]
pub struct Leg {
    served: String,
    private: String,
    case: SessionCase,
    criteria: Arc<Vec<InitialFilterCriteria>>,
    next: usize,
}

#[derive(Clone, Debug)]
enum Stage {
    /// At an application server.
    Server {
        client: Option<ClientTxn>,
        handling: Option<DefaultHandling>,
        dialog: String,
        /// It gave a sign of life: then its answer stands.
        heard: bool,
        patience: Option<TimerId>,
    },
    Onward,
}

impl SCscf {
    /// Any request but REGISTER, ACK and CANCEL.
    pub(super) fn route(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: Message,
        source: &Source,
        out: &mut Outbox,
    ) {
        let tag = self.random.token(10);
        if let Err(refusal) = admit(&request, &[], &tag) {
            return self.sip.respond(at, txn, refusal, true, out);
        }
        let finds_loops = match self.policy.finds_loops {
            Loops::OfAnything => true,
            Loops::OfInvites => request.method() == "INVITE",
            Loops::OfNothing => false,
        };
        if finds_loops && self.sip.has_sent(&request, &loop_mark(&request)) {
            out.note("refused", "the request came back as it was");
            return self.refuse(at, txn, 482, out);
        }
        let (Ok(routes), Ok(to)) = (request.addrs("Route"), request.to()) else {
            return self.refuse(at, txn, 400, out);
        };
        let mark = self.home.mark(&routes);
        let request = self.stripped(&request, &routes);
        match (&mark.dialog, to.tag()) {
            (Some(dialog), _) => self.resume(at, txn, request, &dialog.clone(), out),
            (None, Some(_)) => self.inside_dialog(at, txn, request, out),
            (None, None) => self.outside_dialog(at, txn, request, &mark, source, out),
        }
    }

    /// The ACK of a 2xx follows its Route.
    pub(super) fn acknowledge(&mut self, at: At, ack: &Message, out: &mut Outbox) {
        let Ok(routes) = ack.addrs("Route") else {
            return;
        };
        let ack = self.stripped(ack, &routes);
        if let Some(hop) = self.next_hop(&ack) {
            self.sip.send_alone(at, hop.on, hop.to, ack, out);
        }
    }

    /// One hop less, and without the routes on top that are ours: more than one if the request passes this
    /// node for both users.
    fn stripped(&self, request: &Message, routes: &[NameAddr]) -> Message {
        let ours = routes
            .iter()
            .take_while(|route| Uri::parse(&route.uri).is_ok_and(|uri| self.home.is_own(&uri)))
            .count();
        // Only one is taken off outside a dialog: the next may name another leg.
        let inside = request.to().is_ok_and(|to| to.tag().is_some());
        let ours = match inside {
            true => ours,
            false => ours.min(1),
        };
        let hops = next_max_forwards(request);
        let edit = request.edit().set("Max-Forwards", &hops);
        (0..ours).fold(edit, |edit, _| edit.pop("Route")).finish()
    }

    /// The top Route, or the Request-URI (RFC 3261 16.6 step 7).
    fn next_hop(&self, request: &Message) -> Option<Hop> {
        match request.addrs("Route").ok()?.first() {
            Some(route) => self.home.way_to_node(&Uri::parse(&route.uri).ok()?),
            None => self.home.way_to(request.request_uri()?),
        }
    }

    fn inside_dialog(&mut self, at: At, txn: ServerTxn, request: Message, out: &mut Outbox) {
        let target = request.request_uri().and_then(|uri| Uri::parse(uri).ok());
        if target.is_some_and(|uri| self.home.is_own(&uri)) {
            return match request.method() {
                "SUBSCRIBE" => self.watch(at, txn, &request, None, out),
                _ => self.refuse(at, txn, 481, out),
            };
        }
        let Some(hop) = self.next_hop(&request) else {
            return self.refuse(at, txn, 404, out);
        };
        let request = self.recorded(self.without_location(request, hop));
        let leg = Leg {
            served: String::new(),
            private: String::new(),
            case: SessionCase::Originating,
            criteria: Arc::default(),
            next: 0,
        };
        self.begin(txn, leg, request.clone());
        self.send_on(at, txn, hop, request, out);
    }

    fn outside_dialog(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: Message,
        mark: &Mark,
        source: &Source,
        out: &mut Outbox,
    ) {
        let allowed: &[Role] = match mark.origin {
            Origin::None => return self.terminate(at, txn, request, out),
            Origin::ServiceRoute => &[Role::PCscf, Role::Tracker],
            Origin::Parameter => &[Role::PCscf, Role::Tracker, Role::ICscf],
        };
        // From anybody else it is an attempt to dodge admission.
        let is_allowed = self.home.is_one_of(source.addr, source.on, allowed);
        match is_allowed || !self.policy.guards_originating {
            true => self.originate(at, txn, request, source, out),
            false => self.refuse(at, txn, 403, out),
        }
    }

    /// TS 24.229 5.4.3.2.
    fn originate(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: Message,
        source: &Source,
        out: &mut Outbox,
    ) {
        let identity = served_user(&request, source);
        let served = identity
            .as_ref()
            .and_then(|identity| self.users.find(identity));
        let (Some(identity), Some(served)) = (identity, served) else {
            return self.refuse(at, txn, 403, out);
        };
        let is_barred = served.barred && self.policy.heeds_barring;
        if is_barred || !served.registered {
            return self.refuse(at, txn, 403, out);
        }
        let Some(request) = self.with_service(request, &served) else {
            return self.refuse(at, txn, 403, out);
        };
        if let Some(allowed) = self.allowed_media(served.media_profile)
            && media_policy::barred(&request, allowed).is_some()
        {
            let tag = self.random.token(10);
            let refusal = media_policy::refusal(&request, allowed, self.ip, &tag);
            return self.sip.respond(at, txn, refusal, true, out);
        }
        let request = request.edit().remove("P-Served-User").finish();
        let request = self.recorded(with_charging(request, self.home.domain()));
        let leg = Leg::new(&identity, served, SessionCase::Originating);
        self.begin(txn, leg, request);
        self.advance(at, txn, out);
    }

    /// What a media profile means is the operator's business (TS 29.228 B.2.1A): here 1 is messages, and any other
    /// everything.
    fn allowed_media(&self, profile: Option<u32>) -> Option<&'static [&'static str]> {
        let is_known = profile == Some(MESSAGES_ONLY) && self.policy.heeds_media_profiles;
        is_known.then_some(&["message"])
    }

    /// TS 24.229 5.4.3.3.
    fn terminate(&mut self, at: At, txn: ServerTxn, request: Message, out: &mut Outbox) {
        let Some(identity) = request.request_uri().map(canonical) else {
            return self.refuse(at, txn, 400, out);
        };
        match self.users.find(&identity) {
            Some(served) if served.registered && is_watch(&request) => {
                let target = Some((served.private.as_str(), identity.as_str()));
                self.watch(at, txn, &request, target, out);
            }
            Some(served) => self.terminate_at(at, txn, request, &identity, served, out),
            None if Uri::parse(&identity).is_ok_and(|uri| self.home.is_home(&uri)) => {
                self.ask_unregistered(at, txn, request, identity, out);
            }
            None => self.refuse(at, txn, 404, out),
        }
    }

    fn terminate_at(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: Message,
        identity: &str,
        served: Served,
        out: &mut Outbox,
    ) {
        if served.barred && self.policy.heeds_barring {
            return self.refuse(at, txn, 404, out);
        }
        let case = match served.registered {
            true => SessionCase::TerminatingRegistered,
            false => SessionCase::TerminatingUnregistered,
        };
        let request = self.recorded(request);
        let leg = Leg::new(identity, served, case);
        self.begin(txn, leg, request);
        self.advance(at, txn, out);
    }

    /// A request for somebody without a profile here: the HSS knows whether he has services all the same
    /// (TS 29.228 6.1.2).
    fn ask_unregistered(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: Message,
        identity: String,
        out: &mut Outbox,
    ) {
        let sar = Sar {
            private: None,
            publics: vec![identity.clone()],
            server: self.home.uri(),
            assignment: AssignmentType::UnregisteredUser,
            has_profile: false,
        };
        let asked = Asked::Unregistered(txn, request, identity);
        self.ask(at, CxRequest::Sar(sar), asked, out);
    }

    pub(super) fn unregistered(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: Message,
        identity: &str,
        saa: Saa,
        out: &mut Outbox,
    ) {
        if let Outcome::Experimental { code, .. } = saa.outcome
            && code == experimental::USER_UNKNOWN
        {
            return self.refuse(at, txn, 404, out);
        }
        if let Some(profile) = saa.profile.filter(|_| saa.outcome.is_success()) {
            let private = profile.private.clone();
            self.users.keep_profile(&private, profile);
        }
        match self.users.find(identity) {
            Some(served) => self.terminate_at(at, txn, request, identity, served, out),
            None => self.refuse(at, txn, 480, out),
        }
    }

    /// A request comes back from an application server: the next criterion (TS 23.218 6.4.1). An identifier
    /// that was changed, or has served its time, names nothing.
    fn resume(&mut self, at: At, txn: ServerTxn, request: Message, dialog: &str, out: &mut Outbox) {
        let Some(leg) = self.legs.get(dialog).cloned() else {
            return self.refuse(at, txn, 404, out);
        };
        let request = request.edit().remove("P-Served-User").finish();
        let retargeted = request.request_uri().map(canonical);
        let is_terminating = leg.case != SessionCase::Originating;
        if is_terminating && retargeted.as_deref() != Some(leg.served.as_str()) {
            // The server changed the target: no longer this user's (TS 24.229 5.4.3.3, clause not verified).
            return match self.next_hop(&request) {
                Some(hop) => {
                    self.begin(txn, leg, request.clone());
                    self.send_on(at, txn, hop, request, out);
                }
                None => self.refuse(at, txn, 404, out),
            };
        }
        self.begin(txn, leg, request);
        self.advance(at, txn, out);
    }

    fn begin(&mut self, txn: ServerTxn, leg: Leg, request: Message) {
        let passage = Passage {
            leg,
            request: request.clone(),
            stage: Stage::Onward,
        };
        self.proxy.begin(txn, &request, passage);
    }

    /// To the next application server, or on.
    fn advance(&mut self, at: At, txn: ServerTxn, out: &mut Outbox) {
        let Some(passage) = self.proxy.context(txn) else {
            return;
        };
        let leg = passage.leg.clone();
        let occasion = filter::Occasion {
            case: leg.case,
            registration: None,
        };
        let request = passage.request.clone();
        let met = filter::next(
            &leg.criteria,
            leg.next,
            &request,
            occasion,
            &mut self.patterns,
        );
        match met {
            Some((place, criterion)) => {
                let leg = Leg {
                    next: place + 1,
                    ..leg.clone()
                };
                self.hand_to_server(at, txn, leg, &request, &criterion.clone(), out);
            }
            None if leg.case == SessionCase::Originating => {
                self.leave_home(at, txn, &request, out);
            }
            None => self.reach_contacts(at, txn, &leg, &request, out),
        }
    }

    /// Route: the application server, then ourselves with the original dialog identifier.
    fn hand_to_server(
        &mut self,
        at: At,
        txn: ServerTxn,
        leg: Leg,
        request: &Message,
        criterion: &InitialFilterCriteria,
        out: &mut Outbox,
    ) {
        let dialog = self.random.token(12);
        let name = &criterion.server.name;
        let hop = Uri::parse(name)
            .ok()
            .and_then(|uri| self.home.way_to_node(&uri));
        let handling = criterion.server.default_handling;
        let at_server = put_above(
            request,
            "Route",
            &[
                with_lr(name),
                self.home.return_route(&dialog, self.policy.odi_in_user),
            ],
        );
        let at_server = at_server
            .edit()
            .set("P-Served-User", &served_user_header(&leg))
            .finish();
        self.legs.insert(dialog.clone(), leg.clone());
        if let Some(passage) = self.proxy.context_mut(txn) {
            passage.leg = leg;
            passage.stage = Stage::Server {
                client: None,
                handling,
                dialog,
                heard: false,
                patience: None,
            };
        }
        let Some(hop) = hop else {
            return self.server_failed(at, txn, None, out);
        };
        let is_invite = request.method() == "INVITE";
        let sent = self
            .proxy
            .forward(at, txn, hop.on, hop.to, at_server, &mut self.sip, out);
        let timer = (!is_invite).then(|| out.wake_at(at + AS_PATIENCE));
        if let Some(timer) = timer {
            self.timers.insert(timer, Wake::Server(txn));
        }
        if let Some(passage) = self.proxy.context_mut(txn)
            && let Stage::Server {
                client, patience, ..
            } = &mut passage.stage
        {
            *client = sent;
            *patience = timer;
        }
    }

    /// Default handling (TS 23.218 6.4.1, TS 29.228 B.2.2): without an indication the request goes on.
    /// `answer` is what to pass back if it may not; without it, one is made.
    fn server_failed(&mut self, at: At, txn: ServerTxn, answer: Option<Message>, out: &mut Outbox) {
        let Some(Stage::Server { handling, .. }) = self.leave_server(txn, out) else {
            return;
        };
        let words = match handling {
            Some(DefaultHandling::SessionContinued) => "SESSION_CONTINUED",
            Some(DefaultHandling::SessionTerminated) => "SESSION_TERMINATED",
            None => "none is given, so the request goes on",
        };
        out.note("default-handling", words);
        if handling != Some(DefaultHandling::SessionTerminated) {
            return self.advance(at, txn, out);
        }
        let Some(request) = self.sip.incoming(txn) else {
            return;
        };
        let code = match request.method() {
            "INVITE" => 408,
            _ => self.policy.as_silence,
        };
        let made = || Builder::response(request, code, reason(code), Some(&self.tag)).finish();
        let response = answer.unwrap_or_else(made);
        self.proxy.reply(at, txn, response, &mut self.sip, out);
    }

    /// The request is no longer at an application server: its dialog identifier and timer end.
    fn leave_server(&mut self, txn: ServerTxn, out: &mut Outbox) -> Option<Stage> {
        let passage = self.proxy.context_mut(txn)?;
        let stage = std::mem::replace(&mut passage.stage, Stage::Onward);
        if let Stage::Server {
            dialog, patience, ..
        } = &stage
        {
            self.legs.remove(dialog);
            if let Some(timer) = patience {
                self.timers.remove(timer);
                out.disarm(*timer);
            }
        }
        Some(stage)
    }

    /// An application server kept a non-INVITE request waiting for too long.
    pub(super) fn server_silent(&mut self, at: At, txn: ServerTxn, out: &mut Outbox) {
        let waiting = self
            .proxy
            .context(txn)
            .and_then(|passage| match passage.stage {
                Stage::Server { client, .. } => client,
                Stage::Onward => None,
            });
        if let Some(client) = waiting {
            self.proxy.leave(at, client, &mut self.sip, out);
            self.server_failed(at, txn, None, out);
        }
    }

    /// From the originating side to wherever the request leads.
    fn leave_home(&mut self, at: At, txn: ServerTxn, request: &Message, out: &mut Outbox) {
        let Some(hop) = self.next_hop(request) else {
            return self.answer(at, txn, 404, out);
        };
        let request = match self.policy.passes_access_network {
            true => request.clone(),
            false => request.edit().remove("P-Access-Network-Info").finish(),
        };
        self.send_on(at, txn, hop, request, out);
    }

    /// To every contact of the served user that the caller's preferences leave (RFC 3841): Request-URI is the
    /// contact, Route its Path, P-Called-Party-ID the identity that was called.
    fn reach_contacts(
        &mut self,
        at: At,
        txn: ServerTxn,
        leg: &Leg,
        request: &Message,
        out: &mut Outbox,
    ) {
        let bindings = self.users.bindings(&leg.private).to_vec();
        let features: Vec<_> = bindings.iter().map(|binding| &binding.features).collect();
        let chosen = preference::eligible(request, &features);
        let hops: Vec<(Hop, Message)> = chosen
            .into_iter()
            .filter_map(|place| {
                let request = self.for_contact(request, &bindings[place]);
                Some((self.next_hop(&request)?, request))
            })
            .collect();
        if hops.is_empty() {
            return self.answer(at, txn, 480, out);
        }
        // RFC 5393 5.3.3: branches share the breadth there is.
        let breadth = request.number("Max-Breadth").ok().flatten();
        let share = breadth.unwrap_or(MAX_BREADTH) / hops.len() as u32;
        if share == 0 {
            return self.answer(at, txn, 440, out);
        }
        let forks = hops.len() > 1;
        for (hop, request) in hops {
            let request = match forks {
                true => request
                    .edit()
                    .set("Max-Breadth", &share.to_string())
                    .finish(),
                false => request,
            };
            self.send_on(at, txn, hop, request, out);
        }
    }

    fn for_contact(&self, request: &Message, binding: &Binding) -> Message {
        let called = request.request_uri().unwrap_or_default();
        let edited = request
            .edit()
            .request_uri(&binding.contact.uri)
            .remove("Route")
            .remove("P-Access-Network-Info")
            .remove("P-Served-User")
            .set("P-Called-Party-ID", &format!("<{called}>"))
            .finish();
        put_above(&edited, "Route", &binding.path)
    }

    fn send_on(&mut self, at: At, txn: ServerTxn, hop: Hop, request: Message, out: &mut Outbox) {
        let sip = &mut self.sip;
        self.proxy
            .forward(at, txn, hop.on, hop.to, request, sip, out);
    }

    /// A response on its way back.
    pub(super) fn pass_back(&mut self, at: At, up: Up, out: &mut Outbox) {
        let status = up.response.status().unwrap_or_default();
        if let Some(passage) = self.proxy.context_mut(up.server)
            && let Stage::Server { heard, .. } = &mut passage.stage
        {
            let failed = match up.cause {
                Cause::Failed(_) => true,
                Cause::Received(status) => status == 408 || (500..600).contains(&status),
            };
            if status < 200 {
                *heard = true;
            } else if failed && !*heard {
                let answer = match up.cause {
                    Cause::Received(status) if status != 408 => Some(up.response),
                    Cause::Failed(Failure::Transport) => Some(up.response),
                    _ => None,
                };
                return self.server_failed(at, up.server, answer, out);
            }
        }
        if status >= 200 {
            self.leave_server(up.server, out);
        }
        let is_terminating = self
            .proxy
            .context(up.server)
            .is_some_and(|passage| passage.leg.case == SessionCase::TerminatingRegistered);
        let edit = up.response.edit().remove("P-Access-Network-Info");
        let charging = up
            .response
            .header("P-Charging-Vector")
            .filter(|_| is_terminating);
        let response = match charging {
            Some(vector) => edit
                .set(
                    "P-Charging-Vector",
                    &with_ioi(&vector, "term-ioi", self.home.domain()),
                )
                .finish(),
            None => edit.finish(),
        };
        self.proxy
            .reply(at, up.server, response, &mut self.sip, out);
    }

    /// Answers a request whose context is open.
    fn answer(&mut self, at: At, txn: ServerTxn, code: u16, out: &mut Outbox) {
        let Some(request) = self.sip.incoming(txn) else {
            return;
        };
        let response = Builder::response(request, code, reason(code), Some(&self.tag)).finish();
        self.proxy.reply(at, txn, response, &mut self.sip, out);
    }

    /// P-Preferred-Service becomes P-Asserted-Service if the user is subscribed to it; what he is not
    /// subscribed to is taken off or, as the operator's option, refused with 403: `None` (TS 23.218 6.4.1,
    /// RFC 6050).
    pub(super) fn with_service(&self, request: Message, served: &Served) -> Option<Message> {
        let wanted = [
            request.values("P-Asserted-Service"),
            request.values("P-Preferred-Service"),
        ]
        .concat();
        if wanted.is_empty() {
            return Some(request);
        }
        let allowed: Vec<String> = wanted
            .iter()
            .filter(|service| {
                served
                    .services
                    .as_ref()
                    .is_none_or(|services| services.contains(service))
            })
            .cloned()
            .collect();
        if allowed.len() < wanted.len() && self.policy.icsi == IcsiPolicy::Reject {
            return None;
        }
        let edit = request
            .edit()
            .remove("P-Preferred-Service")
            .remove("P-Asserted-Service");
        Some(match allowed.first() {
            Some(service) => edit.set("P-Asserted-Service", service).finish(),
            None => edit.finish(),
        })
    }

    /// Stays on the path of dialogs (TS 24.229 5.4.3.2 step 13, 5.4.3.3 step 13, second-hand). NOTIFY makes
    /// the subscriber's route set, so each one is recorded (RFC 6665 4.3, 4.4.1).
    fn recorded(&self, request: Message) -> Message {
        let inside = request.to().is_ok_and(|to| to.tag().is_some());
        match (request.method(), inside) {
            ("INVITE" | "SUBSCRIBE", false) | ("NOTIFY", _) => {
                put_above(&request, "Record-Route", &[self.home.record_route()])
            }
            _ => request,
        }
    }

    /// Where the caller is, is not the callee's business: off before the P-CSCF.
    fn without_location(&self, request: Message, hop: Hop) -> Message {
        match self.home.role_at(hop) {
            Some(Role::PCscf) => request.edit().remove("P-Access-Network-Info").finish(),
            _ => request,
        }
    }
}

impl Leg {
    fn new(identity: &str, served: Served, case: SessionCase) -> Leg {
        Leg {
            served: canonical(identity),
            private: served.private,
            case,
            criteria: served.criteria,
            next: 0,
        }
    }
}

/// Whom an originating request is served for: an application server says it in P-Served-User, the P-CSCF in
/// P-Asserted-Identity.
fn served_user(request: &Message, source: &Source) -> Option<String> {
    let named = match source.on {
        RefPoint::Isc => request.addrs("P-Served-User").ok()?,
        _ => Vec::new(),
    };
    let asserted = request.addrs("P-Asserted-Identity").ok()?;
    named
        .first()
        .or(asserted.first())
        .map(|identity| identity.uri.clone())
}

/// RFC 5502 6.
fn served_user_header(leg: &Leg) -> String {
    let (case, state) = match leg.case {
        SessionCase::Originating | SessionCase::OriginatingCdiv => ("orig", "reg"),
        SessionCase::OriginatingUnregistered => ("orig", "unreg"),
        SessionCase::TerminatingRegistered => ("term", "reg"),
        SessionCase::TerminatingUnregistered => ("term", "unreg"),
    };
    format!("<{}>;sescase={case};regstate={state}", leg.served)
}

/// A name-addr of a server, as a loose router.
fn with_lr(server: &str) -> String {
    match Uri::parse(server) {
        Ok(uri) if uri.params.has("lr") => format!("<{server}>"),
        _ => format!("<{server};lr>"),
    }
}

/// The charging identifier stays, the originating network is ours (TS 24.229 4.5, second-hand).
fn with_charging(request: Message, domain: &str) -> Message {
    match request.header("P-Charging-Vector") {
        Some(vector) => {
            let vector = with_orig_ioi(&vector, domain);
            request.edit().set("P-Charging-Vector", &vector).finish()
        }
        None => request,
    }
}

/// A P-Charging-Vector value with `orig-ioi` set.
pub(super) fn with_orig_ioi(vector: &str, domain: &str) -> String {
    with_ioi(vector, "orig-ioi", domain)
}

/// Sets one operator identifier in a P-Charging-Vector value, which is parameters from its first octet on.
fn with_ioi(vector: &str, name: &str, domain: &str) -> String {
    let Ok(mut params) = Params::parse(&format!(";{vector}")) else {
        return vector.to_owned();
    };
    params.set(name, Some(domain));
    params.to_string().split_off(1)
}

/// RFC 5393 5.3.3: for a request that has none.
const MAX_BREADTH: u32 = 60;

/// How long an application server may take for a non-INVITE request: less than the 32 s after which nobody
/// upstream listens any more (RFC 4320 4.2).
const AS_PATIENCE: Duration = Duration::from_secs(10);
