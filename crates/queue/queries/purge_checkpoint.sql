DELETE FROM checkpoints WHERE session = ?
