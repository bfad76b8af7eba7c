//! P-CSCF (TS 24.229 5.2, read second-hand only): the first contact of a UE. Lets in only who is
//! registered, says who they are, keeps them on the route their registrar gave, and hides the core's
//! charging and identities from them. Does not subscribe to the reg event package, and asks no policy
//! server about media.
//!
//! Start at [`PCscf`]; `users` remembers who is registered.

mod users;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use users::{Dialog, DialogId, Dialogs, Side, User, Users, same_hop};

use super::{
    Node, Setup,
    policy::{Admission, PCscfPolicy, RouteMismatch},
    setup::Directory,
};
use crate::{
    io::{Action, Input, Outbox},
    proto::{
        digest::{Algorithm, AuthValue},
        endpoint::{ServerTxn, SipEndpoint, SipEvent, SipPort, SipTransport, Source, Timers},
        proxy::{Proxy, Turn, Up, admit, next_max_forwards},
    },
    random::{Random, derive},
    spec::{Format, RefPoint, Role},
    time::At,
    trace::ListenTransport,
    wire::{
        frame::NodeName,
        sip::{Builder, Edit, Message, NameAddr, Uri, reason},
    },
};

pub fn build(setup: Setup) -> Box<dyn Node> {
    Box::new(PCscf::new(setup))
}

/// A stateful proxy between the UEs on Gm and the core on Mw.
struct PCscf {
    name: NodeName,
    host: String,
    gm_port: u16,
    mw_port: u16,
    directory: Arc<Directory>,
    policy: PCscfPolicy,
    sip: SipEndpoint,
    proxy: Proxy<Context>,
    users: Users,
    dialogs: Dialogs,
    random: Random,
    stopped: bool,
}

/// What is remembered of a request until it is answered.
#[derive(Debug)]
enum Context {
    Register(Registering),
    FromUe(FromUe),
    ToUe(ToUe),
}

#[derive(Debug)]
struct Registering {
    source: Source,
    identity: String,
    /// The Contacts of the request: URIs, or `*`.
    contacts: Vec<String>,
    /// What our Security-Server says, if the UE speaks security agreement.
    security_server: Option<String>,
}

#[derive(Debug)]
struct FromUe {
    contact: String,
    icid: String,
}

#[derive(Debug)]
struct ToUe {
    contact: String,
    /// The charging vector as the core sent it.
    charging: Option<String>,
    icid: String,
    /// Who the UE is in this request: P-Called-Party-ID, else its default identity.
    identity: Option<String>,
    /// The URIs of Record-Route as they came.
    record_route: Vec<String>,
}

impl ToUe {
    /// The dialog this request makes or is in: a UE that was called takes the recorded routes in order
    /// (RFC 3261 12.1.1).
    fn dialog(&self) -> Dialog {
        Dialog {
            contact: self.contact.clone(),
            icid: self.icid.clone(),
            routes: vec![self.record_route.clone()],
        }
    }
}

/// Why a request goes no further: a status, and a word for the note beside the ladder.
struct Refusal(u16, &'static str);

impl Node for PCscf {
    fn role(&self) -> Role {
        Role::PCscf
    }

    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        match &input {
            Input::Act(Action::Stop) => self.stopped = true,
            _ if self.stopped => (),
            Input::Timer(timer) if self.proxy.timer(at, *timer, &mut self.sip, out) => (),
            _ => {
                for event in self.sip.take(at, &input, out).unwrap_or_default() {
                    self.event(at, event, out);
                }
            }
        }
    }
}

impl PCscf {
    fn new(setup: Setup) -> PCscf {
        let policy = setup.policy.p_cscf.clone();
        let ports = sip_ports(&setup);
        let port_on = |on| {
            let port = ports.iter().find(|port: &&SipPort| port.on == on);
            port.map_or(DEFAULT_PORT, |port| port.local.port())
        };
        let trying = match policy.trying_at_once {
            true => Duration::ZERO,
            false => TRYING_WITHIN,
        };
        let host = setup
            .directory
            .nodes
            .get(&setup.name)
            .map_or_else(|| setup.ip.to_string(), |neighbour| neighbour.host.clone());
        PCscf {
            gm_port: port_on(RefPoint::Gm),
            mw_port: port_on(RefPoint::Mw),
            host: bracketed(host),
            directory: setup.directory,
            policy,
            sip: SipEndpoint::new(ports, derive(setup.seed, &["p-cscf", "sip"]))
                .trying_after(trying),
            proxy: Proxy::new(derive(setup.seed, &["p-cscf", "proxy"])),
            users: Users::default(),
            dialogs: Dialogs::default(),
            random: Random::new(derive(setup.seed, &["p-cscf"])),
            name: setup.name,
            stopped: false,
        }
    }

    fn event(&mut self, at: At, event: SipEvent, out: &mut Outbox) {
        match self.proxy.absorb(at, event, &mut self.sip, out) {
            Turn::Nothing => (),
            Turn::Up(up) => self.response(at, up, out),
            Turn::NotOurs(SipEvent::Request {
                txn,
                request,
                source,
            }) => self.request(at, txn, &request, &source, out),
            Turn::NotOurs(SipEvent::Ack { request, source }) => {
                self.acknowledge(at, &request, &source, out);
            }
            Turn::NotOurs(_) => (),
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
        for contact in self.users.remove_expired(at) {
            self.dialogs.forget_all_of(&contact);
        }
        let tag = self.random.token(10);
        if let Err(refusal) = admit(request, &["sec-agree"], &tag) {
            self.sip.respond(at, txn, refusal, false, out);
            return;
        }
        let done = match (source.on, request.method()) {
            (RefPoint::Gm, "REGISTER") => self.register(at, txn, request, source, out),
            (RefPoint::Gm, _) => self.originate(at, txn, request, source, out),
            (_, "REGISTER") => Err(Refusal(403, "REGISTER from the core")),
            (_, _) => self.terminate(at, txn, request, out),
        };
        if let Err(Refusal(status, why)) = done {
            out.note("refused", format!("{} {status}: {why}", request.method()));
            let refusal = Builder::response(request, status, reason(status), Some(&tag)).finish();
            self.sip.respond(at, txn, refusal, false, out);
        }
    }

    // Registration.

    /// TS 24.229 5.2.2.1 (second-hand): Path, Require: path, P-Visited-Network-ID, charging vector,
    /// integrity-protected; security agreement stays on Gm.
    fn register(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        source: &Source,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let identity = request.to().map_err(|_| UNREADABLE)?.uri;
        let contacts = request.addrs("Contact").map_err(|_| UNREADABLE)?;
        let (icscf, _) = self.directory.first(Role::ICscf).ok_or(NOWHERE)?;
        let to = self
            .directory
            .listener(icscf.as_str(), RefPoint::Mw, Format::Sip)
            .ok_or(NOWHERE)?;
        let icid = self.icid();
        let mut edit = outsiders(request)
            .set("Max-Forwards", &next_max_forwards(request))
            .remove("Route")
            .remove("Path")
            .append("Path", &format!("<{}>", self.path()))
            .append("P-Visited-Network-ID", &self.directory.domain)
            .append("P-Charging-Vector", &icid.header);
        let mut required = without_tag(request, "Require", "sec-agree");
        required.retain(|tag| !tag.eq_ignore_ascii_case("path"));
        required.push("path".to_owned());
        edit = edit.set("Require", &required.join(", "));
        edit = self.unprotected(edit, request);
        let context = Context::Register(Registering {
            source: source.clone(),
            identity,
            contacts: contacts.into_iter().map(|contact| contact.uri).collect(),
            security_server: request
                .has("Security-Client")
                .then(|| SECURITY_SERVER.to_owned()),
        });
        self.forward(
            at,
            txn,
            request,
            context,
            (RefPoint::Mw, to),
            edit.finish(),
            out,
        );
        Ok(())
    }

    /// No security association protects what comes (none is ever built here), whatever the UE claims.
    fn unprotected<'a>(&self, edit: Edit<'a>, request: &Message) -> Edit<'a> {
        let authorization = request
            .header("Authorization")
            .and_then(|value| AuthValue::parse(&value).ok());
        let Some(mut value) = authorization.filter(AuthValue::is_digest) else {
            return edit;
        };
        let by_aka =
            request.has("Security-Client") || value.algorithm() == Some(Algorithm::AkaV1Md5);
        let protection = match by_aka {
            true => Some("no"),
            false => self.policy.digest_protection.as_deref(),
        };
        value.remove("integrity-protected");
        if let Some(protection) = protection {
            value.set_quoted("integrity-protected", protection);
        }
        edit.set("Authorization", &value.to_string())
    }

    fn registered(
        &mut self,
        at: At,
        registering: &Registering,
        response: &Message,
        out: &mut Outbox,
    ) {
        let uris = |name| -> Vec<String> {
            let addrs = response.addrs(name).unwrap_or_default();
            addrs.into_iter().map(|addr| addr.uri).collect()
        };
        let mut identities = uris("P-Associated-URI");
        if identities.is_empty() {
            identities.push(registering.identity.clone());
        }
        let granted = response.addrs("Contact").unwrap_or_default();
        let default = response.number("Expires").ok().flatten();
        if registering.contacts.iter().any(|contact| contact == "*") {
            for contact in self.users.remove_all_of(&registering.identity) {
                self.dialogs.forget_all_of(&contact);
            }
        }
        for contact in registering
            .contacts
            .iter()
            .filter(|contact| *contact != "*")
        {
            let lifetime = granted
                .iter()
                .find(|addr| same_hop(&addr.uri, contact))
                .map(|addr| {
                    let own = addr
                        .params
                        .get("expires")
                        .and_then(|text| text.parse().ok());
                    own.or(default).unwrap_or(DEFAULT_LIFETIME)
                });
            match lifetime {
                None | Some(0) => {
                    self.users.remove(contact);
                    self.dialogs.forget_all_of(contact);
                }
                Some(seconds) => {
                    out.note("registered", format!("{contact} for {seconds} s"));
                    self.users.put(User {
                        contact: contact.clone(),
                        source: registering.source.clone(),
                        identities: identities.clone(),
                        service_route: uris("Service-Route"),
                        until: at + Duration::from_secs(seconds.into()),
                    });
                }
            }
        }
    }

    // From a UE.

    fn originate(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        source: &Source,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let user = self.sender(at, source, request).ok_or(UNREGISTERED)?;
        let outgoing = match DialogId::of(request, Side::From) {
            Some(id) => self.inside_dialog(&user, &id, request)?,
            None => self.outside_dialog(&user, request)?,
        };
        let context = Context::FromUe(FromUe {
            contact: user.contact,
            icid: outgoing.icid,
        });
        let to = (RefPoint::Mw, outgoing.to);
        self.forward(at, txn, request, context, to, outgoing.request, out);
        Ok(())
    }

    /// Whose request this is. With [`Admission::Anyone`], a stranger is who From says.
    fn sender(&self, at: At, source: &Source, request: &Message) -> Option<User> {
        let ip = source.addr.ip();
        let alone = self.directory.nodes.values().filter(|n| n.ip == ip).count() <= 1;
        let known = self.users.sender(at, source, request, alone).cloned();
        match self.policy.admits {
            Admission::Registered => known,
            Admission::Anyone => known.or_else(|| {
                let routes = request.addrs("Route").unwrap_or_default();
                Some(User {
                    contact: request.addrs("Contact").ok()?.first()?.uri.clone(),
                    source: source.clone(),
                    identities: vec![request.from().ok()?.uri],
                    service_route: routes
                        .into_iter()
                        .map(|route| route.uri)
                        .filter(|route| !self.is_own(route))
                        .collect(),
                    until: at,
                })
            }),
        }
    }

    /// An initial or standalone request (TS 24.229 5.2.6.3.3, 5.2.6.3.7, second-hand).
    fn outside_dialog(&mut self, user: &User, request: &Message) -> Result<Outgoing, Refusal> {
        let (topmost, routes) = self.split_routes(request)?;
        let (edit, routes) = self.keep_to(
            std::slice::from_ref(&user.service_route),
            topmost,
            routes,
            request,
        )?;
        let to = self.next_hop(&routes, request, RefPoint::Mw)?;
        let icid = self.icid();
        let mut edit = self
            .stripped(edit, request)
            .set("Max-Forwards", &next_max_forwards(request))
            .set("P-Charging-Vector", &icid.header);
        edit = self.asserting(edit, user, request);
        let edit = self.recorded(edit, request, RefPoint::Mw);
        Ok(Outgoing {
            request: edit.finish(),
            to,
            icid: icid.value,
        })
    }

    /// A request inside a dialog: only inside one of the sender's own, along its recorded route
    /// (TS 24.229 5.2.6.3.5, 5.2.6.3.9, second-hand).
    fn inside_dialog(
        &self,
        user: &User,
        id: &DialogId,
        request: &Message,
    ) -> Result<Outgoing, Refusal> {
        let dialog = self.dialogs.get(id);
        let dialog = dialog
            .filter(|dialog| dialog.contact == user.contact)
            .ok_or(FOREIGN_DIALOG)?;
        let (topmost, routes) = self.split_routes(request)?;
        let (edit, routes) = self.keep_to(&dialog.routes, topmost, routes, request)?;
        let to = self.next_hop(&routes, request, RefPoint::Mw)?;
        let edit = self
            .stripped(edit, request)
            .set("Max-Forwards", &next_max_forwards(request))
            .set("P-Charging-Vector", &charging_vector(&dialog.icid));
        let edit = match self.policy.asserts_inside_dialogs {
            true => self.asserting(edit, user, request),
            false => edit,
        };
        let edit = self.recorded(edit, request, RefPoint::Mw);
        Ok(Outgoing {
            request: edit.finish(),
            to,
            icid: dialog.icid.clone(),
        })
    }

    fn asserting<'a>(&self, edit: Edit<'a>, user: &User, request: &Message) -> Edit<'a> {
        let identities = asserted(user, request);
        match self.policy.asserts_identity && !identities.is_empty() {
            true => edit.set("P-Asserted-Identity", &identities.join(", ")),
            false => edit,
        }
    }

    /// Records us as a hop of the dialog. NOTIFY makes the subscriber's route set, so each one is recorded
    /// (RFC 6665 4.3).
    fn recorded<'a>(&self, edit: Edit<'a>, request: &Message, on: RefPoint) -> Edit<'a> {
        let is_recorded = makes_dialog(request) || request.method() == "NOTIFY";
        match is_recorded && self.policy.records_route {
            true => edit.prepend("Record-Route", &format!("<{}>", self.own(on))),
            false => edit,
        }
    }

    /// Whether the topmost route is ours, and the URIs of those after it.
    fn split_routes(&self, request: &Message) -> Result<(Topmost, Vec<String>), Refusal> {
        let routes = request.addrs("Route").map_err(|_| UNREADABLE)?;
        let mut uris: Vec<String> = routes.into_iter().map(|route| route.uri).collect();
        if !uris.first().is_some_and(|first| self.is_own(first)) {
            return Ok((Topmost::Other, uris));
        }
        uris.remove(0);
        Ok((Topmost::Ours, uris))
    }

    /// Takes our own route off, and holds the others against those the request may take.
    fn keep_to<'a>(
        &self,
        lawful: &[Vec<String>],
        topmost: Topmost,
        found: Vec<String>,
        request: &'a Message,
    ) -> Result<(Edit<'a>, Vec<String>), Refusal> {
        let same = |routes: &Vec<String>| {
            routes.len() == found.len()
                && routes
                    .iter()
                    .zip(&found)
                    .all(|(one, other)| same_hop(one, other))
        };
        if lawful.iter().any(same) {
            return Ok((topmost.taken_off(request), found));
        }
        match self.policy.route_mismatch {
            RouteMismatch::Refuse => Err(OTHER_ROUTE),
            RouteMismatch::Replace => {
                let routes = lawful.first().cloned().unwrap_or_default();
                let mut edit = request.edit().remove("Route");
                if !routes.is_empty() {
                    edit = edit.set("Route", &bracketed_list(&routes));
                }
                Ok((edit, routes))
            }
            RouteMismatch::Pass => Ok((topmost.taken_off(request), found)),
        }
    }

    /// Takes off what a UE may not say to the core.
    fn stripped<'a>(&self, edit: Edit<'a>, request: &Message) -> Edit<'a> {
        let edit = match self.policy.strips_assertions {
            true => FROM_CORE_ONLY
                .iter()
                .fold(edit, |edit, name| edit.remove(name)),
            false => edit,
        };
        let edit = ON_GM_ONLY.iter().fold(edit, |edit, name| edit.remove(name));
        drop_tag(drop_tag(edit, request, "Require"), request, "Proxy-Require")
    }

    // To a UE.

    /// A request from the core (TS 24.229 5.2.6.4, second-hand).
    fn terminate(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let outgoing = self.toward(at, request)?;
        let icid = icid_of(request).unwrap_or_else(|| self.icid().value);
        let uri = request.request_uri().unwrap_or_default();
        let user = self.users.addressed(at, uri);
        let called = request.addrs("P-Called-Party-ID").unwrap_or_default();
        let called = called.first().map(|called| called.uri.clone());
        let context = ToUe {
            contact: user.map_or_else(|| uri.to_owned(), |user| user.contact.clone()),
            charging: request
                .header("P-Charging-Vector")
                .map(|value| value.into_owned()),
            identity: called.or_else(|| user?.identities.first().cloned()),
            icid,
            record_route: request
                .addrs("Record-Route")
                .unwrap_or_default()
                .into_iter()
                .map(|route| route.uri)
                .collect(),
        };
        // The dialog of a subscriber is made by NOTIFY, not by the answer to it (RFC 6665 4.4.1).
        if let ("NOTIFY", Some(id)) = (request.method(), DialogId::of(request, Side::To)) {
            self.dialogs.learn(id, context.dialog());
        }
        let (to, context) = ((RefPoint::Gm, outgoing.to), Context::ToUe(context));
        self.forward(at, txn, request, context, to, outgoing.request, out);
        Ok(())
    }

    fn toward(&self, at: At, request: &Message) -> Result<Outgoing, Refusal> {
        let uri = request.request_uri().unwrap_or_default();
        let inside = DialogId::of(request, Side::To).is_some();
        if !inside && self.users.addressed(at, uri).is_none() {
            return Err(NO_BINDING);
        }
        let (topmost, routes) = self.split_routes(request)?;
        let to = self.next_hop(&routes, request, RefPoint::Gm)?;
        let mut edit = topmost
            .taken_off(request)
            .set("Max-Forwards", &next_max_forwards(request));
        if self.policy.hides_charging {
            edit = NOT_FOR_UES
                .iter()
                .fold(edit, |edit, name| edit.remove(name));
        }
        let edit = self.recorded(edit, request, RefPoint::Gm);
        Ok(Outgoing {
            request: edit.finish(),
            to,
            icid: String::new(),
        })
    }

    /// The ACK of a 2xx follows the dialog; nothing answers it, so one that may not pass is dropped.
    fn acknowledge(&mut self, at: At, request: &Message, source: &Source, out: &mut Outbox) {
        if admit(request, &["sec-agree"], "").is_err() {
            return;
        }
        let outgoing = if source.on == RefPoint::Gm {
            self.sender(at, source, request)
                .ok_or(UNREGISTERED)
                .and_then(|user| {
                    let id = DialogId::of(request, Side::From).ok_or(UNREADABLE)?;
                    self.inside_dialog(&user, &id, request)
                })
                .map(|outgoing| (RefPoint::Mw, outgoing))
        } else {
            self.toward(at, request)
                .map(|outgoing| (RefPoint::Gm, outgoing))
        };
        match outgoing {
            Ok((on, outgoing)) => self
                .sip
                .send_alone(at, on, outgoing.to, outgoing.request, out),
            Err(Refusal(_, why)) => out.note("dropped", format!("ACK: {why}")),
        }
    }

    // Responses.

    fn response(&mut self, at: At, up: Up, out: &mut Outbox) {
        let Some(request) = self.sip.incoming(up.server).cloned() else {
            return;
        };
        let edited = match self.proxy.context(up.server) {
            Some(Context::Register(_)) => self.register_response(at, &up, out),
            Some(Context::FromUe(context)) => {
                let (contact, icid) = (context.contact.clone(), context.icid.clone());
                self.learn_as_caller(&request, &up.response, contact, icid);
                self.response_to_ue(&up.response)
            }
            Some(Context::ToUe(context)) => {
                let edited = self.response_from_ue(&up.response, context);
                if opens_dialog(&request, &up.response)
                    && let Some(id) = DialogId::of(&up.response, Side::To)
                {
                    self.dialogs.learn(id, context.dialog());
                }
                edited
            }
            None => return,
        };
        self.forget_ended(&request, &edited);
        self.proxy.reply(at, up.server, edited, &mut self.sip, out);
    }

    /// TS 24.229 5.2.2.2 (second-hand): the keys of a challenge stay here.
    fn register_response(&mut self, at: At, up: &Up, out: &mut Outbox) -> Message {
        let Some(Context::Register(registering)) = self.proxy.context_mut(up.server) else {
            return up.response.clone();
        };
        let agreed = registering.security_server.clone();
        let status = up.response.status().unwrap_or_default();
        let learnt = (200..300).contains(&status).then(|| Registering {
            source: registering.source.clone(),
            identity: registering.identity.clone(),
            contacts: registering.contacts.clone(),
            security_server: None,
        });
        if let Some(learnt) = learnt {
            self.registered(at, &learnt, &up.response, out);
        }
        let mut edit = self.hidden(up.response.edit());
        if status == 401 {
            let challenges: Vec<String> = up
                .response
                .headers()
                .filter(|header| header.name.eq_ignore_ascii_case("WWW-Authenticate"))
                .map(|header| without_keys(&header.value))
                .collect();
            edit = edit.remove("WWW-Authenticate");
            for challenge in challenges {
                edit = edit.append("WWW-Authenticate", &challenge);
            }
            if let Some(agreed) = agreed {
                edit = edit.append("Security-Server", &agreed);
            }
        }
        edit.finish()
    }

    fn response_to_ue(&self, response: &Message) -> Message {
        let edit = self.hidden(response.edit());
        self.turned(edit, response, Side::From).finish()
    }

    /// TS 24.229 5.2.6.4.4 step 1 (second-hand): the identity that was called is the one asserted, and
    /// nothing the UE says of itself passes.
    fn response_from_ue(&self, response: &Message, context: &ToUe) -> Message {
        let edit = response.edit();
        let mut edit = match self.policy.strips_assertions {
            true => FROM_CORE_ONLY
                .iter()
                .fold(edit, |edit, name| edit.remove(name)),
            false => edit,
        };
        if let Some(charging) = &context.charging {
            edit = edit.set("P-Charging-Vector", charging);
        }
        let tells = response
            .status()
            .is_some_and(|status| (101..300).contains(&status));
        if let (true, true, Some(identity)) =
            (tells, self.policy.asserts_identity, &context.identity)
        {
            edit = edit.set("P-Asserted-Identity", &format!("<{identity}>"));
        }
        self.turned(edit, response, Side::To).finish()
    }

    fn hidden<'a>(&self, edit: Edit<'a>) -> Edit<'a> {
        match self.policy.hides_charging {
            true => NOT_FOR_UES
                .iter()
                .fold(edit, |edit, name| edit.remove(name)),
            false => edit,
        }
    }

    /// Our entry in Record-Route names the port for the side it is read on (RFC 3261 16.7 step 8). From a
    /// caller we recorded first, so ours stands last; to a callee we recorded last, so it stands first. Any
    /// other entry of ours belongs to the other end's leg.
    fn turned<'a>(&self, edit: Edit<'a>, response: &Message, user: Side) -> Edit<'a> {
        let (gm, mw) = (self.own(RefPoint::Gm), self.own(RefPoint::Mw));
        let mut values = response.values("Record-Route");
        let entry = match user {
            Side::From => values.last_mut(),
            Side::To => values.first_mut(),
        };
        let (written, read) = match user {
            Side::From => (mw, gm),
            Side::To => (gm, mw),
        };
        match entry {
            Some(entry) if NameAddr::parse(entry).is_ok_and(|addr| addr.uri == written) => {
                *entry = format!("<{read}>");
                edit.set("Record-Route", &values.join(", "))
            }
            _ => edit,
        }
    }

    /// A UE that called takes the recorded routes in reverse (RFC 3261 12.1.2).
    fn learn_as_caller(
        &mut self,
        request: &Message,
        response: &Message,
        contact: String,
        icid: String,
    ) {
        if !opens_dialog(request, response) {
            return;
        }
        let (Some(id), Ok(recorded)) = (
            DialogId::of(response, Side::From),
            response.addrs("Record-Route"),
        ) else {
            return;
        };
        let mut routes: Vec<String> = recorded.into_iter().rev().map(|r| r.uri).collect();
        if routes.first().is_some_and(|first| self.is_own(first)) {
            routes.remove(0);
        }
        let dialog = Dialog {
            contact,
            icid,
            routes: vec![routes],
        };
        self.dialogs.learn(id, dialog);
    }

    /// A dialog ends with the answer to BYE, or to the NOTIFY that ends its subscription.
    fn forget_ended(&mut self, request: &Message, response: &Message) {
        let ends = match request.method() {
            "BYE" => true,
            "NOTIFY" => request
                .header("Subscription-State")
                .is_some_and(|state| state.trim_start().starts_with("terminated")),
            _ => false,
        };
        if ends && response.status().is_some_and(|status| status >= 200) {
            for side in [Side::From, Side::To] {
                if let Some(id) = DialogId::of(request, side) {
                    self.dialogs.forget(&id);
                }
            }
        }
    }

    // Ways.

    #[allow(clippy::too_many_arguments)] // the door's three, the hop, and what goes through
    fn forward(
        &mut self,
        at: At,
        txn: ServerTxn,
        received: &Message,
        context: Context,
        (on, to): (RefPoint, SocketAddr),
        request: Message,
        out: &mut Outbox,
    ) {
        self.proxy.begin(txn, received, context);
        self.proxy
            .forward(at, txn, on, to, request, &mut self.sip, out);
    }

    /// The host of the first route, or of the Request-URI.
    fn next_hop(
        &self,
        routes: &[String],
        request: &Message,
        on: RefPoint,
    ) -> Result<SocketAddr, Refusal> {
        let uri = routes.first().map(String::as_str);
        let uri = uri.or(request.request_uri()).unwrap_or_default();
        let uri = Uri::parse(uri).map_err(|_| NOWHERE)?;
        let port = uri.port.or(Some(DEFAULT_PORT));
        self.directory
            .resolve(&uri.host, port, on, Format::Sip)
            .ok_or(NOWHERE)
    }

    fn is_own(&self, uri: &str) -> bool {
        Uri::parse(uri).is_ok_and(|uri| {
            let mine = self.directory.owner(&uri.host) == Some(&self.name)
                || uri.host.eq_ignore_ascii_case(&self.host);
            let port = uri.port.unwrap_or(DEFAULT_PORT);
            mine && (uri.port.is_none() || port == self.gm_port || port == self.mw_port)
        })
    }

    /// Our URI as it is to be used on `on`.
    fn own(&self, on: RefPoint) -> String {
        let port = match on {
            RefPoint::Gm => self.gm_port,
            _ => self.mw_port,
        };
        format!("sip:{}:{port};lr", self.host)
    }

    fn path(&self) -> String {
        let user = match self.policy.path_has_user {
            true => "term@",
            false => "",
        };
        format!("sip:{user}{}:{};lr", self.host, self.mw_port)
    }

    fn icid(&mut self) -> Icid {
        let value = self.random.token(24);
        let mut header = charging_vector(&value);
        if self.policy.icid_generated_at {
            header.push_str(&format!(";icid-generated-at={}", self.host));
        }
        Icid { value, header }
    }
}

/// Whose the first Route is.
#[derive(Clone, Copy, Debug)]
enum Topmost {
    Ours,
    Other,
}

impl Topmost {
    /// Begins an edit by taking our route off (RFC 3261 16.4).
    fn taken_off(self, request: &Message) -> Edit<'_> {
        match self {
            Topmost::Ours => request.edit().pop("Route"),
            Topmost::Other => request.edit(),
        }
    }
}

/// A request ready to go.
struct Outgoing {
    request: Message,
    to: SocketAddr,
    icid: String,
}

/// A charging identifier, and the header it begins its life in.
struct Icid {
    value: String,
    header: String,
}

/// What a REGISTER from outside the trust domain may not carry in.
fn outsiders(request: &Message) -> Edit<'_> {
    let names = FROM_CORE_ONLY.iter().chain(ON_GM_ONLY);
    let edit = names.fold(request.edit(), |edit, name| edit.remove(name));
    drop_tag(edit, request, "Proxy-Require")
}

/// The identities to assert: of those preferred, the first SIP and the first tel URI that are
/// registered, else the default identity. From takes no part (TS 24.229 5.2.6.3.1, second-hand).
fn asserted(user: &User, request: &Message) -> Vec<String> {
    let preferred = request.addrs("P-Preferred-Identity").unwrap_or_default();
    let registered = |scheme: &[&str]| {
        preferred.iter().map(|addr| &addr.uri).find(|uri| {
            scheme.iter().any(|s| uri.starts_with(s))
                && user
                    .identities
                    .iter()
                    .any(|known| same_identity(known, uri))
        })
    };
    let chosen: Vec<&String> = [registered(&["sip:", "sips:"]), registered(&["tel:"])]
        .into_iter()
        .flatten()
        .collect();
    let chosen = match chosen.is_empty() {
        true => user.identities.first().into_iter().collect(),
        false => chosen,
    };
    chosen.iter().map(|uri| format!("<{uri}>")).collect()
}

fn same_identity(one: &str, other: &str) -> bool {
    match (Uri::parse(one), Uri::parse(other)) {
        (Ok(one), Ok(other)) => one.same_user(&other),
        _ => one == other,
    }
}

/// Requests outside dialogs on whose dialogs the P-CSCF stays.
fn makes_dialog(request: &Message) -> bool {
    let inside = request.to().is_ok_and(|to| to.tag().is_some());
    !inside && matches!(request.method(), "INVITE" | "SUBSCRIBE" | "REFER")
}

fn opens_dialog(request: &Message, response: &Message) -> bool {
    makes_dialog(request)
        && response
            .status()
            .is_some_and(|status| (101..300).contains(&status))
}

/// Takes the option tag of security agreement out of a header, and the header out if that was all.
fn drop_tag<'a>(edit: Edit<'a>, request: &Message, name: &str) -> Edit<'a> {
    if !request.has(name) {
        return edit;
    }
    let kept = without_tag(request, name, "sec-agree");
    match kept.is_empty() {
        true => edit.remove(name),
        false => edit.set(name, &kept.join(", ")),
    }
}

fn without_tag(request: &Message, name: &str, tag: &str) -> Vec<String> {
    let mut tags = request.values(name);
    tags.retain(|found| !found.eq_ignore_ascii_case(tag));
    tags
}

fn without_keys(challenge: &str) -> String {
    match AuthValue::parse(challenge) {
        Ok(mut value) => {
            value.remove("ck");
            value.remove("ik");
            value.to_string()
        }
        Err(_) => challenge.to_owned(),
    }
}

fn charging_vector(icid: &str) -> String {
    format!("icid-value=\"{icid}\"")
}

fn icid_of(request: &Message) -> Option<String> {
    let vector = request.header("P-Charging-Vector")?;
    let params = crate::wire::sip::Params::parse(&format!(";{vector}")).ok()?;
    params.unquoted("icid-value")
}

fn bracketed_list(uris: &[String]) -> String {
    let values: Vec<String> = uris.iter().map(|uri| format!("<{uri}>")).collect();
    values.join(", ")
}

/// An IPv6 address stands in brackets in a URI.
fn bracketed(host: String) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host,
    }
}

fn sip_ports(setup: &Setup) -> Vec<SipPort> {
    let sip = setup
        .listeners
        .iter()
        .filter(|listener| listener.format == Format::Sip);
    sip.map(|listener| SipPort {
        on: listener.on,
        local: listener.addr,
        transport: match listener.transport {
            ListenTransport::Udp => SipTransport::Udp,
            ListenTransport::Tcp | ListenTransport::Tls => SipTransport::Tcp,
        },
        path_mtu: setup.path_mtu.get(&listener.on).copied(),
        timers: match listener.on {
            RefPoint::Gm => GM_TIMERS,
            _ => CORE_TIMERS,
        },
    })
    .collect()
}

/// Seconds, if neither Contact nor Expires says: "malformed values SHOULD be treated as equivalent to
/// 3600" (RFC 3261 10.2).
const DEFAULT_LIFETIME: u32 = 3600;

const DEFAULT_PORT: u16 = 5060;

/// "unless it knows that the TU will generate a response within 200 ms" (RFC 3261 17.2.1).
const TRYING_WITHIN: Duration = Duration::from_millis(200);

/// TS 24.229 7.7, second-hand: toward the UE.
const GM_TIMERS: Timers = Timers {
    t1: Duration::from_secs(2),
    t2: Duration::from_secs(16),
    t4: Duration::from_secs(17),
};

/// TS 24.229 7.7, second-hand: between core nodes.
const CORE_TIMERS: Timers = Timers {
    t1: Duration::from_millis(500),
    t2: Duration::from_secs(4),
    t4: Duration::from_secs(5),
};

/// What only the core says of a user; from a UE it is taken off (RFC 3325 5, RFC 7315; TS 24.229 4.4,
/// second-hand).
const FROM_CORE_ONLY: &[&str] = &[
    "P-Asserted-Identity",
    "P-Asserted-Service",
    "P-Associated-URI",
    "P-Called-Party-ID",
    "P-Charging-Function-Addresses",
    "P-Charging-Vector",
    "P-Preferred-Identity",
    "P-Profile-Key",
    "P-Served-User",
    "P-Visited-Network-ID",
];

/// Security agreement is between UE and P-CSCF (RFC 3329). Headers only: no IPsec is ever built.
const ON_GM_ONLY: &[&str] = &["Security-Client", "Security-Verify"];

/// What the core says and a UE does not hear (TS 24.229 4.5, second-hand).
const NOT_FOR_UES: &[&str] = &[
    "P-Charging-Function-Addresses",
    "P-Charging-Vector",
    "P-Profile-Key",
    "P-Served-User",
];

const SECURITY_SERVER: &str = "ipsec-3gpp;q=0.1;alg=hmac-sha-1-96;ealg=null;spi-c=2001;spi-s=2002;\
    port-c=5061;port-s=5062";

const UNREADABLE: Refusal = Refusal(400, "a header that routing needs cannot be read");
/// Silence would be as lawful (TS 24.229 5.2.6.3.2A, second-hand).
const UNREGISTERED: Refusal = Refusal(403, "the sender is not registered");
const FOREIGN_DIALOG: Refusal = Refusal(403, "the dialog is not the sender's");
const OTHER_ROUTE: Refusal = Refusal(400, "Route is not the one that was given");
/// No clause was found for the code.
const NO_BINDING: Refusal = Refusal(480, "nobody is registered under the Request-URI");
/// RFC 3261 16.7 step 6 keeps 503 for the next hop; a way that is not known here is our own failure.
const NOWHERE: Refusal = Refusal(500, "the next hop is not known");

#[cfg(test)]
mod tests;
