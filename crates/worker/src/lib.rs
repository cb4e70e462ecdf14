//! skeleton

pub mod wire;
