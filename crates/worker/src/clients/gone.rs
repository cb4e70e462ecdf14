//! Those who want to know when a client is gone, each on its own.
//!
//! The client is gone already when they hear of it. Each has a queue and a task, so that one that
//! fails, panics or hangs holds up neither the removal nor the others.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::client::Gone;
use super::limits::{HANDLED_AT_ONCE, HANDLED_WAITING, HANDLER_WAIT};

/// Why a subscriber could not do what it does; for the log.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

/// Does something when a client is gone: it has expired, or was removed.
#[async_trait]
pub trait GoneHandler: Send + Sync + 'static {
    /// What it is called in the log.
    fn name(&self) -> &'static str;

    /// A client is gone. It is cut off after [`HANDLER_WAIT`].
    async fn gone(&self, gone: &Gone) -> Result<(), HandlerError>;
}

/// One subscriber with its queue.
#[derive(Debug)]
pub(super) struct Subscriber {
    name: &'static str,
    queue: mpsc::Sender<Arc<Gone>>,
    _task: AbortOnDropHandle<()>,
}

impl Subscriber {
    pub(super) fn start(handler: Arc<dyn GoneHandler>) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Arc<Gone>>(HANDLED_WAITING);
        let name = handler.name();
        let waiting = stream::poll_fn(move |cx| waiting.poll_recv(cx));
        let task = waiting.for_each_concurrent(HANDLED_AT_ONCE, move |gone| {
            let handler = Arc::clone(&handler);
            async move { tell(handler.as_ref(), &gone).await }
        });
        Self {
            name,
            queue,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }

    /// Never waits.
    pub(super) fn tell(&self, gone: &Arc<Gone>) {
        if self.queue.try_send(Arc::clone(gone)).is_err() {
            let client = gone.client.id;
            tracing::warn!(subscriber = self.name, client.id = %client,
                "a subscriber hangs and is not told of a client that is gone");
        }
    }
}

async fn tell(handler: &dyn GoneHandler, gone: &Gone) {
    let (subscriber, client) = (handler.name(), gone.client.id);
    let telling = AssertUnwindSafe(handler.gone(gone)).catch_unwind();
    match tokio::time::timeout(HANDLER_WAIT, telling).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => {
            tracing::warn!(subscriber, client.id = %client, error = error.as_ref(),
                "a subscriber failed over a client that is gone");
        }
        Ok(Err(_panic)) => {
            tracing::error!(subscriber, client.id = %client,
                "a subscriber panicked over a client that is gone");
        }
        Err(_) => {
            let waited_ms = u64::try_from(HANDLER_WAIT.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(subscriber, client.id = %client, waited_ms,
                "a subscriber took too long over a client that is gone");
        }
    }
}
