WITH wanted (id) AS (VALUES (?))
SELECT m.id, m.session, m.seq, m.epoch, m.state, m.attempt, m.rescues, m.accepted_at, m.not_before,
       m.finished_at, m.generation, m.claim_seq, m.last_error
FROM wanted CROSS JOIN messages AS m ON m.id = wanted.id
