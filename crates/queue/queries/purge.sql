DELETE FROM messages WHERE session = ? AND epoch < ?;
DELETE FROM results WHERE session = ? AND epoch < ?;
DELETE FROM checkpoints WHERE session = ?;
