//! Files with backlogs, small and big, built once a run for all rows that are about depth.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sessiond::clock::Clock;
use sessiond_queue::ids::{Generation, SessionId};
use sessiond_queue::store::Store as _;

use super::Sizes;
use super::load::{self, Queue};
use crate::table::Table;

/// Bytes of a payload: the depth is what matters here, and the files are to be built in time.
const PAYLOAD: &str = r#"{"text":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#;

/// Sessions that are filled by turns, before the next ones are: as many as the writer remembers, and
/// enough that a session's messages are far from each other in the file.
const TOGETHER: usize = 1_000;

/// Two homes whose queues differ in depth alone.
pub(super) struct Pair {
    /// How the sessions are, for the table.
    pub(super) name: String,
    pub(super) small: Home,
    pub(super) big: Home,
}

/// A home of a worker, with a backlog in its queue.
pub(super) struct Home(PathBuf);

impl Home {
    /// Makes one with `pending` messages over `sessions` sessions, one behind the other. With fewer
    /// messages than sessions the rest of the sessions is empty.
    pub(super) async fn build(
        root: PathBuf,
        pending: usize,
        sessions: usize,
    ) -> anyhow::Result<Self> {
        DirBuilder::new().mode(0o700).create(&root)?;
        let home = Self(root);
        let sessions: Vec<_> = (0..sessions)
            .map(|number| load::session("backlog", number))
            .collect();
        let store = load::open_to_fill(&home.queue()).await?;
        load::ids(&store, &sessions).await?;
        for chunk in sessions.chunks(TOGETHER) {
            let events = pending * chunk.len() / sessions.len();
            load::fill(&store, chunk, events, PAYLOAD).await?;
        }
        store.close().await;
        Ok(home)
    }

    /// One that was made before.
    pub(super) fn at(root: &Path) -> Self {
        Self(root.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn queue(&self) -> PathBuf {
        self.0.join("queue.db")
    }

    fn mib(&self) -> u64 {
        std::fs::metadata(self.queue()).map_or(0, |file| file.len() >> 20)
    }
}

/// Builds one pair with one session and one with many.
pub(super) async fn build(sizes: &Sizes, dir: &Path, table: &Table) -> anyhow::Result<[Pair; 2]> {
    Ok([
        pair(sizes, dir, table, 1, "1 session").await?,
        pair(
            sizes,
            dir,
            table,
            sizes.sessions,
            &format!("{} sessions", sizes.sessions),
        )
        .await?,
    ])
}

async fn pair(
    sizes: &Sizes,
    dir: &Path,
    table: &Table,
    sessions: usize,
    name: &str,
) -> anyhow::Result<Pair> {
    let root = |size| dir.join(format!("{size}-{sessions}"));
    let small = Home::build(root("small"), sizes.small, sessions).await?;
    let began = Instant::now();
    let big = Home::build(root("big"), sizes.big, sessions).await?;
    table.note(&format!(
        "({} pending of {} bytes in {name}: built in {:.1} s, {} MiB; beside it {} pending, in {} of as many sessions)",
        sizes.big,
        PAYLOAD.len(),
        began.elapsed().as_secs_f64(),
        big.mib(),
        sizes.small,
        sizes.small.min(sessions),
    ));
    Ok(Pair {
        name: name.to_owned(),
        small,
        big,
    })
}

/// A store of a pair, opened, as the next generation; its sessions with work, shuffled so that
/// neighbours in the list are not neighbours in the file.
pub(super) struct Opened {
    pub(super) store: Queue,
    pub(super) generation: Generation,
    pub(super) sessions: Vec<SessionId>,
}

pub(super) async fn open(home: &Home) -> anyhow::Result<Opened> {
    const STRIDE: usize = 7_919; // a prime, so that every session comes once
    let store = load::open(&home.queue()).await?;
    let generation = store.begin_generation("bench", Clock.now()).await?;
    store.rescue(generation, Clock.now()).await?;
    let listed = store.unfinished().await?;
    let sessions = (0..listed.len())
        .map(|number| listed[number * STRIDE % listed.len()].session)
        .collect();
    Ok(Opened {
        store,
        generation,
        sessions,
    })
}
