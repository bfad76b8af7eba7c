//! What a stateful proxy does whatever its role (RFC 3261 16): response contexts, Timer C, CANCEL, the best
//! response. It knows neither where a request goes nor what a role edits: the role forwards a request with
//! [`Proxy::forward`], gets each response for upstream as an [`Up`], edits it and passes it on with
//! [`Proxy::reply`], or tries another hop instead.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::endpoint::{ClientTxn, Failure, ServerTxn, SipEndpoint, SipEvent};
use crate::{
    io::{Outbox, TimerId},
    random::{Random, derive},
    spec::RefPoint,
    time::At,
    wire::sip::{self, Builder, Message},
};

/// The response contexts of one proxy. `C` is what the role remembers of a request.
#[derive(Debug)]
pub struct Proxy<C> {
    random: Random,
    contexts: BTreeMap<ServerTxn, Context<C>>,
    clients: BTreeMap<ClientTxn, ServerTxn>,
    timers: BTreeMap<TimerId, Purpose>,
    timer_c: Duration,
    /// Whether what is forwarded can be told if it comes back.
    marks_loops: bool,
}

#[derive(Debug)]
struct Context<C> {
    role: C,
    invite: bool,
    on: Option<RefPoint>,
    branches: BTreeMap<ClientTxn, Branch>,
    /// The best non-2xx final response so far, the branch it came on, and how it came about.
    best: Option<Candidate>,
    answered: bool,
    cancelled: bool,
    /// Kept for further copies of a 2xx.
    lingers: bool,
}

#[derive(Debug)]
struct Branch {
    timer_c: Option<TimerId>,
    pending: bool,
}

#[derive(Debug)]
struct Candidate {
    client: ClientTxn,
    response: Message,
    cause: Cause,
}

#[derive(Clone, Copy, Debug)]
enum Purpose {
    TimerC(ClientTxn),
    Linger(ServerTxn),
}

/// What became of an event that was shown to the proxy.
#[derive(Debug)]
pub enum Turn {
    /// Not about a request forwarded here: the role's own.
    NotOurs(SipEvent),
    /// Done with, or nothing to do yet.
    Nothing,
    /// A response for upstream.
    Up(Up),
}

/// A response on its way upstream: our Via is off, the role may edit it.
#[derive(Debug)]
pub struct Up {
    pub server: ServerTxn,
    pub client: ClientTxn,
    pub response: Message,
    pub cause: Cause,
}

/// How a response came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was received, with this status; 503 has become 500 (RFC 3261 16.7 step 6).
    Received(u16),
    /// Made here, as none came: 408 after a timeout, 500 after a transport failure (RFC 3261 16.7, 16.9).
    Failed(Failure),
}

impl<C> Proxy<C> {
    /// `seed` feeds the To tags of responses made here.
    pub fn new(seed: u64) -> Proxy<C> {
        Proxy {
            random: Random::new(seed),
            contexts: BTreeMap::new(),
            clients: BTreeMap::new(),
            timers: BTreeMap::new(),
            timer_c: TIMER_C,
            marks_loops: false,
        }
    }

    /// With another Timer C: how long an INVITE may go without a final answer (RFC 3261 16.6 step 11).
    pub fn giving_up_after(mut self, timer_c: Duration) -> Proxy<C> {
        self.timer_c = timer_c;
        self
    }

    /// So that a request which comes back as it was is known (RFC 5393 4.2, clause not verified).
    pub fn marking_loops(mut self) -> Proxy<C> {
        self.marks_loops = true;
        self
    }

    /// Opens a response context; the role may still have to find out where the request goes.
    pub fn begin(&mut self, server: ServerTxn, request: &Message, role: C) {
        self.contexts.insert(
            server,
            Context {
                role,
                invite: request.method() == "INVITE",
                on: None,
                branches: BTreeMap::new(),
                best: None,
                answered: false,
                cancelled: false,
                lingers: false,
            },
        );
    }

    /// Sends an edited copy of the request to a next hop: the first, one more (forking), or another after a
    /// failure. `None` if the context is closed: answered, or cancelled meanwhile and then answered 487 here.
    #[allow(clippy::too_many_arguments)] // the door's three, the hop's two, and what goes through
    pub fn forward(
        &mut self,
        at: At,
        server: ServerTxn,
        on: RefPoint,
        to: SocketAddr,
        request: Message,
        sip: &mut SipEndpoint,
        out: &mut Outbox,
    ) -> Option<ClientTxn> {
        if self.contexts.get(&server)?.cancelled {
            self.refuse_cancelled(at, server, sip, out);
        }
        let context = self
            .contexts
            .get_mut(&server)
            .filter(|context| !context.answered)?;
        let mark = sip
            .incoming(server)
            .filter(|_| self.marks_loops)
            .map(loop_mark);
        let client = match mark {
            Some(mark) => sip.send_marked(at, on, to, request, &mark, out),
            None => sip.send(at, on, to, request, out),
        };
        let timer_c = context.invite.then(|| out.wake_at(at + self.timer_c));
        context.on = Some(on);
        context.branches.insert(
            client,
            Branch {
                timer_c,
                pending: true,
            },
        );
        self.clients.insert(client, server);
        if let Some(timer) = timer_c {
            self.timers.insert(timer, Purpose::TimerC(client));
        }
        Some(client)
    }

    /// Shows the proxy an event of the endpoint.
    pub fn absorb(
        &mut self,
        at: At,
        event: SipEvent,
        sip: &mut SipEndpoint,
        out: &mut Outbox,
    ) -> Turn {
        match event {
            SipEvent::Response { txn, response, .. } if self.clients.contains_key(&txn) => {
                self.response(at, txn, response, sip, out)
            }
            SipEvent::Failed { txn, why } if self.clients.contains_key(&txn) => {
                self.failed(at, txn, why, sip, out)
            }
            SipEvent::Cancelled { txn, .. } if self.contexts.contains_key(&txn) => {
                self.cancelled(at, txn, sip, out);
                Turn::Nothing
            }
            event => Turn::NotOurs(event),
        }
    }

    /// Takes a timer if it is the proxy's own.
    pub fn timer(
        &mut self,
        at: At,
        timer: TimerId,
        sip: &mut SipEndpoint,
        out: &mut Outbox,
    ) -> bool {
        match self.timers.remove(&timer) {
            None => return false,
            // RFC 3261 16.8: a client transaction that outlived Timer B has had a provisional response,
            // so it is cancelled; no answer to that either is a timeout of the transaction.
            Some(Purpose::TimerC(client)) => sip.cancel(at, client, out),
            Some(Purpose::Linger(server)) => {
                if let Some(context) = self.contexts.get_mut(&server) {
                    context.lingers = false;
                }
                self.sweep(server);
            }
        }
        true
    }

    /// Passes a response upstream, as the role edited it or made it. A 408 to anything but INVITE is not
    /// sent: the transaction ends in silence when its time is over (RFC 4320 4.2). After a final response the other branches are
    /// cancelled (RFC 3261 16.7 step 10).
    pub fn reply(
        &mut self,
        at: At,
        server: ServerTxn,
        response: Message,
        sip: &mut SipEndpoint,
        out: &mut Outbox,
    ) {
        let Some(status) = response.status() else {
            return;
        };
        let Some(context) = self.contexts.get_mut(&server) else {
            return sip.respond(at, server, response, false, out);
        };
        if status < 200 {
            if context.invite {
                sip.respond(at, server, response, false, out);
            }
            return;
        }
        context.answered = true;
        if status != 408 || context.invite {
            sip.respond(at, server, response, false, out);
        }
        if context.invite && status < 300 && !context.lingers {
            context.lingers = true;
            let patience = sip.timers(context.on.unwrap_or(RefPoint::Gm)).patience();
            let timer = out.wake_at(at + patience);
            self.timers.insert(timer, Purpose::Linger(server));
        }
        self.cancel_branches(at, server, sip, out);
        self.sweep(server);
    }

    /// What the role remembers of a request.
    pub fn context(&self, server: ServerTxn) -> Option<&C> {
        self.contexts.get(&server).map(|context| &context.role)
    }

    pub fn context_mut(&mut self, server: ServerTxn) -> Option<&mut C> {
        self.contexts
            .get_mut(&server)
            .map(|context| &mut context.role)
    }

    /// The request a branch belongs to.
    pub fn server_of(&self, client: ClientTxn) -> Option<ServerTxn> {
        self.clients.get(&client).copied()
    }

    /// Gives a branch up, as if its answer had not come in time: it is cancelled if it is an INVITE, and what
    /// it still brings is dropped. The role then forwards elsewhere or replies.
    pub fn leave(&mut self, at: At, client: ClientTxn, sip: &mut SipEndpoint, out: &mut Outbox) {
        self.close(client, out);
        sip.cancel(at, client, out);
    }

    /// Whether nothing is remembered.
    pub fn is_idle(&self) -> bool {
        self.contexts.is_empty() && self.clients.is_empty() && self.timers.is_empty()
    }

    fn response(
        &mut self,
        at: At,
        client: ClientTxn,
        response: Message,
        sip: &mut SipEndpoint,
        out: &mut Outbox,
    ) -> Turn {
        let (Some(server), Some(status)) = (self.server_of(client), response.status()) else {
            return Turn::Nothing;
        };
        if status < 200 {
            return self.provisional(at, server, client, response, status, out);
        }
        let was_pending = self.close(client, out);
        let upward = without_top_via(&response);
        let cause = Cause::Received(status);
        if status < 300 {
            let copy_or_first = self
                .contexts
                .get(&server)
                .is_some_and(|context| context.invite || (was_pending && !context.answered));
            return match copy_or_first {
                true => Turn::Up(Up {
                    server,
                    client,
                    response: upward,
                    cause,
                }),
                false => self.nothing_more(server),
            };
        }
        if !was_pending {
            return self.nothing_more(server);
        }
        if status >= 600 {
            self.cancel_branches(at, server, sip, out);
        }
        let response = match status {
            503 => upward
                .edit()
                .status(500, sip::reason(500))
                .remove("Retry-After")
                .finish(),
            _ => upward,
        };
        self.candidate(
            server,
            Candidate {
                client,
                response,
                cause,
            },
        )
    }

    fn provisional(
        &mut self,
        at: At,
        server: ServerTxn,
        client: ClientTxn,
        response: Message,
        status: u16,
        out: &mut Outbox,
    ) -> Turn {
        let Some(context) = self.contexts.get(&server) else {
            return Turn::Nothing;
        };
        let Some(branch) = context.branches.get(&client) else {
            return Turn::Nothing;
        };
        if status == 100 || !branch.pending {
            return Turn::Nothing;
        }
        if let Some(timer) = branch.timer_c {
            out.arm(timer, at + self.timer_c); // RFC 3261 16.7 step 2
        }
        // RFC 4320 4.1: nothing but 100 goes out for a non-INVITE request.
        if !context.invite || context.answered {
            return Turn::Nothing;
        }
        Turn::Up(Up {
            server,
            client,
            response: without_top_via(&response),
            cause: Cause::Received(status),
        })
    }

    fn failed(
        &mut self,
        _at: At,
        client: ClientTxn,
        why: Failure,
        sip: &mut SipEndpoint,
        out: &mut Outbox,
    ) -> Turn {
        let Some(server) = self.server_of(client) else {
            return Turn::Nothing;
        };
        if !self.close(client, out) {
            return self.nothing_more(server);
        }
        let Some(request) = sip.incoming(server) else {
            self.forget(server);
            return Turn::Nothing;
        };
        let code = match why {
            Failure::Timeout => 408,
            Failure::Transport => 500,
        };
        let tag = self.random.token(10);
        let response = Builder::response(request, code, sip::reason(code), Some(&tag)).finish();
        self.candidate(
            server,
            Candidate {
                client,
                response,
                cause: Cause::Failed(why),
            },
        )
    }

    /// Keeps the better of two final responses, and gives the best once no branch is left (RFC 3261 16.7
    /// step 6).
    fn candidate(&mut self, server: ServerTxn, candidate: Candidate) -> Turn {
        let Some(context) = self.contexts.get_mut(&server) else {
            return Turn::Nothing;
        };
        if context.answered {
            return self.nothing_more(server);
        }
        let better = context
            .best
            .as_ref()
            .is_none_or(|best| rank(&candidate.response) < rank(&best.response));
        if better {
            context.best = Some(candidate);
        }
        if context.branches.values().any(|branch| branch.pending) {
            return Turn::Nothing;
        }
        match context.best.take() {
            Some(best) => Turn::Up(Up {
                server,
                client: best.client,
                response: best.response,
                cause: best.cause,
            }),
            None => Turn::Nothing,
        }
    }

    /// CANCEL from upstream: every branch is cancelled; with none, 487 at once.
    fn cancelled(&mut self, at: At, server: ServerTxn, sip: &mut SipEndpoint, out: &mut Outbox) {
        let Some(context) = self.contexts.get_mut(&server) else {
            return;
        };
        context.cancelled = true;
        match context.branches.values().any(|branch| branch.pending) {
            true => self.cancel_branches(at, server, sip, out),
            false => self.refuse_cancelled(at, server, sip, out),
        }
    }

    fn refuse_cancelled(
        &mut self,
        at: At,
        server: ServerTxn,
        sip: &mut SipEndpoint,
        out: &mut Outbox,
    ) {
        let Some(request) = sip.incoming(server) else {
            return;
        };
        let tag = self.random.token(10);
        let response = Builder::response(request, 487, sip::reason(487), Some(&tag)).finish();
        self.reply(at, server, response, sip, out);
    }

    fn cancel_branches(&self, at: At, server: ServerTxn, sip: &mut SipEndpoint, out: &mut Outbox) {
        let Some(context) = self.contexts.get(&server) else {
            return;
        };
        for (client, _) in context.branches.iter().filter(|(_, branch)| branch.pending) {
            sip.cancel(at, *client, out);
        }
    }

    /// A branch has its final response, or will have none. Says whether it was pending.
    fn close(&mut self, client: ClientTxn, out: &mut Outbox) -> bool {
        let Some(branch) = self
            .server_of(client)
            .and_then(|server| self.contexts.get_mut(&server))
            .and_then(|context| context.branches.get_mut(&client))
        else {
            return false;
        };
        if let Some(timer) = branch.timer_c.take() {
            self.timers.remove(&timer);
            out.disarm(timer);
        }
        std::mem::replace(&mut branch.pending, false)
    }

    fn nothing_more(&mut self, server: ServerTxn) -> Turn {
        self.sweep(server);
        Turn::Nothing
    }

    /// Forgets an answered request once nothing more can come of it.
    fn sweep(&mut self, server: ServerTxn) {
        let done = self.contexts.get(&server).is_some_and(|context| {
            context.answered
                && !context.lingers
                && !context.branches.values().any(|branch| branch.pending)
        });
        if done {
            self.forget(server);
        }
    }

    fn forget(&mut self, server: ServerTxn) {
        if let Some(context) = self.contexts.remove(&server) {
            for client in context.branches.keys() {
                self.clients.remove(client);
            }
        }
    }
}

/// Whether a proxy may forward a request at all: 483 without hops left, 420 for an extension demanded of
/// proxies that is not among `supported` (RFC 3261 16.3). The error is the response to send.
pub fn admit(request: &Message, supported: &[&str], to_tag: &str) -> Result<(), Message> {
    let refuse = |code: u16| Builder::response(request, code, sip::reason(code), Some(to_tag));
    match request.number("Max-Forwards") {
        Err(_) => return Err(refuse(400).finish()),
        Ok(Some(0)) => return Err(refuse(483).finish()),
        Ok(_) => {}
    }
    let unknown: Vec<String> = request
        .values("Proxy-Require")
        .into_iter()
        .filter(|tag| !tag.is_empty())
        .filter(|tag| {
            !supported
                .iter()
                .any(|known| known.eq_ignore_ascii_case(tag))
        })
        .collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(refuse(420)
            .header("Unsupported", &unknown.join(", "))
            .finish()),
    }
}

/// Stands for all that decides where a request goes (RFC 5393 4.2, clause not verified): one that comes back with the
/// same is in a loop, one with another Route or Request-URI is not.
pub fn loop_mark(request: &Message) -> String {
    let tag = |addr: Option<sip::NameAddr>| addr.and_then(|addr| addr.tag().map(str::to_owned));
    let mut parts = vec![
        request.request_uri().unwrap_or_default().to_owned(),
        tag(request.from().ok()).unwrap_or_default(),
        tag(request.to().ok()).unwrap_or_default(),
        request.call_id().unwrap_or_default(),
        request.header("CSeq").unwrap_or_default().into_owned(),
    ];
    for name in ["Route", "Proxy-Require", "Proxy-Authorization"] {
        parts.push(request.values(name).join(","));
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    format!("{:x}", derive(0, &parts))
}

/// What Max-Forwards becomes: one less, or 70 if the request has none (RFC 3261 16.6 step 3).
pub fn next_max_forwards(request: &Message) -> String {
    match request.number("Max-Forwards") {
        Ok(Some(hops)) => hops.saturating_sub(1).to_string(),
        _ => "70".to_owned(),
    }
}

/// The response as the next hop upstream is to see it: without our Via (RFC 3261 16.7 step 3).
pub fn without_top_via(response: &Message) -> Message {
    response.edit().pop("Via").finish()
}

/// Lower is better: 6xx, then the lowest class; within a class those that tell how to retry (RFC 3261 16.7
/// step 6).
fn rank(response: &Message) -> (u16, u16, u16) {
    let status = response.status().unwrap_or(699);
    let class = status / 100;
    let class_rank = match class {
        6 => 0,
        class => class,
    };
    let tells = match status {
        401 | 407 | 415 | 420 | 484 => 0,
        _ => 1,
    };
    (class_rank, tells, status)
}

/// "Timer C MUST be larger than 3 minutes" (RFC 3261 16.6 step 11).
const TIMER_C: Duration = Duration::from_secs(181);

#[cfg(test)]
mod tests;
