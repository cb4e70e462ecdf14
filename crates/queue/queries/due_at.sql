SELECT CASE WHEN m.state = 'pending' THEN coalesce(m.not_before, m.accepted_at) END
FROM sessions AS s
CROSS JOIN messages AS m INDEXED BY messages_by_session
    ON m.session = s.num AND m.seq >= s.head_seq AND m.state IN ('pending', 'claimed')
WHERE s.id = ?
ORDER BY m.seq LIMIT 1
