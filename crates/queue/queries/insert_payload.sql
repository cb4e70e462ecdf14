INSERT INTO payloads (message, body) VALUES (?, ?)
