//! What speaks SIP in the loops: an Edge Server that is registered in IMS, and the Tracker AS on ISC, each as the
//! reference node has it. Requests stand behind a CSCF: whom they come from is what it asserts.

use std::{net::SocketAddr, sync::Arc};

use memchr::memmem;

use super::{
    clock::Clock,
    served::{BETWEEN_SWEEPS, SharedList},
    speak::Speaker,
};
use crate::{
    io::{Input, LinkEvent, Outbox, TimerId},
    node::{Node, Setup, TrackerIscDesk, build, deviation::Deviation},
    spec::{Format, RefPoint},
    time::At,
    trace::{ListenTransport, Listener},
    wire::frame::{Frame, LinkId},
};

/// One core's end of a call flow, over one transport.
pub struct CallFlowSpeaker {
    /// Who takes piece requests.
    peer: Option<Box<dyn Node>>,
    /// Who is asked for peers, and told of status.
    tracker: Option<(TrackerIscDesk, Arc<SharedList>)>,
    clock: Clock,
    swept: At,
}

impl CallFlowSpeaker {
    /// What is reached at `local`: a holder of pieces with this set-up, which may break a rule; a tracker with this set-up and
    /// list; or both.
    pub fn new(
        local: SocketAddr,
        transport: ListenTransport,
        peer: Option<(&Setup, Option<&Deviation>)>,
        tracker: Option<(&Setup, &Arc<SharedList>)>,
        clock: Clock,
    ) -> CallFlowSpeaker {
        CallFlowSpeaker {
            peer: peer.and_then(|(setup, deviation)| {
                let setup = behind_a_p_cscf(setup, local, transport);
                match deviation {
                    Some(deviation) => deviation.play(setup, build),
                    None => build(setup),
                }
            }),
            tracker: tracker
                .map(|(setup, list)| (TrackerIscDesk::new(setup, local, transport), list.clone())),
            clock,
            swept: At::ZERO,
        }
    }

    /// Whether a message is the tracker's: what only it takes, and answers to what only it sends.
    fn is_trackers(&self, bytes: &[u8]) -> bool {
        if self.peer.is_none() || self.tracker.is_none() {
            return self.tracker.is_some();
        }
        let is_request = |method: &&[u8]| bytes.starts_with(method);
        let answers_notify = || memmem::find(bytes, b" NOTIFY\r").is_some();
        TRACKERS.iter().any(is_request) || bytes.starts_with(b"SIP/") && answers_notify()
    }
}

/// Requests that the Tracker AS takes.
const TRACKERS: [&[u8]; 3] = [b"PUBLISH ", b"REGISTER ", b"SUBSCRIBE "];

/// Transfers a holder carries at a time: as many as are asked for.
const MOST_TRANSFERS: usize = 1 << 20;

/// The set-up of an IMS user that is reached at `local`, and takes whoever comes there for its P-CSCF.
fn behind_a_p_cscf(setup: &Setup, local: SocketAddr, transport: ListenTransport) -> Setup {
    let mut setup = setup.clone();
    let is_elsewhere = |listener: &Listener| listener.on != RefPoint::Gm;
    setup.listeners.retain(is_elsewhere);
    setup.listeners.push(Listener {
        on: RefPoint::Gm,
        format: Format::Sip,
        transport,
        addr: local,
    });
    setup.policy.ua.trusts_anybody = true;
    setup.policy.serving.most_transfers = MOST_TRANSFERS;
    setup
}

impl Speaker for CallFlowSpeaker {
    fn hear(&mut self, at: At, mut frame: Frame, out: &mut Outbox) {
        match (self.is_trackers(&frame.bytes), &mut self.peer) {
            (true, _) => {
                frame.on = RefPoint::Isc;
                if let Some((desk, list)) = &mut self.tracker {
                    desk.take(at, &Input::Frame(&frame), &mut list.lock(), out);
                }
            }
            (false, Some(peer)) => peer.handle(at, Input::Frame(&frame), out),
            (false, None) => {}
        }
    }

    fn link(&mut self, at: At, link: LinkId, event: LinkEvent, out: &mut Outbox) {
        if let Some((desk, list)) = &mut self.tracker {
            let input = Input::Link(link, event.clone());
            desk.take(at, &input, &mut list.lock(), out);
        }
        if let Some(peer) = &mut self.peer {
            peer.handle(at, Input::Link(link, event), out);
        }
    }

    fn wake(&mut self, at: At, timer: TimerId, out: &mut Outbox) {
        if let Some((desk, list)) = &mut self.tracker {
            desk.take(at, &Input::Timer(timer), &mut list.lock(), out);
        }
        if let Some(peer) = &mut self.peer {
            peer.handle(at, Input::Timer(timer), out);
        }
    }

    fn tick(&mut self, at: At, out: &mut Outbox) {
        if let Some((desk, list)) = &mut self.tracker {
            desk.sweep(at, || list.lock(), out);
            if at.since(self.swept) >= BETWEEN_SWEEPS {
                self.swept = at;
                list.sweep(at, || self.clock.now());
            }
        }
    }
}
