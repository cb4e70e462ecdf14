//! `hook`: the whole process of a hook with a 7 KB payload and a durable receipt, beside /bin/true
//! and one commit.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::raw::Raw;
use crate::stats::{Times, ratio};
use crate::worker::Worker;

const ROUNDS: usize = 400;
const PAYLOAD_BYTES: usize = 7_000;

pub(crate) fn run() -> anyhow::Result<()> {
    let worker = Worker::start(&[])?;
    let raw = Raw::open(&worker.home().join("raw.db"))?;
    let input = worker.home().join("stdin.json");
    let (mut hook, mut truth, mut commit) = (Times::default(), Times::default(), Times::default());
    for round in 0..ROUNDS {
        let payload = payload(round);
        std::fs::write(&input, &payload)?;
        commit.push(raw.commit(&payload)?);
        truth.push(time(&mut Command::new("/bin/true"))?);
        let mut command = Command::new(env!("CARGO_BIN_EXE_sessiond-hook"));
        command
            .env_clear()
            .env("SESSIOND_HOME", worker.home())
            .stdin(File::open(&input)?);
        hook.push(time(&mut command)?);
    }
    let stored = worker.get("/metrics")?;
    let wanted = format!("sessiond_messages_accepted_total {ROUNDS}\n");
    anyhow::ensure!(
        stored.contains(&wanted),
        "not every event was acknowledged: {stored}"
    );
    hook.print("sessiond-hook, whole process, durable");
    truth.print("/bin/true, whole process");
    commit.print("one raw commit, synchronous=FULL");
    let floor = truth.median() + commit.median();
    println!(
        "hook / (true + commit) = {:.2}   (to reach: 2.00)",
        ratio(hook.median(), floor)
    );
    Ok(())
}

fn time(command: &mut Command) -> anyhow::Result<Duration> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status()?;
    let took = began.elapsed();
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    Ok(took)
}

fn payload(round: usize) -> String {
    let text = "x".repeat(PAYLOAD_BYTES);
    serde_json::json!({
        "session_id": "bench-hook",
        "cwd": "/",
        "hook_event_name": "PostToolUse",
        "tool_name": "Bash",
        "tool_use_id": format!("toolu_{round}"),
        "tool_input": { "command": "cat file" },
        "tool_response": { "stdout": text, "stderr": "" },
    })
    .to_string()
}
