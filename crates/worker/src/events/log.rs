//! The part of the log that is on disk: all statements on `event_log` and `event_runs`.

use serde::Serialize;
use sessiond_queue::ids::{Generation, SessionId};
use sqlx::{Connection as _, Row as _};

use super::place::Place;
use super::shown::Shown;
use crate::state::{StateDb, StateError};

/// Runs that are known: a reader that was last here so many starts ago has missed something anyway.
const RUNS_KEPT: i64 = 1_000;

/// The log on disk. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct EventLog {
    state: StateDb,
    kept_max: u32,
}

#[derive(Serialize)]
struct Row<'a> {
    generation: i64,
    number: u64,
    #[serde(rename = "type")]
    kind: &'a str,
    session: Option<SessionId>,
    project: Option<&'a str>,
    data: &'a str,
}

impl EventLog {
    pub(super) fn new(state: StateDb, kept_max: u32) -> Self {
        Self { state, kept_max }
    }

    /// Begins a run, of which nobody knows how many events it tells.
    pub(super) async fn begin(&self, generation: Generation) -> Result<(), StateError> {
        let mut writer = self.state.writer().await?;
        let mut transaction = writer.begin().await?;
        sqlx::query(include_str!("../../queries/events/forget_from.sql"))
            .bind(generation.0)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(include_str!("../../queries/events/forget_runs.sql"))
            .bind(generation.0)
            .bind(RUNS_KEPT)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(include_str!("../../queries/events/begin_run.sql"))
            .bind(generation.0)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Adds the newest events; the oldest go.
    pub(super) async fn add(&self, events: &[Shown]) -> Result<(), StateError> {
        let row = |shown: &'_ Shown| {
            serde_json::to_value(Row {
                generation: shown.place.generation.0,
                number: shown.place.number,
                kind: &shown.kind,
                session: shown.session,
                project: shown.project.as_deref(),
                data: &shown.data,
            })
        };
        let rows: Result<Vec<_>, _> = events.iter().map(row).collect();
        let rows = rows.map_err(|error| sqlx::Error::Encode(error.into()))?;
        let batch = serde_json::Value::from(rows).to_string();
        let mut writer = self.state.writer().await?;
        let mut transaction = writer.begin().await?;
        sqlx::query(include_str!("../../queries/events/insert.sql"))
            .bind(batch)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(include_str!("../../queries/events/forget_oldest.sql"))
            .bind(self.kept_max)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Ends a run in order: what it has told up to there is all.
    pub(super) async fn end(&self, last: Place) -> Result<(), StateError> {
        let mut writer = self.state.writer().await?;
        sqlx::query(include_str!("../../queries/events/end_run.sql"))
            .bind(last.generation.0)
            .bind(as_stored(last.number))
            .execute(&mut *writer)
            .await?;
        Ok(())
    }

    /// Up to `max` events after a place, the oldest first.
    pub(super) async fn page(&self, after: Place, max: usize) -> Result<Vec<Shown>, StateError> {
        let rows = sqlx::query(include_str!("../../queries/events/page.sql"))
            .bind(after.generation.0)
            .bind(as_stored(after.number))
            .bind(i64::try_from(max).unwrap_or(i64::MAX))
            .fetch_all(self.state.readers())
            .await?;
        let shown = |row: &sqlx::sqlite::SqliteRow| {
            let session: Option<String> = row.try_get("session")?;
            let number: i64 = row.try_get("number")?;
            Ok::<_, sqlx::Error>(Shown {
                place: Place {
                    generation: Generation(row.try_get("generation")?),
                    number: number.unsigned_abs(),
                },
                kind: row.try_get("type")?,
                session: session.and_then(|session| session.parse().ok()),
                project: row.try_get("project")?,
                data: row.try_get("data")?,
            })
        };
        let page: Result<Vec<_>, _> = rows.iter().map(shown).collect();
        Ok(page?)
    }

    /// How many events lie between two places, both exclusive, whether they are kept or not; `None`:
    /// nobody knows.
    pub(super) async fn between(&self, from: Place, to: Place) -> Result<Option<u64>, StateError> {
        if from.generation == to.generation {
            return Ok(Some(to.number.saturating_sub(from.number + 1)));
        }
        let told: Vec<Option<i64>> =
            sqlx::query_scalar(include_str!("../../queries/events/runs.sql"))
                .bind(from.generation.0)
                .bind(to.generation.0)
                .fetch_all(self.state.readers())
                .await?;
        let runs = to.generation.0.checked_sub(from.generation.0);
        if runs.and_then(|runs| usize::try_from(runs).ok()) != Some(told.len()) {
            return Ok(None);
        }
        let told: Option<Vec<u64>> = told
            .into_iter()
            .map(|told| u64::try_from(told?).ok())
            .collect();
        let told: Option<u64> = told.map(|told| told.into_iter().sum());
        // A place beyond what its run has told is another log's.
        Ok(told
            .and_then(|told| told.checked_sub(from.number))
            .map(|left| left + to.number.saturating_sub(1)))
    }

    /// The data of the newest event of a type.
    pub(super) async fn newest_of(&self, kind: &str) -> Result<Option<String>, StateError> {
        let newest = sqlx::query_scalar(include_str!("../../queries/events/newest_of_type.sql"))
            .bind(kind)
            .fetch_optional(self.state.readers())
            .await?;
        Ok(newest)
    }
}

/// A number as SQLite keeps it; none comes near the end.
fn as_stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use sessiond_queue::ids::Timestamp;

    use super::*;

    fn place(generation: i64, number: u64) -> Place {
        Place {
            generation: Generation(generation),
            number,
        }
    }

    fn shown(generation: i64, number: u64) -> Shown {
        Shown {
            place: place(generation, number),
            kind: "session.active".to_owned(),
            session: Some(SessionId::mint()),
            project: None,
            data: "{}".to_owned(),
        }
    }

    async fn state(dir: &tempfile::TempDir) -> StateDb {
        let path = dir.path().join("state.db");
        StateDb::open(&path, Timestamp(1)).await.expect("open")
    }

    #[tokio::test]
    async fn what_lies_between_is_known_over_runs_that_ended_in_order_and_over_no_others() {
        let dir = tempfile::tempdir().expect("tempdir");
        let state = state(&dir).await;
        let log = EventLog::new(state.clone(), 10);
        log.begin(Generation(1)).await.expect("begun");
        log.end(place(1, 7)).await.expect("ended");
        log.begin(Generation(2)).await.expect("begun");
        log.end(place(2, 3)).await.expect("ended");
        log.begin(Generation(3)).await.expect("begun");
        log.begin(Generation(4)).await.expect("begun");
        let check = async |from: Place, to: Place, expected: Option<u64>| {
            let found = log.between(from, to).await.expect("read");
            assert_eq!(found, expected, "{from} to {to}");
        };
        check(place(3, 4), place(3, 5), Some(0)).await;
        check(place(3, 4), place(3, 9), Some(4)).await;
        check(place(1, 7), place(2, 1), Some(0)).await;
        check(place(1, 5), place(3, 2), Some(2 + 3 + 1)).await;
        // The third was killed, before the first there was none, and the first told less than that.
        check(place(3, 4), place(4, 1), None).await;
        check(place(0, 0), place(1, 1), None).await;
        check(place(1, 8), place(2, 1), None).await;
        state.close().await;
    }

    #[tokio::test]
    async fn newest_are_kept_and_generations_that_come_again_are_forgotten() {
        let dir = tempfile::tempdir().expect("tempdir");
        let state = state(&dir).await;
        let log = EventLog::new(state.clone(), 3);
        for generation in [1, 2] {
            log.begin(Generation(generation)).await.expect("begun");
            let events: Vec<_> = (1..=2).map(|number| shown(generation, number)).collect();
            log.add(&events).await.expect("added");
        }
        let places = async || {
            let page = log.page(place(0, 0), 10).await.expect("read").into_iter();
            page.map(|shown| shown.place).collect::<Vec<_>>()
        };
        assert_eq!(places().await, [place(1, 2), place(2, 1), place(2, 2)]);
        // The queue was set aside, and its generations begin anew.
        log.begin(Generation(2)).await.expect("begun");
        assert_eq!(places().await, [place(1, 2)]);
        state.close().await;
    }
}
