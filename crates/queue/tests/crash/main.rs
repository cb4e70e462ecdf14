//! The queue under every crash: loss of power (`power`), a killed process (`kill`), a disk that fails
//! (`fault`), an operating system that refuses (`system`).
//!
//! All of them run the same random load (`load`, `ask`), which notes what it asks and what it is
//! answered (`notes`), and hold what is found afterwards (`check`) against what these notes say
//! (`known`). `vfs` puts a recorder under
//! SQLite, `disk` keeps what it records and fails what it is told to, `image` makes of a recording
//! what a crash may leave.
//!
//! `SESSIOND_SEED` replays a seed; each test prints its own. More than the usual few seconds' worth is
//! tried with `SESSIOND_POWER_IMAGES`, `SESSIOND_KILL_ROUNDS` and `SESSIOND_FAULT_ROUNDS`.

mod ask;
mod check;
mod child;
mod disk;
mod fault;
mod image;
mod kill;
mod known;
mod load;
mod notes;
mod power;
mod random;
#[path = "../support/seed.rs"]
mod seed;
mod system;
mod vfs;
