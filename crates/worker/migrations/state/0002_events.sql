-- What has happened, as it was told: the newest events, so that readers go on after a restart.

CREATE TABLE event_log (
    place      INTEGER PRIMARY KEY,                  -- rises by one; the oldest go first
    generation INTEGER NOT NULL CHECK (generation >= 0),
    number     INTEGER NOT NULL CHECK (number >= 1), -- within the generation, from 1
    type       TEXT    NOT NULL,
    session    TEXT,
    project    TEXT,
    data       TEXT    NOT NULL,                     -- JSON, as readers are given it
    UNIQUE (generation, number)
) STRICT;

-- One row a run of the worker. How many events it has told is known when it stopped in order; of one
-- that was killed nobody knows what was told and not kept.
CREATE TABLE event_runs (
    generation INTEGER PRIMARY KEY,
    told       INTEGER CHECK (told >= 0)
) STRICT;
