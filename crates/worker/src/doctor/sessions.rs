//! Gathers what the doctor reports of sessions: their rows, and what a running worker knows beside
//! them.

use std::collections::{HashMap, HashSet};

use sessiond_queue::error::StoreError;
use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_queue::store::Store;
use sessiond_queue::types::{Session, SessionFilter, Unfinished, Usage};

use super::report::SessionReport;
use crate::admission::{OverBudget, over};
use crate::sessions::{Context, Live};

/// What a running worker knows.
pub(super) struct Running<'a> {
    pub(super) context: &'a Context,
    /// The sessions in memory.
    pub(super) live: Vec<Live>,
    /// What all sessions have spent today.
    pub(super) today: Usage,
    pub(super) now: Timestamp,
}

/// Sessions with work first, the longest waiting at the front, then those in memory, then the last
/// ones that were active. None with work is left out: what is left out is not judged.
pub(super) async fn sessions(
    store: &dyn Store,
    running: Option<Running<'_>>,
) -> Result<Vec<SessionReport>, StoreError> {
    let waiting = store.unfinished().await?;
    let mut wanted: Vec<SessionId> = waiting.iter().map(|item| item.session).collect();
    let unfinished: HashMap<SessionId, Unfinished> = waiting
        .into_iter()
        .map(|item| (item.session, item))
        .collect();
    let live: HashMap<SessionId, &Live> = running
        .iter()
        .flat_map(|running| &running.live)
        .map(|live| (live.session, live))
        .collect();
    let in_memory = running.iter().flat_map(|running| &running.live);
    wanted.extend(
        in_memory
            .map(|live| live.session)
            .filter(|id| !unfinished.contains_key(id)),
    );
    let mut rows = store.sessions_by_id(&wanted).await?;
    let known: HashSet<SessionId> = rows.iter().map(|row| row.id).collect();
    let recent = SessionFilter {
        limit: 20,
        ..SessionFilter::default()
    };
    let recent = store.sessions(recent).await?.into_iter();
    rows.extend(recent.filter(|row| !known.contains(&row.id)));
    let report = |row: Session| {
        let due_at = unfinished.get(&row.id).and_then(|item| item.due_at);
        let live = live.get(&row.id).copied();
        session(row, live, due_at, running.as_ref())
    };
    Ok(rows.into_iter().map(report).collect())
}

fn session(
    row: Session,
    live: Option<&Live>,
    due_at: Option<Timestamp>,
    running: Option<&Running<'_>>,
) -> SessionReport {
    let kind = running.map(|running| running.context.factory.kind(&row));
    let hindrance = running
        .filter(|_| row.pending > 0 && kind.as_ref().is_some_and(|kind| kind.is_program))
        .map(|running| Hindrance::of(&row, running))
        .unwrap_or_default();
    SessionReport {
        id: row.id,
        agent: row.agent,
        key: row.key,
        life: row.life,
        activity: live.map(|live| live.activity),
        kind: kind.map(|kind| kind.name.to_string()),
        generator: live.and_then(|live| live.about.clone()),
        waiting: match live {
            Some(live) if live.working_on.is_some() || live.waiting.is_some() => {
                live.waiting.clone()
            }
            // Its run has ended, or it has left memory with its backlog; that is taken up again
            // when this is over.
            _ => hindrance.words(),
        },
        failing: row.failing,
        restarts: live.map_or(0, |live| live.restarts),
        last_start_error: live.and_then(|live| live.last_start_error.clone()),
        working_on: live.and_then(|live| live.working_on),
        usage: row.usage,
        over_budget: hindrance.over_budget,
        pending: row.pending,
        dead: row.dead,
        active_at: row.active_at,
        success_at: row.success_at,
        consecutive_failures: row.consecutive_failures,
        last_error: row.last_error,
        drain_until: row.drain_until,
        due_at,
        idle_ms: live.map(|live| live.idle_ms),
    }
}

/// What keeps a session's program from its work, whether or not somebody waits for it.
#[derive(Default)]
struct Hindrance {
    over_budget: Option<OverBudget>,
    unavailable: Option<String>,
}

impl Hindrance {
    fn of(row: &Session, running: &Running<'_>) -> Self {
        let context = running.context;
        let settings = &context.settings.generator;
        let kind = context.factory.kind(row);
        let open = context.admission.breakers.is_open(&kind.name);
        Self {
            over_budget: over(settings, &row.usage, &running.today, running.now),
            unavailable: open.map(|open| open.reason),
        }
    }

    fn words(&self) -> Option<String> {
        let over_budget = self.over_budget.as_ref().map(ToString::to_string);
        let unavailable = self.unavailable.as_ref();
        over_budget.or_else(|| unavailable.map(|why| format!("its provider is unavailable: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use sessiond_queue::MemoryStore;
    use sessiond_queue::ids::EventId;
    use sessiond_queue::limits::{LIST_MAX, Limits};
    use sessiond_queue::types::{Effect, Enqueue, OpenSession, SessionRef};

    use super::*;

    fn event(key: &str, accepted_at: Timestamp) -> Enqueue {
        Enqueue {
            event_id: EventId::mint(),
            session: SessionRef::Key {
                agent: "agent".to_owned(),
                key: key.to_owned(),
            },
            kind: "X".to_owned(),
            agent_id: None,
            payload: "{}".to_owned(),
            dedup: None,
            effect: Effect::None,
            cwd: None,
            project: None,
            accepted_at,
        }
    }

    #[tokio::test]
    async fn no_session_with_work_is_left_out_however_many_there_are() {
        let store = MemoryStore::new(Limits::default());
        let now = Timestamp(1_000_000);
        let idle = OpenSession {
            agent: "agent".to_owned(),
            key: "idle".to_owned(),
            cwd: None,
            project: None,
            metadata: serde_json::Map::new(),
        };
        let later = Timestamp(now.0 + 1);
        store.open_session(idle, later).await.expect("it is opened");
        // Each has waited longer than the one before.
        let waiting = i64::from(LIST_MAX) + 1;
        for number in 0..waiting {
            let event = event(&number.to_string(), Timestamp(now.0 - number));
            store.enqueue(event, now).await.expect("it is stored");
        }
        let found = sessions(&store, None).await.expect("they are read");
        let found: Vec<_> = found.into_iter().map(|report| report.key).collect();
        let mut wanted: Vec<_> = (0..waiting).rev().map(|key| key.to_string()).collect();
        wanted.push("idle".to_owned());
        assert!(found == wanted, "{found:?}");
    }
}
