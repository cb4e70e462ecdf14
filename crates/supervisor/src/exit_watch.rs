//! Waiting for the end of a process that is not a child of this one.
//!
//! Nothing is signalled here, and nothing polls: the kernel makes a pidfd readable when its process
//! ends, reaped or not. Where there are no pidfds the caller has to look from time to time.

use crate::identity::{Doubt, ProcessIdentity, Standing};

/// A process that is waited for.
#[derive(Debug)]
pub struct ExitWatch {
    #[cfg(target_os = "linux")]
    process: tokio::io::unix::AsyncFd<crate::living::LivingProcess>,
    /// There is none where no process can be held.
    #[cfg(not(target_os = "linux"))]
    never: std::convert::Infallible,
}

/// A process cannot be waited for.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// It has ended, reaped or not; or its pid is another's by now.
    #[error("watch process {0}: it is gone")]
    Gone(u32),
    /// Whether it lives cannot be told.
    #[error("watch process {pid}: {doubt}")]
    Unverifiable {
        /// The process.
        pid: u32,
        /// Why.
        doubt: Doubt,
    },
    /// It lives as far as can be told, and cannot be held: no pidfds here, or no descriptor left.
    /// [`ProcessIdentity::check`] tells from time to time whether it still does.
    #[error("watch process {pid}")]
    NotHeld {
        /// The process.
        pid: u32,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl ExitWatch {
    /// Begins to watch the process that `identity` was taken of. To be called within a tokio
    /// runtime. Takes one descriptor.
    ///
    /// # Errors
    /// [`WatchError`]; `Gone` is also the answer for a zombie.
    #[cfg(target_os = "linux")]
    pub fn open(identity: &ProcessIdentity) -> Result<Self, WatchError> {
        use crate::living::LivingProcess;

        let pid = identity.pid;
        let not_held = |source| WatchError::NotHeld { pid, source };
        // Held first and judged afterwards: what is judged is then what is held.
        let held = LivingProcess::open(pid);
        match identity.check() {
            Standing::Alive => {}
            Standing::Gone => return Err(WatchError::Gone(pid)),
            Standing::Unverifiable(doubt) => return Err(WatchError::Unverifiable { pid, doubt }),
        }
        let process = held.map_err(not_held)?.ok_or(WatchError::Gone(pid))?;
        if process.has_ended() {
            return Err(WatchError::Gone(pid));
        }
        let readable = tokio::io::Interest::READABLE;
        // SAFETY: the descriptor is the pidfd that `process` owns from its making to its end; nothing
        // replaces or closes it, and `AsyncFd` drops its registration before it drops `process`.
        #[expect(unsafe_code, reason = "tokio offers no other way to wait for a pidfd")]
        let registered =
            unsafe { tokio::io::unix::AsyncFd::register_with_interest(process, readable) };
        let process = registered.map_err(|error| not_held(error.into()))?;
        Ok(Self { process })
    }

    /// No process can be held on this platform.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn open(identity: &ProcessIdentity) -> Result<Self, WatchError> {
        let pid = identity.pid;
        match identity.check() {
            Standing::Alive => Err(WatchError::NotHeld {
                pid,
                source: std::io::ErrorKind::Unsupported.into(),
            }),
            Standing::Gone => Err(WatchError::Gone(pid)),
            Standing::Unverifiable(doubt) => Err(WatchError::Unverifiable { pid, doubt }),
        }
    }

    /// Waits until it has ended. Cancel-safe; answers at once when it has.
    pub async fn exited(&self) {
        #[cfg(target_os = "linux")]
        {
            // It stays readable; the flag is left set, so that the next call answers too. An error
            // means that the runtime is shutting down.
            if let Err(error) = self.process.readable().await {
                tracing::debug!(%error, "a process is not waited for any more");
                std::future::pending::<()>().await;
            }
        }
        #[cfg(not(target_os = "linux"))]
        match self.never {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a child of another process than the supervisor"
    )]
    async fn end_of_a_process_is_told_before_it_is_reaped_and_ever_after() {
        let mut child = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::null())
            .spawn()
            .expect("a child");
        let identity = ProcessIdentity::of(child.id()).expect("its identity");
        let watch = ExitWatch::open(&identity).expect("it is watched");
        let soon = tokio::time::timeout(Duration::from_millis(50), watch.exited());
        assert!(soon.await.is_err(), "it lives");
        child.kill().expect("killed");
        let limit = Duration::from_secs(20);
        for _ in 0..2 {
            let told = tokio::time::timeout(limit, watch.exited());
            told.await.expect("its end is told");
        }
        let zombie = ExitWatch::open(&identity);
        assert!(matches!(zombie, Err(WatchError::Gone(_))), "{zombie:?}");
        child.wait().expect("reaped");
        let reaped = ExitWatch::open(&identity);
        assert!(matches!(reaped, Err(WatchError::Gone(_))), "{reaped:?}");
    }
}
