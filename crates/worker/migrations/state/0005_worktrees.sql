-- Git worktrees of sessions. A row is there before its directory and goes after it, so that a crash
-- leaves none that nobody knows.

CREATE TABLE worktrees (
    id          TEXT    PRIMARY KEY,                 -- UUIDv7
    session     TEXT    NOT NULL,
    agent       TEXT    NOT NULL,                    -- the session's name: its own row may be purged
    key         TEXT    NOT NULL,
    generation  INTEGER NOT NULL,                    -- the run of the worker that began to make it
    state       TEXT    NOT NULL CHECK (state IN ('intended', 'added', 'leaving', 'kept')),
    repo        TEXT    NOT NULL,                    -- where a person finds the repository
    git_dir     TEXT    NOT NULL,                    -- its common git directory: which one it is
    is_bare     INTEGER NOT NULL CHECK (is_bare IN (0, 1)),
    path        TEXT    NOT NULL UNIQUE,
    branch      TEXT    NOT NULL,
    base_commit TEXT    NOT NULL,
    base_branch TEXT,
    reasons     TEXT    NOT NULL,                    -- JSON: why it was kept
    created_at  INTEGER NOT NULL,                    -- ms since the Unix epoch
    settled_at  INTEGER,
    CHECK (state <> 'kept' OR settled_at IS NOT NULL)
) STRICT;

CREATE INDEX worktrees_by_session ON worktrees (session);
