//! The shim's command line: `--grace-ms N -- PROGRAM ARGS...`.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

/// The longest grace, so that no sum of times overflows. Nobody waits longer than a day.
const GRACE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What the shim is to do.
pub(crate) struct Options {
    /// From SIGTERM to SIGKILL where no order says otherwise.
    pub(crate) grace: Duration,
    /// The program and its arguments, for `exec`; never empty.
    pub(crate) arguments: Vec<CString>,
}

impl Options {
    /// `None`: not a supervisor's command line.
    pub(crate) fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Self> {
        if words.next()? != "--grace-ms" {
            return None;
        }
        let grace = grace(words.next()?.to_str()?.parse().ok()?);
        if words.next()? != "--" {
            return None;
        }
        let arguments: Option<Vec<CString>> = words
            .map(|word| CString::new(word.into_vec()).ok())
            .collect();
        let arguments = arguments.filter(|arguments| !arguments.is_empty())?;
        Some(Self { grace, arguments })
    }
}

/// A grace that was given in milliseconds.
pub(crate) fn grace(grace_ms: u64) -> Duration {
    Duration::from_millis(grace_ms).min(GRACE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Options> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn only_a_complete_command_line_is_taken() {
        let options = parse("--grace-ms 250 -- sh -c --").unwrap();
        assert_eq!(options.grace, Duration::from_millis(250));
        assert_eq!(options.arguments, [c"sh", c"-c", c"--"].map(CString::from));
        for line in [
            "",
            "sh",
            "--grace-ms 250 sh",
            "--grace-ms x -- sh",
            "--grace-ms -1 -- sh",
            "--grace-ms 250 --",
        ] {
            assert!(parse(line).is_none(), "{line:?}");
        }
    }

    #[test]
    fn a_grace_beyond_reason_is_cut() {
        assert_eq!(grace(u64::MAX), GRACE_MAX);
    }
}
