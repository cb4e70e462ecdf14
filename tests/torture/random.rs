//! Choices that a seed replays.

/// A number that looks like any other and is always the same for `number` (SplitMix64).
pub(crate) fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Puts them into the order that `seed` chooses.
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64) {
    for end in (1..items.len()).rev() {
        let chosen = mixed(seed ^ mixed(end as u64)) % (end as u64 + 1);
        items.swap(end, usize::try_from(chosen).unwrap_or_default());
    }
}

/// One choice after the other.
#[derive(Debug)]
pub(crate) struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    /// The choices of `seed`.
    pub(crate) fn of(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.drawn += 1;
        mixed(self.seed ^ mixed(self.drawn)) % end
    }

    /// One of `choices`.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let chosen = self.below(choices.len() as u64);
        choices[usize::try_from(chosen).unwrap_or_default()]
    }
}
