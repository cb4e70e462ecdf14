//! One lock a repository: git's own locks make two adds fail instead of wait.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::Instant;

/// The locks of those repositories that somebody works in.
#[derive(Debug, Default)]
pub(super) struct Locks {
    by_repository: Mutex<HashMap<PathBuf, Weak<AsyncMutex<()>>>>,
}

/// It was not had in time.
#[derive(Debug, thiserror::Error)]
#[error("others still work in the repository {0}")]
pub struct Busy(PathBuf);

impl Locks {
    /// Waits, in order of arrival, until nobody else works in the repository of this git directory.
    pub(super) async fn take(
        &self,
        git_dir: &Path,
        deadline: Instant,
    ) -> Result<OwnedMutexGuard<()>, Busy> {
        let lock = {
            let mut locks = self
                .by_repository
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(git_dir).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::new(AsyncMutex::new(()));
                locks.insert(git_dir.to_owned(), Arc::downgrade(&lock));
                lock
            })
        };
        tokio::time::timeout_at(deadline, lock.lock_owned())
            .await
            .map_err(|_| Busy(git_dir.to_owned()))
    }
}
