//! Many ends at once.

use anyhow::{Context, ensure};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all, try_join_all};

use super::{Case, Cost, Play, Stands};
use crate::means::{SESSION, Sessiond};
use crate::scene::{Played, Scene};

const STOPS: usize = 50;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "many-stops",
        about: "50 trees of several kinds are ended at once",
        cost: Cost::Heavy,
        needs_no_kill: false,
        play: Play::Own(of_many),
    },
    Case {
        name: "one-tree-many-stops",
        about: "one tree is ended by 50 callers at once",
        cost: Cost::Cheap,
        needs_no_kill: false,
        play: Play::Sessiond(of_one),
    },
];

/// What the trees are, in turns.
const KINDS: &[(&[&str], Stands)] = &[
    (&["ignore-term"], Stands::Ready),
    (&["wait"], Stands::Ready),
    (&["double-fork"], Stands::Ready),
    (&["member-ignores", "1"], Stands::Ready),
    (&["stopped"], Stands::Ready),
];

fn of_many<'a>(scene: &'a Scene<'a>) -> BoxFuture<'a, anyhow::Result<Played>> {
    async move {
        let trees = (0..STOPS).map(|number| async move {
            let (words, stands) = KINDS[number % KINDS.len()];
            scene.start(&scene.nasty(words), stands).await
        });
        let trees = try_join_all(trees).await?;
        let played = join_all(trees.into_iter().map(|tree| scene.stop(tree))).await;
        let mut all = Played::default();
        for played in played {
            let played = played?;
            all.took = all.took.max(played.took);
            all.unkillable.extend(played.unkillable);
        }
        Ok(all)
    }
    .boxed()
}

fn of_one<'a>(scene: &'a Scene<'a>) -> BoxFuture<'a, anyhow::Result<Played>> {
    async move {
        let sessiond = scene.sessiond()?;
        let command = Sessiond::command(&scene.nasty(&["member-ignores", "2"]));
        let tag = sessiond.supervisor.tag(SESSION);
        let child = sessiond.supervisor.spawn(command, tag).await?;
        let control = child.control.clone();
        // Half of them do not wait for the answer, and so does whoever holds it.
        let asked = (0..STOPS).map(|number| {
            let control = control.clone();
            async move {
                match number % 2 {
                    0 => Some(control.stop().await),
                    _ => {
                        drop(control.stop().now_or_never());
                        None
                    }
                }
            }
        });
        let (answers, report, ()) =
            tokio::join!(join_all(asked), sessiond.supervisor.reap(SESSION), async {
                drop(child)
            });
        let mut answers: Vec<_> = answers.into_iter().flatten().collect();
        answers.extend(report.stopped);
        let first = answers.first().context("nobody was answered")?.clone();
        ensure!(
            answers.len() == STOPS / 2 + 1 && answers.iter().all(|answer| *answer == first),
            "not everybody got the same answer: {answers:?}"
        );
        Ok(Played {
            took: None,
            unkillable: first.unkillable.iter().map(|one| one.pid).collect(),
        })
    }
    .boxed()
}
