//! The queue's integration tests: the conformance suite over both stores, what is SQLite's alone
//! (the file, its history of attempts, its migration, its shrinking, its checks), and the two compared
//! by random walks (`model`).

mod close;
mod conformance;
mod history;
mod migration;
mod model;
#[path = "../support/seed.rs"]
mod seed;
mod shrink;
mod sqlite;
mod two;
mod verify;
