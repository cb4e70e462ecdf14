//! Every statement of the engine: one file each in `queries/`.

use std::sync::OnceLock;

use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;

macro_rules! statements {
    ($( $name:ident = $file:literal; )+) => {
        $( pub(super) const $name: Statement =
            Statement(include_str!(concat!("../../queries/", $file, ".sql"))); )+

        /// Every statement, with its name.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, Statement)] = &[$( (stringify!($name), $name), )+];
    };
}

statements! {
    ADD_USAGE_DAY = "add_usage_day";
    BEGIN_GENERATION = "begin_generation";
    CLAIM_MESSAGE = "claim_message";
    CLEAR_PROMPT = "clear_prompt";
    COUNT_PURGED = "count_purged";
    DATA_VERSION = "data_version";
    DELETE_MESSAGE = "delete_message";
    DELETE_SESSION = "delete_session";
    DUE_AT = "due_at";
    FIND_DEDUP = "find_dedup";
    FIND_EVENT = "find_event";
    FIND_HEAD = "find_head";
    GET_CHECKPOINT = "get_checkpoint";
    GET_DELETED_SEQ = "get_deleted_seq";
    GET_MESSAGE = "get_message";
    GET_METADATA = "get_metadata";
    GET_SESSION = "get_session";
    GET_SESSION_BY_KEY = "get_session_by_key";
    GET_USAGE_DAY = "get_usage_day";
    HAS_ROWS = "has_rows";
    INSERT_ATTEMPT = "insert_attempt";
    INSERT_MESSAGE = "insert_message";
    INSERT_PAYLOAD = "insert_payload";
    INSERT_RESULT = "insert_result";
    INSERT_SESSION = "insert_session";
    LIST_ATTEMPTS = "list_attempts";
    LIST_DEAD = "list_dead";
    LIST_DEAD_OF_SESSION = "list_dead_of_session";
    LIST_DEAD_SINCE = "list_dead_since";
    LIST_FINISHED = "list_finished";
    LIST_MESSAGES = "list_messages";
    LIST_RESULTS = "list_results";
    LIST_SESSIONS = "list_sessions";
    LIST_SESSIONS_BY_ID = "list_sessions_by_id";
    LIST_USAGE_DAYS = "list_usage_days";
    LIST_WORKED = "list_worked";
    LOAD_BACKLOG = "load_backlog";
    LOAD_CLAIMS_BEFORE = "load_claims_before";
    LOAD_COUNTERS = "load_counters";
    LOAD_DEAD = "load_dead";
    LOAD_DEAD_OF_SESSION = "load_dead_of_session";
    LOAD_HEAD = "load_head";
    LOAD_MESSAGE = "load_message";
    LOAD_SESSION_BY_ID = "load_session_by_id";
    LOAD_SESSION_BY_KEY = "load_session_by_key";
    LOAD_SESSION_BY_NUM = "load_session_by_num";
    MOVE_MESSAGE = "move_message";
    NOTE_DELETED = "note_deleted";
    PURGE_CHECKPOINT = "purge_checkpoint";
    PURGE_MESSAGES = "purge_messages";
    PURGE_RESULTS = "purge_results";
    RECOUNT = "recount";
    SAVE_CHECKPOINT = "save_checkpoint";
    SAVE_COUNTERS = "save_counters";
    SAVE_MESSAGE = "save_message";
    SAVE_SESSION = "save_session";
    SAVE_SESSION_COUNTS = "save_session_counts";
    SET_METADATA = "set_metadata";
    SKIP_GENERATIONS = "skip_generations";
    STATS = "stats";
    TRIM_ATTEMPTS = "trim_attempts";
    UNFINISHED = "unfinished";
}

/// One statement.
#[derive(Clone, Copy)]
pub(super) struct Statement(&'static str);

impl Statement {
    /// Its text.
    pub(super) fn sql(self) -> &'static str {
        self.0.trim_end()
    }

    /// It, for a reader, to be bound.
    pub(super) fn query<'q>(self) -> Query<'q, Sqlite, SqliteArguments> {
        sqlx::query(self.sql())
    }
}

pub(super) static INSERT_MESSAGES: Insert = Insert::of(INSERT_MESSAGE);
pub(super) static INSERT_PAYLOADS: Insert = Insert::of(INSERT_PAYLOAD);

/// Rows of one statement. Few sizes, so that all of them stay prepared.
const SIZES: [usize; 3] = [64, 8, 1];

/// An insert of one row, and the same for many: what a statement costs besides its rows is then paid
/// once for all of them.
pub(super) struct Insert {
    one: Statement,
    sized: [OnceLock<String>; SIZES.len()],
}

impl Insert {
    const fn of(one: Statement) -> Self {
        Self {
            one,
            sized: [const { OnceLock::new() }; SIZES.len()],
        }
    }

    /// The largest of its statements for no more than so many rows, with its size; there is one row
    /// at least.
    pub(super) fn for_rows(&self, rows: usize) -> (usize, &str) {
        let fits = SIZES.iter().position(|size| *size <= rows);
        let place = fits.expect("there is a row");
        let sql = self.sized[place].get_or_init(|| self.sized_sql(SIZES[place]));
        (SIZES[place], sql)
    }

    /// Its text, with its group of question marks so many times.
    fn sized_sql(&self, size: usize) -> String {
        const GROUP: &str = "VALUES (";
        let sql = self.one.sql();
        let start = sql.find(GROUP).expect("it inserts values") + GROUP.len() - 1;
        let end = start + sql[start..].find(')').expect("its group ends") + 1;
        let groups = vec![&sql[start..end]; size].join(", ");
        format!("{}{groups}{}", &sql[..start], &sql[end..])
    }
}
