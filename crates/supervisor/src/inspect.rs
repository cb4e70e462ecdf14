//! What the doctor asks of processes: whether what runs and what is recorded agree.
//!
//! Looks and judges; `fix` acts on what it was shown, each thing verified anew.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::supervisor::Inner;
use crate::tier::{Tier, TierReport};

/// What was found of this install's processes and records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// How well processes can be told apart here.
    pub tier: TierReport,
    /// Processes with a tag of this install that belong to no running spawn and to no record of
    /// one: strays.
    pub strays: Vec<Stray>,
    /// Records of no running spawn, whose process is gone or another's by now.
    pub stale: Vec<StaleRecord>,
    /// Records and processes that cannot be told, in words: never signalled.
    pub unverifiable: Vec<String>,
    /// Files in the registry that are no record.
    pub unreadable: Vec<UnreadableRecord>,
    /// Pids of this process's children that have ended and are not waited for.
    pub zombies: Vec<u32>,
    /// Descriptors that this process has open, and may have.
    pub descriptors: Headroom,
    /// Processes and threads there are, and may be: of whatever limit is nearest.
    pub processes: Headroom,
    /// How long the look took.
    pub took_ms: u64,
}

/// A tagged process that nobody here knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stray {
    /// Its pid.
    pub pid: u32,
    /// Its tag.
    pub tag: String,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Whether its tag is of this generation or of an earlier one.
    pub is_of_this_generation: bool,
}

/// A record that says what is not so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleRecord {
    /// `<install>:<generation>:<session>:<spawn>`.
    pub tag: String,
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it, in words.
    pub problem: String,
}

/// A file in the registry that is no record of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableRecord {
    /// The file.
    pub path: PathBuf,
    /// Why it is none.
    pub problem: String,
}

/// How much of something is used, and may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headroom {
    /// Now.
    pub used: u64,
    /// At most; `None`: no limit can be told.
    pub max: Option<u64>,
    /// What sets the limit, for example `RLIMIT_NOFILE` or `kernel.pid_max`.
    pub limit: String,
}

/// One thing that `fix` does, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Fix {
    /// Ends the processes of a spawn that nobody owns any more.
    End {
        /// Its tag.
        tag: String,
        /// Who they are.
        pids: Vec<u32>,
        /// What came of it; `None`: only planned.
        outcome: Option<String>,
    },
    /// Removes a record that says what is not so.
    RemoveRecord {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What came of it; `None`: only planned.
        outcome: Option<String>,
    },
    /// Moves a file that is no record out of the registry, into `set-aside/` beside it.
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why it is no record.
        problem: String,
        /// What came of it; `None`: only planned.
        outcome: Option<String>,
    },
}

pub(crate) async fn inspect(_inner: Arc<Inner>) -> Inspection {
    Inspection {
        tier: TierReport {
            tier: Tier::Full,
            missing: Vec::new(),
        },
        strays: Vec::new(),
        stale: Vec::new(),
        unverifiable: Vec::new(),
        unreadable: Vec::new(),
        zombies: Vec::new(),
        descriptors: Headroom::default(),
        processes: Headroom::default(),
        took_ms: 0,
    }
}

pub(crate) async fn fix(_inner: Arc<Inner>, _is_dry: bool) -> Vec<Fix> {
    Vec::new()
}
