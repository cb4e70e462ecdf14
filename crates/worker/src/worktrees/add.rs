//! Makes a worktree for a session.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sessiond_queue::error::StoreError;
use sessiond_queue::types::{Life, Session};
use tokio::time::Instant;
use uuid::Uuid;

use super::git::GitError;
use super::locks::Busy;
use super::record::{Stage, Worktree};
use super::repository::Repository;
use super::{Inner, Worktrees, name, take_over};
use crate::errors::chain;
use crate::events::Event;
use crate::state::StateError;

/// Worktrees of one session: a hand for each of its agents, and not a disk for one that runs wild.
const PER_SESSION_MAX: usize = 100;
/// Bytes of a path or of the name of a commit, as Linux has it for paths.
const TEXT_MAX_BYTES: usize = 4096;
/// How long an add waits for the ones before it in the same repository.
const TURN_WAIT: Duration = Duration::from_secs(300);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// A directory of the repository, absolute.
    pub repo: String,
    /// What the branch begins at; `None`: the repository's HEAD.
    pub base: Option<String>,
    /// What its directory is called; `None`: as the session is.
    pub name: Option<String>,
}

/// A worktree was not made. Nothing of it is left, or start-up clears it.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// A value cannot be used.
    #[error("field {field} {problem}")]
    InvalidField {
        /// Which.
        field: &'static str,
        /// Why.
        problem: String,
    },
    /// The session has ended, or is about to.
    #[error("add a worktree: session {session} is not open; a start or a prompt opens it again")]
    NotOpen {
        /// Its name.
        session: String,
    },
    /// The session has as many as it may have.
    #[error("add a worktree: session {session} has {PER_SESSION_MAX}, which is the limit")]
    Full {
        /// Its name.
        session: String,
    },
    /// Nothing was committed in the repository, so there is nothing to begin at.
    #[error("add a worktree: the repository {repo} has no commit to begin at")]
    Empty {
        /// The repository.
        repo: PathBuf,
    },
    /// The directory of worktrees cannot be used.
    #[error("make the directory of worktrees {path}")]
    Root {
        /// As configured.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory of worktrees is inside of the repository.
    #[error("add a worktree: worktrees.root, {root}, lies in the repository {repo} itself")]
    Inside {
        /// The directory.
        root: PathBuf,
        /// The repository.
        repo: PathBuf,
    },
    /// Too many adds before this one.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// Git refused, or could not be asked.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The rows failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The sessions cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Worktrees {
    /// Makes a worktree with a branch of its own.
    ///
    /// # Errors
    /// [`AddError`]; what git had begun is undone.
    pub async fn add(&self, session: &Session, wanted: Wanted) -> Result<Worktree, AddError> {
        let _work = self.inner.at_work.begin(session.id);
        let made = self.try_add(session, &wanted).await;
        match made {
            // The session was leaving memory when this began, as an idle one does, and all that ran
            // for it was ended. It cannot happen to the same add twice.
            Err(AddError::Git(GitError::Ended { .. }))
                if self.inner.require_open(session).await.is_ok() =>
            {
                self.try_add(session, &wanted).await
            }
            made => made,
        }
    }

    async fn try_add(&self, session: &Session, wanted: &Wanted) -> Result<Worktree, AddError> {
        let inner = &*self.inner;
        check_texts(wanted)?;
        let named = wanted.repo.clone();
        let repo = inner.blocking(move || directory(Path::new(&named))).await;
        let repo = repo.unwrap_or_else(|| {
            Err(invalid(
                "repo",
                "does not answer: its disk may be away".to_owned(),
            ))
        })?;
        inner.require_open(session).await?;
        let found = inner.call(session.id, &repo, inner.git_deadline());
        let repository = Repository::find(&inner.git, found).await?;
        let turn = Instant::now() + TURN_WAIT;
        let _lock = inner.locks.take(&repository.git_dir, turn).await?;
        let worktree = inner.intend(session, &repository, wanted).await?;
        inner.rehearse("worktree_intended");
        // After the intent is stored: a close that began meanwhile either sees it and waits for the
        // lock, or is seen here.
        if let Err(error) = inner.require_open(session).await {
            inner.rows.delete(worktree.id).await?;
            return Err(error);
        }
        if let Err(error) = inner.make(&worktree, &repository).await {
            // Its session's programs may be ended just now, and git with them.
            let undone = take_over::undo(inner, &worktree).await;
            if let Some(why) = undone.err() {
                let worktree = worktree.id;
                tracing::warn!(worktree.id = %worktree, why, "what git left is cleared at the next start");
            }
            return Err(error.into());
        }
        inner.rehearse("worktree_made");
        inner.rows.set_added(worktree.id).await?;
        let worktree = Worktree {
            stage: Stage::Added,
            ..worktree
        };
        inner.tell(
            &worktree,
            Event::WorktreeAdded {
                worktree: worktree.id,
                path: worktree.path.clone(),
                branch: worktree.branch.clone(),
            },
        );
        tracing::info!(session.id = %session.id, worktree.id = %worktree.id, "worktree added");
        // A close that could not wait so long has left it to this.
        if let Err(error) = inner.require_open(session).await {
            let deadline = inner.settle_deadline();
            inner.settle_locked(worktree, deadline).await?;
            return Err(error);
        }
        Ok(worktree)
    }
}

impl Inner {
    async fn require_open(&self, session: &Session) -> Result<(), AddError> {
        match self.life(session.id).await? {
            Some(Life::Open) => Ok(()),
            _ => Err(AddError::NotOpen {
                session: format!("{}:{}", session.agent, session.key),
            }),
        }
    }

    /// Decides on everything, and writes it down.
    async fn intend(
        &self,
        session: &Session,
        repository: &Repository,
        wanted: &Wanted,
    ) -> Result<Worktree, AddError> {
        let session_name = format!("{}:{}", session.agent, session.key);
        if self.rows.of_session(session.id).await?.len() >= PER_SESSION_MAX {
            return Err(AddError::Full {
                session: session_name,
            });
        }
        let call = self.call(session.id, &repository.given, self.git_deadline());
        let base = wanted.base.as_deref().unwrap_or("HEAD");
        let base_commit = repository.commit(&self.git, call, base).await?;
        let base_commit = match (base_commit, &wanted.base) {
            (Some(commit), _) => commit,
            (None, Some(base)) => {
                let base: String = base.chars().take(100).collect();
                let problem = format!("names no commit of the repository: {base:?}");
                return Err(invalid("base", problem));
            }
            (None, None) => {
                return Err(AddError::Empty {
                    repo: repository.main().to_owned(),
                });
            }
        };
        let branches = repository.branches(&self.git, call).await?;
        let base_branch = match &wanted.base {
            None => branches.current,
            Some(base) => branches.all.contains(base).then(|| base.clone()),
        };
        let branch = format!("{}{}", name::BRANCH_PREFIX, name::sanitised(&session.key));
        let branch = name::first_free(&branch, |name| name::is_taken(name, &branches.all));
        let dir = self.directory(repository).await?;
        let rows = self.rows.list().await?;
        let known: HashSet<PathBuf> = rows.into_iter().map(|row| row.path).collect();
        let called = name::sanitised(wanted.name.as_deref().unwrap_or(&session.key));
        let free = move || {
            let is_taken = |path: PathBuf| known.contains(&path) || path.symlink_metadata().is_ok();
            dir.join(name::first_free(&called, |name| is_taken(dir.join(name))))
        };
        let path = self.blocking(free).await.ok_or_else(|| AddError::Root {
            path: self.root.path().to_owned(),
            source: io::Error::other("it panicked"),
        })?;
        let worktree = Worktree {
            id: Uuid::now_v7(),
            session: session.id,
            session_name,
            stage: Stage::Intended,
            generation: self.generation,
            repo: repository.main().to_owned(),
            git_dir: repository.git_dir.clone(),
            is_bare: repository.is_bare,
            path,
            branch,
            base_commit,
            base_branch,
            reasons: Vec::new(),
            created_at: self.clock.now(),
            settled_at: None,
        };
        self.rows.insert(&worktree).await?;
        Ok(worktree)
    }

    async fn directory(&self, repository: &Repository) -> Result<PathBuf, AddError> {
        let (root, name) = (self.root.clone(), name::of_repository(&repository.git_dir));
        let made = self.blocking(move || root.directory_of(&name)).await;
        let made = made.unwrap_or_else(|| Err(io::Error::other("it panicked")));
        let is_text = |dir: PathBuf| match dir.to_str() {
            Some(_) => Ok(dir),
            None => Err(io::Error::other("its path is no UTF-8")),
        };
        let dir = made.and_then(is_text).map_err(|source| AddError::Root {
            path: self.root.path().to_owned(),
            source,
        })?;
        let main = repository.main();
        if dir.starts_with(main) || dir.starts_with(&repository.git_dir) {
            return Err(AddError::Inside {
                root: self.root.path().to_owned(),
                repo: main.to_owned(),
            });
        }
        Ok(dir)
    }

    /// Lets git make it. The branch, too: git refuses one that is there.
    async fn make(&self, worktree: &Worktree, repository: &Repository) -> Result<(), GitError> {
        let call = self.call(worktree.session, &repository.git_dir, self.git_deadline());
        let path = worktree.path.to_string_lossy();
        let args = [
            "worktree",
            "add",
            "--quiet",
            "--no-track",
            "-b",
            &worktree.branch,
            "--",
            &path,
            &worktree.base_commit,
        ];
        self.git
            .run(call, args)
            .await
            .map(drop)
            .inspect_err(|error| {
                let error = chain(error);
                tracing::warn!(session.id = %worktree.session, error, "a worktree was not made");
            })
    }
}

fn check_texts(wanted: &Wanted) -> Result<(), AddError> {
    check_text("repo", &wanted.repo)?;
    for (field, text) in [("base", &wanted.base), ("name", &wanted.name)] {
        if let Some(text) = text {
            check_text(field, text)?;
        }
    }
    Ok(())
}

/// The directory by its real path. Blocks.
fn directory(repo: &Path) -> Result<PathBuf, AddError> {
    if !repo.is_absolute() {
        return Err(invalid("repo", "must be an absolute path".to_owned()));
    }
    let real = std::fs::canonicalize(repo);
    let real = real.map_err(|error| invalid("repo", format!("cannot be found: {error}")))?;
    if !real.is_dir() {
        return Err(invalid("repo", "must be a directory".to_owned()));
    }
    match real.to_str() {
        Some(_) => Ok(real),
        None => Err(invalid(
            "repo",
            "leads to a path that is no UTF-8".to_owned(),
        )),
    }
}

fn check_text(field: &'static str, text: &str) -> Result<(), AddError> {
    if text.is_empty() {
        return Err(invalid(field, "must not be empty".to_owned()));
    }
    if text.len() > TEXT_MAX_BYTES {
        return Err(invalid(
            field,
            format!("must be at most {TEXT_MAX_BYTES} bytes"),
        ));
    }
    match text.contains('\0') {
        true => Err(invalid(field, "must have no NUL".to_owned())),
        false => Ok(()),
    }
}

fn invalid(field: &'static str, problem: String) -> AddError {
    AddError::InvalidField { field, problem }
}
