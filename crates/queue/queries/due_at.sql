SELECT CASE WHEN state = 'pending' THEN coalesce(not_before, accepted_at) END
FROM messages
WHERE session = (SELECT num FROM sessions WHERE id = ?) AND state IN ('pending', 'claimed')
ORDER BY seq LIMIT 1
