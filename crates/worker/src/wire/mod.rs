//! What the hook client and the worker agree on: where things lie, how an event travels, and how
//! it is kept until the worker can take it.
//!
//! The hook client is built without the library, so these files are compiled into both. They use
//! `std` only.

pub mod agent_process;
pub mod crc32;
pub mod environment;
pub mod frame;
pub mod http;
pub mod layout;
pub mod limits;
pub mod socket;
pub mod spool_name;
