//! The inbox under a model checker: the very file that runs, over shuttle's primitives.
//!
//! Callers put requests in and wait for their answers, somebody closes the inbox, and the writer takes
//! batches, as the real one does. A lost wake-up leaves everyone asleep, which shuttle reports with
//! the schedule that led there.

use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::thread;

use self::inbox::inbox;
use self::sync::{Arc, Mutex};

#[path = "inbox.rs"]
mod inbox;

/// Shuttle's stand-ins for what `inbox` uses.
mod sync {
    pub(super) use std::sync::PoisonError;

    pub(super) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
}

const CALLERS: usize = 3;
const REQUESTS_EACH: usize = 3;
const BATCH_MAX: usize = 2;
const SCHEDULES: usize = 5_000;

#[test]
fn every_request_is_answered_once_and_in_order() {
    shuttle::check_random(|| answered(false), SCHEDULES);
}

#[test]
fn closing_leaves_nobody_waiting() {
    shuttle::check_random(|| answered(true), SCHEDULES);
}

/// Waits for the answers to what was taken in; how many those are.
fn wait_for(waiting: &mut Vec<Receiver<()>>) -> usize {
    let answers = waiting.drain(..);
    answers
        .map(|answer| answer.recv().expect("what was taken in is answered"))
        .count()
}

/// Callers ask, most of them one thing after the other; with `closing`, the inbox is closed at some moment.
fn answered(closing: bool) {
    let (sender, receiver) = inbox();
    let sender = Arc::new(sender);
    let worked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&worked);
    let writer = thread::spawn(move || {
        let mut batch = Vec::new();
        loop {
            let mut room = BATCH_MAX;
            let has_room = |_: &_| {
                room -= 1;
                room > 0
            };
            if !receiver.receive(&mut batch, has_room) {
                break;
            }
            assert!(batch.len() <= BATCH_MAX, "a batch has its bound");
            for (caller, request, answer) in batch.drain(..) {
                let mut worked = seen.lock().expect("nobody panics with the lock");
                worked.push((caller, request));
                drop(worked);
                let answer: Sender<()> = answer;
                answer.send(()).expect("the caller waits for it");
            }
        }
    });
    let callers = (0..CALLERS).map(|caller| {
        let sender = Arc::clone(&sender);
        thread::spawn(move || {
            let mut waiting = Vec::new();
            let mut answered = 0;
            for request in 0..REQUESTS_EACH {
                let (answer, wait) = channel();
                if sender.send((caller, request, answer)).is_err() {
                    break;
                }
                waiting.push(wait);
                // The first caller asks for everything before it waits.
                if caller > 0 {
                    answered += wait_for(&mut waiting);
                }
            }
            answered + wait_for(&mut waiting)
        })
    });
    let callers: Vec<_> = callers.collect();
    if closing {
        sender.close();
    }
    let mut total = 0;
    for caller in callers {
        let answered = caller.join().expect("the caller ends");
        assert!(closing || answered == REQUESTS_EACH);
        total += answered;
    }
    drop(sender);
    writer.join().expect("the writer ends");
    let worked = worked.lock().expect("nobody panics with the lock");
    assert_eq!(worked.len(), total);
    for caller in 0..CALLERS {
        let of_caller = worked.iter().filter(|(other, _)| *other == caller);
        assert!(of_caller.map(|(_, request)| *request).is_sorted());
    }
}
