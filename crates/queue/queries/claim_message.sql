UPDATE messages
SET state = 'claimed', attempt = ?2, not_before = NULL, generation = ?3, claim_seq = ?4
WHERE id = ?1
