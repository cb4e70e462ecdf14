//! Where an event stands in the log: the id that readers are given, and come back with.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use sessiond_queue::ids::Generation;

/// A place in the log, `{generation}-{number}` as text. Places rise, over restarts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The run of the worker.
    pub generation: Generation,
    /// The event in it, from 1; 0 is the place before the first.
    pub number: u64,
}

/// A text that is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of an event: two whole numbers with a hyphen between them, such as 12-345")]
pub struct InvalidPlace;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.number)
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (generation, number) = text.split_once('-').ok_or(InvalidPlace)?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(generation) || !is_number(number) {
            return Err(InvalidPlace);
        }
        let number: u64 = number.parse().map_err(|_| InvalidPlace)?;
        // SQLite's numbers, and one more is counted to.
        if i64::try_from(number).is_ok_and(|number| number < i64::MAX) {
            let generation = generation.parse().map_err(|_| InvalidPlace)?;
            let generation = Generation(generation);
            return Ok(Self { generation, number });
        }
        Err(InvalidPlace)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written_and_rise_over_generations() {
        let place: Place = "12-345".parse().expect("a place");
        assert_eq!((place.generation, place.number), (Generation(12), 345));
        assert_eq!(place.to_string(), "12-345");
        assert!(place < "13-0".parse().expect("a place"));
        for text in [
            "",
            "12",
            "-12",
            "1-2-3",
            "1-+2",
            "1- 2",
            "a-1",
            "1-9223372036854775807",
        ] {
            assert_eq!(text.parse::<Place>(), Err(InvalidPlace), "{text}");
        }
    }
}
