SELECT told FROM event_runs WHERE generation >= ?1 AND generation < ?2
