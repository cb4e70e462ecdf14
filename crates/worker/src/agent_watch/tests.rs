//! The pairs by themselves; what a user sees of the watch is tested over the real binary.

use std::time::Duration;

use sessiond_queue::ids::SessionId;
use tokio::time::Instant;
use uuid::Uuid;

use super::roster::{Counts, Hold, Key, Left, MEMBERS_MAX, QUIET, Roster};

fn key(pid: u32) -> Key {
    Key {
        pid,
        start_ticks: 7,
        pid_namespace: 1,
        boot: Uuid::nil(),
    }
}

fn left(session: SessionId, others: usize, is_empty: bool) -> Left {
    Left {
        session,
        others,
        is_empty,
    }
}

#[test]
fn set_is_empty_when_its_last_process_has_ended() {
    let (one, other) = (SessionId::mint(), SessionId::mint());
    let mut roster = Roster::new(9);
    let now = Instant::now();
    for (session, pid) in [(one, 2), (one, 3), (other, 2), (one, 2)] {
        roster.add(session, key(pid), || Hold::Unseen);
        assert!(roster.knows(session, &key(pid), now));
    }
    let mut found = roster.without(&key(2));
    found.sort_by_key(|left| left.others);
    assert_eq!(found, [left(other, 0, true), left(one, 1, false)]);
    roster.remove_process(&key(2));
    assert!(!roster.knows(one, &key(2), now) && roster.knows(one, &key(3), now));
    assert_eq!(roster.without(&key(3)), [left(one, 0, true)]);
    roster.remove_process(&key(3));
    assert_eq!(roster.counts(), Counts::default());
    assert!(!roster.remove_session(one));
}

#[test]
fn forgotten_session_takes_the_processes_along_that_are_nobody_elses() {
    let (one, other) = (SessionId::mint(), SessionId::mint());
    let mut roster = Roster::new(9);
    for (session, pid) in [(one, 2), (one, 3), (other, 3)] {
        roster.add(session, key(pid), || Hold::Ended(Instant::now()));
    }
    assert!(roster.remove_session(one));
    assert_eq!(roster.members(one), None);
    assert_eq!(roster.members(other), Some(vec![key(3)]));
    assert_eq!(roster.without(&key(3)), [left(other, 0, true)]);
    assert_eq!(roster.without(&key(2)), []);
}

#[tokio::test]
async fn bounds_hold_and_who_is_not_kept_keeps_the_set_from_being_empty() {
    let session = SessionId::mint();
    let mut roster = Roster::new(1);
    let waited = || {
        let task = tokio::spawn(std::future::pending());
        Hold::Waited(tokio_util::task::AbortOnDropHandle::new(task))
    };
    roster.add(session, key(2), waited);
    assert!(!roster.has_room(session, &key(3)), "no descriptor is left");
    assert!(roster.has_room(SessionId::mint(), &key(2)), "it is held");
    assert!(roster.note_others(session) && !roster.note_others(session));
    assert_eq!(roster.without(&key(2)), [left(session, 0, false)]);
    roster.remove_process(&key(2));
    assert!(roster.has_room(session, &key(3)));
    let members = u32::try_from(MEMBERS_MAX).expect("few");
    for pid in 10..10 + members {
        roster.add(session, key(pid), || Hold::Unseen);
    }
    assert!(!roster.has_room(session, &key(3)), "the set is full");
}

#[test]
fn process_that_has_ended_is_waited_for_while_it_is_named() {
    let session = SessionId::mint();
    let mut roster = Roster::new(9);
    let begin = Instant::now();
    roster.add(session, key(2), || Hold::Ended(begin));
    assert_eq!(roster.quiet(begin + QUIET), [key(2)]);
    let named_at = begin + Duration::from_millis(100);
    assert!(roster.knows(session, &key(2), named_at));
    assert_eq!(roster.quiet(begin + QUIET), []);
    assert_eq!(roster.quiet_at(), Some(named_at + QUIET));
    assert_eq!(roster.pids(session), [0; 0]);
}
