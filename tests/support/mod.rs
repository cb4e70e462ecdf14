//! The harness: drives the real binaries in a home of their own and looks at them from outside.
//!
//! `tests/README.md` describes it for its users. Modules in reading order: `home` (an install and
//! everything that is done with it), `worker` (its running worker), `api` over `http`, `database`,
//! `process` (what `/proc` says), `launch` (the one place that starts programs), `child` (a program
//! that misbehaves), `freezer` (one that does not die), `agent` (one that fires hooks), `sleeper`,
//! `alone`, `stranger` (another user), `left_out`, `random`, `wait`, `payload`.
#![allow(
    dead_code,
    reason = "path-included by several programs, each of which uses its part"
)]

pub mod agent;
pub mod alone;
pub mod api;
pub mod child;
pub mod database;
pub mod freezer;
pub mod home;
pub mod http;
pub mod launch;
mod left_out;
pub mod payload;
pub mod process;
pub mod random;
pub mod sleeper;
pub mod stranger;
pub mod wait;
pub mod worker;

pub use agent::Agent;
pub use alone::is_alone;
pub use api::{Api, SessionView};
pub use child::{example, nasty_child};
pub use database::Database;
pub use freezer::Freezer;
pub use home::{HOOK, Home};
pub use http::Response;
pub use launch::Ran;
pub use left_out::leave_out;
pub use process::Process;
pub use sleeper::Sleeper;
pub use wait::{LIMIT, wait_until};
pub use worker::Worker;
