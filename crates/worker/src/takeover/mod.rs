//! What a worker takes over from those before it, and what became of each thing.
//!
//! Nothing is done here: claims, processes, closes and worktrees are taken up by the parts that
//! own them, on their ordinary paths. This keeps who was here before, and tells in one place what
//! was `cleaned` and what was `preserved`, with a warning why.

mod instances;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_queue::store::Store;
use sessiond_queue::types::Rescued;
use sessiond_supervisor::SweepReport;

pub use instances::Instances;

use crate::errors::chain;
use crate::worktrees::TakenOverWorktree;

/// An earlier run of the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Predecessor {
    /// Number of its run.
    pub generation: i64,
    /// `{pid}-{start ms}`.
    pub instance: String,
    /// The machine it ran on.
    pub host: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// How it ended.
    pub end: PredecessorEnd,
}

/// How an earlier run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PredecessorEnd {
    /// In order.
    Stopped,
    /// Its process is gone, and it did not say good-bye: it was killed, or the machine went down.
    Died,
    /// It ran on another host, where nothing can be looked at: nothing of it is taken over.
    OtherHost,
    /// Whether its process is gone cannot be told. The lock says so.
    Unverifiable,
}

/// What became of one thing that was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = TakeOverItem))]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// Which one: a session's id, a spawn's tag, a path.
    pub id: String,
    /// What became of it.
    pub outcome: ItemOutcome,
    /// Why it was preserved; `null` when it was cleaned.
    pub warning: Option<String>,
}

/// What may be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = TakeOverKind))]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// A session whose close was not finished.
    Session,
    /// A program with all it had started.
    Process,
    /// A git worktree of a session that is over, or one whose making was cut off.
    Worktree,
    /// A file that is no record, or a record that cannot be judged.
    Record,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = TakeOverOutcome))]
#[serde(rename_all = "kebab-case")]
pub enum ItemOutcome {
    /// It is ended and gone.
    Cleaned,
    /// It is left as it is.
    PreservedWithWarning,
}

/// What this start has taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TakeOverReport {
    /// The run before this one; `null`: none is known.
    pub predecessor: Option<Predecessor>,
    /// Runs that ended otherwise than in order since the last one that did, newest first.
    pub died: Vec<Predecessor>,
    /// Claims given back: of messages that are worked again, ...
    pub claims_pending: u64,
    /// ... and of messages over which too many workers have died.
    pub claims_dead: u64,
    /// What was left, and what became of it.
    pub items: Vec<Item>,
}

/// What this start has found. Complete once start-up is.
#[derive(Clone, Debug, Default)]
pub struct TakeOver {
    /// Earlier runs, newest first.
    pub earlier: Vec<Predecessor>,
    /// Claims that were given back.
    pub rescued: Rescued,
    /// Sessions whose closes were not finished.
    pub closing: Vec<SessionId>,
    /// A discovery file that could not be read, and where it was put.
    pub set_aside: Option<PathBuf>,
}

impl TakeOver {
    /// What has become of everything by now. `swept` and `worktrees`: what was found of processes
    /// and worktrees, once that is known.
    pub async fn report(
        &self,
        store: &dyn Store,
        swept: Option<&SweepReport>,
        worktrees: Option<&[TakenOverWorktree]>,
    ) -> TakeOverReport {
        let mut items = Vec::new();
        for session in &self.closing {
            items.push(close_item(store, *session).await);
        }
        if let Some(swept) = swept {
            items.extend(process_items(swept));
        }
        items.extend(worktrees.into_iter().flatten().map(worktree_item));
        if let Some(path) = &self.set_aside {
            let warning = "the discovery file could not be read; it is kept there";
            items.push(Item::preserved(
                ItemKind::Record,
                path.display().to_string(),
                warning,
            ));
        }
        let in_order = |earlier: &&Predecessor| earlier.end == PredecessorEnd::Stopped;
        let died = self.earlier.iter().take_while(|earlier| !in_order(earlier));
        TakeOverReport {
            predecessor: self.earlier.first().cloned(),
            died: died.cloned().collect(),
            claims_pending: self.rescued.pending,
            claims_dead: self.rescued.dead,
            items,
        }
    }
}

impl Item {
    fn cleaned(kind: ItemKind, id: String) -> Self {
        Self {
            kind,
            id,
            outcome: ItemOutcome::Cleaned,
            warning: None,
        }
    }

    fn preserved(kind: ItemKind, id: String, warning: impl Into<String>) -> Self {
        Self {
            kind,
            id,
            outcome: ItemOutcome::PreservedWithWarning,
            warning: Some(warning.into()),
        }
    }
}

async fn close_item(store: &dyn Store, session: SessionId) -> Item {
    let (kind, id) = (ItemKind::Session, session.to_string());
    match store.session(session).await {
        Ok(Some(row)) if row.close_depth.is_some() => {
            Item::preserved(kind, id, "its close is not finished yet")
        }
        Ok(_) => Item::cleaned(kind, id),
        Err(error) => Item::preserved(kind, id, chain(&error)),
    }
}

fn worktree_item(worktree: &TakenOverWorktree) -> Item {
    let (kind, id) = (ItemKind::Worktree, worktree.path.display().to_string());
    match &worktree.warning {
        Some(warning) => Item::preserved(kind, id, warning),
        None => Item::cleaned(kind, id),
    }
}

fn process_items(swept: &SweepReport) -> impl Iterator<Item = Item> {
    let ended = swept.stopped.iter().map(|stopped| {
        let (kind, id) = (ItemKind::Process, stopped.tag.clone());
        if stopped.untouchable == 0 {
            return Item::cleaned(kind, id);
        }
        let who: Vec<_> = stopped.unkillable.iter().map(ToString::to_string).collect();
        Item::preserved(kind, id, format!("not all of it ends: {}", who.join("; ")))
    });
    let in_doubt = swept.doubtful.iter().map(|doubt| {
        // It names itself.
        Item::preserved(ItemKind::Record, String::new(), doubt.clone())
    });
    ended.chain(in_doubt)
}
