UPDATE sessions SET metadata = ? WHERE num = ?
