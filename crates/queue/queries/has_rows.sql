SELECT EXISTS (SELECT 1 FROM messages WHERE session = ?)
    OR EXISTS (SELECT 1 FROM results WHERE session = ?)
