SELECT m.id, m.session, m.seq, m.epoch, m.state, m.attempt, m.rescues, m.accepted_at, m.not_before,
       m.finished_at, m.generation, m.claim_seq, m.last_error,
       m.event_id, m.kind, m.agent_id, p.body
FROM messages AS m INDEXED BY messages_by_session
CROSS JOIN payloads AS p ON p.message = m.id
WHERE m.session = ? AND m.seq >= ? AND m.state IN ('pending', 'claimed')
ORDER BY m.seq LIMIT 1
