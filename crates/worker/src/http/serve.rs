//! Serves the connections of one listener: how many at once, and how long each may take to ask.
//!
//! What is limited is reading and being read, never handling: a close may take a minute, and a
//! stream of events as long as its client likes. Every limit ends one connection only, by a timer
//! that stands while something is awaited of its client; a connection without one is in work.

mod body;
mod stream;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

pub(super) use body::BodyTooSlow;

use self::body::ArrivingBody;
use self::stream::TakenStream;
use crate::config::Http;

/// A log that says "full" more often tells nothing more.
const FULL_TOLD_EVERY: Duration = Duration::from_secs(60);

/// How much longer than the largest head the read buffer is: heads that are too large are answered
/// as such, and bodies are read in pieces of about this size.
const READ_AHEAD_BYTES: usize = 32 << 10;

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at once.
    connections_max: usize,
    /// The name of that setting.
    connections_name: &'static str,
    head_max_bytes: usize,
    head_timeout: Duration,
    body_pause_max: Duration,
    body_timeout: Duration,
    answer_pause_max: Duration,
}

impl ConnectionLimits {
    /// Those of TCP clients.
    pub fn tcp(settings: &Http) -> Self {
        Self::new(
            settings,
            settings.tcp_connections_max,
            "http.tcp_connections_max",
        )
    }

    /// Those of clients of the unix socket, the hooks among them.
    pub fn unix(settings: &Http) -> Self {
        Self::new(
            settings,
            settings.unix_connections_max,
            "http.unix_connections_max",
        )
    }

    fn new(settings: &Http, connections_max: usize, connections_name: &'static str) -> Self {
        Self {
            connections_max,
            connections_name,
            head_max_bytes: settings.head_max_bytes,
            head_timeout: Duration::from_millis(settings.head_timeout_ms),
            body_pause_max: Duration::from_millis(settings.body_pause_max_ms),
            body_timeout: Duration::from_millis(settings.body_timeout_ms),
            answer_pause_max: Duration::from_millis(settings.answer_pause_max_ms),
        }
    }
}

/// Serves until `stop`; then listens no more, and ends when every request under way is answered.
/// Dropped before that, it leaves these to themselves.
pub async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let seats = Arc::new(Semaphore::new(limits.connections_max));
    let connections = TaskTracker::new();
    let mut full = Full::new(limits);
    let accept = async {
        loop {
            let seat = full.wait_for_seat(&seats).await;
            let (stream, _address) = listener.accept().await;
            connections.spawn(attend(stream, router.clone(), limits, stop.clone(), seat));
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept => {}
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// What is said of a listener all of whose connections are taken.
struct Full {
    limits: ConnectionLimits,
    told_at: Option<Instant>,
}

impl Full {
    fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            told_at: None,
        }
    }

    /// Waits before the next connection is accepted: until then it waits in the kernel's queue,
    /// which is bounded, and costs the worker no descriptor.
    async fn wait_for_seat(&mut self, seats: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        if let Ok(seat) = Arc::clone(seats).try_acquire_owned() {
            return seat;
        }
        let is_old = |told_at: Instant| told_at.elapsed() >= FULL_TOLD_EVERY;
        if self.told_at.is_none_or(is_old) {
            self.told_at = Some(Instant::now());
            tracing::warn!(
                connections = self.limits.connections_max,
                limit = self.limits.connections_name,
                "as many connections as may be: others wait until one ends"
            );
        }
        let seat = Arc::clone(seats).acquire_owned().await;
        seat.expect("the seats are never closed")
    }
}

/// Serves one connection to its end.
async fn attend<S>(
    stream: S,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
    _seat: OwnedSemaphorePermit,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service =
        service_fn(|request: hyper::Request<Incoming>| handle(router.clone(), request, limits));
    let stream = TakenStream::new(stream, limits.answer_pause_max);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_header_size(limits.head_max_bytes)
        .max_buf_size(limits.head_max_bytes + READ_AHEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A client that hung up or was too slow: its own business.
        tracing::debug!(error = crate::errors::chain(&error), "connection ended");
    }
}

fn handle(
    mut router: Router,
    request: hyper::Request<Incoming>,
    limits: ConnectionLimits,
) -> impl Future<Output = Result<axum::response::Response, Infallible>> {
    let body = |incoming| {
        let body = ArrivingBody::new(incoming, limits.body_pause_max, limits.body_timeout);
        Body::new(body)
    };
    let request: Request = request.map(body);
    // A router is always ready.
    router.call(request)
}
