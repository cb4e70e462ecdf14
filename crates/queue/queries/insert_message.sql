INSERT INTO messages (id, session, seq, epoch, event_id, kind, agent_id, dedup_key, state, accepted_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?)
ON CONFLICT (event_id) DO NOTHING
