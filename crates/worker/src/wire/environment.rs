//! What a worker takes over from the environment of whoever starts it: an allow-list.
//!
//! Agents keep API keys in the environment of their hooks, and a worker outlives the agent. So
//! that it holds no secret, and behaves the same whichever agent came first, it gets these
//! variables only.

use std::ffi::{OsStr, OsString};

/// The `PATH` of a worker that a hook starts; the agent's may lead into a project.
pub const WORKER_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Marks the processes a worker runs: `<install>:<generation>:<session>:<spawn>`.
pub const TAG: &str = "SESSIOND_TAG";

/// Number of the descriptor that holds the start lock, for the worker to take over.
pub const START_LOCK_FD: &str = "SESSIOND_START_LOCK_FD";

/// Names the agent's process to a hook whose ancestors do not tell; `0`: it is not known.
pub const AGENT_PID: &str = "SESSIOND_AGENT_PID";

/// Names the agent's process; set by Claude Code for its hooks.
pub const CLAUDE_PID: &str = "CLAUDE_PID";

/// Set to `1`, hooks never start a worker.
pub const NO_START: &str = "SESSIOND_NO_START";

/// Overrides the hook's deadline, in milliseconds, for every event.
pub const HOOK_DEADLINE_MS: &str = "SESSIOND_HOOK_DEADLINE_MS";

/// Overrides the bytes that one session's spool file may have.
pub const SPOOL_SESSION_MAX_BYTES: &str = "SESSIOND_SPOOL_SESSION_MAX_BYTES";

/// Overrides the bytes that all spool files may have together.
pub const SPOOL_MAX_BYTES: &str = "SESSIOND_SPOOL_MAX_BYTES";

const NAMES: [&str; 7] = ["HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"];
const PREFIXES: [&str; 3] = ["LC_", "XDG_", "SESSIOND_"];
const NEVER: [&str; 3] = [TAG, START_LOCK_FD, AGENT_PID];

/// The variables of `vars` that a worker may have, with `path` as its `PATH`.
pub fn clean(
    vars: impl IntoIterator<Item = (OsString, OsString)>,
    path: &OsStr,
) -> Vec<(OsString, OsString)> {
    let mut kept: Vec<_> = vars
        .into_iter()
        .filter(|(name, _)| name.to_str().is_some_and(is_allowed))
        .collect();
    kept.push(("PATH".into(), path.to_owned()));
    kept
}

/// Whether a worker may have the variable of this name.
pub fn is_allowed(name: &str) -> bool {
    let listed = NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    listed && !NEVER.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_variables_and_the_given_path_pass() {
        let vars = [
            ("HOME", "/home/user"),
            ("LC_ALL", "C"),
            ("XDG_STATE_HOME", "/state"),
            ("SESSIOND_HOME", "/home/user/s"),
            ("SESSIOND_TAG", "a:1:b:c"),
            ("SESSIOND_START_LOCK_FD", "9"),
            ("SESSIOND_AGENT_PID", "9"),
            ("CLAUDE_PID", "9"),
            ("PATH", "/project/bin"),
            ("ANTHROPIC_API_KEY", "secret"),
            ("HOMEBREW_TOKEN", "secret"),
            ("LD_PRELOAD", "/evil.so"),
        ];
        let kept = clean(
            vars.map(|(name, value)| (name.into(), value.into())),
            OsStr::new(WORKER_PATH),
        );
        let names: Vec<_> = kept.iter().filter_map(|(name, _)| name.to_str()).collect();
        let wanted = ["HOME", "LC_ALL", "XDG_STATE_HOME", "SESSIOND_HOME", "PATH"];
        assert_eq!(names, wanted);
        assert_eq!(kept[4].1, WORKER_PATH);
    }
}
