SELECT m.id, m.session, m.seq, m.epoch, m.state, m.attempt, m.rescues, m.accepted_at, m.not_before,
       m.finished_at, m.generation, m.claim_seq, m.last_error, octet_length(p.body)
FROM messages AS m INDEXED BY messages_dead_since
CROSS JOIN payloads AS p ON p.message = m.id
WHERE m.state = 'dead'
ORDER BY m.finished_at, m.id LIMIT ?
