//! The tracker's doors without a node around them: for a driver that carries messages by itself, and keeps the
//! list where all its cores reach it. The same functions answer as in the node.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    super::{
        Setup,
        setup::Directory,
        tracking_list::{Asker, TrackingList},
    },
    http_door::HttpDoor,
    isc_door::IscDoor,
    people::People,
};
use crate::{
    io::{Input, Outbox},
    proto::http_exchange,
    spec::{Format, RefPoint},
    time::At,
    trace::{ListenTransport, Listener},
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

/// One core's door on ISC. It stands behind an S-CSCF: whoever `P-Asserted-Identity` names may use the service
/// (RFC 3325 5).
pub struct IscDesk {
    door: IscDoor,
    swept: At,
}

/// How often what time brings about is looked for: subscriptions and publications that run out, changes that
/// subscribers are to be told.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(100);

impl IscDesk {
    /// A door that is reached over one transport.
    pub fn new(setup: &Setup, local: SocketAddr, transport: ListenTransport) -> IscDesk {
        let mut setup = setup.clone();
        setup.listeners = vec![Listener {
            on: RefPoint::Isc,
            format: Format::Sip,
            transport,
            addr: local,
        }];
        // Requests come from whoever brings them, not from the nodes of a topology.
        setup.directory = Arc::new(Directory {
            nodes: Default::default(),
            ..(*setup.directory).clone()
        });
        let people = Arc::new(People::whoever_is_asserted(&setup));
        IscDesk {
            door: IscDoor::new(&setup, people),
            swept: At::ZERO,
        }
    }

    /// Takes an input if it is SIP's; what is to be sent goes to `out`.
    pub fn take(&mut self, at: At, input: &Input<'_>, list: &mut TrackingList, out: &mut Outbox) {
        self.door.take(at, input, list, out);
    }

    /// Does what time alone brings about, a few times a second; `list` gives access to the list.
    pub fn sweep<'l, L>(&mut self, at: At, list: impl FnOnce() -> L, out: &mut Outbox)
    where
        L: std::ops::DerefMut<Target = TrackingList> + 'l,
    {
        if at.since(self.swept) < BETWEEN_SWEEPS {
            return;
        }
        self.swept = at;
        let mut list = list();
        self.door.expire(at, &mut list, out);
        self.door.tell(at, &mut list, out);
    }
}
