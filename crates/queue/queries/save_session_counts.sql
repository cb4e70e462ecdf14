-- What changes with every message: of all indexes only that by activity is written.
UPDATE sessions
SET active_at = ?2,
    next_seq = ?3,
    pending = ?4,
    dead = ?5,
    success_at = ?6,
    consecutive_failures = ?7,
    input_tokens = ?8,
    output_tokens = ?9,
    cost_usd = ?10
WHERE num = ?1
