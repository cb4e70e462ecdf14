//! The rows of worktrees in `state.db`. Every commit here is on disk: what a row says about a
//! directory must survive what the directory survives.

use sessiond_queue::ids::{SessionId, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::record::{Reason, Stage, Worktree};
use crate::state::{StateDb, StateError};

/// The rows.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    state: StateDb,
}

impl Rows {
    pub(super) fn new(state: StateDb) -> Self {
        Self { state }
    }

    /// Writes an intent.
    pub(super) async fn insert(&self, worktree: &Worktree) -> Result<(), StateError> {
        let (agent, key) = worktree.session_name.split_once(':').unwrap_or_default();
        let insert = sqlx::query(include_str!("../../queries/worktrees/insert.sql"))
            .bind(worktree.id.to_string())
            .bind(worktree.session.to_string())
            .bind(agent)
            .bind(key)
            .bind(worktree.generation)
            .bind(text(&worktree.repo))
            .bind(text(&worktree.git_dir))
            .bind(worktree.is_bare)
            .bind(text(&worktree.path))
            .bind(&worktree.branch)
            .bind(&worktree.base_commit)
            .bind(worktree.base_branch.as_deref())
            .bind(worktree.created_at.0);
        let mut writer = self.state.durable_writer().await?;
        insert.execute(&mut *writer).await?;
        Ok(())
    }

    /// It is there, and may be handed out.
    pub(super) async fn set_added(&self, id: Uuid) -> Result<(), StateError> {
        self.change(id, include_str!("../../queries/worktrees/set_added.sql"))
            .await
    }

    /// Nothing would be lost with it, and it is about to go.
    pub(super) async fn set_leaving(&self, id: Uuid) -> Result<(), StateError> {
        self.change(id, include_str!("../../queries/worktrees/set_leaving.sql"))
            .await
    }

    /// Its session has ended, and it stays.
    pub(super) async fn keep(
        &self,
        id: Uuid,
        reasons: &[Reason],
        now: Timestamp,
    ) -> Result<(), StateError> {
        let reasons =
            serde_json::to_string(reasons).map_err(|error| sqlx::Error::Encode(error.into()))?;
        let mut writer = self.state.durable_writer().await?;
        sqlx::query(include_str!("../../queries/worktrees/keep.sql"))
            .bind(reasons)
            .bind(now.0)
            .bind(id.to_string())
            .execute(&mut *writer)
            .await?;
        Ok(())
    }

    /// It is gone.
    pub(super) async fn delete(&self, id: Uuid) -> Result<(), StateError> {
        self.change(id, include_str!("../../queries/worktrees/delete.sql"))
            .await
    }

    pub(super) async fn get(&self, id: Uuid) -> Result<Option<Worktree>, StateError> {
        let row = sqlx::query(include_str!("../../queries/worktrees/get.sql"))
            .bind(id.to_string())
            .fetch_optional(self.state.readers())
            .await?;
        Ok(row.map(|row| read(&row)).transpose()?)
    }

    /// All of them, the oldest first.
    pub(super) async fn list(&self) -> Result<Vec<Worktree>, StateError> {
        let rows = sqlx::query(include_str!("../../queries/worktrees/list.sql"))
            .fetch_all(self.state.readers())
            .await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Those of a session, the oldest first.
    pub(super) async fn of_session(&self, session: SessionId) -> Result<Vec<Worktree>, StateError> {
        let rows = sqlx::query(include_str!("../../queries/worktrees/list_of_session.sql"))
            .bind(session.to_string())
            .fetch_all(self.state.readers())
            .await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn change(&self, id: Uuid, statement: &'static str) -> Result<(), StateError> {
        let mut writer = self.state.durable_writer().await?;
        sqlx::query(statement)
            .bind(id.to_string())
            .execute(&mut *writer)
            .await?;
        Ok(())
    }
}

/// Paths are text here: those that are not are refused before they come this far.
fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

fn read(row: &SqliteRow) -> Result<Worktree, sqlx::Error> {
    let word: &str = row.try_get("state")?;
    let unreadable = |what: &str| sqlx::Error::Decode(format!("{what} in worktrees").into());
    let path = |column| row.try_get::<String, _>(column).map(Into::into);
    let (agent, key): (&str, &str) = (row.try_get("agent")?, row.try_get("key")?);
    Ok(Worktree {
        id: parse(row, "id")?,
        session: SessionId(parse(row, "session")?),
        session_name: format!("{agent}:{key}"),
        stage: Stage::from_word(word).ok_or_else(|| unreadable("state"))?,
        generation: row.try_get("generation")?,
        repo: path("repo")?,
        git_dir: path("git_dir")?,
        is_bare: row.try_get("is_bare")?,
        path: path("path")?,
        branch: row.try_get("branch")?,
        base_commit: row.try_get("base_commit")?,
        base_branch: row.try_get("base_branch")?,
        reasons: serde_json::from_str(row.try_get("reasons")?)
            .map_err(|_| unreadable("reasons"))?,
        created_at: Timestamp(row.try_get("created_at")?),
        settled_at: row.try_get::<Option<i64>, _>("settled_at")?.map(Timestamp),
    })
}

fn parse(row: &SqliteRow, column: &str) -> Result<Uuid, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    text.parse()
        .map_err(|error: uuid::Error| sqlx::Error::Decode(error.into()))
}

#[cfg(test)]
mod tests {
    use super::super::record::Loss;
    use super::*;

    #[tokio::test]
    async fn row_goes_through_its_life_and_comes_back_as_it_was() {
        let home = tempfile::tempdir().expect("tempdir");
        let path = home.path().join("state.db");
        let state = StateDb::open(&path, Timestamp(1)).await.expect("open");
        let rows = Rows::new(state.clone());
        let mut wanted = Worktree {
            id: Uuid::now_v7(),
            session: SessionId::mint(),
            session_name: "agent:a:key".to_owned(),
            stage: Stage::Intended,
            generation: 3,
            repo: "/r".into(),
            git_dir: "/r/.git".into(),
            is_bare: false,
            path: "/w/r-1/key".into(),
            branch: "session/key".to_owned(),
            base_commit: "0".repeat(40),
            base_branch: Some("main".to_owned()),
            reasons: Vec::new(),
            created_at: Timestamp(5),
            settled_at: None,
        };
        rows.insert(&wanted).await.expect("written");
        let again = Worktree {
            id: Uuid::now_v7(),
            ..wanted.clone()
        };
        let twice = rows.insert(&again).await;
        assert!(twice.is_err(), "a path belongs to one worktree");
        assert_eq!(
            rows.get(wanted.id).await.expect("read"),
            Some(wanted.clone())
        );
        rows.set_added(wanted.id).await.expect("written");
        rows.set_leaving(wanted.id).await.expect("written");
        wanted.stage = Stage::Leaving;
        let of_session = rows.of_session(wanted.session).await.expect("read");
        assert_eq!(of_session, [wanted.clone()]);
        wanted.reasons = vec![Reason::new(Loss::Locked, "it is locked")];
        wanted.settled_at = Some(Timestamp(9));
        wanted.stage = Stage::Kept;
        let kept = rows.keep(wanted.id, &wanted.reasons, Timestamp(9)).await;
        kept.expect("written");
        rows.set_added(wanted.id).await.expect("of no effect");
        assert_eq!(rows.list().await.expect("read"), [wanted.clone()]);
        rows.delete(wanted.id).await.expect("written");
        assert_eq!(rows.list().await.expect("read"), []);
        state.close().await;
    }
}
