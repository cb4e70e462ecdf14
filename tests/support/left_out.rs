//! Tells what a test could not do on this machine, so that nobody takes it for done.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;

/// Adds `what` to the list that `scripts/test` shows at its end.
///
/// # Panics
/// The list cannot be written.
#[track_caller]
pub fn leave_out(what: &str) {
    eprintln!("left out: {what}");
    if let Some(list) = env::var_os("SESSIOND_TEST_LEFT_OUT") {
        let list = OpenOptions::new().append(true).open(list);
        let mut list = list.expect("the list of what was left out");
        writeln!(list, "{what}").expect("the list can be written");
    }
}
