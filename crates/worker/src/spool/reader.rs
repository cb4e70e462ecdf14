//! One spool file, read piece by piece under its lock.
//!
//! All calls block, on the disk or for a moment on a writer's lock; they belong on a blocking
//! thread. What is done with the entries is the caller's business.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sessiond_queue::ids::EventId;

use crate::wire::frame::{self, Decoded, PREFIX_BYTES};

/// Bytes of one piece, unless a single frame needs more.
const PIECE_BYTES: usize = 4 << 20;

/// How long a writer's lock is waited for. A writer holds it for milliseconds; one that was
/// stopped while holding it must not hold up the others for ever.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// How often the lock is tried meanwhile.
const LOCK_RETRY: Duration = Duration::from_millis(2);

/// One event from the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The event's identity, minted by the hook.
    pub event_id: EventId,
    /// When the hook fired, in milliseconds since the Unix epoch.
    pub fired_at_ms: i64,
    /// Whose hook it was.
    pub agent: String,
    /// Which process the agent is, as the hook told it, unread.
    pub agent_process: Option<String>,
    /// What the agent wrote, unchanged.
    pub payload: Vec<u8>,
}

/// What is found in a spool file, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A whole event.
    Frame(Frame),
    /// Damage, up to the next frame.
    Corrupt(Vec<u8>),
    /// A frame that was begun and never finished: its writer died.
    Torn(Vec<u8>),
}

/// A piece of a spool file.
#[derive(Debug)]
pub enum Piece {
    /// These came next, and stay in the file until it is unlinked; where each of them begins.
    Entries(Vec<(u64, Entry)>),
    /// Nothing was left, and the file is gone.
    Unlinked,
    /// The path no longer names this file.
    Replaced,
}

/// An open spool file and how far it has been read.
#[derive(Debug)]
pub struct SpoolFile {
    file: File,
    path: PathBuf,
    read_to: u64,
}

impl SpoolFile {
    /// Opens the file at `path`, to be read from its start.
    ///
    /// # Errors
    /// It is not there, is a symbolic link or no regular file, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            read_to: 0,
        })
    }

    /// The next piece, read under the lock; when there is none the file is unlinked under that
    /// same lock, so that no writer's event is unlinked with it.
    ///
    /// # Errors
    /// The lock was not to be had in time (`WouldBlock`), or the disk failed.
    pub fn next_piece(&mut self) -> io::Result<Piece> {
        let _lock = Lock::take(&self.file)?;
        if !self.is_named()? {
            return Ok(Piece::Replaced);
        }
        let end = self.file.metadata()?.len();
        if self.read_to >= end {
            fs::remove_file(&self.path)?;
            return Ok(Piece::Unlinked);
        }
        let mut wanted = PIECE_BYTES;
        loop {
            let bytes = self.bytes_from(self.read_to, wanted, end)?;
            let is_end = self.read_to + bytes.len() as u64 == end;
            let (entries, used, needed) = parse(&bytes, self.read_to, is_end);
            if used > 0 {
                self.read_to += used as u64;
                return Ok(Piece::Entries(entries));
            }
            // One frame larger than the piece.
            wanted = needed;
        }
    }

    /// Leaves only what begins at `offset` in the file, for another time. A writer that waits for
    /// the lock finds that its file was replaced and opens the new one.
    ///
    /// # Errors
    /// As for [`SpoolFile::next_piece`]. The file is then as it was.
    pub fn keep_from(&mut self, offset: u64) -> io::Result<()> {
        if offset == 0 {
            return Ok(());
        }
        let _lock = Lock::take(&self.file)?;
        if !self.is_named()? {
            return Ok(());
        }
        // Not ending as spool files do, so that nobody takes it for one after a crash; such a
        // leftover is overwritten the next time.
        let rest_path = self.path.with_extension("rest");
        let mut rest = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&rest_path)?;
        let mut kept = &self.file;
        kept.seek(SeekFrom::Start(offset))?;
        io::copy(&mut kept, &mut rest)?;
        rest.sync_data()?;
        fs::rename(&rest_path, &self.path)
    }

    fn is_named(&self) -> io::Result<bool> {
        let opened = self.file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn bytes_from(&self, offset: u64, wanted: usize, end: u64) -> io::Result<Vec<u8>> {
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(wanted)];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// The entries at the start of `bytes`, how many bytes they take, and how many bytes the next one
/// needs when they take none. With `is_end` all bytes are used.
fn parse(bytes: &[u8], offset: u64, is_end: bool) -> (Vec<(u64, Entry)>, usize, usize) {
    let mut entries: Vec<(u64, Entry)> = Vec::new();
    let mut at = 0;
    let mut needed = PREFIX_BYTES;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (size, entry) = match frame::decode(rest) {
            Decoded::Frame { frame, size } => (size, own(&frame, &rest[..size])),
            Decoded::Corrupt { size } => (size, Entry::Corrupt(rest[..size].to_vec())),
            Decoded::Partial { needed: more } if !is_end => {
                needed = more;
                break;
            }
            // Cut off, unless its length is damaged and other frames lie within.
            Decoded::Partial { .. } => match frame::next_frame(rest) {
                Some(size) => (size, Entry::Corrupt(rest[..size].to_vec())),
                None => (rest.len(), Entry::Torn(rest.to_vec())),
            },
        };
        match (&entry, entries.last_mut()) {
            // Damage that holds a stray magic is still one damage.
            (Entry::Corrupt(more), Some((_, Entry::Corrupt(damage)))) => {
                damage.extend_from_slice(more);
            }
            _ => entries.push((offset + at as u64, entry)),
        }
        at += size;
    }
    (entries, at, needed)
}

/// A frame of its own; one whose event id is no UUID is damage.
fn own(frame: &frame::Frame<'_>, raw: &[u8]) -> Entry {
    match frame.event_id.parse() {
        Ok(event_id) => Entry::Frame(Frame {
            event_id,
            fired_at_ms: frame.fired_at_ms,
            agent: frame.agent.to_owned(),
            agent_process: frame.agent_process.map(str::to_owned),
            payload: frame.payload.to_vec(),
        }),
        Err(_) => Entry::Corrupt(raw.to_vec()),
    }
}

/// The file's exclusive lock, until dropped.
struct Lock<'a>(&'a File);

impl<'a> Lock<'a> {
    #[expect(
        clippy::disallowed_methods,
        reason = "runs on a blocking thread; flock cannot be waited for with a limit"
    )]
    fn take(file: &'a File) -> io::Result<Self> {
        let until = Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    return Err(ErrorKind::WouldBlock.into());
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
            }
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Closing the file, which follows on every failure, gives the lock back as well.
        self.0.unlock().ok();
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn encoded(payload: &[u8]) -> Vec<u8> {
        frame::encode(&frame::Frame {
            event_id: "01900000-0000-7000-8000-000000000001",
            fired_at_ms: 7,
            agent: "codex",
            agent_process: None,
            payload,
        })
    }

    /// Payloads and damage, in order, of a file that holds `content`; it must be gone afterwards.
    fn check(content: &[u8], wanted: &[&str]) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s.spool");
        fs::write(&path, content).expect("write");
        let mut file = SpoolFile::open(&path).expect("open");
        let mut seen = Vec::new();
        while let Piece::Entries(entries) = file.next_piece().expect("a piece") {
            seen.extend(entries.into_iter().map(|(_, entry)| match entry {
                Entry::Frame(frame) => String::from_utf8_lossy(&frame.payload).into_owned(),
                Entry::Corrupt(bytes) => format!("corrupt {}", bytes.len()),
                Entry::Torn(bytes) => format!("torn {}", bytes.len()),
            }));
        }
        assert_eq!(seen, wanted);
        assert!(!path.exists());
    }

    #[test]
    fn frames_come_in_order_and_the_file_goes() {
        check(
            &[encoded(b"a"), encoded(b""), encoded(b"c")].concat(),
            &["a", "", "c"],
        );
        check(b"", &[]);
    }

    #[test]
    fn torn_tail_leaves_the_frames_before_it() {
        let torn = encoded(b"lost");
        for cut in [1, 5, PREFIX_BYTES, torn.len() - 1] {
            let content = [&encoded(b"a"), &torn[..cut]].concat();
            check(&content, &["a", &format!("torn {cut}")]);
        }
    }

    #[test]
    fn frames_after_a_torn_one_are_found() {
        let torn = &encoded(b"lost")[..20];
        check(
            &[torn, &encoded(b"b"), &encoded(b"c")].concat(),
            &["corrupt 20", "b", "c"],
        );
    }

    #[test]
    fn damage_in_the_middle_costs_one_frame() {
        let mut damaged = encoded(b"SSP\x01SSP\x01");
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        let wanted = format!("corrupt {}", damaged.len());
        check(
            &[encoded(b"a"), damaged, encoded(b"c")].concat(),
            &["a", &wanted, "c"],
        );
    }

    #[test]
    fn frames_larger_than_a_piece_are_read_whole() {
        let large = vec![b'x'; PIECE_BYTES + 1];
        let large_text = String::from_utf8_lossy(&large);
        check(
            &[encoded(b"a"), encoded(&large), encoded(b"c")].concat(),
            &["a", &large_text, "c"],
        );
    }

    #[test]
    fn what_is_kept_for_later_is_read_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s.spool");
        fs::write(&path, [encoded(b"a"), encoded(b"b")].concat()).expect("write");
        let mut file = SpoolFile::open(&path).expect("open");
        let Piece::Entries(entries) = file.next_piece().expect("a piece") else {
            panic!("no entries");
        };
        file.keep_from(entries[1].0).expect("keep");
        assert!(matches!(file.next_piece(), Ok(Piece::Replaced)));
        assert_eq!(fs::read(&path).expect("read"), encoded(b"b"));
    }

    #[test]
    fn symbolic_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let link = dir.path().join("s.spool");
        std::os::unix::fs::symlink("/etc/passwd", &link).expect("link");
        assert!(SpoolFile::open(&link).is_err());
    }

    /// The entries of `content`, read in pieces of this size as [`SpoolFile::next_piece`] does. A
    /// damage that lies in several pieces is put together.
    fn in_pieces(content: &[u8], piece: usize) -> Vec<(u64, Entry)> {
        let mut entries: Vec<(u64, Entry)> = Vec::new();
        let (mut at, mut wanted) = (0, piece);
        while at < content.len() {
            let end = content.len().min(at + wanted);
            let (found, used, needed) = parse(&content[at..end], at as u64, end == content.len());
            wanted = if used > 0 { piece } else { needed };
            at += used;
            for (offset, entry) in found {
                match (entry, entries.last_mut()) {
                    (Entry::Corrupt(more), Some((_, Entry::Corrupt(damage)))) => {
                        damage.extend(more);
                    }
                    (entry, _) => entries.push((offset, entry)),
                }
            }
        }
        entries
    }

    proptest! {
        #[test]
        fn any_file_is_read_alike_in_pieces_of_any_size(
            parts in vec((any::<bool>(), vec(0..=255_u8, 0..40)), 0..6),
            flips in vec((any::<Index>(), 0..8_u8), 0..3),
            cut in any::<Index>(),
            piece in 1..400_usize,
        ) {
            let part = |(is_frame, bytes): &(bool, Vec<u8>)| match is_frame {
                true => encoded(bytes),
                false => bytes.clone(),
            };
            let mut content: Vec<u8> = parts.iter().flat_map(part).collect();
            for (at, bit) in flips {
                if !content.is_empty() {
                    let at = at.index(content.len());
                    content[at] ^= 1 << bit;
                }
            }
            content.truncate(content.len() - cut.index(content.len() + 1) / 8);
            let whole = in_pieces(&content, usize::MAX >> 1);
            prop_assert_eq!(in_pieces(&content, piece), whole);
        }
    }
}
