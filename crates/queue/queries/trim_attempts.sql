-- A row came in, so at most one goes: the one that many places before it.
WITH new (message) AS (VALUES (?))
DELETE FROM attempts
WHERE (message, place) IN (
    SELECT new.message, (SELECT max(place) FROM attempts WHERE message = new.message) - ?
    FROM new
)
