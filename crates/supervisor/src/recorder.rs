//! Puts records on disk and removes them, in order, on a thread of its own.
//!
//! Not on the runtime's threads, since a disk may be slow; and not on its pool of blocking ones,
//! which starts a thread at the very moment at which a machine may have none left, and dozens of
//! them when many children end at once. Its thread comes with the first spawn and goes with the
//! supervisor.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use crate::registry::{PutError, Registry, RemoveError, SpawnRecord};
use crate::tag::Tag;

/// The thread's name, at most 15 bytes.
const NAME: &str = "spawn-records";

/// A handle to the thread.
#[derive(Debug)]
pub(crate) struct Recorder {
    registry: Arc<Registry>,
    /// One or two a spawn at a time, so that their number has a limit. `None`: nothing was put yet.
    jobs: Mutex<Option<Sender<Job>>>,
}

#[derive(Debug)]
enum Job {
    Put(Box<SpawnRecord>, oneshot::Sender<Result<(), PutError>>),
    Replace(Box<SpawnRecord>, oneshot::Sender<Result<(), PutError>>),
    Remove(Tag, oneshot::Sender<Result<(), RemoveError>>),
}

impl Recorder {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            jobs: Mutex::default(),
        }
    }

    /// Stores a record. It is before all that is asked for after this has returned; the future only
    /// waits.
    pub(crate) fn put(
        &self,
        record: SpawnRecord,
    ) -> impl Future<Output = Result<(), PutError>> + use<> {
        self.write(record, Job::Put)
    }

    /// Stores a record in place of the one of its spawn, unless that was removed meanwhile.
    /// Otherwise as [`put`](Self::put).
    pub(crate) fn replace(
        &self,
        record: SpawnRecord,
    ) -> impl Future<Output = Result<(), PutError>> + use<> {
        self.write(record, Job::Replace)
    }

    fn write(
        &self,
        record: SpawnRecord,
        job: fn(Box<SpawnRecord>, oneshot::Sender<Result<(), PutError>>) -> Job,
    ) -> impl Future<Output = Result<(), PutError>> + use<> {
        let spawn = record.tag.spawn().to_owned();
        let (reply, answer) = oneshot::channel();
        let sent = self.send(job(Box::new(record), reply));
        async move {
            let failed = |source| PutError::Write { spawn, source };
            match sent {
                Ok(()) => match answer.await {
                    Ok(result) => result,
                    Err(gone) => Err(failed(io::Error::other(gone))),
                },
                Err(error) => Err(failed(error)),
            }
        }
    }

    /// Removes the record of `tag`, after all puts that were asked for before.
    pub(crate) async fn remove(&self, tag: &Tag) -> Result<(), RemoveError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.send(Job::Remove(tag.clone(), reply));
        let failed = |source| RemoveError {
            spawn: tag.spawn().to_owned(),
            source,
        };
        sent.map_err(failed)?;
        match answer.await {
            Ok(result) => result,
            Err(gone) => Err(failed(io::Error::other(gone))),
        }
    }

    fn send(&self, job: Job) -> io::Result<()> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.is_none() {
            let (sender, receiver) = channel();
            let registry = Arc::clone(&self.registry);
            thread::Builder::new()
                .name(NAME.to_owned())
                .spawn(move || work(&registry, &receiver))?;
            *jobs = Some(sender);
        }
        let sender = jobs.as_ref().expect("it was made above");
        sender.send(job).map_err(|_gone| {
            // It has panicked: the next one gets another thread.
            *jobs = None;
            io::Error::other("the thread of records has ended")
        })
    }
}

/// Ends when nobody can send any more. That nobody waits for an answer any more changes nothing.
fn work(registry: &Registry, jobs: &Receiver<Job>) {
    for job in jobs {
        match job {
            Job::Put(record, reply) => drop(reply.send(registry.put(&record))),
            Job::Replace(record, reply) => {
                drop(reply.send(registry.replace(&record).map(drop)));
            }
            Job::Remove(tag, reply) => drop(reply.send(registry.remove(&tag))),
        }
    }
}
