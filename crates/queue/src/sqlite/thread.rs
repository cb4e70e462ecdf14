//! The writer's thread seen from outside: its start, the way to it, and its end.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::connect::{self, Role};
use super::db::Db;
use super::inbox::{Sender, inbox};
use super::request::{Call, Request};
use super::work::Work;
use super::writer;
use crate::error::{OpenError, StoreError};
use crate::limits::Limits;

/// The way to the writer's thread.
pub(super) struct Writer {
    requests: Sender<Request>,
    /// As many as make the batch that is worked and the next: a request whose caller has gone is
    /// still there, and while the disk hangs, callers come and go.
    places: Arc<Semaphore>,
    /// Gives back the connection when the thread ends; locked while a close waits for it.
    ended: Mutex<Option<oneshot::Receiver<Db>>>,
    /// True once the thread has ended as it was told to; a panic leaves it without its sender.
    pub(super) obeyed: watch::Receiver<bool>,
}

impl Writer {
    /// Starts the thread, with a connection of its own; also returns that one's pragmas.
    pub(super) async fn start(
        path: &Path,
        limits: Limits,
        worked: Arc<Notify>,
    ) -> Result<(Self, Vec<(String, String)>), OpenError> {
        let (requests, receiver) = inbox();
        let (opened, opening) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (obey, obeyed) = watch::channel(false);
        let (file, pragmas) = (path.to_owned(), connect::pragmas(Role::Writer, &limits));
        let thread = move || {
            let db = match Db::open(&file, &pragmas) {
                Ok((db, pragmas)) => opened.send(Ok(pragmas)).map(|()| db),
                Err(error) => {
                    // Whoever opens waits for it, or has gone.
                    drop(opened.send(Err(error)));
                    return;
                }
            };
            // When whoever opened has gone, nobody ever asks for anything.
            if let Ok(db) = db {
                let db = writer::run(Work::new(db, limits, worked), receiver);
                obey.send_replace(true);
                // A store that was dropped without being closed: the connection closes here.
                drop(end.send(db));
            }
        };
        let spawned = std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(thread);
        spawned.map_err(|error| OpenError::Open {
            path: path.to_owned(),
            source: Arc::new(error),
        })?;
        let pragmas = match opening.await {
            Ok(opened) => opened?,
            Err(_) => unreachable!("the thread answers before it ends"),
        };
        let writer = Self {
            requests,
            places: Arc::new(Semaphore::new(2 * limits.batch_max.max(1))),
            ended: Mutex::new(Some(ended)),
            obeyed,
        };
        Ok((writer, pragmas))
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask<Q, T, E: From<StoreError>>(
        &self,
        question: Q,
        request: impl FnOnce(Call<Q, T, E>) -> Request,
    ) -> Result<T, E> {
        let place = self.place().await;
        let (reply, answer) = oneshot::channel();
        let request = request(Call::new(question, reply, place));
        if self.requests.send(request).is_err() {
            return Err(StoreError::Closed.into());
        }
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// A place among the requests under way; whoever came first gets the next one that is free.
    async fn place(&self) -> OwnedSemaphorePermit {
        // Without a wait, unless there is none: nobody is overtaken, since whoever waits has taken it.
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return place;
        }
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.expect("the semaphore is never closed")
    }

    /// Answers the requests under way and ends the thread; then waits for `readers` to close, and
    /// closes its connection last: the last one of a file folds the log, and a reader cannot.
    pub(super) async fn close(&self, readers: impl Future<Output = ()>) -> Result<(), StoreError> {
        self.requests.close();
        // Held to the end: whoever closes second waits here.
        let mut ended = self.ended.lock().await;
        let db = match &mut *ended {
            None => None,
            Some(ended) => ended.await.ok(),
        };
        // Only now, so that who gives up waiting leaves it to the next.
        *ended = None;
        readers.await;
        let Some(db) = db else {
            return Ok(());
        };
        match tokio::task::spawn_blocking(move || db.close()).await {
            Ok(closed) => Ok(closed?),
            // A runtime that shuts down runs nothing more; the file is as after a crash.
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
