//! Where an install keeps its state, one name a file.
//!
//! `SESSIOND_HOME` holds everything when it is set; otherwise state lies under the XDG state
//! directory and the configuration under the XDG configuration directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The directory of one install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    config_file: PathBuf,
}

impl Layout {
    /// From `SESSIOND_HOME`, `XDG_STATE_HOME`, `XDG_CONFIG_HOME` and `HOME`, as `var` answers
    /// them. `None` when none of them leads anywhere. Relative paths are not taken: the hook runs
    /// in the agent's directory, the worker elsewhere. A relative `SESSIOND_HOME` leads nowhere, since
    /// whoever sets it means no other; an empty one is none.
    pub fn from_env(var: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let dir = |name: &str| {
            var(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        if var("SESSIOND_HOME").is_some_and(|home| !home.is_empty()) {
            return dir("SESSIOND_HOME").map(Self::at);
        }
        let home = dir("HOME");
        let under_home = |tail: &str| home.as_ref().map(|home| home.join(tail));
        let state = dir("XDG_STATE_HOME").or_else(|| under_home(".local/state"))?;
        let config = dir("XDG_CONFIG_HOME").or_else(|| under_home(".config"))?;
        Some(Self {
            root: state.join("sessiond"),
            config_file: config.join("sessiond/config.toml"),
        })
    }

    /// Everything in one directory.
    pub fn at(root: PathBuf) -> Self {
        let config_file = root.join("config.toml");
        Self { root, config_file }
    }

    /// The directory itself, 0700.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The user's configuration; need not exist.
    pub fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// Id of this install, made at the first start; the tag's first part.
    pub fn install_file(&self) -> PathBuf {
        self.root.join("install")
    }

    /// The queue.
    pub fn queue_db(&self) -> PathBuf {
        self.root.join("queue.db")
    }

    /// Everything that is not the queue's.
    pub fn state_db(&self) -> PathBuf {
        self.root.join("state.db")
    }

    /// Held by the one worker, for as long as it lives.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Held from a hook's decision to start a worker until that worker serves.
    pub fn start_lock_file(&self) -> PathBuf {
        self.root.join("start.lock")
    }

    /// The discovery file of the running worker.
    pub fn instance_file(&self) -> PathBuf {
        self.root.join("instance.json")
    }

    /// The worker's unix socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("sock")
    }

    /// The bearer token of the TCP side, 0600.
    pub fn token_file(&self) -> PathBuf {
        self.root.join("token")
    }

    /// One spool file a session.
    pub fn spool_dir(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// Events that could not be accepted, set aside with the reason.
    pub fn rejected_dir(&self) -> PathBuf {
        self.root.join("rejected")
    }

    /// Files that lay where others belong, and could not be read.
    pub fn set_aside_dir(&self) -> PathBuf {
        self.root.join("set-aside")
    }

    /// One byte for each event that a hook under our own tag dropped.
    pub fn dropped_file(&self) -> PathBuf {
        self.root.join("dropped")
    }

    /// One byte for each event that a hook could neither hand over nor spool.
    pub fn lost_file(&self) -> PathBuf {
        self.root.join("lost")
    }

    /// The worker's logs.
    pub fn log_dir(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// One record a spawned process.
    pub fn process_dir(&self) -> PathBuf {
        self.root.join("processes")
    }
}
