//! The handle to one running child.

use std::io;

use crate::control::Exit;
use crate::report::Stopped;
use crate::tag::Tag;

/// A running child. Dropping it ends the child and its whole tree, with the configured grace.
#[derive(Debug)]
pub struct Child {
    /// Its standard input.
    pub stdin: ChildInput,
    /// Its standard output, line by line.
    pub stdout: ChildLines,
    /// Everything else.
    pub control: ChildControl,
}

/// A child's standard input.
#[derive(Debug)]
pub struct ChildInput {}

impl ChildInput {
    /// Writes `line` and a newline; waits while the pipe is full. Not cancel-safe: a part of the
    /// line may have been written.
    ///
    /// # Errors
    /// `BrokenPipe` once the child has closed it or ended.
    pub async fn write_line(&mut self, _line: &[u8]) -> io::Result<()> {
        unimplemented!()
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
pub struct ChildLines {}

impl ChildLines {
    /// The next line. `None` at its end: it was closed, or the child has exited and what it had
    /// written was read, even if others hold the pipe. Cancel-safe.
    pub async fn next(&mut self) -> Option<Line> {
        unimplemented!()
    }
}

/// What else a child's holder may do. Cloned handles speak of the same child and do not keep it.
#[derive(Clone, Debug)]
pub struct ChildControl {}

impl ChildControl {
    /// Whom it was started for.
    pub fn tag(&self) -> &Tag {
        unimplemented!()
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        unimplemented!()
    }

    /// Waits for the child's exit, which is seen at once whatever of its tree lives on. `None`:
    /// its shim vanished without telling.
    pub async fn exited(&self) -> Option<Exit> {
        unimplemented!()
    }

    /// Whether it has exited.
    pub fn has_exited(&self) -> bool {
        unimplemented!()
    }

    /// Ends the tree with the configured grace and waits until it is verified to be empty. Every
    /// caller gets the same answer. Cancel-safe: the end goes on.
    pub async fn stop(&self) -> Stopped {
        unimplemented!()
    }

    /// The last 64 KiB of its standard error, as text for people.
    pub fn stderr_tail(&self) -> String {
        unimplemented!()
    }
}
