//! The one owner of a spawn: starts it, follows its shim, and sees to its end.
//!
//! Runs as a task of its own from before the first trace of the spawn until after the last, so
//! that whoever asked for it may go away at any moment.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use crate::child::Child;
use crate::command::Command;
use crate::control::{Exit, Order, Report, Tally};
use crate::ending::Ending;
use crate::errors::chain;
use crate::identity::{ProcessIdentity, Standing};
use crate::observe::parent;
use crate::patience::{Due, Patience};
use crate::pipe::{FarEnd, PipeReader};
use crate::registry::SpawnRecord;
use crate::report::{StopEnd, Stopped, Unkillable};
use crate::shim::{self, Shim, Started};
use crate::spawn::{Entry, Spawn, Stage};
use crate::spawn_error::SpawnError;
use crate::step::Step;
use crate::supervisor::{Inner, without_shim};
use crate::sweep::end_spawn;

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
    };
    tokio::spawn(async move {
        actor.run(command, reply).await;
        // Last, and also when the task is dropped: nobody waits for this spawn any longer.
        drop(entry);
    });
    answer
}

type Reply = oneshot::Sender<Result<Child, SpawnError>>;

/// What is there of a child besides its shim.
struct Output {
    drain: Option<JoinHandle<()>>,
    far_ends: Vec<FarEnd>,
}

struct SpawnActor {
    inner: Arc<Inner>,
    spawn: Arc<Spawn>,
}

/// How the talk with a shim ended.
struct Ended {
    end: StopEnd,
    tally: Tally,
    /// Who could not be ended, as far as they are known.
    unkillable: Vec<Unkillable>,
    /// Whether the tree is verified to be empty.
    is_clean: bool,
    /// From when on it was being ended.
    since: Instant,
}

impl SpawnActor {
    async fn run(self, command: Command, mut reply: Reply) {
        self.step(Step::Entered);
        if !self.has_turn(&mut reply).await {
            let command = self.spawn.command.clone();
            self.refuse(reply, SpawnError::Ended { command });
            return;
        }
        let intent = self.inner.recorder.put(self.intent()).await;
        match intent {
            Ok(()) => {
                self.step(Step::Intended);
                self.start(command, reply).await;
            }
            Err(source) => {
                // The file may be there all the same.
                self.forget().await;
                let command = self.spawn.command.clone();
                self.refuse(reply, SpawnError::not_recorded(command, source));
            }
        }
    }

    /// Waits until the spawn may begin. `false`: nobody wants it any more.
    async fn has_turn(&self, reply: &mut Reply) -> bool {
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

    async fn start(self, command: Command, reply: Reply) {
        let started = match self.start_shim(&command) {
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
            }
            Ok(Some(Report::Failed { errno })) => {
                shim.end().await;
                self.forget().await;
                let source = io::Error::from_raw_os_error(errno);
                let command = self.spawn.command.clone();
                self.refuse(reply, SpawnError::of_program(command, source));
            }
            Ok(_) | Err(_) => {
                if self.lose(shim, None, Instant::now()).await.is_clean {
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

    fn start_shim(&self, command: &Command) -> io::Result<Started> {
        let settings = &self.inner.settings;
        let program = self.inner.shim.as_ref();
        let program = program.map_err(|error| without_shim(&settings.shim, error))?;
        // The shim works in a directory of its own.
        let record = std::path::absolute(self.inner.registry.path(&self.spawn.tag))?;
        shim::start(program, command, &self.spawn.tag, settings.grace, &record)
    }

    /// Follows a shim whose child runs, to the end of its tree.
    async fn follow(&self, mut shim: Shim, leader: Option<ProcessIdentity>) -> Ended {
        let grace = self.inner.settings.grace;
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let mut stop_requests = self.spawn.stop_requests();
        let mut is_ordered = false;
        let mut patience = Patience::new(grace);
        let mut untouchables = Vec::new();
        loop {
            let wait = Wait {
                shim: &mut shim,
                stop_requests: (!is_ordered).then_some(&mut stop_requests),
                deadline: patience.due_at(),
            };
            let is_lost = match wait.next().await {
                Event::StopRequested => {
                    is_ordered = true;
                    let now = Instant::now();
                    patience.ending(self.spawn.stop_requested_at().unwrap_or(now));
                    patience.asked(now);
                    shim.order(Order::Stop { grace_ms }).await;
                    false
                }
                Event::Report(Some(Report::Stopping)) => {
                    patience.answered(Instant::now());
                    false
                }
                Event::Report(Some(Report::Exited(exit))) => {
                    patience.ending(Instant::now());
                    self.spawn.change(|state| {
                        state.exit = Some(exit);
                        state.stage = Stage::ChildOver;
                    });
                    false
                }
                Event::Report(Some(Report::Untouchable(untouchable))) => {
                    untouchables.push(untouchable);
                    false
                }
                Event::Report(Some(Report::Gone(tally))) => {
                    let (survivors, tag) = (&self.inner.survivors, &self.spawn.tag);
                    let unkillable = match tally.untouchable {
                        0 => Vec::new(),
                        left => survivors.take_named(tag, &untouchables, left),
                    };
                    shim.end().await;
                    return Ended {
                        end: how(&tally),
                        tally,
                        unkillable,
                        is_clean: tally.untouchable == 0,
                        since: patience.since().unwrap_or_else(Instant::now),
                    };
                }
                // Another report is out of its order: that is no shim any more.
                Event::Report(_) => true,
                Event::Due => match patience.due(Instant::now()) {
                    Due::Ask => {
                        patience.asked(Instant::now());
                        // The grace is over; said again, this changes nothing.
                        shim.order(Order::Stop { grace_ms: 0 }).await;
                        false
                    }
                    // It would answer if the machine let it.
                    Due::Silent if shim.is_runnable() => {
                        patience.asked(Instant::now());
                        false
                    }
                    Due::Silent | Due::Over => true,
                },
            };
            if is_lost {
                let since = patience.since().unwrap_or_else(Instant::now);
                return self.lose(shim, leader, since).await;
            }
        }
    }

    /// Gives a shim up, and ends what carries this spawn's tag or descends from its child.
    async fn lose(&self, mut shim: Shim, leader: Option<ProcessIdentity>, since: Instant) -> Ended {
        self.inner.counters.shims_lost.add(1);
        shim.kill();
        shim.end().await;
        tracing::warn!(
            spawn.tag = %self.spawn.tag,
            "a shim ended without ending its tree; what carries its tag is ended"
        );
        // What was asked to end by the shim has had a part of the grace.
        let had = self.spawn.stop_requested_at().map(|at| at.elapsed());
        let grace = self.inner.settings.grace;
        let grace = grace.saturating_sub(had.unwrap_or_default());
        let swept = end_spawn(self.spawn.tag.clone(), leader, grace).await;
        let has_looked = swept.is_ok();
        let swept = swept.unwrap_or_else(|error| {
            let error = chain(&error);
            tracing::error!(spawn.tag = %self.spawn.tag, error, "cannot tell what is left of it");
            Ending::default()
        });
        let is_empty = swept.tally.untouchable == 0;
        if !is_empty {
            let survivors = &self.inner.survivors;
            survivors.take_found(&self.spawn.tag, &swept.unkillable);
        }
        Ended {
            end: match is_empty {
                true => StopEnd::Swept,
                false => StopEnd::Unkillable,
            },
            tally: swept.tally,
            unkillable: swept.unkillable,
            is_clean: has_looked && is_empty,
            since,
        }
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
            self.inner.recorder.put(record)
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

    /// Answers that the child does not run, and sees that it is not listed from then on.
    fn refuse(&self, reply: Reply, error: SpawnError) {
        self.spawn.change(|state| state.stage = Stage::TreeOver);
        drop(reply.send(Err(error)));
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

enum Event {
    StopRequested,
    Report(Option<Report>),
    Due,
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
        let due = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            report = self.shim.report() => Event::Report(report),
            () = stop_requested => Event::StopRequested,
            () = due => Event::Due,
        }
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

fn how(tally: &Tally) -> StopEnd {
    match tally {
        tally if tally.untouchable > 0 => StopEnd::Unkillable,
        tally if tally.killed > 0 => StopEnd::Killed,
        tally if tally.terminated > 0 => StopEnd::Terminated,
        _ => StopEnd::Exited,
    }
}
