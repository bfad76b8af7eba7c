//! What leaves, and over which connection (RFC 3261 18).

use std::net::SocketAddr;

use bytes::Bytes;

use super::{
    Back, Cancel, Client, ClientMachine, ClientTxn, Connection, Failure, Kind, Owner, SipEndpoint,
    SipEvent, SipTransport, Way,
    identity::{companion, with_via},
};
use crate::{
    io::{LinkEvent, OpenSecurity, Outbox},
    spec::{Format, RefPoint},
    time::At,
    wire::{frame::LinkId, sip::Message},
};

impl SipEndpoint {
    pub(super) fn start(
        &mut self,
        at: At,
        on: RefPoint,
        to: SocketAddr,
        bare: Message,
        branch: String,
        out: &mut Outbox,
    ) -> ClientTxn {
        let kind = Kind::of(bare.method());
        let txn = ClientTxn(self.fresh());
        let client = match self.dress(on, &bare, &branch) {
            Some(outgoing) => {
                let way = self.way(on, to, outgoing.transport, out);
                transmit(on, to, way, outgoing.request.bytes(), out);
                Client {
                    machine: ClientMachine::new(at, kind, self.timers(on), outgoing.transport),
                    bare,
                    request: outgoing.request,
                    branch: branch.clone(),
                    kind,
                    on,
                    to,
                    way: Some(way),
                    upsized: outgoing.upsized,
                    cancel: Cancel::No,
                    due: None,
                }
            }
            None => Client {
                machine: ClientMachine::Lost(at),
                request: bare.clone(),
                bare,
                branch: branch.clone(),
                kind,
                on,
                to,
                way: None,
                upsized: false,
                cancel: Cancel::No,
                due: None,
            },
        };
        self.clients.insert(txn, client);
        self.branches.insert((branch, kind), txn);
        self.settle(Owner::Client(txn));
        txn
    }

    /// Adds our Via and picks the transport (RFC 3261 18.1.1). `None`: this node does not speak there.
    pub(super) fn dress(&self, on: RefPoint, request: &Message, branch: &str) -> Option<Outgoing> {
        let preferred = self.ports.iter().find(|port| port.on == on)?;
        let dressed = with_via(request, preferred, branch);
        let fits = preferred.transport == SipTransport::Tcp
            || dressed.bytes().len() <= preferred.longest_datagram();
        match self.port(on, SipTransport::Tcp) {
            Some(stream) if !fits => Some(Outgoing {
                request: with_via(request, stream, branch),
                transport: SipTransport::Tcp,
                upsized: true,
            }),
            _ => Some(Outgoing {
                request: dressed,
                transport: preferred.transport,
                upsized: false,
            }),
        }
    }

    /// A connection that stands, or a new one.
    pub(super) fn way(
        &mut self,
        on: RefPoint,
        to: SocketAddr,
        transport: SipTransport,
        out: &mut Outbox,
    ) -> Way {
        match transport {
            SipTransport::Udp => Way::Datagram,
            SipTransport::Tcp => Way::Link(self.connect(on, to, out)),
        }
    }

    /// Sends ACK or CANCEL the way of its INVITE, on a new connection if that one is gone.
    pub(super) fn follow(
        &mut self,
        on: RefPoint,
        to: SocketAddr,
        way: Option<Way>,
        bytes: &Bytes,
        out: &mut Outbox,
    ) {
        let way = match way {
            Some(Way::Link(link)) if !self.connections.contains_key(&link) => {
                Way::Link(self.connect(on, to, out))
            }
            Some(way) => way,
            None => return,
        };
        transmit(on, to, way, bytes, out);
    }

    pub(super) fn connect(&mut self, on: RefPoint, to: SocketAddr, out: &mut Outbox) -> LinkId {
        if let Some(&link) = self.reusable.get(&(on, to)) {
            return link;
        }
        let link = out.open(on, Format::Sip, to, OpenSecurity::Plain);
        self.remember(link, on, to);
        link
    }

    /// Sends a response where responses go.
    pub(super) fn answer(&mut self, back: Back, response: &Bytes, out: &mut Outbox) {
        match back.link {
            None => out.datagram(back.on, back.to, response.clone()),
            Some(link) if self.connections.contains_key(&link) => out.send(link, response.clone()),
            Some(_) => {
                let link = self.connect(back.on, back.reopen, out);
                out.send(link, response.clone());
            }
        }
    }

    /// ACK of a non-2xx: in the transaction of its INVITE (RFC 3261 17.1.1.3).
    pub(super) fn acknowledge(&mut self, txn: ClientTxn, response: &Message, out: &mut Outbox) {
        if let Some(client) = self.clients.get(&txn)
            && let Some(ack) = companion(&client.request, "ACK", response)
        {
            let (on, to, way) = (client.on, client.to, client.way);
            self.follow(on, to, way, ack.bytes(), out);
        }
    }

    /// CANCEL: in a transaction of its own with the branch of the INVITE (RFC 3261 9.1).
    pub(super) fn send_cancel(&mut self, at: At, txn: ClientTxn, out: &mut Outbox) {
        let Some(client) = self.clients.get_mut(&txn) else {
            return;
        };
        let ClientMachine::Invite(machine) = &mut client.machine else {
            return;
        };
        if !machine.is_pending() {
            return;
        }
        machine.cancelled(at);
        client.cancel = Cancel::Sent;
        let Some(cancel) = companion(&client.request, "CANCEL", &client.request) else {
            return;
        };
        let bytes = cancel.bytes().clone();
        let transport = match client.way {
            Some(Way::Link(_)) => SipTransport::Tcp,
            _ => SipTransport::Udp,
        };
        let companion = Client {
            machine: ClientMachine::Lost(at),
            bare: cancel.clone(),
            request: cancel,
            branch: client.branch.clone(),
            kind: Kind::Cancel,
            on: client.on,
            to: client.to,
            way: client.way,
            upsized: false,
            cancel: Cancel::No,
            due: None,
        };
        self.follow(companion.on, companion.to, companion.way, &bytes, out);
        let own = ClientTxn(self.fresh());
        let machine = ClientMachine::new(at, Kind::Cancel, self.timers(companion.on), transport);
        self.branches
            .insert((companion.branch.clone(), Kind::Cancel), own);
        self.clients.insert(
            own,
            Client {
                machine,
                ..companion
            },
        );
        self.settle(Owner::Client(own));
        self.settle(Owner::Client(txn));
    }

    pub(super) fn link(
        &mut self,
        at: At,
        link: LinkId,
        event: &LinkEvent,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) -> bool {
        match event {
            LinkEvent::Accepted {
                on,
                format: Format::Sip,
                from,
                ..
            } => self.remember(link, *on, *from),
            _ if !self.connections.contains_key(&link) => return false,
            LinkEvent::Refused
            | LinkEvent::Reset
            | LinkEvent::TimedOut
            | LinkEvent::NotSecured { .. } => {
                self.forget(link);
                self.fail_over(at, link, out, events);
            }
            LinkEvent::Closed => self.forget(link),
            LinkEvent::Opened | LinkEvent::Accepted { .. } => {}
        }
        true
    }

    pub(super) fn remember(&mut self, link: LinkId, on: RefPoint, remote: SocketAddr) {
        self.connections.entry(link).or_insert_with(|| {
            self.reusable.insert((on, remote), link);
            Connection { on, remote }
        });
    }

    pub(super) fn forget(&mut self, link: LinkId) {
        if let Some(gone) = self.connections.remove(&link) {
            let key = (gone.on, gone.remote);
            if self.reusable.get(&key) == Some(&link) {
                self.reusable.remove(&key);
            }
        }
    }

    /// What waited for an answer on a broken connection fails, or goes over UDP if only its size had brought
    /// it to TCP.
    pub(super) fn fail_over(
        &mut self,
        at: At,
        link: LinkId,
        out: &mut Outbox,
        events: &mut Vec<SipEvent>,
    ) {
        let waiting: Vec<ClientTxn> = self
            .clients
            .iter()
            .filter(|(_, client)| client.way == Some(Way::Link(link)) && client.is_pending())
            .map(|(txn, _)| *txn)
            .collect();
        for txn in waiting {
            if !self.retry_as_datagram(at, txn, out) {
                self.fail(txn, Failure::Transport, events);
            }
        }
    }

    pub(super) fn retry_as_datagram(&mut self, at: At, txn: ClientTxn, out: &mut Outbox) -> bool {
        let Some(client) = self.clients.get(&txn) else {
            return false;
        };
        let (on, to) = (client.on, client.to);
        let port = self.port(on, SipTransport::Udp);
        let (true, Some(port)) = (client.upsized, port) else {
            return false;
        };
        let request = with_via(&client.bare, port, &client.branch);
        let machine = ClientMachine::new(at, client.kind, port.timers, SipTransport::Udp);
        transmit(on, to, Way::Datagram, request.bytes(), out);
        if let Some(client) = self.clients.get_mut(&txn) {
            client.request = request;
            client.machine = machine;
            client.way = Some(Way::Datagram);
            client.upsized = false;
        }
        self.settle(Owner::Client(txn));
        true
    }

    pub(super) fn fail(&mut self, txn: ClientTxn, why: Failure, events: &mut Vec<SipEvent>) {
        let Some(client) = self.clients.get_mut(&txn) else {
            return;
        };
        match &mut client.machine {
            ClientMachine::Invite(machine) => machine.stop(),
            ClientMachine::NonInvite(machine) => machine.stop(),
            ClientMachine::Lost(_) => {}
        }
        let inner = client.kind == Kind::Cancel;
        self.drop_client(txn);
        if !inner {
            events.push(SipEvent::Failed { txn, why });
        }
    }
}

/// A request ready to go.
pub(super) struct Outgoing {
    pub request: Message,
    pub transport: SipTransport,
    pub upsized: bool,
}

pub(super) fn transmit(on: RefPoint, to: SocketAddr, way: Way, bytes: &Bytes, out: &mut Outbox) {
    match way {
        Way::Datagram => out.datagram(on, to, bytes.clone()),
        Way::Link(link) => out.send(link, bytes.clone()),
    }
}
