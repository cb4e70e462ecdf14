//! Takes the spool in: at start-up and whenever a hook has written to it.
//!
//! Reading, locking and unlinking are [`crate::spool`]'s; what an event is, is the acceptor's. This
//! task joins the two and decides when to look again.

use std::sync::Arc;
use std::time::Duration;

use sessiond_queue::ids::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::accept::{Acceptor, Incoming};
use crate::clock::Clock;
use crate::set_aside::SetAside;
use crate::spool::{Frame, SinkVerdict, SpoolWatch, ingest};
use crate::wire::layout::Layout;

/// How long to wait when the queue is full or the store fails; nothing else announces its end.
const LATER: Duration = Duration::from_secs(1);

/// How long start-up waits for the first pass. It is usually over in milliseconds; but a session
/// that fires faster than its file is emptied, or whoever holds a file's lock, must not keep all
/// other sessions from being resumed.
const FIRST_PASS: Duration = Duration::from_secs(1);

/// The task that takes the spool in.
pub struct SpoolIntake {
    task: JoinHandle<()>,
}

impl SpoolIntake {
    /// Begins to take in what is there, and goes on in the background until `stop`. Returns when
    /// the first pass is over, or takes too long.
    pub async fn start(
        layout: Layout,
        acceptor: Arc<Acceptor>,
        set_aside: Arc<SetAside>,
        stop: CancellationToken,
    ) -> Self {
        // Subscribe first, then look.
        let watch = SpoolWatch::new(&layout.spool_dir());
        let mouth = Mouth {
            layout,
            acceptor,
            set_aside,
            stop,
        };
        let (passed, first_pass) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut is_clear = mouth.take_in().await;
            // Start-up may have gone on without it.
            let _gone_on = passed.send(());
            let watch = match watch {
                Ok(watch) => Some(watch),
                Err(error) => {
                    let error = crate::errors::chain(&error);
                    tracing::error!(error, "the spool cannot be watched; looking every second");
                    None
                }
            };
            loop {
                tokio::select! {
                    () = mouth.stop.cancelled() => return,
                    () = changed(watch.as_ref()) => {}
                    () = tokio::time::sleep(LATER), if !is_clear || watch.is_none() => {}
                }
                is_clear = mouth.take_in().await;
            }
        });
        // Only the waiting ends: cut off between an event's commit and its wake-up, the pass would
        // leave that event unworked.
        if tokio::time::timeout(FIRST_PASS, first_pass).await.is_err() {
            tracing::warn!("the spool is still being taken in; start-up goes on meanwhile");
        }
        Self { task }
    }

    /// Waits for the task's end.
    pub async fn finished(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "taking the spool in panicked");
        }
    }
}

async fn changed(watch: Option<&SpoolWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

struct Mouth {
    layout: Layout,
    acceptor: Arc<Acceptor>,
    set_aside: Arc<SetAside>,
    stop: CancellationToken,
}

impl Mouth {
    /// Whether nothing has to be tried again.
    async fn take_in(&self) -> bool {
        let spool = self.layout.spool_dir();
        let now = || Clock.now();
        match ingest(&spool, &self.set_aside, now, |frame| self.store(frame)).await {
            Ok(report) => {
                if report.stored + report.refused + report.damaged > 0 {
                    tracing::info!(?report, "spool taken in");
                }
                report.left == 0
            }
            Err(error) => {
                tracing::error!(%error, "the spool cannot be read");
                false
            }
        }
    }

    async fn store(&self, frame: Frame) -> SinkVerdict {
        if self.stop.is_cancelled() {
            return SinkVerdict::TryLater;
        }
        let incoming = Incoming {
            agent: &frame.agent,
            event_id: frame.event_id,
            fired_at: Timestamp(frame.fired_at_ms),
            agent_process: frame.agent_process.as_deref(),
            raw: &frame.payload,
        };
        match self.acceptor.accept(incoming).await {
            Ok(_) => SinkVerdict::Stored,
            Err(error) if error.is_temporary() => SinkVerdict::TryLater,
            Err(_) => SinkVerdict::Refused,
        }
    }
}
