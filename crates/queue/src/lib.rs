//! skeleton
pub mod error;
pub mod ids;
pub mod limits;
pub mod store;
pub mod types;
