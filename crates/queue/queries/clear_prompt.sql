UPDATE sessions SET prompt = NULL WHERE num = ?
