//! Trees of `nasty-child`: one is started, and ended when it stands.

use super::{Case, Cost, Play, Stands};

/// A tree of which something needs SIGKILL.
const fn stubborn(
    name: &'static str,
    about: &'static str,
    words: &'static [&'static str],
    stands: Stands,
) -> Case {
    Case {
        name,
        about,
        cost: Cost::Cheap,
        needs_no_kill: false,
        play: Play::Tree {
            words,
            in_short: words,
            stands,
        },
    }
}

/// A tree that ends when it is asked to. Its grace is so long that nobody waits for it.
const fn willing(
    name: &'static str,
    about: &'static str,
    words: &'static [&'static str],
    stands: Stands,
) -> Case {
    Case {
        needs_no_kill: true,
        ..stubborn(name, about, words, stands)
    }
}

impl Case {
    const fn costs(self, cost: Cost) -> Self {
        Self { cost, ..self }
    }

    /// Other words when little time is given.
    const fn in_short(self, in_short: &'static [&'static str]) -> Self {
        match self.play {
            Play::Tree { words, stands, .. } => Self {
                play: Play::Tree {
                    words,
                    in_short,
                    stands,
                },
                ..self
            },
            _ => self,
        }
    }
}

pub(super) const CASES: &[Case] = &[
    willing(
        "exits-at-once",
        "has ended before anybody can ask",
        &["exit", "0"],
        Stands::Over,
    )
    .costs(Cost::Exit),
    willing(
        "waits",
        "ends when it is asked to",
        &["wait"],
        Stands::Ready,
    ),
    stubborn(
        "ignores-term",
        "ignores SIGTERM",
        &["ignore-term"],
        Stands::Ready,
    ),
    stubborn(
        "member-ignores-term",
        "the first process dies of SIGTERM, its children ignore it",
        &["member-ignores", "2"],
        Stands::Ready,
    ),
    stubborn(
        "leader-gone",
        "the first process has ended, its child ignores SIGTERM",
        &["orphan"],
        Stands::Orphaned,
    ),
    stubborn(
        "holds-stdout",
        "the first process has ended, a grandchild holds its output",
        &["hold-stdout"],
        Stands::Orphaned,
    ),
    willing(
        "forks-on-term",
        "answers SIGTERM by another process, 30 times over",
        &["fork-on-term", "30"],
        Stands::Ready,
    ),
    stubborn(
        "forks-on-term-for-ever",
        "answers SIGTERM by another process, always",
        &["fork-on-term", "1000000"],
        Stands::Ready,
    ),
    stubborn(
        "respawns",
        "replaces its child whenever that dies",
        &["respawn"],
        Stands::Ready,
    ),
    willing(
        "double-fork",
        "leaves a daemon",
        &["double-fork"],
        Stands::Processes(2),
    ),
    willing(
        "setsid-chain",
        "a chain of 20 processes, each in a new session",
        &["setsid-chain", "20"],
        Stands::Processes(21),
    ),
    stubborn(
        "new-groups",
        "5 children that ignore SIGTERM, each in a group of its own",
        &["new-groups", "5"],
        Stands::Ready,
    ),
    stubborn(
        "run-away",
        "always another process in another session",
        &["run-away"],
        Stands::Ready,
    ),
    stubborn(
        "wiped",
        "has no environment, and so no tag",
        &["wiped"],
        Stands::Ready,
    ),
    stubborn(
        "overwritten",
        "has overwritten its environment",
        &["overwritten"],
        Stands::Ready,
    ),
    stubborn(
        "undumpable",
        "may not be looked into by its own user",
        &["undumpable"],
        Stands::Ready,
    ),
    stubborn(
        "hidden",
        "without an environment, undumpable, in another session",
        &["hidden"],
        Stands::Ready,
    ),
    willing(
        "stopped",
        "it and its child are stopped",
        &["stopped"],
        Stands::Stopped(2),
    ),
    willing(
        "zombies",
        "does not wait for 100 children that have ended",
        &["zombies", "100"],
        Stands::Ready,
    ),
    stubborn(
        "threads",
        "its child belongs to another thread than the first",
        &["threads"],
        Stands::Ready,
    ),
    stubborn(
        "headless",
        "its first thread has ended, another goes on",
        &["headless"],
        Stands::Ready,
    ),
    willing(
        "closes-stdin",
        "has closed its standard input",
        &["close-stdin"],
        Stands::Ready,
    ),
    stubborn(
        "fills-stdout",
        "its output is full and nobody reads it",
        &["fill-stdout"],
        Stands::Processes(2),
    ),
    willing(
        "kills-its-group",
        "kills everybody in its own group",
        &["kill-group"],
        Stands::Over,
    ),
    stubborn(
        "fork-bomb",
        "256 processes that ignore SIGTERM",
        &["bomb", "8"],
        Stands::Processes(256),
    )
    .costs(Cost::Heavy),
    willing(
        "a-thousand-children",
        "1,000 children",
        &["children", "1000"],
        Stands::Processes(1001),
    )
    .costs(Cost::Heaviest),
    willing(
        "endless-line",
        "a line of 1 GiB, binary with NULs",
        &["flood", "1024"],
        Stands::Ready,
    )
    .costs(Cost::Heaviest)
    .in_short(&["flood", "128"]),
];
