//! Ctrl-C and SIGTERM: the first asks the run to stop and write what it has, the second ends it at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, progress::clear};

/// Whether the run was asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Starts to listen, on a thread of its own.
    pub fn on_signals() -> Stop {
        let stop = Stop::default();
        let asked = stop.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let interrupt = signal(SignalKind::interrupt());
                let terminate = signal(SignalKind::terminate());
                let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
                    return;
                };
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if asked.0.swap(true, Ordering::SeqCst) {
                        clear();
                        std::process::exit(i32::from(Exit::Interrupted.code()));
                    }
                }
            });
        });
        stop
    }

    /// What is set once it was.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
