//! Finds the programs that tests give to the worker: examples of its package, which cargo builds
//! with the tests, beside the programs.

use std::path::{Path, PathBuf};

/// The program of an example.
///
/// # Panics
/// It was not built: only some of the package's targets were asked for.
#[track_caller]
pub fn example(name: &str) -> PathBuf {
    let dir = Path::new(super::home::SESSIOND).parent();
    let path = dir
        .expect("a directory of programs")
        .join("examples")
        .join(name);
    assert!(
        path.exists(),
        "{path:?} is not built: cargo build --examples"
    );
    path
}

/// The program that misbehaves on demand (`tests/child`).
#[track_caller]
pub fn nasty_child() -> String {
    let path = example("nasty-child").into_os_string();
    path.into_string().expect("a text")
}
