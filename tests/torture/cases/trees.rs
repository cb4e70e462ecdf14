//! Trees of `nasty-child`: one is started, and ended when it stands.

use super::{Case, Cost, Play, Stands};

const fn tree(
    name: &'static str,
    about: &'static str,
    cost: Cost,
    words: &'static [&'static str],
    stands: Stands,
) -> Case {
    let play = Play::Tree { words, stands };
    Case {
        name,
        about,
        cost,
        play,
    }
}

pub(super) const CASES: &[Case] = &[
    tree(
        "waits",
        "ends when it is asked to",
        Cost::Cheap,
        &["wait"],
        Stands::Ready,
    ),
    tree(
        "ignores-term",
        "ignores SIGTERM",
        Cost::Cheap,
        &["ignore-term"],
        Stands::Ready,
    ),
];
