//! What a tool call does: which command it runs, which files it reads or changes.
//!
//! The agents' tool names do not collide, so one table serves all of them. A tool that is not
//! listed is described by its short input fields.

use serde_json::Value;

use super::fields::Fields;

/// Files of one call that are named at most.
const FILES_MAX: usize = 50;

/// One call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolUse {
    /// The agent's name of the tool.
    pub tool: String,
    /// The agent's id of the call; Gemini CLI gives none.
    pub id: Option<String>,
    /// What it does.
    pub action: Action,
    /// Files it reads, as they were named, at most 50.
    pub read: Vec<String>,
    /// Files it changes, as they were named, at most 50.
    pub changed: Vec<String>,
}

/// What a tool call does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Runs a command in a shell.
    Run {
        /// The command line.
        command: String,
        /// What the agent says it is for.
        description: Option<String>,
    },
    /// Reads files.
    Read,
    /// Changes files.
    Change {
        /// The change itself, where the input is a patch or a replacement.
        detail: Option<String>,
    },
    /// Looks for files or text.
    Search {
        /// What for.
        pattern: String,
    },
    /// Asks the web.
    Fetch {
        /// Address or query.
        target: String,
    },
    /// Hands work to a subagent.
    Delegate {
        /// The work.
        task: String,
    },
    /// Anything else.
    Other {
        /// Its short input fields, as `name=value`.
        input: String,
    },
}

impl Default for Action {
    fn default() -> Self {
        Self::Other {
            input: String::new(),
        }
    }
}

/// The call that an event's fields describe.
pub(super) fn tool_use(fields: &Fields<'_>) -> ToolUse {
    describe(
        fields
            .text("tool_name")
            .unwrap_or_else(|| "tool".to_owned()),
        fields.text("tool_use_id"),
        &fields.value("tool_input").unwrap_or_default(),
    )
}

/// The call of a tool with this input.
pub(super) fn describe(tool: String, id: Option<String>, input: &Value) -> ToolUse {
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| input.get(name)?.as_str())
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let (mut read, mut changed) = (Vec::new(), Vec::new());
    let action = match tool.as_str() {
        "Bash" | "PowerShell" | "run_shell_command" | "shell" | "local_shell" | "exec_command"
        | "Shell" => {
            let command = command_line(input);
            changed = patched_files(&command);
            Action::Run {
                command,
                description: first(&["description", "justification"]),
            }
        }
        "Read" | "NotebookRead" | "read_file" | "read_many_files" | "view_image" => {
            read = paths(input);
            Action::Read
        }
        "Write" | "write_file" | "Delete" => {
            changed = paths(input);
            Action::Change { detail: None }
        }
        "Edit" | "MultiEdit" | "NotebookEdit" | "replace" | "edit_file" => {
            changed = paths(input);
            Action::Change {
                detail: replacement(input),
            }
        }
        "apply_patch" => {
            let patch = match input {
                Value::String(patch) => patch.clone(),
                _ => first(&["command", "input", "patch"]).unwrap_or_default(),
            };
            changed = patched_files(&patch);
            Action::Change {
                detail: Some(patch),
            }
        }
        "Grep"
        | "Glob"
        | "LS"
        | "glob"
        | "grep"
        | "grep_search"
        | "search_file_content"
        | "list_directory"
        | "list_dir"
        | "codebase_search" => Action::Search {
            pattern: first(&["pattern", "query", "path", "dir_path"]).unwrap_or_default(),
        },
        "WebFetch" | "WebSearch" | "web_fetch" | "google_web_search" | "web_search" => {
            Action::Fetch {
                target: first(&["url", "query", "prompt"]).unwrap_or_default(),
            }
        }
        "Task" | "Agent" | "spawn_agent" => Action::Delegate {
            task: first(&["description", "message", "task", "prompt"]).unwrap_or_default(),
        },
        _ => Action::Other {
            input: short_fields(input),
        },
    };
    ToolUse {
        tool,
        id,
        action,
        read,
        changed,
    }
}

/// Codex's older shells take an argument list such as `["bash", "-lc", "ls"]`.
fn command_line(input: &Value) -> String {
    match input.get("command").or_else(|| input.get("cmd")) {
        Some(Value::String(command)) => command.trim().to_owned(),
        Some(Value::Array(arguments)) => {
            let words: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
            match words.as_slice() {
                [_, "-c" | "-lc", script] => (*script).to_owned(),
                words => words.join(" "),
            }
        }
        _ => String::new(),
    }
}

fn paths(input: &Value) -> Vec<String> {
    let one = [
        "file_path",
        "absolute_path",
        "path",
        "notebook_path",
        "target_file",
    ]
    .iter()
    .find_map(|name| input.get(name)?.as_str());
    let many = ["paths", "include", "file_paths"]
        .iter()
        .find_map(|name| input.get(name)?.as_array());
    one.into_iter()
        .chain(many.into_iter().flatten().filter_map(Value::as_str))
        .filter(|path| !path.is_empty())
        .take(FILES_MAX)
        .map(str::to_owned)
        .collect()
}

/// The files a patch in Codex's format touches, in its order, each once.
fn patched_files(patch: &str) -> Vec<String> {
    const MARKS: [&str; 4] = [
        "*** Add File: ",
        "*** Update File: ",
        "*** Delete File: ",
        "*** Move to: ",
    ];
    let mut files: Vec<String> = Vec::new();
    if !patch.contains("*** Begin Patch") {
        return files;
    }
    for line in patch.lines() {
        let path = MARKS.iter().find_map(|mark| line.strip_prefix(mark));
        if let Some(path) = path.map(str::trim).filter(|path| !path.is_empty())
            && files.len() < FILES_MAX
            && !files.iter().any(|known| known == path)
        {
            files.push(path.to_owned());
        }
    }
    files
}

fn replacement(input: &Value) -> Option<String> {
    let one = |edit: &Value| {
        let old = edit.get("old_string")?.as_str()?;
        let new = edit.get("new_string").and_then(Value::as_str).unwrap_or("");
        let mut text = String::new();
        for (sign, side) in [('-', old), ('+', new)] {
            for line in side.lines().take(20) {
                text.push(sign);
                text.push_str(line);
                text.push('\n');
            }
        }
        Some(text)
    };
    match input.get("edits").and_then(Value::as_array) {
        Some(edits) => {
            let text: String = edits.iter().take(10).filter_map(one).collect();
            (!text.is_empty()).then_some(text)
        }
        None => one(input),
    }
}

fn short_fields(input: &Value) -> String {
    let Value::Object(fields) = input else {
        return input.as_str().unwrap_or_default().to_owned();
    };
    let parts = fields.iter().filter_map(|(name, value)| match value {
        Value::String(text) => Some(format!("{name}={text}")),
        Value::Number(number) => Some(format!("{name}={number}")),
        Value::Bool(flag) => Some(format!("{name}={flag}")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    parts.take(8).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patch_names_every_file_it_touches_once() {
        let patch = "*** Begin Patch\n*** Add File: a.rs\n+x\n*** Update File: b.rs\n\
                     *** Move to: c.rs\n*** Delete File: d.rs\n*** Update File: a.rs\n*** End Patch";
        let call = describe("apply_patch".into(), None, &json!({ "command": patch }));
        assert_eq!(call.changed, ["a.rs", "b.rs", "c.rs", "d.rs"]);
    }

    #[test]
    fn command_lists_are_unwrapped_to_their_script() {
        let call = describe(
            "shell".into(),
            None,
            &json!({ "command": ["bash", "-lc", "ls -l"] }),
        );
        assert!(matches!(call.action, Action::Run { command, .. } if command == "ls -l"));
    }

    #[test]
    fn input_of_any_shape_is_described() {
        for input in [json!(null), json!(7), json!([1]), json!({ "file_path": 3 })] {
            for tool in ["Bash", "Read", "Edit", "apply_patch", "Task", "unheard_of"] {
                let call = describe(tool.into(), None, &input);
                assert!(call.changed.is_empty() && call.read.is_empty());
            }
        }
    }
}
