//! The one way a session ends, at whatever depth and whoever asks.
//!
//! Every step may be repeated: a close that was cut off by a crash is begun again at the next
//! start and finds done what is done.

use std::sync::Arc;
use std::time::Duration;

use sessiond_queue::error::SessionError;
use sessiond_queue::ids::SessionId;
use sessiond_queue::types::{CloseDepth, Marked};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::report::{CloseReport, Depth, GeneratorEnd};
use super::{CloseError, Context};

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

/// How a close ended.
pub(super) enum CloseEnd {
    /// It is done.
    Done(CloseReport),
    /// A prompt came: nothing was stopped.
    DrainCalledOff,
    /// A step failed; the mark, if there is one, stands, and the close can be asked for again.
    Failed(CloseError),
}

/// Closes `session` at `depth`.
pub(super) async fn close(
    context: Arc<Context>,
    session: SessionId,
    run: Option<RunHandle>,
    depth: Depth,
    only_if_draining: bool,
) -> CloseEnd {
    match try_close(&context, session, run, depth, only_if_draining).await {
        Ok(Some(report)) => {
            tracing::info!(
                session.id = %session, ?depth, generator = ?report.generator,
                waited_ms = report.waited_ms, pending_left = report.pending_left, "session closed"
            );
            CloseEnd::Done(report)
        }
        Ok(None) => CloseEnd::DrainCalledOff,
        Err(error) => {
            let chain = crate::errors::chain(&error);
            tracing::error!(session.id = %session, ?depth, error = chain, "close failed");
            CloseEnd::Failed(error)
        }
    }
}

async fn try_close(
    context: &Context,
    session: SessionId,
    run: Option<RunHandle>,
    depth: Depth,
    only_if_draining: bool,
) -> Result<Option<CloseReport>, CloseError> {
    let mut mark = depth.mark();
    if let Some(asked) = mark {
        let now = context.clock.now();
        match context
            .store
            .mark_closing(session, asked, only_if_draining, now)
            .await?
        {
            Marked::Closing(marked) => mark = Some(marked),
            Marked::DrainCalledOff => return Ok(None),
        }
    }
    rehearse(context, "marked");
    let begun = Instant::now();
    let generator = stop(context, session, run).await;
    let waited_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let released = match generator {
        GeneratorEnd::Aborted => {
            let now = context.clock.now();
            let released = context
                .store
                .release_session(session, "the generator was aborted", now)
                .await;
            released.map_err(SessionError::Store)?
        }
        GeneratorEnd::None | GeneratorEnd::Stopped => 0,
    };
    rehearse(context, "stopped");
    if mark == Some(CloseDepth::Purge) {
        // Rows first: what the index reads afterwards cannot bring a purged result back.
        context
            .store
            .purge_rows(session, context.clock.now())
            .await?;
        rehearse(context, "purged");
        context.index.forget(session).await?;
        rehearse(context, "forgotten");
    }
    let (life, pending_left) = match mark {
        Some(_) => {
            let closed = context
                .store
                .finish_close(session, context.clock.now())
                .await?;
            (closed.life, closed.pending)
        }
        None => match context
            .store
            .session(session)
            .await
            .map_err(SessionError::Store)?
        {
            Some(row) => (Some(row.life), row.pending),
            None => (None, 0),
        },
    };
    let depth = mark.map_or(depth, Depth::from);
    let report = CloseReport {
        session,
        depth,
        generator,
        waited_ms,
        released,
        pending_left,
        life,
    };
    Ok(Some(report))
}

/// Ends the generator: asked, waited for, and in the end aborted.
async fn stop(context: &Context, session: SessionId, run: Option<RunHandle>) -> GeneratorEnd {
    let Some(run) = run else {
        return GeneratorEnd::None;
    };
    run.token.cancel();
    let wait = Duration::from_millis(context.settings.session.generator_stop_wait_ms);
    if tokio::time::timeout(wait, run.ended.cancelled())
        .await
        .is_ok()
    {
        return GeneratorEnd::Stopped;
    }
    let waited_ms = context.settings.session.generator_stop_wait_ms;
    tracing::warn!(session.id = %session, waited_ms, "generator did not end in time; aborting it");
    run.abort.abort();
    // An abort takes effect at the task's next await; from then on it settles nothing.
    run.ended.cancelled().await;
    GeneratorEnd::Aborted
}

/// Kills the worker at a configured step, as a power cut would.
fn rehearse(context: &Context, step: &str) {
    if context.settings.rehearsal.kill_at == step {
        tracing::warn!(step, "rehearsal: the worker kills itself");
        // If even that fails, the rehearsal has no effect, which its caller notices.
        let _not_killed = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}
