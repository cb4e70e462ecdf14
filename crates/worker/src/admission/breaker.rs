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
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Its wait lasts.
    Open,
    /// Its wait is over: one may try, or is trying.
    HalfOpen,
}

/// A breaker that is not closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;

    use super::*;

    /// Longer than any test, so that only what a test does can open the way.
    const LONG: Duration = Duration::from_secs(1_000);
    const LIMIT: Duration = Duration::from_secs(20);

    fn slow() -> Breakers {
        Breakers::new(LONG, LONG * 64)
    }

    /// Waits that are over almost at once.
    fn fast() -> Breakers {
        Breakers::new(Duration::from_millis(1), Duration::from_millis(1))
    }

    async fn trial(breakers: &Breakers) -> Trial {
        let pass = tokio::time::timeout(LIMIT, breakers.admitted("echo")).await;
        match pass.expect("nobody keeps it from trying") {
            Pass::Trial(trial) => trial,
            Pass::Free => panic!("it is not closed"),
        }
    }

    #[test]
    fn breaker_opens_for_its_kind_only_and_success_closes_it() {
        let breakers = slow();
        assert!(matches!(breakers.admit("echo"), Admit::Free));
        breakers.unavailable("echo", "quota", None);
        let Admit::Open { reason, until } = breakers.admit("echo") else {
            panic!("not open");
        };
        assert_eq!(reason, "quota");
        assert!(until > Instant::now() + LONG / 2);
        assert_eq!(breakers.is_open("echo").expect("open").reason, "quota");
        assert!(matches!(breakers.admit("tally"), Admit::Free));
        assert_eq!(breakers.is_open("tally"), None);
        breakers.success("echo");
        assert!(matches!(breakers.admit("echo"), Admit::Free));
        assert_eq!(breakers.status(), []);
    }

    #[tokio::test]
    async fn wait_doubles_up_to_the_cap_and_starts_anew_after_a_success() {
        let breakers = Breakers::new(Duration::from_millis(8), Duration::from_millis(20));
        for full_ms in [8, 16, 20, 20] {
            let wait = breakers.unavailable("echo", "quota", None);
            let expected = Duration::from_millis(full_ms * 3 / 4)..=Duration::from_millis(full_ms);
            assert!(expected.contains(&wait), "{wait:?} is not of {full_ms} ms");
            drop(trial(&breakers).await);
        }
        assert_eq!(breakers.status()[0].failures, 4);
        breakers.success("echo");
        assert!(breakers.unavailable("echo", "quota", None) <= Duration::from_millis(8));
    }

    #[tokio::test]
    async fn failed_trial_doubles_the_wait() {
        let breakers = fast();
        breakers.unavailable("echo", "quota", None);
        let trial = trial(&breakers).await;
        breakers.unavailable("echo", "still quota", Some(LONG));
        drop(trial);
        let status = breakers.status();
        assert_eq!(status.len(), 1);
        assert_eq!(status[0].state, BreakerState::Open);
        assert_eq!((status[0].failures, &*status[0].reason), (2, "still quota"));
        assert!(matches!(breakers.admit("echo"), Admit::Open { .. }));
    }

    #[test]
    fn failures_of_those_let_through_before_do_not_double_it() {
        let breakers = slow();
        for _ in 0..4 {
            assert!(breakers.unavailable("echo", "quota", None) <= LONG);
        }
        let status = breakers.status();
        assert_eq!(status[0].failures, 1);
        assert!(status[0].retry_in_ms <= ms(LONG));
    }

    #[test]
    fn providers_own_wait_counts_if_it_is_longer_up_to_an_hour() {
        let breakers = fast();
        let day = Duration::from_secs(24 * 60 * 60);
        for (asked, expected) in [(LONG, LONG), (day, RETRY_AFTER_MAX)] {
            breakers.success("echo");
            assert_eq!(breakers.unavailable("echo", "x", Some(asked)), expected);
        }
        // One that says so while it is open already prolongs it, and never shortens it.
        let left = breakers.unavailable("echo", "x", Some(Duration::from_secs(1)));
        assert!(left > RETRY_AFTER_MAX - LONG);
        let breakers = slow();
        assert!(breakers.unavailable("echo", "x", Some(Duration::ZERO)) >= LONG / 2);
    }

    #[tokio::test]
    async fn half_open_lets_one_try_and_the_next_after_a_trial_that_was_dropped() {
        let breakers = fast();
        breakers.unavailable("echo", "quota", None);
        let first = trial(&breakers).await;
        assert!(matches!(breakers.admit("echo"), Admit::Open { .. }));
        assert!(breakers.is_open("echo").is_some());
        assert_eq!(breakers.status()[0].state, BreakerState::HalfOpen);
        drop(first);
        assert_eq!(breakers.is_open("echo"), None, "to be tried");
        let second = trial(&breakers).await;
        breakers.success("echo");
        breakers.unavailable("echo", "again", Some(LONG));
        drop(second);
        assert!(matches!(breakers.admit("echo"), Admit::Open { .. }));
    }

    #[tokio::test]
    async fn those_who_wait_are_let_through_when_it_closes() {
        let breakers = slow();
        breakers.unavailable("echo", "quota", None);
        let mut waiting = Box::pin(breakers.admitted("echo"));
        assert!(waiting.as_mut().now_or_never().is_none());
        breakers.success("echo");
        let pass = tokio::time::timeout(LIMIT, waiting).await;
        assert!(!pass.expect("woken").is_trial());
    }

    #[tokio::test]
    async fn wait_that_is_ended_by_hand_lets_one_try_at_once() {
        let breakers = slow();
        assert!(!breakers.retry_now("echo"), "it is closed");
        breakers.unavailable("echo", "quota", None);
        let mut waiting = Box::pin(breakers.admitted("echo"));
        let mut next = Box::pin(breakers.admitted("echo"));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(next.as_mut().now_or_never().is_none());
        assert!(breakers.retry_now("echo"));
        let pass = tokio::time::timeout(LIMIT, waiting).await;
        let pass = pass.expect("woken");
        assert!(pass.is_trial());
        assert!(next.as_mut().now_or_never().is_none(), "one at a time");
        assert!(breakers.retry_now("echo"), "it is being tried");
        breakers.unavailable("echo", "still", None);
        assert!(next.as_mut().now_or_never().is_none(), "it waits anew");
        drop(pass);
    }

    /// The base is long: nobody comes through by asking again after a while.
    #[tokio::test]
    async fn those_who_wait_for_a_trial_are_woken_when_it_is_dropped() {
        let breakers = Breakers::new(LONG, Duration::ZERO);
        let shared = Arc::clone(&breakers.0);
        breakers.unavailable("echo", "quota", None);
        let over = Instant::now();
        shared.lock().open.get_mut("echo").expect("open").until = over;
        let first = trial(&breakers).await;
        let mut waiting = Box::pin(breakers.admitted("echo"));
        let mut dropped = Box::pin(breakers.admitted("echo"));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(dropped.as_mut().now_or_never().is_none());
        drop(dropped);
        drop(first);
        let pass = tokio::time::timeout(LIMIT, waiting).await;
        assert!(pass.expect("woken").is_trial());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn never_two_try_at_once_and_all_come_through() {
        for _ in 0..50 {
            let breakers = fast();
            breakers.unavailable("echo", "quota", None);
            let trying = Arc::new(AtomicUsize::new(0));
            let tasks = (0..32).map(|number| {
                let (breakers, trying) = (breakers.clone(), Arc::clone(&trying));
                tokio::spawn(async move {
                    let Pass::Trial(trial) = breakers.admitted("echo").await else {
                        return;
                    };
                    assert_eq!(trying.fetch_add(1, Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    trying.fetch_sub(1, Ordering::SeqCst);
                    match number % 3 {
                        0 => {
                            breakers.unavailable("echo", "still", None);
                        }
                        1 if number > 16 => breakers.success("echo"),
                        _ => {}
                    }
                    drop(trial);
                })
            });
            let all = futures::future::join_all(tasks);
            let ended = tokio::time::timeout(LIMIT, all).await.expect("all woken");
            assert!(ended.into_iter().all(|end| end.is_ok()));
        }
    }
}
