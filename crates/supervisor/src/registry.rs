//! One file a spawn: what was started, or was about to be.
//!
//! The directory belongs to one worker at a time; the lock of the install sees to that. Calls
//! block on the file system: from async code they go through a blocking thread. A damaged file
//! costs itself and nothing else, since a worker that cannot start for a bad record is the leak it
//! should have prevented.
//!
//! **Nothing is synced.** A record names processes of one boot. As long as that boot lasts, what
//! was written is what every process reads, whoever was killed: the page cache is the kernel's.
//! When it ends, by a power loss too, so do the processes, and a record that is lost or torn with
//! it names nobody. An fsync would be paid at each start and each end of a child, a disk's
//! milliseconds each, and buy nothing. What a power loss tears is an unreadable file from before
//! the boot, and is [cleared](Registry::clear_of_earlier_boot).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::boot;
use crate::identity::{Doubt, ProcessIdentity, Standing};
use crate::tag::Tag;

/// Version of the record's form that is written, and the only one that is read.
pub const RECORD_VERSION: u32 = 1;

/// Bytes of one file. A record has some 500; the rest is room for a long `command`.
pub const RECORD_MAX_BYTES: usize = 64 << 10;

const RECORD_SUFFIX: &str = ".json";

/// The directory beside the registry for what is no record.
const SET_ASIDE_DIR: &str = "set-aside";

/// Files of one name that are set aside. Nobody reads them but people.
const SET_ASIDE_NAMES_MAX: u32 = 1000;

/// Ends the name of a file that is being written; no part of a tag can hold it.
const UNFINISHED_SUFFIX: char = '~';

/// One spawn, as its file holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnRecord {
    /// Form of the record: [`RECORD_VERSION`].
    pub version: u32,
    /// Whom the process was started for; its spawn part names the file.
    pub tag: Tag,
    /// Its shim, or `None` while there is only the intent to start it.
    pub identity: Option<ProcessIdentity>,
    /// The child itself, once it runs: it is found again by this when it wipes its environment
    /// and its shim is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<ProcessIdentity>,
    /// `argv[0]` alone: arguments may hold secrets.
    pub command: String,
    /// When the intent was recorded, in milliseconds since the Unix epoch.
    pub spawned_at_ms: i64,
    /// Name of the host it was recorded on.
    pub host: String,
}

impl SpawnRecord {
    /// The intent to start `command`, to be put before the start.
    pub fn intent(tag: Tag, command: String, spawned_at_ms: i64, host: String) -> Self {
        Self {
            version: RECORD_VERSION,
            tag,
            identity: None,
            leader: None,
            command,
            spawned_at_ms,
            host,
        }
    }

    /// The same spawn with the shim it became, to be put after the start.
    #[must_use]
    pub fn with_identity(self, identity: ProcessIdentity) -> Self {
        Self {
            identity: Some(identity),
            ..self
        }
    }

    /// The same spawn with the child itself, to be put once that runs.
    #[must_use]
    pub fn with_leader(self, leader: ProcessIdentity) -> Self {
        Self {
            leader: Some(leader),
            ..self
        }
    }

    /// What has become of the shim, asked on the host named `host`.
    ///
    /// Another boot of this host means gone; another boot of another host means nothing, so that
    /// one is left to it. A host that was renamed while it runs is known by its boot.
    pub fn standing(&self, host: &str) -> Standing {
        match &self.identity {
            Some(identity) => self.standing_of(identity, host),
            None => Standing::Unverifiable(Doubt::NoIdentity),
        }
    }

    /// The same of the child itself; `None` when it was not recorded.
    pub fn leader_standing(&self, host: &str) -> Option<Standing> {
        let leader = self.leader.as_ref()?;
        Some(self.standing_of(leader, host))
    }

    fn standing_of(&self, identity: &ProcessIdentity, host: &str) -> Standing {
        let same_boot = boot::boot_id().is_ok_and(|boot| boot == identity.boot_id);
        if !same_boot && self.host != host {
            return Standing::Unverifiable(Doubt::OtherHost(self.host.clone()));
        }
        identity.check()
    }
}

/// The directory with one file a spawn.
#[derive(Debug)]
pub struct Registry {
    dir: PathBuf,
    /// Keeps two puts at one time out of each other's unfinished file.
    puts: AtomicU64,
}

/// What the directory holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// The records, by file name.
    pub records: Vec<SpawnRecord>,
    /// Files that are no record of ours, with the reason, by file name.
    pub unreadable: Vec<(PathBuf, String)>,
}

impl Registry {
    /// Opens `dir`, makes it (0700) where it is missing, and clears files that an earlier worker
    /// left unfinished: their put never returned, so nothing was started on their strength.
    ///
    /// # Errors
    /// [`OpenError`]; a symbolic link or another user's directory is refused, since whoever writes
    /// a record names a process to kill.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let dir = dir.into();
        prepare(&dir).map_err(|source| OpenError {
            dir: dir.clone(),
            source,
        })?;
        Ok(Self {
            dir,
            puts: AtomicU64::new(0),
        })
    }

    /// Opens `dir` as it is, only to read it: whoever else has it may be writing.
    ///
    /// # Errors
    /// The same as [`open`](Self::open)'s, and when it is not there.
    pub fn open_to_look(dir: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let dir = dir.into();
        examine(&dir).map_err(|source| OpenError {
            dir: dir.clone(),
            source,
        })?;
        Ok(Self {
            dir,
            puts: AtomicU64::new(0),
        })
    }

    /// Stores `record` in place of an earlier one of its spawn. When this returns, every later
    /// reader of this boot finds it; a crash before leaves the earlier one whole.
    ///
    /// # Errors
    /// [`PutError`]; nothing was changed then.
    pub fn put(&self, record: &SpawnRecord) -> Result<(), PutError> {
        self.write(record, |unfinished, path| fs::rename(unfinished, path))
    }

    /// Stores `record` in place of the earlier one of its spawn, if that is still there: a shim
    /// removes it when nothing of the spawn runs any more. Tells whether it was.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn replace(&self, record: &SpawnRecord) -> Result<bool, PutError> {
        let mut was_there = true;
        self.write(record, |unfinished, path| {
            was_there = swap(unfinished, path)?;
            Ok(())
        })?;
        Ok(was_there)
    }

    /// Writes a file of its own and has `finish` give it its name.
    fn write(
        &self,
        record: &SpawnRecord,
        finish: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> Result<(), PutError> {
        let spawn = record.tag.spawn();
        let failed = |source: io::Error| PutError::Write {
            spawn: spawn.to_owned(),
            source,
        };
        let bytes = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        if bytes.len() > RECORD_MAX_BYTES {
            return Err(PutError::TooLarge {
                spawn: spawn.to_owned(),
                bytes: bytes.len(),
            });
        }
        let path = self.path(&record.tag);
        let unfinished = self.unfinished_path(&record.tag);
        write_new(&unfinished, &bytes)
            .and_then(|()| finish(&unfinished, &path))
            .inspect_err(|_| {
                // What stays behind is cleared at the next open; the write's error is the news.
                drop(fs::remove_file(&unfinished));
            })
            .map_err(failed)
    }

    /// Forgets the spawn of `tag`; one that is not there is forgotten already.
    ///
    /// # Errors
    /// [`RemoveError`]; the record may still be there then.
    pub fn remove(&self, tag: &Tag) -> Result<(), RemoveError> {
        match fs::remove_file(self.path(tag)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(RemoveError {
                spawn: tag.spawn().to_owned(),
                source,
            }),
        }
    }

    /// Whether a record of the spawn of `tag` is there.
    pub fn holds(&self, tag: &Tag) -> bool {
        fs::symlink_metadata(self.path(tag)).is_ok()
    }

    /// Removes `path`, an unreadable file of this directory, if it is a regular file of this user
    /// with a record's name, last written before this boot: whatever it named has ended, so it is
    /// what a power loss has torn. Tells whether it did.
    ///
    /// The clock may have been set since; then a file of this boot may look older than it. Such a
    /// file was not readable in any case, and its processes are found by their tags.
    ///
    /// # Errors
    /// When it should go and does not.
    pub fn clear_of_earlier_boot(&self, path: &Path) -> io::Result<bool> {
        let has_record_name = path.to_string_lossy().ends_with(RECORD_SUFFIX);
        if path.parent() != Some(&self.dir) || !has_record_name {
            return Ok(false);
        }
        let metadata = fs::symlink_metadata(path)?;
        let is_ours = metadata.is_file() && metadata.uid() == own_user();
        let is_earlier = boot::boot_time_s().is_some_and(|boot| metadata.mtime() < boot);
        if is_ours && is_earlier {
            fs::remove_file(path)?;
        }
        Ok(is_ours && is_earlier)
    }

    /// Moves `path`, an unreadable file of this directory, into `set-aside/` beside the directory,
    /// under a name of its own, and gives where it is now.
    ///
    /// # Errors
    /// When it could not be moved; it is where it was then.
    pub fn set_aside(&self, path: &Path) -> io::Result<PathBuf> {
        let (Some(name), Some(parent)) = (path.file_name(), self.dir.parent()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if path.parent() != Some(&self.dir) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let aside = parent.join(SET_ASIDE_DIR);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&aside)?;
        // A plain rename would replace what was set aside before under the same name.
        for number in 0..SET_ASIDE_NAMES_MAX {
            let mut name = name.to_owned();
            name.push(format!(".{number}"));
            let target = aside.join(name);
            if fs::symlink_metadata(&target).is_err() {
                fs::rename(path, &target)?;
                return Ok(target);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where the record of `tag` is, or would be.
    pub fn path(&self, tag: &Tag) -> PathBuf {
        self.dir.join(format!("{}{RECORD_SUFFIX}", tag.spawn()))
    }

    /// Reads every file. Unfinished ones are passed over: they are a put in progress.
    ///
    /// # Errors
    /// When the directory itself cannot be read.
    pub fn list(&self) -> io::Result<Listing> {
        let mut names = fs::read_dir(&self.dir)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.retain(|name| !is_unfinished(name.as_encoded_bytes()));
        names.sort_unstable();
        let mut listing = Listing::default();
        for path in names.into_iter().map(|name| self.dir.join(name)) {
            match read_record(&path) {
                Ok(record) => listing.records.push(record),
                // Removed since the directory was read: there is nothing to tell of it.
                Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(unreadable) => listing.unreadable.push((path, unreadable.to_string())),
            }
        }
        Ok(listing)
    }

    fn unfinished_path(&self, tag: &Tag) -> PathBuf {
        let number = self.puts.fetch_add(1, Ordering::Relaxed);
        let spawn = tag.spawn();
        self.dir
            .join(format!("{spawn}.{number}{UNFINISHED_SUFFIX}"))
    }
}

/// The registry's directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open the process registry {dir}")]
pub struct OpenError {
    /// The directory.
    pub dir: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// A record was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It is over [`RECORD_MAX_BYTES`] and would not be read again.
    #[error("record spawn {spawn}: {bytes} bytes, over the limit of {RECORD_MAX_BYTES}")]
    TooLarge {
        /// The spawn.
        spawn: String,
        /// Its size as text.
        bytes: usize,
    },
    /// The file could not be written.
    #[error("record spawn {spawn}")]
    Write {
        /// The spawn.
        spawn: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A record was not removed.
#[derive(Debug, thiserror::Error)]
#[error("forget spawn {spawn}")]
pub struct RemoveError {
    /// The spawn.
    pub spawn: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Why a file is no record of ours. Shown in a listing; nobody acts on its kinds.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is not a regular file")]
    NotAFile,
    #[error("belongs to user {0}")]
    OtherOwner(u32),
    #[error("has over {RECORD_MAX_BYTES} bytes")]
    TooLarge,
    #[error("is not a record: {0}")]
    Json(#[from] serde_json::Error),
    #[error("is a record of version {0}, not {RECORD_VERSION}")]
    Version(u32),
    #[error("holds the record of another spawn, {0}")]
    OtherSpawn(String),
}

fn prepare(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let metadata = examine(dir)?;
    if metadata.mode() & 0o7777 != 0o700 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if is_unfinished(entry.file_name().as_encoded_bytes()) {
            // One that resists (a directory of that name) does no harm where it is.
            drop(fs::remove_file(entry.path()));
        }
    }
    Ok(())
}

/// Refuses what is no directory of ours.
fn examine(dir: &Path) -> io::Result<fs::Metadata> {
    let metadata = fs::symlink_metadata(dir)?;
    if !metadata.is_dir() {
        return Err(io::Error::other("it is not a directory"));
    }
    if metadata.uid() != own_user() {
        let owner = metadata.uid();
        return Err(io::Error::other(format!("it belongs to user {owner}")));
    }
    Ok(metadata)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // O_EXCL, which `create_new` is, does not follow a link at the path either.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

/// Gives the file at `new` the name `path`, if there is one of that name, in one step: otherwise a
/// record could come back that was removed since it was looked for. In both cases nothing is at
/// `new` afterwards.
fn swap(new: &Path, path: &Path) -> io::Result<bool> {
    match exchange(new, path) {
        Ok(()) => fs::remove_file(new).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::remove_file(new).map(|()| false)
        }
        // A file system without it: the record may come back, and costs the next start a look.
        Err(_) => fs::rename(new, path).map(|()| true),
    }
}

#[cfg(target_os = "linux")]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_one: &Path, _other: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn read_record(path: &Path) -> Result<SpawnRecord, Unreadable> {
    // O_NONBLOCK: opening a named pipe without a writer would wait for one.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Unreadable::NotAFile);
    }
    if metadata.uid() != own_user() {
        return Err(Unreadable::OtherOwner(metadata.uid()));
    }
    let mut bytes = Vec::new();
    file.take(RECORD_MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > RECORD_MAX_BYTES {
        return Err(Unreadable::TooLarge);
    }
    parse(path, &bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<SpawnRecord, Unreadable> {
    // The version first: a later form may lack fields of this one, and "version 2" says more
    // than "missing field".
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(bytes)?;
    if version != RECORD_VERSION {
        return Err(Unreadable::Version(version));
    }
    let record: SpawnRecord = serde_json::from_slice(bytes)?;
    let expected = format!("{}{RECORD_SUFFIX}", record.tag.spawn());
    if path.file_name() != Some(expected.as_ref()) {
        return Err(Unreadable::OtherSpawn(record.tag.spawn().to_owned()));
    }
    Ok(record)
}

fn is_unfinished(name: &[u8]) -> bool {
    name.ends_with(UNFINISHED_SUFFIX.to_string().as_bytes())
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}
