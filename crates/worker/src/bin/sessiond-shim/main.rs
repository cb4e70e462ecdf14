//! The shim: stands between the worker and one child, knows its whole tree, and ends it.
//!
//! The worker starts one for each child, executed from a descriptor it opened early. A child's
//! descendants cannot get away from it: it is their subreaper, so whoever loses its parent becomes
//! the shim's own child, whatever session or group it made for itself. It holds nothing of the
//! worker's but the control socket, and it ends the tree on an order, when the leader has exited,
//! and when the socket ends, which is the worker's death.
//!
//! ```text
//! HELLO with the child's stdin -> start -> watch -order, exit, end of the lifeline-> end the tree
//!                                   |failed                                              |empty
//!                                 report, exit                                     report, exit
//! ```
//!
//! The worker forgets a spawn's record on disk once its tree has ended. When the worker has died
//! meanwhile the shim does that, so that nothing of the spawn is left at all.
//!
//! Reading order: `start` (what the shim makes of itself, and the child), `lifeline` (the socket),
//! `watch` (the loop), `ending` (TERM, STOP, KILL and when), `tree` over `proc` (who belongs to
//! it). It is kept small, since it runs as often as children do: no runtime, no periodic wake-up.

#[path = "../../../../supervisor/src/control.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "compiled into the supervisor too; each uses its own part"
)]
mod control;
#[cfg(target_os = "linux")]
mod ending;
#[cfg(target_os = "linux")]
mod lifeline;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod proc;
#[cfg(target_os = "linux")]
mod start;
#[cfg(target_os = "linux")]
mod tree;
#[cfg(target_os = "linux")]
mod watch;

use std::process::ExitCode;

/// The arguments, or descriptor 0, are not what a supervisor gives.
const EXIT_USAGE: u8 = 2;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use control::Report;
    use lifeline::Lifeline;
    use options::Options;

    let Some(options) = Options::parse(std::env::args_os().skip(1)) else {
        eprintln!("usage: {} (started by sessiond)", options::USAGE);
        return ExitCode::from(EXIT_USAGE);
    };
    start::leave_worker();
    let mut lifeline = Lifeline::on_stdin();
    let child_stdin = match lifeline.receive_hello() {
        Ok(Some(child_stdin)) => child_stdin,
        // The worker is gone, or has changed its mind.
        Ok(None) => {
            forget(&options);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("sessiond-shim: descriptor 0 is no control socket: {error}");
            // If it is one, the worker wants to know.
            lifeline.report(Report::Failed {
                errno: error.raw_os_error(),
            });
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let started = start::signals().and_then(|signals| {
        let leader = start::child(&options, &child_stdin)?;
        Ok((signals, leader))
    });
    drop(child_stdin);
    match started {
        Ok((signals, leader)) => {
            start::let_go_of_output(&lifeline);
            lifeline.report(Report::Started {
                pid: leader.as_raw_pid().unsigned_abs(),
            });
            let forget = || forget(&options);
            watch::until_gone(&mut lifeline, &signals, leader, options.grace, forget);
        }
        Err(errno) => {
            forget(&options);
            lifeline.report(Report::Failed {
                errno: errno.raw_os_error(),
            });
        }
    }
    ExitCode::SUCCESS
}

/// Removes the record of a spawn of which nothing runs. Done here, and before the worker is told,
/// it is true whenever the worker dies: a record whose shim is gone is one whose shim was killed.
#[cfg(target_os = "linux")]
fn forget(options: &options::Options) {
    if let Some(record) = &options.record {
        // The worker removes one that resists, or the next start does.
        std::fs::remove_file(record).ok();
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("sessiond-shim: this system cannot keep a tree of processes together");
    ExitCode::from(EXIT_USAGE)
}
