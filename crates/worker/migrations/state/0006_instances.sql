-- Every run of the worker that this home has seen lately.
CREATE TABLE instances (
    generation INTEGER PRIMARY KEY CHECK (generation > 0),  -- number of the run, from the queue
    instance   TEXT    NOT NULL,                            -- {pid}-{start ms}
    process    TEXT,                                        -- its identity, JSON; NULL: not to be had here
    boot_id    TEXT    NOT NULL,
    host       TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    started_at INTEGER NOT NULL,                            -- ms since the Unix epoch
    stopped_at INTEGER                                      -- NULL: it runs, or has died
) STRICT;
