//! What happens by itself: the start from the rows, the end of clients whose time is over, the look
//! at processes, and the rows that follow. Nothing here polls: each loop waits for what it is for.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::client::Why;
use super::limits::SWEEP_EVERY;
use super::rows::{self, Batch};
use super::watch::Standing;
use crate::errors::chain;
use crate::state::StateError;

/// Runs until `stop`, then saves what is left to be saved.
pub(super) async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    tokio::join!(
        stop.run_until_cancelled(expire(&shared)),
        stop.run_until_cancelled(sweep(&shared)),
        save(&shared, &stop),
    );
}

/// Lets clients go when their time is over; sleeps until the next one's is.
async fn expire(shared: &Shared) {
    loop {
        let over = poll_fn(|cx| {
            let mut registry = shared.registry();
            let over = registry.poll_over(cx);
            over.map(|entry| {
                registry.unsaved.gone.insert(entry.id);
                entry
            })
        });
        let over = over.await;
        shared.part(&over, Why::Expired);
        shared.unsaved.notify_one();
    }
}

/// Looks at processes while there are any that have to be looked at.
async fn sweep(shared: &Arc<Shared>) {
    loop {
        shared.swept.notified().await;
        while shared.registry().has_swept() {
            tokio::time::sleep(SWEEP_EVERY).await;
            shared.sweep().await;
        }
    }
}

/// Saves what has changed, some time after the first change, and once more at the end.
async fn save(shared: &Shared, stop: &CancellationToken) {
    let interval = Duration::from_millis(shared.settings.save_interval_ms);
    while stop
        .run_until_cancelled(shared.unsaved.notified())
        .await
        .is_some()
    {
        // When it is cut off, the save at the end follows.
        let _is_stopping = stop
            .run_until_cancelled(tokio::time::sleep(interval))
            .await
            .is_none();
        // What failed is tried again after another interval.
        if shared.save_and_note().await.is_err() {
            shared.unsaved.notify_one();
        }
    }
    // It was noted; there is nobody left to try it again but the next worker, which has the rows.
    let _noted = shared.save_and_note().await;
}

impl Shared {
    /// Takes up the stored clients. Those that are gone are told of, those that cannot be read stay
    /// where they are.
    pub(super) async fn restore(self: &Arc<Self>) -> Result<(), StateError> {
        let now = self.clock.now();
        let longest = self.token_ttl().max(self.ttl());
        let mut gone = Vec::new();
        for row in rows::load(self.state.readers(), now).await? {
            let mut entry = match row {
                Ok(entry) => entry,
                Err((client, problem)) => {
                    tracing::warn!(
                        client,
                        problem,
                        "a stored client cannot be read; it stays aside"
                    );
                    self.registry().skipped += 1;
                    continue;
                }
            };
            if entry.expires_at <= now {
                gone.push((entry, Why::Expired));
                continue;
            }
            if entry.kind.is_kept_by_touch() && !self.settings.enabled {
                continue;
            }
            // A clock that was set back must not make it last longer than it may.
            if entry.expires_at.since(now) > longest {
                entry.expires_at = now.after(longest);
                entry.deadline = tokio::time::Instant::now() + longest;
            }
            let standing = entry
                .process
                .as_deref()
                .and_then(|process| self.look(process));
            if matches!(standing, Some(Standing::Gone)) {
                gone.push((entry, Why::ProcessEnded));
                continue;
            }
            let id = entry.id;
            let is_gone = self.insert_watched(&mut self.registry(), entry, standing);
            if is_gone {
                self.dismiss(&[id], Why::ProcessEnded);
            }
        }
        let ids = gone.iter().map(|(entry, _)| entry.id);
        let mut writer = self.state.writer().await?;
        let mut transaction = writer.begin().await?;
        rows::delete(&mut transaction, ids).await?;
        // Also those that cannot be read.
        rows::delete_expired(&mut transaction, now).await?;
        transaction.commit().await?;
        drop(writer);
        for (entry, why) in &gone {
            self.part(entry, *why);
        }
        Ok(())
    }

    async fn save_and_note(&self) -> Result<(), StateError> {
        let saved = self.save().await;
        let error = saved.as_ref().err().map(|error| chain(error));
        if let Some(error) = &error {
            tracing::warn!(error, "clients could not be stored; it is tried again");
        }
        self.registry().last_error = error;
        saved
    }

    /// Makes the rows say what the registry does.
    async fn save(&self) -> Result<(), StateError> {
        if self.registry().unsaved.is_empty() {
            return Ok(());
        }
        // First, so that what is looked at is what is written: whoever else changes rows waits.
        let mut writer = self.state.writer().await?;
        let (unsaved, batch) = {
            let mut registry = self.registry();
            let changed = registry.unsaved.changed.iter();
            let batch = Batch::of(changed.filter_map(|id| registry.get(*id)))?;
            (std::mem::take(&mut registry.unsaved), batch)
        };
        let written = async {
            let mut transaction = writer.begin().await?;
            // An id may be taken again.
            rows::delete(&mut transaction, unsaved.gone.iter().copied()).await?;
            rows::save(&mut transaction, &batch).await?;
            transaction.commit().await
        };
        let written = written.await;
        if written.is_err() {
            let mut registry = self.registry();
            for id in unsaved.changed {
                if registry.get(id).is_some() {
                    registry.unsaved.changed.insert(id);
                }
            }
            registry.unsaved.gone.extend(unsaved.gone);
        }
        Ok(written?)
    }
}
