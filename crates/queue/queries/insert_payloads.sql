INSERT INTO payloads (message, body)
SELECT * FROM (VALUES (?, ?)) WHERE column1 IS NOT NULL
