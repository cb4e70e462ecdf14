//! In place of `ending` where processes cannot be held and told apart: nothing is found and
//! nothing is signalled.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use crate::control::Tally;
use crate::identity::ProcessIdentity;
use crate::tag::Tag;

/// Whom a look found.
#[derive(Debug, Default)]
pub(crate) struct Tagged {
    pub(crate) tags: HashSet<Tag>,
    pub(crate) unverified: u32,
}

/// # Errors
/// Always.
pub(crate) fn tags_alive(_wanted: &dyn Fn(&Tag) -> bool) -> io::Result<Tagged> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn wait_gone(_identity: &ProcessIdentity, _limit: Duration) {}

/// # Errors
/// Always.
pub(crate) fn end_tagged(_wanted: &dyn Fn(&Tag) -> bool, _grace: Duration) -> io::Result<Tally> {
    Err(io::ErrorKind::Unsupported.into())
}
