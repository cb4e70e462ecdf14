//! `enqueue`: events per second over HTTP with 1 and 16 connections while the generator is slow,
//! beside raw commits, one an event.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::raw::Raw;
use crate::stats::median;
use crate::worker::Worker;

const REPEATS: usize = 5;
const EVENTS: usize = 2_000;
const CONNECTIONS: [usize; 2] = [1, 16];

pub(crate) fn run() -> anyhow::Result<()> {
    // Each message takes a second, so that a backlog stands behind all of it.
    let worker = Worker::start(&[("SESSIOND_REHEARSAL_DELAY_MS", "1000")])?;
    let raw = Raw::open(&worker.home().join("raw.db"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut floor = Vec::new();
    let mut rates = CONNECTIONS.map(|_| Vec::new());
    for repeat in 0..REPEATS {
        let began = Instant::now();
        for event in 0..EVENTS {
            raw.commit(&payload(repeat, 0, event))?;
        }
        floor.push(rate(EVENTS, began.elapsed()));
        for (rates, connections) in rates.iter_mut().zip(CONNECTIONS) {
            rates.push(runtime.block_on(load(&worker, repeat, connections))?);
        }
    }
    let floor = median(floor);
    println!("raw commits, one an event                  {floor:>8.0} per s");
    for (connections, rates) in CONNECTIONS.into_iter().zip(rates) {
        let rate = median(rates);
        let goal = if connections == 16 {
            "   (to reach: 1.50)"
        } else {
            ""
        };
        println!(
            "HTTP, {connections:>2} connections, slow generator       {rate:>8.0} per s = {:.2} x raw{goal}",
            rate / floor
        );
    }
    println!("pending behind it: {}", worker.status("depth")?);
    Ok(())
}

async fn load(worker: &Worker, repeat: usize, connections: usize) -> anyhow::Result<f64> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(UnixStream::connect(worker.socket()).await?);
    }
    let began = Instant::now();
    let clients = streams.into_iter().enumerate().map(|(connection, stream)| {
        client(
            stream,
            repeat * 100 + connections,
            connection,
            EVENTS / connections,
        )
    });
    futures::future::try_join_all(clients).await?;
    Ok(rate(EVENTS / connections * connections, began.elapsed()))
}

/// Sends events one after the other, each after the receipt of the one before.
async fn client(
    mut stream: UnixStream,
    run: usize,
    connection: usize,
    events: usize,
) -> anyhow::Result<()> {
    let mut answer = vec![0; 4096];
    for event in 0..events {
        let body = payload(run, connection, event);
        let request = format!(
            "POST /v1/hooks/generic HTTP/1.1\r\nHost: sessiond\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut read = 0;
        // A receipt is a short object; it arrives in one or two pieces.
        while !answer[..read].ends_with(b"}") {
            let more = stream.read(&mut answer[read..]).await?;
            anyhow::ensure!(more > 0, "the worker hung up");
            read += more;
        }
        let is_accepted = answer.starts_with(b"HTTP/1.1 202");
        anyhow::ensure!(is_accepted, "{}", String::from_utf8_lossy(&answer[..read]));
    }
    Ok(())
}

/// 1 KB, each of its own session per run and connection.
fn payload(run: usize, connection: usize, event: usize) -> String {
    let text = "x".repeat(900);
    format!(
        r#"{{"session_id":"bench-{run}-{connection}","event":"Note","cwd":"/","number":{event},"text":"{text}"}}"#
    )
}

fn rate(events: usize, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}
