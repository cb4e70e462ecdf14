-- Every counter beside its recount: the caller drops the equal ones. Slow.
SELECT 'pending', pending, (SELECT count(*) FROM messages WHERE state = 'pending') FROM counters
UNION ALL
SELECT 'claimed', claimed, (SELECT count(*) FROM messages WHERE state = 'claimed') FROM counters
UNION ALL
SELECT 'done', done, (SELECT count(*) FROM messages WHERE state = 'done') FROM counters
UNION ALL
SELECT 'dead', dead, (SELECT count(*) FROM messages WHERE state = 'dead') FROM counters
UNION ALL
SELECT 'cancelled', cancelled, (SELECT count(*) FROM messages WHERE state = 'cancelled') FROM counters
UNION ALL
SELECT 'sessions_open', sessions_open, (SELECT count(*) FROM sessions WHERE life = 'open') FROM counters
UNION ALL
SELECT 'sessions_closing', sessions_closing,
       (SELECT count(*) FROM sessions WHERE life = 'closing') FROM counters
UNION ALL
SELECT 'sessions_ended', sessions_ended,
       (SELECT count(*) FROM sessions WHERE life = 'ended') FROM counters
UNION ALL
SELECT 'last_session', last_session,
       max(last_session, (SELECT coalesce(max(num), 0) FROM sessions)) FROM counters
UNION ALL
SELECT 'last_message', last_message,
       max(last_message, (SELECT coalesce(max(id), 0) FROM messages)) FROM counters
UNION ALL
SELECT 'last_result', last_result,
       max(last_result, (SELECT coalesce(max(id), 0) FROM results)) FROM counters
UNION ALL
SELECT 'last_claim', last_claim,
       max(last_claim, (SELECT coalesce(max(claim_seq), 0) FROM messages)) FROM counters
UNION ALL
SELECT 'pending of session ' || s.agent || ':' || s.key, s.pending,
       (SELECT count(*) FROM messages WHERE session = s.num AND state IN ('pending', 'claimed'))
FROM sessions AS s
UNION ALL
SELECT 'dead of session ' || s.agent || ':' || s.key, s.dead,
       (SELECT count(*) FROM messages WHERE session = s.num AND state = 'dead')
FROM sessions AS s
UNION ALL
SELECT 'next_seq of session ' || s.agent || ':' || s.key, s.next_seq,
       max(s.next_seq, (SELECT coalesce(max(seq), 0) + 1 FROM messages WHERE session = s.num))
FROM sessions AS s
UNION ALL
SELECT 'unfinished of session ' || s.agent || ':' || s.key, s.unfinished,
       s.life = 'closing' OR s.drain_until IS NOT NULL OR s.pending > 0
FROM sessions AS s
UNION ALL
SELECT 'backlog before the head of session ' || s.agent || ':' || s.key, 0,
       (SELECT count(*) FROM messages
        WHERE session = s.num AND seq < s.head_seq AND state IN ('pending', 'claimed'))
FROM sessions AS s
