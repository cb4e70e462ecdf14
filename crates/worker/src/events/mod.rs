//! What happens, told as it happens: a bounded log that any number of readers follow.
//!
//! Whoever does something says so with [`Events::emit`], which never waits and never fails. A reader
//! keeps its own place in the log, so a slow one holds nobody up; it is told what it has missed.
//! Wake-ups carry no data: a woken reader looks into the log.

mod event;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sessiond_queue::ids::{SessionId, Timestamp};
use tokio::sync::watch;

pub use event::{Event, Told};

use crate::clock::Clock;

/// Events that are kept in memory; whoever falls further behind has missed some.
const KEPT_MAX: usize = 4096;

/// The log. Clones share it.
#[derive(Clone, Debug)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    log: Mutex<VecDeque<Arc<Told>>>,
    /// Number of the newest event; 0: there is none yet.
    newest: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                clock: Clock,
                log: Mutex::default(),
                newest: watch::Sender::new(0),
            }),
        }
    }
}

impl Events {
    /// Tells that something has happened, in a session or not.
    pub fn emit(&self, session: Option<SessionId>, event: Event) {
        let at: Timestamp = self.shared.clock.now();
        let mut log = self.log();
        self.shared.newest.send_modify(|newest| {
            *newest += 1;
            if log.len() == KEPT_MAX {
                log.pop_front();
            }
            log.push_back(Arc::new(Told {
                number: *newest,
                at,
                session,
                event,
            }));
        });
    }

    fn log(&self) -> MutexGuard<'_, VecDeque<Arc<Told>>> {
        self.shared
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
