-- The messages of a session that were ever in work, as far as a redrive is concerned.
SELECT id, seq FROM messages
WHERE session = ? AND (state IN ('claimed', 'done', 'dead') OR attempt > 0)
ORDER BY seq DESC
