//! The task that sees to the ends of processes: whose set is empty then, drains.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sessiond_queue::error::SessionError;
use sessiond_queue::store::Store;
use sessiond_queue::types::Life;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::AgentWatch;
use super::roster::{Key, Left};
use super::verify::has_ended;
use crate::errors::chain;
use crate::events::Event;
use crate::sessions::Sessions;

/// How often those are looked at who cannot be waited for; only while there are any.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long until an end is taken up again that could not be seen to, because a store failed.
const RETRY: Duration = Duration::from_secs(5);

/// Ends that are seen to in one go.
const BATCH_MAX: usize = 64;

/// Not running yet.
pub struct Keeper {
    watch: AgentWatch,
    ended: mpsc::Receiver<Key>,
}

impl Keeper {
    pub(super) fn new(watch: AgentWatch, ended: mpsc::Receiver<Key>) -> Self {
        Self { watch, ended }
    }

    /// Lets sessions drain whose agents are gone, until `stop`.
    pub async fn run(mut self, store: Arc<dyn Store>, sessions: Sessions, stop: CancellationToken) {
        self.forget_ended(store.as_ref()).await;
        let mut look_at = None;
        let mut batch = Vec::new();
        loop {
            let quiet_at = {
                let roster = self.watch.roster();
                match roster.has_looked_at() {
                    true => look_at = look_at.or_else(|| Some(Instant::now() + LOOK_EVERY)),
                    false => look_at = None,
                }
                roster.quiet_at()
            };
            let next = quiet_at.into_iter().chain(look_at).min();
            tokio::select! {
                () = stop.cancelled() => return,
                _ = self.ended.recv_many(&mut batch, BATCH_MAX) => {}
                () = self.watch.shared.unheld.notified() => continue,
                () = until(next) => {
                    let now = Instant::now();
                    batch.extend(self.watch.roster().quiet(now));
                    if look_at.is_some_and(|at| at <= now) {
                        look_at = None;
                        let looked_at = self.watch.roster().looked_at();
                        let gone = looked_at.into_iter().filter(|(_, identity)| has_ended(identity));
                        batch.extend(gone.map(|(key, _)| key));
                    }
                }
            }
            for key in batch.drain(..) {
                self.see_to(&sessions, &key).await;
            }
        }
    }

    /// Forgets sessions that are over: the worker that ended them was cut off before it did.
    async fn forget_ended(&self, store: &dyn Store) {
        let known = self.watch.roster().sessions();
        for session in known {
            let is_over = match store.session(session).await {
                Ok(row) => row.is_none_or(|row| row.life == Life::Ended),
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(session.id = %session, error, "whether it is over is not known");
                    false
                }
            };
            if is_over && let Err(error) = self.watch.settle(session).await {
                let error = chain(&error);
                tracing::error!(session.id = %session, error, "its agents are not forgotten");
            }
        }
    }

    /// A process has ended.
    async fn see_to(&self, sessions: &Sessions, key: &Key) {
        let shared = &self.watch.shared;
        let order = shared.order.write().await;
        let left = self.watch.roster().without(key);
        if left.is_empty() {
            // Its last session ended a moment before it did.
            return;
        }
        let mut is_seen_to = true;
        for Left {
            session,
            others,
            is_empty,
        } in left
        {
            let pid = key.pid;
            let drains = match is_empty {
                true => sessions.agent_gone(session).await,
                false => Ok(false),
            };
            match drains {
                Ok(drains) => {
                    tracing::info!(session.id = %session, pid, others, drains, "agent gone");
                    let event = Event::AgentGone {
                        pid,
                        others,
                        drains,
                    };
                    shared.events.emit(Some(session), event);
                }
                // Purged meanwhile.
                Err(SessionError::Unknown(_)) => {}
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(session.id = %session, pid, error, "agent gone, session not ended");
                    is_seen_to = false;
                }
            }
        }
        if !is_seen_to {
            self.watch.roster().keep_ended(key, Instant::now() + RETRY);
            return;
        }
        shared.gone.fetch_add(1, Ordering::Relaxed);
        self.watch.roster().remove_process(key);
        // Events wait for the decision, not for what follows from it.
        drop(order);
        // Last: until here the next worker finds the process gone and does the same again.
        if let Err(error) = shared.table.delete_process(key).await {
            let error = chain(&error);
            tracing::error!(pid = key.pid, error, "an agent's process is not forgotten");
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
