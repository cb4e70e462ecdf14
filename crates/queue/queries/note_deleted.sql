WITH new (num, seq) AS (VALUES (?, ?))
UPDATE sessions SET deleted_seq = max(sessions.deleted_seq, new.seq)
FROM new WHERE sessions.num = new.num
