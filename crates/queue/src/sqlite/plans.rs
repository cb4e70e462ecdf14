//! Tests of the statements themselves: that the schema takes each, and how SQLite runs it.

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, Row as _, SqlSafeStr as _, SqliteConnection,
};
use uuid::Uuid;

use super::statements::{ALL, INSERT_ATTEMPT, Statement, TRIM_ATTEMPTS};
use super::{connect, read};
use crate::ids::{ResultId, SessionId};
use crate::limits::Limits;
use crate::types::{Life, MessageFilter, ResultFilter, SessionFilter, State};

/// Counts everything, when the doctor asks for it.
const SLOW: &str = "RECOUNT";

/// Walks along the table from its end to its limit, which is looked at apart.
const DAYS: &str = "LIST_USAGE_DAYS";

/// The beginnings of listings; they are looked at with their filters.
const BASES: [&str; 3] = ["LIST_MESSAGES", "LIST_RESULTS", "LIST_SESSIONS"];

/// What may be read as a whole: the rows of the statement itself, what it is given, tables of one
/// row, and partial indexes, which hold only what is asked for.
const SHORT: [&str; 9] = [
    "SCAN CONSTANT ROW",
    "SCAN counters",
    "SCAN meta",
    "SCAN messages USING INDEX messages_dead",
    "SCAN m USING INDEX messages_dead",
    "SCAN m USING INDEX messages_dead_since",
    "SCAN m USING INDEX messages_finished",
    "SCAN s USING INDEX sessions_unfinished",
    "SCAN wanted VIRTUAL TABLE",
];

async fn with_schema(test: impl AsyncFnOnce(&mut SqliteConnection)) {
    let dir = tempfile::tempdir().expect("a directory is made");
    let path = dir.path().join("queue.db");
    let opened = connect::make_ready(&path, &Limits::default()).await;
    let (mut conn, _) = opened.expect("the file is made");
    test(&mut conn).await;
    conn.close().await.expect("the file closes");
}

async fn plan(conn: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let steps = sqlx::raw_sql(explain)
        .fetch_all(conn)
        .await
        .expect("the plan is made");
    steps.iter().map(|step| step.get("detail")).collect()
}

fn statement(name: &str) -> Statement {
    let found = ALL.iter().find(|(other, _)| *other == name);
    found.expect("it is there").1
}

/// Reads a table as a whole, or builds an index for one execution, which is the same.
fn is_long(step: &str) -> bool {
    let scan = step.starts_with("SCAN") && !SHORT.iter().any(|short| step.starts_with(short));
    scan || step.contains("AUTOMATIC")
}

#[tokio::test]
async fn every_statement_is_one_the_schema_takes() {
    with_schema(async |conn| {
        for (name, statement) in ALL {
            let sql = AssertSqlSafe(statement.sql()).into_sql_str();
            let prepared = (&mut *conn).prepare(sql).await;
            assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
        }
    })
    .await;
}

#[tokio::test]
async fn no_statement_scans_a_table() {
    with_schema(async |conn| {
        for (name, statement) in ALL.iter().filter(|(name, _)| !BASES.contains(name)) {
            let mut long = plan(conn, statement.sql()).await;
            long.retain(|step| is_long(step));
            let may_scan = [SLOW, DAYS].contains(name);
            assert_eq!(may_scan, !long.is_empty(), "{name}: {long:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn hot_statements_use_their_indexes() {
    let hot = [
        ("FIND_EVENT", "event_id"),
        ("GET_MESSAGE", "m USING INTEGER PRIMARY KEY"),
        ("FIND_DEDUP", "messages_dedup"),
        ("FIND_HEAD", "messages_by_session"),
        ("LOAD_HEAD", "messages_by_session"),
        ("LOAD_CLAIMS_BEFORE", "messages_claimed"),
        ("STATS", "messages_oldest"),
        ("DUE_AT", "messages_by_session"),
        ("LIST_ATTEMPTS", "attempts USING PRIMARY KEY (message=?)"),
        ("GET_USAGE_DAY", "usage_days USING INTEGER PRIMARY KEY"),
        ("UNFINISHED", "sessions_unfinished"),
        (
            "LIST_SESSIONS_BY_ID",
            "s USING INDEX sqlite_autoindex_sessions_1 (id=?)",
        ),
        ("LOAD_BACKLOG", "messages_by_session"),
        ("DELETE_MESSAGE", "messages USING INTEGER PRIMARY KEY"),
        ("NOTE_DELETED", "sessions USING INTEGER PRIMARY KEY"),
    ];
    with_schema(async |conn| {
        for (name, index) in hot {
            let plan = plan(conn, statement(name).sql()).await;
            assert!(
                plan.iter().any(|step| step.contains(index)),
                "{name}: {plan:?}"
            );
        }
    })
    .await;
}

/// SQLite makes a table for an IN list of more than two, also for one in a CHECK.
#[tokio::test]
async fn hot_statements_make_no_tables_of_their_own() {
    let hot = [
        "FIND_EVENT",
        "FIND_DEDUP",
        "INSERT_MESSAGE",
        "INSERT_PAYLOAD",
        "FIND_HEAD",
        "LOAD_MESSAGE",
        "CLAIM_MESSAGE",
        "SAVE_MESSAGE",
        "INSERT_RESULT",
        "SAVE_CHECKPOINT",
        "SAVE_SESSION",
        "SAVE_SESSION_COUNTS",
        "SAVE_COUNTERS",
    ];
    with_schema(async |conn| {
        for name in hot {
            let explain = AssertSqlSafe(format!("EXPLAIN {}", statement(name).sql()));
            let steps = sqlx::raw_sql(explain).fetch_all(&mut *conn).await;
            let steps = steps.expect("the program is listed");
            let codes = steps.iter().map(|step| step.get::<String, _>("opcode"));
            let codes: Vec<_> = codes.filter(|code| code.starts_with("Open")).collect();
            assert!(!codes.is_empty(), "{name} opens what it works on");
            assert!(!codes.contains(&"OpenEphemeral".to_owned()), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn histories_and_days_are_read_in_the_order_of_their_table() {
    with_schema(async |conn| {
        for name in ["LIST_ATTEMPTS", DAYS] {
            let plan = plan(conn, statement(name).sql()).await;
            assert!(
                !plan.iter().any(|step| step.contains("ORDER BY")),
                "{name}: {plan:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_deleted_is_read_from_the_end_of_an_index() {
    let wanted = [
        ("LIST_FINISHED", "messages_finished"),
        ("LIST_DEAD_SINCE", "messages_dead_since"),
        ("LOAD_DEAD", "messages_dead"),
    ];
    with_schema(async |conn| {
        for (name, index) in wanted {
            let plan = plan(conn, statement(name).sql()).await;
            let index = format!("SCAN m USING INDEX {index}");
            assert!(plan.contains(&index), "{name}: {plan:?}");
            assert!(
                !plan.iter().any(|step| step.contains("ORDER BY")),
                "{name}: {plan:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn history_is_written_and_trimmed_by_its_key() {
    with_schema(async |conn| {
        for sql in [INSERT_ATTEMPT.sql(), TRIM_ATTEMPTS.sql()] {
            let plan = plan(conn, sql).await;
            assert!(
                plan.iter().any(|step| step.contains("attempts USING")
                    && step.contains("PRIMARY KEY (message=?")),
                "{sql}: {plan:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn listings_follow_an_index_or_stop_at_their_limit() {
    let session = Some(SessionId(Uuid::nil()));
    let messages = |filter: MessageFilter| read::messages_query(filter).sql().as_str().to_owned();
    let results = |filter: ResultFilter| read::results_query(filter).sql().as_str().to_owned();
    let sessions = |filter: SessionFilter| read::sessions_query(filter).sql().as_str().to_owned();
    let state = |state| MessageFilter {
        state: Some(state),
        ..MessageFilter::default()
    };
    // The wanted step of each: an index, or the table in the order that is asked for.
    let wanted = [
        (messages(MessageFilter::default()), "SCAN m"),
        (messages(state(State::Dead)), "messages_dead"),
        (messages(state(State::Claimed)), "messages_claimed"),
        (messages(state(State::Pending)), "SCAN m"),
        (
            messages(MessageFilter {
                session,
                ..MessageFilter::default()
            }),
            "messages_by_session",
        ),
        (
            results(ResultFilter {
                after: Some(ResultId(1)),
                ..ResultFilter::default()
            }),
            "SEARCH r USING INTEGER PRIMARY",
        ),
        (
            results(ResultFilter {
                session,
                ..ResultFilter::default()
            }),
            "results_by_session",
        ),
        (
            results(ResultFilter {
                project: Some(String::new()),
                ..ResultFilter::default()
            }),
            "sessions_by_project",
        ),
        (sessions(SessionFilter::default()), "sessions_by_activity"),
        (
            sessions(SessionFilter {
                project: Some(String::new()),
                ..SessionFilter::default()
            }),
            "sessions_by_project",
        ),
        (
            sessions(SessionFilter {
                life: Some(Life::Open),
                ..SessionFilter::default()
            }),
            "sessions_by_activity",
        ),
    ];
    with_schema(async |conn| {
        for (sql, wanted) in wanted {
            let plan = plan(conn, &sql).await;
            assert!(
                plan.iter().any(|step| step.contains(wanted)),
                "{sql}: {plan:?}"
            );
        }
    })
    .await;
}
