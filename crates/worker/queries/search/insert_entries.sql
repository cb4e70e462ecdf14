-- One JSON array of entries, so that a batch is one statement.
INSERT INTO search_entries (id, session, project, agent, kind, seq, accepted_at, trace)
SELECT value ->> 'id', value ->> 'session', value ->> 'project', value ->> 'agent',
       value ->> 'kind', value ->> 'seq', value ->> 'accepted_at', value ->> 'trace'
FROM json_each(?1)
