//! The one integration-test binary: behaviour seen at the edges of the built programs, one module
//! a feature. `support` is the harness; `README.md` describes it.

pub mod support;

#[cfg(target_os = "linux")]
mod agent_watch;
mod bad_input;
mod cli;
mod clients;
mod detached;
mod doctor;
mod event_way;
mod events;
mod failures;
mod fuzz;
mod generators;
mod hook_client;
mod hook_path;
mod kill9;
mod lifecycle;
mod openapi;
mod order;
mod programs;
#[cfg(target_os = "linux")]
mod security;
#[cfg(target_os = "linux")]
mod session_walk;
#[cfg(target_os = "linux")]
mod shim;
mod start_stop;
mod supervision;
mod takeover;
mod tcp;
#[cfg(target_os = "linux")]
mod torture;
#[cfg(target_os = "linux")]
mod torture_crash;
#[cfg(target_os = "linux")]
mod torture_reuse;
mod upkeep;
mod worktrees;
