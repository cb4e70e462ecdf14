-- Clients: registered processes with a token, and the HTTP and MCP sessions that last while they are
-- used. A row follows what the worker knows; times are ms since the Unix epoch.

CREATE TABLE clients (
    id         TEXT    NOT NULL PRIMARY KEY,         -- UUID
    kind       TEXT    NOT NULL CHECK (kind = 'registered' OR kind = 'http' OR kind = 'mcp'),
    token      TEXT    CHECK (length(token) = 64),   -- SHA-256 of the token, in hexadecimal digits
    session    TEXT,                                 -- the session that the token is for
    project    TEXT,
    name       TEXT    NOT NULL,
    version    TEXT,
    cwd        TEXT,
    role       TEXT,
    groups     TEXT    NOT NULL,                     -- a JSON array of texts
    metadata   TEXT    NOT NULL,                     -- a JSON object
    process    TEXT,                                 -- its identity, a JSON object
    created_at INTEGER NOT NULL,
    touched_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CHECK ((kind = 'registered') = (token IS NOT NULL)),
    CHECK (kind = 'registered' OR (session IS NULL AND process IS NULL))
) STRICT, WITHOUT ROWID;

-- A token is one client's, and a session has one token at a time.
CREATE UNIQUE INDEX clients_by_token ON clients (token) WHERE token IS NOT NULL;
CREATE UNIQUE INDEX clients_by_session ON clients (session) WHERE session IS NOT NULL;
