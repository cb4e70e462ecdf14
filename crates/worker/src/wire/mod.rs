//! What the hook client and the worker agree on: where things lie, and how an event is framed.
//!
//! The hook client is built without the library, so these files are compiled into both. They use
//! `std` only.

pub mod layout;
