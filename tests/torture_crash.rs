//! Workers and shims that are killed at each step of a spawn, and what the next worker finds: the
//! runner's `crash` (`tests/torture/crash.rs`) in short.

use crate::torture::{ORDINARY_UID, count};

/// Each kind of crash twice, or once; the soak plays thousands.
const CRASHES: &str = "50";
const CRASHES_AS_USER: &str = "25";

#[test]
fn nothing_outlives_a_crash_or_the_next_start() {
    count(
        &["crash", "--rounds", CRASHES],
        "0 violations after crashes",
    );
}

#[test]
fn nothing_outlives_a_crash_as_an_ordinary_user() {
    if nix::unistd::Uid::current().is_root() {
        let uid = ORDINARY_UID.to_string();
        let arguments = ["crash", "--rounds", CRASHES_AS_USER, "--as-user", &uid];
        count(&arguments, "0 violations after crashes");
    }
}
