//! The queue's integration tests: the conformance suite over both stores, what is SQLite's alone,
//! and the two compared with each other.

mod conformance;
mod differential;
mod sqlite;
