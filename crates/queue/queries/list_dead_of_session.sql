SELECT id, session, seq FROM messages WHERE state = 'dead' AND session = ? ORDER BY id
