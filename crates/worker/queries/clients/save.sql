-- One JSON array of clients, so that a batch is one statement. What a client is does not change;
-- what it says of itself does.
INSERT INTO clients (id, kind, token, session, project, name, version, cwd, role, groups, metadata,
                     process, created_at, touched_at, expires_at)
SELECT value ->> 'id', value ->> 'kind', value ->> 'token', value ->> 'session',
       value ->> 'project', value ->> 'name', value ->> 'version', value ->> 'cwd',
       value ->> 'role', value -> 'groups', value -> 'metadata', value ->> 'process',
       value ->> 'created_at', value ->> 'touched_at', value ->> 'expires_at'
FROM json_each(?1)
WHERE TRUE
ON CONFLICT (id) DO UPDATE SET
    project = excluded.project, name = excluded.name, version = excluded.version,
    cwd = excluded.cwd, metadata = excluded.metadata, touched_at = excluded.touched_at,
    expires_at = excluded.expires_at
