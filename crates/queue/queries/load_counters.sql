SELECT pending, claimed, done, dead, cancelled, duplicates,
       sessions_open, sessions_closing, sessions_ended,
       last_session, last_message, last_result, last_claim
FROM counters
