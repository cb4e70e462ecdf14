//! What becomes of the queue's file in the long run: what is deleted from it, what if it is damaged or
//! of another version, and who may have it open.

use sessiond::doctor::Verdict;
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

#[test]
fn damaged_database_is_set_aside_and_told_until_it_is_removed() {
    let home = Home::new();
    home.start().stop();
    let path = home.layout().queue_db();
    std::fs::write(&path, "not a database at all. ".repeat(999)).expect("it is damaged");
    let worker = home.start();
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    let report = worker.api().doctor();
    assert_eq!(report.verdict, Verdict::Degraded);
    let finding = &report.findings[0];
    assert_eq!(finding.code, "damaged");
    let aside = &report.store.expect("a store").info.damaged[0];
    assert!(
        finding.message.contains(&aside.display().to_string()),
        "{finding:?}"
    );
    std::fs::remove_file(aside).expect("the old one is removed");
    assert_eq!(worker.api().doctor().verdict, Verdict::Ok);
}

#[test]
fn database_of_an_older_version_is_told_by_the_doctor() {
    let home = Home::new();
    home.start().stop();
    home.database()
        .change("DELETE FROM _sqlx_migrations WHERE version > 3");
    let ran = home.cli(&["doctor"]);
    let told = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.code(), 10, "{told}");
    for wanted in ["its schema is 3", "migrates it: sessiond start"] {
        assert!(told.contains(wanted), "{told}");
    }
}

#[test]
fn database_of_a_newer_version_keeps_the_worker_from_starting() {
    let home = Home::new();
    home.start().stop();
    home.database().change(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'newer', 1, x'00', 0)",
    );
    let ran = home.cli(&["run"]);
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr.contains("its schema is 999"), "{ran:?}");
    let ran = home.cli(&["doctor"]);
    assert_eq!(ran.code(), 11);
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(text.contains("its schema is 999"), "{ran:?}");
}

#[test]
fn second_worker_is_refused_with_the_pid_of_the_first() {
    let home = Home::new();
    let worker = home.start();
    let ran = home.cli(&["run"]);
    assert_eq!(ran.code(), 1);
    let holder = format!(
        "a worker is running already: process {}",
        worker.process().pid
    );
    assert!(ran.stderr.contains(&holder), "{ran:?}");
    worker.api().accept(payload::prompt("s", "hello"));
    worker.wait_idle();
    assert_eq!(home.database().generation().0, 1, "it has begun nothing");
}
