//! Which process the agent is that this hook was fired by: an ancestor, found in `/proc`.
//!
//! Between the two there may be shells and programs that only run another one. Where the agent
//! cannot be told nothing is told: then nobody takes the end of something else for its end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;

use crate::wire::agent_process::AgentProcess;
use crate::wire::environment::{AGENT_PID, CLAUDE_PID};

/// The agent that names its process to its hooks.
const CLAUDE_CODE: &str = "claude-code";

/// Ancestors that are looked at. A wrapper or two is usual.
const STEPS_MAX: usize = 16;

/// Bytes of a `stat` file: a name of at most 64 and 51 numbers.
const STAT_MAX_BYTES: usize = 2048;

/// Programs that run another one, and are no agents. As the kernel names them: 15 bytes at most.
const WRAPPERS: [&str; 55] = [
    "ash",
    "bash",
    "busybox",
    "csh",
    "dash",
    "elvish",
    "fish",
    "ksh",
    "ksh93",
    "mksh",
    "nu",
    "oksh",
    "pwsh",
    "rbash",
    "sh",
    "tcsh",
    "toybox",
    "xonsh",
    "yash",
    "zsh",
    "bwrap",
    "catchsegv",
    "chroot",
    "chrt",
    "chronic",
    "direnv",
    "doas",
    "env",
    "firejail",
    "flock",
    "gosu",
    "ionice",
    "ltrace",
    "mise",
    "nice",
    "nohup",
    "nsenter",
    "parallel",
    "prlimit",
    "runuser",
    "script",
    "setpriv",
    "setsid",
    "stdbuf",
    "strace",
    "su",
    "sudo",
    "taskset",
    "time",
    "timeout",
    "unbuffer",
    "unshare",
    "uv",
    "uvx",
    "xargs",
];

/// Programs that agents run in, and that orphans are given to. Whoever reaches one has passed the
/// agent by, or lost it.
const HOSTS: [&str; 18] = [
    "catatonit",
    "conmon",
    "containerd-shim",
    "cron",
    "crond",
    "dumb-init",
    "init",
    "launchd",
    "login",
    "runit",
    "runsv",
    "s6-supervise",
    "screen",
    "sessiond-shim",
    "sshd",
    "sshd-session",
    "systemd",
    "tini",
];

/// The process of `agent`, in its present boot; `None`: it cannot be told.
pub(crate) fn find(
    agent: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<AgentProcess> {
    let own = Stat::read("self")?;
    if own.pid != std::process::id() {
        // The pids in this `/proc` are those of another namespace.
        return None;
    }
    let process = match variable(AGENT_PID) {
        Some(named) => Stat::of(number(named)?)?,
        None => {
            // Another agent that was started inside of Claude Code inherits the variable.
            let is_claude = agent == CLAUDE_CODE;
            let named = is_claude.then(|| variable(CLAUDE_PID)).flatten();
            nearest(ancestors(own), named.and_then(number))?
        }
    };
    Some(AgentProcess {
        pid: process.pid,
        start_ticks: process.start_ticks,
        pid_namespace: fs::metadata("/proc/self/ns/pid").ok()?.ino(),
        boot_id: None,
    })
}

/// The running boot.
pub(crate) fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// Of these ancestors, nearest first: the one with the pid `named`, otherwise the first that may be
/// an agent.
fn nearest(ancestors: impl Iterator<Item = Stat>, named: Option<u32>) -> Option<Stat> {
    let mut nearest = None;
    for ancestor in ancestors {
        if named == Some(ancestor.pid) {
            return Some(ancestor);
        }
        if nearest.is_none() && !WRAPPERS.contains(&ancestor.name()) {
            nearest = Some(ancestor);
            if named.is_none() {
                break;
            }
        }
    }
    nearest
}

/// From the parent on, up to whoever takes orphans in.
fn ancestors(own: Stat) -> impl Iterator<Item = Stat> {
    let parent = |child: &Stat| {
        let parent = Stat::of(child.parent)?;
        // Younger than its child: the parent has ended meanwhile, and its pid is another's.
        let is_parent = parent.start_ticks <= child.start_ticks;
        (is_parent && !is_host(parent.name())).then_some(parent)
    };
    std::iter::successors(parent(&own), parent).take(STEPS_MAX)
}

fn is_host(name: &str) -> bool {
    HOSTS.contains(&name) || name.starts_with("tmux")
}

/// A pid that may be an agent's.
fn number(text: OsString) -> Option<u32> {
    text.to_str()?.trim().parse().ok()
}

/// What `/proc/PID/stat` says.
#[derive(Debug)]
struct Stat {
    pid: u32,
    parent: u32,
    start_ticks: u64,
    name: Vec<u8>,
}

impl Stat {
    /// Of a process that may be an agent: neither the kernel nor init.
    fn of(pid: u32) -> Option<Self> {
        (pid > 1).then(|| Self::read(pid))?
    }

    fn read(pid: impl std::fmt::Display) -> Option<Self> {
        let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
        let mut bytes = [0; STAT_MAX_BYTES];
        let mut length = 0;
        loop {
            match file.read(&mut bytes[length..]) {
                Ok(0) => return Self::parse(&bytes[..length]),
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// `PID (NAME) STATE PARENT ...`, the start being field 22 of proc_pid_stat(5). The name is the
    /// program's to choose and may hold spaces and brackets.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let opening = bytes.iter().position(|byte| *byte == b'(')?;
        let closing = bytes.iter().rposition(|byte| *byte == b')')?;
        let name = bytes.get(opening + 1..closing)?;
        let mut fields = str::from_utf8(&bytes[closing + 1..])
            .ok()?
            .split_ascii_whitespace();
        Some(Self {
            pid: str::from_utf8(&bytes[..opening])
                .ok()?
                .trim()
                .parse()
                .ok()?,
            parent: fields.nth(1)?.parse().ok()?,
            start_ticks: fields.nth(17)?.parse().ok()?,
            name: name.to_vec(),
        })
    }

    /// A name that is no text is no known one either.
    fn name(&self) -> &str {
        str::from_utf8(&self.name).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, name: &str) -> Stat {
        let line = format!(
            "{pid} ({name}) S 7 4242 4242 0 -1 4194560 96 0 0 0 0 0 0 0 20 0 1 0 987654 2957312 \
             384 18446744073709551615 1 1\n"
        );
        Stat::parse(line.as_bytes()).expect("a stat line")
    }

    /// The pid that is found among ancestors of these names, whose pids count from 2.
    fn found(names: &[&str], named: Option<u32>) -> Option<u32> {
        let ancestors = (2..).zip(names).map(|(pid, name)| stat(pid, name));
        nearest(ancestors, named).map(|stat| stat.pid)
    }

    #[test]
    fn name_of_a_program_cannot_forge_fields() {
        for name in [
            "sh",
            "",
            ") S 1 (",
            "a) Z 1 1 1",
            "two words",
            "tab\tline\n",
        ] {
            let stat = stat(4242, name);
            assert_eq!((stat.pid, stat.parent), (4242, 7), "{name:?}");
            assert_eq!((stat.start_ticks, stat.name()), (987_654, name));
        }
        assert!(Stat::parse(b"4242 (sh").is_none());
        assert!(Stat::parse(b"4242 (sh) S 1 2 3").is_none());
        assert!(Stat::parse(b"4242 )sh( S 1 2 3").is_none());
    }

    #[test]
    fn shells_and_wrappers_are_passed_over() {
        assert_eq!(found(&["claude"], None), Some(2));
        assert_eq!(found(&["sh", "timeout", "node", "bash"], None), Some(4));
        assert_eq!(found(&["sh", "bash"], None), None);
        assert_eq!(found(&[], None), None);
    }

    #[test]
    fn named_process_counts_when_it_is_an_ancestor() {
        assert_eq!(found(&["sh", "python3", "claude"], Some(4)), Some(4));
        assert_eq!(found(&["sh", "bash"], Some(3)), Some(3));
        assert_eq!(found(&["sh", "codex"], Some(999)), Some(3));
    }

    #[test]
    fn lists_hold_names_as_the_kernel_gives_them() {
        for name in WRAPPERS.iter().chain(&HOSTS) {
            assert!(name.len() <= 15, "{name}");
        }
    }

    #[test]
    fn own_stat_is_read() {
        let own = Stat::read("self").expect("/proc is mounted");
        assert_eq!(own.pid, std::process::id());
        assert!(ancestors(own).count() <= STEPS_MAX);
    }
}
