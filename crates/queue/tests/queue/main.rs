//! The queue's integration tests: the conformance suite over both stores, what is SQLite's alone
//! (the file, its history of attempts, its migration), and the two compared with each other.

mod conformance;
mod differential;
mod history;
mod migration;
mod sqlite;
