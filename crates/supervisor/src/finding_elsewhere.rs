//! In place of `finding` where processes show neither their tags nor who they are.

use std::io;
use std::time::Duration;

use crate::identity::ProcessIdentity;
use crate::tag::Tag;

/// Whom a look for tags found.
#[derive(Debug, Default)]
pub(crate) struct Tagged {
    pub(crate) processes: Vec<(u32, Tag)>,
}

/// # Errors
/// Always.
pub(crate) fn tags_alive(_wanted: &dyn Fn(&Tag) -> bool) -> io::Result<Tagged> {
    Err(io::ErrorKind::Unsupported.into())
}

/// # Errors
/// Always.
pub(crate) fn look_again(
    _first: &Tagged,
    _wanted: &dyn Fn(&Tag) -> bool,
) -> io::Result<Vec<(u32, Tag)>> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn has_tag(_pid: u32, _tag: &Tag) -> bool {
    false
}

pub(crate) fn below(_root: u32, _tag: &Tag) -> Vec<ProcessIdentity> {
    Vec::new()
}

pub(crate) fn children_that_ended() -> Vec<(u32, u64)> {
    Vec::new()
}

pub(crate) fn wait_gone(_identity: &ProcessIdentity, _limit: Duration) {}
