UPDATE messages
SET state = ?2,
    attempt = ?3,
    rescues = ?4,
    not_before = ?5,
    finished_at = ?6,
    generation = ?7,
    claim_seq = ?8,
    last_error = ?9
WHERE id = ?1
