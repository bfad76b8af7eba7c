//! The tracker's door on Ut without a node around it: for a driver that reads requests and writes answers by
//! itself, and keeps the list where all its cores reach it. The same functions answer as in the node.

use std::{net::SocketAddr, sync::Arc};

use super::{
    super::{
        Setup,
        tracking_list::{Asker, TrackingList},
    },
    http_door::HttpDoor,
    people::People,
};
use crate::{
    io::Outbox,
    proto::http_exchange,
    spec::RefPoint,
    time::At,
    wire::{frame::Security, http, ppstp},
};

/// One core's door. It stands behind an authentication proxy (TS 33.222, clause not verified): whoever
/// `X-3GPP-Asserted-Identity` names has been proved to be who it is, and may use the service.
pub struct Desk {
    door: HttpDoor,
    /// Where it is reached.
    local: SocketAddr,
    /// Notes that nobody reads.
    out: Outbox,
}

impl Desk {
    pub fn new(setup: &Setup, local: SocketAddr) -> Desk {
        let mut setup = setup.clone();
        setup.policy.tracker.believes_asserted_on_ut = true;
        // The proxy takes TLS off.
        setup.tls = false;
        let people = Arc::new(People::whoever_is_asserted(&setup));
        Desk {
            door: HttpDoor::new(&setup, people),
            local,
            out: Outbox::default(),
        }
    }

    /// The answer to a request that came from `from`. `list` gives access to the list, for as long as the answer
    /// is found and not while it is read or written.
    pub fn answer<'l, L>(
        &mut self,
        at: At,
        request: &http::Request,
        from: SocketAddr,
        list: impl FnOnce() -> L,
    ) -> http::ResponseBuilder
    where
        L: std::ops::DerefMut<Target = TrackingList> + 'l,
    {
        let from = http_exchange::Asker {
            on: RefPoint::Ut,
            from,
            local: self.local,
            security: Security::Plain,
        };
        let answers = |asker: &Asker, asked: &ppstp::Request| list().answer(at, asker, asked);
        let response = self.door.answer(at, request, &from, answers, &mut self.out);
        self.out.drain();
        response
    }
}
