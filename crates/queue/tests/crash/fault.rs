//! A disk that fails, in every call that SQLite makes of it: the typed error, nothing acknowledged
//! lost, nothing refused half there, and work that goes on by itself once the fault is over.
//!
//! `SESSIOND_FAULT_ROUNDS` sets how many faults are tried at random.

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use libsqlite3_sys as ffi;
use sessiond_queue::SqliteStore;
use sessiond_queue::error::{Cause, EnqueueError, OpenError, StoreError};
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;
use uuid::Uuid;

use crate::check::{goes_on, violations};
use crate::disk::{Call, Disk, Fault, Pragma, SMALL};
use crate::load::{LIMITS, LONG_LOG, Load, NOW, begin, event};
use crate::notes::Note;
use crate::random::Random;
use crate::seed::{number_from, seed};
use crate::vfs::Watch;

const FAULTS: u64 = 30;

/// A store on a watched disk, under a load that notes what it is answered.
struct Scene {
    _dir: TempDir,
    path: PathBuf,
    watch: Watch,
    store: SqliteStore,
    notes: Mutex<Vec<Note>>,
}

impl Scene {
    async fn new(pragmas: &[Pragma]) -> Self {
        Self::with(pragmas, LIMITS).await
    }

    async fn with(pragmas: &[Pragma], limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("a directory is made");
        let real = dir.path().canonicalize().expect("it is there");
        let (path, watch) = (real.join("queue.db"), Watch::new(&real, pragmas));
        Self {
            store: open(&path, limits).await,
            _dir: dir,
            path,
            watch,
            notes: Mutex::default(),
        }
    }

    fn disk(&self) -> &Disk {
        &self.watch.0
    }

    fn note(&self, note: Note) {
        self.notes.lock().expect("nobody panicked").push(note);
    }

    /// Stores events, asked for at once: those that come while the writer works share a batch.
    async fn enqueue(&self, events: &[Uuid]) -> Vec<Result<i64, EnqueueError>> {
        let events = events.iter().map(|id| event(*id, "a-0".to_owned()));
        let stored = join_all(events.map(|event| self.store.enqueue(event, NOW))).await;
        stored
            .into_iter()
            .map(|stored| {
                stored.map(|receipt| {
                    assert!(!receipt.duplicate, "what was refused is not there");
                    receipt.seq.0
                })
            })
            .collect()
    }

    async fn assert_right(&self, when: &str) {
        let notes = self.notes.lock().expect("nobody panicked").clone();
        let found = violations(&self.store, &notes).await;
        assert!(found.is_empty(), "{when}:\n{}", found.join("\n"));
    }

    /// Opens the file as the next worker would, and looks again.
    async fn assert_right_when_opened_again(self, when: &str) {
        self.store.close().await;
        let notes = self.notes.into_inner().expect("nobody panicked");
        let store = open(&self.path, LIMITS).await;
        let mut found = violations(&store, &notes).await;
        found.extend(goes_on(&store, &notes).await);
        store.close().await;
        assert!(found.is_empty(), "{when}, reopened:\n{}", found.join("\n"));
    }
}

async fn open(path: &Path, limits: Limits) -> SqliteStore {
    let opened = SqliteStore::open(path, limits).await;
    opened.expect("the store opens")
}

/// Fails these calls on files of this ending, after `spared` of them, `times` times.
fn fault(
    wanted: Call,
    ending: &'static str,
    code: c_int,
    mut spared: usize,
    mut times: usize,
) -> Option<Fault> {
    Some(Box::new(move |call, name| {
        if call != wanted || !name.ends_with(ending) || times == 0 {
            return None;
        }
        if spared > 0 {
            spared -= 1;
            return None;
        }
        times -= 1;
        Some(code)
    }))
}

/// Fails the call at this place, and counts all.
fn fault_at(place: usize, counted: Arc<AtomicUsize>) -> Option<Fault> {
    Some(Box::new(move |call, _| {
        let here = counted.fetch_add(1, Ordering::Relaxed) == place;
        here.then_some(match call {
            Call::Open => ffi::SQLITE_CANTOPEN,
            Call::Read => ffi::SQLITE_IOERR_READ,
            Call::Write => ffi::SQLITE_FULL,
            Call::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
            Call::Sync => ffi::SQLITE_IOERR_FSYNC,
            Call::Delete => ffi::SQLITE_IOERR_DELETE,
            Call::MapShared => ffi::SQLITE_IOERR_SHMMAP,
        })
    }))
}

const ALWAYS: usize = usize::MAX;

/// The faults a disk has, by the call they meet.
const KINDS: [(Call, &str, c_int); 10] = [
    (Call::Write, "-wal", ffi::SQLITE_FULL),
    (Call::Write, "-wal", ffi::SQLITE_IOERR_WRITE),
    (Call::Write, ".db", ffi::SQLITE_FULL),
    (Call::Sync, "-wal", ffi::SQLITE_IOERR_FSYNC),
    (Call::Sync, ".db", ffi::SQLITE_IOERR_FSYNC),
    (Call::Read, "-wal", ffi::SQLITE_IOERR_READ),
    (Call::Read, ".db", ffi::SQLITE_IOERR_READ),
    (Call::Truncate, "", ffi::SQLITE_IOERR_TRUNCATE),
    (Call::MapShared, "", ffi::SQLITE_IOERR_SHMSIZE),
    (Call::Open, "", ffi::SQLITE_CANTOPEN),
];

#[tokio::test]
async fn work_goes_on_after_every_fault() {
    let mut random = Random(seed());
    let faults = number_from("SESSIOND_FAULT_ROUNDS").unwrap_or(FAULTS);
    let mut refused_in_all = 0;
    for number in 0..faults as usize {
        let scene = Scene::new(&SMALL).await;
        let journal = |note| scene.note(note);
        let owner = begin(&scene.store, &journal).await;
        let mut load = Load::new("a", random.next(), owner, &journal);
        for _ in 0..2 {
            assert_eq!(load.round(&scene.store).await, 0);
        }
        let (call, ending, code) = KINDS[number % KINDS.len()];
        let spared = random.below(16);
        let times = [1, 2, 5, ALWAYS][random.below(4)];
        let what = format!("{call:?} {ending} {code}, {times} times after {spared}");
        scene.disk().fail(fault(call, ending, code, spared, times));
        for _ in 0..5 {
            refused_in_all += load.round(&scene.store).await;
        }
        scene.disk().fail(None);
        scene.assert_right(&what).await;
        for _ in 0..3 {
            let refused = load.round(&scene.store).await;
            assert_eq!(refused, 0, "{what}: the fault is over");
        }
        scene.assert_right(&what).await;
        drop(load);
        scene.assert_right_when_opened_again(&what).await;
    }
    println!("counted {faults} faults");
    assert!(refused_in_all as u64 > faults, "{refused_in_all} refused");
}

/// One call fails, each in its turn, wherever in a transaction it comes.
#[tokio::test]
async fn work_goes_on_after_any_call_failed_once() {
    let seed = seed();
    let mut random = Random(seed);
    let faults = number_from("SESSIOND_FAULT_ROUNDS").unwrap_or(FAULTS) as usize;
    // The same load each time; the first time nothing fails, and the calls are counted.
    let (calls, _) = one_call_fails(seed, usize::MAX).await;
    let mut refused_in_all = 0;
    for number in 0..faults.min(calls) {
        let place = (number * calls + random.below(calls)) / faults.min(calls);
        let (_, refused) = one_call_fails(seed, place).await;
        refused_in_all += refused;
    }
    println!("counted {} faults", faults.min(calls));
    assert!(refused_in_all > 0, "a failed call was noticed");
}

/// A load during which the call at this place fails; how many calls there were, and how many asks
/// were refused.
async fn one_call_fails(seed: u64, place: usize) -> (usize, usize) {
    let what = format!("call {place}");
    let scene = Scene::new(&SMALL).await;
    let journal = |note| scene.note(note);
    let owner = begin(&scene.store, &journal).await;
    let mut load = Load::new("a", seed, owner, &journal);
    for _ in 0..3 {
        assert_eq!(load.round(&scene.store).await, 0);
    }
    let counted = Arc::new(AtomicUsize::new(0));
    scene.disk().fail(fault_at(place, counted.clone()));
    let mut refused = 0;
    for _ in 0..4 {
        refused += load.round(&scene.store).await;
    }
    scene.disk().fail(None);
    scene.assert_right(&what).await;
    assert_eq!(load.round(&scene.store).await, 0, "{what}");
    drop(load);
    scene.assert_right_when_opened_again(&what).await;
    (counted.load(Ordering::Relaxed), refused)
}

/// The database's own code of a refused enqueue.
fn code(refused: &Result<i64, EnqueueError>) -> (Cause, c_int) {
    let Err(EnqueueError::Store(StoreError::Database(error))) = refused else {
        panic!("{refused:?}");
    };
    let said = error.downcast_ref::<rusqlite::Error>();
    let said = said.and_then(rusqlite::Error::sqlite_error);
    let code = said.expect("SQLite has refused it").extended_code;
    (error.clone(), code)
}

#[tokio::test]
async fn failed_commit_refuses_its_batch_and_stores_none_of_it() {
    for (call, code_wanted) in [
        (Call::Write, ffi::SQLITE_FULL),
        (Call::Write, ffi::SQLITE_IOERR_WRITE),
        (Call::Sync, ffi::SQLITE_IOERR_FSYNC),
    ] {
        // With its whole cache, the transaction is written when it is committed, and not before.
        let scene = Scene::with(&[], LONG_LOG).await;
        let events: Vec<_> = (1..=60).map(Uuid::from_u128).collect();
        scene
            .disk()
            .fail(fault(call, "-wal", code_wanted, 0, ALWAYS));
        let refused = scene.enqueue(&events).await;
        let mut errors: Vec<_> = refused.iter().map(code).collect();
        assert!(
            errors.iter().all(|(_, code)| *code == code_wanted),
            "{errors:?}"
        );
        // A commit was tried once for all of a batch, and not once more for each.
        errors.dedup_by(|(one, _), (other, _)| Arc::ptr_eq(one, other));
        assert!(errors.len() < events.len(), "{errors:?}");
        scene.disk().fail(None);
        let stats = scene.store.stats().await.expect("stats are read");
        assert_eq!((stats.accepted, stats.depth.pending), (0, 0));
        let stored = scene.enqueue(&events).await;
        let places: Vec<_> = stored.into_iter().map(Result::ok).collect();
        assert_eq!(places, (1..=60).map(Some).collect::<Vec<_>>());
        let found = scene.store.verify().await.expect("the store is checked");
        assert!(found.is_sound(), "{found:?}");
    }
}

/// After a sync that failed nobody knows what is on disk. A worker killed right then may leave what it
/// refused; handed over again, as the refused always is, it is there once.
#[tokio::test]
async fn refused_by_a_failed_sync_is_there_once_after_a_kill() {
    // With a log that is not begun anew, whose first sync is that of a commit.
    let scene = Scene::with(&[], LONG_LOG).await;
    let (before, after) = ([1, 2].map(Uuid::from_u128), [Uuid::from_u128(3)]);
    assert!(scene.enqueue(&before).await.iter().all(Result::is_ok));
    let failing = fault(Call::Sync, "-wal", ffi::SQLITE_IOERR_FSYNC, 0, ALWAYS);
    scene.disk().fail(failing);
    assert!(scene.enqueue(&after).await.iter().all(Result::is_err));
    // What a kill leaves: the files as they are.
    let left = tempfile::tempdir().expect("a directory is made");
    for file in ["queue.db", "queue.db-wal"] {
        let from = scene.path.with_file_name(file);
        std::fs::copy(from, left.path().join(file)).expect("the file is copied");
    }
    let store = open(&left.path().join("queue.db"), LIMITS).await;
    let stats = store.stats().await.expect("stats are read");
    assert_eq!(
        stats.accepted, 3,
        "the log was written before it was synced"
    );
    let again = before.iter().chain(&after);
    let again = again.map(|id| store.enqueue(event(*id, "a-0".to_owned()), NOW));
    let seqs: Vec<_> = join_all(again)
        .await
        .into_iter()
        .map(|stored| stored.expect("the event is stored").seq.0)
        .collect();
    assert_eq!(seqs, [1, 2, 3]);
    let stats = store.stats().await.expect("stats are read");
    assert_eq!(stats.accepted, 3);
    assert!(store.verify().await.expect("it is checked").is_sound());
}

#[tokio::test]
async fn store_that_cannot_be_opened_opens_once_the_fault_is_over() {
    for (call, ending, code) in [
        (Call::Open, ".db", ffi::SQLITE_CANTOPEN),
        (Call::Open, "-wal", ffi::SQLITE_CANTOPEN),
        (Call::Read, ".db", ffi::SQLITE_IOERR_READ),
        (Call::MapShared, "", ffi::SQLITE_IOERR_SHMMAP),
    ] {
        let scene = Scene::new(&SMALL).await;
        let event = [Uuid::from_u128(1)];
        assert!(scene.enqueue(&event).await[0].is_ok());
        scene.store.close().await;
        scene.disk().fail(fault(call, ending, code, 0, ALWAYS));
        let opened = SqliteStore::open(&scene.path, LIMITS).await;
        let error = opened.map(drop).expect_err("it cannot be opened");
        assert!(matches!(error, OpenError::Open { .. }), "{error:?}");
        scene.disk().fail(None);
        let store = open(&scene.path, LIMITS).await;
        assert_eq!(store.stats().await.expect("it is read").accepted, 1);
    }
}

/// A file whose making was cut short by a fault is made by the next worker.
#[tokio::test]
async fn file_that_was_half_made_is_opened() {
    let mut random = Random(seed());
    let faults = number_from("SESSIOND_FAULT_ROUNDS").unwrap_or(FAULTS) as usize;
    let mut calls = 0;
    let mut failed = 0;
    for number in 0..=faults {
        let dir = tempfile::tempdir().expect("a directory is made");
        let real = dir.path().canonicalize().expect("it is there");
        let (path, watch) = (real.join("queue.db"), Watch::new(&real, &SMALL));
        // The first time nothing fails, and the calls are counted.
        let place = match number {
            0 => usize::MAX,
            _ => ((number - 1) * calls + random.below(calls)) / faults,
        };
        let counted = Arc::new(AtomicUsize::new(0));
        watch.0.fail(fault_at(place, counted.clone()));
        match SqliteStore::open(&path, LIMITS).await {
            Ok(store) => store.close().await,
            Err(OpenError::Open { .. } | OpenError::Migrate { .. }) => failed += 1,
            Err(error) => panic!("call {place}: {error:?}"),
        }
        calls = calls.max(counted.load(Ordering::Relaxed));
        watch.0.fail(None);
        let store = open(&path, LIMITS).await;
        let stored = store.enqueue(event(random.uuid(), "a-0".to_owned()), NOW);
        assert_eq!(stored.await.expect("it is stored").message.0, 1);
        let found = store.verify().await.expect("the store is checked");
        assert!(found.is_sound(), "call {place}: {found:?}");
        store.close().await;
    }
    println!("counted {faults} faults");
    assert!(failed > faults / 4, "{failed} failed");
}

/// A worker that ends on a failing disk cannot fold the log in; and of what it refused nobody knows
/// what has reached the disk.
#[tokio::test]
async fn closed_on_a_failing_disk_opens_with_all_that_was_acknowledged() {
    let mut random = Random(seed());
    for (call, ending, code) in KINDS {
        let scene = Scene::new(&SMALL).await;
        let journal = |note| match note {
            // It may have happened all the same.
            Note::Refused(..) => {}
            note => scene.note(note),
        };
        let owner = begin(&scene.store, &journal).await;
        let mut load = Load::new("a", random.next(), owner, &journal);
        for _ in 0..4 {
            assert_eq!(load.round(&scene.store).await, 0);
        }
        let spared = random.below(8);
        scene.disk().fail(fault(call, ending, code, spared, ALWAYS));
        for _ in 0..3 {
            load.round(&scene.store).await;
        }
        drop(load);
        scene.store.close().await;
        scene.disk().fail(None);
        let what = format!("{call:?} {ending} {code} after {spared}");
        scene.assert_right_when_opened_again(&what).await;
    }
}

/// Readers are opened when they are first needed, which may be when nothing can be read.
#[tokio::test]
async fn read_of_a_failing_disk_says_so_at_once() {
    for (call, ending, code) in [
        (Call::Read, "", ffi::SQLITE_IOERR_READ),
        (Call::Open, "", ffi::SQLITE_CANTOPEN),
        (Call::MapShared, "", ffi::SQLITE_IOERR_SHMMAP),
    ] {
        let scene = Scene::new(&SMALL).await;
        assert!(scene.enqueue(&[Uuid::from_u128(1)]).await[0].is_ok());
        scene.disk().fail(fault(call, ending, code, 0, ALWAYS));
        let read = tokio::time::timeout(Duration::from_secs(5), scene.store.stats()).await;
        let read = read.expect("it is answered");
        let Err(StoreError::Database(error)) = read else {
            panic!("{read:?}");
        };
        let error = error.downcast_ref::<sqlx::Error>();
        assert!(matches!(error, Some(sqlx::Error::Database(_))), "{error:?}");
        scene.disk().fail(None);
        assert_eq!(scene.store.stats().await.expect("it is read").accepted, 1);
    }
}

#[tokio::test]
async fn locked_beyond_the_busy_timeout_refuses_and_goes_on() {
    let scene = Scene::new(&SMALL).await;
    scene.store.close().await;
    let limits = Limits {
        busy_timeout: Duration::from_millis(1),
        ..LIMITS
    };
    let store = open(&scene.path, limits).await;
    let journal = |note| scene.note(note);
    let owner = begin(&store, &journal).await;
    let mut load = Load::new("a", seed(), owner, &journal);
    for _ in 0..4 {
        assert_eq!(load.round(&store).await, 0);
    }
    let options = SqliteConnectOptions::new().filename(&scene.path);
    let mut stranger = options.connect().await.expect("the file opens");
    for lock in ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"] {
        let locked = sqlx::raw_sql(lock).execute(&mut stranger).await;
        locked.expect("the file is locked");
        let refused = load.round(&store).await + load.round(&store).await;
        assert!(refused > 0, "{lock}");
        let unlocked = sqlx::raw_sql("ROLLBACK").execute(&mut stranger).await;
        unlocked.expect("the file is unlocked");
        for _ in 0..3 {
            assert_eq!(load.round(&store).await, 0, "{lock} is over");
        }
    }
    let notes = scene.notes.lock().expect("nobody panicked").clone();
    let found = violations(&store, &notes).await;
    assert!(found.is_empty(), "{}", found.join("\n"));
}
