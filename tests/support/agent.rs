//! A process that is an agent to its hooks: a shell under a name that is no shell's.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use tempfile::TempDir;

use super::home::{HOOK, Home};
use super::launch;

/// One agent. It is killed when dropped.
pub struct Agent {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    dir: TempDir,
}

impl Agent {
    /// Starts one with these variables beside those of the home's hooks.
    pub fn start(home: &Home, variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let program = dir.path().join("test-agent");
        fs::copy("/bin/sh", &program).expect("a copy of the shell");
        fs::copy("/bin/sh", dir.path().join("test-runner")).expect("a copy of the shell");
        let mut command = home.command(program.to_str().expect("a path"));
        let of_hooks = home.hook_command("claude-code");
        let set = |(name, value): (_, Option<_>)| Some((name, value?));
        command
            .envs(of_hooks.get_envs().filter_map(set))
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = launch::spawn(&mut command);
        Self {
            orders: child.stdin.take().expect("a pipe"),
            answers: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
            dir,
        }
    }

    /// Its process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fires a hook as a child.
    pub fn fire(&mut self, payload: &str) {
        self.order(&format!("'{HOOK}'"), payload);
    }

    /// Fires a hook through a shell that waits for it.
    pub fn fire_by_shell(&mut self, payload: &str) {
        self.order(&format!("/bin/sh -c \"'{HOOK}'; true\""), payload);
    }

    /// Fires a hook of `agent` through a program that is no shell, with a variable that the program
    /// sets.
    pub fn fire_inside(&mut self, agent: &str, variable: &str, payload: &str) {
        let runner = self.dir.path().join("test-runner");
        let runner = runner.display();
        self.order(
            &format!("'{runner}' -c '{variable} {HOOK} --agent {agent}; true'"),
            payload,
        );
    }

    /// Runs a command to its end, with the payload as its input.
    fn order(&mut self, command: &str, payload: &str) {
        let input = self.dir.path().join("payload");
        fs::write(&input, payload).expect("the payload is written");
        let order = format!("{command} < '{}'; echo $?\n", input.display());
        let sent = self.orders.write_all(order.as_bytes());
        sent.expect("the agent reads its orders");
        let mut answer = String::new();
        let read = self.answers.read_line(&mut answer);
        read.expect("the agent answers");
        assert_eq!(answer, "0\n", "a hook exits 0 and prints nothing");
    }

    /// Kills it as nothing else would, and waits for its end.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have been ended before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}
