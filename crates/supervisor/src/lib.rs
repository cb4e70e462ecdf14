//! Child processes with an identity.
//!
//! The supervisor's promise is that nothing started for a session outlives it, and that nothing
//! else is ever signalled. It knows neither sessions nor storage: what it works for is an opaque
//! [`Tag`], what it remembers is one file a spawn.
//!
//! # Theory of operation
//!
//! **A pid is not a process.** The kernel gives a number again as soon as its process is reaped,
//! and a second start within the same clock tick has the same start time too. A
//! [`ProcessIdentity`] is therefore the pid with the boot it was seen in, the start time in ticks
//! and, from Linux 6.9, the inode of its pidfd, which is not used twice in one boot. Asking for
//! its [`Standing`] has three answers: it is alive, it is gone, or it cannot be told. The third is
//! reported and never acted on.
//!
//! **Intent, then fact.** A [`SpawnRecord`] without an identity is on disk before its process is
//! started, and is written again with the identity afterwards. Whatever moment the worker dies at,
//! the [`Registry`] names everything that may be running; a record too many is cleared by the next
//! start, a record too few would be a leak nobody knows of.
//!
//! **The tag is the net below.** Every child carries its tag in the environment, and inherits it
//! to its own. An intent whose process never got an identity is found again by its tag, and a hook
//! that runs inside a child knows from it that it must stay quiet.
//!
//! # What this version holds
//!
//! The part that starts and signals nothing: tags, identities, the registry. Starting children,
//! killing their trees and sweeping after a crash build on it.
//!
//! # Platforms
//!
//! Linux gives every fact, the pidfd's inode from 6.9 on. Elsewhere (macOS) this compiles and no
//! identity can be had: [`ProcessIdentity::of`] answers [`IdentityError::Hidden`], and every
//! standing is [`Standing::Unverifiable`]. The start time of another process is behind libproc
//! there, which needs `unsafe`.
//!
//! # Modules, in reading order
//!
//! - [`tag`]: whom a process was started for, as text in its environment
//! - [`boot`]: which boot of which host this is
//! - [`identity`]: one process, told apart from a later one with its pid
//! - `observe`: what the kernel says of a pid now
//! - [`registry`]: one file a spawn

mod actor;
pub mod boot;
mod capture;
pub mod child;
pub mod command;
pub mod control;
#[cfg(target_os = "linux")]
mod ending;
#[cfg(not(target_os = "linux"))]
#[path = "ending_elsewhere.rs"]
mod ending;
pub mod identity;
mod lines;
#[cfg(target_os = "linux")]
mod living;
mod observe;
mod output_file;
mod pipe;
pub mod registry;
pub mod report;
mod shim;
mod spawn;
pub mod supervisor;
pub mod sweep;
pub mod tag;
mod tree;

pub use boot::{BootError, BootId, boot_id, host_name};
pub use child::{Child, ChildControl, ChildInput, ChildLines, Line};
pub use command::Command;
pub use control::Exit;
pub use identity::{Doubt, IdentityError, ProcessIdentity, Standing};
pub use registry::{Listing, OpenError, PutError, Registry, RemoveError, SpawnRecord};
pub use report::{SpawnInfo, StopEnd, StopReport, Stopped, StreamInfo, SweepReport, TreeProcess};
pub use supervisor::{Settings, SpawnError, Supervisor, SupervisorError};
pub use sweep::Sweep;
pub use tag::{TAG_VARIABLE, Tag, TagError};
