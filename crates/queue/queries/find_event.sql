SELECT m.id, s.id, m.seq
FROM messages AS m CROSS JOIN sessions AS s ON s.num = m.session
WHERE m.event_id = ?
