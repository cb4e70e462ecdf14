//! What is to be started.

use std::ffi::OsString;
use std::path::PathBuf;

/// A program with everything it is to be given: nothing is inherited.
#[derive(Clone, Debug)]
pub struct Command {
    /// A path, or a name that is looked up in the `PATH` of [`env`](Self::env).
    pub program: OsString,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Its whole environment; the tag is added.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Where `stdout.log` and `stderr.log` are appended to; made (0700) if missing. `None`: only
    /// the rings are kept.
    pub output_dir: Option<PathBuf>,
    /// Bytes of one line of its stdout that are read as a line; longer ones are counted and
    /// thrown away.
    pub line_max_bytes: usize,
}
