-- Payloads and attempts go with them, results stay.
WITH wanted (id) AS (VALUES (?))
DELETE FROM messages WHERE id IN (SELECT id FROM wanted)
