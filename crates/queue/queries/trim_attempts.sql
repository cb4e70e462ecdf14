-- A row came in, so at most one goes: the one that many places before it.
DELETE FROM attempts
WHERE message = ?1 AND place = (SELECT max(place) FROM attempts WHERE message = ?1) - ?2
