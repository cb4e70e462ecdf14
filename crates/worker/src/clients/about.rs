//! What a client says of itself, and how much it may say.

use serde_json::{Map, Value};
use sessiond_queue::limits::PATH_MAX_BYTES;

use super::limits::{GROUPS_MAX, METADATA_MAX_BYTES, NAME_MAX_BYTES, WORD_MAX_BYTES};

/// What a client says of itself.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// What it is called.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Where it works.
    pub cwd: Option<String>,
    /// Root of the project it works in; `None`: that of `cwd`.
    pub project: Option<String>,
    /// What it is there for.
    pub role: Option<String>,
    /// What it belongs to.
    pub groups: Vec<String>,
    /// Free names and values.
    pub metadata: Map<String, Value>,
}

/// A field that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field} {problem}")]
pub struct InvalidField {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl About {
    /// Finds the first field that is over its limit, or would rule the terminal it is shown in. The
    /// metadata is checked once it is merged.
    pub(super) fn check(&self) -> Result<(), InvalidField> {
        let texts = [
            ("version", self.version.as_deref(), WORD_MAX_BYTES),
            ("role", self.role.as_deref(), WORD_MAX_BYTES),
        ];
        // What a path is made of is its file system's business.
        let paths = [
            ("cwd", self.cwd.as_deref()),
            ("project", self.project.as_deref()),
        ];
        plain("name", &self.name, NAME_MAX_BYTES)?;
        for (field, text, limit) in texts {
            plain(field, text.unwrap_or_default(), limit)?;
        }
        for (field, path) in paths {
            at_most(field, path.unwrap_or_default(), PATH_MAX_BYTES)?;
        }
        if self.groups.len() > GROUPS_MAX {
            let problem = format!(
                "has {} entries, over the limit of {GROUPS_MAX}",
                self.groups.len()
            );
            return Err(invalid("groups", problem));
        }
        for group in &self.groups {
            plain("groups", group, WORD_MAX_BYTES)?;
        }
        Ok(())
    }
}

/// Merges a patch into metadata, where `null` removes a name; both as texts, since that is how they
/// are kept.
pub(super) fn merge(metadata: &str, patch: Map<String, Value>) -> Result<Box<str>, InvalidField> {
    // What is kept was written here.
    let mut merged: Map<String, Value> = serde_json::from_str(metadata).unwrap_or_default();
    for (name, value) in patch {
        if value.is_null() {
            merged.remove(&name);
        } else {
            merged.insert(name, value);
        }
    }
    let text = Value::Object(merged).to_string();
    at_most("metadata", &text, METADATA_MAX_BYTES)?;
    Ok(text.into())
}

pub(super) fn at_most(field: &'static str, text: &str, limit: usize) -> Result<(), InvalidField> {
    let bytes = text.len();
    if bytes > limit {
        let problem = format!("has {bytes} bytes, over the limit of {limit}");
        return Err(invalid(field, problem));
    }
    Ok(())
}

/// A text for people, of one line.
fn plain(field: &'static str, text: &str, limit: usize) -> Result<(), InvalidField> {
    at_most(field, text, limit)?;
    match text.chars().any(char::is_control) {
        true => Err(invalid(field, "must not have control characters")),
        false => Ok(()),
    }
}

pub(super) fn invalid(field: &'static str, problem: impl Into<String>) -> InvalidField {
    InvalidField {
        field,
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_removes_a_name_and_the_rest_stays() {
        let Value::Object(patch) = json!({ "a": null, "b": 2, "c": { "d": null } }) else {
            unreachable!("it is an object")
        };
        let merged = merge(r#"{"a":1,"e":[5]}"#, patch).expect("small");
        let merged: Value = serde_json::from_str(&merged).expect("JSON");
        assert_eq!(merged, json!({ "b": 2, "c": { "d": null }, "e": [5] }));
    }

    #[test]
    fn field_over_its_limit_is_named_with_it() {
        let check = |about: About, field: &str| {
            let error = about.check().expect_err("refused");
            assert_eq!(error.field, field);
            assert!(error.problem.contains("limit of"), "{error}");
        };
        let long = || "x".repeat(5_000);
        check(
            About {
                name: long(),
                ..About::default()
            },
            "name",
        );
        check(
            About {
                role: Some(long()),
                ..About::default()
            },
            "role",
        );
        check(
            About {
                version: Some(long()),
                ..About::default()
            },
            "version",
        );
        check(
            About {
                cwd: Some(long()),
                ..About::default()
            },
            "cwd",
        );
        check(
            About {
                project: Some(long()),
                ..About::default()
            },
            "project",
        );
        check(
            About {
                groups: vec![long()],
                ..About::default()
            },
            "groups",
        );
        check(
            About {
                groups: vec!["g".to_owned(); 33],
                ..About::default()
            },
            "groups",
        );
        let patch = Map::from_iter([("a".to_owned(), json!("x".repeat(17_000)))]);
        assert_eq!(merge("{}", patch).expect_err("refused").field, "metadata");
    }
}
