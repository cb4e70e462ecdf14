//! A process that does nothing until it is killed: a client for those who register it.

use std::process::{Child, Command};

use super::launch;
use super::process::Process;
use super::wait::LIMIT;

/// A process that is nobody's but the test's.
#[derive(Debug)]
pub struct Sleeper(Child);

impl Sleeper {
    /// Starts one.
    #[track_caller]
    pub fn start() -> Self {
        Self(launch::spawn(Command::new("sleep").arg("600")))
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills it. Leaves a zombie until it is dropped, as a parent does that does not look.
    pub fn kill(&mut self) {
        self.0.kill().expect("it is ours");
        let process = Process { pid: self.pid() };
        process.wait_gone(LIMIT);
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
