//! The one owner of a spawn: starts it, follows its shim, and sees to its end.
//!
//! Runs as a task of its own from before the first trace of the spawn until after the last, so
//! that whoever asked for it may go away at any moment. The talk with the shim, once the child runs,
//! is in `follow`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use crate::child::Child;
use crate::command::Command;
use crate::control::{Exit, Report};
use crate::errors::chain;
use crate::follow::Ended;
use crate::identity::{ProcessIdentity, Standing};
use crate::observe::parent;
use crate::observer::Life;
use crate::pipe::{FarEnd, PipeReader};
use crate::registry::SpawnRecord;
use crate::report::Stopped;
use crate::shim::{self, Started};
use crate::spawn::{Entry, Spawn, Stage};
use crate::spawn_error::SpawnError;
use crate::step::Step;
use crate::supervisor::{Inner, without_shim};

/// How long a shim may take until the child runs. It has an exec to do, on a machine that may be
/// busy.
const START_MAX: Duration = Duration::from_secs(10);

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
        is_errand: command.is_errand,
    };
    tokio::spawn(async move {
        let refused = actor.run(command, reply).await;
        // Also when the task is dropped: nobody waits for this spawn any longer.
        drop(entry);
        // Last: whoever hears of it may try again, and is not in its own way.
        if let Some(Refused { reply, error }) = refused {
            drop(reply.send(Err(error)));
        }
    });
    answer
}

type Reply = oneshot::Sender<Result<Child, SpawnError>>;

/// What is there of a child besides its shim.
struct Output {
    drain: Option<JoinHandle<()>>,
    far_ends: Vec<FarEnd>,
}

/// An answer that is still to be given: the child does not run.
struct Refused {
    reply: Reply,
    error: SpawnError,
}

/// The task of one spawn.
pub(crate) struct SpawnActor {
    pub(crate) inner: Arc<Inner>,
    pub(crate) spawn: Arc<Spawn>,
    is_errand: bool,
}

impl SpawnActor {
    async fn run(self, command: Command, mut reply: Reply) -> Option<Refused> {
        self.step(Step::Entered);
        if !self.has_turn(&mut reply).await {
            let command = self.spawn.command.clone();
            return self.refused(reply, SpawnError::Ended { command });
        }
        let intent = self.inner.recorder.put(self.intent()).await;
        match intent {
            Ok(()) => {
                self.step(Step::Intended);
                self.start(command, reply).await
            }
            Err(source) => {
                // The file may be there all the same.
                self.forget().await;
                let command = self.spawn.command.clone();
                self.refused(reply, SpawnError::not_recorded(command, source))
            }
        }
    }

    /// Waits until the spawn may begin. `false`: nobody wants it any more.
    async fn has_turn(&self, reply: &mut Reply) -> bool {
        if self.is_errand {
            return true;
        }
        let pace = &self.inner.pace;
        let Some(turn) = pace.take(Instant::now()) else {
            return true;
        };
        self.inner.counters.paced.add(1);
        let mut stop_requests = self.spawn.stop_requests();
        tokio::select! {
            biased;
            _requested = stop_requests.wait_for(Option::is_some) => {}
            () = reply.closed() => {}
            () = sleep_until(turn.into()) => return true,
        }
        pace.give_back();
        false
    }

    async fn start(self, command: Command, reply: Reply) -> Option<Refused> {
        let started = match self.start_shim(&command) {
            Ok(started) => started,
            Err(source) => {
                self.forget().await;
                return self.refused(reply, self.not_started(&command, source));
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
        let first = timeout(START_MAX, shim.report()).await;

        match first {
            Ok(Some(Report::Started { pid })) => {
                // Beside the child's work: the intent is on disk, so a crash before this is no loss.
                let leader = leader_of(shim.pid(), pid);
                let recorded = self.record_processes(shim.pid(), leader.clone());
                let recorded = tokio::spawn(recorded);
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
                self.tell(Life::Spawned {
                    tag: &self.spawn.tag,
                    command: &self.spawn.command,
                    pid,
                });
                let (answer, output) = match pipes {
                    Ok((stdout, stderr)) => {
                        let output = Output {
                            far_ends: vec![stdout.far_end(), stderr.far_end()],
                            drain: Some(tokio::spawn(drain(Arc::clone(&self.spawn), stderr))),
                        };
                        let limit = command.line_max_bytes;
                        let child = Child::new(&self.spawn, stdin, stdout, limit);
                        (Ok(child), output)
                    }
                    Err(source) => {
                        self.spawn.request_stop();
                        let output = Output {
                            drain: None,
                            far_ends: Vec::new(),
                        };
                        (Err(self.shim_failed(source)), output)
                    }
                };
                self.step(Step::Running);
                // At once, and not at the end of this: a child that nobody takes is dropped here.
                drop(reply.send(answer));
                let ended = self.follow(shim, leader).await;
                // It is long done, or the record is removed too early; a panic was in a hook.
                let _hook_panicked = recorded.await;
                self.finish(ended, output).await;
                None
            }
            Ok(Some(Report::Failed { errno })) => {
                shim.end().await;
                self.forget().await;
                let source = io::Error::from_raw_os_error(errno);
                let command = self.spawn.command.clone();
                self.refused(reply, SpawnError::of_program(command, source))
            }
            Ok(_) | Err(_) => {
                if self.lose(shim, None, Instant::now()).await.is_clean {
                    self.forget().await;
                }
                let problem = match first {
                    Err(_elapsed) => "it did not answer in time",
                    Ok(_) => "it ended without a word",
                };
                self.refused(reply, self.shim_failed(io::Error::other(problem)))
            }
        }
    }

    fn start_shim(&self, command: &Command) -> io::Result<Started> {
        let settings = &self.inner.settings;
        let program = self.inner.shim.as_ref();
        let program = program.map_err(|error| without_shim(&settings.shim, error))?;
        // The shim works in a directory of its own.
        let record = std::path::absolute(self.inner.registry.path(&self.spawn.tag))?;
        shim::start(program, command, &self.spawn.tag, settings.grace, &record)
    }

    async fn finish(&self, ended: Ended, output: Output) {
        self.spawn.change(|state| state.stage = Stage::TreeOver);
        self.step(Step::Gone);
        if ended.is_clean {
            self.look_for_leaks(&output.far_ends);
        }
        if let Some(drain) = output.drain {
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
            unkillable: ended.unkillable,
            took_ms: u64::try_from(ended.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        for left in &stopped.unkillable {
            tracing::error!(spawn.tag = %self.spawn.tag, "could not be ended: {left}");
        }
        self.tell(Life::Reaped {
            tag: &self.spawn.tag,
            stopped: &stopped,
        });
        self.spawn.change(|state| state.stopped = Some(stopped));
    }

    /// Nobody of the tree is left, so whoever holds its output has got it in another way.
    fn look_for_leaks(&self, far_ends: &[FarEnd]) {
        let leaked = far_ends.iter().filter(|end| end.is_held()).count();
        if leaked > 0 {
            self.inner.counters.pipes_leaked.add(leaked as u64);
            tracing::warn!(
                spawn.tag = %self.spawn.tag, leaked,
                "somebody outside of its tree holds a child's output"
            );
        }
    }

    fn tell(&self, life: Life<'_>) {
        if !self.is_errand {
            self.inner.tell(life);
        }
    }

    fn step(&self, step: Step) {
        self.inner.step(step, &self.spawn.tag);
    }

    fn intent(&self) -> SpawnRecord {
        SpawnRecord::intent(
            self.spawn.tag.clone(),
            self.spawn.command.clone(),
            self.spawn.spawned_at_ms,
            self.inner.host.clone(),
        )
    }

    /// Records who a shim and its child are. The write has begun when this returns.
    fn record_processes(
        &self,
        shim: Option<u32>,
        leader: Option<ProcessIdentity>,
    ) -> impl Future<Output = ()> + use<> {
        // Of what has ended already there is nothing to record: its pid finds nobody.
        let identity = shim.and_then(|pid| ProcessIdentity::of(pid).ok());
        let put = identity.map(|identity| {
            let record = self.intent().with_identity(identity);
            let record = match leader {
                Some(leader) => record.with_leader(leader),
                None => record,
            };
            self.inner.recorder.replace(record)
        });
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

    /// The answer that the child does not run; it is not listed from then on.
    fn refused(&self, reply: Reply, error: SpawnError) -> Option<Refused> {
        self.spawn.change(|state| state.stage = Stage::TreeOver);
        Some(Refused { reply, error })
    }

    async fn forget(&self) {
        if let Err(error) = self.inner.recorder.remove(&self.spawn.tag).await {
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

    fn shim_failed(&self, source: io::Error) -> SpawnError {
        SpawnError::of_shim(self.spawn.command.clone(), source)
    }
}

/// Reads a child's standard error for as long as anything of its tree may write.
async fn drain(spawn: Arc<Spawn>, mut stderr: PipeReader) {
    while let Some(bytes) = stderr.read().await {
        spawn.stderr.take(bytes);
    }
}

/// The identity of a shim's child. A pid whose parent is the shim, which is not waited for yet, is
/// of its tree, whoever had the number before.
fn leader_of(shim: Option<u32>, leader: u32) -> Option<ProcessIdentity> {
    let identity = ProcessIdentity::of(leader).ok()?;
    let is_child = shim.is_some() && parent(leader) == shim;
    (is_child && identity.check() == Standing::Alive).then_some(identity)
}
