//! A test in a process of its own, for what concerns the whole process: its limits, its user.

use std::env;
use std::process::Command;

use super::launch;
use super::wait::LIMIT;

const VARIABLE: &str = "SESSIOND_TEST_ALONE";

/// Whether this is that process. Otherwise runs the test in one, and it has passed there.
///
/// `module` and `name` are those of the test, as `module_path!()` and its own name.
#[track_caller]
pub fn is_alone(module: &str, name: &str) -> bool {
    let (_, module) = module.split_once("::").expect("a module of the tests");
    let name = format!("{module}::{name}");
    if env::var(VARIABLE).is_ok_and(|alone| alone == name) {
        return true;
    }
    let own = env::current_exe().expect("this program");
    let mut command = Command::new(own);
    command
        .args(["--exact", &name, "--nocapture"])
        .env(VARIABLE, &name);
    let ran = launch::run(&mut command, b"", LIMIT);
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), ran.stderr);
    assert!(ran.code() == 0 && said.contains("1 passed"), "{said}");
    false
}
