//! A program's environment: the basic variables, a fixed `PATH`, what its configuration names.
//!
//! And what leads to this install, so that a hook which an agent runs inside of a program knows its
//! own worker and stays quiet. Nothing else passes. The worker may have been started from an agent's shell, whose variables
//! hold keys, and would make an agent that a program starts believe that it runs inside another.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::wire::environment::WORKER_PATH;

const NAMES: [&str; 10] = [
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "TMPDIR",
    "SESSIOND_HOME",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
];
const PREFIX: &str = "LC_";

/// The environment of a program, from the worker's own and what is `configured` for it.
pub(super) fn environment(
    own: &[(OsString, OsString)],
    configured: &BTreeMap<String, String>,
) -> Vec<(OsString, OsString)> {
    let basic = own.iter().filter(|(name, _)| {
        let name = name.to_str();
        name.is_some_and(|name| NAMES.contains(&name) || name.starts_with(PREFIX))
    });
    let mut env: BTreeMap<OsString, OsString> = basic.cloned().collect();
    env.insert("PATH".into(), WORKER_PATH.into());
    env.extend(
        configured
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    env.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_basic_and_configured_variables_pass() {
        let own = [
            ("HOME", "/home/user"),
            ("LC_ALL", "C"),
            ("PATH", "/project/bin"),
            ("XDG_STATE_HOME", "/state"),
            ("SESSIOND_HOME", "/home/user/s"),
            ("CLAUDE_CODE_SESSION_ID", "secret"),
            ("ANTHROPIC_API_KEY", "secret"),
            ("HOMEBREW_TOKEN", "secret"),
        ]
        .map(|(name, value)| (name.into(), value.into()));
        let check = |configured: &[(&str, &str)], expected: &[(&str, &str)]| {
            let configured = configured
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let expected: Vec<(OsString, OsString)> = expected
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect();
            assert_eq!(environment(&own, &configured), expected);
        };
        let home = ("HOME", "/home/user");
        let install = [
            ("SESSIOND_HOME", "/home/user/s"),
            ("XDG_STATE_HOME", "/state"),
        ];
        check(
            &[],
            &[
                home,
                ("LC_ALL", "C"),
                ("PATH", WORKER_PATH),
                install[0],
                install[1],
            ],
        );
        check(
            &[("PATH", "/opt/bin"), ("LC_ALL", "C.UTF-8"), ("KEY", "k")],
            &[
                home,
                ("KEY", "k"),
                ("LC_ALL", "C.UTF-8"),
                ("PATH", "/opt/bin"),
                install[0],
                install[1],
            ],
        );
    }
}
