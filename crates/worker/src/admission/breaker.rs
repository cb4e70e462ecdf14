//! One breaker for each kind of generator: while its provider is away, no session asks it.
//!
//! ```text
//! closed --unavailable--> open --its wait is over--> half open --success--> closed
//!                          ^                             |
//!                          +------ unavailable, wait x2 -+
//! ```
//! Half open, one session at a time tries, with a [`Trial`] in its hands; if that is dropped without
//! an answer (its run was cancelled), the next one tries. What a session does meanwhile, and what
//! becomes of its messages, is for its run to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

/// The longest that a provider may ask to be left alone for: a wrong number of its does not keep
/// sessions waiting for a day.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// Bounds the shift; a wait has reached any cap long before.
const DOUBLINGS_MAX: u32 = 20;

/// A handle to all breakers.
#[derive(Clone, Debug)]
pub struct Breakers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    base: Duration,
    cap: Duration,
    kinds: Mutex<Kinds>,
    /// Marked after every change, for those who wait.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Kinds {
    /// Those that are not closed, by the kind's name.
    open: BTreeMap<String, Open>,
    /// Number of the next trial, so that a late one does not end another.
    next_trial: u64,
}

#[derive(Debug)]
struct Open {
    reason: String,
    /// Waits in a row that ended with the provider still away.
    failures: u32,
    /// When its wait is over.
    until: Instant,
    /// The trial that is out.
    trial: Option<u64>,
}

/// Whether a generator of a kind may be asked.
#[derive(Debug)]
pub enum Admit {
    /// Its breaker is closed.
    Free,
    /// Its breaker is half open, and this caller is the one who tries.
    Trial(Trial),
    /// Not now.
    Open {
        /// Why its provider was last unavailable.
        reason: String,
        /// When to ask again, unless it is closed before.
        until: Instant,
    },
}

/// A permission to ask a provider.
#[derive(Debug)]
#[must_use = "a trial is given up when it is dropped"]
pub enum Pass {
    /// Without conditions.
    Free,
    /// As the only one.
    Trial(Trial),
}

impl Pass {
    /// Whether it is the only try at a provider that was away.
    pub fn is_trial(&self) -> bool {
        matches!(self, Self::Trial(_))
    }
}

/// The only try at a provider that was unavailable. To be kept until [`Breakers::success`] or
/// [`Breakers::unavailable`] was called; dropped before, the next one tries.
#[derive(Debug)]
pub struct Trial {
    shared: Arc<Shared>,
    kind: String,
    number: u64,
}

/// Why a breaker lets nobody through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenInfo {
    /// Why its provider was last unavailable.
    pub reason: String,
    /// How long until the next try; while one is under way, until it is worth asking again.
    pub retry_in_ms: u64,
}

/// The state of a breaker that is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Its wait lasts.
    Open,
    /// Its wait is over: one may try, or is trying.
    HalfOpen,
}

/// A breaker that is not closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct BreakerStatus {
    /// Name of the kind of generator.
    pub kind: String,
    /// Its state.
    pub state: BreakerState,
    /// Why its provider was last unavailable.
    pub reason: String,
    /// Waits in a row that did not help.
    pub failures: u32,
    /// How long until the next try; 0: now.
    pub retry_in_ms: u64,
}

impl Breakers {
    /// All closed. The first wait is `base`; it doubles up to `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self(Arc::new(Shared {
            // Not zero, so that nobody waits in a circle.
            base: base.max(Duration::from_millis(1)),
            cap,
            kinds: Mutex::default(),
            changed: watch::Sender::new(()),
        }))
    }

    /// Whether a generator of this kind may be asked now.
    pub fn admit(&self, kind: &str) -> Admit {
        let now = Instant::now();
        let mut kinds = self.0.lock();
        let number = kinds.next_trial;
        let Some(open) = kinds.open.get_mut(kind) else {
            return Admit::Free;
        };
        if let Some(until) = open.closed_until(now, self.0.base) {
            return Admit::Open {
                reason: open.reason.clone(),
                until,
            };
        }
        open.trial = Some(number);
        kinds.next_trial += 1;
        Admit::Trial(Trial {
            shared: Arc::clone(&self.0),
            kind: kind.to_owned(),
            number,
        })
    }

    /// Waits until a generator of this kind may be asked. Dropping the future leaves no trace.
    pub async fn admitted(&self, kind: &str) -> Pass {
        let mut changed = self.0.changed.subscribe();
        loop {
            // Subscribe first, then look.
            changed.mark_unchanged();
            let until = match self.admit(kind) {
                Admit::Free => return Pass::Free,
                Admit::Trial(trial) => return Pass::Trial(trial),
                Admit::Open { until, .. } => until,
            };
            tokio::select! {
                // The sender lives as long as this handle, so that it is always a change.
                _changed = changed.changed() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Why a generator of this kind may not be asked now; `None`: it may, if only to try.
    pub fn is_open(&self, kind: &str) -> Option<OpenInfo> {
        let now = Instant::now();
        let kinds = self.0.lock();
        let open = kinds.open.get(kind)?;
        let until = open.closed_until(now, self.0.base)?;
        Some(OpenInfo {
            reason: open.reason.clone(),
            retry_in_ms: ms(until - now),
        })
    }

    /// Notes that the provider of this kind was away: opens its breaker, or doubles its wait.
    /// Answers how long it is to be left alone, at least `retry_after` up to an hour.
    pub fn unavailable(&self, kind: &str, reason: &str, retry_after: Option<Duration>) -> Duration {
        let now = Instant::now();
        let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let mut kinds = self.0.lock();
        let wait = match kinds.open.get_mut(kind) {
            // One that was let through before it opened says nothing new, or the wait of four
            // sessions that fail together would be eight times the first.
            Some(open) if open.trial.is_none() && now < open.until => {
                open.until = open.until.max(now + asked);
                open.until - now
            }
            Some(open) => {
                open.failures = open.failures.saturating_add(1);
                let wait = self.0.wait(open.failures).max(asked);
                reason.clone_into(&mut open.reason);
                open.until = now + wait;
                open.trial = None;
                wait
            }
            None => {
                let wait = self.0.wait(1).max(asked);
                let open = Open {
                    reason: reason.to_owned(),
                    failures: 1,
                    until: now + wait,
                    trial: None,
                };
                kinds.open.insert(kind.to_owned(), open);
                wait
            }
        };
        drop(kinds);
        self.0.tell();
        wait
    }

    /// Notes that the provider of this kind answered: closes its breaker.
    pub fn success(&self, kind: &str) {
        if self.0.lock().open.remove(kind).is_some() {
            self.0.tell();
        }
    }

    /// Ends the wait of this kind's breaker: the next one may try at once. Answers whether it was not
    /// closed.
    pub fn retry_now(&self, kind: &str) -> bool {
        let mut kinds = self.0.lock();
        let Some(open) = kinds.open.get_mut(kind) else {
            return false;
        };
        // With a trial out, this is for the one after it.
        open.until = Instant::now();
        drop(kinds);
        self.0.tell();
        true
    }

    /// Every breaker that is not closed, by name.
    pub fn status(&self) -> Vec<BreakerStatus> {
        let now = Instant::now();
        let kinds = self.0.lock();
        let status = kinds.open.iter().map(|(kind, open)| {
            let left = open.until.saturating_duration_since(now);
            BreakerStatus {
                kind: kind.clone(),
                state: if open.trial.is_some() || left.is_zero() {
                    BreakerState::HalfOpen
                } else {
                    BreakerState::Open
                },
                reason: open.reason.clone(),
                failures: open.failures,
                retry_in_ms: ms(left),
            }
        });
        status.collect()
    }
}

impl Open {
    /// When to ask again; `None`: whoever asks may try. While another one tries, the answer is a
    /// first wait from now.
    fn closed_until(&self, now: Instant, base: Duration) -> Option<Instant> {
        match self.trial {
            Some(_) => Some(now + base),
            None => (now < self.until).then_some(self.until),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Kinds> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_replace(());
    }

    /// The wait after the `failures`-th in a row: doubles up to the cap, minus up to a quarter, so
    /// that what failed together does not come back together.
    fn wait(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
        let full = self.base.saturating_mul(1 << doublings);
        let full_ms = ms(full.min(self.cap.max(self.base)));
        let jitter_ms = uuid::Uuid::new_v4().as_u128() as u64 % (full_ms / 4 + 1);
        Duration::from_millis(full_ms - jitter_ms)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let mut kinds = self.shared.lock();
        let Some(open) = kinds.open.get_mut(&self.kind) else {
            return;
        };
        // It may have been answered for, and another one be out.
        if open.trial == Some(self.number) {
            open.trial = None;
            drop(kinds);
            self.shared.tell();
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
