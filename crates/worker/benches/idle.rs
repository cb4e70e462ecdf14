//! `idle`: resident memory, and processor time over 30 s, of a worker with nothing to do: without
//! sessions, and with 10,000 of them in memory.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::proc::{kib, switches, ticks};
use crate::worker::Worker;

const SESSIONS: usize = 10_000;
const WATCHED: Duration = Duration::from_secs(30);
const WORKED_LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn run() -> anyhow::Result<()> {
    // Generators end after a second instead of three minutes, so that what is measured is what a
    // worker holds for sessions at rest.
    let worker = Worker::start(&[("SESSIOND_SESSION_GENERATOR_IDLE_END_MS", "1000")])?;
    watch(&worker, "no sessions", 16)?;
    load(&worker)?;
    let is_done = || {
        worker.status("depth").is_ok_and(|depth| depth == 0)
            && worker
                .status("index_behind")
                .is_ok_and(|behind| behind == 0)
    };
    worker.wait_for("end of the work", WORKED_LIMIT, is_done)?;
    let active = worker.status("active")?;
    let is_quiet = || {
        ticks(worker.pid()).is_ok_and(|before| {
            pause(Duration::from_secs(2));
            ticks(worker.pid()).is_ok_and(|after| after == before)
        })
    };
    worker.wait_for("quiet", WORKED_LIMIT, is_quiet)?;
    watch(&worker, &format!("{active} sessions in memory"), 24)?;
    Ok(())
}

fn watch(worker: &Worker, what: &str, goal_mib: u64) -> anyhow::Result<()> {
    let (before, switches_before) = (ticks(worker.pid())?, switches(worker.pid())?);
    pause(WATCHED);
    let (after, switches_after) = (ticks(worker.pid())?, switches(worker.pid())?);
    println!(
        "{what}: {:.1} MiB resident (to reach: {goal_mib}), {} CPU ticks and {} context switches in {} s (to reach: 0 ticks)",
        kib(worker.pid(), "status", "VmRSS:")? / 1024.0,
        after - before,
        switches_after.saturating_sub(switches_before),
        WATCHED.as_secs()
    );
    Ok(())
}

fn load(worker: &Worker) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(worker.socket())?;
    let mut answer = [0; 4096];
    for session in 0..SESSIONS {
        let body = format!(r#"{{"session_id":"bench-{session}","event":"Note","cwd":"/"}}"#);
        write!(
            stream,
            "POST /v1/hooks/generic HTTP/1.1\r\nHost: sessiond\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let read = stream.read(&mut answer)?;
        anyhow::ensure!(
            answer.starts_with(b"HTTP/1.1 202"),
            "answered {read} bytes, not 202"
        );
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the measurement is how little happens meanwhile"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
