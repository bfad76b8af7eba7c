//! P-CSCF (TS 24.229 5.2, read second-hand only): the first contact of a UE. Lets in only who is
//! registered, says who they are, keeps them on the route their registrar gave, and hides the core's
//! charging and identities from them. Watches their registrations. What media it lets through is its own policy: it asks no
//! server about them.
//!
//! Start at [`PCscf`]. `registering`, `originating` and `terminating` each hold one way through;
//! `users` remembers who is registered, `watching` hears when that ends.

mod originating;
mod registering;
mod terminating;
mod users;
mod watching;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use originating::FromUe;
use registering::Registering;
use terminating::ToUe;
use users::{DialogId, Dialogs, Side, Users};
use watching::Watches;

use super::{Node, Setup, policy::PCscfPolicy, setup::Directory};
use crate::{
    io::{Action, Input, Outbox},
    proto::{
        endpoint::{ServerTxn, SipEndpoint, SipEvent, SipPort, SipTransport, Source, Timers},
        proxy::{Proxy, Turn, Up, admit},
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
    ip: IpAddr,
    directory: Arc<Directory>,
    policy: PCscfPolicy,
    sip: SipEndpoint,
    proxy: Proxy<Context>,
    users: Users,
    dialogs: Dialogs,
    watches: Watches,
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
            Input::Timer(timer) if self.renew_watch(at, *timer, out) => (),
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
        let timer_c = policy.timer_c;
        let ports = sip_ports(&setup);
        let port_on = |on| {
            let port = ports.iter().find(|port: &&SipPort| port.on == on);
            port.map_or(DEFAULT_PORT, |port| port.local.port())
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
            ip: setup.ip,
            directory: setup.directory,
            sip: SipEndpoint::new(ports, derive(setup.seed, &["p-cscf", "sip"]))
                .trying_after(policy.trying_after),
            policy,
            proxy: Proxy::new(derive(setup.seed, &["p-cscf", "proxy"])).giving_up_after(timer_c),
            users: Users::default(),
            dialogs: Dialogs::default(),
            watches: Watches::default(),
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
            Turn::NotOurs(SipEvent::Response { txn, response, .. }) => {
                self.watch_answered(txn, Some(&response), out);
            }
            Turn::NotOurs(SipEvent::Failed { txn, .. }) => self.watch_answered(txn, None, out),
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
            (_, "NOTIFY") if self.registration_told(at, txn, request, out) => Ok(()),
            (_, _) => self.terminate(at, txn, request, out),
        };
        if let Err(Refusal(status, why)) = done {
            out.note("refused", format!("{} {status}: {why}", request.method()));
            let refusal = Builder::response(request, status, reason(status), Some(&tag)).finish();
            self.sip.respond(at, txn, refusal, false, out);
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
                .map(|(outgoing, _)| (RefPoint::Mw, outgoing))
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
        let registers = request.method() == "REGISTER" && edited.status() == Some(200);
        self.proxy.reply(at, up.server, edited, &mut self.sip, out);
        if registers {
            self.watch_registered(at, &request, out);
        }
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
            let mine = self.directory.owner(&uri.host, uri.port) == Some(&self.name)
                || uri.host.eq_ignore_ascii_case(&self.host);
            let port = uri.port.unwrap_or(DEFAULT_PORT);
            mine && (uri.port.is_none() || port == self.gm_port || port == self.mw_port)
        })
    }

    /// Our URI as it is to be used on `on`.
    fn own(&self, on: RefPoint) -> String {
        format!("sip:{};lr", self.place(on))
    }

    /// Host, port and transport, as they stand in its URIs.
    fn place(&self, on: RefPoint) -> String {
        let port = match on {
            RefPoint::Gm => self.gm_port,
            _ => self.mw_port,
        };
        let own = self.directory.nodes.get(&self.name);
        let transport = own.map_or("", |own| own.transport_parameter(on));
        format!("{}:{port}{transport}", self.host)
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
}

/// A charging identifier, and the header it begins its life in.
struct Icid {
    value: String,
    header: String,
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

fn charging_vector(icid: &str) -> String {
    format!("icid-value=\"{icid}\"")
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
            RefPoint::Gm => Timers {
                t1: setup.policy.p_cscf.access_t1,
                ..GM_TIMERS
            },
            _ => CORE_TIMERS,
        },
    })
    .collect()
}

const DEFAULT_PORT: u16 = 5060;

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

const UNREADABLE: Refusal = Refusal(400, "a header that routing needs cannot be read");
/// Silence would be as lawful (TS 24.229 5.2.6.3.2A, second-hand).
const UNREGISTERED: Refusal = Refusal(403, "the sender is not registered");
/// RFC 3261 16.7 step 6 keeps 503 for the next hop; a way that is not known here is our own failure.
const NOWHERE: Refusal = Refusal(500, "the next hop is not known");

#[cfg(test)]
mod tests;
