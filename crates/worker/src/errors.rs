//! How an error is shown where it is handled: once, with all its sources.

use std::error::Error;
use std::fmt::Write;

/// The error and its sources on one line, separated by colons. A source that the error before it
/// has quoted already, as some libraries do, is not said again.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            // Writing to a string cannot fail.
            let _infallible = write!(text, ": {words}");
        }
        source = cause.source();
    }
    text
}
