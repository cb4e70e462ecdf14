//! The measurements: each one beside a floor that is measured in the same run, interleaved with
//! it, so that a busy machine slows both. `scripts/bench NAME` runs one.
//!
//! Figures are for people and for the notes of a change; no test depends on them. Without
//! `cargo bench` this is a test binary: `smoke`.

mod busy;
mod clients;
mod enqueue;
mod generator;
mod hook;
mod idle;
mod proc;
mod queue;
mod raw;
mod smoke;
mod stats;
#[cfg(target_os = "linux")]
mod supervisor;
mod table;
mod wake;
mod worker;

/// What `cargo bench` adds, and nobody else.
const BENCH: &str = "--bench";

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut rest = args.iter().filter(|arg| *arg != BENCH).cloned();
    match rest.next().as_deref() {
        // Not for people: other processes that measurements need are this one.
        Some(generator::TWIN) => Ok(generator::twin::main()?),
        Some(queue::child::CHILD) => queue::child::main(rest),
        #[cfg(target_os = "linux")]
        Some(supervisor::child::CHILD) => supervisor::child::main(rest),
        _ if !args.iter().any(|arg| arg == BENCH) => smoke::main(&args),
        Some("hook") => hook::run(),
        Some("enqueue") => enqueue::run(),
        Some("idle") => idle::run(),
        Some("clients") => clients::run(),
        Some("wake") => wake::run(),
        Some("queue") => queue::run(rest),
        #[cfg(target_os = "linux")]
        Some("supervisor") => supervisor::run(rest),
        Some("generator") => generator::run(rest.next().as_deref()),
        Some("list") | None => {
            println!("hook       a hook's whole process, beside /bin/true and one commit");
            println!("enqueue    events per second over HTTP, beside one commit an event");
            println!(
                "queue      the table of the queue's speed, beside raw commits and small files"
            );
            println!("supervisor the table of the ends of trees, and who else ends them how well");
            println!("idle       memory and processor time of a worker with nothing to do");
            println!("clients    resolving, memory and rest of a worker with 10,000 clients");
            println!("wake       from an event's commit to its generator, beside one commit");
            println!("generator  a program's start, messages and end, beside plain ones");
            Ok(())
        }
        Some(other) => anyhow::bail!("no measurement named {other}; `scripts/bench` lists them"),
    }
}
