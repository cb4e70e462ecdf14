//! What is said of a case: a line of a table for people, an object for programs.

use serde::{Deserialize, Serialize};

/// The counts of one case. All but `rounds` and `took_ms` are to be zero, or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CaseReport {
    /// The case.
    pub(crate) case: String,
    /// The means.
    pub(crate) means: String,
    /// The user it ran as.
    pub(crate) uid: u32,
    /// Rounds that were played.
    pub(crate) rounds: u64,
    /// Processes that were left.
    pub(crate) survivors: u64,
    /// Signals that met somebody else.
    pub(crate) bystanders: u64,
    /// Descriptors that were left open.
    pub(crate) descriptors: u64,
    /// Children that were not waited for.
    pub(crate) zombies: u64,
    /// Files that were left in the registry.
    pub(crate) records: u64,
    /// Threads that were left.
    pub(crate) threads: u64,
    /// Rounds that took more memory than they may.
    pub(crate) over_memory: u64,
    /// From asking for the end to its confirmation.
    pub(crate) took_ms: Took,
    /// The same, of every round.
    #[serde(skip)]
    pub(crate) each_took_ms: Vec<u64>,
    /// What went wrong, in words; each with its round.
    pub(crate) problems: Vec<String>,
}

/// Milliseconds of all rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Took {
    /// The median.
    pub(crate) p50: u64,
    /// The longest.
    pub(crate) max: u64,
}

impl CaseReport {
    /// Whether nothing was left, nobody was hit and nothing went wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.counts().iter().all(|(_, count)| *count == 0) && self.problems.is_empty()
    }

    /// Adds the times of some rounds, in any order.
    pub(crate) fn take_times(&mut self, took_ms: Vec<u64>) {
        let all = &mut self.each_took_ms;
        all.extend(took_ms);
        all.sort_unstable();
        self.took_ms = Took {
            p50: all.get(all.len() / 2).copied().unwrap_or_default(),
            max: all.last().copied().unwrap_or_default(),
        };
    }

    /// Adds later rounds of the same case.
    pub(crate) fn add(&mut self, later: Self) {
        self.rounds += later.rounds;
        self.survivors += later.survivors;
        self.bystanders += later.bystanders;
        self.descriptors += later.descriptors;
        self.zombies += later.zombies;
        self.records += later.records;
        self.threads += later.threads;
        self.over_memory += later.over_memory;
        self.take_times(later.each_took_ms);
        self.problems.extend(later.problems);
    }

    fn counts(&self) -> [(&'static str, u64); 7] {
        [
            ("survivors", self.survivors),
            ("bystanders", self.bystanders),
            ("descr.", self.descriptors),
            ("zombies", self.zombies),
            ("records", self.records),
            ("threads", self.threads),
            ("memory", self.over_memory),
        ]
    }

    /// The table's first line.
    pub(crate) fn heading() -> String {
        let counts = Self::default().counts();
        let names: String = counts
            .iter()
            .map(|(name, _)| format!("{name:>11}"))
            .collect();
        format!(
            "{:24}{:>7}{names}{:>9}{:>9}",
            "case", "rounds", "p50 ms", "max ms"
        )
    }

    /// The table's line of this case, with its problems below.
    pub(crate) fn row(&self) -> String {
        let counts: String = self
            .counts()
            .iter()
            .map(|(_, count)| format!("{count:>11}"))
            .collect();
        let Took { p50, max } = self.took_ms;
        let mut row = format!("{:24}{:>7}{counts}{p50:>9}{max:>9}", self.case, self.rounds);
        for problem in &self.problems {
            row.push_str("\n    ");
            row.push_str(problem);
        }
        row
    }
}
