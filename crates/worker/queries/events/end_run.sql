UPDATE event_runs SET told = ?2 WHERE generation = ?1
