INSERT INTO checkpoints (session, body)
SELECT * FROM (VALUES (?, ?)) WHERE column1 IS NOT NULL
ON CONFLICT (session) DO UPDATE SET body = excluded.body
