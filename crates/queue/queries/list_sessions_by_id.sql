-- The ids as a JSON array of hexadecimal texts; an id that is not there has no row.
SELECT s.id, agent, s.key, life, close_depth, drain_until, epoch, project, cwd, prompt,
       prompt_number, metadata, created_at, active_at, pending, dead, success_at,
       consecutive_failures, last_error, failing, input_tokens, output_tokens, cost_usd
FROM json_each(?) AS wanted
CROSS JOIN sessions AS s ON s.id = unhex(wanted.value)
ORDER BY wanted.key
