//! One worker per home: the lock, the install's id, the discovery file, the token.
//!
//! The lock is the kernel's (flock): it dies with its holder and cannot be stale. Every other file
//! here is only read by those who then talk to the socket, so a stale one misleads nobody for long.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sessiond_queue::ids::Timestamp;
use sessiond_supervisor::{ProcessIdentity, Standing, boot_id, host_name};
use uuid::Uuid;

use crate::home::{self, HomeError};
use crate::occupant::{Note, Phase, is_dead, pause};
use crate::wire::layout::Layout;

/// How long a dead holder's lock is waited for: what holds it is about to run another program.
const DEAD_HOLDER_WAIT: Duration = Duration::from_secs(2);

/// What the discovery file says of the running worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Discovery {
    /// `{pid}-{start ms}`.
    pub instance: String,
    /// Its process.
    pub pid: u32,
    /// That process's identity; `null` where none can be had.
    #[serde(default)]
    pub process: Option<ProcessIdentity>,
    /// When it started.
    pub started_at: Timestamp,
    /// The machine's boot.
    pub boot_id: String,
    /// The machine.
    pub host: String,
    /// Version of the worker.
    pub version: String,
    /// The unix socket.
    #[cfg_attr(test, schema(value_type = String))]
    pub socket: PathBuf,
    /// The TCP port, if there is one.
    pub port: Option<u16>,
    /// File of the bearer token for TCP.
    #[cfg_attr(test, schema(value_type = String))]
    pub token_path: PathBuf,
    /// Oldest and newest generator protocol.
    pub protocol: (u32, u32),
}

/// The worker's place could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another worker has it.
    #[error("take the lock {path}: process {} holds it", .holder.map_or_else(|| "of unknown id".to_owned(), |pid| pid.to_string()))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder's process id, as it wrote it.
        holder: Option<u32>,
    },
    /// The lock is free, and yet the worker that was here last lives: somebody has replaced the
    /// lock file. Two workers on one queue would each undo what the other does.
    #[error(
        "take the home: its worker, process {0}, still runs, though the lock file is another by now; end it with: kill {0}"
    )]
    Lives(u32),
    /// The home is not fit to be one.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A file could not be made or read.
    #[error("prepare {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The claim to be the worker of a home; given up when dropped.
#[derive(Debug)]
pub struct Place {
    lock: File,
    layout: Layout,
    install: String,
    /// Where a discovery file was put that could not be read.
    set_aside: Option<PathBuf>,
    /// Once it stops it does not serve again, though it may be asked to stop in its start-up.
    is_stopping: AtomicBool,
}

impl Place {
    /// Takes the lock. Waits for it only if its holder is dead or unknown: a child that was just
    /// being started has the lock's descriptor for a moment, and outlives the holder for as long;
    /// and somebody may be looking whether it is free.
    pub fn claim(layout: &Layout) -> Result<Self, ClaimError> {
        home::prepare(layout)?;
        let path = layout.lock_file();
        let lock = io_at(&path, open_private(&path))?;
        let given_up_at = Instant::now() + DEAD_HOLDER_WAIT;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(ClaimError::Io { path, source }),
            }
            let holder = Note::read(&lock).map(|note| note.pid);
            if !holder.is_none_or(is_dead) || Instant::now() >= given_up_at {
                return Err(ClaimError::Held { path, holder });
            }
            pause();
        }
        let set_aside = leave_to_the_living(layout)?;
        io_at(&path, Note::own(Phase::Starting).write(&lock))?;
        let install_file = layout.install_file();
        let install = io_at(&install_file, read_or_mint(&install_file))?;
        Ok(Self {
            lock,
            layout: layout.clone(),
            install,
            set_aside,
            is_stopping: AtomicBool::new(false),
        })
    }

    /// The install's id.
    pub fn install(&self) -> &str {
        &self.install
    }

    /// Where a discovery file was put that was left here and could not be read.
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// The bearer token of this home; made at the first start.
    pub fn token(&self) -> Result<String, ClaimError> {
        let path = self.layout.token_file();
        io_at(&path, read_or_mint(&path))
    }

    /// Publishes the discovery file: this worker serves.
    pub fn publish(&self, discovery: &Discovery) -> Result<(), ClaimError> {
        self.note(Phase::Serving);
        let path = self.layout.instance_file();
        io_at(
            &path,
            write_private(
                &path,
                &serde_json::to_vec_pretty(discovery).unwrap_or_default(),
            ),
        )
    }

    /// Says beside the process id what this worker is about. Those who wait for it, or look why it
    /// does not answer, read it.
    pub fn note(&self, phase: Phase) {
        let was_stopping = self
            .is_stopping
            .fetch_or(phase == Phase::Stopping, Ordering::AcqRel);
        if was_stopping {
            return;
        }
        if let Err(error) = Note::own(phase).write(&self.lock) {
            tracing::warn!(?phase, %error, "the lock file does not tell what this worker is about");
        }
    }

    /// Removes what would lead clients to a worker that no longer listens.
    pub fn withdraw(&self) {
        self.note(Phase::Stopping);
        for path in [self.layout.instance_file(), self.layout.socket()] {
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "file of the stopped worker stays");
            }
        }
    }
}

impl Discovery {
    /// Of this process.
    pub fn own(layout: &Layout, started_at: Timestamp, port: Option<u16>) -> Self {
        let pid = std::process::id();
        Self {
            instance: format!("{pid}-{}", started_at.0),
            pid,
            process: ProcessIdentity::own().ok(),
            started_at,
            boot_id: boot_id().map(|id| id.0).unwrap_or_default(),
            host: host_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            socket: layout.socket(),
            port,
            token_path: layout.token_file(),
            protocol: (1, 1),
        }
    }

    /// The one that is published; `None` when there is none or it cannot be read.
    pub fn read(layout: &Layout) -> Option<Self> {
        let bytes = std::fs::read(layout.instance_file()).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Refuses a home whose last worker still lives. A discovery file that cannot be read tells nothing
/// about that; it is kept aside, and where is the answer.
fn leave_to_the_living(layout: &Layout) -> Result<Option<PathBuf>, ClaimError> {
    let path = layout.instance_file();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ClaimError::Io { path, source }),
    };
    let Ok(left) = serde_json::from_slice::<Discovery>(&bytes) else {
        let aside = io_at(&path, keep_aside(layout, &path))?;
        tracing::warn!(aside = %aside.display(), "the discovery file could not be read");
        return Ok(Some(aside));
    };
    // Of another host nothing can be told; its lock, over a shared disk, neither: such disks are
    // refused.
    let is_here = left.host == host_name();
    let process = left.process.filter(|process| {
        is_here && process.pid != std::process::id() && process.check() == Standing::Alive
    });
    match process {
        Some(process) => Err(ClaimError::Lives(process.pid)),
        None => Ok(None),
    }
}

/// Moves a file into `set-aside/`, under a name that no other one has.
fn keep_aside(layout: &Layout, path: &Path) -> io::Result<PathBuf> {
    let dir = layout.set_aside_dir();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = dir.join(format!("{name}.{}", Uuid::now_v7().simple()));
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

/// The id of the install in a home; `None`: none was made yet, or it cannot be read. Makes nothing.
pub fn install_of(layout: &Layout) -> Option<String> {
    let text = std::fs::read_to_string(layout.install_file()).ok()?;
    let install = text.trim();
    (!install.is_empty()).then(|| install.to_owned())
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// The text of a small file; at the first call a random one.
fn read_or_mint(path: &Path) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Two version 4 UUIDs hold 244 random bits.
    let minted = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    write_private(path, minted.as_bytes())?;
    Ok(minted)
}

/// Replaces a file in one step, so that no reader sees half of it.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&temporary)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

fn io_at<T>(path: &Path, result: io::Result<T>) -> Result<T, ClaimError> {
    result.map_err(|source| ClaimError::Io {
        path: path.to_owned(),
        source,
    })
}
