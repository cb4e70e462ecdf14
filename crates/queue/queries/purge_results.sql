DELETE FROM results WHERE session = ? AND epoch < ?
