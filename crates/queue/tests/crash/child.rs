//! A test that runs again in a process of its own: to be killed, or to be limited.

use std::path::Path;
use std::process::Command;

/// What the child is to work on; it is set in a child only.
const CHILD: &str = "SESSIOND_CRASH_CHILD";

/// In a child: what it is to work on.
pub(crate) fn task() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// The same test, alone in a process of its own.
pub(crate) fn command(test: &str, task: &Path, seed: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this is a program"));
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, task)
        .env("SESSIOND_SEED", seed.to_string());
    command
}

/// A runtime of one thread, for tests that are not in one.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime is made")
}
