SELECT m.id, s.id, m.seq, m.epoch, m.event_id, m.kind, m.agent_id, p.body, m.state, m.attempt,
       m.rescues, m.accepted_at, m.not_before, m.finished_at, m.last_error
FROM messages AS m
JOIN sessions AS s ON s.num = m.session
JOIN payloads AS p ON p.message = m.id
WHERE m.id = ?
