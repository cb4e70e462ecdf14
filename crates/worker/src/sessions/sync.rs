//! The primitives under [`super::wake`]. A model checker compiles that file over its own.

pub use std::sync::atomic::{AtomicU64, Ordering};

pub use tokio::sync::Notify;
