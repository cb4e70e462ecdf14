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

/// The first of many, and how many more there are: `a, b and 3 more`.
pub fn listed<T: Display>(items: &[T], max: usize) -> String {
    let shown: Vec<String> = items.iter().take(max).map(T::to_string).collect();
    let shown = shown.join(", ");
    match items.len().saturating_sub(max) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn long_lists_are_cut_and_the_rest_is_counted() {
        assert_eq!(listed::<u32>(&[], 2), "");
        assert_eq!(listed(&[1, 2], 2), "1, 2");
        assert_eq!(listed(&[1, 2, 3, 4], 2), "1, 2 and 2 more");
    }
}
