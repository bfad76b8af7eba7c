//! What arrives: frames become requests and responses, each finds its transaction (RFC 3261 17.1.3, 17.2.3).

use std::net::IpAddr;

use super::{
    Answerer, Cancel, ClientMachine, ClientStep, InviteServer, Kind, NonInviteServer, Owner,
    Server, ServerMachine, ServerStep, ServerTxn, SipEndpoint, SipEvent, SipTransport, Source,
    identity::{Essentials, acknowledged_by, back, stamped},
};
use crate::{
    io::Outbox,
    time::At,
    wire::{
        Malformed,
        frame::Frame,
        sip::{self, Builder, Message, Via},
    },
};

impl SipEndpoint {
    pub(super) fn frame(
        &mut self,
        at: At,
        frame: &Frame,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) {
        let source = Source {
            on: frame.on,
            addr: frame.src,
            link: frame.link,
            security: frame.security.clone(),
        };
        if let Some(link) = frame.link {
            self.remember(link, frame.on, frame.src);
        }
        if frame
            .bytes
            .iter()
            .all(|octet| matches!(octet, b'\r' | b'\n'))
        {
            return; // a keep-alive, or empty lines between messages (RFC 3261 7.5)
        }
        let parsed = match frame.framed {
            true => Message::parse(frame.bytes.clone()),
            false => Err(Malformed::new(&frame.bytes, 0, "a whole SIP message")),
        };
        let read = parsed.and_then(|message| Ok((Essentials::of(&message)?, message)));
        match read {
            Ok((essentials, message)) if message.is_request() => {
                self.request_in(at, message, essentials, source, out, events);
            }
            Ok((essentials, message)) => {
                self.response_in(at, message, essentials, source, out, events);
            }
            Err(malformed) => {
                self.refuse_unreadable(frame, &source, out);
                events.push(SipEvent::Unreadable { malformed, source });
            }
        }
    }

    /// 400 for a request that can be answered although it cannot be served (RFC 3261 16.3 step 1, 21.4.1).
    pub(super) fn refuse_unreadable(&mut self, frame: &Frame, source: &Source, out: &mut Outbox) {
        let Ok(request) = Message::parse(frame.bytes.clone()) else {
            return;
        };
        let answerable = ["Via", "From", "To", "Call-ID", "CSeq"];
        if !request.is_request()
            || request.method() == "ACK"
            || !answerable.iter().all(|name| request.has(name))
        {
            return;
        }
        let Ok(via) = request.top_via() else {
            return;
        };
        let tag = self.random.token(10);
        let request = stamped(request, &via, source.addr);
        let response = Builder::response(&request, 400, sip::reason(400), Some(&tag));
        self.answer(back(&via, source), response.finish().bytes(), out);
    }

    pub(super) fn request_in(
        &mut self,
        at: At,
        request: Message,
        essentials: Essentials,
        source: Source,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) {
        let request = stamped(request, &essentials.via, source.addr);
        match request.method() {
            "ACK" => self.ack_in(at, request, &essentials, source, events),
            "CANCEL" => self.cancel_in(at, request, &essentials, &source, out, events),
            method => {
                let kind = Kind::of(method);
                let key = essentials.key(kind);
                if let Some(&txn) = self.keys.get(&key) {
                    return self.copy_in(txn, out);
                }
                let txn = self.serve(at, &request, &essentials, kind, &source);
                let at_once = kind == Kind::Invite && self.trying.is_zero();
                if at_once {
                    self.step_server(txn, ServerStep::Trying, out, events);
                }
                events.push(SipEvent::Request {
                    txn,
                    request,
                    source,
                });
            }
        }
    }

    pub(super) fn serve(
        &mut self,
        at: At,
        request: &Message,
        essentials: &Essentials,
        kind: Kind,
        source: &Source,
    ) -> ServerTxn {
        let timers = self.timers(source.on);
        let transport = match source.link {
            Some(_) => SipTransport::Tcp,
            None => SipTransport::Udp,
        };
        let machine = match kind {
            Kind::Invite => {
                let mut machine = InviteServer::new(at, timers, transport, self.trying);
                if self.trying.is_zero() {
                    machine.respond(at, 100, Answerer::Proxy);
                }
                ServerMachine::Invite(machine)
            }
            _ => ServerMachine::NonInvite(NonInviteServer::new(at, timers, transport)),
        };
        let txn = ServerTxn(self.fresh());
        let key = essentials.key(kind);
        self.keys.insert(key.clone(), txn);
        self.servers.insert(
            txn,
            Server {
                machine,
                request: Some(request.clone()),
                key,
                back: back(&essentials.via, source),
                last: None,
                unacknowledged: None,
                due: None,
            },
        );
        self.settle(Owner::Server(txn));
        txn
    }

    /// A copy of a request: the last response again, if there is one.
    pub(super) fn copy_in(&mut self, txn: ServerTxn, out: &mut Outbox) {
        let Some(server) = self.servers.get(&txn) else {
            return;
        };
        let step = match &server.machine {
            ServerMachine::Invite(machine) => machine.request(),
            ServerMachine::NonInvite(machine) => machine.request(),
        };
        if step == ServerStep::Repeat
            && let Some(last) = server.last.clone()
        {
            let back = server.back;
            self.answer(back, &last, out);
        }
    }

    pub(super) fn ack_in(
        &mut self,
        at: At,
        request: Message,
        essentials: &Essentials,
        source: Source,
        events: &mut Vec<SipEvent>,
    ) {
        let absorbing = self.keys.get(&essentials.key(Kind::Invite)).copied();
        if let Some(txn) = absorbing
            && let Some(server) = self.servers.get_mut(&txn)
            && let ServerMachine::Invite(machine) = &mut server.machine
            && machine.absorbs_ack()
        {
            machine.ack(at);
            return self.settle(Owner::Server(txn));
        }
        if let Some(dialog) = acknowledged_by(&request)
            && let Some(txn) = self.unacknowledged.remove(&dialog)
            && let Some(server) = self.servers.get_mut(&txn)
        {
            server.unacknowledged = None;
            if let ServerMachine::Invite(machine) = &mut server.machine {
                machine.ack_of_success();
            }
            self.settle(Owner::Server(txn));
        }
        events.push(SipEvent::Ack { request, source });
    }

    /// CANCEL is answered here, hop by hop (RFC 3261 9.2, 16.10): 200 if it names a transaction, else 481.
    pub(super) fn cancel_in(
        &mut self,
        at: At,
        cancel: Message,
        essentials: &Essentials,
        source: &Source,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) {
        if let Some(&txn) = self.keys.get(&essentials.key(Kind::Cancel)) {
            return self.copy_in(txn, out);
        }
        let invite = self.keys.get(&essentials.key(Kind::Invite)).copied();
        let own = self.serve(at, &cancel, essentials, Kind::Cancel, source);
        let tag = self.random.token(10);
        let code = match invite {
            Some(_) => 200,
            None => 481,
        };
        let response = Builder::response(&cancel, code, sip::reason(code), Some(&tag)).finish();
        self.respond(at, own, response, true, out);
        if let Some(txn) = invite
            && let Some(server) = self.servers.get(&txn)
            && let ServerMachine::Invite(machine) = &server.machine
            && machine.is_pending()
        {
            events.push(SipEvent::Cancelled { txn, cancel });
        }
    }

    pub(super) fn response_in(
        &mut self,
        at: At,
        response: Message,
        essentials: Essentials,
        source: Source,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) {
        let kind = Kind::of(&essentials.method);
        let found = essentials
            .via
            .branch()
            .and_then(|branch| self.branches.get(&(branch.to_owned(), kind)))
            .copied()
            .filter(|_| self.is_ours(&essentials.via));
        let Some(txn) = found else {
            return events.push(SipEvent::Stray { response, source });
        };
        let (Some(client), Some(status)) = (self.clients.get_mut(&txn), response.status()) else {
            return;
        };
        let step = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.response(at, status),
            ClientMachine::NonInvite(machine) => machine.response(at, status),
            ClientMachine::Lost(_) => ClientStep::Nothing,
        };
        let cancel_now = client.cancel == Cancel::Wanted && status < 200;
        let inner = client.kind == Kind::Cancel;
        if matches!(
            step,
            ClientStep::Acknowledge | ClientStep::AcknowledgeAndDeliver
        ) {
            self.acknowledge(txn, &response, out);
        }
        if cancel_now {
            self.send_cancel(at, txn, out);
        }
        self.settle(Owner::Client(txn));
        if !inner
            && matches!(
                step,
                ClientStep::Deliver | ClientStep::AcknowledgeAndDeliver
            )
        {
            events.push(SipEvent::Response {
                txn,
                response,
                source,
            });
        }
    }

    /// Whether the sent-by of a Via is one of ours; what is not is dropped (RFC 3261 18.1.2).
    pub(super) fn is_ours(&self, via: &Via) -> bool {
        let host: Option<IpAddr> = via.host.trim_matches(['[', ']']).parse().ok();
        self.ports.iter().any(|port| {
            host == Some(port.local.ip()) && via.port.unwrap_or(5060) == port.local.port()
        })
    }
}
