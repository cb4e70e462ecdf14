INSERT INTO sessions (num, id, agent, key, created_at, active_at) VALUES (?, ?, ?, ?, ?, ?)
