//! How well processes can be told apart and ended here, and why not better.

use serde::{Deserialize, Serialize};

/// From best to worst. Each lacks what the ones before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Subreaper, pidfds and their inodes: no pid that was given again can be mistaken (Linux 6.9).
    Full,
    /// Without inodes: two processes with one pid and one start tick look the same until a pidfd
    /// is held (Linux 5.3).
    Ticks,
    /// Without pidfds: the shims still end their trees, and what outlives a shim is reported and
    /// never signalled.
    Shims,
    /// Nothing can be started.
    None,
}

/// What this machine offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierReport {
    /// Which it is.
    pub tier: Tier,
    /// What keeps it from a better one, each in words; empty for [`Tier::Full`].
    pub missing: Vec<String>,
}
