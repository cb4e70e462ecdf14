//! Which generator a session gets, and what programs are allowed to use.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use sessiond_queue::types::Session;
use sessiond_supervisor::ProcessLimits;
use toml::Value;

use super::command::{self, Program};
use super::with_article;

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
    /// Address space of each process of a program; 0: no limit.
    pub memory_max_bytes: u64,
    /// Open descriptors of each; 0: no limit.
    pub open_files_max: u64,
    /// Processes and threads of the whole user; 0: no limit.
    pub processes_max: u64,
    /// Added to their niceness.
    pub nice: u32,
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
    /// In place of the section's.
    pub memory_max_bytes: Option<u64>,
    /// In place of the section's.
    pub open_files_max: Option<u64>,
    /// In place of the section's.
    pub processes_max: Option<u64>,
    /// In place of the section's.
    pub nice: Option<u32>,
}

/// The least address space that a program is started in: below it most cannot even load.
const MEMORY_MIN_BYTES: u64 = 16 << 20;
/// The least descriptors: three of its own, and some to load itself.
const OPEN_FILES_MIN: u64 = 16;
/// The greatest niceness there is.
const NICE_MAX: u64 = 19;

impl Generator {
    /// The program that works `session`; `None`: the digest does.
    pub fn program_of(&self, session: &Session) -> Option<Program> {
        let project = session.project.as_deref();
        match self
            .rule
            .iter()
            .find(|rule| rule.fits(&session.agent, project))
        {
            Some(rule) => self.program_of_rule(rule),
            None => self.program_of_section(),
        }
    }

    fn program_of_section(&self) -> Option<Program> {
        let limits = limits(
            self.memory_max_bytes,
            self.open_files_max,
            self.processes_max,
            self.nice,
        );
        command::program(&self.command, &self.name, &self.env, limits)
    }

    fn program_of_rule(&self, rule: &Rule) -> Option<Program> {
        let limits = limits(
            rule.memory_max_bytes.unwrap_or(self.memory_max_bytes),
            rule.open_files_max.unwrap_or(self.open_files_max),
            rule.processes_max.unwrap_or(self.processes_max),
            rule.nice.unwrap_or(self.nice),
        );
        command::program(&rule.command, &rule.name, &rule.env, limits)
    }

    /// The names of all programs that may work, each once, in the order of the configuration.
    pub fn program_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (_, found) in self.programs() {
            if !names.contains(&found.name) {
                names.push(found.name);
            }
        }
        names
    }

    /// The programs that may work, each with the name of the value that says so.
    pub fn programs(&self) -> Vec<(String, Program)> {
        let section = self.program_of_section();
        let section = section.map(|program| ("generator.command".to_owned(), program));
        let rules = self.rule.iter().enumerate().filter_map(|(n, rule)| {
            let program = self.program_of_rule(rule)?;
            Some((format!("generator.rule[{n}].command"), program))
        });
        section.into_iter().chain(rules).collect()
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
        section
            .or_else(|| {
                limit_problem([
                    ("generator.memory_max_bytes", Some(self.memory_max_bytes)),
                    ("generator.open_files_max", Some(self.open_files_max)),
                    ("generator.nice", Some(self.nice.into())),
                ])
            })
            .or_else(|| {
                let mut rules = self.rule.iter().enumerate();
                rules.find_map(|(n, rule)| rule.problem(&format!("generator.rule[{n}]")))
            })
            .or_else(|| self.clash())
    }

    /// Two programs of one name, which would wait for each other's provider.
    fn clash(&self) -> Option<(String, String)> {
        let programs = self.programs();
        programs
            .iter()
            .enumerate()
            .find_map(|(n, (value, program))| {
                let same = |(_, other): &&(String, Program)| {
                    other.name == program.name && other.words != program.words
                };
                let (earlier, _) = programs[..n].iter().find(same)?;
                let name = &program.name;
                let problem =
                    format!("is called {name} like {earlier}; give one of them a name of its own");
                Some((value.clone(), problem))
            })
    }
}

/// What is wrong with a value as it was given, before it is read: the name of what is in it, and
/// the problem. Of all values only those of this section have something in them.
pub(super) fn given_problem(name: &str, value: &Value) -> Option<(String, String)> {
    match (name, value) {
        ("generator.env", Value::Table(env)) => env_problem(name, env),
        ("generator.rule", Value::Array(rules)) => {
            let mut rules = rules.iter().enumerate();
            rules.find_map(|(n, rule)| given_rule_problem(&format!("{name}[{n}]"), rule))
        }
        _ => None,
    }
}

fn given_rule_problem(name: &str, rule: &Value) -> Option<(String, String)> {
    let Value::Table(rule) = rule else {
        return Some((name.to_owned(), must_be("a table", rule)));
    };
    rule.iter().find_map(|(key, value)| {
        let full = format!("{name}.{key}");
        match (key.as_str(), value) {
            ("env", Value::Table(env)) => env_problem(&full, env),
            ("env", value) => Some((full, must_be("a table", value))),
            ("agent" | "project" | "command" | "name", Value::String(_)) => None,
            ("agent" | "project" | "command" | "name", value) => {
                Some((full, must_be("a string", value)))
            }
            (
                "memory_max_bytes" | "open_files_max" | "processes_max" | "nice",
                Value::Integer(number),
            ) => (*number < 0).then(|| (full, "must not be negative".to_owned())),
            ("memory_max_bytes" | "open_files_max" | "processes_max" | "nice", value) => {
                Some((full, must_be("an integer", value)))
            }
            _ => Some((full, "is not a name it knows".to_owned())),
        }
    })
}

fn env_problem(name: &str, env: &toml::Table) -> Option<(String, String)> {
    let (key, value) = env.iter().find(|(_, value)| !value.is_str())?;
    Some((format!("{name}.{key}"), must_be("a string", value)))
}

fn must_be(wanted: &str, value: &Value) -> String {
    format!("must be {wanted}, not {}", with_article(value))
}

fn problem_of(
    name: &str,
    command: &str,
    env: &BTreeMap<String, String>,
) -> Option<(String, String)> {
    if let Some(problem) = command::problem(command) {
        return Some((format!("{name}.command"), problem.to_owned()));
    }
    let reserved = |name: &&String| {
        name.is_empty() || name.contains(['=', '\0']) || name.starts_with("SESSIOND_")
    };
    let variable = env.keys().find(reserved)?;
    Some((format!("{name}.env"), format!("may not set {variable:?}")))
}

/// Limits as a program gets them: 0 is none.
fn limits(memory: u64, open_files: u64, processes: u64, nice: u32) -> ProcessLimits {
    let limit = |value: u64| (value > 0).then_some(value);
    ProcessLimits {
        memory_max_bytes: limit(memory),
        open_files_max: limit(open_files),
        processes_max: limit(processes),
        nice: i32::try_from(nice).ok().filter(|nice| *nice > 0),
    }
}

/// What is wrong with limits, given as address space, descriptors and niceness with their names.
fn limit_problem(given: [(&str, Option<u64>); 3]) -> Option<(String, String)> {
    let [memory, open_files, nice] = given;
    let too_small = |(name, value): (&str, Option<u64>), min: u64| {
        let is_wrong = value.is_some_and(|value| (1..min).contains(&value));
        let problem = || format!("must be 0, which is no limit, or at least {min}");
        is_wrong.then(|| (name.to_owned(), problem()))
    };
    too_small(memory, MEMORY_MIN_BYTES)
        .or_else(|| too_small(open_files, OPEN_FILES_MIN))
        .or_else(|| {
            let (name, value) = nice;
            let is_wrong = value.is_some_and(|value| value > NICE_MAX);
            is_wrong.then(|| (name.to_owned(), format!("must be at most {NICE_MAX}")))
        })
}

impl Rule {
    fn problem(&self, name: &str) -> Option<(String, String)> {
        if self.agent.is_none() && self.project.is_none() {
            let problem = "names neither agent nor project, so that it would be for every session; \
                           use [generator] for that";
            return Some((name.to_owned(), problem.to_owned()));
        }
        let project = self.project.as_deref();
        if project.is_some_and(|project| !Path::new(project).is_absolute()) {
            let problem = "must be an absolute path; ~ and variables are not expanded";
            return Some((format!("{name}.project"), problem.to_owned()));
        }
        problem_of(name, &self.command, &self.env).or_else(|| {
            limit_problem([
                (&format!("{name}.memory_max_bytes"), self.memory_max_bytes),
                (&format!("{name}.open_files_max"), self.open_files_max),
                (&format!("{name}.nice"), self.nice.map(u64::from)),
            ])
        })
    }

    fn fits(&self, agent: &str, project: Option<&str>) -> bool {
        let agent_fits = self.agent.as_deref().is_none_or(|wanted| wanted == agent);
        let project_fits = self.project.as_deref().is_none_or(|wanted| {
            project.is_some_and(|project| Path::new(project).starts_with(wanted))
        });
        agent_fits && project_fits
    }
}

/// `[supervisor]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervisor {
    /// From SIGTERM to SIGKILL.
    pub grace_ms: u64,
    /// Size at which a file of a child's output is put aside.
    pub output_file_max_bytes: u64,
    /// Children that may be there at once, those that are being ended too.
    pub children_max: usize,
    /// Children that may be started within a second; later ones wait.
    pub spawns_per_s_max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_fits_its_agent_and_its_project_and_those_below() {
        let rule = |agent: Option<&str>, project: Option<&str>| Rule {
            agent: agent.map(str::to_owned),
            project: project.map(str::to_owned),
            command: String::new(),
            name: String::new(),
            env: BTreeMap::new(),
            memory_max_bytes: None,
            open_files_max: None,
            processes_max: None,
            nice: None,
        };
        assert!(rule(None, None).fits("codex", None));
        assert!(rule(Some("codex"), None).fits("codex", Some("/a")));
        assert!(!rule(Some("codex"), None).fits("claude-code", Some("/a")));
        assert!(rule(None, Some("/a/b")).fits("codex", Some("/a/b/c")));
        assert!(!rule(None, Some("/a/b")).fits("codex", Some("/a/bc")));
        assert!(!rule(None, Some("/a/b")).fits("codex", None));
    }
}
