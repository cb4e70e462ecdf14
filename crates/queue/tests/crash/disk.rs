//! One directory as the shim sees it: what was done to its files, in order, and what is to fail.

use std::collections::HashMap;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file through all its names; one that is made anew under an old name is another file.
pub(crate) type FileId = usize;

/// What was done to the directory or to a file of it.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Create {
        name: String,
        file: FileId,
    },
    Delete {
        name: String,
    },
    /// All creations and deletions so far are on disk.
    SyncDirectory,
    Write {
        file: FileId,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: FileId,
        bytes: usize,
    },
    /// All that was done to the file so far is on disk.
    Sync {
        file: FileId,
    },
    /// What was not on disk when a sync failed will never be, or is already: Linux forgets it, and
    /// the next sync succeeds without it.
    FailedSync {
        file: FileId,
    },
}

/// What SQLite asks of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    Read,
    Write,
    Truncate,
    Sync,
    Delete,
    MapShared,
}

/// Answers a call on a file of this name with an error code, or lets it through.
pub(crate) type Fault = Box<dyn FnMut(Call, &str) -> Option<c_int> + Send>;

/// A pragma that is set to another value than the queue asks for, unseen by it: how the tests lower
/// what the queue rightly leaves nobody a choice about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pragma {
    pub(crate) name: &'static str,
    /// What the queue asks for: a connection that asks for something else gets it.
    pub(crate) asked: &'static str,
    /// What that connection reads back.
    pub(crate) pretended: &'static str,
    /// What it gets; not longer than what was asked for.
    pub(crate) value: &'static str,
}

/// With the log folded into the file every few commits (the load's limits), a short load goes through
/// all that a long one does: checkpoints, a log begun anew, a log cut to its limit; with a cache of few
/// pages, transactions that are written before they are committed, and reads.
pub(crate) const SMALL: [Pragma; 2] = [
    Pragma {
        name: "journal_size_limit",
        asked: "67108864",
        pretended: "67108864",
        value: "65536",
    },
    Pragma {
        name: "cache_size",
        asked: "-1024",
        pretended: "-1024",
        value: "4",
    },
];

/// A watched directory.
pub(crate) struct Disk {
    pub(crate) dir: PathBuf,
    pub(crate) pragmas: Vec<Pragma>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    operations: Vec<Operation>,
    names: HashMap<String, FileId>,
    files: usize,
    fault: Option<Fault>,
}

impl Disk {
    pub(crate) fn new(dir: &Path, pragmas: &[Pragma]) -> Self {
        Self {
            dir: dir.to_owned(),
            pragmas: pragmas.to_vec(),
            state: Mutex::default(),
        }
    }

    /// How many operations there were so far.
    pub(crate) fn point(&self) -> usize {
        self.state().operations.len()
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.state().operations.clone()
    }

    /// From now on calls fail as this says; `None`: none does.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// The error a call is to be answered with.
    pub(crate) fn fault(&self, call: Call, name: &str) -> Option<c_int> {
        let mut state = self.state();
        state.fault.as_mut().and_then(|fault| fault(call, name))
    }

    /// The file of this name, made if it was not there. (The queue makes the database itself.)
    pub(crate) fn open(&self, name: &str) -> FileId {
        let mut state = self.state();
        if let Some(file) = state.names.get(name) {
            return *file;
        }
        let file = state.files;
        state.files += 1;
        state.names.insert(name.to_owned(), file);
        let name = name.to_owned();
        state.operations.push(Operation::Create { name, file });
        file
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        let name = name.to_owned();
        state.operations.push(Operation::Delete { name });
    }

    pub(crate) fn record(&self, operation: Operation) {
        self.state().operations.push(operation);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
