//! The cases: each a way to get away, or to take somebody else along.
//!
//! `trees` are played by any means; what is in the other files asks something of sessiond alone.

mod trees;

use anyhow::bail;
use futures::future::BoxFuture;

use crate::run::{Played, Scene};

/// A case.
pub(crate) struct Case {
    /// In the command line and in reports.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) about: &'static str,
    /// How often it can be afforded.
    pub(crate) cost: Cost,
    /// What is done in a round.
    pub(crate) play: Play,
}

/// What a round costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// A few milliseconds: it is started and ends.
    Exit,
    /// About a grace.
    Cheap,
    /// Hundreds of processes, or seconds.
    Heavy,
    /// A thousand processes, or gigabytes.
    Heaviest,
}

impl Cost {
    /// Rounds, when everything is played or in short.
    pub(crate) fn rounds(self, is_short: bool) -> u32 {
        match (self, is_short) {
            (Self::Exit, false) => 10_000,
            (Self::Exit, true) => 200,
            (Self::Cheap, false) => 200,
            (Self::Cheap, true) => 3,
            (Self::Heavy | Self::Heaviest, false) => 10,
            (Self::Heavy, true) => 2,
            (Self::Heaviest, true) => 1,
        }
    }
}

/// What is done in a round, between the canaries' start and the look at what is left.
#[derive(Clone, Copy)]
pub(crate) enum Play {
    /// `nasty-child` with these words is started; when its tree stands it is ended.
    Tree {
        words: &'static [&'static str],
        stands: Stands,
    },
    /// Something of its own.
    Own(for<'a> fn(&'a Scene<'a>) -> BoxFuture<'a, anyhow::Result<Played>>),
    /// The same, which only sessiond can play.
    Sessiond(for<'a> fn(&'a Scene<'a>) -> BoxFuture<'a, anyhow::Result<Played>>),
}

/// When a tree is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stands {
    /// It says so.
    Ready,
    /// It has said so, and this many processes of the program are there.
    Processes(usize),
    /// It has said so, and this many are stopped.
    Stopped(usize),
    /// It has said so, and the first process has ended.
    Orphaned,
    /// The first process has ended; nobody says anything.
    Over,
}

/// All of them, the cheapest first.
pub(crate) fn all() -> Vec<&'static Case> {
    trees::CASES.iter().collect()
}

/// Those that were asked for, or all.
///
/// # Errors
/// There is none of such a name.
pub(crate) fn named(names: &[String]) -> anyhow::Result<Vec<&'static Case>> {
    let all = all();
    for name in names {
        if !all.iter().any(|case| case.name == name) {
            bail!("no case is named {name}; `torture list` names them");
        }
    }
    let is_wanted = |case: &&Case| names.is_empty() || names.iter().any(|name| name == case.name);
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// Prints them.
pub(crate) fn list() {
    for case in all() {
        println!("{:24}{}", case.name, case.about);
    }
}
