//! What the supervisor and a shim say to each other, over the shim's descriptor 0.
//!
//! Standard library only, since `sessiond-shim` compiles this very file. The descriptor is one end
//! of a unix stream socket pair: its other end is the worker's, so its end of file is the worker's
//! death, which makes it the lifeline. One line a message, ASCII, in order:
//!
//! ```text
//! worker                                             shim
//!   x (one byte, with the child's stdin attached) -->
//!                                                <-- started PID | failed ERRNO
//!   stop GRACE_MS                                -->                     any number of times
//!                                                <-- exited code N | exited signal N
//!                                                <-- gone TERMINATED KILLED UNTOUCHABLE
//! ```
//!
//! A shim ends after `failed` or `gone`. A worker that reads the end of file before one of them
//! knows that the shim was killed and that its tree may live on.

use std::fmt;
use std::str::FromStr;

/// The byte that carries the child's stdin.
pub const HELLO: u8 = b'x';

/// Bytes of the longest line.
pub const LINE_MAX_BYTES: usize = 64;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What a worker tells a shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End the tree: SIGTERM now, SIGKILL after this many milliseconds. A later order may shorten
    /// the grace, never lengthen it.
    Stop {
        /// Milliseconds from now.
        grace_ms: u64,
    },
}

/// What a shim tells its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The child runs.
    Started {
        /// Its pid.
        pid: u32,
    },
    /// The child could not be started; the shim ends.
    Failed {
        /// As in errno(3).
        errno: i32,
    },
    /// The child, the leader of the tree, has ended; the rest of the tree is being ended.
    Exited(Exit),
    /// Nothing of the tree is left, verified; the shim ends.
    Gone(Tally),
}

/// How a tree was ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Processes that were sent SIGTERM.
    pub terminated: u32,
    /// Processes that were sent SIGKILL.
    pub killed: u32,
    /// Processes that may not be signalled (setuid programs) or did not die of SIGKILL in time
    /// (uninterruptible sleep); they are left, and the tree is not empty.
    pub untouchable: u32,
}

/// A line is none of the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop { grace_ms } => write!(f, "stop {grace_ms}"),
        }
    }
}

impl FromStr for Order {
    type Err = Unknown;

    fn from_str(line: &str) -> Result<Self, Unknown> {
        let grace_ms = line.strip_prefix("stop ").ok_or(Unknown)?;
        let grace_ms = grace_ms.parse().map_err(|_| Unknown)?;
        Ok(Self::Stop { grace_ms })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { pid } => write!(f, "started {pid}"),
            Self::Failed { errno } => write!(f, "failed {errno}"),
            Self::Exited(Exit::Code(code)) => write!(f, "exited code {code}"),
            Self::Exited(Exit::Signal(signal)) => write!(f, "exited signal {signal}"),
            Self::Gone(tally) => write!(
                f,
                "gone {} {} {}",
                tally.terminated, tally.killed, tally.untouchable
            ),
        }
    }
}

impl FromStr for Report {
    type Err = Unknown;

    fn from_str(line: &str) -> Result<Self, Unknown> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["started", pid] => Ok(Self::Started { pid: number(pid)? }),
            ["failed", errno] => Ok(Self::Failed {
                errno: number(errno)?,
            }),
            ["exited", "code", code] => Ok(Self::Exited(Exit::Code(number(code)?))),
            ["exited", "signal", signal] => Ok(Self::Exited(Exit::Signal(number(signal)?))),
            ["gone", terminated, killed, untouchable] => Ok(Self::Gone(Tally {
                terminated: number(terminated)?,
                killed: number(killed)?,
                untouchable: number(untouchable)?,
            })),
            _ => Err(Unknown),
        }
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, Unknown> {
    text.parse().map_err(|_| Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let reports = [
            Report::Started { pid: 4242 },
            Report::Failed { errno: 2 },
            Report::Exited(Exit::Code(-1)),
            Report::Exited(Exit::Signal(9)),
            Report::Gone(Tally {
                terminated: u32::MAX,
                killed: u32::MAX,
                untouchable: u32::MAX,
            }),
        ];
        for report in reports {
            let line = report.to_string();
            assert!(line.len() <= LINE_MAX_BYTES, "{line}");
            assert_eq!(line.parse(), Ok(report));
        }
        let order = Order::Stop { grace_ms: u64::MAX };
        assert_eq!(order.to_string().parse(), Ok(order));
        for line in ["", "stop", "stop -1", "stop 1 2"] {
            assert_eq!(line.parse::<Order>(), Err(Unknown), "{line:?}");
        }
        for line in ["started", "exited 1", "gone 1 2", "failed x"] {
            assert_eq!(line.parse::<Report>(), Err(Unknown), "{line:?}");
        }
    }
}
