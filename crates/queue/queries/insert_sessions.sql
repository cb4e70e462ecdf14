INSERT INTO sessions (num, id, agent, key, created_at, active_at)
SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?)) WHERE column1 IS NOT NULL
