//! Events that could not be accepted, kept with the reason so that a person can look at them.
//!
//! One file each: a few header lines, a blank line, and the raw bytes. The directory is bounded by
//! number and size; the oldest go first, and are counted. All calls block on the disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sessiond_queue::ids::{EventId, Timestamp};

/// Files that are kept: more than a person will look at.
const FILES_MAX: usize = 256;

/// Bytes that are kept in all; as many files of a megabyte.
const BYTES_MAX: u64 = 256 << 20;

/// Bytes of a header line that are kept.
const LINE_MAX_BYTES: usize = 512;

/// How the files' names end.
const EXTENSION: &str = "event";

/// Stands in a file's name for the id of an event whose id is not known.
const NO_ID: &str = "unknown";

/// The file that is being written.
const UNNAMED: &str = "unnamed";

/// One byte for each file that made room for a newer one.
const FORGOTTEN: &str = "forgotten";

/// The directory of the events that were set aside.
#[derive(Debug)]
pub struct SetAside {
    dir: PathBuf,
    files_max: usize,
    bytes_max: u64,
    // Numbers the files of one millisecond, and lets one caller at a time make room.
    next: Mutex<u64>,
}

/// One event that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The file; the raw bytes follow its first blank line.
    pub path: PathBuf,
    /// When it was set aside.
    pub at: Timestamp,
    /// Whose event it was; empty when that is unknown.
    pub agent: String,
    /// A word for programs, such as `invalid-json`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Bytes of the event itself.
    pub bytes: u64,
}

impl SetAside {
    /// Keeps events in `rejected_dir`, which is made when it is needed.
    pub fn new(rejected_dir: PathBuf) -> Self {
        Self {
            dir: rejected_dir,
            files_max: FILES_MAX,
            bytes_max: BYTES_MAX,
            next: Mutex::new(0),
        }
    }

    /// Keeps one event, on disk when this returns, and answers where. `reason` is a word for
    /// programs, `message` a sentence for people. An event that is kept already, by its id, is
    /// kept once; without an id it is one of its own.
    ///
    /// # Errors
    /// The disk does not take it; nothing is left behind.
    pub fn put(
        &self,
        now: Timestamp,
        event_id: Option<EventId>,
        agent: &str,
        reason: &str,
        message: &str,
        raw: &[u8],
    ) -> io::Result<PathBuf> {
        // A number is whole even if another caller died holding the lock.
        let mut next = self.next.lock().unwrap_or_else(|lock| lock.into_inner());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let files = self.files()?;
        let event_id = event_id.map_or_else(|| NO_ID.to_owned(), |id| id.to_string());
        let ending = format!("-{event_id}.{EXTENSION}");
        if event_id != NO_ID
            && let Some((path, _)) = files.iter().find(|(path, _)| ends_with(path, &ending))
        {
            return Ok(path.clone());
        }
        self.make_room(files, raw.len() as u64)?;
        let word = reason.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let path = loop {
            *next += 1;
            let name = format!("{:013}-{:06}-{word}{ending}", now.0, *next);
            let path = self.dir.join(name);
            // There may be one of an earlier run in the same millisecond.
            if !path.try_exists()? {
                break path;
            }
        };
        let head = format!(
            "at: {}\nevent: {event_id}\nagent: {}\nreason: {}\nmessage: {}\nbytes: {}\n\n",
            now.0,
            one_line(agent),
            one_line(reason),
            one_line(message),
            raw.len(),
        );
        // Named only once it is whole: half a file must not stand for the event after a crash.
        let unnamed = self.dir.join(UNNAMED);
        let written = write(&unnamed, head.as_bytes(), raw)
            .and_then(|()| fs::rename(&unnamed, &path))
            .and_then(|()| File::open(&self.dir)?.sync_all());
        if let Err(error) = written {
            // The first failure is the one to tell.
            fs::remove_file(&unnamed).ok();
            fs::remove_file(&path).ok();
            return Err(error);
        }
        Ok(path)
    }

    /// What is kept, oldest first. Files that are not ours are left out.
    ///
    /// # Errors
    /// The directory is there but cannot be read.
    pub fn list(&self) -> io::Result<Vec<Rejected>> {
        let files = self.files()?;
        let rejected = files
            .into_iter()
            .filter_map(|(path, _)| read_head(path).ok());
        Ok(rejected.collect())
    }

    /// How many made room for newer ones, ever.
    pub fn forgotten(&self) -> u64 {
        fs::metadata(self.dir.join(FORGOTTEN)).map_or(0, |metadata| metadata.len())
    }

    /// Path and size of each file, oldest first: their names begin with the time.
    fn files(&self) -> io::Result<Vec<(PathBuf, u64)>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_some_and(|found| found == EXTENSION) {
                files.push((path, entry.metadata()?.len()));
            }
        }
        files.sort();
        Ok(files)
    }

    fn make_room(&self, files: Vec<(PathBuf, u64)>, added: u64) -> io::Result<()> {
        let mut count = files.len() + 1;
        let mut bytes = added + files.iter().map(|(_, bytes)| bytes).sum::<u64>();
        for (path, size) in files {
            if count <= self.files_max && bytes <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            count -= 1;
            bytes -= size;
            let mut forgotten = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(self.dir.join(FORGOTTEN))?;
            forgotten.write_all(b".")?;
        }
        Ok(())
    }
}

fn ends_with(path: &Path, ending: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.ends_with(ending))
}

fn write(path: &Path, head: &[u8], raw: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(head)?;
    file.write_all(raw)?;
    file.sync_data()
}

fn one_line(text: &str) -> String {
    text[..text.floor_char_boundary(LINE_MAX_BYTES)].replace(char::is_control, " ")
}

fn read_head(path: PathBuf) -> io::Result<Rejected> {
    let mut rejected = Rejected {
        at: Timestamp::default(),
        agent: String::new(),
        reason: String::new(),
        message: String::new(),
        bytes: 0,
        path,
    };
    let file = BufReader::new(File::open(&rejected.path)?);
    for line in file.lines() {
        let line = line?;
        if line.is_empty() {
            return Ok(rejected);
        }
        let (name, value) = line.split_once(": ").ok_or(ErrorKind::InvalidData)?;
        let number = || value.parse().map_err(|_| ErrorKind::InvalidData);
        match name {
            "at" => rejected.at = Timestamp(number()?),
            "agent" => value.clone_into(&mut rejected.agent),
            "reason" => value.clone_into(&mut rejected.reason),
            "message" => value.clone_into(&mut rejected.message),
            "bytes" => rejected.bytes = number()?.unsigned_abs(),
            _ => {}
        }
    }
    Err(ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(dir: &Path, files_max: usize, bytes_max: u64) -> SetAside {
        SetAside {
            files_max,
            bytes_max,
            ..SetAside::new(dir.join("rejected"))
        }
    }

    #[test]
    fn what_is_set_aside_is_listed_with_its_reason() {
        let dir = tempfile::tempdir().expect("a directory");
        let aside = SetAside::new(dir.path().join("rejected"));
        assert_eq!(aside.list().expect("list"), []);
        let raw = b"{\n\n\xff";
        let path = aside
            .put(
                Timestamp(5),
                None,
                "codex",
                "invalid-json",
                "no\nobject",
                raw,
            )
            .expect("put");
        let wanted = Rejected {
            path: path.clone(),
            at: Timestamp(5),
            agent: "codex".into(),
            reason: "invalid-json".into(),
            message: "no object".into(),
            bytes: 4,
        };
        assert_eq!(aside.list().expect("list"), [wanted]);
        assert!(fs::read(path).expect("read").ends_with(b"\n\n{\n\n\xff"));
    }

    #[test]
    fn event_with_an_id_is_kept_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let aside = SetAside::new(dir.path().to_owned());
        let put = |at, id| {
            let put = aside.put(Timestamp(at), id, "a", "r", "m", b"x");
            put.expect("put")
        };
        let id = Some(EventId::mint());
        assert_eq!(put(1, id), put(2, id));
        assert_ne!(put(3, Some(EventId::mint())), put(3, None));
        put(3, None);
        let kept: Vec<_> = aside
            .list()
            .expect("list")
            .iter()
            .map(|one| one.at.0)
            .collect();
        assert_eq!(kept, [1, 3, 3, 3]);
    }

    #[test]
    fn half_a_file_does_not_stand_for_its_event() {
        let dir = tempfile::tempdir().expect("a directory");
        let aside = SetAside::new(dir.path().to_owned());
        // As a crash leaves it.
        fs::write(dir.path().join(UNNAMED), "at: 1\nevent: ").expect("write");
        assert_eq!(aside.list().expect("list"), []);
        let id = Some(EventId::mint());
        aside
            .put(Timestamp(2), id, "a", "r", "m", b"x")
            .expect("put");
        assert_eq!(aside.list().expect("list").len(), 1);
    }

    #[test]
    fn name_of_a_reason_cannot_leave_the_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let aside = SetAside::new(dir.path().to_owned());
        let path = aside
            .put(Timestamp(1), None, "", "../../x", "", b"")
            .expect("put");
        assert_eq!(path.parent(), Some(dir.path()));
    }

    #[test]
    fn oldest_make_room_and_are_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let aside = small(dir.path(), 3, 1 << 20);
        for at in 1..=5 {
            let put = aside.put(Timestamp(at), None, "a", "r", "m", b"x");
            put.expect("put");
        }
        let kept: Vec<_> = aside
            .list()
            .expect("list")
            .iter()
            .map(|one| one.at.0)
            .collect();
        assert_eq!((kept, aside.forgotten()), (vec![3, 4, 5], 2));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let aside = small(dir.path(), 100, 1000);
        for at in 1..=3 {
            let put = aside.put(Timestamp(at), None, "a", "r", "m", &[b'x'; 600]);
            put.expect("put");
        }
        let kept = aside.list().expect("list");
        assert_eq!((kept.len(), kept[0].at.0, aside.forgotten()), (1, 3, 2));
    }
}
