//! The IMS user agent inside a node: the UE, and each CDN component that is registered. It registers,
//! sends requests the way a registered user does, and hands on what its P-CSCF brings. It knows neither
//! peer lists nor pieces. Start at [`ImsUser::take`].

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Setup,
    policy::UaPolicy,
    setup::{Directory, Subscriber},
};
use crate::{
    io::{Input, Outbox, TimerId},
    proto::{
        aka::Keys,
        dialog::Dialog,
        endpoint::{
            ClientTxn, Failure, ServerTxn, SipEndpoint, SipEvent, SipPort, SipTransport, Source,
            Timers,
        },
        registration::{self, Account, Device, Registration, Step},
        subscription::{Answered, Notified, Subscription},
    },
    random::{Random, derive},
    spec::{Format, RefPoint, Role},
    time::At,
    trace::ListenTransport,
    wire::sip::{Builder, Message, reason},
};

/// What happened on the IMS side that the node must know.
#[derive(Clone, Debug)]
pub enum UserEvent {
    Registered,
    Deregistered,
    /// The status that refused, or `None`: no answer came.
    RegistrationFailed(Option<u16>),
    /// A request this user agent allows, to be answered with [`ImsUser::respond`].
    Request {
        txn: ServerTxn,
        request: Message,
    },
    /// The ACK of a 2xx.
    Ack {
        request: Message,
    },
    /// The caller gave up a pending INVITE; it is already answered 487.
    Cancelled {
        txn: ServerTxn,
    },
    Response {
        txn: ClientTxn,
        response: Message,
    },
    /// No final response will come.
    Failed {
        txn: ClientTxn,
        why: Failure,
    },
    /// A 2xx to INVITE was never acknowledged: the session should be ended (RFC 3261 13.3.1.4).
    AckMissing {
        txn: ServerTxn,
    },
}

/// A request outside any dialog, as its sender words it.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    pub method: &'a str,
    pub uri: &'a str,
    /// Headers beyond those every request of a registered user has.
    pub headers: Vec<(&'a str, String)>,
    /// Content-Type and body.
    pub body: Option<(&'a str, &'a [u8])>,
}

/// What is known of our own registration state (RFC 3680).
#[derive(Debug)]
struct Watch {
    subscription: Subscription,
    txn: ClientTxn,
    renewal: Option<TimerId>,
    /// Of the last document taken; older ones are passed over (RFC 3680 5.1).
    version: Option<u32>,
}

/// One registered, or registering, user.
#[derive(Debug)]
pub struct ImsUser {
    sip: SipEndpoint,
    registration: Registration,
    /// The REGISTER in flight.
    registering: Option<ClientTxn>,
    /// A deregistration waits for the REGISTER in flight to end.
    leaving: bool,
    refresh: TimerId,
    expiry: TimerId,
    timers_known: bool,
    watch: Option<Watch>,
    /// A registration was there and is over: nobody is to reach us by it any more.
    has_ended: bool,
    events: VecDeque<UserEvent>,
    policy: UaPolicy,
    random: Random,
    impu: String,
    local: SocketAddr,
    contact: String,
    directory: Arc<Directory>,
    p_cscf: SocketAddr,
    /// `<sip:pcscf1.ims.example:5060;transport=tcp;lr>`.
    p_cscf_route: String,
}

impl ImsUser {
    /// `None` if the node has no subscriber, does not speak SIP on Gm, or knows no P-CSCF.
    pub fn new(setup: &Setup) -> Option<ImsUser> {
        let subscriber = own_subscriber(setup)?;
        let ports = gm_ports(setup);
        let port = ports.first()?.clone();
        let (name, neighbour) = setup.directory.first(Role::PCscf)?;
        let p_cscf = setup
            .directory
            .listener(name.as_str(), RefPoint::Gm, Format::Sip)?;
        let mut random = Random::new(derive(setup.seed, &["ims-user"]));
        let contact = contact_uri(&port);
        let impu = subscriber.impus.first()?.clone();
        let policy = setup.policy.ua.clone();
        let device = device(&policy, subscriber, &contact, port.local, &mut random);
        let account = Account {
            impi: subscriber.impi.clone(),
            impu: impu.clone(),
            domain: setup.directory.domain.clone(),
            password: subscriber.password.clone(),
            keys: Keys {
                k: subscriber.k,
                opc: subscriber.opc,
            },
            usim_sqn: subscriber.usim_sqn,
        };
        Some(ImsUser {
            sip: SipEndpoint::new(ports, derive(setup.seed, &["ims-user", "sip"])),
            registration: Registration::new(
                account,
                device,
                derive(setup.seed, &["ims-user", "registration"]),
            ),
            registering: None,
            leaving: false,
            refresh: TimerId(0),
            expiry: TimerId(0),
            timers_known: false,
            watch: None,
            has_ended: false,
            events: VecDeque::new(),
            policy,
            random,
            impu,
            local: port.local,
            contact,
            directory: Arc::clone(&setup.directory),
            p_cscf,
            p_cscf_route: format!(
                "<sip:{}:{}{};lr>",
                neighbour.host,
                p_cscf.port(),
                neighbour.transport_parameter(RefPoint::Gm)
            ),
        })
    }

    pub fn is_registered(&self) -> bool {
        self.registration.granted().is_some()
    }

    /// Whether a registration or its end is under way.
    pub fn is_registering(&self) -> bool {
        self.registering.is_some()
    }

    /// Takes an input if it concerns SIP or the registration; `None`: it is somebody else's.
    pub fn take(&mut self, at: At, input: &Input<'_>, out: &mut Outbox) -> Option<Vec<UserEvent>> {
        match input {
            Input::Timer(timer) if self.timers_known && *timer == self.refresh => {
                self.register(at, out);
            }
            Input::Timer(timer) if self.timers_known && *timer == self.expiry => {
                self.lose_registration(out);
            }
            Input::Timer(timer)
                if self
                    .watch
                    .as_ref()
                    .is_some_and(|w| w.renewal == Some(*timer)) =>
            {
                self.renew_watch(at, out);
            }
            _ => {
                for event in self.sip.take(at, input, out)? {
                    self.digest(at, event, out);
                }
            }
        }
        Some(self.events.drain(..).collect())
    }

    /// Registers, or refreshes the registration; nothing while a REGISTER is in flight.
    pub fn register(&mut self, at: At, out: &mut Outbox) {
        self.leaving = false;
        if let Some(request) = self.registration.register() {
            self.send_register(at, request, out);
        }
    }

    /// Ends the registration, after any REGISTER in flight.
    pub fn deregister(&mut self, at: At, out: &mut Outbox) {
        match self.registration.deregister() {
            Some(request) => self.send_register(at, request, out),
            None => self.leaving = true,
        }
    }

    /// Sends a request outside any dialog: preloaded Route of P-CSCF and Service-Route, identity,
    /// service and access (TS 24.229 5.1.2A.1, clause not verified). Gives the request without its Via.
    pub fn originate(
        &mut self,
        at: At,
        what: &Outgoing<'_>,
        out: &mut Outbox,
    ) -> (ClientTxn, Message) {
        let request = self.compose(what);
        let to = match self.policy.skips_p_cscf && what.method == "INVITE" {
            true => self.straight_to(what.uri).unwrap_or(self.p_cscf),
            false => self.p_cscf,
        };
        let txn = self.sip.send(at, RefPoint::Gm, to, request.clone(), out);
        (txn, request)
    }

    /// Sends a request inside a dialog: what [`Dialog::request`] began, with Contact if it refreshes the
    /// target, and the access network.
    pub fn within(
        &mut self,
        at: At,
        begun: Builder,
        body: Option<(&str, &[u8])>,
        out: &mut Outbox,
    ) -> (ClientTxn, Message) {
        let begun = match self.policy.names_access_network {
            true => begun.header("P-Access-Network-Info", ACCESS_NETWORK),
            false => begun,
        };
        let begun = match body {
            Some((content_type, body)) => begun.body(content_type, body),
            None => begun,
        };
        let mut request = begun.finish();
        if matches!(request.method(), "INVITE" | "SUBSCRIBE" | "UPDATE") {
            let contact = self.contact_header();
            request = request.edit().append("Contact", &contact).finish();
        }
        let txn = self
            .sip
            .send(at, RefPoint::Gm, self.p_cscf, request.clone(), out);
        (txn, request)
    }

    /// Ends a session (RFC 3261 15.1.1).
    pub fn bye(&mut self, at: At, dialog: &mut Dialog, out: &mut Outbox) -> ClientTxn {
        match self.policy.ends_sessions {
            true => self.within(at, dialog.request("BYE"), None, out).0,
            false => NO_TXN,
        }
    }

    /// Acknowledges a 2xx to the INVITE numbered `seq`; again for each copy of the 2xx
    /// (RFC 3261 13.2.2.4).
    pub fn acknowledge(&mut self, at: At, dialog: &Dialog, seq: u32, out: &mut Outbox) {
        if !self.policy.acknowledges {
            return;
        }
        let ack = dialog.ack(seq).finish();
        self.sip.send_alone(at, RefPoint::Gm, self.p_cscf, ack, out);
    }

    /// Gives up a pending INVITE (RFC 3261 9.1).
    pub fn cancel(&mut self, at: At, txn: ClientTxn, out: &mut Outbox) {
        self.sip.cancel(at, txn, out);
    }

    /// Answers a request. `to_tag` is ours in the dialog it makes; without one a fresh tag is used. A
    /// 1xx or 2xx that makes a dialog carries Record-Route and Contact (RFC 3261 12.1.1).
    pub fn respond(&mut self, at: At, txn: ServerTxn, answer: &Answer<'_>, out: &mut Outbox) {
        let Some(request) = self.sip.incoming(txn).cloned() else {
            return;
        };
        let fresh = self.tag();
        let tag = match answer.status {
            100 => None,
            _ => Some(answer.to_tag.unwrap_or(&fresh)),
        };
        let mut builder = Builder::response(&request, answer.status, reason(answer.status), tag);
        let makes_dialog = matches!(request.method(), "INVITE" | "SUBSCRIBE")
            && (101..300).contains(&answer.status);
        if makes_dialog {
            for route in request.values("Record-Route") {
                builder = builder.header("Record-Route", &route);
            }
            builder = builder
                .header("Contact", &self.contact_header())
                .header("P-Access-Network-Info", ACCESS_NETWORK);
        }
        if request.method() == "INVITE" && (200..300).contains(&answer.status) {
            builder = builder.header("Allow", ALLOWED);
        }
        for (name, value) in &answer.headers {
            builder = builder.header(name, value);
        }
        if let Some((content_type, body)) = answer.body {
            builder = builder.body(content_type, body);
        }
        self.sip.respond(at, txn, builder.finish(), true, out);
    }

    /// Answers with a bare status.
    pub fn refuse(&mut self, at: At, txn: ServerTxn, status: u16, out: &mut Outbox) {
        self.respond(at, txn, &Answer::of(status), out);
    }

    /// A fresh dialog tag.
    pub fn tag(&mut self) -> String {
        self.random.token(10)
    }

    fn digest(&mut self, at: At, event: SipEvent, out: &mut Outbox) {
        match event {
            SipEvent::Request {
                txn,
                request,
                source,
            } if self.trusts(&source) => self.admit(at, txn, request, out),
            SipEvent::Ack { request, source } if self.trusts(&source) => {
                self.events.push_back(UserEvent::Ack { request });
            }
            SipEvent::Cancelled { txn, .. } => {
                self.refuse(at, txn, 487, out);
                self.events.push_back(UserEvent::Cancelled { txn });
            }
            SipEvent::Response {
                txn,
                response,
                source,
            } if self.trusts(&source) => self.answered(at, txn, response, out),
            SipEvent::Failed { txn, why } => self.failed(at, txn, why, out),
            SipEvent::AckMissing { txn } => self.events.push_back(UserEvent::AckMissing { txn }),
            // What does not come from our P-CSCF, or answers nothing, is discarded
            // (TS 24.229 5.1.1, clause not verified; RFC 3261 8.1.3.1, 18.1.2).
            SipEvent::Request { source, .. } => {
                out.note(
                    "ignored",
                    format!("a request from {}, which is not the P-CSCF", source.addr),
                );
            }
            SipEvent::Ack { .. }
            | SipEvent::Response { .. }
            | SipEvent::Stray { .. }
            | SipEvent::Unreadable { .. } => {}
        }
    }

    fn trusts(&self, source: &Source) -> bool {
        let sender = self.directory.at(source.addr);
        self.policy.trusts_anybody || sender.is_some_and(|(_, node)| node.role == Role::PCscf)
    }

    /// RFC 3261 8.2: method, headers, extensions; then the node's.
    fn admit(&mut self, at: At, txn: ServerTxn, request: Message, out: &mut Outbox) {
        if let Some(answer) = objection(&request) {
            return self.respond(at, txn, &answer, out);
        }
        if request.method() == "OPTIONS" {
            return self.respond(at, txn, &capabilities(), out);
        }
        if self
            .watch
            .as_ref()
            .is_some_and(|watch| watch.subscription.owns(&request))
        {
            return self.registration_told(at, txn, &request, out);
        }
        let is_initial = request.to().is_ok_and(|to| to.tag().is_none());
        if is_initial && self.has_ended {
            return self.refuse(at, txn, 480, out);
        }
        self.events.push_back(UserEvent::Request { txn, request });
    }

    /// Subscribes to our own registration state.
    fn begin_watch(&mut self, at: At, out: &mut Outbox) {
        let impu = self.impu.clone();
        let what = Outgoing {
            method: "SUBSCRIBE",
            uri: &impu,
            headers: vec![
                ("Event", REG_PACKAGE.to_owned()),
                ("Accept", REG_TYPE.to_owned()),
                ("Expires", WATCHED_FOR.to_string()),
            ],
            body: None,
        };
        let (txn, request) = self.originate(at, &what, out);
        self.watch = Some(Watch {
            subscription: Subscription::new(&request),
            txn,
            renewal: None,
            version: None,
        });
    }

    fn renew_watch(&mut self, at: At, out: &mut Outbox) {
        let Some(watch) = &mut self.watch else { return };
        watch.renewal = None;
        let Some(begun) = watch.subscription.refresh(WATCHED_FOR) else {
            return;
        };
        let (txn, request) = self.within(at, begun.header("Accept", REG_TYPE), None, out);
        if let Some(watch) = &mut self.watch {
            watch.subscription.sent(&request);
            watch.txn = txn;
        }
    }

    /// Whether a response, or its absence, is about our subscription; takes it.
    fn watch_answered(
        &mut self,
        txn: ClientTxn,
        response: Option<&Message>,
        out: &mut Outbox,
    ) -> bool {
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.txn == txn) else {
            return false;
        };
        let answered = response.map(|response| watch.subscription.answered(response));
        if let None | Some(Answered::Refused { ended: true, .. }) = answered {
            self.end_watch(out);
        }
        true
    }

    fn end_watch(&mut self, out: &mut Outbox) {
        if let Some(renewal) = self.watch.take().and_then(|watch| watch.renewal) {
            out.disarm(renewal);
        }
    }

    /// A NOTIFY about our registration: if the network ended it, it is over.
    fn registration_told(&mut self, at: At, txn: ServerTxn, notify: &Message, out: &mut Outbox) {
        let Some(watch) = &mut self.watch else { return };
        if !watch.subscription.speaks_of_package(notify) {
            return self.refuse(at, txn, 489, out);
        }
        let (refresh_at, ended) = match watch.subscription.notified(at, notify) {
            Notified::Refused(status) => return self.refuse(at, txn, status, out),
            Notified::Fresh { refresh_at, ended } => (refresh_at, ended.is_some()),
        };
        if let Some(renewal) = watch.renewal.take() {
            out.disarm(renewal);
        }
        watch.renewal = refresh_at.map(|at| out.wake_at(at));
        let told = read_registration(notify.body(), &self.contact);
        let fresh = told.filter(|told| watch.version.is_none_or(|seen| seen < told.version));
        if let Some(told) = &fresh {
            watch.version = Some(told.version);
        }
        self.refuse(at, txn, 200, out);
        if ended {
            self.end_watch(out);
        }
        if fresh.is_some_and(|told| told.is_over) && self.is_registered() {
            out.note("deregistered", "by the network");
            self.lose_registration(out);
        }
    }

    fn lose_registration(&mut self, out: &mut Outbox) {
        self.registration.lose();
        self.has_ended = true;
        self.disarm(out);
        self.events.push_back(UserEvent::Deregistered);
    }

    fn answered(&mut self, at: At, txn: ClientTxn, response: Message, out: &mut Outbox) {
        if self.registering != Some(txn) {
            if !self.watch_answered(txn, Some(&response), out) {
                self.events.push_back(UserEvent::Response { txn, response });
            }
            return;
        }
        let was_registered = self.is_registered();
        let step = self.registration.answer(at, &response);
        if !self.registration.is_pending() {
            self.registering = None;
        }
        match step {
            Step::Send(request) => self.send_register(at, *request, out),
            Step::Registered { refresh_at } => {
                self.has_ended = false;
                out.arm(self.refresh, refresh_at);
                if let Some(granted) = self.registration.granted() {
                    out.arm(self.expiry, granted.until);
                }
                if !was_registered {
                    self.events.push_back(UserEvent::Registered);
                    if self.policy.watches_registration {
                        self.begin_watch(at, out);
                    }
                }
            }
            Step::Deregistered => self.lose_registration(out),
            Step::Refused(status) => {
                out.note("refused", format!("REGISTER was answered {status}"));
                self.events
                    .push_back(UserEvent::RegistrationFailed(Some(status)));
            }
            Step::Nothing => {}
        }
        self.leave_if_asked(at, out);
    }

    fn failed(&mut self, at: At, txn: ClientTxn, why: Failure, out: &mut Outbox) {
        if self.registering != Some(txn) {
            if !self.watch_answered(txn, None, out) {
                self.events.push_back(UserEvent::Failed { txn, why });
            }
            return;
        }
        self.registering = None;
        self.registration.abandon();
        out.note("refused", "REGISTER was not answered");
        self.events.push_back(UserEvent::RegistrationFailed(None));
        self.leave_if_asked(at, out);
    }

    fn leave_if_asked(&mut self, at: At, out: &mut Outbox) {
        if self.leaving && !self.registration.is_pending() {
            self.leaving = false;
            if self.is_registered() {
                self.deregister(at, out);
            }
        }
    }

    fn send_register(&mut self, at: At, request: Message, out: &mut Outbox) {
        if !self.timers_known {
            self.refresh = out.fresh_timer();
            self.expiry = out.fresh_timer();
            self.timers_known = true;
        }
        out.disarm(self.refresh);
        self.registering = Some(self.sip.send(at, RefPoint::Gm, self.p_cscf, request, out));
    }

    fn disarm(&mut self, out: &mut Outbox) {
        out.disarm(self.refresh);
        out.disarm(self.expiry);
    }

    fn compose(&mut self, what: &Outgoing<'_>) -> Message {
        let tag = self.tag();
        let call_id = call_id(&self.policy, self.local, &mut self.random);
        let makes_dialog = matches!(what.method, "INVITE" | "SUBSCRIBE");
        let mut headers = vec![
            ("From", format!("<{}>;tag={tag}", self.impu)),
            ("To", format!("<{}>", what.uri)),
            ("Call-ID", call_id),
            ("CSeq", format!("1 {}", what.method)),
        ];
        if self.policy.preferred_identity {
            headers.push(("P-Preferred-Identity", format!("<{}>", self.impu)));
        }
        let is_own = what.uri == self.impu && what.method == "SUBSCRIBE";
        if !is_own {
            headers.push(("P-Preferred-Service", ICSI.to_owned()));
        }
        if self.policy.asserts_identity {
            headers.push(("P-Asserted-Identity", format!("<{}>", self.impu)));
        }
        if self.policy.names_access_network {
            headers.push(("P-Access-Network-Info", ACCESS_NETWORK.to_owned()));
        }
        let explicit = match what.method {
            "INVITE" => ";require;explicit",
            _ => "",
        };
        if !is_own {
            headers.push(("Accept-Contact", format!("*;{}{explicit}", icsi_ref())));
        }
        if makes_dialog {
            headers.push(("Contact", self.contact_header()));
        }
        if what.method == "INVITE" {
            headers.push(("Allow", ALLOWED.to_owned()));
        }
        headers.extend(what.headers.iter().cloned());
        if self.policy.extra_header {
            headers.push(("X-Note", "kept, ignored, or dropped".to_owned()));
        }
        self.write(what, headers)
    }

    fn write(&self, what: &Outgoing<'_>, mut headers: Vec<(&str, String)>) -> Message {
        let mut builder = Builder::request(what.method, what.uri).header("Max-Forwards", "70");
        for route in self.routes() {
            builder = builder.header("Route", &route);
        }
        if self.policy.headers_reversed {
            headers.reverse();
        }
        for (name, value) in &headers {
            let name = match self.policy.compact_names {
                true => compact(name),
                false => name,
            };
            builder = builder.header(name, value);
        }
        match what.body {
            Some((content_type, body)) => builder.body(content_type, body),
            None => builder,
        }
        .finish()
    }

    /// Values of Route header lines: the P-CSCF, then the Service-Route as granted (RFC 3608 6.1, clause
    /// not verified).
    fn routes(&self) -> Vec<String> {
        let granted = self.registration.granted();
        let service_route = granted.map(|granted| granted.service_route.as_slice());
        let mut routes = vec![self.p_cscf_route.clone()];
        if self.policy.preloads_service_route {
            routes.extend_from_slice(service_route.unwrap_or_default());
        }
        match self.policy.routes_in_one_line {
            true => vec![routes.join(", ")],
            false => routes,
        }
    }

    /// Where the user of a public identity listens, as the address book has it.
    fn straight_to(&self, uri: &str) -> Option<SocketAddr> {
        let mut nodes = self.directory.nodes.iter();
        let (name, _) = nodes.find(|(_, node)| node.impu.as_deref() == Some(uri))?;
        self.directory
            .listener(name.as_str(), RefPoint::Gm, Format::Sip)
    }

    fn contact_header(&self) -> String {
        format!("<{}>;{}", self.contact, icsi_ref())
    }
}

/// An answer to a request.
#[derive(Clone, Debug, Default)]
pub struct Answer<'a> {
    pub status: u16,
    pub to_tag: Option<&'a str>,
    pub headers: Vec<(&'a str, String)>,
    /// Content-Type and body.
    pub body: Option<(&'a str, &'a [u8])>,
}

impl Answer<'_> {
    pub fn of(status: u16) -> Answer<'static> {
        Answer {
            status,
            ..Answer::default()
        }
    }
}

/// The service identifier of ours, percent-encoded as a media feature tag (RFC 3840; private name).
pub fn icsi_ref() -> String {
    format!("+g.3gpp.icsi-ref=\"{}\"", ICSI.replace(':', "%3A"))
}

/// The node's own subscriber.
pub fn own_subscriber(setup: &Setup) -> Option<&Subscriber> {
    let user = setup.user.as_ref()?;
    setup.subscribers.iter().find(|known| known.id == *user)
}

/// Why a request goes no further, with the answer that says so (RFC 3261 8.2.1, 8.2.2.3).
fn objection(request: &Message) -> Option<Answer<'static>> {
    let readable = request.from().is_ok()
        && request.to().is_ok()
        && request.cseq().is_ok()
        && request.call_id().is_ok();
    if !readable || SINGLE.iter().any(|name| is_repeated(request, name)) {
        return Some(Answer::of(400));
    }
    if !ALLOWED.split(", ").any(|method| method == request.method()) {
        return Some(Answer {
            headers: vec![("Allow", ALLOWED.to_owned())],
            ..Answer::of(405)
        });
    }
    let unknown: Vec<String> = request
        .values("Require")
        .into_iter()
        .filter(|tag| !UNDERSTOOD.contains(&tag.as_str()))
        .collect();
    if unknown.is_empty() {
        return None;
    }
    Some(Answer {
        headers: vec![("Unsupported", unknown.join(", "))],
        ..Answer::of(420)
    })
}

fn is_repeated(request: &Message, name: &str) -> bool {
    let named =
        |found: &str| found.eq_ignore_ascii_case(name) || found.eq_ignore_ascii_case(compact(name));
    request
        .headers()
        .filter(|header| named(header.name))
        .count()
        > 1
}

/// The answer to OPTIONS (RFC 3261 11.2).
/// An element of a session is described as in RFC 3264 9; an empty file selector says that files can be asked for
/// (RFC 5547 8.5).
fn capabilities() -> Answer<'static> {
    Answer {
        headers: vec![
            ("Allow", ALLOWED.to_owned()),
            (
                "Accept",
                "application/sdp, application/ppsp-tracker+json".to_owned(),
            ),
        ],
        body: Some(("application/sdp", CAPABILITIES)),
        ..Answer::of(200)
    }
}

const CAPABILITIES: &[u8] =
    b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
    m=message 0 TCP/MSRP *\r\na=accept-types:application/octet-stream\r\na=file-selector\r\n";

/// What a registration-state document says of a contact.
pub struct Told {
    pub version: u32,
    /// The binding is gone.
    pub is_over: bool,
}

/// Reads application/reginfo+xml (RFC 3680 5); `None` if it is none.
pub fn read_registration(body: &[u8], contact: &str) -> Option<Told> {
    let text = std::str::from_utf8(body).ok()?;
    let document = roxmltree::Document::parse(text).ok()?;
    let root = document.root_element();
    if root.tag_name().name() != "reginfo" {
        return None;
    }
    let ours = document.descendants().filter(|node| {
        let uri = node
            .children()
            .find(|child| child.tag_name().name() == "uri");
        node.tag_name().name() == "contact"
            && uri.and_then(|uri| uri.text()).map(str::trim) == Some(contact)
    });
    let states: Vec<&str> = ours.filter_map(|node| node.attribute("state")).collect();
    Some(Told {
        version: root.attribute("version")?.parse().ok()?,
        is_over: states.contains(&"terminated") && !states.contains(&"active"),
    })
}

fn gm_ports(setup: &Setup) -> Vec<SipPort> {
    let on_gm = setup
        .listeners
        .iter()
        .filter(|listener| listener.on == RefPoint::Gm && listener.format == Format::Sip);
    on_gm
        .map(|listener| SipPort {
            on: RefPoint::Gm,
            local: listener.addr,
            transport: match listener.transport {
                ListenTransport::Udp => SipTransport::Udp,
                ListenTransport::Tcp | ListenTransport::Tls => SipTransport::Tcp,
            },
            path_mtu: setup.path_mtu.get(&RefPoint::Gm).copied(),
            timers: GM_TIMERS.with_t1(Duration::from_millis(setup.policy.ua.t1_millis.into())),
        })
        .collect()
}

fn contact_uri(port: &SipPort) -> String {
    let transport = match port.transport {
        SipTransport::Udp => "udp",
        SipTransport::Tcp => "tcp",
    };
    format!("sip:{};transport={transport}", port.local)
}

fn device(
    policy: &UaPolicy,
    subscriber: &Subscriber,
    contact: &str,
    local: SocketAddr,
    random: &mut Random,
) -> Device {
    let mut headers = vec![(
        "P-Access-Network-Info".to_owned(),
        ACCESS_NETWORK.to_owned(),
    )];
    if policy.extra_header {
        headers.push(("X-Note".to_owned(), "kept, ignored, or dropped".to_owned()));
    }
    let mut contact_params = format!(
        ";+sip.instance=\"<{}>\"",
        registration::urn_of(&subscriber.impi)
    );
    if policy.contact_names_service {
        contact_params.push_str(&format!(";{}", icsi_ref()));
    }
    Device {
        contact: contact.to_owned(),
        contact_params,
        call_id: call_id(policy, local, random),
        headers,
        sec_agree: policy.sec_agree || subscriber.aka,
        expires_in_contact: policy.expires_in_contact,
        reuse_nonce: policy.reuse_nonce,
        names_user_at_first: policy.names_user_at_first,
        checks_network: policy.checks_network,
        registrar_has_user: policy.registrar_has_user,
    }
}

fn call_id(policy: &UaPolicy, local: SocketAddr, random: &mut Random) -> String {
    let token = random.token(16);
    match policy.call_id_has_host {
        true => format!("{token}@{}", local.ip()),
        false => token,
    }
}

/// The compact form of a header name, if it has one (RFC 3261 7.3.3; Event: RFC 6665 8.2.1).
fn compact(name: &str) -> &str {
    match name {
        "Accept-Contact" => "a",
        "Call-ID" => "i",
        "Contact" => "m",
        "Content-Length" => "l",
        "Event" => "o",
        "From" => "f",
        "To" => "t",
        _ => name,
    }
}

/// Our private service identifier; real ones are allocated by 3GPP.
pub const ICSI: &str = "urn:urn-7:3gpp-service.ims.icsi.x-p2pcds";

/// What the access network is said to be: an LTE cell of the test network.
const ACCESS_NETWORK: &str = "3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=00101D0FF0000001";

/// Stands for a request that is not sent: no transaction has this number.
const NO_TXN: ClientTxn = ClientTxn(u64::MAX);

/// The registration-state event package and its document (RFC 3680 4.1, 5).
const REG_PACKAGE: &str = "reg";
const REG_TYPE: &str = "application/reginfo+xml";

/// The lifetime asked for a subscription to it, in seconds (TS 24.229 5.1.1.3, clause not verified).
const WATCHED_FOR: u32 = 600_000;

/// Methods a user agent of ours takes.
const ALLOWED: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY";

/// Option tags that may be required of us. We send no provisional response that could be unreliable.
const UNDERSTOOD: [&str; 1] = ["100rel"];

/// Headers that must not stand twice; answering 400 to it is our choice.
const SINGLE: [&str; 5] = ["Call-ID", "Content-Length", "CSeq", "From", "To"];

/// TS 24.229 7.7, second-hand: between UE and P-CSCF.
const GM_TIMERS: Timers = Timers {
    t1: Duration::from_secs(2),
    t2: Duration::from_secs(16),
    t4: Duration::from_secs(17),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        io::Action,
        node::ue::tests::{Bench, setup},
        spec::Options,
    };

    fn request(method: &str, headers: &[(&str, &str)]) -> Message {
        let mut builder = Builder::request(method, "sip:192.0.2.10:5070;transport=tcp")
            .header("Via", "SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKin")
            .header("Max-Forwards", "70")
            .header("From", "<sip:ue-b@ims.example>;tag=b")
            .header("To", "<sip:ue-a@ims.example>")
            .header("Call-ID", "in-1")
            .header("CSeq", &format!("1 {method}"))
            .header("Contact", "<sip:192.0.2.11:5070;transport=tcp>");
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        builder.finish()
    }

    fn answer_to(request: &Message) -> Message {
        let mut bench = Bench::registered(Options::default());
        bench.answers();
        let link = bench.gm();
        bench.receive(link, request.bytes().clone());
        bench.answers().pop().expect("an answer")
    }

    #[test]
    fn an_unknown_method_is_not_allowed() {
        let answer = answer_to(&request("FOO", &[]));
        assert_eq!(Some(405), answer.status());
        assert_eq!(Some(ALLOWED), answer.header("Allow").as_deref());
    }

    #[test]
    fn options_tell_what_it_can() {
        let answer = answer_to(&request("OPTIONS", &[]));
        assert_eq!(Some(200), answer.status());
        assert_eq!(Some(ALLOWED), answer.header("Allow").as_deref());
    }

    #[test]
    fn an_unknown_extension_is_refused_by_name() {
        let answer = answer_to(&request("OPTIONS", &[("Require", "100rel, magic")]));
        assert_eq!(Some(420), answer.status());
        assert_eq!(Some("magic"), answer.header("Unsupported").as_deref());
    }

    #[test]
    fn a_header_that_must_stand_once_is_not_taken_twice() {
        let answer = answer_to(&request("OPTIONS", &[("Call-ID", "in-2")]));
        assert_eq!(Some(400), answer.status());
    }

    #[test]
    fn a_request_in_no_dialog_of_ours_is_refused() {
        let bye = request("BYE", &[]);
        let bye = bye
            .edit()
            .set("To", "<sip:ue-a@ims.example>;tag=none")
            .finish();
        assert_eq!(Some(481), answer_to(&bye).status());
    }

    #[test]
    fn a_registration_is_refreshed_in_time_and_uses_the_new_route() {
        let mut bench = Bench::registered(Options::default());
        bench.pass(Duration::from_secs(599_399));
        assert!(bench.sip("REGISTER").is_empty());
        bench.pass(Duration::from_secs(2));
        let refresh = bench.sip("REGISTER").remove(0);
        let route = [("Service-Route", "<sip:new@scscf2.ims.example;lr>")];
        bench.answer(&refresh, 200, &route, None);
        bench.act(Action::Announce {
            content: "three-pieces".to_owned(),
            pieces: vec![1],
        });
        let publish = bench.sip("PUBLISH").remove(0);
        assert_eq!(
            vec![
                "<sip:pcscf1.ims.example:5060;transport=tcp;lr>",
                "<sip:new@scscf2.ims.example;lr>"
            ],
            publish.values("Route")
        );
    }

    fn told(version: u32, state: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" \
             version=\"{version}\" state=\"full\"><registration aor=\"sip:ue-a@ims.example\" id=\"r\" \
             state=\"{state}\"><contact id=\"c\" state=\"{state}\" event=\"deactivated\">\
             <uri>sip:192.0.2.10:5070;transport=tcp</uri></contact></registration></reginfo>"
        )
    }

    #[test]
    fn a_registration_that_the_network_ends_is_over() {
        let mut bench = Bench::new(setup(Options::default()));
        let subscribe = bench.register();
        assert_eq!(Some("reg"), subscribe.header("Event").as_deref());
        assert_eq!(Some("sip:ue-a@ims.example"), subscribe.request_uri());
        let notify = |seq: u32, body: &str| {
            request(
                "NOTIFY",
                &[("Event", "reg"), ("Subscription-State", "active")],
            )
            .edit()
            .set(
                "Via",
                &format!("SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKr{seq}"),
            )
            .set("From", "<sip:ue-a@ims.example>;tag=far")
            .set("To", &subscribe.header("From").expect("From"))
            .set("Call-ID", &subscribe.call_id().expect("Call-ID"))
            .set("CSeq", &format!("{seq} NOTIFY"))
            .body(Some((REG_TYPE, body.as_bytes())))
            .finish()
        };
        let link = bench.gm();
        for (seq, version, state) in [(1, 5, "active"), (2, 4, "terminated"), (3, 6, "terminated")]
        {
            assert!(bench.noted("deregistered").is_empty(), "version {version}");
            let notify = notify(seq, &told(version, state));
            bench.receive(link, notify.bytes().clone());
        }
        assert_eq!(1, bench.noted("deregistered").len());
        bench.answers();
        bench.receive(link, request("INVITE", &[]).bytes().clone());
        assert_eq!(
            Some(480),
            bench.answers().pop().expect("an answer").status()
        );
    }

    #[test]
    fn a_deregistration_waits_for_the_register_in_flight() {
        let mut bench = Bench::new(setup(Options::default()));
        bench.act(Action::Register);
        bench.act(Action::Deregister);
        let register = bench.sip("REGISTER");
        assert_eq!(1, register.len());
        bench.answer(&register[0], 200, &[("Expires", "3600")], None);
        let leaving = bench.sip("REGISTER").remove(0);
        let contact = leaving.header("Contact").expect("Contact").into_owned();
        assert!(contact.contains(";expires=0"), "{contact}");
    }

    #[test]
    fn what_is_asked_while_registering_waits_for_the_end_of_it() {
        let mut bench = Bench::new(setup(Options::default()));
        bench.act(Action::Register);
        bench.act(Action::Announce {
            content: "three-pieces".to_owned(),
            pieces: vec![1],
        });
        let register = bench.sip("REGISTER").remove(0);
        assert!(bench.sip("PUBLISH").is_empty());
        bench.answer(&register, 200, &[("Expires", "3600")], None);
        assert_eq!(1, bench.sip("PUBLISH").len());
    }

    #[test]
    fn every_request_of_a_registered_user_says_who_and_where() {
        let mut bench = Bench::registered(Options::default());
        bench.act(Action::Announce {
            content: "three-pieces".to_owned(),
            pieces: vec![1],
        });
        let publish = bench.sip("PUBLISH").remove(0);
        for (name, value) in [
            ("P-Access-Network-Info", ACCESS_NETWORK),
            ("P-Preferred-Service", ICSI),
            ("P-Preferred-Identity", "<sip:ue-a@ims.example>"),
        ] {
            assert_eq!(Some(value), publish.header(name).as_deref());
        }
        assert!(!publish.has("Contact"));
        assert!(!publish.has("P-Asserted-Identity"));
    }
}
