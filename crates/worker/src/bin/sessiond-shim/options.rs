//! The shim's command line.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

/// Its form.
pub(crate) const USAGE: &str = "sessiond-shim --grace-ms N [--record PATH] \
    [--limit as=N|nofile=N|nproc=N|nice=N]... -- PROGRAM ARGS...";

/// The longest grace, so that no sum of times overflows. Nobody waits longer than a day.
const GRACE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What the shim is to do.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// From SIGTERM to SIGKILL where no order says otherwise.
    pub(crate) grace: Duration,
    /// The spawn's record, to be removed when the worker cannot.
    pub(crate) record: Option<PathBuf>,
    /// What each process of the tree may use; the shim itself is not limited.
    pub(crate) limits: Limits,
    /// The program and its arguments, for `exec`; never empty.
    pub(crate) arguments: Vec<CString>,
}

/// Limits of setrlimit(2), and the niceness; `None`: as the shim's own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// `RLIMIT_AS` in bytes.
    pub(crate) address_space: Option<u64>,
    /// `RLIMIT_NOFILE`.
    pub(crate) open_files: Option<u64>,
    /// `RLIMIT_NPROC`.
    pub(crate) processes: Option<u64>,
    /// Added to the niceness.
    pub(crate) nice: Option<i32>,
}

impl Options {
    /// `None`: not a supervisor's command line.
    pub(crate) fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut options = Self::default();
        let mut has_grace = false;
        loop {
            let flag = words.next()?;
            match flag.to_str()? {
                "--grace-ms" => {
                    options.grace = grace(words.next()?.to_str()?.parse().ok()?);
                    has_grace = true;
                }
                "--record" => options.record = Some(words.next()?.into()),
                "--limit" => options.limits.set(&words.next()?)?,
                "--" if has_grace => break,
                _ => return None,
            }
        }
        let arguments: Option<Vec<CString>> = words
            .map(|word| CString::new(word.into_vec()).ok())
            .collect();
        options.arguments = arguments.filter(|arguments| !arguments.is_empty())?;
        Some(options)
    }
}

impl Limits {
    /// Takes `NAME=N`.
    fn set(&mut self, limit: &OsStr) -> Option<()> {
        let (name, value) = limit.to_str()?.split_once('=')?;
        match name {
            "as" => self.address_space = Some(value.parse().ok()?),
            "nofile" => self.open_files = Some(value.parse().ok()?),
            "nproc" => self.processes = Some(value.parse().ok()?),
            "nice" => self.nice = Some(value.parse().ok()?),
            _ => return None,
        }
        Some(())
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
        assert_eq!(options.record, None);
        assert_eq!(options.limits, Limits::default());
        for line in [
            "",
            "sh",
            "-- sh",
            "--grace-ms 250 sh",
            "--grace-ms x -- sh",
            "--grace-ms -1 -- sh",
            "--grace-ms 250 --",
            "--grace-ms 250 --record",
            "--grace-ms 250 --limit as -- sh",
            "--grace-ms 250 --limit as=-1 -- sh",
            "--grace-ms 250 --limit cpu=1 -- sh",
        ] {
            assert!(parse(line).is_none(), "{line:?}");
        }
    }

    #[test]
    fn record_and_limits_are_taken() {
        let line = "--grace-ms 1 --record /a/b.json --limit as=1 --limit nofile=2 \
                    --limit nproc=3 --limit nice=4 -- sh";
        let options = parse(line).unwrap();
        assert_eq!(options.record, Some(PathBuf::from("/a/b.json")));
        let limits = Limits {
            address_space: Some(1),
            open_files: Some(2),
            processes: Some(3),
            nice: Some(4),
        };
        assert_eq!(options.limits, limits);
    }

    #[test]
    fn a_grace_beyond_reason_is_cut() {
        assert_eq!(grace(u64::MAX), GRACE_MAX);
    }
}
