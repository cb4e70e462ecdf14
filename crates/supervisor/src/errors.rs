//! An error with its sources, as text: where one is handled here, it is logged or reported whole.

use std::error::Error;

/// `error` and its sources, outermost first, joined by colons.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
