//! What does not belong into the worker's environment: agents' variables and secrets.

use crate::wire::environment::is_allowed;

/// Beginnings of the agents' own variables.
const AGENT_PREFIXES: [&str; 8] = [
    "CLAUDE",
    "CODEX_",
    "GEMINI_",
    "CURSOR_",
    "COPILOT_",
    "ANTHROPIC_",
    "OPENAI_",
    "GOOGLE_",
];

/// Parts of a name that mark a secret.
const SECRET_PARTS: [&str; 6] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "CREDENTIAL",
    "API_KEY",
];

/// Of the given names those that leaked in, sorted.
pub fn leaks(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_leak = |name: &String| {
        let upper = name.to_uppercase();
        !is_allowed(name)
            && (AGENT_PREFIXES
                .iter()
                .any(|prefix| upper.starts_with(prefix))
                || SECRET_PARTS.iter().any(|part| upper.contains(part)))
    };
    let mut leaks: Vec<String> = names.into_iter().filter(is_leak).collect();
    leaks.sort();
    leaks
}

#[cfg(test)]
mod tests {
    use super::leaks;

    #[test]
    fn agent_variables_and_secrets_are_leaks_and_the_rest_is_not() {
        let names = [
            "CLAUDE_PID",
            "MY_API_KEY",
            "GH_TOKEN",
            "PATH",
            "HOME",
            "EDITOR",
            "SESSIOND_HOME",
        ];
        let found = leaks(names.map(str::to_owned));
        assert_eq!(found, ["CLAUDE_PID", "GH_TOKEN", "MY_API_KEY"]);
    }
}
