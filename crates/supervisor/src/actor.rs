//! The one owner of a spawn: starts it, follows its shim, and sees to its end.
//!
//! Runs as a task of its own from before the first trace of the spawn until after the last, so
//! that whoever asked for it may go away at any moment.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep_until, timeout};

use crate::child::Child;
use crate::command::Command;
use crate::control::{Exit, Order, Report, Tally};
use crate::ending::end_tagged;
use crate::errors::chain;
use crate::identity::ProcessIdentity;
use crate::pipe::PipeReader;
use crate::registry::{PutError, SpawnRecord};
use crate::report::{StopEnd, Stopped};
use crate::shim::{self, Shim, Started};
use crate::spawn::{Entry, Spawn, Stage};
use crate::step::Step;
use crate::supervisor::without_shim;
use crate::supervisor::{Inner, SpawnError};
use crate::tag::Tag;

/// How long a shim may take until the child runs. It has an exec to do, on a machine that may be
/// busy.
const START_MAX: Duration = Duration::from_secs(10);

/// How much longer than the grace a shim may take to end its tree: it gives up on what does not
/// die of SIGKILL after ten seconds. One that is silent for longer is stuck or frozen itself.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(12);

/// Starts the actor of a spawn that is in the table, and gives what it will answer.
pub(crate) fn start(
    inner: Arc<Inner>,
    entry: Entry,
    command: Command,
) -> oneshot::Receiver<Result<Child, SpawnError>> {
    let (reply, answer) = oneshot::channel();
    let actor = SpawnActor {
        inner,
        spawn: Arc::clone(&entry.spawn),
    };
    tokio::spawn(async move {
        actor.run(command, reply).await;
        // Last, and also when the task is dropped: nobody waits for this spawn any longer.
        drop(entry);
    });
    answer
}

type Reply = oneshot::Sender<Result<Child, SpawnError>>;

struct SpawnActor {
    inner: Arc<Inner>,
    spawn: Arc<Spawn>,
}

/// How the talk with a shim ended.
struct Ended {
    end: StopEnd,
    tally: Tally,
    /// Whether the tree is verified to be empty.
    is_clean: bool,
    /// From when on it was being ended.
    since: Instant,
}

impl SpawnActor {
    async fn run(self, command: Command, reply: Reply) {
        self.step(Step::Entered);
        match self.record(None).await {
            Ok(()) => {
                self.step(Step::Intended);
                self.start(command, reply).await;
            }
            Err(source) => {
                // The file may be there all the same, when only its name could not be synced.
                self.forget().await;
                let command = self.spawn.command.clone();
                self.refuse(reply, SpawnError::Record { command, source });
            }
        }
    }

    async fn start(self, command: Command, reply: Reply) {
        let grace = self.inner.settings.grace;
        let program = self.inner.shim.as_ref();
        let program = program.map_err(|error| without_shim(&self.inner.settings.shim, error));
        let started =
            program.and_then(|program| shim::start(program, &command, &self.spawn.tag, grace));
        let started = match started {
            Ok(started) => started,
            Err(source) => {
                self.forget().await;
                self.refuse(reply, self.not_started(&command, source));
                return;
            }
        };
        let Started {
            mut shim,
            stdin,
            stdout,
            stderr,
        } = started;
        self.spawn.change(|state| state.shim_pid = shim.pid());
        self.step(Step::Started);
        // Beside the shim's work: the intent is on disk, so a crash before this is no loss.
        let recorded = self.record_shim(shim.pid());
        let first = timeout(START_MAX, shim.report()).await;

        match first {
            Ok(Some(Report::Started { pid })) => {
                let pipes =
                    PipeReader::new(stdout, &self.spawn, Stage::ChildOver).and_then(|stdout| {
                        Ok((
                            stdout,
                            PipeReader::new(stderr, &self.spawn, Stage::TreeOver)?,
                        ))
                    });
                self.spawn.change(|state| {
                    state.pid = Some(pid);
                    state.stage = Stage::Running;
                });
                let (answer, drain) = match pipes {
                    Ok((stdout, stderr)) => {
                        let drain = tokio::spawn(drain(Arc::clone(&self.spawn), stderr));
                        let limit = command.line_max_bytes;
                        let child = Child::new(&self.spawn, stdin, stdout, limit);
                        (Ok(child), Some(drain))
                    }
                    Err(source) => {
                        self.spawn.request_stop();
                        (Err(self.shim_failed(source)), None)
                    }
                };
                self.step(Step::Running);
                // At once, and not at the end of this: a child that nobody takes is dropped here.
                drop(reply.send(answer));
                let ended = self.follow(shim).await;
                recorded.await;
                self.finish(ended, drain).await;
            }
            Ok(Some(Report::Failed { errno })) => {
                shim.end().await;
                recorded.await;
                self.forget().await;
                let source = io::Error::from_raw_os_error(errno);
                self.refuse(reply, self.not_run(source));
            }
            Ok(_) | Err(_) => {
                shim.kill();
                shim.end().await;
                recorded.await;
                if self.sweep(Instant::now()).await.is_clean {
                    self.forget().await;
                }
                let problem = match first {
                    Err(_elapsed) => "it did not answer in time",
                    Ok(_) => "it ended without a word",
                };
                self.refuse(reply, self.shim_failed(io::Error::other(problem)));
            }
        }
    }

    /// Follows a shim whose child runs, to the end of its tree.
    async fn follow(&self, mut shim: Shim) -> Ended {
        let mut stop_requests = self.spawn.stop_requests();
        let mut is_ordered = false;
        let mut since = None;
        loop {
            let deadline = since.map(|since| since + self.inner.settings.grace + ANSWER_MAX);
            let wait = Wait {
                shim: &mut shim,
                stop_requests: (!is_ordered).then_some(&mut stop_requests),
                deadline,
            };
            match wait.next().await {
                Event::StopRequested => {
                    is_ordered = true;
                    since = since.or(self.spawn.stop_requested_at());
                    let grace_ms = self.inner.settings.grace.as_millis();
                    let grace_ms = u64::try_from(grace_ms).unwrap_or(u64::MAX);
                    shim.order(Order::Stop { grace_ms }).await;
                }
                Event::Report(Some(Report::Exited(exit))) => {
                    since.get_or_insert_with(Instant::now);
                    self.spawn.change(|state| {
                        state.exit = Some(exit);
                        state.stage = Stage::ChildOver;
                    });
                }
                Event::Report(Some(Report::Gone(tally))) => {
                    shim.end().await;
                    return Ended {
                        end: how(&tally),
                        tally,
                        is_clean: tally.untouchable == 0,
                        since: since.unwrap_or_else(Instant::now),
                    };
                }
                // Another report is out of its order: that is no shim any more.
                Event::Report(_) | Event::Late => {
                    let since = since.unwrap_or_else(Instant::now);
                    shim.kill();
                    shim.end().await;
                    tracing::warn!(
                        spawn.tag = %self.spawn.tag,
                        "a shim ended without ending its tree; what carries its tag is ended"
                    );
                    return self.sweep(since).await;
                }
            }
        }
    }

    /// Ends what carries this spawn's tag.
    async fn sweep(&self, since: Instant) -> Ended {
        let swept = end_spawn(self.spawn.tag.clone(), self.inner.settings.grace).await;
        let tally = swept.as_ref().copied().unwrap_or_default();
        Ended {
            end: if tally.untouchable > 0 {
                StopEnd::Unkillable
            } else {
                StopEnd::Swept
            },
            is_clean: swept.is_ok() && tally.untouchable == 0,
            tally,
            since,
        }
    }

    async fn finish(&self, ended: Ended, drain: Option<JoinHandle<()>>) {
        self.spawn.change(|state| state.stage = Stage::TreeOver);
        self.step(Step::Gone);
        if let Some(drain) = drain {
            // It ends with the pipe, or with what the pipe still held.
            let _ended = drain.await;
        }
        tokio::join!(self.spawn.stdout.flush(), self.spawn.stderr.flush());
        if ended.is_clean {
            self.forget().await;
        }
        let state = self.spawn.state();
        let (exit_code, exit_signal) = match state.exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let stopped = Stopped {
            tag: self.spawn.tag.to_string(),
            command: self.spawn.command.clone(),
            pid: state.pid,
            end: ended.end,
            exit_code,
            exit_signal,
            killed: ended.tally.killed,
            untouchable: ended.tally.untouchable,
            unkillable: Vec::new(),
            took_ms: u64::try_from(ended.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        self.spawn.change(|state| state.stopped = Some(stopped));
    }

    fn step(&self, step: Step) {
        self.inner.step(step, &self.spawn.tag);
    }

    /// Puts the record on disk, with the identity of its process once there is one. The write has
    /// begun when this returns.
    fn record(
        &self,
        identity: Option<ProcessIdentity>,
    ) -> impl Future<Output = Result<(), PutError>> + use<> {
        let record = SpawnRecord::intent(
            self.spawn.tag.clone(),
            self.spawn.command.clone(),
            self.spawn.spawned_at_ms,
            self.inner.host.clone(),
        );
        let record = match identity {
            Some(identity) => record.with_identity(identity),
            None => record,
        };
        let spawn = record.tag.spawn().to_owned();
        let inner = Arc::clone(&self.inner);
        let put = spawn_blocking(move || inner.registry.put(&record));
        async move {
            put.await.unwrap_or_else(|error| {
                let source = io::Error::other(error);
                Err(PutError::Write { spawn, source })
            })
        }
    }

    /// Records the process of a shim. The write has begun when this returns.
    fn record_shim(&self, pid: Option<u32>) -> impl Future<Output = ()> + use<> {
        // Of one that has ended already there is nothing to record: its pid finds nobody.
        let identity = pid.and_then(|pid| ProcessIdentity::of(pid).ok());
        let put = identity.map(|identity| self.record(Some(identity)));
        let (inner, tag) = (Arc::clone(&self.inner), self.spawn.tag.clone());
        async move {
            let Some(put) = put else {
                return;
            };
            match put.await {
                Ok(()) => inner.step(Step::Recorded, &tag),
                // The intent is on disk, so the next start finds the tree by its tag.
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(spawn.tag = %tag, error, "a spawn is recorded without its process");
                }
            }
        }
    }

    /// Answers that the child does not run, and sees that it is not listed from then on.
    fn refuse(&self, reply: Reply, error: SpawnError) {
        self.spawn.change(|state| state.stage = Stage::TreeOver);
        drop(reply.send(Err(error)));
    }

    async fn forget(&self) {
        let inner = Arc::clone(&self.inner);
        let tag = self.spawn.tag.clone();
        let removed = spawn_blocking(move || inner.registry.remove(&tag)).await;
        if let Ok(Err(error)) = removed {
            // A record too many is cleared by the next start.
            tracing::warn!(spawn.tag = %self.spawn.tag, error = chain(&error), "a record stays behind");
        }
        self.step(Step::Forgotten);
    }

    /// Why the shim itself could not be executed.
    fn not_started(&self, command: &Command, source: io::Error) -> SpawnError {
        // The missing file may be the directory it was to start in; the kernel does not say which.
        match std::fs::metadata(&command.cwd) {
            Ok(metadata) if metadata.is_dir() => self.shim_failed(source),
            Ok(_) | Err(_) => SpawnError::Program {
                command: self.spawn.command.clone(),
                source: io::Error::new(
                    source.kind(),
                    format!("working directory {}: {source}", command.cwd.display()),
                ),
            },
        }
    }

    /// Why the child could not be executed.
    fn not_run(&self, source: io::Error) -> SpawnError {
        // What passes by itself is not the program's fault.
        let passing = [
            Errno::AGAIN,
            Errno::NOMEM,
            Errno::MFILE,
            Errno::NFILE,
            Errno::INTR,
            Errno::IO,
            Errno::TXTBSY,
        ];
        let passes = source
            .raw_os_error()
            .is_some_and(|errno| passing.contains(&Errno::from_raw_os_error(errno)));
        if passes {
            return self.shim_failed(source);
        }
        SpawnError::Program {
            command: self.spawn.command.clone(),
            source,
        }
    }

    fn shim_failed(&self, source: io::Error) -> SpawnError {
        SpawnError::Shim {
            command: self.spawn.command.clone(),
            source,
        }
    }
}

enum Event {
    StopRequested,
    Report(Option<Report>),
    Late,
}

/// What a running spawn's actor waits for.
struct Wait<'a> {
    shim: &'a mut Shim,
    stop_requests: Option<&'a mut watch::Receiver<Option<Instant>>>,
    deadline: Option<Instant>,
}

impl Wait<'_> {
    async fn next(self) -> Event {
        let stop_requested = async {
            match self.stop_requests {
                // The sender is the spawn's own and outlives this.
                Some(requests) => drop(requests.wait_for(Option::is_some).await),
                None => std::future::pending().await,
            }
        };
        let late = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            report = self.shim.report() => Event::Report(report),
            () = stop_requested => Event::StopRequested,
            () = late => Event::Late,
        }
    }
}

/// Reads a child's standard error for as long as anything of its tree may write.
async fn drain(spawn: Arc<Spawn>, mut stderr: PipeReader) {
    while let Some(bytes) = stderr.read().await {
        spawn.stderr.take(bytes);
    }
}

/// Ends what carries `tag`, on a blocking thread.
pub(crate) async fn end_spawn(tag: Tag, grace: Duration) -> io::Result<Tally> {
    let ended = spawn_blocking(move || end_tagged(&|found| *found == tag, grace));
    ended.await.map_err(io::Error::other)?
}

fn how(tally: &Tally) -> StopEnd {
    match tally {
        tally if tally.untouchable > 0 => StopEnd::Unkillable,
        tally if tally.killed > 0 => StopEnd::Killed,
        tally if tally.terminated > 0 => StopEnd::Terminated,
        _ => StopEnd::Exited,
    }
}
