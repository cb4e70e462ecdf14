//! What happens, told as it happens: a bounded log that any number of readers follow.
//!
//! # Theory of operation
//!
//! ```text
//! whoever does something --emit--> Events, a ring in memory --keeper, each second--> state.db
//!                                     |    each reader has a place of its own           |
//!                                     +------------------> Reader <---------------------+
//!                                                             | filter, names
//!                                                             v
//!                                         GET /v1/events, and so `sessiond watch`
//! ```
//!
//! [`Events::emit`] never waits, never fails and makes no text: it puts a value into the ring. What
//! that means in JSON, and how its session is called, is found out by those who read. A reader holds
//! nothing but its place, so that a slow one costs nothing and holds nobody up; when what comes next
//! is neither in memory nor on disk any more it is told how much it has missed. Wake-ups carry no
//! data: a woken reader looks into the ring.
//!
//! A [`Place`] is (generation, number); the number begins at 1 with each run of the worker. A run
//! that stopped in order has left how many events it told, so that a reader that comes back after a
//! restart knows whether it has them all; of one that was killed, it is told that it may have missed
//! some.
//!
//! How much is pending and whether anything is in work is no event but a state ([`board`](Feed)):
//! readers are told the present one, at most so often, and nothing of it is kept.
//!
//! Modules in reading order: `event` (all that is told), `types` (its names), `place`, `log` (on
//! disk), `keeper` (brings it there), `names` and `shown` (what readers are given), `filter`,
//! `reader`, `board`, `feed` (all of it together).

mod board;
mod event;
mod feed;
mod filter;
mod keeper;
mod log;
mod names;
mod place;
mod reader;
mod shown;
mod types;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sessiond_queue::ids::{Generation, SessionId};
use tokio::sync::Notify;

pub use board::Standing;
pub use event::{Event, Told, Who, reason};
pub use feed::{Feed, Parts};
pub use filter::{Filter, InvalidTypes};
pub use place::{InvalidPlace, Place};
pub use reader::{Item, Reader};
pub use shown::Shown;
pub use types::{LAGGED, STATUS, known as known_types, table as table_of_types};

use crate::clock::Clock;

/// Events that are kept in memory unless it is configured.
const MEMORY_MAX: usize = 4096;

/// The log's end that is in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    generation: Generation,
    memory_max: usize,
    ring: Mutex<Ring>,
    /// Rings at each event, for those who wait at that moment: one that does not has not looked yet.
    told: Notify,
    /// Rings when the doctor may judge otherwise.
    look: Notify,
    /// Whether the doctor's verdict was not `ok`.
    is_troubled: AtomicBool,
}

#[derive(Debug, Default)]
struct Ring {
    /// Number of the newest event; 0: there is none yet.
    newest: u64,
    events: VecDeque<Told>,
}

impl Ring {
    /// Number of the oldest event that is kept, or of the next one.
    fn oldest(&self) -> u64 {
        self.newest + 1 - self.events.len() as u64
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new(Generation(0), MEMORY_MAX)
    }
}

impl Events {
    /// An empty log of a generation that keeps `memory_max` events in memory.
    pub fn new(generation: Generation, memory_max: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock: Clock,
                generation,
                memory_max: memory_max.max(1),
                ring: Mutex::default(),
                told: Notify::new(),
                look: Notify::new(),
                is_troubled: AtomicBool::new(false),
            }),
        }
    }

    /// Tells that something has happened, in a session or not.
    pub fn emit(&self, session: Option<SessionId>, event: Event) {
        let shared = &*self.shared;
        if event.may_change_the_verdict(shared.is_troubled.load(Ordering::Relaxed)) {
            shared.look.notify_one();
        }
        let at = shared.clock.now();
        let forgotten = {
            let mut ring = self.ring();
            let forgotten = match ring.events.len() >= shared.memory_max {
                true => ring.events.pop_front(),
                false => None,
            };
            ring.newest += 1;
            let number = ring.newest;
            ring.events.push_back(Told {
                number,
                at,
                session,
                event,
            });
            forgotten
        };
        // Outside of the lock: it may hold a long report.
        drop(forgotten);
        shared.told.notify_waiters();
    }

    /// The place of the newest event.
    pub fn newest(&self) -> Place {
        self.place(self.ring().newest)
    }

    /// Waits until there is an event after `number` of this generation. Cancel-safe.
    async fn after(&self, number: u64) {
        loop {
            // Subscribe first, then look.
            let mut told = pin!(self.shared.told.notified());
            told.as_mut().enable();
            if self.ring().newest > number {
                return;
            }
            told.await;
        }
    }

    /// Up to `max` events after `number`, the oldest first: none when it is the newest, and `None`
    /// when the next one is not in memory any more.
    fn since(&self, number: u64, max: usize) -> Option<Vec<Told>> {
        let ring = self.ring();
        let skip = (number + 1).checked_sub(ring.oldest())?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Some(ring.events.iter().skip(skip).take(max).cloned().collect())
    }

    /// The place before the oldest event in memory.
    fn before_oldest(&self) -> Place {
        self.place(self.ring().oldest() - 1)
    }

    /// Waits until the doctor may judge otherwise than at the last call. Cancel-safe.
    pub async fn look_wanted(&self) {
        self.shared.look.notified().await;
    }

    /// Whether the doctor's verdict is not `ok`: then successes too are a reason to look.
    pub fn set_troubled(&self, is_troubled: bool) {
        self.shared
            .is_troubled
            .store(is_troubled, Ordering::Relaxed);
    }

    fn place(&self, number: u64) -> Place {
        Place {
            generation: self.shared.generation,
            number,
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing panics while it is held half changed.
        self.shared
            .ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
