//! The doctor: looks at everything, and tells the truth.
//!
//! `report` is what it says, `examine` gathers it (with `sessions`, `generators` and
//! `processes`), `verdict` judges it, `told` tells when it is another one. Gathering and judging are apart so that the judgement is a pure function of the
//! report.

mod environment;
mod examine;
mod generators;
mod processes;
mod report;
mod sessions;
mod told;
mod verdict;

pub use environment::leaks;
pub use examine::{Doctor, examine_files};
pub use generators::spawns;
pub use processes::{fix_home, fixes_of_home};
pub use report::{
    BudgetsReport, DepthLimits, Finding, GeneratorsReport, InstanceReport, Level, Listening,
    Problems, ProcessesReport, QueueReport, Report, SearchReport, SessionReport, SpawnReport,
    SpoolReport, StoreReport, Verdict, WorkerProcesses,
};
pub use told::{ToldVerdict, follow_the_verdict};
