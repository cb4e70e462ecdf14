-- Those that may not be known, and those so old that nobody asks for them.
DELETE FROM event_runs WHERE generation >= ?1 OR generation < ?1 - ?2
