//! Programs as generators, the whole way: events in, results out, and nothing left behind.
//!
//! The program is `programs/generator.rs`, an example of the worker's package, which misbehaves as
//! a file says that the test writes.

mod closing;
mod crash;
mod environment;
mod failing;
mod slots;
mod spending;
mod sweep;
mod told;

use std::fs;
use std::path::PathBuf;

use sessiond_queue::types::NewResult;

use crate::support::wait::ok_if;
use crate::support::{Api, Home, LIMIT, Process, example, wait_until};

/// A home whose sessions are worked by the test's program.
struct Programs {
    home: Home,
}

impl Programs {
    /// With `modes` (see `programs/generator.rs`) and short times.
    fn new(modes: &str) -> Self {
        let home = Home::new()
            .with("queue.backoff_base_ms", 1)
            .with("queue.backoff_cap_ms", 20)
            .with("generator.breaker_base_ms", 1)
            .with("generator.breaker_cap_ms", 20)
            .with("supervisor.grace_ms", 500);
        let programs = Self { home };
        programs.set_modes(modes);
        let command = format!(
            "'{}' '{}'",
            example("test-generator").display(),
            programs.modes_file().display()
        );
        Self {
            home: programs.home.with("generator.command", command),
        }
    }

    /// The same with a setting.
    fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.home.set(name, value);
        self
    }

    /// Breaks or mends the program.
    fn set_modes(&self, modes: &str) {
        let file = self.modes_file();
        let dir = file.parent().expect("it is in a directory");
        fs::create_dir_all(dir).expect("a directory");
        // Renamed: a program that reads meanwhile sees the old or the new.
        let new = file.with_extension("new");
        fs::write(&new, modes).expect("a file");
        fs::rename(new, file).expect("a rename");
    }

    fn modes_file(&self) -> PathBuf {
        let root = self.home.layout().root();
        root.with_file_name("modes").join("generator")
    }

    /// The programs that run, without their shims.
    fn running(&self) -> Vec<Process> {
        let mut all = self.home.processes();
        all.retain(|process| {
            process
                .command_line()
                .starts_with(&*example("test-generator").to_string_lossy())
        });
        all
    }

    /// Waits until so many programs run.
    #[track_caller]
    fn wait_running(&self, count: usize) -> Vec<Process> {
        wait_until("the programs run", LIMIT, || {
            let running = self.running();
            if running.len() == count {
                Ok(running)
            } else {
                Err(running)
            }
        })
    }

    /// Waits until nothing runs that a worker has started.
    #[track_caller]
    fn wait_nothing_left(&self) {
        wait_until("everything that was started ends", LIMIT, || {
            let mut left = self.home.processes();
            left.retain(|process| {
                process
                    .environment()
                    .iter()
                    .any(|own| own.starts_with("SESSIOND_TAG="))
            });
            ok_if(left.is_empty(), left)
        });
    }
}

/// What a session's results say, in order.
fn results(api: &Api, session: &str) -> Vec<NewResult> {
    let stored = api.results(session).into_iter();
    stored.map(|stored| stored.result).collect()
}
