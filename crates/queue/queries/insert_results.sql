INSERT INTO results (id, session, message, seq, epoch, accepted_at, created_at,
                     kind, title, body, files, tags)
SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) WHERE column1 IS NOT NULL
