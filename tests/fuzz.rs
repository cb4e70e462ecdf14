//! What the fuzz targets check, over the corpus that fuzzing has left and over recorded events that
//! are damaged at random. `README.md` tells how to fuzz.
//!
//! `SESSIOND_SEED` replays a run's choices; a failure shows the smallest input that fails.

mod payload;
mod spool;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngSeed, TestRunner};
use sessiond::wire::frame::{self, Frame};
use uuid::Uuid;

use crate::support::payload::recorded_all;

/// Damaged inputs that each test looks at: a few seconds in all.
const CASES: u32 = 256;

/// Recorded events of one input at most.
const EVENTS_MAX: usize = 6;

/// What damage puts in anywhere: halves of things.
const BITS: [&[u8]; 13] = [
    b"\"", b"\\", b"{", b"}", b"[[[[", b",", b"\n", b"null", b"1e999", b"\\ud83d", b"\xff",
    b"SSP\x01", b"\n\n",
];

/// What damage puts in where a field may begin: what parsers differ over.
const FIELDS: [&[u8]; 11] = [
    br#""agent_id":"a","#,
    br#""agent_id":"","#,
    br#""session_id":" ","#,
    br#""hook_event_name":"\n","#,
    br#""hook_event_name":"PermissionDenied","#,
    br#""reason":"\u001b[2J","#,
    br#""cwd":7,"#,
    br#""prompt":1e999,"#,
    br#""tool_use_id":[],"#,
    br#""tool_input":null,"#,
    br#""\u009b":"\ud83d","#,
];

#[test]
fn payloads_of_the_corpus_are_read_or_refused() {
    replay("payload", payload::check);
}

#[test]
fn spool_files_of_the_corpus_are_accounted_for() {
    replay("spool", spool::check);
}

#[test]
fn damaged_recordings_are_read_or_refused() {
    let lines = recordings().prop_map(|events| events.join(&b'\n'));
    check_damaged(lines, payload::check);
}

#[test]
fn damaged_spools_of_recordings_are_accounted_for() {
    let file = (recordings(), any::<i64>()).prop_map(|(events, fired_at_ms)| {
        let frames = events.iter().map(|payload| {
            frame::encode(&Frame {
                event_id: "01900000-0000-7000-8000-000000000001",
                fired_at_ms,
                agent: "claude-code",
                agent_process: None,
                payload,
            })
        });
        frames.collect::<Vec<_>>().concat()
    });
    check_damaged(file, spool::check);
}

/// Some recorded events, of any agents and in any order.
fn recordings() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let all = recorded_all().into_iter();
    let payloads: Vec<Vec<u8>> = all.map(|event| event.payload.into_bytes()).collect();
    proptest::collection::vec(proptest::sample::select(payloads), 1..EVENTS_MAX)
}

fn replay(target: &str, check: fn(&[u8])) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = manifest.join("../../tests/fuzz/corpus").join(target);
    let files = fs::read_dir(&corpus).expect("the corpus is there");
    let mut replayed = 0;
    for file in files {
        let path = file.expect("its entry is read").path();
        // Shown when the test fails.
        eprintln!("{}", path.display());
        check(&fs::read(&path).expect("it is read"));
        replayed += 1;
    }
    assert!(replayed >= 10, "{replayed} files in the corpus of {target}");
}

/// One thing that goes wrong with bytes, at a place.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Insert(Index, Index),
    Field(Index, Index),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        (place(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (place(), place()).prop_map(|(at, bits)| Damage::Insert(at, bits)),
        (place(), place()).prop_map(|(at, field)| Damage::Field(at, field)),
        (place(), 1..40_usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        (place(), 1..400_usize).prop_map(|(at, count)| Damage::Repeat(at, count)),
        place().prop_map(Damage::Cut),
    ]
}

fn damaged(mut bytes: Vec<u8>, damage: &Damage) -> Vec<u8> {
    let place = |at: &Index| at.index(bytes.len() + 1);
    let reach = |at, count: &usize| at..bytes.len().min(at + count);
    match damage {
        Damage::Flip(at, bit) => {
            let at = place(at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Damage::Insert(at, bits) => {
            let at = place(at);
            bytes.splice(at..at, bits.get(&BITS).iter().copied());
        }
        Damage::Field(at, field) => {
            let before = place(at);
            let begin = bytes[before..].iter().position(|byte| b"{,".contains(byte));
            if let Some(begin) = begin {
                let at = before + begin + 1;
                bytes.splice(at..at, field.get(&FIELDS).iter().copied());
            }
        }
        Damage::Remove(at, count) => drop(bytes.drain(reach(place(at), count))),
        Damage::Repeat(at, count) => {
            let again = bytes[reach(place(at), count)].to_vec();
            let at = place(at);
            bytes.splice(at..at, again);
        }
        Damage::Cut(at) => bytes.truncate(place(at)),
    }
    bytes
}

fn check_damaged(inputs: impl Strategy<Value = Vec<u8>>, check: fn(&[u8])) {
    let seed = std::env::var("SESSIOND_SEED").map_or_else(
        |_| Uuid::new_v4().as_u64_pair().0,
        |seed| seed.parse().expect("the seed is a number"),
    );
    eprintln!("SESSIOND_SEED={seed}");
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let inputs = (inputs, proptest::collection::vec(damage(), 0..8));
    let inputs = inputs.prop_map(|(bytes, all)| all.iter().fold(bytes, damaged));
    let outcome = runner.run(&inputs, |bytes| {
        check(&bytes);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
