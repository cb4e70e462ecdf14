//! The worker's side of the spool: events that hooks kept on disk while the worker was down, slow
//! or of no use.
//!
//! One file a session, appended to by hooks under the file's lock for as long as it exists, so
//! that the order within a session holds. The worker reads a piece under the lock, releases it,
//! enqueues the piece, and comes back; it unlinks the file, under the lock, when nothing new has
//! come. A crash anywhere leads to events being handed over twice, which their ids make harmless.
//!
//! - [`reader`]: the frames of one file, and the damage between them;
//! - [`mod@ingest`]: empties the files into a sink;
//! - [`watch`]: learns that there is something to ingest;
//! - [`status`]: what lies there, for the doctor.

pub mod ingest;
pub mod reader;
pub mod status;
pub mod watch;

pub use ingest::{IngestReport, SinkVerdict, ingest};
pub use reader::{Entry, Frame, SpoolFile};
pub use status::SpoolStatus;
pub use watch::SpoolWatch;
