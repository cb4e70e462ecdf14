//! The cases: each a way to get away, or to take somebody else along.
//!
//! `trees` and `stops` are played by any means; what else there is asks something of sessiond
//! alone.

mod given_up;
mod hook;
mod rights;
mod stops;
mod trees;

use anyhow::Context;
use futures::future::BoxFuture;

use crate::scene::{Played, Scene};

/// A case.
pub(crate) struct Case {
    /// In the command line and in reports.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) about: &'static str,
    /// How often it can be afforded.
    pub(crate) cost: Cost,
    /// Whether all of it ends when it is asked to: a means that waits for the grace to be over
    /// has not asked.
    pub(crate) needs_no_kill: bool,
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
    pub(crate) fn rounds(self, is_short: bool) -> u64 {
        match (self, is_short) {
            (Self::Exit, false) => 10_000,
            (Self::Exit, true) => 100,
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
        /// The same when little time is given.
        in_short: &'static [&'static str],
        stands: Stands,
    },
    /// Something of its own.
    Own(PlayFn),
    /// The same, which only sessiond can play.
    Sessiond(PlayFn),
    /// The same, with a program that takes root's rights.
    SetUserId(PlayFn),
}

/// A round of a case's own.
pub(crate) type PlayFn = for<'a> fn(&'a Scene<'a>) -> BoxFuture<'a, anyhow::Result<Played>>;

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

/// All of them.
pub(crate) fn all() -> Vec<&'static Case> {
    let groups = [
        trees::CASES,
        stops::CASES,
        given_up::CASES,
        hook::CASES,
        rights::CASES,
    ];
    groups.into_iter().flatten().collect()
}

/// Those that were asked for, in that order; or all.
///
/// # Errors
/// There is none of such a name.
pub(crate) fn named(names: &[String]) -> anyhow::Result<Vec<&'static Case>> {
    let all = all();
    if names.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        let case = all.iter().find(|case| case.name == name);
        case.copied()
            .with_context(|| format!("no case is named {name}; `torture list` names them"))
    };
    names.iter().map(find).collect()
}

/// Prints them.
pub(crate) fn list() {
    for case in all() {
        println!("{:24}{}", case.name, case.about);
    }
}
