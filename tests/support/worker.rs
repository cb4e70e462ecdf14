//! A worker that a test runs in the foreground, as its own child.

use std::process::{Child, ExitStatus};

use nix::sys::signal::Signal;

use super::api::Api;
use super::launch::wait_for_exit;
use super::process::Process;
use super::wait::{LIMIT, ok_if, wait_until};

/// The running worker; killed when dropped.
pub struct Worker {
    child: Child,
    api: Api,
}

impl Worker {
    /// Of a process that was started; its API is at the socket of its home.
    pub fn new(child: Child, api: Api) -> Self {
        Self { child, api }
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process {
            pid: self.child.id(),
        }
    }

    /// Its API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Waits until its start-up is done.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        wait_until("the worker is ready", LIMIT, || {
            let ended = self.child.try_wait().expect("the worker is our child");
            assert!(ended.is_none(), "the worker ended: {ended:?}");
            ok_if(self.api.is_ready(), "not ready")
        });
    }

    /// Waits until nothing is left to do: no message, no result to index, no spool file.
    #[track_caller]
    pub fn wait_idle(&self) {
        wait_until("the worker is idle", LIMIT, || {
            let status = self.api.status();
            let is_idle = status.ready
                && status.depth == 0
                && !status.processing
                && status.index_behind == 0
                && status.spool_files == 0;
            ok_if(is_idle, status)
        });
    }

    /// Kills it as a power cut would, and waits for its end.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to stop and waits until it has; asserts that it says all is well.
    #[track_caller]
    pub fn stop(mut self) {
        self.process().signal(Signal::SIGTERM);
        let status = self.wait_exit();
        assert!(status.success(), "the worker ended with {status}");
    }

    /// Waits for its end, whoever brings it about.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        wait_for_exit(&mut self.child, LIMIT).expect("the worker ends within the limit")
    }

    fn end(&mut self) {
        // It may have ended by itself; a stopped one dies of this too.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}
