WITH new (id, session, seq, epoch, event_id, kind, agent_id, dedup_key, accepted_at)
AS (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?))
INSERT INTO messages (id, session, seq, epoch, event_id, kind, agent_id, dedup_key, state, accepted_at)
SELECT id, session, seq, epoch, event_id, kind, agent_id, dedup_key, 'pending', accepted_at
FROM new WHERE id IS NOT NULL
