//! A tree of which one has taken rights that the supervisor has not.
//!
//! Nobody can end it, so it has to be reported, and nothing else may be left. The runner is an
//! ordinary user, and is given a program with root's set-user-id bit.

use std::fs::OpenOptions;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::FutureExt;
use futures::future::BoxFuture;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use sessiond_supervisor::{Settings, Supervisor};

use super::{Case, Cost, Play, Stands};
use crate::check::{Found, living, wait_for};
use crate::scene::{LIMIT, Played, Scene};

pub(super) const CASES: &[Case] = &[Case {
    name: "takes-rights",
    about: "a setuid child may not be signalled: reported, and all else ended",
    cost: Cost::Heavy,
    needs_no_kill: false,
    play: Play::SetUserId(play),
}];

fn play<'a>(scene: &'a Scene<'a>) -> BoxFuture<'a, anyhow::Result<Played>> {
    async move {
        let program = scene.programs.setuid_program.as_ref();
        let program = program.context("no program with a set-user-id bit")?;
        let fifo = scene.dir.join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // As long as this is open the child stays, and not a moment longer, whatever becomes of
        // this process.
        let held = OpenOptions::new().read(true).write(true).open(&fifo)?;
        let words = [
            "beside",
            &*program.to_string_lossy(),
            &*fifo.to_string_lossy(),
        ];
        let tree = scene.start(&scene.nasty(&words), Stands::Ready).await?;
        let played = scene.stop(tree).await;
        let left = living(&scene.marker);
        drop(held);
        let played = played?;
        check(&left, &played.unkillable)?;
        let gone = wait_for(LIMIT, || living(&scene.marker).is_empty().then_some(()));
        gone.await.context("the setuid child did not end")?;
        // Its record is for the next worker, which finds that it is over.
        let settings = scene.sessiond()?.settings.clone();
        let next = Supervisor::open(Settings {
            generation: "2".to_owned(),
            grace: Duration::ZERO,
            ..settings
        })?;
        let swept = next.sweep().await.finished().await;
        ensure!(swept.cleared == 1, "its record was not kept: {swept:?}");
        Ok(Played {
            took: played.took,
            unkillable: Vec::new(),
        })
    }
    .boxed()
}

fn check(left: &[Found], reported: &[u32]) -> anyhow::Result<()> {
    let pids: Vec<u32> = left.iter().map(|one| one.pid).collect();
    ensure!(
        pids.len() == 1 && pids == reported,
        "left {left:?}, reported as not to be ended {reported:?}"
    );
    Ok(())
}
