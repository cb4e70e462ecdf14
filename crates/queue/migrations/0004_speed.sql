-- What made an enqueue slow, in a schema that says the same.

-- An index is written whenever a column it names is: these are not, while a session is worked.
-- Unfinished: it is closing or drains, or has pending or claimed messages.
ALTER TABLE sessions ADD COLUMN unfinished INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET unfinished = 1
WHERE life = 'closing' OR drain_until IS NOT NULL OR pending > 0;
DROP INDEX sessions_unfinished;
CREATE INDEX sessions_unfinished ON sessions (num) WHERE unfinished = 1;
DROP INDEX sessions_by_project;
CREATE INDEX sessions_by_project ON sessions (project);

-- One index by session and place instead of two by session: in each, events of many sessions touch a
-- page each. The head of a session is the first of its backlog from head_seq on; before it there is
-- none.
ALTER TABLE sessions ADD COLUMN head_seq INTEGER NOT NULL DEFAULT 1
    CHECK (head_seq >= 1 AND head_seq <= next_seq);
UPDATE sessions SET head_seq = coalesce(
    (SELECT min(seq) FROM messages WHERE session = num AND state IN ('pending', 'claimed')), next_seq);
DROP INDEX messages_backlog;
DROP INDEX messages_by_session;
CREATE UNIQUE INDEX messages_by_session ON messages (session, seq);
-- By a column that a claim leaves as it is.
DROP INDEX messages_oldest;
CREATE INDEX messages_oldest ON messages (accepted_at) WHERE finished_at IS NULL;

-- For each row that is written SQLite makes a table of an IN list with more than two entries, also of
-- one in a CHECK: these say it with OR. Only the text of the schema changes, as SQLite documents it
-- for CHECKs (https://sqlite.org/lang_altertable.html, section 7); what is stored is not touched.
PRAGMA writable_schema = ON;

UPDATE sqlite_schema
SET sql = replace(replace(sql,
    'life IN (''open'', ''closing'', ''ended'')',
    'life = ''open'' OR life = ''closing'' OR life = ''ended'''),
    'unfinished INTEGER NOT NULL DEFAULT 0',
    'unfinished INTEGER NOT NULL DEFAULT 0
        CHECK (unfinished = (life = ''closing'' OR drain_until IS NOT NULL OR pending > 0))')
WHERE type = 'table' AND name = 'sessions';

UPDATE sqlite_schema
SET sql = replace(replace(sql,
    'state IN (''pending'', ''claimed'', ''done'', ''dead'', ''cancelled'')',
    'state = ''pending'' OR state = ''claimed'' OR state = ''done'' OR state = ''dead'' OR state = ''cancelled'''),
    '(state IN (''done'', ''dead'', ''cancelled'')) =',
    '(state = ''done'' OR state = ''dead'' OR state = ''cancelled'') =')
WHERE type = 'table' AND name = 'messages';

-- This connection reads the schema anew; the indexes above have told all others to.
PRAGMA writable_schema = RESET;
