//! Two stores that write one file, which their callers ought not to let happen.

use sessiond_queue::SqliteStore;
use sessiond_queue::ids::Generation;
use sessiond_queue::store::Store;
use sessiond_queue::types::{Claimed, Confirm, Receipt, Usage};

use crate::sqlite::{NOW, event, new_path, open};

async fn put(store: &SqliteStore) -> Receipt {
    let stored = store.enqueue(event("a", "X"), NOW).await;
    stored.expect("the event is stored")
}

#[tokio::test]
async fn each_reads_anew_what_the_other_has_written() {
    let (_dir, path) = new_path();
    let stores = [open(&path).await, open(&path).await];
    let mut places = Vec::new();
    for _ in 0..3 {
        for store in &stores {
            places.push(put(store).await.seq.0);
        }
    }
    assert_eq!(places, [1, 2, 3, 4, 5, 6]);
    let session = put(&stores[0]).await.session;
    for round in 0..7 {
        let store = &stores[round % 2];
        let claimed = store.claim(session, Generation(1), NOW).await;
        let Ok(Claimed::Message(claim)) = claimed else {
            panic!("{claimed:?}");
        };
        let other = stores[1 - round % 2]
            .claim(session, Generation(1), NOW)
            .await;
        assert!(matches!(other, Ok(Claimed::Busy)), "{other:?}");
        let confirm = Confirm {
            message: claim.message.id,
            fence: claim.fence,
            results: Vec::new(),
            checkpoint: None,
            usage: Usage::default(),
        };
        let confirmed = store.confirm(confirm, NOW).await;
        confirmed.expect("the claim is confirmed");
    }
    let found = stores[0].verify().await.expect("the store is checked");
    assert!(found.is_sound(), "{found:?}");
}
