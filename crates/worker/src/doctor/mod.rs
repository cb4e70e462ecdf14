//! The doctor: looks at everything, and tells the truth.
//!
//! `report` is what it says, `examine` gathers it, `verdict` judges it. Gathering and judging are
//! apart so that the judgement is a pure function of the report.

mod environment;
mod examine;
mod report;
mod verdict;

pub use environment::leaks;
pub use examine::{Doctor, examine_files};
pub use report::{
    Finding, InstanceReport, Level, Listening, Problems, QueueReport, Report, SearchReport,
    SessionReport, SpoolReport, StoreReport, Verdict,
};
