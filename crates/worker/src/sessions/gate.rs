//! The gate before a program's claims: its budget, its provider's breaker, and a slot.
//!
//! A message is claimed only when its generator may work at once, so that nothing is held in claim
//! while it waits its turn. Waiting here is not polled: a freed slot, a breaker that closes, a
//! budget's next day, a wake-up or the end of the run lets it look again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sessiond_queue::error::StoreError;
use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_queue::types::Claimed;
use tokio::sync::Notify;

use super::run::RunShared;
use super::{Context, left};
use crate::admission::{Pass, Slot, over};
use crate::generator::Kind;

/// What came of asking for a claim.
pub(super) enum Gated {
    /// The store's answer.
    Claimed(Claimed),
    /// The session has had its turn: the generator is to be closed, then ask again.
    GiveWay,
    /// It may not work, and its session drains.
    Blocked {
        /// When it may; `None`: nobody knows.
        until: Option<Timestamp>,
    },
    /// Something changed; look again.
    Again,
}

/// How a slot was had.
enum Taking {
    /// It was there already.
    Had,
    /// Meanwhile anything may have happened.
    Waited,
    /// The run is to end.
    Cancelled,
}

/// One run's gate.
pub(super) struct Gate {
    context: Arc<Context>,
    session: SessionId,
    kind: Kind,
    shared: Arc<RunShared>,
    /// Kept until a message has shown whether the provider is there.
    pass: Mutex<Option<Pass>>,
    /// Rings when a slot was taken.
    taken: Notify,
}

impl Gate {
    pub(super) fn new(
        context: Arc<Context>,
        session: SessionId,
        kind: Kind,
        shared: Arc<RunShared>,
    ) -> Self {
        Self {
            context,
            session,
            kind,
            shared,
            pass: Mutex::default(),
            taken: Notify::new(),
        }
    }

    /// Claims the head of the session as soon as its generator may work on it; `seen` is what
    /// [`Wake::look`](super::wake::Wake::look) returned before.
    pub(super) async fn claim(&self, seen: u64) -> Result<Gated, StoreError> {
        let (store, clock) = (&self.context.store, self.context.clock);
        let now = clock.now();
        match store.due_at(self.session).await? {
            None => return Ok(self.rest(Claimed::Empty)),
            Some(until) if until > now => return Ok(self.rest(Claimed::Delayed { until })),
            Some(_) => {}
        }
        if self.slot().is_some_and(|slot| slot.turn_is_over()) {
            return Ok(Gated::GiveWay);
        }
        loop {
            if let Some(gated) = self.stay_in_budget(seen, clock.now()).await? {
                return Ok(gated);
            }
            if let Some(gated) = self.pass_breaker(seen).await {
                return Ok(gated);
            }
            match self.take_slot().await {
                Taking::Had => break,
                // Those before it in the line may have spent the rest, or found the provider away.
                Taking::Waited => {
                    self.pass().take_if(|pass| !pass.is_trial());
                }
                Taking::Cancelled => return Ok(Gated::Again),
            }
        }
        let claimed = store
            .claim(self.session, self.context.generation, clock.now())
            .await?;
        Ok(match claimed {
            Claimed::Message(_) => Gated::Claimed(claimed),
            other => self.rest(other),
        })
    }

    /// Waits until the idle generator should give way: first for the slot, if there is none yet.
    /// Cancel-safe; only one may wait at a time.
    pub(super) async fn wanted(&self) {
        loop {
            match self.slot() {
                Some(slot) => return slot.wanted().await,
                None => self.taken.notified().await,
            }
        }
    }

    /// Whether the generator is neither at work nor about to be.
    pub(super) fn is_idle(&self) -> bool {
        self.slot().is_none_or(|slot| slot.is_idle())
    }

    /// Gives the slot back; the generator is closed.
    pub(super) fn leave(&self) {
        *self.pass() = None;
        *self.shared.slot() = None;
    }

    /// The provider answered.
    pub(super) fn provider_is_there(&self) {
        self.context.admission.breakers.success(&self.kind.name);
        *self.pass() = None;
    }

    /// The provider is away: every session of this kind waits.
    pub(super) fn provider_is_away(&self, reason: &str, retry_after: Option<Duration>) {
        let breakers = &self.context.admission.breakers;
        let wait = breakers.unavailable(&self.kind.name, reason, retry_after);
        let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(generator = %self.kind.name, retry_ms, "provider unavailable");
        *self.pass() = None;
    }

    /// Whether the session may work at all is for its budget to say.
    async fn stay_in_budget(&self, seen: u64, now: Timestamp) -> Result<Option<Gated>, StoreError> {
        let settings = &self.context.settings.generator;
        if !settings.has_budget() {
            return Ok(None);
        }
        let store = &self.context.store;
        let session = store.session(self.session).await?;
        let spent = session.map(|session| session.usage).unwrap_or_default();
        let today = store.usage_of_day(now.day()).await?;
        let Some(over) = over(settings, &spent, &today, now) else {
            return Ok(None);
        };
        let until = over.until;
        if self.shared.is_draining() {
            return Ok(Some(Gated::Blocked { until }));
        }
        let _waiting = self.wait_for(over.to_string());
        *self.pass() = None;
        let over_at = async {
            match until {
                Some(until) => tokio::time::sleep(left(until, self.context.clock)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over_at => {}
            () = self.shared.wake.changed(seen) => {}
            () = self.shared.token.cancelled() => {}
        }
        Ok(Some(Gated::Again))
    }

    async fn pass_breaker(&self, seen: u64) -> Option<Gated> {
        let breakers = &self.context.admission.breakers;
        let open = breakers.is_open(&self.kind.name);
        if let Some(pass) = &*self.pass()
            && (open.is_none() || matches!(pass, Pass::Trial(_)))
        {
            return None;
        }
        let waiting = match open {
            Some(open) if self.shared.is_draining() => {
                let wait = Duration::from_millis(open.retry_in_ms);
                let until = Some(self.context.clock.now().after(wait));
                return Some(Gated::Blocked { until });
            }
            Some(open) => {
                Some(self.wait_for(format!("its provider is unavailable: {}", open.reason)))
            }
            None => None,
        };
        let pass = tokio::select! {
            pass = breakers.admitted(&self.kind.name) => pass,
            () = self.shared.wake.changed(seen) => return Some(Gated::Again),
            () = self.shared.token.cancelled() => return Some(Gated::Again),
        };
        drop(waiting);
        *self.pass() = Some(pass);
        None
    }

    async fn take_slot(&self) -> Taking {
        if let Some(slot) = self.slot() {
            slot.busy();
            return Taking::Had;
        }
        let _waiting = self.wait_for("every slot is taken".to_owned());
        tokio::select! {
            biased;
            slot = self.context.admission.slots.acquire(self.session) => {
                self.hold(slot);
                Taking::Waited
            }
            () = self.shared.token.cancelled() => Taking::Cancelled,
        }
    }

    fn hold(&self, slot: Slot) {
        *self.shared.slot() = Some(Arc::new(slot));
        self.taken.notify_one();
    }

    /// There is nothing to work just now. What the provider would have been asked with is left to
    /// others.
    fn rest(&self, claimed: Claimed) -> Gated {
        *self.pass() = None;
        if let Some(slot) = self.slot() {
            slot.idle();
        }
        Gated::Claimed(claimed)
    }

    /// Says what the session waits for, until the guard is dropped. A slot it holds meanwhile may
    /// be had by others.
    fn wait_for(&self, what: String) -> Waiting<'_> {
        if let Some(slot) = self.slot() {
            slot.idle();
        }
        self.shared.set_waiting(Some(what));
        Waiting(&self.shared)
    }

    fn slot(&self) -> Option<Arc<Slot>> {
        self.shared.slot().clone()
    }

    fn pass(&self) -> MutexGuard<'_, Option<Pass>> {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Waiting<'a>(&'a RunShared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set_waiting(None);
    }
}
