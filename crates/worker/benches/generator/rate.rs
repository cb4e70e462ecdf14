//! Messages per second through a program that does next to nothing, with one session and with four:
//! claim, line, reply, confirm; beside raw commits.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use sessiond::clock::Clock;
use sessiond::config::Config;
use sessiond::wire::layout::Layout;
use sessiond_queue::SqliteStore;
use sessiond_queue::ids::EventId;
use sessiond_queue::store::Store;
use sessiond_queue::types::{Effect, Enqueue, SessionRef};
use tempfile::TempDir;

use crate::raw::Raw;
use crate::stats::median;
use crate::worker::Worker;

const REPEATS: usize = 5;
const MESSAGES: usize = 2_000;
const SESSIONS: [usize; 2] = [1, 4];
const WORKED_LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let raw_dir = TempDir::new()?;
    let raw = Raw::open(&raw_dir.path().join("raw.db"))?;
    let mut floor = Vec::new();
    let mut rates = SESSIONS.map(|_| Vec::new());
    for _ in 0..REPEATS {
        let began = Instant::now();
        for _ in 0..MESSAGES {
            raw.commit(&payload())?;
        }
        floor.push(MESSAGES as f64 / began.elapsed().as_secs_f64());
        for (rates, sessions) in rates.iter_mut().zip(SESSIONS) {
            let dir = TempDir::new()?;
            let layout = Layout::at(dir.path().join("home"));
            DirBuilder::new().mode(0o700).create(layout.root())?;
            runtime.block_on(fill(&layout.queue_db(), sessions))?;
            let command = super::command()?;
            let worker = Worker::start_in(dir, &[("SESSIOND_GENERATOR_COMMAND", &command)])?;
            let is_done = || worker.status("depth").is_ok_and(|depth| depth == 0);
            worker.wait_for("end of the work", WORKED_LIMIT, is_done)?;
            rates.push(rate(&layout.queue_db())?);
        }
    }
    let floor = median(floor);
    println!("raw commits, one a message                 {floor:>8.0} per s");
    for (sessions, rates) in SESSIONS.into_iter().zip(rates) {
        let rate = median(rates);
        println!(
            "through a program, {sessions} at once              {rate:>8.0} per s = {:.2} x raw",
            rate / floor
        );
    }
    Ok(())
}

/// A backlog, so that no hook competes with its work.
async fn fill(queue_db: &Path, sessions: usize) -> anyhow::Result<()> {
    let store = SqliteStore::open(queue_db, Config::default().limits()).await?;
    for number in 0..MESSAGES / sessions {
        let events = (0..sessions).map(|session| store.enqueue(event(session), Clock.now()));
        for receipt in futures::future::join_all(events).await {
            anyhow::ensure!(receipt?.seq.0 == number as i64 + 1, "they are in order");
        }
    }
    store.close().await;
    Ok(())
}

/// From the first result to the last, as stored; so without the starts.
fn rate(queue_db: &Path) -> anyhow::Result<f64> {
    let connection = Connection::open_with_flags(queue_db, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sql = "SELECT count(*), max(created_at) - min(created_at) FROM results";
    let (count, took_ms): (i64, i64) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    anyhow::ensure!(count == MESSAGES as i64, "{count} of {MESSAGES} results");
    Ok((count - 1) as f64 * 1000.0 / took_ms as f64)
}

fn event(session: usize) -> Enqueue {
    Enqueue {
        event_id: EventId::mint(),
        session: SessionRef::Key {
            agent: "generic".to_owned(),
            key: format!("bench-{session}"),
        },
        kind: "Note".to_owned(),
        agent_id: None,
        payload: payload(),
        dedup: None,
        effect: Effect::None,
        cwd: None,
        project: None,
        accepted_at: Clock.now(),
    }
}

fn payload() -> String {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(900))
}
