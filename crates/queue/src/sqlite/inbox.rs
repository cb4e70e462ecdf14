//! The way from the callers to the writer's thread: they put in, it takes out all there is.
//!
//! The writer is woken only when it sleeps, so that callers who come while it works cost it nothing.
//! There is no bound here: whoever puts something in holds a place among the requests under way.

use std::collections::VecDeque;
use std::mem;

use super::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Both ends of a new inbox.
pub(super) fn inbox<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            waiting: VecDeque::new(),
            is_open: true,
            is_asleep: false,
        }),
        news: Condvar::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

struct Shared<T> {
    state: Mutex<State<T>>,
    news: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    is_open: bool,
    /// The receiver waits for news.
    is_asleep: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The callers' end; dropping it closes the inbox.
pub(super) struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Puts one in, or gives it back when the inbox is closed.
    pub(super) fn send(&self, item: T) -> Result<(), T> {
        let mut state = self.0.lock();
        if !state.is_open {
            return Err(item);
        }
        state.waiting.push_back(item);
        let is_asleep = mem::take(&mut state.is_asleep);
        drop(state);
        if is_asleep {
            self.0.news.notify_one();
        }
        Ok(())
    }

    /// Lets nothing more in; what is in is still received.
    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        state.is_open = false;
        state.is_asleep = false;
        drop(state);
        self.0.news.notify_one();
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.close();
    }
}

/// The writer's end. When it is dropped, what is left is dropped with it.
pub(super) struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// Waits until something is there, then moves it to `batch`, in order, as long as `has_room` says
    /// so of what is in `batch` already. False: the inbox is closed and empty.
    pub(super) fn receive(&self, batch: &mut Vec<T>, mut has_room: impl FnMut(&T) -> bool) -> bool {
        let mut state = self.0.lock();
        while state.waiting.is_empty() {
            if !state.is_open {
                return false;
            }
            state.is_asleep = true;
            state = self
                .0
                .news
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.is_asleep = false;
        while let Some(item) = state.waiting.pop_front() {
            let more = has_room(&item);
            batch.push(item);
            if !more {
                break;
            }
        }
        true
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_open = false;
        let left = mem::take(&mut state.waiting);
        drop(state);
        drop(left);
    }
}
