WITH new (id, seq, state, attempt, rescues, not_before, finished_at, generation, claim_seq, last_error)
AS (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
UPDATE messages
SET seq = new.seq,
    state = new.state,
    attempt = new.attempt,
    rescues = new.rescues,
    not_before = new.not_before,
    finished_at = new.finished_at,
    generation = new.generation,
    claim_seq = new.claim_seq,
    last_error = new.last_error
FROM new
WHERE messages.id = new.id
