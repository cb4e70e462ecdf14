//! Finds `nasty-child`, the program that misbehaves on demand (`tests/child`).

use std::path::Path;

/// Its path. Cargo builds it, an example of the worker's package, together with the tests; it lies
/// beside the programs.
///
/// # Panics
/// It was not built: only some of the package's targets were asked for.
#[track_caller]
pub fn nasty_child() -> String {
    let binary = Path::new(super::home::SESSIOND);
    let dir = binary.parent().expect("a directory of programs");
    let path = dir.join("examples/nasty-child");
    assert!(
        path.exists(),
        "{path:?} is not built: cargo build --examples"
    );
    path.into_os_string().into_string().expect("a text")
}
