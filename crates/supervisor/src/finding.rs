//! Looks for processes, and holds and signals none.
//!
//! What is found here was so at that moment: enough to say who is there and who is not, never
//! enough to signal. Blocks, so it runs on a blocking thread. Linux only.

use std::io;
use std::time::Duration;

use crate::descent::Descent;
use crate::identity::{ProcessIdentity, Standing};
use crate::living::{LivingProcess, pause, wait_all};
use crate::observe::read_stat;
use crate::tag::Tag;
use crate::tag_reader::{Reading, TagReader};

/// Between two looks that found nothing: longer than an exec has no environment.
pub(crate) const EMPTY_PAUSE: Duration = Duration::from_millis(20);

/// How often the newest processes are looked at for one that is always another. Such lives for some
/// 100 us, and is met every other time.
pub(crate) const PROBES: usize = 16;

/// Whom a look for tags found. Nobody is held.
#[derive(Debug, Default)]
pub(crate) struct Tagged {
    /// Pids with their tags.
    pub(crate) processes: Vec<(u32, Tag)>,
    /// Whose environment was told, in ascending order.
    told: Vec<u32>,
}

/// This user's processes, and others', with a tag that is `wanted`.
///
/// # Errors
/// When it cannot be told who lives.
pub(crate) fn tags_alive(wanted: &dyn Fn(&Tag) -> bool) -> io::Result<Tagged> {
    let mut found = Tagged::default();
    let mut reader = TagReader::new()?;
    for pid in reader.pids()? {
        match reader.read(pid)? {
            Reading::Empty | Reading::Hidden => continue,
            Reading::Tagged { tag, .. } if wanted(&tag) => found.processes.push((pid, tag)),
            Reading::Tagged { .. } | Reading::Untagged => {}
        }
        found.told.push(pid);
    }
    Ok(found)
}

/// Whom a first look may have missed: who was started while the directory was read, who was in the
/// middle of an exec and had no environment for that moment, and who is always a new process. Costs
/// little more than the directory, since nobody is read again whose environment was told.
///
/// A pid that was told and has gone to another since would be passed over. The kernel gives a
/// number again only after all the others, and the looks are milliseconds apart.
///
/// # Errors
/// When it cannot be told who lives.
pub(crate) fn look_again(
    first: &Tagged,
    wanted: &dyn Fn(&Tag) -> bool,
) -> io::Result<Vec<(u32, Tag)>> {
    pause(EMPTY_PAUSE);
    let mut missed = Vec::new();
    let mut reader = TagReader::new()?;
    for pid in reader.pids()? {
        if first.told.binary_search(&pid).is_ok() {
            continue;
        }
        if let Reading::Tagged { tag, .. } = reader.read(pid)?
            && wanted(&tag)
        {
            missed.push((pid, tag));
        }
    }
    for _probe in 0..PROBES {
        for pid in reader.newest()? {
            if let Reading::Tagged { tag, .. } = reader.read(pid)?
                && wanted(&tag)
            {
                missed.push((pid, tag));
            }
        }
    }
    Ok(missed)
}

/// Whether the process that has `pid` now carries `tag`.
pub(crate) fn has_tag(pid: u32, tag: &Tag) -> bool {
    let reading = TagReader::new().and_then(|mut reader| reader.read(pid));
    reading.is_ok_and(|reading| matches!(reading, Reading::Tagged { tag: its, .. } if its == *tag))
}

/// Who descends from the process with the pid `root`, which the caller keeps from being reaped, but
/// for those that carry another tag than `tag`, and who is below them.
pub(crate) fn below(root: u32, tag: &Tag) -> Vec<ProcessIdentity> {
    let Ok(mut reader) = TagReader::new() else {
        return Vec::new();
    };
    let descent = Descent::of(&reader.pids().unwrap_or_default());
    let mut found: Vec<ProcessIdentity> = Vec::new();
    let mut ancestors = vec![(root, None::<ProcessIdentity>)];
    while let Some((ancestor, identity)) = ancestors.pop() {
        for pid in descent.children(ancestor) {
            let Ok(child) = ProcessIdentity::of(pid) else {
                continue;
            };
            let is_anothers = match reader.read(pid) {
                Ok(Reading::Tagged { tag: its, .. }) => its != *tag,
                Ok(_) | Err(_) => false,
            };
            let is_child = read_stat(pid).is_ok_and(|stat| stat.parent == ancestor);
            // Either may have ended since, and its number may be another's by now.
            let is_alive = |one: &ProcessIdentity| one.check() == Standing::Alive;
            let is_so_still = is_alive(&child) && identity.as_ref().is_none_or(is_alive);
            if is_child && is_so_still && !is_anothers {
                ancestors.push((pid, Some(child.clone())));
                found.push(child);
            }
        }
    }
    found
}

/// Pid and start time of each child of this process that has ended and is not reaped.
pub(crate) fn children_that_ended() -> Vec<(u32, u64)> {
    let pids = TagReader::new().and_then(|mut reader| reader.pids());
    let children = Descent::of(&pids.unwrap_or_default()).children(std::process::id());
    let corpse = |pid| {
        let stat = read_stat(pid).ok()?;
        stat.is_dead().then_some((pid, stat.start_ticks))
    };
    children.into_iter().filter_map(corpse).collect()
}

/// Waits for the end of the process that `identity` was taken of, for `limit` at most. Signals
/// nothing.
pub(crate) fn wait_gone(identity: &ProcessIdentity, limit: Duration) {
    // One that cannot be held is not waited for; what it should have ended is looked for at once.
    if let Ok(Some(process)) = LivingProcess::identified(identity) {
        wait_all(std::iter::once(&process), limit);
    }
}
