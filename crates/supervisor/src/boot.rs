//! Which boot of which host this is.
//!
//! Pids, start times and pidfd inodes mean something within one boot only.

use serde::{Deserialize, Serialize};

/// One boot of one kernel: random, made by the kernel at its start. Containers on one kernel
/// share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct BootId(pub String);

/// The running boot.
///
/// # Errors
/// [`BootError`] where the kernel does not tell: `/proc` is not mounted, or it is not Linux.
pub fn boot_id() -> Result<BootId, BootError> {
    #[cfg(target_os = "linux")]
    {
        const PATH: &str = "/proc/sys/kernel/random/boot_id";
        // No process sees two boots, and each record of hundreds is asked for its own.
        static BOOT_ID: std::sync::OnceLock<BootId> = std::sync::OnceLock::new();
        if let Some(id) = BOOT_ID.get() {
            return Ok(id.clone());
        }
        let text = std::fs::read_to_string(PATH).map_err(BootError::Read)?;
        match text.trim() {
            "" => Err(BootError::Empty),
            id => Ok(BOOT_ID.get_or_init(|| BootId(id.to_owned())).clone()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    Err(BootError::Unsupported)
}

/// When the running boot began, in whole seconds since the Unix epoch, by the clock as it is set
/// now; `None` where the kernel does not tell.
pub(crate) fn boot_time_s() -> Option<i64> {
    #[cfg(target_os = "linux")]
    {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        seconds.trim().parse().ok()
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The boot id could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The kernel's file could not be read.
    #[error("read the boot id")]
    Read(#[source] std::io::Error),
    /// The kernel's file held nothing.
    #[error("read the boot id: it is empty")]
    Empty,
    /// This platform has none that can be read without `unsafe`.
    #[error("read the boot id: not on this platform")]
    Unsupported,
}

/// The host's name, as `uname -n` prints it. It may change while the host runs: tell hosts apart
/// by their [`BootId`] first.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
