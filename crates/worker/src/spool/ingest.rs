//! Empties the spool into a sink, session by session in order, several sessions at a time.
//!
//! The file of a session stays until all of it was taken, and hooks append to it meanwhile, so
//! nothing overtakes. What the sink takes is its business; damage is set aside here.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use futures::{StreamExt, stream};
use sessiond_queue::ids::Timestamp;
use tokio::task::spawn_blocking;

use super::reader::{Entry, Frame, Piece, SpoolFile};
use crate::set_aside::SetAside;
use crate::wire::spool_name::EXTENSION;

/// Sessions that are emptied at the same time: enough for the queue's writer to batch, few enough
/// for the memory their pieces take.
const FILES_AT_ONCE: usize = 8;

/// What a sink made of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkVerdict {
    /// It is stored, or was before.
    Stored,
    /// It can never be stored, and the sink has set it aside.
    Refused,
    /// It and what follows in its session stay in the spool for another time.
    TryLater,
}

/// What one pass over the spool did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestReport {
    /// Events that are stored.
    pub stored: u64,
    /// Events that the sink refused.
    pub refused: u64,
    /// Damaged stretches that were set aside.
    pub damaged: u64,
    /// Files that are still there, wholly or in part: the sink asked for it, or they could not be
    /// read. Nothing says when they can be; try again after a while.
    pub left: u64,
}

impl IngestReport {
    fn add(mut self, other: Self) -> Self {
        self.stored += other.stored;
        self.refused += other.refused;
        self.damaged += other.damaged;
        self.left += other.left;
        self
    }
}

/// Hands every event in `spool_dir` to `sink`. May be called again at any time; two at once hand
/// events over twice, in order, which the sink notices by their ids. Cancelling it loses nothing.
///
/// # Errors
/// The directory is there but cannot be read. What goes wrong with a single file is logged, and
/// counted as left.
pub async fn ingest<F, Taken>(
    spool_dir: &Path,
    set_aside: &SetAside,
    now: impl Fn() -> Timestamp + Sync,
    sink: F,
) -> io::Result<IngestReport>
where
    F: Fn(Frame) -> Taken + Sync,
    Taken: Future<Output = SinkVerdict> + Send,
{
    let (sink, now) = (&sink, &now);
    let files = spool_files(spool_dir)?;
    let report = stream::iter(files)
        .map(|path| async move {
            let mut report = IngestReport::default();
            if let Err(error) = ingest_file(&path, set_aside, now, sink, &mut report).await {
                report.left += 1;
                tracing::warn!(path = %path.display(), %error, "a spool file is left for later");
            }
            report
        })
        .buffer_unordered(FILES_AT_ONCE)
        .fold(IngestReport::default(), |sum, report| async move {
            sum.add(report)
        })
        .await;
    Ok(report)
}

/// The spool files in the order of their names; none when the directory is not there yet.
///
/// # Errors
/// The directory is there but cannot be read.
pub(super) fn spool_files(spool_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(spool_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == EXTENSION) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

async fn ingest_file<F, Taken>(
    path: &Path,
    set_aside: &SetAside,
    now: &impl Fn() -> Timestamp,
    sink: &F,
    report: &mut IngestReport,
) -> io::Result<()>
where
    F: Fn(Frame) -> Taken,
    Taken: Future<Output = SinkVerdict>,
{
    let owned = path.to_owned();
    let mut file = match blocking(move || SpoolFile::open(&owned)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    loop {
        let piece;
        (file, piece) = blocking(move || {
            let piece = file.next_piece()?;
            Ok((file, piece))
        })
        .await?;
        let Piece::Entries(entries) = piece else {
            return Ok(());
        };
        for (offset, entry) in entries {
            let verdict = match entry {
                Entry::Frame(frame) => sink(frame).await,
                Entry::Corrupt(raw) => {
                    put_aside(set_aside, now(), path, "spool-corrupt", &raw)?;
                    report.damaged += 1;
                    continue;
                }
                Entry::Torn(raw) => {
                    put_aside(set_aside, now(), path, "spool-torn", &raw)?;
                    report.damaged += 1;
                    continue;
                }
            };
            match verdict {
                SinkVerdict::Stored => report.stored += 1,
                SinkVerdict::Refused => report.refused += 1,
                SinkVerdict::TryLater => {
                    report.left += 1;
                    return blocking(move || file.keep_from(offset)).await;
                }
            }
        }
    }
}

/// Damage is rare, and a few milliseconds on this thread do not matter then.
fn put_aside(
    set_aside: &SetAside,
    now: Timestamp,
    path: &Path,
    reason: &str,
    raw: &[u8],
) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let message = format!("part of the spool file {name} could not be read");
    set_aside
        .put(now, None, "", reason, &message, raw)
        .map(drop)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;
    use crate::wire::frame;

    struct Spool {
        dir: tempfile::TempDir,
        aside: SetAside,
        taken: Mutex<Vec<String>>,
    }

    impl Spool {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            Self {
                aside: SetAside::new(dir.path().join("rejected")),
                dir,
                taken: Mutex::default(),
            }
        }

        fn write(&self, name: &str, payload: &str) {
            append(&self.dir.path().join(name), encoded(payload).as_slice());
        }

        async fn ingest(&self, verdict: impl Fn(&str) -> SinkVerdict + Sync) -> IngestReport {
            let verdict = &verdict;
            let sink = |frame: Frame| async move {
                let payload = String::from_utf8(frame.payload).expect("text");
                let verdict = verdict(&payload);
                self.taken.lock().expect("lock").push(payload);
                verdict
            };
            let pass = ingest(self.dir.path(), &self.aside, || Timestamp(1), sink);
            spawnable(pass).await.expect("ingest")
        }

        fn taken(&self) -> Vec<String> {
            std::mem::take(&mut *self.taken.lock().expect("lock"))
        }
    }

    /// The daemon spawns its passes, so they must compile as such.
    fn spawnable<T: Future + Send>(pass: T) -> T {
        pass
    }

    fn encoded(payload: &str) -> Vec<u8> {
        frame::encode(&frame::Frame {
            event_id: "01900000-0000-7000-8000-000000000001",
            fired_at_ms: 7,
            agent: "codex",
            agent_process: None,
            payload: payload.as_bytes(),
        })
    }

    fn append(path: &Path, bytes: &[u8]) {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.expect("open").write_all(bytes).expect("write");
    }

    #[tokio::test]
    async fn events_are_taken_in_order_and_files_go() {
        let spool = Spool::new();
        for payload in ["1", "2", "3"] {
            spool.write("a.spool", payload);
        }
        spool.write("not-ours.txt", "x");
        let report = spool.ingest(|_| SinkVerdict::Stored).await;
        assert_eq!((report.stored, report.left), (3, 0));
        assert_eq!(spool.taken(), ["1", "2", "3"]);
        assert!(spool_files(spool.dir.path()).expect("list").is_empty());
        assert!(spool.dir.path().join("not-ours.txt").exists());
    }

    #[tokio::test]
    async fn events_appended_meanwhile_are_taken_before_the_file_goes() {
        let spool = Spool::new();
        spool.write("a.spool", "1");
        let report = spool
            .ingest(|payload| {
                if payload == "1" {
                    spool.write("a.spool", "2");
                }
                SinkVerdict::Stored
            })
            .await;
        assert_eq!(
            (report.stored, spool.taken()),
            (2, vec!["1".into(), "2".into()])
        );
    }

    #[tokio::test]
    async fn event_to_be_tried_later_keeps_itself_and_its_followers() {
        let spool = Spool::new();
        for payload in ["1", "2", "3"] {
            spool.write("a.spool", payload);
        }
        spool.write("b.spool", "other");
        let report = spool
            .ingest(|payload| match payload {
                "2" => SinkVerdict::TryLater,
                _ => SinkVerdict::Stored,
            })
            .await;
        assert_eq!((report.stored, report.left), (2, 1));
        spool.taken();
        spool.ingest(|_| SinkVerdict::Stored).await;
        assert_eq!(spool.taken(), ["2", "3"]);
    }

    #[tokio::test]
    async fn refused_event_does_not_block_its_session() {
        let spool = Spool::new();
        spool.write("a.spool", "bad");
        spool.write("a.spool", "good");
        let report = spool
            .ingest(|payload| match payload {
                "bad" => SinkVerdict::Refused,
                _ => SinkVerdict::Stored,
            })
            .await;
        assert_eq!((report.stored, report.refused, report.left), (1, 1, 0));
        assert!(spool_files(spool.dir.path()).expect("list").is_empty());
    }

    #[tokio::test]
    async fn damage_is_set_aside_with_its_bytes() {
        let spool = Spool::new();
        append(&spool.dir.path().join("a.spool"), b"rubbish");
        spool.write("a.spool", "1");
        append(&spool.dir.path().join("a.spool"), &encoded("2")[..30]);
        let report = spool.ingest(|_| SinkVerdict::Stored).await;
        assert_eq!((report.stored, report.damaged), (1, 2));
        let rejected = spool.aside.list().expect("list");
        let shown: Vec<_> = rejected
            .iter()
            .map(|one| (one.reason.as_str(), one.bytes))
            .collect();
        assert_eq!(shown, [("spool-corrupt", 7), ("spool-torn", 30)]);
    }

    #[tokio::test]
    async fn writers_at_work_lose_nothing() {
        const EVENTS: usize = 300;
        let spool = Spool::new();
        let path = spool.dir.path().join("a.spool");
        let writer = std::thread::spawn(move || {
            for number in 0..EVENTS {
                append_as_hooks_do(&path, &encoded(&number.to_string()));
            }
        });
        while !writer.is_finished() {
            spool.ingest(|_| SinkVerdict::Stored).await;
        }
        writer.join().expect("the writer");
        spool.ingest(|_| SinkVerdict::Stored).await;
        let wanted: Vec<_> = (0..EVENTS).map(|number| number.to_string()).collect();
        assert_eq!(spool.taken(), wanted);
    }

    /// Lock, compare what is locked with what the path names, append.
    fn append_as_hooks_do(path: &Path, bytes: &[u8]) {
        use std::os::unix::fs::MetadataExt;
        loop {
            let file = OpenOptions::new().append(true).create(true).open(path);
            let mut file = file.expect("open");
            file.lock().expect("lock");
            let locked = file.metadata().expect("fstat").ino();
            if fs::metadata(path).is_ok_and(|named| named.ino() == locked) {
                return file.write_all(bytes).expect("write");
            }
        }
    }
}
