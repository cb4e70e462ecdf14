//! What is to be started.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A program with everything it is to be given: nothing is inherited.
#[derive(Clone, Debug)]
pub struct Command {
    /// A path, or a name that is looked up in the `PATH` of [`env`](Self::env).
    pub program: OsString,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Its whole environment; the tag is added.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Where `stdout.log` and `stderr.log` are appended to; made (0700) if missing. `None`: only
    /// the rings are kept.
    pub output_dir: Option<PathBuf>,
    /// Bytes of one line of its stdout that are read as a line; longer ones are counted and
    /// thrown away.
    pub line_max_bytes: usize,
    /// What it may use.
    pub limits: ProcessLimits,
    /// Whether it is a short errand of the caller's own, who bounds how many there are at once: the
    /// observer is not told of it, and it does not count as a spawn of its second. In all else it is
    /// like the others.
    pub is_errand: bool,
}

/// What each process of a child's tree may use, as setrlimit(2) and nice(2) have it; `None`: what
/// the worker itself may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Address space in bytes, `RLIMIT_AS`.
    pub memory_max_bytes: Option<u64>,
    /// Open descriptors, `RLIMIT_NOFILE`.
    pub open_files_max: Option<u64>,
    /// Processes and threads of the whole user, `RLIMIT_NPROC`; does not bind root.
    pub processes_max: Option<u64>,
    /// Added to the niceness, 0 to 19.
    pub nice: Option<i32>,
}
