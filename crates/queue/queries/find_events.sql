WITH wanted (event_id) AS (VALUES (?))
SELECT m.event_id, m.id, s.id, m.seq
FROM wanted
CROSS JOIN messages AS m ON m.event_id = wanted.event_id
CROSS JOIN sessions AS s ON s.num = m.session
