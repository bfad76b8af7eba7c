//! The four transaction machines of RFC 3261 17, with the Accepted state of RFC 6026. Each is told the
//! time and what arrived and says what to do; none knows a message, a socket or a timer number. The
//! endpoint keeps one machine a transaction, wakes it when it is [due](InviteClient::due), and drops it
//! when it is over.

use std::time::Duration;

use crate::{spec::RefPoint, time::At};

/// What carries the messages of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SipTransport {
    Udp,
    Tcp,
}

impl SipTransport {
    /// Whether what was sent arrives, so that nothing is sent again (RFC 3261 17).
    pub fn is_reliable(self) -> bool {
        self == SipTransport::Tcp
    }

    /// The word in Via.
    pub fn word(self) -> &'static str {
        match self {
            SipTransport::Udp => "UDP",
            SipTransport::Tcp => "TCP",
        }
    }
}

/// T1, T2, T4 of RFC 3261 17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Round-trip time estimate.
    pub t1: Duration,
    /// The longest interval between copies of a non-INVITE request or an INVITE response.
    pub t2: Duration,
    /// How long a message stays in the network.
    pub t4: Duration,
}

impl Timers {
    /// Between core nodes: the values of RFC 3261.
    pub const CORE: Timers = Timers {
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
    };

    /// Between UE and P-CSCF (TS 24.229 7.7, second-hand).
    pub const GM: Timers = Timers {
        t1: Duration::from_secs(2),
        t2: Duration::from_secs(16),
        t4: Duration::from_secs(17),
    };

    /// The values in force on a reference point.
    pub fn on(on: RefPoint) -> Timers {
        match on {
            RefPoint::Gm => Timers::GM,
            _ => Timers::CORE,
        }
    }

    /// The same in proportion to another T1.
    pub fn with_t1(self, t1: Duration) -> Timers {
        let share = t1.as_secs_f64() / self.t1.as_secs_f64().max(1e-9);
        Timers {
            t1,
            t2: self.t2.mul_f64(share),
            t4: self.t4.mul_f64(share),
        }
    }

    /// How long a transaction waits for the other side: Timers B, F, H, J, L and M.
    pub fn patience(self) -> Duration {
        self.t1 * 64
    }

    /// How long until Timer E has been reset to T2: from then on a non-INVITE request that has no answer
    /// gets 100, and over an unreliable transport not before (RFC 4320 4.1).
    pub fn slow_answer(self) -> Duration {
        let mut interval = self.t1;
        let mut elapsed = interval;
        while interval * 2 < self.t2 && !interval.is_zero() {
            interval *= 2;
            elapsed += interval;
        }
        elapsed
    }
}

/// What a client machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Send ACK for the response, do not hand it on: it is a copy.
    Acknowledge,
    /// Send ACK for the response and hand it on.
    AcknowledgeAndDeliver,
    /// Hand the response on.
    Deliver,
    /// Drop the response; or nothing is due.
    Nothing,
    /// Send the request again.
    Repeat,
    /// Tell the owner that no final response will come.
    TimedOut,
}

/// What a server machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerStep {
    /// Tell the owner that its 2xx was never acknowledged.
    AckMissing,
    Nothing,
    /// Send the last response again.
    Repeat,
    /// Answer 100, as the owner has not answered yet.
    Trying,
}

/// Who sent a 2xx to an INVITE: only the UAS repeats it (RFC 3261 13.3.1.4, RFC 6026 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    Proxy,
    Uas,
}

/// The copies of a message still to be sent, and the end of the state.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    copies: Option<Copies>,
    end: Option<At>,
}

#[derive(Clone, Copy, Debug)]
struct Copies {
    next: At,
    interval: Duration,
    longest: Duration,
}

impl Copies {
    fn doubling(at: At, first: Duration, longest: Duration) -> Copies {
        Copies {
            next: at + first,
            interval: first,
            longest,
        }
    }

    fn advance(&mut self, at: At) {
        self.interval = (self.interval * 2)
            .min(self.longest)
            .max(Duration::from_millis(1));
        self.next = at + self.interval;
    }
}

impl Clock {
    fn due(&self) -> Option<At> {
        match (self.copies.map(|copies| copies.next), self.end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn ended(&self, at: At) -> bool {
        self.end.is_some_and(|end| end <= at)
    }

    /// Whether a copy is due; if so, the next one is scheduled.
    fn copy_due(&mut self, at: At) -> bool {
        match &mut self.copies {
            Some(copies) if copies.next <= at => {
                copies.advance(at);
                true
            }
            _ => false,
        }
    }
}

/// INVITE client transaction (RFC 3261 17.1.1, RFC 6026 7.2).
#[derive(Clone, Debug)]
pub struct InviteClient {
    timers: Timers,
    transport: SipTransport,
    state: InviteClientState,
    clock: Clock,
    cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InviteClientState {
    Calling,
    Proceeding,
    Completed,
    Accepted,
    Terminated,
}

impl InviteClient {
    /// The request was sent at `at`: Timers A and B run.
    pub fn new(at: At, timers: Timers, transport: SipTransport) -> InviteClient {
        InviteClient {
            timers,
            transport,
            state: InviteClientState::Calling,
            clock: Clock {
                copies: (!transport.is_reliable())
                    .then(|| Copies::doubling(at, timers.t1, timers.patience())),
                end: Some(at + timers.patience()),
            },
            cancelled: false,
        }
    }

    pub fn due(&self) -> Option<At> {
        self.clock.due()
    }

    pub fn is_over(&self) -> bool {
        self.state == InviteClientState::Terminated
    }

    /// No response came yet.
    pub fn is_calling(&self) -> bool {
        self.state == InviteClientState::Calling
    }

    /// No final response came yet.
    pub fn is_pending(&self) -> bool {
        self.is_calling() || self.state == InviteClientState::Proceeding
    }

    pub fn response(&mut self, at: At, status: u16) -> ClientStep {
        use InviteClientState::*;
        match (self.state, status) {
            (Calling, 100..=199) => {
                self.state = Proceeding;
                self.wait_for_final(at);
                ClientStep::Deliver
            }
            (Proceeding, 100..=199) => {
                self.wait_for_final(at);
                ClientStep::Deliver
            }
            (Calling | Proceeding, 200..=299) => {
                self.state = Accepted;
                self.clock = Clock {
                    copies: None,
                    end: Some(at + self.timers.patience()), // Timer M
                };
                ClientStep::Deliver
            }
            (Accepted, 200..=299) => ClientStep::Deliver,
            (Calling | Proceeding, 300..) => {
                self.complete(at);
                ClientStep::AcknowledgeAndDeliver
            }
            (Completed, 300..) => ClientStep::Acknowledge,
            _ => ClientStep::Nothing,
        }
    }

    /// After a provisional response RFC 3261 knows no timer but Timer C of a proxy. So that nothing is kept
    /// for ever, ten minutes without a further response end the transaction (ours).
    fn wait_for_final(&mut self, at: At) {
        self.clock = Clock {
            copies: None,
            end: match self.cancelled {
                true => self.clock.end,
                false => Some(at + SILENCE),
            },
        };
    }

    /// Waits for Timer D: at least 32 s, and no less than the server's Timer H runs; zero over a
    /// reliable transport.
    fn complete(&mut self, at: At) {
        let wait = self.timers.patience().max(Duration::from_secs(32));
        self.clock = Clock {
            copies: None,
            end: Some(at + wait),
        };
        self.state = match self.transport.is_reliable() {
            true => InviteClientState::Terminated,
            false => InviteClientState::Completed,
        };
    }

    /// A CANCEL was sent: without a final response within 64*T1 the transaction ends (RFC 3261 9.1).
    pub fn cancelled(&mut self, at: At) {
        if self.is_pending() {
            self.cancelled = true;
            self.clock.end = Some(at + self.timers.patience());
        }
    }

    pub fn time(&mut self, at: At) -> ClientStep {
        if self.clock.ended(at) {
            let pending = self.is_pending();
            self.stop();
            return match pending {
                true => ClientStep::TimedOut,
                false => ClientStep::Nothing,
            };
        }
        match self.clock.copy_due(at) {
            true => ClientStep::Repeat,
            false => ClientStep::Nothing,
        }
    }

    /// The transport failed (RFC 3261 17.1.4), or the owner gives up.
    pub fn stop(&mut self) {
        self.state = InviteClientState::Terminated;
        self.clock = Clock::default();
    }
}

/// Non-INVITE client transaction (RFC 3261 17.1.2).
#[derive(Clone, Debug)]
pub struct NonInviteClient {
    timers: Timers,
    transport: SipTransport,
    state: NonInviteState,
    clock: Clock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NonInviteState {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

impl NonInviteClient {
    /// The request was sent at `at`: Timers E and F run.
    pub fn new(at: At, timers: Timers, transport: SipTransport) -> NonInviteClient {
        NonInviteClient {
            timers,
            transport,
            state: NonInviteState::Trying,
            clock: Clock {
                copies: (!transport.is_reliable())
                    .then(|| Copies::doubling(at, timers.t1, timers.t2)),
                end: Some(at + timers.patience()),
            },
        }
    }

    pub fn due(&self) -> Option<At> {
        self.clock.due()
    }

    pub fn is_over(&self) -> bool {
        self.state == NonInviteState::Terminated
    }

    pub fn is_pending(&self) -> bool {
        matches!(
            self.state,
            NonInviteState::Trying | NonInviteState::Proceeding
        )
    }

    pub fn response(&mut self, at: At, status: u16) -> ClientStep {
        use NonInviteState::*;
        match (self.state, status) {
            (Trying | Proceeding, 100..=199) => {
                self.state = Proceeding;
                if let Some(copies) = &mut self.clock.copies {
                    copies.interval = self.timers.t2; // the next Timer E is reset to T2 (17.1.2.2)
                }
                ClientStep::Deliver
            }
            (Trying | Proceeding, 200..) => {
                self.clock = Clock {
                    copies: None,
                    end: Some(at + self.timers.t4), // Timer K
                };
                self.state = match self.transport.is_reliable() {
                    true => Terminated,
                    false => Completed,
                };
                ClientStep::Deliver
            }
            _ => ClientStep::Nothing,
        }
    }

    pub fn time(&mut self, at: At) -> ClientStep {
        if self.clock.ended(at) {
            let pending = self.is_pending();
            self.stop();
            return match pending {
                true => ClientStep::TimedOut,
                false => ClientStep::Nothing,
            };
        }
        match self.clock.copy_due(at) {
            true => ClientStep::Repeat,
            false => ClientStep::Nothing,
        }
    }

    /// The transport failed (RFC 3261 17.1.4).
    pub fn stop(&mut self) {
        self.state = NonInviteState::Terminated;
        self.clock = Clock::default();
    }
}

/// INVITE server transaction (RFC 3261 17.2.1, RFC 6026 7.1).
#[derive(Clone, Debug)]
pub struct InviteServer {
    timers: Timers,
    transport: SipTransport,
    state: InviteServerState,
    clock: Clock,
    answered: bool,
    acknowledged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InviteServerState {
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
    Terminated,
}

impl InviteServer {
    /// The INVITE came at `at`; 100 is due after `trying` unless the owner answers before.
    pub fn new(at: At, timers: Timers, transport: SipTransport, trying: Duration) -> InviteServer {
        InviteServer {
            timers,
            transport,
            state: InviteServerState::Proceeding,
            clock: Clock {
                copies: None,
                end: Some(at + trying),
            },
            answered: false,
            acknowledged: true,
        }
    }

    pub fn due(&self) -> Option<At> {
        self.clock.due()
    }

    pub fn is_over(&self) -> bool {
        self.state == InviteServerState::Terminated
    }

    /// No final response was sent yet.
    pub fn is_pending(&self) -> bool {
        self.state == InviteServerState::Proceeding
    }

    /// A copy of the INVITE came.
    pub fn request(&self) -> ServerStep {
        match self.state {
            InviteServerState::Proceeding | InviteServerState::Completed if self.answered => {
                ServerStep::Repeat
            }
            _ => ServerStep::Nothing,
        }
    }

    /// Whether the machine absorbs an ACK with the INVITE's branch: that of a non-2xx.
    pub fn absorbs_ack(&self) -> bool {
        matches!(
            self.state,
            InviteServerState::Completed | InviteServerState::Confirmed
        )
    }

    /// The ACK of a non-2xx came: Timer I.
    pub fn ack(&mut self, at: At) {
        if self.state != InviteServerState::Completed {
            return;
        }
        self.clock = Clock {
            copies: None,
            end: Some(at + self.timers.t4),
        };
        self.state = match self.transport.is_reliable() {
            true => InviteServerState::Terminated,
            false => InviteServerState::Confirmed,
        };
    }

    /// The ACK of this UAS's 2xx came: no more copies.
    pub fn ack_of_success(&mut self) {
        self.acknowledged = true;
        self.clock.copies = None;
    }

    /// The owner answers; says whether the response may go out.
    pub fn respond(&mut self, at: At, status: u16, answerer: Answerer) -> bool {
        use InviteServerState::*;
        match (self.state, status) {
            (Proceeding, 100..=199) => {
                self.answered = true;
                self.clock = Clock::default();
                true
            }
            (Proceeding, 200..=299) => {
                self.state = Accepted;
                self.acknowledged = answerer == Answerer::Proxy;
                self.clock = Clock {
                    copies: (answerer == Answerer::Uas)
                        .then(|| Copies::doubling(at, self.timers.t1, self.timers.t2)),
                    end: Some(at + self.timers.patience()), // Timer L
                };
                true
            }
            (Proceeding, 300..) => {
                self.answered = true;
                self.state = Completed;
                self.clock = Clock {
                    copies: (!self.transport.is_reliable())
                        .then(|| Copies::doubling(at, self.timers.t1, self.timers.t2)), // Timer G
                    end: Some(at + self.timers.patience()), // Timer H
                };
                true
            }
            (Accepted, 200..=299) => true,
            _ => false,
        }
    }

    pub fn time(&mut self, at: At) -> ServerStep {
        if self.clock.ended(at) {
            return self.end();
        }
        match self.clock.copy_due(at) {
            true => ServerStep::Repeat,
            false => ServerStep::Nothing,
        }
    }

    fn end(&mut self) -> ServerStep {
        if self.is_pending() {
            self.clock = Clock::default();
            self.answered = true;
            return ServerStep::Trying;
        }
        self.stop();
        match self.acknowledged {
            true => ServerStep::Nothing,
            false => ServerStep::AckMissing,
        }
    }

    fn stop(&mut self) {
        self.state = InviteServerState::Terminated;
        self.clock = Clock::default();
    }
}

/// Non-INVITE server transaction (RFC 3261 17.2.2, RFC 4320).
#[derive(Clone, Debug)]
pub struct NonInviteServer {
    timers: Timers,
    transport: SipTransport,
    state: NonInviteState,
    clock: Clock,
    gives_up: At,
}

impl NonInviteServer {
    /// The request came at `at`. Without an answer it gets 100 once a client's Timer E has reached T2
    /// (RFC 4320 4.1), and after 64*T1 nothing any more: nobody waits (RFC 4320 4.2).
    pub fn new(at: At, timers: Timers, transport: SipTransport) -> NonInviteServer {
        NonInviteServer {
            timers,
            transport,
            state: NonInviteState::Trying,
            clock: Clock {
                copies: None,
                end: Some(at + timers.slow_answer()),
            },
            gives_up: at + timers.patience(),
        }
    }

    pub fn due(&self) -> Option<At> {
        self.clock.due()
    }

    pub fn is_over(&self) -> bool {
        self.state == NonInviteState::Terminated
    }

    /// A copy of the request came.
    pub fn request(&self) -> ServerStep {
        match self.state {
            NonInviteState::Proceeding | NonInviteState::Completed => ServerStep::Repeat,
            _ => ServerStep::Nothing,
        }
    }

    /// The owner answers; says whether the response may go out.
    pub fn respond(&mut self, at: At, status: u16) -> bool {
        use NonInviteState::*;
        match (self.state, status) {
            (Trying | Proceeding, 100..=199) => {
                self.state = Proceeding;
                self.clock.end = Some(self.gives_up);
                true
            }
            (Trying | Proceeding, 200..) => {
                self.clock.end = Some(at + self.timers.patience()); // Timer J
                self.state = match self.transport.is_reliable() {
                    true => Terminated,
                    false => Completed,
                };
                true
            }
            _ => false,
        }
    }

    pub fn time(&mut self, at: At) -> ServerStep {
        if !self.clock.ended(at) {
            return ServerStep::Nothing;
        }
        if self.state == NonInviteState::Trying && at < self.gives_up {
            self.state = NonInviteState::Proceeding;
            self.clock.end = Some(self.gives_up);
            return ServerStep::Trying;
        }
        self.stop();
        ServerStep::Nothing
    }

    fn stop(&mut self) {
        self.state = NonInviteState::Terminated;
        self.clock = Clock::default();
    }
}

/// How long a caller that heard a provisional response waits for the next.
const SILENCE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: SipTransport = SipTransport::Udp;

    /// When a machine that is only woken acts, in milliseconds.
    fn acts<S: PartialEq>(
        due: impl Fn() -> Option<At>,
        mut wake: impl FnMut(At) -> S,
        wanted: S,
    ) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(at) = due() {
            if wake(at) == wanted {
                times.push(at.as_nanos() / 1_000_000);
            }
        }
        times
    }

    #[test]
    fn an_unanswered_invite_is_sent_seven_times_in_32_s() {
        let client = std::cell::RefCell::new(InviteClient::new(At::ZERO, Timers::CORE, UDP));
        let due = || client.borrow().due();
        let copies = acts(due, |at| client.borrow_mut().time(at), ClientStep::Repeat);
        assert_eq!(vec![500, 1500, 3500, 7500, 15500, 31500], copies);
        assert!(client.borrow().is_over());
    }

    #[test]
    fn an_unanswered_non_invite_is_sent_every_t2_at_last() {
        let client = std::cell::RefCell::new(NonInviteClient::new(At::ZERO, Timers::CORE, UDP));
        let due = || client.borrow().due();
        let copies = acts(due, |at| client.borrow_mut().time(at), ClientStep::Repeat);
        let expected = [
            500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500,
        ];
        assert_eq!(expected.to_vec(), copies);
    }

    #[test]
    fn a_provisional_slows_a_non_invite_and_stops_an_invite() {
        let mut slow = NonInviteClient::new(At::ZERO, Timers::CORE, UDP);
        slow.response(At::from_nanos(100), 100);
        let first = slow.due().expect("Timer E runs");
        assert_eq!(ClientStep::Repeat, slow.time(first));
        assert_eq!(Duration::from_secs(4), slow.due().unwrap() - first);

        let mut calling = InviteClient::new(At::ZERO, Timers::CORE, UDP);
        calling.response(At::ZERO, 180);
        assert_eq!(Some(At::ZERO + SILENCE), calling.due());
    }

    #[test]
    fn copies_of_a_2xx_are_delivered_and_copies_of_a_4xx_acknowledged() {
        let mut client = InviteClient::new(At::ZERO, Timers::CORE, UDP);
        assert_eq!(ClientStep::Deliver, client.response(At::ZERO, 200));
        assert_eq!(ClientStep::Deliver, client.response(At::ZERO, 200));
        let mut client = InviteClient::new(At::ZERO, Timers::CORE, UDP);
        let first = client.response(At::ZERO, 404);
        assert_eq!(ClientStep::AcknowledgeAndDeliver, first);
        assert_eq!(ClientStep::Acknowledge, client.response(At::ZERO, 404));
    }

    #[test]
    fn timer_d_outlasts_timer_h_on_gm() {
        let mut client = InviteClient::new(At::ZERO, Timers::GM, UDP);
        client.response(At::ZERO, 404);
        assert_eq!(Some(At::ZERO + Duration::from_secs(128)), client.due());
    }

    #[test]
    fn only_a_uas_repeats_a_2xx() {
        for (answerer, repeats) in [(Answerer::Uas, true), (Answerer::Proxy, false)] {
            let mut server = InviteServer::new(At::ZERO, Timers::CORE, UDP, Duration::ZERO);
            server.respond(At::ZERO, 200, answerer);
            let step = server.time(server.due().unwrap());
            assert_eq!(repeats, step == ServerStep::Repeat);
        }
    }

    #[test]
    fn timer_e_of_a_client_reaches_t2_after_three_and_a_half_seconds() {
        assert_eq!(Duration::from_millis(3500), Timers::CORE.slow_answer());
        assert_eq!(Duration::from_secs(14), Timers::GM.slow_answer());
    }
}
