SELECT generation, number, type, session, project, data
FROM event_log
WHERE (generation, number) > (?1, ?2)
ORDER BY generation, number
LIMIT ?3
