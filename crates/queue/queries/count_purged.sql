SELECT state, count(*) FROM messages WHERE session = ? AND epoch < ? GROUP BY state
