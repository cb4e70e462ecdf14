//! What the disk does by itself: 4 KiB appended and synced.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use crate::stats::Times;
use crate::table::{Table, us};

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
        "(4 KiB and fdatasync: p50 {}, p99 {})",
        us(times.median()),
        us(times.percentile(99))
    ));
    Ok(())
}
