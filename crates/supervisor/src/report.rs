//! What is said about spawns: while they run, and how they were ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One spawn that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SpawnInfo {
    /// `<install>:<generation>:<session>:<spawn>`.
    pub tag: String,
    /// The session part of the tag.
    pub session: String,
    /// `argv[0]` alone: arguments may hold secrets.
    pub command: String,
    /// Pid of its shim.
    pub shim_pid: u32,
    /// Pid of the child, once it was started.
    pub pid: Option<u32>,
    /// When it was started, in milliseconds since the Unix epoch.
    pub spawned_at_ms: i64,
    /// Whether it is being ended.
    pub stopping: bool,
    /// Its standard output.
    pub stdout: StreamInfo,
    /// Its standard error.
    pub stderr: StreamInfo,
}

/// One output stream of a spawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StreamInfo {
    /// Bytes read from it.
    pub bytes: u64,
    /// Bytes that are in no file, because the file could not be written.
    pub dropped_bytes: u64,
    /// Lines over the limit: of standard output, thrown away; of standard error, split.
    pub long_lines: u64,
}

/// One process of a spawn's tree, as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TreeProcess {
    /// Its pid.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Processor time used so far.
    pub cpu_ms: u64,
    /// How long it has run.
    pub age_ms: u64,
}

/// How a spawn's tree was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum StopEnd {
    /// It had ended by itself, or did before it was asked.
    Exited,
    /// It ended after SIGTERM, within the grace.
    Terminated,
    /// Something of it needed SIGKILL.
    Killed,
    /// Something of it could not be ended: it may not be signalled, or does not die.
    Unkillable,
    /// Its shim vanished without a word, and what of it could be found by its tag was ended.
    Swept,
}

/// One spawn that was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stopped {
    /// `<install>:<generation>:<session>:<spawn>`.
    pub tag: String,
    /// `argv[0]` alone.
    pub command: String,
    /// The child's pid, if it was started.
    pub pid: Option<u32>,
    /// How its tree was ended.
    pub end: StopEnd,
    /// The child's exit code, if it had one.
    pub exit_code: Option<i32>,
    /// The signal the child died of, if it did.
    pub exit_signal: Option<i32>,
    /// Processes that were sent SIGKILL.
    pub killed: u32,
    /// Processes that could not be ended.
    pub untouchable: u32,
    /// Who they are.
    #[serde(default)]
    pub unkillable: Vec<Unkillable>,
    /// From the request to the verified end.
    pub took_ms: u64,
}

/// A process that could not be ended. It is left, and its spawn's record with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unkillable {
    /// Its pid.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its state: `D` for a sleep that SIGKILL does not end.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub state: char,
    /// The kernel function it sleeps in; `None`: not shown to this user.
    pub wchan: Option<String>,
    /// Whether it may not be signalled: it took other rights.
    pub is_denied: bool,
}

impl fmt::Display for Unkillable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid, name, state, ..
        } = self;
        write!(f, "process {pid} ({name}), ")?;
        if self.is_denied {
            return f.write_str("which took other rights and may not be signalled");
        }
        write!(f, "which does not die: it is in state {state}")?;
        match &self.wchan {
            Some(wchan) => write!(f, ", in the kernel's {wchan}"),
            None => Ok(()),
        }
    }
}

/// What has happened since the start, and what of it still matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = SpawnCounts))]
pub struct Counts {
    /// Spawns that are being started, run or are being ended.
    pub live: u64,
    /// At most so many.
    pub live_max: u64,
    /// Spawns that were refused because there were so many.
    pub refused: u64,
    /// Spawns that had to wait because too many were started within a second.
    pub paced: u64,
    /// Shims that vanished without ending their tree.
    pub shims_lost: u64,
    /// Output pipes that somebody held after their tree's end: whoever it is has left the tree.
    pub pipes_leaked: u64,
    /// Bytes of output that are in no file.
    pub output_dropped_bytes: u64,
    /// Processes that could not be ended and live still.
    pub unkillable: Vec<Unkillable>,
}

/// What `reap` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReport {
    /// The spawns that ran when it was asked for, and how each ended.
    pub stopped: Vec<Stopped>,
}

/// What the sweep at start-up found of earlier generations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SweepReport {
    /// Spawns that were still there, and how they were ended.
    pub stopped: Vec<Stopped>,
    /// Records of spawns that had ended; they were cleared.
    pub cleared: u64,
    /// Tags of spawns whose shim was killed before it could end its tree. What could be found of
    /// them was ended; whoever of them had wiped its environment could not be found.
    #[serde(default)]
    pub shims_lost: Vec<String>,
    /// What could not be told or read, in words; left as it is.
    pub doubtful: Vec<String>,
    /// How long it took.
    pub took_ms: u64,
}
