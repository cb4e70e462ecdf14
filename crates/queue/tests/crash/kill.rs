//! A process that works a queue is killed at a random moment, again and again: what it was answered
//! is there.
//!
//! `SESSIOND_KILL_ROUNDS` sets how often.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use futures::future::join_all;
use sessiond_queue::SqliteStore;
use sessiond_queue::store::Store;

use crate::check::{goes_on, violations};
use crate::child;
use crate::load::{LIMITS, Load, begin};
use crate::notes::Note;
use crate::random::Random;
use crate::seed::{number_from, seed};

const TEST: &str = "kill::acknowledged_is_there_after_a_kill";

const ROUNDS: u64 = 30;

/// Rounds on one file: the next process goes on with what the killed one left.
const ROUNDS_OF_A_FILE: u64 = 5;

/// How long a child may take to be as far as it is to be killed.
const CHILD_MAX: Duration = Duration::from_secs(60);

#[test]
fn acknowledged_is_there_after_a_kill() {
    if let Some(path) = child::task() {
        child::runtime().block_on(work(Path::new(&path)));
    }
    let mut random = Random(seed());
    let rounds = number_from("SESSIOND_KILL_ROUNDS").unwrap_or(ROUNDS);
    let (mut done, mut answered, mut confirmed) = (0, 0, 0);
    while done < rounds {
        let dir = tempfile::tempdir().expect("a directory is made");
        let path = dir.path().join("queue.db");
        let mut notes = Vec::new();
        let rounds_of_it = ROUNDS_OF_A_FILE.min(rounds - done);
        for round in 1..=rounds_of_it {
            notes.extend(run_and_kill(&path, &mut random));
            let found = child::runtime().block_on(look(&path, &notes));
            assert!(found.is_empty(), "round {round}:\n{}", found.join("\n"));
        }
        done += rounds_of_it;
        let is_answer = |note: &&Note| matches!(note, Note::Done(..));
        answered += notes.iter().filter(is_answer).count();
        confirmed += confirms(&notes);
    }
    println!("counted {done} kill rounds");
    println!("counted {answered} acknowledged steps checked");
    assert!(
        confirmed as u64 > rounds,
        "children were killed in their work"
    );
}

fn confirms(notes: &[Note]) -> usize {
    let confirm = |note: &&Note| matches!(note, Note::Done(_, crate::notes::Step::Confirm));
    notes.iter().filter(confirm).count()
}

/// The child: works the queue until it is killed, and says each note aloud.
async fn work(path: &Path) -> ! {
    let say = |note: Note| {
        let line = serde_json::to_string(&note).expect("a note is JSON");
        // Straight to the pipe in one write, past the test harness and its buffers.
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(format!("\n{line}\n").as_bytes())
            .and_then(|()| stdout.flush())
            .expect("somebody listens");
    };
    let store = SqliteStore::open(path, LIMITS).await;
    let store = store.expect("the store opens");
    let owner = begin(&store, &say).await;
    let mut random = Random(seed());
    let loads = ["a", "b", "c"].map(|name| (name, random.next()));
    join_all(loads.map(async |(name, seed)| {
        let mut load = Load::new(name, seed, owner, &say);
        loop {
            let refused = load.round(&store).await;
            assert_eq!(refused, 0, "a disk without faults refuses nothing");
        }
    }))
    .await;
    unreachable!("the loads do not end")
}

/// Starts a child, kills it once it has said so much, and returns all it has said.
fn run_and_kill(path: &Path, random: &mut Random) -> Vec<Note> {
    let mut command = child::command(TEST, path, random.next());
    #[expect(
        clippy::disallowed_methods,
        reason = "it is killed and awaited a few lines below, and starts nothing itself"
    )]
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test runs again");
    let stdout = child.stdout.take().expect("it is piped");
    let (tx, rx) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("it is text");
            if line.starts_with('{') {
                let note: Note = serde_json::from_str(&line).expect("it is a note");
                tx.send(note).expect("somebody waits for it");
            }
        }
    });
    // Up to a few rounds, or before it has said anything, while the file is made.
    let enough = if random.one_in(6) {
        0
    } else {
        random.below(500)
    };
    let mut notes = Vec::new();
    let deadline = Instant::now() + CHILD_MAX;
    while notes.len() < enough {
        let left = deadline.saturating_duration_since(Instant::now());
        notes.push(rx.recv_timeout(left).expect("the child works"));
    }
    // And then a moment, since the pipe would give a rhythm to the kills.
    let moment = Instant::now() + Duration::from_micros(random.below(30_000) as u64);
    loop {
        match rx.recv_timeout(moment.saturating_duration_since(Instant::now())) {
            Ok(note) => notes.push(note),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => panic!("the child ended by itself"),
        }
    }
    child.kill().expect("it is killed");
    child.wait().expect("it is gone");
    reader.join().expect("all was read");
    notes.extend(rx.try_iter());
    notes
}

async fn look(path: &Path, notes: &[Note]) -> Vec<String> {
    let store = SqliteStore::open(path, LIMITS).await;
    let store = store.expect("the store opens");
    let mut found = violations(&store, notes).await;
    found.extend(goes_on(&store, notes).await);
    store.close().await;
    found
}
