//! A real worker in a home of its own, for a measurement.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const READY_LIMIT: Duration = Duration::from_secs(10);

/// A worker; killed when dropped, and its directory removed if it is its own.
pub(crate) struct Worker {
    home: PathBuf,
    child: Child,
    /// Kept only to be removed.
    _dir: Option<TempDir>,
}

impl Worker {
    /// Starts one with `settings` as `SESSIOND_*` variables.
    pub(crate) fn start(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_in(TempDir::new()?, settings)
    }

    /// The same with a directory whose `home` may have something to do already.
    pub(crate) fn start_in(dir: TempDir, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        // Made by the worker, with the mode it wants.
        let mut worker = Self::start_at(dir.path().join("home"), settings)?;
        worker._dir = Some(dir);
        Ok(worker)
    }

    /// The same on a home that outlives it.
    #[expect(
        clippy::disallowed_methods,
        reason = "a measurement starts its own worker"
    )]
    pub(crate) fn start_at(home: PathBuf, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let child = Command::new(env!("CARGO_BIN_EXE_sessiond"))
            .arg("run")
            .env_clear()
            .env("SESSIOND_HOME", &home)
            .env("SESSIOND_HTTP_PORT", "0")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let worker = Self {
            home,
            child,
            _dir: None,
        };
        worker.wait_for("readiness", READY_LIMIT, || worker.get("/readyz").is_ok())?;
        Ok(worker)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.home.clone()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.join("sock")
    }

    /// The body of a GET that succeeds.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<String> {
        self.call("GET", path, "")
    }

    /// The body of the answer to a request that succeeds.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: sessiond\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        anyhow::ensure!(
            answer.starts_with("HTTP/1.1 20"),
            "{method} {path} answered {answer}"
        );
        Ok(answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default())
    }

    /// A number of `/v1/status`.
    pub(crate) fn status(&self, name: &str) -> anyhow::Result<i64> {
        let status: serde_json::Value = serde_json::from_str(&self.get("/v1/status")?)?;
        status[name]
            .as_i64()
            .ok_or_else(|| anyhow::anyhow!("the status has no {name}"))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "no runtime here; the condition decides"
    )]
    pub(crate) fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        while !condition() {
            anyhow::ensure!(began.elapsed() < limit, "no {what} after {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only when the worker has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
