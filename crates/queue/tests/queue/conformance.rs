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

#[test]
fn every_behaviour_of_the_suite_is_run() {
    let sources = [
        ("enqueue", include_str!("../../src/conformance/enqueue.rs")),
        ("claim", include_str!("../../src/conformance/claim.rs")),
        ("settle", include_str!("../../src/conformance/settle.rs")),
        ("fence", include_str!("../../src/conformance/fence.rs")),
        ("backlog", include_str!("../../src/conformance/backlog.rs")),
        ("session", include_str!("../../src/conformance/session.rs")),
        ("close", include_str!("../../src/conformance/close.rs")),
        ("listing", include_str!("../../src/conformance/listing.rs")),
        (
            "retention",
            include_str!("../../src/conformance/retention.rs"),
        ),
        (
            "attempts",
            include_str!("../../src/conformance/attempts.rs"),
        ),
        ("failing", include_str!("../../src/conformance/failing.rs")),
        ("usage", include_str!("../../src/conformance/usage.rs")),
    ];
    assert_eq!(memory::BEHAVIOURS.len(), sources.len());
    for ((module, listed), (wanted, source)) in memory::BEHAVIOURS.iter().zip(sources) {
        let written: Vec<_> = source
            .lines()
            .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
            .collect();
        assert_eq!((*module, *listed), (wanted, written.as_slice()));
    }
    assert_eq!(memory::BEHAVIOURS, sqlite::BEHAVIOURS);
}
