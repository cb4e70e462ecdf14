//! The queue's integration tests: the conformance suite over both stores, what is SQLite's alone
//! (the file, its history of attempts, its migration, its shrinking), and the two compared with each other.

mod conformance;
mod differential;
mod history;
mod migration;
mod shrink;
mod sqlite;
