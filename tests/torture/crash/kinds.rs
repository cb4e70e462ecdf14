//! What may happen in a round: who dies, when, and what is done to the registry before the sweep.

use std::fmt;

use sessiond_supervisor::Step;

use crate::random::Chance;

/// What a round is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The worker dies at a step of one of its spawns.
    At(Step, Victims),
    /// It dies at any moment while it starts and ends trees.
    Sometime(Victims),
    /// Shims alone are killed, and the worker goes on.
    ShimsOnly,
    /// Worker and shims die, and then the next worker amid its sweep.
    AmidSweep,
    /// Worker and shims die, and the registry is damaged before the sweep.
    Damaged,
    /// Somebody of the tree has wiped the environment, and with it the tag.
    Hidden(Hiding),
}

/// Who has wiped the environment, and who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hiding {
    /// The child itself; worker and shim die.
    Leader,
    /// A child of the child; worker and shim die.
    Member,
    /// One who has left its parent and session too; worker and shim die. Nobody can find it, so it
    /// is to be reported.
    Orphan,
    /// The same, and the worker dies alone: the shim finds it.
    OrphanUnderShim,
    /// A child of the child has taken rights that the worker has not; worker and shim die. It can
    /// be found and not be signalled, so it is to be reported.
    Entitled,
}

/// Who is killed with the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victims {
    /// Nobody.
    WorkerAlone,
    /// The shims, just before it.
    ShimsFirst,
    /// The shims, just after it.
    ShimsLast,
}

const OTHERS: [Kind; 11] = [
    Kind::Sometime(Victims::WorkerAlone),
    Kind::Sometime(Victims::ShimsFirst),
    Kind::Sometime(Victims::ShimsLast),
    Kind::ShimsOnly,
    Kind::AmidSweep,
    Kind::Damaged,
    Kind::Hidden(Hiding::Leader),
    Kind::Hidden(Hiding::Member),
    Kind::Hidden(Hiding::Orphan),
    Kind::Hidden(Hiding::OrphanUnderShim),
    Kind::Hidden(Hiding::Entitled),
];

impl Kind {
    /// Every kind by turns: each step with the worker alone, each step with its shims, and others.
    /// Rights can be taken only where there `is_setuid_program`.
    pub(super) fn of_round(number: u64, is_setuid_program: bool, chance: &mut Chance) -> Self {
        let steps = Step::ALL.len();
        let count = 2 * steps + OTHERS.len();
        let turn = usize::try_from(number % count as u64).expect("below the count");
        match turn {
            _ if turn < steps => Self::At(Step::ALL[turn], Victims::WorkerAlone),
            _ if turn < 2 * steps => {
                let victims = chance.one_of(&[Victims::ShimsFirst, Victims::ShimsLast]);
                Self::At(Step::ALL[turn - steps], victims)
            }
            _ => match OTHERS[turn - 2 * steps] {
                Self::Hidden(Hiding::Entitled) if !is_setuid_program => {
                    Self::Hidden(Hiding::Leader)
                }
                other => other,
            },
        }
    }

    pub(super) fn victims(self) -> Victims {
        match self {
            Self::At(_, victims) | Self::Sometime(victims) => victims,
            Self::Hidden(Hiding::OrphanUnderShim) => Victims::WorkerAlone,
            Self::ShimsOnly | Self::AmidSweep | Self::Damaged | Self::Hidden(_) => {
                Victims::ShimsFirst
            }
        }
    }

    /// Whether trees outlive the death until they are swept.
    pub(super) fn needs_sweep(self) -> bool {
        self != Self::ShimsOnly && self.victims() != Victims::WorkerAlone
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(step, victims) => write!(f, "at {step:?}, {victims}"),
            Self::Sometime(victims) => write!(f, "at any moment, {victims}"),
            Self::ShimsOnly => f.write_str("with shims killed and a worker that goes on"),
            Self::AmidSweep => f.write_str("with the next worker killed amid its sweep"),
            Self::Damaged => f.write_str("with a damaged registry"),
            Self::Hidden(Hiding::Leader) => f.write_str("with a child without a tag"),
            Self::Hidden(Hiding::Member) => f.write_str("with a grandchild without a tag"),
            Self::Hidden(Hiding::Orphan) => f.write_str("with an orphan without a tag"),
            Self::Hidden(Hiding::Entitled) => f.write_str("with a grandchild of other rights"),
            Self::Hidden(Hiding::OrphanUnderShim) => {
                f.write_str("with an orphan without a tag, worker alone")
            }
        }
    }
}

impl fmt::Display for Victims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WorkerAlone => "worker alone",
            Self::ShimsFirst => "shims, then worker",
            Self::ShimsLast => "worker, then shims",
        })
    }
}
