//! skeleton
pub mod error;
pub mod ids;
pub mod limits;
mod sqlite;
pub mod store;
pub mod types;
mod validate;
pub use sqlite::SqliteStore;
