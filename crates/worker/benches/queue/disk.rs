//! What the disk does by itself: 4 KiB appended and synced; and how busy the machine is.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use super::table::{Table, us};
use crate::stats::Times;

const ROUNDS: usize = 200;

/// Prints how long one `fdatasync` in this directory takes now.
pub(super) fn note(table: &Table, dir: &Path) -> anyhow::Result<()> {
    let path = dir.join("synced");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(path)?;
    table.note(&format!(
        "(4 KiB and fdatasync: p50 {}, p99 {}; {} processes beside this one want a processor)",
        us(times.median()),
        us(times.percentile(99)),
        others()?
    ));
    Ok(())
}

/// Threads that run or want to, without this one. With as many as processors, whoever waits for the
/// disk then waits for a processor too, and the figures are not to be judged by.
fn others() -> anyhow::Result<usize> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let running = load
        .split_whitespace()
        .nth(3)
        .and_then(|field| field.split('/').next());
    let running =
        running.ok_or_else(|| anyhow::anyhow!("/proc/loadavg has no field of threads"))?;
    Ok(running.parse::<usize>()?.saturating_sub(1))
}
