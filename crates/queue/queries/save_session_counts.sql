-- What changes with every message: of all indexes only that by activity is written.
UPDATE sessions
SET active_at = ?2,
    next_seq = ?3,
    head_seq = ?4,
    pending = ?5,
    dead = ?6,
    success_at = ?7,
    consecutive_failures = ?8,
    input_tokens = ?9,
    output_tokens = ?10,
    cost_usd = ?11
WHERE num = ?1
