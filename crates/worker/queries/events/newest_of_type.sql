SELECT data FROM event_log WHERE type = ?1 ORDER BY place DESC LIMIT 1
