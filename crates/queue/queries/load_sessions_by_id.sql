WITH wanted (id) AS (VALUES (?))
SELECT s.num, s.id, s.agent, s.key, s.life, s.close_depth, s.drain_until, s.reopen, s.epoch,
       s.prompt_number, s.active_at, s.next_seq, s.pending, s.dead, s.success_at,
       s.consecutive_failures, s.failing, s.input_tokens, s.output_tokens, s.cost_usd
FROM wanted CROSS JOIN sessions AS s ON s.id = wanted.id
