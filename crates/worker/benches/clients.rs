//! `clients`: what resolving a token costs with 10,000 clients beside 10, what a client takes in
//! memory, and that a worker with all of them at rest does nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::proc::{kib, ticks};
use crate::worker::Worker;

const FEW: usize = 10;
const MANY: usize = 10_000;
/// Bytes of metadata that each client has; they are not counted.
const METADATA: &str = r#"{"tool":"bench"}"#;
const ROUNDS: usize = 15;
const REQUESTS: usize = 2_000;
const WATCHED: Duration = Duration::from_secs(30);

pub(crate) fn run() -> anyhow::Result<()> {
    let (few, many) = (Worker::start(&[])?, Worker::start(&[])?);
    let few_token = fill(&few, FEW)?;
    // What the first ones cost once is not a client's.
    let _warm = fill(&many, FEW)?;
    let before = kib(many.pid(), "status", "VmRSS:")?;
    let many_token = fill(&many, MANY - FEW)?;
    let after = kib(many.pid(), "status", "VmRSS:")?;
    let each = (after - before) * 1024.0 / (MANY - FEW) as f64 - METADATA.len() as f64;
    println!("memory: {each:.0} bytes a client beside its metadata (to reach: 1024)");

    let (mut with_few, mut with_many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with_few.push(resolve(&few, &few_token)?);
        with_many.push(resolve(&many, &many_token)?);
    }
    let (with_few, with_many) = (median(with_few), median(with_many));
    println!(
        "resolve: {with_few:.1} us with {FEW} clients, {with_many:.1} us with {MANY}: {:.2} times (to reach: 1.5)",
        with_many / with_few
    );

    let quiet = || {
        ticks(many.pid()).is_ok_and(|before| {
            pause(Duration::from_secs(6));
            ticks(many.pid()).is_ok_and(|after| after == before)
        })
    };
    many.wait_for("quiet", Duration::from_secs(60), quiet)?;
    let before = ticks(many.pid())?;
    pause(WATCHED);
    let spent = ticks(many.pid())? - before;
    println!(
        "idle: {spent} CPU ticks in {} s with {MANY} clients (to reach: 0)",
        WATCHED.as_secs()
    );
    Ok(())
}

/// Registers clients, half of them with a process (this one); answers the last one's token.
fn fill(worker: &Worker, count: usize) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(worker.socket())?;
    let mut token = String::new();
    for number in 0..count {
        let pid = match number % 2 {
            0 => std::process::id().to_string(),
            _ => "null".to_owned(),
        };
        let body = format!(
            r#"{{"display_name":"client {number}","cwd":"/tmp/project","role":"bench","pid":{pid},"metadata":{METADATA}}}"#
        );
        let request = format!(
            "POST /v1/clients/register HTTP/1.1\r\nHost: sessiond\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(&mut stream, &request, "201")?;
        let (_, rest) = answer
            .split_once(r#""token":""#)
            .ok_or_else(|| anyhow::anyhow!("no token in {answer}"))?;
        token = rest.chars().take_while(|char| *char != '"').collect();
    }
    Ok(token)
}

/// Microseconds a request that says who asks.
fn resolve(worker: &Worker, token: &str) -> anyhow::Result<f64> {
    let mut stream = UnixStream::connect(worker.socket())?;
    let request = format!(
        "GET /v1/clients/me HTTP/1.1\r\nHost: sessiond\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        exchange(&mut stream, &request, "200")?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / REQUESTS as f64)
}

/// Sends a request and reads its whole answer, which fits into one read.
fn exchange(stream: &mut UnixStream, request: &str, status: &str) -> anyhow::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; 8192];
    let read = stream.read(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    let is_right = answer.starts_with(&format!("HTTP/1.1 {status}"));
    anyhow::ensure!(is_right, "answered {answer}, not {status}");
    Ok(answer)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(
    clippy::disallowed_methods,
    reason = "the measurement is how little happens meanwhile"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
