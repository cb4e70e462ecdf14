INSERT INTO event_runs (generation, told) VALUES (?1, NULL)
