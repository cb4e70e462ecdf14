//! A child of the test's own, which is killed and reaped when it is dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// A shell that waits for its standard input to close.
pub(crate) struct TestChild(Child);

impl TestChild {
    /// Starts the shell, lets it run `script` (builtins only), and returns when it waits.
    #[expect(
        clippy::disallowed_methods,
        reason = "this test is about a process that the supervisor did not start"
    )]
    pub(crate) fn start(script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{script}\necho ready\nread line")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a shell");
        let stdout = child.stdout.take().expect("the shell's stdout is piped");
        let child = Self(child);
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("read from the shell");
        assert_eq!(line, "ready\n", "the shell ran its script");
        child
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills the shell and returns when it is a zombie.
    pub(crate) fn kill_unreaped(&mut self) {
        self.0.kill().expect("kill the shell");
        let pid = Pid::from_child(&self.0);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), options).expect("wait for the shell to end");
    }

    pub(crate) fn reap(&mut self) {
        self.0.wait().expect("reap the shell");
    }
}

impl Drop for TestChild {
    fn drop(&mut self) {
        // Both fail only when it is reaped already, which is what they are for.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
