SELECT pending, claimed, done, dead, cancelled, duplicates,
       sessions_open, sessions_closing, sessions_ended, last_message, last_result,
       (SELECT min(accepted_at) FROM messages WHERE finished_at IS NULL)
FROM counters
