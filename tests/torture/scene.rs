//! What a round has to work with: the means, the programs, a marker; and how a tree is started,
//! seen to stand, and ended.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::time::timeout;

use crate::cases::{Play, Stands};
use crate::check;
use crate::means::{Means, Sessiond, Tree, TreeCommand};
use crate::options::Programs;
use crate::random::mixed;

/// How long a tree may take to stand, and a means to say that it is over. It only guards against
/// hanging.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// The variable that carries the marker.
const MARKER_VARIABLE: &str = "TORTURE_MARKER";

/// What a round has to work with.
pub(crate) struct Scene<'a> {
    pub(crate) means: &'a dyn Means,
    pub(crate) programs: &'a Programs,
    pub(crate) nasty_child: &'a Path,
    /// Whatever carries this is of this round.
    pub(crate) marker: String,
    pub(crate) grace: Duration,
    /// Smaller sizes are asked for.
    pub(crate) is_short: bool,
    /// The round's own, empty.
    pub(crate) dir: &'a Path,
    /// What the choices of this round come from.
    pub(crate) seed: u64,
}

/// What came of a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Played {
    /// From asking for the end to its confirmation; `None`: it ended by itself.
    pub(crate) took: Option<Duration>,
    /// Whom the means says it could not end.
    pub(crate) unkillable: Vec<u32>,
}

impl Scene<'_> {
    /// The means, as sessiond.
    ///
    /// # Errors
    /// It is another one.
    pub(crate) fn sessiond(&self) -> anyhow::Result<&Sessiond> {
        self.means
            .as_sessiond()
            .context("only sessiond can play this")
    }

    /// The same for the same round of the same seed.
    pub(crate) fn random(&self, number: u64) -> u64 {
        mixed(self.seed ^ mixed(number))
    }

    /// `nasty-child` with these words, under the round's marker.
    pub(crate) fn nasty(&self, words: &[&str]) -> TreeCommand {
        let mut args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        args.extend(["--marker".to_owned(), self.marker.clone()]);
        TreeCommand {
            program: self.nasty_child.to_owned(),
            args,
            env: vec![(MARKER_VARIABLE.to_owned(), self.marker.clone())],
        }
    }

    /// Starts `command` and waits until its tree stands.
    pub(crate) async fn start(
        &self,
        command: &TreeCommand,
        stands: Stands,
    ) -> anyhow::Result<Box<dyn Tree>> {
        let mut tree = self.means.start(command).await?;
        if !matches!(stands, Stands::Over) {
            loop {
                match timeout(LIMIT, tree.line()).await {
                    Ok(Some(line)) if line == "ready" => break,
                    Ok(Some(_other)) => {}
                    Ok(None) => bail!("the tree ended without being ready"),
                    Err(_elapsed) => bail!("the tree was not ready within {LIMIT:?}"),
                }
            }
        }
        let pid = tree.pid();
        let stood = check::wait_for(LIMIT, || self.stands(pid, stands).then_some(())).await;
        ensure!(stood.is_some(), "the tree did not stand: {stands:?}");
        Ok(tree)
    }

    fn stands(&self, pid: u32, stands: Stands) -> bool {
        // A shim has the arguments of its child behind its own.
        let members = || {
            let name = self.nasty_child.to_string_lossy();
            let found = check::staying(&self.marker).into_iter();
            found.filter(move |found| found.command.starts_with(&*name))
        };
        match stands {
            Stands::Ready => true,
            Stands::Processes(count) => members().count() == count,
            Stands::Stopped(count) => members().filter(|one| one.state == 'T').count() == count,
            Stands::Orphaned | Stands::Over => !check::is_alive(pid),
        }
    }

    /// Ends a tree.
    pub(crate) async fn stop(&self, tree: Box<dyn Tree>) -> anyhow::Result<Played> {
        let asked_at = Instant::now();
        let stopped = timeout(self.grace + LIMIT, tree.stop(self.grace)).await;
        let unkillable = stopped.context("the means did not say that it is over")?;
        Ok(Played {
            took: Some(asked_at.elapsed()),
            unkillable,
        })
    }

    /// Plays it; what is left is the caller's to see.
    pub(crate) async fn play(&self, play: Play) -> anyhow::Result<Played> {
        match play {
            Play::Tree {
                words,
                in_short,
                stands,
            } => {
                let words = if self.is_short { in_short } else { words };
                let tree = self.start(&self.nasty(words), stands).await?;
                self.stop(tree).await
            }
            Play::Own(own) | Play::Sessiond(own) | Play::SetUserId(own) => own(self).await,
        }
    }
}
