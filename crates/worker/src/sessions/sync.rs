//! The primitives under [`super::wake`]. A model checker compiles that file over its own.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use tokio::sync::Notify;
