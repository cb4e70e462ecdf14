-- One JSON array of events, so that a batch is one statement. In its order: `place` follows it.
INSERT INTO event_log (generation, number, type, session, project, data)
SELECT value ->> 'generation', value ->> 'number', value ->> 'type', value ->> 'session',
       value ->> 'project', value ->> 'data'
FROM json_each(?1)
ORDER BY key
