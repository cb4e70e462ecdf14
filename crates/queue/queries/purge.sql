DELETE FROM messages WHERE session = ? AND epoch < ?;
DELETE FROM results WHERE session = ? AND epoch < ?;
DELETE FROM checkpoints WHERE session = ?;
UPDATE sessions SET prompt = NULL WHERE num = ?;
