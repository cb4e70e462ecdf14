//! The wake protocol under a model checker: the very file that runs, over shuttle's primitives.
//!
//! Producers store and then wake; a dispatcher starts runs and compares at their end; a run ends
//! whenever it likes while nothing is pending. A lost wake-up leaves a message behind, or everyone
//! asleep, which shuttle reports with the schedule that led there.

use shuttle::sync::atomic::AtomicBool;
use shuttle::sync::mpsc::{Sender, channel};
use shuttle::sync::{Arc, Mutex};
use shuttle::{future, rand, thread};

use self::sync::Ordering;
use self::wake::Wake;

#[path = "wake.rs"]
mod wake;

/// Shuttle's stand-ins for what `wake` uses.
mod sync {
    use std::future::poll_fn;
    use std::task::{Poll, Waker};

    use shuttle::sync::Mutex;
    pub(super) use shuttle::sync::atomic::{AtomicU64, Ordering};

    /// As much of tokio's `Notify` as one waiter needs: a permit, and the waiter's waker.
    #[derive(Debug, Default)]
    pub(super) struct Notify(Mutex<(bool, Option<Waker>)>);

    impl Notify {
        pub(super) fn notify_one(&self) {
            let mut state = self.0.lock().expect("nobody panics with the lock");
            state.0 = true;
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        }

        pub(super) async fn notified(&self) {
            poll_fn(|cx| {
                let mut state = self.0.lock().expect("nobody panics with the lock");
                if std::mem::take(&mut state.0) {
                    return Poll::Ready(());
                }
                state.1 = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
        }
    }
}

const PRODUCERS: usize = 2;
const MESSAGES_EACH: usize = 4;
const SCHEDULES: usize = 5_000;

enum Command {
    Wake,
    Ended,
}

#[derive(Default)]
struct Run {
    wake: Wake,
    draining: AtomicBool,
}

#[test]
fn no_wake_up_is_lost_in_any_schedule() {
    shuttle::check_random(model, SCHEDULES);
}

fn model() {
    let pending = Arc::new(Mutex::new(0_usize));
    let (commands, inbox) = channel();
    for _ in 0..PRODUCERS {
        let (pending, commands) = (Arc::clone(&pending), commands.clone());
        thread::spawn(move || {
            for _ in 0..MESSAGES_EACH {
                *pending.lock().expect("nobody panics with the lock") += 1;
                commands
                    .send(Command::Wake)
                    .expect("the dispatcher outlives the producers");
            }
        });
    }
    let mut run: Option<Arc<Run>> = None;
    let mut wakes = 0;
    while wakes < PRODUCERS * MESSAGES_EACH || run.is_some() {
        match inbox.recv().expect("this function holds a sender") {
            Command::Wake => {
                wakes += 1;
                match &run {
                    Some(run) => run.wake.signal(),
                    None => run = Some(start(&pending, &commands)),
                }
            }
            Command::Ended => {
                let ended = run.take().expect("only a run ends");
                if !ended.wake.has_seen_all() {
                    run = Some(start(&pending, &commands));
                }
            }
        }
        if wakes == PRODUCERS * MESSAGES_EACH
            && let Some(run) = &run
        {
            run.draining.store(true, Ordering::Release);
            run.wake.signal();
        }
    }
    assert_eq!(*pending.lock().expect("nobody panics with the lock"), 0);
}

fn start(pending: &Arc<Mutex<usize>>, commands: &Sender<Command>) -> Arc<Run> {
    let run = Arc::new(Run::default());
    let (pending, commands, shared) = (Arc::clone(pending), commands.clone(), Arc::clone(&run));
    future::spawn(async move {
        loop {
            let seen = shared.wake.look();
            // All at once: a run that is rarely ahead of its producers rarely ends or sleeps.
            let found = std::mem::take(&mut *pending.lock().expect("nobody panics with the lock"));
            if found > 0 {
                continue;
            }
            let is_idle_for_long = rand::Rng::gen_bool(&mut rand::thread_rng(), 0.5);
            if is_idle_for_long || shared.draining.load(Ordering::Acquire) {
                break;
            }
            shared.wake.changed(seen).await;
        }
        // The dispatcher may be done when the last run ends.
        let _done = commands.send(Command::Ended);
    });
    run
}
