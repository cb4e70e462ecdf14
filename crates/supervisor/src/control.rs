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
//!                                                <-- stopping            to each, at once
//!                                                <-- exited code N | exited signal N
//!                                                <-- untouchable PID START_TICKS STATE DENIED
//!                                                <-- gone TERMINATED KILLED UNTOUCHABLE
//! ```
//!
//! A shim ends after `failed` or `gone`. A worker that reads the end of file before one of them
//! knows that the shim was killed and that its tree may live on; one that reads no `stopping` for
//! a while knows that the shim is frozen. Before `gone` those that could not be ended are named,
//! [`UNTOUCHABLE_MAX`] of them at most: STATE is the letter of proc_pid_stat(5), `?` where it is
//! not to be had, and DENIED `1` where a signal was refused, otherwise `0`.

use std::fmt;
use std::str::FromStr;

/// The byte that carries the child's stdin.
pub const HELLO: u8 = b'x';

/// Bytes of the longest line.
pub const LINE_MAX_BYTES: usize = 64;

/// The most processes that are named as untouchable; `gone` counts them all.
pub const UNTOUCHABLE_MAX: usize = 16;

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
    /// An order has arrived; the tree is being ended.
    Stopping,
    /// The child, the leader of the tree, has ended; the rest of the tree is being ended.
    Exited(Exit),
    /// One that could not be ended; `Gone` follows.
    Untouchable(Untouchable),
    /// Nothing of the tree is left, verified; the shim ends.
    Gone(Tally),
}

/// One process that could not be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untouchable {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since the boot, so that a later one with its pid is not
    /// taken for it.
    pub start_ticks: u64,
    /// Its state, an ASCII letter of proc_pid_stat(5); `?`: unknown.
    pub state: char,
    /// Whether it may not be signalled.
    pub is_denied: bool,
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
            Self::Stopping => write!(f, "stopping"),
            Self::Exited(Exit::Code(code)) => write!(f, "exited code {code}"),
            Self::Exited(Exit::Signal(signal)) => write!(f, "exited signal {signal}"),
            Self::Untouchable(one) => write!(
                f,
                "untouchable {} {} {} {}",
                one.pid,
                one.start_ticks,
                one.state,
                u8::from(one.is_denied)
            ),
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
            ["stopping"] => Ok(Self::Stopping),
            ["exited", "code", code] => Ok(Self::Exited(Exit::Code(number(code)?))),
            ["exited", "signal", signal] => Ok(Self::Exited(Exit::Signal(number(signal)?))),
            ["untouchable", pid, start_ticks, state, denied] => {
                Ok(Self::Untouchable(Untouchable {
                    pid: number(pid)?,
                    start_ticks: number(start_ticks)?,
                    state: letter(state)?,
                    is_denied: match denied {
                        "0" => false,
                        "1" => true,
                        _ => return Err(Unknown),
                    },
                }))
            }
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

fn letter(text: &str) -> Result<char, Unknown> {
    let letter: char = number(text)?;
    let is_state = letter.is_ascii_alphabetic() || letter == '?';
    is_state.then_some(letter).ok_or(Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let reports = [
            Report::Started { pid: 4242 },
            Report::Failed { errno: 2 },
            Report::Stopping,
            Report::Exited(Exit::Code(-1)),
            Report::Exited(Exit::Signal(9)),
            Report::Untouchable(Untouchable {
                pid: u32::MAX,
                start_ticks: u64::MAX,
                state: 'D',
                is_denied: true,
            }),
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
        for line in [
            "started",
            "stopping 1",
            "exited 1",
            "untouchable 1 2 DD 0",
            "untouchable 1 2 D 2",
            "untouchable 1 2 D",
            "gone 1 2",
            "failed x",
        ] {
            assert_eq!(line.parse::<Report>(), Err(Unknown), "{line:?}");
        }
    }
}
