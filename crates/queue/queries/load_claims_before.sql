SELECT id, session, seq, epoch, state, attempt, rescues, accepted_at, not_before, finished_at,
       generation, claim_seq, last_error
FROM messages
WHERE state = 'claimed' AND generation < ?
