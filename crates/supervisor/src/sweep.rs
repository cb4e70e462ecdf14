//! Ends what earlier generations of this install have left, once, when a worker starts.
//!
//! What there is, `leftovers` finds by records and by tags. Ends whom a tag or the child's own
//! recorded identity names, and their descendants, through pidfds that were verified. What cannot
//! be told is reported and left, and so is everything of other installs.
//!
//! What has neither a tag nor a verified ancestor cannot be found: it wiped its environment, and
//! its shim was killed before it could end its tree. A shim that ends its tree after its worker's
//! death removes the record itself, so a record whose shim is gone tells of such a death, and the
//! report says whose.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

use crate::ending::{Ending, Target, end};
use crate::errors::chain;
use crate::finding::wait_gone;
use crate::identity::{ProcessIdentity, Standing};
use crate::leftovers::{Left, Leftovers, is_shim_lost, standing};
use crate::patience::ANSWER_MAX;
use crate::registry::SpawnRecord;
use crate::report::{StopEnd, Stopped, SweepReport};
use crate::supervisor::Inner;
use crate::tag::Tag;

/// A sweep under way; clones are the same one.
#[derive(Clone, Debug)]
pub struct Sweep {
    progress: watch::Receiver<Progress>,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    /// How many spawns of each session are still being ended. A session that has none is absent.
    sessions: HashMap<String, usize>,
    report: SweepReport,
}

impl Sweep {
    pub(crate) async fn begin(inner: Arc<Inner>) -> Self {
        let began_at = Instant::now();
        let looking = Arc::clone(&inner);
        let found = spawn_blocking(move || Leftovers::find(&looking)).await;
        let found = found.unwrap_or_else(|error| Leftovers {
            doubtful: vec![format!("looking for what is left: {error}")],
            ..Leftovers::default()
        });
        let mut progress = Progress::default();
        progress.report.cleared = found.cleared;
        progress.report.doubtful = found.doubtful;
        progress.report.shims_lost = found.shims_lost;
        progress.report.took_ms = ms_since(began_at);
        for left in &found.left {
            let session = left.tag.session().to_owned();
            *progress.sessions.entry(session).or_default() += 1;
        }
        inner.sweeping.take(found.left.iter().map(|left| &left.tag));
        let (sender, receiver) = watch::channel(progress);
        tokio::spawn(end_all(inner, found.left, sender, began_at));
        Self { progress: receiver }
    }

    /// Waits until nothing that was found of `session` lives any more, or nothing more can be done
    /// about it.
    pub async fn cleared(&self, session: &str) {
        let mut progress = self.progress.clone();
        // The sender goes only when all is done, or with the runtime.
        let _done = progress
            .wait_for(|progress| !progress.sessions.contains_key(session))
            .await;
    }

    /// Waits for the whole sweep.
    pub async fn finished(&self) -> SweepReport {
        let mut progress = self.progress.clone();
        let done = progress
            .wait_for(|progress| progress.sessions.is_empty())
            .await;
        drop(done);
        progress.borrow().report.clone()
    }
}

/// The spawns that are being swept: they have an owner, for as long.
#[derive(Debug, Default)]
pub(crate) struct Sweeping(Mutex<HashSet<Tag>>);

impl Sweeping {
    pub(crate) fn all(&self) -> HashSet<Tag> {
        self.lock().clone()
    }

    fn take<'a>(&self, tags: impl Iterator<Item = &'a Tag>) {
        self.lock().extend(tags.cloned());
    }

    fn release(&self, tag: &Tag) {
        self.lock().remove(tag);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Tag>> {
        // Nothing panics while it is held half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn end_all(
    inner: Arc<Inner>,
    left: Vec<Left>,
    progress: watch::Sender<Progress>,
    began_at: Instant,
) {
    let mut ending = JoinSet::new();
    for left in left {
        ending.spawn(end_left(Arc::clone(&inner), left, began_at));
    }
    let sweeping = &inner.sweeping;
    // A task that panicked leaves its session uncleared; the sender goes below, and nobody waits.
    while let Some(ended) = ending.join_next().await {
        let Ok(ended) = ended else { continue };
        sweeping.release(&ended.tag);
        progress.send_modify(|progress| {
            let session = ended.tag.session();
            if let Some(count) = progress.sessions.get_mut(session) {
                *count -= 1;
                if *count == 0 {
                    progress.sessions.remove(session);
                }
            }
            let report = &mut progress.report;
            if ended.is_shim_lost {
                report.shims_lost.push(ended.tag.to_string());
            }
            report.stopped.push(ended.stopped);
            report.doubtful.extend(ended.doubts);
            report.took_ms = ms_since(began_at);
        });
    }
}

struct Ended {
    tag: Tag,
    stopped: Stopped,
    is_shim_lost: bool,
    doubts: Vec<String>,
}

async fn end_left(inner: Arc<Inner>, left: Left, began_at: Instant) -> Ended {
    let Left { tag, record, shim } = left;
    let grace = inner.settings.grace;
    let had_shim = shim.is_some();
    let mut is_shim_lost = false;
    if let Some(shim) = shim {
        is_shim_lost = wait_for_shim(&inner, shim, record.as_ref(), grace + ANSWER_MAX).await;
    }
    let leader = record.as_ref().and_then(|record| record.leader.clone());
    let known = leader.into_iter().collect();
    let swept = end_spawn(tag.clone(), known, grace).await;
    let command = record.as_ref().map(|record| record.command.clone());
    let mut doubts = Vec::new();
    let (ending, how) = match swept {
        Ok(ending) => {
            let how = how(&ending, had_shim);
            (ending, how)
        }
        Err(error) => {
            doubts.push(format!("spawn {tag}: {error}"));
            (Ending::default(), StopEnd::Unkillable)
        }
    };
    if ending.tally.untouchable > 0 {
        inner.survivors.take_found(&tag, &ending.unkillable);
        let count = ending.tally.untouchable;
        doubts.push(format!("spawn {tag}: {count} processes cannot be ended"));
        let barred = ending.barred.into_iter();
        doubts.extend(barred.map(|why| format!("spawn {tag}: {why}")));
    } else if doubts.is_empty() {
        doubts.extend(settle(inner, record).await);
    }
    let stopped = Stopped {
        tag: tag.to_string(),
        command: command.unwrap_or_default(),
        pid: None,
        end: how,
        exit_code: None,
        exit_signal: None,
        killed: ending.tally.killed,
        untouchable: ending.tally.untouchable,
        unkillable: ending.unkillable,
        took_ms: ms_since(began_at),
    };
    Ended {
        tag,
        stopped,
        is_shim_lost,
        doubts,
    }
}

/// Waits for a shim's end, and tells whether it was killed before it had ended its tree.
async fn wait_for_shim(
    inner: &Arc<Inner>,
    shim: ProcessIdentity,
    record: Option<&SpawnRecord>,
    limit: Duration,
) -> bool {
    let (inner, record) = (Arc::clone(inner), record.cloned());
    let waited = spawn_blocking(move || {
        wait_gone(&shim, limit);
        let is_gone = shim.check() == Standing::Gone;
        is_gone && record.is_some_and(|record| is_shim_lost(&inner, &record))
    });
    // What is alive then is ended by its tag.
    waited.await.unwrap_or_default()
}

/// Ends what carries `tag` or is `known`, and what descends from either, on a blocking thread.
pub(crate) async fn end_spawn(
    tag: Tag,
    known: Vec<ProcessIdentity>,
    grace: Duration,
) -> io::Result<Ending> {
    let ended = spawn_blocking(move || {
        let target = Target {
            wanted: &|found| *found == tag,
            known: &known,
        };
        end(&target, grace)
    });
    ended.await.map_err(io::Error::other)?
}

/// Clears the record of a spawn of which nothing was left to end, unless its shim or the child
/// still lives.
async fn settle(inner: Arc<Inner>, record: Option<SpawnRecord>) -> Option<String> {
    let record = record?;
    let settled = spawn_blocking(move || {
        let tag = &record.tag;
        let leader = record
            .leader_standing(&inner.host)
            .unwrap_or(Standing::Gone);
        let problem = match (standing(&inner, &record), leader) {
            (Standing::Gone, Standing::Gone) => {
                let removed = inner.registry.remove(tag);
                chain(&removed.err()?)
            }
            (Standing::Unverifiable(doubt), _) | (_, Standing::Unverifiable(doubt)) => {
                doubt.to_string()
            }
            (Standing::Alive, _) | (_, Standing::Alive) => {
                "its process hides its tag and lives".to_owned()
            }
        };
        Some(format!("record of {tag}: {problem}"))
    });
    settled
        .await
        .unwrap_or_else(|error| Some(error.to_string()))
}

fn how(ending: &Ending, had_shim: bool) -> StopEnd {
    match ending.tally {
        tally if tally.untouchable > 0 => StopEnd::Unkillable,
        // The shim did it all, and this only watched.
        tally if had_shim && tally.terminated + tally.killed == 0 => StopEnd::Exited,
        _ => StopEnd::Swept,
    }
}

fn ms_since(began_at: Instant) -> u64 {
    u64::try_from(began_at.elapsed().as_millis()).unwrap_or(u64::MAX)
}
