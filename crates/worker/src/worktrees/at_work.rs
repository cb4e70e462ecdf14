//! For whom git is changing a repository: such a session is not idle, however long nothing came.
//! Git that is ended in the middle may leave the repository locked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sessiond_queue::ids::SessionId;

/// Sessions with how often. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct AtWork(Arc<Mutex<HashMap<SessionId, usize>>>);

/// One piece of work, until it is dropped.
#[derive(Debug)]
pub(super) struct Work {
    all: AtWork,
    session: SessionId,
}

impl AtWork {
    pub(super) fn begin(&self, session: SessionId) -> Work {
        *self.lock().entry(session).or_default() += 1;
        let all = self.clone();
        Work { all, session }
    }

    pub(super) fn is_for(&self, session: SessionId) -> bool {
        self.lock().contains_key(&session)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if let Some(count) = all.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.session);
            }
        }
    }
}
