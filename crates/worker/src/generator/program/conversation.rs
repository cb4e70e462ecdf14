//! What a program's lines mean at their moment: the pure half of a conversation.
//!
//! It is fed the lines in their order and says what follows from each. It knows neither time nor
//! processes: patience, exits and what is done about a disorder are the generator's.
//!
//! A rule runs through it: a line that must be the reply to the message in work and cannot be
//! accepted fails the attempt at once, so that nothing waits for a reply that was given already;
//! any other line that does not fit is ignored and counted.

use std::fmt;
use std::time::Duration;

use sessiond_queue::ids::MessageId;
use sessiond_supervisor::Line;

use crate::generator::protocol::{self, Failure, Ready, Reply, Unreadable, VERSION, Worked};
use crate::generator::{FailureClass, Outcome};
use crate::words::counted;

/// Disorders in one phase (start, one message, one wait) that are ignored. A program that prints a
/// library's warnings stays far below; one that babbles must not keep a processor busy for ever.
pub(super) const DISORDER_MAX: u64 = 1_000;

/// Longest wait that a program may ask for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// A line that is ignored and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disorder {
    /// Not a JSON object with a type.
    Garbage,
    /// Over the limit of a line.
    TooLong,
    /// Of a type that this version does not have.
    UnknownType,
    /// Of a known type, with fields that are missing or not what they must be.
    Invalid,
    /// About a message that is not in work: never given, or settled before.
    OtherMessage,
    /// Before `ready`.
    Early,
    /// A second `ready`.
    Repeated,
}

impl Disorder {
    const ALL: [Self; 7] = [
        Self::Garbage,
        Self::TooLong,
        Self::UnknownType,
        Self::Invalid,
        Self::OtherMessage,
        Self::Early,
        Self::Repeated,
    ];

    /// The word in logs and in the document.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::TooLong => "too long",
            Self::UnknownType => "unknown type",
            Self::Invalid => "invalid",
            Self::OtherMessage => "other message",
            Self::Early => "before ready",
            Self::Repeated => "second ready",
        }
    }
}

/// What follows from a line.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Nothing.
    Nothing,
    /// It was ignored.
    Ignored {
        /// What was wrong with it.
        disorder: Disorder,
        /// Lines of this sort in this conversation so far, this one too.
        count: u64,
    },
    /// More were ignored in this phase than [`DISORDER_MAX`].
    Babble,
    /// The program takes messages.
    Ready(Ready),
    /// The program will not take any.
    Refused {
        /// Why.
        reason: String,
        /// Whether another start would be refused too.
        is_final: bool,
    },
    /// The message in work still is.
    Progress,
    /// The message in work is settled.
    Settled(Outcome),
    /// The session is to be closed.
    CloseSession,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Waiting,
    Working(MessageId),
}

/// One program's conversation, from its start.
#[derive(Debug)]
pub(super) struct Conversation {
    phase: Phase,
    /// Of each sort, since the start.
    ignored: [u64; Disorder::ALL.len()],
    /// Of all sorts, in this phase.
    ignored_in_phase: u64,
}

impl Conversation {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Starting,
            ignored: [0; Disorder::ALL.len()],
            ignored_in_phase: 0,
        }
    }

    /// A message is handed to the program.
    pub(super) fn begin(&mut self, message: MessageId) {
        self.enter(Phase::Working(message));
    }

    /// What follows from `line`.
    pub(super) fn hear(&mut self, line: &Line) -> Event {
        let bytes = match line {
            Line::Bytes(bytes) => bytes,
            Line::TooLong { bytes } => {
                return match self.phase {
                    // Nothing but a reply is so long; nobody knows what it was.
                    Phase::Working(_) => self.failed(format!(
                        "it sent a line of {bytes} bytes, over the limit (generator.line_max_bytes)"
                    )),
                    Phase::Starting | Phase::Waiting => self.ignore(Disorder::TooLong),
                };
            }
        };
        match protocol::read(bytes) {
            Ok(reply) => self.reply(reply),
            Err(Unreadable::Garbage) => self.ignore(Disorder::Garbage),
            Err(Unreadable::UnknownType) => self.ignore(Disorder::UnknownType),
            Err(Unreadable::Invalid {
                is_ready,
                ids,
                problem,
            }) => match self.phase {
                Phase::Starting if is_ready => Event::Refused {
                    reason: format!("its ready is invalid: {problem}"),
                    is_final: false,
                },
                Phase::Working(message)
                    if !is_ready && (ids.is_empty() || ids.contains(&message)) =>
                {
                    self.failed(format!("its reply is invalid: {problem}"))
                }
                _ => self.ignore(Disorder::Invalid),
            },
        }
    }

    fn reply(&mut self, reply: Reply) -> Event {
        match (self.phase, reply) {
            (Phase::Starting, Reply::Ready(ready)) => self.ready(ready),
            (
                Phase::Starting,
                Reply::Failure(Failure {
                    id: None,
                    class,
                    reason,
                    ..
                }),
            ) => Event::Refused {
                reason: format!("it refused to start: {reason}"),
                is_final: class == FailureClass::Poison,
            },
            (Phase::Starting, Reply::Progress) => Event::Nothing,
            (Phase::Starting, _) => self.ignore(Disorder::Early),
            (_, Reply::Ready(_)) => self.ignore(Disorder::Repeated),
            (_, Reply::CloseSession) => Event::CloseSession,
            (Phase::Waiting, Reply::Progress) => Event::Nothing,
            (Phase::Working(_), Reply::Progress) => Event::Progress,
            (Phase::Working(message), Reply::Result(worked)) if worked.ids.contains(&message) => {
                self.worked(worked)
            }
            (Phase::Working(message), Reply::Failure(failure)) if failure.id == Some(message) => {
                let retry_after = failure.retry_after_ms.map(Duration::from_millis);
                self.settled(Outcome::Failed {
                    class: failure.class,
                    reason: failure.reason,
                    retry_after: retry_after.map(|wait| wait.min(RETRY_AFTER_MAX)),
                })
            }
            (Phase::Working(_), Reply::Result(worked)) if worked.ids.is_empty() => {
                self.failed("its reply is invalid: ids names no message".to_owned())
            }
            (Phase::Working(_), Reply::Failure(Failure { id: None, .. })) => {
                self.failed("its reply is invalid: missing field `id`".to_owned())
            }
            (_, Reply::Result(_)) => self.ignore(Disorder::OtherMessage),
            (_, Reply::Failure(Failure { id: None, .. })) => self.ignore(Disorder::Invalid),
            (_, Reply::Failure(_)) => self.ignore(Disorder::OtherMessage),
        }
    }

    fn ready(&mut self, ready: Ready) -> Event {
        match ready.protocol {
            None | Some(VERSION) => {
                self.enter(Phase::Waiting);
                Event::Ready(ready)
            }
            Some(other) => Event::Refused {
                reason: format!("it speaks protocol {other}, this worker speaks {VERSION}"),
                is_final: true,
            },
        }
    }

    /// Of a result that names the message in work.
    fn worked(&mut self, worked: Worked) -> Event {
        if worked.ids.len() > 1 {
            // Which of its results belong to the message cannot be told.
            let named = worked.ids.len();
            return self.failed(format!(
                "its result names {named} messages, but one at a time is in work"
            ));
        }
        self.settled(Outcome::Done {
            results: worked.results,
            checkpoint: worked.checkpoint,
            usage: worked.usage,
        })
    }

    fn failed(&mut self, reason: String) -> Event {
        self.settled(Outcome::Failed {
            class: FailureClass::Retry,
            reason,
            retry_after: None,
        })
    }

    fn settled(&mut self, outcome: Outcome) -> Event {
        self.enter(Phase::Waiting);
        Event::Settled(outcome)
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.ignored_in_phase = 0;
    }

    fn ignore(&mut self, disorder: Disorder) -> Event {
        let count = &mut self.ignored[disorder as usize];
        *count += 1;
        self.ignored_in_phase += 1;
        if self.ignored_in_phase > DISORDER_MAX {
            return Event::Babble;
        }
        Event::Ignored {
            disorder,
            count: *count,
        }
    }
}

/// What was ignored so far, as the end of a sentence; nothing if nothing was.
impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = Disorder::ALL.iter().zip(self.ignored);
        let mut counts = counts.filter(|(_, count)| *count > 0).peekable();
        if counts.peek().is_none() {
            return Ok(());
        }
        let counts: Vec<String> = counts
            .map(|(disorder, count)| format!("{count} {}", disorder.as_str()))
            .collect();
        let lines = counted(self.ignored.iter().sum::<u64>(), "line");
        write!(f, " ({lines} of its output ignored: {})", counts.join(", "))
    }
}

#[cfg(test)]
mod tests;
