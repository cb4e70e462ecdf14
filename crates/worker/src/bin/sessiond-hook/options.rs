//! The command line. What it does not know it ignores: a hook must not fail on a flag of tomorrow.

use std::ffi::OsString;

use crate::wire::limits::AGENT_MAX_BYTES;

const DEFAULT_AGENT: &str = "claude-code";

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Hand the event on standard input over.
    HandOver,
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Start a detached worker, and nothing else. For `sessiond start`, not for people.
    StartWorker,
}

/// The command line, read.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) action: Action,
    /// Whose hook this is: one line, at most [`AGENT_MAX_BYTES`].
    pub(crate) agent: String,
}

impl Options {
    pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Self {
        let mut options = Self {
            action: Action::HandOver,
            agent: DEFAULT_AGENT.to_owned(),
        };
        let mut args = args.map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--help" | "-h" => options.action = Action::Help,
                "--version" | "-V" => options.action = Action::Version,
                "--start-worker" => options.action = Action::StartWorker,
                "--agent" => options.name_agent(&args.next().unwrap_or_default()),
                _ => {
                    if let Some(name) = arg.strip_prefix("--agent=") {
                        options.name_agent(name);
                    }
                }
            }
        }
        options
    }

    /// The name goes into a header line and a path, so it keeps no control characters.
    fn name_agent(&mut self, name: &str) {
        let end = name.floor_char_boundary(AGENT_MAX_BYTES);
        let name = name[..end].replace(char::is_control, "_");
        if !name.is_empty() {
            self.agent = name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Options {
        Options::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn agent_is_taken_in_both_spellings() {
        assert_eq!(parse(&[]).agent, "claude-code");
        assert_eq!(parse(&["--agent", "codex"]).agent, "codex");
        assert_eq!(parse(&["--agent=codex"]).agent, "codex");
    }

    #[test]
    fn unusable_arguments_change_nothing() {
        let options = parse(&["--frobnicate", "x", "--agent"]);
        assert_eq!(options.action, Action::HandOver);
        assert_eq!(options.agent, "claude-code");
        assert_eq!(parse(&["--agent", "a\nevent: b"]).agent, "a_event: b");
        assert_eq!(parse(&["--agent", &"é".repeat(999)]).agent.len(), 512);
    }
}
