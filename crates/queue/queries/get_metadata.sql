SELECT metadata FROM sessions WHERE num = ?
