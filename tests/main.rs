//! The one integration-test binary: behaviour seen at the edges of the built programs, one module
//! a feature. `support` is the harness; `README.md` describes it.

pub mod support;

mod detached;
mod event_way;
mod failures;
mod hook_client;
mod hook_path;
mod lifecycle;
mod order;
