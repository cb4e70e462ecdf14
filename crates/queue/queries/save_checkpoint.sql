INSERT INTO checkpoints (session, body) VALUES (?, ?)
ON CONFLICT (session) DO UPDATE SET body = excluded.body
