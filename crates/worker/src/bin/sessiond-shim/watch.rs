//! The loop: waits for orders, deaths and its own times, from the child's start to the tree's end.

use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use crate::control::{Exit, Order, Report};
use crate::ending::Ending;
use crate::lifeline::Lifeline;
use crate::options;
use crate::tree::Tree;

/// What was reaped in one go.
#[derive(Default)]
struct Reaped {
    /// Whether anybody was.
    any: bool,
    /// How the leader has ended, if it was among them.
    leader: Option<Exit>,
    /// Whether no child is left, dead or alive. A subreaper gets every orphan below it, so there
    /// is nobody in the tree.
    all: bool,
}

/// Returns when the tree is empty, or when nothing more can be done about it; that was reported.
/// `forget` is called before the report that it is empty.
pub(crate) fn until_gone(
    lifeline: &mut Lifeline,
    signals: &SignalFd,
    leader: Pid,
    grace: Duration,
    forget: impl FnOnce(),
) {
    let mut tree = Tree::new(leader);
    let mut ending: Option<Ending> = None;
    loop {
        let reaped = reap(leader);
        if let Some(exit) = reaped.leader {
            tree.forget_leader();
            lifeline.report(Report::Exited(exit));
            end(&mut ending, grace);
        }
        if reaped.all {
            forget();
            lifeline.report(Report::Gone(tree.tally));
            return;
        }
        let given_up = ending
            .as_mut()
            .and_then(|ending| ending.advance(&mut tree, Instant::now(), reaped.any));
        if let Some(untouchables) = given_up {
            for untouchable in untouchables {
                lifeline.report(Report::Untouchable(untouchable));
            }
            lifeline.report(Report::Gone(tree.tally));
            return;
        }
        wait_for_event(lifeline, signals, ending.as_ref().map(Ending::next_look_at));
        if has_stop_signal(signals) {
            end(&mut ending, grace);
        }
        while let Some(Order::Stop { grace_ms }) = lifeline.next_order() {
            // Before the work that follows from it, which takes its time with a large tree.
            lifeline.report(Report::Stopping);
            end(&mut ending, options::grace(grace_ms));
        }
        if lifeline.has_ended {
            end(&mut ending, grace);
        }
    }
}

/// Begins the end, or makes it faster.
fn end(ending: &mut Option<Ending>, grace: Duration) {
    let now = Instant::now();
    ending
        .get_or_insert_with(|| Ending::new(now, grace))
        .shorten(now, grace);
}

/// Takes all the dead there are. Waiting for anybody is right here: every child is of the tree.
fn reap(leader: Pid) -> Reaped {
    let mut reaped = Reaped::default();
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                reaped.any = true;
                if pid == leader {
                    reaped.leader = exit(status);
                }
            }
            Ok(None) => return reaped,
            Err(Errno::INTR) => {}
            Err(_) => {
                reaped.all = true;
                return reaped;
            }
        }
    }
}

fn exit(status: WaitStatus) -> Option<Exit> {
    let code = status.exit_status().map(Exit::Code);
    code.or_else(|| status.terminating_signal().map(Exit::Signal))
}

/// Sleeps until something happens or `until` has come; without it, for as long as it takes.
fn wait_for_event(lifeline: &Lifeline, signals: &SignalFd, until: Option<Instant>) {
    let timeout = until.map(|until| {
        let left = until.saturating_duration_since(Instant::now());
        Timespec {
            // At most a day of grace.
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    let mut watched = [
        PollFd::new(signals, PollFlags::IN),
        PollFd::new(lifeline, PollFlags::IN),
    ];
    // An ended socket is always ready.
    let count = if lifeline.has_ended { 1 } else { 2 };
    // Woken for nothing, the loop looks around and sleeps again.
    poll(&mut watched[..count], timeout.as_ref()).ok();
}

/// Takes the signals that have come. That there was a death is seen by reaping.
fn has_stop_signal(signals: &SignalFd) -> bool {
    let mut has_come = false;
    while let Ok(Some(signal)) = signals.read_signal() {
        has_come |= [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT]
            .iter()
            .any(|stop| u32::try_from(*stop) == Ok(signal.ssi_signo));
    }
    has_come
}
