SELECT id, session, seq, epoch, state, attempt, rescues, accepted_at, not_before, finished_at,
       generation, claim_seq, last_error
FROM messages INDEXED BY messages_by_session
WHERE session = ? AND seq >= ? AND state IN ('pending', 'claimed')
ORDER BY seq LIMIT 1
