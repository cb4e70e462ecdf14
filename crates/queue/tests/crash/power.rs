//! Loss of power at any moment of a load, replayed from a recording of what SQLite did to its files.
//!
//! `SESSIOND_POWER_IMAGES` sets how many crashes are tried.

use std::path::Path;
use std::sync::Mutex;

use libsqlite3_sys::SQLITE_IOERR_FSYNC;
use sessiond_queue::SqliteStore;
use sessiond_queue::limits::Limits;
use sessiond_queue::store::Store;

use crate::check::{goes_on, violations};
use crate::disk::{Call, Disk, Fault, Operation, Pragma, SMALL};
use crate::image::{self, Unsynced};
use crate::load::{LIMITS, LONG_LOG, Load, begin};
use crate::notes::Note;
use crate::random::Random;
use crate::seed::{number_from, seed};
use crate::vfs::Watch;

const IMAGES: u64 = 120;
const ROUNDS: usize = 24;

/// Second crashes tried after a first one.
const IMAGES_OF_A_SECOND: u64 = 15;

/// The file as the queue sets it up.
const AS_IT_IS: [Pragma; 0] = [];

#[tokio::test]
async fn acknowledged_is_there_after_a_loss_of_power() {
    let seed = seed();
    let images = number_from("SESSIOND_POWER_IMAGES").unwrap_or(IMAGES);
    for (pragmas, images) in [
        (&SMALL[..], images - images / 3),
        (&AS_IT_IS[..], images / 3),
    ] {
        let recording = Recording::new(seed, pragmas).await;
        recording.assert_complete(!pragmas.is_empty());
        let crashes = recording.crashes(seed, images).await;
        assert!(crashes.is_empty(), "{}", crashes.join("\n"));
    }
    println!("counted {images} power images");
}

/// The next worker writes on behind what a crash has left, and the power goes again.
#[tokio::test]
async fn acknowledged_is_there_after_a_second_loss_of_power() {
    let seed = seed();
    let mut random = Random(seed);
    let images = number_from("SESSIOND_POWER_IMAGES").unwrap_or(IMAGES);
    let first = Recording::new(seed, &SMALL).await;
    let firsts = images.div_ceil(2 * IMAGES_OF_A_SECOND);
    for _ in 0..firsts {
        let crash = first.some_crash(&mut random);
        let second = first.after(&crash, &mut random, &SMALL).await;
        let crashes = second.crashes(random.next(), IMAGES_OF_A_SECOND).await;
        assert!(crashes.is_empty(), "{crash:?}, {}", crashes.join("\n"));
    }
    let images = firsts * IMAGES_OF_A_SECOND;
    println!("counted {images} power images");
}

/// A sync that failed is not made good by the next one: what it was for must be written again.
#[tokio::test]
async fn acknowledged_is_there_after_failed_syncs_and_a_loss_of_power() {
    let seed = seed();
    let images = number_from("SESSIOND_POWER_IMAGES").unwrap_or(IMAGES) / 2;
    let recording = Recording::with_failing_syncs(seed).await;
    let crashes = recording.crashes(seed, images).await;
    assert!(crashes.is_empty(), "{}", crashes.join("\n"));
    println!("counted {images} power images");
}

/// The proof that the tests above can fail: they do, once SQLite syncs less than the queue asks for.
#[tokio::test]
async fn with_fewer_syncs_acknowledged_is_lost() {
    let seed = seed();
    // Off, and normal (1), with which the log is synced when it is folded in, and no sooner.
    for (value, log) in [("OFF", &SMALL[..]), ("OFF", &AS_IT_IS), ("1", &AS_IT_IS)] {
        let pragmas = [log, &[synchronous(value)]].concat();
        let recording = Recording::new(seed, &pragmas).await;
        let crashes = recording.crashes(seed, 30).await;
        let lost = |crash: &String| crash.contains("was acknowledged and is not there");
        assert!(crashes.iter().any(lost), "{pragmas:?}: {crashes:?}");
    }
}

fn synchronous(value: &'static str) -> Pragma {
    Pragma {
        name: "synchronous",
        asked: "FULL",
        pretended: "2",
        value,
    }
}

/// Beside small pragmas, a small log.
fn limits_with(pragmas: &[Pragma]) -> Limits {
    let is_small = |pragma: &Pragma| SMALL.iter().any(|small| small.name == pragma.name);
    if pragmas.iter().any(is_small) {
        LIMITS
    } else {
        LONG_LOG
    }
}

/// A load on a watched disk.
struct Recording {
    /// How many of the operations stand for what was there before.
    begun: usize,
    operations: Vec<Operation>,
    /// With the number of operations that were done before.
    notes: Vec<(usize, Note)>,
}

impl Recording {
    /// A load on a new file.
    async fn new(seed: u64, pragmas: &[Pragma]) -> Self {
        let dir = tempfile::tempdir().expect("a directory is made");
        Self::on(dir.path(), Vec::new(), seed, pragmas, false).await
    }

    /// A load on a new file, while every eighth sync or so fails.
    async fn with_failing_syncs(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory is made");
        Self::on(dir.path(), Vec::new(), seed, &SMALL, true).await
    }

    /// The load of the worker that comes after a crash.
    async fn after(&self, crash: &Crash, random: &mut Random, pragmas: &[Pragma]) -> Self {
        let dir = tempfile::tempdir().expect("a directory is made");
        self.write(crash, random, dir.path());
        let notes = self.notes_before(crash.point).cloned().collect();
        Self::on(dir.path(), notes, random.next(), pragmas, false).await
    }

    async fn on(
        dir: &Path,
        before: Vec<Note>,
        seed: u64,
        pragmas: &[Pragma],
        syncs_fail: bool,
    ) -> Self {
        let dir = dir.canonicalize().expect("it is there");
        let (path, watch) = (dir.join("queue.db"), Watch::new(&dir, pragmas));
        adopt(&watch.0);
        let begun = watch.0.point();
        let before: Vec<_> = before.into_iter().map(|note| (begun, note)).collect();
        let notes = Mutex::new(before);
        let journal = |note| {
            let point = watch.0.point();
            // What was refused since a sync failed, may be on disk all the same.
            if !matches!(note, Note::Refused(..)) || !syncs_fail {
                notes.lock().expect("nobody panicked").push((point, note));
            }
        };
        let fail_syncs = |seed| {
            let mut random = Random(seed);
            let fault: Fault = Box::new(move |call, _| {
                let fails = call == Call::Sync && random.one_in(8);
                fails.then_some(SQLITE_IOERR_FSYNC)
            });
            watch.0.fail(syncs_fail.then_some(fault));
        };
        let mut store = open(&path, limits_with(pragmas)).await;
        let owner = begin(&store, &journal).await;
        let mut load = Load::new("a", seed, owner, &journal);
        let mut refused = 0;
        fail_syncs(seed);
        for round in 0..ROUNDS {
            refused += load.round(&store).await;
            if round == ROUNDS / 2 {
                store.close().await;
                watch.0.fail(None);
                store = open(&path, limits_with(pragmas)).await;
                load.restart(begin(&store, &journal).await);
                fail_syncs(!seed);
            }
        }
        store.close().await;
        assert_eq!(refused > 0, syncs_fail, "{refused} refused");
        let operations = watch.0.operations();
        drop(load);
        let notes = notes.into_inner().expect("nobody panicked");
        Self {
            begun,
            operations,
            notes,
        }
    }

    /// A recording that misses a kind of operation would show less than it seems to.
    fn assert_complete(&self, small: bool) {
        let count = |wanted: fn(&Operation) -> bool| {
            self.operations.iter().filter(|done| wanted(done)).count()
        };
        let (syncs, truncates, deletes, directory_syncs) = (
            count(|done| matches!(done, Operation::Sync { .. })),
            count(|done| matches!(done, Operation::Truncate { .. })),
            count(|done| matches!(done, Operation::Delete { .. })),
            count(|done| matches!(done, Operation::SyncDirectory)),
        );
        assert!(syncs >= ROUNDS, "a round commits: {syncs} syncs");
        let truncates_min = if small { 4 } else { 1 };
        assert!(truncates >= truncates_min, "{truncates} truncates");
        assert!(deletes >= 2, "a clean close deletes the log: {deletes}");
        assert!(
            directory_syncs >= 2,
            "a log is begun anew: {directory_syncs}"
        );
    }

    /// Tries crashes and tells what is wrong after them.
    async fn crashes(&self, seed: u64, images: u64) -> Vec<String> {
        let mut random = Random(seed);
        let mut wrong = Vec::new();
        for _ in 0..images {
            let crash = self.some_crash(&mut random);
            let found = self.wrong_after(&crash, &mut random).await;
            if !found.is_empty() {
                wrong.push(format!("{crash:?}: {}", found.join("\n    ")));
            }
        }
        wrong
    }

    fn some_crash(&self, random: &mut Random) -> Crash {
        let point = if random.one_in(2) {
            // Just acknowledged.
            self.notes[random.below(self.notes.len())].0
        } else {
            self.begun + random.below(self.operations.len() - self.begun + 1)
        };
        let unsynced = match random.below(8) {
            0 | 1 => Unsynced::Lost,
            2 => Unsynced::Kept,
            _ => Unsynced::Mixed,
        };
        Crash { point, unsynced }
    }

    fn write(&self, crash: &Crash, random: &mut Random, to: &Path) {
        let before = &self.operations[..crash.point];
        image::write(before, crash.unsynced, random, to);
    }

    fn notes_before(&self, point: usize) -> impl Iterator<Item = &Note> {
        let before = self.notes.iter().take_while(move |(at, _)| *at <= point);
        before.map(|(_, note)| note)
    }

    async fn wrong_after(&self, crash: &Crash, random: &mut Random) -> Vec<String> {
        let temporary = tempfile::tempdir().expect("a directory is made");
        self.write(crash, random, temporary.path());
        let dir = temporary.path().canonicalize().expect("it is there");
        // No second crash comes here: what waits for the disk only makes the test slow.
        let _watch = Watch::new(&dir, &[synchronous("OFF")]);
        let store = match SqliteStore::open(dir.join("queue.db"), LIMITS).await {
            Ok(store) => store,
            Err(error) => return vec![format!("{error:?}")],
        };
        let mut found = violations(&store, self.notes_before(crash.point)).await;
        if found.is_empty() {
            found = goes_on(&store, self.notes_before(crash.point)).await;
        }
        store.close().await;
        found
    }
}

/// When the power goes, and what becomes of what is on its way.
#[derive(Debug)]
struct Crash {
    point: usize,
    unsynced: Unsynced,
}

/// Records the files that are there as if they had been written and synced: they outlived a crash.
fn adopt(disk: &Disk) {
    for entry in std::fs::read_dir(&disk.dir).expect("it is there") {
        let entry = entry.expect("it is read");
        let name = entry
            .file_name()
            .into_string()
            .expect("SQLite's names are text");
        let bytes = std::fs::read(entry.path()).expect("the file is read");
        let (file, offset) = (disk.open(&name), 0);
        disk.record(Operation::Write {
            file,
            offset,
            bytes,
        });
        disk.record(Operation::Sync { file });
        disk.record(Operation::SyncDirectory);
    }
}

async fn open(path: &Path, limits: Limits) -> SqliteStore {
    let opened = SqliteStore::open(path, limits).await;
    opened.expect("the store opens")
}
