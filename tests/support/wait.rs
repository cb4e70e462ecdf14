//! Waiting for a condition that another process brings about: by looking, with a limit.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long anything may take on a loaded machine. It only guards against hanging, so it is never
/// a statement about speed.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `look` gives `Ok`; after `limit` panics with what it saw last.
#[track_caller]
pub fn wait_until<T, S: Debug>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, S>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= deadline => {
                panic!("{what}: not within {limit:?}; seen last: {seen:?}")
            }
            Err(_) => pause(),
        }
    }
}

/// For a look that is a question: `Ok` when `is_so`, otherwise what was seen.
pub fn ok_if<S>(is_so: bool, seen: S) -> Result<(), S> {
    if is_so { Ok(()) } else { Err(seen) }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the harness has no runtime to hold up; nothing here takes the pause for an event"
)]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}
