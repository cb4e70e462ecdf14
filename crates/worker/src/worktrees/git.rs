//! Runs git: under the supervisor, with an environment of its own, for a limited time.
//!
//! What git answers is read by its machine-readable formats only; its words to people are passed on
//! and never looked into.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sessiond_queue::ids::SessionId;
use sessiond_supervisor::{Child, Command, Exit, Line, ProcessLimits, SpawnError, Supervisor};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::wire::environment::WORKER_PATH;

/// Gits at once, so that worktrees do not take the supervisor's places from programs.
const AT_ONCE_MAX: usize = 4;
/// Bytes of one answer: the status of a working tree in which some ten thousand files changed.
const OUTPUT_MAX_BYTES: usize = 4 << 20;
/// Characters of git's complaint that are passed on.
const WORDS_MAX: usize = 500;

/// What git is told each time. Hooks of a repository are its users', not ours: they are meant for
/// their terminal and may take as long as they like. Filters stay, since without them files are not
/// what was committed.
const FIXED: [&str; 18] = [
    "--no-pager",
    "--no-optional-locks",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.askPass=",
    "-c",
    "credential.helper=",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    "-c",
    "commit.gpgSign=false",
    "-c",
    // Whoever wants them fetched does so himself, with his own credentials.
    "submodule.recurse=false",
];

/// Of the worker's own variables those that git finds its configuration by.
const INHERITED: [&str; 5] = ["HOME", "USER", "LOGNAME", "XDG_CONFIG_HOME", "TMPDIR"];

/// Git did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It is not there, or may not be run.
    #[error("run {program} (install git 2.36 or newer, or set worktrees.git to its path)")]
    Missing {
        /// What was looked for.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The directory it was to be run in is not there.
    #[error("run git in {path}: there is no such directory")]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The worker is stopping, or the session was closed or unloaded meanwhile.
    #[error("run git {command}: it was ended together with its session's programs")]
    Ended {
        /// The subcommand.
        command: String,
    },
    /// It could not be started.
    #[error("run git")]
    Start(#[source] SpawnError),
    /// It took too long and was ended.
    #[error("git {command} did not answer in time")]
    Timeout {
        /// The subcommand.
        command: String,
    },
    /// It answered more than is read.
    #[error("git {command} answered with more than {OUTPUT_MAX_BYTES} bytes")]
    TooMuch {
        /// The subcommand.
        command: String,
    },
    /// It refused.
    #[error("git {command}: {words}")]
    Failed {
        /// The subcommand.
        command: String,
        /// What it said.
        words: String,
    },
}

/// Runs git.
#[derive(Debug)]
pub(super) struct Git {
    supervisor: Supervisor,
    program: OsString,
    env: Vec<(OsString, OsString)>,
    at_once: Semaphore,
}

/// One command to git.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// For whom it is run: it is ended with the session's programs.
    pub(super) session: SessionId,
    /// Where.
    pub(super) cwd: &'a Path,
    /// Where git does not look for a repository any more, nor above it: a worktree that has lost
    /// its link to its own must not be taken for a part of another one.
    pub(super) ceiling: Option<&'a Path>,
    /// When it is ended.
    pub(super) deadline: Instant,
}

/// What git answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: i32,
    pub(super) stdout: Vec<u8>,
    words: String,
}

impl Git {
    /// `program` as configured; `own_env` is the worker's.
    pub(super) fn new(
        supervisor: Supervisor,
        program: &str,
        own_env: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let inherited = own_env
            .into_iter()
            .filter(|(name, _)| name.to_str().is_some_and(|name| INHERITED.contains(&name)));
        let mut env: Vec<(OsString, OsString)> = inherited.collect();
        let fixed = [
            ("PATH", WORKER_PATH),
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_EDITOR", "false"),
            ("GIT_PAGER", "cat"),
            ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
        ];
        env.extend(fixed.map(|(name, value)| (name.into(), value.into())));
        Self {
            supervisor,
            program: program.into(),
            env,
            at_once: Semaphore::new(AT_ONCE_MAX),
        }
    }

    /// Runs git to its end; succeeds only if git did.
    pub(super) async fn run<S: AsRef<OsStr>>(
        &self,
        call: Call<'_>,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Vec<u8>, GitError> {
        let args = collect(args);
        let answer = self.ask(call, args.clone()).await?;
        match answer.code {
            0 => Ok(answer.stdout),
            _ => Err(refusal(&args, answer.words)),
        }
    }

    /// Runs git to its end, whatever it answers.
    pub(super) async fn ask<S: AsRef<OsStr>>(
        &self,
        call: Call<'_>,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Answer, GitError> {
        let args = collect(args);
        let command = name(&args);
        let mut stdout = Vec::new();
        let mut is_first = true;
        let take = |line: &[u8]| {
            if !is_first {
                stdout.push(b'\n');
            }
            is_first = false;
            stdout.extend_from_slice(line);
            match stdout.len() > OUTPUT_MAX_BYTES {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        match self.each_line(call, args, take).await? {
            Some((code, words)) => Ok(Answer {
                code,
                stdout,
                words,
            }),
            None => Err(GitError::TooMuch { command }),
        }
    }

    /// Runs git and looks at each line until `take` has seen enough; `None`: it had, and git was
    /// ended.
    pub(super) async fn each_line<S: AsRef<OsStr>>(
        &self,
        call: Call<'_>,
        args: impl IntoIterator<Item = S>,
        take: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Option<(i32, String)>, GitError> {
        let args = collect(args);
        let command = name(&args);
        let timeout = || GitError::Timeout {
            command: command.clone(),
        };
        let place = tokio::time::timeout_at(call.deadline, self.at_once.acquire()).await;
        let _place = place.map_err(|_| timeout())?;
        let child = tokio::time::timeout_at(call.deadline, self.start(call, args)).await;
        let mut child = child.map_err(|_| timeout())??;
        let read = read(&mut child, take);
        let read = tokio::time::timeout_at(call.deadline, read).await;
        // Also when it has exited: its complaints are whole once its tree is gone, and whoever runs
        // after this one may rely on nothing of it running.
        let control = child.control.clone();
        control.stop().await;
        match read {
            Err(_) => Err(timeout()),
            Ok(Read::Enough) => Ok(None),
            Ok(Read::TooLong) => Err(GitError::TooMuch { command }),
            Ok(Read::Ended(Some(Exit::Code(code)))) => {
                Ok(Some((code, short(&control.stderr_tail()))))
            }
            Ok(Read::Ended(_)) => Err(GitError::Ended { command }),
        }
    }

    async fn start(&self, call: Call<'_>, args: Vec<OsString>) -> Result<Child, GitError> {
        let mut all: Vec<OsString> = FIXED.iter().map(Into::into).collect();
        let command_name = name(&args);
        all.extend(args);
        let mut env = self.env.clone();
        if let Some(ceiling) = call.ceiling {
            env.push(("GIT_CEILING_DIRECTORIES".into(), ceiling.into()));
        }
        let command = Command {
            program: self.program.clone(),
            args: all,
            env,
            cwd: call.cwd.to_owned(),
            output_dir: None,
            line_max_bytes: OUTPUT_MAX_BYTES,
            limits: ProcessLimits::default(),
            is_errand: true,
        };
        loop {
            // Told apart from a program that is not there.
            let is_dir = tokio::fs::metadata(call.cwd).await;
            if !is_dir.is_ok_and(|found| found.is_dir()) {
                return Err(GitError::NoDirectory {
                    path: call.cwd.to_owned(),
                });
            }
            let tag = self.supervisor.tag(&call.session.to_string());
            return match self.supervisor.spawn(command.clone(), tag).await {
                Ok(child) => Ok(child),
                Err(SpawnError::Full { .. }) => {
                    self.supervisor.has_room().await;
                    continue;
                }
                Err(SpawnError::Stopping { .. } | SpawnError::Ended { .. }) => {
                    Err(GitError::Ended {
                        command: command_name,
                    })
                }
                Err(SpawnError::Program { command, source }) => Err(GitError::Missing {
                    program: command,
                    source,
                }),
                Err(error) => Err(GitError::Start(error)),
            };
        }
    }
}

enum Read {
    Enough,
    TooLong,
    Ended(Option<Exit>),
}

async fn read(child: &mut Child, mut take: impl FnMut(&[u8]) -> ControlFlow<()>) -> Read {
    while let Some(line) = child.stdout.next().await {
        let Line::Bytes(line) = line else {
            return Read::TooLong;
        };
        if take(&line).is_break() {
            return Read::Enough;
        }
    }
    Read::Ended(child.control.exited().await)
}

fn collect<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Vec<OsString> {
    args.into_iter()
        .map(|arg| arg.as_ref().to_owned())
        .collect()
}

/// The subcommand, with the word below it where there is one.
fn name(args: &[OsString]) -> String {
    let is_option = |word: &str| word.starts_with('-') || word.contains('=');
    let words = args.iter().map(|arg| arg.to_string_lossy());
    let words = words.skip_while(|word| is_option(word)).take(2);
    let words: Vec<_> = words.take_while(|word| !is_option(word)).collect();
    words.join(" ")
}

fn refusal(args: &[OsString], words: String) -> GitError {
    GitError::Failed {
        command: name(args),
        words,
    }
}

impl Answer {
    /// What git said, as the error of a command that was to succeed.
    pub(super) fn refusal(self, command: &str) -> GitError {
        GitError::Failed {
            command: command.to_owned(),
            words: self.words,
        }
    }
}

/// Git's complaint on one line, without what a terminal obeys.
fn short(words: &str) -> String {
    let lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    let words: String = lines
        .join("; ")
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(WORDS_MAX)
        .collect();
    match words.is_empty() {
        true => "it gave no reason".to_owned(),
        false => words,
    }
}
