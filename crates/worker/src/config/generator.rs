//! Which generator a session gets, and what programs are allowed to use.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use sessiond_queue::types::Session;

/// `[generator]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// Command line of the program; empty: the built-in digest.
    pub command: String,
    /// What it is called; empty: the program's file name.
    pub name: String,
    /// Its environment besides the basic variables.
    pub env: BTreeMap<String, String>,
    /// Exceptions; the first that fits counts.
    pub rule: Vec<Rule>,
    /// Programs that run at once.
    pub generators_max: usize,
    /// From its start to `ready`.
    pub ready_timeout_ms: u64,
    /// Longest silence over a message.
    pub progress_timeout_ms: u64,
    /// Bytes of one line of the protocol.
    pub line_max_bytes: usize,
    /// Starts that may fail within the window before a session is failing.
    pub restart_max: usize,
    /// That window.
    pub restart_window_ms: u64,
    /// How long a session with work keeps a slot that others wait for.
    pub turn_ms: u64,
    /// First wait of a breaker.
    pub breaker_base_ms: u64,
    /// Longest wait of a breaker.
    pub breaker_cap_ms: u64,
    /// What one session may cost; 0: anything.
    pub budget_session_usd: f64,
    /// Tokens one session may use; 0: any number.
    pub budget_session_tokens: i64,
    /// What all sessions may cost in a day (UTC); 0: anything.
    pub budget_day_usd: f64,
    /// Tokens all sessions may use in a day (UTC); 0: any number.
    pub budget_day_tokens: i64,
}

/// `[[generator.rule]]`: another generator for some sessions.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only sessions of this agent.
    pub agent: Option<String>,
    /// Only sessions whose project is this directory or lies below it.
    pub project: Option<String>,
    /// As in the section.
    #[serde(default)]
    pub command: String,
    /// As in the section.
    #[serde(default)]
    pub name: String,
    /// In place of the section's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// A program as a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What it is called.
    pub name: String,
    /// Program and arguments; never empty.
    pub words: Vec<String>,
    /// Its environment besides the basic variables.
    pub env: BTreeMap<String, String>,
}

/// Programs whose first argument says what they are, without version numbers.
const INTERPRETERS: [&str; 12] = [
    "bash", "bun", "deno", "env", "node", "perl", "php", "python", "ruby", "sh", "uv", "zsh",
];

impl Generator {
    /// The program that works `session`; `None`: the digest does.
    pub fn program_of(&self, session: &Session) -> Option<Program> {
        let project = session.project.as_deref();
        match self
            .rule
            .iter()
            .find(|rule| rule.fits(&session.agent, project))
        {
            Some(rule) => program(&rule.command, &rule.name, &rule.env),
            None => program(&self.command, &self.name, &self.env),
        }
    }

    /// The names of all programs that may work, each once, in the order of the configuration.
    pub fn program_names(&self) -> Vec<String> {
        let rules = self.rule.iter();
        let rules = rules.filter_map(|rule| program(&rule.command, &rule.name, &rule.env));
        let mut names = Vec::new();
        for found in program(&self.command, &self.name, &self.env)
            .into_iter()
            .chain(rules)
        {
            if !names.contains(&found.name) {
                names.push(found.name);
            }
        }
        names
    }

    /// Whether there is any program at all.
    pub fn has_programs(&self) -> bool {
        !self.command.is_empty() || self.rule.iter().any(|rule| !rule.command.is_empty())
    }

    /// Whether anything is limited, so that spending has to be looked up.
    pub fn has_budget(&self) -> bool {
        self.budget_session_usd > 0.0
            || self.budget_session_tokens > 0
            || self.budget_day_usd > 0.0
            || self.budget_day_tokens > 0
    }

    /// What is wrong with it: the name of the value, and the problem.
    pub(super) fn problem(&self) -> Option<(String, String)> {
        let section = problem_of("generator", &self.command, &self.env);
        section.or_else(|| {
            let mut rules = self.rule.iter().enumerate();
            rules.find_map(|(n, rule)| rule.problem(&format!("generator.rule[{n}]")))
        })
    }
}

fn problem_of(
    name: &str,
    command: &str,
    env: &BTreeMap<String, String>,
) -> Option<(String, String)> {
    if !command.is_empty() && words(command).is_none() {
        let problem = "is not a command line: a quote is not closed, or it has no word";
        return Some((format!("{name}.command"), problem.to_owned()));
    }
    let reserved = |name: &&String| {
        name.is_empty() || name.contains(['=', '\0']) || name.starts_with("SESSIOND_")
    };
    let variable = env.keys().find(reserved)?;
    Some((format!("{name}.env"), format!("may not set {variable:?}")))
}

impl Rule {
    fn problem(&self, name: &str) -> Option<(String, String)> {
        let project = self.project.as_deref();
        if project.is_some_and(|project| !Path::new(project).is_absolute()) {
            let problem = "must be an absolute path; ~ and variables are not expanded";
            return Some((format!("{name}.project"), problem.to_owned()));
        }
        problem_of(name, &self.command, &self.env)
    }

    fn fits(&self, agent: &str, project: Option<&str>) -> bool {
        let agent_fits = self.agent.as_deref().is_none_or(|wanted| wanted == agent);
        let project_fits = self.project.as_deref().is_none_or(|wanted| {
            project.is_some_and(|project| Path::new(project).starts_with(wanted))
        });
        agent_fits && project_fits
    }
}

fn program(command: &str, name: &str, env: &BTreeMap<String, String>) -> Option<Program> {
    let words = words(command)?;
    let name = match name {
        "" => name_of(&words),
        name => name.to_owned(),
    };
    Some(Program {
        name,
        words,
        env: env.clone(),
    })
}

/// The file name of the program, or of the script that an interpreter is given.
fn name_of(words: &[String]) -> String {
    let file_name = |word: &String| {
        let name = Path::new(word).file_name();
        name.map_or_else(|| word.clone(), |name| name.to_string_lossy().into_owned())
    };
    let program = file_name(&words[0]);
    let bare = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if !INTERPRETERS.contains(&bare) {
        return program;
    }
    let script = words[1..].iter().find(|word| !word.starts_with('-'));
    script.map_or(program, file_name)
}

/// Split as a shell does, without any expansion.
fn words(command: &str) -> Option<Vec<String>> {
    shlex::split(command).filter(|words| !words.is_empty())
}

/// `[supervisor]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervisor {
    /// From SIGTERM to SIGKILL.
    pub grace_ms: u64,
    /// Size at which a file of a child's output is put aside.
    pub output_file_max_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_called_by_its_file_or_by_the_script_it_interprets() {
        let check = |command: &str, expected: &str| {
            let found = program(command, "", &BTreeMap::new()).map(|program| program.name);
            assert_eq!(found.as_deref(), Some(expected), "{command}");
        };
        check("/opt/notes --model small", "notes");
        check("python3 -u '/home/me/my notes.py' x", "my notes.py");
        check("/usr/bin/python3.12 /a/b.py", "b.py");
        check("env python3 b.py", "python3");
        check("node", "node");
        check("python3 -", "python3");
        check("shell-notes a", "shell-notes");
        let named = program("python3 a.py", "mine", &BTreeMap::new());
        assert_eq!(named.map(|program| program.name).as_deref(), Some("mine"));
        assert_eq!(program("", "mine", &BTreeMap::new()), None);
    }

    #[test]
    fn rule_fits_its_agent_and_its_project_and_those_below() {
        let rule = |agent: Option<&str>, project: Option<&str>| Rule {
            agent: agent.map(str::to_owned),
            project: project.map(str::to_owned),
            command: String::new(),
            name: String::new(),
            env: BTreeMap::new(),
        };
        assert!(rule(None, None).fits("codex", None));
        assert!(rule(Some("codex"), None).fits("codex", Some("/a")));
        assert!(!rule(Some("codex"), None).fits("claude-code", Some("/a")));
        assert!(rule(None, Some("/a/b")).fits("codex", Some("/a/b/c")));
        assert!(!rule(None, Some("/a/b")).fits("codex", Some("/a/bc")));
        assert!(!rule(None, Some("/a/b")).fits("codex", None));
    }
}
