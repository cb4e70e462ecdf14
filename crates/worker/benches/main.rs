//! The measurements: each one beside a floor that is measured in the same run, interleaved with
//! it, so that a busy machine slows both. `scripts/bench NAME` runs one.
//!
//! Figures are for people and for the notes of a change; no test depends on them.

mod enqueue;
mod generator;
mod hook;
mod idle;
mod raw;
mod stats;
mod wake;
mod worker;

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds a flag of its own.
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    match args.next().as_deref() {
        Some("hook") => hook::run(),
        Some("enqueue") => enqueue::run(),
        Some("idle") => idle::run(),
        Some("wake") => wake::run(),
        Some("generator") => generator::run(args.next().as_deref()),
        // Not for people: the program that `generator` measures is this one.
        Some(generator::TWIN) => Ok(generator::twin::main()?),
        Some("list") | None => {
            println!("hook       a hook's whole process, beside /bin/true and one commit");
            println!("enqueue    events per second over HTTP, beside one commit an event");
            println!("idle       memory and processor time of a worker with nothing to do");
            println!("wake       from an event's commit to its generator, beside one commit");
            println!("generator  a program's start, messages and end, beside plain ones");
            Ok(())
        }
        Some(other) => anyhow::bail!("no measurement named {other}; `scripts/bench` lists them"),
    }
}
