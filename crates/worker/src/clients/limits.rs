//! Every bound of what a client may say of itself, with the reason for it.

use std::time::Duration;

/// Bytes of a name: what fits into a line of a table, and some.
pub const NAME_MAX_BYTES: usize = 256;

/// Bytes of a version, a role, one group: words, not texts.
pub const WORD_MAX_BYTES: usize = 64;

/// Groups of one client: each is kept in memory.
pub const GROUPS_MAX: usize = 32;

/// Bytes of a client's metadata as JSON: ten thousand clients have them in memory.
pub const METADATA_MAX_BYTES: usize = 16 << 10;

/// Bytes of presence: keys, certificates; not documents.
pub const PRESENCE_MAX_BYTES: usize = 4 << 10;

/// Bytes of a token that is the caller's own: 32 hexadecimal digits are 128 bits.
pub const TOKEN_MIN_BYTES: usize = 32;

/// Bytes of such a token at most: it is sent with every request.
pub const TOKEN_MAX_BYTES: usize = 512;

/// Bits of such a token, as its letters' frequencies tell: random hexadecimal digits of the least
/// length have 110 and more, words and repetitions much fewer.
pub const TOKEN_MIN_BITS: f64 = 96.0;

/// Touches of one client that follow each other within this time are one.
pub const TOUCH_EVERY: Duration = Duration::from_millis(100);

/// How often processes are looked at that the kernel does not let us wait for.
pub const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Rows of a listing when the caller names no number, and at most.
pub const LIST_DEFAULT: usize = 100;
/// See [`LIST_DEFAULT`].
pub const LIST_MAX: usize = 1_000;

/// How long a subscriber may take over one client that is gone.
pub const HANDLER_WAIT: Duration = Duration::from_secs(10);

/// Clients that one subscriber is busy with at once.
pub const HANDLED_AT_ONCE: usize = 16;

/// Clients that wait for one subscriber. More than there can be at once, so that only one that hangs
/// for long misses any.
pub const HANDLED_WAITING: usize = 1 << 16;
