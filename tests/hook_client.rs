//! The hook client as an agent sees it: a process that exits 0, in time, without a word.

mod delivery;
mod fake_worker;
mod run;
mod spooling;
#[cfg(target_os = "linux")]
mod starting;
