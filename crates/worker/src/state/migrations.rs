//! The schema of `state.db`, in the order in which it came about. Added to, never edited.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

const MIGRATIONS: [(&str, &str); 1] = [(
    "search",
    include_str!("../../migrations/state/0001_search.sql"),
)];

/// Brings a file up to date.
pub(super) fn migrator() -> Migrator {
    let migrations = (1..).zip(MIGRATIONS).map(|(version, (name, sql))| {
        let sql = sql.into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}
