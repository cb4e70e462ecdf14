WITH wanted (session, dedup_key) AS (VALUES (?, ?))
SELECT m.session, m.dedup_key, m.id, m.seq, m.accepted_at
FROM wanted
CROSS JOIN messages AS m ON m.id = (
    SELECT max(id) FROM messages
    WHERE session = wanted.session AND dedup_key = wanted.dedup_key
)
