-- One row a message at most: the places are read before any row goes in.
WITH new (message, attempt, ended_at, outcome, reason) AS (VALUES (?, ?, ?, ?, ?))
INSERT INTO attempts (message, place, attempt, ended_at, outcome, reason)
SELECT new.message,
       1 + coalesce((SELECT max(place) FROM attempts WHERE message = new.message), 0),
       new.attempt, new.ended_at, new.outcome, new.reason
FROM new WHERE new.message IS NOT NULL
