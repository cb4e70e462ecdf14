WITH wanted (session) AS (VALUES (?))
SELECT m.id, m.session, m.seq, m.epoch, m.state, m.attempt, m.rescues, m.accepted_at, m.not_before,
       m.finished_at, m.generation, m.claim_seq, m.last_error,
       m.event_id, m.kind, m.agent_id, p.body
FROM wanted
CROSS JOIN messages AS m ON m.id = (
    SELECT id FROM messages
    WHERE session = wanted.session AND state IN ('pending', 'claimed')
    ORDER BY seq LIMIT 1
)
CROSS JOIN payloads AS p ON p.message = m.id
