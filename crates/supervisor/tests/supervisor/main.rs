//! The supervisor's core against real processes and real files.

mod registry;
#[cfg(target_os = "linux")]
mod standing;
#[cfg(target_os = "linux")]
mod support;
