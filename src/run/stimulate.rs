//! Carrying out what a step asks for: an action of a node, or a message of the scenario's own.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;

use super::{
    cast::part,
    compose::{Compose, Lack},
};
use crate::{
    drive::Drive,
    io::{OpenSecurity, Output},
    net::Transport,
    spec::{Format, RefPoint, Worth},
    suite::{Follower, Protection, Send, Step, Suite, Topology, Verb, View},
    sut::Guests,
    trace::{CastNode, ContentName, ListenTransport, Listener, Meta, StepMark},
    wire::frame::{Identity, LinkId, NodeName},
};

/// Does what steps ask.
pub struct Stimulator<'a> {
    suite: &'a Suite,
    topology: &'a Topology,
    guests: Option<&'a Guests>,
    seed: u64,
    nodes: Vec<CastNode>,
    contents: Vec<ContentName>,
    /// By sender, whose certificate it shows and what that is worth, and listener.
    links: BTreeMap<(String, (String, Worth), SocketAddr), LinkId>,
    next_link: u64,
}

/// Links of the harness's own begin here: no node counts this far.
const FIRST_LINK: u64 = 1 << 40;

impl<'a> Stimulator<'a> {
    pub fn new(
        suite: &'a Suite,
        topology: &'a Topology,
        guests: Option<&'a Guests>,
        meta: &Meta,
    ) -> Stimulator<'a> {
        Stimulator {
            suite,
            topology,
            guests,
            seed: meta.seed,
            nodes: meta.nodes.clone(),
            contents: meta.contents.clone(),
            links: BTreeMap::new(),
            next_link: FIRST_LINK,
        }
    }

    /// The error says what could not be done, and is a fault of the suite or of ours.
    pub fn carry_out<T: Transport>(
        &mut self,
        drive: &mut Drive<T>,
        follower: &Follower<'_>,
        step: &Step,
    ) -> Result<StepMark, String> {
        match &step.verb {
            Verb::Do(act) if self.guests.is_some_and(|guests| guests.plays(&act.node)) => {
                let swarm = |fixture: &str| {
                    let named = self
                        .contents
                        .iter()
                        .find(|content| content.fixture == fixture);
                    named.map_or(fixture, |content| &content.swarm).to_owned()
                };
                if let Some(guests) = self.guests {
                    guests.push(&act.node, &act.action, swarm);
                }
                Ok(StepMark::Done)
            }
            Verb::Do(act) => drive
                .act(&NodeName::new(&act.node), &act.action)
                .map(|()| StepMark::Done)
                .map_err(|error| error.to_string()),
            Verb::Send(send) => self.send(drive, follower, send),
            Verb::Wait(_) | Verb::Expect(_) | Verb::Never(_) => Ok(StepMark::Done),
        }
    }

    fn send<T: Transport>(
        &mut self,
        drive: &mut Drive<T>,
        follower: &Follower<'_>,
        send: &Send,
    ) -> Result<StepMark, String> {
        let compose = Compose {
            subscribers: &self.suite.subscribers,
            follower,
            seed: self.seed,
        };
        let bytes = match compose.message(send) {
            Ok(bytes) => bytes,
            Err(Lack::Came(_)) => return Ok(StepMark::Impossible),
            Err(Lack::Asked(why)) => return Err(why),
        };
        let from = NodeName::new(&send.from);
        if let Some(name) = &send.reply {
            let came = follower.captures().get(name).and_then(View::link);
            let link = came.ok_or_else(|| format!("\"{name}\" came on no connection"))?;
            return self.put(drive, &from, link, bytes);
        }
        let format = match send.on {
            RefPoint::Data if bytes.starts_with(b"MSRP ") => Some(Format::Msrp),
            RefPoint::Data => Some(Format::Http),
            _ => None,
        };
        let target = part(&self.nodes, &send.to)
            .ok_or_else(|| format!("there is no node \"{}\"", send.to))?;
        let listener = target
            .listeners
            .iter()
            .find(|l| {
                l.on == send.on
                    && format.is_none_or(|format| l.format == format)
                    && send.security.is_none_or(|wanted| wanted == protection(l))
            })
            .ok_or_else(|| format!("{} does not listen on {}", send.to, send.on))?
            .clone();
        if listener.transport == ListenTransport::Udp {
            let output = Output::Datagram {
                on: send.on,
                to: listener.addr,
                bytes,
            };
            drive
                .inject(&from, output)
                .map_err(|error| error.to_string())?;
            return Ok(StepMark::Done);
        }
        let holder = send.certificate.as_ref().unwrap_or(&send.from);
        let key = (
            send.from.clone(),
            (holder.clone(), send.worth),
            listener.addr,
        );
        let link = match self.links.get(&key) {
            Some(link) => *link,
            None => {
                self.next_link += 2;
                let link = LinkId(self.next_link);
                let security = match listener.transport {
                    // What a script is shown is not what it tests.
                    ListenTransport::Tls => OpenSecurity::Tls {
                        client: self.identity(holder, send.worth),
                        trusts: Worth::ALL,
                    },
                    _ => OpenSecurity::Plain,
                };
                let open = Output::Open {
                    link,
                    on: send.on,
                    format: listener.format,
                    to: listener.addr,
                    security,
                };
                drive
                    .inject(&from, open)
                    .map_err(|error| error.to_string())?;
                self.links.insert(key, link);
                link
            }
        };
        self.put(drive, &from, link, bytes)
    }

    /// A connection was ended by the other end; what is sent next goes on a new one (RFC 9112 9.5).
    pub fn forget(&mut self, ended: LinkId) {
        self.links.retain(|_, link| *link != ended);
    }

    /// Who a node proves to be by its certificate: servers and the Controller have one.
    fn identity(&self, node: &str, worth: Worth) -> Option<Identity> {
        let node = self.topology.node(node)?;
        node.cdn.as_ref().map(|_| Identity {
            name: node.host.as_str().into(),
            worth,
        })
    }

    fn put<T: Transport>(
        &self,
        drive: &mut Drive<T>,
        from: &NodeName,
        link: LinkId,
        bytes: Bytes,
    ) -> Result<StepMark, String> {
        drive
            .inject(from, Output::Send { link, bytes })
            .map(|()| StepMark::Done)
            .map_err(|error| error.to_string())
    }
}

fn protection(listener: &Listener) -> Protection {
    match listener.transport {
        ListenTransport::Tls => Protection::Tls,
        ListenTransport::Tcp | ListenTransport::Udp => Protection::Plain,
    }
}
