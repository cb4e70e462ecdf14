-- What the writer does not hold in memory (project, cwd, prompt, last_error) is NULL here when it
-- did not change.
UPDATE sessions
SET life = ?2,
    close_depth = ?3,
    drain_until = ?4,
    reopen = ?5,
    epoch = ?6,
    project = coalesce(?7, project),
    cwd = coalesce(?8, cwd),
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
    input_tokens = ?19,
    output_tokens = ?20,
    cost_usd = ?21
WHERE num = ?1
