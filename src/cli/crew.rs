//! Workers side by side over a list, until it is done or a signal comes.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use super::signal::Stop;

/// One worker a core.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Has `workers` do every item; `taken` receives each result with its place in the list, as it comes. After a
/// signal nothing new is begun.
pub fn work<T: Sync, R: Send, A>(
    items: &[T],
    workers: usize,
    stop: &Stop,
    work: impl Fn(&T) -> R + Sync,
    taken: impl FnOnce(mpsc::Receiver<(usize, R)>) -> A,
) -> A {
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..workers.clamp(1, items.len().max(1)) {
            let (work, next, send) = (&work, &next, send.clone());
            scope.spawn(move || {
                while !stop.is_asked() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else {
                        break;
                    };
                    if send.send((number, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        taken(receive)
    })
}
