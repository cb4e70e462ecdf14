//! Every statement of the engine, and the one place where SQL text is composed.
//!
//! A statement is a file in `queries/`, valid as it stands. For a batch, each `VALUES (?, ..)` group
//! in it is repeated, so that the batch costs one trip to the connection's thread however many rows
//! it has; the rows are padded with NULLs up to one of a few sizes, so that the cache of prepared
//! statements stays small.

use std::sync::OnceLock;

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Encode, SqlSafeStr as _, SqlStr, Sqlite, Type};

/// Most rows of one multi-row statement: the writer's default batch.
pub(super) const ROWS_MAX: usize = 256;

/// The sizes multi-row statements are prepared in.
const SIZES: [usize; 5] = [1, 4, 16, 64, ROWS_MAX];

const GROUP: &str = "VALUES (";

macro_rules! statements {
    ($( $name:ident = $($file:literal)+; )+) => {
        $( pub(super) static $name: Statement =
            Statement::new(concat!($(include_str!(concat!("../../queries/", $file, ".sql")), ";\n"),+)); )+

        /// Every statement, with its name.
        #[cfg(test)]
        pub(super) static ALL: &[(&str, &Statement)] = &[$( (stringify!($name), &$name), )+];
    };
}

statements! {
    ADD_USAGE_DAYS = "add_usage_days";
    BEGIN_GENERATION = "begin_generation";
    CLEAR_PROMPT = "clear_prompt";
    COUNT_PURGED = "count_purged";
    DELETE_MESSAGES = "delete_messages";
    DELETE_SESSION = "delete_session";
    DUE_AT = "due_at";
    FIND_DEDUP = "find_dedup";
    FIND_EVENTS = "find_events";
    FIND_HEADS = "find_heads";
    GET_CHECKPOINT = "get_checkpoint";
    GET_DELETED_SEQ = "get_deleted_seq";
    GET_METADATA = "get_metadata";
    GET_SESSION = "get_session";
    GET_SESSION_BY_KEY = "get_session_by_key";
    GET_USAGE_DAY = "get_usage_day";
    HAS_ROWS = "has_rows";
    INSERT_ATTEMPTS = "insert_attempts" "trim_attempts";
    INSERT_MESSAGES = "insert_messages" "insert_payloads";
    INSERT_RESULTS = "insert_results";
    INSERT_SESSIONS = "insert_sessions";
    LIST_ATTEMPTS = "list_attempts";
    LIST_DEAD = "list_dead";
    LIST_DEAD_OF_SESSION = "list_dead_of_session";
    LIST_DEAD_SINCE = "list_dead_since";
    LIST_FINISHED = "list_finished";
    LIST_MESSAGES = "list_messages";
    LIST_RESULTS = "list_results";
    LIST_SESSIONS = "list_sessions";
    LIST_USAGE_DAYS = "list_usage_days";
    LIST_WORKED = "list_worked";
    LOAD_BACKLOG = "load_backlog";
    LOAD_CLAIMS_BEFORE = "load_claims_before";
    LOAD_CLAIMS_OF_SESSION = "load_claims_of_session";
    LOAD_COUNTERS = "load_counters";
    LOAD_DEAD = "load_dead";
    LOAD_DEAD_OF_SESSION = "load_dead_of_session";
    LOAD_MESSAGES = "load_messages";
    LOAD_SESSIONS_BY_ID = "load_sessions_by_id";
    LOAD_SESSIONS_BY_KEY = "load_sessions_by_key";
    LOAD_SESSIONS_BY_NUM = "load_sessions_by_num";
    NOTE_DELETED = "note_deleted";
    PURGE = "purge";
    RECOUNT = "recount";
    SAVE_CHECKPOINTS = "save_checkpoints";
    SAVE_COUNTERS = "save_counters";
    SAVE_MESSAGES = "save_messages";
    SAVE_SESSIONS = "save_sessions" "save_counters";
    SET_METADATA = "set_metadata";
    SKIP_GENERATIONS = "skip_generations";
    STATS = "stats";
    UNFINISHED = "unfinished";
}

/// One statement, or a few that are always run together in one trip.
pub(super) struct Statement {
    sql: &'static str,
    sized: [OnceLock<SqlStr>; SIZES.len()],
}

impl Statement {
    const fn new(sql: &'static str) -> Self {
        Self {
            sql,
            sized: [const { OnceLock::new() }; SIZES.len()],
        }
    }

    /// Its text for one row.
    pub(super) fn sql(&self) -> &'static str {
        self.sql.trim_end().trim_end_matches(';')
    }

    /// It, to be bound.
    pub(super) fn query<'q>(&self) -> Query<'q, Sqlite, SqliteArguments> {
        sqlx::query(self.sql)
    }

    /// It, for a batch of rows, at most [`ROWS_MAX`]; `bind` pushes a row's values.
    pub(super) fn with_rows<'q, T>(
        &self,
        rows: &[T],
        bind: impl Fn(&mut Values, &T),
    ) -> Query<'q, Sqlite, SqliteArguments> {
        let mut values = Values::default();
        let size = values.rows(rows, bind);
        self.with_values(size, values)
    }

    /// It, for values whose groups were pushed with [`Values::rows`], which returned `size`.
    pub(super) fn with_values<'q>(
        &self,
        size: usize,
        values: Values,
    ) -> Query<'q, Sqlite, SqliteArguments> {
        let index = SIZES.iter().position(|s| *s == size).unwrap_or_default();
        let sql = self.sized[index]
            .get_or_init(|| AssertSqlSafe(repeat_groups(self.sql, size)).into_sql_str());
        sqlx::query_with(sql.clone(), values.0)
    }
}

/// The values of one execution, in the order of the statement's question marks.
#[derive(Default)]
pub(super) struct Values(SqliteArguments);

impl Values {
    /// The next value.
    pub(super) fn push<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        // Only integers, floats, text and blobs are bound, and these always encode.
        self.0.add(value).expect("the value encodes");
        self
    }

    /// The next `VALUES` group: `rows` and NULLs up to the size that is returned.
    pub(super) fn rows<T>(&mut self, rows: &[T], bind: impl Fn(&mut Self, &T)) -> usize {
        assert!(
            !rows.is_empty() && rows.len() <= ROWS_MAX,
            "a batch has its bounds"
        );
        let before = self.0.len();
        for row in rows {
            bind(self, row);
        }
        let width = (self.0.len() - before) / rows.len();
        let size = SIZES
            .into_iter()
            .find(|s| *s >= rows.len())
            .unwrap_or(ROWS_MAX);
        for _ in 0..(size - rows.len()) * width {
            self.push(None::<i64>);
        }
        size
    }
}

fn repeat_groups(sql: &str, times: usize) -> String {
    let mut text = String::new();
    let mut rest = sql;
    while let Some(at) = rest.find(GROUP) {
        let start = at + GROUP.len() - 1;
        let end = rest[start..]
            .find(')')
            .map_or(rest.len(), |close| start + close + 1);
        text.push_str(&rest[..end]);
        for _ in 1..times {
            text.push_str(", ");
            text.push_str(&rest[start..end]);
        }
        rest = &rest[end..];
    }
    text.push_str(rest);
    text
}
