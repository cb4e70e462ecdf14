-- The whole row; what the writer does not hold in memory (prompt, last_error) is NULL here when it did
-- not change.
UPDATE sessions
SET life = ?2,
    close_depth = ?3,
    drain_until = ?4,
    reopen = ?5,
    epoch = ?6,
    project = ?7,
    cwd = ?8,
    prompt = coalesce(?9, prompt),
    prompt_number = ?10,
    active_at = ?11,
    next_seq = ?12,
    pending = ?13,
    dead = ?14,
    success_at = ?15,
    consecutive_failures = ?16,
    last_error = coalesce(?17, last_error),
    failing = ?18,
    unfinished = ?19,
    input_tokens = ?20,
    output_tokens = ?21,
    cost_usd = ?22
WHERE num = ?1
