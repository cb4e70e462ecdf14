//! Mends what an inspection finds.
//!
//! The plan is made of one look. Each deed is preceded by another one at its own object: nothing
//! is done on the strength of what was so a moment ago, and nothing that a running spawn owns is
//! touched.

use std::path::Path;
use std::sync::Arc;

use tokio::task::{JoinSet, spawn_blocking};

use crate::ending::Ending;
use crate::errors::chain;
use crate::finding::tags_alive;
use crate::identity::{Doubt, ProcessIdentity, Standing};
use crate::inspect::{Fix, Unowned, UnreadableRecord, View, is_owned};
use crate::leftovers::standing;
use crate::registry::SpawnRecord;
use crate::supervisor::Inner;
use crate::sweep::end_spawn;
use crate::tag::Tag;

/// The outcome for what has an owner again, or still.
const OWNED: &str = "left alone: its spawn is being started, runs or is being ended";

pub(crate) async fn fix(inner: Arc<Inner>, is_dry: bool) -> Vec<Fix> {
    let looking = Arc::clone(&inner);
    let Ok(view) = spawn_blocking(move || View::around(&looking)).await else {
        // It has panicked; without a look there is nothing to mend.
        return Vec::new();
    };
    let useless = view.useless;
    let mut unowned: Vec<_> = view.unowned.into_iter().collect();
    unowned.sort_by_cached_key(|(tag, _)| tag.to_string());
    if is_dry {
        let plans = unowned.iter();
        let mut fixes: Vec<_> = plans
            .flat_map(|(tag, unowned)| plan(&inner, tag, unowned))
            .collect();
        fixes.extend(useless.into_iter().map(|file| set_aside(file, None)));
        return fixes;
    }
    // Side by side: each may take the grace.
    let mut mending = JoinSet::new();
    for (place, (tag, unowned)) in unowned.into_iter().enumerate() {
        let inner = Arc::clone(&inner);
        mending.spawn(async move { (place, mend(inner, tag, unowned).await) });
    }
    let mut mended = mending.join_all().await;
    mended.sort_by_key(|(place, _)| *place);
    let mut fixes: Vec<_> = mended.into_iter().flat_map(|(_, fixes)| fixes).collect();
    let aside = spawn_blocking(move || {
        let put = |file| put_aside(&inner, file);
        useless.into_iter().map(put).collect::<Vec<_>>()
    });
    fixes.extend(aside.await.unwrap_or_default());
    fixes
}

/// What is to be done about one spawn: its processes first, then its record.
fn plan(inner: &Inner, tag: &Tag, unowned: &Unowned) -> Vec<Fix> {
    let end = (!unowned.pids.is_empty()).then(|| Fix::End {
        tag: tag.to_string(),
        pids: unowned.pids.clone(),
        outcome: None,
    });
    let stale = unowned.stale.as_ref();
    let remove = stale.map(|(_record, problem)| Fix::RemoveRecord {
        path: inner.registry.path(tag),
        problem: problem.clone(),
        outcome: None,
    });
    end.into_iter().chain(remove).collect()
}

async fn mend(inner: Arc<Inner>, tag: Tag, unowned: Unowned) -> Vec<Fix> {
    let mut fixes = plan(&inner, &tag, &unowned);
    let record = unowned.stale.map(|(record, _problem)| record);
    for fix in &mut fixes {
        match fix {
            Fix::End { outcome, .. } => {
                let leader = record.as_ref().and_then(|record| record.leader.clone());
                *outcome = Some(end(&inner, &tag, leader).await);
            }
            Fix::RemoveRecord { outcome, .. } => {
                let (inner, record) = (Arc::clone(&inner), record.clone());
                let removed = spawn_blocking(move || Some(remove(&inner, &record?)));
                *outcome = removed
                    .await
                    .unwrap_or_else(|error| Some(format!("not removed: {error}")));
            }
            Fix::SetAside { .. } => {}
        }
    }
    fixes
}

async fn end(inner: &Inner, tag: &Tag, leader: Option<ProcessIdentity>) -> String {
    if is_owned(inner, tag) {
        return OWNED.to_owned();
    }
    let known = leader.into_iter().collect();
    match end_spawn(tag.clone(), known, inner.settings.grace).await {
        Ok(ending) => told(ending),
        Err(error) => format!("not ended: {error}"),
    }
}

fn told(ending: Ending) -> String {
    let tally = ending.tally;
    match (tally.untouchable, tally.killed) {
        (0, 0) => "ended".to_owned(),
        (0, killed) => format!("ended, {killed} of them by SIGKILL"),
        (untouchable, _) => {
            let mut text = format!("{untouchable} cannot be ended");
            for why in ending.barred {
                text.push_str("; ");
                text.push_str(&why);
            }
            text
        }
    }
}

fn remove(inner: &Inner, record: &SpawnRecord) -> String {
    let tag = &record.tag;
    if is_owned(inner, tag) {
        return OWNED.to_owned();
    }
    let leader = record.leader_standing(&inner.host);
    let lives = match (standing(inner, record), leader.unwrap_or(Standing::Gone)) {
        (Standing::Gone, Standing::Gone) => tags_alive(&|its| its == tag)
            .map(|found| !found.processes.is_empty() || inner.has_survivors(tag))
            .unwrap_or(true),
        _ => true,
    };
    if lives {
        return "left: something of it lives, or cannot be told".to_owned();
    }
    match inner.registry.remove(tag) {
        Ok(()) => "removed".to_owned(),
        Err(error) => format!("not removed: {}", chain(&error)),
    }
}

fn put_aside(inner: &Inner, file: UnreadableRecord) -> Fix {
    let outcome = match is_useless(inner, &file.path) {
        true => match inner.registry.set_aside(&file.path) {
            Ok(to) => format!("moved to {}", to.display()),
            Err(error) => format!("not moved: {error}"),
        },
        false => "left: it is a record by now, or gone".to_owned(),
    };
    set_aside(file, Some(outcome))
}

fn is_useless(inner: &Inner, path: &Path) -> bool {
    let Ok(listing) = inner.registry.list() else {
        return false;
    };
    let is_elsewhere = |record: &SpawnRecord| {
        let elsewhere = Standing::Unverifiable(Doubt::OtherNamespace);
        inner.registry.path(&record.tag) == path && record.standing(&inner.host) == elsewhere
    };
    let mut unreadable = listing.unreadable.iter();
    unreadable.any(|(other, _)| other == path) || listing.records.iter().any(is_elsewhere)
}

fn set_aside(file: UnreadableRecord, outcome: Option<String>) -> Fix {
    Fix::SetAside {
        path: file.path,
        problem: file.problem,
        outcome,
    }
}
