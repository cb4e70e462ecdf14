//! The wall clock. Pure code is given a time; everything else asks here.

use std::time::{SystemTime, UNIX_EPOCH};

use sessiond_queue::ids::Timestamp;

/// The machine's wall clock. Only for moments that are stored or shown; waits and deadlines inside
/// this process use tokio's monotonic time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The present moment. A clock before 1970 answers 1970.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    pub fn now(self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
