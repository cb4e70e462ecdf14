//! Starting a shim, and talking with it.
//!
//! Makes every descriptor that lies between the worker, the shim and the child. All are
//! close-on-exec in the worker from the moment they exist, so that no other child inherits them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Sender;
use tokio::process;
use tokio::time::timeout;

use crate::command::{Command, ProcessLimits};
use crate::control::{HELLO, LINE_MAX_BYTES, Order, Report, Unknown};
use crate::observe::is_runnable;
use crate::tag::{TAG_VARIABLE, Tag};

/// Its `argv[0]`.
const NAME: &str = "sessiond-shim";

/// How long a shim may take to end once it has said its last word. It has nothing left to do.
const EXIT_MAX: Duration = Duration::from_secs(1);

/// The shim's program, held open: an upgrade may replace the file, not this.
#[derive(Debug)]
pub(crate) struct ShimProgram {
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "only Linux runs a program from a descriptor")
    )]
    file: File,
    #[cfg_attr(
        target_os = "linux",
        expect(dead_code, reason = "elsewhere the path is all there is")
    )]
    path: PathBuf,
}

impl ShimProgram {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    #[cfg(target_os = "linux")]
    fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        // The number means the same file in the new process until its exec has read it.
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    #[cfg(not(target_os = "linux"))]
    fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

/// A shim that runs, with the worker's ends of the child's pipes.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) shim: Shim,
    pub(crate) stdin: Sender,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Starts a shim and hands it the child's standard input. `record` is the absolute path of the
/// spawn's record, which the shim removes should the worker have died.
///
/// No `pre_exec`, no user or group: the standard library then takes `posix_spawn`, whose cost does
/// not grow with the worker's memory.
pub(crate) fn start(
    program: &ShimProgram,
    command: &Command,
    tag: &Tag,
    grace: Duration,
    record: &Path,
) -> io::Result<Started> {
    let (ours, theirs) = StdUnixStream::pair()?;
    let (stdin_read, stdin_write) = io::pipe()?;
    let (stdout_read, stdout_write) = io::pipe()?;
    let (stderr_read, stderr_write) = io::pipe()?;
    let stdin_write = Sender::from_owned_fd(stdin_write.into())?;

    // The pair buffers it, so it can be said before anybody listens, and cannot fail later.
    send_hello(&ours, stdin_read.into())?;
    ours.set_nonblocking(true)?;
    let control = UnixStream::from_std(ours)?;

    let mut shim = process::Command::new(program.path());
    shim.arg0(NAME)
        .arg("--grace-ms")
        .arg(grace.as_millis().to_string())
        .arg("--record")
        .arg(record)
        .args(limits(&command.limits))
        .arg("--")
        .arg(&command.program)
        .args(&command.args)
        .env_clear()
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .env(TAG_VARIABLE, tag.to_string())
        .current_dir(&command.cwd)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(OwnedFd::from(stdout_write)))
        .stderr(Stdio::from(OwnedFd::from(stderr_write)));
    // The command holds the child's ends of the pipes, and goes with them when this returns.
    let process = shim.spawn()?;
    Ok(Started {
        shim: Shim {
            process,
            control,
            unread: Vec::new(),
        },
        stdin: stdin_write,
        stdout: stdout_read.into(),
        stderr: stderr_read.into(),
    })
}

/// The limits as the shim's arguments.
fn limits(limits: &ProcessLimits) -> Vec<String> {
    let values = [
        limits.memory_max_bytes.map(|bytes| format!("as={bytes}")),
        limits.open_files_max.map(|files| format!("nofile={files}")),
        limits
            .processes_max
            .map(|processes| format!("nproc={processes}")),
        limits.nice.map(|nice| format!("nice={nice}")),
    ];
    let given = values.into_iter().flatten();
    given
        .flat_map(|value| ["--limit".to_owned(), value])
        .collect()
}

fn send_hello(control: &StdUnixStream, stdin: OwnedFd) -> io::Result<()> {
    let descriptors = [stdin.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)),
        "the space is made for one descriptor"
    );
    let byte = [io::IoSlice::new(&[HELLO])];
    sendmsg(control, &byte, &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// A running shim. Dropping it closes its lifeline, upon which it ends its tree.
#[derive(Debug)]
pub(crate) struct Shim {
    process: process::Child,
    control: UnixStream,
    /// The beginning of a line whose end has not come.
    unread: Vec<u8>,
}

impl Shim {
    /// Its pid, for as long as it is not waited for.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Whether it only waits for a processor.
    pub(crate) fn is_runnable(&self) -> bool {
        self.pid().is_some_and(is_runnable)
    }

    /// The next report; `None` when there will be none: it ended, or says what no shim says.
    /// Cancel-safe.
    pub(crate) async fn report(&mut self) -> Option<Report> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return parse(&line[..end]).ok();
            }
            if self.unread.len() > LINE_MAX_BYTES {
                return None;
            }
            let mut bytes = [0; LINE_MAX_BYTES];
            match self.control.read(&mut bytes).await {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_reset) => return None,
            }
        }
    }

    /// Tells it something. One that is gone is noticed by its missing report.
    pub(crate) async fn order(&mut self, order: Order) {
        let line = format!("{order}\n");
        // The socket has room for thousands of orders, so this waits for nobody.
        let _gone = self.control.write_all(line.as_bytes()).await;
    }

    /// Kills the shim alone. Its tree lives on.
    pub(crate) fn kill(&mut self) {
        // By pid, which is safe for this one: it is our child, and nobody else reaps it. It fails
        // only when it was reaped already.
        let _reaped = self.process.start_kill();
    }

    /// Waits for its end, and helps where it does not come by itself. `None`: it cannot be waited
    /// for, or does not even die.
    pub(crate) async fn end(mut self) -> Option<ExitStatus> {
        if let Ok(status) = timeout(EXIT_MAX, self.process.wait()).await {
            return status.ok();
        }
        self.kill();
        let killed = timeout(EXIT_MAX, self.process.wait()).await;
        // One that is in an uninterruptible sleep is left to tokio, which reaps it some day.
        killed.ok()?.ok()
    }
}

fn parse(line: &[u8]) -> Result<Report, Unknown> {
    std::str::from_utf8(line).map_err(|_| Unknown)?.parse()
}
