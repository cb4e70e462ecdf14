//! A request's body, which must keep coming and be whole in time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

/// The client took longer than it may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(in crate::http) enum BodyTooSlow {
    /// Nothing came for too long.
    #[error("nothing of the body came for {} ms (http.body_pause_max_ms)", .0.as_millis())]
    Pause(Duration),
    /// It was not whole in time.
    #[error("the body was not whole within {} ms (http.body_timeout_ms)", .0.as_millis())]
    Whole(Duration),
}

/// A body that fails with [`BodyTooSlow`]. Time counts only while somebody waits for it, from the
/// first wait on: most bodies come with the head, and need no timer.
pub(super) struct ArrivingBody {
    incoming: Incoming,
    pause_max: Duration,
    whole_max: Duration,
    whole_at: Option<Instant>,
    /// Stands at the end of the present pause.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl ArrivingBody {
    pub(super) fn new(incoming: Incoming, pause_max: Duration, whole_max: Duration) -> Self {
        Self {
            incoming,
            pause_max,
            whole_max,
            whole_at: None,
            timer: None,
            is_waiting: false,
        }
    }

    fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<BodyTooSlow> {
        let now = Instant::now();
        let whole_at = *self.whole_at.get_or_insert(now + self.whole_max);
        let ends_at = whole_at.min(now + self.pause_max);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(ends_at)));
        if !self.is_waiting {
            self.is_waiting = true;
            timer.as_mut().reset(ends_at);
        }
        ready!(timer.as_mut().poll(context));
        Poll::Ready(if now >= whole_at {
            BodyTooSlow::Whole(self.whole_max)
        } else {
            BodyTooSlow::Pause(self.pause_max)
        })
    }
}

impl Body for ArrivingBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            self.is_waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let too_slow = ready!(self.poll_too_slow(context));
        Poll::Ready(Some(Err(too_slow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
