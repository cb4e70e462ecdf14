-- The search index: derived from the queue's results, behind a watermark; losing it costs a rebuild.

-- One row a result that is indexed; what a search filters by.
CREATE TABLE search_entries (
    id          INTEGER PRIMARY KEY,                 -- the result's id
    session     TEXT    NOT NULL,
    project     TEXT,
    agent       TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,                    -- ms since the Unix epoch
    trace       INTEGER NOT NULL CHECK (trace IN (0, 1))
) STRICT;

CREATE INDEX search_entries_by_session ON search_entries (session);

-- The words, under the same id. Diacritics are folded: a query need not spell them.
CREATE VIRTUAL TABLE search_text USING fts5 (
    title, body, files, tags,
    tokenize = 'unicode61 remove_diacritics 2',
    prefix = '2 3'
);

-- The last result that was considered: all up to it are indexed, or belong to no session any more.
CREATE TABLE search_watermark (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    result INTEGER NOT NULL CHECK (result >= 0)
) STRICT;

INSERT INTO search_watermark (one, result) VALUES (1, 0);
