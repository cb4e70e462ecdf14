//! Gathers what the doctor reports of generators: what limits them, and what runs.

use sessiond_queue::ids::{SessionId, Timestamp};
use sessiond_queue::types::Usage;
use sessiond_supervisor::{SpawnInfo, TreeProcess};

use super::report::{BudgetsReport, GeneratorsReport, SpawnReport};
use crate::processes::SessionProcesses;
use crate::sessions::Context;

/// What limits them; today's spending is left to whoever reads the store.
pub(super) fn generators(context: &Context, processes: &SessionProcesses) -> GeneratorsReport {
    let settings = &context.settings.generator;
    let usd = |limit: f64| (limit > 0.0).then_some(limit);
    let tokens = |limit: i64| (limit > 0).then_some(limit);
    GeneratorsReport {
        programs: settings.program_names(),
        problem: processes.supervisor().shim_problem(),
        slots: context.admission.slots.counts(),
        breakers: context.admission.breakers.status(),
        today: Usage::default(),
        budgets: BudgetsReport {
            session_usd: usd(settings.budget_session_usd),
            session_tokens: tokens(settings.budget_session_tokens),
            day_usd: usd(settings.budget_day_usd),
            day_tokens: tokens(settings.budget_day_tokens),
        },
    }
}

/// The programs that run, of one session or of all, each with its tree; the longest-running first.
pub async fn spawns(
    processes: &SessionProcesses,
    session: Option<SessionId>,
    now: Timestamp,
) -> Vec<SpawnReport> {
    let session = session.map(|session| session.to_string());
    let mut found = processes.supervisor().list();
    found.retain(|spawn| session.as_ref().is_none_or(|id| *id == spawn.session));
    if found.is_empty() {
        return Vec::new();
    }
    let supervisor = processes.supervisor().clone();
    // The kernel is asked for every process there is.
    let look = move || {
        let look = |spawn: SpawnInfo| {
            let tree = supervisor.tree(&spawn);
            report(spawn, tree, now)
        };
        found.into_iter().map(look).collect()
    };
    let looked = tokio::task::spawn_blocking(look).await;
    looked.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot look at processes");
        Vec::new()
    })
}

fn report(info: SpawnInfo, processes: Vec<TreeProcess>, now: Timestamp) -> SpawnReport {
    let age = now.since(Timestamp(info.spawned_at_ms));
    SpawnReport {
        info,
        age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        rss_bytes: processes.iter().map(|process| process.rss_bytes).sum(),
        cpu_ms: processes.iter().map(|process| process.cpu_ms).sum(),
        processes,
    }
}
