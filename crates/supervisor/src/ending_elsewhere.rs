//! In place of `ending` where processes cannot be held and told apart: nothing is signalled.

use std::io;
use std::time::Duration;

use crate::control::Tally;
use crate::identity::ProcessIdentity;
use crate::report::Unkillable;
use crate::tag::Tag;

/// Whom to end.
#[expect(dead_code, reason = "nobody is ended here")]
pub(crate) struct Target<'a> {
    pub(crate) wanted: &'a dyn Fn(&Tag) -> bool,
    pub(crate) known: &'a [ProcessIdentity],
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) tally: Tally,
    pub(crate) unkillable: Vec<Unkillable>,
    pub(crate) barred: Vec<String>,
}

/// # Errors
/// Always.
pub(crate) fn end(_target: &Target<'_>, _grace: Duration) -> io::Result<Ending> {
    Err(io::ErrorKind::Unsupported.into())
}
