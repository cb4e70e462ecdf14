//! The doctor: looks at everything, and tells the truth.
//!
//! `report` is what it says, `examine` gathers it (with `sessions` and `generators`), `verdict`
//! judges it. Gathering and judging are apart so that the judgement is a pure function of the
//! report.

mod environment;
mod examine;
mod generators;
mod report;
mod sessions;
mod verdict;

pub use environment::leaks;
pub use examine::{Doctor, examine_files};
pub use generators::spawns;
pub use report::{
    BudgetsReport, Finding, GeneratorsReport, InstanceReport, Level, Listening, Problems,
    QueueReport, Report, SearchReport, SessionReport, SpawnReport, SpoolReport, StoreReport,
    Verdict,
};
