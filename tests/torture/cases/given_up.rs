//! Whoever asked for a spawn goes away, at every moment there is.

use std::pin::pin;
use std::sync::mpsc::{Sender, channel as std_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::FutureExt;
use futures::future::poll_fn;
use sessiond_supervisor::{Child, SpawnError, Step};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use super::{Case, Cost, Play, PlayFn};
use crate::check::wait_for;
use crate::means::{SESSION, Sessiond};
use crate::scene::{LIMIT, Played, Scene};

pub(super) const CASES: &[Case] = &[
    case(
        "gives-up-after-a-poll",
        "the spawn is dropped after each number of polls",
        |scene| at_each_poll(scene).boxed(),
    ),
    case(
        "gives-up-at-a-step",
        "the spawn, or the wait for its end, is dropped at each step",
        |scene| at_each_step(scene).boxed(),
    ),
    case(
        "gives-up-some-time",
        "the spawn is dropped after a random time",
        |scene| at_some_time(scene).boxed(),
    ),
    case(
        "drops-its-handle",
        "the handle is dropped, whole and in parts, and while the end is waited for",
        |scene| with_its_handle(scene).boxed(),
    ),
];

const fn case(name: &'static str, about: &'static str, play: PlayFn) -> Case {
    Case {
        name,
        about,
        cost: Cost::Cheap,
        needs_no_kill: false,
        play: Play::Sessiond(play),
    }
}

/// More than a spawn is polled.
const POLLS_MAX: usize = 4;
/// More than a spawn takes, in microseconds.
const SPAWN_MAX_US: u64 = 8000;
/// Random times a round.
const TIMES: u64 = 4;

async fn at_each_poll(scene: &Scene<'_>) -> anyhow::Result<Played> {
    let sessiond = scene.sessiond()?;
    for polls in 0..=POLLS_MAX {
        let mut left = polls;
        let mut spawn = pin!(spawn(scene, sessiond));
        let given_up = poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            match spawn.as_mut().poll(context) {
                Poll::Ready(child) => Poll::Ready(Some(child)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(child) = given_up.await {
            drop(child?);
        }
    }
    all_over(sessiond).await
}

async fn at_some_time(scene: &Scene<'_>) -> anyhow::Result<Played> {
    let sessiond = scene.sessiond()?;
    for number in 0..TIMES {
        let patience = Duration::from_micros(scene.random(number) % SPAWN_MAX_US);
        if let Ok(child) = timeout(patience, spawn(scene, sessiond)).await {
            drop(child?);
        }
    }
    all_over(sessiond).await
}

/// How somebody gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The future is dropped, and only then the step goes on.
    Dropped,
    /// The task that runs it is aborted while the step is held.
    Aborted,
}

async fn at_each_step(scene: &Scene<'_>) -> anyhow::Result<Played> {
    let sessiond = scene.sessiond()?;
    for step in Step::ALL {
        for way in [Way::Dropped, Way::Aborted] {
            let came = at_step(scene, sessiond, step, way).await;
            sessiond.steps.set(None);
            let name = || format!("{way:?} at {step:?}");
            ensure!(came.with_context(name)?, "{}: it never came", name());
            all_over(sessiond).await.with_context(name)?;
        }
    }
    Ok(Played::default())
}

/// Gives up when `step` has come, whose hook waits for that; whether it came.
async fn at_step(
    scene: &Scene<'_>,
    sessiond: &Sessiond,
    step: Step,
    way: Way,
) -> anyhow::Result<bool> {
    let (come, mut comes) = unbounded_channel::<Sender<()>>();
    let once = Mutex::new(Some(come));
    sessiond.steps.set(Some(Arc::new(move |now, _tag| {
        if now != step {
            return;
        }
        let come = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(come) = come {
            let (done, wait) = std_channel();
            // Nobody listens any more when the round has failed; it has ended then.
            if come.send(done).is_ok() {
                wait.recv_timeout(LIMIT).ok();
            }
        }
    })));
    let supervisor = sessiond.supervisor.clone();
    let command = Sessiond::command(&scene.nasty(&["member-ignores", "2"]));
    let tag = supervisor.tag(SESSION);
    let life = async move {
        let child = supervisor.spawn(command, tag).await?;
        child.control.stop().await;
        Ok::<_, SpawnError>(())
    };
    let step_comes = timeout(LIMIT, comes.recv());
    match way {
        Way::Dropped => {
            let mut life = Box::pin(life);
            let done = tokio::select! {
                biased;
                done = step_comes => done,
                // The last step comes before the answer; what has ended cannot be given up.
                over = &mut life => return over.map(|()| false).map_err(Into::into),
            };
            drop(life);
            Ok(let_go(done.context("no step has come")?))
        }
        Way::Aborted => {
            let task = tokio::spawn(life);
            let done = step_comes.await.context("no step has come")?;
            task.abort();
            Ok(let_go(done))
        }
    }
}

/// Lets the step go on; whether it had come.
fn let_go(done: Option<Sender<()>>) -> bool {
    done.is_some_and(|done| done.send(()).is_ok())
}

async fn with_its_handle(scene: &Scene<'_>) -> anyhow::Result<Played> {
    let sessiond = scene.sessiond()?;
    let whole = spawn(scene, sessiond).await?;
    drop(whole);
    let Child { stdin, stdout, .. } = spawn(scene, sessiond).await?;
    drop(stdin);
    drop(stdout);
    let Child { stdin, stdout, .. } = spawn(scene, sessiond).await?;
    drop(stdout);
    drop(stdin);
    let stopping = spawn(scene, sessiond).await?;
    // Asks, and does not wait.
    drop(stopping.control.stop().now_or_never());
    drop(stopping);
    let listening = spawn(scene, sessiond).await?;
    let control = listening.control.clone();
    tokio::join!(control.exited(), async { drop(listening) });
    all_over(sessiond).await
}

async fn spawn(scene: &Scene<'_>, sessiond: &Sessiond) -> Result<Child, SpawnError> {
    let command = Sessiond::command(&scene.nasty(&["member-ignores", "2"]));
    let tag = sessiond.supervisor.tag(SESSION);
    sessiond.supervisor.spawn(command, tag).await
}

/// Waits until the supervisor holds nothing more. What is left then is left for ever.
async fn all_over(sessiond: &Sessiond) -> anyhow::Result<Played> {
    let over = wait_for(LIMIT, || {
        (sessiond.supervisor.counts().live == 0).then_some(())
    });
    over.await.context("a spawn that was given up goes on")?;
    Ok(Played::default())
}
