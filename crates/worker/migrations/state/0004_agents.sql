-- Which processes are the agents of which sessions: what the next worker needs to know whose agent
-- has ended meanwhile.

-- One row a process and session, from the first event that named it until the process or the session
-- has ended.
CREATE TABLE agent_processes (
    pid           INTEGER NOT NULL CHECK (pid > 1),
    start_ticks   INTEGER NOT NULL,                  -- clock ticks since boot
    boot_id       TEXT    NOT NULL,
    pid_namespace INTEGER NOT NULL,                  -- inode of the hook's /proc/self/ns/pid
    session       TEXT    NOT NULL,
    pidfs_inode   INTEGER,                           -- of the process's pidfd, where it has one
    since         INTEGER NOT NULL,                  -- ms since the Unix epoch
    PRIMARY KEY (pid, start_ticks, boot_id, pid_namespace, session)
) STRICT, WITHOUT ROWID;

CREATE INDEX agent_processes_by_session ON agent_processes (session);
