//! I-CSCF: the way into the home network. Asks the HSS which S-CSCF serves a user, or may, and forwards
//! REGISTER (TS 24.229 5.3.1) and initial requests (5.3.2) there. It adds neither Path nor Record-Route, so
//! that later requests pass it by. Start at [`ICscf::register`] and [`ICscf::locate`].
//!
//! Of TS 24.229 clause 5.3 only the openings of 5.3.1.1 and 5.3.1.2 were read; what rests on other accounts
//! of it is marked second-hand. IMS restoration procedures are not supported.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Node, Setup,
    hss::{cx_endpoint, hss_host},
    policy::{Doubt, ICscfPolicy},
    setup::Directory,
};
use crate::{
    io::{Input, Outbox, TimerId},
    proto::{
        cx::{
            AuthorizationType, Capabilities, CxAnswer, CxEndpoint, CxEvent, CxRequest, CxTxn, Lia,
            Lir, Uaa, Uar,
        },
        digest::AuthValue,
        endpoint::{
            ClientTxn, ServerTxn, SipEndpoint, SipEvent, SipPort, SipTransport, Source, Timers,
        },
        proxy::{Cause, Proxy, Turn, Up, admit, next_max_forwards},
    },
    random::{Random, derive},
    spec::{Format, RefPoint, Role},
    time::At,
    trace::ListenTransport,
    wire::{
        diameter::{
            Outcome,
            dictionary::{experimental as cx, result},
        },
        frame::NodeName,
        sip::{self, Builder, Message, NameAddr, Uri},
    },
};

pub fn build(setup: Setup) -> Box<dyn Node> {
    Box::new(ICscf::new(&setup))
}

struct ICscf {
    name: NodeName,
    directory: Arc<Directory>,
    policy: ICscfPolicy,
    hss: String,
    sip: SipEndpoint,
    cx: CxEndpoint,
    proxy: Proxy<Errand>,
    /// Requests that wait for the HSS.
    asked: BTreeMap<CxTxn, ServerTxn>,
    /// REGISTERs that an S-CSCF is to answer in time.
    patience: BTreeMap<TimerId, ClientTxn>,
    random: Random,
}

/// A request on its way.
#[derive(Debug)]
struct Errand {
    /// As it is to be forwarded, but for what the HSS decides.
    message: Message,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Registering(Box<Registering>),
    Routing(Routing),
}

/// A REGISTER and the S-CSCFs for it.
#[derive(Debug)]
struct Registering {
    uar: Uar,
    /// Whether another S-CSCF may be tried: not for a user whose messages are protected already, as only
    /// the S-CSCF that has the keys can tell (TS 24.229 5.3.1.3, second-hand).
    may_reselect: bool,
    /// S-CSCFs not yet tried, as SIP URIs.
    candidates: Vec<String>,
    tried: Vec<String>,
    /// Whether the HSS left the choice to us.
    has_choice: bool,
    patience: Option<TimerId>,
    /// What the last S-CSCF answered, if it was a refusal to serve.
    refusal: Option<Message>,
}

/// An initial request.
#[derive(Debug)]
struct Routing {
    is_originating: bool,
    has_provisional: bool,
}

impl ICscf {
    fn new(setup: &Setup) -> ICscf {
        let policy = setup.policy.i_cscf.clone();
        let mut sip = SipEndpoint::new(sip_ports(setup), derive(setup.seed, &["sip"]));
        if policy.answers_trying_at_once {
            sip = sip.trying_after(Duration::ZERO);
        }
        ICscf {
            name: setup.name.clone(),
            hss: hss_host(&setup.directory),
            directory: setup.directory.clone(),
            policy,
            sip,
            cx: cx_endpoint(setup),
            proxy: Proxy::new(derive(setup.seed, &["proxy"])),
            asked: BTreeMap::new(),
            patience: BTreeMap::new(),
            random: Random::new(derive(setup.seed, &["tags"])),
        }
    }

    fn sip_event(&mut self, at: At, event: SipEvent, out: &mut Outbox) {
        match self.proxy.absorb(at, event, &mut self.sip, out) {
            Turn::Nothing => {}
            Turn::Up(up) => self.upstream(at, up, out),
            Turn::NotOurs(SipEvent::Request {
                txn,
                request,
                source,
            }) => self.request(at, txn, &request, &source, out),
            Turn::NotOurs(SipEvent::Unreadable { malformed, .. }) => {
                out.note("unreadable", malformed.to_string());
            }
            // An ACK of a 2xx or a stray response passes no proxy that did not record a route.
            Turn::NotOurs(_) => {}
        }
    }

    fn request(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        source: &Source,
        out: &mut Outbox,
    ) {
        let tag = self.random.token(10);
        if let Err(response) = admit(request, &[], &tag) {
            return self.sip.respond(at, txn, response, false, out);
        }
        let is_trusted = self.is_trusted(source);
        let verdict = match request.method() {
            "REGISTER" => self.register(request, is_trusted),
            _ => self.locate(request, is_trusted),
        };
        match verdict {
            Ok((errand, next)) => {
                self.proxy.begin(txn, request, errand);
                self.proceed(at, txn, next, out);
            }
            Err(code) => {
                let response =
                    Builder::response(request, code, sip::reason(code), Some(&tag)).finish();
                self.sip.respond(at, txn, response, false, out);
            }
        }
    }

    /// TS 24.229 5.3.1.2: only CSCFs of the trust domain may register users here; which S-CSCF a user gets
    /// is asked of the HSS (TS 29.228 6.1.1).
    fn register(&self, request: &Message, is_trusted: bool) -> Result<(Errand, Next), u16> {
        if !is_trusted && self.policy.guards_registration {
            return Err(403);
        }
        let to = request.to().map_err(|_| 400u16)?;
        let credentials = credentials(request);
        let private = credentials
            .as_ref()
            .and_then(|credentials| credentials.get("username"))
            .filter(|username| !username.is_empty())
            .map_or_else(|| private_of(&to.uri), str::to_owned);
        let protection = credentials
            .as_ref()
            .and_then(|credentials| credentials.get("integrity-protected"))
            .unwrap_or("no");
        let is_deregistration = is_deregistration(request)?;
        let authorization = match is_deregistration {
            true => Some(AuthorizationType::DeRegistration),
            false if self.policy.states_registration => Some(AuthorizationType::Registration),
            false => None,
        };
        let uar = Uar {
            private,
            public: public_of(&to.uri).ok_or(400u16)?,
            visited_network: visited_network(request)
                .unwrap_or_else(|| self.directory.domain.clone()),
            authorization,
        };
        let registering = Registering {
            uar: uar.clone(),
            may_reselect: !protection.ends_with("yes"),
            candidates: Vec::new(),
            tried: Vec::new(),
            has_choice: false,
            patience: None,
            refusal: None,
        };
        let (routes, message) = self.without_own_routes(request)?;
        if routes.iter().any(is_orig) {
            return Err(403);
        }
        let errand = Errand {
            message,
            kind: Kind::Registering(Box::new(registering)),
        };
        Ok((errand, Next::Ask(Box::new(CxRequest::Uar(uar)))))
    }

    /// TS 24.229 5.3.2.1 and 5.3.2.1A (second-hand): an initial request goes to the S-CSCF of the user
    /// it names, or of its sender if an application server asked so; to the host of a service identity;
    /// or on along its Route.
    fn locate(&self, request: &Message, is_trusted: bool) -> Result<(Errand, Next), u16> {
        let all = request.addrs("Route").map_err(|_| 400u16)?;
        if !is_trusted && self.policy.guards_originating && all.iter().any(is_orig) {
            return Err(403);
        }
        let (own, mut message) = self.without_own_routes(request)?;
        if !is_trusted {
            message = without_assertions(&message, self.policy.doubts_strangers);
        }
        let is_originating = own.iter().any(is_orig);
        let next = match message.addrs("Route").map_err(|_| 400u16)?.first() {
            Some(route) => Next::Send(route.uri.clone()),
            None => {
                let public = match is_originating {
                    true => sender(request).ok_or(403u16)?,
                    false => public_of(request.request_uri().unwrap_or_default()).ok_or(416u16)?,
                };
                Next::Ask(Box::new(CxRequest::Lir(Lir {
                    public,
                    originating: is_originating,
                    authorization: None,
                })))
            }
        };
        let errand = Errand {
            message,
            kind: Kind::Routing(Routing {
                is_originating,
                has_provisional: false,
            }),
        };
        Ok((errand, next))
    }

    fn proceed(&mut self, at: At, txn: ServerTxn, next: Next, out: &mut Outbox) {
        match next {
            Next::Ask(request) => {
                let asked = self.cx.ask(at, &self.hss, &request, out);
                self.asked.insert(asked, txn);
            }
            Next::Send(uri) => {
                let Some(message) = self.proxy.context(txn).map(|e| e.message.clone()) else {
                    return;
                };
                if self.send(at, txn, &uri, message, out).is_none() {
                    self.refuse(at, txn, 480, out);
                }
            }
        }
    }

    fn cx_event(&mut self, at: At, event: CxEvent, out: &mut Outbox) {
        match event {
            CxEvent::Answer { txn, answer, .. } => {
                let Some(server) = self.asked.remove(&txn) else {
                    return;
                };
                match answer {
                    CxAnswer::Uaa(uaa) => self.authorized(at, server, uaa, out),
                    CxAnswer::Lia(lia) => self.located(at, server, lia, out),
                    _ => self.unanswered(at, server, "another answer than was asked for", out),
                }
            }
            CxEvent::Failed { txn, why } => {
                if let Some(server) = self.asked.remove(&txn) {
                    self.unanswered(at, server, &why.to_string(), out);
                }
            }
            // The HSS has nothing to ask of an I-CSCF.
            CxEvent::Request { txn, request, .. } => {
                let unable = request.refused(Outcome::Base(result::UNABLE_TO_COMPLY));
                self.cx.answer(txn, &unable, out);
            }
            CxEvent::Unreadable { malformed } => out.note("unreadable", malformed.to_string()),
        }
    }

    /// The HSS could not be asked: 480 (TS 24.229 5.3.1.3 and 5.3.2.2, second-hand).
    fn unanswered(&mut self, at: At, txn: ServerTxn, why: &str, out: &mut Outbox) {
        out.note("hss-unreachable", why);
        self.refuse(at, txn, 480, out);
    }

    /// The HSS's word on a REGISTER.
    fn authorized(&mut self, at: At, txn: ServerTxn, uaa: Uaa, out: &mut Outbox) {
        if !uaa.outcome.is_success() {
            return self.refuse(at, txn, refusal_of_registration(uaa.outcome), out);
        }
        let mut choice = self.choice(uaa.capabilities.as_ref());
        let tried = self.registering(txn).map(|r| r.tried.clone());
        for tried in tried.unwrap_or_default() {
            let place = self.place(&tried);
            choice.retain(|candidate| self.place(candidate) != place);
        }
        let Some(registering) = self.registering(txn) else {
            return;
        };
        match uaa.server {
            Some(server) if registering.tried.is_empty() => registering.candidates = vec![server],
            // It was asked for capabilities, as the one it names did not answer.
            Some(_) => registering.candidates.clear(),
            None => {
                registering.has_choice = true;
                registering.candidates = choice;
            }
        }
        self.try_next(at, txn, out);
    }

    /// Forwards a REGISTER to the next S-CSCF; it becomes the Request-URI (TS 24.229 5.3.1.2,
    /// second-hand). 600 if none was ever fit, 504 if none answered (5.3.1.3, second-hand).
    fn try_next(&mut self, at: At, txn: ServerTxn, out: &mut Outbox) {
        loop {
            let Some(registering) = self.registering(txn) else {
                return;
            };
            if registering.candidates.is_empty() {
                let code = match (registering.tried.is_empty(), registering.has_choice) {
                    (true, true) => 600,
                    (true, false) => 480,
                    (false, _) => 504,
                };
                let refusal = registering.refusal.take();
                match refusal {
                    Some(response) => self.proxy.reply(at, txn, response, &mut self.sip, out),
                    None => self.refuse(at, txn, code, out),
                }
                return;
            }
            let server = registering.candidates.remove(0);
            let is_again = !registering.tried.is_empty();
            registering.tried.push(server.clone());
            let Some(errand) = self.proxy.context(txn) else {
                return;
            };
            let uri = match is_again {
                true => format!("{server};scscf-reselection"),
                false => server.clone(),
            };
            let message = errand.message.edit().request_uri(&uri).finish();
            if let Some(client) = self.send(at, txn, &server, message, out) {
                let timer = out.wake_at(at + self.policy.s_cscf_patience);
                self.patience.insert(timer, client);
                if let Some(registering) = self.registering(txn) {
                    registering.patience = Some(timer);
                }
                return;
            }
        }
    }

    /// An S-CSCF was silent, moved away or out of reach: another one, if that is allowed.
    fn reselect(&mut self, at: At, txn: ServerTxn, refusal: Option<Message>, out: &mut Outbox) {
        let reselects = self.policy.reselects;
        let Some(registering) = self.registering(txn) else {
            return;
        };
        registering.refusal = refusal;
        if !registering.may_reselect || !reselects {
            registering.candidates.clear();
        } else if !registering.has_choice {
            // It was the assigned one: the HSS is asked what else would do (TS 29.228 table 6.1.1.1).
            registering.has_choice = true;
            let uar = Uar {
                authorization: Some(AuthorizationType::RegistrationAndCapabilities),
                ..registering.uar.clone()
            };
            return self.proceed(at, txn, Next::Ask(Box::new(CxRequest::Uar(uar))), out);
        }
        self.try_next(at, txn, out);
    }

    /// The HSS's word on where a user or service is (TS 29.228 6.1.4).
    fn located(&mut self, at: At, txn: ServerTxn, lia: Lia, out: &mut Outbox) {
        if !lia.outcome.is_success() {
            return self.refuse(at, txn, refusal_of_location(lia.outcome), out);
        }
        let choice = self.choice(lia.capabilities.as_ref());
        let Some(errand) = self.proxy.context(txn) else {
            return;
        };
        let is_originating =
            matches!(&errand.kind, Kind::Routing(routing) if routing.is_originating);
        let message = errand.message.clone();
        let servers = match lia.server {
            Some(server) => vec![server],
            None => choice,
        };
        for server in servers {
            let Some(route) = route_to(&server, is_originating) else {
                continue;
            };
            let message = message.edit().prepend("Route", &route).finish();
            if self.send(at, txn, &server, message, out).is_some() {
                return;
            }
        }
        self.refuse(at, txn, 480, out);
    }

    /// Passes a response on, or does better.
    fn upstream(&mut self, at: At, up: Up, out: &mut Outbox) {
        let Some(errand) = self.proxy.context_mut(up.server) else {
            return self
                .proxy
                .reply(at, up.server, up.response, &mut self.sip, out);
        };
        match (&mut errand.kind, up.cause) {
            (Kind::Registering(registering), cause) => {
                if let Some(timer) = registering.patience.take() {
                    self.patience.remove(&timer);
                    out.disarm(timer);
                }
                match cause {
                    Cause::Failed(_) => self.reselect(at, up.server, None, out),
                    Cause::Received(300..400 | 480) if registering.may_reselect => {
                        self.reselect(at, up.server, Some(up.response), out);
                    }
                    Cause::Received(_) => {
                        self.proxy
                            .reply(at, up.server, up.response, &mut self.sip, out);
                    }
                }
            }
            (Kind::Routing(routing), Cause::Failed(_)) if !routing.has_provisional => {
                self.refuse(at, up.server, 480, out);
            }
            (Kind::Routing(routing), _) => {
                routing.has_provisional = true;
                self.proxy
                    .reply(at, up.server, up.response, &mut self.sip, out);
            }
        }
    }

    /// Forwards to the host of a SIP URI; `None` if nobody knows it, or the request is answered already.
    fn send(
        &mut self,
        at: At,
        txn: ServerTxn,
        uri: &str,
        message: Message,
        out: &mut Outbox,
    ) -> Option<ClientTxn> {
        let (on, to) = self.place(uri)?;
        let hops = next_max_forwards(&message);
        let message = message.edit().set("Max-Forwards", &hops).finish();
        self.proxy
            .forward(at, txn, on, to, message, &mut self.sip, out)
    }

    fn refuse(&mut self, at: At, txn: ServerTxn, code: u16, out: &mut Outbox) {
        let Some(request) = self.sip.incoming(txn) else {
            return;
        };
        let tag = self.random.token(10);
        let response = Builder::response(request, code, sip::reason(code), Some(&tag)).finish();
        self.proxy.reply(at, txn, response, &mut self.sip, out);
    }

    fn registering(&mut self, txn: ServerTxn) -> Option<&mut Registering> {
        match &mut self.proxy.context_mut(txn)?.kind {
            Kind::Registering(registering) => Some(registering),
            Kind::Routing(_) => None,
        }
    }

    /// S-CSCFs to choose from: those the HSS names, or all there are. What capability numbers mean is the
    /// operator's business (TS 29.228 6.7); here every S-CSCF has all of them.
    fn choice(&self, capabilities: Option<&Capabilities>) -> Vec<String> {
        let named = capabilities.map_or(&[][..], |capabilities| &capabilities.servers);
        let mut servers = named.to_vec();
        if servers.is_empty() {
            let nodes = self.directory.nodes.iter();
            let nodes = nodes.filter(|(_, node)| node.role == Role::SCscf);
            servers = nodes
                .filter_map(|(name, node)| {
                    let addr = self
                        .directory
                        .listener(name.as_str(), RefPoint::Mw, Format::Sip)?;
                    let transport = node.transport_parameter(RefPoint::Mw);
                    Some(format!("sip:{}:{}{transport}", node.host, addr.port()))
                })
                .collect();
        }
        if self.policy.chooses_from_the_end {
            servers.reverse();
        }
        servers
    }

    /// Whether a message comes from a CSCF of the home network, or from its application server on Isc. A
    /// connection has any port, so the address alone must do.
    fn is_trusted(&self, source: &Source) -> bool {
        let mut there = self.directory.all_at(source.addr);
        there.any(|(_, node)| match node.role {
            Role::PCscf | Role::ICscf | Role::SCscf => true,
            Role::Tracker => source.on == RefPoint::Isc,
            _ => false,
        })
    }

    /// Where the host of a SIP URI is reached.
    fn place(&self, uri: &str) -> Option<(RefPoint, SocketAddr)> {
        let uri = Uri::parse(uri).ok()?;
        let on = self.reference_point(&uri);
        let to = self
            .directory
            .resolve(&uri.host, uri.port, on, Format::Sip)?;
        Some((on, to))
    }

    /// Where the owner of a URI is spoken to: application servers on Isc, CSCFs on Mw.
    fn reference_point(&self, uri: &Uri) -> RefPoint {
        let named = self.directory.hosts.get(&uri.host);
        let node = match named {
            Some(name) => self.directory.nodes.get(name),
            None => self.directory.nodes.values().find(|node| {
                let ip = uri.host.trim_matches(['[', ']']).parse();
                ip == Ok(node.ip)
                    && node
                        .listeners
                        .iter()
                        .any(|listener| uri.port.is_none_or(|port| port == listener.addr.port()))
            }),
        };
        match node.map(|node| node.role) {
            Some(Role::Tracker) => RefPoint::Isc,
            _ => RefPoint::Mw,
        }
    }

    /// The request without the routes on top that are this node (RFC 3261 16.4), and those routes.
    fn without_own_routes(&self, request: &Message) -> Result<(Vec<NameAddr>, Message), u16> {
        let mut own = request.addrs("Route").map_err(|_| 400u16)?;
        let count = own
            .iter()
            .take_while(|route| Uri::parse(&route.uri).is_ok_and(|uri| self.is_me(&uri)))
            .count();
        own.truncate(count);
        let edit = (0..count).fold(request.edit(), |edit, _| edit.pop("Route"));
        Ok((own, edit.finish()))
    }

    fn is_me(&self, uri: &Uri) -> bool {
        let Some(me) = self.directory.nodes.get(&self.name) else {
            return false;
        };
        let is_my_port = |port| me.listeners.iter().any(|l| l.addr.port() == port);
        let is_my_host = match self.directory.hosts.get(&uri.host) {
            Some(name) => *name == self.name,
            None => uri.host.trim_matches(['[', ']']).parse() == Ok(me.ip),
        };
        is_my_host && uri.port.is_none_or(is_my_port)
    }
}

impl Node for ICscf {
    fn role(&self) -> Role {
        Role::ICscf
    }

    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        if let Some(events) = self.cx.take(at, &input, out) {
            for event in events {
                self.cx_event(at, event, out);
            }
        } else if let Some(events) = self.sip.take(at, &input, out) {
            for event in events {
                self.sip_event(at, event, out);
            }
        } else if let Input::Timer(timer) = input
            && !self.proxy.timer(at, timer, &mut self.sip, out)
            && let Some(client) = self.patience.remove(&timer)
        {
            let server = self.proxy.server_of(client);
            self.proxy.leave(at, client, &mut self.sip, out);
            if let Some(server) = server {
                self.reselect(at, server, None, out);
            }
        }
    }
}

/// What to do with a request that was accepted.
enum Next {
    Ask(Box<CxRequest>),
    /// To the host of this URI.
    Send(String),
}

/// TS 24.229 5.3.1.3, second-hand: who may not register gets 403; who cannot be asked about, 480.
fn refusal_of_registration(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Base(result::AUTHORIZATION_REJECTED)
        | Outcome::Experimental {
            code:
                cx::USER_UNKNOWN
                | cx::IDENTITIES_DONT_MATCH
                | cx::IDENTITY_NOT_REGISTERED
                | cx::ROAMING_NOT_ALLOWED,
            ..
        } => 403,
        _ => 480,
    }
}

/// TS 24.229 5.3.2.1 and 5.3.2.2, second-hand.
fn refusal_of_location(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Experimental {
            code: cx::USER_UNKNOWN,
            ..
        } => 404,
        _ => 480,
    }
}

/// The credentials of a REGISTER, if they can be read.
fn credentials(request: &Message) -> Option<AuthValue> {
    AuthValue::parse(&request.header("Authorization")?).ok()
}

/// The private identity of a user that sends none: the public one without scheme, port and parameters
/// (TS 24.229 5.3.1.2, second-hand).
fn private_of(public: &str) -> String {
    let bare = public_of(public).unwrap_or_else(|| public.to_owned());
    match bare.split_once(':') {
        Some((_, rest)) => rest.to_owned(),
        None => bare,
    }
}

/// A public identity without port, parameters and headers; `None` if it is neither SIP nor tel.
fn public_of(uri: &str) -> Option<String> {
    if let Ok(uri) = Uri::parse(uri) {
        let bare = Uri {
            port: None,
            params: Default::default(),
            headers: None,
            ..uri
        };
        return Some(bare.to_string());
    }
    let scheme = uri.get(..4)?;
    let end = uri.find(';').unwrap_or(uri.len());
    scheme
        .eq_ignore_ascii_case("tel:")
        .then(|| uri[..end].to_owned())
}

/// P-Visited-Network-ID: the first value, without quotes and parameters (RFC 7315 4.3, clause not
/// verified).
fn visited_network(request: &Message) -> Option<String> {
    let value = request.values("P-Visited-Network-ID").into_iter().next()?;
    let name = match value.strip_prefix('"') {
        Some(rest) => rest.split('"').next()?,
        None => value.split(';').next()?.trim(),
    };
    Some(name.to_owned())
}

/// Whether every contact is taken back (TS 29.228 table 6.1.1.1); 400 if the lifetimes cannot be read.
fn is_deregistration(request: &Message) -> Result<bool, u16> {
    let contacts = request.addrs("Contact").map_err(|_| 400u16)?;
    let expires = request.number("Expires").map_err(|_| 400u16)?;
    let is_over = |contact: &NameAddr| match contact.params.get("expires") {
        Some(own) => own.parse() == Ok(0u32),
        None => expires == Some(0),
    };
    Ok(!contacts.is_empty() && contacts.iter().all(is_over))
}

/// On whose behalf an application server asks: P-Served-User, else P-Asserted-Identity (TS 24.229 5.3.2.1A,
/// second-hand).
fn sender(request: &Message) -> Option<String> {
    ["P-Served-User", "P-Asserted-Identity"]
        .iter()
        .find_map(|name| {
            let first = request.addrs(name).ok()?.into_iter().next()?;
            public_of(&first.uri)
        })
}

fn is_orig(route: &NameAddr) -> bool {
    Uri::parse(&route.uri).is_ok_and(|uri| uri.params.has("orig"))
}

/// A server as a loose route.
fn route_to(server: &str, is_originating: bool) -> Option<String> {
    let mut uri = Uri::parse(server).ok()?;
    uri.params.set("lr", None);
    if is_originating {
        uri.params.set("orig", None);
    }
    Some(format!("<{uri}>"))
}

/// What somebody outside the trust domain may not assert (TS 24.229 4.4 and 5.3.2.1, second-hand).
fn without_assertions(request: &Message, doubt: Doubt) -> Message {
    let names: &[&[&str]] = match doubt {
        Doubt::Everything => &[IDENTITIES, CHARGING],
        Doubt::Identities => &[IDENTITIES],
        Doubt::Nothing => &[],
    };
    let names = names.iter().copied().flatten();
    names
        .fold(request.edit(), |edit, name| edit.remove(name))
        .finish()
}

const IDENTITIES: &[&str] = &[
    "P-Asserted-Identity",
    "P-Asserted-Service",
    "P-Profile-Key",
    "P-Served-User",
];

const CHARGING: &[&str] = &["P-Charging-Function-Addresses", "P-Charging-Vector"];

/// One port for each SIP listener.
fn sip_ports(setup: &Setup) -> Vec<SipPort> {
    let listeners = setup.listeners.iter();
    listeners
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
