//! Rows of the database as values, by the order of the columns in `queries/`.
//!
//! The writer's rows are rusqlite's, the readers' are sqlx's; what is in them is read the same way. A
//! value that the schema's CHECKs forbid is reported as [`StoreError::Corrupt`].

use rusqlite::types::FromSql;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row as _, Sqlite, Type};
use uuid::Uuid;

use super::sessions::SessionRow;
use super::transition::MessageRow;
use crate::error::StoreError;
use crate::ids::{
    ClaimSeq, Epoch, EventId, Generation, MessageId, ResultId, Seq, SessionId, Timestamp,
};
use crate::types::{
    Attempt, AttemptOutcome, CloseDepth, DayUsage, Depth, Life, LifeCounts, Message, NewResult,
    Session, State, Stats, StoredResult, Unfinished, Usage,
};

/// What a column may be read as, from either library's row.
pub(super) trait Value: FromSql + Type<Sqlite> + for<'r> Decode<'r, Sqlite> {}

impl<T: FromSql + Type<Sqlite> + for<'r> Decode<'r, Sqlite>> Value for T {}

/// A row of either library.
pub(super) trait Row {
    fn value<T: Value>(&self, index: usize) -> Result<T, StoreError>;
}

impl Row for SqliteRow {
    fn value<T: Value>(&self, index: usize) -> Result<T, StoreError> {
        Ok(self.try_get(index)?)
    }
}

impl Row for rusqlite::Row<'_> {
    fn value<T: Value>(&self, index: usize) -> Result<T, StoreError> {
        Ok(self.get(index)?)
    }
}

/// Reads the columns of a row one after the other.
pub(super) struct Columns<'r, R> {
    row: &'r R,
    next: usize,
}

impl<'r, R: Row> Columns<'r, R> {
    pub(super) fn of(row: &'r R) -> Self {
        Self { row, next: 0 }
    }

    pub(super) fn get<T: Value>(&mut self) -> Result<T, StoreError> {
        let index = self.next;
        self.next += 1;
        self.row.value(index)
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.get().map(Timestamp)
    }

    pub(super) fn optional_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get::<Option<i64>>()?.map(Timestamp))
    }

    pub(super) fn state(&mut self) -> Result<State, StoreError> {
        let word = self.get::<String>()?;
        named(&State::ALL, State::as_str, &word)
    }

    fn life(&mut self) -> Result<Life, StoreError> {
        let word = self.get::<String>()?;
        named(&Life::ALL, Life::as_str, &word)
    }

    fn outcome(&mut self) -> Result<AttemptOutcome, StoreError> {
        let word = self.get::<String>()?;
        named(&AttemptOutcome::ALL, AttemptOutcome::as_str, &word)
    }

    fn depth(&mut self) -> Result<Option<CloseDepth>, StoreError> {
        self.get::<Option<String>>()?
            .map(|word| named(&CloseDepth::ALL, CloseDepth::as_str, &word))
            .transpose()
    }

    pub(super) fn usage(&mut self) -> Result<Usage, StoreError> {
        Ok(Usage {
            input_tokens: self.get()?,
            output_tokens: self.get()?,
            cost_usd: self.get()?,
        })
    }

    pub(super) fn message_counts(&mut self) -> Result<Depth, StoreError> {
        Ok(Depth {
            pending: self.get()?,
            claimed: self.get()?,
            done: self.get()?,
            dead: self.get()?,
            cancelled: self.get()?,
        })
    }

    pub(super) fn life_counts(&mut self) -> Result<LifeCounts, StoreError> {
        Ok(LifeCounts {
            open: self.get()?,
            closing: self.get()?,
            ended: self.get()?,
        })
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        serde_json::from_str(&self.get::<String>()?)
            .map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    pub(super) fn session_id(&mut self) -> Result<SessionId, StoreError> {
        self.get::<Uuid>().map(SessionId)
    }

    pub(super) fn event_id(&mut self) -> Result<EventId, StoreError> {
        self.get::<Uuid>().map(EventId)
    }
}

fn named<T: Copy>(all: &[T], as_str: fn(T) -> &'static str, word: &str) -> Result<T, StoreError> {
    all.iter()
        .copied()
        .find(|value| as_str(*value) == word)
        .ok_or_else(|| StoreError::Corrupt(format!("unknown word {word:?}")))
}

/// A row of `get_session`, `get_session_by_key`, `list_sessions` and `list_sessions_by_id`.
pub(super) fn session(row: &impl Row) -> Result<Session, StoreError> {
    let mut c = Columns::of(row);
    Ok(Session {
        id: c.session_id()?,
        agent: c.get()?,
        key: c.get()?,
        life: c.life()?,
        close_depth: c.depth()?,
        drain_until: c.optional_time()?,
        epoch: Epoch(c.get()?),
        project: c.get()?,
        cwd: c.get()?,
        prompt: c.get()?,
        prompt_number: c.get()?,
        metadata: c.json()?,
        created_at: c.time()?,
        active_at: c.time()?,
        pending: c.get()?,
        dead: c.get()?,
        success_at: c.optional_time()?,
        consecutive_failures: c.get()?,
        last_error: c.get()?,
        failing: c.get()?,
        usage: c.usage()?,
    })
}

/// A row of `load_session_by_*`.
pub(super) fn session_row(row: &rusqlite::Row<'_>) -> Result<SessionRow, StoreError> {
    let mut c = Columns::of(row);
    let mut row = SessionRow {
        num: c.get()?,
        id: c.session_id()?,
        agent: c.get()?,
        key: c.get()?,
        life: c.life()?,
        close_depth: c.depth()?,
        drain_until: c.optional_time()?,
        reopen: c.get()?,
        epoch: Epoch(c.get()?),
        prompt_number: c.get()?,
        active_at: c.time()?,
        next_seq: Seq(c.get()?),
        head_seq: Seq(c.get()?),
        pending: c.get()?,
        dead: c.get()?,
        success_at: c.optional_time()?,
        consecutive_failures: c.get()?,
        failing: c.get()?,
        project: c.get()?,
        cwd: c.get()?,
        usage: c.usage()?,
        prompt: None,
        last_error: None,
        changed: false,
        stored: None,
    };
    row.set_stored();
    Ok(row)
}

/// A row of `load_message`, `load_head`, `load_claims_before` and `load_backlog`.
pub(super) fn message_row(row: &rusqlite::Row<'_>) -> Result<MessageRow, StoreError> {
    leading_message_row(&mut Columns::of(row))
}

/// The first columns of `find_head`, and of what lists messages to be deleted.
pub(super) fn leading_message_row(
    c: &mut Columns<'_, rusqlite::Row<'_>>,
) -> Result<MessageRow, StoreError> {
    let mut row = MessageRow {
        id: MessageId(c.get()?),
        session: c.get()?,
        seq: Seq(c.get()?),
        epoch: Epoch(c.get()?),
        state: c.state()?,
        attempt: c.get()?,
        rescues: c.get()?,
        accepted_at: c.time()?,
        not_before: c.optional_time()?,
        finished_at: c.optional_time()?,
        claim: None,
        last_error: None,
    };
    let generation = c.get::<Option<i64>>()?.map(Generation);
    let claim_seq = c.get::<Option<i64>>()?.map(ClaimSeq);
    row.claim = generation.zip(claim_seq);
    row.last_error = c.get()?;
    Ok(row)
}

/// A row of `list_messages` and `get_message`.
pub(super) fn message(row: &impl Row) -> Result<Message, StoreError> {
    let mut c = Columns::of(row);
    Ok(Message {
        id: MessageId(c.get()?),
        session: c.session_id()?,
        seq: Seq(c.get()?),
        epoch: Epoch(c.get()?),
        event_id: c.event_id()?,
        kind: c.get()?,
        agent_id: c.get()?,
        payload: c.get()?,
        state: c.state()?,
        attempt: c.get()?,
        rescues: c.get()?,
        accepted_at: c.time()?,
        not_before: c.optional_time()?,
        finished_at: c.optional_time()?,
        last_error: c.get()?,
    })
}

/// A row of `list_attempts`.
pub(super) fn attempt(row: &SqliteRow) -> Result<Attempt, StoreError> {
    let mut c = Columns::of(row);
    Ok(Attempt {
        attempt: c.get()?,
        ended_at: c.time()?,
        outcome: c.outcome()?,
        reason: c.get()?,
    })
}

/// A row of `list_usage_days`.
pub(super) fn day_usage(row: &SqliteRow) -> Result<DayUsage, StoreError> {
    let mut c = Columns::of(row);
    Ok(DayUsage {
        day: c.get()?,
        usage: c.usage()?,
    })
}

/// A row of `list_results`.
pub(super) fn stored_result(row: &SqliteRow) -> Result<StoredResult, StoreError> {
    let mut c = Columns::of(row);
    Ok(StoredResult {
        id: ResultId(c.get()?),
        session: c.session_id()?,
        message: MessageId(c.get()?),
        seq: Seq(c.get()?),
        accepted_at: c.time()?,
        created_at: c.time()?,
        result: NewResult {
            kind: c.get()?,
            title: c.get()?,
            body: c.get()?,
            files: c.json()?,
            tags: c.json()?,
        },
    })
}

/// A row of `unfinished`.
pub(super) fn unfinished(row: &SqliteRow) -> Result<Unfinished, StoreError> {
    let mut c = Columns::of(row);
    Ok(Unfinished {
        session: c.session_id()?,
        closing: c.depth()?,
        drain_until: c.optional_time()?,
        due_at: c.optional_time()?,
    })
}

/// A row of `stats`.
pub(super) fn stats(row: &SqliteRow) -> Result<Stats, StoreError> {
    let mut c = Columns::of(row);
    Ok(Stats {
        depth: c.message_counts()?,
        duplicates: c.get()?,
        sessions: c.life_counts()?,
        accepted: c.get()?,
        results: c.get()?,
        oldest_pending_at: c.optional_time()?,
    })
}
