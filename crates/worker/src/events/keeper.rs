//! Brings what was told to the disk: in batches, about a second after the first event of each, and
//! at the stop. Nothing is armed while nothing happens.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Events;
use super::log::EventLog;
use super::names::Names;
use super::shown::show;
use crate::errors::chain;
use crate::state::StateError;

/// How long events wait for others to be written with: as much as a kill of the worker may cost
/// those who read afterwards.
const GATHER: Duration = Duration::from_secs(1);

/// Events of one transaction: short enough that the index does not wait long behind it.
const BATCH_MAX: usize = 256;

/// The task's state.
pub(super) struct Keeper {
    events: Events,
    log: EventLog,
    names: Arc<Names>,
    /// Whether the run has begun on disk.
    is_begun: bool,
    /// Number of the last event that is on disk or was given up.
    kept: u64,
    /// Number of the newest event when it was last tried to keep it.
    tried: u64,
}

impl Keeper {
    pub(super) fn new(events: Events, log: EventLog, names: Arc<Names>) -> Self {
        Self {
            events,
            log,
            names,
            is_begun: false,
            kept: 0,
            tried: 0,
        }
    }

    /// Begins the run on disk; if that fails, it is tried again with the first events.
    pub(super) async fn begin(&mut self) {
        if let Err(error) = self.try_begin().await {
            tracing::error!(error = chain(&error), "events are not kept yet");
        }
    }

    async fn try_begin(&mut self) -> Result<(), StateError> {
        if !self.is_begun {
            self.log.begin(self.events.newest().generation).await?;
            self.is_begun = true;
        }
        Ok(())
    }

    /// Keeps up until `cancel`; then writes what is left, and that it is all.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = self.events.after(self.tried) => {}
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(GATHER) => {}
            }
            self.keep().await;
        }
        if self.keep().await {
            let last = self.events.place(self.kept);
            if let Err(error) = self.log.end(last).await {
                tracing::warn!(error = chain(&error), "the log of events is not complete");
            }
        }
    }

    /// Writes what is not on disk yet; whether it could. What it could not is tried again with the
    /// next event, for as long as it is in memory.
    async fn keep(&mut self) -> bool {
        self.tried = self.events.newest().number;
        match self.try_keep().await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = chain(&error), "events are not kept");
                false
            }
        }
    }

    async fn try_keep(&mut self) -> Result<(), StateError> {
        self.try_begin().await?;
        // No further: under load there is always a newer one, and each second is enough.
        let newest = self.events.newest();
        while self.kept < newest.number {
            let Some(batch) = self.events.since(self.kept, BATCH_MAX) else {
                // More came within a second than memory holds. Readers find the gap by the numbers.
                self.kept = self.events.before_oldest().number;
                continue;
            };
            let Some(last) = batch.last().map(|told| told.number) else {
                return Ok(());
            };
            let names = self.names.of(&batch).await;
            let shown = show(newest.generation, batch, &names);
            self.log.add(&shown).await?;
            self.kept = last;
        }
        Ok(())
    }
}
