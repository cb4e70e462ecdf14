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
//! [`ProcessIdentity`] is therefore the pid with the boot and the pid namespace it was seen in, the
//! start time in ticks and, from Linux 6.9, the inode of its pidfd, which is not used twice in one
//! boot. Asking for its [`Standing`] has three answers: it is alive, it is gone, or it cannot be
//! told. The third is reported and never acted on. [`Inspection::tier`] tells how much of this a
//! machine offers.
//!
//! **Intent, then fact.** A [`SpawnRecord`] without an identity is in the [`Registry`] before its
//! process is started, and is written again with the identities of shim and child afterwards.
//! Whatever moment the worker dies at, the registry names everything that may be running; a record
//! too many is cleared by the next start, a record too few would be a leak nobody knows of. None is
//! synced: no process outlives the boot that its record is about.
//!
//! **The tag is the net below.** Every child carries its tag in the environment, and inherits it
//! to its own. An intent whose process never got an identity is found again by its tag, and a hook
//! that runs inside a child knows from it that it must stay quiet.
//!
//! **The shim is the means.** Every child runs under `sessiond-shim`, one a spawn, which adopts
//! what its tree orphans, so that nobody gets away from it. It ends the tree on an order, when the
//! child exits, and when its control socket ends, which is the worker's death: no crash of the
//! worker leaves a tree. It is executed from a descriptor that was opened once, without `pre_exec`.
//!
//! **One actor a spawn.** [`Supervisor::spawn`] enters the spawn into a table and starts a task
//! that owns everything of it: the record, the shim, the socket, standard error. The caller's
//! future only waits, so it may be dropped at any moment. Handles ask for the end, and wait for
//! stages that are only ever passed forwards:
//!
//! ```text
//! Starting --started--> Running --exited--> ChildOver --gone--> TreeOver --record removed--> Over
//!     | failed              | the shim vanished: ended by tag      ^          answers are given
//!     +---------------------+--------------------------------------+
//! ```
//!
//! A record is removed when its tree is verified to be empty, and kept when something of it could
//! not be ended: who that is stays known for as long as it lives. The shim removes it before it
//! says so, hence a record whose shim is gone tells that the shim was killed; the worker removes it
//! where there is no shim to do so. A shim answers each order at once; one that does not is killed,
//! and what carries the spawn's tag, or was below that shim, is ended from here.
//!
//! **Every want has a limit.** There are at most so many spawns, started at most so fast, and a
//! child may be given limits that its shim does not have. What a machine lacks at a start is told
//! apart from what the program lacks ([`SpawnError`]), and nothing is left behind by either.
//!
//! **Output waits, errors do not.** What is not read of a child's standard output stays in the
//! pipe. Standard error is always read. Both are kept: their ends in memory, all of them in files,
//! whose disk may be slow or full without anybody waiting for it. The end of output is the end of
//! file, or what the pipe held when the child exited: others that hold it put nothing off.
//!
//! **Signals go through pidfds.** Where no shim can do it (it was killed, or its whole worker's
//! time is over) processes are found by their tag, by the child's recorded identity, and from these
//! on by parentage; held by a pidfd, looked at again, and only then signalled.
//! [`Supervisor::sweep`] does so once for earlier generations of the install. Other installs and
//! what descends from theirs, this generation, this process with its group, and init are never
//! touched: who of them carries a tag that is swept is reported. Where the kernel gives no pidfds
//! nobody is signalled.
//!
//! **What runs and what is recorded** may disagree after a crash. [`Supervisor::inspect`] tells
//! where, also from beside a worker that runs, and [`Supervisor::fix`] mends it; what a running
//! spawn or the sweep owns is in neither.
//!
//! # What cannot be done
//!
//! A process that wipes its environment escapes the tag but not the shim. If its shim is killed, the
//! worker too or not, and it is neither the child itself nor below somebody who is found, it is
//! found by nobody. [`SweepReport::shims_lost`] says whose shims that happened to. Who took other
//! rights is named and left ([`Unkillable`]).
//!
//! # Platforms
//!
//! Linux gives every fact, the pidfd's inode from 6.9 on. Elsewhere (macOS) this compiles, nothing
//! is found by a tag, and no identity can be had: [`ProcessIdentity::of`] answers [`IdentityError::Hidden`], and every
//! standing is [`Standing::Unverifiable`]. The start time of another process is behind libproc
//! there, which needs `unsafe`.
//!
//! # Modules, in reading order
//!
//! - [`tag`]: whom a process was started for, as text in its environment
//! - [`boot`]: which boot of which host this is
//! - [`identity`]: one process, told apart from a later one with its pid
//! - `observe`: what the kernel says of a pid now
//! - [`exit_watch`]: waits for the end of a process that is nobody's child here
//! - [`registry`]: one file a spawn
//! - [`supervisor`]: the entrance
//! - [`command`], [`child`], [`report`]: what goes in, what is held, what is said
//! - `spawn`: what is known of one spawn, and the table of all
//! - `actor`: the one owner of a spawn, from its intent to its end; `pace`: when it may begin,
//!   `recorder`: what it leaves on disk, `follow`: its talk with a shim, `patience`: how long it waits
//! - [`observer`]: who is told of each beginning and end
//! - `spawn_error`: why there is no child; `counters`: what is counted
//! - `shim`: starts a shim and talks with it; [`control`]: in these words
//! - `pipe`, `lines`: reading a child; `capture`, `output_file`: keeping what was read
//! - `tag_reader`, `descent`: who carries which tag, and who is whose child; `finding`: looks by
//!   these
//! - `living`: a process held by its pidfd, and the one place that signals; `ending`: ends what a
//!   spawn without a shim has left
//! - `unkillable`, `survivors`: who could not be ended
//! - [`sweep`]: ends what earlier generations have left, which `leftovers` finds
//! - [`tier`]: what this machine offers; [`inspect`]: whether what runs and what is recorded agree,
//!   `headroom`: how far the limits are; `fix`: mends it
//! - `tree`: what a spawn's processes use, for people

mod actor;
pub mod boot;
mod capture;
pub mod child;
pub mod command;
pub mod control;
mod counters;
#[cfg(target_os = "linux")]
mod descent;
#[cfg(target_os = "linux")]
mod ending;
#[cfg(not(target_os = "linux"))]
#[path = "ending_elsewhere.rs"]
mod ending;
mod errors;
pub mod exit_watch;
#[cfg(target_os = "linux")]
mod finding;
#[cfg(not(target_os = "linux"))]
#[path = "finding_elsewhere.rs"]
mod finding;
mod fix;
mod follow;
mod headroom;
pub mod identity;
pub mod inspect;
mod leftovers;
mod lines;
#[cfg(target_os = "linux")]
mod living;
mod observe;
pub mod observer;
mod output_file;
mod pace;
mod patience;
mod pipe;
mod recorder;
pub mod registry;
pub mod report;
mod shim;
mod spawn;
mod spawn_error;
pub mod step;
pub mod supervisor;
mod survivors;
pub mod sweep;
pub mod tag;
#[cfg(target_os = "linux")]
mod tag_reader;
pub mod tier;
mod tree;
mod unkillable;

pub use boot::{BootError, BootId, boot_id, host_name};
pub use child::{Child, ChildControl, ChildInput, ChildLines, Line};
pub use command::{Command, ProcessLimits};
pub use control::Exit;
pub use exit_watch::{ExitWatch, WatchError};
pub use identity::{Doubt, IdentityError, ProcessIdentity, Standing};
pub use inspect::{Fix, Headroom, Inspection, StaleRecord, Stray, UnreadableRecord};
pub use observer::{Life, Observer};
pub use registry::{Listing, OpenError, PutError, Registry, RemoveError, SpawnRecord};
pub use report::{
    Counts, SpawnInfo, StopEnd, StopReport, Stopped, StreamInfo, SweepReport, TreeProcess,
    Unkillable,
};
pub use spawn_error::{Resource, SpawnError};
pub use step::{Step, StepHook};
pub use supervisor::{Settings, Supervisor};
pub use sweep::Sweep;
pub use tag::{TAG_VARIABLE, Tag, TagError};
pub use tier::{Tier, TierReport};
