//! `torture`: ends trees that do not want to end, and counts who is left and who else was hit.
//!
//! A program of its own, so that its descriptors, children and threads are nobody else's, and so
//! that it can be run as any user. What it finds is judged from `/proc`, not from what the means
//! says of itself. Exits 0 only when every count is zero.

#[cfg(target_os = "linux")]
mod canary;
#[cfg(target_os = "linux")]
mod cases;
#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
mod crash;
#[cfg(target_os = "linux")]
mod means;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod random;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod reuse;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod runner;
#[cfg(target_os = "linux")]
mod scene;
#[cfg(target_os = "linux")]
mod user;

use std::process::ExitCode;

/// Exit code: what was asked for cannot be played here.
#[cfg(target_os = "linux")]
const EXIT_OBSTACLE: u8 = 3;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<ExitCode> {
    use clap::Parser;
    use options::{Options, What};

    match Options::parse().what {
        What::List => {
            cases::list();
            Ok(ExitCode::SUCCESS)
        }
        What::Run(options) => run::main(&options),
        What::Crash(options) => crash::main(&options),
        What::CrashWorker { plan } => crash::worker_main(&plan),
        What::Reuse(options) => reuse::main(&options),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("torture: it takes Linux to see what a tree has left");
    ExitCode::from(2)
}
