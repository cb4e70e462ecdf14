//! Pids and group numbers that are given again the moment they are free: the runner's `reuse`
//! (`tests/torture/reuse.rs`) in short.

use crate::torture::count;

/// The soak forces thousands.
const PIDS: &str = "200";

#[test]
fn nobody_is_signalled_who_has_taken_the_pid_of_somebody_else() {
    count(&["reuse", "--rounds", PIDS], "0 wrong signals");
}
