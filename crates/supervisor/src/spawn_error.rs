//! Why a child was not started.

use std::fmt;
use std::io;

use rustix::io::Errno;

use crate::registry;

/// What a start needs and may not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// EMFILE, ENFILE.
    Descriptors,
    /// EAGAIN.
    Processes,
    /// ENOMEM.
    Memory,
}

impl Resource {
    /// What was not to be had, if that is what `error` says.
    pub(crate) fn lacking(error: &io::Error) -> Option<Self> {
        match Errno::from_raw_os_error(error.raw_os_error()?) {
            Errno::MFILE | Errno::NFILE => Some(Self::Descriptors),
            Errno::AGAIN => Some(Self::Processes),
            Errno::NOMEM => Some(Self::Memory),
            _ => None,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "file descriptors",
            Self::Processes => "processes",
            Self::Memory => "memory",
        })
    }
}

/// A child was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The supervisor refuses spawns: the worker is stopping.
    #[error("start {command}: the worker is stopping")]
    Stopping {
        /// `argv[0]`.
        command: String,
    },
    /// Its session was reaped while it waited for its turn.
    #[error("start {command}: it was ended before its turn came")]
    Ended {
        /// `argv[0]`.
        command: String,
    },
    /// As many spawns are there as may be.
    #[error("start {command}: {live} programs are there, the limit is {children_max}")]
    Full {
        /// `argv[0]`.
        command: String,
        /// How many are there, those that are being ended too.
        live: usize,
        /// [`Settings::children_max`](crate::Settings::children_max).
        children_max: usize,
    },
    /// The machine, or this user, has no more of something. Nothing was left behind.
    #[error("start {command}: no {resource} left")]
    Exhausted {
        /// `argv[0]`.
        command: String,
        /// Of what.
        resource: Resource,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its program is not there or may not be run.
    #[error("start {command}")]
    Program {
        /// `argv[0]`.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be recorded, so it was not started.
    #[error("start {command}")]
    Record {
        /// `argv[0]`.
        command: String,
        /// Why.
        #[source]
        source: registry::PutError,
    },
    /// Its shim could not be started, or ended before the child ran.
    #[error("start {command}: its shim did not run")]
    Shim {
        /// `argv[0]`.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SpawnError {
    /// `command` could not be recorded.
    pub(crate) fn not_recorded(command: String, source: registry::PutError) -> Self {
        match source {
            registry::PutError::Write { spawn, source } => match Resource::lacking(&source) {
                Some(_) => Self::of_shim(command, source),
                None => Self::Record {
                    command,
                    source: registry::PutError::Write { spawn, source },
                },
            },
            source @ registry::PutError::TooLarge { .. } => Self::Record { command, source },
        }
    }

    /// The shim of `command` did not run.
    pub(crate) fn of_shim(command: String, source: io::Error) -> Self {
        match Resource::lacking(&source) {
            Some(resource) => Self::Exhausted {
                command,
                resource,
                source,
            },
            None => Self::Shim { command, source },
        }
    }

    /// The shim ran and could not start `command`.
    pub(crate) fn of_program(command: String, source: io::Error) -> Self {
        // What passes by itself is not the program's fault.
        let passing = [Errno::INTR, Errno::IO, Errno::TXTBSY];
        let passes = source
            .raw_os_error()
            .is_some_and(|errno| passing.contains(&Errno::from_raw_os_error(errno)));
        if passes || Resource::lacking(&source).is_some() {
            return Self::of_shim(command, source);
        }
        Self::Program { command, source }
    }
}
