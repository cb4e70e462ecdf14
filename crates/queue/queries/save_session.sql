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
    head_seq = ?13,
    pending = ?14,
    dead = ?15,
    success_at = ?16,
    consecutive_failures = ?17,
    last_error = coalesce(?18, last_error),
    failing = ?19,
    unfinished = ?20,
    input_tokens = ?21,
    output_tokens = ?22,
    cost_usd = ?23
WHERE num = ?1
