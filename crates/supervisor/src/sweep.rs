//! Ends what earlier generations of this install have left, once, when a worker starts.
//!
//! Finds by records and by tags; ends by tags alone, through pidfds that were verified. What
//! cannot be told is reported and left, and so is everything of other installs.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

use crate::actor::{ANSWER_MAX, end_spawn};
use crate::control::Tally;
use crate::ending::{tags_alive, wait_gone};
use crate::errors::chain;
use crate::identity::{Doubt, ProcessIdentity, Standing};
use crate::registry::{Listing, SpawnRecord};
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
        let look = spawn_blocking(move || Look::around(&looking)).await;
        let look = look.unwrap_or_else(|error| Look {
            doubtful: vec![format!("looking for what is left: {error}")],
            ..Look::default()
        });
        let mut progress = Progress::default();
        progress.report.cleared = look.cleared;
        progress.report.doubtful = look.doubtful;
        progress.report.took_ms = ms_since(began_at);
        for left in &look.left {
            let session = left.tag.session().to_owned();
            *progress.sessions.entry(session).or_default() += 1;
        }
        let (sender, receiver) = watch::channel(progress);
        tokio::spawn(end_all(inner, look.left, sender, began_at));
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

/// A spawn of which something may live.
#[derive(Debug)]
struct Left {
    tag: Tag,
    record: Option<SpawnRecord>,
    /// Its shim, if that is verified to live: it is ending its tree already, since its lifeline
    /// went with its worker.
    shim: Option<ProcessIdentity>,
}

/// What was found at first sight.
#[derive(Debug, Default)]
struct Look {
    left: Vec<Left>,
    cleared: u64,
    doubtful: Vec<String>,
}

impl Look {
    fn around(inner: &Inner) -> Self {
        let mut look = Self::default();
        let listing = inner.registry.list().unwrap_or_else(|error| {
            look.doubtful
                .push(format!("read the process registry: {error}"));
            Listing::default()
        });
        for (path, problem) in listing.unreadable {
            look.doubtful.push(format!("{} {problem}", path.display()));
        }
        // After the records: nobody of an earlier generation starts anything any more, so what a
        // record names and this does not find has ended.
        let tagged = tags_alive(&|tag| is_earlier(inner, tag)).and_then(|mut tagged| {
            let mut records = listing.records.iter();
            if records.any(|record| is_earlier(inner, &record.tag)) {
                // A record is cleared on the strength of this; one look may miss a process that is
                // in the middle of an exec.
                let again = tags_alive(&|tag| is_earlier(inner, tag))?;
                tagged.tags.extend(again.tags);
            }
            Ok(tagged)
        });
        let mut tags = match tagged {
            Ok(tagged) => {
                if tagged.unverified > 0 {
                    let count = tagged.unverified;
                    let text = format!("{count} processes of earlier workers cannot be held");
                    look.doubtful.push(text);
                }
                tagged.tags
            }
            Err(error) => {
                look.doubtful.push(format!("look for processes: {error}"));
                // Without that look no record can be cleared.
                return look;
            }
        };
        for record in listing.records {
            look.judge(inner, record, &mut tags);
        }
        look.left.extend(tags.into_iter().map(|tag| Left {
            tag,
            record: None,
            shim: None,
        }));
        look
    }

    fn judge(&mut self, inner: &Inner, record: SpawnRecord, tags: &mut HashSet<Tag>) {
        let tag = record.tag.clone();
        if !is_earlier(inner, &tag) {
            if !tag.is_of_install(&inner.settings.install) {
                self.doubt(&tag, "it is of another install");
            }
            return;
        }
        let is_tagged = tags.remove(&tag);
        match standing(inner, &record) {
            Standing::Alive => self.left.push(Left {
                tag,
                shim: record.identity.clone(),
                record: Some(record),
            }),
            Standing::Gone if is_tagged => self.left.push(Left {
                tag,
                record: Some(record),
                shim: None,
            }),
            Standing::Gone => match inner.registry.remove(&tag) {
                Ok(()) => self.cleared += 1,
                Err(error) => self.doubt(&tag, &chain(&error)),
            },
            Standing::Unverifiable(doubt) => {
                self.doubt(&tag, &doubt.to_string());
                // Its processes are verified each by itself; only the record is in doubt.
                self.left.extend(is_tagged.then_some(Left {
                    tag,
                    record: None,
                    shim: None,
                }));
            }
        }
    }

    fn doubt(&mut self, tag: &Tag, problem: &str) {
        self.doubtful.push(format!("record of {tag}: {problem}"));
    }
}

/// Whether it is of this install, and not of this run.
fn is_earlier(inner: &Inner, tag: &Tag) -> bool {
    tag.is_of_install(&inner.settings.install) && tag.generation() != inner.settings.generation
}

/// What has become of a record's process. An intent of this host has none that its tag would not
/// find.
fn standing(inner: &Inner, record: &SpawnRecord) -> Standing {
    match record.standing(&inner.host) {
        Standing::Unverifiable(Doubt::NoIdentity) if record.host == inner.host => Standing::Gone,
        Standing::Unverifiable(Doubt::NoIdentity) => {
            Standing::Unverifiable(Doubt::OtherHost(record.host.clone()))
        }
        standing => standing,
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
        ending.spawn(end(Arc::clone(&inner), left, began_at));
    }
    // A task that panicked leaves its session uncleared; the sender goes below, and nobody waits.
    while let Some(ended) = ending.join_next().await {
        let Ok(ended) = ended else { continue };
        progress.send_modify(|progress| {
            let session = ended.tag.session();
            if let Some(count) = progress.sessions.get_mut(session) {
                *count -= 1;
                if *count == 0 {
                    progress.sessions.remove(session);
                }
            }
            progress.report.stopped.push(ended.stopped);
            progress.report.doubtful.extend(ended.doubt);
            progress.report.took_ms = ms_since(began_at);
        });
    }
}

struct Ended {
    tag: Tag,
    stopped: Stopped,
    doubt: Option<String>,
}

async fn end(inner: Arc<Inner>, left: Left, began_at: Instant) -> Ended {
    let Left { tag, record, shim } = left;
    let grace = inner.settings.grace;
    let had_shim = shim.is_some();
    if let Some(shim) = shim {
        wait_for_shim(shim, grace + ANSWER_MAX).await;
    }
    let swept = end_spawn(tag.clone(), grace).await;
    let tally = swept.as_ref().copied().unwrap_or_default();
    let command = record.as_ref().map(|record| record.command.clone());
    let doubt = match &swept {
        Err(error) => Some(format!("spawn {tag}: {error}")),
        Ok(_) if tally.untouchable > 0 => Some(format!(
            "spawn {tag}: {} processes cannot be ended",
            tally.untouchable
        )),
        Ok(_) => settle(inner, record).await,
    };
    let stopped = Stopped {
        tag: tag.to_string(),
        command: command.unwrap_or_default(),
        pid: None,
        end: how(&swept, had_shim),
        exit_code: None,
        exit_signal: None,
        killed: tally.killed,
        untouchable: tally.untouchable,
        unkillable: Vec::new(),
        took_ms: ms_since(began_at),
    };
    Ended {
        tag,
        stopped,
        doubt,
    }
}

async fn wait_for_shim(shim: ProcessIdentity, limit: Duration) {
    // What is alive then is ended by its tag.
    let _waited = spawn_blocking(move || wait_gone(&shim, limit)).await;
}

/// Clears the record of a spawn of which nothing tagged lives, unless its process still does.
async fn settle(inner: Arc<Inner>, record: Option<SpawnRecord>) -> Option<String> {
    let record = record?;
    let settled = spawn_blocking(move || {
        let tag = &record.tag;
        match standing(&inner, &record) {
            Standing::Gone => {
                let removed = inner.registry.remove(tag);
                removed
                    .err()
                    .map(|error| format!("record of {tag}: {error}"))
            }
            Standing::Alive => Some(format!(
                "record of {tag}: its process hides its tag and lives"
            )),
            Standing::Unverifiable(doubt) => Some(format!("record of {tag}: {doubt}")),
        }
    });
    settled
        .await
        .unwrap_or_else(|error| Some(error.to_string()))
}

fn how(swept: &io::Result<Tally>, had_shim: bool) -> StopEnd {
    match swept {
        Ok(tally) if tally.untouchable > 0 => StopEnd::Unkillable,
        // The shim did it all, and this only watched.
        Ok(tally) if had_shim && tally.terminated + tally.killed == 0 => StopEnd::Exited,
        Ok(_) => StopEnd::Swept,
        Err(_unknown) => StopEnd::Unkillable,
    }
}

fn ms_since(began_at: Instant) -> u64 {
    u64::try_from(began_at.elapsed().as_millis()).unwrap_or(u64::MAX)
}
