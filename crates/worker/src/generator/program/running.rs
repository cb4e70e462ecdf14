//! A running program: its lines written and read at once, the waiting, and its end.
//!
//! What a line means is the conversation's; here is what takes time. A program may stop reading
//! while its output is full, so nothing is ever written without reading beside it.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use sessiond_queue::ids::{MessageId, SessionId};
use sessiond_queue::types::Message;
use sessiond_supervisor::{Child, ChildControl, Exit, ProcessLimits};
use tokio::time::{Instant, sleep_until, timeout};

use super::conversation::{Conversation, DISORDER_MAX, Event};
use super::passing;
use crate::config::Program;
use crate::generator::protocol::{self, Ready};
use crate::generator::{
    About, CloseReason, FailureClass, Generator, IdleEnd, OpenError, OpenErrorKind, Outcome,
};

/// How long the exit of a program is awaited that has closed its input or output: usually it is
/// just ending, and how it did says more than that.
const EXIT_WAIT: Duration = Duration::from_secs(1);

/// How long a program may take to end that is ahead of its checkpoint: what it still does is of no
/// use.
const REWIND_WAIT: Duration = Duration::from_secs(1);

/// Characters of a program's last words in a reason.
const LAST_WORDS_MAX_CHARS: usize = 300;

/// Exit codes of shells, `env` and the like: the program is there and may not be run; it is not
/// there.
const EXIT_NOT_EXECUTABLE: i32 = 126;
const EXIT_NOT_FOUND: i32 = 127;

/// How long a program may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From its start to `ready`.
    pub(super) ready: Duration,
    /// Longest silence over a message.
    pub(super) progress: Duration,
    /// From `close` to its end.
    pub(super) stop: Duration,
}

/// One session's program.
pub(super) struct Running {
    child: Child,
    session: SessionId,
    about: About,
    patience: Patience,
    /// For the reason of an early end.
    limits: ProcessLimits,
    conversation: Conversation,
    /// Set while a line is written, and left set when that was cut short: nothing can follow it.
    is_torn: bool,
    /// It ended, or was ended: it is not talked to any more.
    is_over: bool,
    /// It asked for its session to be closed.
    close_asked: bool,
}

/// Why an exchange has no answer.
#[derive(Debug)]
enum Unanswered {
    /// It said nothing for so long.
    Silent(Duration),
    /// It said too much that means nothing.
    Babble,
    /// It does not read any more.
    Deaf,
    /// Its output ended.
    Ended,
}

impl Running {
    /// Greets a child and waits until it is ready.
    pub(super) async fn open(
        child: Child,
        session: SessionId,
        program: &Program,
        patience: Patience,
        open: &[u8],
    ) -> Result<Self, OpenError> {
        let pid = child.control.pid();
        let mut running = Self {
            child,
            session,
            about: About {
                name: program.name.clone(),
                pid: Some(pid),
                ..About::default()
            },
            patience,
            limits: program.limits,
            conversation: Conversation::new(),
            is_torn: false,
            is_over: false,
            close_asked: false,
        };
        let refused = match running.exchange(open, patience.ready, None).await {
            Ok(Event::Ready(ready)) => {
                running.introduce(ready);
                return Ok(running);
            }
            Ok(Event::Refused { reason, is_final }) => OpenError {
                reason,
                kind: match is_final {
                    true => OpenErrorKind::Final,
                    false => OpenErrorKind::Again,
                },
            },
            Ok(event) => unreachable!("{event:?} is no answer to open"),
            Err(unanswered) => {
                let reason = running.give_up(&unanswered).await;
                let reason = format!("before it was ready: {reason}");
                match running.child.control.exited().await {
                    // What a shell says of a program that it cannot run, and nobody else by custom.
                    Some(Exit::Code(EXIT_NOT_EXECUTABLE | EXIT_NOT_FOUND)) => OpenError {
                        reason,
                        kind: OpenErrorKind::Final,
                    },
                    _ => passing(reason),
                }
            }
        };
        running.end().await;
        Err(refused)
    }

    fn introduce(&mut self, ready: Ready) {
        if let Some(name) = ready.name {
            self.about.name = name;
        }
        self.about.provider = ready.provider;
        self.about.model = ready.model;
    }

    /// Says `line` and listens until it is answered. `message` is the one it is about.
    async fn exchange(
        &mut self,
        line: &[u8],
        patience: Duration,
        message: Option<MessageId>,
    ) -> Result<Event, Unanswered> {
        let mut deadline = Instant::now() + patience;
        let mut answer = None;
        let mut is_deaf = false;
        self.is_torn = true;
        let mut write = pin!(self.child.stdin.write_line(line));
        let unanswered = loop {
            // An answer counts once its question was taken whole: another line can follow it then.
            if let Some(answer) = answer.take_if(|_| !self.is_torn || is_deaf) {
                self.is_over = is_deaf;
                return Ok(answer);
            }
            tokio::select! {
                biased;
                () = sleep_until(deadline) => break match is_deaf {
                    true => Unanswered::Deaf,
                    false => Unanswered::Silent(patience),
                },
                written = &mut write, if self.is_torn && !is_deaf => match written {
                    Ok(()) => self.is_torn = false,
                    // Its last lines, and the way it ended, may still come.
                    Err(_) => {
                        is_deaf = true;
                        deadline = Instant::now() + EXIT_WAIT;
                    }
                },
                heard = self.child.stdout.next() => {
                    let Some(heard) = heard else {
                        break Unanswered::Ended;
                    };
                    match self.conversation.hear(&heard) {
                        Event::Nothing => {}
                        Event::Ignored { disorder, count } => {
                            report(self.session, message, disorder.as_str(), count);
                        }
                        Event::Babble => break Unanswered::Babble,
                        Event::Progress if is_deaf => {}
                        Event::Progress => deadline = Instant::now() + patience,
                        Event::CloseSession => self.close_asked = true,
                        settled => answer = Some(settled),
                    }
                }
            }
        };
        match answer {
            // It answered what it has not read to its end, and cannot be asked again.
            Some(answer) => {
                self.is_over = true;
                Ok(answer)
            }
            None => Err(unanswered),
        }
    }

    /// Ends it after an exchange without an answer, and says why.
    async fn give_up(&mut self, unanswered: &Unanswered) -> String {
        let control = &self.child.control;
        let what = match unanswered {
            Unanswered::Silent(patience) => {
                format!("no progress for {} s", patience.as_secs_f64())
            }
            Unanswered::Babble => format!("over {DISORDER_MAX} lines that mean nothing"),
            Unanswered::Deaf => describe_exit(control, "closed its standard input").await,
            Unanswered::Ended => describe_exit(control, "closed its standard output").await,
        };
        // Before its last words are read: they may still be in the pipe when its exit is seen.
        self.end().await;
        let ignored = &self.conversation;
        let limits = describe_limits(&self.limits);
        match last_words(&self.child.control) {
            Some(words) => format!("{what}{ignored}{limits}; it last said: {words}"),
            None => format!("{what}{ignored}{limits}"),
        }
    }

    /// Ends it without any talk.
    async fn end(&mut self) {
        self.is_over = true;
        let stopped = self.child.control.stop().await;
        tracing::debug!(session.id = %self.session, ?stopped, "program ended");
    }
}

#[async_trait]
impl Generator for Running {
    fn about(&self) -> About {
        self.about.clone()
    }

    async fn work(&mut self, message: &Message) -> Outcome {
        if self.is_over {
            return failed(FailureClass::Retry, "the program has ended".to_owned());
        }
        let line = match protocol::message(message) {
            Ok(line) => line,
            Err(error) => {
                return failed(FailureClass::Poison, format!("its payload: {error}"));
            }
        };
        self.conversation.begin(message.id);
        let patience = self.patience.progress;
        match self.exchange(&line, patience, Some(message.id)).await {
            Ok(Event::Settled(outcome)) => outcome,
            Ok(event) => unreachable!("{event:?} is no answer to a message"),
            Err(unanswered) => {
                let reason = self.give_up(&unanswered).await;
                failed(FailureClass::Retry, reason)
            }
        }
    }

    async fn idle(&mut self) -> IdleEnd {
        loop {
            if self.close_asked {
                return IdleEnd::CloseSession;
            }
            if self.is_over {
                return IdleEnd::Ended;
            }
            // What is not read would keep it from writing, and so from seeing the next message.
            let Some(heard) = self.child.stdout.next().await else {
                self.is_over = true;
                continue;
            };
            match self.conversation.hear(&heard) {
                Event::CloseSession => self.close_asked = true,
                Event::Ignored { disorder, count } => {
                    report(self.session, None, disorder.as_str(), count);
                }
                Event::Babble => {
                    tracing::warn!(
                        session.id = %self.session,
                        "program ended: it says what means nothing while it waits"
                    );
                    self.is_over = true;
                }
                // Only a message in work is settled.
                _ => {}
            }
        }
    }

    async fn close(self: Box<Self>, reason: CloseReason) {
        let mut running = *self;
        if running.is_over || running.child.control.has_exited() {
            return running.end().await;
        }
        let Self {
            child,
            patience,
            is_torn,
            session,
            ..
        } = running;
        let Child {
            mut stdin,
            mut stdout,
            control,
            ..
        } = child;
        let goodbye = async {
            if !is_torn {
                // If it does not read any more, its end of file says the same.
                let _deaf = stdin.write_line(&protocol::close(reason)).await;
            }
            drop(stdin);
        };
        // A program that is still answering must not wait for a reader.
        let listen = async { while stdout.next().await.is_some() {} };
        let talk = async {
            tokio::join!(goodbye, listen);
            pending::<()>().await;
        };
        let ended = async {
            tokio::select! {
                _ = control.exited() => {}
                () = talk => {}
            }
        };
        let wait = match reason {
            // Nothing is waited for that it has in hand, and its session waits for the next one.
            CloseReason::Rewind => patience.stop.min(REWIND_WAIT),
            CloseReason::Idle | CloseReason::Session | CloseReason::Slot => patience.stop,
        };
        if timeout(wait, ended).await.is_err() {
            tracing::info!(
                session.id = %session, wait_ms = wait.as_millis(),
                "program did not end when it was asked to"
            );
        }
        control.stop().await;
    }
}

fn failed(class: FailureClass, reason: String) -> Outcome {
    Outcome::Failed {
        class,
        reason,
        retry_after: None,
    }
}

/// Logs an ignored line, without what it said: the first, the second, the fourth of its sort, and
/// so on, so that a program cannot fill the log.
fn report(session: SessionId, message: Option<MessageId>, disorder: &str, count: u64) {
    if count.is_power_of_two() {
        let message = message.map(|message| message.0);
        tracing::warn!(
            session.id = %session, message.id = message, disorder, count,
            "line of a program ignored"
        );
    }
}

/// How a program ended, or `otherwise` if it does not end.
async fn describe_exit(control: &ChildControl, otherwise: &str) -> String {
    match timeout(EXIT_WAIT, control.exited()).await {
        Ok(Some(Exit::Code(code))) => format!("exited with code {code}"),
        Ok(Some(Exit::Signal(signal))) => match Signal::try_from(signal) {
            Ok(name) => format!("ended by signal {signal} ({name})"),
            Err(_) => format!("ended by signal {signal}"),
        },
        Ok(None) => "vanished with its shim".to_owned(),
        Err(_) => otherwise.to_owned(),
    }
}

/// What it was allowed to use: a program seldom says itself that it met a limit.
fn describe_limits(limits: &ProcessLimits) -> String {
    let ProcessLimits {
        memory_max_bytes,
        open_files_max,
        processes_max,
        nice: _,
    } = limits;
    let told = [
        memory_max_bytes.map(|bytes| format!("memory_max_bytes = {bytes}")),
        open_files_max.map(|files| format!("open_files_max = {files}")),
        processes_max.map(|processes| format!("processes_max = {processes}")),
    ];
    let told: Vec<_> = told.into_iter().flatten().collect();
    match told.is_empty() {
        true => String::new(),
        false => format!(" (its limits: {})", told.join(", ")),
    }
}

/// The last line of its standard error that says anything.
fn last_words(control: &ChildControl) -> Option<String> {
    let tail = control.stderr_tail();
    let line = tail.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(protocol::one_line(line, LAST_WORDS_MAX_CHARS))
}
