//! An address for a unix socket whose path may be longer than the kernel takes.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Bytes of a socket's path, without the closing NUL, that every Unix takes.
#[cfg(target_os = "linux")]
const PATH_MAX_BYTES: usize = 107;
#[cfg(not(target_os = "linux"))]
const PATH_MAX_BYTES: usize = 103;

/// A path to bind or connect to, valid for as long as this value lives.
#[derive(Debug)]
pub struct SocketAddress {
    path: PathBuf,
    // Keeps the number in `path` from being given to another file.
    _dir: Option<File>,
}

impl SocketAddress {
    /// What to bind or connect to.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The address of the socket at `path`. A path that is too long goes through a descriptor of its
/// directory, where the system has `/proc`.
///
/// # Errors
/// The directory cannot be opened, or the path is too long for this system (`InvalidInput`).
pub fn socket_address(path: &Path) -> io::Result<SocketAddress> {
    if path.as_os_str().as_bytes().len() <= PATH_MAX_BYTES {
        let path = path.to_owned();
        return Ok(SocketAddress { path, _dir: None });
    }
    let (Some(parent), Some(name), true) =
        (path.parent(), path.file_name(), cfg!(target_os = "linux"))
    else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = File::open(parent)?;
    let path = Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(name);
    Ok(SocketAddress {
        path,
        _dir: Some(dir),
    })
}
