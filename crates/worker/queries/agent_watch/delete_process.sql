-- A process has ended.
DELETE FROM agent_processes
WHERE pid = ?1 AND start_ticks = ?2 AND boot_id = ?3 AND pid_namespace = ?4
