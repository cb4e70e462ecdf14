-- What programs as generators need: the history of a message's attempts, why a session's generator
-- is not started any more, and what was spent on each day.

-- Why no generator is started for it any more; NULL: one may be.
ALTER TABLE sessions ADD COLUMN failing TEXT CHECK (failing <> '');

-- How the claims of a message ended that were not confirmed. Place counts from 1 within the message
-- and goes on when the oldest rows are dropped; the rows of a message lie together.
CREATE TABLE attempts (
    message  INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    place    INTEGER NOT NULL CHECK (place >= 1),
    attempt  INTEGER NOT NULL CHECK (attempt >= 0),
    ended_at INTEGER NOT NULL,
    outcome  TEXT    NOT NULL CHECK (outcome IN ('retry', 'unavailable', 'poison', 'rescued',
                                                 'cancelled', 'redriven')),
    reason   TEXT,
    PRIMARY KEY (message, place),
    CHECK ((outcome = 'redriven') = (attempt = 0))
) STRICT, WITHOUT ROWID;

-- What results have cost, by days since the epoch in UTC. It survives the purge of what it was
-- spent on; a year has 365 rows.
CREATE TABLE usage_days (
    day           INTEGER PRIMARY KEY,
    input_tokens  INTEGER NOT NULL CHECK (input_tokens >= 0),
    output_tokens INTEGER NOT NULL CHECK (output_tokens >= 0),
    cost_usd      REAL    NOT NULL CHECK (cost_usd >= 0)
) STRICT;
