SELECT id, seq, accepted_at FROM messages WHERE session = ? AND dedup_key = ?
ORDER BY id DESC LIMIT 1
