//! What earlier generations of this install have left, at first sight.
//!
//! Reads records and tags and decides what may live, what is over and what cannot be told. Removes
//! the records of what is over; ends nobody.

use std::collections::HashSet;
use std::io;

use crate::boot;
use crate::errors::chain;
use crate::finding::{Tagged, look_again, tags_alive};
use crate::identity::{Doubt, ProcessIdentity, Standing};
use crate::registry::{Listing, SpawnRecord};
use crate::supervisor::Inner;
use crate::tag::Tag;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    pub(crate) left: Vec<Left>,
    /// How many records were removed, since nothing of theirs lives.
    pub(crate) cleared: u64,
    pub(crate) shims_lost: Vec<String>,
    pub(crate) doubtful: Vec<String>,
}

/// A spawn of which something may live.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) tag: Tag,
    /// `None` also for one that is in doubt: it is kept whatever becomes of the processes.
    pub(crate) record: Option<SpawnRecord>,
    /// Its shim, if that is verified to live: it is ending its tree already, since its lifeline
    /// went with its worker.
    pub(crate) shim: Option<ProcessIdentity>,
}

impl Left {
    fn tagged(tag: Tag, record: Option<SpawnRecord>) -> Self {
        let shim = None;
        Self { tag, record, shim }
    }
}

impl Leftovers {
    /// Looks around, and clears the records of which nothing is left. Blocks.
    pub(crate) fn find(inner: &Inner) -> Self {
        let mut leftovers = Self::default();
        let listing = inner.registry.list().unwrap_or_else(|error| {
            leftovers
                .doubtful
                .push(format!("read the process registry: {error}"));
            Listing::default()
        });
        for (path, problem) in listing.unreadable {
            match inner.registry.clear_of_earlier_boot(&path) {
                Ok(true) => leftovers.cleared += 1,
                Ok(false) | Err(_) => {
                    let text = format!("{} {problem}", path.display());
                    leftovers.doubtful.push(text);
                }
            }
        }
        // After the records: nobody of an earlier generation starts anything any more, so what a
        // record names and this does not find has ended.
        let found = tags_alive(&|tag| is_earlier(inner, tag));
        let Some(found) = leftovers.or_doubt(found) else {
            // Without that look no record can be cleared.
            return leftovers;
        };
        let mut tags: HashSet<Tag> = found.processes.iter().map(|(_, tag)| tag.clone()).collect();
        let mut unfound = listing.records;
        unfound.retain(|record| leftovers.judge(inner, record, tags.remove(&record.tag)));
        let left = tags.into_iter().map(|tag| Left::tagged(tag, None));
        leftovers.left.extend(left);
        leftovers.clear(inner, unfound, &found);
        leftovers
    }

    /// Takes up what may live of a record's spawn. Tells whether nothing was found of it.
    fn judge(&mut self, inner: &Inner, record: &SpawnRecord, is_tagged: bool) -> bool {
        let tag = &record.tag;
        if !is_earlier(inner, tag) {
            if !tag.is_of_install(&inner.settings.install) {
                self.doubt(tag, "it is of another install");
            }
            return false;
        }
        let leader = record.leader_standing(&inner.host);
        let shim = standing(inner, record);
        if shim == Standing::Gone && is_shim_lost(inner, record) {
            self.shims_lost.push(tag.to_string());
        }
        match (shim, leader.unwrap_or(Standing::Gone)) {
            (Standing::Alive, _) => self.left.push(Left {
                tag: tag.clone(),
                shim: record.identity.clone(),
                record: Some(record.clone()),
            }),
            (Standing::Unverifiable(doubt), _) | (_, Standing::Unverifiable(doubt)) => {
                self.doubt(tag, &doubt.to_string());
                // Its processes are verified each by itself; only the record is in doubt.
                let left = is_tagged.then(|| Left::tagged(tag.clone(), None));
                self.left.extend(left);
            }
            (Standing::Gone, Standing::Gone) if !is_tagged => return true,
            (Standing::Gone, _) => {
                let left = Left::tagged(tag.clone(), Some(record.clone()));
                self.left.push(left);
            }
        }
        false
    }

    /// Clears the records of which nothing was found, after a second look.
    fn clear(&mut self, inner: &Inner, unfound: Vec<SpawnRecord>, first: &Tagged) {
        let may_live = |record: &SpawnRecord| !is_of_earlier_boot(record);
        let missed = if unfound.iter().any(may_live) {
            let again = look_again(first, &|tag| is_earlier(inner, tag));
            match self.or_doubt(again) {
                Some(missed) => missed,
                None => return,
            }
        } else {
            Vec::new()
        };
        let mut missed: HashSet<Tag> = missed.into_iter().map(|(_, tag)| tag).collect();
        missed.retain(|tag| !self.left.iter().any(|left| left.tag == *tag));
        for record in unfound {
            let tag = record.tag.clone();
            if missed.remove(&tag) {
                self.left.push(Left::tagged(tag, Some(record)));
                continue;
            }
            match inner.registry.remove(&tag) {
                Ok(()) => self.cleared += 1,
                Err(error) => self.doubt(&tag, &chain(&error)),
            }
        }
        let left = missed.into_iter().map(|tag| Left::tagged(tag, None));
        self.left.extend(left);
    }

    fn or_doubt<T>(&mut self, looked: io::Result<T>) -> Option<T> {
        let failed = |error| self.doubtful.push(format!("look for processes: {error}"));
        looked.map_err(failed).ok()
    }

    fn doubt(&mut self, tag: &Tag, problem: &str) {
        self.doubtful.push(format!("record of {tag}: {problem}"));
    }
}

/// Whether the shim of a record, which is gone, was killed: otherwise it would have removed the
/// record before it ended. What had a boot of its own ended with that.
pub(crate) fn is_shim_lost(inner: &Inner, record: &SpawnRecord) -> bool {
    let had_shim = record.identity.is_some() && !is_of_earlier_boot(record);
    had_shim && inner.registry.holds(&record.tag)
}

fn is_of_earlier_boot(record: &SpawnRecord) -> bool {
    let identity = record.identity.as_ref();
    identity.is_some_and(|identity| boot::boot_id().is_ok_and(|boot| boot != identity.boot_id))
}

/// Whether it is of this install, and not of this run.
fn is_earlier(inner: &Inner, tag: &Tag) -> bool {
    tag.is_of_install(&inner.settings.install) && tag.generation() != inner.settings.generation
}

/// What has become of a record's process. An intent of this host has none that its tag would not
/// find.
pub(crate) fn standing(inner: &Inner, record: &SpawnRecord) -> Standing {
    match record.standing(&inner.host) {
        Standing::Unverifiable(Doubt::NoIdentity) if record.host == inner.host => Standing::Gone,
        Standing::Unverifiable(Doubt::NoIdentity) => {
            Standing::Unverifiable(Doubt::OtherHost(record.host.clone()))
        }
        standing => standing,
    }
}
