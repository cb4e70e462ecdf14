//! The worker of sessiond: takes agents' events in, feeds them to their sessions' generators, and
//! answers for both.
//!
//! The way of an event: `accept` reads it by its agent's rules (`agents`) and stores it; `sessions`
//! wakes its session, whose run brings it to a `generator` (by default the `digest`) and confirms
//! it; `search` and `context` find the results again.
//!
//! Modules in reading order: `daemon` builds the parts and starts them; `http` and `cli` are the
//! edges; `doctor` judges the whole. `wire` is shared with the hook client, which is a binary of
//! its own and uses nothing else from here.

pub mod accept;
pub mod admission;
pub mod agent_watch;
pub mod agents;
pub mod belongings;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod config;
pub mod context;
pub mod daemon;
pub mod digest;
pub mod doctor;
pub mod errors;
pub mod events;
pub mod generator;
pub mod home;
pub mod http;
pub mod instance;
pub mod launch;
pub mod memory;
pub mod occupant;
pub mod processes;
pub mod search;
pub mod sessions;
pub mod set_aside;
pub mod spool;
pub mod spool_intake;
pub mod state;
pub mod takeover;
pub mod upkeep;
pub mod wire;
pub mod words;
pub mod worktrees;

#[cfg(test)]
mod testing;
