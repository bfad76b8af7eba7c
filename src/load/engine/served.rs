//! What the loops serve: a Tracking List that all of them reach, or contents that all of them hold. Both answer
//! with the functions of the reference nodes.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::serve::Service;
use crate::{
    load::{population::Population, tracker::fill},
    node::{
        Setup, Shelf, TrackerDesk, content_answer, policy::ServingPolicy, setup::Content,
        tracking_list::TrackingList, tracking_list_of,
    },
    time::At,
    wire::http,
};

/// The Tracking List that all cores share. The lock is held while an answer is found, a microsecond or few, and
/// neither while a request is read nor while its answer is written.
#[derive(Debug)]
pub struct SharedList {
    list: Mutex<TrackingList>,
    /// One core at a time looks for those who went silent.
    sweeping: AtomicBool,
    /// Peers whose track timer fired.
    expired: AtomicU64,
    /// The longest the lock was held to let peers expire, in nanoseconds.
    longest_sweep: AtomicU64,
}

/// Timers looked at in one go, so that nobody waits long for it.
const SWEEP: usize = 64;

impl SharedList {
    /// The list of a tracker with this set-up, in which every resident has joined its swarm.
    pub fn filled(setup: &Setup, population: &Population) -> SharedList {
        let mut list = tracking_list_of(setup);
        fill(&mut list, population);
        SharedList {
            list: Mutex::new(list),
            sweeping: AtomicBool::new(false),
            expired: AtomicU64::new(0),
            longest_sweep: AtomicU64::new(0),
        }
    }

    /// Peers that are tracked now.
    pub fn tracked(&self) -> usize {
        self.lock().len()
    }

    /// Peers whose track timer fired.
    pub fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    /// The longest the list was held to let peers expire.
    pub fn longest_sweep(&self) -> Duration {
        Duration::from_nanos(self.longest_sweep.load(Ordering::Relaxed))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, TrackingList> {
        // A core that panicked has left an answer unfinished; the list is whole.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets some of those go who went silent, if another core does not do so already.
    pub(super) fn sweep(&self, at: At, now: impl Fn() -> At) {
        if self.sweeping.swap(true, Ordering::Acquire) {
            return;
        }
        let mut list = self.lock();
        if list.next_expiry().is_some_and(|due| due <= at) {
            let begun = now();
            let removed = list.expire_some(at, SWEEP);
            drop(list);
            self.expired
                .fetch_add(removed.len() as u64, Ordering::Relaxed);
            let nanos = now().since(begun).as_nanos() as u64;
            self.longest_sweep.fetch_max(nanos, Ordering::Relaxed);
        }
        self.sweeping.store(false, Ordering::Release);
    }
}

/// One core of a tracker.
pub struct TrackerService<N> {
    desk: TrackerDesk,
    list: Arc<SharedList>,
    /// The clock.
    now: N,
    swept: At,
}

/// How often a core looks for those who went silent.
pub(super) const BETWEEN_SWEEPS: Duration = Duration::from_millis(1);

impl<N: Fn() -> At> TrackerService<N> {
    pub fn new(setup: &Setup, local: SocketAddr, list: Arc<SharedList>, now: N) -> Self {
        TrackerService {
            desk: TrackerDesk::new(setup, local),
            list,
            now,
            swept: At::ZERO,
        }
    }
}

impl<N: Fn() -> At> Service for TrackerService<N> {
    fn answer(
        &mut self,
        at: At,
        request: &http::Request,
        from: SocketAddr,
    ) -> http::ResponseBuilder {
        self.desk.answer(at, request, from, || self.list.lock())
    }

    fn tick(&mut self, at: At) {
        if at.since(self.swept) >= BETWEEN_SWEEPS {
            self.swept = at;
            self.list.sweep(at, &self.now);
        }
    }
}

/// One core of a server of contents.
pub struct ContentService {
    shelf: Arc<Shelf>,
    policy: ServingPolicy,
}

impl ContentService {
    pub fn new(shelf: Arc<Shelf>, policy: ServingPolicy) -> ContentService {
        ContentService { shelf, policy }
    }
}

/// A shelf with every piece of these contents on it.
pub fn shelf_of(contents: &[Content]) -> Shelf {
    let mut shelf = Shelf::default();
    for content in contents {
        let all: Vec<u32> = content.pieces.iter().map(|piece| piece.n).collect();
        shelf.put(content, &all);
    }
    shelf
}

impl Service for ContentService {
    fn answer(
        &mut self,
        _at: At,
        request: &http::Request,
        _from: SocketAddr,
    ) -> http::ResponseBuilder {
        content_answer(&self.shelf, request, &self.policy)
    }
}
