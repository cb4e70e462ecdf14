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
