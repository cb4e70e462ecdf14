DELETE FROM event_log WHERE place <= (SELECT max(place) FROM event_log) - ?1
