//! That a worker and a shim with nothing to do do nothing: how often their threads are woken, and
//! which system calls return.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Sizes;
use crate::proc::switches;
use crate::table::Table;
use crate::worker::Worker;

const LIMIT: Duration = Duration::from_secs(60);

/// Nothing may happen for so long before the watch begins.
const QUIET: Duration = Duration::from_secs(1);

/// Attaching to a process interrupts its waits, which is seen as a call that returns.
const ATTACHING: Duration = Duration::from_secs(1);

pub(super) fn measure(sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let command = crate::generator::command()?;
    let worker = Worker::start(&[("SESSIOND_GENERATOR_COMMAND", &command)])?;
    worker.call(
        "POST",
        "/v1/hooks/generic",
        r#"{"session_id":"idle","event":"Note","cwd":"/"}"#,
    )?;
    let is_done = || worker.status("depth").is_ok_and(|depth| depth == 0);
    worker.wait_for("end of the work", LIMIT, is_done)?;
    let shims = children(worker.pid())?;
    let [shim] = shims[..] else {
        anyhow::bail!("one shim was to run: {shims:?}");
    };
    let pids = [worker.pid(), shim];
    worker.wait_for("quiet", LIMIT, || is_quiet(pids))?;

    let (seconds, watched) = (sizes.watched.as_secs(), sizes.watched);
    let woken = twice(|| wakes(pids, watched), |woken| *woken == [0, 0])?;
    for (who, woken) in ["worker", "shim"].iter().zip(woken) {
        let what = format!("{who} with an idle child: woken in {seconds} s");
        table.zero(&what, woken.try_into()?);
    }
    let is_nothing = |calls: &Option<Vec<String>>| calls.as_ref().is_none_or(Vec::is_empty);
    match twice(|| calls(pids, watched), is_nothing)? {
        Some(lines) => {
            let what = format!("both: system calls that returned in {seconds} s");
            table.zero(&what, lines.len());
            for line in lines.iter().take(10) {
                table.note(line);
            }
        }
        None => table.note("(no strace here: system calls were not looked at)"),
    }
    anyhow::ensure!(
        children(worker.pid())? == [shim],
        "the child has ended meanwhile"
    );
    Ok(())
}

/// Watches, and once more when there was something: what is periodic is there each time, and what a
/// start has left to be done later, such as looking after the log's size, is not.
fn twice<T>(
    watch: impl Fn() -> anyhow::Result<T>,
    is_nothing: impl Fn(&T) -> bool,
) -> anyhow::Result<T> {
    let first = watch()?;
    if is_nothing(&first) {
        return Ok(first);
    }
    watch()
}

/// How often the threads of each came to run.
fn wakes(pids: [u32; 2], watched: Duration) -> anyhow::Result<[u64; 2]> {
    let [worker, shim] = pids;
    let before = [switches(worker)?, switches(shim)?];
    pause(watched);
    Ok([
        switches(worker)?.saturating_sub(before[0]),
        switches(shim)?.saturating_sub(before[1]),
    ])
}

fn is_quiet(pids: [u32; 2]) -> bool {
    let before = pids.map(|pid| switches(pid).ok());
    pause(QUIET);
    pids.map(|pid| switches(pid).ok()) == before
}

/// The children of all threads of a process.
fn children(of: u32) -> anyhow::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for task in fs::read_dir(format!("/proc/{of}/task"))? {
        let children = fs::read_to_string(task?.path().join("children"))?;
        for pid in children.split_whitespace() {
            pids.push(pid.parse()?);
        }
    }
    Ok(pids)
}

/// The lines that strace writes of these within `watched`; `None` without it, or where it may not.
fn calls(pids: [u32; 2], watched: Duration) -> anyhow::Result<Option<Vec<String>>> {
    let dir = tempfile::tempdir()?;
    let trace = dir.path().join("trace");
    let Some(mut strace) = attach(pids, &trace)? else {
        return Ok(None);
    };
    let said = strace.stderr.take().context("strace has no output")?;
    let mut lines = BufReader::new(said).lines();
    for _ in pids {
        let line = lines.next().transpose()?;
        if !line.is_some_and(|line| line.contains("attached")) {
            // It is not allowed to.
            strace.kill()?;
            strace.wait()?;
            return Ok(None);
        }
    }
    pause(ATTACHING);
    let from = now()?;
    pause(watched);
    let until = now()?;
    // On this it lets go of them; its own last lines are of later.
    kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGINT)?;
    strace.wait()?;
    let text = fs::read_to_string(&trace)?;
    let is_within = |line: &&str| {
        let time = line
            .split_whitespace()
            .nth(1)
            .and_then(|time| time.parse().ok());
        time.is_some_and(|time: f64| (from..until).contains(&time))
    };
    Ok(Some(
        text.lines().filter(is_within).map(str::to_owned).collect(),
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement starts what it measures with"
)]
fn attach(pids: [u32; 2], trace: &Path) -> anyhow::Result<Option<Child>> {
    let mut command = Command::new("strace");
    command.args(["-f", "-ttt", "-o"]).arg(trace);
    for pid in pids {
        command.args(["-p", &pid.to_string()]);
    }
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    match command.spawn() {
        Ok(strace) => Ok(Some(strace)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("start strace"),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "strace writes the time of the wall clock"
)]
fn now() -> anyhow::Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the measurement is how little happens meanwhile"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
