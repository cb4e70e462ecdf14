//! What lies in the spool, and what never got there.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sessiond_queue::ids::Timestamp;

use super::ingest::spool_files;
use crate::wire::frame;
use crate::wire::layout::Layout;

/// Bytes that hold the header lines of a file's first frame.
const HEAD_BYTES: u64 = 4 << 10;

/// The state of the spool. Reading it takes no lock, so it is a moment old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Sessions with events in the spool.
    pub files: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// When the oldest of these events fired; of a file whose first event cannot be read, when it
    /// was last written to.
    pub oldest_at: Option<Timestamp>,
    /// Events that hooks could neither hand over nor spool, ever.
    pub lost: u64,
    /// Events of our own children that hooks dropped on purpose, ever.
    pub dropped: u64,
}

impl SpoolStatus {
    /// Looks at the install in `layout`. Blocks on the disk.
    ///
    /// # Errors
    /// The spool directory is there but cannot be read.
    pub fn read(layout: &Layout) -> io::Result<Self> {
        let mut status = Self {
            lost: length(&layout.lost_file()),
            dropped: length(&layout.dropped_file()),
            ..Self::default()
        };
        for path in spool_files(&layout.spool_dir())? {
            status.files += 1;
            status.bytes += length(&path);
            let at = fired_at(&path).or_else(|| written_at(&path));
            let earlier = [status.oldest_at, at];
            status.oldest_at = earlier.into_iter().flatten().min();
        }
        Ok(status)
    }
}

/// Bytes of a file; none when it is not there.
fn length(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.len())
}

fn fired_at(path: &Path) -> Option<Timestamp> {
    let mut head = Vec::new();
    let file = File::open(path).ok()?;
    file.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    frame::peek_fired_at(&head).map(Timestamp)
}

fn written_at(path: &Path) -> Option<Timestamp> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let ms = metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000;
    Some(Timestamp(ms))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn status_sums_up_files_and_counters() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::at(dir.path().to_owned());
        assert_eq!(
            SpoolStatus::read(&layout).expect("read"),
            SpoolStatus::default()
        );

        fs::create_dir(layout.spool_dir()).expect("create");
        for (name, fired_at_ms) in [("a.spool", 900), ("b.spool", 700)] {
            let bytes = frame::encode(&frame::Frame {
                event_id: "x",
                fired_at_ms,
                agent: "codex",
                agent_process: None,
                payload: &[b' '; 10_000],
            });
            fs::write(layout.spool_dir().join(name), bytes).expect("write");
        }
        fs::write(layout.lost_file(), "..").expect("write");
        let status = SpoolStatus::read(&layout).expect("read");
        assert_eq!((status.files, status.lost, status.dropped), (2, 2, 0));
        assert_eq!(status.oldest_at, Some(Timestamp(700)));
        assert!(status.bytes > 20_000);
    }

    #[test]
    fn unreadable_file_is_as_old_as_its_last_write() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::at(dir.path().to_owned());
        fs::create_dir(layout.spool_dir()).expect("create");
        let file = File::create(layout.spool_dir().join("a.spool")).expect("create");
        let written = UNIX_EPOCH + Duration::from_millis(900);
        file.set_modified(written).expect("set");
        let status = SpoolStatus::read(&layout).expect("read");
        assert_eq!(status.oldest_at, Some(Timestamp(900)));
    }
}
