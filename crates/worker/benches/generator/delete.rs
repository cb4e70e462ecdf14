//! Deletion of a session: of one without a program, of one whose program waits, and of one whose
//! program ignores whatever it is told, beyond the times that it is given.

use std::time::{Duration, Instant};

use crate::stats::Times;
use crate::worker::Worker;

const ROUNDS: usize = 40;
const STUBBORN_ROUNDS: usize = 7;
const WAIT_MS: u64 = 500;
const GRACE_MS: u64 = 500;
const LIMIT: Duration = Duration::from_secs(30);

/// Says that it is ready, leaves a mark once it has a message, and does not end of anything but
/// SIGKILL.
const STUBBORN: &str = r#"sh -c 'trap "" TERM HUP INT; read -r open; echo "{\"type\":\"ready\"}"; read -r message; : > stuck-$$; while :; do sleep 1000; done'"#;

pub(crate) fn run() -> anyhow::Result<()> {
    let worker = Worker::start(&[("SESSIOND_GENERATOR_COMMAND", &super::command()?)])?;
    let (mut without, mut cooperative) = (Times::default(), Times::default());
    for round in 0..ROUNDS {
        let body = format!(r#"{{"agent":"generic","key":"idle-{round}"}}"#);
        worker.call("POST", "/v1/sessions", &body)?;
        without.push(delete(&worker, &format!("idle-{round}"))?.0);

        let session = format!("busy-{round}");
        note(&worker, &session)?;
        let is_done = || worker.status("depth").is_ok_and(|depth| depth == 0);
        worker.wait_for("end of the work", LIMIT, is_done)?;
        cooperative.push(delete(&worker, &session)?.0);
    }
    without.print("deletion of a session without a program");
    cooperative.print("deletion of one whose program waits");
    println!(
        "cooperative: median {:.1} ms (to reach: 50.0)",
        cooperative.median().as_secs_f64() * 1000.0
    );
    drop(worker);
    stubborn()
}

fn stubborn() -> anyhow::Result<()> {
    let worker = Worker::start(&[
        ("SESSIOND_GENERATOR_COMMAND", STUBBORN),
        (
            "SESSIOND_SESSION_GENERATOR_STOP_WAIT_MS",
            &WAIT_MS.to_string(),
        ),
        ("SESSIOND_SUPERVISOR_GRACE_MS", &GRACE_MS.to_string()),
    ])?;
    let mut beyond = Times::default();
    for round in 0..STUBBORN_ROUNDS {
        let session = format!("stubborn-{round}");
        note(&worker, &session)?;
        let is_stuck = || marks(&worker).is_ok_and(|marks| marks == round + 1);
        worker.wait_for("stuck program", LIMIT, is_stuck)?;
        // Purged, since its message would be worked again, by another stubborn one.
        let (took, report) = delete(&worker, &format!("{session}?purge=true"))?;
        let report: serde_json::Value = serde_json::from_str(&report)?;
        anyhow::ensure!(
            report["reaped"][0]["end"] == "killed",
            "not killed: {report}"
        );
        beyond.push(took.saturating_sub(Duration::from_millis(WAIT_MS + GRACE_MS)));
    }
    beyond.print("deletion of a stubborn one, beyond its times");
    println!(
        "stubborn: {WAIT_MS} ms wait + {GRACE_MS} ms grace + {:.1} ms (to reach: 250.0)",
        beyond.median().as_secs_f64() * 1000.0
    );
    Ok(())
}

fn note(worker: &Worker, session: &str) -> anyhow::Result<()> {
    let body = format!(r#"{{"session_id":"{session}","event":"Note","cwd":"/"}}"#);
    worker.call("POST", "/v1/hooks/generic", &body)?;
    Ok(())
}

fn delete(worker: &Worker, session: &str) -> anyhow::Result<(Duration, String)> {
    let began = Instant::now();
    let report = worker.call("DELETE", &format!("/v1/sessions/generic:{session}"), "")?;
    Ok((began.elapsed(), report))
}

fn marks(worker: &Worker) -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(worker.home())? {
        count += usize::from(entry?.file_name().to_string_lossy().starts_with("stuck-"));
    }
    Ok(count)
}
