//! The home directory: made, and refused when it is not fit to hold a worker's state.
//!
//! It is a directory of ours that nobody else may enter, and no link: a worker and its hooks reach it
//! by one name each time, and what the name leads to must not change under them. Links above it are
//! the owner's business. `contents` looks at what lies in it.

mod contents;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

use crate::errors::chain;
use crate::generator::output_root;
use crate::wire::layout::Layout;

/// The home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It is not ours, others can get at it, or it cannot hold a lock.
    #[error("use the directory {path}: {problem}")]
    Unfit {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and how to mend it.
        problem: String,
    },
    /// Something in it, or above it, lets others in.
    #[error("use {path}: {problem}")]
    UnfitFile {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong, and how to mend it.
        problem: String,
    },
    /// It could not be made or examined.
    #[error("prepare {path}")]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Makes the home and its directories with mode 0700, and checks those that are there.
pub fn prepare(layout: &Layout) -> Result<(), HomeError> {
    for path in directories(layout) {
        // Looked at before something is made in it: it may lead elsewhere.
        check_directory(&path)?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| HomeError::Io { path, source })?;
    }
    check(layout)
}

/// Checks those directories of the home that are there, and what lies in them.
pub fn check(layout: &Layout) -> Result<(), HomeError> {
    let mut all = directories(layout).to_vec();
    // Made when there is something to put in them.
    all.extend([output_root(layout.root()), layout.set_aside_dir()]);
    for path in &all {
        check_directory(path)?;
    }
    contents::check(layout, &all)?;
    let root = layout.root();
    let problem = match network_file_system(root) {
        Ok(Some(name)) => format!(
            "it lies on a network file system ({name}), where locks and the write-ahead log \
             cannot be trusted; set SESSIOND_HOME to a local directory"
        ),
        Ok(None) => return Ok(()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            let path = root.to_owned();
            return Err(HomeError::Io { path, source });
        }
    };
    let path = root.to_owned();
    Err(HomeError::Unfit { path, problem })
}

/// Why no worker can start in this home, in words; `None` when nothing is against it. Makes nothing.
pub fn problem(layout: &Layout) -> Option<String> {
    match check(layout) {
        Err(error) => Some(chain(&error)),
        Ok(()) => directories(layout).iter().find_map(|dir| obstacle(dir)),
    }
}

/// Why `dir`, or the nearest directory above it that is there, does not let a file be made in it.
pub fn obstacle(dir: &Path) -> Option<String> {
    for path in dir.ancestors() {
        let name = path.display();
        match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Some(format!("{name} is not a directory"));
            }
            Ok(_) => {
                let access = access(path, AccessFlags::W_OK | AccessFlags::X_OK);
                let refused = access.err()?;
                return Some(format!("write to the directory {name}: {}", refused.desc()));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => return Some(format!("examine {name}: {error}")),
        }
    }
    None
}

fn directories(layout: &Layout) -> [PathBuf; 5] {
    [
        layout.root().to_owned(),
        layout.spool_dir(),
        layout.rejected_dir(),
        layout.log_dir(),
        layout.process_dir(),
    ]
}

fn check_directory(path: &Path) -> Result<(), HomeError> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            let path = path.to_owned();
            return Err(HomeError::Io { path, source });
        }
    };
    let mode = metadata.mode() & 0o777;
    let name = path.display();
    let (owner, us) = (metadata.uid(), geteuid());
    let problem = if metadata.is_symlink() {
        "it is a symbolic link; set SESSIOND_HOME to where it leads".to_owned()
    } else if !metadata.is_dir() {
        "it is not a directory".to_owned()
    } else if owner != us.as_raw() {
        format!("it belongs to user {owner}, not to {us}; if it is yours: chown -R {us} {name}")
    } else if mode & 0o077 != 0 {
        format!("others may enter it (mode {mode:03o}); mend it with: chmod 700 {name}")
    } else {
        return Ok(());
    };
    let path = path.to_owned();
    Err(HomeError::Unfit { path, problem })
}

/// The name of the network file system that `path` lies on.
#[cfg(target_os = "linux")]
fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    // The magic numbers of linux/magic.h and the kernel's network file systems.
    const KNOWN: [(i64, &str); 8] = [
        (0x6969, "nfs"),
        (0x517b, "smb"),
        (0xff53_4d42, "cifs"),
        (0xfe53_4d42, "smb2"),
        (0x0102_1997, "9p"),
        (0x7375_7245, "coda"),
        (0x5346_414f, "afs"),
        (0x00c3_6400, "ceph"),
    ];
    let magic = nix::sys::statfs::statfs(path)?.filesystem_type().0;
    // The field's width and sign differ between architectures; the numbers have 32 bits.
    let magic = i64::from(magic as u32);
    Ok(KNOWN
        .iter()
        .find(|(known, _)| *known == magic)
        .map(|(_, name)| *name))
}

/// Elsewhere the file system is not examined.
#[cfg(not(target_os = "linux"))]
fn network_file_system(_path: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}
