DELETE FROM messages WHERE session = ? AND epoch < ?
