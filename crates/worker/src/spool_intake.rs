//! Takes the spool in: at start-up and whenever a hook has written to it.
//!
//! Reading, locking and unlinking are [`crate::spool`]'s; what an event is, is the acceptor's. This
//! task joins the two and decides when to look again.

use std::sync::Arc;
use std::time::Duration;

use sessiond_queue::ids::{EventId, Timestamp};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::accept::{Acceptor, Incoming};
use crate::spool::{Frame, SinkVerdict, SpoolWatch, ingest};
use crate::wire::layout::Layout;

/// How long to wait when the queue is full or the store fails; nothing else announces its end.
const LATER: Duration = Duration::from_secs(1);

/// The task that takes the spool in.
pub struct SpoolIntake {
    task: JoinHandle<()>,
}

impl SpoolIntake {
    /// Takes in what is there, then goes on in the background until `stop`.
    pub async fn start(layout: Layout, acceptor: Arc<Acceptor>, stop: CancellationToken) -> Self {
        // Subscribe first, then look.
        let watch = SpoolWatch::start(&layout.spool_dir());
        let first = take_in(&layout, &acceptor).await;
        let task = tokio::spawn(async move {
            let mut watch = match watch {
                Ok(watch) => Some(watch),
                Err(error) => {
                    tracing::error!(%error, "the spool cannot be watched; looking every second");
                    None
                }
            };
            let mut is_clear = first;
            loop {
                let look_again = tokio::time::sleep(LATER);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = changed(&mut watch) => {}
                    () = look_again, if !is_clear || watch.is_none() => {}
                }
                is_clear = take_in(&layout, &acceptor).await;
            }
        });
        Self { task }
    }

    /// Waits for the task's end.
    pub async fn finished(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "taking the spool in panicked");
        }
    }
}

async fn changed(watch: &mut Option<SpoolWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Whether nothing has to be tried again.
async fn take_in(layout: &Layout, acceptor: &Acceptor) -> bool {
    let sink = async |frame: Frame| store(acceptor, frame).await;
    match ingest(&layout.spool_dir(), sink).await {
        Ok(report) => report.later == 0,
        Err(error) => {
            tracing::error!(%error, "the spool cannot be read");
            false
        }
    }
}

async fn store(acceptor: &Acceptor, frame: Frame) -> SinkVerdict {
    let incoming = Incoming {
        agent: &frame.agent,
        event_id: EventId(Uuid::from_bytes(frame.event_id)),
        fired_at: Timestamp(frame.fired_at_ms),
        raw: &frame.payload,
    };
    match acceptor.accept(incoming).await {
        Ok(_) => SinkVerdict::Stored,
        Err(error) if error.is_temporary() => SinkVerdict::TryLater,
        Err(error) => SinkVerdict::Refused(error.to_string()),
    }
}
