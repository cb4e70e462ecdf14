//! skeleton
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
pub mod ids;
pub mod limits;
mod memory;
mod sqlite;
pub mod store;
pub mod types;
mod validate;
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
