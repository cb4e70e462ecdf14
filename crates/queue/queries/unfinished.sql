SELECT s.id, s.close_depth, s.drain_until,
       CASE WHEN m.state = 'pending' THEN coalesce(m.not_before, m.accepted_at) END
FROM sessions AS s
LEFT JOIN messages AS m ON m.id = (
    SELECT id FROM messages
    WHERE session = s.num AND seq >= s.head_seq AND state IN ('pending', 'claimed')
    ORDER BY seq LIMIT 1
)
WHERE s.unfinished = 1
ORDER BY coalesce(m.accepted_at, s.active_at), s.num
