//! The schema of `state.db`, by number. Added to, never edited.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

const MIGRATIONS: [(i64, &str, &str); 6] = [
    (
        1,
        "search",
        include_str!("../../migrations/state/0001_search.sql"),
    ),
    (
        2,
        "events",
        include_str!("../../migrations/state/0002_events.sql"),
    ),
    (
        3,
        "clients",
        include_str!("../../migrations/state/0003_clients.sql"),
    ),
    (
        4,
        "agents",
        include_str!("../../migrations/state/0004_agents.sql"),
    ),
    (
        5,
        "worktrees",
        include_str!("../../migrations/state/0005_worktrees.sql"),
    ),
    (
        6,
        "instances",
        include_str!("../../migrations/state/0006_instances.sql"),
    ),
];

/// Brings a file up to date.
pub(super) fn migrator() -> Migrator {
    let migrations = MIGRATIONS.map(|(version, name, sql)| {
        let sql = sql.into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.into())
}
