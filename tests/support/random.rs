//! Choices that a seed replays.

use uuid::Uuid;

/// The number that a variable is set to.
#[track_caller]
pub fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")),
    )
}

/// The SplitMix64 generator: enough for moments, and replayable from one number.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From `SESSIOND_SEED`, or a seed of its own, which is printed.
    pub fn seeded() -> Self {
        let seed = number_from("SESSIOND_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
        eprintln!("SESSIOND_SEED={seed}");
        Self(seed)
    }

    /// From a seed that the test gives.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Choices of their own, for a thread: so that what it chooses does not depend on how it runs.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }

    /// Whether something happens that does so once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }
}
