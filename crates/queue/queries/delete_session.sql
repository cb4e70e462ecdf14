DELETE FROM sessions WHERE num = ?
