//! How an error is shown where it is handled: once, with all its sources.

use std::error::Error;
use std::fmt::Write;

/// The error and its sources on one line, separated by colons.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        let _infallible = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
