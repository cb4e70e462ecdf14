//! The handle to one running child.
//!
//! Reads and writes its pipes. Its life is the actor's; the handles ask and wait.

use std::io;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;

use crate::control::Exit;
use crate::lines::LineCutter;
use crate::pipe::PipeReader;
use crate::report::{StopEnd, Stopped};
use crate::spawn::{Hold, Spawn, Stage};
use crate::tag::Tag;

/// Bytes of the buffer for a line to write that are kept for the next one.
const WRITE_KEPT_BYTES: usize = 64 << 10;

/// A running child. Dropping it ends the child and its whole tree, with the configured grace; a
/// child that was taken apart ends when both `stdin` and `stdout` are dropped.
#[derive(Debug)]
pub struct Child {
    /// Its standard input.
    pub stdin: ChildInput,
    /// Its standard output, line by line.
    pub stdout: ChildLines,
    /// Everything else.
    pub control: ChildControl,
}

impl Child {
    pub(crate) fn new(
        spawn: &Arc<Spawn>,
        stdin: Sender,
        stdout: PipeReader,
        line_max_bytes: usize,
    ) -> Self {
        let hold = Arc::new(Hold(Arc::clone(spawn)));
        Self {
            stdin: ChildInput {
                pipe: stdin,
                line: Vec::new(),
                spawn: Arc::clone(spawn),
                _hold: Arc::clone(&hold),
            },
            stdout: ChildLines {
                pipe: stdout,
                cutter: LineCutter::new(line_max_bytes),
                chunk: Vec::new(),
                taken: 0,
                has_ended: false,
                spawn: Arc::clone(spawn),
                _hold: hold,
            },
            control: ChildControl {
                spawn: Arc::clone(spawn),
            },
        }
    }
}

/// A child's standard input. Dropping it closes it.
#[derive(Debug)]
pub struct ChildInput {
    pipe: Sender,
    /// Joins a line with its newline, so that they are one write.
    line: Vec<u8>,
    spawn: Arc<Spawn>,
    _hold: Arc<Hold>,
}

impl ChildInput {
    /// Writes `line` and a newline; waits while the pipe is full. Not cancel-safe: a part of the
    /// line may have been written.
    ///
    /// # Errors
    /// `BrokenPipe` once the child has closed it or ended.
    pub async fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.line.clear();
        self.line.shrink_to(WRITE_KEPT_BYTES);
        self.line.extend_from_slice(line);
        self.line.push(b'\n');
        tokio::select! {
            // First: a pipe with room takes a line although nobody will read it.
            biased;
            _over = self.spawn.reached(Stage::ChildOver) => Err(io::ErrorKind::BrokenPipe.into()),
            written = self.pipe.write_all(&self.line) => written,
        }
    }
}

/// One line of a child's standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Its bytes, without the newline.
    Bytes(Vec<u8>),
    /// It was longer than [`line_max_bytes`](crate::Command::line_max_bytes) and was thrown away.
    TooLong {
        /// How long it was.
        bytes: u64,
    },
}

/// A child's standard output. What is not read stays in the pipe, so that the child waits.
#[derive(Debug)]
pub struct ChildLines {
    pipe: PipeReader,
    cutter: LineCutter,
    /// Bytes that were read, of which the first `taken` are cut already.
    chunk: Vec<u8>,
    taken: usize,
    has_ended: bool,
    spawn: Arc<Spawn>,
    _hold: Arc<Hold>,
}

impl ChildLines {
    /// The next line. `None` at its end: it was closed, or the child has exited and what it had
    /// written was read, even if others hold the pipe. The last line needs no newline. Cancel-safe.
    pub async fn next(&mut self) -> Option<Line> {
        loop {
            while self.taken < self.chunk.len() {
                let (taken, line) = self.cutter.feed(&self.chunk[self.taken..]);
                self.taken += taken;
                if let Some(line) = line {
                    return Some(self.counted(line));
                }
            }
            if self.has_ended {
                return None;
            }
            // Emptied before the await, and filled after it without another: a call that is
            // cancelled loses nothing.
            self.chunk.clear();
            self.taken = 0;
            match self.pipe.read().await {
                Some(bytes) => {
                    self.spawn.stdout.take(bytes);
                    self.chunk.extend_from_slice(bytes);
                }
                None => {
                    self.has_ended = true;
                    let last = self.cutter.finish();
                    return last.map(|line| self.counted(line));
                }
            }
        }
    }

    fn counted(&self, line: Line) -> Line {
        if matches!(line, Line::TooLong { .. }) {
            self.spawn.stdout.count_long_line();
        }
        line
    }
}

/// What else a child's holder may do. Cloned handles speak of the same child and do not keep it.
#[derive(Clone, Debug)]
pub struct ChildControl {
    spawn: Arc<Spawn>,
}

impl ChildControl {
    /// Whom it was started for.
    pub fn tag(&self) -> &Tag {
        &self.spawn.tag
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        // A child is handed out once it runs; 0 is nobody's pid.
        self.spawn.state().pid.unwrap_or_default()
    }

    /// Waits for the child's exit, which is seen at once whatever of its tree lives on. `None`:
    /// its shim vanished without telling.
    pub async fn exited(&self) -> Option<Exit> {
        self.spawn.reached(Stage::ChildOver).await.exit
    }

    /// Whether it has exited.
    pub fn has_exited(&self) -> bool {
        self.spawn.state().stage >= Stage::ChildOver
    }

    /// Ends the tree with the configured grace and waits until it is verified to be empty. Every
    /// caller gets the same answer. Cancel-safe: the end goes on.
    pub async fn stop(&self) -> Stopped {
        self.spawn.request_stop();
        let state = self.spawn.reached(Stage::Over).await;
        // Without an answer the supervisor's runtime went away; then the lifeline ends the tree,
        // and nobody has seen its end.
        state.stopped.unwrap_or_else(|| Stopped {
            tag: self.spawn.tag.to_string(),
            command: self.spawn.command.clone(),
            pid: state.pid,
            end: StopEnd::Unkillable,
            exit_code: None,
            exit_signal: None,
            killed: 0,
            untouchable: 0,
            unkillable: Vec::new(),
            took_ms: 0,
        })
    }

    /// The last 64 KiB of its standard error, as text for people.
    pub fn stderr_tail(&self) -> String {
        String::from_utf8_lossy(&self.spawn.stderr.tail()).into_owned()
    }
}
