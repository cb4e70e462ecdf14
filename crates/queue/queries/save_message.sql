UPDATE messages
SET seq = ?2,
    state = ?3,
    attempt = ?4,
    rescues = ?5,
    not_before = ?6,
    finished_at = ?7,
    generation = ?8,
    claim_seq = ?9,
    last_error = ?10
WHERE id = ?1
