//! The worker's log: where it is written, and how it is read back.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::CliError;
use crate::config::Log;
use crate::wire::layout::Layout;

/// Sends what is traced, and that there was a panic, to a file a day and to the terminal if there is
/// one.
pub(super) fn start(layout: &Layout, log: &Log) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(&log.filter)
        .with_context(|| format!("use the configuration: log.filter {:?}", log.filter))?;
    let file = tracing_appender::rolling::Builder::new()
        .rotation(tracing_appender::rolling::Rotation::DAILY)
        .filename_prefix("worker")
        .filename_suffix("log")
        .max_log_files(log.files_max)
        .build(layout.log_dir())
        .context("open the log")?;
    let to_file = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(std::sync::Mutex::new(file));
    let to_terminal = std::io::stderr()
        .is_terminal()
        .then(|| tracing_subscriber::fmt::layer().with_writer(std::io::stderr));
    tracing_subscriber::registry()
        .with(filter)
        .with(to_file)
        .with(to_terminal)
        .init();
    trace_panics();
    Ok(())
}

/// A worker that a hook has started complains to nobody. Where it panicked is traced and not what it
/// said, which may quote a payload.
fn trace_panics() {
    let complain = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(tracing::field::display);
        tracing::error!(thread = std::thread::current().name(), place, "panicked");
        complain(panic);
    }));
}

/// Prints the last `lines` lines of the newest log files.
pub(super) fn print(layout: &Layout, lines: usize) -> Result<(), CliError> {
    let dir = layout.log_dir();
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!(
                "no log yet; the worker has not run in {}",
                layout.root().display()
            );
            return Ok(());
        }
        Err(error) => {
            let context = format!("read the directory {}", dir.display());
            return Err(anyhow::Error::new(error).context(context).into());
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    // Their names hold the date.
    files.sort();
    let mut text = String::new();
    for file in files.iter().rev() {
        let earlier = std::fs::read_to_string(file)
            .with_context(|| format!("read the log {}", file.display()))?;
        text.insert_str(0, &earlier);
        if text.lines().count() >= lines {
            break;
        }
    }
    let all: Vec<&str> = text.lines().collect();
    for line in &all[all.len().saturating_sub(lines)..] {
        println!("{line}");
    }
    Ok(())
}
