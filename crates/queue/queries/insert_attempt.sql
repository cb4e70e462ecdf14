INSERT INTO attempts (message, place, attempt, ended_at, outcome, reason)
VALUES (?1, 1 + coalesce((SELECT max(place) FROM attempts WHERE message = ?1), 0), ?2, ?3, ?4, ?5)
