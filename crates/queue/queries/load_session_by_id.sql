SELECT num, id, agent, key, life, close_depth, drain_until, reopen, epoch, prompt_number, active_at,
       next_seq, head_seq, pending, dead, success_at, consecutive_failures, failing, project, cwd,
       input_tokens, output_tokens, cost_usd
FROM sessions WHERE id = ?
