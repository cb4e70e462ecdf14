//! Faults of the operating system itself, each in a process of its own: a limit on the size of files,
//! and directories and files that may not be written.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Uid, setgid, setuid};
use sessiond_queue::SqliteStore;
use sessiond_queue::error::OpenError;
use sessiond_queue::store::Store;

use crate::check::{goes_on, violations};
use crate::child;
use crate::load::{LIMITS, LONG_LOG, Load, NOW, begin, event};
use crate::notes::Note;
use crate::random::Random;
use crate::seed::seed;

/// What the log may still grow by: less than the load writes in a few rounds.
const ROOM_BYTES: u64 = 50_000;

/// Nobody's id: root may write everywhere, so its tests must be somebody else's.
const NOBODY: u32 = 65_534;

#[test]
fn files_at_their_size_limit_refuse_and_go_on() {
    match child::task() {
        Some(dir) => {
            // Without this, a write over the limit would end the process. Threads inherit it.
            let mut signals = SigSet::empty();
            signals.add(Signal::SIGXFSZ);
            signals.thread_block().expect("the signal is blocked");
            child::runtime().block_on(fill_up(Path::new(&dir)));
        }
        None => in_child("system::files_at_their_size_limit_refuse_and_go_on"),
    }
}

async fn fill_up(dir: &Path) {
    let path = dir.join("queue.db");
    let notes = Mutex::new(Vec::new());
    let journal = |note: Note| notes.lock().expect("nobody panicked").push(note);
    let store = open(&path).await;
    let owner = begin(&store, &journal).await;
    let mut load = Load::new("a", seed(), owner, &journal);
    for _ in 0..3 {
        assert_eq!(load.round(&store).await, 0);
        let info = store.info().await.expect("it is described");
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("there is a limit");
        let limit = info.wal_bytes.max(info.size_bytes) + ROOM_BYTES;
        setrlimit(Resource::RLIMIT_FSIZE, limit, hard).expect("files are limited");
        let (mut rounds, mut refused) = (0, 0);
        while refused == 0 {
            refused = load.round(&store).await;
            rounds += 1;
            assert!(rounds < 50, "the limit is met");
        }
        load.round(&store).await;
        store.stats().await.expect("it is read all the same");
        setrlimit(Resource::RLIMIT_FSIZE, hard, hard).expect("the limit is lifted");
        assert_eq!(load.round(&store).await, 0, "there is room again");
        assert_right(&store, &notes).await;
    }
    store.close().await;
    let store = open(&path).await;
    assert_right(&store, &notes).await;
    drop(load);
    let notes = notes.into_inner().expect("nobody panicked");
    let found = goes_on(&store, &notes).await;
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn read_only_directory_is_an_open_error_and_no_matter_while_open() {
    match child::task() {
        Some(dir) => {
            if Uid::effective().is_root() {
                setgid(Gid::from_raw(NOBODY)).expect("root may be anybody");
                setuid(Uid::from_raw(NOBODY)).expect("root may be anybody");
            }
            child::runtime().block_on(forbid_writing(Path::new(&dir)));
        }
        None => in_child("system::read_only_directory_is_an_open_error_and_no_matter_while_open"),
    }
}

async fn forbid_writing(dir: &Path) {
    let dir = dir.join("state");
    std::fs::create_dir(&dir).expect("the directory is made");
    let path = dir.join("queue.db");
    let mut random = Random(seed());
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    };
    let store = open(&path).await;
    allow(&dir, 0o555);
    for place in 1..=3 {
        let stored = store
            .enqueue(event(random.uuid(), "a-0".to_owned()), NOW)
            .await;
        assert_eq!(stored.expect("the files are open").seq.0, place);
    }
    assert_eq!(store.stats().await.expect("it is read").accepted, 3);
    store.close().await;

    // The log may not be made; then, the file itself may not be written.
    for (forbidden, mode, allowed) in [(&dir, 0o555, 0o755), (&path, 0o400, 0o600)] {
        allow(&dir, 0o755);
        open(&path).await.close().await;
        allow(forbidden, mode);
        let before = std::fs::read(&path).expect("the file is read");
        let opened = SqliteStore::open(&path, LIMITS).await;
        let error = opened.map(drop).expect_err("it cannot be written");
        assert!(matches!(error, OpenError::Open { .. }), "{error:?}");
        let after = std::fs::read(&path).expect("the file is read");
        assert!(before == after, "what cannot be opened is left as it was");
        allow(forbidden, allowed);
        let store = open(&path).await;
        assert_eq!(store.stats().await.expect("it is read").accepted, 3);
        assert!(store.verify().await.expect("it is checked").is_sound());
        store.close().await;
    }
}

/// Runs a test again in a process of its own, with a directory that anybody may write.
fn in_child(test: &str) {
    let dir = tempfile::tempdir().expect("a directory is made");
    let anybody = Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), anybody).expect("it is ours");
    // What it says of tests is not to be counted twice; why it fails it says on stderr.
    let status = child::command(test, dir.path(), seed())
        .stdout(Stdio::null())
        .status()
        .expect("the test runs again");
    assert!(status.success(), "{status}");
}

async fn open(path: &Path) -> SqliteStore {
    let opened = SqliteStore::open(path, LONG_LOG).await;
    opened.expect("the store opens")
}

async fn assert_right(store: &SqliteStore, notes: &Mutex<Vec<Note>>) {
    let notes = notes.lock().expect("nobody panicked").clone();
    let found = violations(store, &notes).await;
    assert!(found.is_empty(), "{}", found.join("\n"));
}
