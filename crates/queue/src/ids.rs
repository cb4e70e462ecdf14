//! The identifiers of the queue, one type each, so that none can be mistaken for another.
//!
//! They are plain values: who mints which is said on each type. Nothing here touches storage.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh, time-ordered id (UUIDv7).
            pub fn mint() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// The value after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id! {
    /// One agent session. Minted by the store when a session is first seen.
    SessionId
}
uuid_id! {
    /// One firing of a hook. Minted by whoever hands the event over and repeated on every retry,
    /// so that one firing is stored once.
    EventId
}
number_id! {
    /// One message; rises with acceptance over the whole queue. Assigned by the writer.
    MessageId
}
number_id! {
    /// One result; rises with confirmation over the whole queue, so that an index can follow it
    /// with a watermark.
    ResultId
}
number_id! {
    /// A message's place in its session, from 1, without gaps. Assigned by the writer.
    Seq
}
number_id! {
    /// One run of the worker: +1 at each start, kept in the store. Fences all that an earlier run
    /// still held.
    Generation
}
number_id! {
    /// A session's life between two `closing` marks: +1 at each mark. A purge deletes older epochs
    /// only.
    Epoch
}
number_id! {
    /// One claim; never given back, never reused.
    ClaimSeq
}

/// A moment of the wall clock in milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment and `duration` more; saturates instead of overflowing.
    #[must_use]
    pub fn after(self, duration: std::time::Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(ms))
    }

    /// The day it is in, as days since the Unix epoch, UTC; what was before the epoch is negative.
    pub fn day(self) -> i64 {
        const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
        self.0.div_euclid(DAY_MS)
    }

    /// How long after `earlier` this moment is; zero when it is not.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        let ms = u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0);
        std::time::Duration::from_millis(ms)
    }
}
