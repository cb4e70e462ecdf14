//! One stream's output on disk: `NAME.log`, and `NAME.log.1` before it.
//!
//! Bytes are handed over without waiting and written by a blocking thread, which is there only
//! while there is something to write. What the disk does not take is dropped and counted.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;

use crate::counters::Counter;

/// Bytes that wait for the disk; more is dropped. A disk that stalls for a moment loses nothing of
/// an ordinary child, and one that hangs takes no more memory than this.
const PENDING_MAX_BYTES: usize = 256 << 10;

/// How long bytes may wait for more of them, so that a chatty child costs few writes.
const GATHER: Duration = Duration::from_millis(50);

/// How long a flush waits for a disk that hangs.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// A stream's files.
#[derive(Debug)]
pub(crate) struct OutputFile {
    pending: Mutex<Pending>,
    /// Locked by blocking threads only.
    writer: Mutex<Writer>,
    /// Of all files of the supervisor.
    dropped_in_all: Counter,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    dropped_bytes: u64,
    /// Whether a task is on its way that will write what is here.
    is_scheduled: bool,
}

#[derive(Debug)]
struct Writer {
    dir: PathBuf,
    name: &'static str,
    max_bytes: u64,
    open: Option<Open>,
}

/// The file that is written.
#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    /// Whether its last line has no end yet. What is left of it stays with it, room or not: it is
    /// short, since whoever hands bytes over ends long lines.
    is_within_line: bool,
}

impl OutputFile {
    /// Opens nothing yet: a stream without output leaves no file.
    pub(crate) fn new(
        dir: PathBuf,
        name: &'static str,
        max_bytes: u64,
        dropped_in_all: Counter,
    ) -> Arc<Self> {
        let writer = Writer {
            dir,
            name,
            max_bytes,
            open: None,
        };
        Arc::new(Self {
            pending: Mutex::default(),
            writer: Mutex::new(writer),
            dropped_in_all,
        })
    }

    /// Hands bytes over. To be called within the runtime.
    pub(crate) fn write(self: &Arc<Self>, bytes: &[u8]) {
        let mut pending = self.lock_pending();
        let room = PENDING_MAX_BYTES - pending.bytes.len();
        let (fit, over) = bytes.split_at(bytes.len().min(room));
        pending.bytes.extend_from_slice(fit);
        self.count_dropped(&mut pending, over.len() as u64);
        if pending.bytes.is_empty() || pending.is_scheduled {
            return;
        }
        pending.is_scheduled = true;
        drop(pending);
        let file = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(GATHER).await;
            // Ends early only with the runtime, when nobody waits for the bytes any more.
            let _ended = tokio::task::spawn_blocking(move || file.write_pending()).await;
        });
    }

    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.lock_pending().dropped_bytes
    }

    /// Waits until what was handed over is written or dropped, for [`FLUSH_MAX`] at most.
    pub(crate) async fn flush(self: &Arc<Self>) {
        if !self.lock_pending().is_scheduled {
            return;
        }
        let file = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || file.write_pending());
        // Too late or never: a disk that hangs is not waited for.
        let _in_time = tokio::time::timeout(FLUSH_MAX, written).await;
    }

    fn write_pending(&self) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let bytes = {
                let mut pending = self.lock_pending();
                if pending.bytes.is_empty() {
                    pending.is_scheduled = false;
                    return;
                }
                std::mem::take(&mut pending.bytes)
            };
            let dropped_bytes = writer.write(&bytes);
            self.count_dropped(&mut self.lock_pending(), dropped_bytes);
        }
    }

    fn count_dropped(&self, pending: &mut Pending, bytes: u64) {
        pending.dropped_bytes += bytes;
        self.dropped_in_all.add(bytes);
    }

    fn lock_pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Writes what can be written and gives how many bytes could not.
    fn write(&mut self, bytes: &[u8]) -> u64 {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.write_some(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_why) => {
                    // The file may have been taken away; the next bytes try from the beginning.
                    self.open = None;
                    return rest.len() as u64;
                }
            }
        }
        0
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => open(&self.dir, &self.path())?,
        };
        let first_line = bytes.iter().position(|byte| *byte == b'\n');
        let first_line = first_line.map_or(bytes.len(), |index| index + 1);
        let room = self.max_bytes.saturating_sub(open.size);
        let mut fit = whole_lines(bytes, usize::try_from(room).unwrap_or(usize::MAX));
        if open.is_within_line {
            fit = fit.max(first_line);
        }
        if fit == 0 && open.size > 0 {
            let earlier = self.dir.join(format!("{}.1", self.name));
            fs::rename(self.path(), earlier)?;
            return Ok(0);
        }
        // A line that has no room in an empty file is written all the same.
        let fit = match fit {
            0 => first_line,
            fit => fit,
        };
        let written = open.file.write(&bytes[..fit])?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        open.size += written as u64;
        open.is_within_line = bytes[written - 1] != b'\n';
        self.open = Some(open);
        Ok(written)
    }

    fn path(&self) -> PathBuf {
        self.dir.join(self.name)
    }
}

/// How many of `bytes` go into `room`: all, or whole lines.
fn whole_lines(bytes: &[u8], room: usize) -> usize {
    if bytes.len() <= room {
        return bytes.len();
    }
    let last_newline = bytes[..room].iter().rposition(|byte| *byte == b'\n');
    last_newline.map_or(0, |index| index + 1)
}

fn open(dir: &Path, path: &Path) -> io::Result<Open> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // O_NONBLOCK: a named pipe in the file's place must not hold the thread.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.cast_signed())
        .open(path)?;
    let size = file.metadata()?.len();
    Ok(Open {
        file,
        size,
        is_within_line: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_that_comes_in_parts_stays_in_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer {
            dir: dir.path().to_owned(),
            name: "out.log",
            max_bytes: 4,
            open: None,
        };
        for part in ["one", "\ntwo", " and", "\n", "three\n"] {
            assert_eq!(writer.write(part.as_bytes()), 0, "{part:?}");
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("out.log.1"), "two and\n");
        assert_eq!(read("out.log"), "three\n");
    }
}
