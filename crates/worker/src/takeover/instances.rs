//! The runs of the worker that `state.db` knows: a row each, begun at the start and closed at the
//! stop.

use serde_json as json;
use sessiond_queue::ids::{Generation, Timestamp};
use sessiond_supervisor::{ProcessIdentity, Standing};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Predecessor, PredecessorEnd};
use crate::instance::Discovery;
use crate::state::{StateDb, StateError};

/// Runs that are remembered.
const KEPT_MAX: i64 = 20;

/// The rows. Clones share them.
#[derive(Clone, Debug)]
pub struct Instances {
    state: StateDb,
    generation: Generation,
}

impl Instances {
    /// Those in `state`; this run is that of `generation`.
    pub fn new(state: StateDb, generation: Generation) -> Self {
        Self { state, generation }
    }

    /// Enters this run, and tells of those before it, newest first.
    pub async fn begin(&self, discovery: &Discovery) -> Result<Vec<Predecessor>, StateError> {
        let generation = self.generation;
        let process = discovery.process.as_ref();
        let process = process.and_then(|process| json::to_string(process).ok());
        let mut writer = self.state.writer().await?;
        sqlx::query(include_str!("../../queries/instances/begin.sql"))
            .bind(generation.0)
            .bind(&discovery.instance)
            .bind(process)
            .bind(&discovery.boot_id)
            .bind(&discovery.host)
            .bind(&discovery.version)
            .bind(discovery.started_at.0)
            .execute(&mut *writer)
            .await?;
        sqlx::query(include_str!("../../queries/instances/forget.sql"))
            .bind(KEPT_MAX)
            .execute(&mut *writer)
            .await?;
        let rows = sqlx::query(include_str!("../../queries/instances/list.sql"))
            .bind(generation.0)
            .fetch_all(&mut *writer)
            .await?;
        let earlier: Result<Vec<_>, sqlx::Error> = rows
            .iter()
            .map(|row| predecessor(row, &discovery.host))
            .collect();
        Ok(earlier?)
    }

    /// Enters that this run ends in order.
    pub async fn stop(&self, now: Timestamp) -> Result<(), StateError> {
        let mut writer = self.state.writer().await?;
        sqlx::query(include_str!("../../queries/instances/stop.sql"))
            .bind(self.generation.0)
            .bind(now.0)
            .execute(&mut *writer)
            .await?;
        Ok(())
    }
}

fn predecessor(row: &SqliteRow, own_host: &str) -> Result<Predecessor, sqlx::Error> {
    let host: String = row.try_get("host")?;
    let stopped_at: Option<i64> = row.try_get("stopped_at")?;
    let process: Option<&str> = row.try_get("process")?;
    let process: Option<ProcessIdentity> = process.and_then(|text| json::from_str(text).ok());
    let end = if stopped_at.is_some() {
        PredecessorEnd::Stopped
    } else if host != own_host {
        PredecessorEnd::OtherHost
    } else {
        match process.map(|process| process.check()) {
            Some(Standing::Gone) => PredecessorEnd::Died,
            _ => PredecessorEnd::Unverifiable,
        }
    };
    Ok(Predecessor {
        generation: row.try_get("generation")?,
        instance: row.try_get("instance")?,
        host,
        version: row.try_get("version")?,
        started_at: Timestamp(row.try_get("started_at")?),
        end,
    })
}
