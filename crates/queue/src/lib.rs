//! The durable queue of sessiond: one ordered queue a session, on disk before it says so.
//!
//! # Theory of operation
//!
//! A [`store::Store`] keeps sessions, their messages and the results made of them. An event is
//! *enqueued* and becomes a pending message; whoever works for the session *claims* the head,
//! *confirms* it together with its results and the next checkpoint in one transaction, or
//! *releases* it. What a method has answered is on disk. A store is told the time and the owner; it
//! has no clock, starts nothing, and knows neither processes nor HTTP.
//!
//! [`SqliteStore`] has one writer: a thread that turns the requests waiting for it into one
//! transaction and answers them after the commit. Being the only one to write, it assigns ids, places
//! and claim numbers and checks limits in memory. Readers see the last commit and wait for nobody.
//! [`MemoryStore`] is the same queue as plain collections: the model the other is compared with.
//!
//! # Messages
//!
//! ```text
//!                      claim                    confirm
//!   enqueue -> pending -----> claimed ---------------------------> done
//!                ^   |           |
//!                |   |           +-- retry, attempts left --+
//!                |   |           +-- give back (attempt-1) -+--> pending
//!                |   |           +-- rescue (attempt-1) ----+
//!                |   |           |
//!                |   |           +-- retry at attempt_max --+
//!                |   |           +-- poison ----------------+--> dead --+
//!                |   |           +-- rescue_max rescues ----+           |
//!                |   +- cancel --+----------------------------> cancelled
//!                +------------------------- redrive --------------------+
//! ```
//!
//! - First in, first out within a session, through retries; a delayed head holds up its session and
//!   no other; one claim a session at a time.
//! - The attempt is counted at the claim, and given back when it was cut short. The fence of a claim
//!   is (generation, epoch, claim number); a claim number is never used twice, so a late confirm is
//!   lost and stores nothing.
//! - A claim is never returned by a timer: only by its holder, by a close, or by the next generation,
//!   whose existence proves the holder dead.
//! - An event id is one message over the whole queue; a dedup key, one within its session.
//! - A redriven message keeps its place unless one behind it was worked; then it goes last.
//! - A finished message is deleted when it is too old, or when there are too many, as far as a
//!   [`types::Retention`] says so, and a dead one by hand. Its results stay; its event id and dedup key
//!   are forgotten, so that the same event would be a new one.
//! - Each claim that ends without a confirm leaves one entry in its message's history, and so does a
//!   redrive; the newest 32 are kept, as long as the message is. A confirm leaves its results.
//!
//! # Sessions
//!
//! ```text
//!            end, drain          mark_closing (epoch+1)          finish_close
//!   open --> open, draining --+----------------------> closing ---------------> ended
//!    ^          |             |                         |  |  purged, no rows      |
//!    |<- start -+    open ----+    ended ---------------+  |  left, no start        |
//!    |                                                     +----------------> gone  |
//!    |<------------- finish_close, after a start or prompt while closing            |
//!    |<------------------------------- start, prompt, open_session -----------------+
//! ```
//!
//! - `closing` is durable and has a depth that only deepens; start-up finishes what it finds.
//! - Events accepted while closing carry the new epoch; a purge deletes the older ones only.
//! - A start or a prompt while closing does not stop the close: the session is open after it. An
//!   end after that takes the wish back.
//! - Pending messages outlive a close; they are worked and leave the session ended.
//! - `failing` says why no generator is started for a session any more. It changes nothing here but
//!   what is shown: who claims, heeds it. The next prompt clears it, since somebody waits for an
//!   answer; so do a purge and whoever mended it.
//! - What results cost is added to the session, which forgets it at a purge, and to the day of the
//!   confirm, which does not.
//!
//! # Modules, in reading order
//!
//! [`ids`] and [`types`] are the words, [`limits`] the bounds, [`error`] what can go wrong,
//! [`store`] the seam; `validate` checks what comes in, `memory` and `sqlite` are the engines, and
//! `conformance` (a feature) is the suite that both pass.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
pub mod ids;
pub mod limits;
mod memory;
mod sqlite;
pub mod store;
pub mod types;
mod validate;

pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
