//! What can be configured, read from flags, environment, file and the embedded defaults.
//!
//! `default-config.toml` is the manual: it names every value. What a value means to a part is that
//! part's business; here it is found, typed and checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sessiond_queue::limits::Limits;
use toml::{Table, Value};

/// The defaults, with their explanations.
pub const DEFAULT_CONFIG: &str = include_str!("default-config.toml");

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
    /// Deliberate slowness and failure.
    pub rehearsal: Rehearsal,
    /// The log.
    pub log: Log,
}

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Loopback port; 0: any.
    pub port: u16,
    /// Whether to listen on TCP.
    pub tcp: bool,
    /// Largest body outside hooks.
    pub body_max_bytes: usize,
}

/// `[queue]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Bytes of one payload.
    pub payload_max_bytes: usize,
    /// Pending messages of one session.
    pub session_depth_max: i64,
    /// Pending messages in all.
    pub depth_max: i64,
    /// Attempts before a message is dead.
    pub attempt_max: u32,
    /// Rescues before a message is dead.
    pub rescue_max: u32,
    /// First backoff.
    pub backoff_base_ms: u64,
    /// Longest backoff.
    pub backoff_cap_ms: u64,
    /// SQLite's wait for a lock.
    pub busy_timeout_ms: u64,
}

/// `[session]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Idle time before a session leaves memory.
    pub idle_unload_ms: u64,
    /// Idle time before a generator ends.
    pub generator_idle_end_ms: u64,
    /// Wait for a generator at close.
    pub generator_stop_wait_ms: u64,
    /// Longest drain.
    pub drain_max_ms: u64,
    /// Longest shutdown.
    pub shutdown_deadline_ms: u64,
}

/// `[hook]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Characters of context.
    pub context_max_chars: usize,
    /// Wait for a closing sibling.
    pub context_wait_ms: u64,
    /// Largest event read.
    pub body_max_bytes: usize,
}

/// `[rehearsal]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// Delay of each message.
    pub delay_ms: u64,
    /// Kind that fails; empty: none.
    pub fail_kind: String,
    /// How it fails.
    pub fail_class: FailClass,
    /// The step of a close at which the worker kills itself; empty: none.
    pub kill_at: String,
}

/// How a rehearsed failure fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailClass {
    /// The attempt failed.
    Retry,
    /// The message is dead.
    Poison,
    /// The provider is away.
    Unavailable,
    /// The generator panics.
    Panic,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A tracing filter.
    pub filter: String,
    /// Files kept.
    pub files_max: usize,
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
    /// Reads `file` if it exists, then the environment as `var` answers it, over the defaults.
    pub fn load(file: &Path, var: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut table = defaults();
        match std::fs::read_to_string(file) {
            Ok(text) => {
                let given: Table = text.parse().map_err(|source| ConfigError::Parse {
                    path: file.to_owned(),
                    source: Box::new(source),
                })?;
                overlay(&mut table, given, &file.display().to_string())?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ConfigError::Read {
                    path: file.to_owned(),
                    source,
                });
            }
        }
        overlay_environment(&mut table, var)?;
        let config: Self =
            table
                .try_into()
                .map_err(|source: toml::de::Error| ConfigError::Invalid {
                    origin: "given".to_owned(),
                    name: "a value".to_owned(),
                    problem: source.message().to_owned(),
                })?;
        config.check()?;
        Ok(config)
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

    fn check(&self) -> Result<(), ConfigError> {
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
            ("http.body_max_bytes", self.http.body_max_bytes as u64),
            ("hook.body_max_bytes", self.hook.body_max_bytes as u64),
            ("log.files_max", self.log.files_max as u64),
        ];
        for (name, value) in at_least_one {
            if value == 0 {
                return Err(invalid("given", name, "must be at least 1"));
            }
        }
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

fn overlay(table: &mut Table, given: Table, origin: &str) -> Result<(), ConfigError> {
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
            if !slot.same_type(&value) {
                let problem = format!("must be a {}, not a {}", slot.type_str(), value.type_str());
                return Err(invalid(origin, &full, &problem));
            }
            check_value(&full, &value, origin)?;
            *slot = value;
        }
    }
    Ok(())
}

fn overlay_environment(
    table: &mut Table,
    var: impl Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    for (section, values) in table.iter_mut() {
        let Value::Table(values) = values else {
            continue;
        };
        for (name, slot) in values.iter_mut() {
            let variable = format!(
                "SESSIOND_{}_{}",
                section.to_uppercase(),
                name.to_uppercase()
            );
            let Some(text) = var(&variable) else { continue };
            let value = match slot {
                Value::Integer(_) => text.parse().ok().map(Value::Integer),
                Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
                _ => Some(Value::String(text)),
            };
            let full = format!("{section}.{name}");
            let value = value.ok_or_else(|| {
                invalid(&variable, &full, &format!("must be a {}", slot.type_str()))
            })?;
            check_value(&full, &value, &variable)?;
            *slot = value;
        }
    }
    Ok(())
}

/// What the types cannot say, checked where the origin is still known.
fn check_value(name: &str, value: &Value, origin: &str) -> Result<(), ConfigError> {
    match value {
        Value::Integer(number) if *number < 0 => Err(invalid(origin, name, "must not be negative")),
        Value::Integer(number) if name == "http.port" && *number > 65_535 => {
            Err(invalid(origin, name, "must be at most 65535"))
        }
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
            if name == "rehearsal.kill_at"
                && !["", "marked", "stopped", "purged", "forgotten"].contains(&text.as_str()) =>
        {
            Err(invalid(
                origin,
                name,
                "must be empty, marked, stopped, purged or forgotten",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, vars: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text).expect("a file");
        let var = |name: &str| {
            vars.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::load(&file, var).map_err(|error| error.to_string())
    }

    #[test]
    fn environment_goes_before_file_and_file_before_default() {
        let text = "[http]\nport = 1\n[queue]\nattempt_max = 2\n";
        let config = load(text, &[("SESSIOND_HTTP_PORT", "2")]).expect("a configuration");
        assert_eq!(config.http.port, 2);
        assert_eq!(config.queue.attempt_max, 2);
        assert_eq!(config.queue.rescue_max, Config::default().queue.rescue_max);
    }

    #[test]
    fn bad_values_name_the_field_and_its_limit() {
        let cases: [(&str, &str); 6] = [
            ("[http]\nprot = 1\n", "http.prot"),
            ("[http]\nport = 70000\n", "at most 65535"),
            ("[http]\nport = \"x\"\n", "http.port must be a integer"),
            (
                "[queue]\nattempt_max = 0\n",
                "queue.attempt_max must be at least 1",
            ),
            ("[queue]\nattempt_max = -1\n", "must not be negative"),
            ("[rehearsal]\nfail_class = \"x\"\n", "retry, poison"),
        ];
        for (text, wanted) in cases {
            let error = load(text, &[]).expect_err(text);
            assert!(error.contains(wanted), "{error:?} lacks {wanted:?}");
        }
        let error = load("", &[("SESSIOND_HTTP_PORT", "x")]).expect_err("not a number");
        assert!(error.contains("SESSIOND_HTTP_PORT"), "{error}");
    }

    #[test]
    fn defaults_are_those_of_the_queue() {
        assert_eq!(Config::default().limits(), Limits::default());
    }
}
