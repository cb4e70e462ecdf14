//! Numbers in sentences for people.

use std::fmt::Display;

/// A number with its noun: `1 file`, `2 files`.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A number of processes: `1 process`, `2 processes`.
pub fn processes(number: u64) -> String {
    let plural = if number == 1 { "" } else { "es" };
    format!("{number} process{plural}")
}

/// The verb that goes with a number.
pub fn are<N: PartialEq + From<u8>>(number: N) -> &'static str {
    if number == N::from(1) { "is" } else { "are" }
}
