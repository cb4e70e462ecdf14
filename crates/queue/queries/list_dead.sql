SELECT id, session, seq FROM messages WHERE state = 'dead' ORDER BY id
