//! Whether a process that was named is there, and how its end can be known.

use sessiond_supervisor::{
    BootId, ExitWatch, IdentityError, ProcessIdentity, Standing, WatchError,
};
use uuid::Uuid;

use super::roster::Key;
use crate::wire::agent_process::AgentProcess;

/// Where this worker runs: what makes a pid mean something to it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    boot_id: BootId,
    boot: Uuid,
    pid_namespace: u64,
}

/// What became of a process that was named.
#[derive(Debug)]
pub(super) enum Verified {
    /// It lives, and is held.
    Held(ProcessIdentity, ExitWatch),
    /// It lives, and can only be looked at.
    NotHeld(ProcessIdentity),
    /// It has ended, or another has its pid.
    Ended,
    /// It cannot be told.
    Unseen,
}

impl Place {
    /// Of this process; `None` where the kernel does not show it.
    pub(super) fn own() -> Option<Self> {
        let own = ProcessIdentity::own().ok()?;
        Some(Self {
            boot: own.boot_id.0.parse().ok()?,
            boot_id: own.boot_id,
            pid_namespace: own.pid_namespace?,
        })
    }

    /// By what a process is known that a hook has named.
    pub(super) fn key(&self, named: &AgentProcess) -> Option<Key> {
        let boot = match &named.boot_id {
            Some(boot_id) => boot_id.parse().ok()?,
            None => self.boot,
        };
        Some(Key {
            pid: named.pid,
            start_ticks: named.start_ticks,
            pid_namespace: named.pid_namespace,
            boot,
        })
    }

    /// Looks at a process, whose pidfd has this inode if that was seen earlier. To be called within a
    /// tokio runtime.
    pub(super) fn verify(&self, key: &Key, pidfs_inode: Option<u64>) -> Verified {
        if key.boot != self.boot {
            return Verified::Ended;
        }
        if key.pid_namespace != self.pid_namespace {
            return Verified::Unseen;
        }
        let identity = match pidfs_inode {
            Some(_) => Ok(ProcessIdentity {
                pid: key.pid,
                pid_namespace: Some(key.pid_namespace),
                start_ticks: key.start_ticks,
                boot_id: self.boot_id.clone(),
                pidfs_inode,
            }),
            None => ProcessIdentity::of(key.pid),
        };
        let identity = match identity {
            Ok(identity) if identity.start_ticks == key.start_ticks => identity,
            Ok(_) | Err(IdentityError::Gone(_)) => return Verified::Ended,
            Err(_) => return Verified::Unseen,
        };
        match ExitWatch::open(&identity) {
            Ok(watch) => Verified::Held(identity, watch),
            Err(WatchError::Gone(_)) => Verified::Ended,
            Err(WatchError::NotHeld { .. }) => Verified::NotHeld(identity),
            Err(WatchError::Unverifiable { .. }) => Verified::Unseen,
        }
    }
}

/// Whether a process that cannot be held has ended.
pub(super) fn has_ended(identity: &ProcessIdentity) -> bool {
    identity.check() == Standing::Gone
}
