//! What becomes of the queue's file in the long run: what is deleted from it.

use sessiond_queue::ids::MessageId;

use crate::support::wait::ok_if;
use crate::support::{Home, LIMIT, payload, wait_until};

#[test]
fn results_search_and_context_outlive_deleted_messages() {
    let mut home = Home::new();
    let worker = home.start();
    let api = worker.api();
    api.accept(payload::prompt("s", "where is the frobnicator"));
    api.accept(payload::stop("s", "in the attic"));
    worker.wait_idle();
    let results = api.results("claude-code:s");
    assert!(!results.is_empty());
    assert_eq!(api.doctor().upkeep.expect("a worker").at, None);
    worker.stop();

    home.set("queue.done_kept_max", 1);
    let worker = home.start();
    let api = worker.api();
    let upkeep = wait_until("the oldest message is deleted", LIMIT, || {
        let upkeep = api.doctor().upkeep.expect("a worker");
        ok_if(upkeep.at.is_some(), upkeep.clone()).map(|()| upkeep)
    });
    assert_eq!((upkeep.done, upkeep.dead), (1, 0));
    let depth = api.doctor().queue.expect("a queue").stats.depth;
    assert_eq!(depth.done, 1);
    assert_eq!(home.database().message(MessageId(1)), None);
    assert_eq!(api.results("claude-code:s"), results);
    assert!(!api.search("frobnicator").is_empty());
    let context = api.context("/home/user/project").expect("a context");
    assert!(context.contains("attic"), "{context}");
    assert!(home.cli(&["doctor"]).text().contains("1 done and 0 dead"));
    assert!(home.database().verify().is_sound());
}
