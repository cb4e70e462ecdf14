//! The hook client: hands one event of an agent over to the worker, or keeps it on disk for it.
//!
//! The agent waits for this program, so it is small, works under one deadline, says nothing unless
//! the worker has an answer for the agent, and always exits 0: an event may never cost the agent
//! its turn. What an event means is the worker's business.
//!
//! ```text
//! stdin -> event -> session has a spool file? -yes-> append to it (order) -> worker there?
//!                     |no                                                       |no
//!                   POST to the worker's socket -down, slow, of no use->       start one
//! ```

mod agent_process;
mod client;
mod deadline;
mod detach;
mod event;
mod input;
mod json;
mod options;
mod spool;
mod start;
#[path = "../../wire/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "compiled into the library too; each uses its own part"
)]
mod wire;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::panic;
use std::process::ExitCode;

use client::Delivery;
use deadline::Deadline;
use event::Event;
use options::{Action, Options};
use wire::environment::{HOOK_DEADLINE_MS, NO_START, TAG};
use wire::layout::Layout;
use wire::limits::SESSION_START_DEADLINE;

const HELP: &str = "\
Hands an agent's hook event, read from standard input, over to the sessiond worker.

Usage: sessiond-hook [--agent NAME]

Options:
  --agent NAME  whose hook this is [default: claude-code]
  --help        print this help
  --version     print the version

Environment:
  SESSIOND_AGENT_PID  the agent's process, when the hook is called through a program of your own:
                      its session ends when that process does. 0: it is not known. Otherwise it is
                      CLAUDE_PID, or the nearest ancestor that is no shell and runs no other program
  SESSIOND_HOOK_DEADLINE_MS
                      how long the agent waits at most, in milliseconds [default: 250, and 1000 for
                      the start of a session]

Always exits 0. When the worker cannot take the event it is kept in the spool directory, and a
worker is started.
";

fn main() -> ExitCode {
    let deadline = Deadline::start(env::var_os(HOOK_DEADLINE_MS));
    panic::set_hook(Box::new(|_| {}));
    // A panic costs this event; its exit code must not cost the agent its turn.
    panic::catch_unwind(|| run(deadline)).ok();
    ExitCode::SUCCESS
}

fn run(deadline: Deadline) {
    let options = Options::parse(env::args_os().skip(1));
    match options.action {
        Action::Help => print(HELP),
        Action::Version => print(concat!("sessiond-hook ", env!("CARGO_PKG_VERSION"), "\n")),
        Action::StartWorker => {
            if let Some(layout) = layout().filter(is_outside_own_tree) {
                start::start_worker(&layout);
            }
        }
        Action::HandOver => {
            if let Some(layout) = layout().filter(is_outside_own_tree) {
                hand_over(&layout, &options.agent, deadline);
            }
        }
    }
}

/// The install to work for. Without one there is no place to keep the event or even to count it, so
/// this is said where whoever has set the variables may read it.
fn layout() -> Option<Layout> {
    let layout = Layout::from_env(|name| env::var_os(name));
    if layout.is_none() {
        let set = env::var_os("SESSIOND_HOME").unwrap_or_default();
        let words = match set.is_empty() {
            true => "set SESSIOND_HOME or HOME to an absolute path".to_owned(),
            false => format!("SESSIOND_HOME={} must be an absolute path", set.display()),
        };
        writeln!(io::stderr(), "sessiond-hook: the event is lost: {words}").ok();
    }
    layout
}

/// Whether this process is of no tree that the install's own worker runs: the events of one would be
/// the worker observing itself, so they are counted and dropped. Another install's tag means nothing
/// here.
fn is_outside_own_tree(layout: &Layout) -> bool {
    let Some(tag) = env::var_os(TAG) else {
        return true;
    };
    let tag = tag.to_string_lossy();
    let tagged = tag.split(':').next().unwrap_or_default();
    let install = fs::read_to_string(layout.install_file());
    let is_own = install.is_ok_and(|install| install.trim() == tagged);
    if is_own {
        spool::count(&layout.dropped_file());
    }
    !is_own
}

fn hand_over(layout: &Layout, agent: &str, mut deadline: Deadline) {
    let fired_at_ms = event::now_ms();
    let payload = input::read(&deadline);
    let mut event = Event::new(agent, fired_at_ms, payload);
    event.agent_process = agent_process::find(agent, |name| env::var_os(name));
    if event.starts_session {
        deadline.extend_to(SESSION_START_DEADLINE);
    }
    // While the session has a spool file its events queue up there: one sent over the socket would
    // overtake them. Only if the file cannot be had in half the time is that better than a loss.
    if spool::has_file(layout, &event)
        && spool::append(layout, &event, deadline.remaining() / 2).is_ok()
    {
        if client::is_absent(&layout.socket()) {
            start_unless_forbidden(layout);
        }
        return;
    }
    let absent = match client::deliver(&layout.socket(), &event, &deadline) {
        Delivery::Accepted { output } => {
            if let Some(output) = output {
                input::answer(&output, &deadline);
            }
            return;
        }
        Delivery::Refused => return,
        Delivery::Absent => true,
        Delivery::Unavailable => false,
    };
    if spool::append(layout, &event, deadline.remaining()).is_err() {
        spool::count(&layout.lost_file());
    }
    // Only now: whatever happens to the worker, the event is on disk.
    if absent {
        start_unless_forbidden(layout);
    }
}

fn start_unless_forbidden(layout: &Layout) {
    if env::var_os(NO_START).is_none_or(|value| value != "1") {
        start::start_worker(layout);
    }
}

fn print(text: &str) {
    // Nobody may be reading; that is no failure.
    io::stdout().write_all(text.as_bytes()).ok();
}
