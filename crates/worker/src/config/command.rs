//! A program's command line: what it is called, and whether its program is there.

use std::collections::BTreeMap;
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use sessiond_supervisor::ProcessLimits;

use crate::wire::environment::WORKER_PATH;

/// A program as a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What it is called.
    pub name: String,
    /// Program and arguments; never empty.
    pub words: Vec<String>,
    /// Its environment besides the basic variables.
    pub env: BTreeMap<String, String>,
    /// What it may use.
    pub limits: ProcessLimits,
}

/// Programs whose first argument says what they are, without version numbers.
const INTERPRETERS: [&str; 12] = [
    "bash", "bun", "deno", "env", "node", "perl", "php", "python", "ruby", "sh", "uv", "zsh",
];

impl Program {
    /// The `PATH` it gets, in which its first word is looked up if that is a mere name.
    pub fn search_path(&self) -> &str {
        self.env.get("PATH").map_or(WORKER_PATH, String::as_str)
    }

    /// Whether its first word is looked up in its `PATH`.
    pub fn is_looked_up(&self) -> bool {
        !self.words[0].contains('/')
    }

    /// Why it cannot be started just now; `None`: it is there and may be run.
    pub fn missing(&self) -> Option<String> {
        let name = &self.words[0];
        if !self.is_looked_up() {
            return obstacle(Path::new(name)).map(|why| format!("{name} {why}"));
        }
        let path = self.search_path();
        let mut found = path.split(':').map(|dir| Path::new(dir).join(name));
        if found.any(|file| obstacle(&file).is_none()) {
            return None;
        }
        Some(format!(
            "no {name} that may be run is in the PATH that programs get, {path}; set PATH in its \
             env, or give its absolute path"
        ))
    }
}

/// Why this file cannot be run.
fn obstacle(file: &Path) -> Option<&'static str> {
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("is not there"),
        Err(_) => Some("cannot be looked at"),
        Ok(metadata) if !metadata.is_file() => Some("is not a file"),
        Ok(_) if access(file, AccessFlags::X_OK).is_err() => Some("may not be run"),
        Ok(_) => None,
    }
}

/// The program of a command line, called `name` or else by itself; `None`: there is none.
pub(super) fn program(
    command: &str,
    name: &str,
    env: &BTreeMap<String, String>,
    limits: ProcessLimits,
) -> Option<Program> {
    let words = words(command)?;
    let name = match name {
        "" => name_of(&words),
        name => name.to_owned(),
    };
    Some(Program {
        name,
        words,
        env: env.clone(),
        limits,
    })
}

/// What is wrong with a command line; an empty one is none.
pub(super) fn problem(command: &str) -> Option<&'static str> {
    if command.is_empty() {
        return None;
    }
    let Some(words) = words(command) else {
        return Some("is not a command line: a quote is not closed, or it has no word");
    };
    let is_relative = words[0].contains('/') && !words[0].starts_with('/');
    (is_relative || words[0].starts_with('~')).then_some(
        "must begin with an absolute path, or with a name on the PATH of programs; ~ and relative \
         paths are not looked up",
    )
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NO_LIMITS: ProcessLimits = ProcessLimits {
        memory_max_bytes: None,
        open_files_max: None,
        processes_max: None,
        nice: None,
    };

    #[test]
    fn program_is_called_by_its_file_or_by_the_script_it_interprets() {
        let check = |command: &str, expected: &str| {
            let found =
                program(command, "", &BTreeMap::new(), NO_LIMITS).map(|program| program.name);
            assert_eq!(found.as_deref(), Some(expected), "{command}");
        };
        check("/opt/notes --model small", "notes");
        check("python3 -u '/home/me/my notes.py' x", "my notes.py");
        check("/usr/bin/python3.12 /a/b.py", "b.py");
        check("env python3 b.py", "python3");
        check("node", "node");
        check("python3 -", "python3");
        check("shell-notes a", "shell-notes");
        let named = program("python3 a.py", "mine", &BTreeMap::new(), NO_LIMITS);
        assert_eq!(named.map(|program| program.name).as_deref(), Some("mine"));
        assert_eq!(program("", "mine", &BTreeMap::new(), NO_LIMITS), None);
    }

    #[test]
    fn program_is_missing_unless_it_is_on_its_own_path_and_may_be_run() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("notes");
        let dir_path = dir.path().display().to_string();
        let missing = |command: &str, path: Option<&str>| {
            let env = path.map(|path| ("PATH".to_owned(), path.to_owned()));
            let program = program(command, "", &env.into_iter().collect(), NO_LIMITS);
            program.expect("a program").missing()
        };
        let whole = file.display().to_string();
        let is_not_there = format!("{whole} is not there");
        assert_eq!(missing(&whole, None), Some(is_not_there));
        std::fs::write(&file, "").expect("a file");
        let may_not = format!("{whole} may not be run");
        assert_eq!(missing(&whole, None), Some(may_not));
        let path = format!("/no/such:{dir_path}");
        let looked_in = missing("notes -x", Some(&path)).expect("it may not be run");
        assert!(looked_in.contains(&path), "{looked_in}");
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&file, mode).expect("a mode");
        assert_eq!(missing("notes -x", Some(&path)), None);
        assert_eq!(missing(&whole, None), None);
        let looked_in = missing("notes", None).expect("it is elsewhere");
        assert!(looked_in.contains(WORKER_PATH), "{looked_in}");
        assert_eq!(missing("sh -c x", None), None);
        assert!(
            missing(&dir_path, None)
                .expect("a directory")
                .ends_with("is not a file")
        );
    }
}
