SELECT id, agent, key, life, close_depth, drain_until, epoch, project, cwd, prompt, prompt_number,
       metadata, created_at, active_at, pending, dead, success_at, consecutive_failures,
       last_error, failing, input_tokens, output_tokens, cost_usd
FROM sessions
WHERE 1
