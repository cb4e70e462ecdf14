-- The queue's first schema. Migrations are added, never edited.
-- The writer keeps every invariant; the CHECKs repeat them, so that a bug fails instead of storing
-- a state that the diagrams in the crate's documentation do not have.

-- Who runs the queue.
CREATE TABLE meta (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL CHECK (generation >= 0),
    instance   TEXT,
    begun_at   INTEGER
) STRICT;

INSERT INTO meta (id, generation) VALUES (1, 0);

-- One row: depths are read without counting, and the last number given out survives a purge of its
-- row, so that no id is ever used twice.
CREATE TABLE counters (
    id               INTEGER PRIMARY KEY CHECK (id = 1),
    pending          INTEGER NOT NULL DEFAULT 0 CHECK (pending >= 0),
    claimed          INTEGER NOT NULL DEFAULT 0 CHECK (claimed >= 0),
    done             INTEGER NOT NULL DEFAULT 0 CHECK (done >= 0),
    dead             INTEGER NOT NULL DEFAULT 0 CHECK (dead >= 0),
    cancelled        INTEGER NOT NULL DEFAULT 0 CHECK (cancelled >= 0),
    duplicates       INTEGER NOT NULL DEFAULT 0 CHECK (duplicates >= 0),
    sessions_open    INTEGER NOT NULL DEFAULT 0 CHECK (sessions_open >= 0),
    sessions_closing INTEGER NOT NULL DEFAULT 0 CHECK (sessions_closing >= 0),
    sessions_ended   INTEGER NOT NULL DEFAULT 0 CHECK (sessions_ended >= 0),
    last_session     INTEGER NOT NULL DEFAULT 0,
    last_message     INTEGER NOT NULL DEFAULT 0,
    last_result      INTEGER NOT NULL DEFAULT 0,
    last_claim       INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO counters (id) VALUES (1);

CREATE TABLE sessions (
    num                  INTEGER PRIMARY KEY,
    id                   BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    agent                TEXT    NOT NULL CHECK (agent <> ''),
    key                  TEXT    NOT NULL CHECK (key <> ''),
    life                 TEXT    NOT NULL DEFAULT 'open' CHECK (life IN ('open', 'closing', 'ended')),
    close_depth          TEXT    CHECK (close_depth IN ('close', 'purge')),
    drain_until          INTEGER,
    -- A start or a prompt came while it was closing.
    reopen               INTEGER NOT NULL DEFAULT 0 CHECK (reopen IN (0, 1)),
    epoch                INTEGER NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    project              TEXT,
    cwd                  TEXT,
    prompt               TEXT,
    prompt_number        INTEGER NOT NULL DEFAULT 0 CHECK (prompt_number >= 0),
    metadata             TEXT    NOT NULL DEFAULT '{}' CHECK (json_type(metadata) = 'object'),
    created_at           INTEGER NOT NULL,
    active_at            INTEGER NOT NULL,
    next_seq             INTEGER NOT NULL DEFAULT 1 CHECK (next_seq >= 1),
    -- Pending and claimed.
    pending              INTEGER NOT NULL DEFAULT 0 CHECK (pending >= 0),
    dead                 INTEGER NOT NULL DEFAULT 0 CHECK (dead >= 0),
    success_at           INTEGER,
    consecutive_failures INTEGER NOT NULL DEFAULT 0 CHECK (consecutive_failures >= 0),
    last_error           TEXT,
    input_tokens         INTEGER NOT NULL DEFAULT 0,
    output_tokens        INTEGER NOT NULL DEFAULT 0,
    cost_usd             REAL    NOT NULL DEFAULT 0,
    UNIQUE (agent, key),
    CHECK ((life = 'closing') = (close_depth IS NOT NULL)),
    CHECK (drain_until IS NULL OR life = 'open'),
    CHECK (reopen = 0 OR life = 'closing')
) STRICT;

CREATE INDEX sessions_by_activity ON sessions (active_at);
CREATE INDEX sessions_by_project ON sessions (project, active_at);
CREATE INDEX sessions_unfinished ON sessions (num)
    WHERE life = 'closing' OR drain_until IS NOT NULL OR pending > 0;

-- Apart from the session, because its row is rewritten with each event and this may be megabytes.
CREATE TABLE checkpoints (
    session INTEGER PRIMARY KEY REFERENCES sessions (num) ON DELETE CASCADE,
    body    TEXT NOT NULL
) STRICT;

CREATE TABLE messages (
    id          INTEGER PRIMARY KEY,
    session     INTEGER NOT NULL REFERENCES sessions (num),
    seq         INTEGER NOT NULL CHECK (seq >= 1),
    epoch       INTEGER NOT NULL CHECK (epoch >= 0),
    event_id    BLOB    NOT NULL UNIQUE CHECK (length(event_id) = 16),
    kind        TEXT    NOT NULL CHECK (kind <> ''),
    agent_id    TEXT,
    dedup_key   TEXT,
    state       TEXT    NOT NULL CHECK (state IN ('pending', 'claimed', 'done', 'dead', 'cancelled')),
    attempt     INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    rescues     INTEGER NOT NULL DEFAULT 0 CHECK (rescues >= 0),
    accepted_at INTEGER NOT NULL,
    not_before  INTEGER,
    finished_at INTEGER,
    generation  INTEGER,
    claim_seq   INTEGER,
    last_error  TEXT,
    CHECK ((state = 'claimed') = (generation IS NOT NULL)),
    CHECK ((state = 'claimed') = (claim_seq IS NOT NULL)),
    CHECK (state <> 'claimed' OR attempt >= 1),
    CHECK ((state IN ('done', 'dead', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (not_before IS NULL OR state = 'pending')
) STRICT;

-- The head of a session, and its whole backlog.
CREATE UNIQUE INDEX messages_backlog ON messages (session, seq)
    WHERE state IN ('pending', 'claimed');
-- A session's messages by id: SQLite ends each index entry with the rowid.
CREATE INDEX messages_by_session ON messages (session);
CREATE INDEX messages_dedup ON messages (session, dedup_key) WHERE dedup_key IS NOT NULL;
CREATE INDEX messages_claimed ON messages (generation) WHERE state = 'claimed';
CREATE INDEX messages_oldest ON messages (accepted_at) WHERE state IN ('pending', 'claimed');
CREATE INDEX messages_dead ON messages (id) WHERE state = 'dead';

-- Apart from the message, because its row is rewritten at each claim and confirm, and SQLite writes
-- a row as a whole.
CREATE TABLE payloads (
    message INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    body    TEXT NOT NULL CHECK (body <> '')
) STRICT;

-- Seq, epoch and accepted_at repeat those of the message, which may be deleted before its results.
CREATE TABLE results (
    id          INTEGER PRIMARY KEY,
    session     INTEGER NOT NULL REFERENCES sessions (num),
    message     INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    title       TEXT    NOT NULL,
    body        TEXT    NOT NULL,
    files       TEXT    NOT NULL CHECK (json_type(files) = 'array'),
    tags        TEXT    NOT NULL CHECK (json_type(tags) = 'array')
) STRICT;

CREATE INDEX results_by_session ON results (session);
