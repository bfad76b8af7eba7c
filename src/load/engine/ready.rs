//! Which sockets are ready, and waiting for them until an exact time: epoll, with a timer that knows
//! nanoseconds (its own timeout knows milliseconds).

use std::{io, mem::MaybeUninit, os::fd::AsFd, os::fd::OwnedFd, time::Duration};

use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    thread::set_current_timer_slack,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

/// Sockets under numbers of the owner's.
pub struct Ready {
    epoll: OwnedFd,
    timer: OwnedFd,
    events: Vec<MaybeUninit<epoll::Event>>,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub token: u64,
    /// There is something to read, or the end.
    pub readable: bool,
    pub writable: bool,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    Write,
    Both,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Interest::Read => EventFlags::IN | EventFlags::RDHUP,
            Interest::Write => EventFlags::OUT,
            Interest::Both => EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT,
        }
    }
}

/// The number of the timer.
const TIMER: u64 = u64::MAX;

impl Ready {
    pub fn new() -> io::Result<Ready> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(
            &epoll,
            &timer,
            EventData::new_u64(TIMER),
            EventFlags::IN | EventFlags::ET,
        )?;
        // Else the kernel may be 50 µs late to save power.
        set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        Ok(Ready {
            epoll,
            timer,
            events: vec![MaybeUninit::uninit(); 256],
        })
    }

    pub fn add(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    pub fn modify(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            socket,
            EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    /// Waits until something is ready or the time is over, and puts what is ready into `events`.
    pub fn wait(&mut self, at_most: Duration, events: &mut Vec<Event>) -> io::Result<()> {
        events.clear();
        let is_now = at_most.is_zero();
        if !is_now {
            let value = Timespec {
                tv_sec: at_most.as_secs() as i64,
                tv_nsec: at_most.subsec_nanos().into(),
            };
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: value,
            };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        }
        let now = Timespec::default();
        let waited = epoll::wait(&self.epoll, &mut self.events, is_now.then_some(&now));
        let (ready, _) = match waited {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            waited => waited?,
        };
        events.extend(ready.iter().filter_map(|event| {
            let (flags, data) = (event.flags, event.data);
            let token = data.u64();
            let ended = EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP;
            (token != TIMER).then_some(Event {
                token,
                readable: flags.intersects(EventFlags::IN | ended),
                writable: flags.contains(EventFlags::OUT),
            })
        }));
        Ok(())
    }
}
