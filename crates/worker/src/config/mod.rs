//! What can be configured, read from flags, environment, file and the embedded defaults.
//!
//! `default-config.toml` is the manual: it names every value. What a value means to a part is that
//! part's business; here it is found, typed and checked.

mod command;
mod generator;
mod sections;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sessiond_queue::limits::Limits;
use sessiond_queue::types::Retention;
use toml::{Table, Value};
use tracing_subscriber::EnvFilter;

pub use self::command::Program;
pub use self::generator::{Generator, Rule, Supervisor};
pub use self::sections::{
    Clients, Events, FailClass, Hook, Http, Log, Queue, Rehearsal, Session, Worktrees,
};

/// The defaults, with their explanations.
pub const DEFAULT_CONFIG: &str = include_str!("default-config.toml");

/// Room for the heads of hooks: the name of an agent, a token and a handful of short headers.
const HEAD_MAX_LEAST_BYTES: usize = 8192;

/// Every configured value.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The API's listeners.
    pub http: Http,
    /// The queue's limits and backoff.
    pub queue: Queue,
    /// Lifetimes of sessions and generators.
    pub session: Session,
    /// What hooks are answered.
    pub hook: Hook,
    /// Registered processes and connections.
    pub clients: Clients,
    /// What works the messages.
    pub generator: Generator,
    /// How programs are ended.
    pub supervisor: Supervisor,
    /// How much is kept of what happens, and for how many readers.
    pub events: Events,
    /// Sessions' git worktrees.
    pub worktrees: Worktrees,
    /// Deliberate slowness and failure.
    pub rehearsal: Rehearsal,
    /// The log.
    pub log: Log,
}

/// The configuration could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("parse the configuration {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A name is not known.
    #[error("use the configuration {origin}: {name} is not a name it knows")]
    UnknownName {
        /// The file or variable.
        origin: String,
        /// The name.
        name: String,
    },
    /// A value is not of its type or outside its bounds.
    #[error("use the configuration {origin}: {name} {problem}")]
    Invalid {
        /// The file or variable.
        origin: String,
        /// The name.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

impl Config {
    /// Reads `file` if it exists, then the variables of the environment, over the defaults.
    pub fn load(
        file: &Path,
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = defaults();
        let mut origins = Origins::new();
        match std::fs::read_to_string(file) {
            Ok(text) => {
                let given: Table = text.parse().map_err(|source| ConfigError::Parse {
                    path: file.to_owned(),
                    source: Box::new(source),
                })?;
                overlay(&mut table, given, &file.display().to_string(), &mut origins)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ConfigError::Read {
                    path: file.to_owned(),
                    source,
                });
            }
        }
        overlay_environment(&mut table, vars, &mut origins)?;
        let config: Self =
            table
                .try_into()
                .map_err(|source: toml::de::Error| ConfigError::Invalid {
                    origin: file.display().to_string(),
                    name: "a value".to_owned(),
                    problem: source.message().to_owned(),
                })?;
        config.check(&origins)?;
        Ok(config)
    }

    /// The environment of this process, for [`Config::load`].
    pub fn variables() -> impl Iterator<Item = (String, String)> {
        // A name or value that is not text is none of ours.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
    }

    /// The queue's bounds.
    pub fn limits(&self) -> Limits {
        Limits {
            payload_max_bytes: self.queue.payload_max_bytes,
            session_depth_max: self.queue.session_depth_max,
            depth_max: self.queue.depth_max,
            attempt_max: self.queue.attempt_max,
            rescue_max: self.queue.rescue_max,
            busy_timeout: Duration::from_millis(self.queue.busy_timeout_ms),
            ..Limits::default()
        }
    }

    /// What is kept of finished messages.
    pub fn retention(&self) -> Retention {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let age = |days: u32| (days > 0).then(|| DAY * days);
        let most = |most: u32| (most > 0).then_some(i64::from(most));
        Retention {
            done_age: age(self.queue.done_kept_days),
            done_max: most(self.queue.done_kept_max),
            dead_age: age(self.queue.dead_kept_days),
            dead_max: most(self.queue.dead_kept_max),
        }
    }

    fn check(&self, origins: &Origins) -> Result<(), ConfigError> {
        let invalid = |name: &str, problem: &str| {
            // The defaults are sound, so whatever is not was given somewhere.
            // `generator.rule[0].project` was given with `generator.rule`.
            let depth = name
                .match_indices(['.', '['])
                .nth(1)
                .map_or(name.len(), |(at, _)| at);
            let origin = origins.get(&name[..depth]).map_or("given", String::as_str);
            invalid(origin, name, problem)
        };
        let at_least_one = [
            (
                "queue.payload_max_bytes",
                self.queue.payload_max_bytes as u64,
            ),
            (
                "queue.session_depth_max",
                u64::try_from(self.queue.session_depth_max).unwrap_or(0),
            ),
            (
                "queue.depth_max",
                u64::try_from(self.queue.depth_max).unwrap_or(0),
            ),
            ("queue.attempt_max", u64::from(self.queue.attempt_max)),
            ("queue.rescue_max", u64::from(self.queue.rescue_max)),
            ("queue.backoff_base_ms", self.queue.backoff_base_ms),
            ("session.idle_unload_ms", self.session.idle_unload_ms),
            (
                "session.generator_idle_end_ms",
                self.session.generator_idle_end_ms,
            ),
            (
                "session.shutdown_deadline_ms",
                self.session.shutdown_deadline_ms,
            ),
            (
                "generator.generators_max",
                self.generator.generators_max as u64,
            ),
            (
                "generator.ready_timeout_ms",
                self.generator.ready_timeout_ms,
            ),
            (
                "generator.progress_timeout_ms",
                self.generator.progress_timeout_ms,
            ),
            (
                "generator.line_max_bytes",
                self.generator.line_max_bytes as u64,
            ),
            ("generator.breaker_base_ms", self.generator.breaker_base_ms),
            (
                "supervisor.children_max",
                self.supervisor.children_max as u64,
            ),
            (
                "supervisor.spawns_per_s_max",
                u64::from(self.supervisor.spawns_per_s_max),
            ),
            (
                "supervisor.output_file_max_bytes",
                self.supervisor.output_file_max_bytes,
            ),
            ("events.memory_max", self.events.memory_max as u64),
            ("events.kept_max", u64::from(self.events.kept_max)),
            ("events.readers_max", self.events.readers_max as u64),
            ("events.heartbeat_ms", self.events.heartbeat_ms),
            ("http.body_max_bytes", self.http.body_max_bytes as u64),
            ("http.head_timeout_ms", self.http.head_timeout_ms),
            ("http.body_pause_max_ms", self.http.body_pause_max_ms),
            ("http.body_timeout_ms", self.http.body_timeout_ms),
            ("http.answer_pause_max_ms", self.http.answer_pause_max_ms),
            (
                "http.tcp_connections_max",
                self.http.tcp_connections_max as u64,
            ),
            (
                "http.unix_connections_max",
                self.http.unix_connections_max as u64,
            ),
            ("hook.body_max_bytes", self.hook.body_max_bytes as u64),
            ("clients.ttl_ms", self.clients.ttl_ms),
            ("clients.token_ttl_ms", self.clients.token_ttl_ms),
            ("clients.clients_max", self.clients.clients_max as u64),
            ("log.files_max", self.log.files_max as u64),
            ("worktrees.git_timeout_ms", self.worktrees.git_timeout_ms),
            (
                "worktrees.settle_timeout_ms",
                self.worktrees.settle_timeout_ms,
            ),
        ];
        for (name, value) in at_least_one {
            if value == 0 {
                return Err(invalid(name, "must be at least 1"));
            }
        }
        let (children, generators) = (self.supervisor.children_max, self.generator.generators_max);
        if children < generators {
            // Whichever of the two was given is the one to be mended.
            let (name, problem) = match origins.contains_key("supervisor.children_max") {
                true => (
                    "supervisor.children_max",
                    format!("must be at least generator.generators_max, which is {generators}"),
                ),
                false => (
                    "generator.generators_max",
                    format!("must be at most supervisor.children_max, which is {children}"),
                ),
            };
            return Err(invalid(name, &problem));
        }
        let root = &self.worktrees.root;
        if !root.is_empty() && !Path::new(root).is_absolute() {
            return Err(invalid(
                "worktrees.root",
                "must be an absolute path, or empty",
            ));
        }
        if self.worktrees.git.is_empty() {
            return Err(invalid("worktrees.git", "must not be empty"));
        }
        if self.http.head_max_bytes < HEAD_MAX_LEAST_BYTES {
            let problem = format!("must be at least {HEAD_MAX_LEAST_BYTES}");
            return Err(invalid("http.head_max_bytes", &problem));
        }
        if let Some((name, problem)) = self.generator.problem() {
            return Err(invalid(&name, &problem));
        }
        EnvFilter::try_new(&self.log.filter)
            .map_err(|error| invalid("log.filter", &format!("is not a filter: {error}")))?;
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        defaults()
            .try_into()
            .expect("the embedded defaults have every name")
    }
}

fn defaults() -> Table {
    DEFAULT_CONFIG
        .parse()
        .expect("the embedded defaults are TOML")
}

/// Where each value that is not the default's came from: the file or the variable, by full name.
type Origins = HashMap<String, String>;

fn overlay(
    table: &mut Table,
    given: Table,
    origin: &str,
    origins: &mut Origins,
) -> Result<(), ConfigError> {
    for (section, values) in given {
        let Value::Table(values) = values else {
            return Err(invalid(origin, &section, "must be a section"));
        };
        for (name, value) in values {
            let full = format!("{section}.{name}");
            let slot = table
                .get_mut(&section)
                .and_then(|known| known.get_mut(&name))
                .ok_or_else(|| ConfigError::UnknownName {
                    origin: origin.to_owned(),
                    name: full.clone(),
                })?;
            let value = as_float(slot, value);
            if !slot.same_type(&value) {
                let problem = format!(
                    "must be {}, not {}",
                    with_article(slot),
                    with_article(&value)
                );
                return Err(invalid(origin, &full, &problem));
            }
            check_value(&full, &value, origin)?;
            if let Some((name, problem)) = generator::given_problem(&full, &value) {
                return Err(invalid(origin, &name, &problem));
            }
            *slot = value;
            origins.insert(full, origin.to_owned());
        }
    }
    Ok(())
}

fn overlay_environment(
    table: &mut Table,
    vars: impl IntoIterator<Item = (String, String)>,
    origins: &mut Origins,
) -> Result<(), ConfigError> {
    for (variable, text) in vars {
        let Some((section, name)) = section_and_name(&variable, table) else {
            continue;
        };
        let full = format!("{section}.{name}");
        let Some(slot) = table[&section].get_mut(&name) else {
            if section == HOOK_SECTION {
                continue;
            }
            return Err(ConfigError::UnknownName {
                origin: variable,
                name: full,
            });
        };
        let value = match slot {
            Value::Integer(_) => text.parse().ok().map(Value::Integer),
            Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
            Value::Float(_) => text.parse().ok().map(Value::Float),
            Value::Array(_) | Value::Table(_) => None,
            _ => Some(Value::String(text)),
        };
        let value = value.ok_or_else(|| {
            let problem = match slot {
                Value::Array(_) | Value::Table(_) => {
                    "can be set in the configuration file only".to_owned()
                }
                _ => format!("must be {}", with_article(slot)),
            };
            invalid(&variable, &full, &problem)
        })?;
        check_value(&full, &value, &variable)?;
        *slot = value;
        origins.insert(full, variable);
    }
    Ok(())
}

/// The steps at which a rehearsal kills the worker: of a close, and of a worktree's life.
const KILL_STEPS: [&str; 10] = [
    "",
    "marked",
    "stopped",
    "purged",
    "forgotten",
    "settled",
    "worktree_intended",
    "worktree_made",
    "worktree_leaving",
    "worktree_gone",
];

/// `5` where `5.0` is meant.
fn as_float(slot: &Value, value: Value) -> Value {
    match (slot, value) {
        (Value::Float(_), Value::Integer(number)) => Value::Float(number as f64),
        (_, value) => value,
    }
}

/// The hook client has variables of its own under this section's name.
const HOOK_SECTION: &str = "hook";

/// The short name of `SESSIOND_LOG_FILTER`, as programs with such a filter usually have one.
const LOG: &str = "SESSIOND_LOG";

/// `SESSIOND_SECTION_NAME` taken apart; `None`: it names none of our sections.
fn section_and_name(variable: &str, table: &Table) -> Option<(String, String)> {
    if variable == LOG {
        return Some(("log".to_owned(), "filter".to_owned()));
    }
    let rest = variable.strip_prefix("SESSIOND_")?;
    table.keys().find_map(|section| {
        let name = rest
            .strip_prefix(&section.to_uppercase())?
            .strip_prefix('_')?;
        Some((section.clone(), name.to_lowercase()))
    })
}

/// What kind of value it is: `an integer`.
fn with_article(value: &Value) -> String {
    let word = value.type_str();
    let article = if word.starts_with(['a', 'e', 'i', 'o']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {word}")
}

/// What the types cannot say, checked where the origin is still known.
fn check_value(name: &str, value: &Value, origin: &str) -> Result<(), ConfigError> {
    match value {
        Value::Integer(number) if *number < 0 => Err(invalid(origin, name, "must not be negative")),
        Value::Float(number) if !number.is_finite() || *number < 0.0 => {
            Err(invalid(origin, name, "must not be negative"))
        }
        Value::Integer(number) if name == "http.port" && *number > 65_535 => {
            Err(invalid(origin, name, "must be at most 65535"))
        }
        // The one value that may well be larger.
        Value::Integer(_) if name == "generator.memory_max_bytes" => Ok(()),
        Value::Integer(number) if *number > i64::from(u32::MAX) => {
            Err(invalid(origin, name, "must be at most 4294967295"))
        }
        Value::String(text)
            if name == "rehearsal.fail_class"
                && !["retry", "poison", "unavailable", "panic"].contains(&text.as_str()) =>
        {
            Err(invalid(
                origin,
                name,
                "must be retry, poison, unavailable or panic",
            ))
        }
        Value::String(text)
            if name == "rehearsal.kill_at" && !KILL_STEPS.contains(&text.as_str()) =>
        {
            let steps = KILL_STEPS[1..].join(", ");
            Err(invalid(
                origin,
                name,
                &format!("must be empty or one of: {steps}"),
            ))
        }
        _ => Ok(()),
    }
}

fn invalid(origin: &str, name: &str, problem: &str) -> ConfigError {
    ConfigError::Invalid {
        origin: origin.to_owned(),
        name: name.to_owned(),
        problem: problem.to_owned(),
    }
}
