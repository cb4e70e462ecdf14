//! Every behaviour of the suite, for each store.

use std::sync::Arc;

use sessiond_queue::conformance::Subject;
use sessiond_queue::limits::Limits;
use sessiond_queue::{MemoryStore, SqliteStore};

pub(crate) async fn in_memory(limits: Limits) -> Subject {
    Subject {
        store: Arc::new(MemoryStore::new(limits)),
        keep: Box::new(()),
    }
}

pub(crate) async fn on_sqlite(limits: Limits) -> Subject {
    let dir = tempfile::tempdir().expect("a directory is made");
    let store = SqliteStore::open(dir.path().join("queue.db"), limits).await;
    Subject {
        store: Arc::new(store.expect("the store opens")),
        keep: Box::new(dir),
    }
}

mod memory {
    sessiond_queue::conformance_tests!(crate::conformance::in_memory);
}

mod sqlite {
    sessiond_queue::conformance_tests!(crate::conformance::on_sqlite);
}
