//! The one way a session ends, at whatever depth and whoever asks.
//!
//! Every step may be repeated: a close that was cut off by a crash is begun again at the next
//! start and finds done what is done.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use sessiond_queue::error::SessionError;
use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_queue::types::{CloseDepth, Marked};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::report::{CloseReport, Depth, GeneratorEnd};
use super::{CloseError, Context, Settled};
use crate::config::Rehearsal;
use crate::events::{Event, Who};

/// What the close has to know of a run to end it.
#[derive(Clone, Debug)]
pub(super) struct RunHandle {
    /// Cancelled: end after the message in work.
    pub(super) token: CancellationToken,
    /// Cancelled by the run's end, however it comes.
    pub(super) ended: CancellationToken,
    /// The last resort.
    pub(super) abort: AbortHandle,
}

/// What a close has to do.
pub(super) struct Close {
    pub(super) session: SessionId,
    pub(super) depth: Depth,
    /// The run to be ended.
    pub(super) run: Option<RunHandle>,
    /// Whether an earlier run has left its claim unsettled.
    pub(super) unsettled: bool,
    /// Nothing is to be done if the drain that led here was called off.
    pub(super) only_if_draining: bool,
    /// How long the generator is waited for.
    pub(super) wait: Duration,
}

/// How a close ended.
pub(super) enum CloseEnd {
    /// It is done.
    Done {
        report: CloseReport,
        /// The drain that stands in the session's row after an unload.
        drain_until: Option<Timestamp>,
        /// The names of one that was purged, which nobody can ask for any more.
        who: Option<Box<Who>>,
    },
    /// A prompt came: nothing was stopped.
    DrainCalledOff,
    /// A step failed; the mark, if there is one, stands, and the close can be asked for again.
    Failed(CloseError),
}

/// Closes a session.
pub(super) async fn close(context: Arc<Context>, close: Close) -> CloseEnd {
    let (session, depth) = (close.session, close.depth);
    let closing = AssertUnwindSafe(try_close(&context, close)).catch_unwind();
    // A panic is a defect of ours; the session must not hang on it.
    let closed = closing.await.unwrap_or(Err(CloseError::Panicked));
    match closed {
        Ok(Some(done)) => {
            let report = &done.report;
            tracing::info!(
                session.id = %session, ?depth, generator = ?report.generator,
                waited_ms = report.waited_ms, reaped = report.reaped.len(),
                pending_left = report.pending_left, "session closed"
            );
            CloseEnd::Done {
                report: done.report,
                drain_until: done.drain_until,
                who: done.who,
            }
        }
        Ok(None) => CloseEnd::DrainCalledOff,
        Err(error) => {
            let chain = crate::errors::chain(&error);
            tracing::error!(session.id = %session, ?depth, error = chain, "close failed");
            CloseEnd::Failed(error)
        }
    }
}

struct Done {
    report: CloseReport,
    drain_until: Option<Timestamp>,
    who: Option<Box<Who>>,
}

/// `None`: the drain was called off.
async fn try_close(context: &Context, close: Close) -> Result<Option<Done>, CloseError> {
    let Close {
        session,
        depth,
        run,
        unsettled,
        only_if_draining,
        wait,
    } = close;
    // Before the run hears of it: what ends because of this is part of the report.
    let reaping = context.processes.reaping(session);
    if !only_if_draining && let Some(run) = &run {
        // Before the mark: what is accepted after it is not this run's.
        run.token.cancel();
    }
    let mut mark = depth.mark();
    if let Some(asked) = mark {
        let now = context.clock.now();
        let marked = context
            .store
            .mark_closing(session, asked, only_if_draining, now)
            .await?;
        match marked {
            Marked::Closing(marked) => {
                let closing = Event::SessionClosing { depth: marked };
                context.events.emit(Some(session), closing);
                mark = Some(marked);
            }
            Marked::DrainCalledOff => return Ok(None),
        }
    }
    rehearse(&context.settings.rehearsal, "marked");
    let begun = Instant::now();
    let may_hold_a_claim = unsettled || run.is_some();
    let generator = stop(session, run, wait).await;
    let waited_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Before its claim is given back: nothing of it works on that message any more.
    let reaped = reaping.await;
    if mark.is_some() {
        // What an earlier worker has left of it, too: nothing of a session outlives its close. An
        // unload promises no such thing, and a stop must keep its deadline.
        context.processes.cleared(session).await;
    }
    let mut released = 0;
    if may_hold_a_claim {
        let now = context.clock.now();
        let reason = "its generator was ended";
        let given_back = context.store.release_session(session, reason, now).await;
        released = given_back.map_err(SessionError::Store)?;
    }
    rehearse(&context.settings.rehearsal, "stopped");
    let mut who = None;
    if mark == Some(CloseDepth::Purge) {
        let row = context.store.session(session).await;
        who = row.map_err(SessionError::Store)?.map(|row| {
            Box::new(Who {
                agent: row.agent,
                key: row.key,
                project: row.project,
            })
        });
        // Rows first: what the index reads afterwards cannot bring a purged result back.
        let now = context.clock.now();
        context.store.purge_rows(session, now).await?;
        rehearse(&context.settings.rehearsal, "purged");
        context.index.forget(session).await?;
        context.processes.forget(session).await;
        rehearse(&context.settings.rehearsal, "forgotten");
    }
    let mut settled = Settled::default();
    if let Some(depth) = mark {
        settled = context.belongings.settle(session, depth).await?;
        rehearse(&context.settings.rehearsal, "settled");
    }
    let mut drain_until = None;
    let (life, pending_left) = if mark.is_some() {
        let now = context.clock.now();
        let closed = context.store.finish_close(session, now).await?;
        (closed.life, closed.pending)
    } else {
        let row = context.store.session(session).await;
        let row = row.map_err(SessionError::Store)?;
        drain_until = row.as_ref().and_then(|row| row.drain_until);
        (
            row.as_ref().map(|row| row.life),
            row.map_or(0, |row| row.pending),
        )
    };
    let report = CloseReport {
        session,
        depth: mark.map_or(depth, Depth::from),
        generator,
        waited_ms,
        reaped,
        released,
        pending_left,
        tokens_revoked: settled.tokens_revoked,
        worktrees: settled.worktrees,
        life,
    };
    Ok(Some(Done {
        report,
        drain_until,
        who,
    }))
}

/// Ends the generator: asked, waited for, and in the end aborted.
async fn stop(session: SessionId, run: Option<RunHandle>, wait: Duration) -> GeneratorEnd {
    let Some(run) = run else {
        return GeneratorEnd::None;
    };
    run.token.cancel();
    if tokio::time::timeout(wait, run.ended.cancelled())
        .await
        .is_ok()
    {
        return GeneratorEnd::Stopped;
    }
    let waited_ms = wait.as_millis();
    tracing::warn!(session.id = %session, waited_ms, "generator did not end in time; aborting it");
    run.abort.abort();
    // An abort takes effect at the task's next await; from then on it settles nothing.
    run.ended.cancelled().await;
    GeneratorEnd::Aborted
}

/// Kills the worker at a configured step, as a power cut would.
pub(crate) fn rehearse(rehearsal: &Rehearsal, step: &str) {
    if rehearsal.kill_at == step {
        tracing::warn!(step, "rehearsal: the worker kills itself");
        // If even that fails, the rehearsal has no effect, which its caller notices.
        let _not_killed = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}
