//! What opens and closes a breaker, and who is let through when.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;

use super::*;

/// Longer than any test, so that only what a test does can open the way.
const LONG: Duration = Duration::from_secs(1_000);
const LIMIT: Duration = Duration::from_secs(20);

fn slow() -> Breakers {
    Breakers::new(LONG, LONG * 64)
}

/// Waits that are over almost at once.
fn fast() -> Breakers {
    Breakers::new(Duration::from_millis(1), Duration::from_millis(1))
}

async fn trial(breakers: &Breakers) -> Trial {
    let pass = tokio::time::timeout(LIMIT, breakers.admitted("echo")).await;
    match pass.expect("nobody keeps it from trying") {
        Pass::Trial(trial) => trial,
        Pass::Free => panic!("it is not closed"),
    }
}

#[test]
fn breaker_opens_for_its_kind_only_and_success_closes_it() {
    let breakers = slow();
    assert!(matches!(breakers.admit("echo"), Admit::Free));
    breakers.unavailable("echo", "quota", None);
    let Admit::Open { reason, until } = breakers.admit("echo") else {
        panic!("not open");
    };
    assert_eq!(reason, "quota");
    assert!(until > Instant::now() + LONG / 2);
    assert_eq!(breakers.is_open("echo").expect("open").reason, "quota");
    assert!(matches!(breakers.admit("tally"), Admit::Free));
    assert_eq!(breakers.is_open("tally"), None);
    breakers.success("echo");
    assert!(matches!(breakers.admit("echo"), Admit::Free));
    assert_eq!(breakers.status(), []);
}

#[tokio::test]
async fn wait_doubles_up_to_the_cap_and_starts_anew_after_a_success() {
    let breakers = Breakers::new(Duration::from_millis(8), Duration::from_millis(20));
    for full_ms in [8, 16, 20, 20] {
        let wait = breakers.unavailable("echo", "quota", None);
        let expected = Duration::from_millis(full_ms * 3 / 4)..=Duration::from_millis(full_ms);
        assert!(expected.contains(&wait), "{wait:?} is not of {full_ms} ms");
        drop(trial(&breakers).await);
    }
    assert_eq!(breakers.status()[0].failures, 4);
    breakers.success("echo");
    assert!(breakers.unavailable("echo", "quota", None) <= Duration::from_millis(8));
}

#[tokio::test]
async fn failed_trial_doubles_the_wait() {
    let breakers = fast();
    breakers.unavailable("echo", "quota", None);
    let trial = trial(&breakers).await;
    breakers.unavailable("echo", "still quota", Some(LONG));
    drop(trial);
    let status = breakers.status();
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].state, BreakerState::Open);
    assert_eq!((status[0].failures, &*status[0].reason), (2, "still quota"));
    assert!(matches!(breakers.admit("echo"), Admit::Open { .. }));
}

#[test]
fn failures_of_those_let_through_before_do_not_double_it() {
    let breakers = slow();
    for _ in 0..4 {
        assert!(breakers.unavailable("echo", "quota", None) <= LONG);
    }
    let status = breakers.status();
    assert_eq!(status[0].failures, 1);
    assert!(status[0].retry_in_ms <= ms(LONG));
}

#[test]
fn providers_own_wait_counts_if_it_is_longer_up_to_an_hour() {
    let breakers = fast();
    let day = Duration::from_secs(24 * 60 * 60);
    for (asked, expected) in [(LONG, LONG), (day, RETRY_AFTER_MAX)] {
        breakers.success("echo");
        assert_eq!(breakers.unavailable("echo", "x", Some(asked)), expected);
    }
    // One that says so while it is open already prolongs it, and never shortens it.
    let left = breakers.unavailable("echo", "x", Some(Duration::from_secs(1)));
    assert!(left > RETRY_AFTER_MAX - LONG);
    let breakers = slow();
    assert!(breakers.unavailable("echo", "x", Some(Duration::ZERO)) >= LONG / 2);
}

#[tokio::test]
async fn half_open_lets_one_try_and_the_next_after_a_trial_that_was_dropped() {
    let breakers = fast();
    breakers.unavailable("echo", "quota", None);
    let first = trial(&breakers).await;
    assert!(matches!(breakers.admit("echo"), Admit::Open { .. }));
    assert!(breakers.is_open("echo").is_some());
    assert_eq!(breakers.status()[0].state, BreakerState::HalfOpen);
    drop(first);
    assert_eq!(breakers.is_open("echo"), None, "to be tried");
    let second = trial(&breakers).await;
    breakers.success("echo");
    breakers.unavailable("echo", "again", Some(LONG));
    drop(second);
    assert!(matches!(breakers.admit("echo"), Admit::Open { .. }));
}

#[tokio::test]
async fn those_who_wait_are_let_through_when_it_closes() {
    let breakers = slow();
    breakers.unavailable("echo", "quota", None);
    let mut waiting = Box::pin(breakers.admitted("echo"));
    assert!(waiting.as_mut().now_or_never().is_none());
    breakers.success("echo");
    let pass = tokio::time::timeout(LIMIT, waiting).await;
    assert!(!pass.expect("woken").is_trial());
}

#[tokio::test]
async fn wait_that_is_ended_by_hand_lets_one_try_at_once() {
    let breakers = slow();
    assert!(!breakers.retry_now("echo"), "it is closed");
    breakers.unavailable("echo", "quota", None);
    let mut waiting = Box::pin(breakers.admitted("echo"));
    let mut next = Box::pin(breakers.admitted("echo"));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(next.as_mut().now_or_never().is_none());
    assert!(breakers.retry_now("echo"));
    let pass = tokio::time::timeout(LIMIT, waiting).await;
    let pass = pass.expect("woken");
    assert!(pass.is_trial());
    assert!(next.as_mut().now_or_never().is_none(), "one at a time");
    assert!(breakers.retry_now("echo"), "it is being tried");
    breakers.unavailable("echo", "still", None);
    assert!(next.as_mut().now_or_never().is_none(), "it waits anew");
    drop(pass);
}

/// The base is long: nobody comes through by asking again after a while.
#[tokio::test]
async fn those_who_wait_for_a_trial_are_woken_when_it_is_dropped() {
    let breakers = Breakers::new(LONG, Duration::ZERO);
    let shared = Arc::clone(&breakers.0);
    breakers.unavailable("echo", "quota", None);
    let over = Instant::now();
    shared.lock().open.get_mut("echo").expect("open").until = over;
    let first = trial(&breakers).await;
    let mut waiting = Box::pin(breakers.admitted("echo"));
    let mut dropped = Box::pin(breakers.admitted("echo"));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(dropped.as_mut().now_or_never().is_none());
    drop(dropped);
    drop(first);
    let pass = tokio::time::timeout(LIMIT, waiting).await;
    assert!(pass.expect("woken").is_trial());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_two_try_at_once_and_all_come_through() {
    for _ in 0..50 {
        let breakers = fast();
        breakers.unavailable("echo", "quota", None);
        let trying = Arc::new(AtomicUsize::new(0));
        let tasks = (0..32).map(|number| {
            let (breakers, trying) = (breakers.clone(), Arc::clone(&trying));
            tokio::spawn(async move {
                let Pass::Trial(trial) = breakers.admitted("echo").await else {
                    return;
                };
                assert_eq!(trying.fetch_add(1, Ordering::SeqCst), 0);
                tokio::task::yield_now().await;
                trying.fetch_sub(1, Ordering::SeqCst);
                match number % 3 {
                    0 => {
                        breakers.unavailable("echo", "still", None);
                    }
                    1 if number > 16 => breakers.success("echo"),
                    _ => {}
                }
                drop(trial);
            })
        });
        let all = futures::future::join_all(tasks);
        let ended = tokio::time::timeout(LIMIT, all).await.expect("all woken");
        assert!(ended.into_iter().all(|end| end.is_ok()));
    }
}
