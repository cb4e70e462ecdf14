-- What the writer does not hold in memory (project, cwd, prompt, last_error) is NULL here when it
-- did not change.
WITH new (num, life, close_depth, drain_until, reopen, epoch, project, cwd, prompt, prompt_number,
          active_at, next_seq, pending, dead, success_at, consecutive_failures, last_error,
          failing, input_tokens, output_tokens, cost_usd)
AS (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
UPDATE sessions
SET life = new.life,
    close_depth = new.close_depth,
    drain_until = new.drain_until,
    reopen = new.reopen,
    epoch = new.epoch,
    project = coalesce(new.project, sessions.project),
    cwd = coalesce(new.cwd, sessions.cwd),
    prompt = coalesce(new.prompt, sessions.prompt),
    prompt_number = new.prompt_number,
    active_at = new.active_at,
    next_seq = new.next_seq,
    pending = new.pending,
    dead = new.dead,
    success_at = new.success_at,
    consecutive_failures = new.consecutive_failures,
    last_error = coalesce(new.last_error, sessions.last_error),
    failing = new.failing,
    input_tokens = new.input_tokens,
    output_tokens = new.output_tokens,
    cost_usd = new.cost_usd
FROM new
WHERE sessions.num = new.num
